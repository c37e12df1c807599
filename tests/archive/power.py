"""A disk that loses power: what a file system may have kept of a sequence of calls.

`Recorder` takes the place of `os` in archive.py and notes what changes the disk.  `disks` then
makes every disk that a power cut may leave: POSIX promises a file's bytes only after fsync of the
file, a name only after fsync of its directory.  What is not promised may be there, be missing, or,
for bytes, be cut in half or zeros; names come and go each on its own.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Killed(BaseException):
    """kill -9: nothing else runs."""


class Change(NamedTuple):
    """One thing that happened to the disk.  Files and directories go by a number of their own."""

    what: str           # "create" | "mkdir" | "rename" | "unlink" | "write" | "sync" | "erase"
    where: int          # the directory, or the file for "write" and "sync"
    name: str = ""
    new: str = ""       # the new name, for "rename"
    item: int = 0       # what was created
    data: bytes = b""


class Recorder:
    """`os` for archive.py.  kill_at: the change before which the process dies; -1: none.

    Set `dead` to False for the next process.
    """

    def __init__(self, root: Path) -> None:
        self.changes: list[Change] = []
        self.kill_at = -1
        self.numbers = {os.stat(root).st_ino: 0}
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777, *,
             dir_fd: int | None = None) -> int:
        self._live(flags & os.O_CREAT != 0)
        file = os.open(path, flags, mode, dir_fd=dir_fd)
        if flags & os.O_CREAT:
            assert dir_fd is not None
            number = self.numbers[os.fstat(file).st_ino] = _fresh(self.changes)
            self.changes.append(Change("create", self._number(dir_fd), path, item=number))
        return file

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        self._live()
        os.mkdir(path, mode)
        number = self.numbers[os.stat(path).st_ino] = _fresh(self.changes)
        parent = self.numbers[os.stat(os.path.dirname(path)).st_ino]
        self.changes.append(Change("mkdir", parent, os.path.basename(path), item=number))

    def write(self, file: int, data: bytes) -> int:
        self._live()
        count = os.write(file, data[:(len(data) + 1) // 2])     # in two steps, so as to see both
        self.changes.append(Change("write", self._number(file), data=bytes(data[:count])))
        return count

    def fsync(self, file: int) -> None:
        self._live()
        if os.fstat(file).st_ino in self.numbers:
            self.changes.append(Change("sync", self._number(file)))

    def rename(self, old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        self._live()
        os.rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        self.changes.append(Change("rename", self._number(src_dir_fd), old, new))

    def unlink(self, name: str, *, dir_fd: int) -> None:
        self._live()
        os.unlink(name, dir_fd=dir_fd)
        self.changes.append(Change("unlink", self._number(dir_fd), name))

    def _number(self, file: int) -> int:
        return self.numbers[os.fstat(file).st_ino]

    def _live(self, changes_something: bool = True) -> None:
        if self.dead or (changes_something and len(self.changes) == self.kill_at):
            self.dead = True
            raise Killed


def _fresh(changes: list[Change]) -> int:
    return 1 + max((each.item for each in changes), default=0)


Tree = dict[int, dict[str, int]]                # directory → name → what it names
Disk = tuple[Tree, dict[int, bytes]]            # ... and the bytes of each file


def disks(changes: list[Change]) -> Iterator[Disk]:
    """Every disk that a power cut after `changes` may leave."""
    tree: Tree = {0: {}}
    safe: dict[int, bytes] = {}
    written: dict[int, bytes] = {}
    pending: dict[int, list[Change]] = {0: []}
    for each in changes:
        if each.what == "sync" and each.where in pending:
            for change in pending[each.where]:
                _apply(tree, change)
            pending[each.where] = []
        elif each.what == "sync":
            safe[each.where] = written[each.where]
        elif each.what == "write":
            written[each.where] += each.data
        elif each.what != "erase":
            pending[each.where].append(each)
            if each.what == "create":
                written[each.item] = safe[each.item] = b""
            elif each.what == "mkdir":
                pending[each.item], tree[each.item] = [], {}
    for names in _trees(tree, [change for some in pending.values() for change in some]):
        yield from ((names, files) for files in _contents(names, safe, written))


def _trees(tree: Tree, pending: list[Change]) -> Iterator[Tree]:
    for kept in itertools.product((False, True), repeat=len(pending)):
        after = {number: dict(names) for number, names in tree.items()}
        files: dict[str, int] = {}
        for change, survives in zip(pending, kept, strict=True):
            if change.what == "create":
                files[change.name] = change.item
            if survives:
                _apply(after, change, files)
        yield after


def _apply(tree: Tree, change: Change, files: dict[str, int] | None = None) -> None:
    """files: what a name stands for whose creation has not reached the disk itself."""
    names = tree[change.where]
    if change.what in ("create", "mkdir"):
        names[change.name] = change.item
    elif change.what == "unlink":
        names.pop(change.name, None)
    elif change.what == "rename":
        item = names.pop(change.name, None) or (files or {}).get(change.name)
        if item:
            names[change.new] = item


def _contents(tree: Tree, safe: dict[int, bytes],
              written: dict[int, bytes]) -> Iterator[dict[int, bytes]]:
    named = {number for names in tree.values() for number in names.values() if number in safe}
    choices = []
    for number in sorted(named):
        full = written[number]
        kinds = {safe[number]} if safe[number] == full else {
            safe[number], full[:len(full) // 2], bytes(len(full)), full}
        choices.append([(number, data) for data in sorted(kinds)])
    for choice in itertools.product(*choices):
        yield dict(choice)


def lay_out(disk: Disk, folder: Path, number: int = 0) -> None:
    """Make `disk` real under `folder`."""
    tree, files = disk
    folder.mkdir(parents=True)
    for name, item in tree[number].items():
        if item in tree:
            lay_out(disk, folder / name, item)
        else:
            (folder / name).write_bytes(files[item])


def looks(disk: Disk, number: int = 0) -> tuple[Any, ...]:
    """The same for disks that look the same."""
    tree, files = disk
    return tuple((name, looks(disk, item) if item in tree else files[item])
                 for name, item in sorted(tree[number].items()))
