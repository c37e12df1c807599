"""What happens to a region between the crash and the next boot: bytes change, sizes shrink.

Positions are those of FORMATS.md: a zone of ramoops is a header of 12 bytes, data in blocks of
128, their parity, and the header's parity last (fs/pstore/ram_core.c).
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Damage", "Zone", "at", "block", "cut", "fill", "header", "header_parity", "join",
           "noise", "nothing", "parity", "spread"]

Damage = Callable[[bytes], bytes]

HEADER, BLOCK = 12, 128


class Zone(NamedTuple):
    """Where a zone is in the region; ecc: parity bytes a block."""

    offset: int
    size: int
    ecc: int = 0

    @property
    def blocks(self) -> int:
        """How many blocks of data it has."""
        return -(-(self.size - HEADER - self.ecc) // (BLOCK + self.ecc))

    @property
    def capacity(self) -> int:
        """Bytes of data."""
        return self.size - HEADER - (self.blocks + 1) * self.ecc


def nothing(region: bytes) -> bytes:
    """No damage."""
    return region


def join(*damages: Damage) -> Damage:
    """One after the other."""
    def change(region: bytes) -> bytes:
        for damage in damages:
            region = damage(region)
        return region
    return change


def at(offset: int, count: int, within: int | None = None) -> Damage:
    """`count` bytes of the `within` (None: `count`) from `offset` on get another value."""
    def change(region: bytes) -> bytes:
        chance = random.Random(f"{offset} {count}")
        changed = bytearray(region)
        for each in chance.sample(range(offset, offset + (within or count)), count):
            changed[each] ^= chance.randint(1, 255)
        return bytes(changed)
    return change


def header(zone: Zone, count: int) -> Damage:
    """Bytes of the zone's header."""
    return at(zone.offset, count, HEADER)


def header_parity(zone: Zone, count: int) -> Damage:
    """Bytes of the header's parity."""
    return at(zone.offset + zone.size - zone.ecc, count, zone.ecc)


def block(zone: Zone, number: int, count: int) -> Damage:
    """Bytes of a block of data."""
    start = HEADER + number * BLOCK
    return at(zone.offset + start, count, min(BLOCK, HEADER + zone.capacity - start))


def parity(zone: Zone, number: int, count: int) -> Damage:
    """Bytes of a block's parity, all of them at most."""
    return at(zone.offset + HEADER + zone.capacity + number * zone.ecc, min(count, zone.ecc),
              zone.ecc)


def spread(zone: Zone, share: float) -> Damage:
    """Single bits all over the zone, as decaying memory has them: `share` of its bytes."""
    def change(region: bytes) -> bytes:
        chance = random.Random(str(share))
        changed = bytearray(region)
        for each in range(zone.offset, zone.offset + zone.size):
            if chance.random() < share:
                changed[each] ^= 1 << chance.randrange(8)
        return bytes(changed)
    return change


def noise(size: int) -> bytes:
    """Bytes as memory may hold them that nobody has written."""
    return random.Random(size).randbytes(size)


def fill(offset: int, count: int, value: int) -> Damage:
    """A run of one value, as an overwritten page has it."""
    return lambda region: region[:offset] + bytes([value]) * count + region[offset + count:]


def cut(zone: Zone, size: int) -> Damage:
    """The zone claims to hold `size` bytes only (little-endian, without ECC)."""
    start = zone.offset + 4
    return lambda region: region[:start] + struct.pack("<II", size, size) + region[start + 8:]
