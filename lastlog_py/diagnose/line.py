"""The lines of a kernel log: `<4>[   12.345678] message`.

Source: kernel/printk/printk.c: info_print_prefix, print_caller (v5.1+; `[T123]`, `[C0]`),
devkmsg_write: what programs write to /dev/kmsg gets a facility other than the kernel's, which
is 0, so that its level is 8 or more.

Logs also come as others hand them on: `logread`'s and syslogd's lines, those of `journalctl` and
`dmesg -T`, the extended ones of netconsole and /dev/kmsg (msg_print_ext_header, v4.2), those of
a serial console with the time of day.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .pattern import Pattern

__all__ = ["Line", "ends_of", "last_time", "lines_of"]

# The level, the time stamp, the caller: each may be missing.  "[240.]" is v3.0's on a MIPS
# without a clock of its own, "[c4]" is how vendors wrote the processor before v5.1.
_PREFIX = Pattern(r"(?:<(\d{1,4})>)?(?:\[ {0,11}(\d{1,12}\.\d{0,9})\] ?)?"
                  r"(?:\[ {0,11}[TCc]\d{1,10}\] )?")

# The same as nearly every line has it, each digit a 0, by which a prefix that lost some bits is
# still known.
_FORM = "<0>[    0.000000]"
_MOST_WRONG = 4             # characters of it

_MONTH = r"[A-Z][a-z]{2} [ \d]?\d \d\d:\d\d:\d\d(?:\.\d{1,9})?"
_DATE = (rf"(?:(?:[A-Z][a-z]{{2}} )?{_MONTH}(?: \d{{4}})?"
         r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[\d.,:+Z-]{0,16})")
_LEVEL = r"(?:emerg|alert|crit|err|warn|warning|notice|info|debug)"

# What stands before the kernel's own prefix: the date, the host or the facility or both, the
# program; only the date; only the level, as syslog-ng writes them; level, number, microseconds.
_SYSLOG = Pattern(rf" {{0,8}}(?:{_DATE} |(?={_LEVEL} kernel\[))(?P<who>(?:\S{{1,64}} ){{0,2}}?)"
                  r"(?P<program>[^\s:\[]{1,64})(?:\[\d{0,10}\])?:(?: |$)", ":")
_NOT_KERN = Pattern(rf"(?!kern\.)[a-z]\w{{1,10}}\.{_LEVEL}$", ".")
# What stands before the time in what `dmesg -T` or a serial console's owner saved: the date, a
# prompt; or in what a slow console printed.
_BEFORE = Pattern(rf"\[[A-Z][a-z]{{2}} {_MONTH} \d{{4}}\] |\d\d:\d\d:\d\d (?=\[)"
                  r"|[\w.-]{1,64} login: (?=\[)|[\w.-]{1,64}@[\w.-]{1,64}:[^ ]{1,64}[#$] ?(?=\[)"
                  r"|\*\* \d{1,9} printk messages dropped \*\* ?(?=\[)", ":", " dropped ")
_EXTENDED = Pattern(r"(\d{1,4}),\d{1,20},(\d{1,14}),[^;\s]{1,60};", ";")

# No kernel prints longer lines (PRINTK_MESSAGE_MAX is 2048 since v6.0, 1024 before), and no log
# of 1 MiB has more of them; both keep hostile text from costing time.
_LONGEST = 2048
_FIRST, _LAST = 1000, 12000
# Characters; no kernel's log ring is larger.  Each line of a dump full of lines would take more
# memory than the line has characters.
_BEGINNING, _END = 1 << 20, 4 << 20

_FIRST_USER_LEVEL = 8


class Line(NamedTuple):
    """One line."""

    time: float | None          # seconds since boot; None: it carries no stamp
    text: str                   # the message
    user: bool = False          # a program wrote it, to /dev/kmsg or to the log, not the kernel


def lines_of(text: str) -> list[Line]:
    """The lines that hold something; of very many the first 1000 and the last 12000."""
    lines = [line for line in ends_of(text).split("\n") if line]
    if len(lines) > _FIRST + _LAST:
        lines = lines[:_FIRST] + lines[-_LAST:]
    return [_line(line[:_LONGEST]) for line in lines]


def ends_of(text: str) -> str:
    """The beginning and the end of a text that is larger than any kernel's log, else all of it."""
    if len(text) <= _BEGINNING + _END:
        return text
    return f"{text[:_BEGINNING]}\n{text[-_END:]}"


def _line(line: str) -> Line:
    if line[0] != "<" and not (line[0] == "[" and line[1:2] in " 0123456789"):
        extended = _EXTENDED.match(line)
        if extended:
            return Line(int(extended[2]) / 1e6, line[extended.end():].rstrip("\r"),
                        int(extended[1]) >= _FIRST_USER_LEVEL)
        line, user = _unwrapped(line)
        if user:
            return Line(None, line, True)
    prefix = _PREFIX.compiled.match(line)
    assert prefix is not None       # everything in it is optional
    if prefix[2] is None and _is_damaged_prefix(line):
        return _behind_damage(line)
    return Line(time=float(prefix[2]) if prefix[2] else None,
                text=line[prefix.end():].rstrip("\r"),
                user=int(prefix[1] or 0) >= _FIRST_USER_LEVEL)


def _is_damaged_prefix(line: str) -> bool:
    """Whether the line begins with a prefix of which memory lost some bits.

    Numbers are all over a log; what sets the time apart is its point, or else its brackets.
    """
    if len(line) < len(_FORM) or (line[9] != "." and line[3] + line[16] != "[]"):
        return False
    return sum(char != form and not (char.isdigit() and form in " 0")
               for char, form in zip(line, _FORM, strict=False)) <= _MOST_WRONG


def _behind_damage(line: str) -> Line:
    """The line whose prefix is damaged; its time, if that is still a number."""
    time = line[4:len(_FORM) - 1].strip()
    rest = line[len(_FORM):].removeprefix(" ")
    caller = _PREFIX.compiled.match(rest)
    assert caller is not None       # as above
    return Line(float(time) if time.replace(".", "", 1).isdecimal() else None,
                rest[caller.end():].rstrip("\r"))


def _unwrapped(line: str) -> tuple[str, bool]:
    """The line as the kernel wrote it, and whether it was not the kernel."""
    found = _SYSLOG.match(line)
    if found:
        user = found["program"] != "kernel" or any(map(_NOT_KERN.match, found["who"].split()))
        return line[found.end():], user
    before = _BEFORE.match(line)
    return (line[before.end():] if before else line), False


def last_time(lines: Sequence[Line]) -> float | None:
    """The last time stamp in the log."""
    return next((line.time for line in reversed(lines) if line.time is not None), None)
