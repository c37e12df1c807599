"""unwind/eh_frame.py and cfi_tables.py: made-up tables of every kind, then the compilers' own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump.core import Thread
from lastlog_py.coredump.unwind import eh_frame
from lastlog_py.coredump.unwind.frame import END, Context, Frame
from tests.coredump import cases, tables
from tests.coredump.tables import CODE, DATA, FRAMES, HEADER, STACK, Program

CALLER = CODE + 0x800
USUAL = bytes.fromhex("0c0708" "9001")      # x86_64 at a function's start: CFA rsp + 8, pc under it
PUSHED = bytes.fromhex("0e10" "8602")       # after push rbp


def program(kind: tuple[int, ...] = tables.X86_64) -> Program:
    """One with a stack: 0, CALLER, 2, 3, …"""
    made = Program(kind)
    made.words(STACK, 0x1234, CALLER, *range(2, 32))
    return made


def usual(rest: bytes = PUSHED, **what: object) -> Program:
    """A program with one function on x86_64 with USUAL and `rest`; `what` is for its CIE."""
    made = program()
    made.fde(made.cie(USUAL, **what), rest)     # type: ignore[arg-type]
    made.header()
    return made


def test_a_step_gives_the_caller() -> None:
    made = usual()
    found = eh_frame.step(made.context(), made.frame(rbp=7, rbx=9))
    assert found is not None and found is not END
    assert (found.pc, found.cfa, found.how, found.is_signal) == (CALLER, STACK + 16, "cfi", False)
    assert found.registers == {6: 0x1234, 3: 9, 7: STACK + 16, 16: CALLER}


def test_the_return_address_is_looked_up_before_itself() -> None:
    made = usual()
    context = made.context()
    behind = CODE + 0x100
    assert eh_frame.step(context, made.frame(behind)) is None
    assert eh_frame.step(context, made.frame(behind, "cfi")) is not None
    assert eh_frame.step(context, made.frame(CODE, "cfi")) is None
    interrupted = Frame(CODE, {7: STACK, 16: CODE}, "signal", is_signal=True)
    assert eh_frame.step(context, interrupted) is not None


def test_a_place_without_an_entry_has_nothing_to_say() -> None:
    made = usual()
    for pc in (CODE - 1, CODE + 0x100, 0, DATA + 5, 1 << 63, (1 << 64) - 1):
        assert eh_frame.step(made.context(), made.frame(pc)) is None


def test_the_outermost_frame_is_told_apart() -> None:
    made = usual(b"\x07\x10")
    assert eh_frame.step(made.context(), made.frame()) is END


def test_a_signal_frame_is_marked() -> None:
    made = usual(augmentation=b"zRS")
    found = eh_frame.step(made.context(), made.frame())
    assert found is not None and found.is_signal and found.how == "signal" and found.exact


def test_a_function_that_never_saved_where_it_returns_to() -> None:
    made = program(tables.AARCH64)
    made.fde(made.cie(bytes.fromhex("0c1f00"), column=30))
    made.header()
    context = made.context()
    leaf = eh_frame.step(context, made.frame(lr=CALLER))
    assert leaf is not None and leaf.pc == CALLER
    assert eh_frame.step(context, made.frame(how="cfi", lr=CODE + 0x10)) is None
    assert eh_frame.step(context, made.frame()) is None


@pytest.mark.parametrize("bits", [36, 39, 47, 48, 52])
def test_authentication_codes_are_taken_off(bits: int) -> None:
    made = program(tables.AARCH64)
    made.words(STACK, 0, CALLER | 0x7a5 << bits, 0)
    made.fde(made.cie(bytes.fromhex("0c1f00"), column=30), bytes.fromhex("2d" "0e10" "9e01"))
    made.header()
    found = eh_frame.step(made.context(), made.frame())
    assert found is not None and found.pc == CALLER


@pytest.mark.parametrize(("kind", "column"), [
    (tables.I386, 8), (tables.MIPS, 31), (tables.MIPS_N32, 31), (tables.PPC, 65),
    (tables.RISCV64, 1), (tables.AARCH64, 30)])
def test_every_machine(kind: tuple[int, ...], column: int) -> None:
    made = program(kind)
    slot = made.machine.slot
    sp = made.machine.SP
    initial = b"\x0c" + tables.uleb(sp) + tables.uleb(4 * slot)
    saved = b"\x05" + tables.uleb(column) + b"\x03"
    made.fde(made.cie(initial, units=(1, -slot), column=column), saved)
    made.header()
    found = eh_frame.step(made.context(), made.frame())
    assert found is not None and (found.pc, found.cfa) == (CALLER, STACK + 4 * slot)
    assert found.registers[sp] == found.cfa and found.registers[column] == CALLER


def test_registers_by_every_rule() -> None:
    made = usual(bytes.fromhex(
        "0e10" "8302" "140c03" "090d06" "100e" "0277" "00" "160f" "0223" "20" "0708" "0809"))
    frame = made.frame(rbp=5, r8=8, r9=9, r10=10, rbx=3)
    found = eh_frame.step(made.context(), frame)
    assert found is not None
    assert found.registers == {3: 0x1234, 12: STACK - 8, 13: 5, 14: 0x1234, 15: STACK + 48, 6: 5,
                               9: 9, 10: 10, 7: STACK + 16, 16: CALLER}


def test_registers_that_nobody_asks_for_are_left_out() -> None:
    made = usual(PUSHED + bytes.fromhex("9102" "0570" "01"))       # xmm0, 112
    found = eh_frame.step(made.context(), made.frame())
    assert found is not None and set(found.registers) == {6, 7, 16}


def test_a_cfa_by_expression() -> None:
    made = usual(bytes.fromhex("0f03" "7710" "96"))
    found = eh_frame.step(made.context(), made.frame())
    assert found is not None and (found.cfa, found.pc) == (STACK + 16, CALLER)


def test_an_unreadable_stack_has_nothing_to_say() -> None:
    made = usual(b"\x0e\x10\x07\x06")
    assert eh_frame.step(made.context(), made.frame(sp=0x100)) is None
    assert eh_frame.step(made.context(), made.frame(sp=(1 << 64) - 8)) is None


def test_a_cfa_by_a_register_that_is_lost() -> None:
    made = usual(bytes.fromhex("0d06"))
    context = made.context()
    assert eh_frame.step(context, made.frame()) is None
    assert context.problems == [f"Call frame information at {CODE + 16:#x} cannot be used: "
                                "register 6 is not known."]


@pytest.mark.parametrize("encoding", [
    0x00, 0x01, 0x03, 0x04, 0x09, 0x0b, 0x0c, 0x10, 0x1b, 0x1c, 0x80, 0x9b, 0x50])
def test_encodings_of_an_fde(encoding: int) -> None:
    made = program()
    cie = made.cie(USUAL, data=bytes([encoding]))
    made.fde(cie, PUSHED, encoding=encoding)
    made.header()
    assert eh_frame.step(made.context(), made.frame()) is not None


@pytest.mark.parametrize("encoding", [0x02, 0x05, 0x20, 0x2b, 0x40, 0x3b, 0xff])
def test_encodings_of_an_fde_that_are_refused(encoding: int) -> None:
    made = program()
    made.fde(made.cie(USUAL, data=bytes([encoding])), PUSHED, start=0x1234 if encoding == 2 else
             CODE, encoding=encoding & 0x0f)
    made.header()
    context = made.context()
    assert eh_frame.step(context, made.frame()) is None
    assert len(context.problems) == (encoding != 2)


def test_an_address_that_nobody_relocated() -> None:
    made = program()
    fde = made.fde(made.cie(USUAL, data=b"\0"), PUSHED, start=CODE - tables.BASE, encoding=0)
    made.fdes = [(CODE, fde)]
    made.header()
    context = made.context()
    image = context.modules[0].image
    assert image is not None
    image.bias = tables.BASE                        # as if the file began at 0
    for segment in image.segments:
        segment.address -= tables.BASE
    assert eh_frame.step(context, made.frame()) is not None


@pytest.mark.parametrize("encoding", [0x3b, 0x33, 0x3c, 0x1b, 0x00, 0x03, 0x0b, 0x0c, 0x9b])
@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_sorted_tables(encoding: int, count: int) -> None:
    made = program()
    cie = made.cie(USUAL)
    starts = [CODE + 0x10 * at for at in range(count)]
    for start in reversed(starts):
        made.fde(cie, PUSHED, start, 8)
    made.header(encoding)
    context = made.context()
    for start in starts:
        assert eh_frame.step(context, made.frame(start)) is not None
        assert eh_frame.step(context, made.frame(start + 7)) is not None
        assert eh_frame.step(context, made.frame(start + 8)) is None
    assert not context.problems


@pytest.mark.parametrize("encoding", [0xff, 0x31, 0x39])
def test_no_sorted_table(encoding: int) -> None:
    made = program()
    cie = made.cie(USUAL)
    for at in range(9):
        made.fde(cie, PUSHED, CODE + 0x20 * at, 0x10)
    made.header(encoding)
    context = made.context()
    for at in range(9):
        assert eh_frame.step(context, made.frame(CODE + 0x20 * at)) is not None
        assert eh_frame.step(context, made.frame(CODE + 0x20 * at + 0x10)) is None
    assert not context.problems


def test_a_damaged_entry_is_passed_over_where_there_is_no_table() -> None:
    made = program()
    made.fde(made.cie(USUAL, version=9), PUSHED, CODE + 0x400)
    made.fde(made.cie(USUAL), PUSHED)
    made.header(0xff)
    context = made.context()
    assert eh_frame.step(context, made.frame()) is not None
    assert eh_frame.step(context, made.frame(CODE + 0x400)) is None


def test_a_damaged_length_ends_the_search_where_there_is_no_table() -> None:
    made = program()
    cie = made.cie(USUAL)
    made.fde(cie, PUSHED)
    made.entry(bytes(8), b"\xff\xff\xff\xff")
    made.fde(cie, PUSHED, CODE + 0x200)
    made.header(0xff)
    context = made.context()
    assert eh_frame.step(context, made.frame()) is not None
    assert eh_frame.step(context, made.frame(CODE + 0x200)) is None
    assert context.problems == [".eh_frame cannot be read to its end: "
                                "lengths of 64 bits are not read."]


@pytest.mark.parametrize(("augmentation", "data"), [
    (b"zR", b"\x1b"), (b"zRS", b"\x1b"), (b"zRB", b"\x1b"), (b"zRG", b"\x1b"),
    (b"zPLR", b"\x03\0\0\0\0\x03\x1b"), (b"zPLR", b"\x9b\x10\x20\0\0\x1b\x1b"),
    (b"zPR", b"\xff\x1b"), (b"zPR", b"\x23\x09\0\0\0\x1b"),
    (b"zPR", b"\x00\0\0\0\0\0\0\0\0\x1b"), (b"zPR", b"\x01\x80\x02\x1b"),
    (b"zR", b"\x1b\0\0\0"),
])
@pytest.mark.parametrize("version", [1, 3, 4])
def test_augmentations(version: int, augmentation: bytes, data: bytes) -> None:
    made = usual(augmentation=augmentation, data=data, version=version)
    context = made.context()
    found = eh_frame.step(context, made.frame())
    assert found is not None and found.pc == CALLER and not context.problems


@pytest.mark.parametrize(("augmentation", "extra"), [(b"", b""), (b"eh", bytes(8))])
def test_augmentations_without_data(augmentation: bytes, extra: bytes) -> None:
    made = program()
    cie = made.cie(USUAL, augmentation=augmentation, extra=extra)
    made.fde(cie, PUSHED, encoding=0)           # the byte for its data's size is a nop
    made.header()
    assert eh_frame.step(made.context(), made.frame()) is not None


@pytest.mark.parametrize("augmentation", [b"R", b"zX", b"zXR", b"armcc+", b"zR\xff", b"ehR"])
def test_augmentations_that_are_refused(augmentation: bytes) -> None:
    made = usual(augmentation=augmentation, extra=bytes(8) if augmentation[:2] == b"eh" else b"")
    context = made.context()
    assert eh_frame.step(context, made.frame()) is None
    assert len(context.problems) == 1 and "augmentation" in context.problems[0]


@pytest.mark.parametrize(("version", "why"), [(0, "version 0"), (2, "version 2"), (5, "version 5")])
def test_versions_that_are_refused(version: int, why: str) -> None:
    made = usual(version=version)
    context = made.context()
    assert eh_frame.step(context, made.frame()) is None
    assert len(context.problems) == 1 and why in context.problems[0]


def test_lengths_of_64_bits_are_refused() -> None:
    made = program()
    made.fdes.append((CODE, made.entry(bytes(40), b"\xff\xff\xff\xff" + made.number(40))))
    made.header()
    context = made.context()
    assert eh_frame.step(context, made.frame()) is None
    assert context.problems == [f"Call frame information at {CODE + 16:#x} cannot be used: "
                                "lengths of 64 bits are not read."]


@pytest.mark.parametrize(("at", "data", "why"), [
    (FRAMES, b"\0\0\0\0", "a CIE is no CIE"), (FRAMES + 4, b"\1\0\0\0", "a CIE is no CIE"),
    (FRAMES, b"\0\0\2\0", "an entry of 131072 bytes"), (FRAMES, b"\0\xff\0\0", "not there whole"),
    (HEADER, b"\2", "unknown version"), (HEADER + 1, b"\x4b", "relative to what is not known"),
    (HEADER + 3, b"\x2b", "relative to what is not known"),
    (HEADER + 16, b"\0\0\0\0", "memory that cannot be read"),
])
def test_damage_is_told(at: int, data: bytes, why: str) -> None:
    made = usual()
    for place, piece in list(made.pieces.items()):
        if place <= at < place + len(piece):
            made.put(place, piece[:at - place] + data + piece[at - place + len(data):])
    context = made.context()
    assert eh_frame.step(context, made.frame()) is None
    assert len(context.problems) == 1 and why in context.problems[0]
    assert eh_frame.step(context, made.frame()) is None     # and not looked at twice


def test_a_module_without_tables_or_headers() -> None:
    made = program()
    context = made.context()
    assert eh_frame.step(context, made.frame()) is None
    context.modules[0].image = None
    context.cache.clear()
    assert eh_frame.step(context, made.frame()) is None and not context.problems


def test_what_is_kept_is_bounded() -> None:
    made = program()
    cie = made.cie(USUAL)
    made.fde(cie, PUSHED, size=0x2000)
    made.header()
    context = made.context()
    for at in range(3 * eh_frame.MAX_ROWS):
        assert eh_frame.step(context, made.frame(CODE + at)) is not None
    assert all(len(kept) <= eh_frame.MAX_ROWS for kept in context.cache.values()
               if isinstance(kept, dict))


@given(st.binary(max_size=64), st.binary(max_size=40), st.binary(max_size=40),
       st.integers(0, 2 ** 64), st.sampled_from([0x3b, 0xff, 0x00, 0x9b]))
def test_no_table_is_too_bad(header: bytes, cie: bytes, fde: bytes, pc: int, encoding: int) -> None:
    made = program()
    made.entry(bytes(4) + cie)
    here = FRAMES + len(made.frames) + 4
    made.fdes.append((CODE, made.entry(made.number(here - FRAMES, 4) + fde)))
    made.header(encoding)
    made.put(HEADER + 12, header)
    context = made.context()
    for place in (CODE + 16, pc):
        found = eh_frame.step(context, made.frame(place))
        assert found is None or isinstance(found, Frame)


@cases.needs_cores()
@pytest.mark.parametrize(("name", "least"), [
    ("x86_64-musl", 100), ("i386-musl", 100), ("aarch64-musl", 100), ("aarch64-glibc", 230),
    ("powerpc-glibc", 230), ("mips-glibc", 110), ("riscv64-glibc", 80)])
def test_no_step_through_a_real_core_is_wrong(name: str, least: int) -> None:
    steps = 0
    for one in cases.walk(name):
        truth = {thread.tid: thread.expected() for thread in one.truth}
        for thread in one.threads:
            steps += follow(one.context, thread, truth[thread.tid])
    assert steps >= least


def follow(context: Context, thread: Thread, expected: list[int | None]) -> int:
    """How many steps the tables alone lead from the innermost frame, each of them right."""
    machine = context.machine
    frame: Frame | None = Frame(thread.registers[machine.PC], thread.registers)
    for index, pc in enumerate(expected):
        if frame is None:
            return index - 1
        assert frame is not END, f"an early end after {index} frames"
        assert pc in (None, machine.code_address(frame.pc))
        frame = eh_frame.step(context, frame)
    return len(expected) - 1
