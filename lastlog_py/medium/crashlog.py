"""OpenWrt's crashlog, of its kernels 2.6.3x to 5.x: the file /sys/kernel/debug/crashlog, and the
memory that the kernel makes it from.

Source: OpenWrt's target/linux/generic, 930-crashlog.patch (kernel/crashlog.c).  Memory: u32 magic,
u32 length in the kernel's own byte order, then the data, four pages in all.  The data, which is
also the file: for each oops or panic of one boot "Time: seconds.microseconds" (not padded), before
the first of them a line of modules, then the newest of the log; between them a line of "=".

The kernel copies the data at boot and sets the length to 0; the bytes stay.  Pure: bytes in,
records and problems out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..record import Problem, Record, Source, captured
from .log_text import end_of
from .marks import CRASHLOG, PAGE, is_near
from .reading import MOST_RECORDS, Reading, extents_of, too_many

__all__ = ["Log", "erased", "find", "is_file", "log_at", "read", "read_file"]

HEADER_SIZE = 8
PAGES, LARGEST_PAGE = 4, 65536
START = rb"Time: (\d{1,20})\.(\d{1,6})\n"
BETWEEN = b"\n===================================\n"


class Log(NamedTuple):
    """A crashlog in memory."""

    offset: int                 # bytes from the region's start
    end: int                    # where its data ends
    left: bool                  # its length is 0: the kernel has handed it out, or it was erased


def is_file(data: bytes) -> bool:
    """Whether `data` is what the kernel shows in debugfs."""
    return re.match(START, data) is not None


def read_file(data: bytes) -> Reading:
    """The records in the file, the newest first; `extents` are within the file."""
    found, beyond = _records(data, 0, False, MOST_RECORDS)
    return Reading(found, too_many("crashlog", beyond and MOST_RECORDS + beyond),
                   extents_of(found))


def read(data: bytes, recover: bool = False, base: int = 0) -> Reading:
    """The records in the crashlogs in `data`, a region; the newest of each first.

    recover: also of those that the kernel has handed out, as far as their bytes are still there.
    base: as in find.
    """
    found: list[Record] = []
    problems: list[Problem] = []
    extents: dict[str, list[tuple[int, int]]] = {}
    beyond = 0
    for log in find(data, base):
        if recover or not log.left:
            most = MOST_RECORDS - len(found)
            records, more = _records(data[log.offset + HEADER_SIZE:log.end], log.offset, log.left,
                                     most)
            found += records
            beyond += more
            problems += [_left(log)] if log.left else []
            for record in records:
                extents.setdefault(record.id, []).append((log.offset, log.end - log.offset))
    problems += too_many("crashlog", beyond and MOST_RECORDS + beyond)
    return Reading(found, problems, extents)


def erased(log: bytes) -> bytes:
    """What the bytes of a crashlog in memory become when it is erased: an empty one."""
    return log[:4] + bytes(max(0, len(log) - 4))


def find(data: bytes, base: int = 0) -> list[Log]:
    """The crashlogs in `data`, each at the start of a page and with sensible data behind it.

    base: where the first page begins.
    """
    return [log for page in range(base, len(data), PAGE) if (log := log_at(data, page))]


def log_at(data: bytes, offset: int) -> Log | None:
    start = offset + HEADER_SIZE
    magic = int.from_bytes(data[offset:offset + 4], "big")
    order = next((CRASHLOG[mark] for mark in CRASHLOG if is_near(magic, mark)), None)
    if order is None or not re.compile(START).match(data, start):
        return None
    length = int.from_bytes(data[offset + 4:start], order)  # type: ignore[arg-type]
    most = PAGES * (PAGE if length <= PAGES * PAGE - HEADER_SIZE else LARGEST_PAGE) - HEADER_SIZE
    if length == 0 or length > most:
        return Log(offset, end_of(data, start, start + most), True)
    return Log(offset, min(start + length, len(data)), False)


def _dumps(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the dumps are in the data, oldest first; a line of "=" in a log separates nothing."""
    starts = [match.start() for match in re.finditer(rb"(?:\A|(?<=%s))%s" % (BETWEEN, START), data)]
    if not starts or starts[0] > 0:
        starts = [0, *starts]
    ends = [start - len(BETWEEN) for start in starts[1:]] + [len(data)]
    yield from zip(starts, ends, strict=True)


def _records(data: bytes, offset: int, left: bool, most: int) -> tuple[list[Record], int]:
    """The dumps in the data of the crashlog at `offset`, the newest first, and how many more than
    the `most` that are wanted there are."""
    dumps = list(_dumps(data))[::-1]
    found = [_record(data[start:end], Source("crashlog", offset=offset, recovered=left))
             for start, end in dumps[:most]]
    return [record for record in found if record.text.strip()], max(0, len(dumps) - most)


def _record(dump: bytes, source: Source) -> Record:
    """One dump as a record: the list of modules is part of its text."""
    match = re.match(START, dump)
    time = int(match[1]) + int(match[2]) / 1e6 if match and int(match[1]) < 1 << 31 else None
    text = dump[match.end() if match else 0:].rstrip(b"\0")
    return captured("kernel", text, source._replace(size=len(text)), time=time)


def _left(log: Log) -> Problem:
    what = ("recovered: the kernel has handed it out, and set its length to 0; or the length is "
            "damaged")
    return Problem(f"crashlog, offset {log.offset:#x}", what, "info")
