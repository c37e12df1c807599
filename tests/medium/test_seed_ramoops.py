"""medium/seed_ramoops.py: the slots of kernels 2.6.35 to 3.3."""

from __future__ import annotations

import pytest

from lastlog_py.medium import ramoops, seed_ramoops
from lastlog_py.medium.geometry import Geometry
from tests import zones
from tests.foreign import PAGE, early, early_region, log

LONG = log(400)                 # more than a slot holds


def texts(data: bytes, *given: Geometry) -> list[bytes]:
    return [record.text.encode() for record in seed_ramoops.read(data, given).records]


@pytest.mark.parametrize("size", [PAGE, 2 * PAGE, 16 * PAGE])
def test_slots_of_any_power_of_two(size: int) -> None:
    data = early(log(5, "a"), 1700000100, 9, size=size) + \
        early(LONG * 12, 1700000200, 123456, size=size) + \
        early(log(6, "b"), 1700000000, 42, size=size) + bytes(size)
    found = seed_ramoops.read(data).records
    assert [record.text.encode() for record in found] == \
        [(LONG * 12)[-(size - 22):], log(5, "a"), log(6, "b")]
    assert [record.time for record in found] == [1700000200.123456, 1700000100.000009,
                                                 1700000000.000042]
    assert [record.source.zone for record in found] == [1, 0, 2]
    assert {record.source.medium for record in found} == {"ramoops"}


@pytest.mark.parametrize(("header", "time"), [
    (b"====5.7\n", 5.000007), (b"====0.999999\n", 0.999999), (b"====4294967295.1\n", None),
    (b"====2147483648.0\n", None), (b"====18446744073709551615.1\n", None),
    (b"====2147483647.0\n", 2147483647.0)])
def test_times(header: bytes, time: float | None) -> None:
    (record,) = seed_ramoops.read((header + log(4)).ljust(PAGE, b"\0")).records
    assert record.time == time and record.text.encode() == log(4)


@pytest.mark.parametrize(("reserved", "seconds", "micro", "over"), [
    (13, 1700000000, 123456, 9), (13, 1700000000, 5, 4), (21, 1700000000, 123456, 1),
    (21, 1700000000, 5, 0)])
def test_a_full_slot_runs_over_into_the_next(reserved: int, seconds: int, micro: int,
                                             over: int) -> None:
    """2.6.35 and 2.6.36; the next slot was never used."""
    region = early_region([(0, LONG, seconds, micro)], 4, reserved=reserved)
    assert texts(region) == [LONG[-(PAGE - reserved):]]
    assert bool(region[PAGE:].strip(b"\0")) == bool(over)


def test_what_ran_over_is_lost_when_the_next_slot_is_written() -> None:
    region = early_region([(0, LONG, 1700000000, 123456), (1, log(4), 1700000050, 1)], 4,
                          reserved=13)
    assert texts(region) == [log(4), LONG[-(PAGE - 13):-9]]


@pytest.mark.parametrize("micro", [5, 123456])
def test_an_older_dump_whose_header_was_run_over(micro: int) -> None:
    """The first boot filled slots 0 and 1, the second crashed once: slot 0 ran over into 1."""
    region = early_region([(0, log(3), 1600000000, 1), (1, log(4, "old"), 1600000050, 654321),
                           (0, LONG, 1700000000, micro)], 4, reserved=13)
    found = seed_ramoops.read(region)
    assert texts(region) == [LONG[-(PAGE - 13):], log(4, "old")]
    newer, older = found.records
    assert older.source.torn and older.time is None and not newer.source.torn
    assert "overwritten" in found.problems[0].what


@pytest.mark.parametrize("at", range(22))
@pytest.mark.parametrize("bit", [0, 3, 6])
def test_any_bit_of_a_header_may_be_lost(at: int, bit: int) -> None:
    data = bytearray(early(log(9), 1700000000, 123456) + early(log(8), 1700000001, 1))
    data[at] ^= 1 << bit
    if at == 21:                # the end of the line: then the log's first line is the header's
        return
    assert set(texts(bytes(data))) == {log(9), log(8)}


@pytest.mark.parametrize("lost", [b"\0", b"\xff", bytes(50)])
def test_a_byte_lost_within_the_text_does_not_cost_what_follows(lost: bytes) -> None:
    text = log(40)
    torn = text[:900] + lost + text[900 + len(lost):]
    (record,) = seed_ramoops.read(early(torn) + bytes(PAGE)).records
    assert record.source.torn and record.raw == torn


def test_given_sizes() -> None:
    data = early(log(4)) + bytes(PAGE) + early(log(5), 1700000009)
    assert seed_ramoops.read(data, [Geometry(PAGE + 100)]).problems == []
    found = seed_ramoops.read(data, [Geometry(PAGE)]).records
    assert [record.source.zone for record in found] == [2, 0]
    wrong = seed_ramoops.read(data, [Geometry(4 * PAGE, origin="the command line")])
    assert len(wrong.records) == 2 and "the command line" in wrong.problems[0].what


@pytest.mark.parametrize("other", [
    zones.dump(zones.log(9), flag=None), zones.dump(zones.log(9), flag="C"),
    b"====1700000000.5\n" + bytes(range(128, 256)), b"==== a heading\ntext",
    b"x" + early(log(9))])
def test_what_is_no_slot(other: bytes) -> None:
    assert texts(other.ljust(2 * PAGE, b"\0")) == []


def test_old_memory_behind_it() -> None:
    """2.6.35 zeroes the slot, not what is behind the last one."""
    assert texts(early(log(7)) + b"\xa5\x5a" * PAGE) == [log(7)]
    full = early(LONG, 1700000000, 123456)
    assert texts(full + b"\xa5\x5a" * PAGE) == [LONG[-(PAGE - 22):]]


def test_ramoops_own_reader_leaves_it_alone() -> None:
    assert ramoops.records(early(log(5)) * 4).records == []
