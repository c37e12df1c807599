"""The caller's frame from the code alone, where no table tells: on RISC machines.

The function's start is a symbol's address, or is searched for backward: the nearest code that
makes room on the stack and, followed forward to the frame's pc, tells a return address that a
call returns to.  The decoders are one module a machine; prologue_walk.py follows the code.

On the hot path.
"""

from __future__ import annotations

import struct

from ..memory import last_at
from . import (
    call_site,
    prologue_aarch64,
    prologue_arm,
    prologue_mips,
    prologue_mips16,
    prologue_ppc,
    prologue_riscv,
    prologue_thumb,
)
from .frame import Frame
from .prologue_walk import ALLOCATES, ENDS_BLOCK, RETURNS, Decoder, Walk
from .signal_frame import at_trampoline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .frame import Context

__all__ = ["step"]

BEHIND = 8192               # bytes searched before pc
AHEAD = 2048                # bytes looked at after pc, for the function's end
FAR = 512                   # bytes read of a function that starts before those
MAX_RETURNS = 6             # crossed on the way back
MAX_STARTS = 16             # tried for one frame
GAP = 24                    # units between two allocations of one prologue, at most
AROUND = 8                  # words on either side of a pc that may be mips16
MAX_CHAIN = 1 << 24         # bytes of one frame
PAGE = 4096

# How well a return address is proven: not at all; it is code; a call returns to it.
_NO, _CODE, _CALL = range(3)


class _Place:
    """Where a frame is, and the code around it."""

    __slots__ = ("address", "decoder", "index", "is_exact", "units")

    def __init__(self, decoder: Decoder, units: tuple[int, ...], address: int, index: int,
                 is_exact: bool) -> None:
        self.decoder = decoder
        self.units = units
        self.address = address          # of units[0]
        self.index = index              # of pc in units
        self.is_exact = is_exact        # pc was about to be executed; else the call before it is


class _Rule:
    """How to find a frame's caller."""

    __slots__ = ("bases", "cut", "holders", "is_case", "is_leaf", "kept", "saved", "start")

    def __init__(self, start: int, walk: Walk, decoder: Decoder) -> None:
        self.start = start              # index of the code that it was read from
        self.cut = walk.cut             # where code began, between, that no way leads to
        self.is_case = walk.is_case     # only a switch leads there
        self.bases = walk.bases()       # (register, what to add for the CFA), best first
        self.holders = walk.holders(decoder.ra)     # registers with the return address
        self.saved = walk.saved()       # register → offset from the CFA
        self.kept = [register for register in decoder.preserved if register not in walk.values]
        self.is_leaf = (decoder.sp, 0) in self.bases and not self.saved


def step(context: Context, frame: Frame) -> Frame | None:
    """The caller's frame; None where the code does not tell."""
    key = ("prologue", frame.pc, frame.exact)
    known, decoder = context.cache.get(key), _decoder(context, frame)
    if decoder is not None and isinstance(known, _Rule):
        caller, grade = _caller(context, frame, decoder, known)
        if grade == _CALL:
            return caller
    place = _place(context, frame)
    if place is None:
        return None
    if place.decoder.back_chain and not place.is_exact:
        return _chained(context, frame, place)
    best = None
    for rule in _rules(context, frame, place):
        caller, grade = _caller(context, frame, place.decoder, rule)
        if grade == _CALL:
            context.cache[key] = rule
            return caller
        best = best or caller
    return best or (_chained(context, frame, place) if place.decoder.back_chain else None)


def _decoder(context: Context, frame: Frame) -> Decoder | None:
    """The instruction set of the frame's code; None where prologues are not read."""
    odd, even = _DECODERS.get(context.machine.family, (None, None))
    if frame.pc & 1 or (even is not None and even.unit == 4 and frame.pc & 2):
        return odd
    # An emulator's cores have mips16 pcs without bit 0; a multiple of 4 tells nothing then.
    if frame.exact and context.machine.abi == "o32" and _is_mips16(context, frame.pc):
        return odd
    return even


def _is_mips16(context: Context, pc: int) -> bool:
    """Whether the code around `pc` makes no sense as whole words."""
    start = max(pc - 4 * AROUND, _mapping_start(context, pc) or pc)
    code = context.memory.read(start, pc + 4 * AROUND - start)
    words = struct.unpack_from(f"{'<' if context.machine.order == 'little' else '>'}"
                               f"{len(code) // 4}I", code)
    return 4 * sum(word >> 26 not in prologue_mips.USUAL for word in words) > len(words)


# ---- the code

