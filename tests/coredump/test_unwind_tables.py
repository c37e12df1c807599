"""unwind/eh_frame.py and arm_exidx.py on what compilers write, against other readers of it.

pyelftools says what call frame information means at every place of a file; on ARM the compiler's
DWARF tables say what its EHABI tables should come to at every call.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lastlog_py.coredump.memory import Layered, PiecesMemory
from lastlog_py.coredump.unwind import arm_exidx, eh_frame
from lastlog_py.coredump.unwind.cfa_program import (
    AT,
    IN,
    SAME,
    SAVED_AT,
    UNKNOWN,
    VALUE,
    VALUE_AT,
)
from lastlog_py.coredump.unwind.frame import Context, Frame
from tests.coredump import compiled
from tests.coredump.compiled import BIAS, COMPILERS, STYLES, Loaded

callframe = pytest.importorskip("elftools.dwarf.callframe", reason="pyelftools is not installed")

WITH_DWARF = [machine for machine in COMPILERS if machine not in ("arm", "thumb", "armel")]
ARM = ["arm", "thumb", "armel"]
KINDS = {"OFFSET": SAVED_AT, "VAL_OFFSET": VALUE_AT, "REGISTER": IN, "EXPRESSION": AT,
         "VAL_EXPRESSION": VALUE, "UNDEFINED": UNKNOWN, "SAME_VALUE": SAME}
DEF_CFA, DEF_CFA_SF, ARGS_SIZE = 0x0c, 0x12, 0x2e
STACK = 0x70000000


def stretches(entries: list[Any], every: int = 1) -> Iterator[tuple[int, int, dict[Any, Any], Any]]:
    """First and last address of every stretch with one row, its row and its CIE."""
    for entry in [entry for entry in entries if isinstance(entry, callframe.FDE)][::every]:
        prepare(entry)
        rows = entry.get_decoded().table
        end = entry["initial_location"] + entry["address_range"]
        for row, behind in zip(rows, [row["pc"] for row in rows[1:]] + [end], strict=True):
            if row["pc"] < min(behind, end):
                yield row["pc"], min(behind, end) - 1, row, entry.cie


def prepare(entry: Any) -> None:
    """Take out what pyelftools does not know, and put right what it multiplies by the wrong unit
    (DW_CFA_def_cfa_sf: DWARF version 5, 6.4.2.2)."""
    entry.instructions[:] = [one for one in entry.instructions if one.opcode != ARGS_SIZE]
    for one in entry.instructions + entry.cie.instructions:
        if one.opcode == DEF_CFA_SF:
            one.opcode = type(one.opcode)(DEF_CFA)
            one.args[1] *= entry.cie["data_alignment_factor"]


def rules(row: dict[Any, Any]) -> dict[int, tuple[int, int | bytes]]:
    """The registers' rules of a row as ours are."""
    return {register: (KINDS[_name(rule.type)], bytes(rule.arg) if isinstance(rule.arg, list)
                       else rule.arg or 0)
            for register, rule in row.items() if isinstance(register, int)}


def _name(kind: Any) -> str:
    return next(name for name in KINDS if getattr(callframe.RegisterRule, name) == kind)


def compare(path: Path, every: int = 1) -> int:
    """How many places of a file were compared, all of them the same."""
    loaded = Loaded(path)
    try:
        compared = 0
        entries = loaded.file.get_dwarf_info(relocate_dwarf_sections=False).EH_CFI_entries()
        for first, last, row, cie in stretches(entries, every):
            rule = row["cfa"]
            cfa = (rule.reg, rule.offset) if rule.expr is None else bytes(rule.expr)
            for place in {first, (first + last) // 2, last}:
                found = eh_frame._row(loaded.context, place + BIAS)
                assert found is not None, hex(place)
                assert (found[0].cfa, found[0].rules) == (cfa, rules(row)), hex(place)
                assert found[1].return_register == cie["return_address_register"]
                compared += 1
        assert not loaded.context.problems
        return compared
    finally:
        loaded.close()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("machine", WITH_DWARF)
def test_what_compilers_write(machine: str, style: str, tmp_path: Path) -> None:
    assert compare(compiled.frames(machine, style, tmp_path)) > 100


@pytest.mark.parametrize("machine", WITH_DWARF)
def test_libraries_of_debian(machine: str) -> None:
    assert compare(compiled.library(machine, "libgcc_s.so.1"), 3) > 50


def test_a_large_library() -> None:
    """C++, with personality routines and large tables."""
    assert compare(compiled.library("x86_64", "libstdc++.so.6"), 20) > 1000


def calls(machine: str, path: Path) -> list[int]:
    """The addresses that the calls of a file return to."""
    tool = compiled.compiler(machine)[0].removesuffix("gcc") + "objdump"
    listing = subprocess.run([tool, "-d", str(path)], capture_output=True, text=True,
                             check=True).stdout
    lines = re.findall(r"^ *([0-9a-f]+):\t[^\t]+\t(\S+)", listing, re.MULTILINE)
    return [int(behind, 16) for (_, name), (behind, _) in pairwise(lines)
            if name in ("bl", "blx")]


def by_dwarf(row: dict[Any, Any], context: Context, registers: dict[int, int]
             ) -> tuple[int, dict[int, int]]:
    """CFA and the saved core registers as DWARF has them."""
    cfa = registers[row["cfa"].reg] + row["cfa"].offset
    saved = {register: context.memory.integer(cfa + int(rule[1]), 4) or -1
             for register, rule in rules(row).items() if register < 16 and rule[0] == SAVED_AT}
    return cfa, saved


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("machine", ARM)
def test_arms_own_tables(machine: str, style: str, tmp_path: Path) -> None:
    path = compiled.frames(machine, style, tmp_path)
    loaded = Loaded(path)
    context = loaded.context
    stack = PiecesMemory(context.machine, [(STACK, b"".join(
        (0x1000000 + 2 * at).to_bytes(4, "little") for at in range(1 << 15)))])
    context.memory = Layered(context.machine, [stack, context.memory])
    registers = {number: STACK + 0x100 * number for number in range(16)} | {13: STACK}
    rows = list(stretches(loaded.file.get_dwarf_info().CFI_entries()))
    compared = 0
    for pc in calls(machine, path):
        row = next(row for first, last, row, _ in rows if first <= pc - 1 <= last)
        found = arm_exidx.step(context, Frame(pc + BIAS, {**registers, 15: pc + BIAS}, "exidx"))
        assert found is not None, hex(pc)
        cfa, saved = by_dwarf(row, context, registers)
        assert found.cfa == cfa, hex(pc)
        assert found.pc == saved.pop(14)
        assert {number: found.registers[number] for number in saved} == saved, hex(pc)
        compared += 1
    loaded.close()
    assert compared >= 30 and not context.problems
