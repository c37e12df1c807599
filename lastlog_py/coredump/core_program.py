"""The crashed program as its core and a copy of its root file system have it.

Modules come from NT_FILE, or, where an emulator wrote none, from the auxiliary vector and the
loader's list.  What a core leaves out, unchanged parts of files, is read from the files.
"""

from __future__ import annotations

import posix  # `os` costs 0.7 ms more

from .core import deleted_note
from .elf import MAX_HEADERS, PF_X, PT_INTERP, PT_LOAD, Header, first_page, header, read_image
from .elf import segments as elf_segments
from .memory import FileMemory, Layered, last_at
from .module import Module
from .program import find_modules
from .unwind.frame import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .core import Core, Mapping, Segment
    from .elf import Image
    from .elf import Segment as ElfSegment
    from .machine import Machine
    from .memory import Memory
    from .sysroot import Sysroot

__all__ = ["core_context"]

PAGE, PF_W = 4096, 2
AT_PHDR, AT_PHNUM, AT_BASE, AT_EXECFN, AT_SYSINFO_EHDR = 3, 5, 7, 31, 33


def core_context(core: Core, memory: Memory, sysroot: Sysroot | None = None) -> Context | None:
    """The program in `core`, whose own memory is `memory`; None: of an unknown machine."""
    if core.machine is None:
        return None
    finder = _Finder(core, core.machine, memory, sysroot)
    if core.files:
        finder.from_files()
    finder.add_vdso()
    if not core.files:
        finder.from_loader()
    context = Context(core.machine, finder.whole, finder.modules, finder.code)
    for problem in finder.problems:
        context.note(problem)
    return context


