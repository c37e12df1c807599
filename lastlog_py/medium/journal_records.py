"""Journal entries as records, from the ring and from a pmsg zone.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .. import archive_file
from ..errors import visible
from ..record import KINDS, Boot, Problem, Record, Source, captured
from .journal import Entry, Scan, scan
from .reading import MOST_RECORDS, too_many

__all__ = ["MOST_ENTRIES", "Parted", "part", "record_of", "records"]

MOST_ENTRIES = 1 << 16          # that are looked at; a journal has hundreds


class Parted(NamedTuple):
    """A journal, or a pmsg record, taken apart."""

    records: list[Record]       # what lastlog wrote, oldest first; then what remains, if anything
    problems: list[Problem]


def records(found: Scan, source: Callable[[Entry], Source], where: str) -> Parted:
    """The newest MOST_RECORDS of what was found, and what is wrong with them.

    Boots are the ledger's, and left out.  source: of an entry's record.  where: for the problems.
    """
    entries = [entry for entry in found.entries if entry.kind != "boot"]
    shown = entries[-MOST_RECORDS:]
    silent = {entry.offset for entry in found.entries} - {entry.offset for entry in shown}
    parted = Parted([], [Problem(f"{where}, offset {offset}", what, "warning")
                         for offset, what in found.problems if offset not in silent])
    for entry in shown:
        record, problem = record_of(entry, source(entry), f"{where}, offset {entry.offset}")
        parted.records.append(record)
        parted.problems.extend([problem] if problem else [])
    parted.problems.extend(too_many(where, len(entries)))
    return parted


def record_of(entry: Entry, source: Source, where: str) -> tuple[Record, Problem | None]:
    """The record in `entry`, not explained yet, and what is wrong with it.

    What was moved here is the record it was, id, source and all, as long as it is whole; a damaged
    copy is another record, so that it never passes for the whole one.
    """
    record, problem = None, None
    if entry.form == "record":
        record, problem = archive_file.parse(entry.body, where)
    if record is None:
        return _text(entry, source), problem
    if problem or entry.torn:
        fresh = captured(record.kind, entry.body, source)
        return record._replace(id=fresh.id, state="captured",
                               source=record.source._replace(torn=True)), problem
    return record._replace(state="captured"), None


def _text(entry: Entry, source: Source) -> Record:
    """A record whose text is the entry's body."""
    kind = entry.kind if entry.kind in KINDS and entry.form == "text" else "log"
    if not entry.sequence:                      # its header is damaged: nothing else is known
        return captured(kind, entry.body, source)._replace(title=visible(entry.label))
    boot = Boot(None, entry.boot, None, None) if entry.boot else None
    return captured(kind, entry.body, source, time=entry.time)._replace(
        time_trusted=entry.trusted, uptime=entry.uptime, boot=boot, title=visible(entry.label))


def part(whole: Record) -> Parted | None:
    """The records in a pmsg record's text, where there was no better journal than /dev/pmsg0.

    None: there are none.  Boots are the ledger's, and left out.
    """
    text = whole.text.encode() if whole.raw is None else whole.raw
    found = scan(text, 1, MOST_ENTRIES)
    if not found.entries:
        return None
    parted = records(found, lambda entry: whole.source._replace(size=len(entry.body),
                                                                torn=entry.torn), "pmsg")
    rest = _rest(text, found.entries)
    if rest.strip(b"\0 \t\r\n"):
        parted.records.append(captured("pmsg", rest, whole.source, time=whole.time))
    return parted


def _rest(text: bytes, entries: list[Entry]) -> bytes:
    """What of `text` is in none of the entries."""
    pieces, at = [], 0
    for start, size in sorted((entry.offset or 0, entry.size) for entry in entries):
        pieces.append(text[at:start])
        at = start + size
    return b"".join([*pieces, text[at:]])
