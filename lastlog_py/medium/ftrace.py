"""pstore's function trace: records of one call each, as the lines of the kernel's ftrace file.

Source: include/linux/pstore.h (struct pstore_ftrace_record), fs/pstore/inode.c
(pstore_ftrace_seq_show), fs/pstore/ftrace.c (pstore_ftrace_combine_log).  A record is

    since 4.10          unsigned long ip, parent_ip; u64 ts
    3.6 to 4.9          unsigned long ip, parent_ip; unsigned int cpu

in the kernel's own byte order.  The low 8 bits of ts are the CPU, the rest counts calls.  ARM
kernels for at most 4 CPUs (2 with Thumb code) have the CPU in the low bits of ip instead, and
nothing but the count in ts, or no third word.  Nothing says which form it is: it is the one in
which addresses are addresses.  Without the kernel's symbols, functions are shown as the kernel
itself shows an address that it has none for (lib/vsprintf.c).  Pure: bytes in, text out.
"""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

from ..record import Problem, Record, Source, captured

__all__ = ["MOST_TEXT", "record_of", "text_of"]

MOST_TEXT = 10 << 20            # bytes; a zone of 1 MiB makes less than 4
SAMPLE = 512                    # calls that show a form
SURE = 0.9                      # of the sample has to fit
MOST_CPUS = 4096                # CONFIG_NR_CPUS of large kernels; with ts it is 256
# The upper 16 bits of kernel addresses on 64 bits: everywhere, on ppc64, on mips64.
KERNEL = frozenset((0xffff, 0xc000, 0xc008, 0x9000, 0x9800, 0xa800))
MOST_ZONES = 64                 # and no router has that many CPUs
LAST_PAGE = 1 << 12             # bytes at the end of the address space, where no code is
PART, MOST_PARTS = 24, 16       # functions are within a few times 16 MiB of each other: text is not
LOWEST = 0x3f000000             # on 32 bits: modules of an ARM kernel that has 3 GB for itself
SMALL_STEP = 128                # less than this is between bare ticks of successive calls
WORD = 4                        # bytes, of which all sizes of records and zones are a multiple
LARGEST = 24                    # bytes of a record
MOST_TORN = 1 << 20             # bytes of torn zones that are worth looking at

Row = tuple[int, ...]                   # the words of a record


class Call(NamedTuple):
    """One call of a function."""

    cpu: int
    tick: int                   # a counter of calls on all CPUs; 0: there is none
    ip: int                     # of the function that was called
    parent_ip: int              # where it was called from


Reader = Callable[[Row], Call]


