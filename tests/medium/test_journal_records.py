"""Journal entries in the collection: as records, joined with their sources, erased alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lastlog_py import cache, service
from lastlog_py.archive_file import Entry, pack
from lastlog_py.diagnose import explain_all
from lastlog_py.errors import LastlogError
from lastlog_py.medium import journal_device, ramoops
from lastlog_py.medium.collect import collect, erase, in_one_zone
from lastlog_py.medium.geometry import Geometry
from lastlog_py.medium.journal_device import Journal
from lastlog_py.record import Boot, Record
from tests import zones
from tests.machine import Machine
from tests.medium.journals import NOW

ZONE, RING = 8192, 32768
LOG = zones.log(30)
DUMP = zones.zone(ZONE, zones.dump(LOG))


@pytest.fixture
def region(machine: Machine) -> Path:
    """A file in the region's place: one zone with a crash in it, and a journal."""
    file = machine.write("/region.bin", DUMP + bytes(RING))
    machine.configure(file=file, journal_size=RING, record_size=ZONE)
    return file


def journal(machine: Machine) -> Journal:
    return journal_device.find(machine.site())


def crash() -> Record:
    """The record in the zone, explained, and with the boot that crashed."""
    (bare,) = ramoops.records(DUMP, [Geometry(ZONE)]).records
    (record,) = explain_all([bare])
    return record._replace(boot=Boot("b-1", 7, "24.10.2", "6.6.93"))


def move(machine: Machine, record: Record) -> None:
    """As a harvest does it."""
    journal(machine).append(record.kind, pack(Entry(record)), NOW, 7, record.title, "record")


def records(machine: Machine) -> list[Record]:
    return [each.record for each in collect(machine.site()).found]


def test_a_log_is_a_record_of_its_boot(machine: Machine, region: Path) -> None:
    region.write_bytes(bytes(ZONE + RING))
    journal(machine).append("log", b"line\n", NOW, 7, "system log")
    journal(machine).append("boot", b"{}", NOW, 7)
    (record,) = records(machine)
    assert (record.kind, record.text, record.title, record.time, record.time_trusted,
            record.uptime) == ("log", "line\n", "system log", NOW.time, True, NOW.uptime)
    assert record.boot == Boot(None, 7, None, None) and record.id.startswith("l-")
    assert (record.source.medium, record.source.offset, record.source.size) == ("journal", ZONE, 5)
    assert explain_all([record])[0].title == "system log"


def test_without_a_label_the_kind_is_the_title(machine: Machine, region: Path) -> None:
    journal(machine).append("log", b"line\n", NOW, 0)
    found = next(each for each in records(machine) if each.kind == "log")
    assert found.boot is None and explain_all([found])[0].title


def test_a_kind_of_the_future_is_a_log(machine: Machine, region: Path) -> None:
    journal(machine).append("telemetry", b"line\n", NOW, 0)
    assert {record.kind for record in records(machine)} == {"kernel", "log"}


def test_what_was_moved_and_not_yet_erased_is_one_record(machine: Machine, region: Path) -> None:
    moved = crash()
    move(machine, moved)
    (found,) = collect(machine.site()).found
    assert found.record.id == moved.id and found.record.boot == moved.boot
    assert [place.medium for place in found.places] == ["ramoops", "journal"]
    erase(machine.site(), found.places)
    assert collect(machine.site()).found == []


def test_what_was_moved_is_the_record_that_it_was(machine: Machine, region: Path) -> None:
    moved = crash()
    move(machine, moved)
    region.write_bytes(bytes(ZONE) + region.read_bytes()[ZONE:])
    (record,) = records(machine)
    assert record == moved
    assert [place.medium for place in collect(machine.site()).found[0].places] == ["journal"]


def test_a_torn_copy_never_passes_for_the_whole_one(machine: Machine, region: Path) -> None:
    """Else the harvest would take it for a copy that stands, and erase the source."""
    moved = crash()
    move(machine, moved)
    whole = region.read_bytes()
    head = whole.index(b"\x1f\x8b", ZONE)
    for at in (head + 400, head + 3):
        broken = bytearray(whole)
        broken[at:at + 64] = bytes(64)
        region.write_bytes(broken)
        found = collect(machine.site())
        first, torn = found.found
        assert first.record.id == moved.id
        assert torn.record.id != moved.id and torn.record.source.torn
        assert [place.medium for place in first.places] == ["ramoops"]
        assert any(problem.where == f"journal, offset {ZONE}" for problem in found.problems)
        erase(machine.site(), torn.places)
        assert [each.record.id for each in collect(machine.site()).found] == [moved.id]


def test_a_damaged_header_is_shown_and_can_be_cleared(machine: Machine, region: Path) -> None:
    journal(machine).append("log", b"what it said\n", NOW, 7, "system log")
    region.write_bytes(region.read_bytes().replace(b"seq=1", b"seq=2"))
    found = collect(machine.site())
    damaged = found.found[1]
    assert damaged.record.text == "what it said\n\n" and damaged.record.source.torn
    assert "header is damaged" in damaged.record.title and damaged.record.time is None
    assert [(problem.where, problem.severity) for problem in found.problems] == [
        (f"journal, offset {ZONE}", "warning")]
    erase(machine.site(), damaged.places)
    assert collect(machine.site()).problems == []


