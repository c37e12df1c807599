"""Thumb and Thumb-2 as prologue.py reads them.

Source: Arm Architecture Reference Manual, ARMv7-A, A6.  On the hot path: imports nothing.
"""

from __future__ import annotations

from .prologue_arm import PRESERVED, move_indexed, move_multiple, move_vector, upper_half
from .prologue_walk import (
    ALLOCATES,
    ENDS_BLOCK,
    OTHER,
    RETURNS,
    Decoder,
    Walk,
    is_second,
    signed,
)

__all__ = ["DECODER"]

R7, R11, SP, LR, PC = 7, 11, 13, 14, 15
MAX_TABLE = 512                 # entries of a jump table


def execute(walk: Walk, index: int) -> int:
    """One instruction, or an IT block; units consumed."""
    half = walk.units[index]
    if half >> 11 >= 0x1d:
        if index + 1 >= len(walk.units):
            return 1
        return _wide(walk, half << 16 | walk.units[index + 1], index)
    if half & 0xff00 == 0xbf00 and half & 15:
        return 1 + _conditional(walk, half, index + 1)
    _NARROW[half >> 12](walk, half, index)
    return 1


def _conditional(walk: Walk, half: int, index: int) -> int:
    """The instructions of an IT block, which may or may not be executed: only their branches."""
    units = 0
    mask = half & 15
    for _ in range(4 - (mask & -mask).bit_length() + 1):
        if index + units >= walk.limit:
            break
        here = walk.units[index + units]
        if here & 0xf800 == 0xe000:
            walk.branch(index + units + 2 + signed(here, 11))
        units += 2 if here >> 11 >= 0x1d else 1
    return units


# ---- 16-bit instructions, by the upper four bits

def _shifts(walk: Walk, half: int, index: int) -> None:
    """0, 1: shifts; adds and subs of three operands."""
    rd, rs = half & 7, half >> 3 & 7
    kind = half >> 9
    if half >> 6 == 0:
        walk.move(rd, rs)
    elif kind in (14, 15):
        walk.add(rd, rs, (half >> 6 & 7) * (1 if kind == 14 else -1))
    else:
        walk.forget(rd)


def _with_byte(walk: Walk, half: int, index: int) -> None:
    """2, 3: mov, cmp, add, sub with an 8-bit number."""
    rd, number, kind = half >> 8 & 7, half & 0xff, half >> 11 & 3
    if kind == 0:
        walk.constant(rd, number)
    elif kind > 1:
        walk.add(rd, rd, number if kind == 2 else -number)


def _four(walk: Walk, half: int, index: int) -> None:
    """4: computing with low registers, with any, bx and blx, literals."""
    if half & 0x0800:
        address = (walk.address + 2 * index + 4 & ~3) + (half & 0xff) * 4
        walk.literal(half >> 8 & 7, address)
    elif half & 0x0c00 == 0:
        _low_registers(walk, half)
    else:
        _any_registers(walk, half)


def _low_registers(walk: Walk, half: int) -> None:
    rd, kind = half & 7, half >> 6 & 15
    number = walk.number(half >> 3 & 7)
    if kind == 9 and number is not None:
        walk.constant(rd, -number)              # negs
    elif kind not in (8, 10, 11):               # tst cmp cmn
        walk.forget(rd)


def _any_registers(walk: Walk, half: int) -> None:
    rd, rm, kind = half & 7 | half >> 4 & 8, half >> 3 & 15, half >> 8 & 3
    if kind == 3:
        if half & 0x80:
            walk.call()
        else:
            _jump_to(walk, rm)
    elif rd == PC:
        if kind == 2:
            _jump_to(walk, rm)
        else:
            walk.jump()
    elif kind == 0:
        walk.add_registers(rd, rd, rm)
    elif kind == 2:
        walk.move(rd, rm)


def _jump_to(walk: Walk, register: int) -> None:
    if register == LR:
        walk.leave()
    else:
        walk.jump()


def _by_register(walk: Walk, half: int, index: int) -> None:
    """5: transfers with a register offset."""
    if half >> 9 & 7 >= 3:
        walk.forget(half & 7)


