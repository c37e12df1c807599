"""RISC-V with compressed instructions, as prologue.py reads it.

Source: The RISC-V Instruction Set Manual, volume I, chapters 2 to 5, 24 and 26 (C extension).
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
    is_second,
    signed,
)

__all__ = ["DECODER"]

RA, SP, T0, S0 = 1, 2, 5, 8
EBREAK, C_EBREAK = 0x00100073, 0x9002
ROUTINE = 64                # halfwords of the longest way through __riscv_save_n


def execute(walk: Walk, index: int) -> int:
    """One instruction; units consumed."""
    half = walk.units[index]
    if half & 3 != 3:
        _COMPRESSED[(half & 3) << 3 | half >> 13](walk, half, index)
        return 1
    if index + 1 < len(walk.units):
        word = half | walk.units[index + 1] << 16
        _WHOLE.get(word & 0x7f, _no_result)(walk, word, index)
    return 2


# ---- 32-bit instructions

def _no_result(walk: Walk, word: int, index: int) -> None:
    """Stores of floats, fences, traps: nothing that matters."""


def _result(walk: Walk, word: int, index: int) -> None:
    if word >> 7 & 31:
        walk.forget(word >> 7 & 31)


def _float(walk: Walk, word: int, index: int) -> None:
    if word >> 28 in (10, 12, 14) and word >> 27 != 0x1f:
        _result(walk, word, index)              # compare, convert or move to a general register


def _op_immediate(walk: Walk, word: int, index: int) -> None:
    rd, rs, number = word >> 7 & 31, word >> 15 & 31, signed(word >> 20, 12)
    kind = word >> 12 & 7
    if kind == 0:
        _add(walk, rd, rs, number)
    elif kind == 1:
        _shift(walk, rd, rs, word >> 20 & 63)
    else:
        _result(walk, word, index)


def _add(walk: Walk, rd: int, rs: int, number: int) -> None:
    if rd and rs:
        walk.add(rd, rs, number)
    elif rd:
        walk.constant(rd, number)


def _shift(walk: Walk, rd: int, rs: int, count: int) -> None:
    value = walk.value(rs)
    if rd and value is not None and value[0] == CONSTANT:
        walk.constant(rd, value[1] << count)
    elif rd:
        walk.forget(rd)


def _add_word(walk: Walk, rd: int, rs: int, number: int) -> None:
    """addiw: its result is 32 bits, with their sign."""
    value = walk.value(rs) if rs else (CONSTANT, 0)
    if rd and value is not None and value[0] == CONSTANT:
        walk.constant(rd, signed(value[1] + number, 32))
    elif rd:
        walk.forget(rd)


def _op_immediate_32(walk: Walk, word: int, index: int) -> None:
    if word >> 12 & 7 == 0:
        _add_word(walk, word >> 7 & 31, word >> 15 & 31, signed(word >> 20, 12))
    else:
        _result(walk, word, index)


def _upper(walk: Walk, word: int, index: int) -> None:
    if word >> 7 & 31:
        walk.constant(word >> 7 & 31, signed(word & 0xfffff000, 32))


def _op(walk: Walk, word: int, index: int) -> None:
    rd, left, right = word >> 7 & 31, word >> 15 & 31, word >> 20 & 31
    if word & 0xbe007000 == 0 and rd and left and right:
        walk.add_registers(rd, left, right, -1 if word >> 30 & 1 else 1)
    else:
        _result(walk, word, index)


def _load(walk: Walk, word: int, index: int) -> None:
    if word >> 12 & 7 == (3 if walk.width == 8 else 2) and word >> 7 & 31:
        walk.load(word >> 7 & 31, word >> 15 & 31, signed(word >> 20, 12))
    else:
        _result(walk, word, index)


def _store(walk: Walk, word: int, index: int) -> None:
    if word >> 12 & 7 == (3 if walk.width == 8 else 2):
        walk.store(word >> 20 & 31, word >> 15 & 31,
                   signed(word >> 20 & 0xfe0 | word >> 7 & 31, 12))


def _branch(walk: Walk, word: int, index: int) -> None:
    offset = (word >> 19 & 0x1000 | word << 4 & 0x800 | word >> 20 & 0x7e0 | word >> 7 & 0x1e)
    walk.branch(index + signed(offset, 13) // 2)


def _jal(walk: Walk, word: int, index: int) -> None:
    offset = (word >> 11 & 0x100000 | word & 0xff000 | word >> 9 & 0x800 | word >> 20 & 0x7fe)
    target = index + signed(offset, 21) // 2
    if word >> 7 & 31 == 0:
        walk.jump(target)
    elif word >> 7 & 31 == T0:
        _save_routine(walk, target)
    else:
        walk.call()


def _save_routine(walk: Walk, target: int) -> None:
    """`jal t0, __riscv_save_n`: the start of functions built with -msave-restore."""
    around, index = walk.units, target
    if not 0 <= target < len(around) - ROUTINE:         # libgcc's code is at the program's end
        walk.units, index = _routine(walk, target), 0
    for _ in range(ROUTINE):
        if not 0 <= index < len(walk.units) - 1 or walk.units[index] == 0x8282:     # jr t0
            break
        half = walk.units[index]
        is_jump = half & 3 == 1 and half >> 13 == 5
        if is_jump:
            index += signed(_jump_offset(half), 12) // 2
        elif half & 0x7f not in (0x63, 0x67, 0x6f):
            index += execute(walk, index)
        else:
            break
    walk.units = around
    walk.forget(T0)


def _routine(walk: Walk, target: int) -> tuple[int, ...]:
    """The code of a routine that is outside of what was read."""
    start, units = walk.address + 2 * target, []
    for address in range(start, start + 2 * ROUTINE, walk.width):
        word = walk.read(address)
        if word is None:
            break
        units += [word >> shift & 0xffff for shift in range(0, 8 * walk.width, 16)]
    return tuple(units)


def _system(walk: Walk, word: int, index: int) -> None:
    """Control registers, ecall; ebreak."""
    if word == EBREAK:
        walk.trap()
    else:
        _result(walk, word, index)


def _jalr(walk: Walk, word: int, index: int) -> None:
    _register_jump(walk, word >> 15 & 31, word >> 7 & 31 != 0)


def _register_jump(walk: Walk, register: int, is_call: bool) -> None:
    if is_call:
        walk.call()
    elif register == RA:
        walk.leave()
    else:
        walk.jump()


_WHOLE = {0x13: _op_immediate, 0x1b: _op_immediate_32, 0x37: _upper, 0x17: _result, 0x33: _op,
          0x3b: _result, 0x03: _load, 0x23: _store, 0x63: _branch, 0x6f: _jal, 0x67: _jalr,
          0x2f: _result, 0x73: _system, 0x53: _float}


# ---- compressed instructions, by quadrant and the upper three bits

def _c_nothing(walk: Walk, half: int, index: int) -> None:
    """Floats, and stores of less than a register."""


def _number(half: int) -> int:
    return signed(half >> 7 & 32 | half >> 2 & 31, 6)


def _c_addi4spn(walk: Walk, half: int, index: int) -> None:
    number = half >> 7 & 0x30 | half >> 1 & 0x3c0 | half >> 4 & 4 | half >> 2 & 8
    walk.add(8 + (half >> 2 & 7), SP, number)


def _c_short_load(walk: Walk, half: int, index: int) -> None:
    walk.forget(8 + (half >> 2 & 7))


def _c_ld(walk: Walk, half: int, index: int) -> None:
    walk.load(8 + (half >> 2 & 7), 8 + (half >> 7 & 7), half >> 7 & 0x38 | half << 1 & 0xc0)


def _c_sd(walk: Walk, half: int, index: int) -> None:
    walk.store(8 + (half >> 2 & 7), 8 + (half >> 7 & 7), half >> 7 & 0x38 | half << 1 & 0xc0)


def _c_addi(walk: Walk, half: int, index: int) -> None:
    register = half >> 7 & 31
    _add(walk, register, register, _number(half))


def _c_addiw(walk: Walk, half: int, index: int) -> None:
    register = half >> 7 & 31
    _add_word(walk, register, register, _number(half))


def _c_li(walk: Walk, half: int, index: int) -> None:
    _add(walk, half >> 7 & 31, 0, _number(half))


def _c_lui(walk: Walk, half: int, index: int) -> None:
    register = half >> 7 & 31
    if register == SP:                          # c.addi16sp
        number = (half >> 3 & 0x200 | half >> 2 & 0x10 | half << 1 & 0x40 | half << 4 & 0x180
                  | half << 3 & 0x20)
        walk.add(SP, SP, signed(number, 10))
    elif register:
        walk.constant(register, _number(half) << 12)


def _c_arithmetic(walk: Walk, half: int, index: int) -> None:
    walk.forget(8 + (half >> 7 & 7))


def _jump_offset(half: int) -> int:
    return (half >> 1 & 0x800 | half >> 7 & 0x10 | half >> 1 & 0x300 | half << 2 & 0x400
            | half >> 1 & 0x40 | half << 1 & 0x80 | half >> 2 & 0xe | half << 3 & 0x20)


def _c_j(walk: Walk, half: int, index: int) -> None:
    walk.jump(index + signed(_jump_offset(half), 12) // 2)


def _c_branch(walk: Walk, half: int, index: int) -> None:
    offset = (half >> 4 & 0x100 | half >> 7 & 0x18 | half << 1 & 0xc0 | half >> 2 & 6
              | half << 3 & 0x20)
    walk.branch(index + signed(offset, 9) // 2)


def _c_slli(walk: Walk, half: int, index: int) -> None:
    register = half >> 7 & 31
    _shift(walk, register, register, half >> 7 & 32 | half >> 2 & 31)


def _c_lwsp(walk: Walk, half: int, index: int) -> None:
    if half >> 7 & 31:
        walk.forget(half >> 7 & 31)


def _c_ldsp(walk: Walk, half: int, index: int) -> None:
    if half >> 7 & 31:
        walk.load(half >> 7 & 31, SP, half >> 7 & 0x20 | half >> 2 & 0x18 | half << 4 & 0x1c0)


def _c_sdsp(walk: Walk, half: int, index: int) -> None:
    walk.store(half >> 2 & 31, SP, half >> 7 & 0x38 | half >> 1 & 0x1c0)


def _c_registers(walk: Walk, half: int, index: int) -> None:
    rd, rs, links = half >> 7 & 31, half >> 2 & 31, half >> 12 & 1
    if rs == 0:
        if rd:
            _register_jump(walk, rd, bool(links))
        elif links:
            walk.trap()                         # c.ebreak
    elif links:
        walk.add_registers(rd, rd, rs)
    elif rd:
        walk.move(rd, rs)


_COMPRESSED = (
    _c_addi4spn, _c_nothing, _c_short_load, _c_ld, _c_nothing, _c_nothing, _c_nothing, _c_sd,
    _c_addi, _c_addiw, _c_li, _c_lui, _c_arithmetic, _c_j, _c_branch, _c_branch,
    _c_slli, _c_nothing, _c_lwsp, _c_ldsp, _c_registers, _c_nothing, _c_nothing, _c_sdsp,
)


# ---- the search

def classify(units: tuple[int, ...], index: int) -> int:
    """What the instruction is to the search for a function's start."""
    kind = _classify(units, index)
    return OTHER if kind != OTHER and is_second(units, index, _is_whole) else kind


