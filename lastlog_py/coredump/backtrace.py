"""From one thread's registers to its frames, innermost first.

Each frame's caller is asked of one method after the other, the surest first; a frame says by `how`
which one found it.  It ends where a method knows that there is no caller, where none has anything
to say, where the stack goes the wrong way, and at the limits.  Never raises on what a core holds.

On the hot path; a machine's own methods are imported when it is its turn.
"""

from __future__ import annotations

import time

from .unwind import call_site, eh_frame, scan, signal_frame
from .unwind.frame import END, Context, Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Step = Callable[[Context, Frame], Frame | None]

__all__ = ["Backtrace", "Limits", "backtrace"]

MAX_SIGNALS = 16            # signal frames in one backtrace
MAX_GUESSES = 24            # frames found by scan in one backtrace
ENTRY_SIZE = 96             # bytes of _start at the most
MORE = 0.2                  # seconds beyond a limit for the outermost frames
SIMILAR = 64                # frames after which it is asked whether they are a recursion's


class Limits:
    """How far one thread's backtrace may go."""

    __slots__ = ("deadline", "head", "steps", "tail")

    def __init__(self, head: int = 48, tail: int = 16, steps: int = 20_000,
                 deadline: float | None = None) -> None:
        self.head = head            # innermost frames kept
        self.tail = tail            # outermost frames kept as well, where there are more
        self.steps = steps          # frames walked; a recursion that is leapt over counts little
        self.deadline = deadline    # on time.monotonic(); None: none

    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() > self.deadline


class Backtrace:
    """The frames that were kept."""

    __slots__ = ("cut", "frames", "gap", "is_counted", "is_stopped", "is_whole", "omitted")

    def __init__(self, frames: list[Frame], cut: bool, omitted: int, gap: int | None,
                 is_whole: bool, is_stopped: bool = False, is_counted: bool = True) -> None:
        self.frames = frames        # innermost first
        self.cut = cut              # there are frames that are not here: a limit was reached
        self.omitted = omitted      # frames that were found and left out of the middle
        self.gap = gap              # index in frames of the first one behind them; None: no gap
        self.is_whole = is_whole    # it ends where the thread began, not where the trace was lost
        self.is_stopped = is_stopped    # it ends at a limit: the last frame may have many callers
        self.is_counted = is_counted    # no more than `omitted` are left out of the middle


def backtrace(context: Context, registers: dict[int, int], limits: Limits) -> Backtrace:
    """The frames of the thread with these registers.  Empty where not even its pc is known."""
    pc = registers.get(context.machine.PC)
    if pc is None:
        return Backtrace([], False, 0, None, False)
    if context.machine.SP not in registers:         # cut in the middle of them
        return Backtrace([Frame(pc, registers, module=context.module_at(pc))], False, 0, None,
                         False)
    kept, walk = _Kept(limits), _Walk(context)
    frame: Frame | None = Frame(pc, registers, module=context.module_at(pc))
    recent: list[Frame] = []
    while frame is not None and frame is not END:
        kept.add(frame)
        if kept.steps >= limits.steps or limits.is_over():
            return _stopped(kept, walk, recent)
        if len(recent) == 2 * SIMILAR:
            del recent[:SIMILAR]
        recent.append(frame)
        frame = (_leap(kept, walk, recent) if len(recent) % SIMILAR == 0 else None) \
            or walk.caller(frame)
    return kept.result(frame is END)


def _leap(kept: _Kept, walk: _Walk, recent: list[Frame]) -> Frame | None:
    """If the last frames are a recursion's, and nobody wants all of these: one near its end."""
    if kept.count <= kept.limits.head:
        return None
    from . import recursion  # here, not above: few backtraces are long

    found = recursion.leap(walk.context, recent[-SIMILAR:], kept.limits.tail, walk.caller,
                           kept.limits.is_over)
    if found is None:
        return None
    kept.skip(found[0] - 1)
    recent.clear()
    return found[1]


def _stopped(kept: _Kept, walk: _Walk, recent: list[Frame]) -> Backtrace:
    """At a limit; where there are frames enough, with the outermost ones from the stack's end."""
    tail = kept.limits.tail
    if tail and kept.count > kept.limits.head + tail:
        from . import recursion  # here, not above: few backtraces are long

        until = Limits(deadline=time.monotonic() + MORE)
        outer = recursion.outermost(walk.context, recent, tail, walk.caller, until.is_over)
        if outer:
            kept.end_with(outer)
            return kept.result(True, is_counted=False)
    return kept.result(False, is_stopped=True)


