"""What every unwinder is given and gives back: one frame, and the program around it.

On the hot path.
"""

from __future__ import annotations

from ..memory import last_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..machine import Machine
    from ..memory import Memory
    from ..module import Module

__all__ = ["END", "Context", "Frame"]

MAX_NOTES = 32


class Frame:
    """One activation of a function, and what is known of the registers in it."""

    __slots__ = ("cfa", "how", "is_signal", "module", "pc", "registers")

    def __init__(self, pc: int, registers: dict[int, int], how: str = "registers",
                 cfa: int | None = None, is_signal: bool = False,
                 module: Module | None = None) -> None:
        self.pc = pc                    # as found: odd in Thumb and mips16
        self.registers = registers      # DWARF number → value, the known ones; PC and SP among them
        self.how = how                  # CONTRACT's `how`; "registers" is frame 0
        # The stack pointer as the called frame's unwinding found it; None in frame 0.
        self.cfa = cfa
        self.is_signal = is_signal      # pc and registers are a ucontext's: of what was interrupted
        self.module = module

    @property
    def exact(self) -> bool:
        """Whether pc is an instruction that was to run, not the one a call returns to."""
        return self.is_signal or self.how == "registers"


class Context:
    """The crashed program, as unwinders see it."""

    __slots__ = ("_bases", "_starts", "cache", "code", "machine", "memory", "modules", "problems")

    def __init__(self, machine: Machine, memory: Memory, modules: list[Module],
                 code: list[tuple[int, int]]) -> None:
        self.machine = machine
        self.memory = memory
        self.modules = sorted(modules, key=_base)
        self.code = sorted(code)        # (start, end) of every executable mapping
        self.cache: dict[object, object] = {}   # for unwinders: parsed tables, by a key of theirs
        self.problems: list[str] = []   # what to tell a person, once each
        self._bases = [module.base for module in self.modules]
        self._starts = [start for start, _ in self.code]

    def module_at(self, pc: int) -> Module | None:
        """The module whose mapping `pc` is in."""
        index = last_at(self._bases, pc)
        if index < 0:
            return None
        found = self.modules[index]
        return found if pc < found.base + found.size else None

    def lookup(self, frame: Frame) -> int:
        """The address to look `frame` up by: its instruction, or one within the call before."""
        return self.machine.code_address(frame.pc) - (0 if frame.exact else 1)

    def is_code(self, pc: int) -> bool:
        """Whether `pc` lies in an executable mapping."""
        index = last_at(self._starts, pc)
        return index >= 0 and pc < self.code[index][1]

    def note(self, what: str) -> None:
        """Remember a problem worth telling, once."""
        if what not in self.problems and len(self.problems) < MAX_NOTES:
            self.problems.append(what)


def _base(module: Module) -> int:
    return module.base


# What a step gives back when it knows that the frame has no caller: an outermost frame.
END = Frame(0, {}, how="end")
