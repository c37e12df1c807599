"""LZ4's raw block, as pstore's "lz4" and "lz4hc" write it: no frame, no size, no checksum.

Source: Documentation of lib/lz4 (lz4_Block_format), lib/lz4/lz4_decompress.c, kernels 4.7 to 6.5.
A library is on no router, and gives nothing at all of a block that is damaged.  Pure.
"""

from __future__ import annotations

import re

from .lz77 import repeat

__all__ = ["decode"]

SHORTEST = 4                # bytes of a match
LAST = 5                    # bytes at a block's end that are always literals
_FULL = re.compile(rb"\xff*+")


def decode(block: bytes, limit: int) -> tuple[bytes, int | None]:
    """The text up to the damage, at most `limit` bytes, and the block's length.

    None for the length: the block did not end as it should.  Nothing marks its end: that is where
    the input ends behind literals.
    """
    text = bytearray()
    at, size = 0, len(block)
    while at < size and len(text) < limit:
        token = block[at]
        count, at = _length(block, at + 1, token >> 4)
        text += block[at:at + count]
        at += count
        if at == size and (count >= LAST or count == len(text)) and len(text) <= limit:
            return bytes(text), size
        distance = int.from_bytes(block[at:at + 2], "little")
        if at + 2 > size or not 0 < distance <= len(text):
            break
        count, at = _length(block, at + 2, token & 15)
        repeat(text, distance, min(count + SHORTEST, max(0, limit - len(text))))
    return bytes(text[:limit]), None


def _length(block: bytes, at: int, nibble: int) -> tuple[int, int]:
    """A length that begins in a token's nibble, and where the bytes that extend it end."""
    if nibble < 15:
        return nibble, at
    end = _FULL.match(block, at).end()  # type: ignore[union-attr]  # it matches anywhere
    last = block[end] if end < len(block) else 0
    return 15 + 255 * (end - at) + last, end + 1
