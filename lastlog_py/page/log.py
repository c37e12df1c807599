"""A kernel log as the page shows it: severities, the part around the fault, control characters.

Lines are as the kernel's dumper writes them (kernel/printk/printk.c: print_prefix, "<N>" is the
syslog priority, severity in its low three bits, facility above).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

__all__ = ["Line", "Run", "around_fault", "as_rows", "lines", "newest", "runs", "visible"]

# What kernels of all architectures report a fault with.  Plain words, here and below: to compile
# them as patterns takes longer than to look for them in a log.
FAULTS = ("BUG: ", "kernel BUG at", "Unable to handle kernel", "Unhandled fault",
          "Unhandled kernel", "Unhandled prefetch", "Internal error:", "Oops ", "Oops:", "Oops[",
          "Kernel bug detected", "Oops - ", "Machine check in kernel mode", "exploit attempt?",
          "kernel paging request for ", "list_add corruption", "list_del corruption",
          "general protection fault", "divide error:", "invalid opcode:", "stack-protector:",
          "invoked oom-killer", "blocked for more than", "detected stalls",
          "detected expedited stalls", "self-detected stall", "hard LOCKUP", "Hard LOCKUP",
          "Data bus error", "Instruction bus error", "SError Interrupt", "sysrq: Trigger a crash",
          "Kernel panic - not syncing")

# The end of one oops; what follows belongs to the next fault, unless it is one of AFTERMATH.
END = "---[ end trace"
AFTERMATH = tuple(f"Kernel panic - not syncing: {what}" for what in (
    "Fatal exception", "Fatal error", "Oops", "Aiee, killing", "panic_on",
    "Attempted to kill init"))

STAMP = r"\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?"

BEFORE, AFTER = 5, 24       # lines shown around the first line of the fault
LONGEST = 400               # characters of one line around the fault
FAR = 200                   # lines after which a message is a fault of its own


class Line(NamedTuple):
    """One line of a log, without its <N>."""

    level: int | None       # 0 emergency ... 7 debug; None: the line has no <N>
    stamp: str              # "[    1.934435] "; "": none
    text: str


class Run(NamedTuple):
    """Consecutive lines of one severity."""

    level: int | None
    text: str               # newlines included


def _pictures() -> dict[int, str]:
    """What stands for each character that must not reach a screen as it is.

    C0 has pictures of its own at U+2400; C1, and characters that are invisible or turn text
    around (bidirectional controls), are spelled out.
    """
    table = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
    table[0x7F] = "\u2421"
    hidden = (*range(0x80, 0xA0), 0x61C, 0xFEFF, *range(0x200B, 0x2010),
              *range(0x2028, 0x202F), *range(0x2060, 0x2070))
    return table | {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in hidden}


PICTURES = _pictures()


def visible(text: str) -> str:
    """`text` with control characters as pictures; newline and tab stay."""
    return text.translate(PICTURES)


def newest(text: str, limit: int) -> str:
    """The last `limit` characters at most, from the start of a line where there is one."""
    if len(text) <= limit:
        return text
    start = text.find("\n", len(text) - limit)
    return text[start + 1:] if 0 <= start < len(text) - 1 else text[-limit:]


def _level(line: str) -> tuple[int | None, str]:
    """The severity of a line, and the line without its <N>."""
    end = line.find(">", 2, 6) if line.startswith("<") else -1
    digits = line[1:end]
    if end > 0 and digits.isascii() and digits.isdigit():
        return int(digits) & 7, line[end + 1:]
    return None, line


def lines(text: str) -> list[Line]:
    """The lines of a log; the empty one after the last newline is none."""
    found = []
    stamp = re.compile(STAMP)           # here, not above: mostly there is no log to show
    for line in text.removesuffix("\n").split("\n"):
        level, rest = _level(line)
        match = stamp.match(rest)
        cut = match.end() if match else 0
        found.append(Line(level, rest[:cut], rest[cut:]))
    return found


def runs(log: list[Line]) -> list[Run]:
    """The log in runs of equal severity: far less markup than line by line."""
    found: list[Run] = []
    start = 0
    for end in range(1, len(log) + 1):
        if end == len(log) or log[end].level != log[start].level:
            text = "\n".join(line.stamp + line.text for line in log[start:end])
            found.append(Run(log[start].level, text + "\n"))
            start = end
    return found


def _has(line: Line, words: tuple[str, ...]) -> bool:
    text = line.text[:LONGEST]
    return any(word in text for word in words)


def _fault(log: list[Line]) -> int | None:
    """The index of the line with which the last fault in the log begins; None: no such line."""
    begin, last = None, None
    for index, line in enumerate(log):
        if END in line.text:
            last = None
        elif _has(line, FAULTS):
            fresh = last is None or index - last > FAR
            if begin is None or (fresh and not _has(line, AFTERMATH)):
                begin = index
            last = index
    return begin


def around_fault(log: list[Line]) -> list[Line | int]:
    """The lines around the last fault; a number stands for that many lines left out.

    After the fault's first lines, what follows only as far as it is an emergency or an alert:
    the panic that an oops led to.  Empty if the log tells of no fault.
    """
    fault = _fault(log)
    if fault is None:
        return []
    shown = range(max(0, fault - BEFORE), min(len(log), fault + AFTER))
    later = [index for index in range(shown.stop, len(log)) if log[index].level in (0, 1)][:8]
    found: list[Line | int] = []
    previous = shown.start - 1
    for index in (*shown, *later):
        if index > previous + 1:
            found.append(index - previous - 1)
        found.append(log[index]._replace(text=log[index].text[:LONGEST]))
        previous = index
    return found


def as_rows(shown: list[Line | int]) -> list[dict[str, Any]]:
    """`around_fault` for a template: {"gap": n} or {"level", "stamp", "text"}."""
    return [{"gap": each} if isinstance(each, int) else each._asdict() for each in shown]
