"""What the kernel log in a crash record says about the crash the record ends with.

The text is a dump as fs/pstore/platform.c: pstore_dump leaves it: a first line "Panic#2
Part1", then lines "<N>[   12.345678] message", with "[T123]" or "[C0]" behind the time where
the kernel has CONFIG_PRINTK_CALLER.  It may begin or end anywhere and hold anything.

A log may tell of many faults.  A record of a panic is about the panic, or about the fault
that the panic says it followed from; a record of an oops is about the last oops.  `rules`
holds what the kernel says; everything here works on lines cut to a bounded length, and on a
bounded number of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from ..record import Frame, Kernel
from .facts import boot_facts, fault_facts, oom_facts, read_errors
from .line import Line, last_time, lines_of
from .pattern import Pattern
from .plumbing import below_interrupt, informative
from .rules import HANGS, PanicRule, Rule, fault_rule, fault_rules, panic_rule
from .symbol import PAGE, Place, is_nowhere, place, shortened, trace

__all__ = ["Explanation", "explain", "explain_end"]

_TITLE = Pattern(r"([A-Z][A-Za-z]{2,15})#(\d{1,9}) Part(\d{1,9})\s*$", " Part")
_PANIC = "Kernel panic - not syncing:"
_END = "---[ end trace"

# Linux before v5.8 told three kinds of shutdown apart.
_REASONS = {"Panic": "panic", "Oops": "oops", "Emergency": "emergency", "Shutdown": "shutdown",
            "Restart": "shutdown", "Halt": "shutdown", "Poweroff": "shutdown"}

_MOMENT = 10.0          # seconds within which one fault's report is printed, and leads to others
_NEAR_END = 30.0        # seconds before the end of a log that are about how it ends
_LONGEST = 2000         # lines of a report
_MESSAGE = 240          # characters of a message

_NO_CULPRIT = frozenset({"oom", "init-died", "no-root"})


class Explanation(NamedTuple):
    """What `explain` found out."""

    kernel: Kernel
    uptime: float | None        # the last time stamp: seconds since boot
    culprit: str | None         # the function the program counter was in, or that jumped to
                                # where no code is; None: not said
    message: str | None         # what the panic, or else the report's first line, says;
                                # None: nothing went wrong, or nothing says what
    seconds: int | None = None  # how long it hung
    jump: str | None = None     # the address near NULL that it jumped to; None: it did not
    unread: str | None = None   # what kind of errors came shortly before init died


class Report(NamedTuple):
    """One fault as the log reports it, or a panic."""

    cause: str
    grade: str                      # as in rules.Rule, or "panic"
    message: str
    fields: dict[str, str]          # what the first line says
    lines: Sequence[Line]
    rule: PanicRule | None = None   # of a panic
    cut_by_panic: bool = False      # a panic interrupts the report
    panic_lines: Sequence[Line] = ()        # of that panic: it may print the report's trace

    @property
    def time(self) -> float | None:
        return self.lines[0].time


def explain(text: str) -> Explanation:
    """What the log in `text` says; fields that it does not say are None.  Never raises."""
    lines = lines_of(text)
    return _explained([line for line in lines if not line.user])._replace(uptime=last_time(lines))


def explain_end(text: str) -> Explanation | None:
    """What a log without a title says about the panic it ends with; None: it ends otherwise."""
    lines = lines_of(text)
    end = last_time(lines)
    found = _explained([line for line in lines if not line.user and _near(line.time, end)])
    return found if found.kernel.reason == "panic" and found.message is not None else None


def _explained(lines: Sequence[Line]) -> Explanation:
    """What these lines of the kernel say; the uptime is left out."""
    reason, sequence, part = _title(lines)
    reports = _reports(lines)
    if not sequence and reason == "unknown":
        reason = _reason_without_title(reports)
    kernel = _said(Kernel(reason, sequence, part), boot_facts(lines))
    chosen = _chosen(reason, reports, last_time(lines))
    if not chosen:
        return Explanation(kernel, None, None, None)
    found = _told(kernel, chosen)
    init_died = found.kernel.cause == "init-died"
    return found._replace(unread=_unread(lines, chosen) if init_died else None)


def _title(lines: Sequence[Line]) -> tuple[str, int | None, int | None]:
    """The dump's reason, sequence number and part, from its first line."""
    for line in lines[:2]:          # pstore_zone puts "Panic: Total 1 times" above it
        found = _TITLE.match(line.text)
        if found:
            return _REASONS.get(found[1], "unknown"), int(found[2]), int(found[3])
    return "unknown", None, None


