"""medium/collect.py: records from all media, each once, and erasing just what was read."""

from __future__ import annotations

import pytest

from lastlog_py.errors import LastlogError
from lastlog_py.medium.collect import Place, collect, erase, in_one_zone
from tests import foreign, samples, zones
from tests.machine import Machine
from tests.regions import Kernel, Ring

SIZE = 4096
LOG = zones.log(30)
DUMP = zones.dump(LOG)
TIME = "1700000000.000042"


def region(*bodies: bytes) -> bytes:
    return b"".join(zones.zone(SIZE, body) for body in bodies)


def test_a_file_in_the_memorys_place(machine: Machine) -> None:
    file = machine.write("/region.bin", region(DUMP, b""))
    found, problems, count = collect(machine.configure(file=file).site())
    assert [each.record.text.encode() for each in found] == [LOG]
    assert (problems, count) == ([], 2)


def test_an_mtd_device_by_name(machine: Machine) -> None:
    machine.mtd(region(DUMP), name="lastlog")
    (found,) = collect(machine.site()).found
    assert found.places[0].path.endswith("/dev/mtd3")
    machine.configure(mtd="elsewhere")
    assert '"elsewhere"' in collect(machine.site()).problems[0].what


def test_the_journal_behind_the_zones_is_left_alone(machine: Machine) -> None:
    file = machine.write("/region.bin", region(DUMP, DUMP.replace(b"line", b"LINE")))
    found = collect(machine.configure(file=file, journal_size=SIZE).site()).found
    assert len(found) == 1


@pytest.mark.parametrize("name", ["s01_plain", "s02_ecc16", "c12_null_deref_panic_on_oops"])
def test_the_kernels_file_and_the_region_are_one_record(machine: Machine, name: str) -> None:
    machine.mtd(samples.region(name))
    alone = collect(machine.site()).found
    sizes = samples.manifest()[name]["geometry"]
    machine.ramoops(1 << 20, sizes["record_size"], sizes["console_size"], sizes["ftrace_size"],
                    sizes["pmsg_size"], sizes.get("ecc", 0))
    for file in samples.manifest()[name]["kernel_files"]:
        kind, _, number = file.split("-")
        time = next((each.record.time for each in alone if each.record.kind == "kernel"
                     and each.record.source.zone == int(number)), None)
        machine.pstore(file, samples.kernel_file(name, file),
                       f"{time:.6f}" if kind == "dmesg" else None)
    both = collect(machine.site()).found
    assert sorted(each.record.id for each in both) == sorted(each.record.id for each in alone)
    assert {len(each.places) for each in both if each.record.kind == "kernel"} == {2}


def test_of_two_readings_the_whole_one_counts(machine: Machine) -> None:
    """The kernel corrects by ECC what the raw region shows with an error."""
    packed = bytearray(zones.dump(LOG, flag="C"))
    packed[-20] ^= 0xff
    machine.mtd(region(bytes(packed)))
    machine.ramoops(SIZE, SIZE)
    machine.pstore("dmesg-ramoops-0", LOG, TIME)
    (found,) = collect(machine.site()).found
    assert found.record.text.encode() == LOG and not found.record.source.truncated
    assert [place.medium for place in found.places] == ["pstore", "ramoops"]


def test_nothing_anywhere(machine: Machine) -> None:
    found, problems, count = collect(machine.site())
    assert (found, count) == ([], 0)
    assert problems[0].severity == "error" and "/proc/mtd" in problems[0].what


def test_pstore_alone_is_enough(machine: Machine) -> None:
    machine.ramoops(SIZE, SIZE)
    machine.pstore("dmesg-ramoops-0", LOG, TIME)
    found, problems, _ = collect(machine.site())
    assert len(found) == 1 and [p.severity for p in problems] == ["info"]


def test_a_device_that_ends_early_is_reported(machine: Machine) -> None:
    file = machine.mtd(region(DUMP, b""))
    file.write_bytes(file.read_bytes()[:SIZE])
    collection = collect(machine.site())
    assert len(collection.found) == 1
    assert any("ended 4096 bytes early" in problem.what for problem in collection.problems)


# --- erasing


def test_a_zone_that_no_driver_uses_loses_its_header_for_good(machine: Machine) -> None:
    """All 12 bytes differ, so that the header's ECC cannot correct them back; nothing outside the
    record's own bytes is touched."""
    file = machine.write("/region.bin", samples.region("s02_ecc16"))
    site = machine.configure(file=file).site()
    (found,) = collect(site).found
    place = found.places[0]
    before = file.read_bytes()
    erase(site, found.places)
    after = file.read_bytes()
    assert all(old != new for old, new in zip(before[:12], after[:12], strict=True))
    assert after[12:place.size] == bytes(place.size - 12)
    assert after[place.size:] == before[place.size:]
    assert collect(site).found == []


