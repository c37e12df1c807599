"""The process dies before any one system call of a real save, clear and harvest.

After each cut every record is whole in at least one of its two places, memory or archive, and
doing it again finishes the job.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lastlog_py import boot, harvest, ledger, service
from lastlog_py.config import Config
from lastlog_py.errors import LastlogError
from lastlog_py.medium import journal_device
from tests import zones
from tests.archive.cut import cut, is_possible
from tests.machine import Machine

pytestmark = pytest.mark.skipif(not is_possible(), reason="processes may not be traced here")

SIZE = 4096
TEXTS = {zones.log(9, "Oops#1 Part1"), zones.log(12)}


def crashed(folder: Path) -> Machine:
    """Two crashes in a region, one of them also handed out by the kernel."""
    machine = Machine(folder)
    first, second = sorted(TEXTS)
    machine.mtd(zones.zone(SIZE, zones.dump(first, "1800000000.000001")) +
                zones.zone(SIZE, zones.dump(second, "1800000900.000001", "C")) +
                zones.zone(SIZE))
    machine.pstore("dmesg-ramoops-0", first, "1800000000.000001")
    return machine


def texts_of(machine: Machine) -> set[bytes]:
    """The texts of all records that can still be read whole, wherever they are."""
    config = machine.config()
    records = [service.get(config, record["id"])
               for record in service.list_records(config)["records"]]
    return {record["text"].encode() for record in records if not record["source"]["torn"]}


def save_and_clear(machine: Machine) -> None:
    service.save(machine.config())
    service.clear(machine.config())


def cut_everywhere(folder: Path, step: Callable[[Machine], object],
                   prepare: Callable[[Machine], object] = lambda machine: None) -> int:
    """Cut `step` before each of its system calls; how many there were."""
    cuts = 0
    while True:
        here = folder / "cut"
        machine = crashed(here)
        prepare(machine)
        was_cut = cut(lambda: step(machine), cuts + 1)  # noqa: B023
        assert texts_of(machine) >= TEXTS, f"lost by a cut before system call {cuts + 1}"
        save_and_clear(machine)
        assert texts_of(machine) == TEXTS
        assert service.status(machine.config())["captured"] == 0
        shutil.rmtree(here)
        if not was_cut:
            return cuts
        cuts += 1


def test_a_save(tmp_path: Path) -> None:
    assert cut_everywhere(tmp_path, lambda machine: service.save(machine.config())) > 100


def test_a_clear(tmp_path: Path) -> None:
    def clear(machine: Machine) -> None:
        service.clear(machine.config())

    assert cut_everywhere(tmp_path, clear, lambda m: service.save(m.config())) > 100


def rebooted(machine: Machine, number: int) -> None:
    """The next boot: memory and flash as they were, tmpfs anew."""
    machine.write("/proc/sys/kernel/random/boot_id", f"boot-{number}\n")
    shutil.rmtree(machine.root / "var", ignore_errors=True)


@pytest.mark.parametrize("autosave", [True, False])
def test_a_harvest(tmp_path: Path, autosave: bool) -> None:
    """Cut anywhere, the next boot finds every crash once, and the reason of both reboots."""
    cuts = 0
    while True:
        machine = Machine(tmp_path / "cut")
        config = with_journal(machine, autosave)
        was_cut = cut(lambda: harvest.harvest(config), cuts + 1)  # noqa: B023
        assert texts_of(machine) >= TEXTS, f"lost by a cut before system call {cuts + 1}"
        rebooted(machine, 3)
        harvest.harvest(config)
        assert sorted(text.encode() for text in all_texts(machine)) == sorted(TEXTS)
        told = service.status(config)
        reasons = [each["reason"] for each in told["history"]["boots"]]
        assert reasons in (["panic", "unknown"], ["hang", "panic", "unknown"]), cuts + 1
        assert (told["saved"], told["captured"]) == ((2, 0) if autosave else (0, 2))
        shutil.rmtree(tmp_path / "cut")
        if not was_cut:
            break
        cuts += 1
    assert cuts > 150


def with_journal(machine: Machine, autosave: bool) -> Config:
    """Two crashes and a journal, in a region that the boot before this one wrote to."""
    region = machine.write("/region.bin", b"".join(
        [zones.zone(SIZE, zones.dump(text, f"1800000{n}00.000001")) for n, text in
         enumerate(sorted(TEXTS))]) + zones.zone(SIZE) * 2 + bytes(16384))
    machine.configure(file=region, record_size=SIZE, journal_size=16384)
    if not autosave:
        machine.conf.write_text(machine.conf.read_text().replace(
            "config region", "\toption autosave '0'\nconfig region"))
    config = machine.config()
    before = ledger.BootEntry("boot-1", 1)
    before.memory, before.reason = "journal", "unknown"
    ledger.write(config.ledger, [before])
    line = ledger.to_line(before).encode()
    journal_device.find(config.site).append("boot", line, boot.moment(config.site), 1)
    rebooted(machine, 2)
    return config


def all_texts(machine: Machine) -> list[str]:
    config = machine.config()
    records = service.list_records(config, "kernel")["records"]
    return [service.get(config, record["id"])["text"] for record in records]


def test_clearing_what_is_not_saved_is_refused_at_every_cut(tmp_path: Path) -> None:
    machine = crashed(tmp_path)
    with pytest.raises(LastlogError, match="not saved yet"):
        service.clear(machine.config())
    assert texts_of(machine) == TEXTS
