"""service.py: the use cases on a made-up router and on regions of real crashes."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path
from typing import Any

import pytest

from lastlog_py import archive_folder, boot, service
from lastlog_py.archive import Archive
from lastlog_py.errors import LastlogError
from lastlog_py.medium import journal_device
from tests import foreign, packers, samples, zones
from tests.machine import Machine

C12 = "c12_null_deref_panic_on_oops"
COPIED = 1795889071_123456789           # when a file was copied: not to whole microseconds


def with_region(machine: Machine, region: bytes) -> Path:
    file = machine.write("/region.bin", region)
    machine.configure(file=file)
    return file


def crashed(machine: Machine, name: str = C12) -> Path:
    return with_region(machine, samples.region(name))


def listed(machine: Machine) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = service.list_records(machine.config())["records"]
    return records


# --- looking


def test_an_oops_and_its_panic_are_one_crash_with_two_records(machine: Machine) -> None:
    crashed(machine)
    kernel = [record for record in listed(machine) if record["kind"] == "kernel"]
    panic, oops = kernel
    assert (panic["kernel"]["reason"], oops["kernel"]["reason"]) == ("panic", "oops")
    assert panic["crash"] == oops["crash"] == panic["id"]
    assert panic["signature"] == oops["signature"]
    assert (panic["count"], oops["count"]) == (1, 1)
    assert panic["title"] == "NULL pointer dereference in lkdtm_EXCEPTION [lkdtm]"


def test_list_filters_and_limits(machine: Machine) -> None:
    crashed(machine)
    config = machine.config()
    assert len(service.list_records(config)["records"]) == 3
    assert [r["kind"] for r in service.list_records(config, "console")["records"]] == ["console"]
    assert len(service.list_records(config, limit=1)["records"]) == 1
    assert service.list_records(config, limit=0)["records"] == []
    assert "text" not in service.list_records(config)["records"][0]


def test_get_gives_the_text_from_memory_and_from_the_archive(machine: Machine) -> None:
    crashed(machine)
    config = machine.config()
    name = listed(machine)[0]["id"]
    captured = service.get(config, name)
    assert captured["text"].encode() == samples.kernel_text(C12, "dmesg-ramoops-1")
    service.save(config)
    service.clear(config)
    saved = service.get(config, name)
    assert saved["text"] == captured["text"] and saved["state"] == "saved"


@pytest.mark.parametrize("call", [lambda c: service.get(c, "k-0"),
                                  lambda c: service.save(c, ["k-0"]),
                                  lambda c: service.clear(c, names=["k-0"])])
def test_an_unknown_id_is_not_found(machine: Machine, call: Any) -> None:
    crashed(machine)
    with pytest.raises(LastlogError) as error:
        call(machine.config())
    assert error.value.code == "not-found" and error.value.hint


def test_the_diagnosis_is_remembered_and_the_same(machine: Machine) -> None:
    crashed(machine)
    assert listed(machine) == listed(machine)


# --- saving and clearing


def test_the_whole_way_of_a_record(machine: Machine) -> None:
    file = crashed(machine)
    config = machine.config()
    ids = {record["id"] for record in listed(machine)}
    assert set(service.save(config)["saved"]) == ids
    assert {record["state"] for record in listed(machine)} == {"both"}
    assert set(service.clear(config)["cleared"]) == ids
    assert {record["state"] for record in listed(machine)} == {"saved"}
    assert b"NULL pointer" not in file.read_bytes()
    assert set(service.clear(config, "saved")["cleared"]) == ids
    assert listed(machine) == []


def test_saving_again_writes_nothing(machine: Machine) -> None:
    crashed(machine)
    config = machine.config()
    service.save(config)
    before = {each.name: each.stat().st_ino for each in machine.archive.iterdir()}
    assert service.save(config) == {"saved": [], "skipped": []}
    name = listed(machine)[0]["id"]
    assert service.save(config, [name])["saved"] == [name]
    assert {each.name: each.stat().st_ino for each in machine.archive.iterdir()} == before


def test_what_is_not_saved_is_not_cleared(machine: Machine) -> None:
    file = crashed(machine)
    config = machine.config()
    before = file.read_bytes()
    with pytest.raises(LastlogError) as error:
        service.clear(config)
    assert error.value.code == "not-saved" and "--force" in error.value.hint
    name = listed(machine)[0]["id"]
    service.save(config, [name])
    reply = service.clear(config)
    assert reply["cleared"] == [name] and len(reply["kept"]) == 2
    assert file.read_bytes() != before and len(listed(machine)) == 3


def test_force_clears_what_is_not_saved(machine: Machine) -> None:
    crashed(machine)
    assert len(service.clear(machine.config(), force=True)["cleared"]) == 3
    assert listed(machine) == []


def test_all_clears_memory_first_and_never_the_last_copy(machine: Machine) -> None:
    crashed(machine)
    config = machine.config()
    names = [record["id"] for record in listed(machine)]
    service.save(config, names[:1])
    reply = service.clear(config, "all")
    assert reply["cleared"] == names[:1]
    assert [record["state"] for record in listed(machine)] == ["captured", "captured"]


def test_a_damaged_copy_in_the_archive_does_not_count_as_saved(machine: Machine) -> None:
    crashed(machine)
    config = machine.config()
    service.save(config)
    for file in machine.archive.glob("*.gz"):
        file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(LastlogError) as error:
        service.clear(config)
    assert error.value.code == "not-saved"
    service.save(config, [record["id"] for record in listed(machine)])
    assert len(service.clear(config)["cleared"]) == 3


def test_clearing_what_is_saved_takes_damaged_files_along(machine: Machine) -> None:
    crashed(machine)
    config = machine.config()
    service.save(config)
    damaged = next(machine.archive.glob("*.gz"))
    damaged.write_bytes(b"damaged")
    assert len(service.clear(config, "saved")["cleared"]) == 3
    assert list(machine.archive.glob("*.gz")) == []


def test_a_damaged_file_can_be_cleared_by_its_name(machine: Machine) -> None:
    """As the problem that tells of it says."""
    crashed(machine)
    config = machine.config()
    service.save(config)
    damaged = next(machine.archive.glob("*.gz"))
    damaged.write_bytes(b"damaged")
    name = damaged.name.removesuffix(".gz")
    said = [each["what"] for each in service.list_records(config)["problems"]]
    assert any(f"lastlog clear --saved {name} deletes it" in what for what in said)
    assert service.clear(config, "saved", [name])["cleared"] == [name] and not damaged.exists()


def test_nothing_is_evicted_while_memory_is_cleared(machine: Machine,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Between "it is saved" and its erasure another process must not make room."""
    monkeypatch.setattr(archive_folder, "PATIENCE", 0.1)
    crashed(machine)
    service.save(machine.config())
    archive = Archive(str(machine.archive), 262144)
    with archive.standing_still(), pytest.raises(LastlogError) as error:
        service.clear(machine.config())
    assert error.value.code == "busy"
    assert {record["state"] for record in listed(machine)} == {"both"}


