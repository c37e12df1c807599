"""A frame's caller by DWARF call frame information, as compilers write it into .eh_frame.

Source: DWARF version 5, 6.4.3 "Call Frame Instruction Usage"; gcc's unwind-dw2.c for what is not
said there: a register without a rule keeps its value, and the caller's stack pointer is the CFA.
On the hot path.
"""

from __future__ import annotations

from . import cfi_tables
from .cfa_program import AT, IN, SAME, SAVED_AT, UNKNOWN, VALUE_AT, Program, Row
from .frame import END, Frame
from .table_reader import Damaged, Reader, damaged, kept, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cfi_tables import Cie, Fde
    from .frame import Context

__all__ = ["step"]

# Places whose rows are kept: recursion and waiting threads ask for the same ones again.
MAX_ROWS = 512

# Bits of an AArch64 user address, the widest first; what is above is an authentication code.
_ADDRESS_BITS = (52, 48, 47, 42, 39, 36)


def step(context: Context, frame: Frame) -> Frame | None:
    """The caller of `frame`; END if the tables say that it has none; None if they say nothing.

    The pc found is not checked to be code: a smashed stack is for the caller to judge.
    """
    pc = context.machine.code_address(frame.pc) - (0 if frame.exact else 1)
    try:
        found = _row(context, pc)
        return None if found is None else _caller(context, frame, *found)
    except Damaged as damage:
        damaged(context, "Call frame information", pc, damage)
        return None


def _row(context: Context, pc: int) -> tuple[Row, Cie] | None:
    """What holds at `pc`, kept for the next time."""
    rows = kept(context, "cfi rows", MAX_ROWS)
    if pc not in rows:
        rows[pc] = None                 # also if it is damaged
        module = context.module_at(pc)
        fde = None if module is None else cfi_tables.find(context, module, pc)
        rows[pc] = None if fde is None else (_run(context, fde, pc), fde.cie)
    found: tuple[Row, Cie] | None = rows[pc]
    return found


def _run(context: Context, fde: Fde, pc: int) -> Row:
    cie, machine = fde.cie, context.machine

    def read_address(reader: Reader) -> int:
        return pointer(reader, cie.encoding, context.memory)

    program = Program(cie.code_unit, cie.data_unit, fde.start, read_address)
    program.run(Reader(cie.instructions, cie.instructions_at, machine.word, machine.order), pc)
    program.initial = program.row.copy()
    program.run(Reader(fde.instructions, fde.instructions_at, machine.word, machine.order), pc)
    return program.row


def _caller(context: Context, frame: Frame, row: Row, cie: Cie) -> Frame | None:
    """The caller's frame, its registers found as `row` says.  Raises Damaged."""
    machine, column = context.machine, cie.return_register
    kind = row.rules.get(column, (SAME, 0))[0]
    if kind == UNKNOWN:
        return END
    registers = {**frame.registers, machine.PC: frame.pc}
    cfa = _cfa(context, row, registers)
    caller = {**registers, machine.SP: cfa}
    for number, rule in row.rules.items():
        if number in machine.names or number == column:
            _restore(caller, number, _value(context, registers, cfa, number, rule))
    pc = caller.get(column)
    if pc is None or (kind == SAME and pc == frame.pc):
        return None                     # it never saved where it returns to
    pc = caller[machine.PC] = _without_code(context, pc)
    how = "signal" if cie.is_signal else "cfi"
    return Frame(pc, caller, how, cfa, cie.is_signal)


def _cfa(context: Context, row: Row, registers: dict[int, int]) -> int:
    if row.cfa is None:
        raise Damaged("a function without a CFA")
    if isinstance(row.cfa, bytes):
        from . import dwarf_expression  # here, not above: few programs have any

        return dwarf_expression.evaluate(row.cfa, registers, context.machine, context.memory)
    register, offset = row.cfa
    value = registers.get(register)
    if value is None:
        raise Damaged(f"register {register} is not known")
    return (value + offset) & context.machine.mask


def _restore(registers: dict[int, int], number: int, value: int | None) -> None:
    if value is None:
        registers.pop(number, None)
    else:
        registers[number] = value


def _value(context: Context, registers: dict[int, int], cfa: int, number: int,
           rule: tuple[int, int | bytes]) -> int | None:
    """A register of the caller by its rule; None if it is lost.  Raises Damaged."""
    kind, value = rule
    machine = context.machine
    if isinstance(value, bytes):
        from . import dwarf_expression

        found = dwarf_expression.evaluate(value, registers, machine, context.memory, cfa)
        return _saved(context, found) if kind == AT else found
    if kind == SAVED_AT:
        return _saved(context, cfa + value)
    if kind == VALUE_AT:
        return (cfa + value) & machine.mask
    return None if kind == UNKNOWN else registers.get(value if kind == IN else number)


def _saved(context: Context, address: int) -> int | None:
    """A register that was saved at `address`."""
    machine = context.machine
    found = context.memory.integer(address & machine.mask, machine.slot)
    return None if found is None else found & machine.mask


def _without_code(context: Context, pc: int) -> int:
    """A return address without the authentication code that AArch64 may have put into it."""
    if context.machine.family != "aarch64" or context.is_code(pc):
        return pc
    for bits in _ADDRESS_BITS:
        plain = pc & ((1 << bits) - 1)
        if context.is_code(plain):
            return plain
    return pc
