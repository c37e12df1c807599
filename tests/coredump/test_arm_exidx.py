"""unwind/arm_exidx.py: made-up tables, then those of ARM's compiler against its DWARF tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump.unwind import arm_exidx
from lastlog_py.coredump.unwind.frame import Frame
from tests.coredump import tables
from tests.coredump.tables import CODE, DATA, HEADER, STACK, Program

CALLER = CODE + 0x801               # Thumb
LR = CODE + 0x900
FINISH = 0xb0b0b0


def program(*rows: tuple[int, int], kind: tuple[int, ...] = tables.ARM) -> Program:
    """One whose stack holds 0x100, 0x104, … and whose index has `rows`."""
    made = Program(kind)
    made.words(STACK, *range(0x100, 0x900, 4))
    made.index(*rows)
    return made


def table(made: Program, *words: int, at: int = DATA) -> None:
    """An entry of .ARM.extab."""
    made.put(at, b"".join(made.number(word, 4) for word in words))


def place(at: int, to: int) -> int:
    """Distance from `at` to `to`, as the tables write it."""
    return to - at & 0x7fffffff


def run(code: str, **registers: int) -> Frame | None:
    """The caller by the instructions `code`, in a table of their own (routine 1)."""
    data = bytes.fromhex(code)
    data += b"\xb0" * (-(len(data) + 2) % 4)
    made = program((CODE, place(HEADER + 4, DATA)))
    head = (0x8100 + (len(data) - 2) // 4).to_bytes(2, "big") + data
    table(made, *(int.from_bytes(head[at:at + 4], "big") for at in range(0, len(head), 4)))
    return arm_exidx.step(made.context(), made.frame(**{"lr": LR, "r4": 4, **registers}))


@pytest.mark.parametrize(("code", "cfa", "registers"), [
    ("b0", 0, {}), ("00", 4, {}), ("3f", 256, {}), ("40", -4, {}), ("3f7f", 0, {}),
    ("8001", 4, {4: 0x100}), ("8800", 4, {15: 0x100}),
    ("8409", 12, {4: 0x100, 7: 0x104, 14: 0x108}), ("8fff", 0x124, None),
    ("97", 0x40, {}), ("9b", 0x80, {}),
    ("a0", 4, {4: 0x100}), ("a3", 16, {4: 0x100, 5: 0x104, 6: 0x108, 7: 0x10c}),
    ("a7", 32, {4: 0x100, 11: 0x11c}), ("a8", 8, {4: 0x100, 14: 0x104}),
    ("af", 36, {4: 0x100, 11: 0x11c, 14: 0x120}),
    ("b101", 4, {0: 0x100}), ("b10f", 16, {0: 0x100, 3: 0x10c}),
    ("b200", 0x204, {}), ("b27f", 0x204 + 0x1fc, {}), ("b28101", 0x204 + 0x204, {}),
    ("b300", 12, {}), ("b382", 28, {}), ("b4", 4, {}), ("b5", 0, {}),
    ("b8", 12, {}), ("bf", 68, {}), ("c0", 8, {}), ("c5", 48, {}), ("c602", 24, {}),
    ("c701", 4, {}), ("c70f", 16, {}), ("c801", 16, {}), ("c981", 16, {}), ("d0", 8, {}),
    ("d7", 64, {}), ("d1a3b0a3", 32, {4: 0x110, 7: 0x11c}),
])
def test_instructions(code: str, cfa: int, registers: dict[int, int] | None) -> None:
    found = run(code, r7=STACK + 0x40, r11=STACK + 0x80)
    if registers is None:               # r13 among those popped: the ninth word
        assert found is not None and found.cfa == cfa and found.pc == 0x12c
        return
    assert found is not None and found.cfa == STACK + cfa and found.how == "exidx"
    assert found.registers[13] == found.cfa
    assert {number: found.registers[number] for number in registers} == registers
    expected = registers.get(15, registers.get(14, LR))
    assert found.pc == found.registers[15] == expected
    assert found.registers[4] == registers.get(4, 4)


@pytest.mark.parametrize("code", [
    "8000", "9d", "9f", "b100", "b110", "b1ff", "b6", "b7", "c700", "c710", "ca", "cf", "d8", "ff",
    "b2" + "80" * 6, "9c", "f0",
])
def test_spare_and_reserved_instructions(code: str) -> None:
    assert run(code) is None


@pytest.mark.parametrize("code", ["84", "b1", "b2", "b3", "c6", "c7", "c8", "c9"])
def test_instructions_that_end_early(code: str) -> None:
    made = program((CODE, 0x80000000 | int(code, 16)))
    context = made.context()
    assert arm_exidx.step(context, made.frame(lr=LR)) is None
    assert context.problems == [f"Unwind instructions at {CODE + 16:#x} cannot be used: "
                                "instructions end early."]


def test_the_index_is_searched_by_the_address_of_the_call() -> None:
    made = program((CODE, 0x80a0b0b0), (CODE + 0x20, 0x80a1b0b0), (CODE + 0x40, 1))
    context = made.context()

    def cfa(pc: int, how: str = "exidx") -> int | None:
        found = arm_exidx.step(context, made.frame(pc, how, lr=LR))
        return None if found is None or found.cfa is None else found.cfa - STACK

    assert [cfa(CODE + 2), cfa(CODE + 0x20), cfa(CODE + 0x21), cfa(CODE + 0x1e, "registers"),
            cfa(CODE + 0x22), cfa(CODE + 0x40), cfa(CODE + 0x3e, "registers"),
            cfa(CODE + 0x42), cfa(CODE - 1), cfa(0)] == [4, 4, 4, 4, 8, 8, 8, None, None, None]
    assert not context.problems


def test_an_interrupted_function_that_has_only_just_begun() -> None:
    made = program((CODE, 0x80a8b0b0))
    context = made.context()
    for at in range(0, 16, 2):
        assert arm_exidx.step(context, made.frame(CODE + at, lr=LR)) is None
        assert arm_exidx.step(context, made.frame(CODE + at + 2, "exidx", lr=LR)) is not None
    assert arm_exidx.step(context, made.frame(CODE + 16, lr=LR)) is not None


@pytest.mark.parametrize("kind", [tables.ARM, tables.ARMEB])
@pytest.mark.parametrize(("words", "cfa"), [
    ((0x80a8b0b0,), 8), ((0x8101a8b0, 0xb0b0b0b0), 8), ((0x81010000, 0xa8b0b0b0), 16),
    ((0x82010000, 0xa8b0b0b0), 16), ((0x7ffffff0, 0x00a8b0b0), 8),
    ((0x7ffffff0, 0x01000000, 0xa8b0b0b0), 20), ((0x7ffffff0, 0x00a8b0b0, 0xffffffff), 8),
])
def test_entries_of_every_model(kind: tuple[int, ...], words: tuple[int, ...], cfa: int) -> None:
    made = program((CODE, place(HEADER + 4, DATA)), kind=kind)
    table(made, *words)
    found = arm_exidx.step(made.context(), made.frame())
    assert found is not None and found.cfa == STACK + cfa and found.pc == 0x100 + cfa - 4


@pytest.mark.parametrize(("words", "why"), [
    ((0x83b0b0b0,), "routine 3 is not known"), ((0x8fb0b0b0,), "routine 15 is not known"),
])
def test_models_that_are_refused(words: tuple[int, ...], why: str) -> None:
    made = program((CODE, place(HEADER + 4, DATA)))
    table(made, *words)
    context = made.context()
    assert arm_exidx.step(context, made.frame(lr=LR)) is None
    assert len(context.problems) == 1 and why in context.problems[0]


def test_a_table_that_is_not_there() -> None:
    made = program((CODE, place(HEADER + 4, 0x10000000)))
    context = made.context()
    assert arm_exidx.step(context, made.frame(lr=LR)) is None
    assert context.problems == ["Unwind tables are in memory that cannot be read; a core need not "
                                "have it."]
    assert arm_exidx.step(context, made.frame(lr=LR)) is None and len(context.problems) == 1


def test_a_stack_that_is_not_there() -> None:
    made = program((CODE, 0x80a8b0b0))
    context = made.context()
    assert arm_exidx.step(context, made.frame(sp=0x10)) is None
    assert "the stack is not there" in context.problems[0]


def test_a_function_that_never_saved_where_it_returns_to() -> None:
    made = program((CODE, 0x80b0b0b0))
    context = made.context()
    assert arm_exidx.step(context, made.frame()) is None
    assert arm_exidx.step(context, made.frame(CODE + 8, "exidx", lr=CODE + 8)) is None
    leaf = arm_exidx.step(context, made.frame(lr=LR))
    assert leaf is not None and leaf.pc == LR and leaf.cfa == STACK


def test_no_index() -> None:
    made = Program(tables.ARM)
    context = made.context()
    assert arm_exidx.step(context, made.frame(lr=LR)) is None
    context.modules[0].image = None
    context.cache.clear()
    assert arm_exidx.step(context, made.frame(lr=LR)) is None and not context.problems


@given(st.binary(max_size=64), st.lists(st.integers(0, 0xffffffff), min_size=1, max_size=6),
       st.integers(0, 0xffffffff))
def test_no_table_is_too_bad(data: bytes, words: list[int], pc: int) -> None:
    made = program(*((CODE + 4 * at, word) for at, word in enumerate(words)))
    made.put(DATA, data)
    context = made.context()
    for address in (CODE + 2, CODE + 20, pc):
        found = arm_exidx.step(context, made.frame(address, lr=LR))
        assert found is None or found.pc >= 0