class Form(NamedTuple):
    """One layout of a record."""

    layout: str                 # of struct, byte order included
    is_call: Callable[[Row], bool]                      # whether a row of it can be a call
    reader: Callable[[Sequence[Row]], Reader]           # of rows like these
    line: Callable[[Call], bytes]

    @property
    def size(self) -> int:
        """Bytes of a record."""
        return struct.calcsize(self.layout)

    def newest(self, zone: bytes, most: int) -> bytes:
        """The newest records of a zone; what is left of one at its start is skipped."""
        return zone[len(zone) - min(len(zone) // self.size, most) * self.size:]

    def rows(self, records: bytes) -> Iterator[Row]:
        """The records, a whole number of them."""
        return struct.iter_unpack(self.layout, records)


def _is_64(row: Row) -> bool:
    return all(word >> 48 in KERNEL and word < (1 << 64) - LAST_PAGE for word in row[:2]) \
        and row[2] >> 56 == 0


def _is_32(row: Row) -> bool:
    return _is_32_bare(row[:2]) and row[2] >> 56 == 0


def _is_64_cpu(row: Row) -> bool:
    return _is_64(row) and row[2] < MOST_CPUS and row[3] == 0      # padding


def _is_32_cpu(row: Row) -> bool:
    return _is_32(row) and row[2] < MOST_CPUS


def _is_32_bare(row: Row) -> bool:
    return min(row) >= LOWEST and max(row) < (1 << 32) - LAST_PAGE


def _with_tick(_rows: Sequence[Row]) -> Reader:
    return lambda row: Call(row[2] & 255, row[2] >> 8, row[0], row[1])


def _with_tick_of_arm(rows: Sequence[Row]) -> Reader:
    if len(rows) < 2 or not _ticks_are_bare(rows):
        return _with_tick(rows)
    mask = _mask(rows)
    return lambda row: Call(row[0] & mask, row[2], row[0], row[1])


def _ticks_are_bare(rows: Sequence[Row]) -> bool:
    """Whether ts is nothing but the tick: then it mostly goes up in small steps."""
    steps = sorted(abs(after[2] - row[2]) for row, after in pairwise(rows))
    return 0 < steps[len(steps) // 2] < SMALL_STEP


def _with_cpu(_rows: Sequence[Row]) -> Reader:
    return lambda row: Call(row[2], 0, row[0], row[1])


def _bare(rows: Sequence[Row]) -> Reader:
    mask = _mask(rows)
    return lambda row: Call(row[0] & mask, 0, row[0], row[1])


def _mask(rows: Sequence[Row]) -> int:
    """The bits of ip that are the CPU: Thumb code, whose return addresses are odd, leaves one."""
    return 1 if sum(row[1] & 1 for row in rows) * 2 > len(rows) else 3


def _counted(call: Call) -> bytes:
    return b"CPU:%d ts:%d %08x  %08x  0x%x <- 0x%x\n" % (*call, call.ip, call.parent_ip)


def _uncounted(call: Call) -> bytes:
    """A line as up to 4.9."""
    return b"%d %08x  %08x  0x%x <- 0x%x\n" % (call.cpu, *call[2:], *call[2:])


def _forms(order: str) -> tuple[Form, ...]:
    return (Form(order + "QQII", _is_64_cpu, _with_cpu, _uncounted),
            Form(order + "QQQ", _is_64, _with_tick, _counted),
            Form(order + "IIQ", _is_32, _with_tick_of_arm, _counted),
            Form(order + "III", _is_32_cpu, _with_cpu, _uncounted),
            Form(order + "II", _is_32_bare, _bare, _uncounted))


FORMS = _forms("<") + _forms(">")


TORN = ("its parts are of different moments, for calls went on while it was written out; they are "
        "put into order, without the calls that are not whole")


def record_of(zones: Sequence[bytes], source: Source, where: str,
              room: int) -> tuple[Record | None, Problem | None]:
    """What is in the ftrace zones, one or one for each CPU, as a record.

    zones: their data, as it was written, not all empty.  where: for problems.  room: bytes that
    the text may take.
    """
    text, more = text_of(zones, room)
    torn = text is None
    if torn:
        text, more = text_of(_in_order(zones), room)
    if text is None:
        size = sum(map(len, zones))
        return None, Problem(where, f"{size} bytes of function trace are damaged, or of a kernel "
                             "that lastlog does not know", "warning")
    problem = Problem(where, f"{more} older calls are not shown", "info") if more else \
        Problem(where, TORN, "info") if torn else None
    return captured("ftrace", text, source._replace(torn=source.torn or torn)), problem


def text_of(zones: Sequence[bytes], room: int = MOST_TEXT) -> tuple[bytes | None, int]:
    """The lines of the kernel's file, and how many older calls are left out; None: these are no
    records."""
    zones = zones[:MOST_ZONES]
    form = _form(zones)
    if form is None:
        return None, 0
    sample = _sample(zones, form)
    call_of = form.reader(sample)
    most = min(room, MOST_TEXT) // len(form.line(call_of(sample[0]))) // len(zones)
    merged, ticks = b"", array("Q")
    for zone in zones:
        newest = form.newest(zone, most)
        more = array("Q", (call_of(row).tick for row in form.rows(newest)))
        merged, ticks = _merged(merged, ticks, newest, more)
    text = io.BytesIO()
    text.writelines(form.line(call_of(row)) for row in form.rows(merged))
    return text.getvalue(), sum(len(zone) // form.size for zone in zones) - len(ticks)


def _form(zones: Sequence[bytes]) -> Form | None:
    """The form that most of the newest calls are in; None: in no form are they calls."""
    def fit(form: Form) -> float:
        rows = _sample(zones, form)
        calls = list(filter(form.is_call, rows))
        parts = {row[0] >> PART for row in calls}
        return len(calls) / len(rows) if 0 < len(parts) <= MOST_PARTS else 0.0

    best = max(FORMS, key=fit)
    return best if fit(best) >= SURE else None


def _sample(zones: Sequence[bytes], form: Form) -> list[Row]:
    """Some of the newest records of each zone."""
    return [row for zone in zones
            for row in form.rows(form.newest(zone, max(SAMPLE // len(zones), 8)))]


def _merged(one: bytes, mine: array[int], other: bytes,
            theirs: array[int]) -> tuple[bytes, array[int]]:
    """Two traces as one, as the kernel does it: not sorted, for ticks repeat and go back.

    one, other: records; mine, theirs: their ticks.
    """
    if not mine or not theirs:
        return (one, mine) if mine else (other, theirs)
    size = len(other) // len(theirs)
    calls, ticks = bytearray(), array("Q")
    at, there = 0, 0
    while at < len(mine) and there < len(theirs):
        if mine[at] < theirs[there]:
            calls += one[at * size:(at + 1) * size]
            ticks.append(mine[at])
            at += 1
        else:
            calls += other[there * size:(there + 1) * size]
            ticks.append(theirs[there])
            there += 1
    return (bytes(calls) + one[at * size:] + other[there * size:],
            ticks + mine[at:] + theirs[there:])


# --- of different moments


def _in_order(zones: Sequence[bytes]) -> list[bytes]:
    """The newest calls in each zone in the order of their ticks; none, if there are hardly any.

    pstore_blk has a zone written to its device page by page (psz_flush_dirty_zone) while calls are
    added to it, so that a page may be ahead of the header and of the page before it by some laps
    of the ring, in each of which a record begins elsewhere.  The kernel reads on in steps of
    a record and shows what comes out.
    """
    zones = [zone for zone in zones[:MOST_ZONES] if zone]
    zones = [zone[-(MOST_TORN // len(zones)):] for zone in zones]
    ends = [zone[-max(LARGEST * SAMPLE // len(zones), 1024):] for zone in zones]

    def fit(form: Form) -> float:
        # Half a record on, calls of the other byte order are calls too, but of functions anywhere.
        runs = [run for end in ends for run in _runs(end, form)]
        parts = {row[0] >> PART for run in runs for row in form.rows(run)}
        return sum(map(len, runs)) / sum(map(len, ends)) if len(parts) <= MOST_PARTS else 0.0

    form = max(FORMS, key=fit) if zones else FORMS[0]
    if not zones or fit(form) < SURE:
        return []
    return [_by_tick(list(_runs(zone, form)), form) for zone in zones]


def _runs(zone: bytes, form: Form) -> Iterator[bytes]:
    """The pieces of a zone that are calls, one behind the other."""
    start = at = 0
    while at + form.size <= len(zone):
        if form.is_call(struct.unpack_from(form.layout, zone, at)):
            at += form.size
            continue
        if at > start + form.size:
            yield zone[start:at]
        start = at = at + WORD
    if at > start + form.size:
        yield zone[start:at]


def _by_tick(runs: list[bytes], form: Form) -> bytes:
    """Runs of calls as one, the oldest first."""
    sample = (row for run in runs for row in form.rows(run))
    call_of = form.reader(list(islice(sample, SAMPLE)))
    runs.sort(key=lambda run: call_of(next(form.rows(run))).tick)
    return b"".join(runs)
