"""Timing of whole processes and of functions, in pairs, so that a machine whose speed drifts
slows both sides of a ratio."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

RUNS = 41
GNU_TIME = "/usr/bin/time"         # of Debian's package time


class Cost(NamedTuple):
    """What one side of a comparison takes."""

    seconds: float              # median; of CPU time, user and system, or of the wall clock
    peak_kib: int | None        # memory; None: GNU time is not there to tell


class Row(NamedTuple):
    """One comparison."""

    what: str
    against: str
    bar: float                      # the ratio that must not be exceeded
    ratio: float
    ours: Cost
    reference: Cost


class Command(NamedTuple):
    """A process to measure."""

    words: Sequence[str]
    stdin: bytes | Path = b""       # what comes through a pipe, or a file
    env: dict[str, str] | None = None
    before: Callable[[], object] | None = None
    may_fail: bool = False          # its exit status says nothing


def compare(ours: Command, reference: Command, wall: bool = False,
            runs: int = RUNS) -> tuple[float, Cost, Cost]:
    """Median ratio of CPU time, or of `wall` time, run by run, and both sides' costs."""
    for command in (ours, reference):
        run(command)                                   # fills caches, as on any second call
    pairs = [(run(ours)[wall], run(reference)[wall]) for _ in range(runs)]
    return (statistics.median(a / b for a, b in pairs),
            Cost(statistics.median(a for a, _ in pairs), peak(ours)),
            Cost(statistics.median(b for _, b in pairs), peak(reference)))


def alone(ours: Callable[[], object], runs: int = 101) -> float:
    """Median of the wall time of a function, in seconds."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        ours()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def compare_functions(ours: Callable[[], object], reference: Callable[[], object],
                      runs: int = 25) -> tuple[float, float, float]:
    """Median ratio of CPU time of two functions, and both medians in seconds."""
    ours()
    reference()
    pairs = [(_time(ours), _time(reference)) for _ in range(runs)]
    return (statistics.median(a / b for a, b in pairs), statistics.median(a for a, _ in pairs),
            statistics.median(b for _, b in pairs))


def _time(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def run(command: Command) -> tuple[float, float]:
    """Seconds of CPU time and of the wall clock that one run takes."""
    if command.before:
        command.before()
    with _stdin(command) as stdin:
        began = time.perf_counter()
        process = subprocess.Popen(command.words, stdin=stdin, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env=command.env)
        if process.stdin:
            assert isinstance(command.stdin, bytes)
            process.stdin.write(command.stdin)
            process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not command.may_fail:
        raise RuntimeError(f"{command.words} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, seconds


@contextmanager
def _stdin(command: Command) -> Iterator[IO[Any] | int]:
    """What Popen takes for it."""
    if isinstance(command.stdin, bytes):
        yield subprocess.PIPE
        return
    with command.stdin.open("rb") as file:
        yield file


def peak(command: Command) -> int | None:
    """Peak memory of one run in KiB, as GNU time sees it.

    Not from here: a child's ru_maxrss begins with what its parent takes, and this process takes
    more than what is measured.  (busybox' time takes KiB for pages, and is wrong by four.)
    """
    if not os.access(GNU_TIME, os.X_OK):
        return None
    if command.before:
        command.before()
    with _stdin(command) as stdin:
        given = {"input": command.stdin} if isinstance(command.stdin, bytes) else {"stdin": stdin}
        done = subprocess.run([GNU_TIME, "-f", "%M", *command.words], env=command.env,
                              capture_output=True, check=not command.may_fail, **given)
    return int(done.stderr.split()[-1])
