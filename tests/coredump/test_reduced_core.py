"""reduced_core.py: what is kept of a core, within its limit, and that it can be opened again."""

from __future__ import annotations

import io
import os
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.coredump.core import Core, Stream, capture, core_memory, read_head
from lastlog_py.coredump.core_program import core_context
from lastlog_py.coredump.crash import Crash, examine
from lastlog_py.coredump.memory import Memory
from lastlog_py.coredump.reduced_core import Notes, ReducedCore, plan
from lastlog_py.coredump.sysroot import Sysroot
from lastlog_py.coredump.unwind.frame import Context
from lastlog_py.errors import LastlogError
from tests.coredump import corefile
from tests.coredump.test_emulated import TARGETS, Target, crash

CODE, DATA, HEAP, STACK = 0x400000, 0x410000, 0x500000, 0x7f000000
LATER = float("inf")


def made_up(kind: corefile.Kind, threads: int = 2, path: str = "/usr/sbin/prog") -> bytes:
    """A core of one file, two stacks of 40 pages, and a heap that nothing points to."""
    notes = b""
    for index in range(threads):
        sp = STACK + index * 0x100000 + 0x5000 + 64
        notes += corefile.note(kind, 1, corefile.prstatus(
            kind, 100 + index, 11, corefile.registers(kind, pc=CODE + 0x123, sp=sp)))
        if index == 0:
            notes += corefile.note(kind, 3, corefile.prpsinfo(kind, 100, 0, "prog", "prog -f"))
            notes += corefile.note(kind, 0x53494749, corefile.siginfo(kind, 11, 1, 0x10))
            notes += corefile.note(kind, 6, kind.pack([31, STACK + 0x27000, 0, 0]))
            notes += corefile.note(kind, 0x46494c45, corefile.files(
                kind, [(CODE, CODE + 0x2000, 0, path), (DATA, DATA + 0x1000, 0x2000, path)]))
        notes += corefile.note(kind, 2, bytes([index]) * 520)               # FPREGSET
        notes += corefile.note(kind, 0x202, bytes(2700), b"LINUX\0")        # too large
        notes += corefile.note(kind, 0x406, b"pac mask 16 byte", b"LINUX\0")
        notes += corefile.note(kind, 1, b"no status of ours", b"VENDOR\0")
    loads = [(CODE, 5, b"\x7f" + bytes(0x1fff)), (DATA, 6, bytes(0x1000)),
             (HEAP, 6, b"h" * 0x80000)]
    loads += [(STACK + index * 0x100000, 6, bytes([65 + index]) * 0x28000)
              for index in range(threads)]
    return corefile.core(kind, notes, loads)


class Read(NamedTuple):
    core: Core
    memory: Memory
    context: Context
    notes: Notes


def read(data: bytes, most: int = 1 << 30, sysroot: Sysroot | None = None) -> Read | None:
    """As the handler does without a process.  sysroot: for what /proc shows, and a core lacks."""
    notes = Notes(most)
    stream = Stream(io.BytesIO(data).read)
    core = read_head(stream, notes)
    memory = capture(core, stream)
    context = core_context(core, memory, sysroot) if memory is not None else None
    if memory is None or context is None:
        return None
    return Read(core, memory, context, notes)


def reduced(data: bytes, limit: int) -> bytes | None:
    """The reduced core of a core."""
    found = read(data, most=limit)
    if found is None:
        return None
    made = plan(found.core, found.context, found.notes, limit, [], LATER)
    if made is None:
        return None
    whole = b"".join(made)
    assert len(whole) == made.size <= limit
    return whole


def check_with_pyelftools(data: bytes) -> list[Any]:
    """Its segments; everything in it lies in the file."""
    elffile = pytest.importorskip("elftools.elf.elffile")
    file = elffile.ELFFile(io.BytesIO(data))
    assert file["e_type"] == "ET_CORE" and file.num_sections() == 0
    segments = list(file.iter_segments())
    ends = [row["p_offset"] + row["p_filesz"] for row in segments]
    assert max(ends) == len(data) and segments[0]["p_type"] == "PT_NOTE"
    loads = [row for row in segments if row["p_type"] == "PT_LOAD"]
    for one, two in pairwise(loads):
        assert one["p_vaddr"] + one["p_memsz"] <= two["p_vaddr"]
        assert one["p_filesz"] in (0, one["p_memsz"])
    return segments


