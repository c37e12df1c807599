"""medium/device.py: finding, reading and writing a region."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastlog_py.errors import LastlogError
from lastlog_py.medium import device
from tests.machine import Machine


def test_a_live_region_settles_before_its_console(machine: Machine) -> None:
    machine.mtd(bytes(1 << 20))
    machine.ramoops(1 << 20, 0x10000, console=0x10000, ftrace=0x8000, pmsg=0x4000)
    where = device.find(machine.site())
    assert where.live and where.settled == (1 << 20) - 0x1c000


@pytest.mark.parametrize(("address", "live"), [(0x7000000, True), (0x6f80000, True),
                                               (0x7000fff, True), (0x7010000, False),
                                               (0x6effff0, False),
                                               (0x8000000, False)])
def test_ramoops_elsewhere_does_not_make_it_live(machine: Machine, address: int,
                                                 live: bool) -> None:
    machine.mtd(bytes(1 << 20))
    machine.ramoops(0x10000, 0x1000)
    assert device.find(machine.configure(address=hex(address)).site()).live is live


def test_a_file_is_never_live(machine: Machine) -> None:
    machine.ramoops(0x10000, 0x1000)
    file = machine.write("/region", bytes(4096))
    assert not device.find(machine.configure(file=file).site()).live


@pytest.mark.parametrize("table", ["", "dev:    size   erasesize  name\n", "mtd: \nmtdx: a b c d\n",
                                   'mtd1: zz 1000 "lastlog"\n', "\0\xff garbage"])
def test_no_device_of_that_name(machine: Machine, table: str) -> None:
    machine.write("/proc/mtd", table)
    with pytest.raises(LastlogError) as error:
        device.find(machine.site())
    assert error.value.code == "no-region" and error.value.hint


@pytest.mark.parametrize("name", ["spaces in it", "quo\"te"])
def test_names_are_compared_whole(machine: Machine, name: str) -> None:
    machine.mtd(bytes(8192), name=name)
    assert device.find(machine.configure(mtd=name).site()).size == 8192


@pytest.mark.parametrize("kind", ["nor", "nand", "rom", "unknown", "ramdisk", ""])
def test_only_memory_is_a_region(machine: Machine, kind: str) -> None:
    """Somebody called a flash partition so: it is never written."""
    machine.mtd(b"firmware" * 1024, kind=kind)
    with pytest.raises(LastlogError) as error:
        device.find(machine.site())
    assert error.value.code == "no-region" and "memory only" in error.value.message
    assert (kind or "does not say what it is") in error.value.message and error.value.hint
    (machine.root / "sys/class/mtd/mtd3/type").unlink()
    with pytest.raises(LastlogError, match="does not say what it is"):
        device.find(machine.site())
    assert device.named(machine.site()) == (3, 8192)


def test_a_missing_file_a_directory_and_a_disk(machine: Machine, tmp_path: Path) -> None:
    for path, word in ((tmp_path / "none", "No such file"), (tmp_path, "not a file")):
        with pytest.raises(LastlogError, match=word):
            device.find(machine.configure(file=path).site())
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(device.MAX_REGION + 1)
    with pytest.raises(LastlogError, match="more than any region"):
        device.find(machine.configure(file=disk).site())


def test_reading_and_writing_pieces(machine: Machine) -> None:
    file = machine.write("/region", bytes(range(256)) * 16)
    where = device.find(machine.configure(file=file).site())
    assert where.read(16, 4) == bytes((16, 17, 18, 19))
    assert where.read(4090) == bytes(range(250, 256)) and where.read(5000) == b""
    where.write(100, b"hello")
    assert file.read_bytes()[98:107] == b"bchelloij"


def test_what_cannot_be_written_says_so(machine: Machine) -> None:
    file = machine.write("/region", bytes(64))
    where = device.find(machine.configure(file=file).site())
    file.unlink()
    with pytest.raises(LastlogError) as error:
        where.write(0, b"x")
    assert error.value.code == "io" and "No such file" in error.value.message
