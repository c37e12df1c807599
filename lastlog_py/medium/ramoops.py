"""ramoops: the zones that a crashed kernel left in a region, as records.

Source: fs/pstore/ram.c (ramoops_pstore_read, ramoops_pstore_write), kernels 3.4 to 6.12.  Pure:
bytes in, records and problems out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from ..record import Problem, Record, Source, captured
from . import forensics, kernel_dump, zone_ecc
from .allowance import Allowance
from .division import divide, find_zones, is_blank
from .geometry import Geometry
from .persistent_ram import HEADER_SIZE, Ecc, Slot, Zone
from .reading import MOST_RECORDS, extents_of, too_many
from .zone_ecc import Repair

__all__ = ["Contents", "find_zones", "is_blank", "records"]

# Bytes of memory that all texts may take, for each of the region's: kernels pack 2.3 times as much
# into it, and of what is damaged a character takes two.  And in all: no router has more to say.
MOST_UNPACKED = 4.5
LARGEST = 64 << 20
MOST_BEHIND = 64                    # zones behind the dumps that are shown even so
MOST_NAMED = 8                      # lost blocks that a problem names

MANY = Problem("region", "more records are there than are shown", "warning")
BUSY = Problem("region", "it takes too long to read all of it, because it is full of damage, or "
               "made to keep lastlog busy: some of it was not tried as hard as is usual",
               "warning")


class Contents(NamedTuple):
    """What a region holds."""

    records: list[Record]
    problems: list[Problem]
    zones: int                  # dump zones with a valid header, empty ones included
    # By the id of a record, where other copies of it are, which are not shown: (offset, size) in
    # bytes, headers included.  Who erases the record erases them, or one of them comes back.
    copies: dict[str, list[tuple[int, int]]]


def records(region: bytes, given: Sequence[Geometry] = (), live: bool = False,
            recover: bool = False) -> Contents:
    """Every record in the region's zones, and what could not be read.

    given: what is known about the geometry, most trustworthy first; without any that fits, zones
    are found by their signatures.  live: ramoops is using the region, so only its dump zones hold
    something old, be it that the driver has emptied the zone for some damage.  recover: also what
    stands elsewhere behind headers that say "empty": the kernel threw it away, or somebody erased
    it.  (What stands behind a damaged header is always shown.)
    """
    zones, slots, ecc, problems, _ = divide(region, given)
    image, repairs = zone_ecc.mend(region, zones)
    allowance = Allowance(min(int(MOST_UNPACKED * len(region)), LARGEST) + (1 << 18))
    used = [(zone, repair) for zone, repair in zip(zones, repairs, strict=True)
            if zone.used and zone.slot.kind != "ftrace"
            and not (live and zone.slot.kind != "kernel")]
    found, wrong = _used(image, used, allowance)
    problems += wrong
    places: list[int] = []
    lost = forensics.find(image, zones, slots, ecc, recover or live, allowance)
    if live:
        lost = _of_dump_zones(lost, zones)
    copies: dict[int, list[Record]] = {}
    again = _recovered(_noting(lost, places), found, allowance, copies)
    for record, wrong, instead in islice(again, MOST_RECORDS):
        problems += wrong
        if instead is None:
            found.append(record)
        else:
            found[instead] = record
    if next(again, None):
        problems.append(MANY)
    elif zones:
        problems += _unread(image, zones, slots, ecc, sorted(places))
    problems += [] if allowance.work else [BUSY]
    if not live:
        trace, lack = _trace(image, zones)
        found += [trace] if trace else []
        problems += [lack] if lack else []
    return Contents(found, problems, sum(zone.slot.kind == "kernel" for zone in zones),
                    _places(found, copies))


# --- what a zone holds


def _used(image: bytes, used: Sequence[tuple[Zone, Repair]],
          allowance: Allowance) -> tuple[list[Record], list[Problem]]:
    """The records in all zones that are not empty.  image: the region after error correction."""
    found: list[Record] = []
    problems = too_many("region", len(used))
    for zone, repair in _first(used):
        if len(found) >= MOST_RECORDS + MOST_BEHIND:
            return found, [*problems, MANY]
        records, wrong = _read(image, zone, repair, allowance)
        found += records
        problems += wrong
    return found, problems


def _read(image: bytes, zone: Zone, repair: Repair,
          allowance: Allowance) -> tuple[list[Record], list[Problem]]:
    """The records in one zone that is not empty."""
    slot, body = zone.slot, zone.body(image)
    source = Source("ramoops", slot.number, slot.offset, zone.used, slot.size, torn=zone.damaged,
                    recovered=zone.damaged)
    where = f"region, {slot.kind} zone {slot.number}"
    problems = [Problem(where, forensics.DAMAGED, "warning")] if zone.damaged else []
    if zone.ecc:
        source = _corrected(source, repair, zone.corrected, zone.failed)
        problems += _ecc_problems(where, repair, zone.failed)
    if slot.kind == "console":
        return [captured("console", body, source)], problems
    if slot.kind == "pmsg":
        from . import android_log  # here, not above: a running ramoops' pmsg is not read

        return [android_log.record_of(body, source)], problems
    found, others = kernel_dump.records(body, source, where, slot.capacity(zone.ecc),
                                         allowance)
    return found, problems + others


def _first(used: Sequence[tuple[Zone, Repair]]) -> list[tuple[Zone, Repair]]:
    """As many as are shown: of console and pmsg zones, which stand behind the dumps, some too."""
    behind = [each for each in used[MOST_RECORDS:] if each[0].slot.kind != "kernel"][:MOST_BEHIND]
    return [*used[:MOST_RECORDS - len(behind)], *behind]


def _trace(image: bytes, zones: Iterable[Zone]) -> tuple[Record | None, Problem | None]:
    """What the ftrace zones hold, as one record: they are one behind the other.

    Several CPUs write there without a lock (PRZ_FLAG_NO_LOCK): bad blocks are no decay.
    """
    traced = [zone for zone in zones if zone.slot.kind == "ftrace"]
    if not any(zone.used for zone in traced):
        return None, None
    from . import ftrace  # here, not above: hardly any region has such zones

    start, end = traced[0].slot.offset, max(zone.end for zone in traced)
    source = Source("ramoops", 0, start, end - start - HEADER_SIZE,
                    sum(zone.slot.size for zone in traced))
    return ftrace.record_of([zone.body(image) for zone in traced], source,
                            "region, ftrace zone 0", 3 * len(image))


def _corrected(source: Source, repair: Repair, header: int = 0, lost: bool = False) -> Source:
    """`source` with what error correction did.  header: wrong bytes of the zone's header that were
    put right.  lost: there were too many of them."""
    return source._replace(ecc_corrected=sum(repair.corrected.values()) + header,
                           ecc_failed=len(repair.failed) + lost,
                           torn=bool(source.torn or lost or repair.failed or repair.doubtful))


def _ecc_problems(where: str, repair: Repair, header: bool = False) -> list[Problem]:
    """What is beyond repair."""
    whats = []
    if header:
        whats.append("its header has more wrong bytes than error correction can put right: its "
                     "text may begin or end elsewhere")
    if repair.failed:
        whats.append(f"{len(repair.failed)} of its blocks of 128 bytes have more wrong bytes than "
                     f"error correction can put right, at offset {_named(repair.failed)}: the text "
                     "is wrong there")
    if repair.doubtful:
        whats.append(f"the correction of {len(repair.doubtful)} of its blocks of 128 bytes, at "
                     f"offset {_named(repair.doubtful)}, is likely a mistake: the text is wrong "
                     "there (a larger ramoops.ecc makes fewer)")
    return [Problem(where, what, "warning") for what in whats]


def _named(blocks: Sequence[int]) -> str:
    more = f" and {len(blocks) - MOST_NAMED} more" if len(blocks) > MOST_NAMED else ""
    return ", ".join(f"{at:#x}" for at in blocks[:MOST_NAMED]) + more


def _of_dump_zones(lost: Iterable[forensics.Lost],
                   zones: Iterable[Zone]) -> Iterator[forensics.Lost]:
    """Of what no header leads to in a region that ramoops is using: the dumps that lost theirs, and
    those that stand just where an empty zone's dump would.

    A zone that was erased by us is blank (collect.erase), so the driver has emptied it, or somebody
    else, who left the bytes there.
    """
    empty = {zone.slot.offset for zone in zones if not zone.used}
    for piece in lost:
        if piece.zone.slot.kind == "kernel" and (not piece.erased
                                                 or piece.zone.slot.offset in empty):
            yield piece


def _recovered(lost: Iterable[forensics.Lost], known: Sequence[Record], allowance: Allowance,
               copies: dict[int, list[Record]]) -> Iterator[tuple[Record, list[Problem],
                                                                  int | None]]:
    """What no header leads to, each once, and if a zone holds the same, only what is more of it:
    with the number of the `known` record in whose place it is.

    The copies that are not the better ones are put into `copies` by that number, as they go by;
    but not those of which nothing is known, which may be different dumps.
    """
    shown = {_identity(record): (record, number) for number, record in enumerate(known)}
    count = len(known)
    for piece in lost:
        found, problems = _read_lost(piece, allowance)
        for record in found:
            other, number = shown.get(_identity(record), (None, count))
            better = other is None or _worth(record) > _worth(other)
            if other and (record.text or record.time is not None):
                copies.setdefault(number, []).append(other if better else record)
            if better:
                shown[_identity(record)] = record, number
                yield record, problems, number if other else None
                count += other is None
                problems = []


def _places(found: Sequence[Record],
            copies: dict[int, list[Record]]) -> dict[str, list[tuple[int, int]]]:
    """Where `copies`, by the number of the record in `found`, are: by its id, and without those
    that are within what the record, or another copy, takes."""
    places: dict[str, list[tuple[int, int]]] = {}
    for number, others in copies.items():
        taken = [_place(found[number])]
        for at, length in map(_place, others):
            if not any(start <= at and at + length <= start + size for start, size in taken):
                taken.append((at, length))
        places.setdefault(found[number].id, []).extend(taken[1:])
    return places


def _place(record: Record) -> tuple[int, int]:
    ((place,),) = extents_of([record], HEADER_SIZE).values()
    return place


def _noting(lost: Iterable[forensics.Lost], places: list[int]) -> Iterator[forensics.Lost]:
    """`lost`, whose offsets are put into `places` as they go by."""
    for piece in lost:
        places.append(piece.zone.slot.offset)
        yield piece


def _unread(image: bytes, zones: Iterable[Zone], slots: Iterable[Slot], ecc: Ecc | None,
            found: Sequence[int]) -> list[Problem]:
    """The dump zones that hold something of which nothing could be read.  found: where something
    was, in order."""
    known = {zone.slot.offset for zone in zones}
    return [Problem(f"region, kernel zone {slot.number}, offset {slot.offset:#x}",
                    "it holds data, but its header is lost, and nothing of it could be read",
                    "warning")
            for slot in slots if slot.kind == "kernel" and slot.offset not in known
            and bisect_left(found, slot.offset) == bisect_left(found, slot.offset + slot.size)
            and forensics.is_held(image, slot, ecc)]


def _identity(record: Record) -> tuple[object, ...]:
    """The same for two copies of one dump, of which one may be damaged, its title too: no two
    dumps are of the same microsecond, but for 0, which stands for a clock that stood still."""
    if not record.time:
        return record.kind, record.time, record.text
    return record.kind, record.time


def _worth(record: Record) -> tuple[bool, int, int]:
    """What one of two copies of a dump has more of is the better one."""
    source = record.source
    known = len(record.text) - record.text.count("\ufffd")
    return not (source.truncated or source.torn), -(source.ecc_failed or 0), known


def _read_lost(piece: forensics.Lost,
               allowance: Allowance) -> tuple[list[Record], list[Problem]]:
    zone, repair = piece.zone, piece.repair
    source = Source("ramoops", None, zone.slot.offset, zone.used, zone.slot.size, recovered=True,
                    torn=piece.headless)
    number = "" if zone.slot.number is None else f"kernel zone {zone.slot.number}, "
    where = f"region, {number if piece.headless else ''}offset {zone.slot.offset:#x}"
    problems = [Problem(where, piece.why, "info" if piece.erased else "warning")]
    if repair:
        source = _corrected(source, repair)
        problems += _ecc_problems(where, repair)
    if zone.slot.kind != "kernel":
        return [captured(zone.slot.kind, piece.body, source._replace(torn=True))], problems
    if piece.headless and not piece.packed:
        return [captured("kernel", piece.body, source)], problems
    if piece.headless:
        record, wrong = kernel_dump.record_of(kernel_dump.Dump(None, True, piece.body, torn=True),
                                              source, where,
                                              kernel_dump.room_for(len(piece.body)), None,
                                              allowance)
        return [record], problems + ([wrong] if wrong else [])
    found, others = kernel_dump.records(piece.body, source, where, None, allowance)
    return found, problems + others
