"""The lines of a kernel log: `<4>[   12.345678] message`.

Source: kernel/printk/printk.c: info_print_prefix, print_caller (v5.1+; `[T123]`, `[C0]`),
devkmsg_write: what programs write to /dev/kmsg gets a facility other than the kernel's, which
is 0, so that its level is 8 or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .pattern import Pattern

__all__ = ["Line", "last_time", "lines_of"]

# The level, the time stamp, the caller: each may be missing.
_PREFIX = Pattern(r"(?:<(\d{1,4})>)?(?:\[ {0,11}(\d{1,12}\.\d{1,9})\] ?)?"
                  r"(?:\[ {0,11}[TC]\d{1,10}\] )?")

# No kernel prints longer lines (PRINTK_MESSAGE_MAX is 2048 since v6.0, 1024 before), and no log
# of 1 MiB has more of them; both keep hostile text from costing time.
_LONGEST = 2048
_FIRST, _LAST = 1000, 12000

_FIRST_USER_LEVEL = 8


class Line(NamedTuple):
    """One line."""

    time: float | None          # seconds since boot; None: it carries no stamp
    text: str                   # the message
    user: bool = False          # a program wrote it to /dev/kmsg, not the kernel


def lines_of(text: str) -> list[Line]:
    """The lines that hold something; of very many the first 1000 and the last 12000."""
    lines = [line for line in text.split("\n") if line]
    if len(lines) > _FIRST + _LAST:
        lines = lines[:_FIRST] + lines[-_LAST:]
    return [_line(line[:_LONGEST]) for line in lines]


def _line(line: str) -> Line:
    prefix = _PREFIX.compiled.match(line)
    assert prefix is not None       # everything in it is optional
    return Line(time=float(prefix[2]) if prefix[2] else None,
                text=line[prefix.end():].rstrip("\r"),
                user=int(prefix[1] or 0) >= _FIRST_USER_LEVEL)


def last_time(lines: Sequence[Line]) -> float | None:
    """The last time stamp in the log."""
    return next((line.time for line in reversed(lines) if line.time is not None), None)
