"""Deflate by zlib, up to the damage.

Source: fs/pstore/platform.c (3.12 to 4.16 zlib-wrapped, window of 12 bits), crypto/deflate.c (4.17
to 6.5 raw, 11 bits), 6.6 and later raw, 15 bits.  Pure.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

__all__ = ["LINE", "RAW", "WRAPPED", "Inflated", "inflate", "is_wrapped", "odd_lines",
           "position"]

WRAPPED, RAW = 15, -15      # zlib's names for the forms; they read every smaller window
STEP = 64                   # bytes of input

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
    byte by byte.
    """
    text = bytearray()
    for start in range(0, len(body), STEP):
        step, before = body[start:start + STEP], stream.copy()
        try:
            text += stream.decompress(step, max(1, limit - len(text)))
        except zlib.error:
            more, count = _bytewise(before, step)
            text += more
            return Inflated(bytes(text[:limit]), None, start + count)
        if len(text) >= limit:
            break
    return Inflated(bytes(text[:limit]), None, None)


def _bytewise(stream: zlib._Decompress, step: bytes) -> tuple[bytes, int]:
    """The text of the bytes before the one that fails, and how many these are."""
    text = bytearray()
    for at in range(len(step)):
        try:
            text += stream.decompress(step[at:at + 1])
        except zlib.error:
            return bytes(text), at
    return bytes(text), len(step)


def position(body: bytes, count: int, window: bytes = b"") -> int:
    """How many bytes of the raw stream `body` give `count` bytes of text, which it has."""
    stream = zlib.decompressobj(RAW, zdict=window)
    for at in range(len(body)):
        count -= len(stream.decompress(body[at:at + 1]))
        if count <= 0:
            return at + 1
    return len(body)


def odd_lines(text: bytes) -> list[int]:
    """Where lines begin that are none of a kernel log, if others are.

    Every line of a dump begins with a level and a time (record_print_text; not so on kernels
    without CONFIG_PRINTK_TIME).  Raw deflate has no checksum, so that this shows damage which zlib
    does not notice: it takes wrong text from there on.  Bytes 0xff stand for unknown ones.
    """
    if not re.search(rb"\n" + LINE, text):
        return []
    return [match.end() for match in re.finditer(
        rb"\n(?=(?s:.{24}))"
        rb"(?![<\xff][\d\xff]{1,3}[>\xff][\[\xff][ \d\xff]{5,}[.\xff][\d\xff]{6}[\]\xff])", text)]
