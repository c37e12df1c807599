"""What a format module hands back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..record import Problem, Record

__all__ = ["MOST_RECORDS", "Reading", "blanked", "extents_of", "too_many"]

MOST_RECORDS = 1024             # a region has tens; more are noise, or made to keep us busy


class Reading(NamedTuple):
    """Records, not explained yet, and what is wrong with what they were read from."""

    records: list[Record]
    problems: list[Problem]
    # By a record's id, where it is in the region: (offset, size) in bytes, headers included.  A
    # trace of several CPUs is in several places, and one place may hold several records.
    extents: dict[str, list[tuple[int, int]]]


def extents_of(records: Sequence[Record], header: int = 0) -> dict[str, list[tuple[int, int]]]:
    """Where `records` are that are in one place each, as their sources say.

    header: bytes that stand before what a source counts.
    """
    extents: dict[str, list[tuple[int, int]]] = {}
    for record in records:
        place = (record.source.offset or 0, header + record.source.size)
        extents.setdefault(record.id, []).append(place)
    return extents


def blanked(region: bytes, spans: Iterable[tuple[int, int]]) -> bytes:
    """The region with these spans, offset and end in bytes, zeroed."""
    ordered = sorted(spans)
    whole = memoryview(region)
    zeros = memoryview(bytes(max((end - start for start, end in ordered), default=0)))
    pieces, at = [], 0              # views: the region is copied once
    for start, end in ordered:
        if end > at:
            pieces += [whole[at:start], zeros[:end - max(at, start)]]
            at = end
    return b"".join([*pieces, whole[at:]]) if pieces else region


def too_many(where: str, count: int) -> list[Problem]:
    """What to say of `count` records, of which MOST_RECORDS are shown."""
    more = count - MOST_RECORDS
    return [Problem(where, f"{more} more records are there than are shown", "warning")] \
        if more > 0 else []
