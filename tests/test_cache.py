"""cache.py: the fingerprint changes when something changed, and only then."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from lastlog_py import cache
from tests import zones
from tests.machine import Machine

SIZE = 4096


@pytest.fixture
def live(machine: Machine) -> Machine:
    """A running ramoops with one dump zone and a console zone, an archive with one file."""
    machine.mtd(zones.zone(SIZE, zones.dump(zones.log(5))) + zones.zone(SIZE, b"[    1.0] x\n"))
    machine.ramoops(2 * SIZE, SIZE, console=SIZE)
    machine.archive.mkdir()
    (machine.archive / "k-1.gz").write_bytes(b"x")
    machine.write("/proc/sys/kernel/panic", "3\n")
    return machine


def crash(machine: Machine) -> None:
    device = machine.root / "dev/mtd3"
    device.write_bytes(zones.zone(SIZE, zones.dump(zones.log(6))) + device.read_bytes()[SIZE:])


def talk(machine: Machine) -> None:
    device = machine.root / "dev/mtd3"
    device.write_bytes(device.read_bytes()[:SIZE] + zones.zone(SIZE, b"[    1.0] x\n" * 3))


CHANGES: dict[str, Callable[[Machine], object]] = {
    "a crash": crash,
    "a boot": lambda m: m.write("/etc/lastlog/boots", "n=1\tid=a\n"),
    "a saved record": lambda m: (m.archive / "k-2.gz").write_bytes(b"y"),
    "a deleted record": lambda m: (m.archive / "k-1.gz").unlink(),
    "a pstore file": lambda m: m.pstore("dmesg-ramoops-0", b"x"),
    "a setting": lambda m: m.write("/proc/sys/kernel/panic", "0\n"),
    "the configuration": lambda m: m.configure(ecc=16),
    "no region any more": lambda m: m.write("/proc/mtd", ""),
}


@pytest.mark.parametrize("what", CHANGES)
def test_it_changes_with(live: Machine, what: str) -> None:
    before = cache.fingerprint(live.config())
    CHANGES[what](live)
    assert cache.fingerprint(live.config()) != before


def test_a_replaced_record_counts_even_if_the_clock_stands_still(live: Machine) -> None:
    old = live.archive / "k-1.gz"
    stamp = old.stat().st_mtime_ns
    before = cache.fingerprint(live.config())
    new = live.archive / "new"
    new.write_bytes(b"z")
    os.utime(new, ns=(stamp, stamp))
    new.rename(old)
    assert cache.fingerprint(live.config()) != before


def test_the_console_of_the_running_boot_does_not_count(live: Machine) -> None:
    before = cache.fingerprint(live.config())
    talk(live)
    assert cache.fingerprint(live.config()) == before


def test_an_answer_is_remembered_while_nothing_changes(live: Machine) -> None:
    config = live.config()
    cache.remember(config, "status", "stamp", b'{"a":1}')
    assert cache.lookup(config, "status", "stamp") == b'{"a":1}'
    assert cache.lookup(config, "status", "other") is None
    assert cache.lookup(config, "list", "stamp") is None
    folder = cache.folder(config)
    assert folder and os.stat(folder).st_mode & 0o777 == 0o700


def test_a_cache_that_others_can_write_is_not_used(live: Machine) -> None:
    config = live.config()
    cache.remember(config, "status", "stamp", b"{}")
    os.chmod(str(cache.folder(config)), 0o777)
    assert cache.folder(config) is None
    assert cache.lookup(config, "status", "stamp") is None


def test_without_a_place_for_it_nothing_breaks(live: Machine) -> None:
    live.write("/var/run/lastlog", "a file in the way")
    config = live.config()
    cache.remember(config, "status", "stamp", b"{}")
    assert cache.lookup(config, "status", "stamp") is None
