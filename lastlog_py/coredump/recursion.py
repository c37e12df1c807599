"""A recursion without end is passed over in one leap: its frames look like one another.

Where the pcs of the frames come again and again, and each time the stack is the same number of
bytes higher up, so do the return addresses on the stack.  They are compared all the way up, a block
of the stack at a time; then a frame is made near the end of them, from which the ordinary methods
must find the same pcs again.  What is passed over is thus known to be there, frame by frame.

On the handler's path, but only where a backtrace is long.
"""

from __future__ import annotations

import struct

from .unwind.frame import END, Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .unwind.frame import Context

    Caller = Callable[[Frame], Frame | None]

__all__ = ["WANTED", "leap"]

MAX_PERIOD = 16             # functions that call each other in turn
WANTED = 3 * MAX_PERIOD + 1     # frames to see it by
LEAST_LEAP = 4              # periods
BLOCK, MAX_STRIDE = 1 << 16, 1 << 18    # bytes of the stack at a time; of one period


class _Pattern:
    """What comes again every `period` frames, `stride` bytes further up."""

    __slots__ = ("period", "slots", "stride")

    def __init__(self, period: int, stride: int) -> None:
        self.period = period
        self.stride = stride
        self.slots: list[tuple[int, int]] = []      # (address, return address) of the last period


def leap(context: Context, frames: list[Frame], spare: int, caller: Caller,
         is_over: Callable[[], bool]) -> tuple[int, Frame] | None:
    """(how many frames further out, that frame) from the last of `frames`, which are at least
    WANTED; None: they are no recursion, or one that soon ends.

    At least `spare` frames of the recursion are left; caller, is_over: of the backtrace.
    """
    pattern = _pattern(context, frames)
    if pattern is None or not _find_slots(context, frames, pattern):
        return None
    count = _repeats(context, pattern, is_over) - spare // pattern.period - 2
    landing = _landing(context, frames, pattern, count) if count >= LEAST_LEAP else None
    if landing is None or not _leads_on(frames[-pattern.period:], landing, caller):
        return None
    return count * pattern.period, landing


def _pattern(context: Context, frames: list[Frame]) -> _Pattern | None:
    pcs = [frame.pc for frame in frames]
    stacks = [frame.registers.get(context.machine.SP, 0) for frame in frames]
    for period in range(1, MAX_PERIOD + 1):
        stride = stacks[-1] - stacks[-1 - period]
        if (pcs[-2 * period:] == pcs[-3 * period:-period]
                and 0 < stride <= MAX_STRIDE and stride % context.machine.word == 0
                and all(stacks[-at] - stacks[-at - period] == stride
                        for at in range(1, 2 * period + 1))):
            return _Pattern(period, stride)
    return None


def _find_slots(context: Context, frames: list[Frame], pattern: _Pattern) -> bool:
    """Where the last period's return addresses are: each comes again below, as its frame does."""
    memory, word, stride = context.memory, context.machine.word, pattern.stride
    top = frames[-1].registers[context.machine.SP]
    for frame in frames[-pattern.period:]:
        for slot in range(top - word, top - stride - 1, -word):
            if all(memory.word(slot - back) == frame.pc for back in (0, stride)):
                pattern.slots.append((slot, frame.pc))
                break
        else:
            return False
    return True


def _repeats(context: Context, pattern: _Pattern, is_over: Callable[[], bool]) -> int:
    """How many times more all the return addresses come, further up."""
    stride, word = pattern.stride, context.machine.word
    first, at_once = min(pattern.slots)[0], max(BLOCK // stride, 1)
    kind = "Q" if word == 8 else "I"
    layout = struct.Struct(f"{'<' if context.machine.order == 'little' else '>'}"
                           f"{at_once * stride // word}{kind}")
    count = 0
    while not is_over():
        raw = context.memory.past_cache(first + (count + 1) * stride, layout.size)
        words = layout.unpack(raw.ljust(layout.size, b"\0"))
        same = min(_same(words[(slot - first) // word::stride // word], pc)
                   for slot, pc in pattern.slots)
        count += same
        if same < at_once:
            break
    return count


def _same(words: tuple[int, ...], wanted: int) -> int:
    """How many of the first words are the wanted one."""
    if words.count(wanted) == len(words):
        return len(words)
    return next(at for at, word in enumerate(words) if word != wanted)


def _landing(context: Context, frames: list[Frame], pattern: _Pattern, count: int) -> Frame | None:
    """The last frame as it is `count` periods further out, with the registers that are sure: those
    that stay as they are, and those that go up the stack with the frames."""
    last, before, first = (frames[-1 - back * pattern.period] for back in range(3))
    registers = {}
    for number, value in last.registers.items():
        steps = (value - before.registers.get(number, 0),
                 before.registers.get(number, 0) - first.registers.get(number, 0))
        if steps in ((0, 0), (pattern.stride, pattern.stride)):
            registers[number] = value + count * steps[0]
    if context.machine.SP not in registers:
        return None
    cfa = None if last.cfa is None else last.cfa + count * pattern.stride
    return Frame(last.pc, registers, last.how, cfa, module=last.module)


def _leads_on(expected: list[Frame], frame: Frame, caller: Caller) -> bool:
    """Whether the same callers are found from there."""
    for one in expected:
        found = caller(frame)
        if found is None or found is END or found.pc != one.pc:
            return False
        frame = found
    return True
