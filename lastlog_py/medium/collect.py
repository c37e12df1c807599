"""Everything that is captured on this machine now, from every medium, each record once.

The kernel's pstore files and the raw region often hold the same record; then it is one record
with two places, and clearing it clears both.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from ..config import Config
from ..errors import LastlogError
from ..record import Problem, Record
from . import device, geometry, pstorefs, ramoops

__all__ = ["Collection", "Found", "Place", "collect", "erase"]

PSTORE = "/sys/fs/pstore"


class Place(NamedTuple):
    """Where captured bytes are, well enough to erase just these and nothing newer."""

    medium: str                 # "pstore" | "ramoops"
    path: str                   # of the pstore file, or of the region's device
    offset: int                 # bytes into the region, of the zone; 0 for a file
    size: int                   # bytes: the zone's header and used data, or the file
    checksum: int               # CRC-32 of these bytes when they were read
    zone_size: int = 0          # bytes of the whole zone


class Found(NamedTuple):
    """A captured record and every place it is in."""

    record: Record
    places: tuple[Place, ...]


class Collection(NamedTuple):
    """What `collect` came back with."""

    found: list[Found]
    problems: list[Problem]
    zones: int                  # dump zones with a valid header in the region


def collect(config: Config) -> Collection:
    """All captured records of this machine, without explanation.  Never raises."""
    files, file_problems = _from_pstore(config.system(PSTORE))
    dumps, region_problems, zones = _from_region(config)
    return Collection(_merge([*files, *dumps]), file_problems + region_problems, zones)


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
            place = Place("pstore", path, 0, len(data), zlib.crc32(data))
            found.append(Found(record, (place,)))
    return found, problems


def _from_region(config: Config) -> tuple[list[Found], list[Problem], int]:
    try:
        where = device.find(config)
        region = where.read()
    except LastlogError as error:
        return [], [_no_region(config, error)], 0
    contents = ramoops.records(region, geometry.candidates(config), where.live)
    problems = list(contents.problems)
    short = where.size - len(region)
    if short > 0:
        problems.append(Problem(where.path, f"it ended {short} bytes early", "error"))
    return [Found(record, (_zone_place(where, region, record),)) for record in contents.records], \
        problems, contents.zones


def _no_region(config: Config, error: LastlogError) -> Problem:
    """Without a phram device there may still be ramoops, read through the kernel alone."""
    harmless = error.code == "no-region" and device.ramoops_runs(config)
    return Problem("region", f"{error.message} {error.hint}", "info" if harmless else "error")


def _zone_place(where: device.Device, region: bytes, record: Record) -> Place:
    offset = record.source.offset or 0
    used = region[offset:offset + ramoops.HEADER_SIZE + record.source.size]
    return Place("ramoops", where.path, offset, len(used), zlib.crc32(used),
                 record.source.zone_size or 0)


def _merge(found: Iterable[Found]) -> list[Found]:
    """Each record once.  Two readings of one dump, of which one is damaged, are one record too:
    the whole one counts."""
    merged: dict[tuple[str, ...], Found] = {}
    for each in found:
        key = _identity(each.record)
        known = merged.get(key)
        if known is None:
            merged[key] = each
            continue
        better, other = sorted((known, each), key=_damage)
        # The kernel's file first: it erases the zone's header itself.
        places = sorted(better.places + other.places, key=lambda place: place.medium)
        merged[key] = Found(better.record, tuple(places))
    return list(merged.values())


def _identity(record: Record) -> tuple[str, ...]:
    """What two readings of the same thing have in common."""
    title = record.text.partition("\n")[0]
    if record.kind == "kernel" and record.time is not None and "#" in title:
        return record.kind, f"{record.time:.6f}", title
    return (record.id,)


def _damage(found: Found) -> tuple[bool, int]:
    """Sort key: the most complete reading first."""
    source = found.record.source
    return source.torn or source.truncated or bool(source.ecc_failed), -len(found.record.text)


# --- erasing


def erase(config: Config, place: Place) -> None:
    """Make `place` free for the next crash.

    Raises LastlogError if it cannot be erased, or holds something else by now.
    """
    if place.medium == "pstore":
        _unlink(place)
    else:
        _erase_zone(config, place)


def _unlink(place: Place) -> None:
    """Have the kernel erase a record: it zaps the zone's header, ECC included."""
    try:
        data, _ = pstorefs.read(place.path)
        if zlib.crc32(data) != place.checksum:
            raise _changed(place)
        os.unlink(place.path)
    except FileNotFoundError:
        return
    except OSError as error:
        code = "read-only" if error.errno in (1, 13, 30) else "io"  # EPERM, EACCES, EROFS
        raise LastlogError(code, f"{place.path} cannot be removed: {error.strerror}.",
                           "Run lastlog as root, with /sys/fs/pstore mounted read-write.") from None


def _erase_zone(config: Config, place: Place) -> None:
    where = device.find(config)
    now = where.read(place.offset, place.size)
    header, blank = now[:ramoops.HEADER_SIZE], bytes(place.size)
    if now == blank:
        return                          # somebody else has cleared it
    if where.live and header[4:] == blank[:8]:
        # The kernel zapped the header when its file was removed; the text is still there.
        where.write(place.offset + len(header), blank[len(header):])
    elif zlib.crc32(now) != place.checksum:
        raise _changed(place)
    elif where.live:
        _zap(config, where, place)
    else:
        _wipe(where, place)


def _wipe(where: device.Device, place: Place) -> None:
    """Blank a zone that no driver is using: its header and data, and the ECC of the header.

    That ECC is the last thing in a zone, at most 32 bytes: left there, it would let the kernel
    "correct" a blank header back to the old one.  All zeros are a valid codeword.
    """
    end = max(place.size, min(place.zone_size, where.size - place.offset))
    parity = max(place.size, end - 32)
    where.write(place.offset, bytes(place.size))
    where.write(place.offset + parity, bytes(end - parity))


def _zap(config: Config, where: device.Device, place: Place) -> None:
    """Empty a zone of a running ramoops, as persistent_ram_zap does: the signature stays.

    Without the signature the next crash would be written, and then thrown away at the next boot
    (persistent_ram_post_init).  Only oopses of the running boot are erased in this way: for all
    others the kernel has a file.
    """
    if any(each.ecc for each in geometry.candidates(config)):
        raise LastlogError("busy", "It is a record of the running boot, and error correction is "
                           "on, so only the kernel can erase it.",
                           "Mount /sys/fs/pstore anew (umount, then mount -t pstore), and clear.")
    where.write(place.offset + 4, bytes(place.size - 4))


def _changed(place: Place) -> LastlogError:
    return LastlogError("busy", f"{place.path} has changed since it was read: a newer record may "
                        "be there.", "Look at the list again, and save before clearing.")
