"""From an address in an unstripped file to functions, file and line, inlined ones included.

Over pyelftools.  Sources: DWARF 5, sections 3.3 (subroutines), 6.1.2 (.debug_aranges), 6.2 (line
numbers).  PC only.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

from elftools.dwarf.descriptions import describe_form_class
from elftools.dwarf.ranges import BaseAddressEntry
from elftools.elf.elffile import ELFFile

__all__ = ["DebugFile", "Place"]

MAX_DEPTH = 64                  # of inlined functions, and of names in names
SCOPES = ("DW_TAG_namespace", "DW_TAG_class_type", "DW_TAG_structure_type", "DW_TAG_union_type")
WITHIN = ("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine", "DW_TAG_try_block",
          "DW_TAG_catch_block")


class Place(NamedTuple):
    """One function at an address."""

    function: str | None        # "ns::type::name"; None: nothing names it
    file: str | None            # as the compiler was given it, below its folder
    line: int | None


class _Row(NamedTuple):
    address: int
    file: int
    line: int                   # 0: belongs to no line
    ends: bool                  # nothing is from here on


class DebugFile:
    """One file, open.  `places` raises whatever the parser does on bad data."""

    def __init__(self, stream: Any) -> None:
        self.elf = ELFFile(stream)
        self.dwarf = self.elf.get_dwarf_info() if self.elf.has_dwarf_info() else None
        self.aranges = self.dwarf.get_aranges() if self.dwarf else None
        self.symbols: list[tuple[int, int, str]] | None = None
        self.rows: dict[int, list[list[_Row]]] = {}

    def places(self, address: int) -> list[Place]:
        """What is at `address`, an address of the file, the innermost inlined function first."""
        unit = self._unit(address)
        found = self._in_unit(unit, address) if unit is not None else []
        if found and any(place.function for place in found):
            return found
        name = self._symbol(address)
        if found:
            return [found[0]._replace(function=name), *found[1:]]
        return [Place(name, None, None)] if name else []

    # The unit

    def _unit(self, address: int) -> Any:
        if self.dwarf is None:
            return None
        offset = self.aranges.cu_offset_at_addr(address) if self.aranges else None
        if offset is not None:
            return self.dwarf.get_CU_at(offset)
        for unit in self.dwarf.iter_CUs():
            top = unit.get_top_DIE()
            if self._covers(top, address):
                return unit
        return None

    def _covers(self, die: Any, address: int) -> bool:
        return any(low <= address < high for low, high in self._ranges(die))

    def _ranges(self, die: Any) -> Iterator[tuple[int, int]]:
        """(low, high) of the addresses that are `die`'s."""
        attributes = die.attributes
        if "DW_AT_ranges" in attributes:
            yield from self._listed(die)
        elif "DW_AT_low_pc" in attributes and "DW_AT_high_pc" in attributes:
            low, high = attributes["DW_AT_low_pc"].value, attributes["DW_AT_high_pc"]
            is_size = describe_form_class(high.form) == "constant"
            yield low, low + high.value if is_size else high.value

    def _listed(self, die: Any) -> Iterator[tuple[int, int]]:
        lists = self.dwarf.range_lists() if self.dwarf else None
        if lists is None:
            return
        top = die.cu.get_top_DIE().attributes
        base = top["DW_AT_low_pc"].value if "DW_AT_low_pc" in top else 0
        for entry in lists.get_range_list_at_offset(die.attributes["DW_AT_ranges"].value,
                                                    cu=die.cu):
            if isinstance(entry, BaseAddressEntry):
                base = entry.base_address
            else:
                start = 0 if entry.is_absolute else base
                yield start + entry.begin_offset, start + entry.end_offset

    # Functions

    def _in_unit(self, unit: Any, address: int) -> list[Place]:
        chain = self._functions(unit, address)
        file, line = self._line(unit, address)
        places = []
        for die in chain:
            places.append(Place(self._name(die), file, line))
            file, line = self._called_from(unit, die)
        return places or ([Place(None, file, line)] if file else [])

    def _functions(self, unit: Any, address: int) -> list[Any]:
        """The function's DIE and those inlined there, innermost first."""
        chain: list[Any] = []
        level = [die for die in self._subprograms(unit.get_top_DIE()) if self._covers(die, address)]
        while level and len(chain) < MAX_DEPTH:
            die = level[-1]
            if die.tag != "DW_TAG_lexical_block":
                chain.insert(0, die)
            level = [child for child in die.iter_children()
                     if child.tag in WITHIN and self._covers(child, address)]
        return [die for die in chain if die.tag in ("DW_TAG_subprogram",
                                                    "DW_TAG_inlined_subroutine")]

    def _subprograms(self, top: Any) -> Iterator[Any]:
        """Every function of a unit, also those in namespaces and classes."""
        waiting = [top]
        while waiting:
            for die in waiting.pop().iter_children():
                if die.tag == "DW_TAG_subprogram":
                    yield die
                elif die.tag in SCOPES and die.has_children:
                    waiting.append(die)

    def _name(self, die: Any) -> str | None:
        """Of an inlined or outlined function by where it is declared."""
        for _ in range(MAX_DEPTH):
            attributes = die.attributes
            if "DW_AT_name" in attributes:
                return "::".join([*self._scopes(die), _text(attributes["DW_AT_name"].value)])
            link = next((name for name in ("DW_AT_abstract_origin", "DW_AT_specification")
                         if name in attributes), None)
            if link is None:
                return None
            die = die.get_DIE_from_attribute(link)
        return None

    def _scopes(self, die: Any) -> list[str]:
        names: list[str] = []
        parent = die.get_parent()
        while parent is not None and parent.tag in SCOPES and len(names) < MAX_DEPTH:
            name = parent.attributes.get("DW_AT_name")
            names.insert(0, _text(name.value) if name else "(anonymous)")
            parent = parent.get_parent()
        return names

    # Lines

    def _called_from(self, unit: Any, die: Any) -> tuple[str | None, int | None]:
        """Where the inlined function `die` was called."""
        file, line = die.attributes.get("DW_AT_call_file"), die.attributes.get("DW_AT_call_line")
        if file is None or line is None:
            return None, None
        program = self.dwarf.line_program_for_CU(unit) if self.dwarf else None
        return (_file(unit, program, file.value) if program else None), line.value

    def _line(self, unit: Any, address: int) -> tuple[str | None, int | None]:
        program = self.dwarf.line_program_for_CU(unit) if self.dwarf else None
        if program is None:
            return None, None
        if unit.cu_offset not in self.rows:
            self.rows[unit.cu_offset] = _sequences(program)
        for rows in self.rows[unit.cu_offset]:
            if rows[0].address <= address < rows[-1].address:
                at = bisect_right(rows, address, key=lambda row: row.address) - 1
                return _file(unit, program, rows[at].file), rows[at].line or None
        return None, None

    # The table of symbols

    def _symbol(self, address: int) -> str | None:
        if self.symbols is None:
            self.symbols = sorted(self._functions_listed())
        at = bisect_right(self.symbols, address, key=lambda row: row[0]) - 1
        for start, size, name in reversed(self.symbols[max(0, at - 8):at + 1]):
            if address < start + size:
                return name
        return None

    def _functions_listed(self) -> Iterator[tuple[int, int, str]]:
        elf: Any = self.elf
        odd = elf["e_machine"] in ("EM_ARM", "EM_MIPS")    # bit 0 says Thumb or mips16
        for name in (".symtab", ".dynsym"):
            section = elf.get_section_by_name(name)
            for symbol in section.iter_symbols() if section else ():
                if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_value"]:
                    yield symbol["st_value"] & ~int(odd), symbol["st_size"], symbol.name


def _sequences(program: Any) -> list[list[_Row]]:
    """The line table's sequences, each in the order of addresses, its end last."""
    found: list[list[_Row]] = []
    rows: list[_Row] = []
    for entry in program.get_entries():
        state = entry.state
        if state is None:
            continue
        rows.append(_Row(state.address, state.file, state.line, state.end_sequence))
        if state.end_sequence:
            # Of rows with one address the last counts.
            found.append(sorted(rows, key=lambda row: row.address))
            rows = []
    return found


def _file(unit: Any, program: Any, index: int) -> str | None:
    """The name of a line program's file, with its folder where that is not the unit's own."""
    header = program.header
    old = header["version"] < 5             # counts files and folders from 1; 0 is the unit's own
    files = header["file_entry"]
    at = index - 1 if old else index
    if not 0 <= at < len(files):
        return None
    entry = files[at]
    name, folder = _text(entry.name), entry.dir_index
    own = unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
    if name.startswith("/"):
        return name
    folders = [_text(each) for each in header["include_directory"]]
    if old:
        folders = [_text(own.value) if own else "", *folders]
    path = folders[folder] if 0 <= folder < len(folders) else ""
    base = _text(own.value) if own else ""
    return os.path.normpath(os.path.join(base, path, name))


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