class _Kept:
    """The first and the last frames of many."""

    __slots__ = ("count", "head", "limits", "oldest", "steps", "tail")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.count = 0
        self.steps = 0                  # of these were walked, not leapt over
        self.head: list[Frame] = []
        self.tail: list[Frame] = []     # a ring: the oldest is overwritten
        self.oldest = 0                 # its index

    def add(self, frame: Frame) -> None:
        self.count += 1
        self.steps += 1
        if len(self.head) < self.limits.head:
            self.head.append(frame)
        elif len(self.tail) < self.limits.tail:
            self.tail.append(frame)
        elif self.tail:
            self.tail[self.oldest] = frame
            self.oldest = (self.oldest + 1) % len(self.tail)

    def skip(self, count: int) -> None:
        """Frames that are there, but not looked at: those seen last are not the last any more."""
        self.count += count
        self.tail.clear()
        self.oldest = 0

    def end_with(self, frames: list[Frame]) -> None:
        """These are the last, behind an unknown number of others."""
        self.tail = frames[-self.limits.tail:]
        self.oldest = 0

    def result(self, is_whole: bool, is_stopped: bool = False, is_counted: bool = True
               ) -> Backtrace:
        omitted = self.count - len(self.head) - len(self.tail)
        frames = self.head + self.tail[self.oldest:] + self.tail[:self.oldest]
        gap = len(self.head) if omitted else None
        return Backtrace(frames, is_stopped or omitted > 0, omitted, gap, is_whole, is_stopped,
                         is_counted)


class _Walk:
    """One thread's way outward."""

    __slots__ = ("context", "guesses", "methods", "signals")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.methods = _methods(context.machine.family)
        self.signals: list[tuple[int, int]] = []    # (pc, sp) of what signals interrupted
        self.guesses = 0

    def caller(self, frame: Frame) -> Frame | None:
        """The caller's frame; END where there is none, None where none is found."""
        for method in self.ways(frame):
            found = method(self.context, frame)
            if found is None:
                continue
            if found is END or (found.pc == 0 and not found.is_signal):
                return END
            if self.fits(frame, found):
                found.module = self.context.module_at(self.context.lookup(found))
                return found
            if found.is_signal:
                break                   # in a circle
        return None

    def ways(self, frame: Frame) -> list[Step]:
        """The methods to try, in this order."""
        if frame.exact and not self.context.is_code(frame.pc):
            return [signal_frame.step, _linked, self.guess]
        last = _outermost if _is_entry(self.context, frame) else self.guess
        return [signal_frame.step, eh_frame.step, *self.methods, _leaf, last]

    def guess(self, context: Context, frame: Frame) -> Frame | None:
        self.guesses += 1
        return scan.step(context, frame) if self.guesses <= MAX_GUESSES else None

    def fits(self, frame: Frame, found: Frame) -> bool:
        """Can `found` be the caller: is it code, and further up the stack?"""
        machine = self.context.machine
        sp, below = found.registers.get(machine.SP), frame.registers.get(machine.SP)
        if sp is None or below is None:
            return False
        if found.is_signal:             # its stack may be another one, and its pc anything
            return self.is_new_signal(found.pc, sp)
        if not _is_code(self.context, found.pc):
            return False
        is_flat = frame.exact or found.how == "link-register"      # without a frame of its own
        return sp > below or (sp == below and is_flat and found.pc != frame.pc)

    def is_new_signal(self, pc: int, sp: int) -> bool:
        if (pc, sp) in self.signals or len(self.signals) >= MAX_SIGNALS:
            return False
        self.signals.append((pc, sp))
        return True


def _methods(family: str) -> list[Step]:
    """A machine's own methods between the CFI and the stack scan."""
    if family == "x86":
        return [_prologue_x86]
    from .unwind import prologue
    if family == "arm":
        from .unwind import arm_exidx
        return [arm_exidx.step, prologue.step]
    return [prologue.step]


def _prologue_x86(context: Context, frame: Frame) -> Frame | None:
    from .unwind import prologue_x86  # here, not above: x86 mostly has unwind tables

    return prologue_x86.step(context, frame)


def _is_code(context: Context, pc: int) -> bool:
    """May a return address be `pc`?  An old kernel's sigreturn trampoline is on the stack."""
    return context.is_code(pc) or signal_frame.at_trampoline(context, pc)


def _linked(context: Context, frame: Frame) -> Frame | None:
    """The caller of a function that did nothing yet: what a call left, in lr or at sp."""
    machine = context.machine
    sp, address = frame.registers.get(machine.SP), None
    if machine.LR is not None:
        address = frame.registers.get(machine.LR)
    elif sp is not None:
        address, sp = context.memory.word(sp), sp + machine.word
    if address is None or sp is None:
        return None
    address = call_site.code_pointer(context, address)
    if not context.is_code(address) or call_site.target(context, address) is None:
        return None
    registers = {**frame.registers, machine.PC: address, machine.SP: sp}
    return Frame(address, registers, "link-register", sp)


def _leaf(context: Context, frame: Frame) -> Frame | None:
    """The caller of an innermost function that keeps its return address in lr, by lr alone."""
    return _linked(context, frame) if frame.exact and context.machine.LR is not None else None


def _outermost(context: Context, frame: Frame) -> Frame | None:
    """_start has no caller; looking for one would find something."""
    return END


def _is_entry(context: Context, frame: Frame) -> bool:
    """Is the frame in _start, or right behind it?"""
    pc = context.machine.code_address(frame.pc)
    module = context.module_at(pc)
    entry = module.image.entry if module and module.image else None
    return entry is not None and 0 <= pc - entry < ENTRY_SIZE
