"""pstore_zone: the zones that pstore_blk and mtdpstore keep on a block device or flash, kernels
5.8 and later.

Source: fs/pstore/zone.c (struct psz_buffer, struct psz_kmsg_header, psz_alloc_zones).  From the
start: the pmsg zone, the console zone, the ftrace zones, one for each CPU, and the dump zones, all
at multiples of 4096 bytes.  A zone: u32 signature, u32 length of the data, u32 where its oldest
byte is, the data; unlike in ramoops the length comes first.  A dump's data begins with a header of
its own.  All integers are in the crashed kernel's byte order.

A removed record has the length 0, and its bytes stay.  Pure: bytes in, records and problems out.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from ..record import Problem, Record, Source, captured
from . import android_log, ftrace, kernel_dump
from .allowance import Allowance
from .compression import TITLE, begins, unpack
from .log_text import end_of, is_text
from .marks import KMSG, PAGE, SEED, is_near
from .reading import MOST_RECORDS, Reading, too_many

__all__ = ["HEADER_SIZE", "Zone", "erased", "find", "read", "zone_at"]

HEADER_SIZE = 12
SIGNATURE = 0x43474244          # xored with the number of the type (enum pstore_type_id)
TYPES = {0: "kernel", 2: "console", 3: "ftrace", 7: "pmsg"}
# Between these no zone of another kind can be.
NEIGHBOURS = (("pmsg", "console"), ("console", "ftrace"))
PEEK = 512                      # compressed bytes that are enough to see a title
MOST_TEXT = 65536               # bytes of a small zone's text
MOST_BODY = 1 << 20             # bytes
LAST_REASON = 5                 # of enum kmsg_dump_reason, with room for one more
# kmsg_dump_reason_str of kernel/printk/printk.c; any other is "Unknown".
REASONS = {1: "Panic", 2: "Oops", 3: "Emergency", 4: "Shutdown"}


class Header(NamedTuple):
    """A layout of struct psz_kmsg_header: offsets in bytes."""

    seconds: int                # s64
    nanoseconds: int            # long
    compressed: int             # bool
    counter: int                # u32: of dumps for this reason
    reason: int                 # u32: KMSG_DUMP_PANIC is 1, OOPS 2, EMERG 3, SHUTDOWN 4
    size: int


# An s64 is aligned to 8 bytes, but for i386, where it is to 4.
HEADERS = (Header(8, 16, 24, 28, 32, 40), Header(4, 12, 16, 20, 24, 28))
LEAST = HEADER_SIZE + HEADERS[-1].size


class Zone(NamedTuple):
    """A zone that was written at least once."""

    offset: int                 # bytes from the region's start
    kind: str                   # as in Record
    number: int                 # among the zones of its kind, from the first that was written
    order: str                  # byte order, "little" or "big"
    length: int                 # of the data; 0: what was there was removed
    start: int                  # where in the data the oldest byte is
    size: int                   # of the zone, header included: up to the next one
    torn: bool = False          # a dump whose signature or length is damaged
    exact: bool = False         # its size is known, not only where the next one begins

    @property
    def data(self) -> int:
        """Where its data begins."""
        return self.offset + HEADER_SIZE

    @property
    def end(self) -> int:
        """Where the zone ends."""
        return self.offset + self.size


def read(data: bytes, recover: bool = False, lone: bool = True, base: int = 0) -> Reading:
    """The records in all zones of a region.

    recover: also those that were removed, as far as their bytes are still there.  lone, base: as
    in find.
    """
    zones = find(data, lone, base)
    found: list[Record] = []
    problems: list[Problem] = []
    extents: dict[str, list[tuple[int, int]]] = {}
    used = [zone for zone in zones if zone.kind != "ftrace" and (zone.length or recover)]
    traced = [zone for zone in zones if zone.kind == "ftrace" and zone.length]
    # Bytes of text in all.  No kernel packs more than 2.3 times a zone's size into it (platform.c:
    # the uncompressed size is reckoned from that): what is more is made to fill the memory.
    allowance = Allowance(MOST_TEXT + 5 * len(data) // 2)
    for held in [*([zone] for zone in used[:MOST_RECORDS]), traced]:
        record, problem = _record(data, held, allowance)
        problems += [problem] if problem else []
        if record:
            found.append(record)
            extents.setdefault(record.id, []).extend(
                (zone.offset, HEADER_SIZE + (zone.length if zone.kind == "ftrace"
                                             else record.source.size)) for zone in held)
    return Reading(found, problems + too_many("pstore_zone", len(used)), extents)


def erased(zone: bytes) -> bytes:
    """What a zone becomes when its record is erased: length and data 0.

    A dump's own header stays, as the kernel leaves it: it reads its count of crashes there.
    """
    head = zone[:4] + bytes(8)
    for order in ("little", "big"):
        if _is_dump(zone, HEADER_SIZE, order):
            raw = zone[HEADER_SIZE:]
            head += raw[:_layout(raw, order).size]
            break
    return head[:len(zone)] + bytes(max(0, len(zone) - len(head)))


# --- which zones there are


def find(data: bytes, lone: bool = True, base: int = 0) -> list[Zone]:
    """The zones in `data`, in order.

    lone: whether console, ftrace and pmsg zones are believed without a dump's zone: their
    signatures are one bit away from that of ramoops' zones.  base: where the first page begins.
    """
    pages = range(base, len(data) - LEAST, PAGE)
    heads = [zone for page in pages if (zone := zone_at(data, page))]
    if not lone and all(head.kind != "kernel" for head in heads):
        return []
    ends = [*[head.offset for head in heads[1:]], len(data)][:len(heads)]
    sizes = [end - head.offset for head, end in zip(heads, ends, strict=True)]
    dumps = [head.offset for head in heads if head.kind == "kernel"]
    same = min((after - offset for offset, after in pairwise(dumps)), default=len(data))
    firsts: dict[str, int] = {}
    zones = []
    for head, size in zip(heads, sizes, strict=True):
        if head.kind == "kernel":
            size = min(size, same)      # they are all of one size
        first = firsts.setdefault(head.kind, head.offset)
        length = min(head.length, size - HEADER_SIZE)
        zones.append(head._replace(number=(head.offset - first) // size, length=length,
                                   start=min(head.start, length), size=size))
    behind = [*(zone.kind for zone in zones[1:]), ""][:len(zones)]
    return [zone._replace(exact=len(dumps) > 1) if zone.kind == "kernel" else _ring(zone, after)
            for zone, after in zip(zones, behind, strict=True)]


def _ring(zone: Zone, behind: str) -> Zone:
    """`zone`, which is not for dumps, with the size that it must have: a full one tells it itself.

    behind: the kind of the next one, before which there may be some that have no header because
    they were never written.
    """
    full = HEADER_SIZE + zone.length
    if full % PAGE == 0:
        return zone._replace(size=full, exact=True)
    return zone._replace(exact=zone.size == PAGE or (zone.kind, behind) in NEIGHBOURS)


def zone_at(data: bytes, offset: int) -> Zone | None:
    """The zone whose header is at `offset`, up to the end of `data`.

    A dump is known by its own header too, so signature and length may be damaged.  What begins
    with "====" is a dump of ramoops whose signature lost a bit.
    """
    room = len(data) - offset - HEADER_SIZE
    for order in ("little", "big"):
        signature, length, start = (_integer(data, offset + at, 4, order) for at in (0, 4, 8))
        kind = TYPES.get(signature ^ SIGNATURE)
        if kind and kind != "kernel" and start <= length <= room \
                and not is_near(_integer(data, offset + HEADER_SIZE, 4, "big"), SEED):
            return Zone(offset, kind, 0, order, length, start, 0)
        if _is_dump(data, offset + HEADER_SIZE, order):
            whole = kind == "kernel" and length <= room
            return Zone(offset, "kernel", 0, order, length if whole else room, 0, 0, not whole)
    return None


def _is_dump(data: bytes, offset: int, order: str) -> bool:
    """Whether a dump's header begins at `offset`."""
    word = _integer(data, offset, 4, "big")
    return any(is_near(word, mark) for mark, told in KMSG.items() if told == order)


