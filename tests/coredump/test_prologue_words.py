"""prologue.step on a few instructions written out, and on code that is none."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.coredump.machine import Machine, of
from lastlog_py.coredump.memory import PiecesMemory
from lastlog_py.coredump.unwind import prologue
from lastlog_py.coredump.unwind.frame import Context, Frame

CODE, CALLER, STACK = 0x400000, 0x480000, 0x7f0000
KINDS = {"mips": (8, 1, 2), "mipsel": (8, 1, 1), "arm": (40, 1, 1), "aarch64": (183, 2, 1),
         "riscv64": (243, 2, 1), "ppc": (20, 1, 2), "mips64": (8, 2, 2)}
# A call, padded to 8 bytes: what comes behind it is a return address.
CALLS = {"mips": "0320f809 00000000", "mipsel": "0320f809 00000000", "arm": "e1a00000 ebfffffe",
         "aarch64": "d503201f d63f0020", "riscv64": "00000013 000080e7", "ppc": "60000000 48000001",
         "mips64": "0320f809 00000000"}
THUMB_CALL, MIPS16_CALL = "bf00 bf00 bf00 4788", "6500 6500 ea40 6500"


class Stopped:
    """A program that stands behind some code, with made-up values on its stack."""

    def __init__(self, name: str, words: str, odd: bool = False, exact: bool = False,
                 after: str = "") -> None:
        machine = of(*KINDS[name], 0)
        assert machine is not None
        self.machine: Machine = machine
        before, behind = _assembled(machine, words), _assembled(machine, after)
        call = CALLS[name] if not odd else THUMB_CALL if name == "arm" else MIPS16_CALL
        back = _assembled(machine, call)
        self.back = CALLER + len(back) | odd
        self.other = CALLER + 2 * len(back) | odd       # what another call returns to
        self.stack = bytearray(0x4000)
        memory = PiecesMemory(machine, [(CODE, before + behind), (CALLER, 2 * back + bytes(56)),
                                        (STACK, self.stack)])
        code = [(CODE, CODE + len(before + behind)), (CALLER, CALLER + 72)]
        self.context = Context(machine, memory, [], code)
        pc = CODE + len(before) | odd
        self.frame = Frame(pc, {machine.SP: STACK, machine.PC: pc},
                           "registers" if exact else "prologue", is_signal=exact)

    def put(self, offset: int, value: int) -> Stopped:
        """Store a word at that offset from the stack pointer."""
        size = self.machine.word
        self.stack[offset:offset + size] = value.to_bytes(size, self.machine.order)
        return self

    def step(self) -> Frame | None:
        return prologue.step(self.context, self.frame)


def _assembled(machine: Machine, words: str) -> bytes:
    """Words and halves in hex as the machine has them in memory."""
    order = "<" if machine.order == "little" else ">"
    return b"".join(struct.pack(order + ("I" if len(word) == 8 else "H"), int(word, 16))
                    for word in words.split())


# name, code up to the return address, odd, CFA less sp, offset of the return address from sp,
# registers that are restored: number → offset
CASES: list[tuple[str, str, bool, int, int, dict[int, int]]] = [
    # addiu sp,-32; sw ra,28; sw s0,24; jalr t9; nop
    ("mips", "27bdffe0 afbf001c afb00018 0320f809 00000000", False, 32, 28, {16: 24}),
    ("mipsel", "27bdffe0 afbf001c afb00018 0320f809 00000000", False, 32, 28, {16: 24}),
    # the same behind an early return whose delay slot frees the frame, reached by a branch
    ("mips", "27bdffe0 afbf001c 10800005 00000000 8fbf001c 03e00008 27bd0020 00000000 "
             "0320f809 00000000", False, 32, 28, {}),
    # behind a tail call with the freeing in its delay slot: no way is seen to lead here
    ("mips", "27bdffe0 afbf001c 00000000 8fbf001c 08100000 27bd0020 0320f809 00000000", False,
     32, 28, {}),
    # addiu sp,-32; sw ra,28; li t0; subu sp,sp,t0
    ("mips", "27bdffe0 afbf001c 24080100 03a8e823 0320f809 00000000", False, 288, 284, {}),
    # daddiu sp,-32; sd ra,24
    ("mips64", "67bdffe0 ffbf0018 0320f809 00000000", False, 32, 24, {}),
    # save 32,ra,s0-s1; jalr; nop
    ("mipsel", "64f4 ea40 6500", True, 32, 28, {17: 24, 16: 20}),
    # EXTEND save 64,ra,s0-s3
    ("mipsel", "f240 64f4 ea40 6500", True, 544, 540, {}),
    # push {r4, lr}; sub sp,#8; bl
    ("arm", "e92d4010 e24dd008 ebfffffe", False, 16, 12, {4: 8}),
    # push {r0-r3}; push {r4, lr}; bl
    ("arm", "e92d000f e92d4010 ebfffffe", False, 24, 4, {4: 0}),
    # str lr,[sp,#-4]!; sub sp,#12
    ("arm", "e52de004 e24dd00c ebfffffe", False, 16, 12, {}),
    # push {r4, lr}; vpush {d8}; popne {r4, pc}; bl
    ("arm", "e92d4010 ed2d8b02 18bd8010 ebfffffe", False, 16, 12, {4: 8}),
    # push {r4, lr}; sub sp,#16; blx r3
    ("arm", "b510 b084 4798", True, 24, 20, {4: 16}),
    # push.w {r4-r8, lr}; it ne; popne {pc}; blx r3
    ("arm", "e92d 41f0 bf18 bd10 4798", True, 24, 20, {8: 16, 4: 0}),
    # str.w lr,[sp,#-4]!; sub.w sp,#1024; blx r3
    ("arm", "f84d ed04 f5ad 6d80 4798", True, 1028, 1024, {}),
    # stp x29,x30,[sp,#-32]!; str x19,[sp,#16]; bl
    ("aarch64", "a9be7bfd f9000bf3 94000000", False, 32, 8, {29: 0, 19: 16}),
    # sub sp,#48; stp x29,x30,[sp,#32]
    ("aarch64", "d100c3ff a9027bfd 94000000", False, 48, 40, {29: 32}),
    # str x30,[sp,#-16]!
    ("aarch64", "f81f0ffe 94000000", False, 16, 0, {}),
    # mov x16,#0x10000; sub sp,sp,x16; stp x29,x30,[sp]
    ("aarch64", "d2a00030 cb3063ff a9007bfd 94000000", False, 65536, 8, {29: 0}),
    # c.addi sp,-32; c.sdsp ra,24; c.sdsp s0,16; c.jalr a5
    ("riscv64", "1101 ec06 e822 9782", False, 32, 24, {8: 16}),
    # addi sp,-2032; sd ra,2024; li t1,-2064 (lui, addi); add sp,t1; jalr
    ("riscv64", "81010113 7e113423 fffff337 7f030313 911a 9782", False, 4096, 4088, {}),
    # behind a function that ends in a trap: break, udf, brk, ebreak
    ("mips", "27bdfff8 8c020000 0000000d 27bdffe0 afbf001c 0320f809 00000000", False, 32, 28, {}),
    ("mips", "27bdfff8 8c020000 00000034 27bdffe0 afbf001c 0320f809 00000000", False, 32, 28, {}),
    ("mipsel", "63ff 9a40 e805 64f4 ea40 6500", True, 32, 28, {17: 24, 16: 20}),
    ("arm", "e24dd008 e5900000 e7f000f0 e92d4010 ebfffffe", False, 8, 4, {4: 0}),
    ("arm", "b082 6800 deff b510 4798", True, 8, 4, {4: 0}),
    ("aarch64", "d10043ff f9400000 d4207d00 a9be7bfd 94000000", False, 32, 8, {29: 0}),
    ("riscv64", "1141 6108 9002 1101 ec06 9782", False, 32, 24, {}),
    ("riscv64", "1141 6108 00100073 1101 ec06 9782", False, 32, 24, {}),
]


@pytest.mark.parametrize("name,words,odd,size,slot,saved", CASES)
def test_the_frame_that_the_code_made(name: str, words: str, odd: bool, size: int, slot: int,
                                      saved: dict[int, int]) -> None:
    one = Stopped(name, words, odd)
    if size >= 0x4000:
        one.stack.extend(bytes(size))
    one.put(slot, one.back)
    for number, offset in saved.items():
        one.put(offset, 0x1000 + number)
    found = one.step()
    assert found is not None
    assert (found.pc, found.cfa, found.how) == (one.back, STACK + size, "prologue")
    assert found.registers[one.machine.SP] == STACK + size
    assert {n: found.registers[n] for n in saved} == {n: 0x1000 + n for n in saved}


# name, code before pc, code from pc on, odd: a leaf, whose caller is in the link register
LEAVES = [
    ("mips", "03e00008 27bd0020", "24020001 03e00008 00000000", False),
    ("mips", "27bdffe0 afbf001c 8fbf001c 03e00008 27bd0020", "24020001 03e00008 00000000", False),
    ("arm", "e92d4010 e8bd8010", "e3a00001 e12fff1e", False),
    ("arm", "b510 bd10", "2001 4770", True),
    ("aarch64", "a9bf7bfd a8c17bfd d65f03c0", "52800020 d65f03c0", False),
    ("riscv64", "1101 ec06 60e2 6105 8082", "4505 8082", False),
    ("ppc", "9421ffe0 7c0802a6 90010024 4e800020", "38600001 4e800020", False),
]


@pytest.mark.parametrize("name,before,after,odd", LEAVES)
def test_a_leaf_behind_another_function(name: str, before: str, after: str, odd: bool) -> None:
    one = Stopped(name, before, odd, True, after)
    assert one.machine.LR is not None
    one.frame.registers[one.machine.LR] = one.back
    found = one.step()
    assert found is not None
    assert (found.pc, found.cfa, found.how) == (one.back, STACK, "link-register")


def test_behind_a_return_but_not_a_leaf() -> None:
    """The link register agrees with what was saved, or lies in the function."""
    words = "27bdffe0 afbf001c 0320f809 00000000 03e00008 27bd0020 00000000"
    for link in (None, CODE + 16):
        one = Stopped("mips", words, False, True, "00000000")
        one.put(28, one.back)
        one.frame.registers[31] = one.back if link is None else link
        found = one.step()
        # inside, but before code that no way leads to: a leaf that this function calls
        wanted = (one.back, STACK + 32) if link is None else (CODE + 16, STACK)
        assert found is not None and (found.pc, found.cfa) == wanted


@pytest.mark.parametrize(("words", "after", "odd"), [
    ("e92d4010 ebfffffe", "e5900000 e8bd8010", False), ("b510 f7ff fffe", "6800 bd10", True)])
def test_a_link_register_that_a_called_function_left(words: str, after: str, odd: bool) -> None:
    """ARM functions return without it."""
    one = Stopped("arm", words, odd, True, after).put(4, Stopped("arm", words, odd).back)
    one.frame.registers[14] = one.other
    found = one.step()
    assert found is not None and (found.pc, found.cfa) == (one.back, STACK + 8)


def test_more_room_in_the_middle_of_a_function() -> None:
    # addiu sp,-56; sw ra; beqz a0; nop; jalr t9; nop; jr ra; addiu sp,56; addiu sp,-32; syscall
    one = Stopped("mips", "27bdffc8 afbf0034 10800005 00000000 0320f809 00000000 03e00008 27bd0038"
                  " 27bdffe0 0000000c", False, True, "27bd0020 8fbf0034 03e00008 27bd0038")
    one.put(84, one.back)
    one.frame.registers[31] = one.back
    found = one.step()
    assert found is not None and (found.pc, found.cfa) == (one.back, STACK + 88)


def test_a_variable_that_points_into_the_frame() -> None:
    # addiu sp,-64; sw ra; sw s0; beqz a1; nop; move s0,a0; b; nop; addiu s0,sp,16; jalr t9; nop
    one = Stopped("mips", "27bdffc0 afbf003c afb00038 10a00004 00000000 00808025 10000002 00000000"
                  " 27b00010 0320f809 00000000", after="8fbf003c 03e00008 27bd0040")
    one.frame.registers[16] = STACK + 0x200         # it was the other way
    one.put(60, one.back).put(0x22c, one.other)
    found = one.step()
    assert found is not None and (found.pc, found.cfa) == (one.back, STACK + 64)


def test_a_return_address_kept_in_a_register() -> None:
    # libgcc's __mips16_call_stub: move s2,ra; jalr v0; move t9,v0
    one = Stopped("mips", "00000000 00000000 03e09025 0040f809 0040c825")
    one.frame.registers[18] = one.back
    found = one.step()
    assert found is not None
    assert (found.pc, found.cfa, found.how) == (one.back, STACK, "link-register")


@pytest.mark.parametrize("count", [10, 2000])
def test_a_routine_that_saves(count: int) -> None:
    """riscv's __riscv_save_0, near by and beyond what is read: jal t0; jalr a5 … c.addi sp,-16;
    c.sdsp s0,0; c.sdsp ra,8; jr t0."""
    offset = 6 + 4 * count
    jump = (offset & 0x7fe) << 20 | (offset & 0x800) << 9 | offset & 0xff000 | 0x2ef
    one = Stopped("riscv64", f"{jump:08x} 9782", after="00000013 " * count + "1141 e022 e406 8282")
    one.put(8, one.back).put(0, 0x1234)
    found = one.step()
    assert found is not None and (found.pc, found.cfa) == (one.back, STACK + 16)
    assert found.registers[8] == 0x1234


@pytest.mark.parametrize("nops", [7, 8])
def test_mips16_in_an_emulators_core(nops: int) -> None:
    """It has no bit 0; where pc is a multiple of 4 only the code tells."""
    # save 32,ra,s0-s1; move s0,a0; jal; …
    words = "64f4 6704 ea40 6500 " + "6a01 " * nops
    one = Stopped("mipsel", words, True, True, "9a40 e269 6a05 da01 6445 e8a0 " * 3)
    one.frame.pc &= ~1
    one.frame.registers[31] = one.other
    one.put(28, one.back)
    assert one.frame.pc % 4 == (2 if nops == 7 else 0)
    one.frame.registers[31] = CODE + 9              # what it called returned there
    found = one.step()
    assert found is not None and (found.pc, found.cfa) == (one.back, STACK + 32)


def test_frame_0_before_anything_is_saved() -> None:
    one = Stopped("aarch64", "d503201f", False, True, "a9be7bfd 94000000")
    one.frame.registers[30] = one.back
    found = one.step()
    assert found is not None and (found.pc, found.cfa) == (one.back, STACK)


def test_the_back_chain_and_its_link_register() -> None:
    # stwu r1,-32; mflr r0; bcl 20,31; mflr r30; stw r0,36; stw r31,28; bl
    one = Stopped("ppc", "9421ffe0 7c0802a6 429f0005 7fc802a6 90010024 93e1001c 48000001")
    one.put(0, STACK + 32).put(36, one.back).put(28, 0x1234)
    found = one.step()
    assert found is not None
    assert (found.pc, found.cfa, found.how) == (one.back, STACK + 32, "frame-pointer")
    assert found.registers[31] == 0x1234


def test_bcl_leaves_no_return_address_in_the_link_register() -> None:
    one = Stopped("ppc", "9421ffe0 7c0802a6 429f0005", False, True, "7fc802a6 4e800020")
    one.frame.registers.update({65: CODE + 12, 0: one.back})
    found = one.step()
    assert found is not None and (found.pc, found.cfa) == (one.back, STACK + 32)


def test_a_signed_return_address() -> None:
    one = Stopped("aarch64", "d503233f a9be7bfd 94000000")
    one.put(8, one.back | 0x2a << 56)
    found = one.step()
    assert found is not None and found.pc == one.back


def test_a_frame_pointer_where_the_stack_pointer_is_lost() -> None:
    # addiu sp,-32; sw ra,28; sw s8,24; move s8,sp; subu sp,sp,v0; jalr t9; nop
    one = Stopped("mips", "27bdffe0 afbf001c afbe0018 03a0f025 03a2e823 0320f809 00000000")
    one.frame.registers[30] = STACK + 0x100
    one.put(0x11c, one.back).put(0x118, 0x4321)
    found = one.step()
    assert found is not None
    assert (found.pc, found.cfa, found.how) == (one.back, STACK + 0x120, "frame-pointer")
    assert found.registers[30] == 0x4321


class Counting(PiecesMemory):
    """Memory that counts the bytes of each read."""

    def __init__(self, machine: Machine, pieces: list[tuple[int, bytes]]) -> None:
        super().__init__(machine, pieces)
        self.reads: list[int] = []

    def read(self, address: int, size: int) -> bytes:
        self.reads.append(size)
        return super().read(address, size)


class Named:
    """A module with one symbol."""

    def __init__(self, start: int) -> None:
        self.base, self.size, self.start = CODE, 0x40000, start

    def symbol(self, address: int) -> tuple[str, int]:
        return "function", address - self.start


def test_a_function_longer_than_the_search_is_known_by_its_symbol() -> None:
    words = "27bdffe0 afbf001c 0320f809 00000000 " + "00000000 " * 4000 + "0320f809 00000000"
    one = Stopped("mips", words)
    one.put(28, one.back)
    assert one.step() is None
    module: Any = Named(CODE)
    one.context = Context(one.machine, one.context.memory, [module], one.context.code)
    found = one.step()
    assert found is not None and (found.pc, found.cfa) == (one.back, STACK + 32)


def test_the_search_reads_little() -> None:
    one = Stopped("mips", "00000000 " * 8000)
    memory = one.context.memory = Counting(one.machine, [(CODE, bytes(32000))])
    assert one.step() is None
    assert len(memory.reads) <= 2 and sum(memory.reads) <= 16384


@pytest.mark.parametrize("name", KINDS)
def test_nothing_to_say(name: str) -> None:
    one = Stopped(name, "00000000")
    for frame in (Frame(0, {}), Frame(CODE + 4, {}), Frame((1 << 64) - 1, {one.machine.SP: 0}),
                  Frame(CODE, {one.machine.SP: one.machine.mask}, is_signal=True)):
        assert prologue.step(one.context, frame) is None


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.booleans(), st.booleans(), st.integers(0, 1 << 32),
       st.integers(0, 9000))
def test_random_code_and_stack(name: str, odd: bool, exact: bool, seed: int, size: int) -> None:
    """Whatever there is: no exception, and an answer in the end."""
    random = Random(seed)
    one = Stopped(name, "", False, exact)
    machine = one.machine
    code = _hostile_code(random, machine, size)
    stack = random.randbytes(4096)
    memory = PiecesMemory(machine, [(CODE, code), (STACK, stack)])
    one.context = Context(machine, memory, [], [(CODE, CODE + len(code))])
    frame = one.frame
    frame.pc = CODE + random.randrange(len(code) + 1) // 4 * 4 | (odd and machine.mode_bit)
    for number in range(32):
        frame.registers[number] = random.choice((STACK + 64, CODE + 4, random.getrandbits(64)))
    for _ in range(4):
        found = prologue.step(one.context, frame)
        if found is None:
            break
        assert found.how in ("prologue", "link-register", "frame-pointer")
        assert found.registers[machine.PC] == found.pc
        assert all(0 <= value < 1 << 64 for value in found.registers.values())
        frame = found


def _hostile_code(random: Random, machine: Machine, size: int) -> bytes:
    """Random bytes among what prologues are made of."""
    common = [word.split() for _, word, *_ in CASES]
    pieces = [_assembled(machine, " ".join(random.choice(common)))
              if random.random() < 0.3 else random.randbytes(4) for _ in range(size // 8)]
    return b"".join(pieces)
