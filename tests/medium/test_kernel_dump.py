"""medium/kernel_dump.py: header lines of all kernels, several dumps in one body, damage."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.medium import kernel_dump, ramoops
from lastlog_py.medium.allowance import Allowance
from lastlog_py.record import Problem, Record, Source
from tests import zones

CAPACITY = 4084


def read(body: bytes, capacity: int = CAPACITY) -> tuple[list[Record], list[Problem]]:
    return kernel_dump.records(body, Source("ramoops", size=len(body)), "zone", capacity)


@pytest.mark.parametrize(("when", "flag", "time"), [
    ("1400000000.7", None, 1400000000.000007),              # 3.5 to 3.11
    ("1450000000.42", "D", 1450000000.000042),              # to about 4.19: not padded
    ("1700000000.000042", "C", 1700000000.000042),
    ("-5.000001", "D", -4.999999),                          # a clock before 1970
    ("18446744073709551611.9", "D", None),                  # the same as an unsigned long
])
def test_header_lines_of_all_kernels(when: str, flag: str | None, time: float | None) -> None:
    (record,), problems = read(zones.dump(zones.log(), when, flag))
    assert record.text.encode() == zones.log() and not problems
    assert record.time == (time if time is None else pytest.approx(time))


@pytest.mark.parametrize("header", [b"====1800000000.000001-c\n", b"=-==1800000000.000001-C\n"])
def test_a_bit_lost_in_the_dump_header_does_not_cost_the_record(header: bytes) -> None:
    (record,), _ = read(header + zones.deflated(zones.log(50)))
    assert record.text.encode() == zones.log(50) and record.source.torn


def test_a_piece_without_a_header_is_a_torn_record_of_its_own() -> None:
    (rotten, whole), _ = read(b"\x80\x81 rotten" * 9 + zones.dump(zones.log(5)))
    assert rotten.source.torn and rotten.raw == b"\x80\x81 rotten" * 9
    assert whole.text.encode() == zones.log(5)


def test_many_bombs_in_one_body_stay_bounded() -> None:
    bomb = zones.dump(b"Panic#1 Part1\n" + bytes(1 << 22), flag="C")
    found, _ = read(bomb * (65000 // len(bomb)), 65536)
    assert sum(len(record.text) for record in found) < 1 << 20


def test_zlib_wrapped_deflate_of_old_kernels() -> None:
    body = b"====1700000000.42-C\n" + zones.deflated(zones.log(), wrapped=True)
    assert body[20:22] == b"\x48\x89"
    (record,), _ = read(body)
    assert record.text.encode() == zones.log() and not record.source.truncated


def test_a_dump_behind_an_older_one_that_was_not_zapped() -> None:
    first, second = zones.log(3, "Oops#1 Part1"), zones.log(5, "Panic#2 Part1")
    found, _ = read(zones.dump(first, "1700000000.1", "D")
                    + zones.dump(second, "1700000009.2", "D"))
    assert [record.text.encode() for record in found] == [first, second]


def test_a_plain_dump_whose_letter_lost_a_bit_is_still_plain() -> None:
    (record,), _ = read(zones.dump(zones.log(5)).replace(b"-D\n", b"-C\n", 1))
    assert record.text.encode() == zones.log(5) and record.source.compression is None


def test_a_header_like_line_within_a_text_does_not_split_it() -> None:
    text = zones.log(3) + b"====1700000000.1\nnot a dump\n" + b"====12.34-D\nneither\n"
    (record,), _ = read(zones.dump(text))
    assert record.text.encode() == text


def test_a_lost_header_line_still_shows_the_text() -> None:
    (record,), problems = read(zones.log())
    assert record.time is None and record.source.torn and problems


@pytest.mark.parametrize(("size", "cut"), [(CAPACITY, True), (CAPACITY - 25, False)])
def test_a_full_zone_lost_the_last_bytes_of_plain_text(size: int, cut: bool) -> None:
    """The header line is not counted when the log is made to fit (ramoops_pstore_write)."""
    (record,), problems = read(zones.dump(zones.log(200))[:size])
    assert record.source.truncated is cut and bool(problems) is cut


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_compressed_record_gives_a_prefix(data: st.DataObject) -> None:
    body = bytearray(zones.dump(zones.log(200), flag="C"))
    at = data.draw(st.integers(24, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    (record,), _ = read(bytes(body))
    if record.source.truncated:
        assert record.raw == bytes(body[body.index(b"\n") + 1:])
    else:
        assert len(record.text) > 0


LARGE_LOG = b"".join(b"<4>[%12.6f] caf\xc3\xa9 %d\n" % (n / 7, n * 7919 % 10007)
                     for n in range(15000))


def test_a_large_log_with_an_accent_is_shown_whole() -> None:
    text = b"Panic#1 Part1\n" + LARGE_LOG
    region = zones.zone(1 << 18, zones.dump(text, flag="C")) + bytes(3 << 18)
    assert ramoops.records(region).records[0].text == text.decode() and len(text) > 1 << 18


def test_of_a_log_that_is_cut_the_end_is_shown() -> None:
    """Its first line, too; the panic is at the end."""
    text = b"Panic#1 Part1\n" + LARGE_LOG
    left = Allowance(600_000)
    (record,), (problem,) = kernel_dump.records(zones.dump(text, flag="C"), Source("ramoops"),
                                                "zone", 1 << 18, left)
    title, rest = record.text.encode().split(b"\n", 1)
    assert title == b"Panic#1 Part1" and text.endswith(b"\n" + rest) and rest
    assert kernel_dump.cost(record) < 300_000 and record.source.truncated and record.raw
    assert "the first line and the end are shown" in problem.what


@pytest.mark.parametrize("filler", [b"\0", b"\1", b"\xff"])
@pytest.mark.parametrize(("size", "count"), [(1 << 20, 1), (65536, 16), (4096, 256)])
def test_bombs_take_no_more_than_eight_times_the_region(size: int, count: int,
                                                        filler: bytes) -> None:
    bomb = zones.dump(b"Panic#1 Part1\n" + filler * (1 << 23), flag="C")
    body = (bomb * (size // len(bomb) + 1))[:size - 12]
    region = zones.zone(size, body) * count
    ramoops.records(region[:size])
    tracemalloc.start()
    try:
        assert ramoops.records(region).records
        assert tracemalloc.get_traced_memory()[1] + len(region) < 8 * len(region)
    finally:
        tracemalloc.stop()


def test_rows_in_memory_full_of_them_are_not_tried_one_by_one() -> None:
    """A row is searched for once, however long it is."""
    searched: list[int] = []

    class Memory(bytes):
        def find(self, *args: Any) -> int:
            searched.append(super().find(*args))
            return searched[-1]

    data = Memory(b"=" * 6400 + b"\n====12.000345-D\nPanic#1 Part1\n")
    (match,) = kernel_dump.lines(data)
    assert match.start() == data.index(b"\n") + 1 and match[1] == b"12"
    assert len(searched) == 2


@pytest.mark.parametrize("blank", [bytes(64), b"\xff" * 64])
def test_where_a_text_ends(blank: bytes) -> None:
    text = "<6>[    1.000000] caf\u00e9\n".encode() * 9 + b"<6>[    1.0\xff0000] a\n"
    assert kernel_dump.text_end(b"ab" + text + blank, 2, len(text) + 66) == len(text) + 2
