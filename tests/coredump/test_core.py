"""coredump/core.py: what a core's head says, and what a single pass keeps of its memory."""

from __future__ import annotations

import io
import os
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump.core import Core, Stream, capture, core_memory, read_head
from lastlog_py.coredump.core_program import core_context
from tests.coredump import cases
from tests.coredump.corefile import (
    KINDS,
    Kind,
    core,
    files,
    note,
    prpsinfo,
    prstatus,
    registers,
    siginfo,
)

RX, RW = 5, 6
SP = 0x7ffe0010


def notes(kind: Kind, threads: int = 2) -> list[bytes]:
    """A crash's notes, in the kernel's order."""
    def status(tid: int) -> bytes:
        return note(kind, 1, prstatus(kind, tid, 11, registers(kind, pc=0x400100, sp=SP)))
    return [status(100), note(kind, 3, prpsinfo(kind, 100, 1000, "daemon", "/usr/sbin/daemon -f ")),
            note(kind, 0x53494749, siginfo(kind, 11, 1, 0x10)),
            note(kind, 6, kind.pack([3, 0x400034, 9, 0x400100, 0, 0])),
            note(kind, 0x46494c45, files(kind, [(0x400000, 0x402000, 0, "/usr/sbin/daemon"),
                                                (0x402000, 0x403000, 0x2000, "/usr/sbin/daemon")])),
            note(kind, 2, bytes(512)), note(kind, 0x202, bytes(11008), b"LINUX\0"),
            *(status(101 + index) for index in range(threads - 1))]


def loads() -> list[tuple[int, int, bytes]]:
    return [(0x400000, RX, bytes(0x2000)), (0x402000, RW, bytes(0x1000)),
            (0x7ffe0000, RW, b"S" * 0x2000)]


def read(data: bytes) -> Core:
    return read_head(io.BytesIO(data).read)


@pytest.mark.parametrize("name", KINDS)
def test_a_crash(name: str) -> None:
    kind = KINDS[name]
    found = read(core(kind, b"".join(notes(kind)), loads()))
    assert found.problems == [] and not found.truncated
    assert found.machine is not None and found.machine.name == kind.machine.name
    assert (found.signal, found.code, found.fault_address) == (11, 1, 0x10)
    assert (found.pid, found.uid) == (100, 1000)
    assert (found.name, found.command) == ("daemon", "/usr/sbin/daemon -f")
    assert [thread.tid for thread in found.threads] == [100, 101] and found.thread_count == 2
    assert found.threads[0].registers[kind.machine.SP] == SP
    assert found.auxv == {3: 0x400034, 9: 0x400100}
    assert [(row.start, row.end, row.offset, row.executable) for row in found.files] == [
        (0x400000, 0x402000, 0, True), (0x402000, 0x403000, 0x2000, False)]
    assert found.executable == [(0x400000, 0x402000)]


@pytest.mark.parametrize(("signal", "code", "address"), [
    (11, 1, 0x10), (11, 0x80, None), (11, 0, None), (6, -6, None), (8, 1, 0x10), (4, 2, 0x10),
    (5, 1, 0x10), (7, 2, 0x10), (31, 1, None)])
def test_a_fault_has_an_address_only_if_the_kernel_made_it(signal: int, code: int,
                                                           address: int | None) -> None:
    kind = KINDS["aarch64"]
    raw = note(kind, 1, prstatus(kind, 1, signal, {})) + note(
        kind, 0x53494749, siginfo(kind, signal, code, 0x10))
    found = read(core(kind, raw, []))
    assert (found.signal, found.code, found.fault_address) == (signal, code, address)


@pytest.mark.parametrize(("name", "signal", "address"), [
    ("mips", 11, 0xbad0), ("mips", 10, 0xbad0), ("mips", 6, None), ("ppc", 7, 0xbad0),
    ("ppc", 5, None), ("n32", 11, 0xbad0), ("mips64", 10, 0xbad0)])
