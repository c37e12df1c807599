"""unwind/prologue_x86.py: functions written by hand, then the test cores with their CFI ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump import backtrace as backtraces
from lastlog_py.coredump.unwind import prologue_x86
from lastlog_py.coredump.unwind.frame import Context, Frame
from tests.coredump import tables
from tests.coredump.cases import needs_cores, walk
from tests.coredump.tables import CODE, STACK, Program

RETURN = CODE + 0x800           # behind a call of CODE
START = "53 4883ec10"           # push rbx; sub rsp, 16
END = "4883c410 5b c3"

# what it shows, code up to the pc, code behind it, depth of the stack pointer there
FUNCTIONS_64 = [
    ("at the start", "", "53", 8),
    ("behind a push", "4157", "90", 16),
    ("in the body", START, "90", 32),
    ("behind an early return", "85ff 7501 c3" + START, "90", 32),
    ("behind the epilogue", START + "85ff 7508" + END + "31c0", "90", 32),
    ("in the epilogue", START + "4883c410", "5b c3", 16),
    ("in a switch", START + "ffe0", "90" + END, 32),
    ("behind a call that does not return", START + "e800010000", "", 32),
    ("in a loop that is entered at its end", START + "eb02 6690", "39c8 75fa" + END, 32),
    ("in a block only a later jump leads to", START + "85ff 7508" + END + "c3",
     "90 eb0e 31c0 74f9" + END, 32),
    ("behind pushed arguments", "55 50 6a01 ff742410", "", 40),
    ("behind an alloca", "55 4889e5 4829c4", "90", None),
    ("aligned", "55 4889e5 4883e4f0", "90", None),
    ("and back", "55 4889e5 4883e4f0 c9", "c3", 8),
    ("restored from a copy", "488d742408 4889f4", "90", 0),
]
FUNCTIONS_32 = [
    ("the GOT's address", "e800000000 5b 53", "90", 8),
    ("pushed arguments", "83ec0c 6a00 6a01 e800010000 83c410", "90", 8),
    ("a store of a register", "83ec1c 895c2410", "90", 32),
]


def at(kind: tuple[int, ...], before: str, behind: str) -> tuple[Context, int]:
    """A function at CODE, and the pc in it."""
    made = Program(kind)
    code = bytes.fromhex(before)
    made.put(CODE, code + bytes.fromhex(behind) + b"\xcc" * 32)
    return made.context(), CODE + len(code)


@pytest.mark.parametrize(("what", "before", "behind", "depth"), FUNCTIONS_64)
def test_how_deep_the_stack_is(what: str, before: str, behind: str, depth: int | None) -> None:
    context, pc = at(tables.X86_64, before, behind)
    found = prologue_x86.state_at(context, CODE, pc, True)
    assert found is not None and found.depth == depth


@pytest.mark.parametrize(("what", "before", "behind", "depth"), FUNCTIONS_32)
def test_how_deep_the_stack_is_on_i386(what: str, before: str, behind: str, depth: int) -> None:
    context, pc = at(tables.I386, before, behind)
    found = prologue_x86.state_at(context, CODE, pc, True)
    assert found is not None and found.depth == depth


@pytest.mark.parametrize(("code", "pc"), [("e801020304", 3), ("48b8", 5), ("90 eb", 2)])
def test_a_pc_that_no_instruction_begins_at_is_not_in_the_function(code: str, pc: int) -> None:
    made = Program(tables.X86_64)
    made.put(CODE, bytes.fromhex(code) + b"\xff" * 40)
    assert prologue_x86.state_at(made.context(), CODE, CODE + pc, True) is None


def called(body: str, behind: str = "90", **registers: int) -> tuple[Program, Frame]:
    """A program in which RETURN - 5 calls the function at CODE; its frame, pc behind `body`."""
    made = Program(tables.X86_64)
    code = bytes.fromhex(body)
    made.put(CODE, code + bytes.fromhex(behind) + b"\xcc" * 16)
    made.put(RETURN - 5, b"\xe8" + (CODE - RETURN).to_bytes(4, "little", signed=True))
    return made, made.frame(CODE + len(code), **registers)


def test_the_caller_and_what_it_kept_in_registers() -> None:
    made, frame = called(START, rbx=1, rbp=2, rax=3)
    made.words(STACK, 10, 11, 0x1111, RETURN, 99)
    found = prologue_x86.step(made.context(), frame)
    assert found is not None
    assert (found.pc, found.cfa, found.how) == (RETURN, STACK + 32, "prologue")
    names = made.machine.names
    assert {names[number]: value for number, value in found.registers.items()} == {
        "rbx": 0x1111, "rbp": 2, "rax": 3, "sp": STACK + 32, "pc": RETURN}


def test_a_stale_address_nearer_by_is_not_taken() -> None:
    made, frame = called(START)
    made.words(STACK, RETURN, RETURN, 0x1111, RETURN)
    found = prologue_x86.step(made.context(), frame)
    assert found is not None and found.cfa == STACK + 32


def test_an_aligned_frame_is_found_by_its_base() -> None:
    made, frame = called("55 4889e5 4883e4f0", rbp=STACK + 0x40)
    made.words(STACK + 0x40, 0x2222, RETURN)
    made.words(STACK, 1)
    found = prologue_x86.step(made.context(), frame)
    assert found is not None
    assert (found.pc, found.cfa, found.registers[6]) == (RETURN, STACK + 0x50, 0x2222)


def test_a_function_that_something_else_jumped_to() -> None:
    """The call on the stack is of another one: it is told by the end of what lies before."""
    made = Program(tables.X86_64)
    made.put(CODE, bytes.fromhex("ffe0 0f1f00 c3 6690" + START + "90"))
    other = CODE + 0x900
    made.put(RETURN - 5, b"\xe8" + (other - RETURN).to_bytes(4, "little", signed=True))
    made.words(STACK, 10, 11, 12, RETURN)
    found = prologue_x86.step(made.context(), made.frame(CODE + 8 + 5))
    assert found is not None and (found.pc, found.cfa) == (RETURN, STACK + 32)


def through_pointer(body: str, behind: str, **registers: int) -> tuple[Program, Frame]:
    """As `called`, by a call through rax: nothing tells where the function begins."""
    made, frame = called(body, behind, **registers)
    made.put(RETURN - 5, bytes.fromhex("909090ffd0"))
    return made, frame


@pytest.mark.parametrize(("behind", "slot", "rbx"), [
    ("c3", 0, 7), ("f3c3", 0, 7), ("4883c410 5b c3", 3, 0x1111), ("8907 5b 31c0 c3", 1, 0x1111),
    ("488d65f8 5b c9 c3", 5, 0x1111)])
def test_where_only_an_epilogue_is_left(behind: str, slot: int, rbx: int) -> None:
    made, frame = through_pointer("90" * 40 + "0f05", behind, rbp=STACK + 32, rbx=7)
    made.words(STACK, *([0x1111] * slot), RETURN)
    found = prologue_x86.step(made.context(), frame)
    assert found is not None and (found.pc, found.cfa) == (RETURN, STACK + 8 * slot + 8)
    assert found.registers[3] == rbx


@pytest.mark.parametrize("behind", ["e800010000 c3", "7402 5b c3", "50 c3", "ffd0 c3",
                                    "e9f00f0000"])
def test_where_more_is_left(behind: str) -> None:
    """A call, a jump: what comes then is not known."""
    made, frame = through_pointer("90" * 40 + "0f05", behind)
    made.words(STACK, RETURN, RETURN)
    assert prologue_x86._ahead(made.context(), frame) is None


def test_what_a_call_returns_to_has_the_calls_frame() -> None:
    """A jump over the call leads there too, with another one: the call does not return."""
    code = "85ff 7406 50 e800010000"
    context, pc = at(tables.X86_64, code, "31ff c3")
    for is_called, depth in ((True, 16), (False, 8)):
        found = prologue_x86.state_at(context, CODE, pc, True, is_called)
        assert found is not None and found.depth == depth


def test_nothing_is_known_behind_a_function_without_a_frame() -> None:
    """mov (%esp),%ebx; ret: its own return address, a stale one, proves nothing here."""
    context, pc = at(tables.I386, "8b1c24 c3 6690 53 83ec0c", "90")
    assert prologue_x86.state_at(context, CODE, pc, True) is None


def test_a_function_behind_a_call_that_does_not_return() -> None:
    made, frame = through_pointer("ffe0 31c0 e800010000 0f1f440000 0f1f00" + START, "90 90")
    made.words(STACK, 10, 11, 0x1111, RETURN)
    found = prologue_x86.step(made.context(), frame)
    assert found is not None and (found.pc, found.cfa) == (RETURN, STACK + 32)


def test_without_a_call_there_is_no_caller() -> None:
    made, frame = called(START)
    made.words(STACK, 10, 11, 12, RETURN - 1)
    assert prologue_x86.step(made.context(), frame) is None


def test_other_machines_are_none_of_its_business() -> None:
    made = Program(tables.ARM)
    assert prologue_x86.step(made.context(), made.frame()) is None


def test_the_work_is_bounded() -> None:
    made, frame = called("90" * 4096)
    made.words(STACK, RETURN)
    context = made.context()
    context.cache["x86 spent"] = prologue_x86.MAX_SPENT + 1
    assert prologue_x86.step(context, frame) is None
    assert prologue_x86.state_at(made.context(), CODE, CODE + prologue_x86.MAX_CODE + 1,
                                 True) is None


@given(st.sampled_from([tables.X86_64, tables.I386]), st.binary(max_size=200),
       st.binary(max_size=200), st.integers(0, 240))
def test_never_raises(kind: tuple[int, ...], code: bytes, stack: bytes, pc: int) -> None:
    made = Program(kind)
    made.put(CODE, code)
    made.put(STACK, stack)
    made.words(STACK + 200, CODE + 5, CODE + 20, CODE + 37)
    context = made.context()
    for how in ("registers", "cfi"):
        found = prologue_x86.step(context, made.frame(CODE + pc, how))
        assert found is None or context.is_code(found.pc)


@needs_cores()
@pytest.mark.parametrize("name", ["x86_64-musl", "i386-musl"])
def test_the_cores_without_their_call_frame_information(name: str,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """The code alone gives what DWARF gives, for 95 of 100 threads."""
    monkeypatch.setattr(backtraces.eh_frame, "step", lambda context, frame: None)
    right = total = 0
    for one in walk(name):
        truth = {thread.tid: thread for thread in one.truth}
        for thread in one.threads:
            frames = backtraces.backtrace(one.context, thread.registers,
                                          backtraces.Limits(64)).frames
            expected = truth[thread.tid].expected()
            total += 1
            right += [frame.pc for frame in frames][:len(expected)] == expected
    assert right >= 0.95 * total
