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

from collections.abc import Sequence
from typing import NamedTuple

from ..record import Frame, Kernel
from .facts import boot_facts, fault_facts, of_a_program, oom_facts, read_errors
from .line import Line, last_time, lines_of
from .pattern import Pattern
from .plumbing import below_interrupt, finds_only, informative, reported, waits_only
from .reports import MOMENT, Report, close, left_before, reports
from .rules import HANGS
from .suspects import Suspect, last_suspect, may_hold_suspects
from .symbol import PAGE, Place, is_nowhere, place, shortened, traces
from .wrapped import joined

__all__ = ["Explanation", "explain", "explain_end", "suspect_at_end"]

_TITLE = Pattern(r"([A-Z][A-Za-z]{2,15})#(\d{1,9}) Part(\d{1,9})\s*$", " Part")

# kernel/reboot.c: the last that a kernel says; the first word since v3.10.
_SHUT_DOWN = Pattern(r"(?:reboot: )?(?:Restarting system|Power down|System halted)\b",
                     "Restarting system", "Power down", "System halted")
# drivers/tty/sysrq.c: before the crash that is asked for; "SysRq : " until v4.20.
_CRASH_ASKED_FOR = Pattern(r"(?:sysrq: )?(?:SysRq : )?Trigger a crash", "Trigger a crash")

# Linux before v5.8 told three kinds of shutdown apart.
_REASONS = {"Panic": "panic", "Oops": "oops", "Emergency": "emergency", "Shutdown": "shutdown",
            "Restart": "shutdown", "Halt": "shutdown", "Poweroff": "shutdown"}

_NEAR_END = 30.0        # seconds before the end of a log that are about how it ends
_SUSPICIOUS = 180.0     # seconds before a crash in which a device that failed is suspect
_SUSPICIOUS_LINES = 300

_NO_CULPRIT = frozenset({"oom", "init-died", "no-root"})
_OF_A_PLACE = frozenset({"name", "bare", "nowhere", "offset", "module"})
_PAGE_FAULT = Pattern(r"Oops: (?:Oops: )?[0-9a-f]{4} \[#", "Oops: ")     # of x86
_OF_REGISTERS = _OF_A_PLACE | {"counter", "caller_name", "caller_bare"}
# What the report of a sleeping task tells only of the processors, where it tells of them at all.
_OF_A_PROCESSOR = _OF_A_PLACE | {"cpu", "counter", "address", "process", "pid"}

# Causes that no device has a part in.
_EXPLAINED = frozenset({"sysrq", "oom", "init-died", "no-root"})


class Explanation(NamedTuple):
    """What `explain` found out."""

    kernel: Kernel
    uptime: float | None        # the last time stamp: seconds since boot
    culprit: str | None         # the function the program counter was in, or that jumped to
                                # where no code is; None: not said
    message: str | None         # what the panic, or else the report's first line, says;
                                # None: nothing went wrong, or nothing says what
    seconds: int | None = None  # how long it hung
    jump: str | None = None     # the address without code that it jumped to; None: it did not
    unread: str | None = None   # what kind of errors came shortly before init died
    suspect: Suspect | None = None      # the device that failed shortly before


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


def suspect_at_end(text: str) -> Suspect | None:
    """The device that failed in the last lines of a log without a title; None: none did, or the
    log goes on to a clean end."""
    if not may_hold_suspects(text):
        return None
    return _suspect_at_end([line for line in lines_of(text) if not line.user])


def _suspect_at_end(lines: Sequence[Line]) -> Suspect | None:
    end = last_time(lines)
    last = [line for line in lines[-_SUSPICIOUS_LINES:] if _near(line.time, end)]
    return None if _shut_down(last) else last_suspect(last)


def _explained(lines: Sequence[Line]) -> Explanation:
    """What these lines of the kernel say; the uptime is left out."""
    lines = joined(lines)
    reason, sequence, part = _title(lines)
    found = reports(lines)
    if not sequence and reason == "unknown":
        reason = _reason_without_title(found, lines)
    kernel = _said(Kernel(reason, sequence, part), boot_facts(lines))
    chosen = _chosen(reason, found, last_time(lines)) if found else _head_lost(reason, lines)
    if not chosen:
        return _without_fault(kernel, lines)
    if chosen.rule and chosen.cause == "other" and "rest" in chosen.rule.after:
        chosen = chosen._replace(before=left_before(chosen, lines))
    return _after_all(_told(kernel, chosen), chosen, lines)


