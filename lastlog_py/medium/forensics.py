"""Records that no zone header leads to: it was damaged, the kernel threw the zone away, or it was
emptied.  The bytes stay where they were.

Source: fs/pstore/ram_core.c (persistent_ram_post_init, persistent_ram_zap): both change the header
only.  Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from . import kernel_dump, zone_ecc
from .persistent_ram import HEADER_SIZE, ORDERS, Ecc, Slot, Zone, zone_at
from .reed_solomon import BLOCK
from .zone_ecc import Repair

__all__ = ["Lost", "find", "lost_headers"]

MOST_LOST = 1024                    # dumps; more are noise, or made to keep us busy
LEAST_TEXT = 64                     # bytes that are taken for what is left of a console
CONSOLE_LINE = re.compile(rb"(?m)^\[ *(\d+\.\d{6})\]")

DAMAGED = "recovered: the header of its zone is damaged"
EMPTIED = ("recovered: the header of its zone says that it is empty, because somebody erased it, "
           "or the kernel threw it away")


class Lost(NamedTuple):
    """Something that was found without a zone's header."""

    zone: Zone                  # as if it had one; it begins where a header would be
    body: bytes
    erased: bool                # a whole header says that there is nothing
    repair: Repair | None       # what error correction did; None: there is none

    @property
    def why(self) -> str:
        return EMPTIED if self.erased else DAMAGED


def find(image: bytes, zones: Sequence[Zone], slots: Sequence[Slot], ecc: Ecc | None,
         recover: bool) -> Iterator[Lost]:
    """What stands in the region `image` outside the used data of `zones`.

    slots: where zones should be; those without a zone have damaged headers.  recover: also what
    is behind headers that say "empty"; they may be those of an earlier layout.
    """
    image, repairs = _mended(image, zones, slots, ecc, recover)
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
        used = kernel_dump.length(image, match, end)
        if used:
            free = at + used
            zone = Zone(Slot("kernel", None, at - HEADER_SIZE, HEADER_SIZE + used), 0, used)
            yield Lost(zone, image[at:free], erased,
                       _within(repairs.get(slot.offset) if slot else None, at, free))
    yield from _texts(image, zones, slots, ecc, recover)


def lost_headers(region: bytes, zones: Sequence[Zone]) -> list[int]:
    """Offsets of zone headers that only a dump behind them shows."""
    return [match.start() - HEADER_SIZE for match in _outside(region, zones)
            if match.start() >= HEADER_SIZE and kernel_dump.is_header(region, match)]


def _outside(image: bytes, zones: Iterable[Zone]) -> Iterator[re.Match[bytes]]:
    """The header lines of dumps outside the used data of `zones`."""
    ordered = sorted(zones, key=lambda zone: zone.slot.offset)
    starts = [zone.slot.offset for zone in ordered]
    tries = 0
    for match in kernel_dump.lines(image):
        before = bisect_right(starts, match.start()) - 1
        if before >= 0 and match.start() < ordered[before].end:
            continue
        tries += 1
        if tries > MOST_LOST:
            return
        yield match


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

    Whatever the parity is still right for is looked at: it is where the first block is.
    """
    if not ecc:
        return image, {}
    with_header = {zone.slot.offset: zone for zone in zones}
    wanted = [slot for slot in slots if slot.kind == "kernel"
              and slot.offset + slot.size <= len(image) and slot.capacity(ecc) > 0
              and (slot.offset not in with_header
                   or (recover and not with_header[slot.offset].used))]
    _, first = zone_ecc.mend(image, [Zone(slot, 0, min(BLOCK, slot.capacity(ecc)), ecc)
                                     for slot in wanted])
    whole = [Zone(slot, 0, slot.capacity(ecc), ecc)
             for slot, repair in zip(wanted, first, strict=True)
             if not repair.failed and any(image[slot.data:slot.data + BLOCK])]
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
        if body:
            yield Lost(Zone(slot, 0, len(body)), body, zone is not None, None)


def _ring_text(data: bytes) -> bytes:
    """The text in a ring whose start is not known; b"" if there is none.

    A ring that never was full ends at its first blank byte.  A full one begins where the times of
    its lines go back; what a program wrote has none.
    """
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