def _words(walk: Walk, half: int, index: int) -> None:
    """6: ldr and str with an offset."""
    offset = (half >> 6 & 31) * 4
    if half & 0x0800:
        walk.load(half & 7, half >> 3 & 7, offset)
    else:
        walk.store(half & 7, half >> 3 & 7, offset)


def _parts(walk: Walk, half: int, index: int) -> None:
    """7, 8: ldrb strb, ldrh strh."""
    if half & 0x0800:
        walk.forget(half & 7)


def _stack_words(walk: Walk, half: int, index: int) -> None:
    """9: ldr and str relative to sp."""
    if half & 0x0800:
        walk.load(half >> 8 & 7, SP, (half & 0xff) * 4)
    else:
        walk.store(half >> 8 & 7, SP, (half & 0xff) * 4)


def _addresses(walk: Walk, half: int, index: int) -> None:
    """10: add relative to pc or sp."""
    if half & 0x0800:
        walk.add(half >> 8 & 7, SP, (half & 0xff) * 4)
    else:
        walk.forget(half >> 8 & 7)


def _miscellaneous(walk: Walk, half: int, index: int) -> None:
    """11: push, pop, sp, cbz, extensions."""
    if half & 0x0f00 == 0:
        walk.add(SP, SP, (half & 0x7f) * (-4 if half & 0x80 else 4))
    elif half & 0x0e00 == 0x0400:
        move_multiple(walk, SP, half & 0xff | half << 6 & 0x4000, 2, 1, False)
    elif half & 0x0e00 == 0x0c00:
        move_multiple(walk, SP, half & 0xff | half << 7 & 0x8000, 1, 1, True)
        if half & 0x0100:
            walk.leave()
    elif half & 0x0500 == 0x0100:
        walk.branch(index + 2 + (half >> 4 & 0x20 | half >> 3 & 0x1f))     # cbz cbnz
    elif half & 0x0f00 in (0x0200, 0x0a00):
        walk.forget(half & 7)                   # sxth…, rev…


def _multiple(walk: Walk, half: int, index: int) -> None:
    """12: ldmia and stmia."""
    base, loads = half >> 8 & 7, bool(half & 0x0800)
    writes = 0 if loads and half >> base & 1 else 1
    move_multiple(walk, base, half & 0xff, 1, writes, loads)
    if not writes:
        walk.forget(base)


def _branch(walk: Walk, half: int, index: int) -> None:
    """13: conditional branches; undefined instructions and svc."""
    if half >> 8 & 15 < 14:
        walk.branch(index + 2 + signed(half, 8))
    elif half & 0x0f00 == 0x0e00:
        walk.trap()                             # udf


def _jump(walk: Walk, half: int, index: int) -> None:
    """14: b"""
    walk.jump(index + 2 + signed(half, 11))


_NARROW = (_shifts, _shifts, _with_byte, _with_byte, _four, _by_register, _words, _parts, _parts,
           _stack_words, _addresses, _miscellaneous, _multiple, _branch, _jump, _jump)


# ---- 32-bit instructions

def _wide(walk: Walk, word: int, index: int) -> int:
    """Units consumed: 2, and a jump table behind the instruction."""
    if word & 0xfe400000 == 0xe8000000:
        _wide_multiple(walk, word)
    elif word & 0xfff0ffe0 == 0xe8d0f000:
        return 2 + _table(walk, word, index + 2)
    elif word & 0xfe400000 == 0xe8400000:
        _pair(walk, word)
    elif word & 0xfe000000 == 0xea000000:
        _shifted(walk, word)
    elif word & 0xee000000 == 0xec000000:
        move_vector(walk, word)
    elif word & 0xf8008000 == 0xf0008000:
        _wide_branch(walk, word, index)
    elif word & 0xf8000000 == 0xf0000000:
        _with_number(walk, word)
    elif word & 0xfe000000 == 0xf8000000:
        _transfer(walk, word, index)
    elif word & 0xfe000000 == 0xfa000000:
        _multiply(walk, word)
    return 2


def _wide_multiple(walk: Walk, word: int) -> None:
    base, registers, loads = word >> 16 & 15, word & 0xffff, bool(word >> 20 & 1)
    move_multiple(walk, base, registers, word >> 23 & 3, word >> 21 & 1, loads)
    if loads and registers >> PC & 1:
        if base == SP:
            walk.leave()
        else:
            walk.jump()


