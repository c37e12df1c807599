"""A reduced core: what of a crashed program's memory is worth keeping, as an ELF core of its own.

gdb, eu-stack and `lastlog backtrace --core` open it as they do the kernel's.  In the order in which
there is room: the notes as the kernel wrote them, the crashed thread's stack, the loader's list,
the first page of every file, the pages that registers point to, the other stacks, the program's
.data and .bss.  It is planned first, so that its headers are true, and read again when it is
written: no more than a piece of it is ever held.

Sources: fs/binfmt_elf.c (elf_core_dump), the System V gABI.  Imported by the handler where option
keep_core is set, and not before a crash.
"""

from __future__ import annotations

import struct
import time

from ..archive_cores import save
from ..errors import LastlogError
from ..record_id import record_id
from .core import LIMITS, NT_FILE, NT_PRSTATUS, PF_X, PT_LOAD, PT_NOTE
from .link_map import map_words, nodes, r_debug
from .memory import last_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config import Config
    from .core import Core, Segment
    from .elf import Image
    from .memory import Memory
    from .outlet import Written
    from .unwind.frame import Context

    Piece = tuple[int, int, int]        # start, end, flags of the mapping

__all__ = ["Notes", "ReducedCore", "keep", "plan"]

PAGE, CHUNK = 4096, 1 << 16
PF_W = 2
PT_DYNAMIC, ET_CORE = 2, 4
AT_PHDR, AT_BASE = 3, 7
MOST_NOTES = 1 << 20            # bytes of all notes together
SMALL_NOTE = 1024               # of one that is not a list of files: registers of every kind
BELOW_STACK = 320               # what a function may use below its stack pointer: an ABI's red zone
NEAR, FAR, WHOLE = 16 << 10, 128 << 10, 64 << 20        # of a stack, from its pointer on
# Below this limit bytes count, above it whole pages do: elfutils takes every mapping to begin and
# end with a page (libdwfl/segment.c), and would read a piece that does not at the wrong place.
TIGHT = 16 << 10
DEVICES = ("/dev/", "/sys/", "/proc/")
MOST_MODULES, MOST_VDSO = 128, 64 << 10
MOST_PIECES = 4096
MOST_PATH = 4096


class Notes:
    """The notes of a core on its way past, as they came: for core.read_head."""

    __slots__ = ("_left", "rows")

    def __init__(self, most: int) -> None:
        """most: bytes of all of them."""
        self.rows: list[tuple[bytes, int, bytes]] = []      # (name, type, body)
        self._left = min(most, MOST_NOTES)

    def wants(self, name: bytes, kind: int, size: int) -> bool:
        """Whether a note is to be kept."""
        most = LIMITS[NT_FILE] if (name, kind) == (b"CORE", NT_FILE) else SMALL_NOTE
        return name in (b"CORE", b"LINUX") and size <= most and size + 32 <= self._left

    def keep(self, name: bytes, kind: int, desc: bytes) -> None:
        """Keep it."""
        self.rows.append((name, kind, desc))
        self._left -= len(desc) + 32

    def encoded(self, order: str, room: int) -> bytes:
        """Those for which there is room, in the order in which they came; none without the crashed
        thread's registers.

        These go first, then what else there is of it, the files, the other threads, and what else
        there is of threads that are there.
        """
        texts = [_note(order, *row) for row in self.rows]
        chosen: set[int] = set()
        for rank in range(5):
            for index, (own, thread) in enumerate(self._ranks()):
                if own == rank and len(texts[index]) <= room and (own < 4 or thread in chosen):
                    chosen.add(index)
                    room -= len(texts[index])
            if not chosen:
                break
        return b"".join(texts[index] for index in sorted(chosen))

    def _ranks(self) -> Iterator[tuple[int, int]]:
        """Of each note its rank, and the index of the status of the thread that it is about."""
        thread, seen = -1, 0
        for index, (name, kind, _) in enumerate(self.rows):
            if name == b"CORE" and kind == NT_PRSTATUS:
                thread, seen = index, seen + 1
                yield (0 if seen == 1 else 3), thread
            elif name == b"CORE" and kind in LIMITS:
                yield (2 if kind == NT_FILE else 1), thread
            else:
                yield 4, thread


