"""The faults and panics that a log tells of, each with its lines.

Everything works on lines cut to a bounded length, and on a bounded number of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .line import Line
from .pattern import Pattern
from .rule import PanicRule, Rule
from .rules import cut_panic_rule, fault_rule, fault_rules, panic_rule

__all__ = ["MOMENT", "Report", "close", "left_before", "reports"]

MOMENT = 10.0           # seconds within which one fault's report is printed, and leads to others

_PANIC = Pattern(r"(?:---\[ end )?Kernel panic - not syncing:(?P<message>.*?)(?: \]---)?$",
                 "Kernel panic - not syncing:")
_END = "---[ end trace"
_OTHERS = Pattern(r"CPU\d{1,4}: stopping$", ": stopping")   # what follows is of other processors
_LONGEST = 2000         # lines of a report
_HEAD = 40              # lines of its head, from the modules to the registers
_LEFT = 200             # lines of one whose start is lost
_MESSAGE = 240          # characters of a message

# A line of the kernel's last registers while a program ran: arm, with its kernel told to print
# them (CONFIG_DEBUG_USER).
_OF_A_PROGRAM = "  Mode USER_"


class Report(NamedTuple):
    """One fault as the log reports it, or a panic."""

    cause: str
    grade: str                      # as in rule.Rule, or "panic"
    message: str
    fields: dict[str, str]          # what the first line says
    lines: Sequence[Line]
    rule: PanicRule | None = None   # of a panic
    cut_by_panic: bool = False      # a panic interrupts the report
    cut: bool = False               # of a panic: the log ends amid its message
    panic_lines: Sequence[Line] = ()        # of that panic: it may print the report's trace
    before: Sequence[Line] = ()     # of a panic: what is left of the report it followed from,
                                    # whose start fell out of the log; of such a report: what is
                                    # left of it before its registers

    @property
    def time(self) -> float | None:
        return self.lines[0].time


def reports(lines: Sequence[Line]) -> list[Report]:
    """Every fault and panic the log reports, in order."""
    marks = [*_marks(lines), (len(lines), None)]
    found = []
    for (last, _), (start, report), (end, after) in zip([(0, None), *marks], marks, marks[1:],
                                                        strict=False):
        if report:
            cut = after is not None and after.grade == "panic"
            before = _head(lines[last:start]) if report.grade == "rest" else ()
            found.append(report._replace(lines=_within_moment(lines[start:end]), before=before,
                                         cut_by_panic=cut))
    return [report for report in found if not _of_a_program(report)]


def close(first: Report, second: Report, seconds: float) -> bool:
    """Whether the two begin within so many seconds; unknown times count as close."""
    return first.time is None or second.time is None or 0 <= second.time - first.time <= seconds


def _marks(lines: Sequence[Line]) -> list[tuple[int, Report | None]]:
    """Where reports begin, as (index of a line, report), and end for sure, as (index, None)."""
    marks: list[tuple[int, Report | None]] = []
    rules = fault_rules("\n".join(line.text for line in lines))
    for index, line in enumerate(lines):
        if marks and marks[-1][1] and line.text.startswith(_END):
            marks.append((index, None))
        report = _report(line, rules, last=index == len(lines) - 1)
        if not report:
            continue
        running = marks[-1][1] if marks else None
        if running and running.grade == "abort" and _leads_to(running, report):
            marks[-1] = marks[-1][0], running._replace(grade="fatal")
        elif not _belongs(report, running, marks):
            marks.append((index, report))
    return marks


def _report(line: Line, rules: Sequence[Rule], last: bool) -> Report | None:
    """The report that begins with this line; rules: for those that the log may hold; last: the
    log may end amid the line."""
    panic = _PANIC.match(line.text)
    if panic:
        message = panic["message"].strip()[:_MESSAGE]
        panic_is, match = panic_rule(message)
        cut = None if panic_is.pattern.regex or not last else cut_panic_rule(message)
        panic_is = cut or panic_is
        return Report(panic_is.cause, "panic", message, _fields(match), [line], panic_is,
                      cut=cut is not None)
    fault = fault_rule(line.text, rules)
    if not fault:
        return None
    rule, match = fault
    return Report(rule.cause, rule.grade, line.text.strip()[:_MESSAGE], _fields(match), [line])


def _fields(match: re.Match[str]) -> dict[str, str]:
    return {name: value for name, value in match.groupdict().items() if value is not None}


def _leads_to(abort: Report, report: Report) -> bool:
    """Whether the report says that the abort was the kernel's."""
    return report.grade == "fatal" and close(abort, report, MOMENT)


def _belongs(report: Report, running: Report | None,
             marks: Sequence[tuple[int, Report | None]]) -> bool:
    """Whether the line is a part of a report that the marks hold already."""
    if report.grade == "rest" and any(earlier for _, earlier in marks[-2:]):
        return True
    if not running or not close(running, report, MOMENT):
        return False
    if report.grade == "sign":
        return True
    if running.grade == "fatal":
        return report.grade in ("fatal", "warning", "abort")
    return running.grade == "oom" == report.grade and "trigger" not in report.fields


def _within_moment(lines: Sequence[Line]) -> Sequence[Line]:
    """The lines printed soon after the first, and about it: what comes later is another matter."""
    start = lines[0].time
    soon = lines[:_LONGEST] if start is None else [
        line for line in lines[:_LONGEST] if line.time is None or line.time - start <= MOMENT]
    others = next((index for index, line in enumerate(soon) if _OTHERS.match(line.text)), None)
    return soon[:others]


def _head(before: Sequence[Line]) -> Sequence[Line]:
    """Of the lines before the registers those that are of the same report: its start is lost."""
    last = before[-_HEAD:]
    ends = [number for number, line in enumerate(last) if line.text.startswith(_END)]
    return last[ends[-1] + 1:] if ends else last


def left_before(panic: Report, lines: Sequence[Line]) -> Sequence[Line]:
    """The lines before the panic that a report ends with; none if none ends there."""
    index = lines.index(panic.lines[0])
    ends = [number for number in range(max(0, index - _LEFT), index)
            if lines[number].text.startswith(_END)]
    if not ends:
        return ()
    start = ends[-2] + 1 if len(ends) > 1 else max(0, index - _LEFT)
    return [line for line in lines[start:ends[-1]]
            if line.time is None or panic.time is None or 0 <= panic.time - line.time <= MOMENT]


def _of_a_program(report: Report) -> bool:
    """Whether the registers are those of a program that was killed, not of the kernel."""
    return report.grade == "rest" and any(_OF_A_PROGRAM in line.text for line in report.lines)
