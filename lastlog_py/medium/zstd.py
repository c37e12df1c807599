"""zstd, through a library: that of Python 3.14, or the package `zstandard`.  A router has neither.

Source: fs/pstore/platform.c, crypto/zstd.c (4.19 to 6.5): one frame with its size, without a
dictionary and without a checksum.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Protocol

__all__ = ["complaint", "decode"]

LARGEST_WINDOW = 21         # bits: 2 MiB, more than any zone holds
MOST_BLOCKS = 1024          # of a frame; each but the last has 128 KiB of text, or some less
REPEATED = 1                # the type of a block that is one byte over and over


class _Stream(Protocol):
    """What both libraries have."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def decode(frame: bytes, limit: int) -> tuple[bytes, int | None]:
    """The text of all whole blocks (of at most 128 KiB) up to the damage, at most `limit` bytes,
    and the frame's length.

    None for the length: the frame did not come to its end.  Nothing without a library.
    """
    stream, text, at = _stream(), bytearray(), 0
    if stream is None:
        return b"", None
    for end in islice(_ends(frame), MOST_BLOCKS):
        try:
            # Block by block: a call that fails gives nothing of what stands before the damage.
            text += stream.decompress(frame[at:end])
        except Exception:               # each library has an error of its own
            break
        if len(text) > limit:
            break
        if stream.eof:
            return bytes(text), end - len(stream.unused_data)
        at = end
    return bytes(text[:limit]), None


def _ends(frame: bytes) -> Iterator[int]:
    """Where the header of the frame ends, each of its blocks, and what may stand behind the last
    one (RFC 8878, 3.1.1)."""
    flags = frame[4] if len(frame) > 4 else 0
    single = flags >> 5 & 1
    at = 6 - single + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
    yield at
    last = 0
    while not last and at + 3 <= len(frame):
        head = int.from_bytes(frame[at:at + 3], "little")
        last = head & 1
        at += 3 + (1 if head >> 1 & 3 == REPEATED else head >> 3)
        yield at
    yield at + 4                        # a checksum


def complaint() -> str:
    """Why nothing of a frame could be read, and what to do."""
    if _stream() is None:
        return ("the log is compressed with zstd, for which there is no library here; it is kept "
                "as it is. On a PC with Python 3.14, or after `pip install zstandard`, "
                "`lastlog decode FILE` reads it from the saved record or from a copy of the "
                "memory. The kernel's command line can avoid it: pstore.compress=deflate")
    return ("the log is compressed with zstd and damaged: zstd packs so much text into one block "
            "that nothing of it can be read; it is kept as it is. pstore.compress=deflate or none "
            "on the kernel's command line loses less, and ramoops.ecc=1 guards against damage")


def _stream() -> _Stream | None:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
        largest = {zstd.DecompressionParameter.window_log_max: LARGEST_WINDOW}
        stream: _Stream = zstd.ZstdDecompressor(options=largest)
        return stream
    except ImportError:
        pass
    try:
        import zstandard
        return zstandard.ZstdDecompressor(max_window_size=1 << LARGEST_WINDOW).decompressobj()
    except ImportError:
        return None
