"""A file somebody sent: which format it is in, and the records in it.  Pure.

Each kind of file is one row of `_FORMATS`; the first that recognises the bytes reads them.  What
is none of these is read as a region, which may hold several formats at once.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..record import Problem, Record, Source, readable
from . import contents, crashlog, journal_records, pstorefs, ramoops
from .compression import TITLE, begins, complaint, unpack
from .geometry import Geometry
from .journal import MAGIC, Entry, scan

__all__ = ["read_again", "records"]

MOST_TEXT = 4 << 20                 # bytes; no kernel's log ring is larger

Found = tuple[list[Record], list[Problem]]

NOTHING = ("nothing that lastlog can read is in it; it reads dumps of a whole region or MTD "
           "partition (by dd, or by nanddump without out-of-band data), the files of "
           "/sys/fs/pstore under their own names, the crashlog of debugfs, and saved records")


class Format(NamedTuple):
    """One format that a dump can be in."""

    recognise: Callable[[str, bytes], bool]                     # by file name and bytes
    read: Callable[[str, bytes, float | None], Found]


def records(name: str, data: bytes, given: Sequence[Geometry] = (),
            time: float | None = None) -> Found:
    """The records in `data`, a file called `name` (without its folder), and what is wrong with it.

    given: the region's geometry, if it was said.  time: in seconds, of the dump in a file of
    /sys/fs/pstore, if that is known.
    """
    if not data:
        return [], [Problem(name, "it is empty", "error")]
    for each in _FORMATS:
        if each.recognise(name, data):
            return each.read(name, data, time)
    return _read_region(name, data, given)


def read_again(record: Record) -> Record:
    """A saved record with the text of its captured bytes, if the machine that saved it could not
    unpack them, and this one can."""
    if record.text or record.raw is None or record.source.compression is None:
        return record
    read = unpack(record.raw, MOST_TEXT)
    source = record.source._replace(compression=read.algorithm or record.source.compression,
                                    truncated=not read.complete, torn=read.torn)
    return record._replace(text=readable(read.text), source=source,
                           raw=record.raw if complaint(read) else None)


# How a dump's text begins.
BEGINNING = rb"(?m)^(?:%b)?%b" % (pstorefs.TOTAL, TITLE)


def _is_pstore(name: str, data: bytes) -> bool:
    return pstorefs.parse_name(name) is not None or re.match(BEGINNING, data) is not None


def _read_pstore(name: str, data: bytes, time: float | None) -> Found:
    if pstorefs.parse_name(name) is None:
        return _read_text(name, data)
    record, problem = pstorefs.record_of(name, data, time)
    return [record] if record else [], [problem] if problem else []


def _read_text(name: str, data: bytes) -> Found:
    """The text of a dump under a name of somebody's own, or of several, or of its parts, one behind
    the other as systemd-pstore puts them into its dmesg.txt."""
    starts = [match.start() for match in re.finditer(BEGINNING, data)]
    found = [pstorefs.record_of("dmesg-unknown", data[start:end], None)
             for start, end in itertools.pairwise([*starts, len(data)])]
    return ([record for record, _ in found if record],
            [problem._replace(where=name) for _, problem in found if problem])


def _is_crashlog(_name: str, data: bytes) -> bool:
    return crashlog.is_file(data)


def _read_crashlog(_name: str, data: bytes, _time: float | None) -> Found:
    return crashlog.read_file(data)[:2]


def _read_packed(name: str, data: bytes) -> Found:
    """The compressed bytes of a dump, under a name of somebody's own."""
    record, problem = pstorefs.record_of("dmesg-unknown-0.enc.z", data, None)
    return [record] if record else [], [problem._replace(where=name)] if problem else []


def _read_region(name: str, data: bytes, given: Sequence[Geometry]) -> Found:
    """A region, the journal behind ramoops' part included."""
    entries = _journal(data, given)
    there = contents.read(_without(data, entries), given, recover=True)
    bare, problems, _ = there.reading
    if not (bare or entries or there.zones or ramoops.is_blank(data)):
        return _read_packed(name, data) if begins(data, 0) else \
            ([], [Problem(name, NOTHING, "error")])
    found = []
    for record in bare:
        parted = journal_records.part(record) if record.kind == "pmsg" else None
        found += parted.records if parted else [record]
        problems = [*problems, *(parted.problems if parted else [])]
    for entry in entries:
        if entry.kind != "boot":
            where = f"journal, offset {entry.offset}"
            source = Source("journal", offset=entry.offset, size=len(entry.body), torn=entry.torn)
            record, problem = journal_records.record_of(entry, source, where)
            found += [record] if record.id not in {each.id for each in found} else []
            problems = [*problems, *([problem] if problem else [])]
    return found, problems


def _journal(data: bytes, given: Sequence[Geometry]) -> list[Entry]:
    """What is in the journal; what is in a zone of ramoops, pmsg's for one, is left to that."""
    if MAGIC not in data:
        return []
    used = [(zone.slot.offset, zone.end) for zone in ramoops.find_zones(data, given)[0]]
    return [entry for entry in scan(data).entries
            if not any(start <= (entry.offset or 0) < end for start, end in used)]


def _without(data: bytes, entries: list[Entry]) -> bytes:
    """The region with the journal's entries blanked: a log in them is no dump that lost its
    header."""
    if not entries:
        return data
    bare = bytearray(data)
    for entry in entries:
        start = entry.offset or 0
        bare[start:start + entry.size] = bytes(entry.size)
    return bytes(bare)


_FORMATS = (Format(_is_pstore, _read_pstore), Format(_is_crashlog, _read_crashlog))
