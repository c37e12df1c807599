"""The whole trip with a real kernel: what lastlog says against what the kernel itself showed.

Boot 1 crashes (sysrq-c); boot 2 looks, saves and clears; boot 3 finds it armed and empty and
crashes again (out of memory); boot 4 looks and saves.  All of it in one virtual machine.
A shorter trip of another kernel series, with ECC, has an oops that becomes a panic: two dumps.
"""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lastlog_py.record import readable

from . import debian, machine, trip

pytestmark = pytest.mark.qemu

NOTICE = b"\nECC: "             # what the kernel appends to a file, not captured text
DUMPS_SIZE = 0x100000 - 0x20000     # the region without its other two zones, in both trips
EMPTY = (0x43474244, 0, 0)      # fs/pstore/ram_core.c: PERSISTENT_RAM_SIG, start, size

# boot that looks, cause, a word of the title
CRASHES = [pytest.param(2, "sysrq", "sysrq", id="sysrq"),
           pytest.param(4, "oom", "memory", id="oom")]


def made(scenario: trip.Scenario) -> trip.Trip:
    """The trip; its console is kept, and its end is in the message where it fails."""
    try:
        return trip.run(scenario, f"test-{scenario.name}", print)
    except debian.Missing as missing:
        pytest.skip(str(missing))
    except machine.Stuck as stuck:
        pytest.fail(str(stuck), pytrace=False)


@pytest.fixture(scope="module")
def done() -> trip.Trip:
    """One trip for most tests here."""
    return made(trip.DEFAULT)


@pytest.fixture(scope="module")
def oops() -> trip.Boot:
    """The boot after an oops that became a panic."""
    return made(trip.OOPS).boot(2)


def kernels_own(boot: trip.Boot) -> list[str]:
    """The text of each dump that the kernel showed in /sys/fs/pstore."""
    return [readable(content.split(NOTICE)[0]) for content in boot.pstore("loaded").values()]


def dumps(region: bytes, record_size: int = 0x10000) -> set[tuple[int, ...]]:
    """The headers of all dump zones: {(signature, start, size)}."""
    return {struct.unpack_from("<III", region, at) for at in range(0, DUMPS_SIZE, record_size)}


def outside(folder: Path, region: bytes) -> Path:
    """A configuration for this machine's lastlog over a region of the guest's."""
    (folder / "region.bin").write_bytes(region)
    config = folder / "lastlog.config"
    config.write_text(f"config lastlog 'main'\n\toption archive '{folder}/saved'\n"
                      f"\toption root '{folder}'\n"
                      f"config region 'ram'\n\toption file '{folder}/region.bin'\n")
    return config


