"""One line for people that says what a record is."""

from __future__ import annotations

from ..record import Kernel, Oom
from .kernel_log import Explanation
from .pattern import Pattern
from .rules import HANGS
from .suspects import Suspect

__all__ = ["console_title", "kernel_title", "other_title"]

# By cause; {where} is " in f [module]", ": jump to address 0x0 from f" or "", {at} " at 0x10" or
# "", {cpu} "CPU 0" or "a processor", {secs} " for 22 s" or "", {who} the process or "a process",
# {what} ": corrupted list" or "",
# {where_else_words} {where} or else ": " and the message, {init} how init died, {unread}
# " after I/O errors" or "".
_BY_CAUSE = {
    "null-pointer": "NULL pointer dereference{where}",
    "bad-access": "Bad memory access{at}{where}",
    "bug": "Kernel BUG{what}{where}",
    "stack-corruption": "Kernel stack corrupted{where}",
    "divide": "Division by zero{where}",
    "undefined-instruction": "Undefined instruction{where}",
    "bus-error": "Bus error{where_else_words}",
    "soft-lockup": "Soft lockup: {cpu} stuck{secs}{where}",
    "hard-lockup": "Hard lockup: {cpu} stuck{secs}{where}",
    "hung-task": "Hung task: {who} blocked{secs}{where}",
    "rcu-stall": "RCU stall: {cpu} stuck{where}",
    "sysrq": "sysrq: a crash was asked for (echo c > /proc/sysrq-trigger)",
    "watchdog": "Watchdog timeout{where}",
    "init-died": "{init}{unread}",
    "no-root": "No root file system: {message}",
    "warning": "Kernel warning{what}{where}",
}

_NOTHING_WRONG = {"shutdown": "Clean shutdown", "emergency": "Emergency restart"}
_DUMP = {"panic": "Kernel panic", "oops": "Kernel oops"}

# kernel/exit.c: the signal in the low seven bits, else the exit status in the next byte.
_EXIT_CODE = Pattern(r"Attempted to kill init! +exitcode=0x([0-9a-f]{1,8})", "kill init! ")
# 10 and 12 as on MIPS: elsewhere they are signals that do not kill init.
_SIGNALS = {
    4: "SIGILL (illegal instruction)", 5: "SIGTRAP (breakpoint)", 6: "SIGABRT (abort)",
    7: "SIGBUS (bus error)", 8: "SIGFPE (arithmetic error)", 9: "SIGKILL (killed)",
    10: "SIGBUS (bus error)", 11: "SIGSEGV (segmentation fault)",
    12: "SIGSYS (bad system call)", 15: "SIGTERM (terminated)", 31: "SIGSYS (bad system call)",
}

# What a check in the kernel found, by words of its report's first line or its function.
_FOUND = {
    "corrupted list": ("lib/list_debug.c", "__list_add_valid", "__list_del_entry_valid"),
    "reference count error": ("lib/refcount.c", "refcount_"),
    "scheduling while atomic": ("scheduling while atomic", "scheduling from the idle thread"),
    "sleeping where it must not": ("BUG: sleeping function",),
    "corrupted page": ("BUG: Bad page",),
    "undefined behaviour": ("UBSAN: ",),
    "transmit queue timed out": ("dev_watchdog", "net/sched/sch_generic.c"),
    "page allocation failure": (": page allocation ",),
    "locking error": ("possible circular locking", "possible recursive locking", "unlock balance",
                      "lock freed", "lock held", "locks held", "inconsistent lock state",
                      "irq lock inversion"),
}

# Panics that say only that the fault before them was fatal.
_SAYS_NOTHING = Pattern(r"(?:[^:]{1,60}: )?Fatal exception|Aiee, killing interrupt handler",
                        "Fatal exception", "Aiee, ")

_NO_WHY = "; what was captured does not say why"

# Causes of which the title says that a device had failed shortly before.
_MAY_BE_A_DEVICES = HANGS | {"other", "bus-error"}

# Causes that say less than the kernel's own words.
_IN_ITS_WORDS = frozenset({"other", "init-died", "no-root"})

_OTHER_KINDS = {
    "console": "Console output of the boot before",
    "pmsg": "Messages from programs of the boot before",
    "ftrace": "Function trace of the boot before",
    "log": "Stored log",
    "boot": "Boot",
    "coredump": "Crash of a program",
}


