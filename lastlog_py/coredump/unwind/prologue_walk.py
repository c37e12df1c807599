"""What a function's code does to the stack, followed instruction by instruction.

A decoder tells a Walk what each instruction does; the Walk keeps, in terms of the CFA (the stack
pointer before the function began), where the stack pointer is and where the caller's registers
lie.  A state is carried along forward branches; the freeing of a frame is provisional: code
behind the return or jump that ends an epilogue has the frame again.

On the hot path: imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Value = tuple[int, int] | None
    State = tuple[dict[int, Value], dict[int, int]]

__all__ = ["ALLOCATES", "ENDS_BLOCK", "OTHER", "RETURNS", "Decoder", "Walk", "is_second", "signed"]

# Kinds of a value: CFA + number; a constant; what the caller had in register number; the word
# that lies at address number.  None: unknown.
CFA, CONSTANT, CALLER, LITERAL = range(4)

# What an instruction is to the search for a function's start.
OTHER, ALLOCATES, RETURNS, ENDS_BLOCK = range(4)

MAX_PENDING = 512               # forward branches remembered


class Decoder:
    """One instruction set."""

    __slots__ = ("back_chain", "classify", "delay", "execute", "lead", "pointers",
                 "pops_pc", "preserved", "ra", "sp", "unit")

    def __init__(self, unit: int, sp: int, ra: int, preserved: frozenset[int],
                 pointers: tuple[int, ...], execute: Callable[[Walk, int], int],
                 classify: Callable[[tuple[int, ...], int], int],
                 delay: int = 0, lead: int = 0, back_chain: bool = False,
                 pops_pc: bool = False) -> None:
        self.unit = unit                # bytes: 2 or 4; code is read as a tuple of such numbers
        self.sp = sp
        self.ra = ra                    # the register a call leaves the return address in
        self.preserved = preserved      # by a callee; without sp
        self.pointers = pointers        # those of them that compilers make frame pointers
        self.execute = execute          # (walk, index): tells the walk; returns units consumed
        self.classify = classify        # (units, index): ALLOCATES, RETURNS, ENDS_BLOCK, OTHER
        self.delay = delay              # units of code that belong to the jump before them
        self.lead = lead                # instructions that may compute an allocation's size
        self.back_chain = back_chain    # the word at sp is the caller's sp
        self.pops_pc = pops_pc          # functions return without putting ra back


class Walk:
    """The state at one place in a function's code, moved forward by run()."""

    __slots__ = ("_dead", "_decoder", "_kept", "_pending", "_restoring", "_returns", "_snapshot",
                 "_switch", "address", "busy", "cut", "edges", "index", "is_case", "limit",
                 "mask", "moves_freely", "read", "slots", "units", "values", "width")

    def __init__(self, decoder: Decoder, units: tuple[int, ...], address: int, width: int,
                 read: Callable[[int], int | None]) -> None:
        self.units = units
        self.address = address          # of units[0]
        self.width = width              # bytes of a register
        self.mask = (1 << 8 * width) - 1
        self.read = read                # the word at an address, for constants in the code
        self.index = 0                  # of the instruction being executed
        self.limit = 0                  # the walk ends here
        self.values: dict[int, Value] = {decoder.sp: (CFA, 0)}      # absent: still the caller's
        self.slots: dict[int, int] = {}     # offset from the CFA → caller's register kept there
        self.cut: int | None = None     # where code began that no way is seen to lead to
        self.is_case = False            # only a switch seems to lead here
        # (from, to, whether a way is seen to lead there): branches made with a frame
        self.edges: list[tuple[int, int, bool]] = []
        self.moves_freely = False       # sp was moved by what is not known, or taken from elsewhere
        self.busy: set[int] = set()     # of the pointers, those that are something else somewhere
        self._decoder = decoder
        self._dead = False              # nothing falls through to here
        self._returns = False           # and that is because of a return
        self._switch: State | None = None   # as it was at a jump to one of several cases
        self._restoring: State | None = None    # before the first register was restored
        self._kept: State | None = None     # as it was before the frame was freed
        self._pending: dict[int, State] = {}    # index of a branch's target → state there
        self._snapshot: State | None = None     # the present state, if it was copied

    # ---- what prologue.py does

    def run(self, start: int, limit: int, is_exact: bool) -> bool:
        """From units[start] up to units[limit]; whether an instruction begins exactly there.

        is_exact: limit is about to be executed; else the call before it is.
        """
        execute, units, pending = self._decoder.execute, self.units, self._pending
        self.limit = limit
        index = start
        while index < limit:
            if self._dead or index in pending:
                self._enter(index)
            self.index = index
            index += execute(self, index) or 1
        if is_exact and index < len(units):
            self._enter(index)
        return index == limit

    def bases(self) -> list[tuple[int, int]]:
        """Registers that tell the CFA, best first: (register, CFA less the register's value)."""
        found = []
        for register in (*self._decoder.pointers, self._decoder.sp, *self.values):
            value = self.values.get(register)
            if value is not None and value[0] == CFA and (register, -value[1]) not in found:
                found.append((register, -value[1]))
        return found

    def holders(self, register: int) -> list[int]:
        """The registers that hold what the caller had in `register`."""
        found = [] if register in self.values else [register]
        return found + [holder for holder, value in self.values.items()
                        if value == (CALLER, register)]

    def saved(self) -> dict[int, int]:
        """Caller's register → offset from the CFA; the first that was stored counts."""
        found: dict[int, int] = {}
        for offset, register in self.slots.items():
            found.setdefault(register, offset)
        return found

    # ---- what decoders tell

    def value(self, register: int) -> Value:
        """What is in a register."""
        return self.values.get(register, (CALLER, register))

    def set(self, register: int, value: Value) -> None:
        """The register has that value now."""
        if register == self._decoder.sp:
            self.moves_freely |= value is None
            self._moved(self.values[register], value)
        elif register in self._decoder.pointers and self.cut is None and not self.is_case:
            self._used(register, value)
        if value == (CALLER, register):
            if register in self.values:
                del self.values[register]
                self._snapshot = None
        elif self.values.get(register, self) != value:
            self.values[register] = value
            self._snapshot = None

    def forget(self, register: int) -> None:
        """Something else is in the register."""
        if self.values.get(register, self) is not None:
            self.set(register, None)

    def constant(self, register: int, number: int) -> None:
        """A known number, of whatever size, is put into the register."""
        self.set(register, (CONSTANT, signed(number & self.mask, 8 * self.width)))

    def literal(self, register: int, address: int) -> None:
        """The word at `address`, a constant in the code, is put into the register."""
        self.set(register, (LITERAL, address))

    def move(self, target: int, source: int) -> None:
        """target = source"""
        self.moves_freely |= target == self._decoder.sp != source
        self.set(target, self.value(source))

    def add(self, target: int, source: int, number: int) -> None:
        """target = source + number"""
        self.moves_freely |= target == self._decoder.sp != source
        value = self.value(source)
        if value is None or value[0] not in (CFA, CONSTANT):
            self.set(target, value if number == 0 else None)
        elif value[0] == CFA:
            self.set(target, (CFA, value[1] + number) if abs(value[1]) < 1 << 32 else None)
        else:
            self.constant(target, value[1] + number)

    def add_registers(self, target: int, left: int, right: int, sign: int = 1) -> None:
        """target = left + sign * right"""
        number = self.number(right)
        if number is not None:
            self.add(target, left, sign * number)
        elif sign > 0 and self.number(left) is not None:
            self.add(target, right, self.number(left) or 0)
        else:
            self.forget(target)

    def number(self, register: int) -> int | None:
        """The constant in a register."""
        value = self.value(register)
        if value is None or value[0] not in (CONSTANT, LITERAL):
            return None
        if value[0] == CONSTANT:
            return value[1]
        number = self.read(value[1])
        return None if number is None else signed(number & self.mask, 8 * self.width)

    def store(self, register: int, base: int, offset: int) -> None:
        """A whole register is stored at base + offset."""
        where = self.value(base)
        if where is None or where[0] != CFA:
            return
        at, value = where[1] + offset, self.value(register)
        if value is not None and value[0] == CALLER and (
                value[1] in self._decoder.preserved or value[1] == self._decoder.ra):
            if self.slots.get(at) != value[1]:
                self.slots[at] = value[1]
                self._snapshot = None
        elif at in self.slots:
            del self.slots[at]
            self._snapshot = None

    def load(self, register: int, base: int, offset: int) -> None:
        """A whole register is loaded from base + offset."""
        where = self.value(base)
        if where is not None and where[0] == CFA and where[1] + offset in self.slots:
            if self._restoring is None:
                self._restoring = self._state()
            self.set(register, (CALLER, self.slots[where[1] + offset]))
        else:
            self.forget(register)

    def call(self) -> None:
        """A function was called and has returned."""
        self._kept = self._restoring = None
        preserved, sp = self._decoder.preserved, self._decoder.sp
        for register in [self._decoder.ra, *self.values]:
            if register not in preserved and register != sp:
                self.forget(register)

    def branch(self, target: int) -> None:
        """It may go on at units[target]."""
        if self._has_frame() and len(self.edges) < MAX_PENDING:
            self.edges.append((self.index, target, self.cut is None))
        if self.index < target <= self.limit and len(self._pending) < MAX_PENDING:
            self._pending.setdefault(target, self._state())

    def jump(self, target: int | None = None) -> None:
        """It goes on at units[target], or nobody knows where.

        A jump to nobody knows where is a call that will not return, once the frame was freed;
        before, it is a switch, and what follows is one of its cases.
        """
        if target is not None:
            self.branch(target)
        elif self._has_frame():
            self.switch()
            return
        self._dead = True
        self._returns = False

    def switch(self) -> None:
        """It goes on at one of several places, perhaps here."""
        if self._has_frame():
            self._switch = self._state()

    def leave(self) -> None:
        """The function returns."""
        self._dead = self._returns = True

    def trap(self) -> None:
        """It ends here: compilers put a trap where nothing may come."""
        self._dead = True
        self._returns = False

    # ---- inside

    def _used(self, register: int, value: Value) -> None:
        """A register that may be the frame pointer is set."""
        if value != (CALLER, register) and (value is None or value[0] != CFA):
            self.busy.add(register)

    def _has_frame(self) -> bool:
        return self._kept is None and self.values[self._decoder.sp] != (CFA, 0)

    def _state(self) -> State:
        if self._snapshot is None:
            self._snapshot = (self.values.copy(), self.slots.copy())
        return self._snapshot

    def _enter(self, index: int) -> None:
        """Take the state that the code at `index` has."""
        state = self._pending.pop(index, None)
        if self._dead:
            is_case = self._switch is not None and self._kept is None and not self._returns
            self.cut = index if state is None and not is_case else None
            self.is_case = state is None and is_case
            state = state or self._switch or self._kept
            self._dead = False
            self._kept = self._restoring = None
            if state is not None:
                self.values, self.slots = state[0].copy(), state[1].copy()
                self._snapshot = state

    def _moved(self, old: Value, new: Value) -> None:
        """The stack pointer goes from old to new."""
        if new is None or new[0] != CFA:
            return                      # where nobody knows: memory of a size found at run time
        if old is None or old[0] != CFA or new[1] > old[1]:
            if self._kept is None:
                self._kept = self._restoring or self._state()
            for offset in [offset for offset in self.slots if offset < new[1]]:
                del self.slots[offset]
            self._snapshot = None
        elif new[1] < old[1]:
            self._kept = self._restoring = None


def is_second(units: tuple[int, ...], index: int, is_first: Callable[[int], bool]) -> bool:
    """Whether units[index] is the second half of an instruction of two.

    What precedes a run of units that look like first halves is none, so the run begins with an
    instruction, and every other unit of it is a second half.
    """
    before = index - 1
    while before >= 0 and is_first(units[before]):
        before -= 1
    return (index - 1 - before) % 2 == 1


def signed(number: int, bits: int) -> int:
    """The low `bits` of a number as two's complement."""
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number
