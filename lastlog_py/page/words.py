"""Numbers and codes in plain language: causes, times, sizes, counts.

Pure functions over the plain dicts of CONTRACT; nothing here knows HTML.
"""

from __future__ import annotations

import time
from typing import Any

__all__ = ["cause", "duration", "kind", "label", "ordinal", "plural", "size", "stamp"]

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

ORDINALS = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth",
            "ninth", "tenth")

# CONTRACT's CAUSE: what it is called, and what it means to somebody who does not write kernels.
CAUSES = {
    "null-pointer": ("NULL pointer dereference", "the kernel followed a pointer to nothing"),
    "bad-access": ("Bad memory access",
                   "the kernel touched memory that is not there, or not meant for that"),
    "bug": ("Kernel BUG", "a check in the kernel's own code failed"),
    "stack-corruption": ("Stack corruption", "the kernel overwrote its own stack"),
    "divide": ("Division by zero", "the kernel divided a number by zero"),
    "undefined-instruction": ("Undefined instruction",
                              "the processor met an instruction that it does not know"),
    "bus-error": ("Bus error", "the hardware reported an error: memory, a bus or a device"),
    "oom": ("Out of memory", "nothing was left to give to a program that asked"),
    "soft-lockup": ("Soft lockup", "a processor was busy in the kernel for too long"),
    "hard-lockup": ("Hard lockup", "a processor no longer answered interrupts"),
    "hung-task": ("Hung task", "a task waited for something that never came"),
    "rcu-stall": ("RCU stall", "a processor did not let go for too long"),
    "sysrq": ("Crash on request", "somebody or something triggered it through SysRq"),
    "watchdog": ("Watchdog", "the watchdog was not fed in time"),
    "init-died": ("Init died", "process 1 ended, and nothing runs without it"),
    "no-root": ("No root file system", "the kernel found nothing to start from"),
    "warning": ("Kernel warning", "the kernel found something odd and went on"),
    "other": ("Kernel crash", ""),
}

REASONS = {"panic": "Kernel panic", "oops": "Kernel oops", "emergency": "Emergency restart",
           "shutdown": "Shutdown", "unknown": "Kernel log"}

KINDS = {"kernel": "Kernel log", "console": "Console log", "pmsg": "Messages from programs",
         "ftrace": "Function trace", "coredump": "Core dump", "log": "Stored log", "boot": "Boot"}


def cause(code: str) -> tuple[str, str]:
    """What a CAUSE is called, and what it means ("" where the name says it all)."""
    return CAUSES.get(code, CAUSES["other"])


def kind(record: dict[str, Any]) -> str:
    """What sort of thing a record is: "Kernel panic", "Console log", ..."""
    kernel = record.get("kernel")
    if kernel:
        return REASONS.get(kernel["reason"], REASONS["unknown"])
    return KINDS.get(record["kind"], "Record")


def label(record: dict[str, Any]) -> str:
    """How the kernel numbers a record, "Panic#2"; its sort where it has no number."""
    kernel = record.get("kernel") or {}
    if kernel.get("sequence") is None:
        return kind(record)
    part = kernel.get("part") or 1
    return f"{kernel['reason'].capitalize()}#{kernel['sequence']}" + f" part {part}" * (part > 1)


def stamp(seconds: float | None) -> dict[str, str] | None:
    """A time for <time>: `iso` for machines, `text` for people, both UTC; None if not known."""
    try:
        parts = time.gmtime(seconds) if seconds is not None else None
    except (OverflowError, OSError, ValueError):  # NaN, infinity, beyond year 9999 and the like
        return None
    if parts is None or not 0 < parts.tm_year < 10000:
        return None
    clock = f"{parts.tm_hour:02}:{parts.tm_min:02}:{parts.tm_sec:02}"
    return {"iso": f"{parts.tm_year:04}-{parts.tm_mon:02}-{parts.tm_mday:02}T{clock}Z",
            "date": f"{parts.tm_mday} {MONTHS[parts.tm_mon - 1]} {parts.tm_year}",
            "text": f"{parts.tm_mday} {MONTHS[parts.tm_mon - 1]} {parts.tm_year}, {clock} UTC"}


def duration(seconds: float) -> str:
    """Seconds as the two largest units that matter: "1.9 s", "3 min 12 s", "12 days 3 h"."""
    if not 0 <= seconds < 1e11:
        return "an unknown time"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{plural(days, 'day')} {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def size(count: int) -> str:
    """Bytes in the unit that reads best: "125 bytes", "19.6 KiB"."""
    if count < 1024:
        return plural(count, "byte")
    return f"{count / 1024:.1f} KiB" if count < 1024 * 1024 else f"{count / 1048576:.1f} MiB"


def ordinal(number: int) -> str:
    """ "first" ... "tenth", then "11th"."""
    if 0 < number < len(ORDINALS):
        return ORDINALS[number]
    teens = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def plural(count: int, noun: str) -> str:
    """ "1 record", "2 records"."""
    return f"{count} {noun}" + "s" * (count != 1)
