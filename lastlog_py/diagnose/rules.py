"""What the kernel says when it breaks: the tables that `kernel_log` reads logs by.

`rules_cpu` has what each architecture says, `rules_kernel` what all do.  Here is the order in
which they are asked, and what a panic says: kernel/panic.c's callers, as kernel/exit.c,
kernel/watchdog.c, kernel/hung_task.c, kernel/rcu/tree_stall.h, mm/oom_kill.c, init/main.c,
init/do_mounts.c, arch/x86/kernel/cpu/mce, drivers/watchdog; v3.x to v6.12.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .pattern import Pattern
from .rule import PanicRule, Rule, panic
from .rules_cpu import ARM_DIES, MIPS, POWERPC, RISCV, SHARED, X86, X86_DIES
from .rules_kernel import BUGS, DIES, HANGING, ODD, OUT_OF_MEMORY, REST, SIGNS
from .symbol import PLACE

__all__ = ["FAULTS", "HANGS", "PANICS", "cut_panic_rule", "fault_rule", "fault_rules",
           "panic_rule"]

HANGS = frozenset({"soft-lockup", "hard-lockup", "hung-task", "rcu-stall", "watchdog"})

FAULTS: tuple[Rule, ...] = (*X86, *POWERPC, *SHARED, *BUGS, *MIPS, *ARM_DIES, *X86_DIES, *RISCV,
                            *HANGING, *OUT_OF_MEMORY, *ODD, *SIGNS, *DIES, *REST)

_FATAL = ("fatal", "rest")

PANICS = (
    panic("sysrq", r"sysrq triggered crash", "sysrq triggered crash"),
    panic("oom", r"[Oo]ut of memory|System is deadlocked on memory", "memory", after=("oom",),
          within=30.0),
    panic("soft-lockup", r"softlockup: hung tasks", "softlockup: ", after=("soft-lockup", "rest")),
    panic("hung-task", r"hung_task: blocked tasks", "hung_task: ", after=("hung-task", "rest")),
    panic("rcu-stall", r"RCU Stall", "RCU Stall", after=("rcu-stall", "rest")),
    panic("hard-lockup", r"(?:Watchdog detected )?[Hh]ard LOCKUP(?: on cpu ?(?P<cpu>\d{1,4}))?",
          "ard LOCKUP", after=("hard-lockup", "rest")),
    panic("warning", r".{0,40}panic_on_warn set|kasan\.fault=panic set", "panic_on_warn set",
          "kasan.fault=panic set", after=("warning", "bad-access")),
    panic("stack-corruption", r"stack-protector: [Kk]ernel stack is corrupted in: *"
          "(?:" + PLACE + ")?", "stack-protector: "),
    panic("stack-corruption", r"corrupted stack end detected|[Kk]ernel stack overflow"
          "|Stack overflow", "stack end", "stack overflow", "Stack overflow",
          after=("stack-corruption", "rest")),
    panic("bus-error", r"Asynchronous SError|.{0,20}SError|.{0,40}[Mm]achine [Cc]heck"
          r"|.{0,40}[Cc]ache error|.{0,40}[Hh]ardware error|.{0,20}bus error"
          r"|Timeout: Not all CPUs entered", "SError", "achine ", "ache error", "ardware error",
          "bus error", "Not all CPUs", after=("bus-error", "rest")),
    panic("bus-error", r"NMI:? IOCK", "NMI"),
    panic("other", r"NMI: Not continuing", "NMI: Not", after=("bus-error",), within=10.0),
    # hpwdt's words for its pretimeout begin "An NMI occurred"
    panic("watchdog", r"(?i:.{0,40}watchdog)|An NMI occurred", after=("watchdog", "hard-lockup")),
    panic("init-died", r"Attempted to kill init!", "kill init!", after=_FATAL, within=10.0, pid=1),
    panic("no-root", r"VFS: |No (?:working )?init found|Requested init .{1,200} failed"
          r"|.{0,40}unable to mount root", "VFS: ", "init found", "Requested init ",
          "unable to mount root"),
    panic("bug", r"BUG!", "BUG!", after=_FATAL),
    panic("bug", r"scheduling while atomic", "scheduling while atomic", after=("bug",)),
    # arm64 puts before it what died: "Oops: ", "Oops - BUG: ", "synchronous external abort: "
    panic("other", r"(?:[^:]{1,60}: )?Fatal exception|Aiee, killing interrupt handler"
          r"|Attempted to kill the idle task|.{0,40}panic_on_oops|Fatal error|Recursive",
          "Fatal e", "Aiee, ", "kill the idle task", "panic_on_oops", "Recursive", after=_FATAL),
    panic("other", r""),
)


# What panics say: a message that a log ends amid may have been any of these that begin with it.
_MESSAGES = (
    "sysrq triggered crash", "Out of memory", "System is deadlocked on memory",
    "softlockup: hung tasks", "hung_task: blocked tasks", "RCU Stall", "Hard LOCKUP",
    "Watchdog detected hard LOCKUP on cpu", "panic_on_warn set", "kernel: panic_on_warn set",
    "KASAN: panic_on_warn set", "KFENCE: panic_on_warn set", "UBSAN: panic_on_warn set",
    "kasan.fault=panic set", "scheduling while atomic: panic_on_warn set",
    "stack-protector: Kernel stack is corrupted in: ",
    "corrupted stack end detected inside scheduler", "kernel stack overflow",
    "Kernel stack overflow", "Asynchronous SError Interrupt", "Machine check",
    "Fatal machine check", "Fatal local machine check", "Fatal hardware error",
    "Timeout: Not all CPUs entered", "NMI: IOCK", "NMI: Not continuing",
    "Software Watchdog Timer expired", "watchdog pretimeout event", "An NMI occurred",
    "Attempted to kill init!", "Attempted to kill the idle task!", "VFS: Unable to mount root fs",
    "No working init found", "No init found", "Requested init / failed", "BUG!",
    "Aiee, killing interrupt handler!", "Fatal error", "Recursive",
    "Oops: Fatal exception", "Oops - BUG: Fatal exception", "Oops - Fatal exception",
    "Oops - undefined instruction: Fatal exception", "synchronous external abort: Fatal exception",
    "Unrecoverable exception", "Unrecoverable machine check",
)
_DIED = "Fatal exception"
_TELLING = 3            # characters of a message; fewer begin anybody's words


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


def cut_panic_rule(message: str) -> PanicRule | None:
    """The rule for a message of which only the beginning is left: a cause only where enough is
    left, and all that it may have been have the same; None: it is the beginning of none."""
    rules = {panic_rule(whole)[0] for whole in _MESSAGES if whole.startswith(message)}
    if _DIED.startswith(message.rpartition(": ")[2]):       # behind what died
        rules.add(panic_rule(_DIED)[0])
    if not rules:
        return None
    causes = {rule.cause for rule in rules}
    pids = {rule.pid for rule in rules}
    known = len(causes) == 1 and len(message) >= _TELLING
    return PanicRule(Pattern(""), causes.pop() if known else "other",
                     frozenset().union(*(rule.after for rule in rules)),
                     min(rule.within for rule in rules), pids.pop() if len(pids) == 1 else None)
