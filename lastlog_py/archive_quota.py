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
STRAY = 30 * 86400                      # seconds: so far ahead of a later save is a wrong clock's
REPEAT, DAMAGED, LOG, CRASH = range(4)  # what a file is worth; the least goes first


class Saved(NamedTuple):
    """A file of the archive."""

    name: str
    size: int                           # bytes, packed
    entry: Entry | None                 # without text; None: nothing in it can be read
    damage: str | None = None           # what is wrong with it; None: whole
    newer: bool = False                 # in a format of the future: never evicted
    unread: bool = False                # the medium failed, it may be whole: never evicted

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
    """Oldest first: by credible time.  What has none stands behind all that was saved before."""
    whole = sorted((_Standing(each, entry.record, entry.serial, entry.record.crash
                              or entry.record.id) for each in files if (entry := each.whole)),
                   key=lambda each: (each.serial, each.saved.name))
    clock, keyed = float("-inf"), []
    for each, moment in zip(whole, _credible(whole), strict=True):
        own = clock if moment is None else moment
        clock = max(clock, own)
        keyed.append((own, each))
    return [each for _, each in sorted(keyed, key=lambda pair: pair[0])]


def _credible(saved: Sequence[_Standing]) -> list[float | None]:
    """The time of each, given in the order of saving; None: nothing to go by.

    Clocks step back: where a later save says a time far earlier, one of the two clocks was wrong,
    nobody knows which, and the order of saving is what is left.
    """
    least, moments = float("inf"), []
    for each in reversed(saved):
        moment = each.record.time if each.record.time_trusted else None
        moments.append(None if moment is None or moment > least + STRAY else moment)
        least = least if moment is None else min(least, moment)
    return moments[::-1]


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
    """What may go for `incoming`, in the order in which it goes.

    The kernel crash saved last before it, whatever its clock said, is the last of its worth.
    """
    standing = _standing([*files, incoming])
    safe = {incoming.name, *_newest_kernel_crashes(standing)}
    late = _saved_last_before(incoming, standing)
    worth = _worth(standing)
    limit = _limit(incoming, standing, files, worth)
    damaged = [(DAMAGED, False, -1, 0, each) for each in files
               if each.damage and not each.newer and not each.unread]
    whole = [(worth[each.saved.name], each.saved.name in late, *place, each.saved)
             for each, place in zip(standing, _places(standing), strict=True)
             if each.saved.name not in safe]
    ranked = sorted([*damaged, *whole], key=lambda each: each[:4])
    return [saved for rank, _, _, _, saved in ranked if rank <= limit]


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


def _kernel_crashes(standing: list[_Standing]) -> list[_Standing]:
    return [each for each in standing if each.record.kind == "kernel" and each.record.crash]


def _newest_kernel_crashes(standing: list[_Standing]) -> set[str]:
    """The names of the files of the newest by time, and of the one that was saved last."""
    crashes = _kernel_crashes(standing)
    if not crashes:
        return set()
    return _files_of(crashes[-1], standing) | _files_of(max(crashes, key=_serial), standing)


def _saved_last_before(incoming: Saved, standing: list[_Standing]) -> set[str]:
    """The names of the files of the kernel crash that was saved last before `incoming`'s."""
    own = {each.crash for each in standing if each.saved == incoming}
    others = [each for each in _kernel_crashes(standing) if each.crash not in own]
    return _files_of(max(others, key=_serial), standing) if others else set()


def _files_of(crash: _Standing, standing: list[_Standing]) -> set[str]:
    """The names of a kernel crash's files, and of its signature's carrier."""
    names = {each.saved.name for each in _kernel_crashes(standing) if each.crash == crash.crash}
    if crash.record.signature:
        names.add(max(_of(crash.record.signature, standing), key=_serial).saved.name)
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
