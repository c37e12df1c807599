"""Records that no zone header leads to: it was damaged, the kernel threw the zone away, or it was
emptied.  The bytes stay where they were.

Source: fs/pstore/ram_core.c (persistent_ram_post_init, persistent_ram_zap): both change the header
only.  Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

from . import kernel_dump, zone_ecc
from .allowance import Allowance
from .compression import TITLE, unpack
from .marks import HEAD, PAGE, SEED, is_near, may_begin
from .persistent_ram import HEADER_SIZE, ORDERS, Ecc, Slot, Zone, zone_at
from .reed_solomon import BLOCK
from .zone_ecc import Repair

__all__ = ["DAMAGED", "Lost", "as_it_looks", "beginnings", "begins_dump", "find", "is_held",
           "lost_headers", "stand_before"]

MOST_LOST = 1024                    # dumps; more are noise, or made to keep us busy
LEAST_TEXT = 64                     # bytes that are taken for what is left of a console
CONSOLE_LINE = re.compile(rb"(?m)^\[ *(\d+\.\d{6})\]")

CACHE_LINE = 64                     # bytes that a reset may lose at a zone's beginning
CACHE_LINES = (16, 32, 36, 64)
BLANKS = (bytes(128), b"\xff" * 128)
MOST_PLACES = 64                    # behind blank memory that are looked at
MOST_MISSED = 4                     # of these, in which nothing is found: each takes 20 ms

SAMPLE = 64                         # bytes in which a dump's title is
MOST_BEFORE = 16                    # places before the zones in which others are looked for

PROBED = 4                          # blocks, of which one that parity fits shows a zone
PARTS = 8                           # into which a place for zones without headers is divided
MOST_TORN = 512                     # zones without a header line that are looked into
MOST_RESYNCED = 4                   # zones; each takes a fraction of a second

DAMAGED = "recovered: the header of its zone is damaged"
EMPTIED = ("recovered: the header of its zone says that it is empty, because somebody erased it, "
           "or the kernel threw it away")
HEADLESS = ("recovered: the zone holds data, but its header and the line with the dump's time are "
            "lost, as the first bytes of a zone are when a reset loses a line of the CPU's cache")


class Lost(NamedTuple):
    """Something that was found without a zone's header."""

    zone: Zone                  # as if it had one; it begins where a header would be
    body: bytes
    erased: bool                # a whole header says that there is nothing
    repair: Repair | None       # what error correction did; None: there is none
    headless: bool = False      # the line with the dump's time is lost, too
    packed: bool = False        # and it is compressed

    @property
    def why(self) -> str:
        if self.headless and not self.erased:
            return HEADLESS
        return EMPTIED if self.erased else DAMAGED


def find(image: bytes, zones: Sequence[Zone], slots: Sequence[Slot], ecc: Ecc | None,
         recover: bool, allowance: Allowance) -> Iterator[Lost]:
    """What stands in the region `image` outside the used data of `zones`.

    slots: where zones should be; those without a zone have damaged headers.  recover: also what
    is behind headers that say "empty"; they may be those of an earlier layout.
    """
    image, repairs = _mended(image, zones, slots, ecc, recover)
    shown: list[int] = []               # where those that were found begin
    free = 0                            # where the last one found ends
    taken = sorted((zone.slot for zone in zones), key=lambda slot: slot.offset)
    starts = [slot.offset for slot in taken]
    slots = sorted(slots, key=lambda slot: slot.offset)
    for match in _outside(image, zones):
        at = match.start()
        erased = _slot_at(taken, at) is not None or _is_emptied(image, at - HEADER_SIZE)
        if at < free or (erased and not recover):
            continue
        slot = _slot_at(slots, at)
        end = _next(starts, at, len(image))
        if slot and ecc:
            end = min(end, slot.data + slot.capacity(ecc))
        used = kernel_dump.length(image, match, end, allowance)
        if used:
            free = at + used
            shown.append(at)
            zone = Zone(Slot("kernel", None, at - HEADER_SIZE, HEADER_SIZE + used), 0, used)
            yield Lost(zone, image[at:free], erased,
                       _within(repairs.get(slot.offset) if slot else None, at, free))
    yield from _headless(image, zones, slots, ecc, recover, shown, repairs, allowance)
    yield from _texts(image, zones, slots, ecc, recover)


