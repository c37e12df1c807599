"""coredump/program.py, module.py, elf.py: a live process, its files and what they export."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import struct
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump import module as module_py
from lastlog_py.coredump.elf import Image, Segment, header, read_image, segments
from lastlog_py.coredump.machine import Machine, of
from lastlog_py.coredump.memory import FileMemory, Memory, PiecesMemory, ProcMemory
from lastlog_py.coredump.module import Module
from lastlog_py.coredump.program import parse_maps, process_context
from lastlog_py.coredump.unwind.frame import END, Context, Frame
from tests.coredump import cases
from tests.coredump.corefile import KINDS


def this_machine() -> Machine:
    """The machine the tests run on."""
    head = header(Path("/proc/self/exe").read_bytes()[:64])
    assert head is not None
    found = of(head.machine, head.e_class, head.data, head.flags)
    if found is None:
        pytest.skip("lastlog does not read cores of this machine")
    return found


@pytest.fixture
def alive() -> Iterator[Context]:
    fd = os.open("/proc/self/mem", os.O_RDONLY)
    machine = this_machine()
    yield process_context(machine, ProcMemory(machine, fd), Path("/proc/self/maps").read_bytes())
    os.close(fd)


def image(path: Path, bias: int = 0) -> tuple[Image, int]:
    """The file as if it were mapped at `bias`, and a descriptor to close."""
    fd = os.open(path, os.O_RDONLY)
    head = header(os.pread(fd, 64, 0))
    assert head is not None
    machine = of(head.machine, head.e_class, head.data, head.flags)
    assert machine is not None
    memory = FileMemory(machine)
    rows = segments(head, os.pread(fd, head.phnum * head.phentsize, head.phoff))
    for row in rows:
        if row.type == 1:
            memory.add(row.address + bias, row.address + bias + row.filesz, row.offset, fd)
    first = min(row.address for row in rows if row.type == 1) & ~0xfff
    found = read_image(machine, memory, first + bias)
    assert found is not None
    return found, fd


# A live process

def test_its_files_are_modules(alive: Context) -> None:
    paths = [module.path for module in alive.modules]
    assert os.path.realpath("/proc/self/exe") in paths and "[vdso]" in paths
    assert all(module.image is not None for module in alive.modules)
    for module in alive.modules:
        start, _ = module.ranges[0]
        assert alive.module_at(start) is module and alive.is_code(start)
    assert not alive.is_code(0) and alive.module_at(0) is None
    assert not alive.is_code((1 << 64) - 1) and alive.module_at((1 << 64) - 1) is None


@pytest.mark.parametrize("name", ["getpid", "strtoul", "qsort", "atoi"])
def test_symbols_of_libc(alive: Context, name: str) -> None:
    address = ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value or 0
    module = alive.module_at(address)
    assert module is not None and "libc" in module.path
    assert module.symbol(address + 1) == (name, 1)
    assert module.symbol(module.base) is None


def test_build_ids_are_what_readelf_says(alive: Context) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    checked = 0
    for module in alive.modules:
        if module.path.startswith("/"):
            text = subprocess.run(["readelf", "-n", module.path], capture_output=True, text=True,
                                  check=True).stdout
            said = re.search(r"Build ID: (\w+)", text)
            assert module.build_id == (said.group(1) if said else None)
            checked += said is not None
    assert checked


def test_text_ids_of_the_process_are_those_of_its_files(alive: Context) -> None:
    checked = 0
    for module in alive.modules[:6]:
        if module.path.startswith("/"):
            found, fd = image(Path(module.path))
            assert module.text_id == module_py.text_id(found) is not None
            os.close(fd)
            checked += 1
    assert checked


MAPS = b"""\
00400000-00401000 r--p 00000000 1f:03 12   /usr/sbin/daemon
00401000-00402000 r-xp 00001000 1f:03 12   /usr/sbin/daemon
00500000-00501000 r-xp 00000000 1f:03 13   /tmp/a b (deleted)
7e000000-7e001000 r-xp 00000000 00:01 9    /memfd:jit (deleted)
7e100000-7e101000 r-xs 00000000 00:01 9    /dev/zero (deleted)
7e200000-7e201000 r-xs 00000000 00:01 9    /SYSV00000000 (deleted)
7f000000-7f001000 rw-p 00000000 00:00 0
7ffe0000-7fff0000 rw-p 00000000 00:00 0    [stack]
"""


def test_maps() -> None:
    rows = parse_maps(MAPS)
    assert [(row.start, row.end, row.offset, row.path, row.executable) for row in rows] == [
        (0x400000, 0x401000, 0, "/usr/sbin/daemon", False),
        (0x401000, 0x402000, 0x1000, "/usr/sbin/daemon", True),
        (0x500000, 0x501000, 0, "/tmp/a b", True),
        (0x7e000000, 0x7e001000, 0, "/memfd:jit", True),
        (0x7e100000, 0x7e101000, 0, "/dev/zero", True),
        (0x7e200000, 0x7e201000, 0, "/SYSV00000000", True),
        (0x7ffe0000, 0x7fff0000, 0, "[stack]", False)]
    machine = KINDS["mips"].machine
    context = process_context(machine, PiecesMemory(machine, []), MAPS)
    assert [(module.path, module.base, module.size, module.ranges)
            for module in context.modules[:2]] == [
        ("/usr/sbin/daemon", 0x400000, 0x2000, [(0x401000, 0x402000)]),
        ("/tmp/a b", 0x500000, 0x1000, [(0x500000, 0x501000)])]
    assert context.problems == ["/tmp/a b was deleted or replaced while it ran."]


def test_tens_of_thousands_of_mappings_before_the_libraries() -> None:
    many = b"".join(b"%x000-%x000 %s 00000000 00:00 0 \n" % (at, at + 1, (b"r--p", b"rw-p")[at & 1])
                    for at in range(0x100000, 0x100000 + 60_000))
    more = b"7f000000000-7f000001000 r-xp 00000000 1f:03 14   /lib/libc.so\n"
    assert [row.path for row in parse_maps(MAPS + many + more)] == [
        "/usr/sbin/daemon", "/usr/sbin/daemon", "/tmp/a b", "/memfd:jit", "/dev/zero",
        "/SYSV00000000", "[stack]", "/lib/libc.so"]


def test_more_mappings_of_files_than_are_looked_at() -> None:
    machine = KINDS["aarch64"].machine
    many = b"".join(b"%x000-%x000 r--p 00000000 1f:03 9   /x\n" % (at, at + 1)
                    for at in range(0x100000, 0x100000 + 20_000))
    assert len(parse_maps(many)) == 1 << 14
    context = process_context(machine, PiecesMemory(machine, []), many)
    assert context.problems == ["Of the program's mappings only 16384 were looked at."]


@given(st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(
    [b"0-1 r-xp 0 0 0 /x\n", b"1-0 r-xp 0 0 0 /x\n", b"f" * 20 + b"-0 x\n", b"- - - - - -\n",
     b"1-2-3 r 0 0 0 /\n", b"10-20 --x \xff 0 0 /\n", b"10-20\n"])).map(b"".join)))
def test_maps_that_are_not(text: bytes) -> None:
    machine = KINDS["ppc"].machine
    process_context(machine, PiecesMemory(machine, []), text)


# Files

SOURCE = """
int table[4] = {1, 2, 3, 4};
static int hidden(int a) { return a * table[a & 3]; }
__attribute__((noinline)) int first(int a) { return hidden(a) + 1; }
int second(int a) { return first(a) * first(a + 1); }
int alias(int a) __attribute__((alias("second")));
"""
COMPILERS = ["gcc", "aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc", "arm-linux-gnueabi-gcc",
             "mips-linux-gnu-gcc", "mipsel-linux-gnu-gcc", "mipsel-linux-gnu-gcc -mips16",
             "powerpc-linux-gnu-gcc", "riscv64-linux-gnu-gcc", "mips64el-linux-gnuabi64-gcc",
             "mips64el-linux-gnuabi64-gcc -mabi=n32"]
BIAS = 0x12340000


def built(command: str, folder: Path, style: str = "gnu") -> Path:
    """SOURCE as a library; skipped without the compiler."""
    words = command.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    (folder / "x.c").write_text(SOURCE)
    done = subprocess.run([*words, "-Os", "-fPIC", "-shared", "-nostdlib", "-msoft-float"
                           if "mips16" in command else "-O2", "-Wl,--build-id=none",
                           f"-Wl,--hash-style={style}", "-o", "x.so", "x.c"], cwd=folder,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{command} cannot build it: {done.stderr.strip().splitlines()[-1]}")
    return folder / "x.so"


@pytest.mark.parametrize("style", ["gnu", "sysv"])
@pytest.mark.parametrize("command", COMPILERS)
def test_symbols_without_section_headers(command: str, style: str, tmp_path: Path) -> None:
    if style == "gnu" and "mips" in command:
        style = "sysv"          # MIPS' own symbol order forbids the other
    path = built(command, tmp_path, style)
    data = bytearray(path.read_bytes())
    wide = data[4] == 2
    data[40 if wide else 32:48 if wide else 36] = bytes(8 if wide else 4)       # e_shoff
    path.write_bytes(data)
    found, fd = image(path, BIAS)
    try:
        module = Module("x.so", found.base, found.end - found.base, found, [])
        starts = {module_py._symbol_name(found, row[2]): row
                  for rows, columns in module_py._table(found, module_py._count(found))
                  for row in module_py._functions(found, rows, columns)}
        assert {"first", "second", "alias"} <= set(starts) and "table" not in starts
        start, size, _ = starts["first"]
        assert size and not start & 1 and found.base < start < found.end
        assert module.symbol(start) == ("first", 0)
        assert module.symbol(start + size - 1) == ("first", size - 1)
        assert module.symbol(starts["second"][0]) == ("alias", 0)       # the shorter name
        place = module_py.data_symbol(found, b"table")
        assert place is not None
        assert [found.memory.integer(place + at * 4, 4) for at in range(4)] == [1, 2, 3, 4]
        assert module_py.data_symbol(found, b"first") is None
        assert module.build_id is None and module.bias == BIAS
    finally:
        os.close(fd)


@pytest.mark.parametrize("command", COMPILERS)
def test_stripping_does_not_change_the_text_id(command: str, tmp_path: Path) -> None:
    path = built(command, tmp_path)
    found, fd = image(path)
    before = module_py.text_id(found)
    os.close(fd)
    strip = command.split()[0].removesuffix("gcc") + "strip"
    subprocess.run([strip, str(path)], check=True)
    found, fd = image(path, BIAS)
    assert module_py.text_id(found) == before is not None
    os.close(fd)


@cases.needs_cores()
def test_text_ids_lead_from_stripped_files_to_their_twins() -> None:
    """All 33 of the folder's, and no two files have the same."""
    seen: dict[str, str] = {}
    for stripped, twin in cases.twins():
        ids = []
        for path in (stripped, twin):
            found, fd = image(path)
            ids.append(module_py.text_id(found))
            os.close(fd)
        assert ids[0] == ids[1] is not None, stripped
        assert ids[0] not in seen, (stripped, seen[ids[0] or ""])
        seen[ids[0] or ""] = str(stripped)
    assert len(seen) >= 33


