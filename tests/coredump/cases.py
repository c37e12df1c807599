"""The folder of test cores with their true backtraces: what a core says beside what is true.

The folder is read where it is: ../shared/cores from the project's root, or LASTLOG_CORES.  What is
packed there is unpacked once into build/cores; where the folder is already unpacked it is used as
it is.  Nothing of it belongs to the project.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lastlog_py.coredump.core import Core, Thread, core_memory, read_head
from lastlog_py.coredump.core_program import core_context
from lastlog_py.coredump.machine import Machine
from lastlog_py.coredump.sysroot import Sysroot
from lastlog_py.coredump.unwind.frame import Context

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "cores"


class Truth(NamedTuple):
    """One thread as it really was."""

    tid: int
    crashed: bool
    frames: list[dict[str, Any]]    # innermost first; as in the folder's README
    trusted: int                    # so many leading frames are certain
    entry: int | None               # index of main, or of the thread's own start function

    def expected(self) -> list[int | None]:
        """The pcs that must be found, in order; None: a frame whose pc is not known."""
        count = self.trusted if self.entry is None else min(self.trusted, self.entry + 1)
        return [int(frame["pc"], 16) if frame["pc"] else None for frame in self.frames[:count]]


class Case(NamedTuple):
    """One core."""

    name: str
    set: str
    row: dict[str, Any]             # the manifest's
    threads: list[Truth]            # the crashed one first

    def core(self) -> Path:
        """The unpacked core."""
        return _unpacked(folder() / self.row["core"])

    def sysroot(self) -> Path:
        """The unpacked sysroot."""
        return _unpacked_tree(folder() / self.row["sysroot"])


class Opened(NamedTuple):
    """A case ready to be unwound."""

    case: Case
    core: Core
    context: Context
    threads: list[Thread]
    truth: list[Truth]


def folder() -> Path:
    """Where the cores are said to be."""
    return Path(os.environ.get("LASTLOG_CORES", ROOT.parent / "shared" / "cores"))


def absent() -> str | None:
    """Why there are no cores; None: they are there."""
    manifest = folder() / "manifest.json"
    return None if manifest.is_file() else f"the test cores are not here: no {manifest}"


def needs_cores() -> pytest.MarkDecorator:
    """Skips a test, with the reason, where there are none."""
    return pytest.mark.skipif(absent() is not None, reason=absent() or "")


def cases(*wanted: str) -> list[Case]:
    """All cases, or those of the named sets, or of the named "set/mode"; [] without the folder."""
    if absent():
        return []
    rows = json.loads((folder() / "manifest.json").read_text())["cases"]
    return [_case(row) for row in rows
            if not wanted or row["set"] in wanted or row["name"] in wanted]


def sets() -> list[str]:
    """The names of the machine sets."""
    return list(dict.fromkeys(case.set for case in cases()))


def opened(case: Case) -> Opened:
    """The case's core read, and its program put together.  Close with `close`."""
    fd = os.open(case.core(), os.O_RDONLY | os.O_CLOEXEC)
    try:
        core = read_head(lambda size: os.read(fd, size))
        memory = core_memory(core, fd, os.fstat(fd).st_size)
        assert memory is not None, core.problems
        context = core_context(core, memory, Sysroot(str(case.sysroot())))
    except BaseException:
        os.close(fd)
        raise
    assert context is not None
    context.cache["close"] = (fd,)
    return Opened(case, core, context, core.threads, case.threads)


def close(one: Opened) -> None:
    """Give back what `opened` holds open."""
    os.close(one.context.cache["close"][0])     # type: ignore[index]


def walk(*wanted: str) -> Iterator[Opened]:
    """Every case (of the sets wanted), opened, one after the other."""
    for case in cases(*wanted):
        one = opened(case)
        try:
            yield one
        finally:
            close(one)


def twins() -> list[tuple[Path, Path]]:
    """(stripped file of a sysroot, its unstripped twin), unpacked."""
    rows = json.loads((folder() / "debug" / "map.json").read_text())
    return [(folder() / stripped, _unpacked(folder() / "debug" / twin))
            for stripped, twin in rows.items()]


def agrees(machine: Machine, pcs: list[int], expected: list[int | None]) -> bool:
    """Whether the frames found start with the expected ones.

    A frame whose address is not known may be there or not.
    """
    found = iter([machine.code_address(pc) for pc in pcs])
    pending: int | None = None
    for index, pc in enumerate(expected):
        if pc is None:
            pending = next(found, None)
            if pending not in expected[index + 1:index + 2]:
                pending = None
            continue
        got = next(found, None) if pending is None else pending
        pending = None
        if got != pc:
            return False
    return True


def _case(row: dict[str, Any]) -> Case:
    threads = [Truth(thread["tid"], thread["crashed"], thread["frames"],
                     thread["frames_trusted"], thread["entry_index"]) for thread in row["threads"]]
    threads.sort(key=lambda thread: not thread.crashed)
    return Case(row["name"], row["set"], row, threads)


def _unpacked(packed: Path) -> Path:
    """`packed` without its .xz: beside it, or in the cache."""
    beside = packed.with_suffix("") if packed.suffix == ".xz" else packed
    if beside.is_file():
        return beside
    place = CACHE / beside.relative_to(folder())
    if not place.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        _unpack(packed, place)
    return place


def _unpack(packed: Path, place: Path) -> None:
    """A core is nearly all zeros: holes."""
    part = place.with_name(f"{place.name}.{os.getpid()}")
    with lzma.open(packed) as source, part.open("wb") as target:
        while piece := source.read(1 << 20):
            if piece.count(0) == len(piece):
                target.seek(len(piece), os.SEEK_CUR)
            else:
                target.write(piece)
        target.truncate()
    part.replace(place)


def _unpacked_tree(root: Path) -> Path:
    packed = [path for path in root.rglob("*.xz") if not path.with_suffix("").is_file()]
    if not packed:
        return root
    place = CACHE / root.relative_to(folder())
    if not place.is_dir():
        part = place.with_name(f"{place.name}.{os.getpid()}")
        shutil.copytree(root, part, symlinks=True)
        for path in packed:
            _unpack(path, (part / path.relative_to(root)).with_suffix(""))
        try:
            part.rename(place)
        except OSError:                 # another test was quicker
            shutil.rmtree(part)
    return place
