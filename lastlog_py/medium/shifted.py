"""Dumps in which the records' pages begin anywhere: somebody cut out a larger piece of memory or
flash, at an offset of his own, or something else stands before them.

Where a mark has what belongs to it around it, its page begins; most such places decide.  Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from . import crashlog, mtdoops, pstore_zone
from .log_text import SAMPLE, is_text
from .marks import CRASHLOG, FRONT_ENDS, KMSG, MTDOOPS, PAGE

__all__ = ["base_of"]

# What is searched for, and how many bytes behind the start of a page it stands.  Marks that lost
# bits are not: those of other pages will do.
MARKS = [(mark.to_bytes(4, "big"), at) for marks, at in
         ((MTDOOPS, 4), (KMSG, 12), (CRASHLOG, 0), (FRONT_ENDS, 0)) for mark in marks]
MOST_LOOKED_AT = 1024               # places of each mark; more are made to keep us busy


def base_of(data: bytes) -> int:
    """How many bytes behind a multiple of PAGE the records in `data` begin; 0: nothing shows it."""
    votes = Counter(start % PAGE for mark, at in MARKS for start in _starts(data, mark, at)
                    if start % PAGE and _begins(data, start))
    return votes.most_common(1)[0][0] if votes else 0


def _starts(data: bytes, mark: bytes, behind: int) -> Iterator[int]:
    """Where pages would begin that have this mark `behind` bytes further on."""
    at = data.find(mark, behind)
    for _ in range(MOST_LOOKED_AT):
        if at < 0:
            return
        yield at - behind
        at = data.find(mark, at + 1)


def _begins(data: bytes, offset: int) -> bool:
    """Whether a record begins there: its mark alone may be anything, in a text for one."""
    if mtdoops.head_at(data, offset):
        return not is_text(data[offset:offset + 4])     # no slot is counted so far
    if crashlog.log_at(data, offset):
        return True
    zone = pstore_zone.zone_at(data, offset)
    if zone is None or zone.kind == "kernel":
        return zone is not None and not zone.torn
    return zone.length > 0 and is_text(data[zone.data:zone.data + min(zone.length, SAMPLE)])
