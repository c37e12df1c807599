"""The files a crashed program was made of: where each is mapped, what it is, what it exports.

On the hot path.
"""

from __future__ import annotations

import struct
import zlib

from .elf import (
    DT_GNU_HASH,
    DT_HASH,
    DT_MIPS_SYMTABNO,
    DT_STRTAB,
    DT_SYMTAB,
    PF_X,
    PT_LOAD,
    Image,
    Segment,
)
from .memory import last_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Columns = tuple[int, int, int, int, int]

__all__ = ["Module", "data_symbol", "text_id"]

MAX_SYMBOLS, MAX_BUCKETS, MAX_NAME = 1 << 16, 1 << 16, 256
ROWS = 512                  # of .dynsym at a time
MAX_BACK = 32               # symbols looked back for one that covers an address
MAX_KNOWN, AT_ONCE = 256, 64    # answers kept; addresses looked up in one pass
MAX_TEXT, CHUNK = 32 << 20, 1 << 16
STT_OBJECT, STT_SECTION, STT_FILE, STT_TLS = 1, 3, 4, 6
NOT_CODE = (STT_OBJECT, STT_SECTION, STT_FILE, STT_TLS)


class Module:
    """One mapped file.  Addresses are the running program's, sizes in bytes."""

    __slots__ = ("_build_id", "_count", "_known", "base", "image", "path", "ranges", "size")

    def __init__(self, path: str, base: int, size: int, image: Image | None,
                 ranges: list[tuple[int, int]]) -> None:
        self.path = path
        self.base = base                # address of the first mapped page
        self.size = size                # from there to the end of the last mapping
        self.image = image              # None: its headers are nowhere to be read
        self.ranges = ranges            # (start, end) of its executable mappings
        self._build_id: str | None = None
        self._known: dict[int, tuple[str, int] | None] = {}     # of `symbol`
        self._count: int | None = None  # rows of .dynsym, once they are counted

    @property
    def bias(self) -> int:
        """What to add to the file's addresses; the base where the headers are missing."""
        return self.image.bias if self.image else self.base

    @property
    def build_id(self) -> str | None:
        """The GNU build-id in hex; None: it has none, or it cannot be read."""
        if self._build_id is None and self.image is not None:
            self._build_id = self.image.build_id
        return self._build_id

    @property
    def text_id(self) -> str | None:
        """What names a file without a build-id: the function `text_id`."""
        return text_id(self.image) if self.image else None

    def symbol(self, address: int) -> tuple[str, int] | None:
        """(name, offset in it) of the exported symbol `address` lies in; None: there is none.

        A sized symbol that covers the address, else the last one without a size before it.
        """
        return self.symbols([address])[address]

    def symbols(self, addresses: Iterable[int]) -> dict[int, tuple[str, int] | None]:
        """As `symbol`, of many addresses: the table is passed over once for AT_ONCE of them.

        Of what is in the table only a few rows at a time are held.
        """
        wanted = sorted(set(addresses))
        found: dict[int, tuple[str, int] | None] = {}
        for at in range(0, len(wanted), AT_ONCE):
            found.update(self._symbols(wanted[at:at + AT_ONCE]))
        return found

    def _symbols(self, addresses: list[int]) -> dict[int, tuple[str, int] | None]:
        if self.image is None:
            return dict.fromkeys(addresses)
        known = self._known             # threads that wait ask for the same ones
        if len(known) > MAX_KNOWN - AT_ONCE:
            known.clear()
        missing = [address for address in addresses if address not in known]
        if missing:
            if self._count is None:
                self._count = _count(self.image)
            known.update(_look_up(self.image, self._count, missing))
        return {address: known[address] for address in addresses}


def _look_up(image: Image, count: int, addresses: list[int]
             ) -> Iterator[tuple[int, tuple[str, int] | None]]:
    """(address, what `symbol` says) of each of the sorted addresses, from `count` symbols."""
    before: dict[int, list[tuple[int, int, int]]] = {address: [] for address in addresses}
    low = 0
    for table, columns in _table(image, count):
        rows = sorted(_functions(image, table, columns, low, addresses[-1]))
        starts = [row[0] for row in rows]
        for address in addresses:
            index = last_at(starts, address)
            if index >= 0:
                last = sorted(before[address] + rows[max(index - MAX_BACK, 0):index + 1])
                before[address] = last[-MAX_BACK - 1:]
        # What starts before all that is held is of no use any more.
        low = min(last[0][0] if len(last) > MAX_BACK else 0 for last in before.values())
    return ((address, _named(image, last, address)) for address, last in before.items())


def _named(image: Image, before: list[tuple[int, int, int]], address: int
           ) -> tuple[str, int] | None:
    """(name, offset) of the best of the last symbols up to `address`."""
    found = _covering(before, address)
    if not found:
        return None
    names = [_symbol_name(image, row[2]) for row in found]
    name = min((name for name in names if name), key=_plainness, default="")
    return (name, address - found[0][0]) if name else None


def _covering(symbols: list[tuple[int, int, int]], address: int) -> list[tuple[int, int, int]]:
    """The symbols, all of one address, that say best where `address` is; [] if none does."""
    unsized = sized = None
    for row in reversed(symbols):
        if address < row[0] + row[1]:
            sized = row
            break
        if not row[1] and unsized is None:
            unsized = row
    best = sized or unsized
    if best is None:
        return []
    return [row for row in symbols if row[:2] == best[:2]]