def test_a_newer_crash_in_the_same_zone_is_not_erased(machine: Machine) -> None:
    file = machine.write("/region.bin", region(DUMP))
    site = machine.configure(file=file).site()
    (found,) = collect(site).found
    newer = region(zones.dump(zones.log(31), "1700000099.000001"))
    file.write_bytes(newer)
    with pytest.raises(LastlogError, match="has changed"):
        erase(site, found.places)
    assert file.read_bytes() == newer


def test_the_kernels_file_is_removed_and_the_zone_emptied(machine: Machine) -> None:
    device = machine.mtd(region(DUMP))
    machine.ramoops(SIZE, SIZE)
    file = machine.pstore("dmesg-ramoops-0", LOG, TIME)
    site = machine.site()
    (found,) = collect(site).found
    erase(site, found.places)
    assert not file.exists() and device.read_bytes() == zones.zone(SIZE)


def test_what_the_kernel_has_zapped_is_wiped(machine: Machine) -> None:
    device = machine.mtd(region(DUMP))
    machine.ramoops(SIZE, SIZE, ecc=16)
    machine.pstore("dmesg-ramoops-0", LOG, TIME)
    site = machine.site()
    (found,) = collect(site).found
    zapped = device.read_bytes()                # what ramoops does when the file is removed
    device.write_bytes(zapped[:4] + bytes(8) + zapped[12:])
    erase(site, found.places)
    assert device.read_bytes() == zapped[:4] + bytes(SIZE - 4)


def test_a_stale_file_does_not_take_a_newer_oops_along(machine: Machine) -> None:
    """ramoops starts at zone 0 in every boot: there an oops has overwritten what the file of the
    last boot still shows, and removing the file would empty the zone."""
    machine.mtd(region(zones.dump(zones.log(7, "Oops#1 Part1"), "1700000500.000001")))
    machine.ramoops(SIZE, SIZE)
    machine.pstore("dmesg-ramoops-0", LOG, TIME)
    machine.write("/proc/mounts", "pstore /sys/fs/pstore pstore rw 0 0\n")
    stale, newer = collect(machine.site()).found
    assert (stale.of_this_boot, newer.of_this_boot) == (False, True)
    assert in_one_zone(stale.places, newer.places)
    other = Place("pstore", "/x", 0, 1, 0, ("kernel", 1))
    assert not in_one_zone(stale.places, [other])


@pytest.mark.parametrize(("tainted", "may"), [("0", True), ("64", True), ("128", False),
                                              ("4225", False)])
def test_blind_after_an_oops_no_file_is_removed(machine: Machine, tainted: str,
                                                may: bool) -> None:
    """Without a look at the region nobody knows what is in the zone by now."""
    machine.ramoops(SIZE, SIZE)
    machine.write("/proc/sys/kernel/tainted", f"{tainted}\n")
    file = machine.pstore("dmesg-ramoops-0", LOG, TIME)
    (found,) = collect(machine.site()).found
    if may:
        erase(machine.site(), found.places)
    else:
        with pytest.raises(LastlogError, match="oops in this boot"):
            erase(machine.site(), found.places)
    assert file.exists() is not may


def test_two_dumps_are_never_one_for_having_the_same_time(machine: Machine) -> None:
    dumps = [zones.dump(zones.log(lines), TIME) for lines in (5, 6)]
    file = machine.write("/region.bin", region(*dumps))
    assert len(collect(machine.configure(file=file).site()).found) == 2


@pytest.mark.parametrize("time", ["1700000000.000000", "1700000777.5"])
def test_files_whose_time_is_wrong_are_still_the_same_record(machine: Machine,
                                                             time: str) -> None:
    """Kernels before 5.4 lose the fraction; without a clock a file has the time of the mount."""
    machine.mtd(region(DUMP))
    machine.ramoops(SIZE, SIZE)
    machine.pstore("dmesg-ramoops-0", LOG, time)
    (found,) = collect(machine.site()).found
    assert found.record.time == 1700000000.000042 and len(found.places) == 2


def test_a_neighbour_with_a_damaged_header_is_not_touched(machine: Machine) -> None:
    neighbour = b"XBGC" + zones.zone(SIZE, b"pmsg text")[4:]
    file = machine.write("/region.bin", region(DUMP) + neighbour + region(DUMP))
    site = machine.configure(file=file).site()
    for found in collect(site).found:
        erase(site, found.places)
    assert file.read_bytes()[SIZE:2 * SIZE] == neighbour