@pytest.mark.parametrize("name", corefile.KINDS)
def test_every_machine_and_byte_order(name: str) -> None:
    kind = corefile.KINDS[name]
    original, whole = read(made_up(kind)), reduced(made_up(kind), 1 << 20)
    assert original is not None and whole is not None
    again = read(whole)
    assert again is not None and again.core.problems == [] and not again.core.truncated
    one, two = original.core, again.core
    assert (one.machine and one.machine.name, one.machine and one.machine.abi) == (
        two.machine and two.machine.name, two.machine and two.machine.abi)
    assert [each.registers for each in one.threads] == [each.registers for each in two.threads]
    assert (one.signal, one.code, one.fault_address, one.auxv, one.command, one.pid) == (
        two.signal, two.code, two.fault_address, two.auxv, two.command, two.pid)
    assert [(row.path, row.start, row.executable) for row in one.files] == [
        (row.path, row.start, row.executable) for row in two.files]
    assert set(one.executable) <= {(start & ~0xfff, CODE + 0x2000) for start, _ in two.executable}
    for index in range(2):
        sp = STACK + index * 0x100000 + 0x5000
        assert again.memory.read(sp, 0x10000) == bytes([65 + index]) * 0x10000
        assert again.memory.read(sp - 0x2000, 1) == b""
    assert again.memory.read(HEAP, 1) == b"" and again.memory.read(CODE, 4) == b"\x7f\0\0\0"


def test_notes_are_verbatim_and_too_large_ones_are_not_there() -> None:
    kind = corefile.KINDS["ppc"]
    whole = reduced(made_up(kind), 1 << 20)
    assert whole is not None
    kept = Notes(1 << 20)
    read_head(Stream(io.BytesIO(whole).read), kept)
    first = Notes(1 << 20)
    read_head(Stream(io.BytesIO(made_up(kind)).read), first)
    assert kept.rows == first.rows and len(kept.rows) == 10
    assert {name for name, _, _ in kept.rows} == {b"CORE", b"LINUX"}
    segment = check_with_pyelftools(whole)[0]
    assert [(note["n_name"], note["n_descsz"]) for note in segment.iter_notes()] == [
        (name.decode(), len(desc)) for name, _, desc in kept.rows]


@pytest.mark.parametrize("limit", [0, 1, 64, 1000, 2000, 4096, 5000, 8192, 20000, 65536, 200000,
                                   1 << 20, 1 << 40, (1 << 64) - 1])
@pytest.mark.parametrize("name", ["x86_64", "mips"])
def test_limits(name: str, limit: int) -> None:
    """The crashed thread's registers first, then its stack; never a byte too many."""
    whole = reduced(made_up(corefile.KINDS[name], threads=8), limit)
    if limit < 1000:
        assert whole is None
        return
    if whole is None:
        assert limit <= 2000
        return
    check_with_pyelftools(whole)
    again = read(whole)
    assert again is not None and again.core.threads[0].tid == 100
    if limit >= 4096:
        assert again.core.signal == 11 and again.core.name == "prog"
        assert again.memory.read(STACK + 0x5000, 256) == b"A" * 256
    if limit >= 1 << 20:
        assert len(again.core.threads) == 8


def test_files_too_many_for_the_limit_leave_room_for_the_rest() -> None:
    kind = corefile.KINDS["x86_64"]
    whole = reduced(made_up(kind, path="/" + "x" * 5000), 8192)
    assert whole is not None
    again = read(whole)
    assert again is not None and again.core.files == [] and again.core.threads
    assert again.core.auxv and again.memory.read(STACK + 0x5000, 256) == b"A" * 256


def test_a_signals_other_stack() -> None:
    """What the signal interrupted has a stack of its own."""
    kind = corefile.KINDS["x86_64"]
    found = read(made_up(kind))
    assert found is not None
    made = plan(found.core, found.context, found.notes, 1 << 20, [[STACK + 0x25000]], LATER)
    assert made is not None
    again = read(b"".join(made))
    assert again is not None and again.memory.read(STACK + 0x25000, 4096) == b"A" * 4096


