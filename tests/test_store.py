"""store.py: the end of a log into the journal, by every door."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastlog_py import calls, cli, service, store
from lastlog_py.errors import LastlogError
from lastlog_py.medium import journal_device
from lastlog_py.medium.journal import MAGIC
from tests.machine import Machine
from tests.medium.journals import NOW

ZONES, RING = 8192, 32768
QUARTER = RING // 4


@pytest.fixture
def router(machine: Machine) -> Machine:
    """A router with a journal of 32 KiB behind 8 KiB for ramoops."""
    machine.configure(file=machine.write("/region.bin", bytes(ZONES + RING)), journal_size=RING)
    return machine


def lines(count: int) -> bytes:
    return b"".join(b"%05d something happens\n" % number for number in range(count))


def listed(machine: Machine) -> dict[str, Any]:
    """The one record there is, whole."""
    (record,) = service.list_records(machine.config())["records"]
    return service.get(machine.config(), record["id"])


# --- what is kept


def test_a_small_log_is_kept_whole(router: Machine) -> None:
    log = router.write("/tmp/system.log", lines(5))
    router.write("/proc/sys/kernel/random/boot_id", "b-1\n")
    reply = store.store(router.config(), str(log))
    record = listed(router)
    assert reply == {"id": record["id"], "bytes": len(lines(5)), "cut": False, "where": "journal",
                     "note": None}
    assert record["text"].encode() == lines(5)
    assert (record["kind"], record["title"], record["state"], record["source"]["medium"]) == (
        "log", "system.log", "captured", "journal")
    assert record["uptime"] == 100.25 and record["source"]["offset"] == ZONES


@pytest.mark.parametrize("wanted", [None, 1000, 2400])
def test_a_long_one_is_cut_at_the_front_at_a_line(router: Machine, wanted: int | None) -> None:
    log = router.write("/tmp/log", lines(5000))
    reply = store.store(router.config(), str(log), wanted, "mine")
    text = listed(router)["text"].encode()
    assert lines(5000).endswith(b"\n" + text) and len(text) == reply["bytes"]
    most = wanted or QUARTER
    assert most - 24 < len(text) <= most
    assert reply["cut"] is True and ("a quarter" in str(reply["note"])) is (wanted is None)
    assert listed(router)["title"] == "mine"


def test_a_line_that_begins_just_there_is_kept(router: Machine) -> None:
    log = router.write("/tmp/log", lines(100))
    assert store.store(router.config(), str(log), 240)["bytes"] == 240


@pytest.mark.parametrize("body", [b"x" * 5000, b"x" * 4999 + b"\n", b"\n" + b"x" * 4999])
def test_what_has_no_lines_is_cut_in_the_middle(router: Machine, body: bytes) -> None:
    log = router.write("/tmp/log", body)
    assert store.store(router.config(), str(log), 1000)["bytes"] == 1000
    assert listed(router)["text"].encode() == body[-1000:]


def test_more_than_fits_says_what_fits(router: Machine) -> None:
    log = router.write("/tmp/log", lines(50000))
    reply = store.store(router.config(), str(log), 1 << 20)
    assert reply["cut"] is True and isinstance(reply["bytes"], int)
    assert RING - 1000 < reply["bytes"] < RING
    assert f"room for {journal_device.find(router.site()).room()} bytes" in str(reply["note"])
    assert lines(50000).endswith(listed(router)["text"].encode())


def test_the_newest_crash_stays_and_the_rest_is_what_fits(router: Machine) -> None:
    where = journal_device.find(router.site())
    where.append("log", bytes(9000), NOW, 0)
    where.append("kernel", bytes(3000), NOW, 0)
    log = router.write("/tmp/log", lines(50000))
    reply = store.store(router.config(), str(log), 32000)
    assert 18000 < int(str(reply["bytes"])) < 21000 and "has room for" in str(reply["note"])
    assert [entry.kind for entry in where.read().entries] == ["log", "kernel", "log"]


def test_a_crash_that_fills_the_journal_leaves_no_room(router: Machine) -> None:
    where = journal_device.find(router.site())
    where.append("kernel", bytes(where.room()), NOW, 0, "l" * 300)
    before = where.read().entries[0].checksum
    with pytest.raises(LastlogError) as failed:
        store.store_text(router.config(), "x")
    assert failed.value.code == "no-space" and where.read().entries[0].checksum == before


@pytest.mark.parametrize("piece", [b"====lastlog 1 kernel seq=9\n", b"====\\", b"====\\lastlog"])
def test_text_that_grows_when_stored_still_fits(router: Machine, piece: bytes) -> None:
    log = router.write("/tmp/log", piece * 9000)
    reply = store.store(router.config(), str(log), 1 << 20)
    text = listed(router)["text"].encode()
    assert (piece * 9000).endswith(text) and len(text) == reply["bytes"] > RING * 0.75


def test_any_bytes_are_kept_as_they_are(router: Machine) -> None:
    body = bytes(range(256)) * 3
    log = router.write("/tmp/log", body)
    store.store(router.config(), str(log), label="a\n\x1b[1m\u202eb")
    (entry,) = journal_device.find(router.site()).read().entries
    assert entry.body == body
    record = listed(router)
    assert "\0" not in record["text"] and record["title"] == "a\ufffd\ufffd[1m\ufffdb"


def test_each_is_its_own_record_and_the_list_is_made_anew(router: Machine) -> None:
    config = router.config()
    for number in range(3):
        before = cli.cache_name("list", False), service.list_records(config)["records"]
        store.store_text(config, f"text {number}")
        assert len(service.list_records(config)["records"]) == len(before[1]) + 1


def test_nothing_and_less_than_nothing(router: Machine) -> None:
    empty = router.write("/tmp/empty", b"")
    for act in (lambda: store.store(router.config(), str(empty)),
                lambda: store.store_text(router.config(), ""),
                lambda: store.store_text(router.config(), "x", 0)):
        with pytest.raises(LastlogError) as failed:
            act()
        assert failed.value.code == "bad-argument" and failed.value.hint
    assert service.list_records(router.config())["records"] == []


# --- where it comes from


@pytest.mark.parametrize(("path", "code"), [
    ("/nonexistent/log", "not-found"), ("/", "bad-argument"), ("a\0b", "io"),
    ("/proc/self/mem", "io")])
def test_what_cannot_be_read(router: Machine, path: str, code: str) -> None:
    with pytest.raises(LastlogError) as failed:
        store.store(router.config(), path)
    assert failed.value.code == code


def test_a_file_of_proc_that_says_it_is_empty(router: Machine) -> None:
    reply = store.store(router.config(), "/proc/self/status")
    assert int(str(reply["bytes"])) > 100 and "Name:" in listed(router)["text"]


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 3 << 20])
def test_a_stream_keeps_its_end(tmp_path: Path, size: int,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PIECE", 700)
    body = lines(size // 24 + 1)[:size]
    file = tmp_path / "stream"
    file.write_bytes(body)
    fd = os.open(file, os.O_RDONLY)
    try:
        kept, more = store._tail_of_stream(fd, 1000)
    finally:
        os.close(fd)
    assert body.endswith(kept) and len(kept) == min(size, 1001) and more is (size > 1000)


def test_a_hundred_megabytes_take_few_reads(router: Machine, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "big"
    log.write_bytes(b"")
    os.truncate(log, 100 << 20)
    with log.open("ab") as file:
        file.write(lines(1000))
    reads = []
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        reads.append(size)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    store.store(router.config(), str(log), 16384)
    assert len(reads) <= 4 and sum(reads) < 16385 + 2 * RING


# --- without a region


def test_pmsg_alone(machine: Machine) -> None:
    zone = machine.write("/dev/pmsg0", b"")
    reply = store.store_text(machine.config(), "the text\n", label="mine")
    assert reply["where"] == "pmsg" and "after the next reboot" in str(reply["note"])
    assert service.list_records(machine.config())["records"] == []
    machine.pstore("pmsg-ramoops-0", zone.read_bytes())             # the next boot
    record = listed(machine)
    assert (record["id"], record["text"], record["title"]) == (reply["id"], "the text\n", "mine")


def test_without_a_journal_into_the_archive(machine: Machine) -> None:
    machine.write("/etc/openwrt_release", "DISTRIB_RELEASE='24.10.2'\n")
    reply = store.store_text(machine.config(), "the text\n", label="mine")
    assert reply["where"] == "archive" and "no journal" in str(reply["note"])
    record = listed(machine)
    assert (record["id"], record["text"], record["title"], record["state"]) == (
        reply["id"], "the text\n", "mine", "saved")
    assert record["boot"]["firmware"] == "24.10.2"
    long = store.store_text(machine.config(), lines(10000).decode())
    assert long["cut"] is True and int(str(long["bytes"])) <= store.MOST_SAVED


def test_neither_journal_nor_archive(machine: Machine) -> None:
    machine.archive.write_text("a file")
    with pytest.raises(LastlogError):
        store.store_text(machine.config(), "the text\n")


# --- the command


@pytest.fixture
def run(router: Machine, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process: exit status, stdout, stderr."""
    def command(*words: object) -> tuple[int, str, str]:
        status = cli.main(["--config", str(router.conf), *map(str, words)])
        return status, *capfd.readouterr()

    return command


