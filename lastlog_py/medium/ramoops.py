"""ramoops: the zones that a crashed kernel left in a region, as records.

Source: fs/pstore/ram.c (ramoops_init_przs, ramoops_pstore_write) and fs/pstore/ram_core.c
(struct persistent_ram_buffer), kernels 3.5 to 6.12.  All integers are in the crashed kernel's own
byte order.  Pure: bytes in, records and problems out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..record import Problem, Record, Source, captured
from .compression import TITLE, unpack
from .geometry import Geometry

__all__ = ["HEADER_SIZE", "Contents", "Zone", "find_zones", "is_blank", "layouts", "records"]

HEADER_SIZE = 12                    # u32 sig, s32 start, s32 size
SIGNATURE = 0x43474244              # "DBGC" in little-endian memory
BLOCK = 128                         # data bytes per ECC block

# "====sec.usec-C\n" before each dump: C compressed, D plain.  3.5 to 3.11 write no letter, and
# up to about 4.19 the microseconds are not padded with zeros.  The second is signed since 4.19.
DUMP = re.compile(rb"====(-?\d{1,20})\.(\d{1,6})(?:-([A-Z]))?\n")
PRINTABLE = bytes((9, 10, *range(32, 127)))
CONSOLE_LINE = re.compile(rb"^\[ *\d+\.\d{6}\]", re.MULTILINE)


class Slot(NamedTuple):
    """Where a layout says that a zone is."""

    kind: str                   # "kernel" | "console" | "ftrace" | "pmsg" | "?"
    number: int                 # among the zones of its kind, from 0
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
    for zone in zones:
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

    A header that is neither valid nor blank was damaged, and what its zone holds is not read.
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
    return Problem(f"region, {slot.kind} zone {slot.number}", "its header is damaged, so what it "
                   "holds is not read; error correction (ramoops.ecc=1) guards against this",
                   "warning")


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
        if zone:
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
    if not body or DUMP.search(body):
        return "kernel"
    lines = body.count(b"\n", 0, 8192) + 1
    return "console" if len(CONSOLE_LINE.findall(body[:8192])) * 2 >= lines else "pmsg"


def is_blank(region: bytes) -> bool:
    """Whether nothing was ever written to `region`, or all of it was wiped."""
    return len(region) in (region.count(0), region.count(255))


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
    source = Source("ramoops", zone.slot.number, zone.slot.offset, zone.used,
                    zone.slot.size)
    where = f"region, {zone.slot.kind} zone {zone.slot.number}"
    if zone.slot.kind in ("console", "pmsg"):
        return [captured(zone.slot.kind, body, source)], []
    if zone.slot.kind == "ftrace":
        what = f"{zone.used} bytes of function trace, which this version does not read"
        return [], [Problem(where, what, "info")]
    found: list[Record] = []
    problems: list[Problem] = []
    for dump in _dumps(body):
        record, problem = _kernel_record(dump, source, zone, where)
        found += [record] if record else []
        problems += [problem] if problem else []
    return found, problems


def _dumps(body: bytes) -> Iterator[Dump]:
    """The dumps in a zone's body.

    Usually one.  Kernels before 5.5 did not zap a zone before they wrote the next dump, so that
    it stands behind the old one.  A "====" line within a text is no header unless the title
    of a dump, or compressed data, follows.
    """
    headers = [match for match in DUMP.finditer(body) if _is_header(body, match)]
    if not headers or headers[0].start() > 0:
        yield Dump(None, False, body[:headers[0].start()] if headers else body)
    ends = [match.start() for match in headers] + [len(body)]
    for match, end in zip(headers, ends[1:], strict=True):
        yield Dump(_seconds(match[1], match[2]), match[3] == b"C", body[match.end():end])


def _is_header(body: bytes, match: re.Match[bytes]) -> bool:
    after = body[match.end():]
    if match[3] == b"C" and match.start() > 0:
        after = unpack(after, 64).text
    return match.start() == 0 or TITLE.match(after) is not None


def _seconds(seconds: bytes, microseconds: bytes) -> float | None:
    """The header's time.  Beyond 2106 it is a negative time_t printed unsigned: no time at all."""
    whole = int(seconds)
    return whole + int(microseconds) / 1e6 if abs(whole) < 1 << 32 else None


def _kernel_record(dump: Dump, source: Source, zone: Zone,
                   where: str) -> tuple[Record | None, Problem | None]:
    if dump.compressed and not TITLE.match(dump.body):      # the letter may have lost a bit
        return _compressed_record(dump, source, zone, where)
    if dump.time is None and not _is_text(dump.body):
        what = f"{len(dump.body)} bytes that are no crash record"
        return None, Problem(where, what, "warning")
    # A full zone lost its last bytes: the header line was not counted (ramoops_pstore_write).
    full = zone.used >= zone.slot.size - HEADER_SIZE - len("====1234567890.123456-D\n")
    cut = full and not dump.body.endswith(b"\n")
    torn = dump.time is None
    source = source._replace(truncated=cut, torn=torn)
    what = "its header is lost, so its time is not known" if torn else \
        "the zone was too small: its last bytes are missing"
    return captured("kernel", dump.body, source, time=dump.time), \
        Problem(where, what, "warning") if torn or cut else None


def _compressed_record(dump: Dump, source: Source, zone: Zone,
                       where: str) -> tuple[Record, Problem | None]:
    """A record of what could be unpacked; it keeps the bytes as captured if that is not all."""
    text, algorithm, complete = unpack(dump.body, max(65536, 8 * zone.slot.size))
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


def _is_text(body: bytes) -> bool:
    """Whether at least nine of ten bytes of `body` are printable, so that it is worth showing."""
    return len(body.translate(None, PRINTABLE)) * 10 <= len(body)
