"""Where the zones of a region are: as somebody says, or as its bytes show.

Source: fs/pstore/ram.c (ramoops_probe, ramoops_init_przs), kernels 3.4 to 6.12.  Pure: bytes in,
zones and problems out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from ..record import Problem
from . import forensics, kernel_dump, zone_ecc
from .geometry import Geometry, parity_bytes
from .layout import MOST_ZONES, guesses, layouts, moved, split_ftrace, totals
from .persistent_ram import (
    ORDERS,
    Ecc,
    Slot,
    Zone,
    header_is_blank,
    header_parity,
    is_nearly_signed,
    nearly_zone_at,
    signatures,
    straightened,
    zone_at,
)

__all__ = ["Division", "divide", "find_zones", "is_blank"]

MOST_SIGNATURES = 1 << 17           # that are looked at: two for each KiB of 64 MiB
MOST_HEADERS = 1 << 14              # that are looked at to see where a larger dump's zones begin
MOST_BEFORE = 8                     # zones before the first valid one that may have been lost
MOST_SHOWN = 16                     # zones whose contents are looked at to tell their kinds
SMALLEST = 1024                     # bytes of a zone that only its parity shows
PARITIES = range(2, 33)             # bytes of a header's that are looked for
CONSOLE_LINE = rb"(?m:^\[ *\d+\.\d{6}\])"


class Division(NamedTuple):
    """How a region is divided."""

    zones: list[Zone]           # with valid headers
    slots: list[Slot]           # of all zones that there should be
    ecc: Ecc | None
    problems: list[Problem]
    order: str = ORDERS[0]      # of the bytes in the zones' headers


def find_zones(region: bytes, given: Sequence[Geometry]) -> tuple[list[Zone], list[Problem]]:
    """The zones with valid headers, and what is wrong with the others."""
    division = divide(region, given)
    return division.zones, division.problems


def divide(region: bytes, given: Sequence[Geometry]) -> Division:
    """The zones with valid headers, and of what is behind the dumps also those that are nearly so;
    these do not count when it is told where the zones are."""
    division = _divided(region, given)
    held = {zone.slot: zone for zone in division.zones}
    zones = [held.get(slot) or _nearly_at(region, slot, division) for slot in division.slots] \
        if held else []
    return division._replace(zones=[zone for zone in zones if zone])


def _nearly_at(region: bytes, slot: Slot, division: Division) -> Zone | None:
    """The zone in `slot` if its header is damaged only; a dump there is no other zone's."""
    zone = nearly_zone_at(region, slot, division.order, division.ecc) \
        if slot.kind != "kernel" else None
    return zone if zone and _kind(zone.body(region)) != "kernel" else None


def _divided(region: bytes, given: Sequence[Geometry]) -> Division:
    """The zones with valid headers: where a given geometry says, or by their signatures.

    Signatures of an earlier layout stay in memory, so a geometry is preferred, unless it is
    plainly wrong: the signatures then show more zones with something in them.
    """
    said = []
    for geometry in given:
        division = _laid_out(region, geometry)
        if division and len(division.zones) == len(division.slots):
            return division._replace(problems=_ecc_problem(region, division, geometry))
        said += [(geometry, division)] if division else []
    scanned = _scan(region)
    said = [(geometry, _further_down(region, geometry, scanned, division))
            for geometry, division in said]
    for geometry, division in said:
        if division.zones and _filled(division.zones) >= _filled(scanned):
            return division._replace(problems=[*_ecc_problem(region, division, geometry),
                                               *_damaged(region, division), *_beginning(division)])
    found = _without_being_told(region, scanned)
    if not found.zones:
        there = said[0][1] if said else found
        return there._replace(zones=[], problems=_nothing_there(region))
    problems = [*found.problems, *([_mismatch(given[0], found)] if given else [])]
    return found._replace(problems=problems)