def test_a_stale_file_stays_while_a_newer_oops_in_its_zone_is_not_saved(machine: Machine) -> None:
    """Removing the file would have the kernel empty the zone that the oops is in by now."""
    old, new = zones.log(9), zones.log(7, "Oops#1 Part1")
    device = machine.mtd(zones.zone(4096, zones.dump(new, "1800000900.000001")))
    machine.ramoops(4096, 4096)
    file = machine.pstore("dmesg-ramoops-0", old, "1800000000.000001")
    stale = next(record["id"] for record in listed(machine)
                 if record["kernel"]["reason"] == "panic")
    service.save(machine.config(), [stale])
    (kept,) = [each for each in service.clear(machine.config())["kept"] if each["id"] == stale]
    assert "in one zone" in kept["why"] and file.exists()
    service.save(machine.config())
    assert len(service.clear(machine.config())["cleared"]) == 2
    assert device.read_bytes() == zones.zone(4096) and not file.exists()


def test_bytes_that_are_no_text_are_saved_before_they_are_erased(machine: Machine) -> None:
    frames = b"l\x1e\x00\xe8\x03\x01\x00 \xff\xfe tag\0message\0" * 9
    with_region(machine, zones.zone(4096, frames))
    machine.configure(record_size=1024, pmsg_size=2048)
    with_region(machine, zones.zone(1024) + zones.zone(1024) + zones.zone(2048, frames))
    service.save(machine.config())
    service.clear(machine.config())
    (file,) = machine.archive.glob("p-*.gz")
    assert Archive(str(machine.archive), 1).load(file.name[:-3]).record.raw == frames


