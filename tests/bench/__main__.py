"""`make bench`: what a question costs, as ratios against the named references.

Writes a table, and build/bench.json for machines.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lastlog_py import boot, cache, store
from lastlog_py.archive import Archive
from lastlog_py.config import load
from lastlog_py.diagnose import explain
from lastlog_py.medium import journal_device
from lastlog_py.record import Source, captured
from tests import samples
from tests.bench import coredump, frames, hostile, media
from tests.bench.measure import RUNS, Command, Cost, Row, alone, compare, run
from tests.machine import Machine

TOP = Path(__file__).parents[2]
PLUGIN = TOP / "files/usr/libexec/rpcd/lastlog"
SAVED = 32
SHM = "/dev/shm"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        rows = [*_processes(Machine(Path(folder) / "full")),
                *_boot_service(), *media.rows(Path(folder)), *hostile.rows(), *coredump.rows()]
    traced = list(frames.tables())
    _print(rows)
    frames.show(traced)
    out = TOP / "build" / "bench.json"
    out.parent.mkdir(exist_ok=True)
    plain = [*map(_plain, rows), *(row._asdict() for row in traced)]
    out.write_text(json.dumps(plain, indent=1) + "\n")
    missed = [row.what for row in rows if row.ratio > row.bar]
    missed += [f"frames of {row.set}" for row in traced if frames.missed(row)]
    print(f"missed: {', '.join(missed)}" if missed else "all within their bars")
    return 1 if missed else 0


def _processes(machine: Machine) -> Iterator[Row]:
    """The plugin as rpcd runs it, and the command, on a real region and 32 saved records."""
    _fill(machine)
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
           "LASTLOG_CONFIG": str(machine.conf)}
    bare = _python("pass")
    yield _row("rpcd list", "sh -c :", 1.5, Command(["sh", str(PLUGIN), "list"], env=env),
               Command(["sh", "-c", ":"]))
    for method in ("status", "list", "page"):
        unchanged = Command(["sh", str(PLUGIN), "call", method], b"{}", env)
        yield _row(f"ubus {method}, unchanged", "python3 -I -c pass", 2.0, unchanged, bare)
    for command in ("status", "list"):
        yield _row(f"lastlog {command}, unchanged", "python3 -I -c pass", 2.0,
                   _lastlog(machine, command), bare)
    anew = Command(["sh", str(PLUGIN), "call", "page"], b"{}", env, _forgetter(machine))
    yield _row("ubus page, anew", "python3 -I -c 'import jinja2'", 1.5, anew,
               _python("import jinja2"))


def _boot_service() -> Iterator[Row]:
    """The harvest of an empty region, and a stored log, against the old recipe for it.

    In memory where there is a file system for it: the region stands for memory, and a disk's
    fdatasync is no part of what a router does.
    """
    with tempfile.TemporaryDirectory(dir=SHM if os.path.isdir(SHM) else None) as folder:
        yield from _with_a_journal(Machine(Path(folder)))


def _with_a_journal(machine: Machine) -> Iterator[Row]:
    region = machine.write("/region.bin", bytes(1 << 20))
    machine.configure(file=region, record_size="0x10000", journal_size="0x20000")
    machine.write("/proc/sys/kernel/random/boot_id", "this one\n")
    bare = _python("pass")
    yield _row("harvest, nothing captured", "python3 -I -c pass", 2.0,
               _lastlog(machine, "harvest"), bare)
    log = machine.write("/log", b"".join(b"line %09d of a log\n" % i for i in range(4_000_000)))
    stored = _lastlog(machine, "store", str(log), "--bytes", "65536")
    recipes = [_recipe(log, machine.root / "recipe", size) for size in (1, 512)]
    yield _row("store 64 KiB of 100 MB, wall", "dd bs=1", 0.7, stored, recipes[0], wall=True)
    yield _row("store 64 KiB of 100 MB, wall", "python3 -I -c pass", 1.2, stored, bare, wall=True)
    for recipe in recipes:
        yield _copying(machine, log, recipe)
    yield _appending(machine)


def _lastlog(machine: Machine, *words: str) -> Command:
    """The command as the router has it: the installed script, but with this Python."""
    return Command([sys.executable, "-I", "-c", "from lastlog_py.cli import main; main()",
                    "--config", str(machine.conf), *words])


def _recipe(log: Path, to: Path, size: int) -> Command:
    """The old way to keep the last 64 KiB of a log, in blocks of `size` bytes."""
    count = 65536 // size
    return Command(["dd", f"if={log}", f"of={to}", f"bs={size}", f"count={count}",
                    f"skip={log.stat().st_size // size - count}"])


def _copying(machine: Machine, log: Path, recipe: Command) -> Row:
    """What `store` does once it is there, against all of dd: the start of Python is left out."""
    config = machine.config()
    ours = alone(lambda: store.store(config, str(log), 65536), RUNS)
    theirs = alone(lambda: run(recipe), RUNS)
    return Row("its copy of 64 KiB alone, wall", f"dd {recipe.words[3]}", 1.0, ours / theirs,
               Cost(ours, None), Cost(theirs, None))


def _appending(machine: Machine) -> Row:
    """A record of 4 KiB into a journal that is full; phram needs no fsync, and so none here."""
    machine.mtd(bytes(1 << 20))
    ring = journal_device.find(machine.configure(file="").site())
    body, now = b"x" * 4096, boot.moment(machine.site())
    while len(ring.read().entries) < ring.capacity // 4800:
        ring.append("log", body, now, 1)
    seconds = alone(lambda: ring.append("log", body, now, 1))
    return Row("journal append of 4 KiB", "2 ms", 1.0, seconds / 0.002, Cost(seconds, None),
               Cost(0.002, None))


def _python(code: str, *words: str) -> Command:
    return Command([sys.executable, "-I", "-c", code, *words])


def _row(what: str, against: str, bar: float, ours: Command, reference: Command,
         wall: bool = False) -> Row:
    return Row(what, against, bar, *compare(ours, reference, wall))


def _fill(machine: Machine) -> None:
    region = machine.write("/region.bin", samples.region("c12_null_deref_panic_on_oops"))
    machine.configure(file=region, record_size="0x10000", console_size="0x10000",
                      ftrace_size="0x10000", pmsg_size="0x8000")
    text = samples.kernel_text("s15_oom", "dmesg-ramoops-0")[-8000:]
    records = [explain(captured("kernel", b"Panic#1 Part1\n" + text, Source("ramoops"),
                                time=1.7e9 + i)) for i in range(SAVED)]
    Archive(str(machine.archive), 1 << 20).save(records)


def _forgetter(machine: Machine) -> Callable[[], object]:
    """Removes the remembered answers; jinja2's compiled templates stay, as on a running router."""
    folder = Path(str(cache.folder(load(str(machine.conf)))))

    def forget() -> None:
        for answer in folder.glob("page-*"):
            answer.unlink()

    return forget


def _print(rows: list[Row]) -> None:
    print(f"{'':34} {'ratio':>6} {'bar':>5} {'ms':>8} {'peak KiB':>9}   against")
    for row in rows:
        print(f"{row.what:34} {row.ratio:6.3g} {row.bar:5.2g} {row.ours.seconds * 1e3:8.1f} "
              f"{row.ours.peak_kib or '-':>9}   {row.against} "
              f"({row.reference.seconds * 1e3:.1f} ms, {row.reference.peak_kib or '-'} KiB)")


def _plain(row: Row) -> dict[str, Any]:
    return row._asdict() | {"ours": row.ours._asdict(), "reference": row.reference._asdict()}


if __name__ == "__main__":
    sys.exit(main())
