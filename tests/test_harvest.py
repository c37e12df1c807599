"""What the boot service runs, boot after boot, on a made-up router."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from lastlog_py import boot, harvest, ledger, service
from lastlog_py.archive_file import Entry, pack
from lastlog_py.errors import LastlogError
from lastlog_py.medium import journal_device
from lastlog_py.medium.collect import collect
from tests import foreign, samples, zones
from tests.machine import Machine

ZONE, JOURNAL = 65536, 65536
PANIC = samples.kernel_text("c12_null_deref_panic_on_oops", "dmesg-ramoops-1")
OOPS = samples.kernel_text("c12_null_deref_panic_on_oops", "dmesg-ramoops-0")
OOM = samples.kernel_text("s15_oom", "dmesg-ramoops-0").replace(b"6.1.0-50-amd64", b"6.1.192")


class Router(Machine):
    """A router with four zones for dumps and a journal, which is booted again and again."""

    def __init__(self, folder: Path, journal: int = JOURNAL) -> None:
        super().__init__(folder)
        self.number = 0
        self.region = self.write("/region.bin", zones.zone(ZONE) * 4 + bytes(journal))
        self.configure(file=self.region, record_size=ZONE, journal_size=journal)
        self.write("/proc/sys/kernel/osrelease", "6.1.192\n")
        self.firmware("24.10.2")
        self.write("/dev/rtc0", "")

    def firmware(self, release: str) -> None:
        self.write("/etc/openwrt_release",
                   f"DISTRIB_RELEASE='{release}'\nDISTRIB_REVISION='r1'\n")

    def boot(self, uptime: float = 0.5) -> dict[str, Any]:
        """Start anew, memory kept, and harvest."""
        self.boot_id(self.number + 1)
        for file in (self.root / "var/run/lastlog").glob("*"):
            file.unlink()
        self.uptime(uptime)
        return self.harvest()

    def boot_id(self, number: int) -> None:
        self.number = number
        self.write("/proc/sys/kernel/random/boot_id", f"boot-{number}\n")

    def uptime(self, seconds: float) -> None:
        self.write("/proc/uptime", f"{seconds:.2f} 1.00\n")

    def harvest(self) -> dict[str, Any]:
        return dict(harvest.harvest(self.config()))

    def shutdown(self, uptime: float, log: bytes = b"") -> None:
        self.uptime(uptime)
        assert harvest.shutdown(self.config(), lambda: log)["problems"] == []

    def panic(self, text: bytes = PANIC, slot: int = 0, when: str = "1800000000.000001") -> None:
        """The kernel dumps its log into a slot."""
        with self.region.open("r+b") as file:
            file.seek(slot * ZONE)
            file.write(zones.zone(ZONE, zones.dump(text, when)))

    def power_cut(self) -> None:
        self.region.write_bytes(zones.zone(ZONE) * 4 + bytes(JOURNAL))

    def status(self) -> dict[str, Any]:
        return service.status(self.config())

    def reason(self) -> str:
        return str(self.status()["last_reboot"]["reason"])

    def records(self, kind: str | None = "kernel") -> list[dict[str, Any]]:
        return list(service.list_records(self.config(), kind)["records"])

    def states(self) -> list[str]:
        return [record["state"] for record in self.records()]

    def slots(self) -> list[bool]:
        """Which of the four slots are in use."""
        region = self.region.read_bytes()
        return [region[slot * ZONE + 4:slot * ZONE + 12].strip(b"\0\xff") != b""
                for slot in range(4)]


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return Router(tmp_path)


def test_the_first_boot(router: Router) -> None:
    reply = router.boot()
    assert (reply["boot"], reply["reason"], reply["found"], reply["problems"]) == (
        1, "unknown", [], [])
    assert "first boot" in router.status()["last_reboot"]["text"]
    assert router.status()["history"]["text"] == ""


def test_a_clean_reboot(router: Router) -> None:
    router.boot()
    router.shutdown(5000.0)
    assert router.boot()["reason"] == "clean"
    assert router.reason() == "clean"
    assert router.status()["history"]["text"] == "1 boot: 1 clean"


def test_a_clean_shutdown_and_the_power_off(router: Router) -> None:
    router.boot()
    router.shutdown(5000.0)
    router.power_cut()
    assert router.boot()["reason"] == "clean"


def test_a_loss_of_power(router: Router) -> None:
    router.boot()
    router.power_cut()
    assert router.boot()["reason"] == "power-loss"


def test_a_new_firmware(router: Router) -> None:
    """sysupgrade stops no services: the first boot of an image tells it."""
    router.boot()
    router.power_cut()
    router.boot_id(2)
    router.write("/var/run/lastlog/flashed", "")
    assert router.harvest()["reason"] == "clean"


def test_a_log_that_never_ends_does_not_cost_the_mark(router: Router) -> None:
    router.boot()

    def hang() -> bytes:
        raise KeyboardInterrupt             # the init script's patience is over

    with pytest.raises(KeyboardInterrupt):
        harvest.shutdown(router.config(), hang)
    assert router.boot()["reason"] == "clean"


def test_a_hang(router: Router) -> None:
    router.boot()
    assert router.boot()["reason"] == "hang"
    assert "watchdog" in router.status()["last_reboot"]["text"]


def test_a_watchdog_that_says_so(router: Router) -> None:
    router.boot()
    router.power_cut()
    router.write("/sys/class/watchdog/watchdog0/bootstatus", "32\n")
    assert router.boot()["reason"] == "hang"


def test_a_panic_is_saved_and_its_source_erased(router: Router) -> None:
    router.boot()
    router.panic()
    reply = router.boot()
    (record,) = router.records()
    assert (reply["reason"], reply["found"], reply["saved"]) == (
        "panic", [record["id"]], [record["id"]])
    assert (record["state"], record["boot"]) == ("saved", {
        "id": "boot-1", "number": 1, "firmware": "24.10.2 r1", "kernel": "6.1.192"})
    assert router.slots() == [False] * 4
    assert router.status()["last_reboot"]["record"] == record["id"]
    assert router.status()["last_reboot"]["text"].startswith("Rebooted after a kernel panic: NULL")
    assert "NULL pointer" in reply["text"] and record["id"] in reply["text"]


def test_out_of_memory(router: Router) -> None:
    router.boot()
    router.panic(OOM)
    assert router.boot()["reason"] == "oom"


def test_a_harvest_done_again_changes_nothing(router: Router) -> None:
    router.boot()
    router.panic()
    router.boot()
    before = (router.region.read_bytes(), Path(router.config().ledger).read_bytes())
    again = router.harvest()
    assert (again["reason"], again["found"], again["saved"], again["problems"]) == (
        "panic", [], [], [])
    assert before == (router.region.read_bytes(), Path(router.config().ledger).read_bytes())


def test_a_crash_carries_the_firmware_that_crashed(router: Router) -> None:
    router.boot()
    router.panic()
    router.firmware("25.12.0")
    router.boot()
    (record,) = router.records()
    assert record["boot"]["firmware"] == "24.10.2 r1"


def test_a_crash_of_another_kernel_is_not_the_last_boot_s(router: Router) -> None:
    """The boot that crashed had a new firmware, and did not come as far as its harvest."""
    router.boot()
    router.shutdown(5000.0)
    router.write("/proc/sys/kernel/osrelease", "6.12.1\n")
    router.firmware("25.12.0")
    router.panic(PANIC.replace(b"6.1.192", b"6.12.1"))
    reply = router.boot()
    (record,) = router.records()
    assert reply["reason"] == "panic"
    assert record["boot"] | {"kernel": ""} == {"id": None, "number": None, "kernel": "",
                                               "firmware": "25.12.0 r1"}


def test_a_crash_before_the_harvest(router: Router) -> None:
    """Sooner after its boot than the last counted boot lived: it was another one."""
    router.boot(uptime=600.0)
    router.panic()
    reply = router.boot(uptime=600.0)
    (record,) = router.records()
    assert (reply["reason"], record["boot"]["number"]) == ("panic", None)
    assert record["boot"]["firmware"] == "24.10.2 r1"


def test_a_survived_oops_is_not_why_it_rebooted(router: Router) -> None:
    router.boot(uptime=0.5)
    router.panic(OOPS)
    router.shutdown(90000.0)
    assert router.boot()["reason"] == "clean"
    assert router.states() == ["saved"]


@pytest.mark.parametrize("uptime", [1.0, 2.5, 3.5])
def test_a_panic_on_the_way_down(router: Router, uptime: float) -> None:
    """Right after the mark of a clean shutdown (the panic is of 1.9 s after the boot)."""
    router.boot()
    router.shutdown(uptime)
    router.panic()
    assert router.boot()["reason"] == "panic"
    assert router.records()[0]["boot"]["number"] == 1


def test_a_survived_oops_does_not_explain_a_later_hang(tmp_path: Path) -> None:
    router = Router(tmp_path, journal=0)
    router.archive.write_text("in the way")
    router.boot()
    router.panic(OOPS)
    router.shutdown(90000.0)
    assert router.boot()["reason"] == "clean"
    again = router.boot()
    assert (again["reason"], again["found"]) == ("unknown", [])


def test_a_crash_keeps_its_boot_while_it_waits_in_its_zone(tmp_path: Path) -> None:
    router = Router(tmp_path, journal=0)
    router.archive.write_text("in the way")
    router.boot()
    router.panic()
    router.firmware("25.12.0")
    router.boot()
    assert router.records()[0]["boot"]["firmware"] == "24.10.2 r1"
    router.boot()
    router.archive.unlink()
    service.save(router.config())
    assert router.records()[0]["boot"]["number"] == 1


def test_two_panics_are_not_of_one_boot(router: Router) -> None:
    router.boot()
    router.panic(slot=0, when="1800000000.000001")
    router.panic(OOM, slot=1, when="1800000300.000001")
    reply = router.boot()
    assert reply["reason"] == "oom"
    assert [record["boot"]["number"] for record in router.records()] == [None, 1]


def test_a_boot_that_went_on_after_its_clean_mark(router: Router) -> None:
    router.boot()
    router.shutdown(100.0)
    router.uptime(5000.0)
    router.harvest()
    assert router.boot()["reason"] == "hang"


def test_a_journal_that_cannot_be_read_is_no_loss_of_power(router: Router) -> None:
    router.boot()
    router.region.rename(router.region.with_suffix(".away"))
    assert router.boot()["reason"] == "unknown"


def test_a_lost_ledger_goes_on_counting_from_the_archive(router: Router) -> None:
    for at in range(3):
        router.boot()
        router.panic(when=f"180000000{at}.000001")
    router.boot()
    Path(router.config().ledger).unlink()
    router.power_cut()
    assert router.boot()["boot"] == 4


def test_a_restart_that_the_kernel_dumped_is_a_clean_one(router: Router) -> None:
    router.boot()
    router.panic(zones.log(5, "Shutdown#1 Part1"))
    assert router.boot()["reason"] == "clean"


def test_a_boot_number_beyond_reason(router: Router) -> None:
    router.boot()
    line = b"n=999999999\tid=forged"
    journal_device.find(router.site()).append("boot", line, boot.moment(router.site()), 1)
    for _ in range(3):
        router.boot()
    assert router.reason() == "hang"


def test_without_a_place_for_the_lock(router: Router) -> None:
    router.boot()
    router.panic()
    router.boot_id(2)
    (router.root / "var/run/lastlog/harvest").unlink()
    router.write("/var/run/lastlog/harvest/in-the-way", "")
    reply = router.harvest()
    assert len(reply["saved"]) == 1 and "noted" in reply["problems"][0]["what"]


def test_a_ledger_that_is_a_pipe(router: Router) -> None:
    os.mkfifo(router.config().ledger)
    assert router.boot()["boot"] == 1
    assert router.status()["last_reboot"]["reason"] == "unknown"


def test_a_flood_of_logs_does_not_fill_the_archive(router: Router) -> None:
    router.boot()
    ring = journal_device.find(router.site())
    for at in range(100):
        ring.append("log", b"line %d\n" % at, boot.moment(router.site()), 1)
    router.panic()
    reply = router.boot()
    saved = {record["id"] for record in router.records("log") if record["state"] != "captured"}
    assert len(saved) == 16 and reply["saved"][0] == reply["found"][0]


def test_the_time_of_a_boot_whose_clock_was_never_set(router: Router) -> None:
    (router.root / "dev/rtc0").unlink()
    router.configure(file="")
    router.mtd(router.region.read_bytes())
    router.region = router.root / "dev/mtd3"
    router.boot()
    began = time.time() - 0.5
    router.panic(when=f"{began + 1.9:.6f}")
    router.boot()
    assert router.records()[0]["time_trusted"] is False


def test_a_boot_can_be_shown(router: Router) -> None:
    router.boot()
    router.shutdown(500.0)
    router.boot()
    (newest, first) = router.records("boot")
    assert "reason=clean" in service.get(router.config(), newest["id"])["text"]
    assert "end=clean" in service.get(router.config(), first["id"])["text"]


def test_the_same_crash_again_and_again(router: Router) -> None:
    router.boot()
    for at in range(5):
        router.panic(PANIC, when=f"18000{at}0000.000001")
        reply = router.boot()
    assert "5 times by now" in reply["text"]
    assert {record["count"] for record in router.records()} == {5}
    assert router.status()["history"]["text"] == \
        "5 boots: 5 panics with the same signature since 24.10.2"
    assert [entry["number"] for entry in router.status()["history"]["boots"]] == [6, 5, 4, 3, 2, 1]


def test_without_autosave_a_crash_moves_into_the_journal(router: Router) -> None:
    router.conf.write_text(router.conf.read_text().replace(
        "config region", "\toption autosave '0'\nconfig region"))
    router.boot()
    router.panic()
    reply = router.boot()
    (record,) = router.records()
    assert (reply["moved"], reply["saved"]) == ([record["id"]], [])
    assert (record["state"], router.slots()) == ("captured", [False] * 4)
    assert record["boot"]["number"] == 1
    assert not router.archive.exists()
    router.panic(OOM)
    assert router.boot()["found"] != [record["id"]]
    assert len(router.records()) == 2 and router.states() == ["captured"] * 2


def test_what_cannot_be_saved_moves_into_the_journal_and_is_saved_later(router: Router) -> None:
    router.boot()
    router.archive.write_text("in the way")
    router.panic()
    reply = router.boot()
    assert reply["moved"] == reply["found"] and reply["problems"]
    assert router.slots() == [False] * 4
    router.archive.unlink()
    reply = router.boot()
    (record,) = router.records()
    assert reply["found"] == [] and reply["saved"] == [record["id"]]
    assert (record["state"], record["boot"]["number"]) == ("saved", 1)


def test_a_drive_that_comes_late_is_saved_to_in_the_same_boot(router: Router) -> None:
    router.boot()
    router.archive.write_text("in the way")
    router.panic()
    (name,) = router.boot()["moved"]
    router.archive.unlink()
    assert router.harvest()["saved"] == [name]
    assert (router.states(), router.harvest()["saved"]) == (["saved"], [])


def test_what_moves_into_a_full_journal_pushes_out_no_crash(tmp_path: Path) -> None:
    """Four crashes, and room for two of them: nothing is lost, however often it is tried."""
    router = Router(tmp_path, journal=20480)
    router.conf.write_text(router.conf.read_text().replace(
        "config region", "\toption autosave '0'\nconfig region"))
    router.boot()
    for slot in range(4):
        router.panic(b"".join(b"Oops#%d Part1\n" % (slot + 1) if at == 0 else b"%b %d\n" % (
            line, slot) for at, line in enumerate(PANIC.splitlines())), slot)
    for _ in range(3):
        router.harvest()
        router.boot()
        assert len(router.records()) == 4
    assert 0 < sum(router.slots()) < 4


def test_a_forged_copy_in_the_journal_is_another_record(router: Router) -> None:
    router.conf.write_text(router.conf.read_text().replace(
        "config region", "\toption autosave '0'\nconfig region"))
    router.boot()
    router.panic()
    (bare,) = collect(router.site()).found
    forged = pack(Entry(bare.record._replace(text="nothing to see\n", raw=None)))
    ring = journal_device.find(router.site())
    ring.append("kernel", forged, boot.moment(router.site()), 1, form="record")
    assert router.boot()["moved"] == [bare.record.id]
    texts = {service.get(router.config(), each["id"])["text"] for each in router.records()}
    assert texts == {bare.record.text, "nothing to see\n"}


def test_without_a_journal_what_cannot_be_saved_stays(tmp_path: Path) -> None:
    router = Router(tmp_path, journal=0)
    router.boot()
    router.archive.write_text("in the way")
    router.panic()
    reply = router.boot()
    assert (reply["saved"], reply["moved"]) == ([], [])
    assert router.slots() == [True, False, False, False]
    assert router.states() == ["captured"]
    assert {each["where"] for each in reply["problems"]} == {str(router.archive), "journal"}
    router.archive.unlink()
    assert router.harvest()["saved"] and router.slots() == [False] * 4


def test_flash_that_cannot_be_written(router: Router) -> None:
    """Then the journal alone knows the boots."""
    Path(router.config().ledger).mkdir(parents=True)
    router.boot()
    told = harvest.shutdown(router.config(), bytes)["problems"]
    assert [each["where"] for each in told] == ["ledger"]
    reply = router.boot()
    assert reply["reason"] == "clean"
    assert [each["where"] for each in reply["problems"]] == ["ledger"]
    assert router.status()["history"]["text"] == "1 boot: 1 clean"
    router.panic()
    assert router.boot()["reason"] == "panic" and router.reason() == "panic"


def test_a_log_stored_at_shutdown(router: Router) -> None:
    router.boot()
    router.shutdown(500.0, b"".join(b"line %d\n" % i for i in range(10000)))
    router.boot()
    (record,) = router.records("log")
    text = service.get(router.config(), record["id"])["text"]
    assert record["title"] == "system log at shutdown" and record["state"] == "captured"
    assert text.startswith("line ") and text.endswith("line 9999\n")
    assert record["boot"]["number"] == 1 and record["boot"]["firmware"] == "24.10.2 r1"


def test_a_hang_saves_the_last_words(router: Router) -> None:
    router.boot()
    ring = journal_device.find(router.site())
    ring.append("log", b"the last words\n", harvest.boot.moment(router.site()), 1, "stored")
    reply = router.boot()
    assert reply["reason"] == "hang"
    (record,) = router.records("log")
    assert record["state"] == "saved" and record["id"] in reply["saved"]


@pytest.mark.parametrize("named", ["boot", "power"])
def test_garbage_in_cold_memory(router: Router, named: str) -> None:
    router.boot()
    import random
    router.region.write_bytes(random.Random(named).randbytes(ZONE * 4 + JOURNAL))
    assert router.boot()["reason"] == "power-loss"
    assert router.records() == []


def test_events(router: Router) -> None:
    for name in ("ubus", "hotplug-call"):
        tool = router.write(f"/usr/sbin/{name}", "#!/bin/sh\n{ echo \"$0\" | sed 's,.*/,,'; "
                            f"echo \"$@\"; env | grep = ; }} >> {router.root}/heard\n")
        tool.chmod(0o755)
    router.boot()
    router.panic(PANIC.replace(b"lkdtm_EXCEPTION", b"evil'$(reboot)"))
    (name,) = router.boot()["found"]
    heard = (router.root / "heard").read_text()
    assert "send lastlog.crash {" in heard
    event = json.loads(heard.split("lastlog.crash ")[1].split("\n")[0])
    assert event["id"] == name and "text" not in event and event["boot"]["number"] == 1
    for words in ("ACTION=crash", f"RECORD={name}", "KIND=kernel", "SIGNATURE=k1:", "TITLE=NULL"):
        assert words in heard
    (router.root / "heard").unlink()
    router.boot()
    assert not (router.root / "heard").exists()


def test_a_harvest_that_was_cut_off_is_made_up_for(router: Router,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved, but neither noted nor erased; then this boot crashes too."""
    router.boot()
    router.panic()

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ledger, "write", cut)
        router.boot()
    assert router.slots() == [True, False, False, False]
    router.panic(OOM, when="1800000500.000001")
    reply = router.boot()
    assert reply["reason"] == "oom" and len(reply["found"]) == 1
    assert [entry["reason"] for entry in router.status()["history"]["boots"]] == [
        "oom", "panic", "unknown"]
    assert [record["boot"]["number"] for record in router.records()] == [2, 1]
    assert router.states() == ["saved"] * 2


