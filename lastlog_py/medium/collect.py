"""Everything that is captured on this machine now, from every medium, each record once.

The kernel's pstore files, the raw region and the journal often hold the same record; then it is one
record with several places, and clearing it clears all of them.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Collection as Group
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..errors import LastlogError, code_of
from ..record import Problem, Record, Source, captured
from ..site import Site
from . import contents, device, geometry, journal_device, journal_records, pstorefs, ramoops
from .glance import CRASHLOG, PSTORE, slot_heads
from .journal import MAGIC
from .persistent_ram import HEADER_SIZE, empty_header, header_parity
from .reading import Reading

__all__ = ["Collection", "Found", "Place", "collect", "erase", "in_one_zone"]

ON_FLASH = "It is on flash, where lastlog never writes; mtdoops itself overwrites the oldest."
TILL_REBOOT = "The kernel shows it until the next reboot, and cannot erase it."
TAINT_DIE = 128                 # include/linux/panic.h: there was an oops in this boot


class Place(NamedTuple):
    """Where captured bytes are, well enough to erase just these and nothing newer."""

    medium: str                 # as in Source
    path: str                   # of the file, or of the device
    offset: int                 # bytes into the region, of the zone, slot or entry; 0 for a file
    size: int                   # bytes: of the file or entry, or the header and used data
    checksum: int               # CRC-32 of these bytes when they were read
    zone: tuple[str, int] | None  # kind and number of the zone: removing a pstore file empties
                                # the zone of its number, whatever is in it by then
    fixed: str = ""             # why lastlog cannot erase it; "": it can


class Found(NamedTuple):
    """A captured record and every place it is in."""

    record: Record
    places: tuple[Place, ...]
    of_this_boot: bool = False  # an oops that this boot survived: the kernel has no file for it


class Collection(NamedTuple):
    """What `collect` came back with."""

    found: list[Found]
    problems: list[Problem]
    zones: int                  # dump zones with a valid header in the region


def collect(site: Site) -> Collection:
    """All captured records of this machine, without explanation.  Never raises."""
    files, file_problems = _from_pstore(site.system(PSTORE))
    zones, region_problems, count = _from_region(site)
    moved, journal_problems = _from_journal(site)
    slots, slot_problems = _from_mtdoops(site)
    logs, log_problems = _from_crashlog(site)
    others, pmsg_problems = _parted(_merged(files, zones, _is_mounted(site)))
    return Collection(_joined(others + slots + logs, moved),
                      file_problems + region_problems + slot_problems + log_problems
                      + pmsg_problems + journal_problems, count)


def _from_pstore(folder: str) -> tuple[list[Found], list[Problem]]:
    found: list[Found] = []
    problems: list[Problem] = []
    try:
        names = pstorefs.listing(folder)
    except OSError as error:
        return [], [Problem(folder, f"it cannot be read ({error.strerror}): run lastlog as root",
                            "error")]
    for name in names:
        path = f"{folder}/{name}"
        try:
            data, time = pstorefs.read(path)
        except OSError as error:
            problems.append(Problem(path, f"it cannot be read: {error.strerror}", "error"))
            continue
        record, problem = pstorefs.record_of(name, data, time)
        problems += [problem] if problem else []
        if record:
            place = Place("pstore", path, 0, len(data), zlib.crc32(data), _zone_of(name))
            found.append(Found(record, (place,)))
    return _whole(found), problems


def _whole(files: list[Found]) -> list[Found]:
    """Each dump once: small backends keep it in several files."""
    if len(files) < 2:
        return files
    from . import joining  # mostly there is one, or none

    groups = joining.groups([each.record for each in files])
    return [Found(joining.joined([files[index].record for index in group]),
                  tuple(place for index in group for place in files[index].places))
            for group in groups]


def _zone_of(name: str) -> tuple[str, int] | None:
    file = pstorefs.parse_name(name)
    if file is None or file.backend != "ramoops" or file.number is None:
        return None
    return file.kind, file.number


def _is_mounted(site: Site) -> bool:
    return " pstore " in device.read_small(site.system("/proc/mounts"))


def _from_region(site: Site) -> tuple[list[Found], list[Problem], int]:
    try:
        where = device.find(site)
        region = where.read()
    except LastlogError as error:
        return [], [_no_region(site, error)], 0
    if not where.size and where.journal_size:
        return [], [], 0                # all of it is the journal: a board without ramoops
    there = contents.read(region, geometry.candidates(site), where.live)
    problems = list(there.reading.problems)
    short = where.size - len(region)
    if short > 0:
        problems.append(Problem(where.path, f"it ended {short} bytes early", "error"))
    return _found(where, region, there.reading), problems, there.zones


def _found(where: device.Device, region: bytes, reading: Reading) -> list[Found]:
    """The records in a region, with their places; of those that are there twice each has its
    own."""
    left = {name: list(extents) for name, extents in reading.extents.items()}
    times = Counter(record.id for record in reading.records)
    found = []
    for record in reading.records:
        extents = left[record.id]
        if times[record.id] > 1:
            extents = [extents.pop(0)]
        places = tuple(_place(where, region, record, offset, size) for offset, size in extents)
        found.append(Found(record, places, where.live and not _is_emptied(region, places[0])))
    return found


def _is_emptied(region: bytes, place: Place) -> bool:
    """Whether the zone's header says that there is nothing: a running driver has emptied it when it
    was loaded, so what is there is older."""
    return region[place.offset + 4:place.offset + HEADER_SIZE] == bytes(8)


def _no_region(site: Site, error: LastlogError) -> Problem:
    """Without a phram device there may still be ramoops, read through the kernel alone."""
    harmless = error.code == "no-region" and device.ramoops_runs(site)
    return Problem("region", f"{error.message} {error.hint}", "info" if harmless else "error")


def _place(where: device.Device, region: bytes, record: Record, offset: int,
           size: int) -> Place:
    used = region[offset:offset + size]
    source = record.source
    zone = (record.kind, source.zone) if where.live and source.zone is not None else None
    return Place(source.medium, where.path, offset, len(used), zlib.crc32(used), zone,
                 ON_FLASH if where.what == "flash" else "")


# --- other places


def _from_mtdoops(site: Site) -> tuple[list[Found], list[Problem]]:
    """What is in the partition that mtdoops writes to, where that is not the region."""
    where = device.oops_partition(site)
    if where is None or not slot_heads(site):       # all of it would take its time on flash
        return [], []
    try:
        data = where.read()
    except LastlogError as error:
        return [], [Problem("mtdoops", f"{error.message} {error.hint}", "error")]
    from . import mtdoops  # few machines need it

    reading = mtdoops.read(data)
    return _found(where, data, reading), reading.problems


def _from_crashlog(site: Site) -> tuple[list[Found], list[Problem]]:
    """What the kernel of an old OpenWrt kept of the last boot's crash."""
    path = site.system(CRASHLOG)
    try:
        data = pstorefs.read(path)[0]
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [Problem(path, f"it cannot be read: {error.strerror}", "error")]
    from . import crashlog  # few machines need it

    place = Place("crashlog", path, 0, len(data), zlib.crc32(data), None, TILL_REBOOT)
    return [Found(record, (place,)) for record in crashlog.read_file(data).records], []