def _place(context: Context, frame: Frame) -> _Place | None:
    machine = context.machine
    decoder = _decoder(context, frame)
    pc = machine.code_address(frame.pc)
    low = _mapping_start(context, context.lookup(frame))
    if decoder is None or low is None or pc % decoder.unit:
        return None
    low = max(low, pc - BEHIND)
    low += -low % decoder.unit
    data = context.memory.read(low, pc + AHEAD - low)
    if low + len(data) < pc:            # pages in between are not there
        low = max(low, (pc - 1) & -PAGE)
        data = context.memory.read(low, pc + AHEAD - low)
    if low + len(data) < pc:
        return None
    return _Place(decoder, _units(context, decoder, data), low, (pc - low) // decoder.unit,
                  frame.exact)


def _mapping_start(context: Context, pc: int) -> int | None:
    """Where the executable mapping that holds `pc` starts."""
    starts = context.cache.get("prologue code")
    if not isinstance(starts, list):
        starts = context.cache["prologue code"] = [start for start, _ in context.code]
    index = last_at(starts, pc)
    return context.code[index][0] if index >= 0 and pc < context.code[index][1] else None


def _units(context: Context, decoder: Decoder, data: bytes) -> tuple[int, ...]:
    order = "<" if context.machine.order == "little" else ">"
    count = len(data) // decoder.unit
    kind = "H" if decoder.unit == 2 else "I"
    return struct.unpack_from(f"{order}{count}{kind}", data)


# ---- where the function starts

def _rules(context: Context, frame: Frame, place: _Place) -> Iterator[_Rule]:
    """What may be the frame's rule, best first.

    A symbol's function is believed where a way leads from its start to pc: a symbol without a
    size seems to cover all that follows.
    """
    symbol = _symbol_rule(context, place)
    is_sure = symbol is not None and symbol.cut is None and (
        not place.is_exact or _is_active(context, frame, place, symbol))
    if symbol is not None and is_sure:
        yield symbol
    may_be_leaf = place.is_exact
    for rule in _found_rules(context, place):
        if may_be_leaf and not _is_active(context, frame, place, rule):
            may_be_leaf = False
            yield _leaf(context, place)
        yield rule
    if symbol is not None and not is_sure:
        if may_be_leaf and not _is_active(context, frame, place, symbol):
            may_be_leaf = False
            yield _leaf(context, place)
        yield symbol
    if may_be_leaf:
        yield _leaf(context, place)
    far = _far_rule(context, place) if symbol is None else None
    if far is not None:
        yield far


def _found_rules(context: Context, place: _Place) -> Iterator[_Rule]:
    """The rules of the places where the function may start, the nearest first.

    Room that is made without a return address being saved can be one more piece in the middle of a
    function; a branch over its start tells.
    """
    piece = None
    for start in _starts(place):
        rule = _rule(context, place, start)
        if rule is None:
            continue
        if piece is not None and not _is_joined(context, place, start, piece.start,
                                                _function_end(place), is_sure=True):
            yield piece
            piece = None
        if place.is_exact and place.decoder.ra not in rule.saved and piece is None:
            piece = rule
            continue
        yield rule
        if piece is not None:
            yield piece
            piece = None
    if piece is not None:
        yield piece