def _reason_without_title(reports: Sequence[Report]) -> str:
    """The reason of a dump by mtdoops, which writes none: as the log tells it."""
    grades = {report.grade for report in reports}
    return "panic" if "panic" in grades else "oops" if "fatal" in grades else "unknown"


# --- the reports in a log ------------------------------------------------------------------

def _reports(lines: Sequence[Line]) -> list[Report]:
    """Every fault and panic the log reports, in order."""
    marks = [*_marks(lines), (len(lines), None)]
    reports = []
    for (start, report), (end, after) in pairwise(marks):
        if report:
            cut = after is not None and after.grade == "panic"
            reports.append(report._replace(lines=_within_moment(lines[start:end]),
                                           cut_by_panic=cut))
    return reports


def _marks(lines: Sequence[Line]) -> list[tuple[int, Report | None]]:
    """Where reports begin, as (index of a line, report), and end for sure, as (index, None)."""
    marks: list[tuple[int, Report | None]] = []
    rules = fault_rules("\n".join(line.text for line in lines))
    for index, line in enumerate(lines):
        if marks and marks[-1][1] and line.text.startswith(_END):
            marks.append((index, None))
        report = _report(line, rules)
        if report and not _belongs(report, marks):
            marks.append((index, report))
    return marks


def _report(line: Line, rules: Sequence[Rule]) -> Report | None:
    """The report that begins with this line; rules: for those that the log may hold."""
    if line.text.startswith(_PANIC):
        message = line.text.removeprefix(_PANIC).strip()[:_MESSAGE]
        panic_is, match = panic_rule(message)
        return Report(panic_is.cause, "panic", message, _fields(match), [line], panic_is)
    fault = fault_rule(line.text, rules)
    if not fault:
        return None
    rule, match = fault
    return Report(rule.cause, rule.grade, line.text.strip()[:_MESSAGE], _fields(match), [line])


def _fields(match: re.Match[str]) -> dict[str, str]:
    return {name: value for name, value in match.groupdict().items() if value is not None}


def _belongs(report: Report, marks: Sequence[tuple[int, Report | None]]) -> bool:
    """Whether the line is a part of a report that the marks hold already."""
    if report.grade == "rest" and any(earlier for _, earlier in marks[-2:]):
        return True
    running = marks[-1][1] if marks else None
    if not running or not _close(running, report, _MOMENT):
        return False
    if running.grade == "fatal":
        return report.grade in ("fatal", "warning")
    return running.grade == "oom" == report.grade and "trigger" not in report.fields


def _close(first: Report, second: Report, seconds: float) -> bool:
    """Whether the two begin within so many seconds; unknown times count as close."""
    return first.time is None or second.time is None or 0 <= second.time - first.time <= seconds


def _within_moment(lines: Sequence[Line]) -> Sequence[Line]:
    """The lines printed soon after the first: what comes later is another matter."""
    start = lines[0].time
    if start is None:
        return lines[:_LONGEST]
    return [line for line in lines[:_LONGEST]
            if line.time is None or line.time - start <= _MOMENT]


# --- which of them the record is about -----------------------------------------------------

def _chosen(reason: str, reports: Sequence[Report], end: float | None) -> Report | None:
    """The report that the record is about; None: nothing went wrong, or nothing says so."""
    if reason in ("shutdown", "emergency"):
        return None
    panics = [number for number, report in enumerate(reports) if report.grade == "panic"]
    if panics and reason != "oops":
        return _cause_of_panic(reports[panics[0]], reports[:panics[0]])
    if reason == "panic":
        reports = [report for report in reports if _near(report.time, end)]
    return _worst_last(reports)


def _near(time: float | None, end: float | None) -> bool:
    return time is None or end is None or end - time <= _NEAR_END


def _worst_last(reports: Sequence[Report]) -> Report | None:
    """The last oops, or where there is none, the last hang, and so on."""
    for grades in (("fatal", "rest"), ("hang",), ("oom",), ("warning",)):
        same = [report for report in reports if report.grade in grades]
        if same:
            return _first_of_chain(same)
    return None


def _cause_of_panic(panic: Report, earlier: Sequence[Report]) -> Report:
    """The fault that the panic says it followed from, else the panic itself."""
    causes = [report for report in earlier if _may_lead(report, panic)]
    if not causes:
        return panic
    cause = _first_of_chain(causes)
    if cause.grade == "oom":
        cause = cause._replace(message=panic.message)
    if cause.grade == "rest" and panic.rule and panic.cause in panic.rule.after:
        cause = cause._replace(cause=panic.cause, message=panic.message)
    return cause._replace(panic_lines=panic.lines) if cause.cut_by_panic else cause


