"""What the kernel says when it breaks: the tables that `kernel_log` reads logs by.

Sources: arch/x86/mm/fault.c and kernel/traps.c, arch/arm{,64}/mm/fault.c and kernel/traps.c,
arch/mips/mm/fault.c and kernel/traps.c, kernel/panic.c, kernel/watchdog.c,
kernel/hung_task.c, kernel/rcu/tree_stall.h, mm/oom_kill.c, init/main.c; v3.x to v6.12.

A pattern is matched at the start of a message (behind the time stamp); the first rule of a
table that matches counts.  Groups fill the fields of the same name: address, cpu, process,
pid, seconds, place (name, offset, module), trigger.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .symbol import PLACE

__all__ = ["FAULTS", "HANGS", "PANICS", "PanicRule", "Rule", "fault_rule", "panic_rule"]

HANGS = frozenset({"soft-lockup", "hard-lockup", "hung-task", "rcu-stall", "watchdog"})


class Rule(NamedTuple):
    """A line that begins the report of a fault."""

    pattern: str
    cause: str              # one of CONTRACT's CAUSE
    grade: str = "fatal"    # "fatal": kills the task or the machine; "hang", "oom", "warning":
                            # the kernel goes on, unless a setting makes it panic;
                            # "rest": only worth something if the report's start is lost


class PanicRule(NamedTuple):
    """The message of a panic: a cause in itself, or what an earlier fault led to."""

    pattern: str
    cause: str              # when no such fault is in the log
    after: frozenset[str] = frozenset()     # grades or causes of the fault it may follow from
    within: float = float("inf")            # seconds that may lie between the two
    pid: int | None = None                  # the fault must be this process' own


_HEX = r"(?:0x)?[0-9a-f]{1,16}"
_AT = rf"(?P<address>{_HEX}|\(null\)|\(ptrval\)|<0*NULL>)"
_DIED = r"(?:Oops: )?"                      # x86 v6.11 puts it before every trap's name

FAULTS = tuple(Rule(*row) for row in (
    # x86: mm/fault.c show_fault_oops; the wording changed in v5.0 and v5.1
    (rf"BUG: (?:unable to handle )?kernel NULL pointer dereference(?:, address:| at) *{_AT}",
     "null-pointer"),
    (rf"BUG: unable to handle (?:kernel paging request at|page fault for address:) *{_AT}",
     "bad-access"),
    (r"BUG: .{0,40}stack guard page was hit", "stack-corruption"),
    (r"(?:traps: )?PANIC: double fault", "bad-access"),
    # x86: kernel/traps.c
    (_DIED + r"general protection fault(?:, (?:probably|maybe) for (?:non-canonical )?"
     rf"address {_AT})?.{{0,40}}: [0-9a-f]{{4}} \[#", "bad-access"),
    (_DIED + r"divide error: [0-9a-f]{4} \[#", "divide"),
    (_DIED + r"invalid opcode: [0-9a-f]{4} \[#", "undefined-instruction"),
    (_DIED + r"kernel stack overflow", "stack-corruption"),
    (_DIED + r"(?:stack segment|alignment check|segment not present|bounds|double fault"
     r"|Bad pagetable|invalid TSS)[^:]{0,20}: [0-9a-f]{4} \[#", "bad-access"),
    # arm, arm64, mips: mm/fault.c
    (rf"(?:CPU (?P<cpu>\d{{1,4}}) )?Unable to handle kernel .{{3,60}}? at virtual address {_AT}",
     "bad-access"),
    (rf"Unhandled fault: .{{0,60}}(?:external abort|SError).{{0,60}}? at {_AT}", "bus-error"),
    (rf"Unhandled (?:fault|prefetch abort): .{{0,60}}? at {_AT}", "bad-access"),
    # everywhere: BUG()
    (r"kernel BUG at ", "bug"),
    # mips: kernel/traps.c, kernel/unaligned.c
    (r"(?:Kernel bug detected|Break instruction in kernel code|Trap instruction in kernel code)"
     r"\[#", "bug"),
    (r"Reserved instruction in kernel code\[#", "undefined-instruction"),
    (r"Unhandled kernel unaligned access", "bad-access"),
    (r"(?:Data|Instruction) bus error, ", "bus-error"),
    (r"(?:Cache|Uncorrectable cache) error exception", "bus-error"),
    (r"Got mcheck at ", "bus-error"),
    # arm64: kernel/traps.c; "Bad mode" until v4.15
    (r"SError Interrupt on CPU(?P<cpu>\d{1,4})", "bus-error"),
    (r"Bad mode in Error handler detected", "bus-error"),
    (r"Insufficient stack space to handle exception", "stack-corruption"),
    # arm, arm64: die(); most follow a line above and add nothing
    (r"Internal error: Oops - BUG", "bug"),
    (r"Internal error: (?:Oops - CFI|aarch64 BRK|BRK handler|ptrace BRK)", "bug"),
    (r"Internal error: Oops - undefined instruction", "undefined-instruction"),
    (r"Internal error: .{0,60}(?:external abort|SError)", "bus-error"),
    (r"Internal error: .{0,60}(?:Oops|alignment|[Aa]ttempting to execute|[Aa]ccessing)",
     "bad-access"),
    (r"Internal error: ", "other"),
    # x86 "Oops: 0002 [#1]", v6.11 "Oops: Oops: 0002 [#1]"; mips "Oops[#1]:"
    (r"Oops: (?:Oops: )?[0-9a-f]{4} \[#", "bad-access"),
    (r"Oops\[#\d", "other"),
    # hangs: kernel/watchdog.c, watchdog_hld.c, hung_task.c, rcu/tree_stall.h
    (r"(?:NMI )?(?:watchdog: )?BUG: soft lockup - CPU#(?P<cpu>\d{1,4}) stuck for "
     r"(?P<seconds>\d{1,9})s! \[(?P<process>.{0,64}):(?P<pid>\d{1,10})\]",
     "soft-lockup", "hang"),
    (r"(?:NMI )?(?:watchdog: )?(?:BUG: )?(?:CPU\d{1,4}: )?Watchdog detected hard LOCKUP on cpu "
     r"?(?P<cpu>\d{1,4})", "hard-lockup", "hang"),
    (r"INFO: task (?P<process>.{1,64}):(?P<pid>\d{1,10}) blocked .{0,40}for more than "
     r"(?P<seconds>\d{1,9}) seconds", "hung-task", "hang"),
    (r"(?:rcu: )?INFO: rcu\w{0,20} (?:self-)?detected (?:expedited )?stalls? on CPU"
     r"(?:s/tasks)?:? ?(?:\{ ?(?P<cpu>\d{1,4}))?", "rcu-stall", "hang"),
    # out of memory: mm/oom_kill.c
    (r"(?P<trigger>.{1,64}) invoked oom-killer: ", "oom", "oom"),
    (r"(?:Memory cgroup )?[Oo]ut of memory(?: \([^)]{0,40}\))?: Kill(?:ed)? process ",
     "oom", "oom"),
    # reports after which the kernel goes on: kernel/panic.c __warn, kernel/sched, mm/kasan
    (r"WARNING: (?:CPU: (?P<cpu>\d{1,4}) PID: (?P<pid>\d{1,10}) )?at \S{1,200}(?: " + PLACE + ")?",
     "warning", "warning"),
    (r"BUG: KASAN: ", "bad-access", "warning"),
    (r"BUG: (?:scheduling while atomic|sleeping function|Bad |using )", "bug", "warning"),
    (r"Division by zero in kernel", "divide", "warning"),
    # the rest of a report whose start fell out of the log
    (r"(?:RIP: 0010:|EIP is at |PC is at |pc : (?:[A-Za-z_]|0x)|epc +: )", "other", "rest"),
))

_FATAL = frozenset({"fatal", "rest"})


def _after(cause: str) -> frozenset[str]:
    return frozenset({cause, "rest"})


PANICS = tuple(PanicRule(*row) for row in (
    (r"sysrq triggered crash", "sysrq"),
    (r"[Oo]ut of memory|System is deadlocked on memory", "oom", frozenset({"oom"}), 30.0),
    (r"softlockup: hung tasks", "soft-lockup", _after("soft-lockup")),
    (r"hung_task: blocked tasks", "hung-task", _after("hung-task")),
    (r"RCU Stall", "rcu-stall", _after("rcu-stall")),
    (r"(?:Watchdog detected )?[Hh]ard LOCKUP", "hard-lockup", _after("hard-lockup")),
    (r".{0,40}panic_on_warn set|kasan\.fault=panic set", "warning",
     frozenset({"warning", "bad-access"})),
    (r"stack-protector: [Kk]ernel stack is corrupted in: *(?:" + PLACE + ")?", "stack-corruption"),
    (r"corrupted stack end detected|kernel stack overflow|Stack overflow", "stack-corruption",
     _after("stack-corruption")),
    (r"Asynchronous SError|.{0,20}SError|.{0,40}[Mm]achine [Cc]heck"
     r"|.{0,40}[Cc]ache error|.{0,40}[Hh]ardware error|.{0,20}bus error", "bus-error",
     _after("bus-error")),
    (r"NMI: Not continuing|NMI: IOCK|NMI IOCK", "bus-error"),
    (r"(?i:.{0,20}watchdog)", "watchdog", frozenset({"watchdog", "hard-lockup"})),
    (r"Attempted to kill init!", "init-died", _FATAL, 10.0, 1),
    (r"VFS: |No (?:working )?init found|Requested init .{1,200} failed|.{0,40}unable to mount root",
     "no-root"),
    (r"(?:Oops: )?Fatal exception|Aiee, killing interrupt handler|Attempted to kill the idle task"
     r"|.{0,40}panic_on_oops|Fatal error|Recursive", "other", _FATAL),
    (r"", "other"),
))


def _either(patterns: Sequence[str]) -> re.Pattern[str]:
    """One pattern for all of them; the number of its only group that matched tells which."""
    nameless = [re.sub(r"\?P<\w+>", "?:", each) for each in patterns]
    return re.compile("|".join(f"({each})" for each in nameless))


_SOME_FAULT = _either([rule.pattern for rule in FAULTS])
_SOME_PANIC = _either([rule.pattern for rule in PANICS])


def fault_rule(text: str) -> tuple[Rule, re.Match[str]] | None:
    """The rule that this message meets, and the match; None for the many others."""
    some = _SOME_FAULT.match(text)
    if not some or not some.lastindex:
        return None
    rule = FAULTS[some.lastindex - 1]
    found = re.match(rule.pattern, text)
    return (rule, found) if found else None


def panic_rule(message: str) -> tuple[PanicRule, re.Match[str]]:
    """The rule for what stands behind "Kernel panic - not syncing: "; the last fits all."""
    some = _SOME_PANIC.match(message)
    rule = PANICS[(some.lastindex or 0) - 1] if some else PANICS[-1]
    found = re.match(rule.pattern, message) or re.match("", message)
    assert found is not None
    return rule, found