@pytest.mark.parametrize("options", [
    [], ["--bytes", "100"], ["--bytes=100", "--label=x"], ["--bytes", "0x64"], ["--label", "a b"],
    ["--label="]])
def test_the_command_and_its_options(router: Machine, run: Any, options: list[str]) -> None:
    log = router.write("/tmp/log", lines(100))
    status, out, err = run("store", log, *options)
    record = listed(router)
    assert (status, err) == (0, "") and f"as {record['id']}." in out
    short = any("bytes" in each for each in options)
    assert f"Stored {96 if short else 2400} bytes" in out
    assert ("end of something longer" in out) is short


def test_in_json(router: Machine, run: Any) -> None:
    log = router.write("/tmp/log", lines(3))
    first = json.loads(run("store", log, "--json")[1])
    assert first["id"] in {each["id"] for each in service.list_records(router.config())["records"]}
    assert (first["bytes"], first["cut"], first["note"]) == (72, False, None)
    log.write_bytes(lines(5000))
    noted = json.loads(run("--json", "store", "--bytes", 1 << 20, log)[1])
    assert noted["cut"] is True and "has room for" in noted["note"]


@pytest.mark.parametrize(("words", "said"), [
    ([], "FILE"), (["a", "b"], "Unrecognized"), (["--bytes"], "expected one argument"),
    (["x", "--bytes", "many"], "invalid number"), (["x", "--bytes", "-1"], "invalid number"),
    (["x", "--byte", "1"], "Unrecognized"), (["x", "--label", "-y"], "expected one argument")])
