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


class Limits:
    """How far one thread's backtrace may go."""

    __slots__ = ("deadline", "head", "steps", "tail")

    def __init__(self, head: int = 64, tail: int = 16, steps: int = 20_000,
                 deadline: float | None = None) -> None:
        self.head = head            # innermost frames kept
        self.tail = tail            # outermost frames kept as well, where there are more
        self.steps = steps          # frames walked
        self.deadline = deadline    # on time.monotonic(); None: none

    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() > self.deadline


class Backtrace:
    """The frames that were kept."""

    __slots__ = ("cut", "frames", "gap", "is_whole", "omitted")

    def __init__(self, frames: list[Frame], cut: bool, omitted: int, gap: int | None,
                 is_whole: bool) -> None:
        self.frames = frames        # innermost first
        self.cut = cut              # there are frames that are not here: a limit was reached
        self.omitted = omitted      # frames that were found and left out of the middle
        self.gap = gap              # index in frames of the first one behind them; None: no gap
        self.is_whole = is_whole    # it ends where the thread began, not where the trace was lost


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
    while frame is not None and frame is not END:
        kept.add(frame)
        if kept.count >= limits.steps or limits.is_over():
            return kept.result(True, False)
        frame = walk.caller(frame)
    return kept.result(False, frame is END)


class _Kept:
    """The first and the last frames of many."""

    __slots__ = ("count", "head", "limits", "tail")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.count = 0
        self.head: list[Frame] = []
        self.tail: list[Frame] = []     # a ring: the oldest is overwritten

    def add(self, frame: Frame) -> None:
        behind = self.count - self.limits.head
        self.count += 1
        if behind < 0:
            self.head.append(frame)
        elif behind < self.limits.tail:
            self.tail.append(frame)
        elif self.limits.tail:
            self.tail[behind % self.limits.tail] = frame

    def result(self, cut: bool, is_whole: bool) -> Backtrace:
        behind = max(0, self.count - self.limits.head)
        omitted = behind - len(self.tail)
        turn = behind % len(self.tail) if omitted and self.tail else 0
        frames = self.head + self.tail[turn:] + self.tail[:turn]
        gap = len(self.head) if omitted else None
        return Backtrace(frames, cut or omitted > 0, omitted, gap, is_whole)


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