def kernel_title(explanation: Explanation) -> str:
    """The title of a kernel dump."""
    kernel = explanation.kernel
    if kernel.reason in _NOTHING_WRONG:
        number = "" if kernel.sequence is None else f" ({kernel.reason.title()}#{kernel.sequence})"
        return _NOTHING_WRONG[kernel.reason] + number
    if kernel.cause == "oom":
        return _oom(explanation)
    after = _after(explanation.suspect) if kernel.cause in _MAY_BE_A_DEVICES else ""
    if kernel.cause in _BY_CAUSE:
        return _BY_CAUSE[kernel.cause].format(**_words(explanation)) + after
    return _unnamed(explanation) + after + _NO_WHY * (explanation.message is None)


def _after(suspect: Suspect | None) -> str:
    """", after a firmware crash of ath10k_pci", "" for no suspect."""
    of = suspect and (suspect.driver or "a wireless device")
    return f", after a {suspect.what} of {of}" if suspect else ""


def _words(explanation: Explanation) -> dict[str, str]:
    kernel, seconds, where = explanation.kernel, explanation.seconds, _where(explanation)
    return {
        "where": where,
        "what": _what(explanation),
        "where_else_words": where or (explanation.message and f": {explanation.message}") or "",
        "at": f" at {kernel.address}" if kernel.address and not explanation.jump else "",
        "cpu": "a processor" if kernel.cpu is None else f"CPU {kernel.cpu}",
        "secs": "" if seconds is None else f" for {seconds} s",
        "who": kernel.process or "a process",
        "message": (explanation.message or "").removeprefix("VFS: "),
        "init": _init(explanation.message or ""),
        "unread": f" after {explanation.unread}" if explanation.unread else "",
    }


def _what(explanation: Explanation) -> str:
    """": corrupted list", "" where it is not known."""
    said = f"{explanation.message} {explanation.culprit}"
    return next((f": {what}" for what, words in _FOUND.items()
                 if any(word in said for word in words)), "")


def _where(explanation: Explanation) -> str:
    function = _function(explanation.kernel)
    if explanation.jump:
        return f": jump to address {explanation.jump}" + (function and f" from {function}")
    return function and f" in {function}"


def _function(kernel: Kernel) -> str:
    """"f", "f [module]", "" where it is not known."""
    module = f" [{kernel.module}]" if kernel.module else ""
    return f"{kernel.function}{module}" if kernel.function else ""


def _init(message: str) -> str:
    """How the init process died."""
    found = _EXIT_CODE.match(message)
    if not found:
        return "The init process died"
    code = int(found[1], 16)
    signal = code & 0x7f
    if signal:
        return f"init was killed by {_SIGNALS.get(signal, f'signal {signal}')}"
    return f"init exited with status {code >> 8 & 0xff}"


def _oom(explanation: Explanation) -> str:
    oom = explanation.kernel.oom or Oom(None, None, None, None)
    memory = "Out of memory" + " in a control group" * oom.cgroup
    if oom.victim:
        size = "" if oom.rss_kib is None else f" ({_size(oom.rss_kib)})"
        return f"{memory}: killed {oom.victim}{size}"
    trigger = f", triggered by {oom.trigger}" if oom.trigger else ""
    return f"{memory}{_why_nobody(explanation)}{trigger}"


def _why_nobody(explanation: Explanation) -> str:
    """Why no process was killed, "" where that is not said."""
    message = explanation.message or ""
    asked_for = any(frame.function == "check_panic_on_oom" for frame in explanation.kernel.trace)
    if asked_for or "panic_on_oom" in message:
        return " (panic_on_oom)"
    nobody = "no killable processes" in message or "deadlocked" in message
    return " (nothing left to kill)" if nobody else ""


def _size(kib: int) -> str:
    return f"{round(kib / 1024)} MiB" if kib >= 1024 else f"{kib} KiB"


def _unnamed(explanation: Explanation) -> str:
    """Where no rule knows the cause: the kernel's own words."""
    kernel = explanation.kernel
    name = _DUMP.get(kernel.reason, "Kernel crash")
    message = explanation.message or ""
    if explanation.jump or (kernel.function and (explanation.culprit
                                                 or _SAYS_NOTHING.match(message))):
        return name + _where(explanation)
    return f"{name}: {message}" if message else name


def other_title(kind: str, uptime: float | None, suspect: Suspect | None = None) -> str:
    """The title of a record that is no kernel dump; suspect: what its last lines tell of."""
    until = "" if uptime is None else f", up to {_duration(uptime)} after its start"
    return _OTHER_KINDS.get(kind, kind) + until + _after(suspect)


CONSOLE_PANIC = "Console output up to a kernel panic: "


def console_title(panic: Explanation) -> str:
    """The title of console output that ends with this panic."""
    own_words = panic.kernel.cause in _IN_ITS_WORDS and panic.message
    return CONSOLE_PANIC + (own_words or kernel_title(panic))


def _duration(seconds: float) -> str:
    """"8 s", "3 min", "5 h", "2 days"."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
