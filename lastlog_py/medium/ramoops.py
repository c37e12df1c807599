"""ramoops: the zones that a crashed kernel left in a region, as records.

Source: fs/pstore/ram.c (ramoops_init_przs, ramoops_pstore_write) and fs/pstore/ram_core.c
(struct persistent_ram_buffer), kernels 3.5 to 6.12.  All integers are in the crashed kernel's own
byte order.  Pure: bytes in, records and problems out.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..record import Problem, Record, Source, captured
from .compression import TITLE, unpack
from .geometry import Geometry

__all__ = ["HEADER_SIZE", "Contents", "Zone", "find_zones", "is_blank", "layouts", "records"]

HEADER_SIZE = 12                    # u32 sig, s32 start, s32 size
SIGNATURE = 0x43474244              # "DBGC" in little-endian memory
BLOCK = 128                         # data bytes per ECC block

# "====sec.usec-C\n" before each dump: C compressed, any other letter plain (ramoops_read_kmsg_hdr).
# 3.5 to 3.11 write no letter, and up to about 4.19 the microseconds are not padded with zeros.  The
# second is signed since 4.19.
DUMP = rb"====(-?\d{1,20})\.(\d{1,6})(?:-([^\n]))?\n"
MOST_ZONES = 1024                   # a region has tens; more are noise, or made to keep us busy
MOST_TEXT = 1 << 20                 # bytes of a dump that are worth looking at
PEEK = 512                          # compressed bytes that are enough to see a title
CONSOLE_LINE = rb"(?m:^\[ *\d+\.\d{6}\])"


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

    def body(self, region: bytes) -> bytes:
        """The zone's data in the order it was written (persistent_ram_save_old)."""
        data = self.slot.offset + HEADER_SIZE
        return region[data + self.start:data + self.used] + region[data:data + self.start]


class Dump(NamedTuple):
    """One "====" record within a zone's body."""

    time: float | None          # seconds; None: there was no header
    compressed: bool
    body: bytes


class Contents(NamedTuple):
    """What a region holds."""

    records: list[Record]
    problems: list[Problem]
    zones: int                  # dump zones with a valid header, empty ones included


def records(region: bytes, given: Sequence[Geometry] = (), live: bool = False) -> Contents:
    """Every record in the region's zones, and what could not be read.

    given: what is known about the geometry, most trustworthy first; without any that fits, zones
    are found by their signatures.  live: ramoops is using the region, so only its dump zones hold
    something old.
    """
    zones, problems = find_zones(region, given)
    found: list[Record] = []
    for zone in [*zones, *_headless(region, zones)]:
        if zone.used and not (live and zone.slot.kind != "kernel"):
            zone_records, zone_problems = _read(region, zone)
            found += zone_records
            problems += zone_problems
    return Contents(found, problems, sum(zone.slot.kind == "kernel" for zone in zones))


# --- where the zones are