def _laid_out(region: bytes, geometry: Geometry, base: int = 0,
              total: int | None = None) -> Division | None:
    """The division that a geometry stands for, by the kernel whose zones fit best.

    base, total: of the part of the region that is divided, in bytes; None: all of it.
    """
    size = len(region) if total is None else total
    fits = [(_fitting(region, slots), slots) for slots in (
        [moved(slot, base) for slot in slots] for slots in layouts(geometry, size))]
    most = max((fit for fit, _ in fits), default=0)
    said = parity_bytes(geometry.ecc)
    divisions = [_division(region, slots, said) for fit, slots in fits if fit == most]
    return max(divisions, key=lambda division: len(division.zones), default=None)


def _further_down(region: bytes, geometry: Geometry, scanned: Sequence[Zone],
                  division: Division) -> Division:
    """`division`, or if it fits better, the one of a part of the region, which begins with the
    first zone: somebody dumped more memory than that.  Not if zones stand before it whose headers
    are lost, or the region is as large as is said."""
    offsets = [zone.slot.offset for zone in scanned]
    if not offsets or geometry.mem_size == len(region):
        return division
    first = offsets[0]
    left, tried = MOST_HEADERS, [division]
    sizes = totals([at - first for at in offsets], len(region) - first)
    for total in sorted(sizes, key=lambda size: (size.bit_count(), size)):
        there = _laid_out(region, geometry, first, total)
        if there is None or forensics.stand_before(region, there.slots[0]):
            continue
        missing = _missing_all(there)
        # A single zone fits whatever is said.
        tried += [there] if len(there.zones) > 1 and 2 * missing < len(there.slots) else []
        left -= len(there.slots)
        if left < 0 or (there in tried and not missing and total.bit_count() == 1):
            break
    return max(tried, key=lambda each: _agreement(region, each))


def _missing_all(division: Division) -> int:
    """How many slots have no zone."""
    return len(division.slots) - len(division.zones)


def _beginning(division: Division) -> list[Problem]:
    base = division.slots[0].offset if division.slots else 0
    return [Problem("region", f"ramoops' region begins at offset {base:#x} of what was read",
                    "info")] if base else []


def _fitting(region: bytes, slots: Sequence[Slot]) -> int:
    """How many headers are valid without error correction, in the better byte order."""
    return max(sum(zone_at(region, slot, order) is not None for slot in slots)
               for order in ORDERS)


def _division(region: bytes, slots: Sequence[Slot], said: int = 0) -> Division:
    """The zones in `slots`, in the byte order that most of them are in."""
    slots = split_ftrace(region, slots)
    ecc = zone_ecc.find(region, slots, said)
    by_order = [[zone_at(region, slot, order, ecc) for slot in slots] for order in ORDERS]
    order, found = max(zip(ORDERS, by_order, strict=True), key=lambda each: _count(each[1]))
    if not _count(found):
        return Division([], slots, ecc, [])
    return Division([straightened(region, zone) for zone in found if zone], slots, ecc, [], order)


def _count(zones: Iterable[Zone | None]) -> int:
    return sum(zone is not None for zone in zones)


def _filled(zones: Iterable[Zone]) -> int:
    """Zones that hold something; not ftrace, whose signature cannot be searched for."""
    return sum(zone.used > 0 and zone.slot.kind != "ftrace" for zone in zones)


def _damaged(region: bytes, division: Division) -> list[Problem]:
    """The zones whose header is neither valid nor blank, and those that the dump ends before."""
    missing = set(division.slots) - {zone.slot for zone in division.zones}
    beyond = sum(slot.data > len(region) for slot in missing)
    what = "its header is damaged; what can be read of it is shown" + (
        "" if division.ecc else ", and error correction (ramoops.ecc=1) guards against this")
    cut = [Problem("region", f"the dump ends before {beyond} of the {len(division.slots)} zones: "
                   "it was cut short", "warning")] if beyond else []
    return cut + [Problem(f"region, {slot.kind} zone {slot.number}",
                          what if slot.offset + slot.size <= len(region) else
                          "the dump ends within it; what is there of it is shown", "warning")
                  for slot in division.slots if slot in missing and slot.data <= len(region)
                  and not header_is_blank(region, slot.offset)]


