"""A region of memory or flash, whatever its kernels left there, in several formats at once.

What begins first holds what begins within it: a log may tell of another format, and memory that
is not used any more keeps what an earlier kernel wrote.  Pure: bytes in, records and problems out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from ..record import Problem
from . import ramoops
from .geometry import Geometry
from .marks import PAGE, any_in
from .persistent_ram import HEADER_SIZE
from .reading import Reading, blanked, extents_of

__all__ = ["Findings", "erased", "read"]

Span = tuple[int, int]          # offset and end, in bytes from the region's start


class Findings(NamedTuple):
    """What a region holds."""

    reading: Reading
    zones: int                  # ramoops' dump zones with a valid header, empty ones included


def read(region: bytes, given: Sequence[Geometry] = (), live: bool = False,
         recover: bool = False) -> Findings:
    """Every record in the region, and what could not be read.

    given: what is known about the geometry, most trustworthy first.  live: ramoops is using the
    region.  recover: somebody sent it: show also what was removed, as far as its bytes are still
    there.
    """
    if live:
        return _ramoops(region, given, live, recover)
    findings = _read(region, given, recover)
    if recover and not _is_sound(findings):
        there = _shifted(region, given)
        return there if there and (_is_sound(there) or not findings.reading.records) else findings
    return findings


def _is_sound(findings: Findings) -> bool:
    """Whether there is anything that no damage made."""
    return any(not (record.source.torn or record.source.recovered)
               for record in findings.reading.records)


def _shifted(region: bytes, given: Sequence[Geometry]) -> Findings | None:
    """What is in a region whose records begin at no multiple of PAGE; None: there are none."""
    from . import shifted  # most regions begin where they should

    base = 0 if ramoops.is_blank(region) else shifted.base_of(region)
    findings = _read(region, given, True, base) if base else None
    if findings is None or not findings.reading.records:
        return None
    first = min(offset for extents in findings.reading.extents.values() for offset, _ in extents)
    problem = Problem("region", f"its records begin at offset {first:#x}: at no multiple of "
                      f"{PAGE}, as on the machine it is from", "info")
    return findings._replace(reading=findings.reading._replace(
        problems=[problem, *findings.reading.problems]))


def _read(region: bytes, given: Sequence[Geometry], recover: bool, base: int = 0) -> Findings:
    """Every record in a region that no driver uses.  base: where the first page begins."""
    if not any_in(region, base):
        return _ramoops(region, given, False, recover)
    from . import crashlog, mtdoops, pstore_zone, seed_ramoops  # few regions need them

    others = [mtdoops.read(region, given[:1] if recover else (), base),
              pstore_zone.read(region, recover, True, base), crashlog.read(region, recover, base)]
    if not base:
        others.append(seed_ramoops.read(region, given[:1] if recover else ()))
    if not any(reading.records for reading in others):
        return _ramoops(region, given, False, recover)
    found = ramoops.find_zones(region, given)[0]        # which takes its time
    if found and all(record.kind != "kernel" for record in others[1].records):
        others[1] = pstore_zone.read(region, recover, False, base)
    zones = [(zone.slot.offset, zone.end) for zone in found if zone.used]
    held = _held([*zones, *(span for reading in others for span in _spans(reading))])
    others = [_only(reading, held) for reading in others]
    region = blanked(region, (span for reading in others for span in _spans(reading)))
    findings = _ramoops(region, given, False, recover)
    if findings.zones or findings.reading.records:
        others.insert(0, findings.reading)
    return Findings(_together(others), findings.zones)


def _ramoops(region: bytes, given: Sequence[Geometry], live: bool, recover: bool) -> Findings:
    """What ramoops left."""
    found = ramoops.records(region, given, live, recover)
    extents = extents_of(found.records, HEADER_SIZE)
    for name, places in found.copies.items():
        extents[name] += places
    return Findings(Reading(found.records, found.problems, extents), found.zones)


# --- which of them hold what


def _spans(reading: Reading) -> list[Span]:
    return [(offset, offset + size) for extents in reading.extents.values()
            for offset, size in extents]


def _held(spans: Sequence[Span]) -> set[Span]:
    """The spans that are within no other."""
    held: set[Span] = set()
    free = 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= free or (start, end) in held:
            held.add((start, end))
            free = max(free, end)
    return held


def _only(reading: Reading, held: Collection[Span]) -> Reading:
    """`reading` with the records that are within no other format's."""
    kept = {name: extents for name, extents in reading.extents.items()
            if all((offset, offset + size) in held for offset, size in extents)}
    if len(kept) == len(reading.extents):
        return reading
    return Reading([record for record in reading.records if record.id in kept],
                   reading.problems if kept else [], kept)


def _together(readings: Sequence[Reading]) -> Reading:
    """All of them as one."""
    extents: dict[str, list[tuple[int, int]]] = {}
    for reading in readings:
        for name, places in reading.extents.items():
            extents.setdefault(name, []).extend(places)
    return Reading([record for reading in readings for record in reading.records],
                   [problem for reading in readings for problem in reading.problems], extents)


# --- erasing


def erased(medium: str, data: bytes) -> bytes:
    """What `data`, a record's bytes in a region that no driver uses, become when it is erased."""
    if medium == "ramoops":
        return _zone_erased(data)
    from . import crashlog, mtdoops, pstore_zone  # as above

    return {"mtdoops": mtdoops.erased, "pstore_zone": pstore_zone.erased,
            "crashlog": crashlog.erased}[medium](data)


def _zone_erased(zone: bytes) -> bytes:
    """A zone of ramoops gets a header that is nothing the kernel takes for a signature, and,
    because all 12 bytes differ, nothing that the header's ECC of 16 bytes, which corrects 8, could
    bring back.  (ECC of 24 bytes and more could; the kernel then finds a dump of zeros without
    a "====" line, and drops it.)  A slot of early ramoops has no header, and is empty likewise."""
    return (b"\xff" * HEADER_SIZE)[:len(zone)] + bytes(max(0, len(zone) - HEADER_SIZE))