def test_a_cached_diagnosis_that_is_broken_is_made_anew(machine: Machine) -> None:
    crashed(machine)
    before = listed(machine)
    (memory,) = (machine.root / "var/run/lastlog").glob("explained-*")
    stamp = memory.read_bytes().partition(b"\n")[0]
    for broken in (b"[]", b"{", b'[{"id": 1}, {}, {}]', b"null"):
        memory.write_bytes(stamp + b"\n" + broken)
        assert listed(machine) == before


def test_records_that_share_a_zone_go_together_or_stay(machine: Machine) -> None:
    body = zones.dump(zones.log(3, "Oops#1 Part1"), "1800000000.1") + \
        zones.dump(zones.log(5, "Panic#2 Part1"), "1800000900.2")
    with_region(machine, zones.zone(4096, body))
    config = machine.config()
    first, second = (record["id"] for record in listed(machine))
    service.save(config)
    assert service.clear(config, names=[first])["kept"][0]["id"] == first
    assert service.clear(config, names=[first, second])["cleared"] == [first, second]
    assert [record["state"] for record in listed(machine)] == ["saved", "saved"]


def test_an_archive_that_cannot_be_written_loses_nothing(machine: Machine) -> None:
    file = crashed(machine)
    machine.archive.write_text("a file where the directory should be")
    before = file.read_bytes()
    with pytest.raises(LastlogError) as error:
        service.save(machine.config())
    assert error.value.hint
    with pytest.raises(LastlogError):
        service.clear(machine.config())
    assert file.read_bytes() == before and len(listed(machine)) == 3
    checks = {check["id"]: check for check in service.status(machine.config())["checks"]}
    assert checks["archive"]["state"] == "fail" and checks["archive"]["fix"]