def lastlog(config: Path, *words: str) -> Any:
    """What lastlog answers on this machine."""
    told = subprocess.run([sys.executable, "-m", "lastlog_py", "--config", config, "--json",
                           *words], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr
    return json.loads(told.stdout)


def test_the_region_starts_armed_and_empty(done: trip.Trip) -> None:
    boot = done.boot(1)
    assert boot.pstore("loaded") == {}
    assert dumps(boot.region("loaded")) == {EMPTY}


@pytest.mark.parametrize(("number", "cause", "word"), CRASHES)
def test_the_text_is_what_the_kernel_showed(done: trip.Trip, number: int, cause: str,
                                            word: str) -> None:
    shown = done.boot(number).json("show")
    assert [shown["text"]] == kernels_own(done.boot(number))
    assert shown["kernel"]["reason"] == "panic"


@pytest.mark.parametrize(("number", "cause", "word"), CRASHES)
def test_the_crash_is_explained(done: trip.Trip, number: int, cause: str, word: str) -> None:
    boot = done.boot(number)
    newest = boot.json("list")["records"][0]
    assert newest["kernel"]["cause"] == cause
    assert newest["state"] == "captured"
    assert word in newest["title"]
    assert newest["kernel"]["release"] in (boot.folder / "version").read_text()
    assert newest["signature"].startswith("k1:")
    assert newest["title"] in boot.text("list-text")
    assert newest["title"] in boot.text("show-text")


@pytest.mark.parametrize(("number", "cause", "word"), CRASHES)
def test_nothing_is_wrong_with_a_fresh_crash(done: trip.Trip, number: int, cause: str,
                                             word: str) -> None:
    boot = done.boot(number)
    assert boot.json("list")["problems"] == []
    assert boot.json("status")["armed"] is True
    assert boot.json("status")["captured"] == 1


@pytest.mark.parametrize(("number", "cause", "word"), CRASHES)
def test_the_raw_region_alone_tells_the_same(done: trip.Trip, tmp_path: Path, number: int,
                                             cause: str, word: str) -> None:
    boot = done.boot(number)
    config = outside(tmp_path, boot.region("cold"))
    (record,) = lastlog(config, "list")["records"]
    assert record["id"] == boot.json("show")["id"]
    assert [lastlog(config, "show", record["id"])["text"]] == kernels_own(boot)


def test_region_and_pstore_files_are_one_record(done: trip.Trip) -> None:
    assert len(done.boot(2).json("list")["records"]) == 1


def test_clear_refuses_what_is_not_saved(done: trip.Trip) -> None:
    boot = done.boot(2)
    assert boot.status("refused") == 1
    assert boot.json("refused")["error"]["code"] == "not-saved"
    assert boot.pstore("refused") == boot.pstore("loaded")
    assert boot.region("refused") == boot.region("loaded")


@pytest.mark.parametrize(("number", "cause", "word"), CRASHES)
def test_save_makes_a_file_that_zcat_shows(done: trip.Trip, number: int, cause: str,
                                           word: str) -> None:
    boot = done.boot(number)
    (saved,) = boot.json("save")["saved"]
    assert saved == boot.json("show")["id"]
    assert boot.json("list-saved")["records"][0]["state"] == "both"
    assert kernels_own(boot)[0] in (boot.folder / "zcat.txt").read_text()
    files = [gzip.decompress(path.read_bytes()) for path in boot.folder.glob("archive/*.gz")]
    assert len(files) == number // 2


@pytest.mark.parametrize(("number", "cause", "word"), CRASHES)
def test_save_leaves_memory_alone(done: trip.Trip, number: int, cause: str, word: str) -> None:
    boot = done.boot(number)
    assert boot.region("saved") == boot.region("loaded")
    assert boot.pstore("saved") == boot.pstore("loaded")


def test_clear_empties_the_real_memory(done: trip.Trip) -> None:
    boot = done.boot(2)
    assert boot.json("clear") == {"cleared": boot.json("save")["saved"], "kept": []}
    assert boot.pstore("cleared") == {}
    assert dumps(boot.region("cleared")) == {EMPTY}
    assert [record["state"] for record in boot.json("list-cleared")["records"]] == ["saved"]


def test_clear_works_on_the_raw_memory_alone(done: trip.Trip) -> None:
    boot = done.boot(4)
    assert boot.json("clear-raw") == {"cleared": boot.json("save")["saved"], "kept": []}
    assert boot.pstore("cleared-raw") == {}
    assert dumps(boot.region("cleared-raw")) == {EMPTY}


def test_the_next_boot_finds_it_armed_and_empty(done: trip.Trip) -> None:
    boot = done.boot(3)
    assert dumps(boot.region("cold")) == {EMPTY}
    assert boot.pstore("loaded") == {}
    assert boot.json("status")["armed"] is True
    assert boot.json("status")["last_reboot"]["reason"] == "unknown"    # it was a clean one
    assert (boot.json("status")["captured"], boot.json("status")["saved"]) == (0, 1)
    assert [record["state"] for record in boot.json("list")["records"]] == ["saved"]


def test_the_reason_of_the_last_reboot(done: trip.Trip) -> None:
    reasons = [done.boot(number).json("status")["last_reboot"]["reason"] for number in (2, 4)]
    assert reasons == ["panic", "oom"]


def test_the_archive_outlives_the_second_crash(done: trip.Trip) -> None:
    ids = [done.boot(number).json("show")["id"] for number in (4, 2)]
    listed = done.boot(4).json("list-saved")["records"]
    assert [record["id"] for record in listed] == ids
    assert [record["state"] for record in listed] == ["both", "saved"]


def test_no_command_fails_unexpectedly(done: trip.Trip) -> None:
    failed = {f"{path.parent.name}/{path.stem}" for path in done.folder.glob("results/*/*.status")
              if path.read_text() != "0\n"}
    complaints = {path.name for path in done.folder.glob("results/*/*.err") if path.stat().st_size}
    assert (failed, complaints) == ({"boot2/refused"}, set())


def test_an_oops_and_its_panic_are_one_crash(oops: trip.Boot) -> None:
    panic, first = oops.json("list")["records"]
    assert (panic["kernel"]["reason"], first["kernel"]["reason"]) == ("panic", "oops")
    assert (panic["crash"], first["crash"]) == (panic["id"], panic["id"])
    assert panic["signature"] == first["signature"]


def test_an_oops_is_explained(oops: trip.Boot) -> None:
    newest = oops.json("list")["records"][0]
    kernel = newest["kernel"]
    assert newest["title"] == "NULL pointer dereference in version_proc_show"
    assert (kernel["cause"], kernel["function"]) == ("null-pointer", "version_proc_show")
    assert (kernel["process"], kernel["address"]) == ("cat", "0x10")


def test_the_raw_region_of_the_other_series_tells_the_same(oops: trip.Boot,
                                                           tmp_path: Path) -> None:
    config = outside(tmp_path, oops.region("cold"))
    ids = [record["id"] for record in lastlog(config, "list")["records"]]
    assert ids == [record["id"] for record in oops.json("list")["records"]]
    texts = [lastlog(config, "show", each)["text"] for each in ids]
    assert sorted(texts) == sorted(kernels_own(oops))


def test_both_dumps_are_saved_and_cleared(oops: trip.Boot) -> None:
    saved = (oops.folder / "zcat.txt").read_text()
    assert [text in saved for text in kernels_own(oops)] == [True, True]
    assert sorted(oops.json("clear")["cleared"]) == sorted(oops.json("save")["saved"])
    assert oops.pstore("cleared") == {}
    assert dumps(oops.region("cleared"), 0x8000) == {EMPTY}
