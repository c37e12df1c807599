"""ARM (32-bit instructions) as prologue.py reads it.

Source: Arm Architecture Reference Manual, ARMv7-A, A5.  On the hot path: imports nothing.
"""

from __future__ import annotations

from .prologue_walk import (
    ALLOCATES,
    ENDS_BLOCK,
    OTHER,
    RETURNS,
    Decoder,
    Walk,
    signed,
)

__all__ = ["DECODER", "PRESERVED", "move_multiple", "move_vector"]

FP, SP, LR, PC = 11, 13, 14, 15
PRESERVED = frozenset(range(4, 12))

_ALWAYS, _NEVER = 14, 15
_AND, _SUB, _ADD, _ORR, _MOV, _MVN = 0, 2, 4, 12, 13, 15


def execute(walk: Walk, index: int) -> int:
    """One instruction."""
    word = walk.units[index]
    condition, group = word >> 28, word >> 25 & 7
    if condition == _NEVER:
        if group == 5:
            walk.call()                         # blx to Thumb
    elif group == 5:
        _branch(walk, word, index)
    elif condition != _ALWAYS:
        _conditional(walk, word, group)
    elif group < 2:
        _compute(walk, word, index)
    elif word & 0xfff000f0 == 0xe7f000f0:
        walk.trap()                             # udf
    elif group < 4:
        _transfer(walk, word, index)
    elif group == 4:
        _multiple(walk, word)
    elif group == 6:
        move_vector(walk, word)
    return 1


def _branch(walk: Walk, word: int, index: int) -> None:
    target = index + 2 + signed(word, 24)
    if word >> 24 & 1:
        walk.call()
    elif word >> 28 == _ALWAYS:
        walk.jump(target)
    else:
        walk.branch(target)


def _conditional(walk: Walk, word: int, group: int) -> None:
    """What is not always done: a return ends nothing, a result is uncertain."""
    rd = word >> 12 & 15
    loads = group in (2, 3) and word >> 20 & 1
    if ((group < 2 and word >> 23 & 3 != 2) or loads) and rd not in (SP, PC):
        walk.forget(rd)
    elif rd == PC and (group < 2 or loads) and word >> 16 & 15 == PC:
        walk.switch()                           # addls pc, pc, …; ldrls pc, [pc, …]


def _compute(walk: Walk, word: int, index: int) -> None:
    rd = word >> 12 & 15
    if word & 0x0ffffff0 == 0x012fff30:
        walk.call()                             # blx register
    elif word & 0x0fffffd0 == 0x012fff10:       # bx, bxj
        if word & 15 == LR:
            walk.leave()
        else:
            walk.jump()
    elif word & 0x02000090 == 0x00000090:
        _extra(walk, word)
    elif word & 0x01900000 == 0x01000000:       # compares; movw, movt, miscellaneous
        _miscellaneous(walk, word, rd)
    elif rd == PC:
        _to_pc(walk, word)
    else:
        _arithmetic(walk, word, rd)


def _to_pc(walk: Walk, word: int) -> None:
    if word & 0x0fffffff == 0x01a0f00e:
        walk.leave()                            # mov pc, lr
    else:
        walk.jump()                             # a jump table


def _miscellaneous(walk: Walk, word: int, rd: int) -> None:
    if word & 0x0ff00000 == 0x03000000:
        walk.constant(rd, word >> 4 & 0xf000 | word & 0xfff)
    elif word & 0x0ff00000 == 0x03400000:
        upper_half(walk, rd, word >> 4 & 0xf000 | word & 0xfff)
    elif word & 0x0ff000f0 == 0x01600010 or word & 0x0fb000f0 == 0x01000000:
        walk.forget(rd)                         # clz; mrs


def upper_half(walk: Walk, register: int, half: int) -> None:
    """movt"""
    low = walk.number(register)
    if low is None:
        walk.forget(register)
    else:
        walk.constant(register, low & 0xffff | half << 16)


def _arithmetic(walk: Walk, word: int, rd: int) -> None:
    kind, rn = word >> 21 & 15, word >> 16 & 15
    if word >> 25 & 1:
        turns = (word >> 8 & 15) * 2
        number = word & 0xff
        number = (number >> turns | number << 32 - turns) & 0xffffffff
        _with_number(walk, kind, rd, rn, number)
    elif word & 0xff0:
        walk.forget(rd)                         # a shifted operand
    elif kind == _MOV:
        walk.move(rd, word & 15)
    elif kind in (_ADD, _SUB):
        walk.add_registers(rd, rn, word & 15, 1 if kind == _ADD else -1)
    else:
        walk.forget(rd)


def _with_number(walk: Walk, kind: int, rd: int, rn: int, number: int) -> None:
    if kind in (_ADD, _SUB) and rn != PC:
        walk.add(rd, rn, number if kind == _ADD else -number)
    elif kind in (_MOV, _MVN):
        walk.constant(rd, number if kind == _MOV else ~number)
    else:
        walk.forget(rd)


def _extra(walk: Walk, word: int) -> None:
    """Multiplications, and transfers of halves and pairs."""
    rd, rn, kind = word >> 12 & 15, word >> 16 & 15, word >> 4 & 15
    if kind == 9:
        if word >> 24 & 1:
            walk.forget(rd)                     # swp ldrex strex
            return
        walk.forget(rn)
        if word >> 23 & 1:
            walk.forget(rd)                     # long multiplications
        return
    number = word >> 4 & 0xf0 | word & 15
    offset = number if word >> 23 & 1 else -number
    is_pair = kind in (13, 15) and not word >> 20 & 1
    if is_pair and word >> 22 & 1:
        move_indexed(walk, word, rn, offset, [rd, rd + 1], kind == 13)
        return
    if word >> 20 & 1 or (is_pair and kind == 13):
        walk.forget(rd)
    if word >> 21 & 1 or not word >> 24 & 1:
        walk.forget(rn)


