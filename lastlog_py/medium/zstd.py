"""zstd, through a library: that of Python 3.14, or the package `zstandard`.  A router has neither.

Source: fs/pstore/platform.c, crypto/zstd.c (4.19 to 6.5): one frame with its size, without a
dictionary and without a checksum.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["complaint", "decode"]

LARGEST_WINDOW = 21         # bits: 2 MiB, more than any zone holds


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
    stream, text = _stream(), bytearray()
    if stream is None:
        return b"", None
    for at in range(len(frame)):
        try:
            # Byte by byte: a call that fails gives nothing of what stands before the damage.
            text += stream.decompress(frame[at:at + 1])
        except Exception:               # each library has an error of its own
            break
        if len(text) > limit:
            break
        if stream.eof:
            return bytes(text), at + 1
    return bytes(text[:limit]), None


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
