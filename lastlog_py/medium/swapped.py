"""Dumps whose bytes are swapped in pairs or in fours: read through a bus of 16 or 32 bits, from
flash or with a debugger, on a machine of the other byte order.

Most marks look the same swapped in fours as written by a machine of the other byte order, so it is
what follows them that decides: pieces of the dump are read the other way.  Pure.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence

from ..record import Record
from . import contents
from .marks import CRASHLOG, FRONT_ENDS, HEAD, KMSG, MTDOOPS, PAGE
from .persistent_ram import SIGNATURES

__all__ = ["in_order", "unit_of"]

UNITS = {2: "H", 4: "I"}            # bytes that are swapped together, and how array calls them
MARKS = {*(SIGNATURES), *(mark.to_bytes(4, "big") for marks in
                          (MTDOOPS, KMSG, CRASHLOG, FRONT_ENDS) for mark in marks)}
EQUALS = b"===="                    # begins dumps and the journal's records, and is its own swap
MOST_PIECES = 8                     # that are looked at
MOST_EQUALS = 1024
PIECE, SAMPLE = 1 << 16, 2048       # bytes that are read, and that are searched for words
# What no text of a kernel or of the journal is without, and what is in others.
CERTAIN = re.compile(r"(?m)^<\d{1,3}>|\[ {0,11}\d{1,12}\.\d{6}\]|(?:Panic|Oops|Emergency|Shutdown)#"
                     r"\d|====lastlog \d|====\d{1,10}\.\d{1,6}-[A-Z]\n|^Time: \d{1,10}\.\d")
WORDS = re.compile(r"(?i)\b(?:the|to|of|is|in|for|from|at|on|and|not|no|with|error|failed|started)"
                   r"\b")


def unit_of(data: bytes, found: Sequence[Record]) -> int:
    """How many bytes of `data` are swapped together, 2 or 4; 0: none, as far as can be told.

    found: what is read in it as it is.
    """
    if any(CERTAIN.search(record.text[:SAMPLE]) for record in found[:2 * MOST_PIECES]):
        return 0
    pieces = [data[at:at + PIECE] for at in _places(data, found)]
    as_it_is = sum(map(_said, pieces))
    said = {unit: sum(_said(in_order(piece[:SAMPLE], unit)) for piece in pieces) for unit in UNITS}
    best = max(said, key=lambda unit: said[unit])
    if said[best] > 3 * as_it_is + 1:
        return best
    # What is compressed has no words.
    return next((unit for piece in pieces for unit in UNITS
                 if _holds_records(in_order(piece, unit), not found)), 0)


def in_order(data: bytes, unit: int) -> bytes:
    """`data` with its bytes put in order; what is no whole unit, at its end, stays as it is."""
    whole = len(data) - len(data) % unit
    words = array(UNITS[unit])
    words.frombytes(memoryview(data)[:whole])
    words.byteswap()
    return b"".join((memoryview(words).cast("B"), data[whole:]))


def _places(data: bytes, found: Sequence[Record]) -> list[int]:
    """Where records seem to begin: multiples of 4, some way apart."""
    places: list[int] = []
    for at in _beginnings(data, found):
        if not places or all(abs(at - other) >= PAGE for other in places):
            places.append(at)
        if len(places) == MOST_PIECES:
            break
    return places


def _beginnings(data: bytes, found: Sequence[Record]) -> Iterator[int]:
    yield 0
    yield from ((record.source.offset or 0) & ~3 for record in found)
    swapped = {_swap(mark) for mark in MARKS} | MARKS
    for page in range(0, len(data), PAGE):
        if any(data[at:at + 4] in swapped for at in range(page, page + HEAD, 4)):
            yield page
    at = data.find(EQUALS)
    for _ in range(MOST_EQUALS):
        if at < 0:
            break
        yield at & ~3
        at = data.find(EQUALS, at + PAGE)


def _swap(mark: bytes) -> bytes:
    return in_order(mark, 2)


def _holds_records(piece: bytes, of_any_kind: bool) -> bool:
    """Whether there are records in it that are certainly in order; or any at all."""
    return any(of_any_kind or CERTAIN.search(record.text[:SAMPLE])
               for record in contents.read(piece, recover=True).reading.records)


def _said(piece: bytes) -> int:
    """How many of the words it begins with make sense."""
    text = piece[:SAMPLE].decode("latin-1")
    return 4 * len(CERTAIN.findall(text)) + len(WORDS.findall(text))