def test_a_live_oops_is_zapped_so_that_the_driver_still_knows_the_zone(machine: Machine) -> None:
    device = machine.mtd(region(DUMP))
    machine.ramoops(SIZE, SIZE)
    site = machine.site()
    (found,) = collect(site).found
    erase(site, found.places)
    assert device.read_bytes() == zones.zone(SIZE)


@pytest.mark.parametrize("ecc", [0, 16])
@pytest.mark.parametrize("lost", [0, 20], ids=["whole", "without the first line of the cache"])
@pytest.mark.parametrize("letter", "CD")
def test_what_a_running_ramoops_threw_away_is_shown_until_it_is_erased(
        machine: Machine, letter: str, lost: int, ecc: int) -> None:
    """For one bit in its header the driver empties a zone: nobody has erased that dump."""
    ring = Ring(2 * SIZE, Kernel(), ecc).dump(LOG, letter=letter)
    ring.zap()
    data = bytearray(ring.bytes())
    data[12:12 + lost] = bytes(lost)
    device = machine.mtd(bytes(data) + Ring(2 * SIZE, Kernel(), ecc).bytes() + bytes(SIZE))
    machine.ramoops(5 * SIZE, 2 * SIZE, console=SIZE, ecc=ecc)
    machine.write("/proc/mounts", "pstore /sys/fs/pstore pstore rw 0 0\n")
    collection = collect(machine.site())
    (found,) = collection.found
    assert LOG.endswith(found.record.text.encode()[-200:])
    assert len(found.record.text) > len(LOG) - 100
    assert found.record.source.recovered and not found.of_this_boot
    assert any("threw it away" in problem.what for problem in collection.problems)
    header = device.read_bytes()[:12]
    erase(machine.site(), found.places)
    assert collect(machine.site()).found == []
    assert device.read_bytes()[:12] == header
    assert not any(device.read_bytes()[12:ring.capacity])


def test_behind_empty_zones_of_a_running_ramoops_only_a_whole_dump_counts(
        machine: Machine) -> None:
    """What an earlier layout left further down, and what console and pmsg said, stays away."""
    stale = b"====1700000000.000042-D\n" + LOG
    console = zones.zone(SIZE, b"[    1.000000] on the console\n" * 9)
    machine.mtd(zones.zone(SIZE)[:1000] + stale.ljust(SIZE - 1000, b"\0")
                + console[:4] + bytes(8) + console[12:])
    machine.ramoops(2 * SIZE, SIZE, console=SIZE)
    assert collect(machine.site()).found == []


@pytest.mark.parametrize("ecc", [16, 8, 32])
@pytest.mark.parametrize("told", [True, False])
def test_a_live_oops_under_ecc_is_zapped_with_its_parity(machine: Machine, ecc: int,
                                                         told: bool) -> None:
    """As the kernel leaves it; the driver does not know the ecc of a device tree."""
    ring = Ring(SIZE, Kernel(), ecc).dump(LOG)
    device = machine.mtd(ring.bytes() + Ring(SIZE, Kernel(), ecc).bytes())
    machine.ramoops(2 * SIZE, SIZE, ecc=ecc if told else 0)
    site = machine.site()
    (found,) = collect(site).found
    erase(site, found.places)
    ring.zap()
    after, kernels = device.read_bytes()[:SIZE], ring.bytes()
    assert (after[:12], after[-ecc:]) == (kernels[:12], kernels[-ecc:])
    assert not any(after[12:12 + len(DUMP)]) and collect(site).found == []


def test_a_live_oops_whose_parity_is_not_found_is_left_to_the_kernel(machine: Machine) -> None:
    device = machine.mtd(region(DUMP))
    machine.ramoops(SIZE, SIZE, ecc=1)
    site = machine.site()
    (found,) = collect(site).found
    before = device.read_bytes()
    with pytest.raises(LastlogError, match="error correction"):
        erase(site, found.places)
    assert device.read_bytes() == before


def test_a_pstore_file_that_changed_stays(machine: Machine) -> None:
    machine.ramoops(SIZE, SIZE)
    file = machine.pstore("dmesg-ramoops-0", LOG, TIME)
    (found,) = collect(machine.site()).found
    file.write_bytes(zones.log(3))
    with pytest.raises(LastlogError, match="has changed"):
        erase(machine.site(), found.places)
    assert file.exists()


def test_erasing_what_is_gone_is_done(machine: Machine) -> None:
    machine.ramoops(SIZE, SIZE)
    file = machine.pstore("dmesg-ramoops-0", LOG, TIME)
    (found,) = collect(machine.site()).found
    file.unlink()
    erase(machine.site(), found.places)
    assert collect(machine.site()).found == []


# --- other formats and places


