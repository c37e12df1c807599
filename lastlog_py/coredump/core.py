"""An ELF core's head: program headers and notes, in one pass over a stream.

Sources: fs/binfmt_elf.c (elf_core_dump, fill_files_note), include/uapi/linux/elfcore.h,
include/uapi/asm-generic/siginfo.h, and UNWINDING.md's table.  The notes precede the memory, so a
pipe is enough.  Whatever is wrong ends in `problems`; nothing raises.  On the hot path.
"""

from __future__ import annotations

import struct

from .elf import Header, header
from .elf import segments as elf_segments
from .machine import Machine, of
from .memory import CoreMemory, PiecesMemory, last_at
from .names import DELETED, is_deleted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, Protocol

    class Keeper(Protocol):
        """Who wants the bytes of notes, as they came."""

        def wants(self, name: bytes, kind: int, size: int) -> bool: ...

        def keep(self, name: bytes, kind: int, desc: bytes) -> None: ...

__all__ = ["Core", "Mapping", "Stream", "Thread", "capture", "core_memory", "deleted_note",
           "read_head"]

PT_LOAD, PT_NOTE = 1, 4
PF_X = 1
PN_XNUM = 0xFFFF
NT_PRSTATUS, NT_PRPSINFO, NT_AUXV = 1, 3, 6
NT_FILE, NT_SIGINFO = 0x46494C45, 0x53494749
ET_CORE = 4

# So many PT_LOADs that may be executed, and so many others; the kernel's default max_map_count
# allows 65530.
MAX_SEGMENTS = 1 << 14
MAX_THREADS = 256
MAX_FILES = 1 << 14
MAX_PROBLEMS = 32
MAX_NOTE_SEGMENTS, MAX_NOTE_NAME, MAX_NOTES = 16, 16, 1 << 16
# The head of a core that is a pipe ends here at the latest: program headers and notes.
MAX_HEAD = 64 << 20
MAX_ROWS = 1 << 17          # program headers looked at; the kernel writes one per mapping
CHUNK = 1 << 16
# A note of another type is skipped unread; of these at most so many bytes are looked at.
LIMITS = {NT_PRSTATUS: 1024, NT_PRPSINFO: 256, NT_AUXV: 4096, NT_SIGINFO: 512, NT_FILE: 1 << 21}

SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV = 4, 5, 7, 8, 11
SIGBUS_MIPS = 10
SI_KERNEL = 0x80            # of these codes only it and the negative ones carry no address
AT_EXECFN = 31

# What is kept of a core that comes through a pipe, bytes.
MAX_CAPTURE = 3 << 20
SMALL_SEGMENT = 48 << 10
MAX_STACKS, MIN_STACK = 1 << 20, 16 << 10       # of all stacks together; of each at least
BELOW_STACK, STACK_END = 1 << 10, 16 << 10
MAX_WINDOWS = 64            # threads whose stacks are kept


class Thread:
    """One thread as it stood."""

    __slots__ = ("registers", "signal", "tid")

    def __init__(self, tid: int, registers: dict[int, int], signal: int) -> None:
        self.tid = tid
        self.registers = registers      # DWARF number → value
        self.signal = signal            # that it was handling; 0: none


class Mapping:
    """Part of a file in the program's memory.  Addresses, bytes."""

    __slots__ = ("deleted", "end", "executable", "offset", "path", "start")

    def __init__(self, start: int, end: int, offset: int, path: str, executable: bool) -> None:
        self.start = start
        self.end = end
        self.offset = offset            # in the file
        self.path = path.removesuffix(DELETED)
        self.deleted = is_deleted(path)     # or replaced: the name leads elsewhere now
        self.executable = executable


def deleted_note(path: str) -> str:
    """What to tell about a file that was running when it was removed."""
    return f"{path} was deleted or replaced while it ran."


class Segment:
    """One PT_LOAD: memory from `address`, `filesz` bytes of it at `offset` in the core."""

    __slots__ = ("address", "filesz", "flags", "memsz", "offset")

    def __init__(self, address: int, offset: int, filesz: int, memsz: int, flags: int) -> None:
        self.address = address
        self.offset = offset
        self.filesz = filesz
        self.memsz = memsz
        self.flags = flags

    @property
    def end(self) -> int:
        """The end of the mapping, whether or not its bytes are in the core."""
        return self.address + max(self.memsz, self.filesz)


