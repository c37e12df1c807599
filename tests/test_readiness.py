"""readiness.py: every check, on a made-up router with everything in order and one thing wrong."""

from __future__ import annotations

import gzip
import shutil

import pytest

from lastlog_py import boot, readiness
from lastlog_py.setup import HANDLER, core_pattern
from tests import zones
from tests.machine import Machine
from tests.memory import X86, X86_RESERVED, x86_firmware

SIZE, JOURNAL = 0x100000, 0x20000

ORDER = ["region", "memory", "zones", "phram", "journal", "pstore", "compression", "ecc",
         "strict_devmem", "panic", "panic_on_oops", "core_pattern", "service", "harvest",
         "recovery", "waiting", "archive"]


@pytest.fixture
def router(machine: Machine) -> Machine:
    """Everything that readiness looks at is in order."""
    machine.configure(address="0x7000000", size=hex(SIZE), journal_size=hex(JOURNAL))
    machine.mtd(zones.zone(65536) * 16)
    machine.ramoops(SIZE - JOURNAL, 65536, console=65536, pmsg=16384, ecc=16)
    machine.write("/proc/iomem", X86_RESERVED)
    x86_firmware(machine)
    machine.write("/proc/mounts", "pstore /sys/fs/pstore pstore rw 0 0\n")
    for name, value in (("panic", "3"), ("panic_on_oops", "1"), ("core_pipe_limit", "4"),
                        ("core_pattern", core_pattern())):
        machine.write(f"/proc/sys/kernel/{name}", value + "\n")
    machine.write(HANDLER, "#!/bin/sh\n").chmod(0o755)
    machine.write("/sys/module/pstore/parameters/compress", "deflate\n")
    machine.write("/proc/config.gz", gzip.compress(b"#\nCONFIG_IO_STRICT_DEVMEM=y\nCONFIG_A=y\n"))
    machine.write("/proc/device-tree/compatible", "linksys,mx4200v2\0qcom,ipq8174\0")
    machine.write("/etc/rc.d/S13lastlog", "")
    machine.write("/etc/rc.d/K88lastlog", "")
    machine.write("/sys/module/ramoops/initstate", "live\n")
    machine.write("/proc/sys/kernel/arch", "x86_64\n")
    machine.write("/proc/sys/kernel/random/boot_id", "b1\n")
    boot.note(machine.site(), 7, boot.moment(machine.site()))
    return machine


def judged(machine: Machine, captured: int = 0) -> dict[str, dict[str, str]]:
    """The checks by id; what holds for all of them is asserted here."""
    config = machine.config()
    checks = readiness.judge(config, readiness.gather(config), captured, captured, 16)
    for check in checks:
        assert list(check) == ["id", "state", "title", "found", "fix"]
        assert check["state"] in ("ok", "warn", "fail", "unknown") and check["found"]
        assert check["fix"] or check["state"] not in ("warn", "fail"), check
        assert len(check["title"]) < 60
    return {check["id"]: check for check in checks}


def armed(machine: Machine) -> bool:
    return readiness.is_armed(list(judged(machine).values()))


def test_a_router_with_everything_in_order(router: Machine) -> None:
    checks = judged(router)
    assert list(checks) == ORDER
    assert {check["state"] for check in checks.values()} == {"ok"} and armed(router)
    assert "896 KiB at 0x7000000: record 64 KiB, console 64 KiB, pmsg 16 KiB" in \
        checks["zones"]["found"]
    assert "1024 KiB" in checks["region"]["found"]
    assert "8 damaged bytes in every 128" in checks["ecc"]["found"]
    assert "boot 7" in checks["harvest"]["found"]
    assert "S13lastlog" in checks["service"]["found"]


def test_a_machine_with_nothing(machine: Machine) -> None:
    checks = judged(machine)
    assert {name: check["state"] for name, check in checks.items()} == {
        "region": "fail", "memory": "unknown", "zones": "fail", "phram": "warn",
        "journal": "warn", "pstore": "fail", "compression": "ok", "ecc": "unknown",
        "strict_devmem": "unknown", "panic": "unknown", "panic_on_oops": "unknown",
        "core_pattern": "unknown", "service": "unknown", "harvest": "unknown", "recovery": "ok",
        "waiting": "unknown", "archive": "ok"}
    assert "lastlog propose" in checks["region"]["fix"] and not armed(machine)


