"""A frame's caller by ARM's own tables: .ARM.exidx and .ARM.extab.

Source: "Exception Handling ABI for the Arm Architecture" (EHABI32), sections 6 to 10: the index,
the compact model with its three routines, the frame unwinding instructions of table 4; gcc's
pr-support.c for the data behind other personality routines (C++).  The tables describe call sites:
in a prologue or an epilogue they say what will be, or was.  On the hot path.
"""

from __future__ import annotations

from .frame import Frame
from .table_reader import Absent, Damaged, damaged, kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .frame import Context

__all__ = ["step"]

_CANNOT_UNWIND = 1
_COMPACT = 1 << 31              # the entry's word, or its table's first one, holds instructions
_ROW = 8                        # bytes of an index entry
MAX_ROWS = 1 << 20              # of an index; its search takes 21 looks
MAX_WORDS = 256                 # of instructions: a byte says how many
MAX_KEPT = 512                  # places whose instructions are kept

# Bytes of a function in which it may not have done yet what its tables undo.
PROLOGUE = 16

SP, LR, PC = 13, 14, 15
_FINISH = 0xb0


def step(context: Context, frame: Frame) -> Frame | None:
    """The caller of `frame`; None if there are no tables, or they say that it has none.

    None also where an interrupted function has only just begun: its code says more.
    """
    pc = context.machine.code_address(frame.pc) - (0 if frame.exact else 1)
    try:
        found = _entry(context, pc)
        if found is None or (frame.exact and pc < found[0] + PROLOGUE):
            return None
        return _caller(context, frame, found[1])
    except Damaged as damage:
        damaged(context, "Unwind instructions", pc, damage)
        return None


def _entry(context: Context, pc: int) -> tuple[int, bytes] | None:
    """Where the function at `pc` begins, and its instructions; kept for the next time."""
    entries = kept(context, "exidx", MAX_KEPT)
    if pc not in entries:
        entries[pc] = None              # also if it is damaged
        entries[pc] = _find(context, pc)
    found: tuple[int, bytes] | None = entries[pc]
    return found