def _title(lines: Sequence[Line]) -> tuple[str, int | None, int | None]:
    """The dump's reason, sequence number and part, from its first line."""
    for line in lines[:2]:          # pstore_zone puts "Panic: Total 1 times" above it
        found = _TITLE.match(line.text)
        if found:
            return _REASONS.get(found[1], "unknown"), int(found[2]), int(found[3])
    return "unknown", None, None


def _reason_without_title(found: Sequence[Report], lines: Sequence[Line]) -> str:
    """The reason of a dump by mtdoops, which writes none: as the log tells it."""
    grades = {report.grade for report in found}
    if "panic" in grades:
        return "panic"
    if "fatal" in grades:
        return "oops"
    return "shutdown" if "hang" not in grades and _shut_down(lines[-20:]) else "unknown"


def _shut_down(lines: Sequence[Line]) -> bool:
    """Whether these last lines end the boot as it should end."""
    return any(_SHUT_DOWN.match(line.text) for line in lines)


# --- which of them the record is about -----------------------------------------------------

def _chosen(reason: str, found: Sequence[Report], end: float | None) -> Report | None:
    """The report that the record is about; None: nothing went wrong, or nothing says so."""
    if reason in ("shutdown", "emergency"):
        return None
    panics = [number for number, report in enumerate(found) if report.grade == "panic"]
    if panics and reason != "oops":
        return _cause_of_panic(found[panics[0]], found[:panics[0]])
    if reason == "panic":
        found = [report for report in found if _near(report.time, end)]
    if reason == "unknown":
        found = [report for report in found if _says_how_it_ended(report, end)]
    return _worst_last(found)


def _head_lost(reason: str, lines: Sequence[Line]) -> Report | None:
    """The report that the log begins amid: only its trace is left; None: none is."""
    end = last_time(lines)
    last = [line for line in lines[-_SUSPICIOUS_LINES:] if _near(line.time, end)]
    trace = next(traces(last, begun=True), ())
    cause = None if reason in ("shutdown", "emergency") else reported(trace)
    return Report(cause, "rest", "", {}, last) if cause else None


def _says_how_it_ended(report: Report, end: float | None) -> bool:
    """Whether of a log of which nothing says that it ends in a crash this may be the crash: no
    program's fault, and nothing that the kernel lived with for long."""
    if report.grade == "abort":
        return False
    return report.grade not in ("warning", "sign") or _near(report.time, end)


def _near(time: float | None, end: float | None, seconds: float = _NEAR_END) -> bool:
    return time is None or end is None or end - time <= seconds


def _worst_last(found: Sequence[Report]) -> Report | None:
    """The last oops, or where there is none, the last hang, and so on."""
    for grades in (("fatal", "rest"), ("abort",), ("hang",), ("oom",), ("warning",), ("sign",)):
        same = [report for report in found if report.grade in grades]
        if same:
            return _first_of_chain(same)
    return None


def _cause_of_panic(panic: Report, earlier: Sequence[Report]) -> Report:
    """The fault that the panic says it followed from, else the panic itself."""
    causes = [report for report in earlier if _may_lead(report, panic)]
    if not causes:
        return panic
    cause = _first_of_chain(causes)
    if cause.grade == "oom" and panic.cause == "oom" and not panic.cut:
        cause = cause._replace(message=panic.message)
    if cause.grade == "rest" and panic.rule and panic.cause in panic.rule.after:
        cause = cause._replace(cause=panic.cause, message=panic.message)
    return cause._replace(panic_lines=panic.lines) if cause.cut_by_panic else cause


def _may_lead(report: Report, panic: Report) -> bool:
    rule = panic.rule
    assert rule is not None
    if report.cut_by_panic and report.grade == "fatal" and not rule.pattern.regex:
        return True
    if report.grade == "sign" and panic.cause != "other":       # it says no less itself
        return False
    if not rule.after & {report.grade, report.cause}:
        return False
    pid = None if rule.pid is None else fault_facts(report.lines).get("pid")
    return close(report, panic, rule.within) and pid in (None, str(rule.pid))


