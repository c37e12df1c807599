"""A core dump's frames with function, file and line, from unstripped files.  PC only.

The router knows of a frame no more than module and offset; this finds the same code unstripped, in
a buildroot's staging_dir and build_dir or a flat folder, and asks its DWARF.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..errors import LastlogError

__all__ = ["symbolize"]

Dict = dict[str, Any]

# Frames whose pc is the instruction itself, not the one after a call.
EXACT = ("registers", "signal")


def symbolize(dump: Dict, folders: Sequence[str]) -> Dict:
    """{"coredump", "problems"}: the dump with, in each frame, "lines": [{"function", "file",
    "line"}…], the innermost inlined function first, [] where nothing is known; and in each module
    "debug": the path of the file they are from, or None.

    Raises LastlogError if pyelftools or a folder is missing.
    """
    _check(folders)
    from .debug_files import find_twins

    used = _used(dump)
    twins = find_twins([row for row in dump["modules"] if row["path"] in used], folders)
    with ExitStack() as stack:
        reader = _Reader(twins, stack)
        threads = [{**thread, "frames": reader.frames(thread["frames"])}
                   for thread in dump["threads"]]
    modules = [{**row, "debug": twins[row["path"]].path if row["path"] in twins else None}
               for row in dump["modules"]]
    problems = [*_missing(dump["modules"], used, twins), *reader.problems]
    return {"coredump": {**dump, "threads": threads, "modules": modules}, "problems": problems}


def _check(folders: Sequence[str]) -> None:
    for folder in folders:
        if not (os.path.isdir(folder) or os.path.isfile(folder)):
            raise LastlogError("bad-argument", f"{folder} is neither a directory nor a file.",
                               "Name one with the unstripped files, as a buildroot's staging_dir.")
    try:
        _find_elftools()
    except ImportError as error:
        raise LastlogError("io", "Python's pyelftools is missing.",
                           "Install it on this PC: pip install pyelftools.") from error


def _find_elftools() -> None:
    """The installed command starts without Python's `site`, which takes 2 ms, and so without what
    is not Python's own."""
    try:
        import elftools
    except ImportError:
        import site

        site.main()
        import elftools  # noqa: F401


def _used(dump: Dict) -> set[str]:
    """The paths of the modules that frames are in."""
    return {frame["module"] for thread in dump["threads"] for frame in thread["frames"]
            if frame["module"]}


def _missing(modules: list[Dict], used: set[str], twins: Dict) -> Iterator[Dict]:
    for row in modules:
        if row["path"] not in used or (row["path"] in twins and twins[row["path"]].worth):
            continue
        if row["path"] == "[vdso]":
            continue
        why = "the only file found is stripped too" if row["path"] in twins else \
            "no file with its build-id was found" if row["build_id"] else \
            "no file with its text id was found" if row["text_id"] else \
            "it has neither a build-id nor a text id"
        yield {"where": row["path"], "what": why, "severity": "warning"}


class _Reader:
    """The twins, each opened once; a file that cannot be read is told once."""

    def __init__(self, twins: Dict, stack: ExitStack) -> None:
        self.twins = twins
        self.stack = stack
        self.files: Dict = {}
        self.problems: list[Dict] = []

    def frames(self, frames: list[Dict]) -> list[Dict]:
        """The frames with their lines.  A signal's handler returns to where no call was."""
        below = [*(frame["how"] == "signal" for frame in frames[1:]), False]
        return [{**frame, "lines": self._lines(frame, frame["how"] in EXACT or is_return)}
                for frame, is_return in zip(frames, below, strict=True)]

    def _lines(self, frame: Dict, exact: bool) -> list[Dict]:
        twin, offset = self.twins.get(frame["module"]), _integer(frame["offset"])
        if twin is None or offset is None:
            return []
        address = twin.first_page + offset - (0 if exact else 1)
        try:
            return [place._asdict() for place in self._file(twin.path).places(address)]
        except Exception as error:      # the parser is not made for damaged files
            self._complain(twin.path, error)
            return []

    def _file(self, path: str) -> Any:
        from .dwarf_lines import DebugFile

        if path not in self.files:
            stream = self.stack.enter_context(Path(path).open("rb"))  # noqa: SIM115
            self.files[path] = DebugFile(stream)
        return self.files[path]

    def _complain(self, path: str, error: Exception) -> None:
        if all(row["where"] != path for row in self.problems):
            self.problems.append({"where": path, "severity": "warning", "what":
                                  f"not all of it can be read: {type(error).__name__}: {error}"})


def _integer(value: str | None) -> int | None:
    try:
        return int(value or "", 16)
    except ValueError:
        return None
