"""coredump/core_program.py, link_map.py: a core and a sysroot become modules and memory."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest

from lastlog_py.coredump.core import Stream, capture, core_memory, read_head
from lastlog_py.coredump.core_program import core_context
from lastlog_py.coredump.memory import Memory, PiecesMemory
from lastlog_py.coredump.sysroot import Sysroot
from lastlog_py.coredump.unwind.frame import Context
from tests.coredump import cases
from tests.coredump.corefile import KINDS, core, files, note, prstatus, registers

RX, RW = 5, 6


def program(case: cases.Case, sysroot: Path | None) -> Context:
    """The case's program with another sysroot."""
    fd = os.open(case.core(), os.O_RDONLY)
    try:
        found = read_head(lambda size: os.read(fd, size))
        memory = core_memory(found, fd, os.fstat(fd).st_size)
        assert memory is not None
        context = core_context(found, memory, Sysroot(str(sysroot)) if sysroot else None)
    finally:
        os.close(fd)
    assert context is not None
    return context


@cases.needs_cores()
@pytest.mark.parametrize("name", cases.sets())
def test_every_true_frame_lies_in_its_module(name: str) -> None:
    frames = 0
    for one in cases.walk(name):
        for frame in (frame for thread in one.truth for frame in thread.frames
                      if frame["module"] and frame["pc"]):
            pc = int(frame["pc"], 16)
            module = one.context.module_at(pc)
            assert module is not None and module.path == frame["module"], (one.case.name, frame)
            assert hex(pc - module.base) == frame["offset_from_load_base"]
            assert one.context.is_code(pc) and one.context.memory.read(pc, 4)
            assert any(start <= pc < end for start, end in module.ranges)
            frames += 1
        assert all("was deleted" in problem for problem in one.context.problems)
    assert frames > 100


@cases.needs_cores()
@pytest.mark.parametrize("name", cases.sets())
def test_without_a_sysroot_there_are_still_modules(name: str) -> None:
    """From NT_FILE, or what AT_PHDR and the loader's list show."""
    case = cases.cases(f"{name}/simple")[0]
    context = program(case, None)
    main = [module for module in context.modules if module.path.endswith("crash1")]
    assert len(main) == 1
    entry = int(case.threads[0].frames[0]["offset_from_load_base"], 16)
    assert context.module_at(main[0].base + entry) is main[0]


@cases.needs_cores()
@pytest.mark.parametrize("name", cases.sets())
def test_one_pass_sees_what_the_file_shows(name: str) -> None:
    """Through a pipe: the same modules, and the same stacks around the stack pointers."""
    for mode in ("simple", "sig", "threads"):
        case = cases.cases(f"{name}/{mode}")[0]
        with case.core().open("rb") as pipe:
            stream = Stream(pipe.read)
            found = read_head(stream)
            memory = capture(found, stream)
            assert memory is not None and found.machine is not None
            context = core_context(found, memory, Sysroot(str(case.sysroot())))
            whole = core_memory(found, pipe.fileno(), case.core().stat().st_size)
            assert context is not None and whole is not None
            for thread in found.threads[:64]:
                sp = thread.registers[found.machine.SP]
                assert memory.read(sp, 2048) == whole.read(sp, 2048) != b""
        expected = program(case, case.sysroot())
        assert ([(module.path, module.base) for module in context.modules]
                == [(module.path, module.base) for module in expected.modules]), case.name
        assert sum(len(piece) for _, piece in memory._pieces) <= 3 << 20


@cases.needs_cores()
def test_another_build_is_not_taken(tmp_path: Path) -> None:
    """The core's own first page says that the sysroot's file is another one."""
    case = cases.cases("x86_64-musl/simple")[0]
    root = tmp_path / "root"
    shutil.copytree(case.sysroot(), root)
    for path in root.rglob("*"):
        path.chmod(0o755)
    shutil.copy(root / "opt/victim/bin/ctor1", root / "opt/victim/bin/crash1")
    context = program(case, root)
    assert context.problems == [
        "/opt/victim/bin/crash1 in the sysroot is not the file that was running."]
    module = next(module for module in context.modules if module.path.endswith("crash1"))
    assert module.image is not None and module.build_id
    assert context.memory.read(module.ranges[0][0], 16) == b""


@cases.needs_cores()
def test_another_program_is_not_taken_without_a_first_page(tmp_path: Path) -> None:
    case = cases.cases("mipsel-musl/simple")[0]
    place = tmp_path / "opt/victim/bin"
    place.mkdir(parents=True)
    x86 = cases.cases("x86_64-musl/simple")[0].sysroot() / "opt/victim/bin/crash1"
    shutil.copy(x86, place / "crash1")
    context = program(case, tmp_path)
    assert ("/opt/victim/bin/crash1 in the sysroot is not the file that was running."
            in context.problems)
    i386 = cases.cases("armel-musl/simple")[0].sysroot() / "opt/victim/bin/crash1"
    (place / "crash1").unlink()
    shutil.copy(i386, place / "crash1")
    context = program(case, tmp_path)
    assert any("is not the file" in problem for problem in context.problems)