def move_indexed(walk: Walk, word: int, base: int, offset: int, registers: list[int],
                 loads: bool) -> None:
    """Transfers of whole registers, with bits 24 and 21 for indexing before and writing back."""
    before, writes = word >> 24 & 1, word >> 21 & 1
    at = offset if before else 0
    if before and writes:
        walk.add(base, base, offset)
        at = 0
    for number, register in enumerate(registers):
        if loads:
            if register not in (SP, PC):
                walk.load(register, base, at + 4 * number)
        else:
            walk.store(register, base, at + 4 * number)
    if not before:
        walk.add(base, base, offset)


def _transfer(walk: Walk, word: int, index: int) -> None:
    """ldr and str of words and bytes."""
    rd, rn, loads = word >> 12 & 15, word >> 16 & 15, bool(word >> 20 & 1)
    if word >> 25 & 1:                          # register offset, or media instructions
        _by_register(walk, word, rd, rn, loads)
        return
    offset = (word & 0xfff) if word >> 23 & 1 else -(word & 0xfff)
    if loads and rn == PC:
        if rd == PC:
            walk.jump()
        else:
            walk.literal(rd, walk.address + 4 * index + 8 + offset)
    elif word >> 22 & 1:
        if loads:
            walk.forget(rd)
        if word >> 21 & 1 or not word >> 24 & 1:
            walk.add(rn, rn, offset)
    else:
        move_indexed(walk, word, rn, offset, [rd], loads)
        if loads and rd == PC:
            _loaded_pc(walk, rn)


def _by_register(walk: Walk, word: int, rd: int, rn: int, loads: bool) -> None:
    if word >> 4 & 1:
        walk.forget(rn if word >> 23 & 3 == 2 else rd)      # multiply, divide; the others
        return
    if loads and rd == PC:
        walk.jump()
    elif loads:
        walk.forget(rd)
    if word >> 21 & 1 or not word >> 24 & 1:
        walk.forget(rn)


def _loaded_pc(walk: Walk, base: int) -> None:
    if base == SP:
        walk.leave()
    else:
        walk.jump()


def _multiple(walk: Walk, word: int) -> None:
    base, registers = word >> 16 & 15, word & 0xffff
    loads = bool(word >> 20 & 1)
    move_multiple(walk, base, registers, word >> 23 & 3, word >> 21 & 1, loads)
    if loads and registers >> PC & 1:
        _loaded_pc(walk, FP if base == FP else SP if base == SP else base)


def move_multiple(walk: Walk, base: int, registers: int, mode: int, writes: int, loads: bool
                  ) -> None:
    """ldm and stm.  registers: one bit each; mode: 0 da, 1 ia, 2 db, 3 ib."""
    size = 4 * registers.bit_count()
    at = (4 - size, 0, -size, 4)[mode]
    where = walk.value(base)                    # the base may be among those that are loaded
    new_sp = None
    for register in range(16):
        if not registers >> register & 1:
            continue
        if not loads:
            walk.store(register, base, at)
        elif register == SP:
            new_sp = at
        elif register not in (PC, base):
            walk.load(register, base, at)
        at += 4
    if writes:
        walk.add(base, base, size if mode & 1 else -size)
    if new_sp is not None:
        walk.set(SP, (where[0], 0) if where is not None and where[0] == 0 else None)


def move_vector(walk: Walk, word: int) -> None:
    """vpush, vpop: only the base's change matters.  The same bits in Thumb."""
    base = word >> 16 & 15
    if word & 0x0e000e00 != 0x0c000a00 or not word >> 21 & 1:
        return
    size = 4 * (word & 0xff)
    if word >> 23 & 3 == 1:
        walk.add(base, base, size)
    elif word >> 23 & 3 == 2:
        walk.add(base, base, -size)


def classify(units: tuple[int, ...], index: int) -> int:
    """What the instruction is to the search for a function's start."""
    word = units[index]
    if word >> 28 != _ALWAYS:
        return ENDS_BLOCK if word >> 25 & 7 == 5 else OTHER
    if (word & 0xffff0000 == 0xe92d0000 or word & 0xfffff000 == 0xe24dd000  # push; sub sp
            or word & 0xffff0fff == 0xe52d0004 or word & 0xffbf0e00 == 0xed2d0a00   # push; vpush
            or word & 0xffff0ff0 == 0xe16d00f0 or word & 0xfffffff0 == 0xe04dd000):  # strd; sub
        return ALLOCATES
    if word & 0xffff8000 == 0xe8bd8000 or word in (0xe12fff1e, 0xe1a0f00e, 0xe49df004):
        return RETURNS
    is_flow = word & 0xffffffd0 == 0xe12fff10 or word & 0xfe000000 == 0xea000000
    sets_pc = word & 0xfc00f000 == 0xe000f000 or word & 0xfc10f000 == 0xe410f000
    is_trap = word & 0xfff000f0 == 0xe7f000f0
    return ENDS_BLOCK if is_flow or sets_pc or is_trap else OTHER


DECODER = Decoder(4, SP, LR, PRESERVED, (FP, 7), execute, classify,
                  pops_pc=True)
