"""842's software format, as pstore's "842" writes it: bits, most significant first, and a CRC.

Source: lib/842/842.h, 842_compress.c and 842_decompress.c, kernels 4.9 to 6.5 (the CRC is there
since 4.4).  Eight bytes of text make one template; an index counts from a FIFO's start over text
that is complete.  Pure.
"""

from __future__ import annotations

import zlib

__all__ = ["decode"]

OP_BITS = 5
# What the templates 0x00 to 0x19 are made of: bytes as they are, and references to earlier ones.
TEMPLATES = tuple(template.split() for template in (
    "D8", "D4 D2 I2", "D4 I2 D2", "D4 I2 I2", "D4 I4",
    "D2 I2 D4", "D2 I2 D2 I2", "D2 I2 I2 D2", "D2 I2 I2 I2", "D2 I2 I4",
    "I2 D2 D4", "I2 D4 I2", "I2 D2 I2 D2", "I2 D2 I2 I2", "I2 D2 I4",
    "I2 I2 D4", "I2 I2 D2 I2", "I2 I2 I2 D2", "I2 I2 I2 I2", "I2 I2 I4",
    "I4 D4", "I4 D2 I2", "I4 I2 D2", "I4 I2 I2", "I4 I4", "I8"))
REPEAT, ZEROS, SHORT_DATA, END = 0x1b, 0x1c, 0x1d, 0x1e
INDEX_BITS = {2: 8, 4: 9, 8: 8}
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Damaged(Exception):
    """The stream ends, or says what cannot be."""


class _Bits:
    """Reads numbers from a stream of bits."""

    def __init__(self, stream: bytes) -> None:
        self._stream = stream
        self._size = 8 * len(stream)
        self.at = 0                     # in bits

    def left(self) -> int:
        """How many whole bytes there are."""
        return (self._size - self.at) >> 3

    def take(self, count: int) -> int:
        """The next `count` bits, at most 64."""
        first, end = self.at >> 3, self.at + count
        if end > self._size:
            raise _Damaged
        self.at = end
        word = int.from_bytes(self._stream[first:first + 9].ljust(9, b"\0"), "big")
        return word >> (72 - (end - 8 * first)) & ((1 << count) - 1)


def decode(stream: bytes, limit: int) -> tuple[bytes, int | None, bool | None]:
    """The text up to the damage, at most `limit` bytes, the stream's length, and whether its CRC
    says that the text is what it was.

    None for the length and the CRC: the stream did not come to its end.
    """
    bits, text = _Bits(stream), bytearray()
    try:
        while (op := bits.take(OP_BITS)) != END:
            _one(op, bits, text)
            if len(text) > limit:
                return bytes(text[:limit]), None, None
        sound = bits.take(32) == _crc(bytes(text))
    except _Damaged:
        return bytes(text), None, None
    # The compressor pads to a multiple of eight bytes.
    return bytes(text), min(len(stream), -(-bits.at // 64) * 8), sound


def _one(op: int, bits: _Bits, text: bytearray) -> None:
    """Append what one operation gives.  Data of less than eight bytes stands at the end only."""
    if len(text) % 8:
        raise _Damaged
    if op < len(TEMPLATES):
        for part in TEMPLATES[op]:
            size = int(part[1])
            if part[0] == "D":
                _data(bits, size, text)
            else:
                _index(bits, size, text)
    elif op == REPEAT and text:
        text += text[-8:] * (bits.take(6) + 1)
    elif op == ZEROS:
        text += bytes(8)
    elif op == SHORT_DATA and (count := bits.take(3)):
        _data(bits, count, text)
    else:
        raise _Damaged


def _data(bits: _Bits, count: int, text: bytearray) -> None:
    size = min(count, bits.left())
    text += bits.take(8 * size).to_bytes(size, "big")
    if size < count:
        raise _Damaged


def _index(bits: _Bits, size: int, text: bytearray) -> None:
    """Append `size` earlier bytes (__do_index): the index wraps as a ring of them would."""
    fifo = size << INDEX_BITS[size]
    whole = len(text) & ~7
    offset = bits.take(INDEX_BITS[size]) * size
    if whole > fifo:
        section, position = whole // fifo * fifo, whole % fifo
        offset += section - fifo if offset >= position else section
    if offset + size > whole:
        raise _Damaged
    text += text[offset:offset + size]


def _crc(text: bytes) -> int:
    """crc32_be(0, text): zlib's CRC with the bits of everything in the other order."""
    reflected = zlib.crc32(text.translate(_REVERSED), 0xffffffff) ^ 0xffffffff
    return int(f"{reflected:032b}"[::-1], 2)