class _Finder:
    """Collects modules, and the files of theirs that are there."""

    __slots__ = ("code", "core", "files", "machine", "memory", "modules", "problems", "sysroot",
                 "whole")

    def __init__(self, core: Core, machine: Machine, memory: Memory, sysroot: Sysroot | None
                 ) -> None:
        self.core = core
        self.code = core.executable
        self.machine = machine
        self.memory = memory
        self.sysroot = sysroot
        self.files = FileMemory(machine)
        self.whole = Layered(machine, [memory, self.files])
        self.modules: list[Module] = []
        self.problems: list[str] = []

    # NT_FILE

    def from_files(self) -> None:
        """Every file that NT_FILE lists, from the sysroot below what the core itself holds."""
        left_out = self._left_out()
        wanted = {row.path for row in self.core.files if row.executable}
        wanted |= {row.path for row in left_out}
        used: dict[str, int | None] = {}
        for row in self.core.files:
            if row.path in wanted and row.path not in used:
                used[row.path] = self._same_file(row)
            fd = used.get(row.path)
            if fd is not None:
                self.files.add(row.start, row.end, row.offset, fd)
        self._tell_text(left_out, used)
        self.whole.forget()
        self.modules = find_modules(self.machine, self.whole, self.core.files)

    def _tell_text(self, left_out: list[Mapping], used: dict[str, int | None]) -> None:
        """Which of the mappings that the core leaves out may be executed."""
        parts: dict[str, int] = {}
        for row in self.core.files:
            parts[row.path] = parts.get(row.path, 0) + 1
        for row in left_out:            # without the file: what is mapped in parts may be a program
            fd = used[row.path]
            row.executable = parts[row.path] > 1 if fd is None else _is_text(row, fd)
        self.code += [(row.start, row.end) for row in left_out if row.executable]

    def _left_out(self) -> list[Mapping]:
        """Mapped files without a program header: gdb's gcore leaves out what is not changed."""
        rows = sorted((row.address, row.end) for row in self.core.segments)
        starts = [start for start, _ in rows]
        found = []
        for row in self.core.files:
            index = last_at(starts, row.end - 1)
            if index < 0 or rows[index][1] <= row.start:
                found.append(row)
        return found

    def _same_file(self, row: Mapping) -> int | None:
        """The sysroot's file for what `row` maps, unless it cannot be that file."""
        if row.deleted:
            self._note(deleted_note(row.path))
            return None
        found = self._open(row.path)
        if found is None:
            return None
        if not self._has_headers_of(row.start, found[1], found[2]):
            self._differs(row.path)
            return None
        return found[1]

    def _has_headers_of(self, base: int, fd: int, head: Header) -> bool:
        """Whether the core's page at `base`, if it has it, starts as the file does."""
        mapped = header(self.memory.read(base, 64))
        if mapped is None:
            return True
        size = min(head.phnum, MAX_HEADERS) * head.phentsize
        table = self.memory.read(base + head.phoff, size)
        return (mapped.phoff, mapped.phnum, mapped.phentsize) == (
            head.phoff, head.phnum, head.phentsize) and (
            len(table) < size or table == _pread(fd, head.phoff, size))

    # The loader's list

    def from_loader(self) -> None:
        """The program by AT_PHDR, its loader by AT_BASE, and what the loader noted."""
        from .link_map import linked, r_debug  # here, not above: a kernel's core has NT_FILE

        program = self._program()
        if program is None:
            return
        loader = self._loader(program)
        debug = r_debug(program, loader)
        for bias, path in linked(self.whole, debug) if debug else ():
            if path and all(module.bias != bias for module in self.modules):
                self._add(path, bias)

    def _program(self) -> Image | None:
        """Its image: from the file in the sysroot, else from its first page in the core."""
        headers = self.core.auxv.get(AT_PHDR)
        if not headers:
            return None
        for path in self._names():
            found = self._open(path)
            if found is None:
                continue
            name, fd, head = found
            if head.phnum != self.core.auxv.get(AT_PHNUM, head.phnum):
                self._differs(path)
                continue
            base = headers - head.phoff
            return self._map(name, base - first_page(_rows(fd, head)), fd, head).image
        name = next(iter(self._names()), "")
        return self._plain(name, headers & ~(PAGE - 1)).image

    def _names(self) -> list[str]:
        """What the program's file may be called."""
        name = self.whole.string(self.core.auxv.get(AT_EXECFN, 0)).decode("utf-8", "replace")
        first = (self.core.command or "").partition(" ")[0]
        return [path for path in dict.fromkeys((name, first, self.core.name or "")) if path]

    def _loader(self, program: Image) -> Image | None:
        base, place = self.core.auxv.get(AT_BASE), program.segment(PT_INTERP)
        if not base or place is None:
            return None
        path = self.whole.string(place[0], min(place[1], PAGE)).decode("utf-8", "replace")
        return self._add(path, base).image

    def _add(self, path: str, bias: int) -> Module:
        found = self._open(path)
        if found is None:
            return self._plain(path, bias)
        return self._map(found[0], bias, found[1], found[2])

    def _map(self, path: str, bias: int, fd: int, head: Header) -> Module:
        """A module whose file is there: its PT_LOADs below what the core holds."""
        rows, mask = _rows(fd, head), self.machine.mask
        for row in rows:
            if row.type == PT_LOAD and row.filesz:
                start = row.address + bias & mask
                self.files.add(start, start + row.filesz, row.offset, fd)
        self.whole.forget()
        return self._plain(path, first_page(rows) + bias & mask)

    def _plain(self, path: str, base: int) -> Module:
        """A module at `base`, with whatever memory shows of it."""
        image = read_image(self.machine, self.whole, base)
        end = image.end if image else self._extent(base)
        size = max(end - base, 1) + PAGE - 1 & ~(PAGE - 1)
        # Neighbours with equal rights can be one mapping.
        ranges = [(max(start, base), min(stop, base + size)) for start, stop
                  in self.core.executable if start < base + size and stop > base]
        self.modules.append(Module(path, base, size, image, ranges))
        return self.modules[-1]

    def _extent(self, base: int) -> int:
        """The end of the unbroken row of mappings that starts at `base`: its data are the last."""
        end, data = base, False
        for row in sorted(self.core.segments, key=_address):
            if row.address == end and (not data or row.flags & PF_W):
                end, data = row.end, bool(row.flags & PF_W)
        return end

    def add_vdso(self) -> None:
        """The kernel's own little library, which no list of files has."""
        base = self.core.auxv.get(AT_SYSINFO_EHDR)
        if base and all(module.base != base for module in self.modules):
            image = read_image(self.machine, self.whole, base)
            if image is not None:
                self._plain("[vdso]", base)

    def _open(self, path: str) -> tuple[str, int, Header] | None:
        """The path in the sysroot, a descriptor and the file header of an ELF file."""
        if self.sysroot is None:
            return None
        name = self.sysroot.find(path)
        fd = self.sysroot.open(name) if name else None
        if name is None or fd is None:
            self._note(f"{path} is not in the sysroot.")
            return None
        head = header(_pread(fd, 0, 64))
        if head is None:                # data
            return None
        if head.bits != self.machine.bits:
            self._differs(path)
            return None
        return name, fd, head

    def _differs(self, path: str) -> None:
        self._note(f"{path} in the sysroot is not the file that was running.")

    def _note(self, what: str) -> None:
        if len(self.problems) < 32:
            self.problems.append(what)


def _is_text(row: Mapping, fd: int) -> bool:
    """Whether the file says that this part of it may be executed."""
    head = header(_pread(fd, 0, 64))
    return head is not None and any(
        load.type == PT_LOAD and load.flags & PF_X
        and load.offset & ~(PAGE - 1) <= row.offset < load.offset + load.filesz
        for load in _rows(fd, head))


def _rows(fd: int, head: Header) -> list[ElfSegment]:
    return elf_segments(head, _pread(fd, head.phoff, min(head.phnum, MAX_HEADERS) * head.phentsize))


def _address(row: Segment) -> int:
    return row.address


def _pread(fd: int, offset: int, size: int) -> bytes:
    try:
        return posix.pread(fd, size, offset)
    except (OSError, OverflowError, ValueError):
        return b""
