"""crash.py: what is there of the threads at any moment, and how they share the time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lastlog_py.coredump import backtrace as backtraces
from lastlog_py.coredump import module as modules
from lastlog_py.coredump.core import Core, Thread
from lastlog_py.coredump.crash import Crash, ThreadRow, examine
from lastlog_py.coredump.reading import read
from lastlog_py.coredump.report import render
from lastlog_py.coredump.unwind.frame import END, Context, Frame
from tests.coredump import tables
from tests.coredump.tables import CODE, STACK, Program


def program(monkeypatch: pytest.MonkeyPatch, slow: frozenset[int] = frozenset(), depth: int = 3,
            pause: float = 0.01) -> Context:
    """A program whose threads' stacks are 0x1000 apart, `depth` frames each; those of the threads
    `slow` never end, and take their time."""
    def caller(context: Context, frame: Frame) -> Frame:
        number, step = divmod(frame.registers[7] - STACK, 0x1000)
        if number in slow:
            time.sleep(pause)
        elif step == 8 * (depth - 1):
            return END
        sp = frame.registers[7] + 8
        return Frame(CODE + 1, {16: CODE + 1, 7: sp}, "cfi", sp)

    monkeypatch.setattr(backtraces.eh_frame, "step", caller)
    monkeypatch.setattr(backtraces, "_methods", lambda family: [])
    made = Program(tables.X86_64)
    made.words(STACK, *range(16))
    return made.context()


def threads(count: int) -> Core:
    core = Core()
    core.threads = [Thread(number, {16: CODE + 0x40, 7: STACK + 0x1000 * number}, 11)
                    for number in range(count)]
    core.thread_count = count
    return core


def counts(crash: Crash) -> list[int]:
    return [len(thread.frames) for thread in crash.threads]


def test_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    crash, context = Crash(), program(monkeypatch)
    monkeypatch.setattr(modules.Module, "symbols", lambda self, wanted: {
        address: (f"at_{address:x}", 2) for address in wanted})
    examine(crash, threads(3), context)
    assert counts(crash) == [3, 3, 3] and not crash.notes and not crash.threads_cut
    assert [thread.crashed for thread in crash.threads] == [True, False, False]
    frames = crash.threads[2].frames
    assert [(frame.symbol, frame.symbol_offset, frame.offset) for frame in frames] == [
        ("at_410040", 2, 0x10040), ("at_410000", 3, 0x10001), ("at_410000", 3, 0x10001)]


@pytest.mark.parametrize("slow", [{0}, {1, 2}])
def test_a_slow_thread_takes_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch,
                                                    slow: set[int]) -> None:
    crash, start = Crash(), time.monotonic()
    examine(crash, threads(6), program(monkeypatch, frozenset(slow)), deadline=start + 1)
    assert time.monotonic() < start + 1.5
    assert [number for number, count in enumerate(counts(crash)) if count == 3] == [
        number for number in range(6) if number not in slow]
    assert all(count > 3 for number, count in enumerate(counts(crash)) if number in slow)
    assert counts(crash)[0] > 24 or 0 not in slow       # half of the time


def test_where_the_time_is_not_enough_all_threads_have_their_places(
        monkeypatch: pytest.MonkeyPatch) -> None:
    crash, start = Crash(), time.monotonic()
    examine(crash, threads(40), program(monkeypatch, frozenset(range(40))), deadline=start + 0.5)
    assert time.monotonic() < start + 1
    assert len(crash.threads) == 40 and not crash.threads_cut
    left = [thread for thread in crash.threads if len(thread.frames) == 1]
    assert len(left) > 30 and len(crash.threads[0].frames) > 12
    assert all(thread.cut and thread.frames[0].pc == CODE + 0x40
               and CODE + 0x40 in dict(thread.registers).values() for thread in left)
    assert crash.notes == [f"Time was up after {40 - len(left)} threads: of the others there is "
                           "only the place where they were."]


@pytest.mark.parametrize("where", ["backtrace", "symbols", "text_id"])
def test_when_memory_ends_what_was_found_is_there(monkeypatch: pytest.MonkeyPatch,
                                                  where: str) -> None:
    crash, context = Crash(), program(monkeypatch)

    def fails(*_: object) -> None:
        raise MemoryError

    if where == "backtrace":
        monkeypatch.setattr("lastlog_py.coredump.crash.backtrace", fails)
    else:
        monkeypatch.setattr(modules.Module, where, property(fails) if where == "text_id" else fails)
    with pytest.raises(MemoryError):
        examine(crash, threads(2), context)
    assert counts(crash) == {"backtrace": [1, 1], "symbols": [3, 1], "text_id": [3, 3]}[where]
    found = read(render(crash, 4096).decode())
    assert found is not None and found["threads"][1]["frames"][0]["module"] == "/bin/program"


class Watched(list[ThreadRow]):
    """Threads as another thread may see them: no frame is in a file that is not there."""

    def __init__(self, crash: Crash) -> None:
        super().__init__()
        self.crash, self.seen = crash, 0

    def look(self, rows: list[ThreadRow]) -> None:
        self.seen += len(rows)
        assert all(frame.module is None or frame.module < len(self.crash.modules)
                   for row in rows for frame in row.frames)

    def __iadd__(self, rows: Any) -> Any:
        rows = list(rows)
        self.look(rows)
        return super().__iadd__(rows)

    def __setitem__(self, index: Any, row: Any) -> None:
        self.look([row])
        super().__setitem__(index, row)


def test_a_row_is_whole_when_it_is_put_in(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = Crash()
    crash.threads = Watched(crash)
    examine(crash, threads(5), program(monkeypatch))
    assert crash.threads.seen == 10 and counts(crash) == [3] * 5


@pytest.mark.parametrize(("most", "head", "tail"), [(64, 48, 16), (10, 8, 2), (3, 3, 0), (1, 1, 0)])
def test_the_most_frames_are_those_of_both_ends(monkeypatch: pytest.MonkeyPatch, most: int,
                                                head: int, tail: int) -> None:
    crash = Crash()
    examine(crash, threads(1), program(monkeypatch, depth=100), max_frames=most)
    row, = crash.threads
    assert (len(row.frames), row.gap, row.omitted) == (most, head, 100 - most) and row.cut
    stack = [frame.offset for frame in row.frames]
    assert len(stack) == head + tail and not crash.notes


def test_what_ends_at_a_limit_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = Crash()
    monkeypatch.setattr("lastlog_py.coredump.crash.STEPS", 3000)
    examine(crash, threads(1), program(monkeypatch, frozenset(range(1000)), pause=0))
    assert (len(crash.threads[0].frames), crash.threads[0].omitted) == (64, 3000 - 64)
    assert crash.notes == [
        "The backtrace of thread 0 is longer than could be followed: its last frames are the last "
        "that were seen, not the outermost."]