def _ecc_problem(region: bytes, division: Division, geometry: Geometry) -> list[Problem]:
    """Said is said, but a zone with something in it shows what was really written.

    That nobody says so is no contradiction: the driver does not know the ecc of a device tree.
    """
    said, found = parity_bytes(geometry.ecc), division.ecc.size if division.ecc else 0
    if not said or said == found or not _filled(division.zones):
        return []
    really = f"the zones have {found} bytes of it" if found else "the zones have none that fits"
    return [Problem("region", f"{geometry.origin} says that error correction takes {said} "
                    f"bytes per block; {really}: correct ecc", "warning")]


def _mismatch(geometry: Geometry, found: Division) -> Problem:
    return Problem("region", f"the zones are not where {geometry.origin} says; "
                   f"{len(found.zones)} were found by their signatures instead: correct "
                   "record_size, console_size, ftrace_size and pmsg_size", "warning")


# --- where the zones are, without being told


def _without_being_told(region: bytes, scanned: list[Zone]) -> Division:
    """The division that the signatures and the dumps' header lines show."""
    lost = forensics.lost_headers(region, scanned)
    if not scanned:
        return _by_parity(region, lost)
    tried = [_division(region, slots) for slots in guesses(region, scanned, lost)]
    guessed = max(tried, key=lambda each: _agreement(region, each), default=None)
    if guessed and _filled(guessed.zones) >= _filled(scanned):
        return guessed._replace(problems=_beginning(guessed))
    slots = [zone.slot for zone in scanned]
    ecc = zone_ecc.find(region, slots)
    ended = _all_ended(region, scanned, [ecc.size] if ecc else [])
    if ended != slots:
        return _division(region, ended)
    return Division(scanned, slots, None, []) if ecc is None else _division(region, slots)


def _agreement(region: bytes, division: Division) -> tuple[int, int, int]:
    """How many headers are valid where they should be, and lead to what should be there: error
    correction shows more of them than their signatures did; and how few are not even damaged: a
    few may be blank before the first one."""
    shown = [zone for zone in division.zones if zone.used and zone.slot.kind != "ftrace"]
    image, _ = zone_ecc.mend(region, shown[-MOST_SHOWN:])
    held = {zone.slot for zone in division.zones}
    missing = sum(slot not in held and not is_nearly_signed(region, slot.offset)
                  for slot in division.slots)
    if division.slots and not division.slots[0].offset:
        missing -= MOST_BEFORE
    return (len(held), sum(zone.slot.kind == _kind(zone.body(image))
                           for zone in shown[-MOST_SHOWN:]), -missing)


