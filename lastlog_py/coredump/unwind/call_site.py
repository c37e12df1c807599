"""Which call ends at an address?  What tells a return address from any other number.

`target` reads the few bytes before the address as the machine's call instructions: Intel SDM
volume 2 (CALL), the Arm A32/T32/A64 references (BL, BLX, BLR), MIPS32 and MIPS16e (JAL, JALR, BAL
with their delay slots), the RISC-V unprivileged specification (JAL, JALR, C.JALR), the Power ISA
(BL, BCTRL, BLRL).  On the hot path.
"""

from __future__ import annotations

from . import signal_frame
from .frame import Context

__all__ = ["INDIRECT", "code_pointer", "target"]

INDIRECT = 0                # a call whose target is in a register or in memory
BEFORE = 8                  # bytes before a return address that are looked at
DT_PLTGOT = 3
# A pointer on aarch64 may carry a signature in the bits above the address.
AARCH64_ADDRESS = (1 << 48) - 1


def code_pointer(context: Context, value: int) -> int:
    """`value` as an address of code: a signed pointer without its signature."""
    return value & AARCH64_ADDRESS if context.machine.family == "aarch64" else value


def target(context: Context, address: int) -> int | None:
    """What the call before the return address `address` calls: its address, without the mode bit,
    or INDIRECT.  None: there is no call, and it is no sigreturn trampoline either, to which a
    signal handler returns.
    """
    machine = context.machine
    find = _FAMILIES.get(machine.family)
    start = machine.code_address(address)
    code = context.memory.read(start - BEFORE, BEFORE)
    found = find(context, code, address) if find is not None and len(code) == BEFORE else None
    if found is not None:
        return found & machine.mask
    return INDIRECT if signal_frame.at_trampoline(context, address) else None


def _word(context: Context, code: bytes, offset: int) -> int:
    """The 32-bit instruction at `offset` of `code`."""
    order = context.machine.order if context.machine.family != "aarch64" else "little"
    return int.from_bytes(code[offset:offset + 4], order)


def _half(context: Context, code: bytes, offset: int) -> int:
    return int.from_bytes(code[offset:offset + 2], context.machine.order)


def _signed(value: int, bits: int) -> int:
    """`value`'s low `bits` as a two's complement number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _x86(context: Context, code: bytes, address: int) -> int | None:
    if code[3] == 0xE8:
        return _resolved(context, address + _signed(int.from_bytes(code[4:], "little"), 32))
    return INDIRECT if _x86_indirect(code) else None


def _x86_indirect(code: bytes) -> bool:
    """FF /2 that ends with `code`, in any of its forms."""
    for at, size in ((6, 2), (5, 3), (4, 4), (2, 6), (1, 7)):
        if code[at] == 0xFF and code[at + 1] & 0x38 == 0x10 and _x86_size(code[at + 1:]) == size:
            return True
    return False


def _x86_size(rest: bytes) -> int:
    """Bytes of an instruction of one opcode byte and the ModRM byte that `rest` starts with."""
    mod, rm = rest[0] >> 6, rest[0] & 7
    if mod == 3:
        return 2
    sib = rm == 4
    base = rest[1] & 7 if sib and len(rest) > 1 else rm
    size = 3 if sib else 2
    return size + (4 if mod == 2 or (mod == 0 and base == 5) else mod)


def _resolved(context: Context, address: int) -> int:
    """A PLT entry's target where its slot is filled; else `address`."""
    code = context.memory.read(address, 11)
    start = 4 if code.startswith((b"\xf3\x0f\x1e\xfa", b"\xf3\x0f\x1e\xfb")) else 0
    start += code[start:start + 1] == b"\xf2"
    slot = _plt_slot(context, address + start, code[start:start + 6])
    found = context.memory.word(slot) if slot is not None else None
    return found if found is not None and context.is_code(found) else address


def _plt_slot(context: Context, address: int, code: bytes) -> int | None:
    """Where the address is that a `jmp *slot` jumps to."""
    if len(code) < 6 or code[0] != 0xFF:
        return None
    offset = _signed(int.from_bytes(code[2:6], "little"), 32)
    if code[1] == 0x25:
        return address + 6 + offset if context.machine.bits == 64 else offset & 0xFFFFFFFF
    if code[1] == 0xA3 and context.machine.bits == 32:      # relative to the GOT, in ebx
        module = context.module_at(address)
        table = module.image.pointer(DT_PLTGOT) if module and module.image else None
        return None if table is None else table + offset & 0xFFFFFFFF
    return None


