"""One line for people that says what a record is."""

from __future__ import annotations

from ..record import Kernel, Oom
from .kernel_log import Explanation
from .pattern import Pattern

__all__ = ["console_title", "kernel_title", "other_title"]

# By cause; {where} is " in f [module]", ": jump to address 0x0 from f" or "", {at} " at 0x10" or
# "", {cpu} "CPU 0" or "a processor", {secs} " for 22 s" or "", {who} the process or "a process",
# {where_else_words} {where} or else ": " and the message, {init} how init died, {unread}
# " after I/O errors" or "".
_BY_CAUSE = {
    "null-pointer": "NULL pointer dereference{where}",
    "bad-access": "Bad memory access{at}{where}",
    "bug": "Kernel BUG{where}",
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
    "warning": "Kernel warning{where}",
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
    if kernel.cause in _BY_CAUSE:
        return _BY_CAUSE[kernel.cause].format(**_words(explanation))
    return _unnamed(explanation)


def _words(explanation: Explanation) -> dict[str, str]:
    kernel, seconds, where = explanation.kernel, explanation.seconds, _where(explanation)
    return {
        "where": where,
        "where_else_words": where or (explanation.message and f": {explanation.message}") or "",
        "at": f" at {kernel.address}" if kernel.address else "",
        "cpu": "a processor" if kernel.cpu is None else f"CPU {kernel.cpu}",
        "secs": "" if seconds is None else f" for {seconds} s",
        "who": kernel.process or "a process",
        "message": (explanation.message or "").removeprefix("VFS: "),
        "init": _init(explanation.message or ""),
        "unread": f" after {explanation.unread}" if explanation.unread else "",
    }


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
    if oom.victim:
        size = "" if oom.rss_kib is None else f" ({_size(oom.rss_kib)})"
        return f"Out of memory: killed {oom.victim}{size}"
    asked_for = "panic_on_oom" in (explanation.message or "")
    trigger = f", triggered by {oom.trigger}" if oom.trigger else ""
    return f"Out of memory ({'panic_on_oom' if asked_for else 'nothing left to kill'}){trigger}"


def _size(kib: int) -> str:
    return f"{round(kib / 1024)} MiB" if kib >= 1024 else f"{kib} KiB"


def _unnamed(explanation: Explanation) -> str:
    """Where no rule knows the cause: the kernel's own words."""
    kernel = explanation.kernel
    name = _DUMP.get(kernel.reason, "Kernel crash")
    if explanation.jump or (kernel.function and explanation.culprit):
        return name + _where(explanation)
    if explanation.message:
        return f"{name}: {explanation.message}"
    return f"{name}; what was captured does not say why"


def other_title(kind: str, uptime: float | None) -> str:
    """The title of a record that is no kernel dump."""
    until = "" if uptime is None else f", up to {_duration(uptime)} after its start"
    return _OTHER_KINDS.get(kind, kind) + until


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
