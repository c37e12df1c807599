"""unwind/dwarf_expression.py: every operation, and expressions that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump.memory import PiecesMemory
from lastlog_py.coredump.unwind.dwarf_expression import evaluate
from lastlog_py.coredump.unwind.table_reader import Damaged
from tests.coredump import tables

TOP = 1 << 64
X86 = tables.machine_of(tables.X86_64)
MIPS = tables.machine_of(tables.MIPS)
REGISTERS = {7: 0x1000, 16: 0x40100b, 6: 5}


def value(code: str, given: int | None = None, machine: object = X86) -> int:
    """The value of an expression in hex over memory that holds 00 11 22 … at 0x1000."""
    memory = PiecesMemory(machine, [(0x1000, bytes(range(0, 256, 17)) * 256)])
    return evaluate(bytes.fromhex(code), REGISTERS, machine, memory, given)


@pytest.mark.parametrize(("code", "expected"), [
    ("30", 0), ("4f", 31),                                          # lit
    ("08ff", 255), ("09ff", TOP - 1), ("0affff", 0xffff), ("0bfeff", TOP - 2),
    ("0c01000080", 0x80000001), ("0d01000080", TOP - 0x7fffffff),
    ("0e0102030405060708", 0x0807060504030201), ("0fffffffffffffffff", TOP - 1),
    ("03efcdab8967452301", 0x0123456789abcdef),                     # addr
    ("10e58e26", 624485), ("11ffbb78", TOP - 123393),                 # constu, consts
    ("3112", 1), ("313213", 1), ("313214", 1), ("3132331502", 1), ("3132331500", 3),
    ("31321622", 3), ("3831161c", TOP - 7), ("31323317", 2),        # swap, minus, rot
    ("09ff19", 1), ("311f", TOP - 1), ("3020", TOP - 1),            # abs, neg, not
    ("3c381a", 8), ("3c3121", 13), ("3c3827", 4),                   # and, or, xor
    ("3c331b", 4), ("09f4331b", TOP - 4), ("09f409fd1b", 4), ("3c321e", 24), ("3c351d", 2),
    ("3c2305", 17), ("313f24", 1 << 15), ("31084024", 0), ("09ff083f25", 1), ("09f83126", TOP - 4),
    ("323229", 1), ("32332e", 1), ("33322a", 1), ("33322b", 1), ("32332c", 1), ("32332d", 1),
    ("09ff302d", 1), ("09ff302b", 0),                               # comparisons have a sign
    ("2f010008" "35", 5), ("31" "28010008" "35", 5), ("30" "280200" "0807" "35", 5),
    ("77087710" "1c", TOP - 8), ("57", 0x1000), ("9007", 0x1000), ("920778", 0xff8), ("3196", 1),
    ("770006", 0x7766554433221100), ("77019402", 0x2211), ("77009401", 0),
])
def test_operations(code: str, expected: int) -> None:
    assert value(code) == expected


def test_words_are_the_machines() -> None:
    assert value("0a100006", machine=MIPS) == 0x00112233
    assert value("301f", machine=MIPS) == 0 and value("311f", machine=MIPS) == 0xffffffff


def test_the_entry_of_a_procedure_linkage_table() -> None:
    """ld's: rsp + 8, and 8 more behind the push at 11 of 16 bytes."""
    assert value("77088000" "3f1a3b2a332422") == 0x1000 + 8 + 8


def test_what_is_given_lies_on_the_stack() -> None:
    assert value("2310", given=0x700000) == 0x700010


@pytest.mark.parametrize(("code", "why"), [
    ("", "takes what it has not"), ("22", "takes what it has not"), ("12", "takes what it has"),
    ("311505", "takes what it has not"), ("31301b", "by zero"), ("31301d", "by zero"),
    ("2ffdff", "without an end"), ("2f0010", "jumps out"), ("2f00f0", "jumps out"),
    ("31" * 65, "piles up"), ("08", "ends early"), ("9c", "unknown operation"),
    ("18", "unknown operation"), ("58", "register 8"), ("300006", "unknown operation"),
    ("3006", "nothing at 0x0"), ("77009409", "reads 9 bytes"), ("77009400", "reads 0 bytes"),
    ("10" + "80" * 11, "number without an end"),
])
def test_what_cannot_be_worked_out(code: str, why: str) -> None:
    with pytest.raises(Damaged, match=why):
        value(code)


@given(st.binary(max_size=80), st.sampled_from([X86, MIPS]))
def test_anything_is_a_value_or_damaged(code: bytes, machine: object) -> None:
    try:
        assert 0 <= value(code.hex(), given=7, machine=machine) < TOP
    except Damaged:
        pass
