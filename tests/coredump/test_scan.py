"""unwind/scan.py and call_site.py: calls of every machine, and what on a stack is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump.unwind import call_site, scan
from lastlog_py.coredump.unwind.call_site import INDIRECT
from lastlog_py.coredump.unwind.frame import Frame
from tests.coredump import tables
from tests.coredump.tables import CODE, STACK, Program

MIPSEL = (8, 1, 1)
RETURN = CODE + 0x100           # where the calls below return to
KINDS = [tables.X86_64, tables.I386, tables.ARM, tables.AARCH64, tables.RISCV64, tables.MIPS,
         MIPSEL, tables.PPC]

# machine, the bytes that end at RETURN, bit 0 of the return address, what is called
CALLS = [
    pytest.param(tables.X86_64, "e800ffffff", 0, CODE, id="x86_64 call"),
    pytest.param(tables.X86_64, "ffd0", 0, INDIRECT, id="x86_64 call rax"),
    pytest.param(tables.X86_64, "41ffd4", 0, INDIRECT, id="x86_64 call r12"),
    pytest.param(tables.X86_64, "ff13", 0, INDIRECT, id="x86_64 call [rbx]"),
    pytest.param(tables.X86_64, "ff5008", 0, INDIRECT, id="x86_64 call [rax+8]"),
    pytest.param(tables.X86_64, "ff1511223300", 0, INDIRECT, id="x86_64 call [rip+n]"),
    pytest.param(tables.X86_64, "ff9044332211", 0, INDIRECT, id="x86_64 call [rax+n]"),
    pytest.param(tables.X86_64, "ff1424", 0, INDIRECT, id="x86_64 call [rsp]"),
    pytest.param(tables.X86_64, "ff14c544332211", 0, INDIRECT, id="x86_64 call [rax*8+n]"),
    pytest.param(tables.X86_64, "ff94c344332211", 0, INDIRECT, id="x86_64 call [rbx+rax*8+n]"),
    pytest.param(tables.I386, "65ff1510000000", 0, INDIRECT, id="i386 call gs:[16]"),
    pytest.param(tables.ARM, "bf ff ff eb", 0, CODE, id="arm bl"),
    pytest.param(tables.ARM, "bf ff ff fb", 0, CODE + 2, id="arm blx to thumb"),
    pytest.param(tables.ARM, "33 ff 2f e1", 0, INDIRECT, id="arm blx r3"),
    pytest.param(tables.ARM, "0f e0 a0 e1 13 ff 2f e1", 0, INDIRECT, id="arm mov lr; bx"),
    pytest.param(tables.ARM, "0f e0 a0 e1 00 f0 93 e5", 0, INDIRECT, id="arm mov lr; ldr pc"),
    pytest.param(tables.ARM, "ff f7 80 ff", 1, CODE, id="thumb bl"),
    pytest.param(tables.ARM, "ff f7 80 ef", 1, CODE, id="thumb blx to arm"),
    pytest.param(tables.ARM, "98 47", 1, INDIRECT, id="thumb blx r3"),
    pytest.param(tables.AARCH64, "c1 ff ff 97", 0, CODE, id="aarch64 bl"),
    pytest.param(tables.AARCH64, "20 00 3f d6", 0, INDIRECT, id="aarch64 blr"),
    pytest.param(tables.AARCH64, "22 08 3f d7", 0, INDIRECT, id="aarch64 blraa"),
    pytest.param(tables.AARCH64, "3f 08 3f d6", 0, INDIRECT, id="aarch64 blraaz"),
    pytest.param(tables.MIPS, "0c 10 40 00 00 00 00 00", 0, CODE, id="mips jal"),
    pytest.param(tables.MIPS, "04 11 ff c1 00 00 00 00", 0, CODE, id="mips bal"),
    pytest.param(tables.MIPS, "03 20 f8 09 00 00 00 00", 0, INDIRECT, id="mips jalr t9"),
    pytest.param(MIPSEL, "09 f8 20 03 00 00 00 00", 0, INDIRECT, id="mipsel jalr t9"),
    pytest.param(MIPSEL, "00 40 10 0c 00 00 00 00", 0, CODE, id="mipsel jal"),
    pytest.param(MIPSEL, "00 1a 00 40 00 65", 1, CODE, id="mips16 jal"),
    pytest.param(MIPSEL, "40 ea 00 65", 1, INDIRECT, id="mips16 jalr"),
    pytest.param(MIPSEL, "c0 ea", 1, INDIRECT, id="mips16 jalrc"),
    pytest.param(tables.RISCV64, "ef f0 5f f0", 0, CODE, id="riscv jal"),
    pytest.param(tables.RISCV64, "e7 80 07 00", 0, INDIRECT, id="riscv jalr"),
    pytest.param(tables.RISCV64, "82 97", 0, INDIRECT, id="riscv c.jalr"),
    pytest.param(tables.RISCV64, "97 00 00 00 e7 80 80 f0", 0, CODE, id="riscv auipc, jalr"),
    pytest.param(tables.PPC, "4b ff ff 05", 0, CODE, id="ppc bl"),
    pytest.param(tables.PPC, "4e 80 04 21", 0, INDIRECT, id="ppc bctrl"),
    pytest.param(tables.PPC, "4e 80 00 21", 0, INDIRECT, id="ppc blrl"),
]
# What looks like them.
NO_CALLS = [
    pytest.param(tables.X86_64, "e9fbfeffff", 0, id="x86_64 jmp"),
    pytest.param(tables.X86_64, "ffe0", 0, id="x86_64 jmp rax"),
    pytest.param(tables.X86_64, "ff30", 0, id="x86_64 push [rax]"),
    pytest.param(tables.X86_64, "ff14", 0, id="x86_64 cut call"),
    pytest.param(tables.ARM, "bf ff ff ea", 0, id="arm b"),
    pytest.param(tables.ARM, "1e ff 2f e1", 0, id="arm bx lr"),
    pytest.param(tables.ARM, "ff f7 7e bf", 1, id="thumb b"),
    pytest.param(tables.ARM, "70 47", 1, id="thumb bx lr"),
    pytest.param(tables.AARCH64, "c0 ff ff 17", 0, id="aarch64 b"),
    pytest.param(tables.AARCH64, "c0 03 5f d6", 0, id="aarch64 ret"),
    pytest.param(tables.MIPS, "08 10 40 00 00 00 00 00", 0, id="mips j"),
    pytest.param(tables.MIPS, "03 e0 00 08 00 00 00 00", 0, id="mips jr ra"),
    pytest.param(MIPSEL, "a0 e8 00 65", 1, id="mips16 jrc ra"),
    pytest.param(tables.RISCV64, "6f f0 1f f0", 0, id="riscv j"),
    pytest.param(tables.RISCV64, "82 80", 0, id="riscv ret"),
    pytest.param(tables.PPC, "4b ff ff 04", 0, id="ppc b"),
    pytest.param(tables.PPC, "4e 80 00 20", 0, id="ppc blr"),
]


def calling(kind: tuple[int, ...], code: str) -> Program:
    made = Program(kind)
    raw = bytes.fromhex(code)
    made.put(RETURN - len(raw), raw)
    return made


@pytest.mark.parametrize(("kind", "code", "bit", "called"), CALLS)
def test_a_call_and_what_it_calls(kind: tuple[int, ...], code: str, bit: int, called: int) -> None:
    assert call_site.target(calling(kind, code).context(), RETURN | bit) == called


@pytest.mark.parametrize(("kind", "code", "bit"), NO_CALLS)
def test_no_call(kind: tuple[int, ...], code: str, bit: int) -> None:
    assert call_site.target(calling(kind, code).context(), RETURN | bit) is None


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_called_where_nothing_can_be_read(kind: tuple[int, ...]) -> None:
    context = Program(kind).context()
    for address in (0, 1, 7, 8, RETURN, context.machine.mask, (1 << 64) - 1):
        assert call_site.target(context, address) is None


def test_a_sigreturn_trampoline_is_returned_to_without_a_call() -> None:
    made = Program(tables.X86_64)
    made.put(RETURN, bytes.fromhex("48c7c00f0000000f05"))
    assert call_site.target(made.context(), RETURN) == INDIRECT


@pytest.mark.parametrize("prefix", ["", "f30f1efa", "f30f1efaf2", "f2"])
def test_a_plt_entry_leads_to_its_target(prefix: str) -> None:
    made = calling(tables.X86_64, "e8 000f0000")
    plt = RETURN + 0xF00
    jump = plt + len(bytes.fromhex(prefix))
    made.put(plt, bytes.fromhex(prefix) + b"\xff\x25" + (STACK - jump - 6).to_bytes(4, "little"))
    made.words(STACK, CODE + 0x40)
    assert call_site.target(made.context(), RETURN) == CODE + 0x40
    made.words(STACK, 0x10)                                 # not bound yet
    assert call_site.target(made.context(), RETURN) == plt


def frame_at(made: Program, pc: int) -> Frame:
    machine = made.machine
    return Frame(pc, {machine.PC: pc, machine.SP: STACK}, "cfi")


def test_the_call_of_the_function_wins_over_a_nearer_pointer_call() -> None:
    made = calling(tables.X86_64, "e800ffffff")             # calls CODE, the function of pc
    made.put(CODE + 0x200 - 2, b"\xff\xd0")
    made.words(STACK, 5, CODE + 0x200, 6, RETURN, 7)
    found = scan.step(made.context(), frame_at(made, CODE + 0x20))
    assert found is not None
    assert (found.pc, found.how, found.cfa) == (RETURN, "scan", STACK + 32)
    assert found.registers[7] == STACK + 32


def test_a_pointer_call_is_better_than_nothing() -> None:
    made = calling(tables.X86_64, "ffd0")
    made.words(STACK, 5, CODE + 0x33, RETURN)
    found = scan.step(made.context(), frame_at(made, CODE + 0x20))
    assert found is not None and (found.pc, found.cfa) == (RETURN, STACK + 24)


def test_the_call_of_another_function_is_no_candidate() -> None:
    made = calling(tables.X86_64, "e800ffffff")
    made.words(STACK, RETURN)
    assert scan.step(made.context(), frame_at(made, CODE + 0x8000)) is None


@pytest.mark.parametrize(("kind", "code", "bit", "called"), CALLS)
def test_every_machine_s_calls_are_found(kind: tuple[int, ...], code: str, bit: int,
                                         called: int) -> None:
    made = calling(kind, code)
    made.words(STACK, 0, CODE + 0x51, RETURN | bit)
    found = scan.step(made.context(), frame_at(made, CODE + 0x30))
    assert found is not None and found.pc == RETURN | bit
    assert made.machine.LR not in found.registers


def test_a_signed_return_address_on_aarch64() -> None:
    made = calling(tables.AARCH64, "c1 ff ff 97")
    made.words(STACK, 0x002B_0000_0000_0000 | RETURN)
    found = scan.step(made.context(), frame_at(made, CODE + 0x30))
    assert found is not None and found.pc == RETURN


@pytest.mark.parametrize(("kind", "stub"), [
    (tables.ARM, "00c68fe2 0cca8ce2 10f0bce5"), (tables.AARCH64, "90000090 111240f9 20021fd6"),
    (tables.MIPS, "3c0f0041 8df90010 03200008"), (tables.RISCV64, "17ee0000 033e8e14 67000e00")])
def test_a_call_of_a_stub_is_weak(kind: tuple[int, ...], stub: str) -> None:
    made = Program(kind)
    code = {tables.ARM: "bf ff ff eb", tables.AARCH64: "c1 ff ff 97",
            tables.MIPS: "0c 10 40 00 00 00 00 00", tables.RISCV64: "ef f0 5f f0"}[kind]
    raw = bytes.fromhex(code)
    made.put(RETURN - len(raw), raw)
    made.words(STACK, RETURN)
    assert scan.step(made.context(), frame_at(made, CODE + 0x9000)) is None
    made.put(CODE, bytes.fromhex(stub))
    found = scan.step(made.context(), frame_at(made, CODE + 0x9000))
    assert found is not None and found.pc == RETURN


def test_the_search_is_bounded() -> None:
    made = calling(tables.X86_64, "ffd0")
    made.words(STACK + scan.WINDOW, RETURN)
    assert scan.step(made.context(), frame_at(made, CODE + 0x20)) is None
    made.words(STACK, *[RETURN] * 500)
    assert len(list(scan.candidates(made.context(), STACK))) == scan.MAX_CANDIDATES


def test_without_a_stack_pointer_there_is_nothing_to_search() -> None:
    made = calling(tables.X86_64, "ffd0")
    assert scan.step(made.context(), Frame(CODE, {16: CODE})) is None


@given(st.sampled_from(KINDS), st.binary(max_size=64), st.binary(max_size=256),
       st.integers(0, (1 << 64) - 1))
def test_never_raises(kind: tuple[int, ...], code: bytes, stack: bytes, sp: int) -> None:
    made = Program(kind)
    made.put(CODE, code)
    made.put(STACK, stack)
    made.words(STACK + 256, CODE + 16, CODE + 17, CODE + 33, CODE + 48)
    context = made.context()
    for at in (STACK, STACK + 1, sp):
        found = scan.step(context, Frame(CODE + 8, {context.machine.SP: at}))
        assert found is None or (found.how == "scan" and context.is_code(found.pc))
