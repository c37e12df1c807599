"""Seed-era ramoops, kernels 2.6.35 to 3.3: dumps in bare slots, without zones.

Source: drivers/char/ramoops.c (ramoops_do_dump).  The region is cut into slots of record_size
bytes: 4096 up to 3.0, a module parameter since 3.1, rounded down to a power of two.  Each dump
zeroes a slot and writes "====", "%lu.%lu\n" (seconds, and microseconds without leading zeros), and
the newest bytes of the log, with no title line.  2.6.35 and 2.6.36 reckoned with a header of 5
bytes and a struct timeval, not with the one they print: there a full slot runs over into the
next.  Every boot begins at slot 0 again, so that only the time tells which dump is the newest.

Pure: bytes in, records and problems out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from ..record import Problem, Record, Source, captured
from .compression import TITLE
from .geometry import Geometry
from .log_text import end_in_slot, end_of, end_of_pages, is_text
from .marks import PAGE, SEED, is_near
from .reading import MOST_RECORDS, Reading, too_many

__all__ = ["Slot", "find", "read"]

HEADER = rb"====(\d{1,20})\.(\d{1,6})\n"
LARGEST_SLOT = PAGE << 8        # bytes; no ring of these kernels was larger
END_OF_TIME = 1 << 31           # seconds: what is later was a negative time, printed unsigned
LONGEST_HEADER = 32             # bytes
DIGITS = 8                      # that a damaged header has at least
RESERVED = (13, 21)             # bytes that 2.6.35 left for a header, on 32 and on 64 bits
OLD_TIME = rb"\d{0,16}\.\d{1,6}\n"   # what is left of a header that a dump ran over

OVERRUN = ("its first line, which tells the time, is damaged, or was overwritten by the dump "
           "before it (2.6.35 and 2.6.36 do that)")
DAMAGED = "the slot is damaged: the text has errors in it"


class Slot(NamedTuple):
    """A used slot."""

    offset: int                 # bytes from the region's start
    time: float | None          # seconds since 1970; None: the header is lost, or says nonsense
    text: int                   # where the text begins, and
    end: int                    # where it ends, which may be beyond the slot's end
    size: int                   # of the slot, as far as it can be told
    torn: bool = False          # bytes of it were lost; or the dump before ran over its header


def read(data: bytes, given: Sequence[Geometry] = ()) -> Reading:
    """The records in all used slots, newest first.

    given: what is known about the record size; where the slots contradict, they win.
    """
    slots, problems = find(data, given)
    found: list[Record] = []
    extents: dict[str, list[tuple[int, int]]] = {}
    newest = sorted(slots, key=lambda slot: slot.time or 0.0, reverse=True)
    for slot in newest[:MOST_RECORDS]:
        number = (slot.offset - slots[0].offset) // slots[0].size
        source = Source("ramoops", number, slot.offset, slot.end - slot.text, slot.size,
                        torn=slot.torn)
        found.append(captured("kernel", data[slot.text:slot.end], source, time=slot.time))
        problems += [_damaged(slot)] if slot.torn else []
        extents.setdefault(found[-1].id, []).append((slot.offset, slot.end - slot.offset))
    return Reading(found, problems + too_many("region", len(slots)), extents)


# --- which slots there are


def find(data: bytes, given: Sequence[Geometry] = ()) -> tuple[list[Slot], list[Problem]]:
    """The used slots in `data`, in order, and what speaks against the record size given."""
    pages = range(0, len(data), PAGE)
    heads = [head for page in pages if (head := _head(data, page))]
    if not heads:
        return [], []
    size, problems = _slot_size(data, heads, given)
    slots: list[Slot] = []
    for head, after in zip(heads, [*heads[1:], None], strict=True):
        limit = head.offset + size
        slots.append(_whole(data, head, min(limit, after.offset if after else limit)))
        if after is None or after.offset > limit:
            slots += _run_over(data, slots[-1], limit, size)
    return slots, problems


def _head(data: bytes, offset: int) -> Slot | None:
    """The slot that begins at `offset`, without its end: there is a header line, which may have
    lost some bits, and a log's text behind it.

    A title line behind it, or anything but text, is a dump of later kernels'.
    """
    if not is_near(int.from_bytes(data[offset:offset + 4], "big"), SEED):
        return None
    text = data.find(b"\n", offset, offset + LONGEST_HEADER) + 1
    if not text or not is_text(data[text:text + 64].rstrip(b"\0")) \
            or re.compile(TITLE).match(data, text):
        return None
    match = re.compile(HEADER).match(data, offset)
    digits = sum(byte in b"0123456789." for byte in data[offset + 4:text])
    if match is None and digits < DIGITS:
        return None
    return Slot(offset, _seconds(match) if match else None, text, 0, 0, torn=match is None)


def _seconds(match: re.Match[bytes]) -> float | None:
    seconds = int(match[1])
    return None if seconds >= END_OF_TIME else seconds + int(match[2]) / 1e6


def _slot_size(data: bytes, heads: Sequence[Slot],
               given: Sequence[Geometry]) -> tuple[int, list[Problem]]:
    """The record size: as given, rounded down as the driver does it, if the slots are at multiples
    of that; else as it is found."""
    apart = math.gcd(*(head.offset - heads[0].offset for head in heads))
    for said in given[:1]:
        rounded = 1 << max(0, said.record_size.bit_length() - 1)
        if rounded >= PAGE and apart % rounded == 0:
            return rounded, []
        size = _found_size(data, heads, apart & -apart)
        return size, [Problem("region", f"the slots do not fit the record size of "
                              f"{said.record_size} bytes that {said.origin} says: they are {size} "
                              "bytes apart", "warning")]
    return _found_size(data, heads, apart & -apart), []


def _found_size(data: bytes, heads: Sequence[Slot], most: int) -> int:
    """A power of two: where a dump ran over into an older one; else the largest that all slots
    are at multiples of, `most`; else, of a single one, what its text takes."""
    sizes = [PAGE << power for power in range(9)]
    for size in sizes:
        if size != most and any(_is_run_over(data, head, head.offset + size) for head in heads):
            return size
    end = end_of_pages(data, heads[0].offset, heads[0].offset + LARGEST_SLOT)
    return most or next(size for size in sizes if size >= end - heads[0].offset)


def _is_run_over(data: bytes, slot: Slot, limit: int) -> bool:
    """Whether the rest of a header stands where this dump would have run over it, had its slot
    ended at `limit`."""
    return any(re.compile(OLD_TIME).match(data, limit + over) and is_text(data[limit - 64:limit])
               for over in _overruns(slot))


def _overruns(slot: Slot) -> list[int]:
    """How many bytes 2.6.35 wrote too many, on 32 and on 64 bits, if the slot is full."""
    return [over for reserved in RESERVED if (over := slot.text - slot.offset - reserved) > 0]


def _whole(data: bytes, head: Slot, limit: int) -> Slot:
    """The slot with its end, at most at `limit`, or where it ran over that."""
    end, torn = end_in_slot(data, head.text, limit)
    over = len(_ran_over(data, head, limit)) if end == limit else 0
    return head._replace(end=end + over, size=limit - head.offset, torn=head.torn or torn)


def _ran_over(data: bytes, slot: Slot, limit: int) -> bytes:
    """What 2.6.35 wrote of a full slot's text behind its end; b"": nothing, as far as can be told.

    As much as the header was longer than reckoned, if there is text, and behind it what the next
    slot holds: zeros, or the rest of its header.
    """
    if _head(data, limit):
        return b""
    for size in _overruns(slot):
        over, behind = data[limit:limit + size], data[limit + size:limit + size + 32]
        if is_text(over) and (behind[:1] in (b"", b"\0") or re.match(OLD_TIME, behind)):
            return over
    return b""


def _run_over(data: bytes, before: Slot, offset: int, size: int) -> list[Slot]:
    """The slot at `offset` behind a full one that ran over its header: what is left of its dump."""
    rest = re.compile(OLD_TIME).match(data, before.end) if before.end > offset else None
    if rest is None:
        return []
    end = end_of(data, rest.end(), offset + size)
    return [Slot(offset, None, rest.end(), end, size, torn=True)] if end > rest.end() else []


def _damaged(slot: Slot) -> Problem:
    return Problem(f"region, offset {slot.offset:#x}", DAMAGED if slot.time else OVERRUN, "warning")
