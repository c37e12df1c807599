"""What the archive's files say together: their order, how often a crash was seen, and which of
them go first when room is short.  Pure: no file is touched.

There is no index that could be lost or disagree.  The record of a signature that was saved last
carries what is known of all of them, also of those that are gone; it is the signature's carrier.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .archive_file import Entry
from .record import Record

__all__ = ["Saved", "chronological", "next_entry", "tallied", "victims"]

COUNTED = 32                            # crashes whose ids a carrier remembers as counted
REPEAT, DAMAGED, LOG, CRASH = range(4)  # what a file is worth; the least goes first


class Saved(NamedTuple):
    """A file of the archive."""

    name: str
    size: int                           # bytes, packed
    entry: Entry | None                 # without text; None: nothing in it can be read
    damage: str | None = None           # what is wrong with it; None: whole
    newer: bool = False                 # in a format of the future: never evicted

    @property
    def whole(self) -> Entry | None:
        return None if self.damage else self.entry


class _Standing(NamedTuple):
    """A whole record in its place."""

    saved: Saved
    record: Record
    serial: int
    crash: str                          # what this record and others of the same crash share


def chronological(files: Iterable[Saved]) -> list[Saved]:
    """The whole records, oldest first."""
    return [each.saved for each in _standing(files)]


def tallied(files: Iterable[Saved]) -> list[Record]:
    """The whole records, newest first, each with the count and times of its signature."""
    standing = _standing(files)
    tallies = {signature: _tally(signature, standing) for signature in
               {each.record.signature for each in standing} if signature}
    return [each.record._replace(**tallies.get(each.record.signature or "", {}))
            for each in reversed(standing)]


def next_entry(record: Record, files: Iterable[Saved]) -> Entry:
    """`record` as the next to be saved beside `files`: with its serial number and tally."""
    standing = _standing(files)
    serial = max((each.serial for each in standing), default=0) + 1
    if not record.signature:
        return Entry(record, serial)
    crash, known = record.crash or record.id, _counted(record.signature, standing)
    seen = {**_tally(record.signature, standing, record), "count": _count(record, standing)}
    return Entry(record._replace(**seen), serial, (*(each for each in known if each != crash),
                                                   crash)[-COUNTED:])


def victims(incoming: Saved, files: Sequence[Saved], needed: int) -> list[Saved] | None:
    """The files that go so that `needed` bytes get free for `incoming`; None: they cannot.

    incoming: whole, not among `files`.  It pushes out nothing that is worth more than itself.
    """
    going: list[Saved] = []
    for each in _expendable(incoming, files):
        if needed <= 0:
            break
        going.append(each)
        needed -= each.size
    return going if needed <= 0 else None


def _standing(files: Iterable[Saved]) -> list[_Standing]:
    """Oldest first: by trusted time.  What has none stands behind all that was saved before."""
    whole = [(entry.serial, each.name, each, entry.record) for each in files
             if (entry := each.whole)]
    clock, keyed = float("-inf"), []
    for serial, name, saved, record in sorted(whole, key=lambda each: each[:2]):
        own = record.time if record.time_trusted and record.time is not None else clock
        clock = max(clock, own)
        keyed.append((own, serial, name, saved, record))
    keyed.sort(key=lambda each: each[:3])
    return [_Standing(saved, record, serial, record.crash or record.id)
            for _, serial, _, saved, record in keyed]


# How often

def _of(signature: str, standing: Iterable[_Standing]) -> list[_Standing]:
    return [each for each in standing if each.record.signature == signature]


def _tally(signature: str, standing: Iterable[_Standing],
           another: Record | None = None) -> dict[str, Any]:
    """count, first_seen and last_seen as the records of a signature have them together."""
    records = [each.record for each in _of(signature, standing)]
    moments = [moment for each in records for moment in (each.first_seen, each.last_seen)
               if moment is not None]
    if another and another.time_trusted and another.time is not None:
        moments.append(another.time)
    return {"count": max((each.count for each in records), default=1),
            "first_seen": min(moments, default=None), "last_seen": max(moments, default=None)}


def _count(record: Record, standing: list[_Standing]) -> int:
    """Crashes of `record`'s signature, its own among them."""
    signature, crash = record.signature or "", record.crash or record.id
    family = _of(signature, standing)
    before = max((each.record.count for each in family), default=0)
    known = crash in _counted(signature, standing) or any(each.crash == crash for each in family)
    return max(1, before + (not known))


