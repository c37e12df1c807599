"""ramoops: the zones that a crashed kernel left in a region, as records.

Source: fs/pstore/ram.c (ramoops_pstore_read, ramoops_pstore_write), kernels 3.4 to 6.12.  Pure:
bytes in, records and problems out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..record import Problem, Record, Source, captured
from . import forensics, kernel_dump, zone_ecc
from .geometry import Geometry, parity_bytes
from .layout import guess, layouts, split_ftrace
from .persistent_ram import (
    ORDERS,
    Ecc,
    Slot,
    Zone,
    header_is_blank,
    header_parity,
    signatures,
    zone_at,
)
from .zone_ecc import Repair

__all__ = ["Contents", "Division", "divide", "find_zones", "is_blank", "is_region", "records"]

MOST_ZONES = 1024                   # a region has tens; more are noise, or made to keep us busy
CONSOLE_LINE = rb"(?m:^\[ *\d+\.\d{6}\])"
MOST_NAMED = 8                      # lost blocks that a problem names


class Contents(NamedTuple):
    """What a region holds."""

    records: list[Record]
    problems: list[Problem]
    zones: int                  # dump zones with a valid header, empty ones included


class Division(NamedTuple):
    """How a region is divided."""

    zones: list[Zone]           # with valid headers
    slots: list[Slot]           # of all zones that there should be
    ecc: Ecc | None
    problems: list[Problem]


def records(region: bytes, given: Sequence[Geometry] = (), live: bool = False,
            recover: bool = False) -> Contents:
    """Every record in the region's zones, and what could not be read.

    given: what is known about the geometry, most trustworthy first; without any that fits, zones
    are found by their signatures.  live: ramoops is using the region, so only its dump zones hold
    something old.  recover: also what stands behind headers that say "empty": the kernel threw it
    away, or somebody erased it.  (What stands behind a damaged header is always shown.)
    """
    zones, slots, ecc, problems = divide(region, given)
    image, repairs = zone_ecc.mend(region, zones)
    found: list[Record] = []
    for zone, repair in zip(zones, repairs, strict=True):
        if zone.used and not (live and zone.slot.kind != "kernel"):
            zone_records, zone_problems = _read(image, zone, repair)
            found += zone_records
            problems += zone_problems
    lost = forensics.find(image, zones, slots, ecc, recover)
    for record, problem in _recovered(lost, found, live):
        found.append(record)
        problems += problem
    return Contents(found, problems, sum(zone.slot.kind == "kernel" for zone in zones))


def is_region(region: bytes) -> bool:
    """Whether ramoops used `region`, or nobody did."""
    return is_blank(region) or bool(_scan(region)) \
        or any(forensics.find(region, [], [], None, recover=True))


# --- where the zones are


def find_zones(region: bytes, given: Sequence[Geometry]) -> tuple[list[Zone], list[Problem]]:
    """The zones with valid headers, and what is wrong with the others."""
    division = divide(region, given)
    return division.zones, division.problems


def divide(region: bytes, given: Sequence[Geometry]) -> Division:
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
    for geometry, division in said:
        if division.zones and _filled(division.zones) >= _filled(scanned):
            return division._replace(problems=[*_ecc_problem(region, division, geometry),
                                               *_damaged(region, division)])
    found = _without_being_told(region, scanned)
    if not found.zones:
        return found._replace(problems=_nothing_there(region))
    return found._replace(problems=[_mismatch(given[0], found)] if given else [])


def _laid_out(region: bytes, geometry: Geometry) -> Division | None:
    """The division that a geometry stands for, by the kernel whose zones fit best."""
    fits = [(_fitting(region, slots), slots) for slots in layouts(geometry, len(region))]
    most = max((fit for fit, _ in fits), default=0)
    said = parity_bytes(geometry.ecc)
    divisions = [_division(region, slots, said) for fit, slots in fits if fit == most]
    return max(divisions, key=lambda division: len(division.zones), default=None)


def _fitting(region: bytes, slots: Sequence[Slot]) -> int:
    """How many headers are valid without error correction, in the better byte order."""
    return max(sum(zone_at(region, slot, order) is not None for slot in slots)
               for order in ORDERS)


def _division(region: bytes, slots: Sequence[Slot], said: int = 0) -> Division:
    """The zones in `slots`, in the byte order that most of them are in."""
    slots = split_ftrace(region, slots)
    ecc = zone_ecc.find(region, slots, said)
    by_order = [[zone_at(region, slot, order, ecc) for slot in slots] for order in ORDERS]
    zones = max(([zone for zone in found if zone] for found in by_order), key=len)
    return Division(zones, slots, ecc, [])


def _filled(zones: Iterable[Zone]) -> int:
    """Zones that hold something; not ftrace, whose signature cannot be searched for."""
    return sum(zone.used > 0 and zone.slot.kind != "ftrace" for zone in zones)


def _damaged(region: bytes, division: Division) -> list[Problem]:
    """The zones whose header is neither valid nor blank."""
    missing = set(division.slots) - {zone.slot for zone in division.zones}
    what = "its header is damaged; what can be read of it is shown" + (
        "" if division.ecc else ", and error correction (ramoops.ecc=1) guards against this")
    return [Problem(f"region, {slot.kind} zone {slot.number}", what, "warning")
            for slot in division.slots
            if slot in missing and not header_is_blank(region, slot.offset)]


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
    slots = guess(region, scanned, lost)
    if slots:
        guessed = _division(region, slots)
        if _filled(guessed.zones) >= _filled(scanned):
            return guessed
    slots = [zone.slot for zone in scanned]
    ecc = zone_ecc.find(region, slots)
    if ecc is None:
        slots = [_ended(region, zone) for zone in scanned]
        ecc = zone_ecc.find(region, slots)
    return _division(region, slots) if ecc else Division(scanned, slots, None, [])


def _by_parity(region: bytes, lost: Sequence[int]) -> Division:
    """Zones whose headers are all damaged: if they have parity, that shows where they end."""
    size = len(region) if lost else 0
    while size >= 1024:
        slots = [Slot("kernel", number, number * size, size)
                 for number in range(min(MOST_ZONES, len(region) // size))]
        division = _division(region, slots)
        if division.ecc and division.zones:
            return division
        size = 1 << (size - 1).bit_length() - 1
    return Division([], [], None, [])


def _ended(region: bytes, zone: Zone) -> Slot:
    """The slot of a zone whose end is not known, as its header's parity shows it: that is last."""
    slot = zone.slot
    header = region[slot.offset:slot.data]
    for size in (16, *range(32, 3, -1)):
        at = region.find(header_parity(header, size), zone.end, slot.offset + slot.size)
        if at >= 0:
            return slot._replace(size=at + size - slot.offset)
    return slot


