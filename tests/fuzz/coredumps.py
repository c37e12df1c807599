"""What a crashed program may leave, as fuzz targets: whole cores, unwind tables, code, texts.

A target takes bytes and must not raise; what it is given is hostile by nature.
"""

from __future__ import annotations

import io

from lastlog_py.coredump import reading, words
from lastlog_py.coredump.backtrace import Limits, backtrace
from lastlog_py.coredump.core import Stream, capture, read_head
from lastlog_py.coredump.core_program import core_context
from lastlog_py.coredump.crash import Crash, examine, take_core
from lastlog_py.coredump.elf import PT_ARM_EXIDX, PT_GNU_EH_FRAME, Segment
from lastlog_py.coredump.program import parse_maps
from lastlog_py.coredump.report import render, title
from lastlog_py.coredump.shape import is_whole
from lastlog_py.coredump.signature import signature
from tests.coredump import corefile, tables
from tests.coredump.corefile import KINDS, Kind
from tests.fuzz.target import Target

MACHINES = (tables.X86_64, tables.I386, tables.ARM, tables.ARMEB, tables.AARCH64, tables.RISCV64,
            tables.MIPS, tables.MIPS_N32, tables.PPC)
FEW = Limits(head=24, tail=4, steps=200)
ROOM = 20_000


def core(data: bytes) -> None:
    """A core on a pipe, all the way to the record and back."""
    stream = Stream(io.BytesIO(data).read)
    crash, found = Crash(11, 1), read_head(stream)
    take_core(crash, found)
    memory = capture(found, stream)
    context = core_context(found, memory) if memory is not None else None
    if context is not None:
        examine(crash, found, context, 16, 32)
    assert not any("failed" in note for note in crash.notes), crash.notes
    text = render(crash, ROOM, data[-200:])
    dump = reading.read(text.decode("utf-8", "replace"))
    assert dump is not None and is_whole(dump) and title(crash)
    words.title(dump)
    signature(dump)


def record(data: bytes) -> None:
    """The text of a record."""
    dump = reading.read(data.decode("utf-8", "replace"))
    if dump is not None:
        assert is_whole(dump)
        words.title(dump)
        signature(dump)


def maps(data: bytes) -> None:
    """/proc/PID/maps."""
    parse_maps(data)


def code(data: bytes) -> None:
    """A program without tables: its code, its stack and its registers."""
    _walk(data, None)


def cfi(data: bytes) -> None:
    """Call frame information: .eh_frame_hdr and .eh_frame, anything in them."""
    _walk(data, PT_GNU_EH_FRAME)


def exidx(data: bytes) -> None:
    """ARM's exception index and tables."""
    _walk(bytes([2 + (data[:1] > b"\x7f")]) + data[1:], PT_ARM_EXIDX)


def _walk(data: bytes, table: int | None) -> None:
    """Bytes 0: the machine, 1: the pc, 2: how many registers follow, then code or table, and the
    stack."""
    if len(data) < 12:
        return
    program = tables.Program(MACHINES[data[0] % len(MACHINES)])
    machine = program.machine
    rest = data[3 + data[2] % 8:]
    half = len(rest) // 2
    stack = b"".join(program.number(tables.CODE + byte * 4 if byte & 1 else byte * 0x1010, 0)
                     for byte in rest[half:half + 64]) + rest[half + 64:]
    program.put(tables.STACK, stack)
    if table is None:
        program.put(tables.CODE, rest[:half])
    else:
        program.put(tables.HEADER, rest[:half])
        program.put(tables.CODE, b"\x90" * 64)
        program.segments.append(Segment(table, 4, 0, tables.HEADER, half, half))
    known = {number: tables.STACK + data[3 + at % max(data[2] % 8, 1)] * 8
             for at, number in enumerate(machine.names)}
    known |= {machine.SP: tables.STACK, machine.PC: tables.CODE + data[1] * 2}
    backtrace(program.context(), known, FEW)


def _seed_core(kind: Kind) -> bytes:
    notes = corefile.note(kind, 1, corefile.prstatus(
        kind, 7, 11, corefile.registers(kind, pc=0x400104, sp=0x7000100)))
    notes += corefile.note(kind, 3, corefile.prpsinfo(kind, 7, 0, "victim", "victim -x"))
    notes += corefile.note(kind, 0x53494749, corefile.siginfo(kind, 11, 1, 0x10))
    notes += corefile.note(kind, 6, kind.pack([3, 0x400040, 5, 4, 7, 0, 31, 0x70001f0, 0, 0]))
    notes += corefile.note(kind, 0x46494c45, corefile.files(
        kind, [(0x400000, 0x401000, 0, "/bin/victim"), (0x401000, 0x402000, 4096, "/bin/victim")]))
    stack = kind.pack([0x400108, 0x7000120, 0x400110, 0x7000140, 0]).ljust(512, b"/")
    return corefile.core(kind, notes, [(0x400000, 5, b"\x7fELF".ljust(512, b"\x90")),
                                       (0x7000000, 6, bytes(256) + stack)])


def _seed_table(index: int, exidx: bool) -> bytes:
    program = tables.Program(MACHINES[index])
    if exidx:
        program.index((tables.CODE, 0x80b0b0b0), (tables.CODE + 64, 1))
    else:
        program.fde(program.cie(b"\x0c\x07\x08\x90\x01"), b"\x41\x0e\x10\x86\x02")
        program.header()
    whole = tables._joined(program.pieces)
    table = b"".join(whole[page] for page in sorted(whole))[:0x1200]
    return bytes([index, 4, 2, 1, 2]) + table + bytes(range(256))


def core_seeds() -> list[bytes]:
    """A small core of each machine."""
    return [_seed_core(kind) for kind in KINDS.values()]


def record_seeds() -> list[bytes]:
    """The texts of these cores' records."""
    found = []
    for data in core_seeds():
        stream = Stream(io.BytesIO(data).read)
        crash, head = Crash(11, 1), read_head(stream)
        take_core(crash, head)
        context = core_context(head, capture(head, stream))  # type: ignore[arg-type]
        assert context is not None
        examine(crash, head, context)
        found.append(render(crash, ROOM, b"a log\n"))
    return found


def maps_seeds() -> list[bytes]:
    """A process's own."""
    with open("/proc/self/maps", "rb") as file:
        return [file.read()]


def code_seeds() -> list[bytes]:
    """A byte of each machine and something behind it."""
    return [bytes([index, 8, 3, 1, 2, 3]) + bytes(range(256)) for index in range(len(MACHINES))]


def cfi_seeds() -> list[bytes]:
    """A table of each machine."""
    return [_seed_table(index, False) for index in range(len(MACHINES))]


def exidx_seeds() -> list[bytes]:
    """ARM's, both byte orders."""
    return [_seed_table(index, True) for index in (2, 3)]


TARGETS = {
    "core": Target(core, core_seeds, 8192), "core-record": Target(record, record_seeds),
    "maps": Target(maps, maps_seeds), "code": Target(code, code_seeds, quick=200),
    "cfi": Target(cfi, cfi_seeds, 6144, quick=100),
    "exidx": Target(exidx, exidx_seeds, 6144, quick=100)}
