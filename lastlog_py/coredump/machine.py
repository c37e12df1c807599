"""The machines whose cores are read: register numbers, and where a core's note keeps them.

Sources: the DWARF register numbers of each psABI; struct elf_prstatus (include/linux/elfcore.h,
include/linux/elfcore-compat.h) with each arch/*/include/asm/elf.h and ptrace.h; for MIPS
arch/mips/include/uapi/asm/reg.h and arch/mips/include/asm/elfcore-compat.h (n32: 32-bit head,
64-bit registers).  On the hot path.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

__all__ = ["Machine", "of"]

EM_386, EM_MIPS, EM_PPC, EM_ARM = 3, 8, 20, 40
EM_X86_64, EM_AARCH64, EM_RISCV = 62, 183, 243
EF_MIPS_ABI2 = 0x20                     # n32
CPSR_THUMB = 0x20

# struct elf_prstatus: (size of a long, where pr_pid is, where pr_reg is).
_HEAD_32, _HEAD_64 = (24, 72), (32, 112)


class Machine:
    """One machine as one core has it.  Registers of a frame are a dict keyed by DWARF number."""

    __slots__ = ("FP", "LR", "PC", "SP", "abi", "bits", "cpsr", "family", "fault", "layout",
                 "mask", "mode_bit", "name", "names", "order", "pid_at", "registers",
                 "registers_at", "slot", "status_size", "word")

    def __init__(self, name: str, family: str, bits: int, order: Literal["little", "big"],
                 shape: _Shape) -> None:
        self.name = name                # "x86_64", "i386", "aarch64", "arm", "mipsel", …
        self.family = family            # "x86", "arm", "aarch64", "mips", "riscv", "ppc"
        self.abi = shape.abi            # "o32", "n32", "n64" on mips, "" elsewhere
        self.bits = bits                # of an address
        self.order = order
        self.word = bits // 8           # bytes of an address
        self.slot = shape.slot          # bytes of a saved register: 8 on n32, where word is 4
        self.mask = (1 << bits) - 1
        self.PC = shape.pc
        self.SP = shape.sp
        self.FP = shape.fp              # the usual frame pointer
        self.LR = shape.lr              # None on x86
        self.names = shape.names        # DWARF number → name
        self.registers = tuple(shape.names.values())
        # On arm and mips an odd code address means Thumb or mips16.
        self.mode_bit = 1 if family in ("arm", "mips") else 0
        self.layout = shape.layout      # index in pr_reg → DWARF number
        self.fault = shape.fault        # index in pr_reg of the faulting address; None
        self.cpsr = 16 if family == "arm" else None
        self.pid_at, self.registers_at = _HEAD_64 if bits == 64 else _HEAD_32
        self.status_size = shape.status_size

    def code_address(self, pc: int) -> int:
        """Where the instruction is: `pc` without the bit that tells Thumb or mips16."""
        return pc & ~self.mode_bit

    def status_register(self, desc: bytes, index: int) -> int | None:
        """Word `index` of pr_reg in a PRSTATUS note's body."""
        start = self.registers_at + index * self.slot
        if start + self.slot > len(desc):
            return None
        return int.from_bytes(desc[start:start + self.slot], self.order) & self.mask

    def from_prstatus(self, desc: bytes) -> dict[int, int]:
        """The registers in a PRSTATUS note's body; those a short body lacks are left out.

        In Thumb state the pc is odd, as a return address would be.
        """
        count = max(len(desc) - self.registers_at, 0) // self.slot
        values = struct.unpack_from(f"{'<' if self.order == 'little' else '>'}{count}"
                                    f"{'Q' if self.slot == 8 else 'I'}", desc,
                                    self.registers_at if count else 0)
        registers = {number: values[index] & self.mask for index, number in self.layout
                     if index < count}
        if self.cpsr is not None and self.PC in registers:
            state = self.status_register(desc, self.cpsr) or 0
            registers[self.PC] |= 1 if state & CPSR_THUMB else 0
        return registers


class _Shape:
    """What a machine's register file looks like, whatever its byte order."""

    __slots__ = ("abi", "fault", "fp", "layout", "lr", "names", "pc", "slot", "sp", "status_size")

    def __init__(self, names: dict[int, str], pc: int, sp: int, fp: int, lr: int | None,
                 layout: list[tuple[int, int]], slot: int, status_size: int,
                 fault: int | None = None, abi: str = "") -> None:
        self.names = names
        self.pc = pc
        self.sp = sp
        self.fp = fp
        self.lr = lr
        self.layout = layout
        self.slot = slot
        self.status_size = status_size  # of the whole note's body
        self.fault = fault
        self.abi = abi


def _names(text: str, *extra: tuple[int, str]) -> dict[int, str]:
    return dict([*enumerate(text.split()), *extra])


def _in_order(numbers: list[int | None]) -> list[tuple[int, int]]:
    return [(index, number) for index, number in enumerate(numbers) if number is not None]


