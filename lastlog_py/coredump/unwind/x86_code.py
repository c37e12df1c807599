"""x86 and x86_64 instructions: how long each is, and what it does to the stack pointer.

Only that: an instruction that leaves sp alone and does not jump is OTHER, whatever it does.

Sources: Intel SDM volume 2, chapter 2 (prefixes, ModRM, VEX, EVEX) and appendix A (opcode maps).
On the hot path: imports nothing.
"""

from __future__ import annotations

__all__ = ["ALIGN", "BASE", "CALL_NEXT", "Instruction", "JUMP", "LEAVE", "LOST", "MOVE", "OTHER",
           "POP", "PUSH", "RETURN", "STORE", "SWITCH", "UNBASE", "decode"]

# What an instruction does.  PUSH, POP: of `register`, or -1.  MOVE: sp += value.  STORE: `register`
# to sp + value.  BASE: `register` = sp + value.  UNBASE: sp = `register` + value.  LEAVE: sp = bp,
# and pop bp.
# ALIGN: sp is rounded down.  LOST: sp becomes anything.  CALL_NEXT: a call used as a push of pc.
# JUMP: to value from the next instruction on, and only there if register is 1.
# SWITCH: a jump through a register or memory.  RETURN: what else nothing falls through.
(OTHER, PUSH, POP, MOVE, STORE, BASE, UNBASE, LEAVE, ALIGN, LOST, CALL_NEXT, JUMP,
 SWITCH, RETURN) = range(14)

SP = 4
PREFIXES = frozenset(b"\x66\x67\xf0\xf2\xf3\x2e\x36\x3e\x26\x64\x65")
MAX_SIZE = 15


class Instruction:
    """One instruction; see the kinds above."""

    __slots__ = ("kind", "register", "size", "value")

    def __init__(self, size: int, kind: int = OTHER, register: int = -1, value: int = 0) -> None:
        self.size = size
        self.kind = kind
        self.register = register
        self.value = value


def _flags(with_modrm: list[int], byte: list[int], full: list[int]) -> bytes:
    """Per opcode: 1 a ModRM byte, 2 an immediate byte, 4 a full-sized (2 or 4 bytes) one."""
    table = bytearray(256)
    for bit, opcodes in ((1, with_modrm), (2, byte), (4, full)):
        for opcode in opcodes:
            table[opcode] |= bit
    return bytes(table)


_ALU = [row + column for row in range(0, 0x40, 8) for column in range(4)]
_ONE = _flags([*_ALU, 0x62, 0x63, 0x69, 0x6B, *range(0x80, 0x90), 0xC0, 0xC1, 0xC4, 0xC5, 0xC6,
               0xC7, *range(0xD0, 0xD4), *range(0xD8, 0xE0), 0xF6, 0xF7, 0xFE, 0xFF],
              [*range(4, 0x40, 8), 0x6A, 0x6B, *range(0x70, 0x81), 0x82, 0x83, 0xA8,
               *range(0xB0, 0xB8), 0xC0, 0xC1, 0xC6, 0xCD, 0xD4, 0xD5, *range(0xE0, 0xE8), 0xEB],
              [*range(5, 0x40, 8), 0x68, 0x69, 0x81, 0xA9, *range(0xB8, 0xC0), 0xC7, 0xE8, 0xE9])
_NO_MODRM = [*range(0x05, 0x0C), 0x0E, *range(0x30, 0x38), 0x77, *range(0x80, 0x90), 0xA0, 0xA1,
             0xA2, 0xA8, 0xA9, 0xAA, *range(0xC8, 0xD0)]
_TWO = _flags([opcode for opcode in range(256) if opcode not in _NO_MODRM],
              [0x0F, *range(0x70, 0x74), 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6],
              list(range(0x80, 0x90)))
_VEX_BYTE = frozenset([*range(0x70, 0x74), 0xC2, 0xC4, 0xC5, 0xC6])


