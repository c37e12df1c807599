"""A kernel dump as every medium of ramoops' family holds it: a header line, then the log, plain
or compressed.

Source: fs/pstore/ram.c (ramoops_write_kmsg_hdr, ramoops_read_kmsg_hdr) and, before 3.4,
drivers/char/ramoops.c (ramoops_do_dump).  Pure: bytes in, records and problems out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

from ..record import Problem, Record, Source, captured
from .allowance import Allowance
from .compression import TITLE, begins, complaint, unpack
from .inflate import LINE as LOG_LINE

__all__ = ["MOST_DUMPS", "TEXT", "Dump", "cost", "headers", "is_header", "length", "lines",
           "record_of", "records", "room_for", "split", "text_end", "torn_body"]

# "====sec.usec-C\n" before each dump: C compressed, any other letter plain (ramoops_read_kmsg_hdr).
# Up to 3.11 there is no letter, and up to about 4.19 the microseconds are not padded with zeros.
# The second is signed since 4.19.
LINE = rb"====(-?\d{1,20})\.(\d{1,6})(?:-([^\n]))?\n"
MARK = b"===="
ROW = MARK * 16                     # no header has so many
LONGEST_LINE = len("====1234567890.123456-D\n")     # of present-day times
LENGTHS = range(LONGEST_LINE, LONGEST_LINE - 6, -1)     # of such a line, by its microseconds
CACHE_LINE = 64                     # bytes, the longest of a router's, that a reset may lose
BEGINNING = 1024                    # bytes in which a text's first whole line is
MOST_DUMPS = 1024                   # a region has tens; more are noise, or made to keep us busy
MOST_TEXT = 1 << 20                 # bytes of a dump that are worth looking at
LARGE = 1 << 20                     # bytes of text; no log ring of a router is larger
LARGEST = 4 << 20                   # no kernel's is
LINE_WORK = 2                       # steps of work for a line that looks like a header
LEAST = 1024                        # bytes of text that are shown of each dump in any case
TEXT = b"\t\n\r\x1b" + bytes(range(32, 127))


class Dump(NamedTuple):
    """One "====" record within a body."""

    time: float | None          # seconds; None: there is no header line, or no time in it
    compressed: bool
    body: bytes
    torn: bool = False          # its header line was lost
    lead: bytes = b""           # what the kernel shows above the body, if that is plain text


def records(body: bytes, source: Source, where: str, capacity: int | None = None,
            allowance: Allowance | None = None) -> tuple[list[Record], list[Problem]]:
    """Every dump in `body`, and what is wrong with them.

    source, where: of what holds the body, for the records and for the problems.  capacity: bytes
    that the kernel had for a body; None: not known.  allowance: what they may cost, which is taken
    from it; None: what a body of that size may.
    """
    found: list[Record] = []
    problems: list[Problem] = []
    room = room_for(max(capacity or 0, len(body)))
    allowance = allowance or Allowance(room)
    for dump in split(body, allowance):
        record, problem = record_of(dump, source, where, room, capacity, allowance)
        room = max(0, room - cost(record))
        found.append(record)
        problems += [problem] if problem else []
    return found, problems


def room_for(capacity: int) -> int:
    """Bytes of text that a body may unpack to.

    Kernels pack up to 2.3 times the capacity of a small zone, 1.7 times that of a large one
    (fs/pstore/platform.c: big_oops_buf_sz); what packs much better was made to fill memory.
    """
    return max(65536, min(4 * capacity, 2 * capacity + LARGE // 8, LARGEST))


def cost(record: Record) -> int:
    """Bytes of memory that a record's text takes: up to four for each character, if not all are
    ASCII."""
    return sys.getsizeof(record.text)


# --- which dumps there are


def split(body: bytes, allowance: Allowance | None = None) -> Iterator[Dump]:
    """The dumps in a body.  Without work that is left they are not told apart.

    Usually one.  Kernels before 5.5 did not zap a zone before they wrote the next dump, so that
    it stands behind the old one.
    """
    found = headers(body, allowance or Allowance(0))
    if not found or found[0].start() > 0:
        yield Dump(None, False, body[:found[0].start()] if found else body, torn=True)
    ends = [match.start() for match in found] + [len(body)]
    for match, end in zip(found, ends[1:], strict=True):
        yield Dump(_seconds(match[1], match[2]), match[3] == b"C", body[match.end():end])


def headers(body: bytes, allowance: Allowance) -> list[re.Match[bytes]]:
    """The header lines of the dumps in `body`, as far as there is work left to look for them.

    A "====" line within a text is no header unless the title of a dump, or compressed data,
    follows.
    """
    found = []
    for match in lines(body):
        if match.start() == 0 or re.compile(TITLE).match(body, match.end()) \
                or (match[3] == b"C" and begins(body, match.end(), allowance)):
            found.append(match)
        allowance.use(LINE_WORK)
        if len(found) == MOST_DUMPS or not allowance.work:
            break
    return found


def lines(data: bytes, start: int = 0, end: int | None = None) -> Iterator[re.Match[bytes]]:
    """What looks like a dump's header, and begins at `start` or behind that and ends before `end`,
    if one is given.

    Long rows of "=" are skipped, but for their last four: memory may be full of them.
    """
    line, other = re.compile(LINE), re.compile(b"[^=]")
    end = len(data) if end is None else end
    while start < end:
        row = data.find(ROW, start, end)
        yield from line.finditer(data, start, end if row < 0 else row)
        behind = other.search(data, row, end) if row >= 0 else None
        start = behind.start() - len(MARK) if behind else end


def is_header(data: bytes, match: re.Match[bytes]) -> bool:
    """Whether a dump's text, or compressed data, follows the header line `match`."""
    body = match.end()
    return re.compile(TITLE).match(data, body) is not None or begins(data, body)


