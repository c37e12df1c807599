"""PowerPC (32-bit) as prologue.py reads it.

Source: Power ISA, book I; System V ABI PowerPC supplement (back chain, out-of-line saves).
The link register is DWARF's number 65.  On the hot path: imports nothing.
"""

from __future__ import annotations

from .prologue_walk import (
    ALLOCATES,
    CFA,
    CONSTANT,
    ENDS_BLOCK,
    OTHER,
    RETURNS,
    Decoder,
    Walk,
    signed,
)

__all__ = ["DECODER"]

SP, LR = 1, 65

TRAP = 0x7fe00008
_MFLR, _MTLR = 0x7c0802a6, 0x7c0803a6
_OR, _ADD, _SUBTRACT, _STWUX = 444, 266, 40, 183
_SAVES = 24                             # instructions of an out-of-line save routine, at most


def execute(walk: Walk, index: int) -> int:
    """One instruction."""
    word = walk.units[index]
    op, rt, ra = word >> 26, word >> 21 & 31, word >> 16 & 31
    if op in (16, 18, 19):
        _flow(walk, word, index)
    elif 32 <= op <= 47:
        _memory(walk, word, op, rt, ra)
    elif op in (14, 15):
        number = signed(word, 16) << (16 if op == 15 else 0)
        if ra:
            walk.add(rt, ra, number)
        else:
            walk.constant(rt, number)
    elif op == 31:
        _extended(walk, word, rt, ra)
    elif op == 24:
        _or_immediate(walk, ra, rt, word & 0xffff)
    elif op in (7, 8, 12, 13):
        walk.forget(rt)
    elif op in (20, 21, 23, 25, 26, 27, 28, 29):
        walk.forget(ra)
    return 1


def _or_immediate(walk: Walk, ra: int, rs: int, number: int) -> None:
    value = walk.value(rs)
    if number == 0:
        if ra != rs:
            walk.move(ra, rs)
    elif value is not None and value[0] == CONSTANT:
        walk.constant(ra, value[1] | number)
    else:
        walk.forget(ra)


def _flow(walk: Walk, word: int, index: int) -> None:
    op, links = word >> 26, word & 1
    is_always = op == 18 or word >> 21 & 0x14 == 0x14
    if op == 19:
        _register_flow(walk, word, is_always)
        return
    offset = signed(word & ~3, 26 if op == 18 else 16) >> 2
    if op == 16 and word & 0xffff0001 == 0x429f0001:
        walk.forget(LR)                         # bcl 20,31,…: only to learn the pc
    elif links and not _saves(walk, index + offset):
        walk.call()
    elif not links and is_always:
        walk.jump(index + offset)
    elif not links:
        walk.branch(index + offset)


def _register_flow(walk: Walk, word: int, is_always: bool) -> None:
    kind = word >> 1 & 0x3ff
    if kind not in (16, 528):                   # mcrf, crxor…
        return
    if word & 1:
        walk.call()
    elif is_always and kind == 16:
        walk.leave()
    elif is_always:
        walk.jump()


def _saves(walk: Walk, target: int) -> bool:
    """Follow a call of `_savegpr_n`: stores of registers below r11, then a return."""
    if not 0 <= target < len(walk.units) or not _is_save(walk.units[target]):
        return False
    for word in walk.units[target:target + _SAVES]:
        if not _is_save(word):
            break
        walk.store(word >> 21 & 31, 11, signed(word, 16))
    walk.forget(LR)
    return True


def _is_save(word: int) -> bool:
    """`stw rN, -offset(r11)`"""
    return word & 0xfc1f8000 == 0x900b8000


def _memory(walk: Walk, word: int, op: int, rt: int, ra: int) -> None:
    offset = signed(word, 16)
    if op in (36, 37):                          # stw stwu
        walk.store(rt, ra, offset)
    elif op == 32 and rt == SP and ra == SP and offset == 0:
        walk.set(SP, (CFA, 0))                  # lwz r1,0(r1): by the back chain
    elif op == 32:
        walk.load(rt, ra, offset)
    elif op in (46, 47):                        # lmw stmw
        for register in range(rt, 32):
            if op == 47:
                walk.store(register, ra, offset)
            else:
                walk.load(register, ra, offset)
            offset += 4
        return
    elif op < 36 or 40 <= op <= 43:
        walk.forget(rt)
    if op in (33, 35, 37, 39, 41, 43, 45):      # with update
        walk.add(ra, ra, signed(word, 16))


def _extended(walk: Walk, word: int, rt: int, ra: int) -> None:
    kind, rb = word >> 1 & 0x3ff, word >> 11 & 31
    if word == TRAP:
        walk.trap()
    elif word & 0xfc1fffff == _MFLR:
        walk.move(rt, LR)
    elif word & 0xfc1fffff == _MTLR:
        walk.move(LR, rt)
    elif kind == _OR:
        if rt == rb:
            walk.move(ra, rt)
        else:
            walk.forget(ra)
    elif kind == _ADD:
        walk.add_registers(rt, ra, rb)
    elif kind == _SUBTRACT:
        walk.add_registers(rt, rb, ra, -1)
    elif kind == _STWUX:
        walk.add_registers(ra, ra, rb)
    else:
        _clobber(walk, kind, rt, ra)


# Logic and shifts put their result into the second field; compares and stores have none.
_INTO_RA = frozenset((24, 26, 28, 60, 124, 284, 316, 412, 476, 536, 792, 824, 922, 954))
_NO_RESULT = frozenset((0, 4, 32, 54, 86, 144, 150, 151, 215, 246, 278, 407, 467, 598, 661, 662,
                        663, 695, 725, 727, 759, 854, 918, 982, 983, 1014))


def _clobber(walk: Walk, kind: int, rt: int, ra: int) -> None:
    if kind in _INTO_RA:
        walk.forget(ra)
    elif kind not in _NO_RESULT:
        walk.forget(rt)


def classify(units: tuple[int, ...], index: int) -> int:
    """What the instruction is to the search for a function's start."""
    word = units[index]
    if word & 0xffff8000 == 0x94218000 or word & 0xffff07fe == 0x7c21016e:
        return ALLOCATES                        # stwu r1,-n(r1); stwux r1,r1,rN
    if word == 0x4e800020:
        return RETURNS
    op = word >> 26
    is_flow = op in (16, 18) or (op == 19 and word >> 1 & 0x3ff in (16, 528))
    return ENDS_BLOCK if is_flow or word == TRAP else OTHER


DECODER = Decoder(4, SP, LR, frozenset(range(14, 32)), (31, 30), execute, classify,
                  lead=3, back_chain=True)
