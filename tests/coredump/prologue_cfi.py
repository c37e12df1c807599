"""What DWARF says of each call site of an ELF file, against what prologue.step makes of its code.

The stack is made up: every word of it is a return address that a call could have left, so that a
wrong answer never betrays itself.  Without the file's symbols.
"""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path
from typing import Any

from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile

from lastlog_py.coredump.machine import Machine, of
from lastlog_py.coredump.memory import PiecesMemory
from lastlog_py.coredump.unwind import prologue
from lastlog_py.coredump.unwind.frame import Context, Frame

STACK, STACK_SIZE, DEPTH = 0x7e000000, 0x80000, 0x20000
# The mnemonics, and what tells calls apart, in objdump's listing.
CALLS = {
    "mips": r"jal|jalr|bal|jalx|jalrc",
    "arm": r"bl|blx",
    "aarch64": r"bl|blr|blraaz?|blrabz?",
    "riscv": r"jal\s+(ra,)?[0-9a-f]+|jalr\s+(ra,)?(-?[0-9]+\()?[ast][0-9]+\)?$",
    "ppc": r"bl|bctrl|blrl",
}
LINE = re.compile(r"^\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*\t(.*)$")


class Row:
    """DWARF's word for one pc: how to find the CFA, and where the return address is."""

    __slots__ = ("cfa_offset", "cfa_register", "saved", "start")

    def __init__(self, start: int, cfa_register: int, cfa_offset: int, saved: dict[int, int]
                 ) -> None:
        self.start = start
        self.cfa_register = cfa_register
        self.cfa_offset = cfa_offset
        self.saved = saved              # register → offset from the CFA