def _by_parity(region: bytes, lost: Sequence[int]) -> Division:
    """Zones whose headers are all damaged: if they have parity, that shows where they end; if
    not, what is in them shows where they begin."""
    begin = [Slot("kernel", None, at, len(region) - at) for at in lost] or \
        forensics.beginnings(region)
    size = len(region) if begin or _is_lone(region) else 0
    least = SMALLEST if begin else len(region)
    while size >= max(SMALLEST, least):
        slots = [Slot("kernel", number, number * size, size)
                 for number in range(min(MOST_ZONES, len(region) // size))]
        division = _division(region, slots)
        if division.ecc and (division.zones or not lost):
            return _named(region, division)
        size = 1 << (size - 1).bit_length() - 1
    return Division([], [] if lost else begin, None, [])


def _is_lone(region: bytes) -> bool:
    """Whether the region is a single zone whose header some parity puts right."""
    slot = Slot("?", 0, 0, len(region))
    return is_nearly_signed(region, 0) and any(
        zone_at(region, slot, order, Ecc(size)) for size in PARITIES for order in ORDERS)


def _named(region: bytes, division: Division) -> Division:
    """`division` with the kinds that its zones' contents show."""
    image, _ = zone_ecc.mend(region, division.zones)
    zones = [zone._replace(slot=zone.slot._replace(kind=_kind(zone.body(image))))
             for zone in division.zones]
    slots = {zone.slot.offset: zone.slot for zone in zones}
    return division._replace(zones=zones, slots=[
        slots.get(slot.offset) or forensics.as_it_looks(region, slot) for slot in division.slots])


def _all_ended(region: bytes, zones: Sequence[Zone], sizes: Sequence[int]) -> list[Slot]:
    """The slots of zones whose ends are not known.  sizes: of parity, if that is known; else the
    first zones tell them."""
    first = [_ended(region, zone, sizes or (16, *range(32, 3, -1)))
             for zone in zones[:MOST_SHOWN]]
    known = dict.fromkeys(size for _, size in first if size)
    return [slot for slot, _ in first] + [_ended(region, zone, known)[0]
                                          for zone in zones[MOST_SHOWN:]]


def _ended(region: bytes, zone: Zone, sizes: Iterable[int]) -> tuple[Slot, int]:
    """The slot of a zone, as its header's parity shows where it ends, for that is last; and the
    size of the parity, 0 if there is none."""
    slot = zone.slot
    header = region[slot.offset:slot.data]
    for size in sizes:
        at = region.find(header_parity(header, size), zone.end, slot.offset + slot.size)
        if at >= 0:
            return slot._replace(size=at + size - slot.offset), size
    return slot, 0


def _scan(region: bytes) -> list[Zone]:
    """The zones that signatures show, in order; stale ones inside another's text do not count."""
    zones: list[Zone] = []
    end = 0
    for offset, order in islice(signatures(region), MOST_SIGNATURES):
        slot = Slot("?", 0, offset, len(region) - offset)
        zone = zone_at(region, slot, order) if offset >= end else None
        if zone:
            if not zone.start and zone.used.bit_count() == 1:
                zone = zone._replace(used=0, damaged=True)      # see persistent_ram.straightened
            zones.append(zone)
            end = zone.end
        if len(zones) >= MOST_ZONES:
            break
    return _name_zones(region, zones)


def _name_zones(region: bytes, zones: list[Zone]) -> list[Zone]:
    """Scanned zones with their ends and kinds: dump zones come first and are all of one size."""
    ends = [*[zone.slot.offset for zone in zones[1:]], len(region)][:len(zones)]
    counts: dict[str, int] = {}
    named = []
    for zone, end in zip(zones, ends, strict=True):
        kind = _kind(zone.body(region))
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        offset = zone.slot.offset
        named.append(zone._replace(slot=Slot(kind, number, offset, end - offset)))
    return named


def _kind(body: bytes) -> str:
    """What a zone found by its signature holds, from its contents; empty ones count as dumps."""
    if not body or forensics.begins_dump(body) or any(kernel_dump.lines(body)):
        return "kernel"
    lines = body.count(b"\n", 0, 8192) + 1
    return "console" if len(re.findall(CONSOLE_LINE, body[:8192])) * 2 >= lines else "pmsg"


def is_blank(region: bytes) -> bool:
    """Whether nothing was ever written to `region`, or all of it was wiped."""
    return not region.translate(None, b"\0\xff")


def _nothing_there(region: bytes) -> list[Problem]:
    if not region:
        return [Problem("region", "it has no bytes at all", "error")]
    if is_blank(region):
        return [Problem("region", "it is blank: nothing was ever written there, or it was cleared",
                        "info")]
    return [Problem("region", "no ramoops zone was found in it: it was never used by ramoops, or "
                    "its contents did not survive (power loss clears memory)", "warning")]