# --- the journal


def _from_journal(site: Site) -> tuple[list[Found], list[Problem]]:
    """What is in the journal part of the region, but for the boots: those are the ledger's."""
    try:
        where = journal_device.on(site, device.find(site))
        scan = where.read()
    except LastlogError as error:
        # Without a region that is said already; no journal at all is a matter for readiness.
        known = error.code == "no-region" and "reaches into" not in error.message
        return [], [] if known else [Problem("journal", f"{error.message} {error.hint}", "error")]
    found: list[Found] = []
    problems = [Problem(f"journal, offset {where.start + offset}", what, "warning")
                for offset, what in scan.problems]
    for entry in scan.entries:
        if entry.kind != "boot":
            offset = where.start + (entry.offset or 0)
            source = Source("journal", offset=offset, size=len(entry.body), torn=entry.torn)
            record, problem = journal_records.record_of(entry, source, f"journal, offset {offset}")
            problems += [problem] if problem else []
            place = Place("journal", where.path, offset, entry.size, entry.checksum, None)
            found.append(Found(record, (place,)))
    return found, problems


def _parted(found: list[Found]) -> tuple[list[Found], list[Problem]]:
    """`found` with what lastlog wrote to pmsg, for want of a journal, as records of their own.

    They keep the place of the whole pmsg zone: it can be erased with all of them only.
    """
    parted: list[Found] = []
    problems: list[Problem] = []
    for each in found:
        pieces = journal_records.part(each.record) if each.record.kind == "pmsg" else None
        if pieces is None:
            parted.append(each)
        else:
            parted += [each._replace(record=record) for record in pieces.records]
            problems += pieces.problems
    return parted, problems