def test_with_a_file_the_system_is_left_out(router: Machine) -> None:
    file = router.write("/region.bin", zones.zone(65536) * 16)
    router.configure(file=file)
    assert list(judged(router)) == ["region", "zones", "journal", "waiting", "archive"]


@pytest.mark.parametrize(("path", "text", "check", "state", "word"), [
    ("/proc/iomem", X86, "memory", "fail", "System RAM"),
    ("/proc/iomem", "", "memory", "unknown", "nobody can tell"),
    ("/sys/module/pstore/parameters/backend", "efi", "zones", "warn", "with efi"),
    ("/sys/module/pstore/parameters/backend", "(null)", "zones", "fail", "does not record"),
    ("/sys/module/ramoops/parameters/mem_size", "65536", "zones", "warn", "64 KiB at"),
    ("/sys/module/ramoops/parameters/mem_size", "65536", "zones", "warn",
     "set option address 0x7000000, option size 0x10000 and option journal_size 0"),
    ("/sys/module/ramoops/parameters/record_size", "0", "zones", "warn", "none for crashes"),
    ("/sys/module/ramoops/parameters/record_size", "", "zones", "ok", "console 64 KiB"),
    ("/sys/class/mtd/mtd3/type", "nor", "phram", "warn", "of the type nor"),
    ("/proc/mounts", "pstore /mnt pstore rw 0 0\n", "pstore", "warn", "not mounted"),
    ("/proc/mounts", "x /sys/fs/pstore tmpfs rw 0 0\n", "pstore", "warn", "not mounted"),
    ("/proc/mtd", "", "phram", "warn", "no MTD device"),
    ("/proc/mtd", "", "journal", "warn", "cannot be stored"),
    ("/proc/mtd", "", "region", "ok", "through /sys/fs/pstore"),
    ("/sys/module/pstore/parameters/compress", "zstd", "compression", "warn", "zstd"),
    ("/sys/module/pstore/parameters/compress", "lz4", "compression", "ok", "lz4"),
    ("/sys/module/pstore/parameters/compress", "(null)", "compression", "ok", "not compress"),
    ("/sys/module/pstore/parameters/compress", "none", "compression", "ok", "not compress"),
    ("/sys/module/ramoops/parameters/ecc", "0", "ecc", "unknown", "off"),
    ("/proc/config.gz", "not gzip", "strict_devmem", "unknown", "does not matter"),
    ("/proc/sys/kernel/panic", "0", "panic", "fail", "hangs"),
    ("/proc/sys/kernel/panic_on_oops", "0", "panic_on_oops", "warn", "goes on"),
    ("/proc/sys/kernel/core_pattern", "core", "core_pattern", "warn", "'core'"),
    ("/proc/sys/kernel/core_pattern", "", "core_pattern", "warn", "not lastlog's"),
    ("/proc/sys/kernel/core_pipe_limit", "0", "core_pattern", "warn", "vanishes"),
    ("/proc/mounts", "", "pstore", "warn", "not mounted"),
    ("/proc/sys/kernel/random/boot_id", "b2", "harvest", "warn", "no harvest")])
def test_one_thing_wrong(router: Machine, path: str, text: str, check: str, state: str,
                         word: str) -> None:
    router.write(path, text)
    found = judged(router)[check]
    assert (found["state"], word in found["found"] + found["fix"]) == (state, True), found
    assert armed(router) is (state != "fail")


def zones_of(router: Machine, **values: int) -> dict[str, str]:
    for name, value in values.items():
        router.write(f"/sys/module/ramoops/parameters/{name}", f"{value}\n")
    return judged(router)["zones"]