def _integer(data: bytes, offset: int, size: int, order: str, signed: bool = False) -> int:
    return int.from_bytes(data[offset:offset + size], order,  # type: ignore[arg-type]
                          signed=signed)


# --- what they hold


def _record(data: bytes, zones: list[Zone],
            allowance: Allowance) -> tuple[Record | None, Problem | None]:
    """The record in a zone, or in all that are of ftrace; None: nothing is left of one."""
    if len(zones) != 1 or zones[0].kind == "ftrace":
        return _trace(data, zones, 3 * len(data))
    zone = zones[0]
    where = f"pstore_zone, {zone.kind} zone {zone.number}"
    source = Source("pstore_zone", zone.number, zone.offset, zone.length, _size(zones))
    if zone.kind == "kernel":
        return _dump(data, zone, source, where, allowance)
    if zone.length:
        return _said(zone.kind, _body(data, zone), source), None
    body = data[zone.data:end_of(data, zone.data, zone.end)]
    if not is_text(body):
        return None, None
    source = source._replace(size=len(body), torn=True, recovered=True)
    return _said(zone.kind, body, source), _removed(where)


def _size(zones: list[Zone]) -> int | None:
    """Of these in bytes; None: it is not known."""
    return sum(zone.size for zone in zones) if all(zone.exact for zone in zones) else None


