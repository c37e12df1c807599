"""Which records tell of the same crash.

With kernel.panic_on_oops one fault leaves two records: "Oops#1", written when it happened, and
"Panic#2", written right after, which repeats the oops and says more.  An oops that the kernel
survived is a crash of its own, whatever came after it.

The two belong together if nothing was dumped between them, if both are about the same fault,
and if the panic's log repeats the line that the log of the oops ends with, which makes them of
one boot, or would but for some damage.  Records are many where a hostile region says so: they
are looked up, never compared each with each.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product

from ..record import Record
from .line import ends_of
from .pattern import Pattern

__all__ = ["group"]

_NO_CRASH = ("shutdown", "emergency")
_MOMENT = 10.0          # seconds between an oops and the panic it leads to
_UNKNOWN = -1.0         # an uptime that is not known; sorts first

_STAMPED = Pattern(r"(?:<\d{1,4}>)?\[ {0,11}\d{1,12}\.\d{1,9}\]")

# What an oops and its panic have in common: the panic's number, the signature, the line that
# the oops' log ends with; or, where one does not have it, a word that neither could be.
_Key = tuple[int | str, str | None, str | None]
# Of the panics with that key their uptime and id, in the order of time.
_Panics = Mapping[_Key, Sequence[tuple[float, str]]]


def _is_crash(record: Record) -> bool:
    """Whether the record tells of a crash, rather than of a clean end or of something else."""
    if record.kind == "kernel":
        return record.kernel is not None and record.kernel.reason not in _NO_CRASH
    return record.kind == "coredump"


def group(records: Sequence[Record]) -> list[Record]:
    """The same records in the same order, with `crash` set.

    A crash is named by its own record, an oops that led to a panic by the panic's.
    """
    panics = _panics(records)
    return [record._replace(crash=_crash(record, panics)) for record in records]


def _crash(record: Record, panics: _Panics) -> str | None:
    if not _is_crash(record):
        return None
    if not _is(record, "oops"):
        return record.id
    led_to = (_soonest(record, panics.get(key, ())) for key in _keys_of_oops(record))
    return next(filter(None, led_to), record.id)


def _is(record: Record, reason: str) -> bool:
    return record.kernel is not None and record.kernel.reason == reason


def _panics(records: Sequence[Record]) -> _Panics:
    ends = {_last_line(record) for record in records if _is(record, "oops")} - {None}
    panics = defaultdict(list)
    for record in records:
        if _is(record, "panic"):
            for key in _keys_of_panic(record, ends):
                panics[key].append((_uptime(record), record.id))
    for same in panics.values():
        same.sort()
    return panics


def _keys_of_oops(oops: Record) -> Iterator[_Key]:
    """What its panic may be found by, the surest first."""
    number = oops.kernel.sequence if oops.kernel else None
    numbers = ("any",) if number is None else (number + 1, "unnumbered")
    lines = (_last_line(oops), "any" if _damaged(oops) else "damaged")
    return product(numbers, (oops.signature, "lost"), lines)


def _keys_of_panic(panic: Record, ends: Collection[str | None]) -> Iterator[_Key]:
    """What an oops may look for.  Of a panic's log the part with the fault may be lost."""
    assert panic.kernel is not None
    number = panic.kernel.sequence
    numbers = ("any", "unnumbered" if number is None else number)
    lost = panic.kernel.cause == "other"
    faults = {panic.signature, "lost" if lost else None} - {None}
    lines = {line for line in ends_of(panic.text).split("\n") if line in ends}
    return product(numbers, faults, lines | {"any", "damaged" if _damaged(panic) else "any"})


def _soonest(oops: Record, panics: Sequence[tuple[float, str]]) -> str | None:
    """The id of the panic that came soonest after the oops, if it came soon."""
    start = _uptime(oops)
    unknown = start == _UNKNOWN or (panics and panics[0][0] == _UNKNOWN)
    first = 0 if unknown else bisect_left(panics, (start, ""))
    for uptime, name in panics[first:first + 1]:
        if unknown or uptime - start <= _MOMENT:
            return name
    return None


def _uptime(record: Record) -> float:
    return _UNKNOWN if record.uptime is None else record.uptime


def _last_line(record: Record) -> str | None:
    """The last line with a time stamp."""
    lines = reversed(ends_of(record.text).rstrip().split("\n"))
    return next((line for line in lines if _STAMPED.match(line)), None)


def _damaged(record: Record) -> bool:
    return record.source.torn or record.source.truncated
