"""ramoops: the zones that a crashed kernel left in a region, as records.

Source: fs/pstore/ram.c (ramoops_probe, ramoops_init_przs, ramoops_pstore_write), kernels 3.5 to
6.12.  Pure: bytes in, records and problems out.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..record import Problem, Record, Source, captured
from . import kernel_dump
from .geometry import Geometry
from .persistent_ram import HEADER_SIZE, ORDERS, Slot, Zone, header_is_blank, signatures, zone_at

__all__ = ["Contents", "find_zones", "is_blank", "layouts", "records"]

MOST_ZONES = 1024                   # a region has tens; more are noise, or made to keep us busy
CONSOLE_LINE = rb"(?m:^\[ *\d+\.\d{6}\])"


class Contents(NamedTuple):
    """What a region holds."""

    records: list[Record]
    problems: list[Problem]
    zones: int                  # dump zones with a valid header, empty ones included


def records(region: bytes, given: Sequence[Geometry] = (), live: bool = False) -> Contents:
    """Every record in the region's zones, and what could not be read.

    given: what is known about the geometry, most trustworthy first; without any that fits, zones
    are found by their signatures.  live: ramoops is using the region, so only its dump zones hold
    something old.
    """
    zones, problems = find_zones(region, given)
    found: list[Record] = []
    for zone in [*zones, *_headless(region, zones)]:
        if zone.used and not (live and zone.slot.kind != "kernel"):
            zone_records, zone_problems = _read(region, zone)
            found += zone_records
            problems += zone_problems
    return Contents(found, problems, sum(zone.slot.kind == "kernel" for zone in zones))


# --- where the zones are


def layouts(geometry: Geometry, region_size: int) -> Iterator[list[Slot]]:
    """The ways in which kernels lay out `geometry`, newest kernels first.

    Sizes are rounded down to powers of two (ramoops_probe).  What differs: the dump zones' size
    (since 4.10 they share what is left over), and the order behind them (pmsg moved before
    ftrace between 6.1 and 6.12).
    """
    record, console, ftrace, pmsg = (_power_of_two(size) for size in geometry[:4])
    total = min(geometry.mem_size or region_size, region_size)
    dump = total - console - ftrace - pmsg
    count = dump // record if record else 0
    if count <= 0:
        return
    behind = {"console": console, "ftrace": ftrace, "pmsg": pmsg}
    orders = [("console", "pmsg", "ftrace"), ("console", "ftrace", "pmsg")]
    for size in dict.fromkeys(((dump // count) & ~1, record)):
        for order in orders if ftrace and pmsg else orders[:1]:
            slots = [Slot("kernel", i, i * size, size) for i in range(count)]
            offset = count * size
            for kind in order:
                if behind[kind]:
                    slots.append(Slot(kind, 0, offset, behind[kind]))
                    offset += behind[kind]
            yield slots


def find_zones(region: bytes, given: Sequence[Geometry]) -> tuple[list[Zone], list[Problem]]:
    """The zones with valid headers: where a given geometry says, or by their signatures.

    Signatures of an earlier layout stay in memory, so a geometry is preferred, unless it is
    plainly wrong: the signatures then show more zones with something in them.
    """
    for geometry in given:
        for slots in layouts(geometry, len(region)):
            zones, problems = _zones(region, slots)
            if len(zones) == len(slots):
                return zones, []                    # as it should be: nothing to search for
    scanned = _scan(region)
    for geometry in given:
        fits = [_zones(region, slots) for slots in layouts(geometry, len(region))]
        zones, problems = max(fits, key=lambda fit: len(fit[0]), default=([], []))
        if zones and _filled(zones) >= _filled(scanned):
            return zones, problems
    if not scanned or not given:
        return scanned, [] if scanned else _nothing_there(region)
    what = (f"the zones are not where {given[0].origin} says; {len(scanned)} were found by their "
            "signatures instead: correct record_size, console_size, ftrace_size and pmsg_size")
    return scanned, [Problem("region", what, "warning")]


def _filled(zones: list[Zone]) -> int:
    """Zones that hold something; not ftrace, whose signature cannot be searched for."""
    return sum(zone.used > 0 and zone.slot.kind != "ftrace" for zone in zones)


def _power_of_two(size: int) -> int:
    return 1 << (size.bit_length() - 1) if size > 0 else 0


def _zones(region: bytes, slots: list[Slot]) -> tuple[list[Zone], list[Problem]]:
    """The slots whose headers are valid, in the byte order that most of them are in.

    A header that is neither valid nor blank was damaged: that is a problem.
    """
    by_order = []
    for order in ORDERS:
        found = [zone_at(region, slot, order) for slot in slots]
        by_order.append([zone for zone in found if zone])
    zones = max(by_order, key=len)
    missing = set(slots) - {zone.slot for zone in zones}
    return zones, [_damaged(slot) for slot in slots
                   if slot in missing and not header_is_blank(region, slot.offset)]


def _damaged(slot: Slot) -> Problem:
    return Problem(f"region, {slot.kind} zone {slot.number}", "its header is damaged; what can be "
                   "read of it is shown, and error correction (ramoops.ecc=1) guards against this",
                   "warning")


def _headless(region: bytes, zones: list[Zone]) -> list[Zone]:
    """Dumps whose zone header was damaged, as zones that reach to where the next one begins.

    The header is what a reset loses first.  Behind a header that is whole and says "empty" the
    text is left alone: somebody erased it.
    """
    found: list[Zone] = []
    starts = sorted(zone.slot.offset for zone in zones)
    ends = [zone.end for zone in sorted(zones, key=lambda zone: zone.slot.offset)]
    tries, free = 0, 0                  # free: where the last one found ends
    for match in kernel_dump.lines(region):
        offset = match.start() - HEADER_SIZE
        before = bisect_right(starts, offset) - 1
        if offset < free or (before >= 0 and (match.start() < ends[before]
                                              or starts[before] == offset)):
            continue
        tries += 1
        if tries > MOST_ZONES:
            break
        if _is_emptied(region, offset):
            continue
        end = starts[before + 1] if before + 1 < len(starts) else len(region)
        used = kernel_dump.length(region, match, end)
        if used:
            free = match.start() + used
            found.append(Zone(Slot("kernel", None, offset, HEADER_SIZE + used), 0, used))
    return found


def _is_emptied(region: bytes, offset: int) -> bool:
    """Whether a whole header says that its zone is empty; it may be one of an earlier layout."""
    zones = (_zone_from(region, offset, order) for order in ORDERS)
    return any(zone is not None and zone.used == 0 for zone in zones)


def _zone_from(region: bytes, offset: int, order: str) -> Zone | None:
    """The zone that begins at `offset`, wherever it may end."""
    return zone_at(region, Slot("?", 0, offset, len(region) - offset), order)


def _scan(region: bytes) -> list[Zone]:
    """The zones that signatures show, in order; stale ones inside another's text do not count."""
    zones: list[Zone] = []
    for offset, order in sorted(signatures(region)):
        end = zones[-1].end if zones else 0
        zone = _zone_from(region, offset, order) if offset >= end else None
        if zone and len(zones) < MOST_ZONES:
            zones.append(zone)
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
    if not body or any(kernel_dump.lines(body)):
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


# --- what a zone holds


def _read(region: bytes, zone: Zone) -> tuple[list[Record], list[Problem]]:
    """The records in one zone that is not empty."""
    body = zone.body(region)
    source = Source("ramoops", zone.slot.number, zone.slot.offset, zone.used, zone.slot.size)
    where = f"region, {zone.slot.kind} zone {zone.slot.number}" \
        if zone.slot.number is not None else f"region, offset {zone.slot.offset:#x}"
    if zone.slot.kind in ("console", "pmsg"):
        return [captured(zone.slot.kind, body, source)], []
    if zone.slot.kind == "ftrace":
        what = f"{zone.used} bytes of function trace, which this version does not read"
        return [], [Problem(where, what, "info")]
    return kernel_dump.records(body, source, where, zone.slot.size - HEADER_SIZE)
