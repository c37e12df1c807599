"""Deflate by zlib, up to the damage.

Source: fs/pstore/platform.c (3.12 to 4.16 zlib-wrapped, window of 12 bits), crypto/deflate.c (4.17
to 6.5 raw, 11 bits), 6.6 and later raw, 15 bits.  Pure.
"""

from __future__ import annotations

import re
import zlib
from itertools import islice
from typing import NamedTuple

__all__ = ["LINE", "RAW", "SEVERAL", "WRAPPED", "Inflated", "inflate", "is_wrapped", "odd_lines",
           "position"]

WRAPPED, RAW = 15, -15      # zlib's names for the forms; they read every smaller window
STEPS = (4096, 64, 1)       # bytes of input
SEVERAL = 3                 # lines that are none of a log show damage; fewer may be somebody's own
NEAR = 1024                 # bytes of text that are looked at byte by byte

# How a line of a log begins: "<6>[    1.234567] text".
LINE = rb"<\d{1,3}>\[ *\d+\.\d{6}\]"


class Inflated(NamedTuple):
    """What zlib made of a stream."""

    text: bytes
    used: int | None        # bytes of the stream; None: it did not come to its end
    stopped: int | None     # byte offset at which zlib gave up; None: it did not


def is_wrapped(body: bytes) -> bool:
    """Whether `body` begins with zlib's header (RFC 1950)."""
    return len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def inflate(body: bytes, form: int, limit: int, window: bytes = b"") -> Inflated:
    """At most `limit` bytes of text.  window: text that stood before the stream (RAW only)."""
    stream = zlib.decompressobj(form, zdict=window)
    try:
        text = stream.decompress(body, limit)
    except zlib.error:
        return _damaged(body, zlib.decompressobj(form, zdict=window), limit)
    return Inflated(text, len(body) - len(stream.unused_data) if stream.eof else None, None)


def _damaged(body: bytes, stream: zlib._Decompress, limit: int) -> Inflated:
    """What zlib gives out before the damage.

    A call that fails gives nothing, so the input goes in in steps, and the step that fails again
    in smaller ones.
    """
    text, at = bytearray(), 0
    for size in STEPS:
        more, at, stream = _stepwise(stream, body, at, size, limit - len(text))
        text += more
        if at >= len(body) or len(text) >= limit:
            return Inflated(bytes(text[:limit]), None, None)
    return Inflated(bytes(text), None, at)


def _stepwise(stream: zlib._Decompress, body: bytes, at: int, size: int,
              limit: int) -> tuple[bytes, int, zlib._Decompress]:
    """What steps of `size` bytes give from `at` on until one fails, or there are `limit` bytes of
    text; where that is, and the stream before it."""
    text = bytearray()
    while at < len(body) and len(text) < limit:
        before = stream.copy()
        try:
            text += stream.decompress(body[at:at + size], limit - len(text))
        except zlib.error:
            return bytes(text), at, before
        at += size
    return bytes(text), at, stream


def position(body: bytes, count: int, window: bytes = b"") -> int:
    """How many bytes of the raw stream `body` give `count` bytes of text, which it has."""
    stream, at = zlib.decompressobj(RAW, zdict=window), 0
    if count > NEAR:
        # zlib may have read some bytes more than it needed for that.
        count -= len(stream.decompress(body, count - NEAR))
        at = len(body) - len(stream.unconsumed_tail)
    while count > 0 and at < len(body):
        count -= len(stream.decompress(body[at:at + 1]))
        at += 1
    return at


def odd_lines(text: bytes) -> list[int]:
    """Where the first SEVERAL lines begin that are none of a kernel log, if others are.

    Every line of a dump begins with a level and a time (record_print_text; not so on kernels
    without CONFIG_PRINTK_TIME).  Raw deflate has no checksum, so that this shows damage which zlib
    does not notice: it takes wrong text from there on.  Bytes 0xff stand for unknown ones.
    """
    if not re.search(rb"\n" + LINE, text):
        return []
    return [match.end() for match in islice(re.finditer(
        rb"\n(?=(?s:.{24}))"
        rb"(?![<\xff][\d\xff]{1,3}[>\xff][\[\xff][ \d\xff]{5,}[.\xff][\d\xff]{6}[\]\xff])", text),
        SEVERAL)]