def _first_of_chain(found: Sequence[Report]) -> Report:
    """The last report, or the one it is a consequence of: a dying task that faults again; of a
    stall that was detected again with less to say of it, the one before."""
    chosen = found[-1]
    for earlier in reversed(found[:-1]):
        dying = chosen.grade == "fatal" == earlier.grade and _same_task(earlier, chosen)
        if not (dying or _says_more(earlier, chosen)):
            break
        chosen = earlier
    return chosen


def _says_more(earlier: Report, later: Report) -> bool:
    """Whether the two are of one trouble, and only the earlier report says where it is, or whom
    it cost the life."""
    if later.cause != earlier.cause or later.cut_by_panic or not close(earlier, later, MOMENT):
        return False
    if later.cause == "oom":
        return _victim(later) is None and _victim(earlier) is not None
    return (later.cause in ("rcu-stall", "bug") and not _says_where(later)
            and _says_where(earlier))


def _victim(report: Report) -> str | None:
    return oom_facts(report.lines, None).victim


def _says_where(report: Report) -> bool:
    return place(fault_facts(report.lines)) is not None or bool(informative(_frames(report)))


def _same_task(first: Report, second: Report) -> bool:
    pid = fault_facts(second.lines).get("pid", "0")
    return (pid != "0" and fault_facts(first.lines).get("pid") == pid
            and close(first, second, MOMENT))


# --- what that report says -----------------------------------------------------------------

def _told(kernel: Kernel, report: Report) -> Explanation:
    """The report's facts, put into `kernel`."""
    facts = _facts(report)
    frames = _frames(report)
    where, jump = _culprit(facts)
    where = where or _first_of_whole(report.before, frames)
    told = reported(frames) if (report.cause, report.grade) == ("other", "rest") else None
    cause = _refined(told or report.cause, where, facts.get("null", facts.get("address", jump)))
    shown = None if cause in _NO_CULPRIT else _shown(where, frames, facts, report)
    kernel = _said(kernel, facts)._replace(
        cause=cause, process=facts.get("process"), pid=_int(facts.get("pid")),
        cpu=_cpu(facts), address=_address(facts.get("address")), trace=shortened(frames),
        oom=oom_facts(report.lines, facts.get("trigger")) if cause == "oom" else None)
    if shown:
        kernel = kernel._replace(**shown._asdict())
    return Explanation(kernel, None, where.function if where else None, report.message,
                       _int(facts.get("seconds")), jump)


def _frames(report: Report) -> tuple[Frame, ...]:
    """The trace of the report, of a hang the first that says what hung."""
    found = ([*traces(report.lines)] or [*traces(report.panic_lines)]
             or [*traces(report.lines[1:], begun=True)]         # its headline is lost
             or [*traces(report.panic_lines[1:], begun=True)])
    if not found:
        return ([(), *traces(report.before, begun=True)])[-1]
    if report.cause not in HANGS:
        return found[0]
    hung = [below_interrupt(frames) for frames in found]
    return next(filter(informative, hung), hung[0])


def _first_of_whole(before: Sequence[Line], frames: Sequence[Frame]) -> Place | None:
    """What a report was about whose start is lost: arm64's trace, if it is whole, begins there."""
    if frames and any(line.text.startswith("Call trace:") for line in before):
        first = frames[0]
        return Place(first.function, first.offset, first.module)
    return None


def _shown(where: Place | None, frames: Sequence[Frame], facts: dict[str, str],
           report: Report) -> Place | None:
    """The place that a reader looks for: not of a check, but of who failed it; not of a lock, but
    of who waits for it."""
    only = waits_only if report.cause in HANGS else finds_only
    if where and (where.module or not only(where.function)):
        return where
    said = place(facts, "said_")
    if said and (said.module or not finds_only(said.function)):
        return said
    return (_first_place(frames) or said or where
            or (place(fault_facts(report.panic_lines)) if report.cause in HANGS else None))


def _cpu(facts: dict[str, str]) -> int | None:
    return int(facts["hexcpu"], 16) if "hexcpu" in facts else _int(facts.get("cpu"))


def _said(kernel: Kernel, facts: dict[str, str]) -> Kernel:
    """`kernel` with what the facts say about the machine; what they do not say stays.

    The line that tells the release tells about taints too, by their absence.
    """
    tainted = facts.get("tainted", None if "release" in facts else kernel.tainted)
    return kernel._replace(tainted=tainted, release=facts.get("release", kernel.release),
                           hardware=facts.get("hardware", kernel.hardware))