class Program:
    """An ELF file as a crashed program's only module."""

    def __init__(self, path: Path, objdump: str) -> None:
        data = path.read_bytes()
        elf = ELFFile(io.BytesIO(data))
        head = elf.header
        machine = of(data[18 + (data[5] == 2)], data[4], data[5], head["e_flags"])
        assert machine is not None
        self.machine: Machine = machine
        self.pieces = [(s["p_vaddr"], s.data()) for s in elf.iter_segments("PT_LOAD")]
        self.code = [(s["p_vaddr"], s["p_vaddr"] + s["p_memsz"])
                     for s in elf.iter_segments("PT_LOAD") if s["p_flags"] & 1]
        self.functions = sorted(_functions(elf, machine), key=lambda rows: rows[0].start)
        self.odd = _odd_ranges(elf)
        self.instructions, self.calls = _disassemble(path, objdump, machine)
        self.sites = sorted(self.calls)

    def is_odd(self, pc: int) -> bool:
        """Whether the code at pc is Thumb or mips16."""
        low, high = 0, len(self.odd)
        while low < high:
            middle = (low + high) // 2
            if self.odd[middle][0] <= pc:
                low = middle + 1
            else:
                high = middle
        return low > 0 and self.odd[low - 1][1]

    def context(self, seed: int = 0) -> Context:
        """The program with a stack full of return addresses."""
        machine = self.machine
        words = [self.sites[(seed + 7 * i) % len(self.sites)]
                 for i in range(STACK_SIZE // machine.word)]
        words = [self.calls[site] | self.is_odd(site) for site in words]
        stack = b"".join(word.to_bytes(machine.word, machine.order) for word in words)
        self.stack = bytearray(stack)
        memory = PiecesMemory(machine, [*self.pieces, (STACK, self.stack)])
        return Context(machine, memory, [], self.code)

    def poke(self, context: Context, address: int, word: int) -> int:
        """Put a word on the stack; the one that was there."""
        at, size, order = address - STACK, self.machine.word, self.machine.order
        old = int.from_bytes(self.stack[at:at + size], order)
        self.stack[at:at + size] = word.to_bytes(size, order)
        context.memory._pages.clear()
        return old

    def row(self, pc: int) -> Row | None:
        """DWARF's row at pc."""
        low, high = 0, len(self.functions)
        while low < high:
            middle = (low + high) // 2
            if self.functions[middle][0].start <= pc:
                low = middle + 1
            else:
                high = middle
        found = None
        for row in self.functions[low - 1] if low else []:
            if row.start <= pc:
                found = row
        return found if found is not None and found.cfa_register >= 0 else None

    def return_slot(self, pc: int) -> int | None:
        """Where the function at pc keeps its return address once it has saved it."""
        rows = max((rows for rows in self.functions if rows[0].start <= pc), key=_start)
        slots = [row.saved[self.machine.LR] for row in rows if self.machine.LR in row.saved]
        return slots[0] if slots else None


def _start(rows: list[Row]) -> int:
    return rows[0].start


def _functions(elf: Any, machine: Machine) -> list[list[Row]]:
    dwarf = elf.get_dwarf_info(relocate_dwarf_sections=False)
    entries = []
    if dwarf.has_CFI():
        entries += dwarf.CFI_entries()
    if dwarf.has_EH_CFI():
        entries += dwarf.EH_CFI_entries()
    found = {}
    for entry in entries:
        if isinstance(entry, FDE) and entry["address_range"]:
            start, size = entry["initial_location"], entry["address_range"]
            rows = [_row(line) for line in entry.get_decoded().table]
            found[start] = [row for row in rows if row] + [Row(start + size, -1, 0, {})]
    return list(found.values())


def _row(line: dict[Any, Any]) -> Row | None:
    cfa = line["cfa"]
    if cfa.expr is not None:
        return Row(line["pc"], -1, 0, {})
    saved = {register: rule.arg for register, rule in line.items()
             if isinstance(register, int) and rule.type == "OFFSET"}
    return Row(line["pc"], cfa.reg, cfa.offset, saved)


def _odd_ranges(elf: Any) -> list[tuple[int, bool]]:
    """(address, whether Thumb or mips16 code begins there), in order."""
    table = elf.get_section_by_name(".symtab")
    found = []
    for symbol in table.iter_symbols() if table else []:
        name, value = symbol.name, symbol["st_value"]
        if elf["e_machine"] == "EM_ARM" and name[:2] in ("$t", "$a"):
            found.append((value, name[:2] == "$t"))
        elif elf["e_machine"] == "EM_MIPS" and symbol["st_info"]["type"] == "STT_FUNC":
            found.append((value & ~1, bool(value & 1)))
    return sorted(set(found))


def _disassemble(path: Path, objdump: str, machine: Machine) -> tuple[list[int], dict[int, int]]:
    """Addresses of all instructions, and of calls with the address each returns to."""
    text = subprocess.run([objdump, "-d", "-z", str(path)], capture_output=True, text=True,
                          check=True).stdout
    pattern = re.compile(f"({CALLS[machine.family]})(?![0-9a-z.])")
    places: list[int] = []
    calls: dict[int, int] = {}
    waiting: list[int] = []             # a call that returns behind the next instruction
    for line in text.splitlines():
        match = LINE.match(line)
        if not match:
            continue
        address, size = int(match[1], 16), len(match[2].replace(" ", "")) // 2
        places.append(address)
        calls.update(dict.fromkeys(waiting, address + size))
        waiting = []
        if pattern.match(match[3]):
            calls[address] = address + size
            if machine.family == "mips" and not match[3].startswith("jalrc"):
                waiting = [address]
    return places, calls


class Result:
    """How many were right; the wrong ones: (pc, what is true, what was found)."""

    def __init__(self) -> None:
        self.right = self.all = 0
        self.wrong: list[tuple[int, object, object]] = []

    @property
    def percent(self) -> float:
        return 100 * self.right / self.all if self.all else 0.0


def check_calls(program: Program, step: int = 1) -> Result:
    """prologue.step from the return address of every `step`th call site."""
    context, result = program.context(), Result()
    for site in program.sites[::step]:
        back = program.calls[site]
        row = program.row(back - 1)
        ra = program.machine.LR
        if row is None or ra not in row.saved:
            continue
        _check(program, context, result, row, back, True)
    return result


def check_instructions(program: Program, step: int = 1) -> Result:
    """prologue.step from every `step`th instruction, as if it had crashed there."""
    context, result = program.context(), Result()
    for place in program.instructions[::step]:
        row = program.row(place)
        if row is not None:
            _check(program, context, result, row, place, False)
    return result


def _check(program: Program, context: Context, result: Result, row: Row, pc: int,
           is_caller: bool) -> None:
    machine = program.machine
    sp = STACK + DEPTH
    registers = {machine.SP: sp}
    cfa = sp + row.cfa_offset
    if row.cfa_register != machine.SP:
        cfa = sp + 0x2000
        registers[row.cfa_register] = cfa - row.cfa_offset
    ra_slot = row.saved.get(machine.LR)
    truth = None
    pokes = []
    if ra_slot is not None:
        truth = context.memory.word(cfa + ra_slot)
    if not is_caller:
        link = truth
        if ra_slot is None:
            link = truth = program.calls[program.sites[3]] | program.is_odd(program.sites[3])
            later = program.return_slot(pc)
            if later is not None:       # it may be there already: DWARF tells it late
                pokes.append((cfa + later, truth))
        else:
            before = _call_before(program, pc)
            link = before or truth
        registers[machine.LR] = link or 0
    frame = Frame(pc | program.is_odd(pc - is_caller), registers,
                  "prologue" if is_caller else "registers", is_signal=not is_caller)
    registers[machine.PC] = frame.pc
    if machine.family == "ppc" and cfa != sp:
        pokes.append((sp, cfa))
    old = [(at, program.poke(context, at, word)) for at, word in pokes]
    found = prologue.step(context, frame)
    result.all += 1
    if found is not None and (found.cfa, found.pc) == (cfa, truth):
        result.right += 1
    else:
        result.wrong.append((pc, (row.cfa_register, row.cfa_offset, ra_slot),
                             found and (found.cfa - sp, found.how)))
    for at, word in reversed(old):
        program.poke(context, at, word)


def _call_before(program: Program, pc: int) -> int | None:
    """Where the last call before pc, in the same function, returns to."""
    low, high = 0, len(program.sites)
    while low < high:
        middle = (low + high) // 2
        if program.sites[middle] < pc:
            low = middle + 1
        else:
            high = middle
    if not low:
        return None
    back = program.calls[program.sites[low - 1]]
    start = max((rows[0].start for rows in program.functions if rows[0].start <= pc), default=pc)
    return back | program.is_odd(back - 1) if start < back <= pc else None