def _joined(others: list[Found], journal: list[Found]) -> list[Found]:
    """Each record once: what was moved into the journal may still be where it was.

    The journal's copy knows in which boot it happened.  One that only calls itself so is another.
    """
    rows = list(others)
    index = {each.record.id: at for at, each in enumerate(rows)}
    for each in journal:
        at = index.setdefault(each.record.id, len(rows))
        if at == len(rows):
            rows.append(each)
        elif _says_the_same(rows[at].record, each.record):
            record = rows[at].record
            rows[at] = rows[at]._replace(
                record=record._replace(boot=record.boot or each.record.boot),
                places=rows[at].places + each.places)
        else:
            rows.append(each._replace(record=_renamed(each.record)))
    return rows


def _says_the_same(one: Record, other: Record) -> bool:
    return (one.kind, one.text, one.raw) == (other.kind, other.text, other.raw)


def _renamed(record: Record) -> Record:
    """`record` with the id of what is in it."""
    fresh = captured(record.kind, record.text.encode(), record.source, time=record.time,
                     raw=b"renamed")
    return record._replace(id=fresh.id, crash=None)


# --- the same record on two media


def _merged(files: list[Found], zones: list[Found], mounted: bool) -> list[Found]:
    """Each record once: a zone and the kernel's file of it are one.

    What is only in a zone of a running ramoops, while the kernel's files can be seen, was written
    in this boot.
    """
    left = list(zones)
    merged = []
    for file in files:
        zone = next((each for each in left if _is_same(file, each)), None)
        if zone is not None:
            left.remove(zone)
        merged.append(_both(file, zone) if zone else file)
    return merged + [each._replace(of_this_boot=each.of_this_boot and mounted) for each in left]


def _is_same(file: Found, zone: Found) -> bool:
    """Whether a file and a zone hold one record: the same text, or two readings of the same dump.

    With the same text the times may differ: kernels before 5.4 or so give their files a wrong
    fraction, and without a clock the time of the mount.  And the kernel need not have noticed the
    damage for which we keep the bytes beside the text.  A damaged reading has another text: then
    zone, title and second have to be the same (a deflate stream can be damaged unnoticed; then
    the time has to be the same to the microsecond).
    """
    one, two = file.record, zone.record
    if one.kind != two.kind:
        return False
    if one.text == two.text:
        return one.raw == two.raw or (bool(one.text) and None in (one.raw, two.raw))
    if one.source.zone != two.source.zone or one.time is None or two.time is None:
        return False
    return _title(one) == _title(two) and int(one.time) == int(two.time) and \
        (one.time == two.time or _is_damaged(one) or _is_damaged(two))


def _title(record: Record) -> str:
    return record.text.partition("\n")[0]


def _is_damaged(record: Record) -> bool:
    source = record.source
    return source.torn or source.truncated or bool(source.ecc_failed)


def _both(file: Found, zone: Found) -> Found:
    """One record with two places, the kernel's file first: removing it erases the zone's header.

    The zone's reading counts, for its time is exact, unless it alone is damaged.
    """
    places = file.places + zone.places
    if file.record.text != zone.record.text and not _is_damaged(file.record):
        return Found(file.record, places)
    ecc = file.record.source
    source = zone.record.source._replace(ecc_corrected=ecc.ecc_corrected,
                                         ecc_failed=ecc.ecc_failed)
    return Found(zone.record._replace(source=source), places)


# --- erasing


def in_one_zone(one: Iterable[Place], other: Iterable[Place]) -> bool:
    """Whether erasing these places erases those."""
    theirs = {(place.path, place.offset) for place in other}
    zones = {place.zone for place in other if place.zone}
    return any((place.path, place.offset) in theirs or place.zone in zones for place in one)


def erase(site: Site, places: Sequence[Place], others: Group[Place] = ()) -> None:
    """Make `places`, which hold one record, free for the next crash.

    others: places whose records are erased along with it, or were erased before; a zone that is
    shared with them may have been emptied by now.
    Raises LastlogError if something cannot be erased, or holds something else by now.
    """
    fixed = [place for place in places if place.fixed]
    wanted = [place for place in places if place not in others and not place.fixed]
    for place in wanted:
        if not _is_gone(site, place):
            _check_unchanged(site, place)
    for place in wanted:
        if place.medium == "pstore":
            _unlink(place)
        elif place.medium == "journal":
            where = journal_device.on(site, device.find(site))
            where.erase_at(place.offset - where.start, place.size, place.checksum)
        else:
            _erase_zone(site, place)
    if fixed:
        raise LastlogError("read-only", fixed[0].fixed, "Nothing has to be done about it.")