def test_where_registers_hold_the_address(name: str, signal: int, address: int | None) -> None:
    kind = KINDS[name]
    place = kind.machine.fault
    assert place is not None
    found = read(core(kind, note(kind, 1, prstatus(kind, 1, signal, {place: 0xbad0})), []))
    assert (found.signal, found.code, found.fault_address) == (signal, None, address)


def test_more_program_headers_than_the_header_can_count() -> None:
    kind = KINDS["x86_64"]
    rows = [(0x400000 + index * 0x1000, RW, b"") for index in range(300)]
    found = read(core(kind, b"".join(notes(kind)), rows, xnum=True))
    assert len(found.segments) == 300 and len(found.threads) == 2


def test_more_threads_than_are_kept() -> None:
    kind = KINDS["arm"]
    found = read(core(kind, b"".join(notes(kind, 400)), loads()))
    assert len(found.threads) == 256 and found.thread_count == 400


def test_more_mappings_than_are_kept() -> None:
    kind = KINDS["arm"]
    rows = [(index * 0x1000, RX, b"code") for index in range(40_000)]
    listed = [(index * 0x1000, index * 0x1000 + 1, 0, "/x") for index in range(17_000)]
    raw = b"".join(notes(kind)[:4]) + note(kind, 0x46494c45, files(kind, listed))
    found = read(core(kind, raw, rows, xnum=True))
    assert len(found.segments) == 1 << 15 and len(found.files) == 1 << 14
    assert len(found.problems) == 2 and all(row.executable for row in found.files)
    assert f"{40_000 - (1 << 15)} of the core's mappings were not looked at." in found.problems


def test_many_anonymous_mappings_cost_neither_libraries_nor_stack() -> None:
    kind = KINDS["x86_64"]
    program, library = (0x1000, RX, b"program"), (0x7f0000000000, RX, b"library")
    stack = (0x7fff00000000, RW, b"stack")
    many = [(0x100000 + index * 0x2000, RW, b"") for index in range(60_000)]
    found = read(core(kind, b"".join(notes(kind)),
                      [program, *many[:30_000], library, *many[30_000:], stack], xnum=True))
    assert found.executable == [(0x1000, 0x1000 + len(b"program")),
                                (0x7f0000000000, 0x7f0000000000 + len(b"library"))]
    assert found.segments[0].address == 0x1000 and found.segments[-1].address == stack[0]
    assert len(found.segments) == (1 << 14) + 1
    assert found.problems == [f"{60_003 - len(found.segments)} of the core's mappings were not "
                              "looked at."]


@pytest.mark.parametrize(("data", "problem"), [
    (b"", "The core is empty."), (b"hello", "This is not an ELF file."),
    (bytes(1000), "This is not an ELF file."), (b"\x7fELF\2\1\1", "This is not an ELF file."),
    (b"\x7fELF\7\7" + bytes(100), "This is not an ELF file.")])
def test_not_a_core(data: bytes, problem: str) -> None:
    found = read(data)
    assert found.problems[0] == problem and found.machine is None and found.threads == []


def test_not_understood() -> None:
    kind = KINDS["x86_64"]
    data = bytearray(core(kind, b"".join(notes(kind)), loads()))
    data[18] = 22                               # s390
    found = read(bytes(data))
    assert found.machine is None and "machine 22" in found.problems[0]
    assert found.name == "daemon" and found.signal == 11 and len(found.files) == 2
    assert found.thread_count == 2 and found.threads == []


def test_a_program_is_not_a_core() -> None:
    kind = KINDS["x86_64"]
    data = bytearray(core(kind, b"", loads()))
    data[16] = 2
    assert read(bytes(data)).problems[0] == "This ELF file is not a core dump."


