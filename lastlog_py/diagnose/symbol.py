"""Places in the kernel as its logs write them: `f+0x8/0x14 [module]`, and whole call traces.

Sources: lib/vsprintf.c (%pS, %pB), kernel/kallsyms.c: __sprint_symbol, and the unwinders'
printing in arch/{x86,arm,arm64,mips}/kernel.  OpenWrt builds kernels without symbol tables;
those print bare addresses, with `[module@base+size]` behind those in a module.

Every pattern is anchored and works on one line of bounded length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..record import Frame
from .line import Line

__all__ = ["PLACE", "Place", "place", "trace"]

# f+0x8/0x14 [mod], f+0x8/0x14 [mod 0123abcd] (STACKTRACE_BUILD_ID, v5.14), or a bare address.
_MODULE = r"(?: \[(?P<{0}module>[\w.-]{{1,64}})(?:[ @][^\]]{{0,80}})?\])?"
_NAME = r"(?P<{0}name>[A-Za-z_$][\w.$]{{0,255}})"
_OFFSET = r"\+(?P<{0}offset>0x[0-9a-f]{{1,16}})(?:/0x[0-9a-f]{{1,16}})?"
_BARE = r"(?P<{0}bare>0x[0-9a-f]{{1,16}})"
_ADDRESS = r"(?:\[<[^>]{0,20}>\] *)"

PLACE = f"(?:{_NAME}{_OFFSET}|{_BARE}){_MODULE}".format("")

_FRAME = re.compile(
    r"\s*(?:<[A-Z#/]{2,8}>\s*){0,4}"            # <IRQ> before the first frame, until v4.9
    + _ADDRESS + r"?(?P<guess>\? )?" + PLACE
    + r"(?P<unreliable> \(unreliable\))?"
    + r"(?:\(\))?(?: \([A-Z]{1,4}\))*\s*$")     # arm64 v6.10: " (P)" marks the program counter

# arm: "[<c010>] (f) from [<c011>] (g+0x10/0x20)"; since v5.15 "f from g+0x10/0x20".
_CALLEE = (r"\(?(?:(?P<callee>[A-Za-z_$][\w.$]{0,255})(?:\+0x[0-9a-f]{1,16}/0x[0-9a-f]{1,16})?"
           r"|0x[0-9a-f]{1,16})" + _MODULE.format("callee_") + r"\)?")
_ARM_FRAME = re.compile(r"\s*" + _ADDRESS + "?" + _CALLEE + r" ?from " + _ADDRESS + r"?\(?"
                        + PLACE + r"\)?\s*$")

_START = re.compile(r"\s*(?:Call [Tt]race|Backtrace): *(?P<frame>.*)")
_STOP = re.compile(r"\s*(?:</TASK>|---\[ end trace|Kernel panic - |Modules linked in:"
                   r"|NMI backtrace for|Task dump for|Sending NMI)")


class Place(NamedTuple):
    """Where something happened."""

    function: str               # the bare address, "0x…", when the kernel has no symbol for it
    offset: str | None
    module: str | None


def place(match: re.Match[str]) -> Place:
    """The place that `PLACE` found."""
    groups = match.groupdict()
    return Place(groups["name"] or groups["bare"], groups["offset"], groups["module"])


def trace(lines: Iterable[Line]) -> tuple[Frame, ...]:
    """The first call trace in the lines, innermost frame first; () if there is none."""
    frames: list[Frame] = []
    for text in _trace_lines(line.text for line in lines):
        frames += _arm_frames(text, first=not frames) or _frames(text)
    return tuple(frames)


def _trace_lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines from the first trace's start to where it ends for sure.

    arm with CONFIG_ARM_UNWIND begins its traces without a headline before v6.2.
    """
    inside = False
    for text in texts:
        start = _START.match(text)
        if inside and (start or _STOP.match(text)):
            return
        inside = inside or start is not None or _ARM_FRAME.match(text) is not None
        if inside:
            yield start["frame"] if start else text


def _frames(text: str) -> list[Frame]:
    found = _FRAME.match(text)
    return [_frame(place(found), not (found["guess"] or found["unreliable"]))] if found else []


def _frame(where: Place, reliable: bool) -> Frame:
    """A caller at offset 0 is a mistake: what called a function that does not return is
    left with a return address behind its own end, which names the function after it."""
    return Frame(*where, reliable=reliable and where.offset != "0x0")


def _arm_frames(text: str, first: bool) -> list[Frame]:
    """The caller a line names; on the trace's first line also the callee before it."""
    found = _ARM_FRAME.match(text)
    if not found:
        return []
    callee = Frame(found["callee"], None, found["callee_module"], True) if found["callee"] else None
    return ([callee] if first and callee else []) + [_frame(place(found), True)]
