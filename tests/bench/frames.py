"""How many frames of crashed threads are right, on stripped files: ours, eu-stack's and gdb's.

The cores, their files and the true frames are those of the shared folder (tests/coredump/cases.py).
gdb takes a sysroot; eu-stack takes none, so it is run within one: the files in a file system in
memory, this machine's below /host, and in a mount namespace that ends with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from lastlog_py.coredump import backtrace
from tests.coredump import cases

__all__ = ["Frames", "missed", "show", "tables"]

PATIENCE = 10                   # seconds; gdb goes round in circles on some signal frames
MOST = 256                      # frames
LOADER = os.path.realpath("/lib64/ld-linux-x86-64.so.2")
WITHIN = f"""
set -e
mount -t tmpfs tmpfs "$1"
cp -a "$2/." "$1/"
mkdir "$1/host"
mount --bind / "$1/host"
exec chroot "$1" /host{LOADER} --library-path /host{os.path.dirname(LOADER)} \\
	/host/usr/bin/eu-stack -n {MOST} --core "/host$3" -e "$4"
"""
FRAME = re.compile(r"^#\d+ +0x([0-9a-f]+)", re.MULTILINE)
THREAD = re.compile(r"^(?:TID|Thread) .*:$", re.MULTILINE)


class Frames(NamedTuple):
    """What is right of one set of cores: frames of the crashed threads, innermost first, up to the
    first wrong one."""

    set: str
    frames: int                 # that are certain
    ours: int
    eu_stack: int | None        # None: it cannot be run
    gdb: int | None


def tables() -> Iterator[Frames]:
    """A row for each set; none, and why, without the folder."""
    if cases.absent():
        print(f"right frames are not counted: {cases.absent()}")
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in cases.sets():
            yield _counted(name, folder)


def missed(row: Frames) -> bool:
    """Whether one of the others does better."""
    return row.ours < max(row.eu_stack or 0, row.gdb or 0)


def show(rows: list[Frames]) -> None:
    """Print them."""
    if rows:
        print(f"\n{'right frames, crashed threads':34} {'true':>6} {'ours':>6} {'eu-stack':>9} "
              f"{'gdb':>6}")
    for row in rows:
        print(f"{row.set:34} {row.frames:6} {row.ours:6} {_told(row.eu_stack):>9} "
              f"{_told(row.gdb):>6}")


def _told(count: int | None) -> str:
    return "-" if count is None else str(count)


def _counted(name: str, folder: str) -> Frames:
    true, ours, theirs, gdbs = 0, 0, 0, 0
    with_eu_stack = not os.geteuid() and shutil.which("eu-stack") is not None
    with_gdb = shutil.which("gdb-multiarch") is not None
    for one in cases.walk(name):
        expected = one.truth[0].expected()
        machine = one.context.machine
        true += len(expected)
        found = backtrace.backtrace(one.context, one.threads[0].registers,
                                    backtrace.Limits(MOST)).frames
        ours += _right(machine, [frame.pc for frame in found], expected)
        if with_eu_stack:
            theirs += _right(machine, _eu_stack(one.case, folder), expected)
        if with_gdb:
            gdbs += _right(machine, _gdb(one.case), expected)
    return Frames(name, true, ours, theirs if with_eu_stack else None, gdbs if with_gdb else None)


def _right(machine: cases.Machine, pcs: list[int], expected: list[int | None]) -> int:
    """How many of the expected frames were found, up to the first that was not."""
    low, high = 0, len(expected)
    while low < high:
        middle = (low + high + 1) // 2
        if cases.agrees(machine, pcs, expected[:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def _eu_stack(case: cases.Case, folder: str) -> list[int]:
    """The crashed thread is its first."""
    return _pcs(["unshare", "--mount", "sh", "-c", WITHIN, "-", folder, str(case.sysroot()),
                 str(case.core()), case.row["exe"]])


def _gdb(case: cases.Case) -> list[int]:
    root = case.sysroot()
    return _pcs(["gdb-multiarch", "-nx", "-batch", "-ex", f"set sysroot {root}",
                 "-ex", f"file {root}{case.row['exe']}", "-ex", f"core {case.core()}",
                 "-ex", r"echo Thread 1:\n", "-ex", f"bt {MOST}"])


def _pcs(words: list[str]) -> list[int]:
    """The first thread's, of what the program prints."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace",
                              timeout=PATIENCE, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        text = error.stdout or b""
        out = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    else:
        out = done.stdout
    threads = THREAD.split(out)
    return [int(pc, 16) for pc in FRAME.findall(threads[1])] if len(threads) > 1 else []