def _plainness(name: str) -> tuple[bool, int, str]:
    """Of several names for one function, the one people know."""
    return name.startswith("_"), len(name), name


def _functions(image: Image, rows: Iterable[tuple[int, ...]], columns: Columns, first: int = 0,
               last: int = 1 << 64) -> list[tuple[int, int, int]]:
    """(address, size, offset of the name) of the symbols of code that are defined, with addresses
    from `first` to `last`.

    There are thousands in a libc: nothing is called for each.
    """
    plain, bias, mask = ~image.machine.mode_bit, image.bias, image.machine.mask
    name, value, size, info, section = columns
    return [(address, row[size], row[name]) for row in rows
            if first <= (address := (row[value] & plain) + bias & mask) <= last
            and row[section] and row[value] and row[info] & 15 not in NOT_CODE]


def data_symbol(image: Image, name: bytes) -> int | None:
    """The address of the exported variable `name`."""
    strings = image.pointer(DT_STRTAB)
    if strings is None:
        return None
    for rows, (offset, value, _, info, section) in _table(image, _count(image)):
        for row in rows:
            if (row[section] and row[value] and row[info] & 15 == STT_OBJECT
                    and image.memory.string(strings + row[offset], MAX_NAME) == name):
                return image.address(row[value])
    return None


def _symbol_name(image: Image, offset: int) -> str:
    strings = image.pointer(DT_STRTAB)
    if strings is None:
        return ""
    return image.memory.string(strings + offset, MAX_NAME).decode("utf-8", "replace")


def _table(image: Image, count: int
           ) -> Iterator[tuple[Iterable[tuple[int, ...]], Columns]]:
    """The rows of .dynsym, ROWS at a time, and in which columns are the offset of the name, the
    value, the size, the info and the section's index."""
    wide = image.machine.bits == 64
    columns = (0, 4, 5, 1, 3) if wide else (0, 1, 2, 3, 5)
    start = image.pointer(DT_SYMTAB)
    if start is None:
        return
    layout = struct.Struct(image.head.order + ("IBBHQQ" if wide else "IIIBBH"))
    for at in range(0, count, ROWS):
        wanted = min(count - at, ROWS) * layout.size
        raw = image.memory.past_cache(start + at * layout.size, wanted)
        yield layout.iter_unpack(raw[:len(raw) // layout.size * layout.size]), columns
        if len(raw) < wanted:
            return


def _count(image: Image) -> int:
    """How many symbols .dynsym has: DT_HASH says it, or DT_GNU_HASH's chains, or MIPS' own."""
    table = image.pointer(DT_HASH)
    count = image.memory.integer(table + 4, 4) if table is not None else None
    if count is None:
        count = _gnu_count(image)
    if count is None:
        count = image.dynamic.get(DT_MIPS_SYMTABNO, 0)
    return min(count, MAX_SYMBOLS)


def _gnu_count(image: Image) -> int | None:
    """One more than the last symbol of DT_GNU_HASH's last chain."""
    table = image.pointer(DT_GNU_HASH)
    raw = image.memory.read(table, 16) if table is not None else b""
    if table is None or len(raw) < 16:
        return None
    order = image.machine.order
    buckets, first, words = (int.from_bytes(raw[at:at + 4], order) for at in (0, 4, 8))
    start = table + 16 + words * image.machine.word
    heads = image.memory.read(start, min(buckets, MAX_BUCKETS) * 4)
    last = max((int.from_bytes(heads[at:at + 4], order) for at in range(0, len(heads), 4)),
               default=0)
    if last < first:
        return first
    chain = start + (buckets + last - first) * 4
    for step in range(MAX_SYMBOLS):
        value = image.memory.integer(chain + step * 4, 4)
        if value is None or value & 1:
            return last + step + 1
    return None


def text_id(image: Image) -> str | None:
    """A name for what a file executes, the same for the stripped and the unstripped file.

    CRC-32 and Adler-32 of the bytes of the executable PT_LOADs in the file, without the ELF and
    program headers and without trailing zeros, and how many bytes that are, all in hex; None where
    not all of them can be read, or they are more than MAX_TEXT.
    """
    text = _Text()
    for row in image.segments:
        if row.type == PT_LOAD and row.flags & PF_X and not _add_segment(text, image, row):
            return None
    return f"{text.crc:08x}{text.adler:08x}{text.size:x}" if text.size else None


class _Text:
    """The sums so far, and how many zeros were seen that count only if something follows."""

    __slots__ = ("adler", "crc", "size", "zeros")

    def __init__(self) -> None:
        self.crc, self.adler, self.size, self.zeros = 0, 1, 0, 0

    def add(self, data: bytes) -> None:
        kept = data.rstrip(b"\0")
        if kept:
            piece = bytes(self.zeros) + kept
            self.crc, self.adler = zlib.crc32(piece, self.crc), zlib.adler32(piece, self.adler)
            self.size += len(piece)
            self.zeros = 0
        self.zeros += len(data) - len(kept)


def _add_segment(text: _Text, image: Image, row: Segment) -> bool:
    """False where not all of it can be read."""
    text.zeros = 0                      # the segment before ended
    head = image.head
    skip = max(head.size, head.phoff + head.phnum * head.phentsize) if row.offset == 0 else 0
    if row.filesz > MAX_TEXT - text.size:
        return False
    for start in range(skip, row.filesz, CHUNK):
        wanted = min(row.filesz - start, CHUNK)
        data = image.memory.read(image.address(row.address) + start, wanted)
        if len(data) < wanted:
            return False
        text.add(data)
    return True