def test_ramoops_without_a_part_for_crashes(router: Machine) -> None:
    """pmsg alone is enough for the driver; no crash is kept."""
    found = zones_of(router, record_size=0, console_size=0)
    assert found["state"] == "fail" and "none for crashes" in found["found"]
    assert not armed(router)
    assert zones_of(router, console_size=65536)["state"] == "warn" and armed(router)


@pytest.mark.parametrize(("options", "check", "word"), [
    ({"record_size": "0x4000"}, "zones", "record_size 16384 takes effect at the next reboot"),
    ({"ecc": "32"}, "ecc", "ecc 32 takes effect at the next reboot"),
    ({"record_size": "0x1ffff", "ecc": "16"}, "", "")])
def test_sizes_that_are_not_in_force(router: Machine, options: dict[str, str], check: str,
                                     word: str) -> None:
    checks = judged(router.configure(**options))
    assert {name for name in ("zones", "ecc") if checks[name]["state"] != "ok"} == {check} - {""}
    if check:
        assert word in checks[check]["found"] and checks[check]["fix"] == "reboot"
        (router.root / "sys/module/ramoops/initstate").unlink()
        assert "Leave these options out" in judged(router)[check]["fix"]


def test_what_the_kernel_itself_gave_ramoops_is_fine(machine: Machine) -> None:
    """reserve_mem=1M:4096:oops ramoops.mem_name=oops: plain System RAM in its map."""
    machine.write("/proc/iomem", X86)
    x86_firmware(machine)
    machine.ramoops(0x100000, 65536, address=0xe000000)
    found = judged(machine)["memory"]
    assert found["state"] == "ok" and "0xe000000-0xe0fffff" in found["found"]
    machine.configure(address="0xe000000", size="0x100000")
    assert judged(machine)["memory"]["state"] == "fail"


@pytest.mark.parametrize("backend", ["efi_pstore", "erst"])
def test_another_backend_records_too(machine: Machine, backend: str) -> None:
    machine.write("/proc/sys/kernel/panic", "3\n")
    machine.write("/proc/mounts", "pstore /sys/fs/pstore pstore rw 0 0\n")
    machine.write("/sys/module/pstore/parameters/backend", f"{backend}\n")
    checks = judged(machine)
    assert (checks["region"]["state"], checks["zones"]["state"]) == ("ok", "warn")
    assert backend in checks["zones"]["found"] and armed(machine)


def test_flash_of_that_name(machine: Machine) -> None:
    machine.mtd(bytes(4096), kind="nor")
    found = judged(machine)["region"]
    assert found["state"] == "fail" and "of the type nor" in found["found"]


def test_a_size_that_is_no_number(router: Machine) -> None:
    """What was loaded at this boot works on."""
    router.configure(size="1MB")
    found = judged(router)["region"]
    assert found["state"] == "warn" and "size '1MB' is not a number" in found["found"]
    shutil.rmtree(router.root / "sys/module")
    router.write("/proc/mtd", "")
    assert judged(router)["region"]["state"] == "fail"


def test_a_kernel_without_mtd(router: Machine) -> None:
    """OpenWrt's for x86: nobody can install a module there."""
    (router.root / "proc/mtd").unlink()
    checks = judged(router)
    for name in ("phram", "journal"):
        assert "this kernel has no MTD, so no journal" in checks[name]["found"]
        assert "nstall" not in checks[name]["fix"]
    assert armed(router)


def test_memory_that_phram_cannot_have(router: Machine) -> None:
    router.write("/proc/mtd", "")
    router.write("/proc/sys/kernel/arch", "aarch64\n")
    router.write("/proc/iomem", X86)
    found = judged(router)["phram"]
    assert found["state"] == "warn" and "no-map" in found["fix"]


def test_ecc_of_the_drivers_short_form(router: Machine) -> None:
    router.write("/sys/module/ramoops/parameters/ecc", "1\n")
    assert judged(router)["ecc"]["found"].startswith("16 check bytes")