def _find(context: Context, pc: int) -> tuple[int, bytes] | None:
    module = context.module_at(pc)
    place = None if module is None or module.image is None else module.image.exidx
    row = None if place is None else _search(context, place[0], place[1] // _ROW, pc)
    if row is None:
        return None
    word = _word(context, row + 4)
    if word == _CANNOT_UNWIND:
        return None
    code = _compact(context, row + 4) if word & _COMPACT else \
        _table(context, _place(context, row + 4))
    return _place(context, row) & ~1, code


def _search(context: Context, table: int, count: int, pc: int) -> int | None:
    """The address of the last entry whose function begins at or before `pc`."""
    low, high = 0, min(count, MAX_ROWS)
    while low < high:
        middle = (low + high) // 2
        if _place(context, table + middle * _ROW) & ~1 <= pc:
            low = middle + 1
        else:
            high = middle
    return table + (low - 1) * _ROW if low else None


def _table(context: Context, address: int) -> bytes:
    """The instructions of the entry of .ARM.extab at `address`."""
    if _word(context, address) & _COMPACT:
        return _compact(context, address)
    # The address of a personality routine; behind it gcc's data, as in the compact model's words
    # of routine 1, with the number of further words in the highest byte.
    return _words(context, address + 4, 1, _word(context, address + 4) >> 24)


def _compact(context: Context, address: int) -> bytes:
    """The instructions that start in the word at `address`."""
    word = _word(context, address)
    routine = word >> 24 & 0x7f
    if routine == 0:
        return _words(context, address, 1, 0)
    if routine in (1, 2):
        return _words(context, address, 2, word >> 16 & 0xff)
    raise Damaged(f"routine {routine} is not known")


def _words(context: Context, address: int, skip: int, more: int) -> bytes:
    """The bytes of a word less the highest `skip`, and of `more` words, the highest first."""
    words = [_word(context, address + 4 * index) for index in range(min(more, MAX_WORDS) + 1)]
    return b"".join(word.to_bytes(4, "big") for word in words)[skip:]


def _word(context: Context, address: int) -> int:
    word = context.memory.integer(address & 0xffffffff, 4)
    if word is None:
        raise Absent
    return word


def _place(context: Context, address: int) -> int:
    """Where the word at `address` points to: its lower 31 bits are a distance from itself."""
    distance = _word(context, address) & 0x7fffffff
    return address + distance - (distance >> 30 << 31) & 0xffffffff


def _caller(context: Context, frame: Frame, code: bytes) -> Frame | None:
    sp = frame.registers.get(SP)
    if sp is None:
        return None
    state = _State(context, frame.registers, sp, code)
    state.run()
    registers = {**state.registers, SP: state.sp}
    pc = registers.get(LR) if state.pc is None else state.pc
    if pc is None or (pc == frame.pc and not state.has_lr):
        return None                     # it never saved where it returns to
    registers[PC] = pc
    return Frame(pc, registers, "exidx", state.sp)


class _State:
    """Registers while the instructions undo what the function did."""

    __slots__ = ("at", "code", "context", "has_lr", "pc", "registers", "sp")

    def __init__(self, context: Context, registers: dict[int, int], sp: int, code: bytes) -> None:
        self.context = context
        self.registers = dict(registers)
        self.sp = sp                    # the EHABI's vsp
        self.pc: int | None = None      # if it was popped; else LR is where the function returns
        self.has_lr = False             # popped: LR or PC
        self.code = code
        self.at = 0

    def run(self) -> None:
        """Follow all instructions up to finish, or the end.  Raises Damaged."""
        while self.at < len(self.code):
            code = self.byte()
            if code == _FINISH:
                return
            self._instruction(code)

    def byte(self) -> int:
        """The next byte."""
        if self.at >= len(self.code):
            raise Damaged("instructions end early")
        self.at += 1
        return self.code[self.at - 1]

    def _instruction(self, code: int) -> None:
        if code < 0x40:
            self.move((code << 2) + 4)
        elif code < 0x80:
            self.move(-((code & 0x3f) << 2) - 4)
        elif code < 0x90:
            self._pop_masked(code << 8 & 0xf00 | self.byte())
        elif code < 0xa0:
            self._set_sp(code & 15)
        elif code < 0xb0:
            self.pop((1 << (code & 7) + 1) - 1 << 4 | (1 << LR if code & 8 else 0))
        elif code in _INSTRUCTIONS:
            _INSTRUCTIONS[code](self)
        else:
            self._pop_run(code)

    def move(self, distance: int) -> None:
        """Move the stack pointer."""
        self.sp = self.sp + distance & 0xffffffff

    def _pop_masked(self, mask: int) -> None:
        if not mask:
            raise Damaged("they refuse to unwind")
        self.pop(mask << 4)

    def pop(self, mask: int) -> None:
        """Registers from the stack, the lowest first."""
        sp = self.sp
        for number in range(16):
            if mask >> number & 1:
                self._restore(number, self.context.memory.integer(self.sp, 4))
                self.move(4)
        if mask >> SP & 1:
            self.sp = self._known(SP, sp)

    def _restore(self, number: int, value: int | None) -> None:
        if value is None:
            raise Damaged("the stack is not there")
        self.registers[number] = value
        if number == PC:
            self.pc = value
        self.has_lr |= number >= LR

    def _set_sp(self, number: int) -> None:
        if number in (SP, PC):
            raise Damaged("a reserved instruction")
        self.sp = self._known(number, None)

    def _known(self, number: int, otherwise: int | None) -> int:
        value = self.registers.get(number, otherwise)
        if value is None:
            raise Damaged(f"r{number} is not known")
        return value

    def _pop_run(self, code: int) -> None:
        """Registers of a coprocessor, which are passed over."""
        for first, size, extra in _RUNS:
            if first <= code < first + 8:
                self.move(((code & 7) + 1) * size + extra)
                return
        raise Damaged(f"a spare instruction, {code:#x}")

    def pop_low(self) -> None:
        """r0 to r3 by mask."""
        mask = self.byte()
        if not 0 < mask < 16:
            raise Damaged("a spare instruction")
        self.pop(mask)

    def pop_control(self) -> None:
        """Four control registers of iWMMXt by mask."""
        mask = self.byte()
        if not 0 < mask < 16:
            raise Damaged("a spare instruction")
        self.move(4 * mask.bit_count())

    def move_far(self) -> None:
        """More than two short moves could."""
        value, shift = 0, 0
        while shift < 35:
            byte = self.byte()
            value |= (byte & 0x7f) << shift
            shift += 7
            if not byte & 0x80:
                self.move(0x204 + (value << 2))
                return
        raise Damaged("a number without an end")

    def pop_doubles(self, extra: int) -> None:
        """Registers of 8 bytes; a byte says which, its lower half how many."""
        self.move(((self.byte() & 15) + 1) * 8 + extra)


# Runs of eight codes, the lower bits of which say how many: first code, bytes of a register, bytes
# more (FSTMFDX leaves a word free).
_RUNS = ((0xb8, 8, 4), (0xc0, 8, 0), (0xd0, 8, 0))

_INSTRUCTIONS: dict[int, Callable[[_State], object]] = {
    0xb1: _State.pop_low,
    0xb2: _State.move_far,
    0xb3: lambda state: state.pop_doubles(4),           # VFP by FSTMFDX
    0xb4: lambda state: state.move(4),                  # a return address' authentication code
    0xb5: lambda state: None,                           # which used this stack pointer
    0xc6: lambda state: state.pop_doubles(0),           # iWMMXt
    0xc7: _State.pop_control,
    0xc8: lambda state: state.pop_doubles(0),           # VFP from D16 on, by VPUSH
    0xc9: lambda state: state.pop_doubles(0),           # VFP by VPUSH
}