def _said(kind: str, body: bytes, source: Source) -> Record:
    return android_log.record_of(body, source) if kind == "pmsg" else captured(kind, body, source)


def _body(data: bytes, zone: Zone) -> bytes:
    """The data in the order it was written."""
    return data[zone.data + zone.start:zone.data + zone.length] \
        + data[zone.data:zone.data + zone.start]


def _trace(data: bytes, zones: list[Zone],
           room: int) -> tuple[Record | None, Problem | None]:
    """What all CPUs traced."""
    if not zones:
        return None, None
    first = zones[0]
    return ftrace.record_of([_body(data, zone) for zone in zones],
                            Source("pstore_zone", 0, first.offset, first.length, _size(zones)),
                            "pstore_zone, ftrace zone 0", room)


def _dump(data: bytes, zone: Zone, source: Source, where: str,
          allowance: Allowance) -> tuple[Record | None, Problem | None]:
    """A dump zone's record; of one that was removed as much as is still there."""
    known = zone.length and not zone.torn
    raw = data[zone.data:zone.data + zone.length if known else zone.end]
    header = _layout(raw, zone.order)
    body = raw[header.size:]
    if not known:
        body = body[:_reach(body[:MOST_BODY], allowance)]
    if not body.strip(b"\0\xff"):
        return None, None
    compressed = raw[header.compressed:header.compressed + 1] == b"\1"
    dump = kernel_dump.Dump(_seconds(raw, header, zone.order), compressed, body,
                            lead=b"" if compressed else _total(raw, header, zone.order))
    record, problem = kernel_dump.record_of(
        dump, source._replace(size=header.size + len(body)), where,
        max(MOST_TEXT, 5 * zone.size // 2), None, allowance)
    if known:
        return record, problem
    if not zone.torn and not record.text:
        return None, None               # nothing is left that anybody could read
    torn = record._replace(source=record.source._replace(torn=zone.torn, recovered=True))
    return torn, problem or (_damaged(where) if zone.torn else _removed(where))


def _reach(body: bytes, allowance: Allowance) -> int:
    """How long a dump's body is that ends somewhere before `body` does."""
    return end_of(body, 0, len(body)) if re.match(TITLE, body) \
        else unpack(body, MOST_BODY, allowance).used


def _layout(raw: bytes, order: str) -> Header:
    """The layout of the dump header that `raw` begins with: the one with a body behind it, or
    else the one whose numbers make sense."""
    for header in HEADERS:
        body = raw[header.size:header.size + PEEK]
        if re.match(TITLE, body) or begins(body, 0):
            return header
    sane = (header for header in HEADERS if raw[header.compressed:header.compressed + 1] < b"\2"
            and _integer(raw, header.reason, 4, order) <= LAST_REASON)
    return next(sane, HEADERS[0])


def _seconds(raw: bytes, header: Header, order: str) -> float | None:
    """When the dump was written, exact to the microsecond; None: the header says nonsense.

    A long has 4 or 8 bytes; of the 4 bytes of padding behind a short one nothing is known.
    """
    seconds = _integer(raw, header.seconds, 8, order, signed=True)
    nanoseconds = [_integer(raw, header.nanoseconds, size, order) for size in (8, 4)]
    sane = [number for number in nanoseconds if number < 10**9]
    return seconds + sane[0] // 1000 / 1e6 if sane and abs(seconds) < 1 << 32 else None


def _total(raw: bytes, header: Header, order: str) -> bytes:
    """The line that the kernel puts above a dump that is not compressed (psz_kmsg_read)."""
    reason = _integer(raw, header.reason, 4, order)
    counter = _integer(raw, header.counter, 4, order, signed=True)
    return f"{REASONS.get(reason, 'Unknown')}: Total {counter} times\n".encode()


def _removed(where: str) -> Problem:
    return Problem(where, "recovered: the record was removed; what is still there of it "
                   "is shown", "info")


def _damaged(where: str) -> Problem:
    return Problem(where, "recovered: its header is damaged", "warning")