@pytest.mark.parametrize("content", [
    foreign.slot(foreign.log(9)) + foreign.unused(), foreign.early(foreign.log(9)) * 1,
    foreign.zone("kernel", foreign.dump(zones.log(9))),
    foreign.crashlog(foreign.crashlog_file(foreign.log(9)))],
    ids=["mtdoops", "early ramoops", "pstore_zone", "crashlog"])
def test_a_region_in_another_format_is_read_and_erased(machine: Machine, content: bytes) -> None:
    file = machine.write("/region.bin", content + bytes(SIZE))
    site = machine.configure(file=file).site()
    (found,) = collect(site).found
    assert foreign.log(9).decode() in found.record.text
    erase(site, found.places)
    assert collect(site).found == [] and len(file.read_bytes()) == len(content) + SIZE
    erase(site, found.places)                       # gone already: done


def test_an_erased_slot_of_mtdoops_is_as_it_expects_an_unused_one(machine: Machine) -> None:
    one, two = foreign.slot(foreign.log(9), 1), foreign.slot(foreign.log(8), 2)
    device = machine.mtd(one + two)
    newest, _ = collect(machine.site()).found
    erase(machine.site(), newest.places)
    assert device.read_bytes() == one + foreign.unused()


def test_a_newer_record_in_a_slot_is_not_erased(machine: Machine) -> None:
    device = machine.mtd(foreign.slot(foreign.log(9), 1) + foreign.unused())
    (found,) = collect(machine.site()).found
    device.write_bytes(foreign.slot(foreign.log(7), 3) + foreign.unused())
    with pytest.raises(LastlogError, match="has changed"):
        erase(machine.site(), found.places)


@pytest.mark.parametrize(("name", "mtddev"), [("mtdoops", None), ("panic", "panic"),
                                              ("panic", "5")])
def test_a_partition_of_mtdoops_on_flash_is_read_and_never_written(
        machine: Machine, name: str, mtddev: str | None) -> None:
    machine.mtd(region(DUMP))
    data = foreign.slot(foreign.log(9), 1) + foreign.unused()
    device = machine.flash(data, name)
    if mtddev:
        machine.write("/sys/module/mtdoops/parameters/mtddev", f"{mtddev}\n")
    found = collect(machine.site()).found
    assert [each.record.source.medium for each in found] == ["ramoops", "mtdoops"]
    with pytest.raises(LastlogError, match="on flash") as error:
        erase(machine.site(), found[1].places)
    assert error.value.code == "read-only" and device.read_bytes() == data


def test_a_partition_of_mtdoops_in_memory_is_erased(machine: Machine) -> None:
    machine.mtd(region(b""))
    device = machine.flash(foreign.slot(foreign.log(9), 1) + foreign.unused(), kind="ram")
    (found,) = collect(machine.site()).found
    erase(machine.site(), found.places)
    assert device.read_bytes() == foreign.unused() * 2


def test_a_partition_that_cannot_be_read_is_a_problem(machine: Machine) -> None:
    machine.mtd(region(DUMP))
    machine.flash(foreign.unused()).unlink()
    collection = collect(machine.site())
    assert len(collection.found) == 1 and "cannot be read" in collection.problems[0].what


def test_the_region_is_not_read_twice(machine: Machine) -> None:
    machine.mtd(foreign.slot(foreign.log(9), 1) + foreign.unused(), name="mtdoops")
    machine.configure(mtd="mtdoops")
    assert [len(each.places) for each in collect(machine.site()).found] == [1]


def test_the_crashlog_of_debugfs(machine: Machine) -> None:
    machine.mtd(region(b""))
    file = machine.write("/sys/kernel/debug/crashlog",
                         foreign.crashlog_file(foreign.log(3), foreign.log(4)))
    newest, oldest = collect(machine.site()).found
    assert newest.record.source.medium == "crashlog" and newest.places == oldest.places
    with pytest.raises(LastlogError, match="next reboot"):
        erase(machine.site(), newest.places)
    assert file.exists()


def test_the_parts_of_a_dump_are_one_record_with_all_files(machine: Machine) -> None:
    machine.mtd(region(b""))
    names = [f"dmesg-efi-1700000000{part:02}001" for part in (1, 2)]
    for number, name in enumerate(names, 1):
        machine.pstore(name, b"Panic#1 Part%d\n<4>[    %d.000000] line\n" % (number, 9 - number),
                       "1700000000.000000")
    (found,) = collect(machine.site()).found
    assert found.record.text.splitlines()[0] == "Panic#1 Part2"
    assert [line[8:9] for line in found.record.text.splitlines()[1:]] == ["7", "8"]
    erase(machine.site(), found.places)
    assert not any((machine.root / "sys/fs/pstore" / name).exists() for name in names)
