"""medium/joining.py: dumps that efi and erst store in several files."""

from __future__ import annotations

import pytest

from lastlog_py.diagnose import explain
from lastlog_py.medium import joining
from lastlog_py.record import Record, Source, captured
from tests import samples

LINES = samples.kernel_text("s01_plain", "dmesg-ramoops-0").decode().splitlines(keepends=True)


SECOND = 1700000777 << 32


def part(number: int, lines: list[str], reason: str = "Panic#2", zone: int | None = None,
         time: float | None = 1700000000.5, medium: str = "pstore") -> Record:
    body = f"{reason} Part{number}\n" + "".join(lines)
    return captured("kernel", body.encode(), Source(medium, zone, size=len(body)), time=time)


def efi(number: int, lines: list[str], second: int = 1700000000) -> Record:
    """efi-pstore tells the time by its names only."""
    return part(number, lines, zone=(second * 100 + number) * 1000 + 2, time=None)


def erst(number: int, lines: list[str], first: int = 1700000000 << 32) -> Record:
    """Parts are written one after the other, and take the next numbers."""
    return part(number, lines, zone=first + number, time=None)


def whole(records: list[Record]) -> list[Record]:
    return [joining.joined([records[index] for index in group])
            for group in joining.groups(records)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("make", [part, efi, erst])
def test_the_parts_of_a_dump_are_one_record(make: object, order: tuple[int, ...]) -> None:
    body = LINES[1:]
    pieces = [make(3, body[:50]), make(2, body[50:90]), make(1, body[90:])]  # type: ignore[operator]
    (record,) = whole([pieces[index] for index in order])
    assert record.text == "Panic#2 Part3\n" + "".join(body)
    assert record.source.size == sum(each.source.size for each in pieces)
    assert not record.source.torn and record.time == pieces[0].time
    alone = captured("kernel", "".join(LINES).encode(), Source("pstore"))
    assert explain(record).signature == explain(alone).signature


def test_a_missing_part_makes_it_torn() -> None:
    (record,) = whole([part(3, LINES[1:9]), part(1, LINES[20:])])
    assert record.source.torn and record.text.startswith("Panic#2 Part3\n")
    (record,) = whole([part(2, LINES[1:9])])
    assert record.text.startswith("Panic#2 Part2\n")


@pytest.mark.parametrize("other", [
    part(2, LINES[1:9], "Panic#3"), part(2, LINES[1:9], "Oops#2"),
    part(2, LINES[1:9], time=1700000777.0), part(2, LINES[1:9], medium="ramoops"),
    captured("kernel", b"no title", Source("pstore")),
    captured("console", b"Panic#2 Part2\n", Source("pstore"))])
def test_what_is_not_of_one_dump(other: Record) -> None:
    assert len(whole([part(1, LINES[9:]), other])) == 2


@pytest.mark.parametrize("make", [efi, erst])
def test_dumps_of_several_boots_are_told_apart_by_their_numbers(make: object) -> None:
    """erst's count does not begin at 0 with each dump."""
    again = {efi: 1700000777, erst: SECOND - SECOND % -10**5 - 2}[make]  # type: ignore[index]
    pieces = [make(2, LINES[1:9]), make(1, LINES[9:]),      # type: ignore[operator]
              make(1, LINES[9:], again), make(2, LINES[2:9], again)]    # type: ignore[operator]
    assert [record.text.count("\n") for record in whole(pieces)] == [len(LINES), len(LINES) - 1]


def test_a_dump_that_is_in_several_files_is_there_once() -> None:
    timed, later = part(1, LINES), part(1, LINES, time=1700000777.0)
    copied, other = part(1, LINES, time=None), part(1, LINES[1:], time=None)
    records = dict(enumerate([copied, timed, other, timed, later, other]))
    assert joining.once(records) == {1: timed, 2: other, 4: later}
    assert joining.once({3: copied, 5: copied}) == {3: copied}


def test_a_copy_of_what_is_damaged_unnoticed_is_the_same_dump() -> None:
    timed = part(1, LINES)
    torn = captured("kernel", timed.text.encode(), timed.source, time=timed.time, raw=b"packed")
    copied, packed, other = (captured("kernel", text.encode(), timed.source, raw=raw)
                             for text, raw in ((timed.text, None), (timed.text, b"packed"),
                                               (timed.text, b"other")))
    assert list(joining.once(dict(enumerate([torn, copied, packed, other])))) == [0, 3]
    unread = [captured("kernel", b"", timed.source, time=1.0, raw=b"x"),
              captured("kernel", b"", timed.source, raw=b"y")]
    assert list(joining.once(dict(enumerate(unread)))) == [0, 1]


def test_what_cannot_be_told_apart_is_left_alone() -> None:
    pieces = [part(1, ["a\n"]), part(1, ["b\n"]), part(2, ["c\n"])]
    assert whole(pieces) == pieces


def test_the_bytes_are_kept_where_text_cannot_stand_for_them() -> None:
    odd = captured("kernel", b"Panic#2 Part2\n\x80\n", Source("pstore"), time=1700000000.5)
    (record,) = whole([part(1, ["x\n"]), odd])
    assert record.raw == b"Panic#2 Part2\n\x80\nPanic#2 Part1\nx\n"