def test_a_note_too_large() -> None:
    kind = KINDS["mips"]
    raw = b"".join(notes(kind)[:2]) + struct.pack(">III", 5, 0xfffffff0, 1) + b"CORE\0\0\0\0"
    found = read(core(kind, raw, loads()))
    assert len(found.threads) == 1 and found.name == "daemon"
    assert any("larger" in problem for problem in found.problems)


def test_names_that_are_hostile() -> None:
    kind = KINDS["ppc"]
    body = bytearray(prpsinfo(kind, 1, 0, "a\nb\x1b[", "\xff" * 40))
    body[-1] = 0xff
    found = read(core(kind, note(kind, 3, bytes(body)), []))
    assert found.name == "a\nb\x1b["            # whoever prints it strips what has to go
    found = read(core(kind, note(kind, 3, b"\xff" * 128), []))
    assert found.command == "\ufffd" * 80


def test_a_pipe_that_breaks() -> None:
    def broken(size: int) -> bytes:
        raise OSError(5, "I/O error")
    assert read_head(broken).problems[0] == "The core is empty."


# Memory

def test_a_file_that_can_be_read_anywhere(tmp_path: Path) -> None:
    kind = KINDS["x86_64"]
    data = core(kind, b"".join(notes(kind)), loads())
    (tmp_path / "core").write_bytes(data)
    with (tmp_path / "core").open("rb") as file:
        found = read_head(Stream(file.read, file.seek))
        memory = core_memory(found, file.fileno(), len(data))
        assert memory is not None and memory.read(0x7ffe0ff8, 0x2000) == b"S" * 0x1008
        assert not found.truncated
        core_memory(found, file.fileno(), len(data) - 1)
    assert found.truncated and found.problems == ["The core is truncated."]


