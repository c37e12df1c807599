"""Unstripped twins of a crashed program's files, in a buildroot or any other folder.  PC only.

A file is known by its build-id, or by its text id, which stripping does not change: its name and
place count for nothing but the order in which files are looked at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from .elf import PF_X, PT_LOAD, PT_NOTE, Image, first_page, header, segments
from .machine import of
from .memory import FileMemory
from .module import text_id

__all__ = ["Twin", "find_twins"]

Dict = dict[str, Any]

MAX_ENTRIES = 4 << 20           # files and folders looked at, by name
PAGE = 4096
# A build tree is full of these, and none is a program or a library.
NO_PROGRAM = (".c", ".h", ".cc", ".cpp", ".hpp", ".o", ".a", ".lo", ".la", ".d", ".py", ".pyc",
              ".txt", ".mk", ".in", ".am", ".ac", ".m4", ".po", ".patch", ".html", ".md", ".js",
              ".json", ".xml", ".sh", ".dts", ".dtsi", ".S", ".gz", ".xz", ".ko", ".rst", ".yaml")

SHF_COMPRESSED_OR_PLAIN = (".debug_info", ".zdebug_info")


class Twin(NamedTuple):
    """A file of the same code as a module."""

    path: str
    first_page: int             # the file's address of what a frame's offset counts from
    worth: int                  # 2: tells lines, 1: has a table of symbols, 0: is stripped too


def find_twins(modules: Iterable[Dict], folders: Iterable[str]) -> dict[str, Twin]:
    """For each module's path the file below `folders` that says most of it; none: left out."""
    search = _Search([row for row in modules if row["build_id"] or row["text_id"]])
    listed = list(_files(folders))
    for likely in (True, False):
        for path, name in listed:
            if search.done():
                return search.found
            if search.is_likely(path, name) == likely:
                search.look_at(path)
    return search.found


class _Search:
    """The modules that are wanted, and the best files so far."""

    def __init__(self, modules: list[Dict]) -> None:
        self.found: dict[str, Twin] = {}
        self.by_id: dict[str, list[str]] = {}       # paths: a file may be there as two
        for row in modules:
            self.by_id.setdefault(row["build_id"] or row["text_id"], []).append(row["path"])
        self.names = {_stem(row["path"]) for row in modules}
        self.build_ids = {row["build_id"] for row in modules if row["build_id"]}
        # A text id ends with the number of bytes.
        self.least = min((int(row["text_id"][16:] or "0", 16) for row in modules
                          if not row["build_id"]), default=None)
        self.seen: set[tuple[int, int]] = set()

    def done(self) -> bool:
        return all(path in self.found and self.found[path].worth == 2
                   for paths in self.by_id.values() for path in paths)

    def is_likely(self, path: str, name: str) -> bool:
        """By its name, or by its place in a folder .build-id/ab/cdef….debug."""
        if _stem(name) in self.names:
            return True
        return os.path.basename(os.path.dirname(path)) + name.partition(".")[0] in self.build_ids

    def look_at(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                if (status.st_dev, status.st_ino) not in self.seen:
                    self.seen.add((status.st_dev, status.st_ino))
                    self._identify(path, file)
        except OSError:
            return

    def _identify(self, path: str, file: Any) -> None:
        image = _image(file.fileno())
        if image is None:
            return
        for identity in self._identities(image, file):
            if identity in self.by_id:
                self._found(self.by_id[identity], Twin(path, image.base, _worth(file)))
                return

    def _found(self, modules: list[str], twin: Twin) -> None:
        for module in modules:
            best = self.found.get(module)
            if best is None or best.worth < twin.worth:
                self.found[module] = twin

    def _identities(self, image: Image, file: Any) -> Iterator[str]:
        build_id = image.build_id or (_noted(file) if self.build_ids else None)
        if build_id:
            yield build_id
        if self.least is not None and _code_size(image) >= self.least:
            found = text_id(image)
            if found:
                yield found


def _stem(path: str) -> str:
    """ "libubox.so.20240101" as "libubox"; musl's loader is its libc."""
    name = path.rpartition("/")[2].partition(".")[0]
    return "libc" if name.startswith("ld-musl-") else name.partition("-")[0]


def _files(folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(path, name) of the files below, without following links to folders; of a file, itself."""
    left = MAX_ENTRIES
    waiting = list(folders)
    for path in [path for path in waiting if os.path.isfile(path)]:
        waiting.remove(path)
        yield path, os.path.basename(path)
    while waiting and left > 0:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        left -= len(entries)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif not entry.name.endswith(NO_PROGRAM) and _is_file(entry):
                yield entry.path, entry.name


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _image(fd: int) -> Image | None:
    """The file's image, at the addresses it was linked for."""
    raw = os.pread(fd, 64, 0)
    head = header(raw)
    machine = of(head.machine, head.e_class, head.data, head.flags) if head else None
    if head is None or machine is None:
        return None
    rows = segments(head, os.pread(fd, min(head.phnum, 128) * head.phentsize, head.phoff))
    memory = FileMemory(machine)
    for row in rows:
        if row.type in (PT_LOAD, PT_NOTE) and row.filesz and row.offset >= row.address % PAGE:
            memory.add(row.address, row.address + row.filesz, row.offset, fd)
    return Image(machine, memory, first_page(rows), head, rows)


def _code_size(image: Image) -> int:
    return sum(row.filesz for row in image.segments if row.type == PT_LOAD and row.flags & PF_X)


def _worth(file: Any) -> int:
    names = _sections(file, lambda elf: {section.name for section in elf.iter_sections()}) or set()
    if names.intersection(SHF_COMPRESSED_OR_PLAIN):
        return 2
    return 1 if ".symtab" in names else 0


def _noted(file: Any) -> str | None:
    """The build-id of a file that holds nothing but what was stripped."""
    def of_sections(elf: Any) -> str | None:
        section = elf.get_section_by_name(".note.gnu.build-id")
        notes = section.iter_notes() if section and section["sh_type"] == "SHT_NOTE" else ()
        return next((note["n_desc"] for note in notes if note["n_type"] == "NT_GNU_BUILD_ID"), None)
    found = _sections(file, of_sections)
    return found if isinstance(found, str) else None


def _sections(file: Any, ask: Callable[[Any], Any]) -> Any:
    """What `ask` finds out; None where the file's sections cannot be read."""
    from elftools.elf.elffile import ELFFile

    try:
        file.seek(0)
        return ask(ELFFile(file))
    except Exception:           # the parser is not made for files that are none
        return None
