"""mtdoops: the slots of an MTD partition that a crashed kernel wrote its log to.

Source: drivers/mtd/mtdoops.c.  A partition is cut into slots of record_size bytes (4096, or a
multiple of it); a used one begins with a header in the kernel's own byte order:

    2.6.24 to 2.6.30    u32 count                                   console output of the oops
    2.6.31 to 5.x       u32 count, u32 0x5d005d00                   the newest of the log
    since 6.0 or so     u32 seq, u32 0x5d005e00, s64 nanoseconds    likewise; packed

The text goes to the slot's end or to the first byte of filler, 0xff.  An unused slot is 0xff
altogether.  Pure: bytes in, records and problems out.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

from ..record import Problem, Record, Source, captured
from .geometry import Geometry
from .log_text import end_in_slot, end_of, end_of_pages, is_text, tells_of_trouble
from .marks import HEAD, MTDOOPS, PAGE, is_counted, is_near
from .reading import MOST_RECORDS, Reading, too_many

__all__ = ["Slot", "erased", "find", "head_at", "read"]

LARGEST_SLOT = 8 << 20          # bytes: MTDOOPS_MAX_MTD_SIZE
NEVER = 0xffffffff              # no slot's count: it stands in unused ones
COUNTED = 4                     # bytes of the oldest header
# Counts this far apart are on two sides of the wrap (find_next_position).
YOUNG, OLD = 0x40000000, 0xc0000000


class Slot(NamedTuple):
    """A used slot."""

    offset: int                 # bytes from the region's start
    sequence: int               # goes up with each dump, over all boots
    version: int                # of the header: 0 (no magic), 1 or 2
    nanoseconds: int | None     # since 1970, when it was written; None before version 2
    text: int                   # where the text begins, and
    end: int                    # where it ends
    size: int                   # of the slot, as far as it can be told
    torn: bool = False          # the header lost some bits, or there is more than filler behind


def read(data: bytes, given: Sequence[Geometry] = (), base: int = 0) -> Reading:
    """The records in all used slots, newest first.

    given: what is known about the record size; where the slots contradict, they win.  base: where
    the first page begins.
    """
    slots, problems = find(data, given, base)
    found: list[Record] = []
    extents: dict[str, list[tuple[int, int]]] = {}
    for slot in _newest_first(slots)[:MOST_RECORDS]:
        number = (slot.offset - slots[0].offset) // slots[0].size
        source = Source("mtdoops", number, slot.offset, slot.end - slot.text, slot.size,
                        torn=slot.torn)
        found.append(captured("kernel", data[slot.text:slot.end], source, time=_seconds(slot)))
        problems += [_damaged(slot)] if slot.torn else []
        extents.setdefault(found[-1].id, []).append((slot.offset, slot.end - slot.offset))
    return Reading(found, problems + too_many("mtdoops", len(slots)), extents)


def erased(slot: bytes) -> bytes:
    """What a slot's header and text become when it is erased: what mtdoops takes for unused."""
    return b"\xff" * len(slot)


# --- which slots there are


def find(data: bytes, given: Sequence[Geometry] = (),
         base: int = 0) -> tuple[list[Slot], list[Problem]]:
    """The used slots in `data`, in order, and what speaks against the record size given."""
    pages = range(base, len(data), PAGE)
    heads = [head for page in pages if (head := head_at(data, page))] or \
        [head for page in pages if (head := _head_without_magic(data, page))]
    return _sized(data, heads, given)


def head_at(data: bytes, offset: int) -> Slot | None:
    """The slot that begins at `offset`, without its end; its magic may have lost some bits."""
    word = int.from_bytes(data[offset + 4:offset + 8], "big")
    near = [each for each in MTDOOPS if is_near(word, each)]
    if not near:
        return None
    magic = word if word in MTDOOPS else near[0] if len(near) == 1 else \
        near[0 if is_text(data[offset + 8:offset + 16]) else 1]
    order, version = MTDOOPS[magic]
    layout = struct.Struct(order + ("II" if version == 1 else "IIq"))
    text = offset + layout.size
    if text > len(data) or not is_text(data[text:text + 64].strip(b"\xff\0")):
        return None
    sequence, _, *time = layout.unpack_from(data, offset)
    unused = sequence == NEVER and word == magic
    return None if unused else Slot(offset, sequence, version, time[0] if time else None, text,
                                    0, 0, word != magic)


def _head_without_magic(data: bytes, offset: int) -> Slot | None:
    """A slot as 2.6.24 to 2.6.30 wrote it, 4096 bytes large.

    With so little to know it by, everything has to fit: a small count, the words of a crash, and
    nothing but filler behind the text.
    """
    text, page = offset + COUNTED, offset + PAGE
    head = data[offset:offset + HEAD]
    if not is_counted(head):
        return None
    sequence = min(int.from_bytes(head[:COUNTED], order)  # type: ignore[arg-type]
                   for order in ("little", "big"))
    end = end_of(data, text, page)
    log = data[text:end]
    if b"\n" not in log or not tells_of_trouble(log) or data[end:page].strip(b"\xff"):
        return None
    return Slot(offset, sequence, 0, None, text, 0, 0)


def _sized(data: bytes, heads: list[Slot],
           given: Sequence[Geometry]) -> tuple[list[Slot], list[Problem]]:
    """The slots with their ends, and the record size: as given, if they fit into that; else as
    large as leaves each of them at a multiple of it from the first, or as the text of a single
    one takes."""
    if not heads:
        return [], []
    nexts = [*[head.offset for head in heads[1:]], len(data)]
    apart = math.gcd(*(head.offset - heads[0].offset for head in heads))
    size = apart or end_of_pages(data, heads[0].offset, heads[0].offset + LARGEST_SLOT) \
        - heads[0].offset
    problems = []
    for said in given[:1]:
        if said.record_size >= PAGE and apart % said.record_size == 0:
            size = said.record_size
        else:
            problems = [_misfit(said, size)]
    slots = [_whole(data, head._replace(size=min(size, after - head.offset)))
             for head, after in zip(heads, nexts, strict=True)]
    return [slot for slot in slots if slot.end > slot.text], problems


def _misfit(said: Geometry, size: int) -> Problem:
    return Problem("mtdoops", f"the slots do not fit the record size of {said.record_size} bytes "
                   f"that {said.origin} says: they are {size} bytes apart", "warning")


def _whole(data: bytes, slot: Slot) -> Slot:
    """The slot with the text behind a byte that was lost within it, if there is some."""
    end, torn = end_in_slot(data, slot.text, slot.offset + slot.size)
    return slot._replace(end=end, torn=slot.torn or torn)


def _newest_first(slots: list[Slot]) -> list[Slot]:
    wraps = any(slot.sequence > OLD for slot in slots)
    return sorted(slots, key=lambda slot: slot.sequence + (NEVER if wraps and slot.sequence < YOUNG
                                                        else 0), reverse=True)


# --- what a slot says


def _seconds(slot: Slot) -> float | None:
    """When the slot was written, exact to the microsecond."""
    return None if slot.nanoseconds is None else slot.nanoseconds // 1000 / 1e6


def _damaged(slot: Slot) -> Problem:
    return Problem(f"mtdoops, offset {slot.offset:#x}", "the slot is damaged: its text may be cut, "
                   "or have errors in it", "warning")