def test_wrong_usage_is_2(run: Any, words: list[str], said: str) -> None:
    status, out, err = run("store", *words)
    assert (status, out) == (2, "") and said in err and " --help." in err
    status, out, _ = run("store", *words, "--json")
    assert status == 2 and json.loads(out)["error"]["code"] == "bad-argument"


def test_failures_are_1(run: Any) -> None:
    status, out, err = run("store", "/nonexistent")
    assert (status, out) == (1, "") and err.startswith("lastlog: There is no file /nonexistent.")
    status, out, _ = run("store", "/nonexistent", "--json")
    assert status == 1 and json.loads(out)["error"]["code"] == "not-found"


def test_a_bug_is_no_traceback(run: Any, router: Machine,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "moment", lambda _site: 1 / 0)
    status, out, err = run("store", router.write("/tmp/log", b"x"))
    assert (status, out) == (1, "") and "ZeroDivisionError" in err and "Traceback" not in err


def test_help_names_it(run: Any) -> None:
    assert "store" in run("--help")[1]
    assert "--bytes" in run("store", "--help")[1]


def test_a_pipe(router: Machine) -> None:
    done = subprocess.run([sys.executable, "-m", "lastlog_py", "--config", str(router.conf),
                           "store", "-", "--label", "piped"], input=lines(20), check=True,
                          capture_output=True)
    assert done.stdout.startswith(b"Stored 480 bytes, as l-") and done.stderr == b""
    assert listed(router)["title"] == "piped"


HOT = {"lastlog_py", "lastlog_py.boot", "lastlog_py.bundled", "lastlog_py.cli",
       "lastlog_py.config", "lastlog_py.errors", "lastlog_py.locks", "lastlog_py.medium",
       "lastlog_py.medium.device", "lastlog_py.medium.journal", "lastlog_py.medium.journal_device",
       "lastlog_py.record_id", "lastlog_py.site", "lastlog_py.store"}


def test_it_imports_only_what_it_needs(router: Machine) -> None:
    log = router.write("/tmp/log", lines(20))
    code = ("import sys; before = set(sys.modules); from lastlog_py.cli import main;"
            f"main(['--config', {str(router.conf)!r}, 'store', {str(log)!r}]);"
            "print(*sorted(set(sys.modules) - before))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.splitlines()[1].split())
    assert {name for name in imported if name.startswith("lastlog_py")} == HOT
    assert imported - HOT <= {"__future__", "fcntl", "time", "zlib", "_sha2", "_sha256"}


# --- ubus


def call(machine: Machine, **arguments: object) -> dict[str, Any]:
    checked = calls.parse("store", json.dumps(arguments).encode())
    reply: dict[str, Any] = json.loads(calls.answer(machine.config(), "store", checked, ""))
    return reply


def test_ubus_stores_a_file_or_a_text(router: Machine) -> None:
    log = router.write("/tmp/log", lines(100))
    reply = call(router, path=str(log), bytes=240, label="mine")
    assert (reply["bytes"], reply["cut"]) == (240, True) and listed(router)["title"] == "mine"
    reply = call(router, text="é\n", label="note")
    assert reply["bytes"] == 3
    assert service.get(router.config(), reply["id"])["text"] == "é\n"


@pytest.mark.parametrize("arguments", [
    {}, {"path": "/x", "text": "x"}, {"path": "relative"}, {"path": "-"}, {"path": ""},
    {"text": ""}, {"text": "x", "bytes": 0}, {"text": "x", "bytes": -1},
    {"text": "x", "bytes": "1"},
    {"path": "/dev/zero"}, {"path": "/dev"}, {"text": 1}])
def test_ubus_refuses(router: Machine, arguments: dict[str, Any]) -> None:
    with pytest.raises(LastlogError) as failed:
        call(router, **arguments)
    assert failed.value.code == "bad-argument"
    assert MAGIC not in (router.root / "region.bin").read_bytes()


def test_ubus_does_not_wait_for_a_pipe(router: Machine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LastlogError, match="cannot be stored over ubus"):
        call(router, path=str(tmp_path / "pipe"))