def _counted(signature: str, standing: Iterable[_Standing]) -> tuple[str, ...]:
    carrier = max(_of(signature, standing), key=_serial, default=None)
    entry = carrier and carrier.saved.entry
    return entry.counted if entry else ()


def _serial(each: _Standing) -> int:
    return each.serial


# What goes

def _expendable(incoming: Saved, files: Sequence[Saved]) -> list[Saved]:
    """What may go for `incoming`, in the order in which it goes."""
    standing = _standing([*files, incoming])
    safe = {incoming.name, *_newest_kernel_crash(standing)}
    worth = _worth(standing)
    limit = _limit(incoming, standing, files, worth)
    damaged = [(DAMAGED, -1, 0, each) for each in files if each.damage and not each.newer]
    whole = [(worth[each.saved.name], *place, each.saved)
             for each, place in zip(standing, _places(standing), strict=True)
             if each.saved.name not in safe]
    ranked = sorted([*damaged, *whole], key=lambda each: each[:3])
    return [saved for rank, _, _, saved in ranked if rank <= limit]


def _limit(incoming: Saved, standing: list[_Standing], files: Sequence[Saved],
           worth: dict[str, int]) -> int:
    """The most that a file may be worth to go for `incoming`; -1: nothing goes.

    A repeat that had to go before does not come back at the cost of others, over and over.
    """
    entry = incoming.entry
    if entry and entry.record.signature:
        crash, others = entry.record.crash or entry.record.id, _standing(files)
        known = crash in _counted(entry.record.signature, others)
        if known and all(each.crash != crash for each in others):
            return -1
    return worth[incoming.name]


def _newest_kernel_crash(standing: list[_Standing]) -> set[str]:
    """The names of its files, and of its signature's carrier.

    Newest by time, and the one that was saved last: a router's clock may be set back, or may have
    been far ahead.
    """
    crashes = [each for each in standing if each.record.kind == "kernel" and each.record.crash]
    names: set[str] = set()
    for newest in (crashes[-1], max(crashes, key=_serial)) if crashes else ():
        names.update(each.saved.name for each in crashes if each.crash == newest.crash)
        if newest.record.signature:
            names.add(max(_of(newest.record.signature, standing), key=_serial).saved.name)
    return names


def _worth(standing: list[_Standing]) -> dict[str, int]:
    """REPEAT, LOG or CRASH for every file name."""
    repeats = _repeats(standing)
    return {each.saved.name: REPEAT if each.saved.name in repeats
            else CRASH if each.record.crash or each.record.kind == "coredump" else LOG
            for each in standing}


def _repeats(standing: list[_Standing]) -> set[str]:
    """Names of the files between the first and the last crash of a signature."""
    names: set[str] = set()
    for signature in {each.record.signature for each in standing} - {None, ""}:
        family = _of(signature or "", standing)
        edges = {family[0].crash, family[-1].crash, max(family, key=_serial).crash}
        names.update(each.saved.name for each in family if each.crash not in edges)
    return names


def _places(standing: list[_Standing]) -> list[tuple[int, int]]:
    """Where each stands in line; a signature's carrier goes last of them, with the count."""
    last = {each.record.signature: at for at, each in enumerate(standing)}
    serials: dict[str | None, int] = {}
    for each in standing:
        signature = each.record.signature
        serials[signature] = max(each.serial, serials.get(signature, 0))
    return [(last[each.record.signature], 1)
            if each.record.signature and each.serial == serials[each.record.signature]
            else (at, 0) for at, each in enumerate(standing)]
