"""Kernel log text as bytes, in media that store nothing but the text: where it ends, and whether
it is one.  Pure.
"""

from __future__ import annotations

import re

from .marks import PAGE

__all__ = ["SAMPLE", "end_in_slot", "end_of", "end_of_pages", "is_text", "tells_of_trouble"]

ASCII = bytes((*range(0x20, 0x7f), 9, 10, 13, 27))      # what logs are made of, escapes included
SAMPLE = 256                    # bytes that tell text from anything else
TROUBLE = rb"(?i:oops|panic|bug:|call trace|backtrace:|unable to handle)"


def end_of(data: bytes, start: int, end: int) -> int:
    """Where the text that begins at `start` ends, at most at `end`: before the first NUL or
    erased byte (0xff), which no UTF-8 holds."""
    end = min(end, len(data))
    for filler in (b"\0", b"\xff"):
        at = data.find(filler, start, end)
        end = end if at < 0 else at
    return end


def end_in_slot(data: bytes, start: int, end: int) -> tuple[int, bool]:
    """The same where nothing but filler may follow up to `end`, and whether something does: if it
    is text, bytes within the log were lost, and it goes on to the end of that."""
    first = end_of(data, start, end)
    rest = data[first:end].rstrip(b"\xff\0")
    return first + (len(rest) if is_text(rest.lstrip(b"\xff\0")) else 0), bool(rest)


def end_of_pages(data: bytes, offset: int, end: int) -> int:
    """Where the pages end that the text goes on in which begins in the page at `offset`, at most
    `end`."""
    page = offset + PAGE
    while page < end and is_text(data[page:page + 64]):
        page += PAGE
    return min(page, end)


def is_text(sample: bytes) -> bool:
    """Whether the bytes are mostly ASCII, as the beginning of a log is even with some bits lost."""
    sample = sample[:SAMPLE]
    return bool(sample) and len(sample.translate(None, ASCII)) * 8 <= len(sample)


def tells_of_trouble(text: bytes) -> bool:
    """Whether it has the words of a kernel's crash in it."""
    return re.search(TROUBLE, text) is not None
