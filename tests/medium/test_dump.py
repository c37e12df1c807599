"""medium/dump.py: files that somebody sent, of every kind and in any state."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from lastlog_py.medium import dump, journal_records
from lastlog_py.medium.journal import MAGIC, MOST_DAMAGED, encode, room_for
from lastlog_py.medium.reading import MOST_RECORDS
from tests import zones
from tests.medium.journals import Entry, log

PAGE = 4096


def peak_of(work: Callable[[], object]) -> int:
    """Bytes of memory that `work` takes at most."""
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


# --- the journal


def ring(*entries: Entry) -> bytes:
    encoded = map(encode, entries)
    return b"".join(each.ljust(room_for(len(each)), b"\0") for each in encoded)


def test_the_journal_of_a_dump_is_shown_and_what_is_wrong_with_it() -> None:
    data = zones.zone(PAGE, zones.dump(zones.log(9))) + ring(log(1), log(2)) + MAGIC + b"torn"
    found, problems = dump.records("some.bin", data.ljust(4 * PAGE, b"\0"))
    assert [record.kind for record in found] == ["kernel", "log", "log", "log"]
    assert [record.source.torn for record in found] == [False, True, False, False]
    assert [problem.where for problem in problems] == [f"journal, offset {data.find(b'torn') - 12}"]


def test_a_journal_is_no_blank_region() -> None:
    assert dump.records("some.bin", ring(log(1)))[1] == []


def test_the_newest_of_very_many_records_of_a_journal_are_shown(
        monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Entry("log", b"body %d" % number, number + 1) for number in range(MOST_RECORDS + 5)]
    found, problems = dump.records("some.bin", ring(*many))
    assert [record.text for record in found] == [each.body.decode() for each in many[5:]]
    assert [problem.what for problem in problems] == ["5 more records are there than are shown"]
    monkeypatch.setattr(journal_records, "MOST_ENTRIES", 3)
    found, problems = dump.records("some.bin", ring(*many))
    assert len(found) == 3 and "3 records are before this" in problems[0].what


@pytest.mark.parametrize("broken", [MAGIC, MAGIC + b"\n\xc3\xa9", MAGIC + b"x head=00000000\n"])
def test_garbage_that_begins_like_a_journal_takes_little_memory(broken: bytes) -> None:
    """It used to be a record each time."""
    data = broken * ((1 << 20) // len(broken))
    assert peak_of(lambda: dump.records("some.bin", data)) < 7 * len(data)
    found, problems = dump.records("some.bin", data + ring(log(5)))
    assert log(5).body.decode() in [record.text for record in found]
    assert any(f"{MOST_DAMAGED} records before this" in problem.what for problem in problems)


def test_a_record_of_the_journal_is_shown_once() -> None:
    assert len(dump.records("some.bin", ring(log(1), log(1), log(2)))[0]) == 2
