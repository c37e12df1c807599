"""A recursion without end is passed over in one leap: its frames look like one another.

Where the pcs of the frames come again and again, and each time the stack is the same number of
bytes higher up, so do the return addresses on the stack.  They are compared all the way up, a block
of the stack at a time; then a frame is made near the end of them, from which the ordinary methods
must find the same pcs again.  What is passed over is thus known to be there, frame by frame.

Where functions call each other in no such order there are just the same return addresses all the
way up.  From one of the last of them the ordinary methods must find the way to the outermost frame;
how many are between nobody knows then.

On the handler's path, but only where a backtrace is long.
"""

from __future__ import annotations

import struct

from .unwind.frame import END, Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .unwind.frame import Context

    Caller = Callable[[Frame], Frame | None]

__all__ = ["leap", "outermost"]

MAX_PERIOD = 16             # functions that call each other in turn
LEAST_LEAP = 4              # periods
BLOCK, MAX_STRIDE = 1 << 16, 1 << 16    # bytes of the stack at a time; of one period
MAX_BLOCKS = 1 << 10
MAX_OUTER = 256             # frames outside of the recursion


class _Pattern:
    """What comes again every `period` frames, `stride` bytes further up."""

    __slots__ = ("period", "slots", "stride")

    def __init__(self, period: int, stride: int) -> None:
        self.period = period
        self.stride = stride
        self.slots: list[tuple[int, int]] = []      # (address, return address) of the last period


def leap(context: Context, frames: list[Frame], spare: int, caller: Caller,
         is_over: Callable[[], bool]) -> tuple[int, Frame] | None:
    """(how many frames further out, that frame) from the last of `frames`, more than three times
    MAX_PERIOD; None: they are no recursion, or one that soon ends.

    At least `spare` frames of the recursion are left; caller, is_over: of the backtrace.
    """
    pattern = _pattern(context, frames)
    if pattern is None or not _find_slots(context, frames, pattern):
        return None
    count = _repeats(context, pattern, is_over) - spare // pattern.period - 2
    landing = _landing(context, frames, pattern, count) if count >= LEAST_LEAP else None
    problems = len(context.problems)
    if landing is None or not _leads_on(frames[-pattern.period:], landing, caller):
        del context.problems[problems:]     # of what was tried
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
    memory, stride = context.memory, pattern.stride
    start = frames[-1].registers[context.machine.SP] - stride
    raw, below = memory.read(start, stride), memory.read(start - stride, stride)
    for frame in frames[-pattern.period:]:
        value = _written(context, frame.pc)
        at = next((at for at in _places(raw, value, context.machine.word)
                   if below[at:at + len(value)] == value), None)
        if at is None:
            return False
        pattern.slots.append((start + at, frame.pc))
    return True


def _written(context: Context, pc: int) -> bytes:
    return pc.to_bytes(context.machine.word, context.machine.order)


def _places(raw: bytes, value: bytes, word: int) -> Iterator[int]:
    """Where in `raw` the word is, the last first."""
    at = raw.rfind(value)
    while at >= 0:
        if at % word == 0:
            yield at
        at = raw.rfind(value, 0, at + word - 1)


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


def outermost(context: Context, frames: list[Frame], spare: int, caller: Caller,
              is_over: Callable[[], bool]) -> list[Frame]:
    """The outermost frames behind a recursion, some `spare` of its own before them; [] where they
    are not found.  frames: the last that were walked, the more the better."""
    kinds = _kinds(context, frames)
    if not kinds:
        return []
    start, problems = frames[-1].registers[context.machine.SP], len(context.problems)
    found: list[Frame] = []
    for slot, pc in _last_slots(context, kinds, start, is_over)[-spare:]:
        found = _way_out(_restored(context, kinds[pc], slot), caller, is_over)
        if found or is_over():
            break
    del context.problems[problems:]         # of what was tried
    return found


class _Kind:
    """A return address of the recursion, by two frames that have it."""

    __slots__ = ("distance", "frame", "other")

    def __init__(self, distance: int, frame: Frame, other: Frame) -> None:
        self.distance = distance        # from the return address's place to the stack pointer
        self.frame = frame
        self.other = other


def _kinds(context: Context, frames: list[Frame]) -> dict[int, _Kind]:
    """By return address; those of which there are two frames that agree about its place."""
    sp = context.machine.SP
    found: dict[int, _Kind] = {}
    before: dict[int, tuple[int, Frame]] = {}
    for at, frame in enumerate(frames[1:]):
        if frame.exact or frame.pc in found:
            continue
        distance = _distance(context, frames[at].registers[sp], frame)
        other = before.get(frame.pc)
        if other is not None and distance == other[0]:
            found[frame.pc] = _Kind(distance, frame, other[1])
        elif distance is not None:
            before[frame.pc] = distance, frame
    return found


def _distance(context: Context, low: int, frame: Frame) -> int | None:
    """How far below the stack pointer the frame's return address is; PowerPC's is above."""
    word, top = context.machine.word, frame.registers[context.machine.SP]
    low = max(low, top - BLOCK)
    raw = context.memory.read(low, top + 2 * word - low)
    at = next(_places(raw, _written(context, frame.pc), word), None)
    return None if at is None else top - low - at


def _last_slots(context: Context, kinds: dict[int, _Kind], start: int,
                is_over: Callable[[], bool]) -> list[tuple[int, int]]:
    """(address, return address) of the last that are on the stack, in order: those of the last
    block, and of the one before, with any."""
    machine = context.machine
    wanted = [(pc, _written(context, pc)) for pc in kinds]
    last: list[tuple[int, int]] = []
    before = last
    for block in range(start, start + MAX_BLOCKS * BLOCK, BLOCK):
        raw = context.memory.past_cache(block, BLOCK)
        found = sorted((block + at, pc) for pc, value in wanted
                       for at in _places(raw, value, machine.word))
        if not found:
            break
        if is_over():
            return []
        before, last = last, found
    return before + last


def _restored(context: Context, kind: _Kind, slot: int) -> Frame:
    """The frame whose return address is at `slot`, with the registers that its like agree about:
    they are the same, or as far from the stack pointer."""
    sp, frame, other = slot + kind.distance, kind.frame, kind.other
    own, others = frame.registers, other.registers
    by = sp - own[context.machine.SP]
    apart = own[context.machine.SP] - others[context.machine.SP]
    registers = {number: value + (by if value - others[number] == apart else 0)
                 for number, value in own.items()
                 if number in others and value - others[number] in (0, apart)}
    return Frame(frame.pc, registers, frame.how, sp, module=frame.module)


def _way_out(frame: Frame, caller: Caller, is_over: Callable[[], bool]) -> list[Frame]:
    """The frames from there to the outermost one; [] where they do not lead there."""
    frames = [frame]
    while len(frames) < MAX_OUTER and not is_over():
        found = caller(frames[-1])
        if found is END:
            return frames
        if found is None or found.how == "scan":
            break
        frames.append(found)
    return []
