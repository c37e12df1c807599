"""Which boot this is, what runs in it, and whether its clock can be believed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lastlog_py import CLOCK_FLOOR, boot
from tests.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.write("/proc/sys/kernel/random/boot_id", "one\n")
    made.write("/proc/sys/kernel/osrelease", "6.6.93\n")
    return made


@pytest.mark.parametrize(("files", "firmware"), [
    ({}, ""),
    ({"/etc/openwrt_release": "DISTRIB_ID='OpenWrt'\nDISTRIB_RELEASE='24.10.2'\n"
      "DISTRIB_REVISION='r28739-d9340319c6'\n"}, "24.10.2 r28739-d9340319c6"),
    ({"/etc/openwrt_release": "DISTRIB_RELEASE=\"SNAPSHOT\"\n"}, "SNAPSHOT"),
    ({"/etc/os-release": 'PRETTY_NAME="Debian 12"\n'}, "Debian 12"),
    ({"/etc/openwrt_release": "\x1b[31m=\nDISTRIB_RELEASE='1\x1b2'\n"}, "12"),
    ({"/etc/openwrt_release": b"\xff\xfe"}, "")])
def test_the_firmware(machine: Machine, files: dict[str, str | bytes], firmware: str) -> None:
    for path, content in files.items():
        machine.write(path, content)
    here = boot.this_boot(machine.site())
    assert (here.id, here.number, here.firmware, here.kernel) == ("one", 0, firmware, "6.6.93")


def test_the_number_is_of_this_boot_only(machine: Machine) -> None:
    boot.note(machine.site(), 12, boot.moment(machine.site()))
    assert boot.this_boot(machine.site()).number == 12
    machine.write("/proc/sys/kernel/random/boot_id", "two\n")
    assert boot.this_boot(machine.site()).number == 0


@pytest.mark.parametrize("noted", ["", "one", "one x 1 1", "one 1 x 1", "one 1 2 3 4", "\xff"])
def test_a_note_that_makes_no_sense(machine: Machine, noted: str) -> None:
    machine.write(boot.NOTE, noted)
    assert boot.this_boot(machine.site()).number == 0
    assert boot.moment(machine.site()).uptime == 100.25


def test_a_note_that_cannot_be_written_is_none(machine: Machine) -> None:
    machine.write("/var/run", "a file")
    boot.note(machine.site(), 12, boot.moment(machine.site()))
    assert boot.this_boot(machine.site()).number == 0


def trusted(machine: Machine) -> bool:
    return boot.moment(machine.site()).trusted


def test_a_clock_is_believed_with_hardware_behind_it(machine: Machine) -> None:
    assert not trusted(machine)
    machine.write("/dev/rtc0", "")
    assert trusted(machine)


def test_a_clock_is_believed_once_somebody_has_set_it(machine: Machine,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    stale = time.time()
    monkeypatch.setattr(time, "time", lambda: stale)
    boot.note(machine.site(), 1, boot.moment(machine.site()))
    assert not trusted(machine)
    machine.write("/proc/uptime", "160.25 90.0\n")
    monkeypatch.setattr(time, "time", lambda: stale + 60)
    assert not trusted(machine)
    monkeypatch.setattr(time, "time", lambda: stale + 60 + 86400)
    assert trusted(machine)
    boot.note(machine.site(), 1, boot.moment(machine.site()))
    assert trusted(machine)


def test_a_clock_of_1970_is_never_believed(machine: Machine,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    machine.write("/dev/rtc0", "")
    monkeypatch.setattr(time, "time", lambda: CLOCK_FLOOR - 1.0)
    assert not trusted(machine)


def test_without_proc_there_is_still_an_uptime(machine: Machine) -> None:
    machine.write("/proc/uptime", "")
    assert boot.moment(machine.site()).uptime > 0
