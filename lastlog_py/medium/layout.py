"""How a region is divided into zones: from what is said about it, or from the marks in it.

Source: fs/pstore/ram.c (ramoops_probe, ramoops_init_przs, ramoops_init_prz), kernels 3.4 to 6.12.
Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from heapq import nlargest
from itertools import chain, islice
from operator import itemgetter
from typing import NamedTuple

from . import forensics, zone_ecc
from .geometry import Geometry
from .persistent_ram import (
    HEADER_SIZE,
    ORDERS,
    Ecc,
    Slot,
    Zone,
    header_parity,
    is_nearly_signed,
    nearly_zone_at,
    zone_at,
)

__all__ = ["MOST_ZONES", "guesses", "layouts", "moved", "split_ftrace", "totals"]

MOST_ZONES = 1 << 14                # in 64 MiB, of 4 KiB each; more are made to keep us busy
SMALLEST = 1024                     # bytes of a zone that is guessed at
MOST_CPUS = 256
SAMPLE = 64                         # bytes that tell a dump from anything else
MOST_GUESSES = 20000                # divisions that are looked at
MOST_TRIED = 8                      # of these, that are worth a closer look
MOST_BEHIND = 256                   # dump zones in whose place others are looked for


def layouts(geometry: Geometry, region_size: int) -> Iterator[list[Slot]]:
    """The ways in which kernels lay out `geometry`, newest kernels first.

    Sizes are rounded down to powers of two (ramoops_probe).  What differs: the dump zones' size
    (since 4.10 they share what is left over), the order behind them (pmsg moved before ftrace
    between 6.1 and 6.12), and the whole (kernels of the 3.4 era round it down as well; a dump that
    ends early was larger, which is tried last).
    """
    total = min(geometry.mem_size or region_size, region_size)
    record, *behind = (_power_of_two(size) for size in geometry[:4])
    seen: list[list[Slot]] = []
    larger = max(geometry.mem_size or 0, 2 * _power_of_two(region_size))
    for whole in dict.fromkeys((total, _power_of_two(total), larger)):
        if whole > region_size and not seen:
            return                      # it cannot be this geometry
        for slots in _divided(whole, record, *behind):
            if slots not in seen:
                seen.append(slots)
                yield slots


def _divided(total: int, record: int, console: int, ftrace: int,
             pmsg: int) -> Iterator[list[Slot]]:
    dump = total - console - ftrace - pmsg
    count = dump // record if record else 0
    if not 0 < count <= MOST_ZONES:
        return
    for size in dict.fromkeys(((dump // count) & ~1, record)):
        for behind in _orders(console, ftrace, pmsg):
            slots = [Slot("kernel", i, i * size, size) for i in range(count)]
            yield slots + list(_in_a_row(count * size, behind))


def _orders(console: int, ftrace: int, pmsg: int) -> list[list[tuple[str, int]]]:
    """(kind, size) of what is behind the dumps, in either order."""
    new = [("console", console), ("pmsg", pmsg), ("ftrace", ftrace)]
    return [new, [new[0], new[2], new[1]]] if ftrace and pmsg else [new]


def _in_a_row(offset: int, zones: Iterable[tuple[str, int]]) -> Iterator[Slot]:
    for kind, size in zones:
        if size:
            yield Slot(kind, 0, offset, size)
            offset += size


def _power_of_two(size: int) -> int:
    return 1 << (size.bit_length() - 1) if size > 0 else 0


def split_ftrace(region: bytes, slots: Sequence[Slot]) -> list[Slot]:
    """`slots` with the ftrace area as the zones that it is divided into, one per CPU.

    With module parameters it always is (FTRACE_PER_CPU).  How many CPUs there are (nr_cpu_ids) is
    seen from the headers: the largest number of them that is right in most places.
    """
    parted: list[Slot] = []
    for slot in slots:
        parted += _per_cpu(region, slot) if slot.kind == "ftrace" else [slot]
    return parted


def _per_cpu(region: bytes, area: Slot) -> list[Slot]:
    best, most = [area], 0
    for count in range(1, min(MOST_CPUS, area.size // 64) + 1):
        size = (area.size // count) & ~1
        slots = (Slot("ftrace", cpu, area.offset + cpu * size, size) for cpu in range(count))
        zones = [_is_zone(region, slot) for slot in islice(slots, 3)]
        if 2 * sum(zones) <= len(zones):
            continue
        zones += [_is_zone(region, slot) for slot in slots]
        if sum(zones) > most and 2 * sum(zones) > count:
            best, most = [Slot("ftrace", cpu, area.offset + cpu * size, size)
                          for cpu in range(count)], sum(zones)
    return best


def _traces(region: bytes, area: Slot) -> int:
    return len(_per_cpu(region, area)) if _is_zone(region, area) else 0


def _is_zone(region: bytes, slot: Slot) -> bool:
    # The signature's first byte is the same in every version.
    if b"\x43" not in (region[slot.offset:slot.offset + 1],
                       region[slot.offset + 3:slot.offset + 4]):
        return False
    return any(zone_at(region, slot, order) for order in ORDERS) or (
        not forensics.begins_dump(region[slot.data:slot.data + SAMPLE])
        and any(nearly_zone_at(region, slot, order) for order in ORDERS))


# --- without being told


class _Marks(NamedTuple):
    """What is seen in a region."""

    zones: dict[int, Zone]      # with plain signatures, by offset
    offsets: list[int]          # of these, and of where a header was lost, in order
    traces: Callable[[Slot], int]           # zones of ftrace that the area is divided into
    ends_in: Callable[[Slot, Ecc], bool]    # its header's parity is where it has to be
    nearly: Callable[[int], bool]           # a signature is there but for some bits, and no dump


class _Guess(NamedTuple):
    """A division: dump zones of `record` bytes, and what is behind them."""

    record: int
    dumps: int
    behind: list[Slot]
    ecc: Ecc | None

    def slots(self) -> list[Slot]:
        dumps = [Slot("kernel", i, i * self.record, self.record) for i in range(self.dumps)]
        return dumps + self.behind


def guesses(region: bytes, zones: Iterable[Zone], lost: Iterable[int]) -> list[list[Slot]]:
    """The divisions that explain what is seen in `region`, best first: one if it leaves nothing to
    explain, else a few; none if nothing explains it.

    zones: those with plain signatures, with their kinds as far as contents tell them.  lost:
    offsets of zones that only a dump's header line shows.  Something else, a journal or the rest
    of a larger dump, may be behind the zones; and if none is at the beginning, before them.
    """
    zones, lost = list(zones), list(lost)
    first = min([*(zone.slot.offset for zone in zones), *lost], default=0)
    found, explained = _guesses(region, zones, lost)
    if not explained and first:
        there = [_moved(zone, -first) for zone in zones]
        more, explained = _guesses(region[first:], there, [at - first for at in lost])
        more = [[moved(slot, first) for slot in slots] for slots in more]
        more = [slots for slots in more if not forensics.stand_before(region, slots[0])]
        found = more if explained and not found else [*found, *more]
    return found


def moved(slot: Slot, by: int) -> Slot:
    """`slot` so many bytes further down."""
    return slot._replace(offset=slot.offset + by)


def _moved(zone: Zone, by: int) -> Zone:
    return zone._replace(slot=moved(zone.slot, by))


def _guesses(region: bytes, zones: Iterable[Zone],
             lost: Iterable[int]) -> tuple[list[list[Slot]], bool]:
    """The same for zones that begin with the region, and whether one leaves nothing to explain."""
    by_offset = {zone.slot.offset: zone for zone in zones}
    marks = _Marks(by_offset, sorted({*by_offset, *lost}),
                   cache(lambda slot: _traces(region, slot)),
                   cache(lambda slot, ecc: _ends_in(region, slot, ecc)),
                   cache(lambda offset: _nearly(region, offset)))
    grids = [(record, _ecc_on_grid(region, marks, record)) for record in _sizes(marks)]
    best: list[tuple[_Guess, int]] = []
    for total in totals(marks.offsets, len(region)):
        scored = islice(_scored(marks, grids, total), MOST_GUESSES)
        best = nlargest(MOST_TRIED, chain(best, scored), key=itemgetter(1))
        if best and best[0][1] > 0 and not _flaws(marks, best[0][0]):
            return [best[0][0].slots()], True
    return [each.slots() for each, score in best if score > 0], False


def totals(offsets: Sequence[int], size: int) -> list[int]:
    """What zones at these offsets may take together, of `size` bytes: all, what a journal leaves,
    a power of two, or as far as the last of them reaches, if that is of a power of two."""
    last = max(offsets, default=size)
    powers = [SMALLEST << power for power in range(size.bit_length())]
    likely = [size, *(size - power for power in powers), *powers, *(last + each for each in powers)]
    return [total for total in dict.fromkeys(likely) if last < total <= size]


def _flaws(marks: _Marks, best: _Guess) -> int:
    """How many marks and zones of a division do not agree."""
    slots = best.slots()
    offsets = {slot.offset for slot in slots if slot.kind != "ftrace"}
    ends = [slot for slot in best.behind if best.ecc and slot.kind != "ftrace"
            and not marks.ends_in(slot, best.ecc)]
    return len(offsets.symmetric_difference(marks.offsets)) + len(ends) + sum(
        slot.kind == "ftrace" and not marks.traces(slot) for slot in best.behind)


def _ecc_on_grid(region: bytes, marks: _Marks, record: int) -> Ecc | None:
    return zone_ecc.find(region, [Slot("kernel", None, at, record) for at in marks.zones
                                  if at % record == 0])


def _scored(marks: _Marks, grids: Iterable[tuple[int, Ecc | None]],
            total: int) -> Iterator[tuple[_Guess, int]]:
    """Divisions that agree with where the marks are, and how well they explain them."""
    for record, ecc in grids:
        filled = [at for at, zone in marks.zones.items() if zone.used and at % record == 0
                  and zone.slot.kind == "kernel"]
        most = total // record
        least = max(max(filled, default=0) // record + 1, most - MOST_BEHIND)
        explained = _explained(marks, record)
        for count in range(most, least - 1, -1):
            base = explained[bisect_left(marks.offsets, count * record)] - count
            for behind in _behinds(total - count * record, record, count):
                for order in _orders(*behind):
                    slots = list(_in_a_row(count * record, order))
                    yield _Guess(record, count, slots, ecc), \
                        base + _score_behind(marks, slots, ecc)


def _sizes(marks: _Marks) -> list[int]:
    """What the distance of two dump zones may be, the most frequent one first."""
    steps = Counter(b - a for a, b in zip([0, *marks.offsets], marks.offsets, strict=False))
    likely = [step for step, _ in steps.most_common(8) if step >= SMALLEST and step % 2 == 0]
    return [step for step in likely
            if 4 * sum(at % step == 0 for at in marks.zones) >= len(marks.zones)]


def _behinds(room: int, record: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Sizes of console, ftrace and pmsg that leave `count` dump zones of `record` bytes.

    Dump zones are what was asked for, a power of two, or since 4.10 somewhat more; then less than
    two bytes each are left over.
    """
    asked = _power_of_two(record)
    slack = asked - 1 if record == asked else 2 * count - 1
    sums, sizes = _sums(_power_of_two(max(room, 1)))
    for at in reversed(range(bisect_left(sums, room - slack), bisect_right(sums, room))):
        if (count * record + room - sums[at]) // asked == count:
            yield sizes[at]


