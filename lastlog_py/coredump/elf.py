"""An ELF image as it is mapped: program headers, dynamic section, tables; no section headers.

Source: the System V gABI, chapters 4 and 5; include/uapi/linux/elf.h.  All addresses given out are
those of the running program (the bias is added).  On the hot path.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .machine import Machine
    from .memory import Memory

__all__ = ["Header", "Image", "Segment", "first_page", "header", "read_image", "segments"]

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
PT_GNU_EH_FRAME, PT_ARM_EXIDX = 0x6474E550, 0x70000001
PF_X = 1
NT_GNU_BUILD_ID = 3

DT_NULL, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT = 0, 4, 5, 6, 10, 11
DT_DEBUG, DT_GNU_HASH = 21, 0x6FFFFEF5
DT_MIPS_SYMTABNO, DT_MIPS_RLD_MAP, DT_MIPS_RLD_MAP_REL = 0x70000013, 0x70000016, 0x70000035

MAX_HEADERS, MAX_DYNAMIC, MAX_NOTES = 128, 512, 4096
# Segments after the first may not lie further off than this: no library is larger.
MAX_IMAGE = 1 << 31


class Header:
    """An ELF file header, as far as it is used here."""

    __slots__ = ("bits", "data", "e_class", "entry", "flags", "machine", "order", "phentsize",
                 "phnum", "phoff", "size", "type")

    def __init__(self, raw: bytes) -> None:
        self.e_class, self.data = raw[4], raw[5]
        self.bits = 64 if self.e_class == 2 else 32
        self.order = "<" if self.data == 1 else ">"     # for struct
        wide = self.bits == 64
        self.type, self.machine = struct.unpack_from(self.order + "HH", raw, 16)
        self.entry, self.phoff = struct.unpack_from(self.order + ("QQ" if wide else "II"), raw, 24)
        (self.flags, self.size, self.phentsize, self.phnum) = struct.unpack_from(
            self.order + "IHHH", raw, 48 if wide else 36)


def header(raw: bytes) -> Header | None:
    """The file header at the start of `raw`; None: not ELF, or not whole."""
    if raw[:4] != b"\x7fELF" or len(raw) < 52 or raw[4] not in (1, 2) or raw[5] not in (1, 2):
        return None
    return Header(raw) if len(raw) >= (64 if raw[4] == 2 else 52) else None


class Segment:
    """One program header; addresses as in the file, sizes in bytes."""

    __slots__ = ("address", "filesz", "flags", "memsz", "offset", "type")

    def __init__(self, type_: int, flags: int, offset: int, address: int, filesz: int,
                 memsz: int) -> None:
        self.type = type_
        self.flags = flags
        self.offset = offset
        self.address = address
        self.filesz = filesz
        self.memsz = memsz


def segments(head: Header, raw: bytes) -> list[Segment]:
    """The program headers in `raw`, the bytes of their table; those that are whole."""
    wide = head.bits == 64
    layout = struct.Struct(head.order + ("IIQQQQQQ" if wide else "IIIIIIII"))
    found = []
    for offset in range(0, len(raw) - layout.size + 1, max(head.phentsize, layout.size)):
        row = layout.unpack_from(raw, offset)
        found.append(Segment(row[0], row[1], row[2], row[3], row[5], row[6]) if wide else
                     Segment(row[0], row[6], row[1], row[2], row[4], row[5]))
    return found


class Image:
    """An ELF image at `base`, the address of its first mapped page, seen through a memory."""

    __slots__ = ("_dynamic", "base", "bias", "head", "machine", "memory", "segments")

    def __init__(self, machine: Machine, memory: Memory, base: int, head: Header,
                 rows: list[Segment]) -> None:
        self.machine = machine
        self.memory = memory
        self.base = base
        self.head = head
        self.segments = rows
        self.bias = (base - first_page(rows)) & machine.mask
        self._dynamic: dict[int, int] | None = None

    @property
    def end(self) -> int:
        """The end of the last PT_LOAD, at most MAX_IMAGE after the base."""
        ends = [self.address(row.address) + row.memsz for row in self.segments
                if row.type == PT_LOAD]
        return min(max(ends, default=self.base), self.base + MAX_IMAGE)

    def address(self, value: int) -> int:
        """Where in the program the address `value` of the file is."""
        return (value + self.bias) & self.machine.mask

    @property
    def entry(self) -> int | None:
        """The address of the program's, or the loader's, _start; None: it has none."""
        return self.machine.code_address(self.address(self.head.entry)) if self.head.entry else None

    def segment(self, type_: int) -> tuple[int, int] | None:
        """(address, size in memory) of the first segment of that type."""
        for row in self.segments:
            if row.type == type_:
                return self.address(row.address), row.memsz
        return None

    @property
    def eh_frame_hdr(self) -> tuple[int, int] | None:
        """(address, size) of the sorted table that leads to .eh_frame."""
        return self.segment(PT_GNU_EH_FRAME)

    @property
    def exidx(self) -> tuple[int, int] | None:
        """(address, size) of ARM's table of unwind instructions."""
        return self.segment(PT_ARM_EXIDX) if self.machine.family == "arm" else None

    @property
    def executable(self) -> list[tuple[int, int]]:
        """(start, end) of the PT_LOADs that may be executed."""
        return [(self.address(row.address), self.address(row.address) + row.memsz)
                for row in self.segments if row.type == PT_LOAD and row.flags & PF_X]

    @property
    def dynamic(self) -> dict[int, int]:
        """PT_DYNAMIC's entries as they are in memory, the first of each tag; {} without one."""
        if self._dynamic is None:
            self._dynamic = self._read_dynamic()
        return self._dynamic

    def pointer(self, tag: int) -> int | None:
        """The address in dynamic entry `tag`.

        glibc's loader adds the bias to the entries in memory, except where .dynamic is read-only
        (MIPS, RISC-V); musl's does not; a file's have none.
        """
        value = self.dynamic.get(tag)
        if value is None:
            return None
        return value if self.base <= value < self.end else self.address(value)

    def _read_dynamic(self) -> dict[int, int]:
        entries: dict[int, int] = {}
        for tag, value, _ in self._entries():
            entries.setdefault(tag, value)
        return entries

    def _entries(self) -> list[tuple[int, int, int]]:
        """(tag, value, address of the entry) of PT_DYNAMIC."""
        place = self.segment(PT_DYNAMIC)
        if place is None:
            return []
        word = self.machine.word
        layout = struct.Struct(self.head.order + ("QQ" if word == 8 else "II"))
        raw = self.memory.read(place[0], min(place[1], MAX_DYNAMIC * layout.size))
        found: list[tuple[int, int, int]] = []
        for offset in range(0, len(raw) - layout.size + 1, layout.size):
            tag, value = layout.unpack_from(raw, offset)
            if tag == DT_NULL:
                break
            found.append((tag, value, place[0] + offset))
        return found

    def dynamic_entry(self, wanted: int) -> int | None:
        """The address of dynamic entry `wanted` itself."""
        for tag, _, address in self._entries():
            if tag == wanted:
                return address
        return None

    @property
    def build_id(self) -> str | None:
        """The GNU build-id in hex, from a PT_NOTE."""
        for row in self.segments:
            if row.type == PT_NOTE:
                raw = self.memory.read(self.address(row.address), min(row.filesz, MAX_NOTES))
                found = _build_id(raw, self.machine.order)
                if found:
                    return found
        return None