def _is_whole(half: int) -> bool:
    return half & 3 == 3


def _classify(units: tuple[int, ...], index: int) -> int:
    half = units[index]
    if half & 3 != 3:
        return _classify_compressed(half)
    if index + 1 >= len(units):
        return OTHER
    word = half | units[index + 1] << 16
    if (word & 0x800fffff == 0x80010113 or word & 0xfff == 0x2ef        # addi sp; jal t0
            or word & 0xfe0fffff == 0x40010133):
        return ALLOCATES
    if word == 0x00008067:
        return RETURNS
    return ENDS_BLOCK if word & 0x7f in (0x63, 0x67, 0x6f) or word == EBREAK else OTHER


def _classify_compressed(half: int) -> int:
    if half & 0xff83 in (0x7101, 0x1101) and (half & 0x1000 or half & 0xe000 == 0x6000):
        return ALLOCATES
    if half & 0xff83 == 0x9102 and half & 0x7c:
        return ALLOCATES                        # add sp, sp, register
    if half == 0x8082:
        return RETURNS
    is_jump = half == C_EBREAK or (half & 0xe07f == 0x8002 and half & 0xf80)
    return ENDS_BLOCK if is_jump or (half & 3 == 1 and half >> 13 in (5, 6, 7)) else OTHER


DECODER = Decoder(2, SP, RA, frozenset((S0, 9, *range(18, 28))), (S0,), execute, classify)
