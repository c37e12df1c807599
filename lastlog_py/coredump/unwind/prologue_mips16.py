"""MIPS16e as prologue.py reads it.

Source: MIPS Architecture For Programmers, volume IV-a (MIPS16e): SAVE and RESTORE make and free
a frame in one instruction.  On the hot path: imports nothing.
"""

from __future__ import annotations

from .prologue_walk import ALLOCATES, ENDS_BLOCK, OTHER, RETURNS, Decoder, Walk, is_second, signed

__all__ = ["DECODER"]

S0, S1, SP, S8, RA = 16, 17, 29, 30, 31

# What three bits of an instruction call which register.
_REGISTERS = (16, 17, 2, 3, 4, 5, 6, 7)


def execute(walk: Walk, index: int) -> int:
    """One instruction, with its EXTEND and with what is in its delay slot; units consumed."""
    half, units, extension = walk.units[index], 1, -1
    if half >> 11 == 0x1e and index + 1 < len(walk.units):
        extension, half, units = half & 0x7ff, walk.units[index + 1], 2
    if half >> 11 == 3:                         # jal jalx: four bytes and a delay slot
        return _slot(walk, index, 2, True)
    if half & 0xf81f == 0xe800:
        return _register_jump(walk, half, index)
    _OPERATIONS.get(half >> 11, _result_x)(walk, half, extension, index + units)
    return units


def _slot(walk: Walk, index: int, units: int, is_call: bool) -> int:
    """Execute a delay slot, then call; units consumed."""
    if index + units < walk.limit:
        half = walk.units[index + units]
        if half >> 11 not in (2, 3, 4, 5, 0x1d, 0x1e):
            _OPERATIONS.get(half >> 11, _result_x)(walk, half, -1, index + units)
        units += 1
    if is_call:
        walk.call()
    return units


def _register_jump(walk: Walk, half: int, index: int) -> int:
    """jr, jalr, and the compact ones without delay slot.  Bits 7 to 5: compact, link, ra."""
    links, is_compact, is_ra = half & 0x40, half & 0x80, half & 0x20
    units = 1
    if not is_compact:
        units = _slot(walk, index, 1, False)
    if links:
        walk.call()
    elif is_ra:
        walk.leave()
    else:
        walk.jump()
    return units


def _number(half: int, extension: int, scale: int, is_signed: bool) -> int:
    """The 8-bit number of an instruction in bytes; extended to 16 bits it is not scaled."""
    if extension >= 0:
        return signed((extension & 0x1f) << 11 | extension & 0x7e0 | half & 31, 16)
    return (signed(half, 8) if is_signed else half & 0xff) * scale


def _short(half: int, extension: int, scale: int) -> int:
    """The same of an instruction with a 5-bit number."""
    return _number(half, extension, 1, False) if extension >= 0 else (half & 31) * scale


def _result_x(walk: Walk, half: int, extension: int, after: int) -> None:
    """Others put their result, if any, into the register of bits 10 to 8."""
    walk.forget(_REGISTERS[half >> 8 & 7])


def _result_y(walk: Walk, half: int, extension: int, after: int) -> None:
    walk.forget(_REGISTERS[half >> 5 & 7])


def _nothing(walk: Walk, half: int, extension: int, after: int) -> None:
    """Stores of less than a register, compares."""


def _add_sp(walk: Walk, half: int, extension: int, after: int) -> None:
    walk.add(_REGISTERS[half >> 8 & 7], SP, _number(half, extension, 4, False))


def _branch(walk: Walk, half: int, extension: int, after: int) -> None:
    """b, which has no delay slot."""
    if extension >= 0:
        walk.jump(after + _number(half, extension, 1, True))
    else:
        walk.jump(after + signed(half, 11))


def _branch_zero(walk: Walk, half: int, extension: int, after: int) -> None:
    walk.branch(after + _number(half, extension, 1, True))


def _add_short(walk: Walk, half: int, extension: int, after: int) -> None:
    """addiu ry, rx, number (four bits, or fifteen)."""
    if extension >= 0:
        number = signed((extension & 15) << 11 | extension >> 4 << 4 & 0x7f0 | half & 15, 15)
    else:
        number = signed(half, 4)
    walk.add(_REGISTERS[half >> 5 & 7], _REGISTERS[half >> 8 & 7], number)


def _add_byte(walk: Walk, half: int, extension: int, after: int) -> None:
    register = _REGISTERS[half >> 8 & 7]
    walk.add(register, register, _number(half, extension, 1, True))


def _load_number(walk: Walk, half: int, extension: int, after: int) -> None:
    number = _number(half, extension, 1, False)
    walk.constant(_REGISTERS[half >> 8 & 7], number & 0xffff)


def _eight(walk: Walk, half: int, extension: int, after: int) -> None:
    """I8: branches on T, sw ra, addiu sp, save and restore, moves."""
    kind = half >> 8 & 7
    if kind < 2:
        walk.branch(after + _number(half, extension, 1, True))
    elif kind == 2:
        walk.store(RA, SP, _number(half, extension, 4, False))
    elif kind == 3:
        walk.add(SP, SP, _number(half, extension, 8, True))
    elif kind == 4:
        _save_restore(walk, half, max(extension, 0), extension >= 0)
    elif kind == 5:
        walk.move(half >> 5 & 7 | half & 0x18, _REGISTERS[half & 7])
    elif kind == 7:
        walk.move(_REGISTERS[half >> 5 & 7], half & 31)