class Core:
    """What the head of a core says.  None or empty: it does not say."""

    __slots__ = ("auxv", "code", "command", "fault_address", "files", "head", "machine", "name",
                 "pid", "problems", "segments", "signal", "thread_count", "threads", "truncated",
                 "uid")

    def __init__(self) -> None:
        self.head: Header | None = None
        self.machine: Machine | None = None
        self.threads: list[Thread] = []         # the crashed one first
        self.thread_count = 0                   # with those beyond MAX_THREADS
        self.signal = 0
        self.code: int | None = None            # si_code
        self.fault_address: int | None = None
        self.pid: int | None = None
        self.uid: int | None = None
        self.name: str | None = None            # comm: 15 characters
        self.command: str | None = None         # the first 80 bytes of the command line
        self.auxv: dict[int, int] = {}
        self.files: list[Mapping] = []          # NT_FILE's rows, in order of address
        self.segments: list[Segment] = []
        self.problems: list[str] = []
        self.truncated = False

    def note(self, what: str) -> None:
        """Remember a problem, once."""
        if what not in self.problems and len(self.problems) < MAX_PROBLEMS:
            self.problems.append(what)

    @property
    def executable(self) -> list[tuple[int, int]]:
        """(start, end) of every executable mapping."""
        return [(row.address, row.end) for row in self.segments if row.flags & PF_X]