def layouts(geometry: Geometry, region_size: int) -> Iterator[list[Slot]]:
    """The ways in which kernels lay out `geometry`, newest kernels first.

    Sizes are rounded down to powers of two (ramoops_probe).  What differs: the dump zones' size
    (since 4.10 they share what is left over), and the order behind them (pmsg moved before
    ftrace between 6.1 and 6.12).
    """
    record, console, ftrace, pmsg = (_power_of_two(size) for size in geometry[:4])
    total = min(geometry.mem_size or region_size, region_size)
    dump = total - console - ftrace - pmsg
    count = dump // record if record else 0
    if count <= 0:
        return
    behind = {"console": console, "ftrace": ftrace, "pmsg": pmsg}
    orders = [("console", "pmsg", "ftrace"), ("console", "ftrace", "pmsg")]
    for size in dict.fromkeys(((dump // count) & ~1, record)):
        for order in orders if ftrace and pmsg else orders[:1]:
            slots = [Slot("kernel", i, i * size, size) for i in range(count)]
            offset = count * size
            for kind in order:
                if behind[kind]:
                    slots.append(Slot(kind, 0, offset, behind[kind]))
                    offset += behind[kind]
            yield slots


def find_zones(region: bytes, given: Sequence[Geometry]) -> tuple[list[Zone], list[Problem]]:
    """The zones with valid headers: where a given geometry says, or by their signatures.

    Signatures of an earlier layout stay in memory, so a geometry is preferred, unless it is
    plainly wrong: the signatures then show more zones with something in them.
    """
    for geometry in given:
        for slots in layouts(geometry, len(region)):
            zones, problems = _zones(region, slots)
            if len(zones) == len(slots):
                return zones, []                    # as it should be: nothing to search for
    scanned = _scan(region)
    for geometry in given:
        fits = [_zones(region, slots) for slots in layouts(geometry, len(region))]
        zones, problems = max(fits, key=lambda fit: len(fit[0]), default=([], []))
        if zones and _filled(zones) >= _filled(scanned):
            return zones, problems
    if not scanned or not given:
        return scanned, [] if scanned else _nothing_there(region)
    what = (f"the zones are not where {given[0].origin} says; {len(scanned)} were found by their "
            "signatures instead: correct record_size, console_size, ftrace_size and pmsg_size")
    return scanned, [Problem("region", what, "warning")]


def _filled(zones: list[Zone]) -> int:
    """Zones that hold something; not ftrace, whose signature cannot be searched for."""
    return sum(zone.used > 0 and zone.slot.kind != "ftrace" for zone in zones)


def _power_of_two(size: int) -> int:
    return 1 << (size.bit_length() - 1) if size > 0 else 0


def _zones(region: bytes, slots: list[Slot]) -> tuple[list[Zone], list[Problem]]:
    """The slots whose headers are valid, in the byte order that most of them are in.

    A header that is neither valid nor blank was damaged: that is a problem.
    """
    by_order = []
    for order in ("little", "big"):
        found = [_header(region, slot.offset, slot.size, order, slot.kind) for slot in slots]
        by_order.append([zone._replace(slot=slot) for slot, zone in zip(slots, found, strict=True)
                         if zone])
    zones = max(by_order, key=len)
    missing = set(slots) - {zone.slot for zone in zones}
    return zones, [_damaged(slot) for slot in slots if slot in missing and not _blank(region, slot)]


def _blank(region: bytes, slot: Slot) -> bool:
    header = region[slot.offset:slot.offset + HEADER_SIZE]
    return header in (bytes(HEADER_SIZE), b"\xff" * HEADER_SIZE)


def _damaged(slot: Slot) -> Problem:
    return Problem(f"region, {slot.kind} zone {slot.number}", "its header is damaged; what can be "
                   "read of it is shown, and error correction (ramoops.ecc=1) guards against this",
                   "warning")


def _headless(region: bytes, zones: list[Zone]) -> list[Zone]:
    """Dumps whose zone header was damaged, as zones that reach to where the next one begins.

    The header is what a reset loses first.  Behind a header that is whole and says "empty" the
    text is left alone: somebody erased it.
    """
    found: list[Zone] = []
    starts = sorted(zone.slot.offset for zone in zones)
    ends = [zone.slot.offset + HEADER_SIZE + zone.used for zone in
            sorted(zones, key=lambda zone: zone.slot.offset)]
    tries, free = 0, 0                  # free: where the last one found ends
    for match in _dump_headers(region):
        offset = match.start() - HEADER_SIZE
        before = bisect_right(starts, offset) - 1
        if offset < free or (before >= 0 and (match.start() < ends[before]
                                              or starts[before] == offset)):
            continue
        tries += 1
        if tries > MOST_ZONES:
            break
        if _is_emptied(region, offset):
            continue
        end = starts[before + 1] if before + 1 < len(starts) else len(region)
        used = _length(region, match, min(end, match.start() + MOST_TEXT))
        if used:
            free = match.start() + used
            found.append(Zone(Slot("kernel", None, offset, HEADER_SIZE + used), 0, used))
    return found


def _is_emptied(region: bytes, offset: int) -> bool:
    """Whether a whole header says that its zone is empty; it may be one of an earlier layout."""
    zones = (_header(region, offset, len(region) - offset, order) for order in ("little", "big"))
    return any(zone is not None and zone.used == 0 for zone in zones)


def _length(region: bytes, match: re.Match[bytes], end: int) -> int:
    """How far the dump whose header is `match` reaches, at most to `end`; 0 if it is none.

    Text ends at its first NUL: what is behind it is older.
    """
    body = match.end()
    if re.compile(TITLE).match(region, body):
        nul = region.find(b"\0", body, end)
        return (end if nul < 0 else nul) - match.start()
    if not unpack(region[body:body + PEEK], PEEK).text:
        return 0
    return body - match.start() + unpack(region[body:end], MOST_TEXT).used


def _header(region: bytes, offset: int, size: int, order: str, kind: str = "?") -> Zone | None:
    """The zone at `offset`, if its header is valid there (persistent_ram_post_init)."""
    raw = region[offset:offset + HEADER_SIZE]
    if len(raw) < HEADER_SIZE:
        return None
    numbers = (int.from_bytes(raw[at:at + 4], order) for at in (0, 4, 8))  # type: ignore[arg-type]
    signature, start, used = numbers
    capacity = min(size, len(region) - offset) - HEADER_SIZE
    if not 0 <= start <= used <= capacity or not _is_signature(signature, kind):
        return None
    return Zone(Slot(kind, 0, offset, size), start, used)


def _is_signature(signature: int, kind: str) -> bool:
    """A zone's signature is plain, but for ftrace: there it is xored with LINUX_VERSION_CODE."""
    version = signature ^ SIGNATURE
    return 3 <= version >> 16 <= 9 if kind == "ftrace" else version == 0


def _scan(region: bytes) -> list[Zone]:
    """The zones that signatures show, in order; stale ones inside another's text do not count."""
    zones: list[Zone] = []
    for offset, order in sorted(_signatures(region)):
        end = zones[-1].slot.offset + HEADER_SIZE + zones[-1].used if zones else 0
        zone = _header(region, offset, len(region) - offset, order) if offset >= end else None
        if zone and len(zones) < MOST_ZONES:
            zones.append(zone)
    return _name_zones(region, zones)


def _signatures(region: bytes) -> Iterator[tuple[int, str]]:
    for order in ("little", "big"):
        wanted = SIGNATURE.to_bytes(4, order)
        at = region.find(wanted)
        while at >= 0:
            if at % 2 == 0:             # the driver rounds every zone to an even size
                yield at, order
            at = region.find(wanted, at + 1)


def _name_zones(region: bytes, zones: list[Zone]) -> list[Zone]:
    """Scanned zones with their ends and kinds: dump zones come first and are all of one size."""
    ends = [*[zone.slot.offset for zone in zones[1:]], len(region)][:len(zones)]
    counts: dict[str, int] = {}
    named = []
    for zone, end in zip(zones, ends, strict=True):
        kind = _kind(zone.body(region))
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        offset = zone.slot.offset
        named.append(zone._replace(slot=Slot(kind, number, offset, end - offset)))
    return named


def _kind(body: bytes) -> str:
    """What a zone found by its signature holds, from its contents; empty ones count as dumps."""
    if not body or any(_dump_headers(body)):
        return "kernel"
    lines = body.count(b"\n", 0, 8192) + 1
    return "console" if len(re.findall(CONSOLE_LINE, body[:8192])) * 2 >= lines else "pmsg"


def is_blank(region: bytes) -> bool:
    """Whether nothing was ever written to `region`, or all of it was wiped."""
    return not region.translate(None, b"\0\xff")


def _nothing_there(region: bytes) -> list[Problem]:
    if not region:
        return [Problem("region", "it has no bytes at all", "error")]
    if is_blank(region):
        return [Problem("region", "it is blank: nothing was ever written there, or it was cleared",
                        "info")]
    return [Problem("region", "no ramoops zone was found in it: it was never used by ramoops, or "
                    "its contents did not survive (power loss clears memory)", "warning")]


# --- what a zone holds


def _read(region: bytes, zone: Zone) -> tuple[list[Record], list[Problem]]:
    """The records in one zone that is not empty."""
    body = zone.body(region)
    source = Source("ramoops", zone.slot.number, zone.slot.offset, zone.used, zone.slot.size)
    where = f"region, {zone.slot.kind} zone {zone.slot.number}" \
        if zone.slot.number is not None else f"region, offset {zone.slot.offset:#x}"
    if zone.slot.kind in ("console", "pmsg"):
        return [captured(zone.slot.kind, body, source)], []
    if zone.slot.kind == "ftrace":
        what = f"{zone.used} bytes of function trace, which this version does not read"
        return [], [Problem(where, what, "info")]
    return _kernel_records(body, source, where)


def _kernel_records(body: bytes, source: Source,
                    where: str) -> tuple[list[Record], list[Problem]]:
    found: list[Record] = []
    problems: list[Problem] = []
    room = max(65536, 4 * (source.zone_size or 0))
    for dump in _dumps(body):
        record, problem = _kernel_record(dump, source, where, room)
        room = max(0, room - len(record.text))
        found.append(record)
        problems += [problem] if problem else []
    return found, problems


def _dumps(body: bytes) -> Iterator[Dump]:
    """The dumps in a zone's body.

    Usually one.  Kernels before 5.5 did not zap a zone before they wrote the next dump, so that
    it stands behind the old one.  A "====" line within a text is no header unless the title
    of a dump, or compressed data, follows.
    """
    headers = _headers(body)
    if not headers or headers[0].start() > 0:
        yield Dump(None, False, body[:headers[0].start()] if headers else body)
    ends = [match.start() for match in headers] + [len(body)]
    for match, end in zip(headers, ends[1:], strict=True):
        yield Dump(_seconds(match[1], match[2]), match[3] == b"C", body[match.end():end])


def _dump_headers(data: bytes) -> Iterator[re.Match[bytes]]:
    """What looks like a dump's header; memory that holds none is not searched for a pattern."""
    return re.finditer(DUMP, data) if b"====" in data else iter(())


def _headers(body: bytes) -> list[re.Match[bytes]]:
    headers = []
    tries = 0
    for match in _dump_headers(body):
        if match.start() == 0 or re.compile(TITLE).match(body, match.end()):
            headers.append(match)
        elif match[3] == b"C" and tries < MOST_ZONES:
            tries += 1
            if unpack(body[match.end():match.end() + PEEK], PEEK).text:
                headers.append(match)
    return headers[:MOST_ZONES]


def _seconds(seconds: bytes, microseconds: bytes) -> float | None:
    """The header's time.  Beyond 2106 it is a negative time_t printed unsigned: no time at all."""
    whole = int(seconds)
    return whole + int(microseconds) / 1e6 if abs(whole) < 1 << 32 else None


def _kernel_record(dump: Dump, source: Source, where: str,
                   room: int) -> tuple[Record, Problem | None]:
    """One dump as a record.  room: bytes that its text may take.

    The header may be lost, and its letter may have lost a bit, so the body is asked as well.
    """
    if re.match(TITLE, dump.body):
        return _plain_record(dump, source, where, torn=dump.time is None)
    if dump.compressed:
        return _compressed_record(dump, source, where, room)
    line = dump.body.find(b"\n", 0, 64) + 1
    for start in (0, line):
        if unpack(dump.body[start:start + PEEK], PEEK).text:
            packed = dump._replace(body=dump.body[start:])
            return _compressed_record(packed, source._replace(torn=True), where, room)
    return _plain_record(dump, source, where, torn=True)


def _plain_record(dump: Dump, source: Source, where: str,
                  torn: bool) -> tuple[Record, Problem | None]:
    # A full zone lost its last bytes: the header line was not counted (ramoops_pstore_write).
    room = (source.zone_size or 0) - HEADER_SIZE - len("====1234567890.123456-D\n")
    cut = source.size >= room and not dump.body.endswith(b"\n")
    record = captured("kernel", dump.body, source._replace(truncated=cut, torn=torn),
                      time=dump.time)
    if not torn and not cut:
        return record, None
    what = "the zone was too small: its last bytes are missing" if not torn else \
        "its beginning is damaged; what can be read is shown"
    return record, Problem(where, what, "warning")


def _compressed_record(dump: Dump, source: Source, where: str,
                       room: int) -> tuple[Record, Problem | None]:
    """A record of what could be unpacked; it keeps the bytes as captured if that is not all."""
    text, algorithm, complete, _ = unpack(dump.body, max(room, 4096))
    source = source._replace(compression=algorithm or "unknown", truncated=not complete)
    record = captured("kernel", text, source, time=dump.time,
                      raw=None if complete else dump.body)
    return record, None if complete else Problem(where, not_whole(algorithm, text), "warning")


def not_whole(algorithm: str | None, text: bytes) -> str:
    """What to say of a compressed record that could not be unpacked to its end."""
    if text:
        return (f"the compressed log ({algorithm}) is damaged: its first {len(text)} bytes could "
                "be read, the newest lines are lost")
    if algorithm in (None, "deflate"):
        return "the compressed log is damaged at its start and cannot be read"
    return (f"the log is compressed with {algorithm}, which this version cannot read; it is kept "
            "as it is (pstore.compress=none or deflate on the kernel command line helps)")
