"""Benchmarks of what was made to keep us busy, and of other work that is bounded in seconds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lastlog_py import selftest
from lastlog_py.diagnose.crash import group
from lastlog_py.diagnose.kernel_log import explain
from lastlog_py.medium import dump
from tests import hostile
from tests.bench.measure import Cost, Row, alone
from tests.diagnose.test_diagnose import PAIRS, pair
from tests.diagnose.test_real_logs import REAL, text_of
from tests.machine import Machine
from tests.test_selftest import flipped, rebooted

LARGE = 64                          # MiB of a region
RUNS = 3


def rows() -> Iterator[Row]:
    """All of them, against a number of seconds."""
    for name, region in hostile.REGIONS.items():
        data = region * LARGE
        yield _row(f"64 MiB: {name}", 5, lambda data=data: dump.records("memory.bin", data), 1)
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
