"""Which files a program was made of, where the core does not list them: the loader's own list.

Sources: the gABI's r_debug and link_map (link.h), DT_DEBUG; on MIPS, whose .dynamic is read-only,
DT_MIPS_RLD_MAP and DT_MIPS_RLD_MAP_REL (musl leaves their word empty: its loader's variable
_dl_debug_addr leads there); glibc's loader exports _r_debug.
"""

from __future__ import annotations

from .elf import DT_DEBUG, DT_MIPS_RLD_MAP, DT_MIPS_RLD_MAP_REL
from .module import data_symbol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .elf import Image
    from .memory import Memory

__all__ = ["linked", "map_words", "nodes", "r_debug"]

MAX_LINKED, MAX_PATH = 256, 4096


def r_debug(program: Image, loader: Image | None) -> int | None:
    """The address of the loader's r_debug."""
    for place in map_words(program):
        word = program.memory.word(place)
        if word:
            return word
    return program.dynamic.get(DT_DEBUG) or (_exported(loader) if loader else None)


def map_words(program: Image) -> list[int]:
    """Where MIPS' loader may have noted the address of its r_debug."""
    found = []
    if DT_MIPS_RLD_MAP in program.dynamic:
        found.append(program.pointer(DT_MIPS_RLD_MAP) or 0)
    entry = program.dynamic_entry(DT_MIPS_RLD_MAP_REL)
    if entry is not None:
        found.append(entry + program.dynamic[DT_MIPS_RLD_MAP_REL] & program.machine.mask)
    return [place for place in found if place]


def _exported(loader: Image) -> int | None:
    place = data_symbol(loader, b"_dl_debug_addr")
    if place is not None:
        return loader.memory.word(place)
    return data_symbol(loader, b"_r_debug")


def linked(memory: Memory, debug: int) -> list[tuple[int, str]]:
    """(bias, path) of every loaded file, the program itself first, whose path is empty."""
    return [(bias, memory.string(name, MAX_PATH).decode("utf-8", "replace"))
            for _, bias, name in nodes(memory, debug)]


def nodes(memory: Memory, debug: int) -> list[tuple[int, int, int]]:
    """(its address, bias, address of the path) of every link_map, in their order."""
    word = memory.word_size
    node = memory.word(debug + word)        # r_version and padding, then r_map
    found: list[tuple[int, int, int]] = []
    seen: set[int] = set()
    while node and node not in seen and len(found) < MAX_LINKED:
        seen.add(node)
        bias, name = memory.word(node), memory.word(node + word)
        if bias is None or name is None:
            break
        found.append((node, bias, name))
        node = memory.word(node + 3 * word)         # l_addr, l_name, l_ld, l_next
    return found