def _build_id(raw: bytes, order: str) -> str | None:
    layout = struct.Struct("<III" if order == "little" else ">III")
    offset = 0
    while offset + 12 <= len(raw):
        name_size, desc_size, kind = layout.unpack_from(raw, offset)
        name = offset + 12
        desc = name + (name_size + 3 & ~3)
        if kind == NT_GNU_BUILD_ID and raw[name:name + 4] == b"GNU\0":
            found = raw[desc:desc + desc_size]
            return found.hex() if 0 < len(found) == desc_size <= 64 else None
        offset = desc + (desc_size + 3 & ~3)
    return None


def first_page(rows: list[Segment]) -> int:
    """The page of the lowest PT_LOAD, as an address of the file."""
    loads = [row.address for row in rows if row.type == PT_LOAD]
    return min(loads, default=0) & ~0xFFF


def read_image(machine: Machine, memory: Memory, base: int) -> Image | None:
    """The image whose file header is at `base`; None: there is none that can be read."""
    head = header(memory.read(base, 64))
    if head is None or head.bits != machine.bits or head.phentsize != (56 if head.bits == 64
                                                                       else 32):
        return None
    raw = memory.read(base + head.phoff, min(head.phnum, MAX_HEADERS) * head.phentsize)
    rows = segments(head, raw)
    return Image(machine, memory, base, head, rows) if rows else None