def _is_gone(site: Site, place: Place) -> bool:
    """Whether somebody else has erased it: the file is not there, the zone is empty, or nothing
    begins there in the journal."""
    if place.medium == "pstore":
        return not os.path.lexists(place.path)
    if place.medium == "journal":
        return device.find(site).read(place.offset, len(MAGIC)) != MAGIC
    now = _device(site, place).read(place.offset, place.size)
    if place.medium == "ramoops" and now[4:HEADER_SIZE] == bytes(8):
        return True                     # as the kernel empties a zone
    return now == contents.erased(place.medium, now)


def _device(site: Site, place: Place) -> device.Device:
    """What `place` is on.  Raises LastlogError if it is not there any more."""
    where = device.oops_partition(site)
    return where if where is not None and where.path == place.path else device.find(site)


def _check_unchanged(site: Site, place: Place) -> None:
    """Raises LastlogError if there is something newer at `place`, or may be."""
    try:
        now = pstorefs.read(place.path)[0] if place.medium == "pstore" else \
            _device(site, place).read(place.offset, place.size)
    except OSError as error:
        raise LastlogError("io", f"{place.path} cannot be read: {error.strerror}.",
                           "Look at the list again.") from None
    if zlib.crc32(now) != place.checksum:
        raise LastlogError("busy", f"{place.path} has changed since it was read: a newer record "
                           "may be there.", "Look at the list again, and save before clearing.")
    if place.medium == "pstore" and place.zone and _is_blind(site):
        raise LastlogError("busy", "There was an oops in this boot, which may stand in the same "
                           f"zone as {os.path.basename(place.path)} and is not shown yet.",
                           "Mount /sys/fs/pstore anew (umount, then mount -t pstore pstore "
                           "/sys/fs/pstore), and look at the list again.")


def _is_blind(site: Site) -> bool:
    """Whether there may be a newer dump that cannot be seen, for want of a look at the region."""
    tainted = device.read_small(site.system("/proc/sys/kernel/tainted")).strip()
    if not tainted.isdigit() or not int(tainted) & TAINT_DIE:
        return False
    try:
        return not device.find(site).live
    except LastlogError:
        return True


def _unlink(place: Place) -> None:
    """Have the kernel erase a record: it zaps the zone's header, ECC included."""
    try:
        os.unlink(place.path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise LastlogError(code_of(error), f"{place.path} cannot be removed: {error.strerror}.",
                           "Run lastlog as root, with /sys/fs/pstore mounted read-write.") from None


def _erase_zone(site: Site, place: Place) -> None:
    """Wipe a record's header and text in one write, so that there is no half of it."""
    where = _device(site, place)
    if not where.live:
        now = where.read(place.offset, place.size)
        where.write(place.offset, contents.erased(place.medium, now))
        return
    header = where.read(place.offset, HEADER_SIZE)
    empty = empty_header(header)
    parity = _parity(site, where, place, empty) if header != empty else None
    # As persistent_ram_zap does it: the signature stays.  Without it the next crash would be
    # written, and then thrown away at the next boot (persistent_ram_post_init).
    where.write(place.offset, empty + bytes(place.size - len(empty)))
    if parity:
        where.write(*parity)


def _parity(site: Site, where: device.Device, place: Place,
            header: bytes) -> tuple[int, bytes] | None:
    """Where the parity of a running ramoops' zone is to go, and what, for a new header; None: it
    has none.  Raises LastlogError if there should be some and nobody knows where.

    Only oopses of the running boot come here: for all others the kernel has a file, and when that
    is removed it empties the zone itself.
    """
    said = geometry.candidates(site)
    zones, _ = ramoops.find_zones(where.read(), said)
    zone = next((zone for zone in zones if zone.slot.offset == place.offset), None)
    if zone and zone.ecc:
        end = zone.slot.offset + zone.slot.size
        return end - zone.ecc.size, header_parity(header, zone.ecc.size)
    if any(each.ecc for each in said):
        raise LastlogError("busy", "It is a record of the running boot, and error correction is "
                           "on, but its parity is not where it should be, so only the kernel can "
                           "erase it.", "Mount /sys/fs/pstore anew (umount, then mount -t pstore "
                           "pstore /sys/fs/pstore), and clear again.")
    return None
