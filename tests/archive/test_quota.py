"""archive_quota.py: order, counts, and who goes first."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.archive import Archive
from lastlog_py.archive_file import Entry
from lastlog_py.archive_quota import (
    COUNTED,
    Saved,
    chronological,
    next_entry,
    tallied,
    victims,
)
from lastlog_py.record import Record
from tests.archive.making import NOON, crash, log


def saved(records: Sequence[Record]) -> list[Saved]:
    """The files of `records`, saved in this order, 100 bytes each."""
    files: list[Saved] = []
    for record in records:
        files.append(Saved(f"{record.id}.gz", 100, next_entry(record, files)))
    return files


def going(records: Sequence[Record], incoming: Record, files: int) -> list[str] | None:
    """The titles of what goes for `incoming` where so many files have to."""
    there = saved(records)
    new = Saved(f"{incoming.id}.gz", 100, next_entry(incoming, there))
    gone = victims(new, there, 100 * files)
    return None if gone is None else [
        each.entry.record.title or each.entry.record.kind if each.entry else each.name
        for each in gone]


SAME = [crash(number, "k1:same") for number in range(5)]
OTHER = [crash(number, f"k1:{number}") for number in range(10, 13)]


@pytest.mark.parametrize(("records", "incoming", "gone"), [
    (SAME, crash(5, "k1:same"), ["crash 1", "crash 2", "crash 3", "crash 4", "crash 0"]),
    ([*SAME[:3], log(3), *OTHER], crash(20), ["crash 1", "log", "crash 0", "crash 2", "crash 10",
                                              "crash 11", "crash 12"]),
    ([*OTHER, log(1)], log(20), ["log"]),
    ([log(9), log(8), *OTHER], log(20), ["log", "log"]),
    (OTHER, log(20), []),
    (OTHER, crash(9), ["crash 10", "crash 11"]),
    ([crash(3, kind="coredump"), crash(2), crash(1, kind="coredump")], crash(4, kind="coredump"),
     ["crash 1", "crash 3"]),
], ids=["repeats", "repeats, logs, crashes", "logs for a log", "logs by time",
        "no crash for a log", "never the newest crash", "core dumps beside it"])
def test_the_order_of_going(records: list[Record], incoming: Record, gone: list[str]) -> None:
    for files in range(len(gone) + 1):
        assert going(records, incoming, files) == gone[:files]
    assert going(records, incoming, len(gone) + 1) is None


def test_the_oops_of_the_newest_panic_stays_with_it() -> None:
    panic = crash(11, "k1:x")
    oops = crash(10, "k1:x", crash=panic.id)
    assert going([crash(1), oops, panic, log(20)], crash(5), 2) == ["log", "crash 1"]
    assert going([crash(1), oops, panic, log(20)], crash(5), 3) is None


@pytest.mark.parametrize(("clocks", "left"), [
    ((0, 100, -9e6, 200), [1, 2, 3]),               # set back by months: nobody set it yet
    ((0, 100, -1e6, 200), [1, 2, 3]),               # set back by days
    ((7e9, 100, 200, 300, 400), [2, 3, 4]),         # once far ahead
    ((0, 7e9, 200, 300, 400, 500), [3, 4, 5]),
    ((0, 100, 200, 50), [1, 2, 3]),
    ((100, 200, 300, 0, 400), [2, 3, 4]),
], ids=str)
def test_a_wrong_clock_never_makes_the_last_crash_go(clocks: tuple[float, ...],
                                                     left: list[int]) -> None:
    files: list[Saved] = []
    for number, clock in enumerate(clocks):
        record = crash(number, f"k1:{number}", time=NOON + clock)
        new = Saved(record.title, 100, next_entry(record, files))
        gone = victims(new, files, 100 * (len(files) - 2))
        assert gone is not None and not any(each in files[-1:] for each in gone)
        files = [*(each for each in files if each not in gone), new]
    assert [each.name for each in files] == [f"crash {number}" for number in left]


@pytest.mark.parametrize("clocks", [(0, -9e6), (0, -1e6), (7e9, 0), (0, 7e9)], ids=str)
def test_core_dumps_never_push_out_the_kernel_crash_saved_last(clocks: tuple[float, ...]) -> None:
    records = [crash(number, time=NOON + clock) for number, clock in enumerate(clocks)]
    for number in range(2, 5):
        gone = going(records, crash(number, kind="coredump"), 1) or []
        assert "crash 1" not in gone
        records = [*(each for each in records if each.title not in gone),
                   crash(number, kind="coredump")]


def test_a_crash_saved_late_does_not_push_out_the_newest() -> None:
    late = crash(1)
    assert going([crash(3), crash(9), late], crash(20, kind="coredump"), 1) == ["crash 3"]
    assert going([crash(3), crash(9), late], crash(20, kind="coredump"), 2) is None


def test_the_last_crash_goes_where_there_is_room_for_one() -> None:
    assert going([crash(1)], crash(2), 1) == ["crash 1"]


def test_the_oops_of_the_last_panic_stays_with_it() -> None:
    panic = crash(2, "k1:x", time=NOON - 1e6)
    oops = crash(1, "k1:x", time=NOON - 1e6 - 1, crash=panic.id)
    there = [crash(7), crash(8), oops, panic]
    assert going(there, crash(9), 3) == ["crash 7", "crash 8", "crash 1"]


@pytest.mark.parametrize("clock", [-2000, 500000])
def test_the_crash_saved_last_stays_whatever_the_clock_said(clock: int) -> None:
    """A core dump may push out old crashes, but neither the newest by time nor the last saved."""
    last = crash(9)._replace(time=NOON + 3600 * clock, title="the last")
    gone = going([crash(1), crash(2), last], crash(5)._replace(kind="coredump", title="c"), 1)
    assert gone == ["crash 1"]
    assert "the last" not in (going([crash(1), crash(2), last],
                                    crash(5)._replace(kind="coredump", title="c"), 2) or [])


def test_what_cannot_be_read_goes_before_logs_and_the_future_stays() -> None:
    there = [*saved([log(1)]), Saved("k-b.gz", 100, None, "is damaged"),
             Saved("k-c.gz", 100, None, "is newer", newer=True)]
    new = Saved("k-d.gz", 100, Entry(crash(2), 9))
    gone = victims(new, there, 200)
    assert gone and [each.name for each in gone] == ["k-b.gz", there[0].name]
    assert victims(new, there, 300) is None


def test_a_repeat_that_had_to_go_does_not_push_out_others() -> None:
    there = [each for each in saved(SAME) if each.name != f"{SAME[2].id}.gz"]
    again = Saved(f"{SAME[2].id}.gz", 100, next_entry(SAME[2], there))
    assert again.entry and again.entry.record.count == 5
    assert victims(again, there, 1) is None and victims(again, there, 0) == []


def test_an_oops_and_the_panic_it_led_to_count_once() -> None:
    first, second = (crash(number, "k1:x") for number in (2, 4))
    records = [crash(1, "k1:x", crash=first.id), first, crash(3, "k1:x", crash=second.id), second]
    assert [each.count for each in tallied(saved(records))] == [2] * 4


def test_first_and_last_seen_are_trusted_times_only() -> None:
    records = [crash(1, "k1:x", time=7.0, time_trusted=False), crash(2, "k1:x"),
               crash(3, "k1:x", time=None, time_trusted=False), crash(4, "k1:x"), log(5)]
    tally = {(each.count, each.first_seen, each.last_seen) for each in tallied(saved(records))
             if each.signature}
    assert tally == {(4, NOON + 2 * 3600, NOON + 4 * 3600)}
    alone = tallied(saved([crash(1, "k1:x", time=None, time_trusted=False)]))[0]
    assert (alone.count, alone.first_seen, alone.last_seen) == (1, None, None)


def test_without_a_clock_the_order_of_saving_counts() -> None:
    clockless = {"time": 12.0, "time_trusted": False}
    records = [crash(5), crash(1, **clockless), crash(3), crash(2, **clockless), crash(7)]
    ordered = [each.entry.record.title for each in chronological(saved(records)) if each.entry]
    assert ordered == ["crash 3", "crash 5", "crash 1", "crash 2", "crash 7"]


def test_the_counted_are_bounded() -> None:
    files = saved([crash(number, "k1:x", size=3) for number in range(COUNTED + 9)])
    last = files[-1].entry
    assert last and last.record.count == COUNTED + 9 and len(last.counted) == COUNTED
    assert last.counted[-1] == last.record.id


kinds = st.tuples(st.sampled_from(["a", "b", "c", None, "log"]), st.integers(0, 900),
                  st.sampled_from(["time", "no time"]))


@settings(deadline=None, max_examples=60)
@given(st.lists(kinds, min_size=1, max_size=12), st.randoms(use_true_random=False),
       st.integers(600, 4000))
def test_any_sequence_keeps_the_limit_the_order_and_the_counts(
        what: list[tuple[str | None, int, str]], chance: object, limit: int) -> None:
    records = [made(number, *each) for number, each in enumerate(what)]
    chance.shuffle(records)                                         # type: ignore[attr-defined]
    tried: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(folder, limit)
        for record in records:
            before = {each.id: each for each in archive.headers()[0]}
            result = archive.save([record])
            after = {each.id: each for each in archive.headers()[0]}
            assert archive.usage() <= limit and archive.headers()[1] == []
            assert archive.holds(record.id) is bool(result.saved)
            if not result.saved:
                assert before == after and "option archive_limit" in result.skipped[0].why
                continue
            check_order(list(before.values()), after, record)
            check_counts(tried, after, record)


def made(number: int, signature: str | None, size: int, clock: str) -> Record:
    if signature == "log":
        return log(number, size)
    time = {} if clock == "time" else {"time": None, "time_trusted": False}
    return crash(number, signature, size, **time)


def check_order(before: list[Record], after: dict[str, Record], new: Record) -> None:
    gone = [each for each in before if each.id not in after]
    kernel = [each for each in before if each.kind == "kernel"]
    if kernel and new.kind != "kernel":
        assert kernel[0].id in after, "the newest crash went"
    if new.kind == "log":
        assert all(each.kind == "log" or is_repeat(each, before) for each in gone)
    if any(each.kind == "kernel" and not is_repeat(each, [*before, new]) for each in gone):
        assert all(each.kind != "log" for each in before if each.id in after)


def is_repeat(record: Record, records: list[Record]) -> bool:
    """Whether it may count as one: there are two others of its signature."""
    return sum(each.signature == record.signature for each in records) > 2 \
        and record.signature is not None


def check_counts(tried: dict[str, int], after: dict[str, Record], new: Record) -> None:
    """tried: how often each signature was saved since there was none of it."""
    for gone in set(tried) - {each.signature for each in after.values()}:
        del tried[gone]
    if new.signature:
        tried[new.signature] = tried.get(new.signature, 0) + 1
    for each in after.values():
        assert each.count == tried.get(each.signature or "", 1)