def decode(code: bytes, at: int, wide: bool) -> Instruction | None:
    """The instruction at `at`; None where it is not whole or is none.  wide: 64-bit code."""
    start = at
    short = False                       # 16-bit operands
    while at < len(code) and code[at] in PREFIXES:
        short = short or code[at] == 0x66
        at += 1
    rex = 0
    if wide and at < len(code) and code[at] & 0xF0 == 0x40:
        rex = code[at]
        at += 1
    if at >= len(code) - 1:             # a one-byte instruction may end the code: nobody asks
        return None
    short = short and not rex & 8 and not (wide and code[at] in (0xE8, 0xE9))
    found = _decode(code, at, wide, rex, short)
    if found is None or at + found.size - start > MAX_SIZE or at + found.size > len(code):
        return None
    found.size += at - start
    return found


def _decode(code: bytes, at: int, wide: bool, rex: int, short: bool) -> Instruction | None:
    """The instruction whose opcode is at `at`; its size without what came before."""
    opcode = code[at]
    if opcode == 0x0F:
        return _two(code, at, wide)
    if opcode in (0x62, 0xC4, 0xC5) and (wide or code[at + 1] >= 0xC0):
        return _vector(code, at, wide)
    if opcode in (0x9A, 0xEA):          # far; not in 64-bit code
        return Instruction(7, OTHER if opcode == 0x9A else RETURN)
    if 0xA0 <= opcode <= 0xA3:
        return Instruction(9 if wide else 5)
    if opcode in (0xC2, 0xC8, 0xCA):
        return Instruction(4, LOST) if opcode == 0xC8 else Instruction(3, RETURN)
    flags = _ONE[opcode]
    size = 1 + (_modrm(code, at + 1, wide) if flags & 1 else 0)
    size += flags >> 1 & 1
    if flags & 4:
        size += 8 if opcode & 0xF8 == 0xB8 and rex & 8 else 2 if short else 4
    if opcode in (0xF6, 0xF7) and code[at + 1] & 0x38 < 0x10:
        size += 1 if opcode == 0xF6 else 2 if short else 4
    if at + size > len(code):
        return None
    return _effect(code[at:at + size], rex, wide)


def _modrm(code: bytes, at: int, wide: bool) -> int:
    """Bytes of the ModRM byte, the SIB byte and the displacement."""
    if at >= len(code):
        return 1
    mod, rm = code[at] >> 6, code[at] & 7
    if mod == 3:
        return 1
    sib = rm == 4
    base = code[at + 1] & 7 if sib and at + 1 < len(code) else rm
    return 1 + sib + (4 if mod == 2 or (mod == 0 and base == 5) else mod)


def _two(code: bytes, at: int, wide: bool) -> Instruction | None:
    """0F and what follows."""
    opcode = code[at + 1]
    if opcode in (0x38, 0x3A):
        return Instruction(3 + _modrm(code, at + 3, wide) + (opcode == 0x3A))
    flags = _TWO[opcode]
    size = 2 + (_modrm(code, at + 2, wide) if flags & 1 else 0) + (flags >> 1 & 1)
    if opcode & 0xF0 == 0x80:
        return Instruction(6, JUMP, 0, _signed(code[at + 2:at + 6]))
    if opcode in (0xA0, 0xA8):
        return Instruction(2, PUSH)
    if opcode in (0xA1, 0xA9):
        return Instruction(2, POP)
    return Instruction(2, RETURN) if opcode == 0x0B else Instruction(size)


def _vector(code: bytes, at: int, wide: bool) -> Instruction | None:
    """VEX (C4, C5) and EVEX (62): they never touch sp."""
    head = {0xC5: 2, 0xC4: 3, 0x62: 4}[code[at]]
    if at + head >= len(code):
        return None
    table = 1 if head == 2 else code[at + 1] & (31 if head == 3 else 7)
    opcode = code[at + head]
    if head < 4 and table == 1 and opcode == 0x77:          # VZEROUPPER
        return Instruction(head + 1)
    byte = table == 3 or (table == 1 and opcode in _VEX_BYTE)
    return Instruction(head + 1 + _modrm(code, at + head + 1, wide) + byte)


def _effect(code: bytes, rex: int, wide: bool) -> Instruction:
    """What the instruction `code`, without prefixes, does to the stack pointer."""
    opcode, size = code[0], len(code)
    if 0x50 <= opcode <= 0x5F:
        return Instruction(size, PUSH if opcode < 0x58 else POP, opcode & 7 | (rex & 1) << 3)
    if opcode in _SIMPLE:
        return Instruction(size, *_SIMPLE[opcode])
    if opcode & 0xF0 == 0x70 or opcode in (0xE0, 0xE1, 0xE2, 0xE3):
        return Instruction(size, JUMP, 0, _signed(code[1:]))
    if opcode in (0xE9, 0xEB):
        return Instruction(size, JUMP, 1, _signed(code[1:]))
    if opcode == 0xE8:
        return Instruction(size, CALL_NEXT if not any(code[1:]) else OTHER)
    return _with_modrm(code, rex)


