"""Journals for tests: entries to compare, rings to fill, appends as lists of writes."""

from __future__ import annotations

import os
from typing import Any

from lastlog_py.boot import Moment
from lastlog_py.medium import journal, journal_device
from lastlog_py.medium.journal import Entry
from lastlog_py.medium.journal_device import Journal

NOW = Moment(1795000000.5, True, 123.45)
Writes = list[tuple[int, bytes]]


def told(entry: Entry) -> tuple[Any, ...]:
    """Everything that an entry says, but not where it is."""
    return (entry.kind, entry.sequence, entry.boot, entry.uptime, entry.time, entry.trusted,
            entry.label, entry.form, entry.body, entry.torn)


def written(ring: bytes, entry: Entry) -> bytes:
    """`ring` with `entry` appended to it, as `append` does it."""
    return applied(ring, append_writes(ring, entry))


def append_writes(ring: bytes, entry: Entry) -> Writes:
    """What an append of `entry` writes into `ring`, in order; caught at the device's door."""
    caught: Writes = []

    class Caught(Journal):
        def _ring(self, _fd: int) -> bytes:
            return ring

        def _put(self, _fd: int, writes: Writes) -> None:
            caught.extend(writes)

    device = Caught("region", "", 0, len(ring), False)
    read = journal_device._read
    journal_device._read = lambda _fd, offset, size: applied(ring, caught)[offset:offset + size]
    try:
        device._add(-1, entry)
    finally:
        journal_device._read = read
    return caught


def applied(ring: bytes, writes: Writes) -> bytes:
    after = bytearray(ring)
    for offset, data in writes:
        after[offset:offset + len(data)] = data
    assert len(after) == len(ring)
    return bytes(after)


def cut(writes: Writes, count: int) -> Writes:
    """The first `count` bytes of `writes`."""
    kept = []
    for offset, data in writes:
        kept.append((offset, data[:count]))
        count -= len(kept[-1][1])
    return kept


def filled(capacity: int, *entries: Entry, seed: bytes = b"\0") -> bytes:
    """A ring with these entries appended, in memory that held `seed` all over."""
    ring = (seed * (capacity // len(seed) + 1))[:capacity]
    for entry in entries:
        ring = written(ring, entry)
    return ring


def log(number: int, size: int = 200, kind: str = "log") -> Entry:
    """An entry whose body tells it from others."""
    line = b"%s %d: something happened\n" % (kind.encode(), number)
    body = (line * (size // len(line) + 1))[:size]
    return Entry(kind, body, 0, 7, 100.0 + number, 1795000000.0 + number, True, f"log {number}")


def scanned(ring: bytes) -> list[tuple[Any, ...]]:
    return [told(entry) for entry in journal.scan(ring).entries]


def region_file(path: os.PathLike[str], size: int) -> Journal:
    """A journal that is a whole file."""
    with open(path, "wb") as file:
        file.write(bytes(size))
    return Journal("region", os.fspath(path), 0, size, True)