def _note(order: str, name: bytes, kind: int, desc: bytes) -> bytes:
    name += b"\0"
    return struct.pack(order + "III", len(name), len(desc), kind) + name + bytes(-len(name) % 4) \
        + desc + bytes(-len(desc) % 4)


def keep(config: Config, written: Written, core: Core, context: Context, notes: Notes,
         stacks: list[list[int]], deadline: float, program: str) -> None:
    """Make the reduced core, and put it into the archive beside its record.

    written: that record, wherever it is by now; program: what tells it from others; the rest as
    for `plan`.  Raises LastlogError.
    """
    limit = config.coredump.keep_core
    made = plan(core, context, notes, limit, stacks, deadline)
    if made is None:
        raise LastlogError("no-space", f"Nothing of it fits into {limit} bytes.",
                           "Raise option keep_core.")
    body, moment = written
    save(config.archive, config.archive_limit, record_id("coredump", body, round(moment, 6)), made,
         program)


# --- the file


class ReducedCore:
    """One that is planned: its size is known, its bytes are read as they are asked for."""

    __slots__ = ("_deadline", "_head", "_memory", "_pieces", "size")

    def __init__(self, head: bytes, pieces: list[Piece], memory: Memory, deadline: float) -> None:
        self._head = head
        self._pieces = pieces
        self._memory = memory
        self._deadline = deadline
        self.size = len(head) + sum(end - start for start, end, _ in pieces)

    def __iter__(self) -> Iterator[bytes]:
        """Raises LastlogError if the time is up, or the memory has changed under it."""
        yield self._head
        for start, end, _ in self._pieces:
            for at in range(start, end, CHUNK):
                size = min(CHUNK, end - at)
                data = self._memory.past_cache(at, size)
                _check_time(self._deadline)
                if len(data) != size:
                    raise LastlogError("io", "The program went away while its memory was read.")
                yield data