def length(data: bytes, match: re.Match[bytes], end: int, allowance: Allowance) -> int:
    """How far the dump whose header line is `match` reaches, at most to `end`; 0 if it is none."""
    body, end = match.end(), min(end, match.start() + MOST_TEXT)
    if re.compile(TITLE).match(data, body):
        return text_end(data, body, end) - match.start()
    if not begins(data, body, allowance):
        return 0
    return body - match.start() + unpack(data[body:end], MOST_TEXT, allowance).used


def torn_body(data: bytes, allowance: Allowance | None = None) -> tuple[int, bool] | None:
    """Where a dump begins in `data` that lost its "====" line, and maybe more, and whether it is
    compressed; None if none can be seen."""
    sample = data[CACHE_LINE:BEGINNING]
    if sample and len(sample.translate(None, TEXT)) * 50 <= len(sample):
        first = re.search(TITLE, data[:BEGINNING]) \
            or re.search(rb"(?<=\n)" + LOG_LINE, data[:BEGINNING])
        return (first.start(), False) if first else None
    at = next((at for at in LENGTHS if at < len(data) and begins(data, at, allowance)), None)
    return None if at is None else (at, True)


def text_end(data: bytes, start: int, end: int) -> int:
    """Where text goes over into blank or cold memory; a character that lost a bit is not that."""
    for odd in re.compile(rb"[^\t\n\r\x1b -\xff]|\xff{8}").finditer(data, start, end):
        window = data[odd.start():min(end, odd.start() + 32)]
        if len(window.translate(None, TEXT)) * 4 > len(window):
            return odd.start()
    return end


def _seconds(seconds: bytes, microseconds: bytes) -> float | None:
    """The header's time.  Beyond 2106 it is a negative time_t printed unsigned: no time at all."""
    whole = int(seconds)
    return whole + int(microseconds) / 1e6 if abs(whole) < 1 << 32 else None


# --- what one of them says


def record_of(dump: Dump, source: Source, where: str, room: int, capacity: int | None = None,
              allowance: Allowance | None = None) -> tuple[Record, Problem | None]:
    """One dump as a record.  room: bytes that its text may have; allowance: what it may cost, which
    is taken from it.

    The header may be lost, and its letter may have lost a bit, so the body is asked as well.
    """
    allowance = allowance or Allowance(room)
    record, problem = _record_of(dump, source, where, room, capacity, allowance)
    allowance.take(cost(record))
    return record, problem


def _record_of(dump: Dump, source: Source, where: str, room: int, capacity: int | None,
               allowance: Allowance) -> tuple[Record, Problem | None]:
    if re.match(TITLE, dump.body):
        return _plain_record(dump, source, where, capacity, dump.torn)
    if dump.compressed:
        return _compressed_record(dump, source, where, room, allowance)
    line = dump.body.find(b"\n", 0, 64) + 1
    torn = torn_body(dump.body, allowance) if dump.torn else None
    starts = [0, line] if torn is None else [torn[0]] if torn[1] else []
    for start in starts:
        if begins(dump.body, start, allowance):
            packed = dump._replace(body=dump.body[start:])
            return _compressed_record(packed, source._replace(torn=True), where, room, allowance)
    return _plain_record(dump, source, where, capacity, torn=True)


def _plain_record(dump: Dump, source: Source, where: str, capacity: int | None,
                  torn: bool) -> tuple[Record, Problem | None]:
    # A full zone lost its last bytes: the header line was not counted (ramoops_pstore_write).
    full = capacity is not None and source.size >= capacity - LONGEST_LINE
    cut = full and not dump.body.endswith(b"\n")
    source = source._replace(truncated=cut, torn=torn or source.torn)
    record = captured("kernel", dump.lead + dump.body, source, time=dump.time)
    if not torn and not cut:
        return record, None
    what = "the zone was too small: its last bytes are missing" if not torn else \
        "its beginning is damaged; what can be read is shown"
    return record, Problem(where, what, "warning")


def _compressed_record(dump: Dump, source: Source, where: str, room: int,
                       allowance: Allowance) -> tuple[Record, Problem | None]:
    """A record of what could be unpacked; it keeps the bytes as captured if that is not all."""
    read = unpack(dump.body, max(min(room, allowance.text), LEAST), allowance)
    wrong = complaint(read)
    width = _width(read.text)
    # The bytes stand beside the text while it is made, and once more if some of them are NUL.
    most = max(allowance.text // (width + 2), LEAST)
    if width > 1 and len(read.text) > most:
        wrong = (f"the compressed log ({read.algorithm}) is longer than there is room for: of its "
                 f"{'' if read.complete else 'first '}{len(read.text)} bytes the first line and "
                 "the end are shown, and its bytes are kept as they are")
        read = read._replace(text=_ends(read.text, most), complete=False)
    source = source._replace(compression=read.algorithm or "unknown",
                             truncated=not read.complete, torn=source.torn or read.torn)
    record = captured("kernel", read.text, source, time=dump.time,
                      raw=dump.body if wrong else None)
    return record, Problem(where, wrong, "warning") if wrong else None


def _ends(text: bytes, most: int) -> bytes:
    """The first line, and of what is behind it the end, where the crash is: `most` bytes."""
    title = text[:text.find(b"\n", 0, LEAST // 4) + 1]
    start = len(text) - (most - len(title))
    return title + text[text.find(b"\n", start, start + LEAST // 4) + 1 or start:]


def _width(text: bytes) -> int:
    """Bytes that a character of `text` takes up once it is readable: the widest tells."""
    if text.isascii() and b"\0" not in text:
        return 1
    return 4 if re.search(rb"[\xf0-\xf4]", text) else 2