def test_an_unreadable_compression_survives_save_and_clear(
        machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a router zstd cannot be read; `decode` reads the saved record where there is a library."""
    packers.without_zstd(monkeypatch)
    crashed(machine, "c10_compress_zstd")
    config = machine.config()
    name = next(record["id"] for record in listed(machine) if record["kind"] == "kernel")
    service.save(config)
    service.clear(config)
    saved = machine.archive / f"{name}.gz"
    assert b"zstd" in gzip.decompress(saved.read_bytes())
    record = service.get(config, name)
    assert record["source"]["compression"] == "zstd" and record["text"] == ""
    monkeypatch.undo()
    (record,) = service.decode([str(saved)])["records"]
    assert record["text"].encode() == samples.kernel_text("c10_compress_zstd", "dmesg-ramoops-0")
    assert record["id"] == name and record["kernel"]["cause"] == "sysrq"


# --- status


# The checks of these are here; those of the rest of the system are in test_readiness.py.
OF_RECORDS = ("region", "zones", "pstore", "panic", "panic_on_oops", "waiting", "archive")


def states(reply: dict[str, Any]) -> dict[str, str]:
    return {each["id"]: each["state"] for each in reply["checks"] if each["id"] in OF_RECORDS}


def test_status_of_a_router_with_everything(machine: Machine) -> None:
    machine.mtd(zones.zone(65536) * 16)
    machine.ramoops(1 << 20, 65536)
    machine.write("/proc/mounts", "pstore /sys/fs/pstore pstore rw 0 0\n")
    machine.write("/proc/sys/kernel/panic", "3\n")
    machine.write("/proc/sys/kernel/panic_on_oops", "1\n")
    reply = service.status(machine.config())
    assert reply["armed"] and states(reply) == dict.fromkeys(OF_RECORDS, "ok")
    assert reply["last_reboot"]["reason"] == "unknown"
    assert (reply["captured"], reply["saved"]) == (0, 0)


@pytest.mark.parametrize(("path", "value", "check", "state"), [
    ("/proc/sys/kernel/panic", "0", "panic", "fail"), ("/proc/mounts", "", "pstore", "warn"),
    ("/proc/sys/kernel/panic_on_oops", "0", "panic_on_oops", "warn"),
    ("/sys/module/ramoops/parameters/mem_address", "0", "zones", "fail")])
def test_each_thing_that_disarms(machine: Machine, path: str, value: str, check: str,
                                 state: str) -> None:
    test_status_of_a_router_with_everything(machine)
    if check == "zones":
        machine.write("/sys/module/pstore/parameters/backend", "(null)\n")
    machine.write(path, f"{value}\n")
    reply = service.status(machine.config())
    assert states(reply)[check] == state
    assert reply["armed"] is (state == "warn")


@pytest.mark.parametrize(("archive", "limit", "state"), [
    ("/mnt/nodrive/saved", 262144, "fail"), ("/proc/nothing/there", 262144, "fail"),
    ("{here}", 4096, "warn"), ("{here}", 262144, "ok")])
def test_whether_records_can_be_saved(machine: Machine, archive: str, limit: int,
                                      state: str) -> None:
    config = machine.config()
    config.archive = archive.replace("{here}", str(machine.archive))
    config.archive_limit = limit
    checks = {check["id"]: check for check in service.status(config)["checks"]}
    assert checks["archive"]["state"] == state and bool(checks["archive"]["fix"]) == (state != "ok")


def test_status_of_a_router_with_nothing(machine: Machine) -> None:
    reply = service.status(machine.config())
    checks = {check["id"]: check for check in reply["checks"]}
    assert not reply["armed"]
    assert checks["region"]["state"] == checks["zones"]["state"] == "fail"
    assert states(reply) == {"region": "fail", "zones": "fail", "pstore": "fail",
                             "panic": "unknown", "panic_on_oops": "unknown", "waiting": "unknown",
                             "archive": "ok"}
    assert "nobody knows" in checks["waiting"]["found"]
    assert all(check["fix"] for check in reply["checks"] if check["state"] in ("fail", "warn"))


@pytest.mark.parametrize(("sample", "reason"), [
    (C12, "panic"), ("s15_oom", "oom"), ("s01_plain", "panic")])
def test_the_reason_of_the_last_reboot(machine: Machine, sample: str, reason: str) -> None:
    crashed(machine, sample)
    last = service.status(machine.config())["last_reboot"]
    assert last["reason"] == reason and last["record"] == listed(machine)[0]["crash"]


@pytest.mark.parametrize(("ago", "reason"), [(130, "panic"), (5000, "unknown")])
def test_a_crash_long_before_the_boot_is_not_its_reason(machine: Machine, ago: int,
                                                        reason: str) -> None:
    """The machine booted 100 s ago, by a clock of its own."""
    machine.write("/dev/rtc0", "")
    machine.mtd(zones.zone(65536, zones.dump(zones.log(9), f"{int(time.time()) - ago}.000001")))
    machine.ramoops(65536, 65536)
    assert service.status(machine.config())["last_reboot"]["reason"] == reason


def test_an_oops_of_this_boot_is_not_the_reason_of_the_last_reboot(machine: Machine) -> None:
    """Neither by its time, nor, without a clock, when the kernel's files are there to compare."""
    machine.write("/dev/rtc0", "")
    machine.mtd(zones.zone(65536, zones.dump(zones.log(9, "Oops#1 Part1"),
                                             f"{int(time.time()) - 60}.000001")))
    machine.ramoops(65536, 65536)
    assert service.status(machine.config())["last_reboot"]["reason"] == "unknown"
    machine.mtd(zones.zone(65536, zones.dump(zones.log(9, "Oops#1 Part1"), "60.000001")))
    machine.write("/proc/mounts", "pstore /sys/fs/pstore pstore rw 0 0\n")
    assert service.status(machine.config())["last_reboot"]["reason"] == "unknown"


def test_a_later_oops_does_not_change_the_reason(machine: Machine) -> None:
    machine.write("/proc/mounts", "pstore /sys/fs/pstore pstore rw 0 0\n")
    machine.ramoops(131072, 65536)
    panic = zones.log(9)
    machine.pstore("dmesg-ramoops-0", panic, "77.000001")
    machine.mtd(zones.zone(65536, zones.dump(panic, "77.000001")) + zones.zone(65536))
    assert service.status(machine.config())["last_reboot"]["reason"] == "panic"
    oops = zones.dump(zones.log(30, "Oops#1 Part1"), "99.000001")
    machine.mtd(zones.zone(65536, zones.dump(panic, "77.000001")) + zones.zone(65536, oops))
    assert service.status(machine.config())["last_reboot"]["reason"] == "panic"


def test_the_reason_outlives_the_clearing_but_not_the_next_boot(machine: Machine) -> None:
    when = int(time.time()) - 130
    machine.mtd(zones.zone(65536, zones.dump(zones.log(9), f"{when}.000001")))
    machine.ramoops(65536, 65536)
    machine.write("/proc/sys/kernel/random/boot_id", "first\n")
    service.save(machine.config())
    service.clear(machine.config())
    assert service.status(machine.config())["last_reboot"]["reason"] == "panic"
    machine.write("/proc/sys/kernel/random/boot_id", "second\n")
    assert service.status(machine.config())["last_reboot"]["reason"] == "unknown"


def test_without_a_clock_a_captured_crash_is_the_reason(machine: Machine) -> None:
    machine.mtd(zones.zone(65536, zones.dump(zones.log(9), "77.000001")))
    machine.ramoops(65536, 65536)
    last = service.status(machine.config())["last_reboot"]
    assert last["reason"] == "panic"


def test_a_clean_shutdown_dump_is_no_crash(machine: Machine) -> None:
    with_region(machine, zones.zone(4096, zones.dump(zones.log(9, "Shutdown#1 Part1"))))
    (record,) = listed(machine)
    assert record["crash"] is None and record["signature"] is None
    assert service.status(machine.config())["last_reboot"]["reason"] == "unknown"


def test_a_dump_that_is_there_twice_is_listed_once_and_cleared_in_both_places(
        machine: Machine) -> None:
    dump = zones.zone(4096, zones.dump(zones.log(9)))
    file = with_region(machine, dump * 2)
    (record,) = listed(machine)
    assert service.clear(machine.config(), force=True)["cleared"] == [record["id"]]
    assert listed(machine) == [] and not any(file.read_bytes()[12:4096])


# --- counting


def test_a_signature_is_counted_over_boots(machine: Machine) -> None:
    fault = ("Panic#1 Part1\n<0>[    9.000000] Kernel panic - not syncing: hung {}\n"
             "<4>[    9.000001] CPU: 0 PID: 1 Comm: init Not tainted 6.6.93 #1\n"
             "<4>[    9.000002] Call Trace:\n<4>[    9.000003]  panic+0x1/0x2\n"
             "<4>[    9.000004]  my_function+0x1/0x2\n")
    for at in range(3):
        text = fault.format(at).encode()
        with_region(machine, zones.zone(4096, zones.dump(text, f"{1800000000 + at}.000001")))
        assert listed(machine)[0]["count"] == at + 1
        service.save(machine.config())
        service.clear(machine.config())
    first = listed(machine)[0]
    assert (first["count"], first["first_seen"], first["last_seen"]) == \
        (3, 1800000000.000001, 1800000002.000001)


# --- order


def test_newest_first_and_the_console_with_its_crash(machine: Machine) -> None:
    region = zones.zone(4096, zones.dump(zones.log(3), "1800000009.000001")) + \
        zones.zone(4096, zones.dump(zones.log(4), "1800000001.000001")) + \
        zones.zone(4096, b"[    1.000000] console\n")
    with_region(machine, region)
    assert [(r["kind"], r["time"]) for r in listed(machine)] == [
        ("kernel", 1800000009.000001), ("console", None), ("kernel", 1800000001.000001)]


# --- decode


def test_decode_of_everything_that_can_be_sent(machine: Machine, tmp_path: Path) -> None:
    crashed(machine)
    service.save(machine.config())
    panic = listed(machine)[0]["id"]
    files = {"region.bin": samples.region(C12),
             "dmesg-ramoops-1": samples.kernel_file(C12, "dmesg-ramoops-1"),
             "from-a-mail.txt": samples.kernel_file(C12, "dmesg-ramoops-1"),
             "dmesg-ramoops-0.enc.z": samples.kernel_file("s13_trunc", "dmesg-ramoops-0.enc.z"),
             "saved.gz": (machine.archive / f"{panic}.gz").read_bytes(),
             "zcat.txt": gzip.decompress((machine.archive / f"{panic}.gz").read_bytes()),
             "region.bin.gz": gzip.compress(samples.region(C12)),
             "download.txt": b"Title: x\nId: y\n\n" + samples.kernel_file(C12, "dmesg-ramoops-1")}
    counts = {}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        records = service.decode([str(tmp_path / name)])["records"]
        assert {record["state"] for record in records} == {"file"}
        assert records[0]["title"]
        counts[name] = len(records)
    assert counts == {"region.bin": 3, "dmesg-ramoops-1": 1, "from-a-mail.txt": 1,
                      "dmesg-ramoops-0.enc.z": 1, "saved.gz": 1, "zcat.txt": 1,
                      "region.bin.gz": 3, "download.txt": 1}


@pytest.mark.parametrize(("name", "content", "medium", "count"), [
    ("mtd5.bin", samples.region("c13_mtdoops"), "mtdoops", 2),
    ("disk.img", samples.region("c14_pstore_blk"), "pstore_zone", 4),
    ("ram.bin", bytes(4096) + foreign.early(foreign.log(9)), "ramoops", 1),
    ("crashlog", foreign.crashlog_file(foreign.log(9), foreign.log(8)), "crashlog", 2),
    ("memory.bin", foreign.crashlog(foreign.crashlog_file(foreign.log(9)), length=0), "crashlog",
     1),
    ("pmsg-ramoops-0", foreign.said("up") * 3, "pstore", 1),
    ("console-ramoops", b"[    1.000000] old kernels give no number\n", "pstore", 1),
    ("some.bin", zones.deflated(zones.log(30)), "pstore", 1)])
def test_decode_of_every_format(tmp_path: Path, name: str, content: bytes, medium: str,
                                count: int) -> None:
    (tmp_path / name).write_bytes(content)
    reply = service.decode([str(tmp_path / name)])
    assert [each["source"]["medium"] for each in reply["records"]] == [medium] * count
    assert all(each["title"] and each["text"] for each in reply["records"])
    assert [each for each in reply["problems"] if each["severity"] == "error"] == []


def test_decode_joins_the_parts_of_a_dump(tmp_path: Path) -> None:
    lines = zones.log(30).splitlines(keepends=True)[1:]
    files = {"dmesg-erst-7": b"Panic#4 Part1\n" + b"".join(lines[20:]),
             "region.bin": samples.region(C12),
             "dmesg-erst-9": b"Panic#4 Part2\n" + b"".join(lines[:20])}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, ns=(COPIED, COPIED))
    records = service.decode([str(tmp_path / name) for name in files])["records"]
    assert len(records) == 4
    whole = records[0]
    assert whole["text"].encode() == b"Panic#4 Part2\n" + b"".join(lines)
    assert whole["kernel"]["sequence"] == 4 and not whole["source"]["torn"]


