"""The compressed body of a kernel dump (the "-C" of its header), unpacked as far as it goes.

Nothing in a record names its algorithm; it is recognised as FORMATS section 4 says.  Deflate is
read here; the others are named, and their readers belong into `_READERS`.

Source: fs/pstore/platform.c (3.12 to 4.16 zlib-wrapped, 4.17 and later raw deflate).
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

__all__ = ["TITLE", "Unpacked", "unpack"]

# The first line of every dump's text: "Panic#2 Part1" (fs/pstore/platform.c: pstore_dump).
TITLE = rb"([A-Z][a-z]+)#(\d+) Part(\d+)\n"


class Unpacked(NamedTuple):
    """What a compressed body held."""

    text: bytes                 # everything up to the damage; b"" if nothing could be read
    algorithm: str | None       # "deflate", "zstd", ...; None: not recognised
    complete: bool              # the stream ended as it should
    used: int                   # bytes of the body that the stream takes; all, if it has no end


def unpack(body: bytes, limit: int) -> Unpacked:
    """`body` unpacked, to at most `limit` bytes of text."""
    for name, reader in _READERS:
        text, used = reader(body, limit)
        if re.match(TITLE, text):
            return Unpacked(text, name, used is not None, len(body) if used is None else used)
    return Unpacked(b"", _name(body), False, len(body))


def _zlib_wrapped(body: bytes, limit: int) -> tuple[bytes, int | None]:
    if len(body) < 2 or body[0] & 15 != 8 or int.from_bytes(body[:2], "big") % 31:
        return b"", None
    return _inflate(body, 15, limit)


def _raw_deflate(body: bytes, limit: int) -> tuple[bytes, int | None]:
    return _inflate(body, -15, limit)


_READERS = (("deflate", _zlib_wrapped), ("deflate", _raw_deflate))


def _inflate(body: bytes, window: int, limit: int) -> tuple[bytes, int | None]:
    """zlib's output up to an error, and the stream's length if it came to its end."""
    stream = zlib.decompressobj(window)
    try:
        text = stream.decompress(body, limit)
    except zlib.error:
        return _inflate_damaged(body, window, limit), None
    return text, len(body) - len(stream.unused_data) if stream.eof else None


def _inflate_damaged(body: bytes, window: int, limit: int) -> bytes:
    """What zlib gives out before the damage.

    A call that fails gives nothing, so the input goes in in steps, and the step that fails again
    byte by byte.
    """
    text = bytearray()
    stream = zlib.decompressobj(window)
    for start in range(0, len(body), 64):
        step, before = body[start:start + 64], stream.copy()
        try:
            text += stream.decompress(step, max(1, limit - len(text)))
        except zlib.error:
            return bytes(text + _bytewise(before, step))[:limit]
        if len(text) >= limit:
            break
    return bytes(text[:limit])


def _bytewise(stream: zlib._Decompress, step: bytes) -> bytes:
    text = bytearray()
    try:
        for at in range(len(step)):
            text += stream.decompress(step[at:at + 1])
    except zlib.error:
        pass
    return bytes(text)


def _name(body: bytes) -> str | None:
    """The algorithm of a body that could not be unpacked, from how such streams begin."""
    if body[:4] == b"\x28\xb5\x2f\xfd":
        return "zstd"
    # lz4: a token (and a length byte), then literals; lzo: a literal run's length, then literals.
    # Both begin with the title as it is, because nothing before it could be repeated.
    title = re.search(rb"(?:Panic|Oops|Emergency|Shutdown|Unknown)#", body[:12])
    if title is None or title.start() not in (1, 2):
        return None
    long_literals = title.start() == 2
    lzo = body[0] == 0 if long_literals else 17 < body[0] < 0x40
    return "lzo" if lzo else "lz4"
