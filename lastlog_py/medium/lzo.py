"""LZO1X, as pstore's "lzo" writes it: a raw stream without a header, with an end mark.

Source: Documentation/staging/lzo.rst, lib/lzo/lzo1x_decompress_safe.c, kernels 4.7 to 6.5.  pstore
uses the crypto API's "lzo" and never its "lzo-rle" (5.1 and later), so that bitstream version 1,
which begins with 0x11, does not occur.  Pure.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .lz77 import repeat

__all__ = ["decode"]

_ZEROS = re.compile(rb"\0*+")
LITERALS = 4                # the state behind a run of literals; 0 to 3: that many followed a match


class _Match(NamedTuple):
    """An instruction that copies earlier text."""

    distance: int           # bytes back from the text's end; 0: the end mark
    length: int             # bytes
    literals: int           # bytes of literals behind it, 0 to 3
    end: int                # where the instruction ends


def decode(stream: bytes, limit: int) -> tuple[bytes, int | None]:
    """The text up to the damage, at most `limit` bytes, and the stream's length.

    None for the length: the stream has no end mark, or more text than that.
    """
    text = bytearray()
    try:
        end = _decode(stream, text, limit)
    except IndexError:                  # the input ends within an instruction
        end = None
    return (bytes(text), end) if len(text) <= limit else (bytes(text[:limit]), None)


def _decode(stream: bytes, text: bytearray, limit: int) -> int | None:
    at, state = 0, 0
    if stream[0] > 17:                  # a stream may begin with literals in a form of its own
        count = stream[0] - 17
        at = _copy(stream, 1, count, text)
        state = min(count, LITERALS)
    while len(text) <= limit:
        if stream[at] < 16 and state == 0:
            count, at = _length(stream, at, 15)
            at = _copy(stream, at, count + 3, text)
            state = LITERALS
            continue
        match = _match(stream, at, state)
        if match.distance == 0:
            return match.end if match.length == 3 else None
        if match.distance > len(text):
            return None
        repeat(text, match.distance, min(match.length, limit + 1))
        at = _copy(stream, match.end, match.literals, text)
        state = match.literals
    return None


def _copy(stream: bytes, at: int, count: int, text: bytearray) -> int:
    """Append `count` literal bytes; where they end.  IndexError if there are fewer."""
    text += stream[at:at + count]
    if at + count > len(stream):
        raise IndexError
    return at + count


def _match(stream: bytes, at: int, state: int) -> _Match:
    """The instruction at `at`, which is no run of literals."""
    code = stream[at]
    if code >= 64:
        distance = 1 + (code >> 2 & 7) + (stream[at + 1] << 3)
        return _Match(distance, (code >> 5) + 1, code & 3, at + 2)
    if code < 16:
        distance = 1 + (code >> 2) + (stream[at + 1] << 2)
        if state == LITERALS:
            return _Match(distance + 0x800, 3, code & 3, at + 2)
        return _Match(distance, 2, code & 3, at + 2)
    count, at = _length(stream, at, 31 if code >= 32 else 7)
    low = stream[at] | stream[at + 1] << 8
    if code >= 32:
        return _Match(1 + (low >> 2), count + 2, low & 3, at + 2)
    distance = ((code & 8) << 11) + (low >> 2)
    return _Match(distance + 0x4000 if distance else 0, count + 2, low & 3, at + 2)


def _length(stream: bytes, at: int, mask: int) -> tuple[int, int]:
    """The length in an instruction's low bits, and where the bytes that extend it end."""
    short = stream[at] & mask
    if short:
        return short, at + 1
    end = _ZEROS.match(stream, at + 1).end()  # type: ignore[union-attr]  # it matches anywhere
    return mask + 255 * (end - at - 1) + stream[end], end + 1