def test_without_any_memory(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.write("/proc/sys/kernel/random/boot_id", "one\n")
    reply = harvest.harvest(machine.config())
    assert (reply["boot"], reply["reason"]) == (1, "unknown")
    harvest.shutdown(machine.config(), bytes)
    machine.write("/proc/sys/kernel/random/boot_id", "two\n")
    assert harvest.harvest(machine.config())["reason"] == "clean"
    machine.write("/proc/sys/kernel/random/boot_id", "three\n")
    assert harvest.harvest(machine.config())["reason"] == "unknown"


def test_the_crashes_of_the_night_in_order_whatever_the_clock_said(router: Router) -> None:
    """The clock went back, then was not set at all."""
    router.boot()
    for when in ("1800000000.000001", "1750000000.000001", "0.000001", "5.000001"):
        router.panic(PANIC.replace(b"CPU: 0", b"CPU: " + when[:4].encode()), when=when)
        router.boot()
    assert [record["boot"]["number"] for record in router.records()] == [4, 3, 2, 1]
    boots = router.records("boot")
    assert [boot["title"].partition(":")[0] for boot in boots] == [
        "Boot 5", "Boot 4", "Boot 3", "Boot 2", "Boot 1"]
    assert {boot["boot"]["firmware"] for boot in boots} == {"24.10.2 r1"}
    assert boots[0]["title"] == "Boot 5: Rebooted after a kernel panic"


def test_a_panic_that_only_the_console_tells_of(router: Router) -> None:
    """A board without zones for dumps."""
    router.boot()
    router.configure(record_size=ZONE, console_size=ZONE, journal_size=JOURNAL)
    console = samples.kernel_text("c12_null_deref_panic_on_oops", "console-ramoops-0")
    with router.region.open("r+b") as file:
        file.seek(3 * ZONE)
        file.write(zones.zone(ZONE, console))
    reply = router.boot()
    assert (reply["reason"], reply["found"]) == ("panic", [])
    (record,) = router.records("console")
    assert reply["record"] == record["id"] and record["state"] == "both"
    assert router.status()["last_reboot"]["text"].startswith(
        "Rebooted after a kernel panic: NULL pointer dereference")


class Board(Machine):
    """A router whose kernel does the writing: MTD device, running ramoops and pstore files."""

    def __init__(self, folder: Path, phram: bool, ramoops: bool, mounted: bool) -> None:
        super().__init__(folder)
        self.write("/proc/sys/kernel/random/boot_id", "boot-1\n")
        self.write("/proc/sys/kernel/osrelease", "6.1.192\n")
        self.configure(journal_size=JOURNAL)
        if ramoops:
            self.ramoops(ZONE * 2, ZONE, console=ZONE)
            self.write("/proc/mounts", "pstore /sys/fs/pstore pstore rw 0 0\n" if mounted else "")
        if phram:
            self.mtd(zones.zone(ZONE, zones.dump(PANIC)) + zones.zone(ZONE, b"[    1.0] now\n")
                     + bytes(JOURNAL))
        if ramoops and mounted:
            self.pstore("dmesg-ramoops-0", PANIC, "1700000000.000042")
            self.pstore("console-ramoops-0", b"[    1.9] before\n", "1700000000.000042")

    def sources(self) -> list[bool]:
        """Whether the dump is still in its zone, and in its file."""
        device = self.root / "dev/mtd3"
        return [device.exists() and device.read_bytes()[4:12] not in (bytes(8), b"\xff" * 8),
                (self.root / "sys/fs/pstore/dmesg-ramoops-0").exists()]


@pytest.mark.parametrize(("phram", "ramoops", "mounted", "found"), [
    (True, True, True, 1), (True, True, False, 1), (True, False, False, 1), (False, True, True, 1),
    (False, True, False, 0), (False, False, False, 0)])
def test_every_board(tmp_path: Path, phram: bool, ramoops: bool, mounted: bool,
                     found: int) -> None:
    board = Board(tmp_path, phram, ramoops, mounted)
    reply = harvest.harvest(board.config())
    assert (len(reply["found"]), reply["reason"]) == (found, "panic" if found else "unknown")
    assert reply["saved"][:1] == reply["found"]
    assert board.sources() == [False, False]
    states = [each["state"] for each in service.list_records(board.config(), "kernel")["records"]]
    assert states == ["saved"] * found
    # The console's zone is this boot's by now: what it said before is saved, and not erased.
    assert (board.root / "sys/fs/pstore/console-ramoops-0").exists() is mounted


def thrown_away(board: Board, tail: bytes = b"") -> None:
    """The driver has emptied the zone, and shows no file of it."""
    dump = zones.zone(ZONE, zones.dump(PANIC) + tail)
    with (board.root / "dev/mtd3").open("r+b") as device:
        device.write(dump[:4] + bytes(8) + dump[12:])
    (board.root / "sys/fs/pstore/dmesg-ramoops-0").unlink(missing_ok=True)


def test_a_dump_that_the_driver_threw_away_is_harvested_once(tmp_path: Path) -> None:
    board = Board(tmp_path, phram=True, ramoops=True, mounted=True)
    thrown_away(board)
    (record,) = service.list_records(board.config(), "kernel")["records"]
    assert record["source"]["recovered"] and record["state"] == "captured"
    reply = harvest.harvest(board.config())
    assert (reply["reason"], reply["found"], reply["saved"][:1]) == (
        "panic", [record["id"]], [record["id"]])
    for number in (1, 2):
        board.write("/proc/sys/kernel/random/boot_id", f"boot-{number}\n")
        assert harvest.harvest(board.config())["found"] == []
        (record,) = service.list_records(board.config(), "kernel")["records"]
        assert (record["state"], record["count"]) == ("saved", 1)


def test_what_somebody_removed_long_ago_does_not_explain_a_clean_reboot(tmp_path: Path) -> None:
    board = Board(tmp_path, phram=True, ramoops=True, mounted=True)
    service.clear(board.config(), "memory", force=True)
    assert harvest.harvest(board.config())["found"] == []
    harvest.shutdown(board.config(), bytes)
    board.write("/proc/sys/kernel/random/boot_id", "boot-2\n")
    thrown_away(board)
    reply = harvest.harvest(board.config())
    assert (reply["reason"], len(reply["found"])) == ("clean", 1)


@pytest.mark.parametrize("saved", [True, False])
def test_a_dump_that_was_cleared_does_not_come_back(tmp_path: Path, saved: bool) -> None:
    """The driver empties a zone's header only when its file is removed: the rest is ours to
    blank."""
    board = Board(tmp_path, phram=True, ramoops=True, mounted=True)
    if saved:
        service.save(board.config())
    service.clear(board.config(), "all", force=True)
    assert not any((board.root / "dev/mtd3").read_bytes()[12:ZONE])
    assert service.list_records(board.config(), "kernel")["records"] == []
    assert harvest.harvest(board.config())["found"] == []


@pytest.mark.parametrize("tail", [b"", b"what an older and longer dump has left\n"])
def test_a_saved_dump_whose_file_somebody_removed_is_not_harvested_again(tmp_path: Path,
                                                                         tail: bytes) -> None:
    board = Board(tmp_path, phram=True, ramoops=True, mounted=True)
    (name,) = (each["id"] for each in
               service.list_records(board.config(), "kernel")["records"])
    service.save(board.config(), [name])
    thrown_away(board, tail)
    assert [(each["id"], each["state"]) for each in
            service.list_records(board.config(), "kernel")["records"]] == [(name, "both")]
    harvest.harvest(board.config())
    assert [(each["id"], each["state"], each["count"]) for each in
            service.list_records(board.config(), "kernel")["records"]] == [(name, "saved", 1)]
    service.clear(board.config(), "saved", [name])
    assert service.list_records(board.config(), "kernel")["records"] == []


@pytest.mark.parametrize("name", ["s01_plain", "s07_none", "c12_null_deref_panic_on_oops",
                                  "z06_deflate_flip", "z06_deflate_hole"])
def test_no_file_and_zone_are_listed_or_harvested_as_two(tmp_path: Path, name: str) -> None:
    """The times of the files are wrong here, as those of copies are."""
    board = Board(tmp_path, phram=False, ramoops=False, mounted=False)
    board.configure(journal_size=0)
    region, sizes = samples.region(name), samples.manifest()[name]["geometry"]
    board.mtd(region)
    board.ramoops(len(region), sizes["record_size"], sizes["console_size"], sizes["ftrace_size"],
                  sizes["pmsg_size"])
    board.write("/proc/mounts", "pstore /sys/fs/pstore pstore rw 0 0\n")
    for file in samples.manifest()[name]["kernel_files"]:
        board.pstore(file, samples.kernel_file(name, file))
    listed = service.list_records(board.config(), "kernel")["records"]
    dumps = sum(file.startswith("dmesg") for file in samples.manifest()[name]["kernel_files"])
    assert len(listed) == dumps
    reply = harvest.harvest(board.config())
    assert len({*reply["saved"]} & {each["id"] for each in listed}) == dumps
    assert harvest.harvest(board.config())["found"] == []
    assert [each["id"] for each in
            service.list_records(board.config(), "kernel")["records"]] == [
                each["id"] for each in listed]


def test_a_board_with_pmsg_only(tmp_path: Path) -> None:
    board = Board(tmp_path, phram=False, ramoops=True, mounted=True)
    pmsg = board.write("/dev/pmsg0", "")
    board.write("/sys/module/ramoops/parameters/pmsg_size", "65536\n")
    harvest.harvest(board.config())
    service.clear(board.config(), "all", force=True)
    for number, end in ((2, "clean"), (3, "hang"), (4, "power-loss")):
        if end == "clean":
            harvest.shutdown(board.config(), lambda: b"")
        board.write("/proc/sys/kernel/random/boot_id", f"boot-{number}\n")
        left = board.root / "sys/fs/pstore/pmsg-ramoops-0"
        left.unlink(missing_ok=True)
        if end != "power-loss":
            board.pstore("pmsg-ramoops-0", pmsg.read_bytes())
        pmsg.write_bytes(b"")
        assert harvest.harvest(board.config())["reason"] == end
        assert pmsg.read_bytes() and left.exists() is (end != "power-loss")


def test_a_console_zone_that_nobody_writes_to_tells_nothing(tmp_path: Path) -> None:
    """A kernel without the front-end has the zone all the same."""
    for consoles, reason in (("tty0 -WU (EC p  ) 4:1\n", "unknown"),
                             ("tty0 -WU\nramoops-1 -W-\n", "power-loss")):
        board = Board(tmp_path / reason, phram=False, ramoops=True, mounted=True)
        for name in ("dmesg-ramoops-0", "console-ramoops-0"):
            (board.root / "sys/fs/pstore" / name).unlink()
        board.write("/proc/consoles", consoles)
        harvest.harvest(board.config())
        board.write("/proc/sys/kernel/random/boot_id", "boot-2\n")
        assert harvest.harvest(board.config())["reason"] == reason


def test_a_region_that_is_all_journal(tmp_path: Path) -> None:
    board = Machine(tmp_path).configure(journal_size=JOURNAL)
    board.mtd(bytes(JOURNAL))
    board.write("/proc/sys/kernel/random/boot_id", "boot-1\n")
    assert harvest.harvest(board.config())["boot"] == 1
    assert service.list_records(board.config())["problems"] == []


def test_no_half_written_ledger_stays(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LastlogError, match="cannot be noted"):
        ledger.write(router.config().ledger, [])
    assert not list(Path(router.config().ledger).parent.glob("boots*"))


# --- where lastlog cannot erase

BARE = PANIC.partition(b"\n")[2]


def test_a_crash_on_flash_is_news_once(router: Router) -> None:
    """mtdoops' partition keeps it; lastlog never writes there, and says nothing of it each time."""
    router.boot()
    data = foreign.slot(BARE, 1, size=65536) + foreign.unused(65536)
    device = router.flash(data)
    reply = router.boot()
    (record,) = router.records()
    assert (reply["reason"], reply["found"], reply["saved"], reply["kept"]) == (
        "panic", [record["id"]], [record["id"]], [])
    assert record["state"] == "both" and record["boot"]["number"] == 1
    router.shutdown(900.0)
    for _ in range(3):
        again = router.boot()
        assert (again["reason"], again["found"], again["kept"]) == ("clean", [], [])
        router.shutdown(900.0)
    Path(router.config().ledger).unlink()
    router.power_cut()
    assert router.boot()["found"] == [] and device.read_bytes() == data
    cleared = service.clear(router.config(), "memory", [])
    assert cleared["cleared"] == [] and "on flash" in cleared["kept"][0]["why"]


def test_the_crashlog_of_an_old_kernel(router: Router) -> None:
    router.boot()
    file = router.write("/sys/kernel/debug/crashlog", foreign.crashlog_file(BARE))
    reply = router.boot()
    assert reply["reason"] == "panic" and len(reply["saved"]) == 1 and reply["kept"] == []
    assert router.harvest()["found"] == []
    file.unlink()                                   # the next reboot removes it
    router.shutdown(900.0)
    assert router.boot()["reason"] == "clean" and router.states() == ["saved"]


@pytest.mark.parametrize("make", [
    lambda: foreign.slot(BARE, 1, size=65536), lambda: foreign.early(BARE, 1800000000, size=65536),
    lambda: foreign.zone("kernel", foreign.dump(PANIC), 65536)])
def test_a_region_in_another_format_is_saved_and_erased(router: Router, make: Any) -> None:
    router.boot()
    router.configure(record_size=0)
    journal = router.region.read_bytes()[4 * ZONE:]
    router.region.write_bytes(make() + bytes(3 * ZONE) + journal)
    reply = router.boot()
    assert reply["reason"] == "panic" and len(reply["saved"]) == 1 and reply["kept"] == []
    assert router.states() == ["saved"] and router.harvest()["found"] == []
