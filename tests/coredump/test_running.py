"""`backtrace --pid`: processes that run are looked at, and go on as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lastlog_py import backtracing, cli
from lastlog_py.coredump import reading, running, shape
from lastlog_py.errors import LastlogError
from lastlog_py.site import Site
from tests.coredump.crashing import VICTIMS, compiled, core_pattern, folder, obstacle

Start = Callable[..., subprocess.Popen[bytes]]

ECHO = """
import signal, sys
signal.signal(signal.SIGUSR1, lambda number, frame: print("signal", flush=True))
print("ready", flush=True)
for line in sys.stdin:
    print(line, end="", flush=True)
"""
BUSY = "print('ready', flush=True)\nwhile True: pass"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process, and waits until it says something."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*words: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(list(map(str, words)), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout and process.stdout.read(1)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def victim() -> Iterator[Path]:
    with folder() as path:
        yield compiled(path / "victim")


def python(start: Start, code: str) -> subprocess.Popen[bytes]:
    process = start(sys.executable, "-c", code)
    assert process.stdout and process.stdout.readline() in (b"eady\n", b"\n")
    return process


def looked_at(pid: int) -> dict[str, Any]:
    dump = reading.read(running.text_of(Site(), pid).decode())
    assert dump is not None and shape.is_whole(dump)
    return dump


def refusal(pid: int) -> LastlogError:
    with pytest.raises(LastlogError) as caught:
        running.text_of(Site(), pid)
    return caught.value


def runs_on(process: subprocess.Popen[bytes]) -> bool:
    """Whether nobody holds it, and it answers."""
    assert process.stdin and process.stdout
    process.stdin.write(b"still here\n")
    process.stdin.flush()
    return process.stdout.readline() == b"still here\n" and is_free(process.pid)


def is_free(pid: int) -> bool:
    text = Path(f"/proc/{pid}/status").read_text()
    return "TracerPid:\t0\n" in text and "State:\tt" not in text


def wait_until_it_waits(pid: int) -> None:
    """On a busy machine a thread may still be on its way."""
    until = time.monotonic() + 20
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    while any("running" in (task / "syscall").read_text() for task in tasks):
        assert time.monotonic() < until
        time.sleep(0.01)


def names(thread: dict[str, Any]) -> list[str]:
    return [frame["symbol"] for frame in thread["frames"] if frame["symbol"]]


# --- what is seen


def test_every_thread(start: Start, victim: Path) -> None:
    process = start(victim, "wait", 9)
    wait_until_it_waits(process.pid)
    dump = looked_at(process.pid)
    assert len(dump["threads"]) == 9 and dump["threads"][0]["tid"] == process.pid
    first = [name for name in names(dump["threads"][0]) if name in ("waiter", "main")]
    assert first == ["waiter", "main"]
    assert all("waiter" in names(thread) and "main" not in names(thread)
               for thread in dump["threads"][1:])
    assert is_free(process.pid) and process.poll() is None
    assert {int(name) for name in os.listdir(f"/proc/{process.pid}/task")} \
        == {thread["tid"] for thread in dump["threads"]}


def test_it_is_no_crash(start: Start) -> None:
    process = python(start, ECHO)
    reply = backtracing.backtrace(backtracing.Asked(pids=[process.pid]), Site())
    dump = reply["coredump"]
    assert dump["signal"] is None and dump["signal_name"] is None
    assert dump["executable"] == os.path.realpath(sys.executable)
    assert dump["command"].startswith(sys.executable) and dump["uid"] == os.geteuid()
    assert dump["pid"] == dump["tid"] == process.pid
    assert not any(thread["crashed"] for thread in dump["threads"]) and not dump["notes"]
    assert len(dump["threads"][0]["registers"]) > 10
    assert reply["signature"] is None and reply["crash"] is None
    assert ": snapshot in " in reply["title"]
    assert runs_on(process)


def test_a_busy_thread(start: Start) -> None:
    process = python(start, BUSY)
    frames = looked_at(process.pid)["threads"][0]["frames"]
    assert len(frames) > 3 and frames[0]["how"] == "registers"
    assert is_free(process.pid) and process.poll() is None


@pytest.mark.parametrize("when", [0x4206, 0x4207, 0x4204])     # SEIZE, INTERRUPT, GETREGSET
def test_a_signal_that_comes_meanwhile_arrives(start: Start, monkeypatch: pytest.MonkeyPatch,
                                               when: int) -> None:
    from lastlog_py.coredump import tracing

    process, real = python(start, ECHO), tracing._ptrace

    def signalled(request: int, tid: int, *words: int) -> int:
        error = real(request, tid, *words)
        if request == when:
            os.kill(process.pid, signal.SIGUSR1)
        return error

    monkeypatch.setattr(tracing, "_ptrace", signalled)
    for _ in range(5):
        assert looked_at(process.pid)["threads"][0]["frames"]
        assert process.stdout and process.stdout.readline() == b"signal\n"
    assert runs_on(process)


def test_without_ctypes(start: Start, victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lastlog_py.coredump.tracing", raising=False)
    monkeypatch.delattr("lastlog_py.coredump.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "ctypes", None)
    process = start(victim, "wait", 3)
    wait_until_it_waits(process.pid)
    dump = looked_at(process.pid)
    assert len(dump["threads"]) == 3 and "ctypes is missing" in dump["notes"][0]
    for thread in dump["threads"]:
        assert set(thread["registers"]) == {"pc", "sp"} and thread["frames"]
    assert "waiter" in names(dump["threads"][0])
    busy = looked_at(python(start, BUSY).pid)
    assert any("was running" in note for note in busy["notes"]) and len(busy["threads"]) == 1


# --- what cannot be looked at


def test_no_such_process() -> None:
    assert refusal(2**30).message == f"There is no process {2**30}."


def test_itself() -> None:
    assert refusal(os.getpid()).message == f"Process {os.getpid()} is this one."


def test_a_zombie(start: Start) -> None:
    process = start("/bin/sh", "-c", "echo ready")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert "zombie" in refusal(process.pid).message


def test_a_thread_is_not_a_process(start: Start, victim: Path) -> None:
    process = start(victim, "wait", 2)
    tid = max(int(name) for name in os.listdir(f"/proc/{process.pid}/task"))
    assert refusal(tid).hint == f"Name that: --pid {process.pid}."


def test_a_thread_of_the_kernel() -> None:
    status = Path("/proc/2/status")
    if not status.exists() or "kthreadd" not in status.read_text() or os.geteuid():
        pytest.skip("no kernel thread can be seen here")
    assert refusal(2).message == "Process 2 is a thread of the kernel."


def test_one_that_a_debugger_holds(start: Start) -> None:
    from lastlog_py.coredump import tracing

    process = python(start, ECHO)
    with tracing.stopped(process.pid, lambda: [process.pid]):
        code = ("from lastlog_py.coredump import running\nfrom lastlog_py.site import Site\n"
                f"running.text_of(Site(), {process.pid})")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "must not be looked at: Operation not permitted" in done.stderr
    assert runs_on(process)


def test_one_that_is_forbidden(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    process, opened = python(start, ECHO), os.open

    def refused(path: str, *words: Any, **more: Any) -> int:
        if path == "mem":
            raise PermissionError(13, "Permission denied")
        return opened(path, *words, **more)

    monkeypatch.setattr(os, "open", refused)
    error = refusal(process.pid)
    assert error.code == "io" and "Permission denied" in error.message
    assert "root" in error.hint


# --- it is let go, whatever happens


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, OSError])
def test_let_go_when_it_fails(start: Start, monkeypatch: pytest.MonkeyPatch,
                              error: type[BaseException]) -> None:
    process = python(start, ECHO)

    def fails(*_: object) -> None:
        assert not is_free(process.pid)
        raise error

    monkeypatch.setattr(running, "examine", fails)
    with pytest.raises(error):
        running.text_of(Site(), process.pid)
    assert runs_on(process)


def test_let_go_when_this_process_is_killed(start: Start) -> None:
    process = python(start, ECHO)
    code = ("import time\nfrom lastlog_py.coredump import tracing\n"
            f"with tracing.stopped({process.pid}, lambda: [{process.pid}]):\n"
            "    print('stopped', flush=True)\n    time.sleep(60)")
    holder = start(sys.executable, "-c", code)
    assert not is_free(process.pid)
    holder.kill()
    holder.wait()
    assert runs_on(process)


def test_ctrl_c_waits_until_it_is_let_go(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    process = python(start, ECHO)

    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        assert not is_free(process.pid)

    monkeypatch.setattr(running, "examine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        running.text_of(Site(), process.pid)
    assert runs_on(process)


# --- the command


@pytest.mark.parametrize("line, known", [
    ("--core x", ("x", None, [])), ("--core=- --pid 12", ("-", None, [12])),
    ("--sysroot d --core x", ("x", "d", [])), ("--pid 12", None), ("", None), ("--core", None),
    ("--core x --pid 1 2", None), ("--core x --pid y", None), ("--core x --core y", None),
    ("--core x --help", None), ("--core -x", None), ("--core x --pid 12345678901", None)])
def test_words_that_need_no_argparse(line: str, known: tuple[object, ...] | None) -> None:
    asked = backtracing.parse(line.split())
    assert known == (None if asked is None else (asked.core, asked.sysroot, asked.pids))


@pytest.mark.parametrize("line", ["", "--sysroot /", "--pid 1 --sysroot /", "--core x --pid 1 2",
                                  "--pid x", "--pid -1"])
def test_wrong_usage(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["backtrace", *line.split()]) == 2
    assert "lastlog backtrace --help" in capfd.readouterr().err


def test_several(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    one, two = python(start, ECHO), python(start, ECHO)
    line = ["backtrace", "--pid", f"{one.pid}", f"{two.pid}", "--pid", f"{one.pid}"]
    assert cli.main(line) == 0
    shown = capfd.readouterr().out
    assert shown.count("Title:") == 2
    assert cli.main([*line, "--pid", f"{2**30}", "--json"]) == 1
    reply = json.loads(capfd.readouterr().out)
    assert [each["coredump"]["pid"] for each in reply["records"]] == [one.pid, two.pid]
    problem, = reply["problems"]
    assert problem["severity"] == "error" and problem["where"] == f"process {2**30}"
    assert runs_on(one) and runs_on(two)


# --- a core, and its process


needs_kernel = pytest.mark.skipif(obstacle() is not None, reason=obstacle() or "")


@needs_kernel
def test_a_core_on_stdin_whose_process_still_stands(tmp_path: Path) -> None:
    """As a core_pattern script of somebody's own would do it."""
    with folder() as path:
        victim = compiled(path / "victim", VICTIMS, "gcc", "-s")
        script = path / "script"
        script.write_text(
            f"#!/bin/sh\ncd {Path(__file__).parents[2]}\n"
            f"case $2 in victim) ;; *) exec cat >/dev/null ;; esac\n"
            f"{sys.executable} -m lastlog_py backtrace --json --core - --pid $1 >{path}/out.part\n"
            f"mv {path}/out.part {path}/out\n")
        script.chmod(0o755)
        with core_pattern(f"|{script} %P %e"):
            subprocess.run([victim, "gone"], stderr=subprocess.DEVNULL, cwd=path)
            until = time.monotonic() + 20
            while not (path / "out").exists() and time.monotonic() < until:
                time.sleep(0.02)
        reply = json.loads((path / "out").read_text())
    assert "code" not in reply, reply
    dump = reply["coredump"]
    assert dump["signal_name"] == "SIGSEGV" and dump["threads"][0]["crashed"]
    assert any("deleted" in note for note in dump["notes"])
    assert not any("gone from /proc" in note for note in dump["notes"])
    # The file is no more: without /proc its code would be nowhere.
    assert [frame["how"] for frame in dump["threads"][0]["frames"][1:3]] == ["cfi", "cfi"]


def test_a_core_whose_process_is_another_one(start: Start) -> None:
    from tests.coredump import cases

    if cases.absent():
        pytest.skip(cases.absent() or "")
    case, = cases.cases("x86_64-musl/simple")
    process = python(start, ECHO)
    reply = backtracing.backtrace(backtracing.Asked(str(case.core()), str(case.sysroot()),
                                                    [process.pid]), Site())
    assert f"Process {process.pid} is not the core's" in reply["coredump"]["notes"][0]
    assert len(reply["coredump"]["threads"][0]["frames"]) > 3
