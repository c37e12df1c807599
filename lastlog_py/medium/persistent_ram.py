"""One zone of persistent RAM: its header, the ring of data behind it, and where its parity is.

Source: fs/pstore/ram_core.c (struct persistent_ram_buffer, persistent_ram_init_ecc,
persistent_ram_post_init, persistent_ram_save_old), kernels 3.4 to 6.12.  All integers are in the
crashed kernel's own byte order.  Pure: bytes in, zones out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from heapq import merge
from typing import NamedTuple

from . import reed_solomon
from .log_text import is_text
from .reed_solomon import BLOCK

__all__ = ["HEADER_SIZE", "ORDERS", "SIGNATURES", "Ecc", "Slot", "Zone", "empty_header",
           "header_is_blank", "header_parity", "is_nearly_signed", "nearly_zone_at",
           "signatures", "straightened", "zone_at"]

HEADER_SIZE = 12                    # u32 sig, s32 start, s32 size
SIGNATURE = 0x43474244              # "DBGC" in little-endian memory
ORDERS = ("little", "big")
LOST_BITS = 3                       # of a header, by which it is still known
SAMPLE = 64                         # bytes that tell text from anything else
SIGNATURES = (SIGNATURE.to_bytes(4, "little"), SIGNATURE.to_bytes(4, "big"))    # as in ORDERS
# Each, with start and size below 64 MiB: memory full of signatures is passed over quickly.
PATTERNS = (rb"(?s)DBGC(?=.{3}[\0-\3].{3}[\0-\3])", rb"(?s)CGBD(?=[\0-\3].{3}[\0-\3].{3})")


class Ecc(NamedTuple):
    """Error correction of a zone: which code, and where its parity is.

    The data's parity stands behind the data, block by block, and the header's behind that, at
    the zone's end.
    """

    size: int                   # parity bytes for the header, and for each block of data
    early: bool = False         # counted as 3.4 and 3.5 did: as if the parity took no room

    def blocks(self, zone_size: int) -> int:
        """How many blocks of data the zone has; the last one may be short."""
        room = zone_size - HEADER_SIZE
        if self.early:
            return -(-room // BLOCK)
        return -(-(room - self.size) // (BLOCK + self.size))

    def capacity(self, zone_size: int) -> int:
        """Bytes of data that the zone has room for."""
        return zone_size - HEADER_SIZE - (self.blocks(zone_size) + 1) * self.size


class Slot(NamedTuple):
    """Where a layout says that a zone is."""

    kind: str                   # "kernel" | "console" | "ftrace" | "pmsg" | "?"
    number: int | None          # among the zones of its kind, from 0; None: not known
    offset: int                 # bytes from the region's start
    size: int                   # bytes, header and parity included

    @property
    def data(self) -> int:
        """Where its data begins, in bytes from the region's start."""
        return self.offset + HEADER_SIZE

    def capacity(self, ecc: Ecc | None) -> int:
        """Bytes of data that it has room for."""
        return ecc.capacity(self.size) if ecc else self.size - HEADER_SIZE


class Zone(NamedTuple):
    """A zone with a valid header."""

    slot: Slot
    start: int                  # where in the data the oldest byte is
    used: int                   # valid bytes of data
    ecc: Ecc | None = None      # None: it has no error correction
    corrected: int = 0          # wrong bytes of the header and its parity that were put right
    failed: bool = False        # the header has more wrong bytes than that, but looks valid
    damaged: bool = False       # the header lost some bits, and says nearly what it did

    @property
    def end(self) -> int:
        """Where its used data ends, in bytes from the region's start."""
        return self.slot.data + self.used

    def body(self, region: bytes) -> bytes:
        """The zone's data in the order it was written (persistent_ram_save_old)."""
        data = self.slot.data
        return region[data + self.start:data + self.used] + region[data:data + self.start]


def zone_at(region: bytes, slot: Slot, order: str, ecc: Ecc | None = None) -> Zone | None:
    """The zone in `slot`, if its header is valid there (persistent_ram_post_init).

    order: the crashed kernel's byte order, one of ORDERS.  ecc: what the header is corrected with
    first; a region that ends within the zone has lost the parity.
    """
    size = min(slot.size, len(region) - slot.offset)
    header = region[slot.offset:slot.offset + HEADER_SIZE]
    if len(header) < HEADER_SIZE:
        return None
    corrected: int | None = 0
    if ecc and (size < slot.size or ecc.capacity(size) <= 0):
        ecc = None
    if ecc:
        end = slot.offset + size
        header, corrected = _mended(header, region[end - ecc.size:end])
    signature, start, used = _numbers(header, order)
    if not _is_signature(signature, slot.kind) \
            or not start <= used <= slot._replace(size=size).capacity(ecc):
        return None
    return Zone(slot, start, used, ecc, corrected or 0, corrected is None)


