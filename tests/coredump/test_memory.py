"""coredump/memory.py: bytes by address, from wherever they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump.memory import (
    CoreMemory,
    FileMemory,
    Layered,
    Memory,
    PiecesMemory,
    ProcMemory,
    last_at,
)
from tests.coredump.corefile import KINDS

PPC, X86 = KINDS["ppc"].machine, KINDS["x86_64"].machine
DATA = bytes(range(256)) * 64               # four pages


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(DATA)
    found = os.open(tmp_path / "file", os.O_RDONLY)
    yield found
    os.close(found)


def kinds(fd: int) -> list[Memory]:
    """DATA at 0x10000, in every way there is."""
    files = FileMemory(X86)
    files.add(0x10000, 0x14000, 0, fd)
    return [CoreMemory(X86, fd, [(0x10000, 0, 0x4000), (0x20000, 0, 0)]),
            PiecesMemory(X86, [(0x10000, DATA)]), files,
            Layered(X86, [PiecesMemory(X86, [(0x12000, DATA[0x2000:0x3000])]), files]),
            Layered(X86, [PiecesMemory(X86, [(0x12000, DATA[0x2000:0x2010])]), files])]


@pytest.mark.parametrize("which", range(5))
def test_read(fd: int, which: int) -> None:
    memory = kinds(fd)[which]
    for start, size in ((0, 1), (5, 0x1000), (0xff0, 0x20), (0x1fff, 0x1002), (0, 0x4000),
                        (0, 0x3fff), (0x3ff0, 0x10)):
        assert memory.read(0x10000 + start, size) == DATA[start:start + size]
    assert memory.read(0x13ff8, 100) == DATA[0x3ff8:]
    assert memory.read(0xffff, 2) == b"" and memory.read(0x14000, 8) == b""
    assert memory.word(0x10000) == 0x0706050403020100 and memory.word(0x13ffc) is None


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize(("address", "size"), [
    (-1, 4), (0, 0), (0x10000, -5), ((1 << 64) - 2, 8), (1 << 64, 8), (1 << 70, 8),
    ((1 << 64) - 1, 1 << 40), (0x8000_0000_0000_0000, 16)])
def test_nowhere(fd: int, which: int, address: int, size: int) -> None:
    assert kinds(fd)[which].read(address, size) == b""


def test_the_first_layer_wins_byte_by_byte(fd: int) -> None:
    files = FileMemory(X86)
    files.add(0x10000, 0x14000, 0, fd)
    memory = Layered(X86, [PiecesMemory(X86, [(0x11000, b"X" * 0x1000), (0x12000, b"Y" * 9)]),
                           files])
    expected = DATA[:0x1000] + b"X" * 0x1000 + b"Y" * 9 + DATA[0x2009:]
    assert memory.read(0x10000, 0x4000) == expected
    assert memory.read(0x10000, 0x20000) == expected            # past the cache
    assert memory.read(0x12008, 2) == b"Y" + DATA[9:10]


def test_more_to_show_is_shown(fd: int) -> None:
    files = FileMemory(X86)
    memory = Layered(X86, [files])
    assert memory.read(0x10800, 4) == b""
    files.add(0x10800, 0x11000, 0x800, fd)          # in the middle of a page: whole pages are
    memory.forget()
    assert memory.read(0x10800, 4) == DATA[0x800:0x804]
    assert memory.read(0x10000, 4) == DATA[:4]


def test_integers_and_strings() -> None:
    memory = PiecesMemory(PPC, [(0x1000, b"\1\2\3\4hello\0" + b"z" * 5000)])
    assert memory.word(0x1000) == 0x01020304 and memory.integer(0x1001, 2) == 0x0203
    assert memory.string(0x1004) == b"hello" and memory.string(0x1004, 3) == b"hel"
    assert memory.string(0x100a) == b"z" * 4096 and memory.string(0x2380) == b"z" * 18
    assert memory.string(0x9000) == b""


def test_the_cache_stays_small(fd: int) -> None:
    memory = CoreMemory(X86, fd, [(0x10000, 0, 0x4000)])
    for page in range(3000):
        memory.read(page << 12, 1)
    assert len(memory._pages) <= 256


def test_a_live_process() -> None:
    value = bytearray(os.urandom(100_000))
    address = (id(value), len(value))
    fd = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        memory = ProcMemory(X86, fd)
        raw = memory.read(address[0], 64)
        place = memory.word(address[0] + 40) or 0       # where a bytearray keeps its bytes
        assert len(raw) == 64
        assert memory.read(place, len(value)) == bytes(value)
        assert memory.read(0, 8) == b"" and memory.read((1 << 64) - 4096, 8) == b""
    finally:
        os.close(fd)


def test_what_is_not_to_be_read_of_a_live_process(tmp_path: Path) -> None:
    """Files of a process' memory are simply as long as the addresses go."""
    path = tmp_path / "mem"
    path.write_bytes(b"\1" * 0x9000)
    with path.open("rb") as file:
        memory = ProcMemory(X86, file.fileno(), [(0x2000, 0x3000), (0x5000, 0x7000)])
        for past in (False, True):
            read = memory.past_cache if past else memory.read
            assert [len(read(at << 12, 0x9000)) >> 12 for at in range(9)] == \
                [2, 1, 0, 2, 1, 0, 0, 2, 1]
            assert len(read(0x1ff0, 32)) == 16 and read(0x2fff, 2) == b""


@given(st.lists(st.integers(0, 1000)), st.integers(-5, 1005))
def test_last_at(starts: list[int], address: int) -> None:
    starts.sort()
    found = last_at(starts, address)
    assert found == sum(start <= address for start in starts) - 1