def _symbol_rule(context: Context, place: _Place) -> _Rule | None:
    start = _symbol_start(context, place)
    if start is None or start < place.address:
        return None
    return _rule(context, place, (start - place.address) // place.decoder.unit)


def _far_rule(context: Context, place: _Place) -> _Rule | None:
    """The rule of a function that is longer than what is searched: what its first block does."""
    start, decoder = _symbol_start(context, place), place.decoder
    if start is None or start >= place.address:
        return None
    units = _units(context, decoder, context.memory.read(start, FAR))
    makes_room = False
    for index in range(len(units)):
        kind = decoder.classify(units, index)
        makes_room |= kind == ALLOCATES
        if makes_room and kind in (RETURNS, ENDS_BLOCK):
            return _rule(context, _Place(decoder, units, start, index, False), 0)
    return None


def _rule(context: Context, place: _Place, start: int) -> _Rule | None:
    walk = _walk(context, place)
    if not walk.run(start, place.index, place.is_exact):
        return None                     # the instructions do not fit: it was no code
    rule = _Rule(start, walk, place.decoder)
    if _is_variable(context, place, rule):
        rule.bases.sort(key=lambda base: base[0] != place.decoder.sp)
    is_known = place.decoder.ra in rule.saved or _holders(place.decoder, rule, place.is_exact)
    return rule if rule.bases and is_known else None


def _holders(decoder: Decoder, rule: _Rule, is_exact: bool) -> list[int]:
    """Registers with the return address that still have it: behind a call, a callee's."""
    return [holder for holder in rule.holders if is_exact or holder in decoder.preserved]


def _is_variable(context: Context, place: _Place, rule: _Rule) -> bool:
    """Whether the register that was seen to point into the frame does not do so all the time.

    A frame pointer has one value throughout; and only a function that moves the stack pointer by
    what is found at run time cannot do without.
    """
    if not rule.bases or rule.bases[0][0] == place.decoder.sp:
        return False
    walk = _walk(context, place)
    walk.run(rule.start, min(_function_end(place) + 2, len(place.units)), False)
    return rule.bases[0][0] in walk.busy and not walk.moves_freely


def _leaf(context: Context, place: _Place) -> _Rule:
    """The rule at a function's first instruction."""
    return _Rule(place.index, _walk(context, place), place.decoder)


def _walk(context: Context, place: _Place) -> Walk:
    return Walk(place.decoder, place.units, place.address, context.machine.slot,
                context.memory.word)


def _starts(place: _Place) -> Iterator[int]:
    """Indexes where the function may start, the nearest first."""
    crossed = found = 0
    index = place.index - 1
    while index >= 0 and crossed <= MAX_RETURNS and found < MAX_STARTS:
        kind = place.decoder.classify(place.units, index)
        if kind == ALLOCATES:
            index = _block_start(place, index)
            found += 1
            yield index
        elif kind == RETURNS:
            crossed += 1
        index -= 1


def _symbol_start(context: Context, place: _Place) -> int | None:
    """The address of the exported symbol that pc is in."""
    pc = place.address + place.index * place.decoder.unit
    at = pc if place.is_exact else pc - 1
    module = context.module_at(at)
    symbol = module.symbol(at) if module is not None else None
    if symbol is None or (at - symbol[1]) % place.decoder.unit:
        return None
    return at - symbol[1]


def _block_start(place: _Place, index: int) -> int:
    """Where the prologue begins that makes room at `index`: it may have done so before."""
    decoder, first, low = place.decoder, index, 0
    before = index - 1
    while before >= 0 and before >= first - GAP:
        kind = decoder.classify(place.units, before)
        if kind in (RETURNS, ENDS_BLOCK):
            low = before + 1 + decoder.delay
            break
        if kind == ALLOCATES:
            first = before
        before -= 1
    return max(first - decoder.lead, min(low, first))


def _is_active(context: Context, frame: Frame, place: _Place, rule: _Rule) -> bool:
    """Whether pc, in the first frame, is in the rule's function and not in a leaf behind it.

    It is when the link register is inside the function, which has called another then, or
    agrees with what the function saved, or when the saved address is behind a call of just this
    function.  A function that saves nothing tells by its jumps only.
    """
    link = frame.registers.get(place.decoder.ra)
    end = _function_end(place)
    is_whole = rule.cut is None or _is_joined(context, place, rule.start, rule.cut, end)
    if link is None or place.decoder.ra not in rule.saved:
        return link is None or is_whole
    at = context.machine.code_address(link)
    first = rule.start if is_whole or rule.cut is None else rule.cut
    called = (at - place.address) // place.decoder.unit
    if _calls(context, place, link, rule.start + place.decoder.lead + 1, place.index):
        return False                    # of code that begins behind the rule's
    if rule.cut != place.index and first < called <= end:
        return True
    caller, _ = _caller(context, frame, place.decoder, rule)
    if caller is not None and context.machine.code_address(caller.pc) == at:
        return True
    if rule.start < called <= first:    # the function before has called what pc is in
        return False
    if caller is not None and _calls(context, place, caller.pc, rule.start,
                                     rule.start + place.decoder.lead):
        return True
    return place.decoder.pops_pc and rule.cut is None and not rule.is_case


def _calls(context: Context, place: _Place, pc: int, first: int, last: int) -> bool:
    """Whether the call that returns to `pc` is known to be of code between two indexes."""
    if not context.is_code(context.machine.code_address(pc)):
        return False
    target = call_site.target(context, pc)
    return bool(target) and first <= (context.machine.code_address(target or 0)
                                      - place.address) // place.decoder.unit <= last


def _is_joined(context: Context, place: _Place, start: int, cut: int, end: int,
               is_sure: bool = False) -> bool:
    """Whether a branch leads over `cut`, back or forth, inside of start to end.

    is_sure: only branches count that a way leads to.
    """
    walk = _walk(context, place)
    walk.run(start, end, False)
    return any(start < min(where, to) < cut <= max(where, to) < end
               for where, to, is_reached in walk.edges if is_reached or not is_sure)


def _function_end(place: _Place) -> int:
    """The index after pc where the next function seems to start."""
    for index in range(place.index + 1, len(place.units)):
        if place.decoder.classify(place.units, index) == ALLOCATES:
            return index
    return len(place.units)


# ---- the caller

def _caller(context: Context, frame: Frame, decoder: Decoder, rule: _Rule
            ) -> tuple[Frame | None, int]:
    """The caller by a rule, and how well its pc is proven."""
    best, best_grade = None, _NO
    for register, more in rule.bases:
        value = frame.registers.get(register)
        if value is None:
            continue
        cfa = value + more & context.machine.mask
        if not 0 <= cfa - frame.registers.get(decoder.sp, cfa) < MAX_CHAIN:
            continue
        pc = _return_address(context, frame, decoder, rule, cfa)
        grade = _grade(context, pc)
        if pc is not None and grade > best_grade:
            how = "prologue" if register == decoder.sp else "frame-pointer"
            how = "link-register" if rule.is_leaf else how
            best, best_grade = _frame(context, frame, decoder, rule, cfa, pc, how), grade
        if grade == _CALL:
            break
    return best, best_grade


def _return_address(context: Context, frame: Frame, decoder: Decoder, rule: _Rule, cfa: int
                    ) -> int | None:
    offset = rule.saved.get(decoder.ra)
    if offset is not None:
        return _strip(context, _saved_word(context, cfa + offset))
    for holder in _holders(decoder, rule, frame.exact):
        if holder in frame.registers:
            return _strip(context, frame.registers[holder])
    return None


def _strip(context: Context, pc: int | None) -> int | None:
    """A return address without the signature that aarch64 may put into its upper bits."""
    if pc is None or context.machine.family != "aarch64" or context.is_code(pc):
        return pc
    for bits in (48, 39):
        if context.is_code(pc & (1 << bits) - 1):
            return pc & (1 << bits) - 1
    return pc


def _grade(context: Context, pc: int | None) -> int:
    if pc is None:
        return _NO
    is_code = context.is_code(context.machine.code_address(pc))
    if (is_code and call_site.target(context, pc) is not None) or at_trampoline(context, pc):
        return _CALL
    return _CODE if is_code else _NO


def _frame(context: Context, frame: Frame, decoder: Decoder, rule: _Rule, cfa: int, pc: int,
           how: str) -> Frame:
    registers = {register: frame.registers[register] for register in rule.kept
                 if register in frame.registers}
    for register, offset in rule.saved.items():
        value = _saved_word(context, cfa + offset)
        if register in decoder.preserved and value is not None:
            registers[register] = value
    registers[decoder.sp] = cfa
    registers[context.machine.PC] = pc
    return Frame(pc, registers, how, cfa)


def _saved_word(context: Context, address: int) -> int | None:
    value = context.memory.integer(address & context.machine.mask, context.machine.slot)
    return None if value is None else value & context.machine.mask


# ---- powerpc

def _chained(context: Context, frame: Frame, place: _Place) -> Frame | None:
    """The caller by the back chain: the word at sp is the caller's sp, its LR is at that + 4."""
    decoder = place.decoder
    sp = frame.registers.get(decoder.sp)
    cfa = context.memory.word(sp) if sp is not None else None
    if sp is None or cfa is None or not 0 < cfa - sp < MAX_CHAIN:
        return None
    pc = context.memory.word(cfa + 4)
    if pc is None or _grade(context, pc) == _NO:
        return None
    key = ("prologue chain", frame.pc, cfa - sp)
    rule = context.cache.get(key)
    if not isinstance(rule, _Rule):
        rule = context.cache[key] = _agreeing(context, place, cfa - sp)
    return _frame(context, frame, decoder, rule, cfa, pc, "frame-pointer")


def _agreeing(context: Context, place: _Place, size: int) -> _Rule:
    """A rule for a frame of that size, which tells the saved registers; else one without any."""
    for start in _starts(place):
        rule = _rule(context, place, start)
        if rule is not None and (place.decoder.sp, size) in rule.bases:
            return rule
    rule = _leaf(context, place)
    rule.kept = []
    return rule


# family → decoders at an odd pc, at an even one
_DECODERS: dict[str, tuple[Decoder | None, Decoder | None]] = {
    "mips": (prologue_mips16.DECODER, prologue_mips.DECODER),
    "arm": (prologue_thumb.DECODER, prologue_arm.DECODER),
    "aarch64": (None, prologue_aarch64.DECODER),
    "riscv": (None, prologue_riscv.DECODER),
    "ppc": (None, prologue_ppc.DECODER),
}
