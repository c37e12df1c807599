"""What the kernel says when it breaks: the tables that `kernel_log` reads logs by.

Sources: arch/x86/mm/fault.c and kernel/traps.c, arch/arm{,64}/mm/fault.c and kernel/traps.c,
arch/mips/mm/fault.c and kernel/traps.c, kernel/panic.c, kernel/watchdog.c,
kernel/hung_task.c, kernel/rcu/tree_stall.h, mm/oom_kill.c, init/main.c; v3.x to v6.12.

A pattern is matched at the start of a message (behind the time stamp); the first rule of a
table that matches counts.  Groups fill the fields of the same name: address, cpu, process,
pid, seconds, place (name, offset, module), trigger.  The words behind a pattern are those of
which one is in all that it matches (see `pattern`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .pattern import Pattern
from .symbol import PLACE

__all__ = ["FAULTS", "HANGS", "PANICS", "PanicRule", "Rule", "fault_rule", "fault_rules",
           "panic_rule"]

HANGS = frozenset({"soft-lockup", "hard-lockup", "hung-task", "rcu-stall", "watchdog"})


class Rule(NamedTuple):
    """A line that begins the report of a fault."""

    pattern: Pattern
    cause: str              # one of CONTRACT's CAUSE
    grade: str              # "fatal": kills the task or the machine; "hang", "oom", "warning":
                            # the kernel goes on, unless a setting makes it panic;
                            # "rest": only worth something if the report's start is lost


class PanicRule(NamedTuple):
    """The message of a panic: a cause in itself, or what an earlier fault led to."""

    pattern: Pattern
    cause: str              # when no such fault is in the log
    after: frozenset[str]   # grades or causes of the fault it may follow from
    within: float           # seconds that may lie between the two
    pid: int | None         # the fault must be this process' own


_HEX = r"(?:0x)?[0-9a-f]{1,16}"
_AT = rf"(?P<address>{_HEX}|\(null\)|\(ptrval\)|<0*NULL>)"
_DIED = r"(?:Oops: )?"                      # x86 v6.11 puts it before every trap's name


def _fault(cause: str, regex: str, *words: str, grade: str = "fatal") -> Rule:
    return Rule(Pattern(regex, *words), cause, grade)


FAULTS = (
    # x86: mm/fault.c show_fault_oops; the wording changed in v5.0 and v5.1
    _fault("null-pointer", r"BUG: (?:unable to handle )?kernel NULL pointer dereference"
           rf"(?:, address:| at) *{_AT}", "kernel NULL pointer dereference"),
    _fault("bad-access", r"BUG: unable to handle (?:kernel paging request at"
           rf"|page fault for address:) *{_AT}", "BUG: unable to handle "),
    _fault("stack-corruption", r"BUG: .{0,40}stack guard page was hit",
           "stack guard page was hit"),
    _fault("bad-access", r"(?:traps: )?PANIC: double fault", "PANIC: double fault"),
    # x86: kernel/traps.c
    _fault("bad-access", _DIED + r"general protection fault(?:, (?:probably|maybe) for "
           rf"(?:non-canonical )?address {_AT})?.{{0,40}}: [0-9a-f]{{4}} \[#",
           "general protection fault"),
    _fault("divide", _DIED + r"divide error: [0-9a-f]{4} \[#", "divide error: "),
    _fault("undefined-instruction", _DIED + r"invalid opcode: [0-9a-f]{4} \[#",
           "invalid opcode: "),
    _fault("stack-corruption", _DIED + r"kernel stack overflow", "kernel stack overflow"),
    _fault("bad-access", _DIED + r"(?:stack segment|alignment check|segment not present|bounds"
           r"|double fault|Bad pagetable|invalid TSS)[^:]{0,20}: [0-9a-f]{4} \[#",
           "stack segment", "alignment check", "segment not present", "bounds", "double fault",
           "Bad pagetable", "invalid TSS"),
    # arm, arm64, mips: mm/fault.c
    _fault("bad-access", r"(?:CPU (?P<cpu>\d{1,4}) )?Unable to handle kernel .{3,60}? at virtual "
           rf"address {_AT}", "Unable to handle kernel "),
    _fault("bus-error", rf"Unhandled fault: .{{0,60}}(?:external abort|SError).{{0,60}}? at {_AT}",
           "Unhandled fault: "),
    _fault("bad-access", rf"Unhandled (?:fault|prefetch abort): .{{0,60}}? at {_AT}",
           "Unhandled fault: ", "Unhandled prefetch abort: "),
    # everywhere: BUG()
    _fault("bug", r"kernel BUG at ", "kernel BUG at "),
    # mips: kernel/traps.c, kernel/unaligned.c
    _fault("bug", r"(?:Kernel bug detected|Break instruction in kernel code"
           r"|Trap instruction in kernel code)\[#", "Kernel bug detected",
           "instruction in kernel code"),
    _fault("undefined-instruction", r"Reserved instruction in kernel code\[#",
           "Reserved instruction in kernel code"),
    _fault("bad-access", r"Unhandled kernel unaligned access", "Unhandled kernel unaligned"),
    _fault("bus-error", r"(?:Data|Instruction) bus error, ", " bus error, "),
    _fault("bus-error", r"(?:Cache|Uncorrectable cache) error exception", "ache error exception"),
    _fault("bus-error", r"Got mcheck at ", "Got mcheck at "),
    # arm64: kernel/traps.c; "Bad mode" until v4.15
    _fault("bus-error", r"SError Interrupt on CPU(?P<cpu>\d{1,4})", "SError Interrupt on CPU"),
    _fault("bus-error", r"Bad mode in Error handler detected", "Bad mode in Error handler"),
    _fault("stack-corruption", r"Insufficient stack space to handle exception",
           "Insufficient stack space"),
    # arm, arm64: die(); most follow a line above and add nothing
    _fault("bug", r"Internal error: Oops - BUG", "Internal error: Oops - BUG"),
    _fault("bug", r"Internal error: (?:Oops - CFI|aarch64 BRK|BRK handler|ptrace BRK)",
           "Oops - CFI", "aarch64 BRK", "BRK handler", "ptrace BRK"),
    _fault("undefined-instruction", r"Internal error: Oops - undefined instruction",
           "Oops - undefined instruction"),
    _fault("bus-error", r"Internal error: .{0,60}(?:external abort|SError)",
           "external abort", "SError"),
    _fault("bad-access", r"Internal error: .{0,60}(?:Oops|alignment|[Aa]ttempting to execute"
           r"|[Aa]ccessing)", "Internal error: "),
    _fault("other", r"Internal error: ", "Internal error: "),
    # x86 "Oops: 0002 [#1]", v6.11 "Oops: Oops: 0002 [#1]"; mips "Oops[#1]:"
    _fault("bad-access", r"Oops: (?:Oops: )?[0-9a-f]{4} \[#", "Oops: "),
    _fault("other", r"Oops\[#\d", "Oops[#"),
    # hangs: kernel/watchdog.c, watchdog_hld.c, hung_task.c, rcu/tree_stall.h
    _fault("soft-lockup", r"(?:NMI )?(?:watchdog: )?BUG: soft lockup - CPU#(?P<cpu>\d{1,4}) stuck "
           r"for (?P<seconds>\d{1,9})s! \[(?P<process>.{0,64}):(?P<pid>\d{1,10})\]",
           "BUG: soft lockup", grade="hang"),
    _fault("hard-lockup", r"(?:NMI )?(?:watchdog: )?(?:BUG: )?(?:CPU\d{1,4}: )?Watchdog detected "
           r"hard LOCKUP on cpu ?(?P<cpu>\d{1,4})", "Watchdog detected hard LOCKUP", grade="hang"),
    _fault("hung-task", r"INFO: task (?P<process>.{1,64}):(?P<pid>\d{1,10}) blocked .{0,40}for "
           r"more than (?P<seconds>\d{1,9}) seconds", "INFO: task ", grade="hang"),
    _fault("rcu-stall", r"(?:rcu: )?INFO: rcu\w{0,20} (?:self-)?detected (?:expedited )?stalls? on "
           r"CPU(?:s/tasks)?:? ?(?:\{ ?(?P<cpu>\d{1,4}))?", "INFO: rcu", grade="hang"),
    # out of memory: mm/oom_kill.c
    _fault("oom", r"(?P<trigger>.{1,64}) invoked oom-killer: ", " invoked oom-killer: ",
           grade="oom"),
    _fault("oom", r"(?:Memory cgroup )?[Oo]ut of memory(?: \([^)]{0,40}\))?: Kill(?:ed)? process ",
           "ut of memory", grade="oom"),
    # reports after which the kernel goes on: kernel/panic.c __warn, kernel/sched, mm/kasan
    _fault("warning", r"WARNING: (?:CPU: (?P<cpu>\d{1,4}) PID: (?P<pid>\d{1,10}) )?at \S{1,200}"
           "(?: " + PLACE + ")?", "WARNING: ", grade="warning"),
    _fault("bad-access", r"BUG: KASAN: ", "BUG: KASAN: ", grade="warning"),
    _fault("bug", r"BUG: (?:scheduling while atomic|sleeping function|Bad |using )",
           "BUG: scheduling", "BUG: sleeping", "BUG: Bad ", "BUG: using ", grade="warning"),
    _fault("divide", r"Division by zero in kernel", "Division by zero in kernel", grade="warning"),
    # the rest of a report whose start fell out of the log
    _fault("other", r"(?:RIP: 0010:|EIP is at |PC is at |pc : (?:[A-Za-z_]|0x)|epc +: )",
           "RIP: 0010:", "EIP is at ", "PC is at ", "pc : ", "epc ", grade="rest"),
)

_FATAL = ("fatal", "rest")


def _panic(cause: str, regex: str, *words: str, after: Sequence[str] = (),
           within: float = float("inf"), pid: int | None = None) -> PanicRule:
    return PanicRule(Pattern(regex, *words), cause, frozenset(after), within, pid)


PANICS = (
    _panic("sysrq", r"sysrq triggered crash", "sysrq triggered crash"),
    _panic("oom", r"[Oo]ut of memory|System is deadlocked on memory", "memory", after=("oom",),
           within=30.0),
    _panic("soft-lockup", r"softlockup: hung tasks", "softlockup: ", after=("soft-lockup", "rest")),
    _panic("hung-task", r"hung_task: blocked tasks", "hung_task: ", after=("hung-task", "rest")),
    _panic("rcu-stall", r"RCU Stall", "RCU Stall", after=("rcu-stall", "rest")),
    _panic("hard-lockup", r"(?:Watchdog detected )?[Hh]ard LOCKUP", "ard LOCKUP",
           after=("hard-lockup", "rest")),
    _panic("warning", r".{0,40}panic_on_warn set|kasan\.fault=panic set", "panic_on_warn set",
           "kasan.fault=panic set", after=("warning", "bad-access")),
    _panic("stack-corruption", r"stack-protector: [Kk]ernel stack is corrupted in: *"
           "(?:" + PLACE + ")?", "stack-protector: "),
    _panic("stack-corruption", r"corrupted stack end detected|kernel stack overflow"
           "|Stack overflow", "stack end", "stack overflow", "Stack overflow",
           after=("stack-corruption", "rest")),
    _panic("bus-error", r"Asynchronous SError|.{0,20}SError|.{0,40}[Mm]achine [Cc]heck"
           r"|.{0,40}[Cc]ache error|.{0,40}[Hh]ardware error|.{0,20}bus error", "SError",
           "achine ", "ache error", "ardware error", "bus error", after=("bus-error", "rest")),
    _panic("bus-error", r"NMI: Not continuing|NMI: IOCK|NMI IOCK", "NMI"),
    _panic("watchdog", r"(?i:.{0,20}watchdog)", after=("watchdog", "hard-lockup")),
    _panic("init-died", r"Attempted to kill init!", "kill init!", after=_FATAL, within=10.0, pid=1),
    _panic("no-root", r"VFS: |No (?:working )?init found|Requested init .{1,200} failed"
           r"|.{0,40}unable to mount root", "VFS: ", "init found", "Requested init ",
           "unable to mount root"),
    _panic("other", r"(?:Oops: )?Fatal exception|Aiee, killing interrupt handler"
           r"|Attempted to kill the idle task|.{0,40}panic_on_oops|Fatal error|Recursive",
           "Fatal e", "Aiee, ", "kill the idle task", "panic_on_oops", "Recursive", after=_FATAL),
    _panic("other", r""),
)


def fault_rules(text: str) -> list[Rule]:
    """The rules that lines of this text may meet."""
    return [rule for rule in FAULTS if rule.pattern.may_match(text)]


def fault_rule(text: str, rules: Sequence[Rule]) -> tuple[Rule, re.Match[str]] | None:
    """The first of `rules` that this message meets, and the match; None for most messages."""
    for rule in rules:
        found = rule.pattern.match(text)
        if found:
            return rule, found
    return None


def panic_rule(message: str) -> tuple[PanicRule, re.Match[str]]:
    """The rule for what stands behind "Kernel panic - not syncing: "; the last fits all."""
    return next((rule, found) for rule in PANICS if (found := rule.pattern.match(message)))