def _save_restore(walk: Walk, half: int, extension: int, is_extended: bool) -> None:
    size = (extension & 0xf0 | half & 15) * 8
    if size == 0 and not is_extended:
        size = 128
    saves = bool(half & 0x80)
    if not saves:
        walk.add(SP, SP, size)
    offset = 0
    for register in _saved(half, extension):
        offset -= 4
        if saves:
            walk.store(register, SP, offset)
        else:
            walk.load(register, SP, offset)
    if saves:
        walk.add(SP, SP, -size)


def _saved(half: int, extension: int) -> list[int]:
    """The registers of SAVE, from the highest address on."""
    count = extension >> 8 & 7
    found = [RA] if half & 0x40 else []
    found += [S8] if count == 7 else []
    found += range(17 + min(count, 6), 17, -1)
    found += [S1] if half & 0x10 else []
    return found + ([S0] if half & 0x20 else [])


def _load_sp(walk: Walk, half: int, extension: int, after: int) -> None:
    walk.load(_REGISTERS[half >> 8 & 7], SP, _number(half, extension, 4, False))


def _store_sp(walk: Walk, half: int, extension: int, after: int) -> None:
    walk.store(_REGISTERS[half >> 8 & 7], SP, _number(half, extension, 4, False))


def _load(walk: Walk, half: int, extension: int, after: int) -> None:
    walk.load(_REGISTERS[half >> 5 & 7], _REGISTERS[half >> 8 & 7], _short(half, extension, 4))


def _store(walk: Walk, half: int, extension: int, after: int) -> None:
    walk.store(_REGISTERS[half >> 5 & 7], _REGISTERS[half >> 8 & 7], _short(half, extension, 4))


def _literal(walk: Walk, half: int, extension: int, after: int) -> None:
    """lw rx, offset(pc): pc is that of the instruction, of its EXTEND if it has one."""
    here = walk.address + 2 * walk.index & ~3
    walk.literal(_REGISTERS[half >> 8 & 7], here + _number(half, extension, 4, False))


def _three(walk: Walk, half: int, extension: int, after: int) -> None:
    """RRR: addu and subu of three registers."""
    left, right = _REGISTERS[half >> 8 & 7], _REGISTERS[half >> 5 & 7]
    target = _REGISTERS[half >> 2 & 7]
    if half & 3 == 1:
        walk.add_registers(target, left, right)
    elif half & 3 == 3:
        walk.add_registers(target, left, right, -1)
    else:
        walk.forget(target)


def _compute(walk: Walk, half: int, extension: int, after: int) -> None:
    """RR: neg is how a frame of more than 32 KB is allocated; most others have a result in rx."""
    kind, rx, ry = half & 31, _REGISTERS[half >> 8 & 7], _REGISTERS[half >> 5 & 7]
    number = walk.number(ry)
    if kind == 11 and number is not None:
        walk.constant(rx, -number)
    elif kind == 5:
        walk.trap()                             # break
    elif kind in (4, 6, 7):
        walk.forget(ry)                         # variable shifts
    elif kind not in (1, 2, 3, 10, 24, 25, 26, 27):
        walk.forget(rx)                         # all but sdbbp slt sltu cmp mult div


# The upper five bits → what is done
_OPERATIONS = {
    0x00: _add_sp, 0x02: _branch, 0x04: _branch_zero, 0x05: _branch_zero, 0x08: _add_short,
    0x09: _add_byte, 0x0a: _nothing, 0x0b: _nothing, 0x0c: _eight, 0x0d: _load_number,
    0x0e: _nothing, 0x10: _result_y, 0x11: _result_y, 0x12: _load_sp, 0x13: _load,
    0x14: _result_y, 0x15: _result_y, 0x16: _literal, 0x18: _nothing, 0x19: _nothing,
    0x1a: _store_sp, 0x1b: _store, 0x1c: _three, 0x1d: _compute,
}


def classify(units: tuple[int, ...], index: int) -> int:
    """What the instruction is to the search for a function's start."""
    kind = _classify(units, index)
    return OTHER if kind != OTHER and is_second(units, index, _is_wide) else kind


def _is_wide(half: int) -> bool:
    return half >> 11 in (3, 0x1e)              # jal, EXTEND


def _classify(units: tuple[int, ...], index: int) -> int:
    half = units[index]
    if half >> 11 == 0x1e:
        return _classify_extended(units, index)
    if half & 0xff80 in (0x6480, 0x6380):
        return ALLOCATES                        # save; addiu sp
    if half & 0xff7f == 0xe820:
        return RETURNS                          # jr ra, jrc ra
    return ENDS_BLOCK if half >> 11 in (2, 3, 4, 5) or half & 0xf81f in (
        0xe800, 0xe805) else OTHER              # the last is break


def _classify_extended(units: tuple[int, ...], index: int) -> int:
    if index + 1 >= len(units):
        return OTHER
    half = units[index + 1]
    is_add = half & 0xff00 == 0x6300 and units[index] & 0x10
    return ALLOCATES if half & 0xff80 == 0x6480 or is_add else OTHER


DECODER = Decoder(2, SP, RA, frozenset((*range(16, 24), S8)), (S1, S8), execute, classify)
