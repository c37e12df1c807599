"""unwind/signal_frame.py: every trampoline of every machine, then the test cores' own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump.backtrace import Limits, backtrace
from lastlog_py.coredump.unwind import signal_frame
from lastlog_py.coredump.unwind.frame import Frame
from tests.coredump import tables
from tests.coredump.cases import cases, close, needs_cores, opened, sets
from tests.coredump.tables import CODE, STACK, Program

MIPSEL, MIPS64, MIPS64EL, RISCV64 = (8, 1, 1), (8, 2, 2), (8, 2, 1), (243, 2, 1)
MIPS_N32EL = (8, 1, 1, 0x20)

# machine, trampoline in memory, where the pc and the stack pointer are from sp on, bytes of a slot
TRAMPOLINES = [
    pytest.param(tables.X86_64, "48c7c00f0000000f05", 168, 160, 8, id="x86_64"),
    pytest.param(tables.X86_64, "b80f0000000f05", 168, 160, 8, id="x86_64 short mov"),
    pytest.param(tables.I386, "58b877000000cd80", 60, 32, 4, id="i386"),
    pytest.param(tables.I386, "b8ad000000cd80", 216, 188, 4, id="i386 rt"),
    pytest.param(tables.AARCH64, "681180d2010000d4", 568, 560, 8, id="aarch64"),
    pytest.param(tables.ARM, "7770a0e3000000ef", 92, 84, 4, id="arm"),
    pytest.param(tables.ARM, "ad70a0e3000000ef", 220, 212, 4, id="arm rt"),
    pytest.param(tables.ARM, "7770a0e3770090ef", 92, 84, 4, id="arm, the kernel's"),
    pytest.param(tables.ARM, "ad70a0e3ad0090ef", 220, 212, 4, id="arm rt, the kernel's"),
    pytest.param(tables.ARM, "772700df", 92, 84, 4, id="thumb, the kernel's"),
    pytest.param(tables.ARM, "ad2700df", 220, 212, 4, id="thumb rt, the kernel's"),
    pytest.param(tables.ARM, "4ff0770700df", 92, 84, 4, id="thumb"),
    pytest.param(tables.ARM, "4ff0ad0700df", 220, 212, 4, id="thumb rt"),
    pytest.param(tables.ARMEB, "e3a07077ef000000", 92, 84, 4, id="armeb"),
    pytest.param(tables.MIPS, "240210170000000c", 32, 272, 8, id="mips"),
    pytest.param(tables.MIPS, "240210610000000c", 184, 424, 8, id="mips rt"),
    pytest.param(MIPSEL, "171002240c000000", 32, 272, 8, id="mipsel"),
    pytest.param(MIPSEL, "611002240c000000", 184, 424, 8, id="mipsel rt"),
    pytest.param(MIPS64, "2402145b0000000c", 768, 424, 8, id="mips64"),
    pytest.param(MIPS64EL, "5b1402240c000000", 768, 424, 8, id="mips64el"),
    pytest.param(tables.MIPS_N32, "240218430000000c", 752, 408, 8, id="n32"),
    pytest.param(MIPS_N32EL, "431802240c000000", 752, 408, 8, id="n32 el"),
    pytest.param(RISCV64, "9308b00873000000", 304, 320, 8, id="riscv64"),
]


def stopped(kind: tuple[int, ...], code: str) -> Program:
    """A program whose handler has returned into a trampoline at CODE."""
    made = Program(kind)
    made.put(CODE, bytes.fromhex(code))
    return made


@pytest.mark.parametrize(("kind", "code", "pc", "sp", "slot"), TRAMPOLINES)
def test_registers_of_the_interrupted_code(kind: tuple[int, ...], code: str, pc: int, sp: int,
                                           slot: int) -> None:
    made = stopped(kind, code)
    made.put(STACK + pc, made.number(0x12344, slot))
    made.put(STACK + sp, made.number(0x7FFF0, slot))
    found = signal_frame.step(made.context(), made.frame(CODE, "cfi"))
    assert found is not None
    assert (found.pc, found.how, found.is_signal) == (0x12344, "signal", True)
    assert found.registers[made.machine.PC] == 0x12344
    assert found.registers[made.machine.SP] == 0x7FFF0


@pytest.mark.parametrize(("kind", "code", "pc", "sp", "slot"), TRAMPOLINES)
def test_nothing_else_is_a_trampoline(kind: tuple[int, ...], code: str, pc: int, sp: int,
                                      slot: int) -> None:
    for at in range(len(code) // 2):
        damaged = bytearray.fromhex(code)
        damaged[at] ^= 0x40
        made = stopped(kind, damaged.hex())
        assert signal_frame.step(made.context(), made.frame(CODE, "cfi")) is None
        assert not signal_frame.at_trampoline(made.context(), CODE)
    assert signal_frame.at_trampoline(stopped(kind, code).context(), CODE)


@pytest.mark.parametrize(("code", "pointer"), [("3800007744000002", 92), ("380000ac44000002", 256)])
def test_powerpc_keeps_the_address_of_the_registers(code: str, pointer: int) -> None:
    made = stopped(tables.PPC, code)
    made.words(STACK + pointer, STACK + 0x800)
    made.words(STACK + 0x800, *range(0x100, 0x100 + 48))
    found = signal_frame.step(made.context(), made.frame(CODE, "cfi"))
    assert found is not None
    assert [found.registers[number] for number in (0, 1, 31)] == [0x100, 0x101, 0x11F]
    assert (found.pc, found.registers[65], found.registers[66]) == (0x120, 0x124, 0x123)


def test_every_register_of_x86_64_is_the_right_one() -> None:
    made = stopped(tables.X86_64, "48c7c00f0000000f05")
    order = "r8 r9 r10 r11 r12 r13 r14 r15 rdi rsi rbp rbx rdx rax rcx sp pc".split()
    made.words(STACK + 40, *range(100, 117))
    found = signal_frame.step(made.context(), made.frame(CODE, "cfi"))
    assert found is not None
    assert {made.machine.names[number]: value for number, value in found.registers.items()} == \
        {name: 100 + at for at, name in enumerate(order)}


def test_every_register_of_i386_is_the_right_one() -> None:
    made = stopped(tables.I386, "58b877000000cd80")
    order = "gs fs es ds edi esi ebp sp ebx edx ecx eax trap error pc".split()
    made.words(STACK + 4, *range(100, 115))
    found = signal_frame.step(made.context(), made.frame(CODE, "cfi"))
    assert found is not None
    assert {made.machine.names[number]: value for number, value in found.registers.items()} == \
        {name: 100 + at for at, name in enumerate(order) if name in made.machine.registers}


def test_thumb_code_that_was_interrupted_has_an_odd_pc() -> None:
    made = stopped(tables.ARM, "7770a0e3000000ef")
    made.words(STACK + 32, *range(15), 0x8000, 0x60000030)
    found = signal_frame.step(made.context(), made.frame(CODE, "cfi"))
    assert found is not None and found.pc == 0x8001
    made.words(STACK + 32, *range(15), 0x8000, 0x60000010)
    found = signal_frame.step(made.context(), made.frame(CODE, "cfi"))
    assert found is not None and found.pc == 0x8000


def test_a_thumb_trampoline_is_returned_to_with_an_odd_pc() -> None:
    made = stopped(tables.ARM, "772700df")
    assert signal_frame.at_trampoline(made.context(), CODE | 1)


def test_o32_takes_the_low_half_of_a_slot() -> None:
    made = stopped(tables.MIPS, "240210170000000c")
    made.put(STACK + 32, bytes.fromhex("ffffffff80401230"))
    made.put(STACK + 40 + 8 * 29, bytes.fromhex("000000007fff1000"))
    found = signal_frame.step(made.context(), made.frame(CODE, "cfi"))
    assert found is not None
    assert (found.pc, found.registers[29]) == (0x80401230, 0x7FFF1000)


def test_a_stack_that_was_cut_gives_no_frame() -> None:
    made = stopped(tables.X86_64, "48c7c00f0000000f05")
    assert signal_frame.step(made.context(), made.frame(CODE, "cfi")) is None
    context = made.context()
    assert signal_frame.step(context, Frame(CODE, {context.machine.PC: CODE})) is None


@given(st.sampled_from([row.values[0] for row in TRAMPOLINES] + [tables.PPC]),
       st.binary(max_size=12), st.binary(max_size=900), st.integers(0, (1 << 64) - 1))
def test_never_raises(kind: tuple[int, ...], code: bytes, stack: bytes, sp: int) -> None:
    made = Program(kind)
    made.put(CODE, code)
    made.put(STACK, stack)
    context = made.context()
    for at in (STACK, sp):
        frame = Frame(CODE, {context.machine.SP: at})
        found = signal_frame.step(context, frame)
        assert found is None or (found.is_signal and context.machine.SP in found.registers)


@needs_cores()
@pytest.mark.parametrize("name", sets())
def test_the_cores_signal_frames(name: str) -> None:
    """Behind the handler comes the trampoline, then what the signal interrupted: kill()."""
    one = opened(cases(f"{name}/sig")[0])
    try:
        frames = backtrace(one.context, one.threads[0].registers, Limits()).frames
        at = [frame["kind"] for frame in one.truth[0].frames].index("signal-trampoline")
        assert [index for index, frame in enumerate(frames) if frame.is_signal] == [at + 1]
        assert frames[at + 1].how == "signal"
    finally:
        close(one)