class Stream:
    """A pipe or file read once, forward.

    read(n): at most n bytes, none at the end.  seek(offset): for what can be read anywhere.
    """

    __slots__ = ("_at", "_buffer", "_read", "_seek", "offset")

    def __init__(self, read: Callable[[int], bytes],
                 seek: Callable[[int], object] | None = None) -> None:
        self._read = read
        self._seek = seek
        self._buffer = b""
        self._at = 0                    # in the buffer
        self.offset = 0                 # of the next byte to be taken

    def take(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end."""
        pieces = []
        while size > 0:
            piece = self._next(size)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip_to(self, offset: int) -> bool:
        """Pass over what is before `offset`; False where that is behind, or the end is before."""
        if self._seek is not None and offset > self.offset + len(self._buffer) - self._at:
            return self._seek_to(offset)
        while self.offset < offset:
            if not self._next(offset - self.offset):
                return False
        return self.offset == offset

    def _seek_to(self, offset: int) -> bool:
        try:
            self._seek(offset)          # type: ignore[misc]
        except (OSError, OverflowError, ValueError):
            return False
        self._buffer, self._at, self.offset = b"", 0, offset
        return True

    def _next(self, size: int) -> bytes:
        if self._at >= len(self._buffer):
            try:
                self._buffer, self._at = self._read(CHUNK), 0
            except OSError:
                self._buffer, self._at = b"", 0
        piece = self._buffer[self._at:self._at + size]
        self._at += len(piece)
        self.offset += len(piece)
        return piece


def read_head(read: Callable[[int], bytes] | Stream, keeper: Keeper | None = None) -> Core:
    """What the core says up to its memory.  `read` as Stream's; a Stream can be read on after."""
    stream = read if isinstance(read, Stream) else Stream(read)
    core = Core()
    head = _read_header(core, stream)
    if head is None:
        return core
    core.head = head
    if head.type != ET_CORE:
        core.note("This ELF file is not a core dump.")
    core.machine = of(head.machine, head.e_class, head.data, head.flags)
    if core.machine is None:
        core.note(f"Cores of this machine (ELF machine {head.machine}) are not understood.")
    for offset, size in _read_segments(core, head, stream):
        _Notes(core, head, stream, keeper, offset, size).read()
    _finish(core)
    return core


def _read_header(core: Core, stream: Stream) -> Header | None:
    raw = stream.take(52)
    if raw[4:5] == b"\2":                   # ELFCLASS64: 12 bytes more
        raw += stream.take(12)
    head = header(raw)
    if head is None:
        core.truncated = len(raw) < 52 or raw[:4] == b"\x7fELF"
        core.note("This is not an ELF file." if raw else "The core is empty.")
    return head


def _finish(core: Core) -> None:
    if not core.threads:
        core.note("The core names no thread.")
    elif not core.signal:
        core.signal = core.threads[0].signal
    if core.truncated:
        core.note("The core is truncated.")
    code = sorted(core.executable)
    starts = [start for start, _ in code]
    for row in core.files:
        index = last_at(starts, row.end - 1)
        row.executable = index >= 0 and code[index][1] > row.start


# Program headers

def _read_segments(core: Core, head: Header, stream: Stream) -> list[tuple[int, int]]:
    """Fills core.segments; the (offset, size) of every PT_NOTE."""
    if head.phoff > MAX_HEAD or not stream.skip_to(head.phoff):
        core.truncated = True
        core.note("The core's program headers are not where they should be.")
        return []
    size = max(head.phentsize, 56 if head.bits == 64 else 32)
    notes: list[tuple[int, int]] = []
    loads = _Loads()
    count, done = head.phnum, 0
    while done < count:
        raw = stream.take(size * (1 if done == 0 else min(count - done, 64)))
        rows = elf_segments(head, raw)
        for row in rows:
            if row.type == PT_LOAD:
                loads.add(Segment(row.address, row.offset, row.filesz, row.memsz, row.flags))
            elif row.type == PT_NOTE and row.filesz and len(notes) < MAX_NOTE_SEGMENTS:
                notes.append((row.offset, row.filesz))
        if len(raw) % size or not raw:
            core.truncated = True
            break
        done += len(raw) // size
        if head.phnum == PN_XNUM and done == 1:     # the true count is what fits before the notes
            count = min(max(rows[0].offset - head.phoff, 0) // size, MAX_ROWS)
    core.segments = loads.rows()
    if loads.passed:
        core.note(f"{loads.passed} of the core's mappings were not looked at.")
    return notes


class _Loads:
    """The PT_LOADs to keep of any number: what may be executed, and of the others the first, which
    are the program's own, and the last, which are the libraries' and the stack."""

    __slots__ = ("code", "first", "last", "passed")

    def __init__(self) -> None:
        self.first: list[Segment] = []
        self.code: list[Segment] = []
        self.last: list[Segment] = []   # a ring: the oldest is overwritten
        self.passed = 0                 # are not kept

    def add(self, row: Segment) -> None:
        if len(self.first) < MAX_SEGMENTS // 2:
            self.first.append(row)
        elif row.flags & PF_X and len(self.code) < MAX_SEGMENTS:
            self.code.append(row)
        elif len(self.last) < MAX_SEGMENTS // 2:
            self.last.append(row)
        else:
            self.last[self.passed % len(self.last)] = row
            self.passed += 1

    def rows(self) -> list[Segment]:
        """As they came, where that is in order of address."""
        if len(self.first) < MAX_SEGMENTS // 2:
            return self.first
        return sorted(self.first + self.code + self.last, key=_address)


# Notes

class _Notes:
    """One PT_NOTE's walk: the notes of interest are read, the others passed over."""

    __slots__ = ("core", "end", "head", "keeper", "order", "stream")

    def __init__(self, core: Core, head: Header, stream: Stream, keeper: Keeper | None,
                 offset: int, size: int) -> None:
        self.core = core
        self.head = head
        self.stream = stream
        self.keeper = keeper
        self.order: Literal["little", "big"] = "little" if head.order == "<" else "big"
        self.end = offset + min(size, MAX_HEAD)
        if not stream.skip_to(offset):
            core.truncated = True
            self.end = 0

    def read(self) -> None:
        """Until the segment or the core ends."""
        for _ in range(MAX_NOTES):
            if self.stream.offset + 12 > self.end:
                return
            raw = self.stream.take(12)
            if len(raw) < 12:
                self.core.truncated = True
                return
            name_size, desc_size, kind = (int.from_bytes(raw[at:at + 4], self.order)
                                          for at in (0, 4, 8))
            if not self._note(name_size, desc_size, kind):
                self.core.truncated = True
                return

    def _note(self, name_size: int, desc_size: int, kind: int) -> bool:
        """One note's name and body; False where the core ends in it."""
        start = self.stream.offset
        body = start + (name_size + 3 & ~3)
        after = body + (desc_size + 3 & ~3)
        if body + desc_size > self.end:
            self.core.note("A note of the core is larger than the space it is in.")
            return self.stream.skip_to(self.end)
        name = self.stream.take(min(name_size, MAX_NOTE_NAME)).rstrip(b"\0")
        limit = LIMITS.get(kind, 0) if name == b"CORE" else 0
        keeper = self.keeper
        if keeper is not None and not keeper.wants(name, kind, desc_size):
            keeper = None
        if not self.stream.skip_to(body):
            return False
        desc = self.stream.take(min(desc_size, limit) if keeper is None else desc_size)
        if keeper is not None and len(desc) == desc_size:
            keeper.keep(name, kind, desc)
        if limit:
            self._take(kind, desc[:limit])
        return self.stream.skip_to(min(after, self.end))

    def _take(self, kind: int, desc: bytes) -> None:
        if kind == NT_PRSTATUS:
            self._prstatus(desc)
        elif kind == NT_PRPSINFO:
            self._prpsinfo(desc)
        elif kind == NT_SIGINFO:
            self._siginfo(desc)
        elif kind == NT_AUXV:
            self._auxv(desc)
        elif kind == NT_FILE:
            self._files(desc)

    def _integer(self, desc: bytes, offset: int, size: int) -> int | None:
        piece = desc[offset:offset + size]
        return int.from_bytes(piece, self.order) if len(piece) == size else None

    def _words(self, desc: bytes) -> tuple[int, ...]:
        """The address-sized words of `desc` that are whole."""
        word, kind = (8, "Q") if self.head.bits == 64 else (4, "I")
        return struct.unpack_from(f"{self.head.order}{len(desc) // word}{kind}", desc)

    def _prstatus(self, desc: bytes) -> None:
        core = self.core
        core.thread_count += 1
        if not core.threads:            # an emulator's n32 core is told by this note's size alone
            head = self.head
            core.machine = of(head.machine, head.e_class, head.data, head.flags, len(desc))
        machine = core.machine
        if machine is None or len(core.threads) >= MAX_THREADS:
            return
        tid = self._integer(desc, machine.pid_at, 4)
        registers = machine.from_prstatus(desc)
        if tid is None or machine.PC not in registers:
            core.note("A thread's registers are cut off.")
            return
        if len(desc) < machine.status_size:
            core.note("A thread's registers are shorter than this machine's.")
        core.threads.append(Thread(tid, registers, self._integer(desc, 12, 2) or 0))
        self._status_fault(machine, desc)

    def _status_fault(self, machine: Machine, desc: bytes) -> None:
        """The faulting address that MIPS and PowerPC keep with the registers, if it is one."""
        thread = self.core.threads[-1]
        if (len(self.core.threads) == 1 and machine.fault is not None
                and thread.signal in (SIGSEGV, SIGBUS, SIGBUS_MIPS)):
            self.core.fault_address = machine.status_register(desc, machine.fault) or None

    def _prpsinfo(self, desc: bytes) -> None:
        """Counted from the end: uid_t's width, and a gap before, differ between machines."""
        size = len(desc)
        if size < 120:
            return
        core = self.core
        core.command = _text(desc[size - 80:]).rstrip(" ")     # of its last NUL
        core.name = _text(desc[size - 96:size - 80])
        core.pid = self._integer(desc, size - 112, 4)
        at, width = (16, 4) if self.head.bits == 64 else (8, 2 if size == 124 else 4)
        core.uid = self._integer(desc, at, width)

    def _siginfo(self, desc: bytes) -> None:
        core = self.core
        signal, second, third = (self._integer(desc, at, 4) for at in (0, 4, 8))
        if signal is None or core.code is not None:
            return
        core.signal = signal
        mips = core.machine is not None and core.machine.family == "mips"
        code = second if mips else third
        if code is None:
            return
        core.code = code - (1 << 32) if code >> 31 else code
        core.fault_address = None
        if core.code > 0 and core.code != SI_KERNEL and _has_address(signal, mips):
            wide = self.head.bits == 64
            core.fault_address = self._integer(desc, 16 if wide else 12, 8 if wide else 4)

    def _auxv(self, desc: bytes) -> None:
        words = self._words(desc)
        for kind, value in zip(words[::2], words[1::2]):   # noqa: B905  # the end may be cut off
            if kind == 0:
                break
            self.core.auxv.setdefault(kind, value)

    def _files(self, desc: bytes) -> None:
        word = self.head.bits // 8
        total, page = (*self._words(desc[:2 * word]), 0, 0)[:2]
        names = desc[2 * word + total * 3 * word:].split(b"\0", MAX_FILES)
        count = min(total, MAX_FILES, len(names))
        rows = self._words(desc[2 * word:(2 + 3 * count) * word])
        for index in range(len(rows) // 3):
            start, end, offset = rows[3 * index:3 * index + 3]
            if start < end:
                self.core.files.append(
                    Mapping(start, end, offset * page, _text(names[index]), False))
        if total > len(self.core.files):
            self.core.note("Not all of the core's mapped files are known.")


def _has_address(signal: int, mips: bool) -> bool:
    return signal in (SIGILL, SIGTRAP, SIGFPE, SIGSEGV, SIGBUS_MIPS if mips else SIGBUS)


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


# Memory

def core_memory(core: Core, fd: int, size: int) -> CoreMemory | None:
    """The memory in a core file of `size` bytes that can be read anywhere."""
    if core.machine is None:
        return None
    if any(row.filesz and row.offset + row.filesz > size for row in core.segments):
        core.truncated = True
        core.note("The core is truncated.")
    return CoreMemory(core.machine, fd,
                      [(row.address, row.offset, row.filesz) for row in core.segments])


def capture(core: Core, stream: Stream) -> PiecesMemory | None:
    """The memory worth keeping of a core that can be read only once; at most MAX_CAPTURE bytes.

    Those are the threads' stacks from a little below their stack pointers on, the end of each such
    stack, the program's arguments, and small segments whole: the first pages of files, their data,
    and what the loader noted.  It stops reading after the last of them.
    """
    if core.machine is None:
        return None
    pieces: list[tuple[int, bytes]] = []
    left = MAX_CAPTURE
    windows = _windows(core, core.machine)
    for row in sorted(core.segments, key=_offset):
        for start, end in _parts(row, windows):
            if end - start > left or row.offset + start < stream.offset:
                continue
            stream.skip_to(row.offset + start)
            data = stream.take(end - start)
            if len(data) < end - start:
                core.truncated = True
                core.note("The core is truncated.")
            pieces.append((row.address + start, data))
            left -= len(data)
    if core.segments and not pieces and min(row.offset for row in core.segments) < stream.offset:
        core.note("The core's notes are behind its memory: it has to be given as a file.")
    return PiecesMemory(core.machine, pieces)


def _windows(core: Core, machine: Machine) -> list[tuple[int, int]]:
    """(start, end) of the addresses to keep: around every stack pointer, and the arguments."""
    above = max(MAX_STACKS // max(len(core.threads[:MAX_WINDOWS]), 1), MIN_STACK)
    pointers = [thread.registers.get(machine.SP, 0) for thread in core.threads[:MAX_WINDOWS]]
    windows = [(pointer - BELOW_STACK, pointer + above) for pointer in pointers]
    name = core.auxv.get(AT_EXECFN, 0)
    return [*windows, (name - STACK_END, name + STACK_END)] if name else windows


def _parts(row: Segment, windows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(start, end) in the segment of what is kept of it: in order, none overlapping."""
    if row.filesz <= SMALL_SEGMENT:
        return [(0, row.filesz)] if row.filesz else []
    wanted = []
    for start, end in windows:
        start, end = max(start - row.address, 0), min(end - row.address, row.filesz)
        if start < end:
            wanted += [(start & ~0xFFF, end), (row.filesz - STACK_END & ~0xFFF, row.filesz)]
    parts: list[tuple[int, int]] = []
    for start, end in sorted(wanted):
        if parts and start <= parts[-1][1]:
            parts[-1] = (parts[-1][0], max(parts[-1][1], end))
        else:
            parts.append((start, end))
    return parts


def _offset(row: Segment) -> int:
    return row.offset


def _address(row: Segment) -> int:
    return row.address
