"""A dump that a backend with small records (efi, erst) stored in several parts, as one record;
and one that is in several files.

Source: fs/pstore/platform.c (pstore_dump).  Each part has a title line of its own; Part1 is the
newest piece of the log, so they are put together by descending number.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..record import Record, captured
from .compression import TITLE
from .pstorefs import EFI

__all__ = ["groups", "joined", "once"]

# erst's ids: the second when the kernel drew its first one << 32, and a count (cper_next_record_id
# of drivers/firmware/efi/cper.c).
ERST = 10**9


def groups(records: Sequence[Record]) -> list[list[int]]:
    """The indices of records that are one dump, in the order to join them in; most are alone.

    They have the same title but for its part, and the same time.  What has a part twice cannot be
    told apart, and is left as it is.
    """
    together: dict[object, list[int]] = {}
    for index, record in enumerate(records):
        together.setdefault(_dump(record) or index, []).append(index)
    found: list[list[int]] = []
    for group in together.values():
        parts = [_title(records[index])[2] for index in group] if len(group) > 1 else []
        if len(set(parts)) == len(parts):
            found.append(sorted(group, key=lambda index: -_title(records[index])[2])
                         if parts else group)
        else:
            found += [[index] for index in group]
    return found


def joined(records: Sequence[Record]) -> Record:
    """These parts of a dump, the oldest text first, as one record; the title is the first's."""
    first = records[0]
    if len(records) == 1:
        return first
    texts = [first.text, *(record.text.partition("\n")[2] for record in records[1:])]
    text = "".join(each if each.endswith("\n") else f"{each}\n" for each in texts)
    sources = [record.source for record in records]
    # Of the parts there have to be all, from the newest on.
    missing = _title(first)[2] != len(records)
    source = first.source._replace(
        zone=sources[-1].zone, size=sum(each.size for each in sources),
        torn=missing or any(each.torn for each in sources),
        truncated=any(each.truncated for each in sources))
    raws = [record.raw if record.raw is not None else record.text.encode() for record in records]
    raw = b"".join(raws) if any(record.raw is not None for record in records) else None
    return captured("kernel", text.encode(), source, time=first.time, raw=raw)


def once(records: Mapping[int, Record]) -> dict[int, Record]:
    """Each of the records once, the first of each; a dump whose time is not known, as it is not in
    a copy of the kernel's file, is one with the same text whose time is."""
    first: dict[str, int] = {}
    for index, record in records.items():
        first.setdefault(record.id, index)
    timed = {content for record in records.values() if record.time is not None
             for content in _contents(record)}
    return {index: record for index, record in records.items() if first[record.id] == index
            and (record.time is not None or timed.isdisjoint(_contents(record)[-1:]))}


def _contents(record: Record) -> list[object]:
    """What says that another record is the same: the text, and where it cannot stand for them, the
    bytes.  (The kernel need not have noticed the damage for which we keep them.)"""
    text, raw = (record.kind, record.text), (record.kind, record.text, record.raw)
    return [text] if record.raw is None else [text, raw] if record.text else [raw]


def _dump(record: Record) -> object:
    """What the parts of one dump have in common; None: the record is no part of one."""
    reason, number, part = _title(record)
    if record.kind != "kernel" or record.source.medium != "pstore" or not part:
        return None
    written = _written(record.source.zone or 0)
    second = None if record.time is None else int(record.time)
    return reason, number, written, second if written is None else None


def _written(name: int) -> int | None:
    """What a dump's parts have in common in the numbers of their files; None: there is no more
    in them than a count."""
    if name >> 32 > ERST:
        return name >> 32
    return name // EFI if name > EFI * 10**8 else None


def _title(record: Record) -> tuple[str, int, int]:
    """Reason, number and part of a dump; part 0: it has no title."""
    match = re.match(TITLE.decode(), record.text)
    return (match[1], int(match[2]), int(match[3])) if match else ("", 0, 0)