def test_a_wrong_region_in_the_configuration_only(router: Machine) -> None:
    """The device tree's ramoops runs elsewhere and is fine, so the router is armed."""
    router.configure(address="0x6000000", size="0x20000")
    checks = judged(router)
    assert checks["memory"]["state"] == "warn" and "0x6000000" in checks["memory"]["found"]
    assert checks["zones"]["state"] == "warn" and armed(router)


def test_a_wrong_region_that_nothing_runs_on(router: Machine) -> None:
    router.configure(address="0x6000000")
    for name in ("mem_address", "mem_size"):
        router.write(f"/sys/module/ramoops/parameters/{name}", "0\n")
    assert judged(router)["memory"]["state"] == "fail"


def test_pmsg_in_the_journals_place(router: Machine) -> None:
    router.write("/proc/mtd", "")
    router.write("/dev/pmsg0", "")
    found = judged(router)["journal"]
    assert found["state"] == "ok" and "/dev/pmsg0" in found["found"]
    assert "option journal_size" in found["found"]


def test_a_region_without_a_journal(router: Machine) -> None:
    router.configure(journal_size="0")
    found = judged(router)["journal"]
    assert found["state"] == "warn" and "option journal_size" in found["fix"]


def test_a_region_file_that_is_missing(machine: Machine) -> None:
    machine.configure(file="/nonexistent/region")
    found = judged(machine)["region"]
    assert found["state"] == "fail" and "option file" in found["fix"]


def test_a_service_that_is_not_enabled(router: Machine) -> None:
    for name in ("S95notlastlog", "S1lastlog", "Sxxlastlog", "S13lastlog.bak"):
        (router.root / "etc/rc.d/S13lastlog").rename(router.root / f"etc/rc.d/{name}")
        found = judged(router)["service"]
        assert found["state"] == "warn" and "nobody fetches" in found["found"]
        (router.root / f"etc/rc.d/{name}").rename(router.root / "etc/rc.d/S13lastlog")
    assert judged(router)["service"]["state"] == "ok"


def test_a_service_that_does_not_stop(router: Machine) -> None:
    (router.root / "etc/rc.d/K88lastlog").unlink()
    found = judged(router)["service"]
    assert found["state"] == "warn" and "clean shutdown" in found["found"]


def test_crashes_that_were_too_many_at_once(router: Machine) -> None:
    """As two kernels say it."""
    router.write("/dev/kmsg", "6,1,9,-;usb 1-1: over current\n4,2,9,-;Pid 812(uhttpd) over "
                 "core_pipe_limit\n4,3,9,-;Skipping core dump\n")
    found = judged(router)["core_pattern"]
    assert found["state"] == "warn" and "1 crash beyond that" in found["found"]
    router.write("/dev/kmsg", "4,2,9,-;coredump: 8(a b): over core_pipe_limit, skipping core "
                 "dump\n" * 2)
    assert "2 crashes beyond that" in judged(router)["core_pattern"]["found"] and armed(router)


def test_the_handler_is_not_there_yet(router: Machine) -> None:
    (router.root / HANDLER.lstrip("/")).unlink()
    found = judged(router)["core_pattern"]
    assert found["state"] == "unknown" and "not kept yet" in found["found"] and armed(router)


@pytest.mark.parametrize(("board", "captured", "state"), [
    ("bananapi,bpi-r3\0mediatek,mt7986a\0", 1, "warn"),
    ("bananapi,bpi-r3\0mediatek,mt7986a\0", 0, "ok"), ("qcom,ipq8174\0", 1, "ok")])
def test_a_record_that_starts_the_recovery_system(router: Machine, board: str, captured: int,
                                                  state: str) -> None:
    router.write("/proc/device-tree/compatible", board)
    assert judged(router, captured)["recovery"]["state"] == state


def test_what_is_gathered_changes_only_when_something_does(router: Machine) -> None:
    config = router.config()
    before = readiness.gather(config)
    assert readiness.gather(config) == before
    router.write("/proc/uptime", "5000.0 1.0\n")
    assert readiness.gather(config) == before
    (router.root / "etc/rc.d/S13lastlog").unlink()
    assert readiness.gather(config) != before
