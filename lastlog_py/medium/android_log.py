"""What Android's liblog writes to /dev/pmsg0: log entries in binary frames, as text.

Source: Android's liblog, private/android_logger.h (android_pmsg_log_header_t,
android_log_header_t), pmsg_writer.cpp.  A frame, all of it packed and little-endian:

    u8 'l', u16 length of the whole frame, u16 uid, u16 pid
    u8 log id, u16 tid, u32 seconds, u32 nanoseconds
    text logs: u8 priority, tag, NUL, message, NUL
    binary logs (events, stats, security): s32 tag, then values, each with its type before it

Entries are printed as `logcat -v epoch` prints them.  A ring that has wrapped begins within a
frame: the frames are found again where one follows the other.  Pure: bytes in, text out.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from ..record import Record, Source, captured
from .log_text import is_text

__all__ = ["Entry", "entries", "record_of", "text_of"]

HEADER = struct.Struct("<cHHHBHII")     # both headers together
LONGEST = HEADER.size + 4068            # LOGGER_ENTRY_MAX_PAYLOAD
# What can be one: the length, the log's id and the nanoseconds are in bounds, roughly.
FRAME = rb"(?s)l.[\x00-\x0f].{4}[\x00-\x07].{9}[\x00-\x3b]"
BINARY = (2, 5, 6)                      # log ids: events, stats, security
LAST_LOG = 8                            # kernel is 7
PRIORITIES = "??VDIWEFS"
BILLION = 10**9
DEPTH = 4                               # of lists in lists; there are none deeper


class Entry(NamedTuple):
    """One log entry."""

    offset: int                 # bytes from the start
    size: int                   # of the frame
    seconds: int
    nanoseconds: int
    uid: int
    pid: int
    tid: int
    log: int                    # 0 main, 1 radio, 2 events, 3 system, 4 crash, ...
    payload: bytes


def record_of(body: bytes, source: Source) -> Record:
    """A pmsg record: its text as it is, or if it is made of frames, what they say.

    The bytes are kept where the text cannot stand for them.
    """
    text = text_of(body)
    if text is None:
        return captured("pmsg", body, source)
    return captured("pmsg", text, source, raw=body)


def text_of(body: bytes) -> bytes | None:
    """The entries in `body` as lines, with what is in no frame as it is; None: it is no such log,
    for it is not frames for the most part."""
    if sum(entry.size for entry in entries(body)) * 2 <= len(body):
        return None
    text, at = io.BytesIO(), 0
    for entry in entries(body):
        text.write(_between(body[at:entry.offset], at))
        text.write(_lines(entry))
        at = entry.offset + entry.size
    text.write(_between(body[at:], at))
    return text.getvalue()


def _between(piece: bytes, at: int) -> bytes:
    """What is in no frame, as a line; of the rest of a frame that the ring's start has cut, what is
    text."""
    piece = piece.strip(b"\0")
    return piece + b"\n" if piece and (at or is_text(piece)) else b""


# --- where the frames are


def entries(body: bytes) -> Iterator[Entry]:
    """The entries in `body`; behind a damaged one the next is searched for."""
    frame = re.compile(FRAME)
    match = frame.search(body)
    while match:
        entry = _entry(body, match.start())
        if entry:
            yield entry
        match = frame.search(body, match.start() + (entry.size if entry else 1))


def _entry(body: bytes, at: int) -> Entry | None:
    """The entry whose frame is at `at`; None if none can be."""
    _, size, uid, pid, log, tid, seconds, nanoseconds = HEADER.unpack_from(body, at)
    if not HEADER.size < size <= min(LONGEST, len(body) - at) or nanoseconds >= BILLION \
            or log >= LAST_LOG:
        return None
    payload = body[at + HEADER.size:at + size]
    if log not in BINARY and not (1 < payload[0] < len(PRIORITIES) and b"\0" in payload):
        return None
    return Entry(at, size, seconds, nanoseconds, uid, pid, tid, log, payload)


# --- what they say


def _lines(entry: Entry) -> bytes:
    """An entry as `logcat -v epoch` has it: a line for each line of its message."""
    if entry.log in BINARY:
        priority, tag, message = "I", *_event(entry.payload)
    else:
        priority = PRIORITIES[entry.payload[0]]
        raw_tag, _, raw_message = entry.payload[1:].partition(b"\0")
        tag, message = raw_tag, raw_message.rstrip(b"\0\n")
    head = b"%10d.%03d %5d %5d %s %-8s: " % (entry.seconds, entry.nanoseconds // 10**6, entry.pid,
                                             entry.tid, priority.encode(), tag)
    return b"".join(head + line + b"\n" for line in message.split(b"\n"))


def _event(payload: bytes) -> tuple[bytes, bytes]:
    """Tag and values of a binary entry; names of tags are on the machine only."""
    tag = int.from_bytes(payload[:4], "little", signed=True)
    values, _ = _values(payload, 4, len(payload), DEPTH)
    return b"[%d]" % tag, b"[" + b",".join(values) + b"]" if len(values) != 1 else values[0]


def _values(data: bytes, at: int, most: int, depth: int) -> tuple[list[bytes], int]:
    """At most so many values at `at`, and where the rest begins; none behind a damaged one."""
    values: list[bytes] = []
    while at < len(data) and len(values) < most:
        kind, start = data[at], at + 1
        if kind in NUMBERS and start + NUMBERS[kind].size <= len(data):
            values.append(b"%s" % str(NUMBERS[kind].unpack_from(data, start)[0]).encode())
            at = start + NUMBERS[kind].size
        elif kind == STRING and start + 4 <= len(data):
            end = start + 4 + int.from_bytes(data[start:start + 4], "little")
            values.append(data[start + 4:end])
            at = end
        elif kind == LIST and depth and start < len(data):
            inner, at = _values(data, start + 1, data[start], depth - 1)
            values.append(b"[" + b",".join(inner) + b"]")
        else:
            break
    return values, at


NUMBERS = {0: struct.Struct("<i"), 1: struct.Struct("<q"), 4: struct.Struct("<f")}
STRING, LIST = 2, 3
