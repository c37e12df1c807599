"""One line for people that says what a record is."""

from __future__ import annotations

from ..record import Kernel, Oom
from .kernel_log import Explanation

__all__ = ["kernel_title", "other_title"]

# By cause; {where} is " in f [module]" or "", {at} " at 0x10" or "", {cpu} "CPU 0" or
# "a processor", {secs} " for 22 s" or "", {who} the process or "a process".
_BY_CAUSE = {
    "null-pointer": "NULL pointer dereference{where}",
    "bad-access": "Bad memory access{at}{where}",
    "bug": "Kernel BUG{where}",
    "stack-corruption": "Kernel stack corrupted{where}",
    "divide": "Division by zero{where}",
    "undefined-instruction": "Undefined instruction{where}",
    "bus-error": "Bus error{where}",
    "soft-lockup": "Soft lockup: {cpu} stuck{secs}{where}",
    "hard-lockup": "Hard lockup: {cpu} stuck{secs}{where}",
    "hung-task": "Hung task: {who} blocked{secs}{where}",
    "rcu-stall": "RCU stall: {cpu} stuck{where}",
    "sysrq": "sysrq: a crash was asked for (echo c > /proc/sysrq-trigger)",
    "watchdog": "Watchdog timeout{where}",
    "init-died": "The init process died: {message}",
    "no-root": "No root file system: {message}",
    "warning": "Kernel warning{where}",
}

_NOTHING_WRONG = {"shutdown": "Clean shutdown", "emergency": "Emergency restart"}
_DUMP = {"panic": "Kernel panic", "oops": "Kernel oops"}

# The message's part that the title says already.
_SAID = {"init-died": "Attempted to kill init! ", "no-root": "VFS: "}

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
    kernel, seconds = explanation.kernel, explanation.seconds
    return {
        "where": _where(kernel),
        "at": f" at {kernel.address}" if kernel.address else "",
        "cpu": "a processor" if kernel.cpu is None else f"CPU {kernel.cpu}",
        "secs": "" if seconds is None else f" for {seconds} s",
        "who": kernel.process or "a process",
        "message": (explanation.message or "").removeprefix(_SAID.get(kernel.cause, "")),
    }


def _where(kernel: Kernel) -> str:
    module = f" [{kernel.module}]" if kernel.module else ""
    return f" in {kernel.function}{module}" if kernel.function else ""


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
    if kernel.function and explanation.culprit:
        return name + _where(kernel)
    if explanation.message:
        return f"{name}: {explanation.message}"
    return f"{name}; what was captured does not say why"


def other_title(kind: str, uptime: float | None) -> str:
    """The title of a record that is no kernel dump."""
    until = "" if uptime is None else f", up to {_duration(uptime)} after its start"
    return _OTHER_KINDS.get(kind, kind) + until


def _duration(seconds: float) -> str:
    """"8 s", "3 min", "5 h", "2 days"."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
