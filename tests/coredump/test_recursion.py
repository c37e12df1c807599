"""recursion.py: a long recursion is passed over, and nothing that only looks like one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.coredump import backtrace as backtraces
from lastlog_py.coredump import recursion
from lastlog_py.coredump.backtrace import Backtrace, Limits, backtrace
from lastlog_py.coredump.memory import Memory
from lastlog_py.coredump.unwind.frame import END, Context, Frame
from tests.coredump import tables
from tests.coredump.cases import cases, close, needs_cores, opened, sets
from tests.coredump.tables import CODE, STACK, Program

FRAME = 64                                  # bytes of every frame's
RECURSION = [CODE + 0x11, CODE + 0x22, CODE + 0x33]     # what calls what
OUTER = [CODE + 0x100 + at for at in range(20)]         # main and those that called it
FP = 6


class Stack(Memory):
    """Frames of FRAME bytes: their return addresses at the end, the caller's rbp before, then a
    register that is another one every time.  Only pages that are read are made."""

    def __init__(self, made: Program, pcs: list[int], pattern: list[int], depth: int) -> None:
        super().__init__(made.machine)
        self.pcs, self.pattern, self.depth, self.fetched = pcs, pattern, depth, 0

    def pc(self, number: int) -> int:
        """The return address in the frame of that number, from the innermost one on."""
        if number < self.depth:
            return self.pattern[number % len(self.pattern)]
        return self.pcs[number - self.depth] if number - self.depth < len(self.pcs) else 0

    def _fetch(self, address: int, size: int) -> bytes:
        if address < STACK:
            return b""
        first, self.fetched = (address - STACK) // FRAME, self.fetched + size
        data = b"".join(bytes(FRAME - 24) + b"".join(word.to_bytes(8, "little") for word in (
            number, STACK + FRAME * (number + 1), self.pc(number)))
            for number in range(first, (address + size - STACK) // FRAME + 1))
        return data[(address - STACK) % FRAME:][:size]


def program(monkeypatch: pytest.MonkeyPatch, depth: int, pattern: list[int] = RECURSION,
            by_rbp: bool = False) -> tuple[Context, dict[int, int], list[int]]:
    """A program in that recursion, its first registers, and how many frames were asked for."""
    asked = []

    def caller(context: Context, frame: Frame) -> Frame | None:
        asked.append(1)
        cfa = frame.registers[7] + FRAME
        if by_rbp:
            if FP not in frame.registers:
                return None
            cfa = frame.registers[FP] + FRAME
        pc, rbp = context.memory.word(cfa - 8), context.memory.word(cfa - 16)
        saved = context.memory.word(cfa - 24)
        if not pc or rbp is None or saved is None:
            return END
        return Frame(pc, {16: pc, 7: cfa, FP: rbp, 3: saved}, "cfi", cfa)

    monkeypatch.setattr(backtraces.eh_frame, "step", caller)
    monkeypatch.setattr(backtraces, "_methods", lambda family: [])
    made = Program(tables.X86_64)
    plain = made.context()
    memory = Stack(made, OUTER, pattern, depth)
    return (Context(plain.machine, memory, plain.modules, plain.code),
            {16: CODE, 7: STACK, FP: STACK}, asked)


def shape(found: Backtrace) -> object:
    return ([(frame.pc, frame.registers, frame.how, frame.cfa) for frame in found.frames],
            found.cut, found.omitted, found.gap, found.is_whole)


@pytest.mark.parametrize("by_rbp", [False, True])
@pytest.mark.parametrize("depth", [0, 40, 63, 64, 65, 100, 128, 150, 300, 1000, 5003])
@pytest.mark.parametrize("period", [1, 2, 3])
def test_it_finds_what_is_found_step_by_step(monkeypatch: pytest.MonkeyPatch, depth: int,
                                             period: int, by_rbp: bool) -> None:
    context, first, asked = program(monkeypatch, depth, RECURSION[:period], by_rbp)
    found = shape(backtrace(context, first, Limits()))
    quick = len(asked)
    monkeypatch.setattr(recursion, "leap", lambda *_: None)
    assert found == shape(backtrace(context, first, Limits()))
    assert quick <= depth + 21 and (depth < 1000 or quick < 250)


def test_a_stack_of_8_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    depth = (8 << 20) // FRAME
    context, first, asked = program(monkeypatch, depth)
    start = time.process_time()
    found = backtrace(context, first, Limits())
    assert [frame.pc for frame in found.frames[-16:]] == OUTER[-16:]
    assert found.omitted == depth + 21 - 64 and found.is_whole and not found.is_stopped
    assert len(asked) < 250 and time.process_time() - start < 5


def test_more_than_is_wanted_is_left_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames behind the gap follow upon one another."""
    monkeypatch.setattr("tests.coredump.test_recursion.OUTER", OUTER[:2])
    context, first, _ = program(monkeypatch, 2000)
    found = backtrace(context, first, Limits())
    numbers = [(frame.registers[7] - STACK) // FRAME for frame in found.frames]
    assert numbers == [*range(48), *range(2003 - 16, 2003)] and found.omitted == 2003 - 64


@pytest.mark.parametrize("pattern", [
    [CODE + at + 1 for at in range(17)],                    # too many functions
    [CODE + 1 + at * at % 61 for at in range(500)]])        # none
def test_what_is_no_recursion_is_walked(monkeypatch: pytest.MonkeyPatch, pattern: list[int]
                                        ) -> None:
    context, first, asked = program(monkeypatch, 1500, pattern)
    found = backtrace(context, first, Limits())
    assert found.is_whole and len(asked) == 1500 + 21


def test_what_is_passed_over_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call from another place in the midst of it: the leap ends before."""
    context, first, asked = program(monkeypatch, 30000)
    memory = context.memory
    assert isinstance(memory, Stack)
    plain = Stack.pc
    monkeypatch.setattr(Stack, "pc", lambda self, number: (
        CODE + 0x99 if number == 15000 else plain(self, number)))
    seen = []
    leap = recursion.leap

    def watched(*given):                    # type: ignore[no-untyped-def]
        found = leap(*given)
        seen.append(found[1].registers[7] if found else None)
        return found

    monkeypatch.setattr(recursion, "leap", watched)
    found = backtrace(context, first, Limits())
    assert found.omitted == 30021 - 64 and found.is_whole and len(asked) < 500
    landings = [(sp - STACK) // FRAME for sp in seen if sp is not None]
    assert len(landings) == 2 and 14900 < landings[0] < 15000 - 16
    assert 29900 < landings[1] < 30000 - 16


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(1, 9), min_size=1, max_size=4),
                          st.integers(1, 300)), min_size=1, max_size=5), st.booleans())
def test_whatever_calls_what(parts: list[tuple[list[int], int]], by_rbp: bool) -> None:
    """One recursion within another, and with gaps: as it is found step by step."""
    pcs = [CODE + pc for part, count in parts for pc in part * count]
    with pytest.MonkeyPatch.context() as patch:
        context, first, _ = program(patch, len(pcs), pcs, by_rbp)
        found = shape(backtrace(context, first, Limits()))
        patch.setattr(recursion, "leap", lambda *_: None)
        assert found == shape(backtrace(context, first, Limits()))


@pytest.mark.parametrize("by_rbp", [False, True])
def test_where_there_is_no_order_the_end_is_found_from_the_stack(
        monkeypatch: pytest.MonkeyPatch, by_rbp: bool) -> None:
    pattern = [CODE + 1 + at * at % 61 for at in range(500)]
    context, first, asked = program(monkeypatch, 60_000, pattern, by_rbp)
    found = backtrace(context, first, Limits(steps=1000))
    assert [frame.pc for frame in found.frames[-16:]] == OUTER[-16:]
    assert [(frame.registers[7] - STACK) // FRAME for frame in found.frames[-16:]] == [
        *range(60_021 - 16, 60_021)]
    assert (len(found.frames), found.omitted, found.gap) == (64, 1000 - 64, 48)
    assert found.cut and found.is_whole and not found.is_counted and not found.is_stopped
    assert len(asked) < 1100


def test_where_the_stack_s_end_is_not_there_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = [CODE + 1 + at * at % 61 for at in range(500)]
    context, first, asked = program(monkeypatch, 60_000, pattern)
    plain = Stack.pc
    monkeypatch.setattr(Stack, "pc", lambda self, number: (
        1 if number == 60_005 else plain(self, number)))
    found = backtrace(context, first, Limits(steps=1000))
    assert [(frame.registers[7] - STACK) // FRAME for frame in found.frames[-16:]] == [
        *range(1000 - 16, 1000)]
    assert found.is_stopped and found.is_counted and not found.is_whole and len(asked) < 2000


@needs_cores()
@pytest.mark.parametrize("name", sets())
def test_the_test_cores_ends(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """On every machine the outermost frames are found from the stack's end, too."""
    one = opened(cases(f"{name}/recurse")[0])
    try:
        registers = one.threads[0].registers
        whole = backtrace(one.context, registers, Limits())
        monkeypatch.setattr(recursion, "leap", lambda *_: None)
        found = backtrace(one.context, registers, Limits(steps=400))
        assert found.omitted == 400 - 64 and found.is_counted is found.is_stopped
        if whole.is_whole:
            assert [frame.pc for frame in found.frames] == [frame.pc for frame in whole.frames]
            assert not found.is_counted
    finally:
        close(one)


@needs_cores()
@pytest.mark.parametrize("name", sets())
def test_the_test_cores_recursion(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """On every machine, by every method: the same frames, and most of them not walked."""
    one = opened(cases(f"{name}/recurse")[0])
    seen: list[bool] = []
    leap = recursion.leap

    def watched(*given):                    # type: ignore[no-untyped-def]
        found = leap(*given)
        seen.append(found is not None)
        return found

    try:
        monkeypatch.setattr(recursion, "leap", watched)
        registers = one.threads[0].registers
        found = backtrace(one.context, registers, Limits())
        assert seen[0], seen
        monkeypatch.setattr(recursion, "leap", lambda *_: None)
        walked = backtrace(one.context, registers, Limits())
        assert [frame.pc for frame in found.frames] == [frame.pc for frame in walked.frames]
        assert (found.omitted, found.gap, found.is_whole) == (
            walked.omitted, walked.gap, walked.is_whole)
        sp = one.context.machine.SP
        assert [frame.registers[sp] for frame in found.frames] == [
            frame.registers[sp] for frame in walked.frames]
    finally:
        close(one)
