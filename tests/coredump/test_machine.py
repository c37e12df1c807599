"""coredump/machine.py: register numbers and the layout of PRSTATUS."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lastlog_py.coredump import machine
from tests.coredump.corefile import KINDS, prstatus, registers


@pytest.mark.parametrize(("name", "called", "abi", "size", "slot"), [
    ("x86_64", "x86_64", "", 336, 8), ("i386", "i386", "", 144, 4), ("arm", "arm", "", 148, 4),
    ("armeb", "armeb", "", 148, 4), ("aarch64", "aarch64", "", 392, 8),
    ("riscv64", "riscv64", "", 376, 8), ("ppc", "ppc", "", 268, 4),
    ("mips", "mips", "o32", 256, 4), ("mipsel", "mipsel", "o32", 256, 4),
    ("mips64", "mips64", "n64", 480, 8), ("mips64el", "mips64el", "n64", 480, 8),
    ("n32", "mips64", "n32", 440, 8), ("n32el", "mips64el", "n32", 440, 8)])
def test_of(name: str, called: str, abi: str, size: int, slot: int) -> None:
    found = KINDS[name].machine
    assert (found.name, found.abi, found.status_size, found.slot) == (called, abi, size, slot)
    assert found.word * 8 == found.bits == KINDS[name].bits


@pytest.mark.parametrize("facts", [(62, 1, 1), (3, 2, 1), (62, 2, 2), (40, 1, 3), (8, 0, 1),
                                   (8, 3, 1), (2, 1, 2), (0, 0, 0), (243, 1, 1)])
def test_not_ours(facts: tuple[int, int, int]) -> None:
    assert machine.of(*facts, 0) is None


@pytest.mark.parametrize("name", KINDS)
def test_every_register_has_a_place_of_its_own(name: str) -> None:
    found = KINDS[name].machine
    indices = [index for index, _ in found.layout]
    numbers = [number for _, number in found.layout]
    assert len(set(indices)) == len(indices) and len(set(numbers)) == len(numbers)
    assert {found.PC, found.SP, found.FP} <= set(numbers) <= set(found.names)
    assert found.LR is None or found.LR in numbers
    assert found.names[found.PC] == "pc" and found.names[found.SP] == "sp"
    assert found.registers_at + (max(indices) + 1) * found.slot <= found.status_size


@pytest.mark.parametrize("name", KINDS)
def test_registers_of_a_note(name: str) -> None:
    kind = KINDS[name]
    found = kind.machine
    note = prstatus(kind, 7, 11, registers(kind, pc=0x401234, sp=0x7ffe0010))
    values = found.from_prstatus(note)
    assert values[found.PC] == 0x401234 and values[found.SP] == 0x7ffe0010
    assert set(values) == {number for _, number in found.layout}
    for size in range(0, len(note), 7):         # a short note: what is there, and no more
        part = found.from_prstatus(note[:size])
        assert part.items() <= values.items()


def test_n32_registers_are_cut_to_addresses() -> None:
    kind = KINDS["n32"]
    note = prstatus(kind, 1, 11, registers(kind, sp=0xffffffff_7fff0010))
    assert kind.machine.from_prstatus(note)[kind.machine.SP] == 0x7fff0010


def test_an_emulators_n32_core_is_told_by_its_notes_size() -> None:
    found = machine.of(8, 1, 1, 0, 440)
    assert found is not None and found.abi == "n32"


def test_thumb_state_makes_the_pc_odd() -> None:
    kind = KINDS["arm"]
    found = kind.machine
    thumb = prstatus(kind, 1, 11, {15: 0x8000, 16: 0x20})
    plain = prstatus(kind, 1, 11, {15: 0x8000, 16: 0x10})
    assert found.from_prstatus(thumb)[found.PC] == 0x8001
    assert found.from_prstatus(plain)[found.PC] == 0x8000
    assert found.code_address(0x8001) == 0x8000


def test_only_arm_and_mips_have_a_mode_bit() -> None:
    odd = {name for name, kind in KINDS.items() if kind.machine.code_address(0x1001) == 0x1000}
    assert odd == {name for name in KINDS if name.startswith(("arm", "mips", "n32"))}


FACTS = """
#include <sys/procfs.h>
#include <stddef.h>
const unsigned long facts[] = {sizeof(struct elf_prstatus), offsetof(struct elf_prstatus, pr_pid),
    offsetof(struct elf_prstatus, pr_reg), sizeof(elf_greg_t)};
"""
COMPILERS = {"x86_64": "x86_64-linux-gnu-gcc", "aarch64": "aarch64-linux-gnu-gcc",
             "riscv64": "riscv64-linux-gnu-gcc", "ppc": "powerpc-linux-gnu-gcc",
             "mips": "mips-linux-gnu-gcc", "mipsel": "mipsel-linux-gnu-gcc",
             "mips64el": "mips64el-linux-gnuabi64-gcc",
             "n32el": "mips64el-linux-gnuabi64-gcc -mabi=n32"}


@pytest.mark.parametrize("name", COMPILERS)
def test_layout_agrees_with_the_system_headers(name: str, tmp_path: Path) -> None:
    command = COMPILERS[name].split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    (tmp_path / "facts.c").write_text(FACTS)
    done = subprocess.run([*command, "-S", "-O", "-o", "-", "facts.c"], cwd=tmp_path, text=True,
                          capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"{COMPILERS[name]} has no headers: {done.stderr.splitlines()[0]}")
    facts = [int(value) for value in re.findall(
        r"\.(?:word|dword|quad|long|4byte|8byte|xword)\s+(\d+)\s*$", done.stdout, re.M)]
    found = KINDS[name].machine
    assert facts == [found.status_size, found.pid_at, found.registers_at, found.slot]
