"""Error correction of zones: finding out which there is, and putting right what it can.

Source: fs/pstore/ram_core.c (persistent_ram_init_ecc, persistent_ram_ecc_old), kernels 3.4 to 6.12.
Pure: bytes in, bytes out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import xor
from typing import NamedTuple

from . import reed_solomon
from .persistent_ram import HEADER_SIZE, ORDERS, Ecc, Slot, Zone, header_is_blank, zone_at
from .persistent_ram import header_parity as parity_of
from .reed_solomon import BLOCK

__all__ = ["LARGEST", "Repair", "find", "mend"]

LARGEST = 255 - BLOCK               # parity bytes of a block: more, and it is no code any more
SIZES = (16, *(size for size in range(2, 33) if size != 16))
LOOKED_AT = 16                      # slots that are enough to find the parity size
LOOKED_INTO = 3                     # blocks in each of them
SURE = 32                           # bits of parity that fit by chance in no region
BATCH = 1 << 15                     # blocks that are corrected at once: 4 MiB
DOUBTFUL = 9                        # with up to so many parity bytes a block of noise is often
                                    # "corrected" into something else
_NOT_TEXT = bytes(value for value in range(256)
                  if not (32 <= value < 127 or value in b"\t\n\r\x1b"))


# --- which code it is


def find(region: bytes, slots: Sequence[Slot], said: int = 0) -> Ecc | None:
    """The error correction of a region with zones in `slots`; None: there is none.

    said: the parity size that somebody says it has, which is looked for first; 0: nobody does.
    """
    seen = [slot for slot in slots if slot.kind != "ftrace" and slot.size > 2 * BLOCK
            and slot.offset + slot.size <= len(region)]
    filled = [slot for slot in seen if not _is_empty(region, slot)][:LOOKED_AT]
    seen = (filled or seen)[:LOOKED_AT]
    sizes = dict.fromkeys([*([said] if 0 < said <= LARGEST else []), *SIZES])
    best, most = None, (0, 0)
    for ecc in [*map(Ecc, sizes), Ecc(16, early=True)]:
        fits = [count for slot in seen if (count := _fits(region, slot, ecc))]
        if (len(fits), sum(fits)) > most and 8 * ecc.size * sum(fits) >= SURE:
            best, most = ecc, (len(fits), sum(fits))
    if best and 2 * most[0] >= len(seen):
        return best
    return _by_a_mended_header(region, filled, sizes)


def _is_empty(region: bytes, slot: Slot) -> bool:
    """Whether its header says that it is, or says nothing at all."""
    return header_is_blank(region, slot.offset) \
        or region[slot.offset + 4:slot.offset + HEADER_SIZE] == bytes(8)


def _fits(region: bytes, slot: Slot, ecc: Ecc) -> int:
    """How many of the words that are looked at, the header's and some of data, are the code's."""
    capacity = ecc.capacity(slot.size)
    if capacity < BLOCK:
        return 0
    header = region[slot.offset:slot.data]
    end = slot.offset + slot.size
    fits = _is_balanced(header, region[end - ecc.size:end]) \
        and parity_of(header, ecc.size) == region[end - ecc.size:end]
    parity = slot.data + capacity
    words = ((region[slot.data + at * BLOCK:slot.data + (at + 1) * BLOCK],
              region[parity + at * ecc.size:parity + (at + 1) * ecc.size])
             for at in range(min(LOOKED_INTO, capacity // BLOCK)))
    return fits + sum(_is_balanced(data, code) and reed_solomon.encode(data, ecc.size) == code
                      for data, code in words)


def _is_balanced(data: bytes, parity: bytes) -> bool:
    """A quick look: 255 of 256 words that are not the code's have no sum of zero.  Blank ones,
    which have, say nothing."""
    return reduce(xor, data) == reduce(xor, parity) and any(data)


def _by_a_mended_header(region: bytes, slots: Iterable[Slot], sizes: Iterable[int]) -> Ecc | None:
    """The parity that makes a valid header of a damaged one."""
    damaged = [slot for slot in slots
               if not any(zone_at(region, slot, order) for order in ORDERS)]
    for slot in damaged[:LOOKED_INTO]:
        for ecc in map(Ecc, sizes):
            zones = [zone_at(region, slot, order, ecc) for order in ORDERS]
            if any(zone and zone.ecc and not zone.failed for zone in zones):
                return ecc
    return None


# --- what it puts right


class Repair(NamedTuple):
    """What error correction made of the data of one zone.  Blocks by their offset in the region."""

    corrected: dict[int, int]   # wrong bytes that were put right, parity included, by block
    failed: list[int]           # blocks with more wrong bytes than that, in order


class _Piece(NamedTuple):
    """Blocks in a row of one zone."""

    zone: int                   # its number in the list
    first: int                  # number of its first block, in the zone
    blocks: int


def mend(region: bytes, zones: Sequence[Zone]) -> tuple[bytes, list[Repair]]:
    """`region` with the used data of `zones` corrected, as the kernel does it in place, and what
    there was to correct in each of them."""
    image = bytearray(region)
    repairs = [Repair({}, []) for _ in zones]
    for ecc in dict.fromkeys(zone.ecc for zone in zones if zone.ecc):
        left = reed_solomon.MOST_DIRTY
        for batch in _batches(zones, ecc):
            left -= _mend(image, region, zones, batch, ecc, repairs, left)
    return (bytes(image) if any(each.corrected for each in repairs) else region), repairs


def _batches(zones: Sequence[Zone], ecc: Ecc) -> Iterator[list[_Piece]]:
    """The used blocks of the zones with this `ecc`, a few megabytes at a time."""
    batch: list[_Piece] = []
    room = BATCH
    for number, zone in enumerate(zones):
        first, end = 0, -(-zone.used // BLOCK) if zone.ecc == ecc else 0
        while first < end:
            batch.append(_Piece(number, first, min(end - first, room)))
            first += batch[-1].blocks
            room -= batch[-1].blocks
            if not room:
                yield batch
                batch, room = [], BATCH
    yield batch


def _mend(image: bytearray, region: bytes, zones: Sequence[Zone], batch: list[_Piece], ecc: Ecc,
          repairs: list[Repair], most: int) -> int:
    """Correct the blocks of `batch` in `image`, and count.  Returns how many were not clean."""
    data = b"".join(_data(region, zones[piece.zone], piece) for piece in batch)
    parity = b"".join(_parity(region, zones[piece.zone], piece) for piece in batch)
    result = reed_solomon.correct(data, parity, ecc.size, most=most)
    ends = _sums(piece.blocks for piece in batch)
    for number in sorted([*result.corrected, *result.failed]):
        piece = batch[bisect_right(ends, number)]
        zone = zones[piece.zone]
        block = number - (ends[bisect_right(ends, number)] - piece.blocks) + piece.first
        at, size = _block(zone, block)
        now = result.data[(number + 1) * BLOCK - size:(number + 1) * BLOCK]
        wrong = result.corrected.get(number)
        if wrong is None or (ecc.size <= DOUBTFUL and _is_doubtful(region[at:at + size], now)):
            repairs[piece.zone].failed.append(at)
        else:
            repairs[piece.zone].corrected[at] = wrong
            image[at:at + size] = now
    return len(result.corrected) + len(result.failed)


def _block(zone: Zone, block: int) -> tuple[int, int]:
    """Offset in the region and size of a block; the last one of a zone may be short."""
    start = block * BLOCK
    return zone.slot.data + start, min(BLOCK, zone.slot.capacity(zone.ecc) - start)


def _data(region: bytes, zone: Zone, piece: _Piece) -> bytes:
    """The blocks, a short one with zeros in front."""
    start, _ = _block(zone, piece.first)
    last, size = _block(zone, piece.first + piece.blocks - 1)
    return region[start:last] + region[last:last + size].rjust(BLOCK, b"\0")


def _parity(region: bytes, zone: Zone, piece: _Piece) -> bytes:
    assert zone.ecc
    size = zone.ecc.size
    start = zone.slot.data + zone.slot.capacity(zone.ecc) + piece.first * size
    return region[start:start + piece.blocks * size]


def _sums(counts: Iterable[int]) -> list[int]:
    total, sums = 0, []
    for count in counts:
        total += count
        sums.append(total)
    return sums


def _is_doubtful(before: bytes, after: bytes) -> bool:
    """Whether a correction put something else into what is text apart from it: then it is none."""
    changed = bytes(new for old, new in zip(before, after, strict=True) if old != new)
    kept = bytes(new for old, new in zip(before, after, strict=True) if old == new)
    return not _holds_others(kept) and _holds_others(changed)


def _holds_others(data: bytes) -> bool:
    return len(data.translate(None, _NOT_TEXT)) < len(data)
