"""Places in the kernel as its logs write them: `f+0x8/0x14 [module]`, and whole call traces.

Sources: lib/vsprintf.c (%pS, %pB), kernel/kallsyms.c: __sprint_symbol, and the unwinders'
printing in arch/{x86,arm,arm64,mips,riscv,powerpc}/kernel.  OpenWrt builds kernels without symbol
tables; those print bare addresses, with `[module@base+size]` behind those in a module.

Every pattern is anchored and works on one line of bounded length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..record import Frame
from .line import Line
from .pattern import Pattern

__all__ = ["CALLER", "PAGE", "PLACE", "SAID", "Place", "is_nowhere", "place", "shortened",
           "traces"]

_LONGEST = 128          # characters of a name; longer ones, of Rust functions, are cut
_FRAMES = 64            # frames of a trace worth keeping
PAGE = 4096             # bytes around address 0 that belong to no one

# f+0x8/0x14 [mod], f+0x8/0x14 [mod 0123abcd] (STACKTRACE_BUILD_ID, v5.14), or a bare address.
_MODULE = r"(?: \[(?P<{0}module>[\w.-]{{1,64}})(?:[ @][^\]]{{0,80}})?\])?"
# powerpc64, big-endian, puts a dot before the name of a function's code.
_NAME = r"\.?(?P<{0}name>[A-Za-z_$][\w.$]{{0,511}})"
_OFFSET = r"\+(?P<{0}offset>0x[0-9a-f]{{1,16}})(?:/0x[0-9a-f]{{1,16}})?"
_BARE = r"(?P<{0}bare>0x[0-9a-f]{{1,16}})"
_ADDRESS = r"(?:\[<[^>]{0,20}>\] *)"

_PLACE = f"(?:{_NAME}{_OFFSET}|{_BARE}){_MODULE}"
PLACE = _PLACE.format("")
CALLER = _PLACE.format("caller_")
SAID = _PLACE.format("said_")

_FRAME = Pattern(
    r"\s*(?:<[A-Z#/]{2,8}>\s*){0,4}"            # <IRQ> before the first frame, until v4.9
    + "(?:" + _ADDRESS + r"|(?:\[[0-9a-f]{8,16}\] ){2}"      # powerpc: stack, return address
    + r"|\[[0-9a-f]{8,16}\] [0-9a-f]{8,16} )?(?P<guess>\? )?" + PLACE
    + r"(?P<unreliable> \(unreliable\))?"
    # arm64 v6.10: " (P)" marks the program counter; a symbolizer adds the file and the line
    + r"(?:\(\))?(?: \([A-Z]{1,4}\))*(?: [\w./-]{1,128}\.[chS]:\d{1,6})?\s*$")

# arm: "[<c010>] (f) from [<c011>] (g+0x10/0x20)"; since v5.15 "f from g+0x10/0x20".
_CALLEE = (r"\(?(?:(?P<callee_name>[A-Za-z_$][\w.$]{0,511})(?:\+0x[0-9a-f]{1,16}/0x[0-9a-f]{1,16})?"
           r"|0x[0-9a-f]{1,16})" + _MODULE.format("callee_") + r"\)?")
_ARM_FRAME = Pattern(r"\s*" + _ADDRESS + "?" + _CALLEE + r" ?from " + _ADDRESS + r"?\(?"
                     + PLACE + r"\)?\s*$", "from ")

_START = Pattern(r"\s*(?:Call [Tt]race|Backtrace): *(?P<frame>.*)", "race:")
_STOP = ("</TASK>", "---[ end trace", "Kernel panic - ", "Modules linked in:",
         "NMI backtrace for", "Task dump for", "Sending NMI")


class Place(NamedTuple):
    """Where something happened."""

    function: str               # the bare address, "0x…", when the kernel has no symbol for it
    offset: str | None
    module: str | None


def place(facts: Mapping[str, str | None], which: str = "") -> Place | None:
    """The place that `PLACE`, or with "caller_" `CALLER`, found; None: neither did."""
    function = facts.get(f"{which}name") or facts.get(f"{which}bare")
    if not function:
        return None
    return Place(function[:_LONGEST], facts.get(f"{which}offset"), facts.get(f"{which}module"))


def is_nowhere(function: str) -> bool:
    """Whether a bare address is near NULL, where there is no code."""
    return function.startswith("0x") and int(function, 16) < PAGE


def traces(lines: Iterable[Line], begun: bool = False) -> Iterator[tuple[Frame, ...]]:
    """The call traces in the lines, those that hold any frame; innermost frame first.

    begun: the first line may be amid a trace.
    """
    for texts in _trace_texts((line.text for line in lines), begun):
        frames: list[Frame] = []
        for text in texts:
            frames += _arm_frames(text, frames) or _frames(text)
        if frames:
            yield tuple(frames)


def shortened(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """Of a trace too long to keep the innermost frames; those left on the stack go first."""
    if len(frames) > _FRAMES:
        frames = [frame for frame in frames if frame.reliable] or frames
    return tuple(frames[:_FRAMES])


def _trace_texts(texts: Iterable[str], begun: bool) -> Iterator[list[str]]:
    """Of each trace the lines, from its start to where it ends for sure.

    arm with CONFIG_ARM_UNWIND begins its traces without a headline before v6.2.
    """
    found: list[str] | None = [] if begun else None
    for text in texts:
        start = _START.match(text)
        if found is not None and (start or text.lstrip().startswith(_STOP)):
            yield found
            found = None
        if found is None and (start or _ARM_FRAME.match(text)):
            found = []
        if found is not None:
            found.append(start["frame"] if start else text)
    if found is not None:
        yield found


def _frames(text: str) -> list[Frame]:
    found = _FRAME.match(text)
    where = place(found.groupdict()) if found else None
    return [_frame(where, not (found["guess"] or found["unreliable"]))] if found and where else []


def _frame(where: Place, reliable: bool) -> Frame:
    """A caller at offset 0 is a mistake: what called a function that does not return is
    left with a return address behind its own end, which names the function after it."""
    return Frame(*where, reliable=reliable and where.offset != "0x0")


def _arm_frames(text: str, above: Sequence[Frame]) -> list[Frame]:
    """The caller a line names; on the trace's first line also the callee before it.

    In Thumb, whose addresses are odd, 0x1 is the offset 0.  From the function it names wrongly
    the unwinder goes astray: a bare address above it may be of anything.
    """
    found = _ARM_FRAME.match(text)
    if not found:
        return []
    groups = found.groupdict()
    places = [place(groups, "callee_") if not above else None, place(groups)]
    astray = bool(above) and above[-1].offset in ("0x0", "0x1") and found["bare"] is not None
    return [_frame(each, each.offset != "0x1" and not astray) for each in places if each]