def _may_lead(report: Report, panic: Report) -> bool:
    rule = panic.rule
    assert rule is not None
    if report.cut_by_panic and report.grade == "fatal" and not rule.pattern.regex:
        return True
    if not rule.after & {report.grade, report.cause}:
        return False
    return (_close(report, panic, rule.within)
            and (rule.pid is None or fault_facts(report.lines).get("pid") == str(rule.pid)))


def _first_of_chain(reports: Sequence[Report]) -> Report:
    """The last report, or the one it is a consequence of: a dying task that faults again."""
    chosen = reports[-1]
    for earlier in reversed(reports[:-1]):
        if not (chosen.grade == "fatal" == earlier.grade and _same_task(earlier, chosen)):
            break
        chosen = earlier
    return chosen


def _same_task(first: Report, second: Report) -> bool:
    pid = fault_facts(second.lines).get("pid", "0")
    return (pid != "0" and fault_facts(first.lines).get("pid") == pid
            and _close(first, second, _MOMENT))


# --- what that report says -----------------------------------------------------------------

def _told(kernel: Kernel, report: Report) -> Explanation:
    """The report's facts, put into `kernel`."""
    facts = _facts(report)
    frames = trace(report.lines) or trace(report.panic_lines)
    if report.cause in HANGS:
        frames = below_interrupt(frames)
    where, jump = _culprit(facts)
    cause = _refined(report.cause, where, facts.get("address", jump))
    shown = where or (None if cause in _NO_CULPRIT else _first_place(frames))
    kernel = _said(kernel, facts)._replace(
        cause=cause, process=facts.get("process"), pid=_int(facts.get("pid")),
        cpu=_int(facts.get("cpu")), address=_address(facts.get("address")), trace=shortened(frames),
        oom=oom_facts(report.lines, facts.get("trigger")) if cause == "oom" else None)
    if shown:
        kernel = kernel._replace(**shown._asdict())
    return Explanation(kernel, None, where.function if where else None, report.message,
                       _int(facts.get("seconds")), jump)


def _said(kernel: Kernel, facts: dict[str, str]) -> Kernel:
    """`kernel` with what the facts say about the machine; what they do not say stays.

    The line that tells the release tells about taints too, by their absence.
    """
    tainted = facts.get("tainted", None if "release" in facts else kernel.tainted)
    return kernel._replace(tainted=tainted, release=facts.get("release", kernel.release),
                           hardware=facts.get("hardware", kernel.hardware))


def _facts(report: Report) -> dict[str, str]:
    """What the report says; its first line goes before the rest."""
    facts = fault_facts(report.lines)
    if "name" in report.fields or "bare" in report.fields:
        facts = {name: value for name, value in facts.items()
                 if name not in ("name", "bare", "nowhere", "offset", "module")}
    return {**facts, **report.fields}


def _culprit(facts: dict[str, str]) -> tuple[Place | None, str | None]:
    """Where the program counter was, or if that is nowhere, who jumped there, and to where."""
    where = Place("0x0", None, None) if "nowhere" in facts else place(facts)
    if where is None or not is_nowhere(where.function):
        return where, None
    caller = place(facts, "caller_")
    known = caller is not None and not is_nowhere(caller.function)
    return caller if known else None, _address(where.function)


def _first_place(frames: Sequence[Frame]) -> Place | None:
    """The innermost frame that says something."""
    frame = next(iter(informative(frames)), None)
    return Place(frame.function, frame.offset, frame.module) if frame else None


def _refined(cause: str, where: Place | None, address: str | None) -> str:
    """The cause, made more precise by what stands further down in the report."""
    if where and where.function == "sysrq_handle_crash":    # a NULL pointer on purpose, until v5.0
        return "sysrq"
    value = _address(address)
    if cause not in ("bad-access", "other", "null-pointer") or value is None:
        return cause
    return "null-pointer" if _is_near_null(int(value, 16)) else "bad-access"


def _is_near_null(address: int) -> bool:
    """Whether the address is a member, before or behind, of a structure at NULL."""
    return address < PAGE or any(0 < (1 << bits) - address <= PAGE for bits in (32, 64))


def _address(text: str | None) -> str | None:
    """"0x10" for what the log writes as "00000010", "(null)", "0x10"."""
    if text is None or "ptrval" in text:
        return None
    return "0x0" if "null" in text.lower() else hex(int(text, 16))


def _unread(lines: Sequence[Line], panic: Report) -> str | None:
    """What could not be read shortly before the panic."""
    before = lines[:lines.index(panic.lines[0])]
    return read_errors([line for line in before if _near(line.time, panic.time)])


def _int(text: str | None) -> int | None:
    return int(text) if text else None
