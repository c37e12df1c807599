"""AArch64 as prologue.py reads it.

Source: Arm Architecture Reference Manual for A-profile, C4 (A64 instruction set encoding).
On the hot path: imports nothing.
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

__all__ = ["DECODER"]

FP, LR, SP = 29, 30, 31
_ZERO = 31                      # the same number as sp: which it is, depends on the instruction
_MOVZ, _MOVN, _MOVK = 2, 0, 3


def execute(walk: Walk, index: int) -> int:
    """One instruction, by the group that bits 28 to 25 tell."""
    word = walk.units[index]
    group = word >> 25 & 15
    if group & 14 == 8:
        _immediate(walk, word)
    elif group & 14 == 10:
        _flow(walk, word, index)
    elif group & 5 == 4:
        _memory(walk, word)
    elif group & 7 == 5:
        _registers(walk, word)
    elif group & 7 == 7 and word & 0x7f20fc00 == 0x1e200000 and word >> 16 & 7 not in (2, 3, 7):
        walk.forget(word & 31)                  # fcvt…, fmov to a general register
    return 1


def _flow(walk: Walk, word: int, index: int) -> None:
    if word >> 26 == 0x25 or word & 0xfefff000 == 0xd63f0000:
        walk.call()                             # bl blr blraa…
    elif word >> 26 == 5:
        walk.jump(index + signed(word, 26))     # b
    elif word & 0xfffff000 == 0xd65f0000:
        walk.leave()                            # ret retaa retab
    elif word & 0xfefff000 == 0xd61f0000:
        walk.jump()                             # br braa…
    elif word & 0xfe000000 == 0x54000000 or word & 0x7e000000 == 0x34000000:
        walk.branch(index + signed(word >> 5, 19))      # b.cond cbz cbnz
    elif word & 0x7e000000 == 0x36000000:
        walk.branch(index + signed(word >> 5, 14))      # tbz tbnz
    elif word & 0xffe0001f == 0xd4200000:
        walk.trap()                             # brk
    elif word & 0xfff00000 == 0xd5300000:
        walk.forget(word & 31)                  # mrs


def _immediate(walk: Walk, word: int) -> None:
    rd, rn = word & 31, word >> 5 & 31
    if word & 0x1f800000 == 0x11000000:         # add sub; with flags 31 is the zero register
        number = (word >> 10 & 0xfff) << (12 if word >> 22 & 1 else 0)
        if rd != _ZERO or not word >> 29 & 1:
            walk.add(rd, rn, -number if word >> 30 & 1 else number)
    elif word & 0x1f800000 == 0x12800000:
        _move_wide(walk, word, rd)
    elif word & 0x1f800000 == 0x12000000 and word & 0x1e00003e0 != 0x1200003e0:
        _logical_immediate(walk, word, rd)
    elif rd != _ZERO:
        walk.forget(rd)                         # adr adrp bfm extr


def _logical_immediate(walk: Walk, word: int, rd: int) -> None:
    if rd != _ZERO or word >> 29 & 3 != 3:      # ands puts no result into 31
        walk.forget(rd)


def _move_wide(walk: Walk, word: int, rd: int) -> None:
    kind, shift, number = word >> 29 & 3, (word >> 21 & 3) * 16, word >> 5 & 0xffff
    value = walk.value(rd)
    if rd == _ZERO:
        return
    if kind == _MOVZ:
        walk.constant(rd, number << shift)
    elif kind == _MOVN:
        walk.constant(rd, ~(number << shift))
    elif kind == _MOVK and value is not None and value[0] == CONSTANT:
        walk.constant(rd, value[1] & ~(0xffff << shift) | number << shift)
    else:
        walk.forget(rd)


def _registers(walk: Walk, word: int) -> None:
    rd, rn, rm = word & 31, word >> 5 & 31, word >> 16 & 31
    if word & 0xffe0ffe0 == 0xaa0003e0 and rd != _ZERO:
        if rm == _ZERO:
            walk.constant(rd, 0)
        else:
            walk.move(rd, rm)                   # mov is orr with the zero register
    elif word & 0xbfe0fc00 == 0x8b206000 and rm != _ZERO:
        walk.add_registers(rd, rn, rm, -1 if word >> 30 & 1 else 1)     # add sub rd, sp, rm
    elif word & 0xbfe0fc00 == 0x8b000000 and _ZERO not in (rd, rn, rm):
        walk.add_registers(rd, rn, rm, -1 if word >> 30 & 1 else 1)
    elif rd != _ZERO or word & 0x3fe00000 == 0x0b200000:
        walk.forget(rd)                         # 31 is sp in an extended add, zero elsewhere


def _memory(walk: Walk, word: int) -> None:
    if word & 0x3a000000 == 0x28000000:
        _pair(walk, word)
    elif word & 0x3b000000 == 0x39000000:       # ldr str, unsigned offset
        size = word >> 30
        _transfer(walk, word, (word >> 10 & 0xfff) << size, size)
    elif word & 0x3b200000 == 0x38000000:       # unscaled, post-index, unprivileged, pre-index
        _indexed(walk, word)
    elif word >> 22 & 1 and not word >> 26 & 1 and word & 31 != _ZERO:
        walk.forget(word & 31)                  # other loads; those by literal have no such bit
    elif word & 0xbf000000 == 0x18000000 or (word & 0x3b200c00 == 0x38200800 and word >> 23 & 1):
        walk.forget(word & 31)


def _indexed(walk: Walk, word: int) -> None:
    offset, base, mode = signed(word >> 12, 9), word >> 5 & 31, word >> 10 & 3
    if mode == 3:
        walk.add(base, base, offset)
        offset = 0
    _transfer(walk, word, 0 if mode == 1 else offset, word >> 30)
    if mode == 1:
        walk.add(base, base, offset)


def _transfer(walk: Walk, word: int, offset: int, size: int) -> None:
    """One register; only whole general ones count."""
    register, base = word & 31, word >> 5 & 31
    if word >> 26 & 1:
        return
    kind = word >> 22 & 3
    if kind == 0:
        if size == 3 and register != _ZERO:
            walk.store(register, base, offset)
    elif kind == 1 and size == 3 and register != _ZERO:
        walk.load(register, base, offset)
    elif register != _ZERO and not (size == 3 and kind == 2):
        walk.forget(register)                   # shorter loads; size 3 kind 2 is prfm


def _pair(walk: Walk, word: int) -> None:
    is_vector, mode, size = word >> 26 & 1, word >> 23 & 3, word >> 30
    scale = 4 << size if is_vector else (8 if size == 2 else 4)
    base, offset = word >> 5 & 31, signed(word >> 15, 7) * scale
    if mode == 3:
        walk.add(base, base, offset)
        at = 0
    else:
        at = 0 if mode == 1 else offset
    if not is_vector:
        _two(walk, word, base, at, size == 2)
    if mode == 1:
        walk.add(base, base, offset)


def _two(walk: Walk, word: int, base: int, offset: int, is_whole: bool) -> None:
    for register, at in ((word & 31, offset), (word >> 10 & 31, offset + 8)):
        if register == _ZERO:
            continue
        if not word >> 22 & 1:
            if is_whole:
                walk.store(register, base, at)
        elif is_whole:
            walk.load(register, base, at)
        else:
            walk.forget(register)


def classify(units: tuple[int, ...], index: int) -> int:
    """What the instruction is to the search for a function's start."""
    word = units[index]
    if word & 0xfffff000 == 0xd65f0000:
        return RETURNS
    if (word & 0xff8003ff == 0xd10003ff                         # sub sp, sp, number
            or word & 0x3be003e0 == 0x29a003e0                  # stp …, [sp, -number]!
            or (word & 0x3be00fe0 == 0x38000fe0 and word & 0x00100000)    # str …, [sp, -number]!
            or word & 0xffe0e3ff == 0xcb2063ff):                # sub sp, sp, register
        return ALLOCATES
    # Branches, and brk with its like; not what only concerns the system.
    return ENDS_BLOCK if word >> 26 & 7 == 5 and word & 0xff000000 != 0xd5000000 else OTHER


DECODER = Decoder(4, SP, LR, frozenset(range(19, 30)), (FP, 19), execute, classify,
                  lead=4)