def test_one_of_many_is_erased_alone(machine: Machine, region: Path) -> None:
    for number in range(3):
        journal(machine).append("log", b"%d\n" % number, NOW, 0)
    found = {each.record.text: each for each in collect(machine.site()).found}
    assert not in_one_zone(found["0\n"].places, found["1\n"].places)
    erase(machine.site(), found["1\n"].places)
    erase(machine.site(), found["1\n"].places)              # gone: that is all right
    assert {"0\n", "2\n"} < {record.text for record in records(machine)}
    assert "1\n" not in {record.text for record in records(machine)}


def test_a_newer_one_in_the_same_place_stays(machine: Machine, region: Path) -> None:
    journal(machine).append("log", b"old\n", NOW, 0)
    old = collect(machine.site()).found[1]
    region.write_bytes(DUMP + bytes(RING))
    journal(machine).append("log", b"new\n", NOW, 0)
    with pytest.raises(LastlogError, match="has changed"):
        erase(machine.site(), old.places)
    assert "new\n" in {record.text for record in records(machine)}


def test_an_unusable_journal_is_said_once(machine: Machine) -> None:
    machine.mtd(DUMP + bytes(RING))
    machine.configure(journal_size=RING)
    assert not any(problem.where == "journal" for problem in collect(machine.site()).problems)
    machine.ramoops(ZONE + RING, ZONE)
    said = [problem for problem in collect(machine.site()).problems if problem.where == "journal"]
    assert len(said) == 1 and "reaches into the journal" in said[0].what


def test_answers_are_made_anew_after_an_append(machine: Machine, region: Path) -> None:
    config = machine.config()
    before = cache.fingerprint(config)
    assert cache.fingerprint(config) == before
    journal(machine).append("log", b"line\n", NOW, 0)
    assert cache.fingerprint(config) != before


# --- a board with nothing but /dev/pmsg0


@pytest.fixture
def pmsg(machine: Machine) -> Machine:
    """The boot after one in which lastlog and somebody else wrote to pmsg."""
    zone = machine.write("/dev/pmsg0", b"")
    where = journal(machine)
    where.append("log", b"line\n", NOW, 7, "system log")
    zone.write_bytes(zone.read_bytes() + b"somebody else's line\n")
    where.append("boot", b"{}", NOW, 7)
    where.append("log", b"other\xff\n", NOW, 7)
    machine.pstore("pmsg-ramoops-0", zone.read_bytes())
    machine.write("/dev/pmsg0", b"")
    machine.ramoops(1 << 20, 0x10000, pmsg=0x4000)
    return machine


def test_its_records_are_found_in_the_next_boot(pmsg: Machine) -> None:
    found = records(pmsg)
    assert [(record.kind, record.text, record.title) for record in found] == [
        ("log", "line\n", "system log"), ("log", "other\ufffd\n", ""),
        ("pmsg", "somebody else's line\n", "")]
    assert found[0].boot == Boot(None, 7, None, None) and found[0].time == NOW.time
    assert {record.source.medium for record in found} == {"pstore"}


def test_nothing_remains_where_nobody_else_wrote(pmsg: Machine) -> None:
    file = pmsg.root / "sys/fs/pstore/pmsg-ramoops-0"
    file.write_bytes(file.read_bytes().replace(b"somebody else's line\n", b""))
    assert {record.kind for record in records(pmsg)} == {"log"}


def test_a_zone_that_wrapped_keeps_what_is_whole(pmsg: Machine) -> None:
    file = pmsg.root / "sys/fs/pstore/pmsg-ramoops-0"
    file.write_bytes(file.read_bytes()[40:])
    found = records(pmsg)
    assert [record.kind for record in found] == ["log", "pmsg"]
    assert found[1].text.endswith("line\n\nsomebody else's line\n")


def test_they_are_cleared_together_or_not_at_all(pmsg: Machine) -> None:
    config = pmsg.config()
    seen: list[dict[str, Any]] = service.list_records(config)["records"]
    first = next(each["id"] for each in seen if each["title"] == "system log")
    reply = service.clear(config, "memory", [first], force=True)
    assert reply["cleared"] == [] and "in one zone with" in reply["kept"][0]["why"]
    assert (pmsg.root / "sys/fs/pstore/pmsg-ramoops-0").exists()
    reply = service.clear(config, "memory", force=True)
    assert len(reply["cleared"]) == 3 and reply["kept"] == []
    assert service.list_records(config)["records"] == []


def test_saved_and_cleared_as_any_record(pmsg: Machine) -> None:
    config = pmsg.config()
    assert len(service.save(config)["saved"]) == 3
    assert len(service.clear(config)["cleared"]) == 3
    assert {each["title"] for each in service.list_records(config, "log")["records"]} >= {
        "system log"}
