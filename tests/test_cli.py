"""The command `lastlog` as a person or a script runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from lastlog_py import __version__, cli, commands, service
from tests import memory, samples, zones
from tests.machine import Machine

C12 = "c12_null_deref_panic_on_oops"


class Ran:
    """What one run of the command gave."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.out)
        return answer


@pytest.fixture
def lastlog(machine: Machine, capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs the command in this process, with the made-up router's configuration."""
    machine.configure(file=machine.write("/region.bin", samples.region(C12)))

    def run(*words: object) -> Ran:
        status = cli.main(["--config", str(machine.conf), *map(str, words)])
        return Ran(status, *capfd.readouterr())

    return run


def test_the_module_is_the_command(machine: Machine) -> None:
    done = subprocess.run([sys.executable, "-m", "lastlog_py", "--version"], capture_output=True,
                          text=True, check=True)
    assert done.stdout == f"lastlog {__version__}\n"


def test_status_for_people_and_for_scripts(lastlog: Any) -> None:
    said = lastlog("status")
    assert said.status == 0 and said.out.startswith(f"lastlog {__version__}: armed\n")
    assert "Rebooted after a kernel panic: NULL pointer dereference" in said.out
    assert set(lastlog("status", "--json").json) == {"armed", "checks", "last_reboot", "captured",
                                                     "saved", "archive", "history", "version"}


def test_asked_again_it_says_the_same(lastlog: Any) -> None:
    for words in (("status",), ("list",), ("list", "--json"), ("--json", "status")):
        assert lastlog(*words).out == lastlog(*words).out


def test_list_show_save_clear(lastlog: Any) -> None:
    records = lastlog("list", "--json").json["records"]
    assert [record["state"] for record in records] == ["captured"] * 3
    assert f"(same crash as {records[0]['id']})" in lastlog("list").out
    shown = lastlog("show", records[0]["id"])
    assert "Where:     lkdtm_EXCEPTION+0x8 [lkdtm]" in shown.out
    assert "Kernel panic - not syncing" in shown.out
    assert lastlog("show", records[0]["id"], "--json").json["text"].startswith("Panic#2 Part1\n")
    refused = lastlog("clear")
    assert refused.status == 1 and "not saved yet" in refused.err and refused.err.count("\n") == 1
    saved = lastlog("save")
    assert saved.status == 0 and saved.out.startswith("Saved 3: ")
    assert lastlog("save").out == "Nothing new to save.\n"
    assert lastlog("clear").out.startswith("Cleared 3: ")
    assert lastlog("clear").out == "Nothing to clear.\n"
    assert len(lastlog("clear", "--saved", "--json").json["cleared"]) == 3
    assert "No records" in lastlog("list").out


def test_a_partial_clear_says_what_it_kept_and_fails(lastlog: Any) -> None:
    first, second = (r["id"] for r in lastlog("list", "--json").json["records"][:2])
    lastlog("save", first)
    done = lastlog("clear", first, second)
    assert done.status == 1 and f"Kept {second}: it is not saved yet" in done.out


@pytest.mark.parametrize(("words", "word"), [
    ([], "required"), (["nonsense"], "invalid choice"), (["show"], "required"),
    (["list", "--limit", "x"], "invalid number"), (["list", "--kind", "x"], "invalid choice"),
    (["show", "../x"], "no record's id"), (["show", "k-" + "0" * 40], "no record's id"),
    (["clear", "--memory", "--saved"], "not allowed"), (["decode"], "required"),
    (["selftest"], "required"), (["selftest", "run"], "invalid choice"),
    (["--conf", "x", "list"], "invalid choice"), (["clear", "--forc"], "Unrecognized")])
def test_wrong_usage_is_2(lastlog: Any, words: list[str], word: str) -> None:
    done = lastlog(*words)
    assert done.status == 2 and word in done.err and done.out == ""
    failed = lastlog(*words, "--json")
    assert failed.status == 2 and failed.json["error"]["code"] == "bad-argument"


@pytest.mark.parametrize("words", [["show", "k-0"], ["clear"], ["decode", "/nonexistent"]])
def test_failures_are_1_with_one_line_or_json(lastlog: Any, words: list[str]) -> None:
    done = lastlog(*words)
    assert done.status == 1 and done.out == "" and done.err.startswith("lastlog: ")
    assert done.err.count("\n") == 1
    failed = lastlog(*words, "--json")
    assert failed.status == 1 and set(failed.json["error"]) == {"code", "message", "hint"}
    assert failed.err == ""


def test_a_missing_configuration(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--config", "/nonexistent", "status"]) == 1
    assert "There is no configuration file" in capfd.readouterr().err


def test_decode_with_and_without_geometry(lastlog: Any, tmp_path: Path) -> None:
    file = tmp_path / "dump.bin"
    file.write_bytes(zones.zone(4096, zones.dump(zones.log(30))) + zones.zone(4096))
    for words in ([], ["--record-size", "0x1000"], ["--record-size=4096", "--ecc=0"]):
        (record,) = lastlog("decode", file, *words, "--json").json["records"]
        assert record["text"].encode() == zones.log(30) and record["state"] == "file"
    said = lastlog("decode", file, "--record-size", "512")
    assert said.status == 0 and "the zones are not where the command line says" in said.out


def test_decode_fails_if_one_of_the_files_cannot_be_read(lastlog: Any, tmp_path: Path) -> None:
    file = tmp_path / "ramoops-dump"
    file.write_bytes(zones.zone(4096, zones.dump(zones.log(30))))
    done = lastlog("decode", file, tmp_path / "missing")
    assert done.status == 1 and "No such file" in done.out and "line 29 of the log" in done.out
    sizes = lastlog("decode", file, "--console-size", "4096")
    assert sizes.status == 1 and "--record-size is missing" in sizes.err


def test_json_for_a_terminal_is_ascii(lastlog: Any, tmp_path: Path) -> None:
    file = tmp_path / "dmesg-ramoops-0"
    file.write_bytes("Panic#1 Part1\n<0>[    1.0] \u009b31m\u202e\n".encode())
    assert lastlog("decode", file, "--json").out.isascii()


TEXTS = ["", "plain\n", "\ufffd" * (2 * commands.PIECE + 1), "a\U0001f600\"\\\x1b" * commands.PIECE]


@pytest.mark.parametrize("reply", [
    {}, {"records": [], "problems": []}, {"error": {"code": "io", "message": "x", "hint": ""}},
    {"records": [{"id": "k", "text": text, "source": {"zone": None, "torn": False},
                  "kernel": {"trace": [{"function": "f"}], "oom": None}} for text in TEXTS],
     "problems": [{"where": "\u00e9", "what": "x", "severity": "info"}] * 3}])
def test_json_in_pieces_is_what_json_makes_of_it(reply: dict[str, Any]) -> None:
    assert b"".join(commands.in_json(reply)) == json.dumps(reply).encode()


def test_json_of_a_long_text_takes_little_memory() -> None:
    """In one piece it would be six times the text's characters."""
    reply = {"records": [{"id": "k", "text": "\ufffd" * (1 << 22)}], "problems": []}
    tracemalloc.start()
    length = sum(map(len, commands.in_json(reply)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert length > 6 << 22 and peak < 1 << 22


def test_decode_prints_what_service_says_of_a_dump(lastlog: Any, tmp_path: Path) -> None:
    file = tmp_path / "some.bin"
    file.write_bytes(samples.region(C12))
    said = lastlog("decode", file, "--json")
    assert said.out == json.dumps(service.decode([str(file)])) + "\n"


def test_selftest(lastlog: Any, machine: Machine) -> None:
    machine.configure(file=machine.write("/region.bin", bytes(65536)))
    machine.write("/proc/sys/kernel/random/boot_id", "first")
    early = lastlog("selftest", "result")
    assert early.status == 1 and "Run lastlog selftest arm" in early.err
    assert lastlog("selftest", "arm", "--json").json["tested"] > 65000
    assert "Now run: reboot" in lastlog("selftest", "arm").out
    assert lastlog("selftest", "result", "--json").json["error"]["code"] == "busy"
    machine.write("/proc/sys/kernel/random/boot_id", "second")
    assert lastlog("selftest", "result").out.startswith("The memory kept everything")
    said = lastlog("selftest", "result", "--json").json
    assert said["state"] == "kept" and said["ecc"] == 0


def test_no_records_of_a_kind_is_not_no_records(lastlog: Any) -> None:
    assert lastlog("list", "--kind", "coredump").out == "No records of that kind.\n"


def test_output_that_cannot_be_written(machine: Machine) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "lastlog_py", "--config", str(machine.conf),
                               "list"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"No space left" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_propose_for_people_and_for_scripts(lastlog: Any, machine: Machine) -> None:
    refused = lastlog("propose")
    assert refused.status == 1 and "as root" in refused.err and refused.err.count("\n") == 1
    machine.write("/proc/sys/kernel/arch", "aarch64\n")
    machine.write("/proc/iomem", memory.ARM64)
    memory.node(machine, "memory@40000000", [(0x40000000, 0x20000000)])
    said = lastlog("propose")
    assert said.status == 0 and said.out.startswith("Proposed, not applied: 1024 KiB at 0x")
    for word in ("device tree (.dts):", "ramoops@", "config region 'ram'", "- Nothing has been"):
        assert word in said.out
    assert "command line:" not in said.out
    answer = lastlog("propose", "--json").json
    assert answer["region"]["size"] == 1 << 20 and answer["command_line"] is None


def test_nothing_from_a_crash_reaches_the_terminal_raw(lastlog: Any, tmp_path: Path) -> None:
    evil = b"Panic#1 Part1\n<0>[    1.000000] Kernel panic - not syncing: " \
        b"\x1b]0;owned\x07\x9b31m\r" + "\u202e".encode() + b"\n"
    file = tmp_path / "dmesg-ramoops-0"
    file.write_bytes(evil)
    said = lastlog("decode", file).out
    assert not {"\x1b", "\x07", "\x9b", "\r", "\u202e"} & set(said)
    assert "\\x1b]0;owned\\x07" in said


def test_a_reader_that_stops_reading_is_no_error(machine: Machine) -> None:
    machine.configure(file=machine.write("/region.bin", samples.region(C12)))
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "lastlog_py", "--config", str(machine.conf),
                           "list"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_status_and_list_import_nothing_heavy(machine: Machine) -> None:
    """What makes them cheap on a router: json, re, typing and argparse stay out once the answer
    is remembered."""
    machine.configure(file=machine.write("/region.bin", samples.region(C12)))
    code = ("import sys; from lastlog_py.cli import main; main(sys.argv[1:]);"
            "print(sorted({'json', 're', 'typing', 'argparse', 'enum', 'dataclasses'}"
            " & set(sys.modules)))")
    words = [sys.executable, "-I", "-c", code, "--config", str(machine.conf), "list"]
    subprocess.run(words, capture_output=True, check=True)
    second = subprocess.run(words, capture_output=True, text=True, check=True)
    assert second.stdout.endswith("\n[]\n")


@pytest.mark.parametrize("command", ["status", "list"])
def test_with_nothing_captured_nothing_is_explained(machine: Machine, command: str) -> None:
    machine.configure(file=machine.write("/region.bin", bytes(65536)))
    code = ("import sys; from lastlog_py.cli import main; main(sys.argv[1:]);"
            "print([name for name in sys.modules if name.startswith('lastlog_py.diagnose')])")
    done = subprocess.run([sys.executable, "-I", "-c", code, "--config", str(machine.conf),
                           command], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")


# --- the boot service


@pytest.mark.parametrize("words", [("harvest",), ("harvest", "--json"), ("shutdown",),
                                   ("shutdown", "--json")])
def test_what_the_boot_service_runs(lastlog: Any, words: tuple[str, ...],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"the system log\n")
    os.close(writing)
    kept = os.dup(0)
    os.dup2(reading, 0)
    try:
        said = lastlog(*words)
    finally:
        os.dup2(kept, 0)
    assert (said.status, said.err) == (0, "")
    if "--json" in words:
        assert said.json["problems"] == []
    elif words == ("harvest",):
        assert said.out.startswith("Rebooted after a kernel panic: NULL pointer dereference")
    else:
        assert said.out == ""


def test_a_harvest_of_what_cannot_be_read(lastlog: Any, machine: Machine) -> None:
    machine.configure(file=machine.root / "nowhere")
    said = lastlog("harvest")
    assert said.status == 0 and "first boot" in said.out
    assert lastlog("--config", "/nowhere", "harvest").status == 1
    assert lastlog("harvest", "now").status == 2