def mapped(kind: corefile.Kind, path: str) -> Any:
    """Where a register points to, of which the kernel's core has nothing."""
    notes = corefile.note(kind, 1, corefile.prstatus(kind, 100, 11, corefile.registers(
        kind, pc=CODE + 0x123, sp=STACK + 64, rbx=DATA + 8)))
    notes += corefile.note(kind, 0x46494c45, corefile.files(
        kind, [(CODE, CODE + 0x1000, 0, "/usr/sbin/prog"), (DATA, DATA + 0x1000, 0, path)]))
    data = corefile.core(kind, notes, [(CODE, 5, bytes(4096)), (STACK, 6, bytes(4096)),
                                       (DATA, 6, b"")])
    core = read_head(Stream(io.BytesIO(data).read))
    next(row for row in core.segments if row.address == DATA).memsz = 4096
    return core, data


@pytest.mark.parametrize(("path", "is_read"), [
    ("/lib/libc.so", True), ("/dev/mem", False), ("/sys/bus/pci/devices/0/resource0", False)])
def test_no_devices_memory_is_touched(path: str, is_read: bool) -> None:
    """Nor what a program keeps out of cores: the kernel's has none of either."""
    core, data = mapped(corefile.KINDS["x86_64"], path)
    notes = Notes(1 << 20)
    read_head(Stream(io.BytesIO(data).read), notes)
    assert core.machine is not None
    touched = []

    class Watched(Memory):
        def _fetch(self, address: int, size: int) -> bytes:
            touched.append(address & ~0xfff)
            return bytes(size)

    context = Context(core.machine, Watched(core.machine), [], [])
    made = plan(core, context, notes, 1 << 20, [], LATER)
    assert made is not None and made.size == len(b"".join(made))
    assert set(touched) == {STACK, CODE, *([DATA] if is_read else [])}