def _table(walk: Walk, word: int, index: int) -> int:
    """tbb, tbh: the targets of the table behind it; its size in units."""
    size, end = 2 if word & 0x10 else 1, MAX_TABLE
    if word >> 16 & 15 != PC:
        walk.jump()
        return 0
    entry = 0
    while entry * size < 2 * end and index + entry * size // 2 < len(walk.units):
        unit = walk.units[index + entry * size // 2]
        target = unit if size == 2 else unit >> (8 if entry & 1 else 0) & 0xff
        if target * 2 > entry * size:
            end = min(end, target)
            walk.branch(index + target)
        entry += 1
    walk.jump()
    return min(end, max(walk.limit - index, 0)) if end < MAX_TABLE else 0


def _pair(walk: Walk, word: int) -> None:
    """ldrd, strd; exclusive transfers."""
    rn, rt, rt2 = word >> 16 & 15, word >> 12 & 15, word >> 8 & 15
    loads = bool(word >> 20 & 1)
    if word & 0x01200000 == 0:
        if loads:
            walk.forget(rt)
        return
    offset = (word & 0xff) * (4 if word >> 23 & 1 else -4)
    move_indexed(walk, word, rn, offset, [rt, rt2], loads)


def _shifted(walk: Walk, word: int) -> None:
    """Computing with a register that may be shifted."""
    kind, rn, rd, rm = word >> 21 & 15, word >> 16 & 15, word >> 8 & 15, word & 15
    is_shifted = word & 0x70f0
    if rd == PC:
        return                                  # tst teq cmn cmp
    if kind == 2 and rn == PC and not is_shifted:
        walk.move(rd, rm)
    elif kind in (8, 13) and not is_shifted:
        walk.add_registers(rd, rn, rm, 1 if kind == 8 else -1)
    else:
        walk.forget(rd)


def _with_number(walk: Walk, word: int) -> None:
    """Computing with a number in the instruction."""
    kind, rn, rd = word >> 20 & 31, word >> 16 & 15, word >> 8 & 15
    number = word >> 15 & 0x800 | word >> 4 & 0x700 | word & 0xff
    if word >> 25 & 1:
        _plain_number(walk, kind, rd, rn, number, word)
    elif rd == PC:
        return                                  # tst teq cmn cmp
    elif kind >> 1 in (8, 13):
        walk.add(rd, rn, _expand(number) * (1 if kind >> 1 == 8 else -1))
    elif kind >> 1 in (2, 3) and rn == PC:
        walk.constant(rd, _expand(number) if kind >> 1 == 2 else ~_expand(number))
    else:
        walk.forget(rd)


def _plain_number(walk: Walk, kind: int, rd: int, rn: int, number: int, word: int) -> None:
    if kind in (0, 10) and rn != PC:
        walk.add(rd, rn, number if kind == 0 else -number)
    elif kind == 4:
        walk.constant(rd, rn << 12 | number)
    elif kind == 12:
        upper_half(walk, rd, rn << 12 | number)
    else:
        walk.forget(rd)


def _expand(number: int) -> int:
    """ThumbExpandImm: a byte, repeated or turned."""
    byte, kind = number & 0xff, number >> 8
    if kind < 4:
        return (byte, byte * 0x10001, byte * 0x1000100, byte * 0x1010101)[kind]
    byte, turns = byte | 0x80, number >> 7
    return (byte >> turns | byte << 32 - turns) & 0xffffffff


def _wide_branch(walk: Walk, word: int, index: int) -> None:
    if word & 0x5000:
        sign = word >> 26 & 1
        if word & 0x4000:
            walk.call()                         # bl blx
        else:
            first, second = ~(word >> 13 ^ sign) & 1, ~(word >> 11 ^ sign) & 1
            offset = (sign << 23 | first << 22 | second << 21 | word >> 5 & 0x1ff800
                      | word & 0x7ff)
            walk.jump(index + 2 + signed(offset, 24))
    elif word >> 22 & 14 != 14:
        offset = (word >> 7 & 0x80000 | word << 7 & 0x40000 | word << 4 & 0x20000
                  | word >> 5 & 0x1f800 | word & 0x7ff)
        walk.branch(index + 2 + signed(offset, 20))
    elif word & 0xffe0f000 == 0xf3e08000:
        walk.forget(word >> 8 & 15)             # mrs


def _transfer(walk: Walk, word: int, index: int) -> None:
    """ldr and str of all sizes."""
    rt, rn, size = word >> 12 & 15, word >> 16 & 15, word >> 21 & 3
    loads, is_long = bool(word >> 20 & 1), word >> 23 & 1
    if rn == PC:
        if rt == PC:
            walk.jump()
        elif loads:
            _literal(walk, word, index, rt, size)
        return
    if is_long:
        _with_offset(walk, 0x01000000, rt, rn, word & 0xfff, size, loads)
    elif word & 0x0800:
        offset = (word & 0xff) if word & 0x0200 else -(word & 0xff)
        how = (word << 14 & 0x01000000) | (word << 13 & 0x00200000)
        _with_offset(walk, how, rt, rn, offset, size, loads)
    elif loads and rt == PC:
        walk.jump()
    elif loads:
        walk.forget(rt)


def _with_offset(walk: Walk, how: int, rt: int, rn: int, offset: int, size: int, loads: bool
                 ) -> None:
    """how: bits 24 and 21 as move_indexed takes them."""
    if size == 2:
        move_indexed(walk, how, rn, offset, [rt], loads)
        if loads and rt == PC:
            if rn == SP:
                walk.leave()
            else:
                walk.jump()
        return
    if loads and rt != PC:
        walk.forget(rt)
    if how & 0x00200000 or not how & 0x01000000:
        walk.add(rn, rn, offset)


def _literal(walk: Walk, word: int, index: int, rt: int, size: int) -> None:
    offset = (word & 0xfff) if word >> 23 & 1 else -(word & 0xfff)
    if size == 2:
        walk.literal(rt, (walk.address + 2 * index + 4 & ~3) + offset)
    else:
        walk.forget(rt)


def _multiply(walk: Walk, word: int) -> None:
    """Register shifts, extensions, multiplications; the long ones have two results."""
    walk.forget(word >> 8 & 15)
    if word & 0xff800000 == 0xfb800000:
        walk.forget(word >> 12 & 15)


# ---- the search

def classify(units: tuple[int, ...], index: int) -> int:
    """What the instruction is to the search for a function's start."""
    if units[index] >> 11 >= 0x1d:
        return _classify_wide(units[index], units[index + 1]) if index + 1 < len(units) else OTHER
    kind = _classify_narrow(units[index])
    return OTHER if kind != OTHER and is_second(units, index, _is_wide) else kind


def _is_wide(half: int) -> bool:
    return 0xe800 <= half < 0xffff              # that one is mostly data


def _classify_narrow(half: int) -> int:
    pushes = half & 0xff00 == 0xb400 and not (half & 0x0f and half & 0xf0)
    if pushes or half & 0xff00 == 0xb500 or half & 0xff80 == 0xb080:
        return ALLOCATES                        # of arguments or of r4 to r7; with lr; sub sp
    if half == 0x4770 or half & 0xff00 == 0xbd00:
        return RETURNS                          # bx lr; pop with pc
    is_branch = half & 0xf000 == 0xd000 or half & 0xf800 == 0xe000 or half & 0xf500 == 0xb100
    return ENDS_BLOCK if is_branch or half & 0xff00 == 0x4700 else OTHER


def _classify_wide(half: int, second: int) -> int:
    if (half == 0xe92d or (half == 0xf84d and second & 0x0fff == 0x0d04)      # push
            or (half & 0xffbf == 0xed2d and second & 0x0e00 == 0x0a00)        # vpush
            or (half in (0xf1ad, 0xf5ad, 0xf2ad, 0xf6ad) and second & 0x8f00 == 0x0d00)
            or half == 0xe96d or (half == 0xebad and second & 0xfff0 == 0x0d00)):
        return ALLOCATES                        # sub sp; strd; sub sp, register
    if (half == 0xe8bd and second & 0x8000) or (half == 0xf85d and second == 0xfb04):
        return RETURNS
    return ENDS_BLOCK if half & 0xf800 == 0xf000 and second & 0x8000 else OTHER


DECODER = Decoder(2, SP, LR, PRESERVED, (R7, R11), execute, classify,
                  pops_pc=True)
