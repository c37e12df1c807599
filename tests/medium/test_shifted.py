"""medium/shifted.py: records that begin at no multiple of a page."""

from __future__ import annotations

import random

import pytest

from lastlog_py.medium import contents, shifted
from tests import foreign, samples, zones
from tests.foreign import PAGE, log, slot, zone

REGIONS = {
    "mtdoops": slot(log(30), 1) + slot(log(31), 2) + foreign.unused(),
    "mtdoops 1": slot(log(300), 7, 1, endian=">", size=4 * PAGE)
    + slot(log(9), 8, 1, endian=">", size=4 * PAGE),
    "pstore_zone": zone("pmsg", b"a program's text\n" * 9) + zone("kernel", foreign.dump(
        zones.log(60))) + zone("kernel", foreign.dump(zones.log(61))),
    "console": zone("console", b"[    1.000000] x\n" * 9, endian=">"),
    "crashlog": foreign.crashlog(foreign.crashlog_file(log(30), log(5)), endian=">"),
    **{name: samples.region(name) for name in ("t03_mtdoops_16k", "t05_mips_mtdoops",
                                               "c14_pstore_blk", "b02_blk_deleted",
                                               "b08_i386_blk_none")}}


@pytest.mark.parametrize("name", REGIONS)
@pytest.mark.parametrize("before", [1, 100, PAGE - 1, 3 * PAGE + 18])
@pytest.mark.parametrize("blank", [True, False])
def test_records_are_found_wherever_their_pages_begin(name: str, before: int, blank: bool) -> None:
    region = REGIONS[name]
    head = bytes(before) if blank else random.Random(before).randbytes(before)
    where_it_should = contents.read(region, recover=True).reading
    found = contents.read(head + region + b"more", recover=True).reading
    assert [(record.id, (record.source.offset or 0) - before) for record in found.records] == \
        [(record.id, record.source.offset) for record in where_it_should.records]
    assert {name: [(offset - before, size) for offset, size in extents]
            for name, extents in found.extents.items()} == where_it_should.extents
    first = min(offset for places in found.extents.values() for offset, _ in places)
    (said,) = [problem.what for problem in found.problems if "begin at offset" in problem.what]
    assert f" {first:#x}:" in said


def test_a_live_region_and_one_of_the_machines_own_begin_where_they_should() -> None:
    region = b"x" + REGIONS["mtdoops"]
    for live in (False, True):
        found = contents.read(region, live=live).reading.records
        assert not any(record.source.medium == "mtdoops" for record in found)


def told_of(marks: bytes) -> bytes:
    return (b"<4>[    1.000000] it says " + marks + b" there\n") * 99


@pytest.mark.parametrize("data", [
    random.Random(2).randbytes(1 << 20), bytes(PAGE), b"", b"\xff" * 99,
    told_of(b"5d005d00 a1eedead 4dfc3ae5 FBGC CBGC"), told_of(b"\0\x5d\0\x5d"),
    told_of(b"\x5d\0\x5d\0\0\0\0\0"), told_of(b"\xad\xde\xee\xa1 Time: soon"),
    told_of(b"\xe5\x3a\xfc\x4d"), told_of(b"FBGC"), "it says ]] there\n".encode("utf-16-le") * 99,
    *(mark + random.Random(3).randbytes(99) for mark, _ in shifted.MARKS)],
    ids=range(11 + len(shifted.MARKS)))
def test_marks_alone_are_no_records(data: bytes) -> None:
    assert [record for record in contents.read(b"x" + data, recover=True).reading.records
            if record.source.medium != "ramoops"] == []


def test_no_more_places_are_looked_at_than_tell_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    monkeypatch.setattr(shifted, "_begins", lambda _data, offset: looked_at.append(offset))
    assert shifted.base_of(b"x" + b"\0\x5d\0\x5d" * (4 * shifted.MOST_LOOKED_AT)) == 0
    assert 0 < len(looked_at) <= shifted.MOST_LOOKED_AT * len(shifted.MARKS)
