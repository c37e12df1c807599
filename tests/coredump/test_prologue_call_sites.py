"""prologue.step against DWARF, at the call sites and instructions of programs compiled now."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .compiled import COMPILERS, compiler

pytest.importorskip("elftools.elf.elffile", reason="pyelftools is not installed")

from . import prologue_cfi

SOURCE = Path(__file__).with_name("prologue.c")
OPTIMIZED = {"-Os": "-Os -fomit-frame-pointer", "-O2": "-O2 -fomit-frame-pointer",
             "kept": "-Os -fno-omit-frame-pointer"}

# Machine → the compiler's entry in COMPILERS, more options, per cent right at least: of call
# sites at -Os, at -O2, with frame pointers; of all instructions at -Os.
MACHINES = {
    "mips": ("mips", "", (100, 100, 100), 96),
    "mipsel": ("mipsel", "", (100, 100, 100), 96),
    "mips16": ("mipsel", "-mips16 -mips32r2 -msoft-float", (100, 85, 100), 99),
    "arm": ("arm", "", (100, 100, 100), 93),
    "thumb2": ("thumb", "", (100, 100, 100), 92),
    "thumb1": ("armel", "-mthumb", (100, 100, 100), 89),
    "armel": ("armel", "-marm", (100, 100, 100), 93),
    "aarch64": ("aarch64", "", (100, 100, 100), 99),
    "riscv64": ("riscv64", "", (100, 100, 100), 99),
    "powerpc": ("powerpc", "", (100, 100, 100), 87),
}


def _build(machine: str, style: str, folder: Path) -> prologue_cfi.Program:
    entry, more = MACHINES[machine][:2]
    command = compiler(entry)
    out = folder / f"{machine}.so"
    subprocess.run([*command, *OPTIMIZED[style].split(), *more.split(), "-g", "-fno-builtin",
                    "-fPIC", "-shared", "-nostdlib", "-o", str(out), str(SOURCE), "-lgcc"],
                   check=True, capture_output=True)
    return prologue_cfi.Program(out, command[0].removesuffix("gcc") + "objdump")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("style", OPTIMIZED)
def test_call_sites(machine: str, style: str, tmp_path: Path) -> None:
    least = MACHINES[machine][2][list(OPTIMIZED).index(style)]
    result = prologue_cfi.check_calls(_build(machine, style, tmp_path))
    assert result.all > 70
    assert result.percent >= least, [(hex(pc), *rest) for pc, *rest in result.wrong]


@pytest.mark.parametrize("machine", MACHINES)
def test_crashed_at_any_instruction(machine: str, tmp_path: Path) -> None:
    result = prologue_cfi.check_instructions(_build(machine, "-Os", tmp_path))
    assert result.all > 700
    assert result.percent >= MACHINES[machine][3], [(hex(pc), *rest)
                                                    for pc, *rest in result.wrong]


def test_the_table_names_compilers_that_exist() -> None:
    assert {row[0] for row in MACHINES.values()} <= set(COMPILERS)
