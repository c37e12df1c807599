"""Signal frames: from a sigreturn trampoline back to the code a signal interrupted.

A handler returns into a few instructions that call sigreturn: in the vdso, in libc (SA_RESTORER),
in the kernel's signal page or, on old kernels, on the stack.  There the kernel's frame is at the
stack pointer, with every register of the interrupted code.

Sources of the layouts: the kernel's arch/*/kernel/signal*.c (setup_frame, setup_rt_frame) and
arch/*/include/uapi/asm/{sigcontext,ucontext,ptrace}.h; all of them are user-space ABI and do not
change.

On the hot path: imports nothing but ours.
"""

from __future__ import annotations

from .frame import Context, Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from ..machine import Machine

    Order = Literal["little", "big"]

__all__ = ["at_trampoline", "step"]

LONGEST = 9                 # the longest trampoline below, in bytes
PC, CPSR = -1, -2           # in a layout: what has another number, or none, on each machine
CPSR_THUMB = 0x20


class Layout:
    """One kind of signal frame on one machine.  Offsets and sizes in bytes."""

    __slots__ = ("base", "codes", "pointer", "registers", "width")

    def __init__(self, codes: tuple[bytes, ...], base: int, registers: dict[int, int],
                 width: int, pointer: bool = False) -> None:
        self.codes = codes          # the trampoline's instructions: any of these, as in memory
        self.base = base            # from the stack pointer in the trampoline to the registers
        self.registers = registers  # DWARF number, PC or CPSR -> offset from the base
        self.width = width          # of a register's slot
        self.pointer = pointer      # what lies at the base is not the registers but their address


def step(context: Context, frame: Frame) -> Frame | None:
    """The frame that a signal interrupted, if `frame` is in a sigreturn trampoline."""
    layout = _layout(context, frame.pc)
    sp = frame.registers.get(context.machine.SP)
    if layout is None or sp is None:
        return None
    base: int | None = sp + layout.base
    if layout.pointer:
        base = context.memory.word(sp + layout.base)
    return None if base is None else _interrupted(context, layout, base)


def at_trampoline(context: Context, pc: int) -> bool:
    """Is `pc` the start of a sigreturn trampoline?"""
    return _layout(context, pc) is not None


def _layout(context: Context, pc: int) -> Layout | None:
    code = context.memory.read(context.machine.code_address(pc), LONGEST)
    for layout in _layouts(context.machine):
        if code.startswith(layout.codes):
            return layout
    return None


def _interrupted(context: Context, layout: Layout, base: int) -> Frame | None:
    """The frame whose registers are at `base`; None where the stack was not captured that far."""
    machine = context.machine
    registers: dict[int, int] = {}
    for number, offset in layout.registers.items():
        value = context.memory.integer(base + offset, layout.width)
        if value is not None:
            registers[number] = value & machine.mask
    pc = registers.pop(PC, None)
    state = registers.pop(CPSR, 0)
    if pc is None or machine.SP not in registers:
        return None
    pc |= 1 if state & CPSR_THUMB else 0
    registers[machine.PC] = pc
    return Frame(pc, registers, how="signal", is_signal=True)


def _row(count: int, offset: int, width: int) -> dict[int, int]:
    """Registers 0 to `count` - 1 in a row from `offset` on."""
    return {number: offset + width * number for number in range(count)}