@pytest.mark.parametrize("name", KINDS)
@given(data=st.binary(min_size=64, max_size=400))
def test_an_image_of_noise(name: str, data: bytes) -> None:
    kind = KINDS[name]
    raw = bytearray(data)
    raw[:7] = b"\x7fELF" + bytes([kind.bits // 32, 1 if kind.order == "<" else 2, 1])
    at = 54 if kind.bits == 64 else 42
    raw[at:at + 2] = (56 if kind.bits == 64 else 32).to_bytes(
        2, "little" if kind.order == "<" else "big")
    machine = kind.machine
    memory = PiecesMemory(machine, [(0x10000, bytes(raw) + bytes(4096))])
    found = read_image(machine, memory, 0x10000)
    if found is not None:
        module = Module("x", 0x10000, 0x1000, found, [])
        assert module.symbol(0x10010) is None or module.path
        assert module.build_id is None or module.text_id or not module.text_id
        assert found.eh_frame_hdr is None or len(found.eh_frame_hdr) == 2
        module_py.data_symbol(found, b"x")


class Table(Memory):
    """An image of which only .dynsym's strings and rows are there: `count` functions of 16 bytes,
    each where `order` puts it; counts how much of the table was read."""

    def __init__(self, machine: Machine, count: int, order: Callable[[int], int]) -> None:
        super().__init__(machine)
        self.count, self.order_of, self.size = count, order, 0

    def _fetch(self, address: int, size: int) -> bytes:
        if address < 0x1000000:                 # the names: four letters each
            return b"".join(b"%04x\0" % (at & 0xffff) for at in range(
                (address - 0x800000) // 5, (address + size - 0x800000) // 5 + 1))[
                    (address - 0x800000) % 5:][:size]
        self.size += size
        first = (address - 0x1000000) // 24
        assert (address - 0x1000000) % 24 == size % 24 == 0
        return b"".join(struct.pack("<IBBHQQ", 5 * self.order_of(at), 0x12, 0, 9,
                                    0x10000 + 16 * self.order_of(at), 16)
                        for at in range(first, min(first + size // 24, self.count)))


def table(count: int, order: Callable[[int], int]) -> tuple[Module, Table]:
    memory = Table(KINDS["x86_64"].machine, count, order)
    head = header(b"\x7fELF\2\1\1" + bytes(57))
    assert head is not None
    found = Image(KINDS["x86_64"].machine, memory, 0, head,
                  [Segment(1, 5, 0, 0, 1 << 28, 1 << 28)])
    found._dynamic = {5: 0x800000, 6: 0x1000000, 0x70000013: count}
    return Module("/lib/many.so", 0, 1 << 28, found, []), memory


@pytest.mark.parametrize("order", [lambda at: at, lambda at: 16383 - at,
                                   lambda at: at * 40503 & 16383])
def test_a_large_table_is_passed_over_once_and_not_kept(order: Callable[[int], int]) -> None:
    module, memory = table(1 << 14, order)
    wanted = [0x10000 + 16 * at + 7 for at in range(5, 16000, 271)]
    tracemalloc.start()
    found = module.symbols([*wanted, 0xffff])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == {at: (f"{at - 0x10007 >> 4:04x}", 7) for at in wanted} | {0xffff: None}
    assert memory.size == 24 << 14
    assert peak < 1 << 20
    assert module.symbol(wanted[9]) == found[wanted[9]]
    assert memory.size == 24 << 14      # it was known


def test_answers_that_are_kept_are_few() -> None:
    module, _ = table(600, lambda at: at)
    wanted = [0x10000 + 16 * at + 1 for at in range(600)]
    assert module.symbols(wanted) == {at: (f"{at - 0x10000 >> 4:04x}", 1) for at in wanted}
    assert len(module._known) <= module_py.MAX_KNOWN
    assert module.symbols([]) == {}


# Frames

def test_what_a_frame_is_looked_up_by() -> None:
    machine = KINDS["arm"].machine
    context = Context(machine, PiecesMemory(machine, []), [], [])
    assert context.lookup(Frame(0x8001, {})) == 0x8000                      # frame 0
    assert context.lookup(Frame(0x8001, {}, "cfi")) == 0x7fff
    assert context.lookup(Frame(0x8001, {}, "signal", is_signal=True)) == 0x8000
    assert END.how == "end"


def test_notes_are_told_once_and_not_without_end() -> None:
    context = Context(KINDS["arm"].machine, PiecesMemory(KINDS["arm"].machine, []), [], [])
    for number in range(100):
        context.note("again")
        context.note(f"number {number}")
    assert len(context.problems) == 32 and context.problems.count("again") == 1
