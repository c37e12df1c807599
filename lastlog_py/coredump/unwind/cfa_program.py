"""Call frame instructions: the program that says where a function's registers were saved.

Source: DWARF version 5, 6.4.2 "Call Frame Instructions", and the GNU extensions of gcc's
unwind-dw2.c.  On the hot path: imports nothing of the system.
"""

from __future__ import annotations

from .table_reader import Damaged, Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AT", "IN", "SAME", "SAVED_AT", "UNKNOWN", "VALUE", "VALUE_AT", "Program", "Row"]

# How a register's value in the caller is found: the first of a rule's two; what the second is.
SAVED_AT = 0                    # in memory at the CFA plus an offset
VALUE_AT = 1                    # it is the CFA plus an offset
IN = 2                          # in the register of that number
AT = 3                          # in memory at what an expression says
VALUE = 4                       # it is what an expression says
UNKNOWN = 5                     # lost
SAME = 6                        # still in its register

# Registers with rules; real programs have at most some 60 (all of MIPS' with floating point).
MAX_RULES = 256
# Rows remembered at a time; real programs remember one or two.
MAX_REMEMBERED = 16


class Row:
    """What holds at one place of a function."""

    __slots__ = ("cfa", "rules")

    def __init__(self) -> None:
        # Where the canonical frame address is: register and offset, or an expression; None: the
        # program has not said it.
        self.cfa: tuple[int, int] | bytes | None = None
        self.rules: dict[int, tuple[int, int | bytes]] = {}

    def copy(self) -> Row:
        """The same once more."""
        row = Row()
        row.cfa, row.rules = self.cfa, dict(self.rules)
        return row


class Program:
    """A run of call frame instructions up to one place.

    `code_unit` and `data_unit` are the CIE's alignment factors, `location` the address that the
    first instruction is about; `read_address` reads a pointer as the FDE's are written.
    """

    __slots__ = ("code_unit", "data_unit", "initial", "location", "read_address",
                 "reader", "remembered", "row")

    def __init__(self, code_unit: int, data_unit: int, location: int,
                 read_address: Callable[[Reader], int]) -> None:
        self.code_unit = code_unit
        self.data_unit = data_unit
        self.location = location
        self.read_address = read_address
        self.row = Row()
        self.initial = Row()            # what the CIE's instructions end with
        self.remembered: list[Row] = []
        self.reader = Reader(b"", 0, 4, "little")

    def run(self, code: Reader, stops_at: int) -> None:
        """Follow `code` as far as it is about addresses up to `stops_at`.  Raises Damaged."""
        self.reader = code
        size = len(code.data)
        while code.at < size and self.location <= stops_at:
            self._instruction(code.byte())

    def _instruction(self, code: int) -> None:
        low = code & 0x3f
        if code >= 0xc0:
            self._restore(low)
        elif code >= 0x80:
            self._rule(low, SAVED_AT, self.reader.uleb() * self.data_unit)
        elif code >= 0x40:
            self._advance(low)
        elif code in _INSTRUCTIONS:
            _INSTRUCTIONS[code](self)
        else:
            raise Damaged(f"an unknown call frame instruction, {code:#x}")

    def _advance(self, units: int) -> None:
        self.location += units * self.code_unit

    def _set_location(self) -> None:
        self.location = self.read_address(self.reader)

    def _rule(self, register: int, kind: int, value: int | bytes = 0) -> None:
        if register not in self.row.rules and len(self.row.rules) >= MAX_RULES:
            raise Damaged("rules for too many registers")
        self.row.rules[register] = (kind, value)

    def _restore(self, register: int) -> None:
        rule = self.initial.rules.get(register)
        if rule is None:
            self.row.rules.pop(register, None)
        else:
            self._rule(register, *rule)

    def _remember(self) -> None:
        if len(self.remembered) >= MAX_REMEMBERED:
            raise Damaged("rows are remembered without an end")
        self.remembered.append(self.row.copy())

    def _recall(self) -> None:
        if not self.remembered:
            raise Damaged("nothing was remembered")
        self.row = self.remembered.pop()

    def _cfa_register(self, register: int) -> None:
        self.row.cfa = (register, self._cfa()[1])

    def _cfa_offset(self, offset: int) -> None:
        self.row.cfa = (self._cfa()[0], offset)

    def _cfa(self) -> tuple[int, int]:
        """Register and offset so far; RISC-V's CIEs give the register alone."""
        cfa = self.row.cfa or (0, 0)
        if not isinstance(cfa, tuple):
            raise Damaged("half of what makes a CFA")
        return cfa

    def _cfa_is(self, cfa: tuple[int, int] | bytes) -> None:
        self.row.cfa = cfa

    def _offset(self, kind: int, signed: bool) -> None:
        """A rule with a register and a factored offset."""
        register = self.reader.uleb()
        offset = self.reader.sleb() if signed else self.reader.uleb()
        self._rule(register, kind, offset * self.data_unit)


def _nothing(_program: Program) -> None:
    pass


_INSTRUCTIONS: dict[int, Callable[[Program], object]] = {
    0x00: _nothing,
    0x01: Program._set_location,
    0x02: lambda run: run._advance(run.reader.byte()),
    0x03: lambda run: run._advance(run.reader.number(2)),
    0x04: lambda run: run._advance(run.reader.number(4)),
    0x05: lambda run: run._offset(SAVED_AT, False),                         # offset_extended
    0x06: lambda run: run._restore(run.reader.uleb()),
    0x07: lambda run: run._rule(run.reader.uleb(), UNKNOWN),
    0x08: lambda run: run._rule(run.reader.uleb(), SAME),
    0x09: lambda run: run._rule(run.reader.uleb(), IN, run.reader.uleb()),
    0x0a: Program._remember,
    0x0b: Program._recall,
    0x0c: lambda run: run._cfa_is((run.reader.uleb(), run.reader.uleb())),
    0x0d: lambda run: run._cfa_register(run.reader.uleb()),
    0x0e: lambda run: run._cfa_offset(run.reader.uleb()),
    0x0f: lambda run: run._cfa_is(run.reader.block()),
    0x10: lambda run: run._rule(run.reader.uleb(), AT, run.reader.block()),
    0x11: lambda run: run._offset(SAVED_AT, True),                          # offset_extended_sf
    0x12: lambda run: run._cfa_is((run.reader.uleb(), run.reader.sleb() * run.data_unit)),
    0x13: lambda run: run._cfa_offset(run.reader.sleb() * run.data_unit),
    0x14: lambda run: run._offset(VALUE_AT, False),                         # val_offset
    0x15: lambda run: run._offset(VALUE_AT, True),
    0x16: lambda run: run._rule(run.reader.uleb(), VALUE, run.reader.block()),
    0x1d: lambda run: run._advance(run.reader.number(8)),                   # MIPS_advance_loc8
    # AArch64: the return address carries an authentication code from here on, or no more.  That
    # is seen from the address itself.
    0x2c: _nothing,
    0x2d: _nothing,
    0x2e: lambda run: run.reader.uleb(),                                    # GNU_args_size
    0x2f: lambda run: run._rule(run.reader.uleb(), SAVED_AT,                # GNU_negative_offset
                                -run.reader.uleb() * run.data_unit),
}
