"""programs.py: programs below a made-up router's root."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastlog_py import programs
from lastlog_py.programs import NOT_FOUND, NOT_RUN, TIMED_OUT, UNKNOWN, find, run
from tests.machine import Machine


def script(machine: Machine, name: str, text: str, folder: str = "/sbin") -> Path:
    file = machine.write(f"{folder}/{name}", f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_what_it_printed_and_how_it_ended(machine: Machine) -> None:
    script(machine, "tool", 'echo "$1|$2"; echo wrong >&2; exit 3')
    assert run(machine.site(), ["tool", "a b", "$HOME"]) == (3, b"a b|$HOME\nwrong\n")


def test_only_the_routers_own_programs_run(machine: Machine) -> None:
    assert os.path.exists("/bin/true") or os.path.exists("/usr/bin/true")
    status, said = run(machine.site(), ["true"])
    assert status == NOT_FOUND and b"true: not found" in said
    assert find(machine.site(), "true") is None


def test_where_programs_are_looked_for(machine: Machine) -> None:
    script(machine, "tool", "echo last", "/bin")
    first = script(machine, "tool", "echo first", "/usr/sbin")
    hook = script(machine, "hook", "echo hook", "/etc/hotplug.d/x")
    assert run(machine.site(), ["tool"]) == (0, b"first\n")
    assert find(machine.site(), "tool") == str(first)
    assert find(machine.site(), "/etc/hotplug.d/x/hook") == str(hook)
    assert run(machine.site(), ["/etc/hotplug.d/x/hook"]) == (0, b"hook\n")
    first.chmod(0o644)
    assert run(machine.site(), ["tool"]) == (0, b"last\n")


def test_what_cannot_be_started(machine: Machine) -> None:
    machine.write("/sbin/tool", "#!/nonexistent/interpreter\n").chmod(0o755)
    status, said = run(machine.site(), ["tool"])
    assert status == NOT_RUN and said.startswith(b"tool: ")
    script(machine, "other", "true")
    assert run(machine.site(), ["other", "a\0b"])[0] == NOT_RUN


@pytest.mark.parametrize("size", [0, 5, 1_000_000])
def test_stdin(machine: Machine, size: int) -> None:
    script(machine, "count", "wc -c")
    status, said = run(machine.site(), ["count"], stdin=b"x" * size)
    assert (status, int(said)) == (0, size)


def test_a_program_that_does_not_read(machine: Machine) -> None:
    script(machine, "deaf", "exec 0<&-; echo done")
    assert run(machine.site(), ["deaf"], stdin=b"x" * 1_000_000) == (0, b"done\n")


def test_only_the_end_of_much_output_is_kept(machine: Machine) -> None:
    script(machine, "loud", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i + 1)); done")
    _, said = run(machine.site(), ["loud"])
    assert len(said) == programs.MOST and said.endswith(b"line 19999\n")


@pytest.mark.parametrize("text", ["sleep 60", "sleep 60 & sleep 60", "trap '' TERM INT; sleep 60",
                                  "while :; do echo more; done"])
def test_a_time_limit(machine: Machine, text: str) -> None:
    script(machine, "slow", f"echo $$ > {machine.root}/pid; echo said; {text}")
    began = time.monotonic()
    status, said = run(machine.site(), ["slow"], seconds=0.3)
    assert status == TIMED_OUT and said[:4] in (b"said", b"more", b"ore\n", b"re\nm", b"e\nmo",
                                                b"\nmor")
    assert time.monotonic() - began < 5
    pid = int((machine.root / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_it_leaves_behind_is_not_waited_for(machine: Machine) -> None:
    script(machine, "daemon", "sleep 2 & echo started")
    began = time.monotonic()
    assert run(machine.site(), ["daemon"]) == (0, b"started\n")
    assert time.monotonic() - began < 1.5


def test_a_signal_and_the_signals_it_starts_with(machine: Machine) -> None:
    script(machine, "dies", "kill -9 $$")
    assert run(machine.site(), ["dies"])[0] == 128 + 9
    script(machine, "piped", "kill -13 $$; echo ignored")
    assert run(machine.site(), ["piped"]) == (128 + 13, b"")


@pytest.fixture
def no_children() -> Iterator[None]:
    """This process was started with SIGCHLD ignored."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


def test_how_it_ended_is_not_always_known(machine: Machine, no_children: None) -> None:
    script(machine, "tool", "echo done; exit 3")
    assert run(machine.site(), ["tool"]) == (UNKNOWN, b"done\n")
    script(machine, "slow", "exec sleep 60")
    assert run(machine.site(), ["slow"], seconds=0.1)[0] == TIMED_OUT


def test_the_program_itself_can_wait(machine: Machine, no_children: None) -> None:
    mask = 1 << signal.SIGCHLD - 1
    script(machine, "tool", "while read -r name mask; do [ $name != SigIgn: ] || echo $mask; done"
                            " < /proc/self/status")
    assert not int(run(machine.site(), ["tool"])[1], 16) & mask


def test_what_cannot_be_killed_is_left_behind(machine: Machine,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """As a program that waits for a broken device: the signal does nothing."""
    script(machine, "stuck", f"echo $$ > {machine.root}/pid; exec sleep 60")
    monkeypatch.setattr(programs, "SIGKILL", 0)
    monkeypatch.setattr(programs, "GIVEN_UP", 0.2)
    began = time.monotonic()
    assert run(machine.site(), ["stuck"], seconds=0.2)[0] == TIMED_OUT
    assert time.monotonic() - began < 5
    pid = int((machine.root / "pid").read_text())
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def test_the_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the caller")
    script(machine, "shows", 'echo "$SECRET|$ACTION|$PATH"')
    assert run(machine.site(), ["shows"], env={"ACTION": "crash"}) == (
        0, f"|crash|{programs.PATH}\n".encode())


def test_no_descriptor_is_left_open(machine: Machine) -> None:
    script(machine, "tool", "exit 0")
    before = sorted(os.listdir("/proc/self/fd"))
    for words in (["tool"], ["none"], ["tool", "a\0"]):
        run(machine.site(), words, stdin=b"x")
    assert sorted(os.listdir("/proc/self/fd")) == before