def test_decode_shows_a_record_once_that_is_there_twice(tmp_path: Path) -> None:
    file = tmp_path / "region.bin"
    file.write_bytes(samples.region("s01_plain") * 2)
    ids = [record["id"] for record in service.decode([str(file), str(file)])["records"]]
    assert ids and len(ids) == len(set(ids))


BOTH = ("dmesg-ramoops-0", "dmesg-ramoops-1")         # an oops, and the panic it led to


def lay(folder: Path, *files: str, times: bool = False) -> list[str]:
    """Copies of the kernel's files of a crash; times: with their times, as cp -p makes them."""
    known = {f"dmesg-ramoops-{each['source']['zone']}": each["time"] for each in
             service.decode([str(region_of(folder))])["records"] if each["kind"] == "kernel"}
    for file in files:
        (folder / file).write_bytes(samples.kernel_file(C12, file))
        stamp = round(known[file] * 10**6) * 1000 if times else COPIED
        os.utime(folder / file, ns=(stamp, stamp))
    return [str(folder / file) for file in files]


def region_of(folder: Path) -> Path:
    file = folder / "region.bin"
    file.write_bytes(samples.region(C12))
    return file


def test_decode_of_a_copied_file_gives_the_record_that_the_region_gives(tmp_path: Path) -> None:
    whole = service.decode([str(region_of(tmp_path))])["records"]
    copied = service.decode(lay(tmp_path, *BOTH, times=True))["records"]
    expected = [each for each in whole if each["kind"] == "kernel"]
    for key in ("id", "time", "title", "signature", "crash", "text"):
        assert [each[key] for each in copied] == [each[key] for each in expected]