def _x86_64(order: Order) -> list[Layout]:
    # struct rt_sigframe after its pretcode is a ucontext, with the mcontext at 40.
    # In DWARF's order: ax dx cx bx si di bp sp r8-r15.
    offsets = (104, 96, 112, 88, 72, 64, 80, 120, 0, 8, 16, 24, 32, 40, 48, 56)
    codes = (b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05", b"\xb8\x0f\0\0\0\x0f\x05")
    return [Layout(codes, 40, {**dict(enumerate(offsets)), PC: 128}, 8)]


def _i386(order: Order) -> list[Layout]:
    # In struct sigcontext: ax cx dx bx sp bp si di.  The non-rt trampoline pops the signal number
    # that the rt one leaves where it is.
    registers = {**dict(enumerate((44, 40, 36, 32, 28, 24, 20, 16))), PC: 56}
    return [Layout((b"\x58\xb8\x77\0\0\0\xcd\x80",), 4, registers, 4),
            Layout((b"\xb8\xad\0\0\0\xcd\x80",), 160, registers, 4)]


def _aarch64(order: Order) -> list[Layout]:
    # siginfo 128, ucontext to its mcontext 176, the fault address 8; then x0-x30, sp, pc.
    # Instructions are little-endian whatever the data's order is, here and on riscv.
    code = _words("little", 0xD2801168, 0xD4000001)
    return [Layout((code,), 312, {**_row(32, 0, 8), PC: 256}, 8)]


def _arm(order: Order) -> list[Layout]:
    # In struct sigcontext: r0-r15, cpsr.
    registers = {**_row(15, 0, 4), PC: 60, CPSR: 64}
    return [Layout(_arm_codes(order, 119), 32, registers, 4),
            Layout(_arm_codes(order, 173), 160, registers, 4)]


def _arm_codes(order: Order, number: int) -> tuple[bytes, ...]:
    """mov r7, number; svc.  In Thumb the mov is short (the kernel's) or wide (libc's)."""
    mov = 0xE3A07000 | number
    return (_words(order, mov, 0xEF000000),
            _words(order, mov, 0xEF900000 | number),    # sigreturn_codes.S: good for OABI too
            _halves(order, 0x2700 | number, 0xDF00),
            _halves(order, 0xF04F, 0x0700 | number, 0xDF00))


def _mips(order: Order) -> list[Layout]:
    # o32 keeps registers in slots of 64 bits, like n32 and n64.  Non-rt, rt, then n64, n32.
    o32 = {**_row(32, 16, 8), PC: 8}
    n64 = {**_row(32, 0, 8), PC: 576}
    return [Layout((_mips_code(order, 4119),), 24, o32, 8),
            Layout((_mips_code(order, 4193),), 176, o32, 8),
            Layout((_mips_code(order, 5211),), 192, n64, 8),
            Layout((_mips_code(order, 6211),), 176, n64, 8)]


def _mips_code(order: Order, number: int) -> bytes:
    """li v0, number; syscall."""
    return _words(order, 0x24020000 | number, 0x0000000C)


def _riscv(order: Order) -> list[Layout]:
    # struct user_regs_struct: pc, x1-x31.
    registers = {number: 8 * number for number in range(1, 32)}
    code = _words("little", 0x08B00893, 0x00000073)
    return [Layout((code,), 304, {**registers, PC: 0}, 8)]


def _ppc(order: Order) -> list[Layout]:
    # The non-rt frame's sigcontext.regs, the rt frame's ucontext.uc_regs: each the address of a
    # struct pt_regs: r0-r31, nip, msr, orig_r3, ctr, link.  In DWARF lr is 65, ctr 66.
    registers = {**_row(32, 0, 4), PC: 128, 66: 140, 65: 144}
    return [Layout((_words(order, 0x38000077, 0x44000002),), 64 + 28, registers, 4, pointer=True),
            Layout((_words(order, 0x380000AC, 0x44000002),), 208 + 48, registers, 4, pointer=True)]


def _words(order: Order, *words: int) -> bytes:
    return b"".join(word.to_bytes(4, order) for word in words)


def _halves(order: Order, *halves: int) -> bytes:
    return b"".join(half.to_bytes(2, order) for half in halves)


_FAMILIES = {("x86", 64): _x86_64, ("x86", 32): _i386, ("aarch64", 64): _aarch64,
             ("arm", 32): _arm, ("mips", 32): _mips, ("mips", 64): _mips,
             ("riscv", 64): _riscv, ("ppc", 32): _ppc}
_made: dict[tuple[str, int, str], list[Layout]] = {}


def _layouts(machine: Machine) -> list[Layout]:
    """The machine's kinds of signal frames; none for a machine that is not known here."""
    key = (machine.family, machine.bits, machine.order)
    if key not in _made:
        make = _FAMILIES.get(key[:2])
        _made[key] = make(machine.order) if make else []
    return _made[key]
