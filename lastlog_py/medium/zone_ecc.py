"""Error correction of zones: finding out which there is, and putting right what it can.

Source: fs/pstore/ram_core.c (persistent_ram_init_ecc, persistent_ram_ecc_old), kernels 3.4 to 6.12.
Pure: bytes in, bytes out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from math import comb, log2
from typing import NamedTuple

from . import reed_solomon
from .kernel_dump import TEXT
from .persistent_ram import (
    HEADER_SIZE,
    ORDERS,
    SIGNATURES,
    Ecc,
    Slot,
    Zone,
    header_is_blank,
    zone_at,
)
from .reed_solomon import BLOCK

__all__ = ["LARGEST", "Repair", "find", "mend"]

LARGEST = 255 - BLOCK               # parity bytes of a block: more, and it is no code any more
SIZES = (16, *(size for size in range(2, 33) if size != 16))
LOOKED_AT = 4                       # slots that are enough to find the parity size
LOOKED_INTO = 3                     # blocks in each of them
SURE = 32                           # bits of parity that fit by chance in no region
BATCH = 1 << 15                     # blocks that are corrected at once: 4 MiB
MISTAKEN = 9                        # with up to so many parity bytes a block with too many errors
                                    # is often "corrected" into something else


# --- which code it is


def find(region: bytes, slots: Sequence[Slot], said: int = 0) -> Ecc | None:
    """The error correction of a region with zones in `slots`; None: there is none.

    said: the parity size that somebody says it has, which is looked for first; 0: nobody does.
    """
    seen = [slot for slot in slots if slot.kind != "ftrace" and slot.size > 2 * BLOCK
            and slot.offset + slot.size <= len(region)]
    filled = [slot for slot in seen if not _is_empty(region, slot)][:LOOKED_AT]
    empty = [slot for slot in seen if _is_empty(region, slot)][:LOOKED_AT]
    sizes = dict.fromkeys([*([said] if 0 < said <= LARGEST else []), *SIZES])
    codes = [code for size in sizes for code in (Ecc(size), Ecc(size, early=True))
             if size == 16 or not code.early]
    best = _by_clean_words(region, filled or empty, codes)
    if best or not filled:
        return best
    hints = [code for code in codes if code.size == said
             or any(_fits(region, slot, code) for slot in [*empty[:LOOKED_INTO], *filled])]
    lost = [slot for slot in filled if _has_lost_its_header(region, slot)]
    return _by_mended_words(region, (lost or filled)[:LOOKED_INTO], codes if lost else hints, said)


def _is_empty(region: bytes, slot: Slot) -> bool:
    """Whether its header says that it is, or says nothing at all."""
    return header_is_blank(region, slot.offset) \
        or region[slot.offset + 4:slot.offset + HEADER_SIZE] == bytes(8)


def _has_lost_its_header(region: bytes, slot: Slot) -> bool:
    """Whether there is a zone, though its header is not valid: cold memory shows none of this."""
    begins = region[slot.data:slot.data + 4] == b"====" or any(
        sum(a == b for a, b in zip(region[slot.offset:slot.data], signature, strict=False)) > 1
        for signature in SIGNATURES)
    return begins and not any(zone_at(region, slot, order) for order in ORDERS)


def _by_clean_words(region: bytes, slots: Sequence[Slot], codes: Iterable[Ecc]) -> Ecc | None:
    """The code that most slots have words of, if half of them have any."""
    best, most = None, (0, 0)
    for code in codes:
        fits = [count for slot in slots if (count := _fits(region, slot, code))]
        if (len(fits), sum(fits)) > most and 8 * code.size * sum(fits) >= SURE:
            best, most = code, (len(fits), sum(fits))
            if most[0] == len(slots) and most[1] > len(slots):
                break                   # all of them, and data as well as headers
    return best if 2 * most[0] >= len(slots) else None


def _fits(region: bytes, slot: Slot, code: Ecc) -> int:
    """How many of the words that are looked at, the header's and some of data, are the code's."""
    roots = min(code.size, SURE // 8)
    return sum(_is_balanced(data, parity) and reed_solomon.is_codeword(data + parity, roots)
               for data, parity in _words(region, slot, code))


def _words(region: bytes, slot: Slot, code: Ecc) -> Iterator[tuple[bytes, bytes]]:
    """The header, and some blocks of data, with their parity."""
    capacity = code.capacity(slot.size)
    if capacity < BLOCK:
        return
    end, parity = slot.offset + slot.size, slot.data + capacity
    yield region[slot.offset:slot.data], region[end - code.size:end]
    for block in range(min(LOOKED_INTO, capacity // BLOCK)):
        yield (region[slot.data + block * BLOCK:slot.data + (block + 1) * BLOCK],
               region[parity + block * code.size:parity + (block + 1) * code.size])


def _is_balanced(data: bytes, parity: bytes) -> bool:
    """A quick look: 255 of 256 words that are not the code's have no sum of zero.  Blank ones,
    which have, say nothing."""
    return _sum(data) == _sum(parity) and any(data)


def _is_nearly_blank(word: bytes, size: int) -> bool:
    """Whether any code with `size` bytes of parity would correct it into zeros."""
    return len(word.translate(None, b"\0")) <= size // 2


def _sum(data: bytes) -> int:
    """The xor of all bytes of a block."""
    value = int.from_bytes(data, "big")
    for bits in (512, 256, 128, 64, 32, 16, 8):
        value ^= value >> bits
    return value & 0xff


def _by_mended_words(region: bytes, slots: Sequence[Slot], codes: Iterable[Ecc],
                     said: int) -> Ecc | None:
    """The code that can correct what is looked at, where that is no chance.

    Only for regions in which every word is damaged: the code has to be hinted at.
    """
    best, most = None, 0.0
    for code in codes:
        words = [word for slot in slots for word in _words(region, slot, code)
                 if not _is_nearly_blank(b"".join(word), code.size)]
        failed = _failed(words, HEADER_SIZE, code) + _failed(words, BLOCK, code)
        mended = len(words) - failed
        sure = mended * -log2(_chance(code.size)) if words else 0.0
        if 3 * failed <= mended and sure > most \
                and (sure >= SURE or (code.size == said and mended > 1)):
            best, most = code, sure
    return best


def _failed(words: Iterable[tuple[bytes, bytes]], size: int, code: Ecc) -> int:
    """How many of the words with `size` bytes of data are beyond repair."""
    words = [word for word in words if len(word[0]) == size]
    return len(reed_solomon.correct(b"".join(data for data, _ in words),
                                    b"".join(parity for _, parity in words),
                                    code.size, size).failed)


def _chance(size: int) -> float:
    """How likely it is that noise is "corrected": the share of words near enough to a code word."""
    errors = size // 2
    return float(comb(BLOCK + size, errors) * 255 ** errors / 256 ** size)


# --- what it puts right


class Repair(NamedTuple):
    """What error correction made of the data of one zone.  Blocks by their offset in the region."""

    corrected: dict[int, int]   # wrong bytes that were put right, parity included, by block
    failed: list[int]           # blocks with more wrong bytes than that, in order
    doubtful: list[int]         # corrected ones that were text before, and are not now, in order


class _Piece(NamedTuple):
    """Blocks in a row of one zone."""

    zone: int                   # its number in the list
    first: int                  # number of its first block, in the zone
    blocks: int


def mend(region: bytes, zones: Sequence[Zone]) -> tuple[bytes, list[Repair]]:
    """`region` with the used data of `zones` corrected, as the kernel does it in place, and what
    there was to correct in each of them."""
    image = bytearray(region)
    repairs = [Repair({}, [], []) for _ in zones]
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
        repair = repairs[piece.zone]
        if wrong is None:
            repair.failed.append(at)
            continue
        repair.corrected[at] = wrong
        if ecc.size <= MISTAKEN and _is_doubtful(region[at:at + size], now):
            repair.doubtful.append(at)
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
    """Whether a correction put something else into what is nearly all text: then it is none, but
    the kernel does not know."""
    changed = bytes(new for old, new in zip(before, after, strict=True) if old != new)
    return _others(changed) > 0 and 8 * _others(before) < len(before)


def _others(data: bytes) -> int:
    """How many bytes are not of a text."""
    return len(data.translate(None, TEXT))
