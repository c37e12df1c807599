"""A cursor over the bytes of an unwind table, which may be anything at all.

Source of the pointer encodings: Linux Standard Base, "DWARF Exception Header Encoding"
(DW_EH_PE_*), as gcc's unwind-pe.h reads them.  On the hot path: imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from ..memory import Memory
    from .frame import Context

__all__ = ["ALIGNED", "OMITTED", "Absent", "Damaged", "Reader", "damaged", "kept", "pointer",
           "pointer_size"]

OMITTED = 0xff                  # DW_EH_PE_omit: there is no value
ALIGNED = 0x50                 # a word at the next multiple of its size
_INDIRECT = 0x80                # the value is the address of the value
_PCREL, _DATAREL = 0x10, 0x30
_ULEB, _SLEB = 0x01, 0x09
# Bytes of the formats of a fixed size; 0 is the machine's word.  Bit 3 says it has a sign.
_SIZES = {0x0: 0, 0x2: 2, 0x3: 4, 0x4: 8, 0x8: 0, 0xa: 2, 0xb: 4, 0xc: 8}
_SIGNED = 0x08

# A LEB128 number of more bytes than this holds no 64-bit number.
_MAX_LEB = 10


class Damaged(Exception):
    """A table that says what cannot be, or what is not read here; which, in a few words."""


class Absent(Damaged):
    """A table in memory that cannot be read: a core need not have it."""


def damaged(context: Context, what: str, pc: int, damage: Damaged) -> None:
    """Tell of it; what: cannot be used."""
    if isinstance(damage, Absent):
        context.note("Unwind tables are in memory that cannot be read; a core need not have it.")
    else:
        context.note(f"{what} at {pc:#x} cannot be used: {damage}.")


class Reader:
    """Bytes of a table and the place to read at.  Its methods raise Damaged at the end."""

    __slots__ = ("address", "at", "data", "order", "word")

    def __init__(self, data: bytes, address: int, word: int,
                 order: Literal["little", "big"]) -> None:
        self.data = data
        self.address = address          # of data[0] in the process
        self.at = 0                     # next to be read: an index into data
        self.word = word                # bytes of an address
        self.order = order

    @property
    def here(self) -> int:
        """The address of what is read next."""
        return self.address + self.at

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        at = self.at
        if size > len(self.data) - at:
            raise Damaged("a table ends early")
        self.at = at + size
        return self.data[at:self.at]

    def byte(self) -> int:
        """The next byte."""
        at = self.at
        if at >= len(self.data):
            raise Damaged("a table ends early")
        self.at = at + 1
        return self.data[at]

    def number(self, size: int, signed: bool = False) -> int:
        """The next `size` bytes as a number."""
        return int.from_bytes(self.take(size), self.order, signed=signed)

    def uleb(self) -> int:
        """A number of 7 bits a byte, the lowest first."""
        value, shift = 0, 0
        for _ in range(_MAX_LEB):
            byte = self.byte()
            value |= (byte & 0x7f) << shift
            shift += 7
            if not byte & 0x80:
                return value
        raise Damaged("a number without an end")

    def sleb(self) -> int:
        """Such a number with a sign: the highest of its bits."""
        start = self.at
        value = self.uleb()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def block(self) -> bytes:
        """Bytes behind their number."""
        return self.take(self.uleb())

    def text(self) -> bytes:
        """Bytes up to a NUL, without it."""
        end = self.data.find(0, self.at)
        if end < 0:
            raise Damaged("a text without an end")
        text = self.data[self.at:end]
        self.at = end + 1
        return text


def kept(context: Context, kind: str, limit: int) -> dict[int, Any]:
    """What was read from tables before, by address; emptied when it has grown to `limit`."""
    found = context.cache.get(kind)
    if not isinstance(found, dict) or len(found) >= limit:
        found = context.cache[kind] = {}
    return found


def pointer_size(encoding: int, word: int) -> int | None:
    """Bytes of a pointer in `encoding`; None where that differs from pointer to pointer."""
    if encoding == ALIGNED:
        return None
    size = _SIZES.get(encoding & 0x0f)
    return None if size is None else size or word


def pointer(reader: Reader, encoding: int, memory: Memory, data_base: int | None = None) -> int:
    """The next pointer, an address; 0 is no pointer.

    `data_base` is what pointers relative to data count from.  Raises Damaged.
    """
    if encoding == ALIGNED:
        reader.take(-reader.here % reader.word)
        return reader.number(reader.word)
    here = reader.here
    value = _value(reader, encoding & 0x0f)
    if value:
        value += _base(encoding & 0x70, here, data_base)
    value &= (1 << 8 * reader.word) - 1
    if not encoding & _INDIRECT or not value:
        return value
    return Reader(memory.read(value, reader.word), value, reader.word,
                  reader.order).number(reader.word)


def _value(reader: Reader, form: int) -> int:
    if form == _ULEB:
        return reader.uleb()
    if form == _SLEB:
        return reader.sleb()
    size = _SIZES.get(form)
    if size is None:
        raise Damaged(f"an unknown form of pointer, {form:#x}")
    return reader.number(size or reader.word, bool(form & _SIGNED))


def _base(relation: int, here: int, data_base: int | None) -> int:
    if relation == 0:
        return 0
    if relation == _PCREL:
        return here
    if relation == _DATAREL and data_base is not None:
        return data_base
    raise Damaged(f"a pointer relative to what is not known, {relation:#x}")