def _facts(report: Report) -> dict[str, str]:
    """What the report says; its first line goes before the rest."""
    told = fault_facts(report.lines)
    if _in_trace(report) or of_a_program(report.lines):
        told = _without(told, _OF_REGISTERS)
    facts = {**fault_facts(report.before), **told}
    if report.cause == "hung-task":
        facts = _without(facts, _OF_A_PROCESSOR)
    elif "name" in report.fields or "bare" in report.fields:
        facts = _without(facts, _OF_A_PLACE)
    if "cr2" in facts and _PAGE_FAULT.match(report.message):
        facts.setdefault("address", facts["cr2"])
    return {**facts, **report.fields}


def _in_trace(report: Report) -> bool:
    """Whether its registers are those that a call trace holds: not what went wrong, but what was
    interrupted for it, or called the kernel.  Of a hang that is what hung."""
    return report.grade in ("panic", "oom") and report.cause not in HANGS


def _without(facts: dict[str, str], names: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in facts.items() if name not in names}


def _culprit(facts: dict[str, str]) -> tuple[Place | None, str | None]:
    """Where the program counter was, or if no code is there, who jumped there, and to where."""
    where = Place("0x0", None, None) if "nowhere" in facts else place(facts) or _counter(facts)
    if where is None or not (is_nowhere(where.function) or _is_bad(where.function, facts)):
        return where, None
    caller = place(facts, "caller_")
    known = caller is not None and not is_nowhere(caller.function)
    return caller if known else None, _address(where.function)


def _is_bad(bare: str, facts: dict[str, str]) -> bool:
    """Whether it is the bare address that could not be accessed: there was no code to fetch."""
    return bare.startswith("0x") and "address" in facts and bare == _address(facts["address"])


def _counter(facts: dict[str, str]) -> Place | None:
    """Where the program counter was, as its bare value."""
    return Place("0x" + facts["counter"], None, None) if "counter" in facts else None


def _first_place(frames: Sequence[Frame]) -> Place | None:
    """The innermost frame that says something, but not that it found something wrong."""
    said = informative(frames)
    frame = next((each for each in said if each.module or not (
        finds_only(each.function) or waits_only(each.function))),
                 said[0] if said else None)
    return Place(frame.function, frame.offset, frame.module) if frame else None


def _refined(cause: str, where: Place | None, address: str | None) -> str:
    """The cause, made more precise by what stands further down in the report."""
    if where and where.function == "sysrq_handle_crash":    # a NULL pointer on purpose, until v5.0
        return "sysrq"
    if cause == "undefined-instruction" and where and finds_only(where.function):
        return "bug"                                        # x86's, whose first line is lost
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


# --- what came before ----------------------------------------------------------------------

def _after_all(found: Explanation, report: Report, lines: Sequence[Line]) -> Explanation:
    """`found` with what the lines before the report say of how it came about."""
    before = lines[:lines.index(report.lines[0])]
    kernel = found.kernel
    if kernel.cause in ("null-pointer", "bad-access", "other") and _asked_for(before):
        kernel = kernel._replace(cause="sysrq")
    if kernel.cause == "init-died":
        near = [line for line in before if _near(line.time, report.time)]
        return found._replace(unread=read_errors(near))
    soon = [line for line in before[-_SUSPICIOUS_LINES:]
            if _near(line.time, report.time, _SUSPICIOUS)]
    suspect = None if kernel.cause in _EXPLAINED else last_suspect(soon)
    return _suspecting(found._replace(kernel=kernel), suspect)


def _without_fault(kernel: Kernel, lines: Sequence[Line]) -> Explanation:
    """What is known where the log tells of no fault."""
    shut_down = kernel.reason in ("shutdown", "emergency")
    return _suspecting(Explanation(kernel, None, None, None),
                       None if shut_down else _suspect_at_end(lines))


def _suspecting(found: Explanation, suspect: Suspect | None) -> Explanation:
    line = suspect.line if suspect else None
    return found._replace(suspect=suspect, kernel=found.kernel._replace(suspect=line))


def _asked_for(before: Sequence[Line]) -> bool:
    """Whether the line before asks for a crash, until v5.0 a NULL pointer's."""
    return any(_CRASH_ASKED_FOR.match(line.text) for line in before[-3:])


def _int(text: str | None) -> int | None:
    return int(text) if text else None