def _x86_64() -> _Shape:
    names = _names("rax rdx rcx rbx rsi rdi rbp sp r8 r9 r10 r11 r12 r13 r14 r15 pc")
    layout = _in_order([15, 14, 13, 12, 6, 3, 11, 10, 9, 8, 0, 2, 1, 4, 5, None, 16, None, None, 7])
    return _Shape(names, 16, 7, 6, None, layout, 8, 336)


def _i386() -> _Shape:
    names = _names("eax ecx edx ebx sp ebp esi edi pc")
    layout = _in_order([3, 1, 2, 6, 7, 5, 0, None, None, None, None, None, 8, None, None, 4])
    return _Shape(names, 8, 4, 5, None, layout, 4, 144)


def _arm() -> _Shape:
    names = _names("r0 r1 r2 r3 r4 r5 r6 r7 r8 r9 r10 r11 r12 sp lr pc")
    return _Shape(names, 15, 13, 11, 14, [(index, index) for index in range(16)], 4, 148)


def _aarch64() -> _Shape:
    names = _names(" ".join(f"x{number}" for number in range(30)) + " lr sp pc")
    return _Shape(names, 32, 31, 29, 30, [(index, index) for index in range(33)], 8, 392)


# 37 is gdb's number for MIPS' pc; in DWARF it is f5, which no function preserves.
_MIPS_PC = 37
_MIPS_NAMES = _names("zero at v0 v1 a0 a1 a2 a3 t0 t1 t2 t3 t4 t5 t6 t7 s0 s1 s2 s3 s4 s5 s6 s7 "
                     "t8 t9 k0 k1 gp sp s8 ra", (_MIPS_PC, "pc"))
# n32 and n64 name registers 8 to 15 otherwise.
_MIPS64_NAMES = {**_MIPS_NAMES, **{8 + i: name for i, name in enumerate(
    "a4 a5 a6 a7 t0 t1 t2 t3".split())}}


def _mips_o32() -> _Shape:
    layout = [(6 + number, number) for number in range(32)] + [(40, _MIPS_PC)]
    return _Shape(_MIPS_NAMES, _MIPS_PC, 29, 30, 31, layout, 4, 256, 41, "o32")


def _mips_64(abi: str) -> _Shape:
    layout = [(number, number) for number in range(32)] + [(34, _MIPS_PC)]
    return _Shape(_MIPS64_NAMES, _MIPS_PC, 29, 30, 31, layout, 8, 440 if abi == "n32" else 480,
                  35, abi)


def _riscv64() -> _Shape:
    names = _names("zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 "
                   "s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6", (64, "pc"))
    layout = [(0, 64)] + [(number, number) for number in range(1, 32)]
    return _Shape(names, 64, 2, 8, 1, layout, 8, 376)


def _ppc() -> _Shape:
    names = _names("r0 sp " + " ".join(f"r{number}" for number in range(2, 32)),
                   (65, "lr"), (66, "ctr"), (128, "pc"))
    layout = [(number, number) for number in range(32)] + [(32, 128), (35, 66), (36, 65)]
    return _Shape(names, 128, 1, 31, 65, layout, 4, 268, 41)


def of(e_machine: int, e_class: int, e_data: int, e_flags: int, status_size: int = 0
       ) -> Machine | None:
    """The machine of an ELF file; e_class and e_data as in e_ident.  None: not one of ours.

    status_size: bytes of the core's PRSTATUS note; an emulator's n32 core is told by it alone.
    """
    bits, order = {1: 32, 2: 64}.get(e_class, 0), _order(e_data)
    if order is None:
        return None
    if e_machine == EM_MIPS:
        n32 = bits == 32 and (e_flags & EF_MIPS_ABI2 or status_size == 440)
        return _mips(bits, order, bool(n32))
    names = _OTHERS.get((e_machine, bits))
    if names is None:
        return None
    little, big, family, shape = names
    name = little if order == "little" else big
    return Machine(name, family, bits, order, shape()) if name else None


def _order(e_data: int) -> Literal["little", "big"] | None:
    if e_data == 1:
        return "little"
    return "big" if e_data == 2 else None


def _mips(bits: int, order: Literal["little", "big"], n32: bool) -> Machine | None:
    if bits not in (32, 64):
        return None
    end = "el" if order == "little" else ""
    if bits == 64:
        return Machine("mips64" + end, "mips", 64, order, _mips_64("n64"))
    if n32:
        return Machine("mips64" + end, "mips", 32, order, _mips_64("n32"))
    return Machine("mips" + end, "mips", 32, order, _mips_o32())


# (e_machine, bits) → name when little-endian, when big-endian ("": there is none), family, shape
_OTHERS = {
    (EM_X86_64, 64): ("x86_64", "", "x86", _x86_64),
    (EM_386, 32): ("i386", "", "x86", _i386),
    (EM_ARM, 32): ("arm", "armeb", "arm", _arm),
    (EM_AARCH64, 64): ("aarch64", "aarch64_be", "aarch64", _aarch64),
    (EM_RISCV, 64): ("riscv64", "", "riscv", _riscv64),
    (EM_PPC, 32): ("ppcle", "ppc", "ppc", _ppc),
}
