"""Where a module's call frame information is, and which entry of it is about a place.

Sources: Linux Standard Base, "Exception Frames" (.eh_frame: CIEs and FDEs; .eh_frame_hdr: a
sorted table of them); DWARF version 5, 6.4.1 for versions 3 and 4 of the CIE; the augmentations
"eh", z, R, P, L, S of gcc's unwind-dw2.c, and B and G of AArch64.
Read at run-time addresses, so no file and no section header is needed.  On the hot path.
"""

from __future__ import annotations

from .table_reader import (
    ALIGNED,
    OMITTED,
    Absent,
    Damaged,
    Reader,
    kept,
    pointer,
    pointer_size,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..module import Module
    from .frame import Context

__all__ = ["Cie", "Fde", "find"]

# Bytes of one entry: among two million of Debian the largest has 22184.
MAX_ENTRY = 1 << 16
# Entries of a sorted table; its search takes 21 looks.
MAX_TABLE = 1 << 20
# Entries looked at one after the other, where there is no sorted table.
MAX_SCAN = 20000
MAX_CIES = 256
MAX_LETTERS = 16                # of an augmentation; there are seven
MAX_INDEXES = 256

DATA_RELATIVE = 0x3b            # DW_EH_PE_datarel | DW_EH_PE_sdata4
_VERSIONS = (1, 3, 4)
_64_BIT = 0xffffffff
_HEADER = 4 + 3 * 8             # of .eh_frame_hdr, at most, without an aligned pointer's padding


class Cie:
    """What FDEs have in common."""

    __slots__ = ("code_unit", "data_unit", "encoding", "has_size", "instructions",
                 "instructions_at", "is_signal", "return_register")

    def __init__(self) -> None:
        self.code_unit = 1              # what advances are multiplied by
        self.data_unit = 1              # what offsets are multiplied by
        self.return_register = 0        # the rule of this one gives the caller's pc
        self.encoding = 0               # of the FDEs' addresses
        self.has_size = False           # FDEs have augmentation data with its size before it
        self.is_signal = False          # the caller was interrupted, and has not called
        self.instructions = b""
        self.instructions_at = 0        # their address


class Fde:
    """Where the code of one stretch of a function has its caller's registers."""

    __slots__ = ("cie", "end", "instructions", "instructions_at", "start")

    def __init__(self, cie: Cie, start: int, size: int, rest: Reader) -> None:
        self.cie = cie
        self.start = start
        self.end = start + size         # the first address behind
        self.instructions_at = rest.here
        self.instructions = rest.data[rest.at:]


class _Index:
    """One module's .eh_frame_hdr."""

    __slots__ = ("base", "count", "encoding", "frames", "rows", "size", "table")

    def __init__(self, base: int, frames: int) -> None:
        self.base = base                # its own address
        self.frames = frames            # that of .eh_frame
        self.encoding = OMITTED         # of the sorted table's two columns
        self.size = 0                   # bytes of one column; 0: there is no table
        self.table = 0
        self.count = 0
        self.rows: list[tuple[int, int, int]] = []      # start, end, FDE: where there is no table


def find(context: Context, module: Module, pc: int) -> Fde | None:
    """The FDE that covers `pc`, if the module has one.  Raises Damaged."""
    index = _index(context, module)
    if index is None:
        return None
    address = _in_table(context, index, pc) if index.size else _in_rows(index, pc)
    fde = _fde(context, module, address) if address is not None else None
    return fde if fde is not None and fde.start <= pc < fde.end else None


def _index(context: Context, module: Module) -> _Index | None:
    indexes = kept(context, "cfi indexes", MAX_INDEXES)
    if module.base not in indexes:
        indexes[module.base] = None     # also if it is damaged
        place = None if module.image is None else module.image.eh_frame_hdr
        if place is not None:
            indexes[module.base] = _read_index(context, module, place[0])
    found: _Index | None = indexes[module.base]
    return found


def _read_index(context: Context, module: Module, base: int) -> _Index:
    reader = _reader(context, base, _HEADER)
    if reader.byte() != 1:
        raise Damaged(".eh_frame_hdr has an unknown version")
    frames_encoding, count_encoding, encoding = reader.byte(), reader.byte(), reader.byte()
    index = _Index(base, 0)
    if frames_encoding != OMITTED:
        index.frames = pointer(reader, frames_encoding, context.memory, base)
    size = pointer_size(encoding, context.machine.word)
    if OMITTED in (count_encoding, encoding) or size is None:
        index.rows = _scan(context, module, index.frames)
        return index
    index.count = min(pointer(reader, count_encoding, context.memory, base), MAX_TABLE)
    index.table, index.encoding, index.size = reader.here, encoding, size
    return index


def _in_table(context: Context, index: _Index, pc: int) -> int | None:
    """The address of the last FDE that begins at or before `pc`."""
    low, high, row = 0, index.count, 2 * index.size
    while low < high:
        middle = (low + high) // 2
        if _column(context, index, index.table + middle * row) <= pc:
            low = middle + 1
        else:
            high = middle
    return _column(context, index, index.table + low * row - index.size) if low else None


def _column(context: Context, index: _Index, address: int) -> int:
    """The pointer at `address` of the table.  Raises Damaged."""
    if index.encoding == DATA_RELATIVE:         # every linker's; by Reader it takes thrice as long
        data = context.memory.read(address, 4)
        if len(data) == 4:
            offset = int.from_bytes(data, context.machine.order, signed=True)
            return (index.base + offset if offset else 0) & context.machine.mask
    return pointer(_reader(context, address, index.size), index.encoding, context.memory,
                   index.base)


def _in_rows(index: _Index, pc: int) -> int | None:
    for start, end, address in index.rows:
        if start <= pc < end:
            return address
    return None


def _scan(context: Context, module: Module, address: int) -> list[tuple[int, int, int]]:
    """Start, end and address of the FDEs from `address` on, up to a length that cannot be."""
    rows = []
    for _ in range(MAX_SCAN):
        try:
            entry = _entry(context, address)
        except Damaged as damage:
            context.note(f".eh_frame cannot be read to its end: {damage}.")
            break
        if entry is None:
            break
        rows += _scanned(context, module, address)
        address = entry.address + len(entry.data)
    return rows


def _scanned(context: Context, module: Module, address: int) -> list[tuple[int, int, int]]:
    """The row of what is at `address`; none if that is a CIE, or damaged."""
    try:
        fde = _fde(context, module, address)
    except Damaged:
        return []
    return [(fde.start, fde.end, address)]


def _fde(context: Context, module: Module, address: int) -> Fde:
    """The FDE at `address`.  Raises Damaged."""
    reader = _entry(context, address)
    if reader is None:
        raise Damaged("an FDE is no FDE")
    here = reader.here
    distance = reader.number(4)
    if not distance:
        raise Damaged("an FDE is a CIE")
    cie = _cie(context, here - distance)
    start = pointer(reader, cie.encoding, context.memory)
    size = pointer(reader, cie.encoding & 0x0f, context.memory)
    if cie.has_size:
        reader.block()
    if not cie.encoding & 0x70 and not module.base <= start < module.base + module.size:
        start = (start + module.bias) & context.machine.mask    # a file's: nobody relocated it
    return Fde(cie, context.machine.code_address(start), size, reader)


def _cie(context: Context, address: int) -> Cie:
    cies = kept(context, "cies", MAX_CIES)
    if address not in cies:
        cies[address] = _read_cie(context, address)
    found: Cie = cies[address]
    return found


def _read_cie(context: Context, address: int) -> Cie:
    reader = _entry(context, address)
    if reader is None or reader.number(4):
        raise Damaged("a CIE is no CIE")
    cie = Cie()
    version = reader.byte()
    if version not in _VERSIONS:
        raise Damaged(f"a CIE of unknown version {version}")
    augmentation = reader.text()
    if augmentation[:2] == b"eh":               # gcc 2: a pointer to exception tables
        reader.take(reader.word)
        augmentation = augmentation[2:]
    if version == 4 and (reader.byte() != reader.word or reader.byte()):
        raise Damaged("a CIE of another machine")
    cie.code_unit, cie.data_unit = reader.uleb(), reader.sleb()
    cie.return_register = reader.byte() if version == 1 else reader.uleb()
    _augment(context, cie, augmentation, reader)
    cie.instructions_at, cie.instructions = reader.here, reader.data[reader.at:]
    return cie


def _augment(context: Context, cie: Cie, augmentation: bytes, reader: Reader) -> None:
    """Take the augmentation's data into `cie`."""
    if not augmentation:
        return
    if augmentation[:1] != b"z":
        raise Damaged(f"a CIE with an unknown augmentation, {augmentation[:8]!r}")
    cie.has_size = True
    size = reader.uleb()
    here = reader.here
    data = Reader(reader.take(size), here, reader.word, reader.order)
    for letter in augmentation[1:MAX_LETTERS].decode("latin-1"):
        _augment_by(context, cie, letter, data)


def _augment_by(context: Context, cie: Cie, letter: str, reader: Reader) -> None:
    if letter == "R":
        cie.encoding = reader.byte()
    elif letter == "P":                         # a personality routine: passed over
        encoding = reader.byte()
        if encoding != OMITTED:
            pointer(reader, encoding if encoding == ALIGNED else encoding & 0x0f, context.memory)
    elif letter == "L":
        reader.byte()
    elif letter == "S":
        cie.is_signal = True
    elif letter not in "BG":                    # which key signs addresses; memory is tagged
        raise Damaged(f"a CIE with an unknown augmentation, {letter!r}")


def _entry(context: Context, address: int) -> Reader | None:
    """The CIE or FDE at `address` behind its length; None at the end of them all."""
    size = _reader(context, address, 4).number(4)
    if not size:
        return None
    if size == _64_BIT:
        raise Damaged("lengths of 64 bits are not read")
    if size > MAX_ENTRY:
        raise Damaged(f"an entry of {size} bytes")
    reader = _reader(context, address + 4, size)
    if len(reader.data) < size:
        raise Damaged("an entry is not there whole")
    return reader


def _reader(context: Context, address: int, size: int) -> Reader:
    machine, data = context.machine, context.memory.read(address, size)
    if size and not data:
        raise Absent
    return Reader(data, address, machine.word, machine.order)
