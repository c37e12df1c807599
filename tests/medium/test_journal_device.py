"""medium/journal_device.py: the journal in a region's file, in an MTD device, in /dev/pmsg0."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from lastlog_py.boot import Moment
from lastlog_py.errors import LastlogError
from lastlog_py.medium import journal, journal_device
from lastlog_py.medium.journal_device import Journal, find, left_behind
from tests.archive import cut
from tests.machine import Machine
from tests.medium.journals import NOW, log, region_file, scanned, told

ZONES, RING = 8192, 16384


@pytest.fixture
def region(machine: Machine) -> Path:
    """A file in the region's place: ramoops' part is full of 0xaa, the journal behind it blank."""
    file = machine.write("/region.bin", b"\xaa" * ZONES + bytes(RING))
    machine.configure(file=file, journal_size=RING)
    return file


# --- a file in the region's place


def test_appended_is_found_again_behind_ramoops_part(machine: Machine, region: Path) -> None:
    where = find(machine.site())
    assert (where.what, where.start, where.capacity) == ("region", ZONES, RING)
    first = where.append("log", b"hello\n", NOW, 7, "greeting")
    second = where.append("coredump", b"core", NOW, 7, form="record")
    found = find(machine.site()).read()
    assert [told(each) for each in found.entries] == [told(first), told(second)]
    assert (first.sequence, first.label, first.time, first.uptime) == (
        1, "greeting", 1795000000.5, 123.45)
    assert [(e.offset, e.size, e.checksum) for e in found.entries] == [
        (e.offset, e.size, e.checksum) for e in (first, second)]
    assert found.problems == []
    assert region.read_bytes()[:ZONES] == b"\xaa" * ZONES and region.stat().st_size == ZONES + RING


def test_only_the_record_itself_is_erased_and_twice_is_done(machine: Machine,
                                                            region: Path) -> None:
    where = find(machine.site())
    entries = [where.append("log", b"%d\n" % number, NOW, 0) for number in range(3)]
    where.erase(entries[1])
    where.erase(entries[1])
    left = [entry.body for entry in where.read().entries]
    assert left == [b"0\n", b"2\n"]
    newer = where.append("log", b"9\n", NOW, 0)
    assert newer.sequence == 4
    newer.offset = entries[0].offset                    # somebody else is there by now
    where.erase(newer)
    assert len(where.read().entries) == 3


def test_a_torn_one_can_be_erased(machine: Machine, region: Path) -> None:
    where = find(machine.site())
    where.append("log", b"text\n", NOW, 0)
    region.write_bytes(region.read_bytes().replace(b"seq=1", b"seq=8"))
    (torn,) = where.read().entries
    assert torn.torn
    where.erase(torn)
    assert where.read().entries == [] and where.read().problems == []


def test_what_does_not_fit_is_refused_and_nothing_goes_for_it(machine: Machine,
                                                              region: Path) -> None:
    where = find(machine.site())
    where.append("log", b"stays\n", NOW, 0)
    before = region.read_bytes()
    with pytest.raises(LastlogError, match="at most 16384") as failed:
        where.append("log", bytes(RING), NOW, 0)
    assert failed.value.code == "no-space" and region.read_bytes() == before
    most = where.room()
    where.append("log", b"x" * most, NOW, 1, "l" * 300)
    (only,) = where.read().entries
    assert len(only.body) == most


def test_room_is_what_the_newest_crash_leaves(machine: Machine, region: Path) -> None:
    where = find(machine.site())
    where.append("log", bytes(6000), NOW, 0)
    where.append("kernel", bytes(1000), NOW, 0)
    most = where.room()
    assert 7000 < most < 9000
    where.append("log", b"x" * most, NOW, 0)
    assert [entry.kind for entry in where.read().entries] == ["log", "kernel", "log"]
    with pytest.raises(LastlogError):
        where.append("kernel", bytes(most + 1000), NOW, 0)


def test_what_programs_do_costs_neither_crashes_nor_logs(tmp_path: Path) -> None:
    """Of one kind no more than its share; the oldest of it go first, the newest is always there."""
    path = tmp_path / "ring"
    path.write_bytes(bytes(131072))
    ring, chance = Journal("region", str(path), 0, 131072, True), random.Random(3)
    kept = [ring.append("kernel", bytes([48 + at]) * 8000, NOW, 1) for at in range(3)]
    kept += [ring.append("log", b"stored log\n" * 900, NOW, 1), ring.append("boot", b"b", NOW, 1)]
    newest = []
    for at in range(60):
        body = b"%d " % at + b"x" * chance.choice((500, 9000, 32000))
        newest.append(ring.append("coredump", body, NOW, 1, spare_crashes=True, share=2).sequence)
        there = ring.read().entries
        dumps = [entry for entry in there if entry.kind == "coredump"]
        assert [told(entry) for entry in there if entry.kind != "coredump"] == list(map(told, kept))
        assert sum(entry.size for entry in dumps) <= 65536
        assert [entry.sequence for entry in dumps] == newest[-len(dumps):]


def test_a_record_larger_than_its_share_is_alone(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    path.write_bytes(bytes(8192))
    ring = Journal("region", str(path), 0, 8192, True)
    for size in (1000, 6000):
        ring.append("coredump", bytes(size), NOW, 1, share=2)
    assert [len(entry.body) for entry in ring.read().entries] == [6000]


def test_room_beside_all_crashes(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    path.write_bytes(bytes(8192))
    ring = Journal("region", str(path), 0, 8192, True)
    for kind, size in (("kernel", 1500), ("log", 4000), ("kernel", 1000)):
        ring.append(kind, bytes(size), NOW, 1)
    room = ring.room(spare_crashes=True)
    assert room < ring.room() < 8192
    with pytest.raises(LastlogError, match="at most"):
        ring.append("coredump", bytes(room + 500), NOW, 1, spare_crashes=True)
    ring.append("coredump", bytes(room), NOW, 1, spare_crashes=True)
    assert [entry.kind for entry in ring.read().entries] == ["kernel", "kernel", "coredump"]


def test_memory_that_keeps_nothing(machine: Machine, region: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal, "_put", lambda *_: None)
    with pytest.raises(LastlogError, match="did not keep") as failed:
        find(machine.site()).append("log", b"x", NOW, 0)
    assert failed.value.code == "io"


@pytest.mark.parametrize("size", [0, 63])
def test_a_region_without_a_journal_part(machine: Machine, size: int) -> None:
    machine.configure(file=machine.write("/region.bin", bytes(8192)), journal_size=size)
    machine.write("/dev/pmsg0", b"")                    # of another system than the file's
    with pytest.raises(LastlogError, match="set aside") as failed:
        find(machine.site())
    assert failed.value.code == "no-region" and "journal_size" in failed.value.hint


def test_a_file_that_went_away(machine: Machine, region: Path) -> None:
    where = find(machine.site())
    region.unlink()
    for act in (where.read, lambda: where.append("log", b"", NOW, 0)):
        with pytest.raises(LastlogError, match="No such file") as failed:
            act()
        assert failed.value.code == "io"


# --- others who write


def _appends(path: str, size: int, name: int, count: int) -> None:
    where = Journal("region", path, 0, size, True)
    for number in range(count):
        where.append("log", b"%d %d\n" % (name, number), NOW, name)


def test_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    where = region_file(tmp_path / "ring", 65536)
    forked = multiprocessing.get_context("fork")
    writers = [forked.Process(target=_appends, args=(where.path, 65536, name, 40))
               for name in range(1, 5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    entries = where.read().entries
    assert [entry.sequence for entry in entries] == list(range(1, 161))
    assert {entry.body for entry in entries} == {
        b"%d %d\n" % (name, number) for name in range(1, 5) for number in range(40)}


def _hold(path: str, ready: object) -> None:
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    ready.set()                                         # type: ignore[attr-defined]
    time.sleep(60)


def test_a_lock_is_waited_for_and_a_dead_owner_has_none(tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    where = region_file(tmp_path / "ring", 4096)
    first = where.append("log", b"before\n", NOW, 0)
    forked = multiprocessing.get_context("fork")
    ready = forked.Event()
    owner = forked.Process(target=_hold, args=(where.path, ready))
    owner.start()
    try:
        assert ready.wait(10)
        monkeypatch.setattr(journal_device, "PATIENCE", 0.1)
        for act in (lambda: where.append("log", b"x", NOW, 0), lambda: where.erase(first)):
            with pytest.raises(LastlogError, match="Another process") as failed:
                act()
            assert failed.value.code == "busy"
        assert len(where.read().entries) == 1           # who only reads does not wait for long
    finally:
        assert owner.pid
        os.kill(owner.pid, signal.SIGKILL)
        owner.join()
    monkeypatch.setattr(journal_device, "PATIENCE", 5.0)
    assert where.append("log", b"after\n", NOW, 0).sequence == 2


@pytest.mark.skipif(not cut.is_possible(), reason="processes may not be traced here")
def test_a_process_cut_short_before_every_system_call(tmp_path: Path) -> None:
    """As with the writes one by one, but the process itself: what stays is whole all along."""
    where = region_file(tmp_path / "ring", 2048)
    for number in range(4):
        where.append("log", b"%d " % number * 100, NOW, 1)
    before = Path(where.path).read_bytes()

    def step() -> None:
        where.append("log", b"new " * 100, NOW, 1)

    step()
    kept = scanned(Path(where.path).read_bytes())[:-1]
    assert len(kept) >= 2
    for calls in range(1, 200):
        Path(where.path).write_bytes(before)
        was_cut = cut.cut(step, calls)
        after = scanned(Path(where.path).read_bytes())
        assert [each for each in after if each in kept] == kept
        if not was_cut:
            break
    assert calls > 10 and len(after) == len(kept) + 1


# --- an MTD device, and ramoops beside it


@pytest.mark.parametrize(("address", "at", "size", "usable"), [
    (None, 0, 0, True),                     # no ramoops
    (None, 0x7000000, ZONES, True),         # ramoops as it should be
    (None, 0x7000000, ZONES + 1, False),
    (0x7000000, 0x7000000, ZONES, True),
    (0x7000000, 0x7000000, ZONES + RING, False),
    (0x7000000, 0x7000000 + ZONES, 4096, False),
    (0x7000000, 0x7000000 + ZONES + RING, 65536, True),     # elsewhere
])
def test_ramoops_must_not_reach_into_it(machine: Machine, address: int | None, at: int, size: int,
                                        usable: bool) -> None:
    machine.mtd(bytes(ZONES + RING))
    machine.configure(journal_size=RING, **({} if address is None else {"address": address}))
    if at:
        machine.ramoops(size, 4096, address=at)
    if usable:
        find(machine.site()).append("log", b"x", NOW, 0)
        return
    with pytest.raises(LastlogError, match="reaches into the journal") as failed:
        find(machine.site())
    assert failed.value.code == "no-region"


# --- pmsg alone


def test_neither_region_nor_pmsg(machine: Machine) -> None:
    with pytest.raises(LastlogError) as failed:
        find(machine.site())
    assert failed.value.code == "no-region" and failed.value.hint


def test_pmsg_now_and_in_the_next_boot(machine: Machine) -> None:
    zone = machine.write("/dev/pmsg0", b"")
    machine.ramoops(1 << 20, 0x10000, pmsg=0x4000)
    where = find(machine.site())
    assert (where.what, where.capacity) == ("pmsg", 0x4000 - 0x800 - 12)
    assert where.read().entries == [] and left_behind(machine.site()).entries == []
    first = where.append("log", b"one\n", NOW, 7, "first")
    zone.write_bytes(zone.read_bytes() + b"somebody else's line\n")
    second = where.append("log", b"two\0\n", NOW, 7)
    machine.pstore("pmsg-ramoops-0", zone.read_bytes())
    found = left_behind(machine.site())
    assert [told(entry) for entry in found.entries] == [told(first), told(second)]
    with pytest.raises(LastlogError, match="only be written"):
        where.erase(found.entries[0])


def test_pmsg_has_its_bounds(machine: Machine) -> None:
    zone = machine.write("/dev/pmsg0", b"")
    where = find(machine.site())
    where.append("log", b"x" * where.room(), NOW, 1, "l" * 300)
    size = len(zone.read_bytes())
    assert size <= where.capacity < 4096
    with pytest.raises(LastlogError) as failed:
        where.append("log", bytes(4096), NOW, 0)
    assert failed.value.code == "no-space" and len(zone.read_bytes()) == size


@pytest.mark.parametrize("raw", [b"\0\0\x20\0", b"\0\0\0\0\0\0\x20\0"])
def test_pmsgs_size_from_the_device_tree(machine: Machine, raw: bytes) -> None:
    machine.write("/dev/pmsg0", b"")
    machine.write("/proc/device-tree/reserved-memory/ramoops@42ff0000/pmsg-size", raw)
    assert find(machine.site()).capacity == 0x2000 - 0x400 - 12


def test_pmsg_that_takes_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.write("/dev/pmsg0", b"")
    where = find(machine.site())
    monkeypatch.setattr(os, "write", lambda _fd, data: len(data) - 1)
    with pytest.raises(LastlogError, match="only a part"):
        where.append("log", b"x", NOW, 0)


def test_the_ring_is_read_as_it_is(tmp_path: Path) -> None:
    """What the device hands out is what the format module makes of these bytes."""
    where = region_file(tmp_path / "ring", 4096)
    for number in range(30):
        entry = log(number)
        where.append(entry.kind, entry.body, NOW, 1)
    ring = Path(where.path).read_bytes()
    assert scanned(ring) == [told(entry) for entry in where.read().entries]
    assert len(ring) == 4096 and journal.scan(ring).problems == []


def test_a_clock_before_1970_makes_no_header_that_nobody_reads(tmp_path: Path) -> None:
    where = region_file(tmp_path / "ring", 4096)
    where.append("log", b"text\n", Moment(-5.0, False, 1.0), 0)
    (entry,) = where.read().entries
    assert (entry.time, entry.body, entry.torn) == (0.0, b"text\n", False)