def test_one_pass_keeps_stacks_and_what_is_small() -> None:
    kind = KINDS["aarch64"]
    stack, heap = 8 << 20, 20 << 20
    top = 0x7fff0000
    raw = note(kind, 1, prstatus(kind, 1, 11, registers(kind, pc=1, sp=top - stack + 0x5008)))
    raw += note(kind, 1, prstatus(kind, 2, 11, registers(kind, pc=1, sp=0x10000)))
    image = b"I" * 0x3000
    filled = os.urandom(1 << 16) * (stack >> 16)
    rows = [(0x10000000, RW, bytes(heap)), (top - stack, RW, filled), (0x400000, RX, image)]
    stream = Stream(io.BytesIO(core(kind, raw, rows)).read)
    memory = capture(read_head(stream), stream)
    assert memory is not None
    assert memory.read(0x400000, 0x4000) == image                   # though it comes last
    assert memory.read(top - stack + 0x5000, 0x40000) == filled[0x5000:0x45000]
    assert memory.read(top - 0x2000, 0x3000) == filled[-0x2000:]     # the outermost frames
    assert memory.read(0x10000000 + heap // 2, 8) == b""
    assert sum(len(piece) for _, piece in memory._pieces) < 1 << 20


def test_one_pass_stops_after_what_it_keeps() -> None:
    kind = KINDS["arm"]
    rows = [*loads(), (0x10000000, RW, bytes(8 << 20))]
    pipe = io.BytesIO(core(kind, b"".join(notes(kind)), rows))
    stream = Stream(pipe.read)
    capture(read_head(stream), stream)
    assert pipe.tell() < 1 << 20


def test_notes_behind_the_memory_need_a_file() -> None:
    """As gdb's gcore writes them."""
    kind = KINDS["x86_64"]
    raw = b"".join(notes(kind))
    data = bytearray(core(kind, raw, loads()))
    struct.pack_into("<Q", data, 64 + 8, len(data))         # where PT_NOTE is
    stream = Stream(io.BytesIO(bytes(data) + raw).read)
    found = read_head(stream)
    assert len(found.threads) == 2
    capture(found, stream)
    assert found.problems == ["The core's notes are behind its memory: it has to be given as a "
                              "file."]


# Bad cores

def survive(data: bytes) -> None:
    """Reading it, with everything that follows, does not raise."""
    stream = Stream(io.BytesIO(data).read)
    found = read_head(stream)
    memory = capture(found, stream)
    if memory is None:
        assert found.problems
        return
    context = core_context(found, memory)
    assert context is not None
    for module in context.modules[:4]:
        module.symbol(module.base + 0x1000)
        assert module.build_id is None or module.text_id is None or module.path


@pytest.mark.parametrize("name", KINDS)
def test_truncated_everywhere(name: str) -> None:
    kind = KINDS[name]
    raw = notes(kind)
    data = core(kind, b"".join(raw), loads())
    start = data.index(raw[0])
    places = [start + sum(map(len, raw[:count])) for count in range(len(raw) + 1)]
    random.seed(name)
    for place in [*places, *range(0, 200, 7), *random.sample(range(len(data)), 60)]:
        survive(data[:place])
        found = read(data[:place])
        whole = sum(place >= start + sum(map(len, raw[:index + 1])) for index in (0, 7))
        assert len(found.threads) >= whole
        assert found.truncated or place >= places[-1]


@given(st.sampled_from(sorted(KINDS)), st.lists(st.tuples(st.integers(0, 3000),
                                                          st.integers(0, 255)), max_size=8))
def test_flipped(name: str, flips: list[tuple[int, int]]) -> None:
    kind = KINDS[name]
    raw = notes(kind)
    data = bytearray(core(kind, b"".join([*raw[:5], *raw[7:]]), loads()))
    for place, value in flips:
        data[place] = value
    survive(bytes(data))


@given(st.binary(max_size=400))
def test_noise(data: bytes) -> None:
    survive(data)
    survive(b"\x7fELF\1\1\1" + data)
    survive(b"\x7fELF\2\1\1" + bytes(9) + b"\4\0\x3e\0" + data)


def test_zeros_without_end_are_given_up_on() -> None:
    kind = KINDS["x86_64"]
    data = bytearray(core(kind, bytes(64), []))
    struct.pack_into("<Q", data, 64 + 32, 1 << 62)      # the size of PT_NOTE
    endless = io.BytesIO(bytes(data))
    found = read_head(lambda size: endless.read(size) or bytes(size))
    assert found.threads == []


@cases.needs_cores()
@pytest.mark.parametrize("name", cases.sets())
def test_real_cores(name: str) -> None:
    """Threads, registers, signal and names of every case are the manifest's."""
    for one in cases.walk(name):
        row, found = one.case.row, one.core
        machine = one.context.machine
        assert found.problems == [] and not found.truncated, one.case.name
        assert (found.signal, found.pid, found.name) == (row["signal"], row["pid"], row["comm"])
        assert found.threads[0].tid == row["crashed_tid"]
        said = row["fault_address"]
        assert found.fault_address in ((int(said, 16),) if said else (None, 0))
        truth = {thread.tid: thread.frames[0]["pc"] for thread in one.truth}
        assert {thread.tid: hex(machine.code_address(thread.registers[machine.PC]))
                for thread in found.threads} == truth, one.case.name


@cases.needs_cores()
@pytest.mark.parametrize("name", cases.sets())
def test_real_cores_truncated(name: str) -> None:
    data = cases.cases(f"{name}/lib")[0].core().read_bytes()
    random.seed(name)
    edge = read_extent(data)
    for place in [random.randrange(edge) for _ in range(25)] + [random.randrange(len(data))]:
        survive(data[:place])
    for _ in range(25):
        flipped = bytearray(data[:edge + 0x8000])
        for _ in range(random.randrange(1, 20)):
            flipped[random.randrange(edge)] ^= 1 << random.randrange(8)
        survive(bytes(flipped))


def read_extent(data: bytes) -> int:
    """Where the notes end."""
    stream = Stream(io.BytesIO(data).read)
    read_head(stream)
    return stream.offset
