"""selftest.py: the retention self-test, on made-up memories that fade in every way."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lastlog_py import selftest, service
from lastlog_py.boot import moment
from lastlog_py.errors import LastlogError
from lastlog_py.medium import collect, device, glance, journal_device
from lastlog_py.record import Record
from tests import samples, zones
from tests.archive.cut import cut, is_possible
from tests.machine import Machine

RECORD, CONSOLE, JOURNAL = 0x4000, 0x8000, 0x8000
COUNT = 6
RAMOOPS = COUNT * RECORD + CONSOLE
SIZE = RAMOOPS + JOURNAL
BOOT_ID = "/proc/sys/kernel/random/boot_id"
CONSOLE_TEXT = b"[    0.000000] Linux version 6.6\n" * 40


@pytest.fixture
def router(machine: Machine) -> Machine:
    """Ramoops runs on phram memory, nothing is captured."""
    return running(machine)


def running(machine: Machine, dumps: tuple[bytes, ...] = (), ecc: int = 0) -> Machine:
    """The same with `dumps` in the first zones."""
    texts = [*dumps, *[b""] * (COUNT - len(dumps))]
    region = b"".join(zones.zone(RECORD, text) for text in texts)
    machine.mtd(region + zones.zone(CONSOLE, CONSOLE_TEXT) + bytes(JOURNAL))
    machine.ramoops(RAMOOPS, RECORD, console=CONSOLE, ecc=ecc)
    machine.configure(journal_size=JOURNAL)
    machine.write(BOOT_ID, "first\n")
    return machine


def memory(machine: Machine) -> Path:
    return Path(device.find(machine.site()).path)


def rebooted(machine: Machine, fade: Callable[[bytes], bytes] = bytes) -> Machine:
    """The next boot: `fade` is what happened to the memory; then the driver renewed its zones."""
    machine.write(BOOT_ID, f"{time.monotonic_ns()}\n")
    before = memory(machine).read_bytes()
    after = bytearray(fade(before))
    if device.find(machine.site()).live:
        for zone in range(COUNT):
            after[zone * RECORD:zone * RECORD + 12] = before[zone * RECORD:zone * RECORD + 12]
        after[COUNT * RECORD:RAMOOPS] = zones.zone(CONSOLE, b"[    0.000000] the next boot\n" * 9)
    memory(machine).write_bytes(after)
    return machine


def arm(machine: Machine) -> dict[str, Any]:
    return selftest.arm(machine.config())


def result(machine: Machine) -> dict[str, Any]:
    return selftest.result(machine.config())


def flipped(rate: float, seed: int = 1) -> Callable[[bytes], bytes]:
    def fade(region: bytes) -> bytes:
        rng, faded = random.Random(seed), bytearray(region)
        for _ in range(round(len(region) * 8 * rate)):
            faded[rng.randrange(len(region))] ^= 1 << rng.randrange(8)
        return bytes(faded)
    return fade


def filled(start: int, size: int, filler: bytes) -> Callable[[bytes], bytes]:
    def fade(region: bytes) -> bytes:
        new = (filler * (size // len(filler) + 1))[:size]
        return region[:start] + new + region[start + size:]
    return fade


NOISE = random.Random(7).randbytes(SIZE)


# --- arm


def test_only_what_is_unused_of_a_running_region_is_written(router: Machine) -> None:
    before = memory(router).read_bytes()
    said = arm(router)
    after = memory(router).read_bytes()
    changed = {at for at in range(SIZE) if before[at] != after[at]}
    for zone in range(COUNT):
        start, end = zone * RECORD, (zone + 1) * RECORD
        assert after[start:start + 12] == before[start:start + 12]
        assert after[end - 64:end] == before[end - 64:end], "the parity of a header may be there"
        assert len(changed & set(range(start, end))) == RECORD - 12 - 64
    assert not changed & set(range(COUNT * RECORD, RAMOOPS + selftest.SLACK))
    assert said["of"] == SIZE and said["tested"] == len(changed) and said["extents"] == COUNT + 1
    assert "reboot, then: lastlog selftest result" in said["text"]


def test_more_is_left_to_a_larger_ecc(machine: Machine) -> None:
    before = memory(running(machine, ecc=100)).read_bytes()
    arm(machine)
    after = memory(machine).read_bytes()
    assert after[RECORD - 100:RECORD] == before[RECORD - 100:RECORD]
    assert after[RECORD - 101] != before[RECORD - 101]


def test_every_reader_finds_nothing_in_the_pattern(router: Machine) -> None:
    arm(router)
    found = collect.collect(router.site())
    assert [each.record.kind for each in found.found] == [] and found.problems == []
    assert journal_device.find(router.site()).read().entries == []
    assert glance.captured_mark(router.site()) == ""
    dump, path = memory(router).read_bytes(), router.root / "dump.bin"
    path.write_bytes(dump)
    assert [each["kind"] for each in service.decode([str(path)])["records"]] == ["console"]


def told(collection: collect.Collection) -> list[Record]:
    """The records without their zones' numbers and sizes: the place of one that was removed may be
    used, and then those behind it count from there."""
    records = (each.record for each in collection.found)
    return [each._replace(source=each.source._replace(zone=None, zone_size=0)) for each in records]


@pytest.mark.parametrize("sample", sorted(samples.manifest()))
@pytest.mark.parametrize("medium", ["file", "mtd"])
def test_no_sample_of_a_real_crash_loses_a_byte(machine: Machine, sample: str,
                                                medium: str) -> None:
    region = samples.region(sample)
    if medium == "file":
        machine.configure(file=machine.write("/region", region))
    else:
        machine.mtd(region)
    before = collect.collect(machine.site())
    try:
        arm(machine)
    except LastlogError as error:
        assert error.code == "no-space" and memory(machine).read_bytes() == region
    after = collect.collect(machine.site())
    assert told(after) == told(before)
    for line in region.split(b"\n"):
        if line.startswith((b"<6>[", b"<4>[", b"<0>[")) and line.decode("latin-1").isprintable():
            assert line in memory(machine).read_bytes()


DUMPS = st.one_of(
    st.just(b""), st.just(b"not a dump at all"),
    st.builds(lambda lines, flag: zones.dump(zones.log(lines), flag=flag), st.integers(1, 60),
              st.sampled_from(["C", "D", None])))
ENTRIES = st.lists(st.tuples(st.binary(max_size=6000), st.sampled_from(["log", "kernel", "boot"])),
                   max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(DUMPS, min_size=1, max_size=COUNT), ENTRIES, st.sampled_from(["live", "idle"]),
       st.sampled_from(["known", "found", "wrong"]), st.data())
def test_whatever_is_captured_is_found_as_it_was(dumps: list[bytes],
                                                 entries: list[tuple[bytes, str]], use: str,
                                                 geometry: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = running(Machine(Path(folder)), tuple(dumps))
        if use == "idle":
            shutil.rmtree(machine.root / "sys/module/ramoops")
        if geometry != "found":
            machine.configure(record_size=RECORD if geometry == "known" else RECORD * 2,
                              console_size=CONSOLE)
        where = journal_device.find(machine.site())
        for body, kind in entries:
            where.append(kind, body, moment(machine.site()), 1)
        for at in data.draw(st.lists(st.integers(0, COUNT - 1), max_size=2)):
            region = bytearray(memory(machine).read_bytes())      # a header that was lost
            region[at * RECORD:at * RECORD + 12] = data.draw(st.binary(min_size=12, max_size=12))
            memory(machine).write_bytes(region)
        before, noted = collect.collect(machine.site()), journal_device.find(machine.site()).read()
        try:
            arm(machine)
        except LastlogError as error:
            assert error.code == "no-space"
        after = collect.collect(machine.site())
        assert [each.record for each in after.found] == [each.record for each in before.found]
        assert [each.body for each in journal_device.find(machine.site()).read().entries] == \
            [each.body for each in noted.entries]


def test_a_log_without_any_header_stays(machine: Machine) -> None:
    """A reset took the header and the first line of the only zone."""
    region = NOISE[:64] + zones.log(100) + bytes(20000)
    machine.configure(file=machine.write("/region", region))
    (found,) = collect.collect(machine.site()).found
    assert found.record.text.encode() == zones.log(100) and found.record.source.torn
    assert arm(machine)["tested"] > 15000
    assert zones.log(100) in memory(machine).read_bytes()


def test_a_zone_that_was_found_by_its_signature_ends_where_others_do(machine: Machine) -> None:
    """Behind it there may be one whose header is lost, and its first lines with it."""
    lost = NOISE[:64] + b"the tail of a compressed dump".ljust(4096 - 64, b"\xee")
    region = zones.zone(4096) + zones.zone(4096) + lost + zones.zone(4096)
    machine.configure(file=machine.write("/region", region))
    arm(machine)
    assert memory(machine).read_bytes()[8192:12288] == lost


def test_a_blank_region_is_written_but_for_the_headers_to_come(machine: Machine) -> None:
    machine.mtd(bytes(65536))
    assert arm(machine)["tested"] == 65536 - 12
    machine.configure(record_size=4096)
    assert arm(machine)["tested"] == 65536 - 16 * 12
    rebooted(machine, filled(0, 65536, NOISE))
    assert result(machine)["state"] == "cold"


def test_zones_of_a_driver_that_are_not_where_it_says_are_left_alone(router: Machine) -> None:
    before = memory(router).read_bytes()
    router.write("/sys/module/ramoops/parameters/record_size", "8192\n")
    assert arm(router)["tested"] == JOURNAL - selftest.SLACK
    assert memory(router).read_bytes()[:RAMOOPS] == before[:RAMOOPS]


def test_a_journal_that_ramoops_reaches_into_is_left_alone(router: Machine) -> None:
    router.write("/sys/module/ramoops/parameters/mem_size", f"{SIZE}\n")
    before = memory(router).read_bytes()
    with pytest.raises(LastlogError) as error:
        arm(router)
    assert error.value.code == "no-space" and memory(router).read_bytes() == before


def test_next_boots_records_have_room_behind_the_newest_even_round_the_end(
        router: Machine) -> None:
    where = journal_device.find(router.site())
    while (entry := where.append("log", bytes(5000), moment(router.site()), 1)).offset is not None:
        if entry.offset + entry.size + selftest.SLACK > JOURNAL:
            break
    where.erase(where.read().entries[0])
    arm(router)
    region = memory(router).read_bytes()[RAMOOPS:]
    end = (entry.offset or 0) + entry.size
    assert not region[end:].strip(b"\0")
    first = end + selftest.SLACK - JOURNAL
    assert b"\0" in region[100:first] and b"\0" not in region[first:4900]


@pytest.mark.parametrize("flag", ["C", "D"])
@pytest.mark.parametrize("is_headless", [False, True])
def test_a_crash_in_what_has_become_the_journal_is_left_alone(machine: Machine, flag: str,
                                                              is_headless: bool) -> None:
    """Ramoops had all of the memory; then option journal_size was set."""
    text = b"Panic#1 Part1\n" + b"".join(b"<6>[%5d.000000] %s\n" % (at, NOISE[16 * at:][:16].hex()
                                         .encode()) for at in range(250))
    crash = zones.zone(RECORD, zones.dump(text, flag=flag))
    crash = NOISE[:12] + crash[12:] if is_headless else crash
    region = zones.zone(RECORD) * 5 + crash + zones.zone(RECORD, CONSOLE_TEXT)
    machine.mtd(region)
    machine.configure(journal_size=3 * RECORD)
    assert arm(machine)["tested"] > RECORD
    after = memory(machine).read_bytes()
    used = len(crash.rstrip(b"\0"))
    assert after[5 * RECORD:5 * RECORD + used] == crash[:used]
    assert CONSOLE_TEXT in after and after != region


# --- result: what fades


def test_what_is_kept_is_all_there(router: Machine) -> None:
    armed = arm(router)
    said = result(rebooted(router))
    assert said["state"] == "kept" and said["tested"] == armed["tested"]
    assert (said["lost_bits"], said["share"], said["lines_lost"]) == (0, 1.0, 0)
    assert said["bits"] == armed["tested"] * 8 and said["overwritten"] == []
    assert said["header_line_lost"] is False and said["header_lines"] == {"of": COUNT, "lost": 0}
    assert said["ecc"] == 0 and set(said["blocks"]["repaired"].values()) == {1.0}
    assert said["text"].startswith("The memory kept everything")
    assert result(router) == said, "asked again"


@pytest.mark.parametrize("rate", [1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("seed", [1, 2])
def test_decay_is_measured_and_the_ecc_repairs_it(router: Machine, rate: float,
                                                  seed: int) -> None:
    arm(router)
    before = memory(router).read_bytes()
    said = result(rebooted(router, flipped(rate, seed)))
    after = memory(router).read_bytes()
    worst = max(sum(one != other for one, other in zip(before[at:at + 128], after[at:at + 128],
                                                       strict=True))
                for zone in range(COUNT)
                for at in range(zone * RECORD + 12, (zone + 1) * RECORD - 64 - 128, 128))
    assert said["state"] == ("decayed" if said["lost_bits"] else "kept")
    assert said["share"] == pytest.approx(1 - rate, abs=rate)
    assert said["ecc"] // 2 >= worst and said["blocks"]["worst"] >= worst
    assert not said["header_line_lost"] and not said["overwritten"]
    shares = [said["blocks"]["repaired"][str(ecc)] for ecc in (0, 8, 16, 32, 64)]
    assert shares == sorted(shares) and said["blocks"]["repaired"][str(said["ecc"])] == 1.0
    assert ("all but" in said["text"]) == bool(said["lost_bits"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 255)), max_size=200))
def test_the_ecc_repairs_whatever_bytes_are_wrong(errors: list[tuple[int, int]]) -> None:
    def fade(region: bytes) -> bytes:
        faded = bytearray(region)
        for at, bits in errors:
            faded[at] ^= bits
        return bytes(faded)

    with tempfile.TemporaryDirectory() as folder:
        machine = running(Machine(Path(folder)))
        arm(machine)
        said = result(rebooted(machine, fade))
    assert said["state"] in ("kept", "decayed")
    if said["ecc"] is not None:
        assert said["ecc"] // 2 >= said["blocks"]["worst"]
    assert said["text"]


def test_a_bit_in_a_large_memory_is_as_good_as_kept(machine: Machine) -> None:
    machine.mtd(bytes(1 << 20))
    arm(machine)
    said = result(rebooted(machine, lambda region: region[:-1] + bytes([region[-1] ^ 1])))
    assert (said["state"], said["lost_bits"], said["ecc"]) == ("kept", 1, 8)
    assert "error correction to 8 " in said["text"] and "99.999988 %" in said["text"]


@pytest.mark.parametrize("line", [32, 64])
@pytest.mark.parametrize("lost", [range(COUNT), range(1), range(2, 4)])
@pytest.mark.parametrize("filler", [b"\0", b"\xff", NOISE])
def test_the_headers_cache_line(router: Machine, line: int, lost: range, filler: bytes) -> None:
    def fade(region: bytes) -> bytes:
        for zone in lost:
            region = filled(zone * RECORD, line, filler)(region)
        return region

    arm(router)
    said = result(rebooted(router, fade))
    assert said["header_line_lost"] and said["header_lines"] == {"of": COUNT, "lost": len(lost)}
    assert said["state"] == "decayed" and said["lines_lost"] == len(lost)
    assert said["ecc"] == 32 and f"{len(lost)} of {COUNT} zones" in said["text"]


def test_lost_lines_that_no_ecc_repairs(router: Machine) -> None:
    arm(router)
    said = result(rebooted(router, filled(RECORD + 4096, 128, NOISE)))
    assert said["state"] == "decayed" and said["lines_lost"] == 2 and said["ecc"] is None
    assert not said["header_line_lost"] and "whole cache lines are lost" in said["text"]


@pytest.mark.parametrize(("filler", "state"), [
    (b"\0", "wiped"), (b"\xff", "wiped"), (b"\x5a\xa5", "wiped"), (b"\xde\xad\xbe\xef", "wiped"),
    (NOISE, "cold"), (bytes(512) + b"\xff" * 512, "cold")])
@pytest.mark.parametrize("use", ["live", "idle"])
def test_nothing_is_left(router: Machine, filler: bytes, state: str, use: str) -> None:
    arm(router)
    if use == "idle":
        shutil.rmtree(router.root / "sys/module/ramoops")
    said = result(rebooted(router, filled(0, SIZE, filler)))
    assert said["state"] == state and 0.4 < said["share"] < 0.6
    assert said["ecc"] is None and said["header_line_lost"] is None
    assert ("wiped" if state == "wiped" else "cold boot") in said["text"]


@pytest.mark.parametrize("filler", [b"\0", NOISE])
def test_a_part_that_the_boot_loader_uses(router: Machine, filler: bytes) -> None:
    arm(router)
    said = result(rebooted(router, filled(2 * RECORD, 2 * RECORD, filler)))
    assert said["state"] == "kept" and said["lost_bits"] == 0
    (part,) = said["overwritten"]
    assert part == {"offset": 2 * RECORD + 12, "size": 2 * RECORD - 12 - 64}
    assert said["bits"] == (said["tested"] - 2 * (RECORD - 12 - 64)) * 8
    assert f"offsets {2 * RECORD + 12:#x} to {4 * RECORD - 65:#x}" in said["text"]


def test_many_overwritten_parts_are_told_in_short(router: Machine) -> None:
    def fade(region: bytes) -> bytes:
        for zone in range(COUNT):
            region = filled(zone * RECORD + 8192, 1024, b"\0")(region)
        return region

    arm(router)
    said = result(rebooted(router, fade))
    assert len(said["overwritten"]) == COUNT and f"and {COUNT - 4} more" in said["text"]


# --- result: what came meanwhile


def crash(machine: Machine, zone: int = 0) -> None:
    region = zones.zone(RECORD, zones.dump(zones.log(60)))
    with memory(machine).open("r+b") as file:
        file.seek(zone * RECORD)
        file.write(region[:12 + len(zones.dump(zones.log(60)))])


def test_a_crash_or_a_journal_record_since_is_no_decay(router: Machine) -> None:
    armed = arm(router)
    crash(router)
    rebooted(router)
    journal_device.find(router.site()).append("log", NOISE[:12000], moment(router.site()), 2)
    said = result(router)
    assert said["state"] == "kept" and said["lost_bits"] == 0 and said["overwritten"] == []
    assert said["tested"] < armed["tested"] - (RECORD - 12 - 64)
    assert said["header_lines"] == {"of": COUNT - 1, "lost": 0}


def test_a_crash_that_was_saved_and_cleared_since_is_no_decay(router: Machine) -> None:
    arm(router)
    crash(rebooted(router))
    rebooted(router)
    service.save(router.config())
    assert len(service.clear(router.config())["cleared"]) == 1
    said = result(router)
    assert said["state"] == "kept" and said["lost_bits"] == 0
    assert [part["offset"] for part in said["overwritten"]] == [12]
    assert "Unless records were there since" in said["text"]


def test_a_region_that_is_full_by_now(router: Machine) -> None:
    router.configure(journal_size=0)
    router.mtd(memory(router).read_bytes()[:RAMOOPS])
    arm(router)
    for zone in range(COUNT):
        crash(router, zone)
    with pytest.raises(LastlogError) as error:
        result(rebooted(router))
    assert error.value.code == "not-found" and "save" in error.value.hint


# --- what goes wrong


def fails(code: str, call: Callable[[Machine], object], machine: Machine) -> LastlogError:
    with pytest.raises(LastlogError) as error:
        call(machine)
    assert error.value.code == code and error.value.message and error.value.hint
    return error.value


def test_a_result_without_a_test_or_without_a_reboot(router: Machine) -> None:
    assert "selftest arm" in fails("not-found", result, router).hint
    arm(router)
    assert "reboot" in fails("busy", result, router).hint


def state_file(machine: Machine) -> Path:
    return Path(machine.config().ledger).parent / "selftest"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '"x"', "\xff" * 9, None])
def test_a_damaged_note(router: Machine, content: str | None) -> None:
    arm(router)
    whole = state_file(router).read_text()
    state_file(router).write_text(whole[:90] if content is None else content, "latin-1")
    assert "damaged" in fails("not-found", result, router).message


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["nonce", "region", "size", "boot_id", "time", "extents",
                                        "zones"]),
                       st.one_of(st.none(), st.integers(-5, 10 ** 9), st.text(max_size=8),
                                 st.lists(st.lists(st.integers(-9, 99999), max_size=4),
                                          max_size=4)), min_size=1))
def test_a_strange_note_is_never_a_traceback(fields: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = running(Machine(Path(folder)))
        arm(machine)
        note = json.loads(state_file(machine).read_text())
        state_file(machine).write_text(json.dumps(note | fields))
        try:
            assert result(rebooted(machine))["text"]
        except LastlogError as error:
            assert error.hint


def test_a_note_that_cannot_be_read(router: Machine) -> None:
    state_file(router).mkdir(parents=True)
    fails("io", result, router)


def test_another_region_than_the_one_that_was_armed(router: Machine) -> None:
    arm(router)
    rebooted(router)
    whole = memory(router).read_bytes()
    router.mtd(whole + bytes(4096))
    fails("no-region", result, router)
    router.mtd(whole, name="other")
    fails("no-region", result, router)
    router.mtd(whole, number=5)
    assert result(router)["state"] == "kept", "under another number it is still the same"


def test_where_nothing_can_be_noted_nothing_is_written(router: Machine) -> None:
    before = memory(router).read_bytes()
    router.write("/etc/lastlog", "a file is in the way")
    assert "option ledger" in fails("io", arm, router).hint
    assert memory(router).read_bytes() == before


def test_a_region_without_room(machine: Machine) -> None:
    region = zones.zone(4096, zones.dump(zones.log(9))) * 4
    machine.configure(file=machine.write("/region", region))
    assert "lastlog save" in fails("no-space", arm, machine).hint
    assert memory(machine).read_bytes() == region
    machine.configure(file=machine.write("/region", b""))
    fails("no-space", arm, machine)


def test_a_memory_that_cannot_be_written(router: Machine) -> None:
    arm(router)
    memory(router).unlink()
    memory(router).symlink_to("/dev/full")      # reads as zeros; /dev/full is never full of data
    shutil.rmtree(router.root / "sys/module/ramoops")
    fails("no-space", arm, router)
    assert "No self-test was armed" in fails("not-found", result, router).message
    assert os.listdir(state_file(router).parent) == []


def test_a_device_that_ends_early_and_one_that_is_gone(router: Machine) -> None:
    arm(router)
    rebooted(router)
    path = memory(router)
    path.write_bytes(bytes(4096))
    assert "early" in fails("io", arm, router).message
    assert "early" in fails("io", result, router).message
    path.unlink()
    assert fails("io", arm, router) and fails("io", result, router)


def test_another_writer_is_waited_for(router: Machine,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_device, "PATIENCE", 0.1)
    before = memory(router).read_bytes()
    with memory(router).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        fails("busy", arm, router)
        assert memory(router).read_bytes() == before
    arm(router)


def test_a_crash_while_it_is_written(router: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An oops is recorded in a zone that was empty when the region was read."""
    read = device.Device.read

    def reading(self: device.Device, offset: int = 0, size: int | None = None) -> bytes:
        data = read(self, offset, size)
        if size == SIZE:
            crash(router, 2)
        return data

    monkeypatch.setattr(device.Device, "read", reading)
    fails("busy", arm, router)
    monkeypatch.undo()
    (found,) = collect.collect(router.site()).found
    assert found.record.text.encode() == zones.log(60)
    fails("not-found", result, router)


@pytest.mark.skipif(not is_possible(), reason="processes may not be traced here")
def test_a_power_cut_at_any_moment(tmp_path: Path) -> None:
    """After it a test is armed as a whole or not at all, and records are where they were."""
    dump = zones.dump(zones.log(30))
    cuts, was_cut = 0, True
    while was_cut:
        machine = running(Machine(tmp_path / str(cuts)), (dump,))
        arm(machine)                                        # an older one is there
        was_cut = cut(lambda: arm(machine), cuts + 1)  # noqa: B023
        assert [each.record.text.encode() for each in collect.collect(machine.site()).found] == \
            [zones.log(30)]
        try:
            assert result(rebooted(machine))["state"] == "kept"
        except LastlogError as error:
            assert error.code == "not-found"
        shutil.rmtree(tmp_path / str(cuts))
        cuts += 1
    assert cuts > 50