def test_decode_shows_a_dump_once_that_is_in_a_region_and_a_file(tmp_path: Path) -> None:
    files = [*lay(tmp_path, *BOTH), str(region_of(tmp_path))]
    records = service.decode(files)["records"]
    assert [each["id"] for each in records] == [
        each["id"] for each in service.decode(files[2:])["records"]]


def test_decode_explains_the_files_of_a_folder_together(tmp_path: Path) -> None:
    files = lay(tmp_path, *BOTH)
    oops, panic = service.decode(files)["records"]
    assert oops["crash"] == panic["crash"] == panic["id"]
    other = tmp_path / "elsewhere"
    other.mkdir()
    apart = [str(other / "dmesg-ramoops-0"), files[1]]
    (other / "dmesg-ramoops-0").write_bytes(Path(files[0]).read_bytes())
    oops, panic = service.decode(apart)["records"]
    assert (oops["crash"], panic["crash"]) == (oops["id"], panic["id"])


def test_decode_of_what_systemd_pstore_has_archived(tmp_path: Path) -> None:
    """/var/lib/systemd/pstore/ID/: the parts under their names, and all of them in dmesg.txt."""
    lines = zones.log(30).splitlines(keepends=True)[1:]
    parts = [b"Panic#4 Part%d\n" % number + b"".join(lines[30 - 10 * number:40 - 10 * number])
             for number in (3, 2, 1)]
    folder = tmp_path / "1795889071"
    folder.mkdir()
    for number, text in zip((3, 2, 1), parts, strict=True):
        (folder / f"dmesg-efi-17958890710{number}001").write_bytes(text)
    (folder / "dmesg.txt").write_bytes(b"".join(parts))
    for asked in ([str(tmp_path)], sorted(map(str, folder.iterdir())), [f"{folder}/"]):
        (record,) = service.decode(asked)["records"]
        assert record["text"].encode() == b"Panic#4 Part3\n" + b"".join(lines)
        assert record["time"] == 1795889071.0 and not record["source"]["torn"]
    (record,) = service.decode([str(folder / "dmesg.txt")])["records"]
    assert record["text"].encode() == b"Panic#4 Part3\n" + b"".join(lines)


