"""Core dumps from the journal to the page, `backtrace` and `symbolize`, as a person runs them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lastlog_py import calls, cli, events, service
from lastlog_py.boot import Moment
from lastlog_py.config import Config
from lastlog_py.coredump import shape
from lastlog_py.diagnose import explain
from lastlog_py.medium import journal_device
from lastlog_py.page import render
from lastlog_py.record import Source, captured
from tests.coredump import cases
from tests.coredump.test_reading import TEXT
from tests.machine import Machine

MOMENT = Moment(1795379381.0, True, 100.0)


class Ran:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def lastlog(machine: Machine, capfd: pytest.CaptureFixture[str]) -> Any:
    machine.configure(file=machine.write("/region.bin", bytes(65536)), journal_size=32768)

    def run(*words: object) -> Ran:
        status = cli.main(["--config", str(machine.conf), *map(str, words)])
        return Ran(status, *capfd.readouterr())

    return run


def store(machine: Machine, *texts: str) -> None:
    """What the handler does."""
    ring = journal_device.find(machine.site())
    for number, text in enumerate(texts):
        later = Moment(MOMENT.time + number, True, MOMENT.uptime + number)
        ring.append("coredump", text.encode(), later, 3, label="uhttpd: SIGSEGV in strlen")


def test_from_the_journal_to_the_archive_and_back(machine: Machine, lastlog: Any) -> None:
    store(machine, TEXT, TEXT.replace("0x77a", "0x66b"))
    rows = json.loads(lastlog("list", "--json").out)["records"]
    assert [row["kind"] for row in rows] == ["coredump", "coredump"]
    assert rows[0]["signature"] == rows[1]["signature"] and rows[0]["signature"].startswith("u1:")
    assert [row["count"] for row in rows] == [2, 1]
    assert {row["first_seen"] for row in rows} == {MOMENT.time}
    assert all(row["crash"] == row["id"] for row in rows)
    name = rows[1]["id"]
    before = json.loads(lastlog("show", name, "--json").out)
    assert before["coredump"]["threads"][0]["frames"][0]["symbol"] == "strlen"
    assert before["boot"]["number"] == 3 and before["text"] == TEXT
    assert lastlog("save").out.startswith("Saved 2: ")
    assert lastlog("clear").out.startswith("Cleared 2: ")
    after = json.loads(lastlog("show", name, "--json").out)
    assert after["state"] == "saved" and after["count"] == 2
    for key in ("coredump", "title", "signature", "text", "time", "id"):
        assert after[key] == before[key], key
    assert json.loads(lastlog("list", "--json").out)["records"][0]["coredump"]["pid"] == 1203
    file = machine.archive / f"{name}.gz"
    decoded = json.loads(lastlog("decode", file, "--json").out)["records"]
    assert decoded[0]["coredump"] == before["coredump"] and decoded[0]["state"] == "file"


def test_show_for_people(machine: Machine, lastlog: Any) -> None:
    store(machine, TEXT)
    name = json.loads(lastlog("list", "--json").out)["records"][0]["id"]
    shown = lastlog("show", name).out
    for line in ("Title:     uhttpd: SIGSEGV in strlen: tried to read or write address 0x10, a "
                 "NULL pointer plus an offset", "Program:   /usr/sbin/uhttpd",
                 "Signal:    SIGSEGV, SEGV_MAPERR, at 0x10", "PID:       1203, thread 1204",
                 "Dropped:   3 more crashes before it", "Note:      Time was up after 2 threads.",
                 "Thread 1204, the one that crashed:",
                 "  #0    strlen+0x14  [libc.so+0x3c34]  registers",
                 "  ... 120 frames left out", "  #121  [u httpd+0x1234]  prologue",
                 "? #122  [0x1]  scan", "Registers: pc=0x77a03c34 sp=0x7fff0000",
                 "  /lib/libc.so  build-id ab12",
                 "  /usr/sbin/u httpd  text id 0123456789abcdef7f00", "System log:",
                 "Thread 1: this is a log"):
        assert line in shown.splitlines(), line
    assert f"lastlog symbolize {name} --debug DIR" in shown
    html = render.render(service.page_model(machine.config()))
    assert "Tried to read or write address 0x10" in html and "this is a log" in html


def test_a_thread_that_is_not_known_is_not_named(machine: Machine, lastlog: Any) -> None:
    store(machine, TEXT.replace("TID: 1204\n", ""))
    shown = lastlog("show", json.loads(lastlog("list", "--json").out)["records"][0]["id"]).out
    assert "PID:       1203\n" in shown


def test_a_torn_core_dump_is_shown(machine: Machine, lastlog: Any) -> None:
    store(machine, TEXT[:200], "", "nothing of the kind")
    rows = json.loads(lastlog("list", "--json").out)["records"]
    assert [row["title"].partition(":")[0] for row in rows] == ["uhttpd"] * 3
    assert [row["coredump"] is None for row in rows] == [True, True, False]
    for row in rows:
        assert lastlog("show", row["id"]).status == 0
        assert render.render(service.page_model(machine.config(), row["id"]))


def test_a_core_dump_of_very_many_frames_can_be_sent(machine: Machine) -> None:
    machine.configure(file=machine.write("/region.bin", bytes(2 << 20)), journal_size=1 << 20)
    rows = "".join(f"#{index} 0x77a{index:05x} module=0 offset={index:#x} how=cfi\n"
                   for index in range(2000))
    store(machine, TEXT.partition("\nThread")[0] + "".join(
        f"\nThread {tid}: crashed\n{rows}" for tid in range(4)))
    name = service.list_records(machine.config())["records"][0]["id"]
    answer = calls.answer(machine.config(), "get", {"id": name}, "")
    assert len(answer) <= calls.MAX_ANSWER
    record = json.loads(answer)
    assert record["cut"] and record["coredump"]["threads_cut"]
    assert 1000 <= len(record["coredump"]["threads"][0]["frames"]) <= 2000
    assert len(calls.answer(machine.config(), "page", {"id": name}, "")) <= calls.MAX_ANSWER
    assert len(calls.answer(machine.config(), "list", {}, "")) <= calls.MAX_ANSWER


def of_many(path: str, threads: int, frames: int) -> str:
    """The text of a core dump with a frame line for each, all in the one file."""
    rows = "".join(f"#{index} 0x77a{index:05x} module=0 offset={index:#x} how=cfi\n"
                   for index in range(frames))
    return f"lastlog core dump 1\nExecutable: {path}\nSignal: 11 SIGSEGV\n\nModule 0: " \
        f"base=0x77a00000 size=0x9f000 build-id=ab12 path={path}\n" + "".join(
            f"\nThread {tid}: {'' if tid else 'crashed'}\nRegisters:\n{rows}"
            for tid in range(threads))


@pytest.mark.parametrize("path", ["/bin/x", "/" + "\\x01" * 250, "/" + "\\xe2\\x80\\xae" * 300],
                         ids=["plain", "control characters", "turned around"])
def test_a_large_core_dump_hides_no_other_record(machine: Machine, path: str) -> None:
    """A path stands in every frame, so a short text becomes a long answer."""
    machine.configure(file=machine.write("/region.bin", bytes(2 << 20)), journal_size=1 << 20)
    large = of_many(path, 64, 40)
    newest = large.replace("Signal", "UID: 7\nSignal")
    store(machine, TEXT, large, TEXT.replace("1203", "1204"), newest)
    answer = calls.answer(machine.config(), "list", {}, "")
    assert len(answer) <= calls.MAX_ANSWER
    reply = json.loads(answer)
    assert [row["coredump"]["uid"] for row in reply["records"]] == [7, 0, None, 0]
    assert "left out" not in str(reply["problems"])
    first = reply["records"][0]["coredump"]
    assert len(first["threads"][0]["frames"]) >= shape.BRIEF and first["modules"]
    assert first["threads_cut"] == (len(first["threads"]) < 64)
    assert len(reply["records"][1]["coredump"]["threads"]) == 2         # small: whole


def test_a_record_too_large_by_itself_is_left_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": str(at), "coredump": None, "title": "x" * size}
            for at, size in enumerate((600 << 10, 5, 5))]
    monkeypatch.setattr(service, "list_records", lambda *_: {"records": rows, "problems": []})
    reply = json.loads(calls.answer(Config(""), "list", {}, ""))
    assert [row["id"] for row in reply["records"]] == ["1", "2"]
    assert "1 records are left out" in reply["problems"][0]["what"]


def test_the_event_of_a_large_core_dump_is_short_enough(machine: Machine) -> None:
    record = explain(captured("coredump", of_many("/" + "x" * 300, 64, 40).encode(),
                              Source("journal")))
    sent: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events.programs, "run", lambda site, words, *_, **__: sent.append(words))
        events.tell(machine.site(), record)
    (told,) = [words[-1] for words in sent if words[0] == "ubus"]
    assert len(told) < 128 << 10 and len(json.loads(told)["coredump"]["threads"]) == 1


# --- backtrace

@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"no core at all", bytes(4096),
                                     Path("/bin/true").read_bytes()[:4096]])
def test_what_is_no_core(machine: Machine, lastlog: Any, content: bytes) -> None:
    ran = lastlog("backtrace", "--core", machine.write("/x.core", content))
    assert ran.status == 1 and ran.err.count("\n") == 1 and not ran.out
    assert "no core dump that can be read" in ran.err
    assert json.loads(lastlog("backtrace", "--core", machine.root / "x.core",
                              "--json").out)["error"]["code"] == "io"


def test_no_core_no_sysroot_no_words(machine: Machine, lastlog: Any) -> None:
    assert "cannot be read: No such file" in lastlog("backtrace", "--core", "/none").err
    assert "it is a directory" in lastlog("backtrace", "--core", machine.root).err
    core = machine.write("/x.core", b"x")
    assert "no directory" in lastlog("backtrace", "--core", core, "--sysroot", "/none").err
    assert lastlog("backtrace").status == 2
    assert lastlog("symbolize", "c-1").status == 2


@cases.needs_cores()
@pytest.mark.parametrize("set_", cases.sets())
def test_backtrace_of_every_machine(lastlog: Any, set_: str) -> None:
    case = cases.cases(f"{set_}/simple")[0]
    ran = lastlog("backtrace", "--core", case.core(), "--sysroot", case.sysroot(), "--json")
    record = json.loads(ran.out)
    dump = record["coredump"]
    assert (record["state"], record["source"]["medium"]) == ("file", "core")
    assert dump["signal_name"] == case.row["signal_name"] and dump["pid"] == case.row["pid"]
    pcs = [int(frame["pc"], 16) for frame in dump["threads"][0]["frames"]]
    wanted = [pc for pc in case.threads[0].expected() if pc]
    mode_bit = 1 if dump["machine"].startswith(("arm", "mips")) else 0
    assert pcs[:len(wanted)] == [pc & ~mode_bit for pc in wanted]
    assert dump["executable"].startswith("/")
    people = lastlog("backtrace", "--core", case.core(), "--sysroot", case.sysroot())
    assert people.status == 0 and "the one that crashed" in people.out


@cases.needs_cores()
def test_backtrace_of_a_pipe_and_of_a_cut_core(lastlog: Any, machine: Machine) -> None:
    case = cases.cases("x86_64-musl/threads")[0]
    whole = case.core().read_bytes()
    expected = json.loads(lastlog("backtrace", "--core", case.core(), "--sysroot", case.sysroot(),
                                  "--json").out)
    command = [sys.executable, "-m", "lastlog_py", "backtrace", "--json", "--core", "-",
               "--sysroot", str(case.sysroot())]
    piped = subprocess.run(command, input=whole, capture_output=True, check=True).stdout
    assert json.loads(piped)["coredump"] == expected["coredump"]
    cut = machine.write("/cut.core", whole[:len(whole) // 3])
    record = json.loads(lastlog("backtrace", "--core", cut, "--json").out)
    assert record["coredump"]["truncated"] and record["source"]["truncated"]
    assert list(record["source"]) == list(Source._fields)
    assert len(record["coredump"]["threads"]) == len(expected["coredump"]["threads"])


# --- symbolize

def built(folder: Path) -> tuple[Path, str]:
    """An unstripped library, and the text of a core dump with two frames in it."""
    pytest.importorskip("elftools", reason="pyelftools is not installed")
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    source = Path(__file__).with_name("inlined.c")
    library = folder / "debug" / "libinlined.so"
    library.parent.mkdir(parents=True)
    subprocess.run(["gcc", "-g", "-O2", "-fPIC", "-shared", "-nostdlib", "-o", library, source],
                   check=True)
    out = subprocess.run(["readelf", "-n", library], capture_output=True, text=True, check=True)
    build_id = out.stdout.partition("Build ID: ")[2].split()[0]
    table = subprocess.run(["nm", library], capture_output=True, text=True, check=True).stdout
    entry = next(int(line.split()[0], 16) for line in table.splitlines()
                 if line.endswith(" entry"))
    return library, (
        f"lastlog core dump 1\nExecutable: /bin/x\nSignal: 11 SIGSEGV\n\nModule 0: base=0x77000000 "
        f"size=0x4000 build-id={build_id} path=/lib/libinlined.so\n\nThread 7: crashed\n"
        f"Registers: pc=0x1\n#0 {0x77000000 + entry:#x} module=0 offset={entry:#x} "
        f"how=registers\n#1 0x1 how=scan\n")


def test_symbolize_a_record_a_file_and_a_text(machine: Machine, lastlog: Any,
                                              tmp_path: Path) -> None:
    library, text = built(tmp_path)
    store(machine, text)
    name = json.loads(lastlog("list", "--json").out)["records"][0]["id"]
    lastlog("save")
    plain = machine.write("/plain.txt", text)
    for record in (name, machine.archive / f"{name}.gz", plain):
        shown = lastlog("symbolize", record, "--debug", library.parent).out
        assert shown.startswith("Title:     x: SIGSEGV in entry: tried to ")
        assert "inlined.c:30" in shown and f"from {library}" in shown, shown
        reply = json.loads(lastlog("symbolize", record, "--debug", library.parent, "--json").out)
        frames = reply["coredump"]["threads"][0]["frames"]
        assert frames[0]["lines"][0]["function"] == "entry" and frames[1]["lines"] == []
    missing = lastlog("symbolize", plain, "--debug", machine.root)
    assert missing.status == 0 and "no file with its build-id was found" in missing.out


def test_what_was_found_is_saved_beside_the_file(machine: Machine, lastlog: Any,
                                                 tmp_path: Path) -> None:
    library, text = built(tmp_path)
    plain = machine.write("/plain.txt", text)
    shown = lastlog("symbolize", plain, "--debug", library.parent, "--save").out
    assert plain.with_name("plain.txt.symbols.txt").read_text() == shown
    plain.with_name("plain.txt.symbols.txt").unlink()
    plain.with_name("plain.txt.symbols.txt").mkdir()
    ran = lastlog("symbolize", plain, "--debug", library.parent, "--save")
    assert ran.status == 1 and "cannot be written: Is a directory" in ran.err


def test_what_was_found_is_saved_beside_the_record(machine: Machine, lastlog: Any, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """In the archive; here, as long as it is only captured.  It is deleted with the record."""
    library, text = built(tmp_path)
    store(machine, text)
    name = json.loads(lastlog("list", "--json").out)["records"][0]["id"]
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    shown = lastlog("symbolize", name, "--debug", library, "--save")
    assert (here / f"{name}.symbols.txt").read_text() == shown.out and "inlined.c:30" in shown.out
    assert shown.err == f"lastlog: saved as {name}.symbols.txt\n"
    lastlog("save")
    shown = lastlog("symbolize", name, "--debug", library.parent, "--save")
    beside = machine.archive / f"{name}.symbols.txt"
    assert beside.read_text() == shown.out and beside.stat().st_mode & 0o777 == 0o600
    assert f"Symbols:   {beside}" in lastlog("show", name).out
    assert json.loads(lastlog("show", name, "--json").out)["symbols"] == str(beside)
    assert "Problem" not in lastlog("list").out and service.status(machine.config())[
        "archive"]["used"] == sum(path.stat().st_size for path in machine.archive.iterdir())
    lastlog("symbolize", name, "--debug", library.parent, "--save")
    lastlog("clear", "--all", name)
    assert list(machine.archive.iterdir()) == []


def test_the_command_that_is_shown_works_where_the_record_was_downloaded(
        machine: Machine, lastlog: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, text = built(tmp_path)
    store(machine, text)
    record = calls.answer(machine.config(), "list", {}, "")
    name = json.loads(record)["records"][0]["id"]
    got = json.loads(calls.answer(machine.config(), "get", {"id": name}, ""))
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"lastlog-{name}.txt").write_text(got["header"] + got["text"])
    lastlog("clear", "--force")
    command = next(line for line in got["report"].splitlines() if line.endswith("DIR/lib/"
                                                                                "libinlined.so"))
    words = command.replace("DIR/lib/libinlined.so", str(library)).split()[1:]
    assert "inlined.c:30" in lastlog(*words).out
    assert lastlog("symbolize", "c-0123456789ab", "--debug", library).status == 1


def test_what_cannot_be_symbolized(machine: Machine, lastlog: Any, tmp_path: Path) -> None:
    for record, said in (("c-123", "There is no record"), (tmp_path / "none.gz", "cannot be read"),
                         (machine.write("/log.txt", "just a log\n"), "nothing that lastlog can "
                          "read as a core dump's record")):
        ran = lastlog("symbolize", record, "--debug", tmp_path)
        assert ran.status == 1 and said in ran.err and ran.err.count("\n") == 1
        assert "region" not in ran.err
