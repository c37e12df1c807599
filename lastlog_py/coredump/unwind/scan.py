"""The last resort: look through the stack for what can be the return address.

A word on the stack is taken for it when it lies in executable memory right behind a call
instruction.  A call whose target is the function the frame is in is as good as certain; one whose
target is not known is weak, and only taken where there is no better one.  Still, all of it is
guesswork, and marked so: a stale address from an earlier call looks just the same.

On the hot path.
"""

from __future__ import annotations

import struct

from . import call_site
from .frame import Context, Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["candidates", "step"]

WINDOW, PIECE = 32768, 2048     # bytes of the stack that are looked at, and at a time
NEAR = 8192                 # bytes: no function is longer, as a rule
MAX_CANDIDATES = 64
STUB_SIZE = 16              # bytes
# Per family, mask and value of the jump that ends a stub; x86's are followed by call_site.
STUB_JUMPS = {"arm": (0xFFFFF000, 0xE5BCF000), "aarch64": (0xFFFFFFFF, 0xD61F0220),
              "mips": (0xFFFFF83F, 0x03200008), "riscv": (0xFFFFFFFF, 0x000E0067),
              "ppc": (0xFFFFFFFF, 0x4E800420)}


def step(context: Context, frame: Frame) -> Frame | None:
    """The caller's frame by the best return address above the stack pointer."""
    sp = frame.registers.get(context.machine.SP)
    if sp is None:
        return None
    weak = None
    for slot, address, target in candidates(context, sp):
        rank = _rank(context, frame, target)
        if rank == 2:
            return _caller(context, frame, slot, address)
        if rank == 1 and weak is None:
            weak = _caller(context, frame, slot, address)
    return weak


def candidates(context: Context, sp: int) -> Iterator[tuple[int, int, int]]:
    """(slot, return address, target of the call before it) from `sp` upward.

    What was read of the stack counts: a window that was cut gives fewer.
    """
    machine = context.machine
    start, count = -(-sp // machine.word) * machine.word, 0
    if not context.code:
        return
    low, high = context.code[0][0], context.code[-1][1]
    is_signed = machine.family == "aarch64"
    for piece in range(start, start + WINDOW, PIECE):
        stack = context.memory.read(piece, PIECE)
        for at, value in enumerate(_words(context, stack)):
            if not low <= value < high and not is_signed:   # nearly all: half of the time
                continue
            address = call_site.code_pointer(context, value)
            if not context.is_code(address):
                continue
            target = call_site.target(context, address)
            if target is not None and count < MAX_CANDIDATES:
                count += 1
                yield piece + at * machine.word, address, target
        if len(stack) < PIECE:
            return


def _words(context: Context, data: bytes) -> tuple[int, ...]:
    machine = context.machine
    count = len(data) // machine.word
    order = "<" if machine.order == "little" else ">"
    return struct.unpack_from(f"{order}{count}{'Q' if machine.word == 8 else 'I'}", data)


def _rank(context: Context, frame: Frame, target: int) -> int:
    """How sure it is that a call of `target` leads to the frame: 2 very, 1 weak, 0 not at all."""
    if target == call_site.INDIRECT:
        return 1
    pc = context.machine.code_address(frame.pc)
    if target <= pc < target + NEAR:
        return 2 if _same_function(context, frame, target) else 0
    return 1 if _is_stub(context, target) else 0


def _same_function(context: Context, frame: Frame, target: int) -> bool:
    """Does no exported function begin between `target` and the frame's pc?"""
    pc = context.lookup(frame)
    module = context.module_at(pc)
    symbol = module.symbol(pc) if module else None
    return symbol is None or target >= pc - symbol[1]


def _is_stub(context: Context, target: int) -> bool:
    """Is `target` a few instructions that jump on to where a table says, like a PLT's entry?"""
    jumps = STUB_JUMPS.get(context.machine.family)
    if jumps is None:
        return False
    order = context.machine.order
    code = context.memory.read(target, STUB_SIZE)
    return any(int.from_bytes(code[offset:offset + 4], order) & jumps[0] == jumps[1]
               for offset in range(0, len(code) - 3, 4))


def _caller(context: Context, frame: Frame, slot: int, address: int) -> Frame:
    machine = context.machine
    sp = slot + machine.word
    registers = {number: value for number, value in frame.registers.items()
                 if number != machine.LR}
    registers[machine.PC], registers[machine.SP] = address, sp
    return Frame(address, registers, how="scan", cfa=sp)
