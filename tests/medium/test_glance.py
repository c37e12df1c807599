"""A quick look must never overlook what the real one finds."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.medium import glance, ramoops
from lastlog_py.medium.collect import collect
from lastlog_py.medium.division import divide
from tests import foreign, samples, zones
from tests.machine import Machine


def machine_with(tmp_path: Path, region: bytes, live: bool = False) -> Machine:
    machine = Machine(tmp_path)
    machine.mtd(region)
    if live:
        machine.ramoops(len(region), 4096, console=4096)
    return machine


EMPTY = zones.zone(4096)
FULL = zones.zone(4096, zones.dump(zones.log(9)))
ZAPPED = FULL[:4] + bytes(8) + FULL[12:]
NOISE = random.Random(1).randbytes(4096)


@pytest.mark.parametrize(("region", "live", "maybe"), [
    (bytes(16384), False, False), (b"\xff" * 16384, False, False), (EMPTY * 4, False, False),
    (EMPTY * 4, True, False), (EMPTY + FULL + EMPTY * 2, False, True),
    (EMPTY + FULL + EMPTY * 2, True, True),
    # A header that is lost, which a driver that runs would have renewed.
    (bytes(12) + FULL[12:], False, True),
    (NOISE[:64] + FULL[64:], False, True), (bytes(8192) + NOISE[:64] + FULL[64:], False, True),
    (NOISE[:64] + bytes(range(32, 127)) * 42 + NOISE[:42], False, True),
    (NOISE[:64] + zones.deflated(zones.log(90)).ljust(4032, b"\0"), False, True),
    (NOISE, False, False), (EMPTY[:12] + NOISE[12:], False, False),
    # Emptied by the driver for some damage: we leave no bytes of a dump that we erase.
    (ZAPPED + EMPTY * 3, True, True),
    (ZAPPED[:12] + bytes(40) + ZAPPED[52:] + EMPTY * 3, True, True),
    # The console zone always has something in it.
    (EMPTY * 3 + FULL, True, False)])
def test_a_region(tmp_path: Path, region: bytes, live: bool, maybe: bool) -> None:
    machine = machine_with(tmp_path, region, live)
    assert bool(glance.captured_mark(machine.site())) is maybe


@pytest.mark.parametrize(("name", "maybe"), [
    ("dmesg-ramoops-0", True), ("dmesg-ramoops-0.enc.z", True), ("mce-erst-1", True),
    ("console-ramoops-0", False), ("pmsg-ramoops-0", False), ("ftrace-ramoops-0", False)])
def test_the_kernel_s_files(tmp_path: Path, name: str, maybe: bool) -> None:
    machine = Machine(tmp_path)
    machine.pstore(name, b"Panic#1 Part1\n")
    assert bool(glance.captured_mark(machine.site())) is maybe


def test_nothing_at_all(tmp_path: Path) -> None:
    assert not glance.captured_mark(Machine(tmp_path).site())


def test_a_region_that_cannot_be_read_may_hold_something(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.mtd(bytes(4096)).unlink()
    assert glance.captured_mark(machine.site())


@pytest.mark.parametrize("name", samples.of_ramoops())
def test_no_real_crash_is_overlooked(tmp_path: Path, name: str) -> None:
    machine = machine_with(tmp_path, samples.region(name))
    dumps = [each for each in collect(machine.site()).found if each.record.kind == "kernel"]
    assert glance.captured_mark(machine.site()) or not dumps


@given(st.lists(st.sampled_from([EMPTY, FULL, bytes(4096), FULL[:2000] + bytes(2096),
                                 bytes(40) + FULL[40:], b"\xff" * 4096]), max_size=5),
       st.integers(0, 255), st.integers(0, 1 << 16))
def test_what_the_readers_find_is_never_overlooked(pieces: list[bytes], byte: int,
                                                   at: int) -> None:
    region = bytearray(b"".join(pieces))
    if region:
        region[at % len(region)] = byte
    found = ramoops.records(bytes(region)).records
    assert glance._holds_something(bytes(region), live=False) or not found


def test_a_dump_that_error_correction_brings_back_is_not_overlooked() -> None:
    region = bytearray(samples.region("s02_ecc16"))
    for record in ramoops.records(bytes(region)).records:
        offset = record.source.offset or 0
        region[offset] ^= 1
        region[offset + 12] ^= 2
    assert ramoops.records(bytes(region)).records
    assert glance._holds_something(bytes(region), live=False)


@pytest.mark.parametrize("size", [16, 36, 64])
@pytest.mark.parametrize("name", ["c05_two_oops_then_panic", "s07_none", "e01_ecc2",
                                  "m02_mipsbe_malta", "z03_lzo_4k", "g08_small_records",
                                  "s09_rec4k"])
def test_zones_whose_beginnings_are_noise_are_not_overlooked(name: str, size: int) -> None:
    region = bytearray(samples.region(name))
    for slot in divide(bytes(region), []).slots:
        region[slot.offset:slot.offset + size] = NOISE[:size]
    assert glance._holds_something(bytes(region), live=False)


def test_the_mark_changes_with_another_dump_only(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, FULL + EMPTY * 2 + FULL, live=True)
    first = glance.captured_mark(machine.site())
    region = machine.root / "dev/mtd3"
    region.write_bytes(region.read_bytes()[:-9] + b"x" * 9)         # the console zone
    machine.pstore("console-ramoops-0", b"more\n")
    assert glance.captured_mark(machine.site()) == first
    machine.pstore("dmesg-ramoops-0", b"Panic#1 Part1\n")
    second = glance.captured_mark(machine.site())
    region.write_bytes(FULL + FULL + region.read_bytes()[8192:])
    assert len({first, second, glance.captured_mark(machine.site())}) == 3


@pytest.mark.parametrize("piece", [
    foreign.slot(foreign.log(3)), foreign.slot(foreign.log(3), 1, 1, endian=">"),
    foreign.slot(b"Oops\nCall Trace:\n", 1, 0), foreign.early(foreign.log(3)),
    foreign.zone("kernel", foreign.dump(zones.log(3))),
    foreign.crashlog(foreign.crashlog_file(foreign.log(3)))])
def test_no_other_format_is_overlooked(tmp_path: Path, piece: bytes) -> None:
    machine = machine_with(tmp_path, EMPTY + piece + EMPTY)
    first = glance.captured_mark(machine.site())
    assert first and collect(machine.site()).found
    assert not glance.captured_mark(machine_with(tmp_path / "live", EMPTY + piece, True).site())


def test_a_console_of_pstore_zone_without_a_dump_is_believed_where_ramoops_is_not(
        tmp_path: Path) -> None:
    machine = machine_with(tmp_path, bytes(4096) + foreign.zone("pmsg", b"x\n") + bytes(4096))
    assert glance.captured_mark(machine.site()) and collect(machine.site()).found


def test_a_partition_of_mtdoops_and_the_crashlog(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, EMPTY)
    device = machine.flash(foreign.unused(16384))
    assert not glance.captured_mark(machine.site())
    device.write_bytes(foreign.slot(foreign.log(3), 7) + foreign.unused(8192))
    first = glance.captured_mark(machine.site())
    device.write_bytes(foreign.slot(foreign.log(3), 7) + foreign.slot(foreign.log(3), 8))
    second = glance.captured_mark(machine.site())
    device.unlink()
    third = glance.captured_mark(machine.site())
    machine.write("/sys/kernel/debug/crashlog", foreign.crashlog_file(b"x\n"))
    assert len({"", first, second, third, glance.captured_mark(machine.site())}) == 5
