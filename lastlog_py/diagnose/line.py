"""The lines of a kernel log: `<4>[   12.345678] message`.

Source: kernel/printk/printk.c: info_print_prefix, print_caller (v5.1+; `[T123]`, `[C0]`),
devkmsg_write: what programs write to /dev/kmsg gets a facility other than the kernel's, which
is 0, so that its level is 8 or more.

Logs also come as others hand them on: `logread`'s and syslogd's lines, those of `journalctl` and
`dmesg -T`, the extended ones of netconsole and /dev/kmsg (msg_print_ext_header, v4.2), those of
a serial console with the time of day, in colours, behind a prompt or a quotation mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .pattern import Pattern

__all__ = ["LONGEST", "Line", "ends_of", "last_time", "lines_of"]

# The level, the time stamp, the caller: each may be missing.  "[240.]" is v3.0's on a MIPS
# without a clock of its own, "[c4]" is how vendors wrote the processor before v5.1, "[5 T1    d.]"
# how Amlogic writes it with the task and the state of its interrupts.
_PREFIX = Pattern(r"(?:<(\d{1,4})>)?(?:\[ {0,11}(\d{1,12}\.\d{0,9})\] ?)?"
                  r"(?:\[(?: {0,11}|\d{1,3} )[TCc]\d{1,10}(?: {1,8}[\w.]{1,4})?\] )?")

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
# Before the date may stand what goes over the network, of RFC 3164 or of RFC 5424.
_SYSLOG = Pattern(rf"(?:<(?P<level>\d{{1,3}})>(?:1 )?)?(?:{_DATE} |(?={_LEVEL} kernel\[))"
                  r"(?P<who>(?:\S{1,64} ){0,2}?)(?:kernel - - - )?"
                  r"(?P<program>[^\s:\[]{1,64})(?:\[\d{0,10}\])?:(?: |$)", ":")
_NOT_KERN = Pattern(rf"(?!kern\.)[a-z]\w{{1,10}}\.{_LEVEL}$", ".")
# What `dmesg` writes before a message: the date, if asked for in one of two ways; the time that a
# program for serial lines writes; what `journalctl` may leave of its own.
_DATED = Pattern(rf"\[[A-Z][a-z]{{2}} {_MONTH} \d{{4}}\] "
                 r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{6}[+-]\d\d:\d\d "
                 r"|\[(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d[.,\d]{0,8}\] ?(?=\[)"
                 r"|(?:\d\d:\d\d:\d\d(?:\.\d{1,9})? )?kernel: ?", ":")
# What else stands before a time stamp: a serial console's time of day, a prompt, "** 93 printk
# messages dropped **", a quotation mark, the facility and level of `dmesg -x`; not a program's
# name, unless it is the kernel's or that of who asks for a password.
_BEFORE = Pattern(r"(?P<before>[^\[]{1,100}?)(?=(?:<\d{1,4}>)?\[ {0,11}\d{1,12}\.\d{3,9}\][ \[])",
                  "[")
_PROGRAM = Pattern(r".*[\w\])]: ?$", ":")
_NO_PROGRAM = ("kernel:", "login:")
_NOT_KERN_X = Pattern(rf"(?!kern )[a-z]\w{{1,10}} {{0,8}}:{_LEVEL} {{0,8}}: $", ":")
_BLANK = " \t\r"            # not what else str.strip() takes for blank: it may be damage
_COLOUR = Pattern(r"\x1b\[[0-9;]{0,16}[mK]", "\x1b")      # and the rest of the line in it
# A time stamp of which the beginning is lost.
_CUT = Pattern(r"[\d.]{0,20}\.?\d{1,9}\](?:\[ {0,11}[TCc]\d{1,10}\])? ", "] ")
_EXTENDED = Pattern(r"(\d{1,4}),\d{1,20},(\d{1,14}),[^;\s]{1,60};", ";")

# No kernel prints longer lines (PRINTK_MESSAGE_MAX is 2048 since v6.0, 1024 before), and no log
# of 1 MiB has more of them; both keep hostile text from costing time.
LONGEST = 2048
_FIRST, _LAST = 1000, 12000
# Characters; no kernel's log ring is larger.  Each line of a dump full of lines would take more
# memory than the line has characters.
_BEGINNING, _END = 1 << 20, 4 << 20

_FIRST_USER_LEVEL = 8


class Line(NamedTuple):
    """One line."""

    time: float | None          # seconds since boot; None: it carries no stamp
    text: str                   # the message, without the blanks around it
    user: bool = False          # a program wrote it, to /dev/kmsg or to the log, not the kernel


def lines_of(text: str) -> list[Line]:
    """The lines that hold something; of very many the first 1000 and the last 12000."""
    lines = [line for line in ends_of(text).split("\n") if line]
    if len(lines) > _FIRST + _LAST:
        lines = lines[:_FIRST] + lines[-_LAST:]
    return [_line(line[:LONGEST]) for line in lines]


def ends_of(text: str) -> str:
    """The beginning and the end of a text that is larger than any kernel's log, else all of it."""
    if len(text) <= _BEGINNING + _END:
        return text
    return f"{text[:_BEGINNING]}\n{text[-_END:]}"