def _scan(region: bytes) -> list[Zone]:
    """The zones that signatures show, in order; stale ones inside another's text do not count."""
    zones: list[Zone] = []
    for offset, order in sorted(signatures(region)):
        end = zones[-1].end if zones else 0
        slot = Slot("?", 0, offset, len(region) - offset)
        zone = zone_at(region, slot, order) if offset >= end else None
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


def _read(image: bytes, zone: Zone, repair: Repair) -> tuple[list[Record], list[Problem]]:
    """The records in one zone that is not empty.  image: the region after error correction."""
    slot, body = zone.slot, zone.body(image)
    source = Source("ramoops", slot.number, slot.offset, zone.used, slot.size)
    where = f"region, {slot.kind} zone {slot.number}"
    if slot.kind == "ftrace":
        # Several CPUs write there without a lock (PRZ_FLAG_NO_LOCK): bad blocks are no decay.
        what = f"{zone.used} bytes of function trace, which this version does not read"
        return [], [Problem(where, what, "info")]
    problems = []
    if zone.ecc:
        failed = len(repair.failed) + zone.failed
        source = source._replace(ecc_corrected=sum(repair.corrected.values()) + zone.corrected,
                                 ecc_failed=failed, torn=failed > 0)
        problems = _ecc_failed(where, zone.failed, repair.failed)
    if slot.kind in ("console", "pmsg"):
        return [captured(slot.kind, body, source)], problems
    found, others = kernel_dump.records(body, source, where, slot.capacity(zone.ecc))
    return found, problems + others


def _ecc_failed(where: str, header: bool, blocks: Sequence[int]) -> list[Problem]:
    """What is beyond repair."""
    problems = []
    if header:
        problems.append(Problem(where, "its header has more wrong bytes than error correction can "
                                "put right: its text may begin or end elsewhere", "warning"))
    if blocks:
        named = ", ".join(f"{at:#x}" for at in blocks[:MOST_NAMED])
        more = f" and {len(blocks) - MOST_NAMED} more" if len(blocks) > MOST_NAMED else ""
        problems.append(Problem(where, f"{len(blocks)} of its blocks of 128 bytes have more wrong "
                                f"bytes than error correction can put right, at offset {named}"
                                f"{more}: the text is wrong there", "warning"))
    return problems


def _recovered(lost: Iterable[forensics.Lost], known: Iterable[Record],
               live: bool) -> Iterable[tuple[Record, list[Problem]]]:
    """What no header leads to, each once, and not if a zone holds the same."""
    shown = {_identity(record) for record in known}
    for piece in lost:
        if live and piece.zone.slot.kind != "kernel":
            continue
        found, problems = _read_lost(piece)
        for record in found:
            if _identity(record) not in shown:
                shown.add(_identity(record))
                yield record, problems
                problems = []


def _identity(record: Record) -> tuple[object, ...]:
    """The same for two copies of one dump, of which one may be damaged."""
    if record.time is None:
        return record.kind, record.text
    return record.kind, record.time, record.text.partition("\n")[0]


def _read_lost(piece: forensics.Lost) -> tuple[list[Record], list[Problem]]:
    zone, repair = piece.zone, piece.repair
    source = Source("ramoops", None, zone.slot.offset, zone.used, zone.slot.size, recovered=True)
    where = f"region, offset {zone.slot.offset:#x}"
    problems = [Problem(where, piece.why, "info" if piece.erased else "warning")]
    if repair:
        source = source._replace(ecc_corrected=sum(repair.corrected.values()),
                                 ecc_failed=len(repair.failed), torn=bool(repair.failed))
        problems += _ecc_failed(where, False, repair.failed)
    if zone.slot.kind != "kernel":
        return [captured(zone.slot.kind, piece.body, source._replace(torn=True))], problems
    found, others = kernel_dump.records(piece.body, source, where)
    return found, problems + others
