"""The crashed program as it still stands: its modules, and what of it may be executed.

Source: Documentation/filesystems/proc.rst, /proc/PID/maps.  On the hot path.
"""

from __future__ import annotations

import io
import posix  # `os` costs 0.7 ms more

from .core import Mapping, deleted_note
from .elf import read_image
from .memory import ProcMemory
from .module import Module
from .unwind.frame import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .core import Core
    from .elf import Image
    from .machine import Machine
    from .memory import Memory
    from .procfs import Process

__all__ = ["dumping_context", "find_modules", "parse_maps", "process_context"]

UNREAD = ("Files that it had mapped were not read: they are on a file system that another program "
          "or machine serves, or that is not mounted here.")
MAX_MAPS, MAX_MODULES = 1 << 14, 256


def process_context(machine: Machine, memory: Memory, maps: bytes) -> Context:
    """The program as it stands; maps: the text of /proc/PID/maps."""
    rows = parse_maps(maps)
    code = [(row.start, row.end) for row in rows if row.executable]
    files = [row for row in rows if row.path.startswith("/") or row.path == "[vdso]"]
    context = Context(machine, memory, find_modules(machine, memory, files), code)
    for row in files:
        if row.deleted and row.executable:
            context.note(deleted_note(row.path))
    if len(rows) == MAX_MAPS:
        context.note(f"Of the program's mappings only {MAX_MAPS} were looked at.")
    return context


def dumping_context(core: Core, process: Process) -> Context | None:
    """The program whose core is being written, as it still stands in /proc; None: its memory
    cannot be read."""
    fd = process.memory()
    if fd is None or core.machine is None:
        return None
    maps = process.maps()
    memory = ProcMemory(core.machine, fd, process.unread(maps))
    pointer = core.threads[0].registers.get(core.machine.SP, 0)
    first = core.segments[0].address if core.segments else pointer
    if not maps or not (memory.read(pointer, 1) or memory.read(first, 1)):
        posix.close(fd)
        return None
    context = process_context(core.machine, memory, maps)
    if memory.unread:
        context.note(UNREAD)
    return context


def parse_maps(maps: bytes) -> list[Mapping]:
    """The rows of /proc/PID/maps: "start-end perms offset device inode path"; the first MAX_MAPS
    of those with a path or that may be executed.

    A program can have tens of thousands of others, and the libraries are mapped behind them.
    """
    rows: list[Mapping] = []
    for line in io.BytesIO(maps):
        fields = line.rstrip(b"\n").split(None, 5)
        if len(fields) == 5 and b"x" not in fields[1]:
            continue
        if len(rows) == MAX_MAPS:
            break
        try:
            start, end = (int(part, 16) for part in fields[0].split(b"-"))
            # A line feed in a name stands there as \012 (fs/proc/task_mmu.c: seq_file_path).
            raw = fields[5].replace(b"\\012", b"\n") if len(fields) > 5 else b""
            path = raw.decode("utf-8", "replace")
            rows.append(Mapping(start, end, int(fields[2], 16), path, b"x" in fields[1]))
        except (IndexError, ValueError):
            continue
    return rows


def find_modules(machine: Machine, memory: Memory, rows: list[Mapping]) -> list[Module]:
    """The files of which something may be executed, from mappings in order of address."""
    modules: list[Module] = []
    for group, image in _groups(machine, memory, rows):
        ranges = [(row.start, row.end) for row in group if row.executable]
        if ranges and len(modules) < MAX_MODULES:
            base = group[0].start
            modules.append(Module(group[0].path, base, group[-1].end - base, image, ranges))
    return modules


def _groups(machine: Machine, memory: Memory, rows: list[Mapping]
            ) -> list[tuple[list[Mapping], Image | None]]:
    """The mappings of each file, and what it is.  One that is loaded twice makes two groups."""
    groups: list[tuple[list[Mapping], Image | None]] = []
    end = 0                             # of the last group's image
    for row in sorted(rows, key=_start):
        last = groups[-1][0] if groups else None
        if last is not None and last[0].path == row.path and (row.offset or row.start < end):
            last.append(row)
            continue
        image = read_image(machine, memory, row.start) if row.offset == 0 else None
        groups.append(([row], image))
        end = image.end if image else row.end
    return groups


def _start(row: Mapping) -> int:
    return row.start