def lost_headers(region: bytes, zones: Sequence[Zone]) -> list[int]:
    """Offsets of zone headers that only a dump behind them shows."""
    return [match.start() - HEADER_SIZE for match in _outside(region, zones)
            if match.start() >= HEADER_SIZE and kernel_dump.is_header(region, match)]


def beginnings(region: bytes) -> list[Slot]:
    """Where dumps and consoles begin in a region in which no header is left: something stands
    behind blank memory, or at the region's start, that goes on as they do.

    A file without a blank stretch is no memory.
    """
    found: list[Slot] = []
    if _blank(region, 0) < 0:
        return []
    missed = 0
    for first, end in pairwise([*islice(_stretches(region), MOST_PLACES), len(region)]):
        slot = _begun(region, first, end)
        found += [slot] if slot else []
        missed += slot is None
        if missed > MOST_MISSED:
            break
    return found


def _begun(region: bytes, first: int, end: int) -> Slot | None:
    """The zone that begins with what stands at `first`, up to `end`; None: it is no zone."""
    if may_begin(region[first:first + HEAD]):
        return None
    return next((Slot(kind, 0, at, end - at) for at in _starts(first)
                 if (kind := _beginning(region, at, end))), None)


def _stretches(region: bytes) -> Iterator[int]:
    """Where something stands behind blank memory, or at the start."""
    held, end = re.compile(rb"[^\0\xff]"), 0
    while end >= 0 and (first := held.search(region, end)):
        yield first.start()
        end = _blank(region, first.start())


def _blank(region: bytes, at: int) -> int:
    """Where the next blank memory is; -1: nowhere."""
    places = [place for blank in BLANKS if (place := region.find(blank, at)) >= 0]
    return min(places, default=-1)


def _starts(first: int) -> list[int]:
    """Where a zone may start whose first byte that is not blank is at `first`: the driver puts the
    first one at a page's start, and the others mostly."""
    lines = (first - size & ~7 for size in (0, *CACHE_LINES))
    return [at for at in dict.fromkeys((first & ~(PAGE - 1), first & ~1023, *lines))
            if 0 <= first - at < PAGE and at >= 0]


def as_it_looks(region: bytes, slot: Slot) -> Slot:
    """`slot`, of a kind that is not known, with the kind of what begins in it."""
    return slot._replace(kind=_beginning(region, slot.offset, slot.offset + slot.size)
                         or slot.kind)


def _beginning(region: bytes, at: int, end: int) -> str | None:
    """What begins at `at`: "kernel", "console"; None: nothing of ramoops', as it seems."""
    if may_begin(region[at:at + HEAD]):
        return None
    data = region[at + HEADER_SIZE:min(end, at + HEADER_SIZE + 2 * kernel_dump.BEGINNING)]
    if kernel_dump.torn_body(data):
        return "kernel"
    sample = data[CACHE_LINE:]
    lines = sample.count(b"\n")
    return "console" if lines > 1 and 2 * len(CONSOLE_LINE.findall(sample)) > lines else None


def begins_dump(body: bytes) -> bool:
    """Whether a zone's data begins as a dump does.  Its first line may have lost bits: then what it
    was, or the title behind it, tells."""
    return is_near(int.from_bytes(body[:4], "big"), SEED) \
        or re.search(TITLE, body[:SAMPLE]) is not None


def stand_before(region: bytes, first: Slot) -> bool:
    """Whether zones without a header stand before the `first` one, if the region begins with them:
    of its size, each with what is left of a dump in it."""
    places = range(first.offset - first.size, -1, -first.size) if first.size > 0 else range(0)
    return first.offset % max(first.size, 1) == 0 and any(
        _is_left(region, first._replace(offset=at)) for at in places[:MOST_BEFORE])