def _arm(context: Context, code: bytes, address: int) -> int | None:
    if address & 1:
        return _thumb(context, code, address - 1)
    if address & 2:
        return None
    word = _word(context, code, 4)
    if word >> 25 == 0b1111101:                             # BLX to Thumb
        return address + 4 + (_signed(word, 24) << 2) + (word >> 23 & 2)
    if word >> 28 != 15 and word & 0x0F000000 == 0x0B000000:
        return address + 4 + (_signed(word, 24) << 2)
    if word & 0x0FFFFFF0 == 0x012FFF30:                     # BLX register
        return INDIRECT
    # mov lr, pc; then anything that writes pc: bx, ldr pc, mov pc
    if _word(context, code, 0) == 0xE1A0E00F and (word & 0x0FFFFFF0 == 0x012FFF10 or
                                                  word & 0x0000F000 == 0x0000F000):
        return INDIRECT
    return None


def _thumb(context: Context, code: bytes, address: int) -> int | None:
    high, low = _half(context, code, 4), _half(context, code, 6)
    if high & 0xF800 == 0xF000 and low & 0xC000 == 0xC000:
        sign = high >> 10 & 1
        one, two = 1 ^ (low >> 13 & 1) ^ sign, 1 ^ (low >> 11 & 1) ^ sign
        offset = (sign << 24 | one << 23 | two << 22 | (high & 0x3FF) << 12 | (low & 0x7FF) << 1)
        found = address + _signed(offset, 25)
        return found if low & 0x1000 else found & ~3        # BL, or BLX to ARM
    return INDIRECT if low & 0xFF87 == 0x4780 else None     # BLX register


def _aarch64(context: Context, code: bytes, address: int) -> int | None:
    if address & 3:
        return None
    word = _word(context, code, 4)
    if word >> 26 == 0b100101:
        return address - 4 + (_signed(word, 26) << 2)
    # BLR, and BLRAA and the like
    if word & 0xFFFFFC1F == 0xD63F0000 or word & 0xFEFFF800 == 0xD63F0800:
        return INDIRECT
    return None


def _mips(context: Context, code: bytes, address: int) -> int | None:
    if address & 1:
        return _mips16(context, code, address - 1)
    if address & 3:
        return None
    word = _word(context, code, 0)
    if word >> 26 in (3, 29):                               # JAL, JALX
        return (address - 4 & ~0x0FFFFFFF) | (word & 0x03FFFFFF) << 2
    if word >> 26 == 1 and word >> 16 & 0x1E == 0x10:       # BLTZAL, BGEZAL and BAL
        return address - 4 + (_signed(word, 16) << 2)
    return INDIRECT if word & 0xFC1FF83F == 0x0000F809 else None


def _mips16(context: Context, code: bytes, address: int) -> int | None:
    high, low = _half(context, code, 2), _half(context, code, 4)
    if high & 0xF800 == 0x1800:                             # JAL, JALX, and a delay slot
        index = (high & 0x1F) << 21 | (high >> 5 & 0x1F) << 16 | low
        return (address - 2 & ~0x0FFFFFFF) | index << 2
    if low & 0xF8FF == 0xE840:                              # JALR, and a delay slot
        return INDIRECT
    return INDIRECT if _half(context, code, 6) & 0xF8FF == 0xE8C0 else None     # JALRC


def _riscv(context: Context, code: bytes, address: int) -> int | None:
    if address & 1:
        return None
    word = _word(context, code, 4)
    link = word >> 7 & 31
    if word & 0x7F == 0x6F and link in (1, 5):
        offset = (word >> 31 << 20 | (word >> 12 & 0xFF) << 12 | (word >> 20 & 1) << 11
                  | (word >> 21 & 0x3FF) << 1)
        return address - 4 + _signed(offset, 21)
    if word & 0x707F == 0x67 and link in (1, 5):
        return _riscv_far(context, code, address, word)
    half = word >> 16
    return INDIRECT if half & 0xF07F == 0x9002 and half >> 7 & 31 else None


def _riscv_far(context: Context, code: bytes, address: int, word: int) -> int:
    """auipc and jalr with the same register: a call of +-2 GiB."""
    first = _word(context, code, 0)
    if first & 0x7F == 0x17 and first >> 7 & 31 == word >> 15 & 31:
        return address - 8 + _signed(first & 0xFFFFF000, 32) + _signed(word >> 20, 12)
    return INDIRECT


def _ppc(context: Context, code: bytes, address: int) -> int | None:
    if address & 3:
        return None
    word = _word(context, code, 4)
    if word & 0xFC000001 == 0x48000001:                     # BL, BLA
        offset = _signed(word & 0x03FFFFFC, 26)
        return offset if word & 2 else address - 4 + offset
    # BCTRL and BLRL, whatever their condition; BCL with a displacement
    if word & 0xFC0007FF in (0x4C000421, 0x4C000021):
        return INDIRECT
    return INDIRECT if word & 0xFC000001 == 0x40000001 else None


_FAMILIES = {"x86": _x86, "arm": _arm, "aarch64": _aarch64, "mips": _mips, "riscv": _riscv,
             "ppc": _ppc}
