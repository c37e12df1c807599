"""DWARF expressions as they occur in call frame information.

Source: DWARF version 5, 2.5 "DWARF Expressions" and 6.4.2 (what of them call frame information
may use).  Compilers hardly emit any; procedure linkage tables and signal trampolines do.
On the hot path: imports nothing of the system.
"""

from __future__ import annotations

from .table_reader import Damaged, Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..machine import Machine
    from ..memory import Memory

__all__ = ["evaluate"]

# Real ones have fewer than 20 operations and 5 values.
MAX_STEPS = 512
MAX_STACK = 64


def evaluate(code: bytes, registers: dict[int, int], machine: Machine, memory: Memory,
             given: int | None = None) -> int:
    """The value of an expression, not negative, of the machine's word size.

    `given` lies on the stack to begin with.  Raises Damaged.
    """
    run = _Run(code, registers, machine, memory)
    if given is not None:
        run.push(given)
    size = len(code)
    for _ in range(MAX_STEPS):
        if run.reader.at >= size:
            return run.pop()
        run.operation()
    raise Damaged("an expression without an end")


class _Run:
    """An expression while it is worked out."""

    __slots__ = ("bits", "mask", "memory", "reader", "registers", "stack")

    def __init__(self, code: bytes, registers: dict[int, int], machine: Machine,
                 memory: Memory) -> None:
        self.reader = Reader(code, 0, machine.word, machine.order)
        self.registers = registers
        self.memory = memory
        self.bits = 8 * machine.word
        self.mask = (1 << self.bits) - 1
        self.stack: list[int] = []

    def push(self, value: int) -> None:
        if len(self.stack) >= MAX_STACK:
            raise Damaged("an expression piles up too much")
        self.stack.append(value & self.mask)

    def pop(self) -> int:
        if not self.stack:
            raise Damaged("an expression takes what it has not")
        return self.stack.pop()

    def peek(self, depth: int) -> int:
        if depth >= len(self.stack):
            raise Damaged("an expression takes what it has not")
        return self.stack[-1 - depth]

    def signed(self, value: int) -> int:
        return value - self.mask - 1 if value >> (self.bits - 1) else value

    def register(self, number: int, offset: int) -> None:
        value = self.registers.get(number)
        if value is None:
            raise Damaged(f"register {number} is not known")
        self.push(value + offset)

    def fetch(self, size: int) -> None:
        address = self.pop()
        found = self.memory.read(address, size)
        if len(found) < size:
            raise Damaged(f"nothing at {address:#x}")
        self.push(int.from_bytes(found, self.reader.order))

    def operation(self) -> None:
        """One operation of the expression."""
        code = self.reader.byte()
        if code in _CONSTANTS:
            self.push(self.reader.number(*_CONSTANTS[code]))
        elif code in _BINARY:
            second, first = self.pop(), self.pop()
            self.push(_BINARY[code](self, first, second))
        elif 0x30 <= code <= 0x4f:                              # DW_OP_lit0 …
            self.push(code - 0x30)
        elif 0x50 <= code <= 0x6f:                              # DW_OP_reg0 …, as gcc reads it
            self.register(code - 0x50, 0)
        elif 0x70 <= code <= 0x8f:                              # DW_OP_breg0 …
            self.register(code - 0x70, self.reader.sleb())
        elif code in _OTHERS:
            _OTHERS[code](self)
        else:
            raise Damaged(f"an unknown operation, {code:#x}")


def _swap(run: _Run) -> None:
    second, first = run.pop(), run.pop()
    run.push(second)
    run.push(first)


def _rotate(run: _Run) -> None:
    third, second, first = run.pop(), run.pop(), run.pop()
    for value in (third, first, second):
        run.push(value)


def _jump(run: _Run) -> None:
    distance = run.reader.number(2, signed=True)
    target = run.reader.at + distance
    if not 0 <= target <= len(run.reader.data):
        raise Damaged("an expression jumps out of itself")
    run.reader.at = target


def _branch(run: _Run) -> None:
    if run.pop():
        _jump(run)
    else:
        run.reader.take(2)


def _fetch_sized(run: _Run) -> None:
    size = run.reader.byte()
    if not 0 < size <= run.reader.word:
        raise Damaged(f"an expression reads {size} bytes")
    run.fetch(size)


def _nothing(_run: _Run) -> None:
    pass


def _divide(run: _Run, first: int, second: int) -> int:
    dividend, divisor = run.signed(first), run.signed(second)
    if not divisor:
        raise Damaged("an expression divides by zero")
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def _remainder(_run: _Run, first: int, second: int) -> int:
    if not second:
        raise Damaged("an expression divides by zero")
    return first % second


def _shift_left(run: _Run, value: int, count: int) -> int:
    return value << count if count < run.bits else 0


# Constants: bytes and whether signed.
_CONSTANTS = {0x08: (1, False), 0x09: (1, True), 0x0a: (2, False), 0x0b: (2, True),
              0x0c: (4, False), 0x0d: (4, True), 0x0e: (8, False), 0x0f: (8, True)}

_BINARY: dict[int, Callable[[_Run, int, int], int]] = {
    0x1a: lambda _, a, b: a & b,
    0x1b: _divide,
    0x1c: lambda _, a, b: a - b,
    0x1d: _remainder,
    0x1e: lambda _, a, b: a * b,
    0x21: lambda _, a, b: a | b,
    0x22: lambda _, a, b: a + b,
    0x24: _shift_left,
    0x25: lambda _, a, b: a >> b,
    0x26: lambda run, a, b: run.signed(a) >> b,
    0x27: lambda _, a, b: a ^ b,
    0x29: lambda _, a, b: a == b,
    0x2a: lambda run, a, b: run.signed(a) >= run.signed(b),
    0x2b: lambda run, a, b: run.signed(a) > run.signed(b),
    0x2c: lambda run, a, b: run.signed(a) <= run.signed(b),
    0x2d: lambda run, a, b: run.signed(a) < run.signed(b),
    0x2e: lambda _, a, b: a != b,
}

_OTHERS: dict[int, Callable[[_Run], object]] = {
    0x03: lambda run: run.push(run.reader.number(run.reader.word)),         # DW_OP_addr
    0x06: lambda run: run.fetch(run.reader.word),                           # DW_OP_deref
    0x10: lambda run: run.push(run.reader.uleb()),
    0x11: lambda run: run.push(run.reader.sleb()),
    0x12: lambda run: run.push(run.peek(0)),                                # DW_OP_dup
    0x13: lambda run: run.pop(),
    0x14: lambda run: run.push(run.peek(1)),                                # DW_OP_over
    0x15: lambda run: run.push(run.peek(run.reader.byte())),                # DW_OP_pick
    0x16: _swap,
    0x17: _rotate,
    0x19: lambda run: run.push(abs(run.signed(run.pop()))),
    0x1f: lambda run: run.push(-run.pop()),
    0x20: lambda run: run.push(~run.pop()),
    0x23: lambda run: run.push(run.pop() + run.reader.uleb()),              # DW_OP_plus_uconst
    0x28: _branch,
    0x2f: _jump,                                                            # DW_OP_skip
    0x90: lambda run: run.register(run.reader.uleb(), 0),                   # DW_OP_regx
    0x92: lambda run: run.register(run.reader.uleb(), run.reader.sleb()),   # DW_OP_bregx
    0x94: _fetch_sized,
    0x96: _nothing,
}
