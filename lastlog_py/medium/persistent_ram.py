"""One zone of persistent RAM: its header, and the ring of data behind it.

Source: fs/pstore/ram_core.c (struct persistent_ram_buffer, persistent_ram_post_init,
persistent_ram_save_old), kernels 3.5 to 6.12.  All integers are in the crashed kernel's own byte
order.  Pure: bytes in, zones out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["HEADER_SIZE", "ORDERS", "Slot", "Zone", "header_is_blank", "signatures", "zone_at"]

HEADER_SIZE = 12                    # u32 sig, s32 start, s32 size
SIGNATURE = 0x43474244              # "DBGC" in little-endian memory
ORDERS = ("little", "big")


class Slot(NamedTuple):
    """Where a layout says that a zone is."""

    kind: str                   # "kernel" | "console" | "ftrace" | "pmsg" | "?"
    number: int | None          # among the zones of its kind, from 0; None: not known
    offset: int                 # bytes from the region's start
    size: int                   # bytes, header and parity included


class Zone(NamedTuple):
    """A zone with a valid header."""

    slot: Slot
    start: int                  # where in the data the oldest byte is
    used: int                   # valid bytes of data

    @property
    def end(self) -> int:
        """Where its used data ends, in bytes from the region's start."""
        return self.slot.offset + HEADER_SIZE + self.used

    def body(self, region: bytes) -> bytes:
        """The zone's data in the order it was written (persistent_ram_save_old)."""
        data = self.slot.offset + HEADER_SIZE
        return region[data + self.start:data + self.used] + region[data:data + self.start]


def zone_at(region: bytes, slot: Slot, order: str) -> Zone | None:
    """The zone in `slot`, if its header is valid there (persistent_ram_post_init).

    order: the crashed kernel's byte order, one of ORDERS.
    """
    raw = region[slot.offset:slot.offset + HEADER_SIZE]
    if len(raw) < HEADER_SIZE:
        return None
    numbers = (int.from_bytes(raw[at:at + 4], order) for at in (0, 4, 8))  # type: ignore[arg-type]
    signature, start, used = numbers
    capacity = min(slot.size, len(region) - slot.offset) - HEADER_SIZE
    if not 0 <= start <= used <= capacity or not _is_signature(signature, slot.kind):
        return None
    return Zone(slot, start, used)


def _is_signature(signature: int, kind: str) -> bool:
    """A zone's signature is plain, but for ftrace: there it is xored with LINUX_VERSION_CODE."""
    version = signature ^ SIGNATURE
    return 3 <= version >> 16 <= 9 if kind == "ftrace" else version == 0


def header_is_blank(region: bytes, offset: int) -> bool:
    """Whether no header was ever written at `offset`, or it was wiped."""
    header = region[offset:offset + HEADER_SIZE]
    return header in (bytes(HEADER_SIZE), b"\xff" * HEADER_SIZE)


def signatures(region: bytes) -> Iterator[tuple[int, str]]:
    """Where a plain signature stands, and in which byte order; not sorted."""
    for order in ORDERS:
        wanted = SIGNATURE.to_bytes(4, order)  # type: ignore[arg-type]
        at = region.find(wanted)
        while at >= 0:
            if at % 2 == 0:             # the driver rounds every zone to an even size
                yield at, order
            at = region.find(wanted, at + 1)