def listed(rows: list[tuple[int, int, int, str]], loads: list[tuple[int, int, bytes]],
           root: Path | None = None) -> Context:
    """A made-up core with NT_FILE."""
    kind = KINDS["x86_64"]
    raw = note(kind, 1, prstatus(kind, 1, 11, registers(kind, pc=0x400000)))
    raw += note(kind, 0x46494c45, files(kind, rows))
    stream = Stream(io.BytesIO(core(kind, raw, loads)).read)
    found = read_head(stream)
    memory: Memory | None = capture(found, stream)
    context = core_context(found, memory or PiecesMemory(kind.machine, []),
                           Sysroot(str(root)) if root else None)
    assert context is not None
    return context


def test_a_file_loaded_twice_is_two_modules() -> None:
    rows = [(base + at * 0x1000, base + at * 0x1000 + 0x1000, at * 0x1000, "/lib/x.so")
            for base in (0x400000, 0x500000) for at in range(2)]
    loads = [(start, RX if not offset else RW, bytes(0x1000)) for start, _, offset, _ in rows]
    found = listed(rows, loads).modules
    assert [(module.path, module.base, module.size) for module in found] == [
        ("/lib/x.so", 0x400000, 0x2000), ("/lib/x.so", 0x500000, 0x2000)]


def test_a_file_of_data_is_no_module() -> None:
    context = listed([(0x400000, 0x401000, 0, "/bin/x"), (0x500000, 0x501000, 0, "/data")],
                     [(0x400000, RX, bytes(0x1000)), (0x500000, RW, bytes(0x1000))])
    assert [module.path for module in context.modules] == ["/bin/x"]
    assert context.module_at(0x500000) is None and not context.is_code(0x500000)
    assert context.is_code(0x400fff) and not context.is_code(0x401000)


def test_text_that_the_core_leaves_out(tmp_path: Path) -> None:
    """gdb's gcore has no program header for unchanged parts of files: the file says what it is."""
    data = library(tmp_path / "lib" / "x.so")
    (tmp_path / "data").write_bytes(b"not ELF" * 1000)
    rows = [(0x400000, 0x401000, 0, "/lib/x.so"), (0x401000, 0x402000, 0x1000, "/lib/x.so"),
            (0x402000, 0x403000, 0x2000, "/lib/x.so"), (0x500000, 0x501000, 0, "/data"),
            (0x600000, 0x601000, 0, "/gone")]
    context = listed(rows, [(0x402000, RW, bytes(0x1000))], tmp_path)
    assert [(module.path, module.ranges) for module in context.modules] == [
        ("/lib/x.so", [(0x401000, 0x402000)])]
    assert context.code == [(0x401000, 0x402000)]
    assert context.memory.read(0x401000, 4) == data[0x1000:0x1004]
    assert context.problems == ["/gone is not in the sysroot."]
    alone = listed(rows, [(0x402000, RW, bytes(0x1000))])
    assert [module.path for module in alone.modules] == ["/lib/x.so"]


def library(path: Path) -> bytes:
    """A library of three pages at `path`: headers, text, data."""
    kind = KINDS["x86_64"]
    head = b"\x7fELF\2\1\1".ljust(16, b"\0") + bytes([3, 0, 62, 0, 1, 0, 0, 0])
    head += kind.pack([0, 64, 0]) + bytes.fromhex("00000000400038000300000000000000")
    for flags, at in ((4, 0), (5, 0x1000), (6, 0x2000)):
        head += bytes([1, 0, 0, 0, flags, 0, 0, 0]) + kind.pack([at, at, at, 0x1000, 0x1000, 1])
    data = head.ljust(0x1000, b"\0") + b"text" * 0x400 + b"data" * 0x400
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


def test_a_loaders_list_that_runs_in_circles() -> None:
    """The program header table, dynamic section and link map are all the core's own."""
    kind = KINDS["mipsel"]
    base = 0x400000
    head = b"\x7fELF\1\1\1".ljust(16, b"\0") + (2).to_bytes(2, "little") + (8).to_bytes(
        2, "little") + kind.pack([1, base, 52, 0, 0]) + bytes.fromhex("340020000200000000000000")
    phdrs = kind.pack([1, 0, base, base, 0x1000, 0x1000, 7, 0x1000])
    phdrs += kind.pack([2, 0x100, base + 0x100, base + 0x100, 0x40, 0x40, 6, 4])
    page = bytearray(0x1000)
    page[:len(head + phdrs)] = head + phdrs
    page[0x100:0x110] = kind.pack([21, base + 0x200, 0, 0])             # DT_DEBUG
    page[0x200:0x208] = kind.pack([1, base + 0x300])                    # r_debug
    page[0x300:0x310] = kind.pack([0, base + 0x400, 0, base + 0x310])   # the program itself
    page[0x310:0x320] = kind.pack([0x500000, base + 0x404, 0, base + 0x300])
    page[0x400:0x410] = b"\0\0\0\0/lib/a.so\0\0\0"
    raw = note(kind, 1, prstatus(kind, 1, 11, registers(kind, pc=base)))
    raw += note(kind, 6, kind.pack([3, base + 52, 5, 2, 0, 0]))
    stream = Stream(io.BytesIO(core(kind, raw, [(base, 7, bytes(page)),
                                                (0x500000, 5, bytes(0x2000))])).read)
    found = read_head(stream)
    memory = capture(found, stream)
    assert memory is not None
    context = core_context(found, memory)
    assert context is not None
    assert [(module.path, module.base) for module in context.modules] == [
        ("", base), ("/lib/a.so", 0x500000)]
    assert context.modules[1].size == 0x2000 and context.modules[1].image is None