def nearly_zone_at(region: bytes, slot: Slot, order: str, ecc: Ecc | None = None) -> Zone | None:
    """The zone with something in it in `slot`, if its header is valid but for some bits.

    Until a ring is full, start and size are the same (buffer_start_add, buffer_size_add); full, the
    size is the capacity.  That hardly happens by chance.
    """
    header = region[slot.offset:slot.data]
    if len(header) < HEADER_SIZE:
        return None
    signature, start, used = _numbers(header, order)
    capacity = slot.capacity(ecc)
    lost = _lost_bits(signature, slot.kind)
    if lost > LOST_BITS:
        return None
    if 0 < used <= capacity and (start == used or (used == capacity and start < used)):
        return Zone(slot, start, used, ecc, damaged=True)
    both = next((size for size in (start | used, start & used) if 0 < size <= capacity), 0)
    if both and (start ^ used).bit_count() + lost <= LOST_BITS:
        return Zone(slot, both, both, ecc, damaged=True)
    return None


def is_nearly_signed(region: bytes, offset: int) -> bool:
    """Whether a plain signature stands at `offset`, but for some bits."""
    word = int.from_bytes(region[offset:offset + 4], "big")
    return any((word ^ int.from_bytes(each, "big")).bit_count() <= LOST_BITS
               for each in SIGNATURES)


def _lost_bits(signature: int, kind: str) -> int:
    """How many bits of a signature are wrong; of ftrace's, the three lowest bits of the major
    version and all below it may be any."""
    wrong = signature ^ SIGNATURE
    return (wrong >> 19 if kind == "ftrace" else wrong).bit_count()


def straightened(region: bytes, zone: Zone) -> Zone:
    """`zone`, or if its start and size are not the same for one bit, though it is not full, as it
    was before it lost or gained that bit.

    A start of 0 tells that it was empty.  Else what is between the two tells which is right.
    """
    start, used = zone.start, zone.used
    if used == zone.slot.capacity(zone.ecc) or (start ^ used).bit_count() != 1:
        return zone
    before = region[max(zone.slot.data, zone.slot.data + start - SAMPLE):zone.slot.data + start]
    between = region[zone.slot.data + start:zone.end]
    ends = not start or not between.strip(b"\0\xff") \
        or (is_text(before) and not is_text(between[:SAMPLE]))
    right = start if ends else used
    return zone._replace(start=right, used=right, damaged=True)


def header_parity(header: bytes, size: int) -> bytes:
    """The parity of a zone's header with `size` bytes of it."""
    return _parity(header, size)


def empty_header(header: bytes) -> bytes:
    """`header` as it is once its zone is emptied: the signature stays (persistent_ram_zap)."""
    return header[:4] + bytes(8)


@lru_cache(maxsize=256)             # most zones are empty and have the same header
def _parity(header: bytes, size: int) -> bytes:
    return reed_solomon.encode(header, size)


@lru_cache(maxsize=256)
def _mended(header: bytes, parity: bytes) -> tuple[bytes, int | None]:
    """The header, corrected, and how many bytes were wrong; None: too many, so it is as it was."""
    if _parity(header, len(parity)) == parity:
        return header, 0
    result = reed_solomon.correct(header, parity, len(parity), HEADER_SIZE)
    return result.data, result.corrected.get(0)


def _numbers(header: bytes, order: str) -> tuple[int, int, int]:
    """signature, start and size.  As unsigned ones: what is negative is larger than any zone."""
    signature, start, size = struct.unpack("<III" if order == "little" else ">III", header)
    return signature, start, size


def _is_signature(signature: int, kind: str) -> bool:
    """A zone's signature is plain, but for ftrace: there it is xored with LINUX_VERSION_CODE."""
    version = signature ^ SIGNATURE
    return 3 <= version >> 16 <= 9 if kind == "ftrace" else version == 0


def header_is_blank(region: bytes, offset: int) -> bool:
    """Whether no header was ever written at `offset`, or it was wiped."""
    header = region[offset:offset + HEADER_SIZE]
    return header in (bytes(HEADER_SIZE), b"\xff" * HEADER_SIZE)


def signatures(region: bytes) -> Iterator[tuple[int, str]]:
    """Where a plain signature stands before numbers that a zone may have, and in which byte order;
    in order of the offsets.  At odd ones too: zones are of even sizes, but a dump of memory may
    begin anywhere."""
    return merge(*(_places(region, *each) for each in zip(PATTERNS, ORDERS, strict=True)))


def _places(region: bytes, pattern: bytes, order: str) -> Iterator[tuple[int, str]]:
    for match in re.finditer(pattern, region):
        yield match.start(), order
