"""What LZ4 and LZO have in common: text that stands earlier in the output is copied."""

from __future__ import annotations

__all__ = ["repeat"]


def repeat(text: bytearray, distance: int, count: int) -> None:
    """Append `count` bytes of `text` that begin `distance` bytes before its end.

    distance: 1 to len(text).  Where it is less than `count` the copy repeats itself.
    """
    start = len(text) - distance
    piece = text[start:start + count]
    if len(piece) < count:
        piece = (piece * (count // distance + 1))[:count]
    text += piece