def _line(line: str) -> Line:
    line = _plain(line)
    extended = line[:1].isdecimal() and _EXTENDED.match(line)
    if extended:
        return Line(int(extended[2]) / 1e6, line[extended.end():],
                    int(extended[1]) >= _FIRST_USER_LEVEL)
    line, user = (line, False) if _begins(line) else _unwrapped(line)
    if user:
        return Line(None, line, True)
    prefix = _PREFIX.compiled.match(line)
    assert prefix is not None       # everything in it is optional
    if prefix[2] is None and _is_damaged_prefix(line):
        return _behind_damage(line)
    return Line(time=float(prefix[2]) if prefix[2] else None,
                text=line[prefix.end():].lstrip(_BLANK),
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
                rest[caller.end():].lstrip(_BLANK))


def _plain(line: str) -> str:
    """The line without its colours, a mail's quotation marks, and the blanks around it."""
    if "\x1b" in line:
        line = _COLOUR.compiled.sub("", line)
    return line.strip(_BLANK).lstrip("> ").removesuffix("^M").rstrip(_BLANK)


def _begins(line: str) -> bool:
    """Whether the line begins as the kernel begins it, for sure."""
    if line[:1] == "[":
        return line[1:2] in " 0123456789" and ":" not in line[:5] and line[5:6] != "-"
    level, _, rest = line.partition(">")
    dated = rest[9:10] == ":" or rest[:2] == "1 "       # as RFC 3164 and RFC 5424 have it
    return level[:1] == "<" and not (dated and _SYSLOG.match(line))


def _unwrapped(line: str) -> tuple[str, bool]:
    """The line as the kernel wrote it, and whether it was not the kernel."""
    dated = _DATED.match(line)
    if dated:
        return line[dated.end():], False
    found = _SYSLOG.match(line)
    if found:
        user = (found["program"] != "kernel" or any(map(_NOT_KERN.match, found["who"].split()))
                or int(found["level"] or 0) >= _FIRST_USER_LEVEL)
        return line[found.end():], user
    return _behind(line)


def _behind(line: str) -> tuple[str, bool]:
    """The same for a line with something else before its time stamp, or with half of one."""
    found = _BEFORE.match(line)
    if not found:
        cut = _CUT.match(line)
        return (line[cut.end():] if cut else line), False
    before, rest = found["before"], line[found.end():]
    said = _PROGRAM.match(before) and not before.rstrip().endswith(_NO_PROGRAM)
    if said and rest[0] != "<":
        return line, False
    return rest, bool(_NOT_KERN_X.match(before))


def last_time(lines: Sequence[Line]) -> float | None:
    """The last time stamp in the log."""
    return next((line.time for line in reversed(lines) if line.time is not None), None)