def plan(core: Core, context: Context, notes: Notes, limit: int, stacks: list[list[int]],
         deadline: float) -> ReducedCore | None:
    """The reduced core of at most `limit` bytes; None: there is no room for any, or no thread.

    stacks: where else than at its stack pointer each thread of the core has a stack in use.
    deadline: on time.monotonic(), also for what is made; past it LastlogError is raised.
    """
    if core.head is None or core.machine is None or not core.threads:
        return None
    layout = _Layout(core, limit)
    text = notes.encoded(core.head.order, (limit - layout.header_size) // 2)
    if not text:
        return None
    chosen = _Chosen(layout, context.memory, limit - len(text), deadline)
    for start, size in _wanted(layout, context, stacks):
        if chosen.is_full:
            break
        _check_time(deadline)
        chosen.add(start, size)
    pieces = chosen.pieces
    return ReducedCore(layout.head(text, pieces), pieces, context.memory, deadline)


def _check_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise LastlogError("busy", "Time was up.")


class _Layout:
    """The mappings, in order and none overlapping, and the headers that tell of them."""

    __slots__ = ("core", "empty", "file_starts", "files", "header_size", "row_size", "rows",
                 "starts", "unit")

    def __init__(self, core: Core, limit: int) -> None:
        assert core.machine is not None
        self.core = core
        self.unit = 1 if limit < TIGHT else PAGE    # of what is kept
        wide = core.machine.bits == 64
        self.row_size = 56 if wide else 32
        self.rows = _mappings(core, core.machine.mask + 1)
        self.starts = [row.address for row in self.rows]
        self.files = sorted((row.start, row.end) for row in core.files
                            if not row.path.startswith(DEVICES))
        self.file_starts = [start for start, _ in self.files]
        self.empty = self._empty(limit // 8)
        # File header, notes' header, and those of mappings.
        self.header_size = (64 if wide else 52) + self.row_size * (1 + len(self.empty))

    def _empty(self, room: int) -> set[int]:
        """Addresses of mappings that are told of though none of their bytes is kept: of files, or
        if these are too many, of code."""
        code = {row.address for row in self.rows if row.flags & PF_X}
        both = code | {row.address for row in self.rows if self._is_of_file(row)}
        fit = room // self.row_size
        return both if len(both) <= fit else code if len(code) <= fit else set()

    def _is_of_file(self, row: Segment) -> bool:
        index = last_at(self.file_starts, row.end - 1)
        return index >= 0 and self.files[index][1] > row.address

    def end(self, row: Segment) -> int:
        """Where what may be read of the mapping ends.

        Of files all; else as much as the kernel's own core has: the program may have ruled out what
        is secret (MADV_DONTDUMP), and a device's memory is not to be touched.
        """
        return row.end if self._is_of_file(row) else min(row.address + row.filesz, row.end)

    def at(self, start: int, end: int) -> Iterator[Segment]:
        """The mappings that reach into this."""
        for index in range(max(last_at(self.starts, start), 0), len(self.rows)):
            row = self.rows[index]
            if row.address >= end:
                return
            if row.end > start:
                yield row

    def head(self, notes: bytes, pieces: list[Piece]) -> bytes:
        """All before the memory."""
        wide = self.row_size == 56
        rows = self._with_gaps(pieces)
        first = (64 if wide else 52) + self.row_size * (1 + len(rows))
        table = [self._row(PT_NOTE, 0, first, 0, len(notes), 0)]
        offset = first + len(notes)
        for start, end, flags, size in rows:
            table.append(self._row(PT_LOAD, flags, offset, start, size, end - start))
            offset += size
        return self._file_header(len(table)) + b"".join(table) + notes

    def _with_gaps(self, pieces: list[Piece]) -> list[tuple[int, int, int, int]]:
        """(start, end, flags, bytes in the file) of the pieces, and of what lies between them in
        the mappings that are told of."""
        found = [(start, end, flags, end - start) for start, end, flags in pieces]
        starts = [start for start, _, _ in pieces]
        for row in self.rows:
            if row.address not in self.empty:
                continue
            at = row.address
            for index in range(max(last_at(starts, at), 0), len(pieces)):
                start, end, _ = pieces[index]
                if start >= row.end:
                    break
                if end > at:
                    found += [(at, start, row.flags, 0)] if start > at else []
                    at = end
            found += [(at, row.end, row.flags, 0)] if at < row.end else []
        return sorted(found)

    def _row(self, type_: int, flags: int, offset: int, address: int, filesz: int,
             memsz: int) -> bytes:
        assert self.core.head is not None
        order = self.core.head.order
        if self.row_size == 56:
            return struct.pack(order + "IIQQQQQQ", type_, flags, offset, address, 0, filesz, memsz,
                               1)
        return struct.pack(order + "IIIIIIII", type_, offset, address, 0, filesz, memsz, flags, 1)

    def _file_header(self, count: int) -> bytes:
        head = self.core.head
        assert head is not None
        wide = self.row_size == 56
        size = 64 if wide else 52
        ident = b"\x7fELF" + bytes((head.e_class, head.data, 1)) + bytes(9)
        return ident + struct.pack(head.order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
                                   ET_CORE, head.machine, 1, 0, size, 0, head.flags, size,
                                   self.row_size, count, 0, 0, 0)


def _mappings(core: Core, top: int) -> list[Segment]:
    found: list[Segment] = []
    end = 0
    for row in sorted(core.segments, key=_address):
        if end <= row.address < row.end <= top:
            found.append(row)
            end = row.end
    return found


def _address(row: Segment) -> int:
    return row.address


class _Chosen:
    """The pieces of memory that are kept, as far as there is room."""

    __slots__ = ("deadline", "is_full", "layout", "left", "memory", "pieces", "starts")

    def __init__(self, layout: _Layout, memory: Memory, room: int, deadline: float) -> None:
        self.layout = layout
        self.memory = memory
        self.left = room - layout.header_size
        self.deadline = deadline
        self.pieces: list[Piece] = []       # sorted, none overlapping
        self.starts: list[int] = []         # of these
        self.is_full = False

    def add(self, start: int, size: int) -> None:
        """Keep this, as far as it is mapped, there, and not kept already."""
        unit = self.layout.unit
        end = start + size + unit - 1 & -unit
        start &= -unit
        for row in self.layout.at(start, end):
            if row.flags:               # a guard page is no memory, though /proc shows zeros there
                last = min(end, self.layout.end(row))
                for piece in self._missing(max(start, row.address), last):
                    self._take(*piece, row.flags)

    def _missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """What of it is not kept yet."""
        found = []
        for low, high, _ in self.pieces[max(last_at(self.starts, start), 0):]:
            if low >= end:
                break
            if high > start:
                found += [(start, low)] if low > start else []
                start = high
        return [*found, (start, end)] if start < end else found

    def _take(self, start: int, end: int, flags: int) -> None:
        """A piece needs a header, and may part a mapping in two, which needs another."""
        room = self.left - 2 * self.layout.row_size
        fits = room & -self.layout.unit
        if fits <= 0 or len(self.pieces) >= MOST_PIECES:
            self.is_full = True
            return
        size = self._readable(start, min(end - start, fits))
        if size:
            index = last_at(self.starts, start) + 1
            self.pieces.insert(index, (start, start + size, flags))
            self.starts.insert(index, start)
            self.left = room - size

    def _readable(self, start: int, size: int) -> int:
        """How many of these bytes are there."""
        done = 0
        while done < size:
            _check_time(self.deadline)
            wanted = min(CHUNK, size - done)
            got = len(self.memory.past_cache(start + done, wanted))
            done += got
            if got < wanted:
                break
        return done


# --- what is wanted: (address, size), the most important first


def _wanted(layout: _Layout, context: Context, stacks: list[list[int]]
            ) -> Iterator[tuple[int, int]]:
    core = layout.core
    pointers = _pointers(core, stacks)
    crashed, others = pointers[:1], pointers[1:]
    program = _image(context, core.auxv.get(AT_PHDR))
    yield from _windows(layout, crashed, NEAR)
    if program is not None:
        yield from _pages(_list_of_files(program, _image(context, core.auxv.get(AT_BASE))))
    yield from _pages(_first_pages(context))
    yield from _pages(_pointed_to(core, 0, 1))
    yield from _windows(layout, crashed, FAR)
    yield from _windows(layout, others, NEAR)
    if program is not None:
        yield from _pages(_data(program))
    yield from _pages(_pointed_to(core, 1, len(core.threads)))
    yield from _windows(layout, others, FAR)
    yield from _windows(layout, pointers, WHOLE)


def _pages(wanted: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The whole pages that it is in."""
    for start, size in wanted:
        first = start & ~(PAGE - 1)
        yield first, (start + size + PAGE - 1 & ~(PAGE - 1)) - first


def _pointers(core: Core, stacks: list[list[int]]) -> list[list[int]]:
    """Where each thread's stacks are in use, the crashed one's first."""
    assert core.machine is not None
    own = [[thread.registers[core.machine.SP]] if core.machine.SP in thread.registers else []
           for thread in core.threads]
    return [first + (stacks[index] if index < len(stacks) else [])
            for index, first in enumerate(own)]


def _windows(layout: _Layout, pointers: list[list[int]], size: int) -> Iterator[tuple[int, int]]:
    """The stacks from a little below their pointers on; the next mapping is another thread's."""
    for pointer in (pointer for each in pointers for pointer in each):
        start = max(pointer - BELOW_STACK, 0)
        end = next((row.end for row in layout.at(pointer, pointer + 1)), pointer + size)
        yield start, min(end, pointer + size) - start


def _image(context: Context, address: int | None) -> Image | None:
    module = context.module_at(address) if address else None
    return module.image if module else None


def _list_of_files(program: Image, loader: Image | None) -> Iterator[tuple[int, int]]:
    """What leads a debugger to the loader's list, and the list."""
    memory, word = program.memory, program.machine.word
    place = program.segment(PT_DYNAMIC)
    if place:
        yield place[0], min(place[1], PAGE)
    for at in map_words(program):
        yield at, word
    debug = r_debug(program, loader)
    if not debug:
        return
    yield debug, 6 * word
    for node, _, name in nodes(memory, debug):
        yield node, 8 * word
        yield name, len(memory.string(name, MOST_PATH)) + 1


def _first_pages(context: Context) -> Iterator[tuple[int, int]]:
    """What tells which files they were; the kernel's own is in no file, and kept whole."""
    for module in context.modules[:MOST_MODULES]:
        yield module.base, min(module.size, MOST_VDSO) if module.path == "[vdso]" else PAGE


def _pointed_to(core: Core, first: int, end: int) -> Iterator[tuple[int, int]]:
    for thread in core.threads[first:end]:
        for value in thread.registers.values():
            yield value, 1
    if first == 0 and core.fault_address:
        yield core.fault_address, 1


def _data(program: Image) -> Iterator[tuple[int, int]]:
    """Its .data and .bss."""
    for row in program.segments:
        if row.type == PT_LOAD and row.flags & PF_W:
            yield program.address(row.address), row.memsz