def _is_left(region: bytes, slot: Slot) -> bool:
    """Whether the slot's place holds a dump, though no header; of a compressed one that lost its
    first bytes only that it begins behind them is seen."""
    end = slot.offset + slot.size
    behind = region[slot.offset + CACHE_LINE:min(end, slot.offset + 2 * CACHE_LINE)]
    lost = not region[slot.offset:slot.offset + CACHE_LINE // 2].strip(b"\0\xff")
    return begins_dump(region[slot.data:slot.data + SAMPLE]) \
        or _beginning(region, slot.offset, end) is not None \
        or (lost and 8 * len(behind.translate(None, b"\0\xff")) > 7 * CACHE_LINE)


def _outside(image: bytes, zones: Iterable[Zone]) -> Iterator[re.Match[bytes]]:
    """The header lines of dumps outside the used data of `zones`."""
    return islice((match for start, end in _gaps(zones, len(image))
                   for match in kernel_dump.lines(image, start, end)), MOST_LOST)


def _gaps(zones: Iterable[Zone], size: int) -> Iterator[tuple[int, int]]:
    """Where a region of `size` bytes has no used data: offset and end."""
    at = 0
    for zone in sorted(zones, key=lambda zone: zone.slot.offset):
        if zone.used and zone.slot.offset > at:
            yield at, zone.slot.offset
        at = max(at, zone.end if zone.used else at)
    yield at, size


def _next(starts: Sequence[int], at: int, end: int) -> int:
    """The first of the ordered `starts` behind `at`; `end` if there is none."""
    behind = bisect_right(starts, at)
    return starts[behind] if behind < len(starts) else end


def _slot_at(slots: Sequence[Slot], at: int) -> Slot | None:
    """Which of the ordered `slots` the byte at `at` is in."""
    before = bisect_right(slots, at, key=lambda slot: slot.offset) - 1
    if before < 0 or at >= slots[before].offset + slots[before].size:
        return None
    return slots[before]


def _is_emptied(image: bytes, offset: int) -> bool:
    """Whether there is a header at `offset` that says "empty", of an earlier layout."""
    slot = Slot("?", None, offset, len(image) - offset)
    found = (zone_at(image, slot, order) for order in ORDERS) if offset >= 0 else ()
    return any(zone is not None and zone.used == 0 for zone in found)


# --- with error correction


def _mended(image: bytes, zones: Sequence[Zone], slots: Sequence[Slot], ecc: Ecc | None,
            recover: bool) -> tuple[bytes, dict[int, Repair]]:
    """`image` with the data behind lost headers corrected too, and the repairs by zone.

    Whatever the parity is still right for is looked at: it is for one of the first blocks.
    """
    if not ecc:
        return image, {}
    with_header = {zone.slot.offset: zone for zone in zones}
    wanted = [slot for slot in slots if slot.kind == "kernel"
              and slot.offset + slot.size <= len(image) and slot.capacity(ecc) > 0
              and (slot.offset not in with_header
                   or (recover and not with_header[slot.offset].used))]
    probes = [Zone(slot, 0, min(PROBED * BLOCK, slot.capacity(ecc)), ecc) for slot in wanted]
    _, first = zone_ecc.mend(image, probes)
    whole = [Zone(probe.slot, 0, probe.slot.capacity(ecc), ecc)
             for probe, repair in zip(probes, first, strict=True)
             if BLOCK * len(repair.failed) < probe.used and any(image[probe.slot.data:probe.end])]
    image, repairs = zone_ecc.mend(image, whole)
    return image, {zone.slot.offset: repair for zone, repair in zip(whole, repairs, strict=True)}


def _within(repair: Repair | None, start: int, end: int) -> Repair | None:
    """Of a zone's blocks those that reach into start..end: others were never written, maybe."""
    if repair is None:
        return None
    corrected, failed, doubtful = repair
    return Repair({at: count for at, count in corrected.items() if start - BLOCK < at < end},
                  [at for at in failed if start - BLOCK < at < end],
                  [at for at in doubtful if start - BLOCK < at < end])


# --- without the header line


def is_held(image: bytes, slot: Slot, ecc: Ecc | None) -> bool:
    """Whether anything but blank memory stands in the slot's place for data."""
    data = image[slot.data:slot.data + max(0, slot.capacity(ecc))]
    return bool(data.translate(None, b"\0\xff"))


def _headless(image: bytes, zones: Iterable[Zone], slots: Iterable[Slot], ecc: Ecc | None,
              recover: bool, shown: Sequence[int], repairs: dict[int, Repair],
              allowance: Allowance) -> Iterator[Lost]:
    """The dumps in zones whose first bytes are lost, the "====" line among them.

    A reset loses the line of the cache that was written last: a MIPS router's first 32 or 64 bytes
    of a zone, which the header's new size was in.  Nothing tells the time of such a dump.
    """
    with_header = {zone.slot.offset: zone for zone in zones}
    resynced = 0 if with_header else MOST_RESYNCED
    tried = 0
    for slot in slots:
        zone = with_header.get(slot.offset)
        if slot.kind != "kernel" or (zone and (zone.used or not recover)) or not is_held(
                image, slot, ecc) \
                or bisect_right(shown, slot.offset + slot.size) > bisect_right(shown, slot.offset):
            continue
        tried += 1
        if tried > MOST_TORN:
            return
        found = list(_torn(image, slot, ecc, zone is None, allowance))
        if not found and not zone and resynced < MOST_RESYNCED:
            resynced += 1
            found = _resynced(image, slot, ecc, allowance)
        for at, start, end, packed in found:
            place = Slot("kernel", slot.number if at == slot.offset else None, at, end - at)
            yield Lost(Zone(place, 0, end - at - HEADER_SIZE), image[start:end], zone is not None,
                       _within(repairs.get(slot.offset), start, end), True, packed)


class _Torn(NamedTuple):
    """A dump whose beginning is lost.  Offsets in the region."""

    zone: int
    start: int                  # where what can be read begins
    end: int
    packed: bool


def _torn(image: bytes, slot: Slot, ecc: Ecc | None, whole: bool,
          allowance: Allowance) -> Iterator[_Torn]:
    """What is in the slot's place: one dump, or, if it was taken for one zone because the headers
    of several are lost, some.

    whole: look for these, too; parity tells where a zone begins.
    """
    end = min(len(image), slot.data + max(0, slot.capacity(ecc)))
    step = max(1024, slot.size // PARTS & ~1)
    free = slot.offset
    for at in [slot.offset, *(range(slot.offset + step, end, step) if whole and not ecc else ())]:
        data = at + HEADER_SIZE
        sample = image[data:min(end, data + 2 * kernel_dump.BEGINNING)]
        beginning = kernel_dump.torn_body(sample, allowance) if at >= free and sample else None
        if beginning:
            start, packed = data + beginning[0], beginning[1]
            free = start + unpack(image[start:end], kernel_dump.MOST_TEXT, allowance).used \
                if packed else kernel_dump.text_end(image, start, end)
            yield _Torn(at, start, free, packed)


def _resynced(image: bytes, slot: Slot, ecc: Ecc | None, allowance: Allowance) -> list[_Torn]:
    """The same where the beginning of the compressed body is lost as well."""
    start = slot.data + kernel_dump.LONGEST_LINE
    read = unpack(image[start:slot.data + slot.capacity(ecc)], kernel_dump.MOST_TEXT,
                  allowance)
    if read.algorithm != "deflate" or not read.torn:
        return []
    return [_Torn(slot.offset, start, start + read.used, True)]


# --- console and pmsg


def _texts(image: bytes, zones: Iterable[Zone], slots: Iterable[Slot], ecc: Ecc | None,
           recover: bool) -> Iterator[Lost]:
    """The text in console and pmsg zones whose header is damaged, or says "empty"."""
    with_header = {zone.slot.offset: zone for zone in zones}
    for slot in slots:
        zone = with_header.get(slot.offset)
        if slot.kind not in ("console", "pmsg") or (zone and (zone.used or not recover)):
            continue
        body = _ring_text(image[slot.data:slot.data + max(0, slot.capacity(ecc))])
        if body and not begins_dump(body):      # a dump there is shown already
            yield Lost(Zone(slot, 0, len(body)), body, zone is not None, None)


def _ring_text(data: bytes) -> bytes:
    """The text in a ring whose start is not known; b"" if there is none.

    A ring that never was full ends at its first blank byte.  A full one begins where the times of
    its lines go back; what a program wrote has none.
    """
    end = re.search(rb"[\0\xff]", data)
    text = data[:end.start()] if end else data
    if not text and end:
        data = data[CACHE_LINE - HEADER_SIZE:]      # a reset lost the first bytes
        end = re.search(rb"[\0\xff]", data)
        text = data[:end.start()] if end else data
    if len(text) < LEAST_TEXT or len(text.translate(None, kernel_dump.TEXT)) * 10 > len(text):
        return b""
    before = 0.0
    for line in CONSOLE_LINE.finditer(text):
        time = float(line[1])
        if time < before and not end:
            return text[line.start():] + text[:line.start()]
        before = time
    return text
