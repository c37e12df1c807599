"""A file somebody sent: which format it is in, and the records in it.  Pure.

Each kind of file is one row of `_FORMATS`; the first that recognises the bytes reads them.  What
is none of these is read as a region, which may hold several formats at once.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

from ..record import Problem, Record, Source, readable
from . import contents, crashlog, journal_records, pstorefs, ramoops
from .compression import TITLE, begins, complaint, unpack
from .geometry import Geometry
from .journal import Entry, Scan, scan
from .reading import MOST_RECORDS, blanked

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
    return _read_in_order(name, data, given)


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
    the other as systemd-pstore puts them into its dmesg.txt.  Of very many the last has the rest.
    """
    starts = [match.start() for match in
              itertools.islice(re.finditer(BEGINNING, data), MOST_RECORDS)]
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


def _read_in_order(name: str, data: bytes, given: Sequence[Geometry]) -> Found:
    """A region, whose bytes may be swapped."""
    found = _read_region(name, data, given)
    if ramoops.is_blank(data):
        return found
    from . import swapped  # few dumps are

    unit = swapped.unit_of(data, found[0])
    again = _read_region(name, swapped.in_order(data, unit), given) if unit else found
    if not unit or not again[0]:
        return found
    what = f"its bytes are swapped in {'pairs' if unit == 2 else 'fours'}: read as if they were not"
    return again[0], [Problem(name, what, "info"), *again[1]]


def _read_region(name: str, data: bytes, given: Sequence[Geometry]) -> Found:
    """A region, the journal behind ramoops' part included.

    The journal's entries are blanked for the others: a log in them is no dump that lost its header.
    """
    journal = _journal(data, given)
    there = contents.read(blanked(data, map(_extent, journal.entries)), given, recover=True)
    bare, problems, _ = there.reading
    if journal.entries and not (bare or there.zones):
        problems = []                   # that nothing else is there is no news
    if not (bare or journal.entries or there.zones or ramoops.is_blank(data)):
        return _read_packed(name, data) if begins(data, 0) else \
            ([], [Problem(name, NOTHING, "error")])
    found = []
    for record in bare:
        parted = journal_records.part(record) if record.kind == "pmsg" else None
        found += parted.records if parted else [record]
        problems = [*problems, *(parted.problems if parted else [])]
    written = journal_records.records(journal, _source, "journal")
    known = {record.id for record in found}
    return ([*found, *{record.id: record for record in written.records if record.id not in known
                       }.values()], [*problems, *written.problems])


def _source(entry: Entry) -> Source:
    return Source("journal", offset=entry.offset, size=len(entry.body), torn=entry.torn)


def _journal(data: bytes, given: Sequence[Geometry]) -> Scan:
    """What is in the journal; what is in a zone of ramoops, pmsg's for one, is left to that."""
    found = scan(data, most=journal_records.MOST_ENTRIES)
    if not found.entries:
        return found
    used = sorted((zone.slot.offset, zone.end) for zone in ramoops.find_zones(data, given)[0])
    inside = {entry.offset for entry in found.entries if _is_within(used, entry.offset or 0)}
    found.entries = [entry for entry in found.entries if entry.offset not in inside]
    found.problems = [problem for problem in found.problems if problem[0] not in inside]
    return found


def _is_within(spans: Sequence[tuple[int, int]], at: int) -> bool:
    """Whether `at` is in one of the ordered spans, which do not overlap."""
    before = bisect_right(spans, at, key=itemgetter(0)) - 1
    return before >= 0 and at < spans[before][1]


def _extent(entry: Entry) -> tuple[int, int]:
    """Where the entry begins and ends in the region."""
    offset = entry.offset or 0
    return offset, offset + entry.size


_FORMATS = (Format(_is_pstore, _read_pstore), Format(_is_crashlog, _read_crashlog))