@cache
def _sums(largest: int) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Sizes of three zones, powers of two or 0, in the order of their sums, which come first."""
    powers = [0, *(1 << bit for bit in range(SMALLEST.bit_length() - 1, largest.bit_length()))]
    sizes = sorted(((a, b, c) for a in powers for b in powers for c in powers
                    if a + b + c < 2 * largest), key=lambda each: (sum(each), each))
    return [sum(each) for each in sizes], sizes


def _explained(marks: _Marks, record: int) -> list[int]:
    """How well dump zones explain the marks, if they reach to the first, second ... mark; what is
    behind them is not explained yet."""
    scores = [sum(_unexplained(zone) for zone in marks.zones.values())]
    for at in marks.offsets:
        zone = marks.zones.get(at)
        better = 0 if at % record else 1
        if zone and not at % record:
            better += _agreement(Slot("kernel", None, at, record), zone) - _unexplained(zone)
        scores.append(scores[-1] + better)
    return scores


def _score_behind(marks: _Marks, slots: Sequence[Slot], ecc: Ecc | None) -> int:
    """What the zones behind the dumps add to that."""
    score = int(len(slots) == 3)        # by default there is one of each
    for slot in slots:
        zone = marks.zones.get(slot.offset)
        if slot.kind == "ftrace":
            score += 5 + marks.traces(slot) if not zone and marks.traces(slot) else -6
        elif zone:
            score += _agreement(slot, zone) - _unexplained(zone)
        else:
            score += 3 if marks.nearly(slot.offset) else -1
        if ecc:
            score += 4 if marks.ends_in(slot, ecc) else -1
    return score


def _ends_in(region: bytes, slot: Slot, ecc: Ecc) -> bool:
    end = slot.offset + slot.size
    return header_parity(region[slot.offset:slot.data], ecc.size) == region[end - ecc.size:end]


def _nearly(region: bytes, offset: int) -> bool:
    """Whether a zone with a damaged header, of which contents do not tell that it is a dump's, is
    at `offset`."""
    sample = region[offset + HEADER_SIZE:offset + HEADER_SIZE + SAMPLE]
    return is_nearly_signed(region, offset) and bool(sample.strip(b"\0\xff")) \
        and not forensics.begins_dump(sample)


def _unexplained(zone: Zone) -> int:
    return -8 if zone.used else -1      # an empty one may be left from an earlier layout


def _agreement(slot: Slot, zone: Zone) -> int:
    if zone.used > slot.size:
        return -8
    if not zone.used:
        return 4
    return 6 if slot.kind == zone.slot.kind else -2