def test_decode_of_several_dumps_in_one_text(tmp_path: Path) -> None:
    file = tmp_path / "mail.txt"
    file.write_bytes(b"Oops: Total 2 times\n" + zones.log(9, "Oops#1 Part1")
                     + zones.log(9, "Panic#2 Part1") + b"\nECC: No errors detected\n")
    oops, panic = service.decode([str(file)])["records"]
    assert (oops["kernel"]["reason"], oops["kernel"]["sequence"]) == ("oops", 1)
    assert panic["text"].encode() == zones.log(9, "Panic#2 Part1")
    assert panic["source"]["ecc_failed"] == 0


@pytest.mark.parametrize("before", [samples.region(C12), b""], ids=["behind ramoops", "alone"])
def test_decode_shows_the_journal(tmp_path: Path, before: bytes) -> None:
    file = tmp_path / "region.bin"
    file.write_bytes(before + bytes(16384))
    machine = Machine(tmp_path / "made").configure(file=file, journal_size=16384)
    ring, now = journal_device.find(machine.site()), boot.moment(machine.site())
    dump = zones.dump(zones.log(3))
    ring.append("boot", b"n=1\tid=a", now, 1)
    ring.append("log", dump, now, 1, "like a dump")
    reply = service.decode([str(file)])
    assert [each["what"] for each in reply["problems"] if each["severity"] == "error"] == []
    assert len(reply["records"]) == (4 if before else 1)
    log = reply["records"][-1]
    assert (log["kind"], log["title"], log["text"].encode()) == ("log", "like a dump", dump)


