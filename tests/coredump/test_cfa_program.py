"""unwind/cfa_program.py: every call frame instruction, and programs that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump.unwind import cfa_program
from lastlog_py.coredump.unwind.cfa_program import (
    AT,
    IN,
    SAME,
    SAVED_AT,
    UNKNOWN,
    VALUE,
    VALUE_AT,
    Program,
    Row,
)
from lastlog_py.coredump.unwind.table_reader import Damaged, Reader

START = 0x1000


def row(code: str, at: int = START, initial: str = "0c0708" "9001") -> Row:
    """The row at `at` of a function with units of 2 and -8."""
    program = Program(2, -8, START, lambda reader: reader.number(8))
    program.run(Reader(bytes.fromhex(initial), 0, 8, "little"), at)
    program.initial = program.row.copy()
    program.run(Reader(bytes.fromhex(code), 0, 8, "little"), at)
    return program.row


@pytest.mark.parametrize(("code", "register", "rule"), [
    ("8302", 3, (SAVED_AT, -16)), ("050302", 3, (SAVED_AT, -16)), ("11037e", 3, (SAVED_AT, 16)),
    ("2f0302", 3, (SAVED_AT, 16)), ("140302", 3, (VALUE_AT, -16)), ("15037e", 3, (VALUE_AT, 16)),
    ("090305", 3, (IN, 5)), ("0703", 3, (UNKNOWN, 0)), ("0803", 3, (SAME, 0)),
    ("1003027708", 3, (AT, b"\x77\x08")), ("1603027708", 3, (VALUE, b"\x77\x08")),
    ("9002" "d0", 16, (SAVED_AT, -8)), ("9002" "0610", 16, (SAVED_AT, -8)),
    ("8302" "c3", 3, None), ("8302" "0603", 3, None),
    ("8302" "0a" "8304" "0b", 3, (SAVED_AT, -16)), ("0a0a" "8304" "0b0b", 3, None),
    ("2e10" "8302", 3, (SAVED_AT, -16)), ("00002d2c" "8302", 3, (SAVED_AT, -16)),
    ("0588808004" "01", 0x800008, (SAVED_AT, -8)),
])
def test_rules(code: str, register: int, rule: object) -> None:
    assert row(code).rules.get(register) == rule


@pytest.mark.parametrize(("code", "cfa"), [
    ("", (7, 8)), ("0c0610", (6, 16)), ("0d06", (6, 8)), ("0e20", (7, 32)), ("12067e", (6, 16)),
    ("137c", (7, 32)), ("0f027700", b"\x77\x00"), ("0a" "0c0610" "0b", (7, 8)),
])
def test_the_canonical_frame_address(code: str, cfa: object) -> None:
    assert row(code).cfa == cfa


def test_a_register_alone_makes_a_cfa() -> None:
    assert row("", initial="0d02").cfa == (2, 0)                # RISC-V's


@pytest.mark.parametrize(("code", "behind"), [
    ("43", 6), ("0203", 6), ("030300", 6), ("0403000000", 6), ("1d0300000000000000", 6),
    ("010610000000000000", 6),
])
def test_instructions_end_where_the_place_is(code: str, behind: int) -> None:
    assert row(code + "0e20", START + behind - 1).cfa == (7, 8)
    assert row(code + "0e20", START + behind).cfa == (7, 32)


def test_what_is_behind_the_place_is_not_looked_at() -> None:
    assert row("0e20" "41" "3f", START).cfa == (7, 32)


@pytest.mark.parametrize(("code", "why"), [
    ("3f", "unknown call frame instruction, 0x3f"), ("0b", "nothing was remembered"),
    ("0a" * 17, "remembered without an end"), ("0c07", "ends early"), ("100305", "ends early"),
    ("0f0177" "0e08", "half of what makes a CFA"), ("05" + "80" * 11, "number without an end"),
    ("".join(f"05{0x80 | at & 0x7f:02x}{at >> 7:02x}01" for at in range(300)), "too many"),
])
def test_damage(code: str, why: str) -> None:
    with pytest.raises(Damaged, match=why):
        row(code)


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_anything_is_a_row_or_damaged(code: bytes, initial: bytes) -> None:
    try:
        found = row(code.hex(), START + 64, initial.hex())
    except Damaged:
        return
    assert len(found.rules) <= cfa_program.MAX_RULES