# Opcodes without operands: push and pop of immediates and flags, leave, the returns, hlt.
_SIMPLE = {0x06: (PUSH,), 0x0E: (PUSH,), 0x16: (PUSH,), 0x1E: (PUSH,), 0x07: (POP,), 0x17: (POP,),
           0x1F: (POP,), 0x68: (PUSH,), 0x6A: (PUSH,), 0x9C: (PUSH,), 0x9D: (POP,), 0x60: (LOST,),
           0x61: (LOST,), 0xC9: (LEAVE,), 0xC3: (RETURN,), 0xCB: (RETURN,), 0xCF: (RETURN,),
           0xF4: (RETURN,)}


def _with_modrm(code: bytes, rex: int) -> Instruction:
    opcode, size = code[0], len(code)
    if not _ONE[opcode] & 1:
        return Instruction(size)
    mod, reg, rm = code[1] >> 6, code[1] >> 3 & 7, code[1] & 7
    if opcode == 0xFF and reg == 6:
        return Instruction(size, PUSH)
    if opcode == 0xFF and reg in (4, 5):
        return Instruction(size, SWITCH)
    if opcode == 0x8F and reg == 0:
        return Instruction(size, POP)
    if opcode in (0x81, 0x83) and mod == 3 and rm == SP and not rex & 1:
        return _add_to_sp(size, reg, _signed(code[2:]))
    if opcode in (0x89, 0x8B, 0x8D):
        return _move(code, rex)
    if opcode in (0x01, 0x29) and mod == 3 and rm == SP and not rex & 1:
        return Instruction(size, LOST)
    if opcode in (0x03, 0x2B) and reg == SP and not rex & 4:
        return Instruction(size, LOST)
    return Instruction(size)


def _add_to_sp(size: int, operation: int, value: int) -> Instruction:
    """add, and, sub sp, value; the others do not happen but for cmp."""
    if operation == 0:
        return Instruction(size, MOVE, -1, value)
    if operation == 5:
        return Instruction(size, MOVE, -1, -value)
    if operation == 4:
        return Instruction(size, ALIGN)
    return Instruction(size, OTHER if operation == 7 else LOST)


def _move(code: bytes, rex: int) -> Instruction:
    """mov (89 to rm, 8B from rm) and lea (8D), where sp or bp is in it."""
    opcode, size = code[0], len(code)
    mod, rm = code[1] >> 6, code[1] & 7 | (rex & 1) << 3
    reg = code[1] >> 3 & 7 | (rex & 4) << 1
    if mod == 3:
        source, target = (reg, rm) if opcode == 0x89 else (rm, reg)
        return _copy(size, source, target, 0)
    base, offset = (-1, 0) if rex & 1 else _memory(code)
    if opcode == 0x8D and base >= 0:
        return _copy(size, base, reg, offset)
    if opcode == 0x89 and base == SP:
        return Instruction(size, STORE, reg, offset)
    return Instruction(size, LOST if opcode == 0x8B and reg == SP else OTHER)


def _copy(size: int, source: int, target: int, offset: int) -> Instruction:
    """target = source + offset."""
    if target == SP:
        return Instruction(size, MOVE if source == SP else UNBASE, source, offset)
    return Instruction(size, BASE if source == SP else OTHER, target, offset)


def _memory(code: bytes) -> tuple[int, int]:
    """Base register (-1: none, or an index with it) and displacement of the memory operand."""
    mod, rm = code[1] >> 6, code[1] & 7
    rest = code[2:]
    base = rm
    if rm == 4:
        if rest[0] >> 3 & 7 != 4:       # an index
            return -1, 0
        base, rest = rest[0] & 7, rest[1:]
    if mod == 0:
        return (-1, 0) if base == 5 else (base, 0)
    return base, _signed(rest[:1 if mod == 1 else 4])


def _signed(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)
