"""What the tables of `rules` are made of.

A pattern is matched at the start of a message (behind the time stamp); the first rule that
matches counts.  Groups fill the fields of the same name: address, cpu, process, pid, seconds,
place (name, offset, module), trigger.  The words behind a pattern are those of which one is in
all that it matches (see `pattern`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .pattern import Pattern

__all__ = ["ADDRESS", "PanicRule", "Rule", "fault", "panic"]

# An address as any architecture and %p write it.
ADDRESS = r"(?P<address>(?:0x)?[0-9a-f]{1,16}|\(null\)|\(ptrval\)|<0*NULL>)"


class Rule(NamedTuple):
    """A line that begins the report of a fault."""

    pattern: Pattern
    cause: str              # one of CONTRACT's CAUSE
    grade: str              # "fatal": kills the task or the machine; "hang", "oom", "warning":
                            # the kernel goes on, unless a setting makes it panic;
                            # "abort": fatal if it was the kernel's, which only a fatal line
                            # behind it tells;
                            # "sign": of a report, or of trouble, of which nothing else is said;
                            # "rest": only worth something if the report's start is lost


class PanicRule(NamedTuple):
    """The message of a panic: a cause in itself, or what an earlier fault led to."""

    pattern: Pattern
    cause: str              # when no such fault is in the log
    after: frozenset[str]   # grades or causes of the fault it may follow from
    within: float           # seconds that may lie between the two
    pid: int | None         # the fault must be this process' own


def fault(cause: str, regex: str, *words: str, grade: str = "fatal") -> Rule:
    return Rule(Pattern(regex, *words), cause, grade)


def panic(cause: str, regex: str, *words: str, after: Sequence[str] = (),
          within: float = float("inf"), pid: int | None = None) -> PanicRule:
    return PanicRule(Pattern(regex, *words), cause, frozenset(after), within, pid)
