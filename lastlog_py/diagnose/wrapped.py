"""Lines that a mail program or a terminal broke in two.

Only where the first half cannot end as it does, and the second cannot begin a message: an address
is missing, or a line's number, a function, or the module of one.
"""

from __future__ import annotations

from collections.abc import Sequence

from .line import LONGEST, Line
from .pattern import Pattern

__all__ = ["joined"]

# How a first half ends, and how its second begins.
_HALVES = (
    (Pattern(r".*(?:\baddress:?|\b[a-z]{6,11} at)$", "address", " at"),
     Pattern(r"(?:0x)?[0-9a-f]{8,16}\b|\(null\)")),
    (Pattern(r".*\.[ch]:$", ".c:", ".h:"), Pattern(r"\d{1,6}\b")),
    (Pattern(r"WARNING: .{0,400}\.[ch]:\d{1,6}$", "WARNING: "), Pattern(r"[\w.]{1,128}\+0x")),
    (Pattern(r".*\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}$", "/0x"), Pattern(r"\[[\w.-]{1,64}\]$", "[")),
)


def joined(lines: Sequence[Line]) -> list[Line]:
    """The lines, broken ones as they were; the second half of one has no time stamp.

    Two halves make a line, and no more: a second half may end as a first one does, so that a text
    that was made so would be one line.
    """
    whole: list[Line] = []
    half = False                # whether the last line may be a first half
    for line in lines:
        if half and line.time is None and not line.user and _continues(whole[-1].text, line.text):
            whole[-1] = whole[-1]._replace(text=f"{whole[-1].text} {line.text}")
            half = False
        else:
            whole.append(line)
            half = True
    return whole


def _continues(first: str, second: str) -> bool:
    return len(first) + len(second) < LONGEST and \
        any(end.match(first) and begin.match(second) for end, begin in _HALVES)