class Going:
    """A memory that shows everything once."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.gone = memory, False

    def past_cache(self, address: int, size: int) -> bytes:
        return b"" if self.gone else self.memory.past_cache(address, size)

    def word(self, address: int) -> int | None:
        return self.memory.word(address)


def test_a_program_that_goes_away_meanwhile() -> None:
    found = read(made_up(corefile.KINDS["arm"]))
    assert found is not None
    going = Going(found.context.memory)
    found.context.memory = going  # type: ignore[assignment]
    made = plan(found.core, found.context, found.notes, 1 << 20, [], LATER)
    assert made is not None
    going.gone = True
    with pytest.raises(LastlogError, match="went away"):
        list(made)


def test_time() -> None:
    found = read(made_up(corefile.KINDS["arm"]))
    assert found is not None
    with pytest.raises(LastlogError, match="Time was up"):
        plan(found.core, found.context, found.notes, 1 << 20, [], 0.0)
    soon = time.monotonic() + 0.2
    made = plan(found.core, found.context, found.notes, 1 << 20, [], soon)
    assert made is not None
    time.sleep(0.25)
    with pytest.raises(LastlogError, match="Time was up"):
        list(made)


def test_no_more_than_a_piece_is_held() -> None:
    """However much is kept."""
    import tracemalloc

    class Endless:
        """128 MiB of data, and no more of it in here than is asked for."""

        def past_cache(self, address: int, size: int) -> bytes:
            return bytes(size)

    memory: Any = Endless()
    made = ReducedCore(b"head", [(0, 128 << 20, 6)], memory, LATER)
    tracemalloc.start()
    done = sum(map(len, made))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done == made.size == (128 << 20) + 4 and peak < 1 << 18


# --- what comes from elsewhere

WHOLE = {name: made_up(corefile.KINDS[name]) for name in ("x86_64", "mips", "n32", "aarch64")}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 70_000) | st.just(1 << 30),
       st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), max_size=12),
       st.none() | st.integers(0, 60_000))
def test_whatever_is_broken_it_can_be_opened(name: str, limit: int,
                                             flips: list[tuple[int, int]], cut: int | None) -> None:
    """Our own reader and pyelftools read what is made of a core with flipped bytes and no end."""
    data = bytearray(WHOLE[name])
    for at, value in flips:
        data[at] = value
    whole = reduced(bytes(data[:cut]), limit)
    if whole is None:
        return
    check_with_pyelftools(whole)
    again = read(whole)
    assert again is not None and not again.core.truncated
    assert again.core.threads or flips          # a status can be broken itself


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, 40_000),
                          st.integers(0, 7)), max_size=12),
       st.lists(st.integers(0, (1 << 32) - 1), min_size=2, max_size=5),
       st.integers(1000, 300_000))
def test_any_mappings(loads: list[tuple[int, int, int]], pointers: list[int], limit: int) -> None:
    """They may overlap, lie anywhere, and end beyond what a machine can address."""
    kind = corefile.KINDS["mips"]
    values = {6: pointers[0], 35: pointers[1], 40: pointers[-1]}
    notes = corefile.note(kind, 1, corefile.prstatus(kind, 1, 11, values))
    data = corefile.core(kind, notes, [(start, flags, bytes(size)) for start, size, flags in loads])
    whole = reduced(data, limit)
    if whole is not None:
        check_with_pyelftools(whole)
        again = read(whole)
        assert again is not None and again.core.threads[0].registers[37] == pointers[-1]


@pytest.mark.parametrize("name", ["x86_64", "mips"])
def test_cut_anywhere(name: str) -> None:
    data = WHOLE[name]
    made = [reduced(data[:cut], 1 << 20) for cut in [*range(0, 4000, 37), *range(4000, len(data),
                                                                                 40_009)]]
    assert made[0] is None and made[-1] is not None
    for whole in made:
        if whole is not None:
            check_with_pyelftools(whole)


# --- an emulator's cores: of other machines, and with what a real program leaves

EMULATED = [each for each in TARGETS if (each.machine, each.abi) in {
    ("mips", "o32"), ("ppc", ""), ("arm", ""), ("mips64", "n64"), ("aarch64", "")}]


def backtraces(core: Core, memory: Memory, sysroot: str) -> list[list[tuple[int, str | None]]]:
    files = Sysroot(sysroot)
    context, crashed = core_context(core, memory, files), Crash()
    assert context is not None
    examine(crashed, core, context)
    files.close()
    return [[(frame.pc, frame.symbol) for frame in thread.frames] for thread in crashed.threads]


def opened(path: Path) -> tuple[Core, Memory]:
    fd = os.open(path, os.O_RDONLY)
    core = read_head(Stream(lambda size: os.read(fd, size), lambda to: os.lseek(fd, to, 0)))
    memory = core_memory(core, fd, path.stat().st_size)
    assert memory is not None
    return core, memory


def gdb(program: Path, core: Path, sysroot: str) -> list[str]:
    """Its backtraces of all threads, as lines."""
    done = subprocess.run(
        ["timeout", "60", "gdb-multiarch", "-nx", "-batch", "-iex", "set debuginfod enabled off",
         "-iex", "set auto-load no", "-iex", f"set sysroot {sysroot}", "-ex",
         "thread apply all backtrace", program, core], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if line.startswith("#")]


@pytest.mark.parametrize("style", ["-pie -fPIE", "-no-pie -fno-pie"])
@pytest.mark.parametrize("target", EMULATED, ids=lambda target: target.compiler)
def test_the_same_backtraces(target: Target, style: str, tmp_path: Path) -> None:
    """From the whole core and the reduced one: ours, and gdb's."""
    path = crash(target, tmp_path, "-g", *style.split())
    (tmp_path / "lib").symlink_to(f"{target.libraries}/lib")
    files = Sysroot(str(tmp_path))
    found = read(path.read_bytes(), sysroot=files)
    assert found is not None
    made = plan(found.core, found.context, found.notes, 256 << 10, [], LATER)
    assert made is not None and made.size <= 256 << 10
    small = tmp_path / "small.core"
    small.write_bytes(b"".join(made))
    files.close()
    check_with_pyelftools(small.read_bytes())
    before, after = (backtraces(*opened(each), str(tmp_path)) for each in (path, small))
    assert before == after and [name for _, name in after[0]][:3] == ["leaf", "middle", "main"]
    if subprocess.run(["which", "gdb-multiarch"], capture_output=True).returncode:
        pytest.skip("gdb-multiarch is not installed")
    shown = gdb(tmp_path / "victim", small, target.libraries)
    assert gdb(tmp_path / "victim", path, target.libraries) == shown
    if "-no-pie" in style:      # else an emulator's core does not tell gdb where the program is
        assert any("leaf (" in line for line in shown) and any(" pause (" in line for line in shown)
    path.unlink()
