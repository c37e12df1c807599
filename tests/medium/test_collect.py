"""medium/collect.py: records from all media, each once, and erasing just what was read."""

from __future__ import annotations

import pytest

from lastlog_py.errors import LastlogError
from lastlog_py.medium.collect import collect, erase
from tests import samples, zones
from tests.machine import Machine

SIZE = 4096
LOG = zones.log(30)
DUMP = zones.dump(LOG)
TIME = "1700000000.000042"


def region(*bodies: bytes) -> bytes:
    return b"".join(zones.zone(SIZE, body) for body in bodies)


def test_a_file_in_the_memorys_place(machine: Machine) -> None:
    file = machine.write("/region.bin", region(DUMP, b""))
    found, problems, count = collect(machine.configure(file=file).config())
    assert [each.record.text.encode() for each in found] == [LOG]
    assert (problems, count) == ([], 2)


def test_an_mtd_device_by_name(machine: Machine) -> None:
    machine.mtd(region(DUMP), name="lastlog")
    (found,) = collect(machine.config()).found
    assert found.places[0].path.endswith("/dev/mtd3")
    machine.configure(mtd="elsewhere")
    assert '"elsewhere"' in collect(machine.config()).problems[0].what


def test_the_journal_behind_the_zones_is_left_alone(machine: Machine) -> None:
    file = machine.write("/region.bin", region(DUMP, DUMP.replace(b"line", b"LINE")))
    found = collect(machine.configure(file=file, journal_size=SIZE).config()).found
    assert len(found) == 1


@pytest.mark.parametrize("name", ["s01_plain", "s02_ecc16", "c12_null_deref_panic_on_oops"])
def test_the_kernels_file_and_the_region_are_one_record(machine: Machine, name: str) -> None:
    machine.mtd(samples.region(name))
    alone = collect(machine.config()).found
    sizes = samples.manifest()[name]["geometry"]
    machine.ramoops(1 << 20, sizes["record_size"], sizes["console_size"], sizes["ftrace_size"],
                    sizes["pmsg_size"], sizes.get("ecc", 0))
    for file in samples.manifest()[name]["kernel_files"]:
        kind, _, number = file.split("-")
        time = next((each.record.time for each in alone if each.record.kind == "kernel"
                     and each.record.source.zone == int(number)), None)
        machine.pstore(file, samples.kernel_file(name, file),
                       f"{time:.6f}" if kind == "dmesg" else None)
    both = collect(machine.config()).found
    assert sorted(each.record.id for each in both) == sorted(each.record.id for each in alone)
    assert {len(each.places) for each in both if each.record.kind == "kernel"} == {2}


def test_of_two_readings_the_whole_one_counts(machine: Machine) -> None:
    """The kernel corrects by ECC what the raw region shows with an error."""
    packed = bytearray(zones.dump(LOG, flag="C"))
    packed[-20] ^= 0xff
    machine.mtd(region(bytes(packed)))
    machine.ramoops(SIZE, SIZE)
    machine.pstore("dmesg-ramoops-0", LOG, TIME)
    (found,) = collect(machine.config()).found
    assert found.record.text.encode() == LOG and not found.record.source.truncated
    assert [place.medium for place in found.places] == ["pstore", "ramoops"]


def test_nothing_anywhere(machine: Machine) -> None:
    found, problems, count = collect(machine.config())
    assert (found, count) == ([], 0)
    assert problems[0].severity == "error" and "/proc/mtd" in problems[0].what


def test_pstore_alone_is_enough(machine: Machine) -> None:
    machine.ramoops(SIZE, SIZE)
    machine.pstore("dmesg-ramoops-0", LOG, TIME)
    found, problems, _ = collect(machine.config())
    assert len(found) == 1 and [p.severity for p in problems] == ["info"]


def test_a_device_that_ends_early_is_reported(machine: Machine) -> None:
    file = machine.mtd(region(DUMP, b""))
    file.write_bytes(file.read_bytes()[:SIZE])
    collection = collect(machine.config())
    assert len(collection.found) == 1
    assert any("ended 4096 bytes early" in problem.what for problem in collection.problems)


# --- erasing


def test_a_zone_that_no_driver_uses_is_blanked_with_its_header_parity(machine: Machine) -> None:
    """Left alone, the parity would let the kernel correct a blank header back to the old one."""
    file = machine.write("/region.bin", samples.region("s02_ecc16"))
    config = machine.configure(file=file).config()
    (found,) = collect(config).found
    place = found.places[0]
    before = file.read_bytes()
    erase(config, place)
    after = file.read_bytes()
    assert after[:place.size] == bytes(place.size)
    assert after[place.zone_size - 32:place.zone_size] == bytes(32)
    assert after[place.zone_size:] == before[place.zone_size:]
    assert collect(config).found == []


def test_a_newer_crash_in_the_same_zone_is_not_erased(machine: Machine) -> None:
    file = machine.write("/region.bin", region(DUMP))
    config = machine.configure(file=file).config()
    (found,) = collect(config).found
    newer = region(zones.dump(zones.log(31), "1700000099.000001"))
    file.write_bytes(newer)
    with pytest.raises(LastlogError, match="has changed"):
        erase(config, found.places[0])
    assert file.read_bytes() == newer


def test_the_kernels_file_is_removed_and_the_zapped_text_wiped(machine: Machine) -> None:
    device = machine.mtd(region(DUMP))
    machine.ramoops(SIZE, SIZE)
    file = machine.pstore("dmesg-ramoops-0", LOG, TIME)
    config = machine.config()
    (found,) = collect(config).found
    erase(config, found.places[0])
    assert not file.exists()
    zapped = device.read_bytes()                # what ramoops does when the file is removed
    device.write_bytes(zapped[:4] + bytes(8) + zapped[12:])
    erase(config, found.places[1])
    assert device.read_bytes() == zapped[:4] + bytes(SIZE - 4)


def test_a_live_oops_is_zapped_so_that_the_driver_still_knows_the_zone(machine: Machine) -> None:
    device = machine.mtd(region(DUMP))
    machine.ramoops(SIZE, SIZE)
    config = machine.config()
    (found,) = collect(config).found
    erase(config, found.places[0])
    assert device.read_bytes() == zones.zone(SIZE)


def test_a_live_oops_under_ecc_is_left_to_the_kernel(machine: Machine) -> None:
    device = machine.mtd(region(DUMP))
    machine.ramoops(SIZE, SIZE, ecc=1)
    config = machine.config()
    (found,) = collect(config).found
    before = device.read_bytes()
    with pytest.raises(LastlogError, match="error correction"):
        erase(config, found.places[0])
    assert device.read_bytes() == before


def test_a_pstore_file_that_changed_stays(machine: Machine) -> None:
    machine.ramoops(SIZE, SIZE)
    file = machine.pstore("dmesg-ramoops-0", LOG, TIME)
    (found,) = collect(machine.config()).found
    file.write_bytes(zones.log(3))
    with pytest.raises(LastlogError, match="has changed"):
        erase(machine.config(), found.places[0])
    assert file.exists()


def test_erasing_what_is_gone_is_done(machine: Machine) -> None:
    machine.ramoops(SIZE, SIZE)
    file = machine.pstore("dmesg-ramoops-0", LOG, TIME)
    (found,) = collect(machine.config()).found
    file.unlink()
    erase(machine.config(), found.places[0])
    assert collect(machine.config()).found == []
