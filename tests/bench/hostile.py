"""Benchmarks of what was made to keep us busy, and of other work that is bounded in seconds."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lastlog_py import selftest
from lastlog_py.diagnose.crash import group
from lastlog_py.diagnose.kernel_log import explain
from lastlog_py.medium import dump
from tests import hostile
from tests.bench.measure import Command, Cost, Row, alone, peak
from tests.diagnose.test_diagnose import PAIRS, pair
from tests.diagnose.test_real_logs import REAL, text_of
from tests.machine import Machine
from tests.test_selftest import flipped, rebooted

READ = ("import sys; from lastlog_py.medium import dump; "
        "dump.records('memory.bin', open(sys.argv[1], 'rb').read())")
LARGE = 64                          # MiB of a region
RUNS = 3


def rows() -> Iterator[Row]:
    """All of them, against a number of seconds."""
    with tempfile.TemporaryDirectory() as folder:
        for name, region in hostile.REGIONS.items():
            yield from _regions(f"64 MiB: {name}", region * LARGE, Path(folder) / "memory.bin")
    for name, line in hostile.LOGS.items():
        log = f"Panic#1 Part1\nOops[#1]:\n{line * (hostile.MIB // len(line))}\n"
        yield _row(f"log of {name}", 0.5, lambda log=log: explain(log))
    texts = [text_of(name) for name in REAL]
    yield _row(f"{len(texts)} real logs", len(texts) / 100, lambda: [*map(explain, texts)])
    for name, differing in PAIRS.items():
        records = [each for number in range(2000)
                   for each in pair(number, *differing(number), damaged=False)]
        yield _row(f"2000 crashes, {name}", 0.3, lambda records=records: group(records))
    with tempfile.TemporaryDirectory() as folder:
        yield Row("selftest of 1 MiB", "1 s", 1.0, *_selftest(Machine(Path(folder))))


def _regions(what: str, region: bytes, file: Path) -> Iterator[Row]:
    """Its time, and its memory, the bytes of the file included."""
    yield _row(what, 5, lambda: dump.records(file.name, region), 1)
    file.write_bytes(region)
    read, nothing = (peak(Command([sys.executable, "-I", "-c", code, str(file)]))
                     for code in (READ, "from lastlog_py.medium import dump"))
    if read and nothing:
        yield Row(f"memory for {what}", "8 times its size", 1.0,
                  (read - nothing) * 1024 / (8 * len(region)), Cost(0.0, read), Cost(0.0, nothing))


def _row(what: str, bar: float, ours: Callable[[], object], runs: int = RUNS) -> Row:
    """CPU time, the best of some runs, against `bar` seconds."""
    taken = []
    for _ in range(runs):
        began = time.process_time()
        ours()
        taken.append(time.process_time() - began)
    return Row(what, f"{bar:g} s", 1.0, min(taken) / bar, Cost(min(taken), None), Cost(bar, None))


def _selftest(machine: Machine) -> tuple[float, Cost, Cost]:
    machine.mtd(bytes(1 << 20))
    seconds = alone(lambda: _armed_and_read(machine), RUNS)
    return seconds, Cost(seconds, None), Cost(1.0, None)


def _armed_and_read(machine: Machine) -> None:
    selftest.arm(machine.config())
    selftest.result(rebooted(machine, flipped(1e-3)).config())