@pytest.mark.parametrize(("content", "word"), [
    (b"", "empty"), (b"\x93noise" * 500, "nothing that lastlog can read"), (b"\x1f\x8bjunk", "")],
    ids=["empty", "noise", "broken gzip"])
def test_decode_says_what_it_cannot_read(tmp_path: Path, content: bytes, word: str) -> None:
    file = tmp_path / "thing"
    file.write_bytes(content)
    reply = service.decode([str(file), str(tmp_path / "missing")])
    assert reply["records"] == []
    assert word in reply["problems"][0]["what"]
    assert "No such file" in reply["problems"][1]["what"]


# --- the page's model


def test_the_page_opens_the_newest_crash_or_the_one_asked_for(machine: Machine) -> None:
    crashed(machine)
    model = service.page_model(machine.config())
    assert model["open"]["kernel"]["reason"] == "panic" and model["open"]["text"]
    oops = listed(machine)[2]["id"]
    assert service.page_model(machine.config(), oops)["open"]["id"] == oops
    gone = service.page_model(machine.config(), "k-gone")
    assert gone["open"]["kernel"]["reason"] == "panic"
    assert any("gone" in problem["what"] for problem in gone["problems"])


def test_a_clock_that_was_set_back_does_not_hide_the_new_crash(machine: Machine) -> None:
    with_region(machine, zones.zone(4096, zones.dump(zones.log(5), "1800000000.000001")))
    service.save(machine.config())
    service.clear(machine.config())
    fresh = zones.log(6)
    with_region(machine, zones.zone(4096, zones.dump(fresh, "1790000000.000001")))
    model = service.page_model(machine.config())
    assert model["open"]["text"].encode() == fresh
    assert model["status"]["last_reboot"]["record"] == model["open"]["id"]


def test_the_page_of_an_empty_router(machine: Machine) -> None:
    model = service.page_model(machine.config())
    assert model["open"] is None and model["records"] == []


@pytest.mark.parametrize("name", ["dmesg-ramoops-0.bin", "console-ramoops-region.bin"])
def test_a_region_may_be_called_like_a_file_of_the_kernel(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(zones.zone(65536, zones.dump(zones.log(9))))
    (record,) = service.decode([str(tmp_path / name)])["records"]
    assert record["source"]["medium"] == "ramoops" and record["text"] == zones.log(9).decode()


@pytest.mark.parametrize("made", [lambda path: None, os.mkfifo])
def test_a_folder_without_plain_files(tmp_path: Path, made: Any) -> None:
    made(tmp_path / "fifo")
    (problem,) = service.decode([str(tmp_path)])["problems"]
    assert problem["where"] == str(tmp_path) and "no file" in problem["what"]


def test_the_dumps_of_a_text_are_bounded(tmp_path: Path) -> None:
    file = tmp_path / "dmesg.txt"
    file.write_bytes(b"".join(b"Oops#%d Part1\nline\n" % n for n in range(3000)))
    records = service.decode([str(file)])["records"]
    assert len(records) == 1024 and "Oops#2999 Part1" in records[-1]["text"]


@pytest.mark.parametrize("whole", [True, False])
def test_more_of_a_saved_dump_is_another_record(machine: Machine, whole: bool) -> None:
    """What is saved of it is cut; only what has no more to say than that is the same."""
    dump = zones.dump(zones.log(90))
    cut = zones.zone(1024, dump[:1012])
    with_region(machine, cut)
    (saved,) = listed(machine)
    service.save(machine.config())
    with_region(machine, zones.zone(4096) + bytes(12) + zones.zone(
        4096, dump if whole else dump[:1012])[12:])
    (found,) = [each for each in listed(machine) if each["state"] != "saved"]
    assert found["state"] == ("captured" if whole else "both")
    assert (found["id"] == saved["id"]) is not whole
