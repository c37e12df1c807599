"""MIPS (32- and 64-bit, with delay slots) as prologue.py reads it.

Source: MIPS Architecture For Programmers, volume II-A.  On the hot path: imports nothing.
"""

from __future__ import annotations

from .prologue_walk import (
    ALLOCATES,
    CONSTANT,
    ENDS_BLOCK,
    OTHER,
    RETURNS,
    Decoder,
    Walk,
    signed,
)

__all__ = ["DECODER", "USUAL"]

SP, S8, RA = 29, 30, 31

# Major opcodes that 32-bit programs have: all but the 64-bit ones, coprocessors 0, 2 and 3, and
# what is reserved.
USUAL = frozenset((*range(16), 17, *range(20, 24), 28, 31, *range(32, 39), *range(40, 44), 46, 48,
                   49, 51, 53, 56, 57, 61))

_SW, _SD, _LW, _LD = 43, 63, 35, 55
_ADD_IMMEDIATE = (8, 9, 24, 25)                 # addi addiu daddi daddiu
_MOVES = (0x21, 0x2d, 0x25)                     # addu daddu or
_SUBTRACT = (0x23, 0x2f)                        # subu dsubu
_NO_RESULT = (0x08, 0x0c, 0x0d, 0x0f, 0x11, 0x13, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f)
_LINK = (0x10, 0x11, 0x12, 0x13)                # bltzal bgezal bltzall bgezall


def execute(walk: Walk, index: int) -> int:
    """One instruction, with what is in its delay slot."""
    word = walk.units[index]
    if not _is_flow(word):
        _plain(walk, word)
        return 1
    if index + 1 >= walk.limit:
        return 1                                # the walk ends in the delay slot
    slot = walk.units[index + 1]
    if not _is_flow(slot):
        _plain(walk, slot)
    _flow(walk, word, index)
    return 2


def _is_flow(word: int) -> bool:
    """Whether the instruction may go elsewhere, and has a delay slot."""
    op = word >> 26
    if op == 0:
        return word & 0x3e == 8                 # jr jalr
    if op == 1:
        return word >> 16 & 0xc == 0            # not traps, not synci
    if op == 17:
        return word >> 21 & 31 == 8             # bc1f bc1t
    return 2 <= op <= 7 or 20 <= op <= 23 or op == 29


def _flow(walk: Walk, word: int, index: int) -> None:
    """A jump, branch or call, after its delay slot."""
    op = word >> 26
    if op == 0:
        _jump_register(walk, word)
    elif op in (3, 29) or (op == 1 and word >> 16 & 31 in _LINK):
        walk.call()                             # jal jalx bal
    elif op == 2:
        target = (walk.address + 4 * index + 4) & ~0xfffffff | (word & 0x3ffffff) << 2
        walk.jump((target - walk.address) >> 2)
    else:
        target = index + 1 + signed(word, 16)
        if op == 4 and word >> 21 & 31 == word >> 16 & 31:
            walk.jump(target)                   # b
        else:
            walk.branch(target)


def _jump_register(walk: Walk, word: int) -> None:
    if word & 1 and word >> 11 & 31:
        walk.call()                             # jalr
    elif word >> 21 & 31 == RA:
        walk.leave()
    else:
        walk.jump()


def _plain(walk: Walk, word: int) -> None:
    """An instruction that only computes, loads or stores."""
    op, rs, rt = word >> 26, word >> 21 & 31, word >> 16 & 31
    if op in (_SW, _SD):
        if walk.width == (4 if op == _SW else 8):
            walk.store(rt, rs, signed(word, 16))
    elif op in (_LW, _LD) and walk.width == (4 if op == _LW else 8):
        walk.load(rt, rs, signed(word, 16))
    elif op in _ADD_IMMEDIATE:
        if rs == 0:
            walk.constant(rt, signed(word, 16))
        else:
            walk.add(rt, rs, signed(word, 16))
    elif op == 0:
        _special(walk, word, rs, rt)
    elif op == 15:
        walk.constant(rt, signed((word & 0xffff) << 16, 32))
    elif op == 13:
        _or_immediate(walk, rt, rs, word & 0xffff)
    else:
        _clobber(walk, word, op, rt)


def _special(walk: Walk, word: int, rs: int, rt: int) -> None:
    function, rd = word & 63, word >> 11 & 31
    if _is_trap(word):
        walk.trap()
        return
    if function in _MOVES and (rs == 0 or rt == 0):
        if rs == rt:
            walk.constant(rd, 0)
        else:
            walk.move(rd, rs or rt)
    elif function in (0x21, 0x2d):
        walk.add_registers(rd, rs, rt)
    elif function in _SUBTRACT and rs:
        walk.add_registers(rd, rs, rt, -1)
    elif rd and function not in _NO_RESULT:
        walk.forget(rd)


def _is_trap(word: int) -> bool:
    """break; teq zero, zero"""
    return word & 0xfc00003f == 13 or word == 0x34


def _or_immediate(walk: Walk, rt: int, rs: int, number: int) -> None:
    value = walk.value(rs)
    if rs == 0:
        walk.constant(rt, number)
    elif value is not None and value[0] == CONSTANT:
        walk.constant(rt, value[1] | number)
    else:
        walk.forget(rt)


def _clobber(walk: Walk, word: int, op: int, rt: int) -> None:
    """Registers that other instructions write."""
    if 10 <= op <= 14 or 26 <= op <= 27 or 32 <= op <= 39 or op in (48, 52, 55, 56, 60):
        walk.forget(rt)
    elif op == 28 or (op == 31 and word & 63 == 0x20):
        walk.forget(word >> 11 & 31)            # mul clz; seb seh wsbh
    elif op in (31, 16, 17, 18) and (op == 31 or word >> 21 & 31 < 3):
        walk.forget(rt)                         # ext ins rdhwr; mfc


# libgcc's __mips16_call_stub_… keep the return address in s2 and have no frame.
def classify(units: tuple[int, ...], index: int) -> int:
    """What the instruction is to the search for a function's start."""
    word = units[index]
    top = word >> 16
    if top in (0x27bd, 0x67bd):
        return ALLOCATES if word & 0x8000 else OTHER
    if word == 0x03e00008:
        return RETURNS
    if word & 0xffe0ffff in (0x03a0e823, 0x03a0e82f) or word == 0x03e09025:
        return ALLOCATES                        # subu sp,sp,register; move s2,ra: see below
    return ENDS_BLOCK if _is_flow(word) or _is_trap(word) else OTHER


DECODER = Decoder(4, SP, RA, frozenset((*range(16, 24), S8)), (S8, 16, 17), execute, classify,
                  delay=1, lead=2)
