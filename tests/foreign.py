"""Memory as kernels write it in formats without zones of ramoops', built for tests by FORMATS: an
own encoder, kept apart from the decoders."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests import zones

PAGE = 4096
DBGC = 0x43474244
TYPES = {"kernel": 0, "console": 2, "ftrace": 3, "pmsg": 7}
NANOSECONDS = 1_700_000_000_123_456_789
SECONDS = 1700000000.123456             # the same, to the microsecond


def log(lines: int = 30, word: str = "line") -> bytes:
    """A log without a title line, as mtdoops, crashlog and early ramoops have it."""
    return zones.log(lines).partition(b"\n")[2].replace(b"line", word.encode())


# --- mtdoops

def slot(text: bytes, sequence: int = 1, version: int = 2, *, endian: str = "<",
         size: int = PAGE, nanoseconds: int = NANOSECONDS) -> bytes:
    """A slot of mtdoops; version 0 has a count alone."""
    head = {0: struct.pack(endian + "I", sequence),
            1: struct.pack(endian + "II", sequence, 0x5d005d00),
            2: struct.pack(endian + "IIq", sequence, 0x5d005e00, nanoseconds)}[version]
    return (head + text)[:size].ljust(size, b"\xff")


def unused(size: int = PAGE) -> bytes:
    return b"\xff" * size


# --- ramoops before 3.4

def early(text: bytes, seconds: int = 1700000000, microseconds: int = 5, *,
          size: int = PAGE) -> bytes:
    """A slot as 2.6.37 and later write it: the newest of the text that fits."""
    head = f"===={seconds}.{microseconds}\n".encode()
    return (head + text[-(size - len(head)):]).ljust(size, b"\0")


def early_region(dumps: Sequence[tuple[int, bytes, int, int]], slots: int, *, reserved: int = 0,
                 size: int = PAGE, memory: bytes = b"") -> bytes:
    """A region after `dumps`: (slot, text, seconds, microseconds), in the order they happened.

    reserved: bytes that 2.6.35 reckons with for a header, 13 on 32 bits and 21 on 64; 0: as many
    as it has.  memory: what was there before.
    """
    region = bytearray(memory or bytes(slots * size))
    for index, text, seconds, microseconds in dumps:
        head = f"===={seconds}.{microseconds}\n".encode()
        room = size - (reserved or len(head))
        start = index * size
        region[start:start + size] = bytes(size)
        body = head + text[-room:]
        region[start:start + len(body)] = body
    return bytes(region[:slots * size])


# --- pstore_zone

def zone(kind: str, data: bytes, size: int = PAGE, *, start: int | None = None, endian: str = "<",
         length: int | None = None, filler: bytes = b"\0") -> bytes:
    """A zone of pstore_zone; start: of a ring that has wrapped, of which `data` is the text."""
    ring = data if start is None else data[-start:] + data[:-start] if start else data
    head = struct.pack(endian + "III", DBGC ^ TYPES[kind],
                       len(data) if length is None else length, start or 0)
    return (head + ring).ljust(size, filler)


def dump(text: bytes, machine: str = "64", *, packed: bool = True, endian: str = "<",
         counter: int = 1, reason: int = 1, nanoseconds: int = NANOSECONDS) -> bytes:
    """The data of a dump zone; machine: "64", "32" (mips, arm EABI) or "i386"."""
    layout = {"64": "I4xqq?3xII4x", "32": "I4xqi4x?3xII4x", "i386": "Iqi?3xII"}[machine]
    seconds, rest = divmod(nanoseconds, 10**9)
    head = struct.pack(endian + layout, 0x4dfc3ae5, seconds, rest, packed, counter, reason)
    assert len(head) == (28 if machine == "i386" else 40)
    return head + (zones.deflated(text) if packed else text)


# --- crashlog

def crashlog_file(*texts: bytes, seconds: int = 1700000000, microseconds: int = 7) -> bytes:
    """What is in debugfs after so many dumps in one boot, a minute apart."""
    between = b"\n===================================\n"
    return between.join(
        f"Time: {seconds + 60 * number}.{microseconds}\n".encode()
        + (b"Modules:\tath9k@86b10000+1a2b\tmac80211@86a00000+5f000\n" if number == 0 else b"")
        + text for number, text in enumerate(texts))


def crashlog(data: bytes, *, endian: str = "<", length: int | None = None,
             size: int = 4 * PAGE) -> bytes:
    head = struct.pack(endian + "II", 0xa1eedead, len(data) if length is None else length)
    return (head + data)[:size].ljust(size, b"\0")


# --- traces

def calls(rows: Sequence[tuple[int, int, int, int]], form: str, endian: str = "<") -> bytes:
    """Records (cpu, tick, ip, parent_ip) in one of ftrace's forms: "64", "32", "arm" (the CPU in
    ip), and before 4.10 "old 64", "old 32", "old arm"."""
    pack = {"64": lambda c, t, i, p: ("QQQ", i, p, t << 8 | c),
            "32": lambda c, t, i, p: ("IIQ", i, p, t << 8 | c),
            "arm": lambda c, t, i, p: ("IIQ", i | c, p, t),
            "old 64": lambda c, t, i, p: ("QQI4x", i, p, c),
            "old 32": lambda c, t, i, p: ("III", i, p, c),
            "old arm": lambda c, t, i, p: ("II", i | c, p)}[form]
    return b"".join(struct.pack(endian + layout, *words)
                    for layout, *words in (pack(*row) for row in rows))


# --- Android

def frame(payload: bytes, log_id: int = 0, *, pid: int = 321, tid: int = 322, uid: int = 1000,
          nanoseconds: int = NANOSECONDS) -> bytes:
    head = struct.pack("<BHHH", ord("l"), 18 + len(payload), uid, pid)
    return head + struct.pack("<BHII", log_id, tid, *divmod(nanoseconds, 10**9)) + payload


def said(message: str, tag: str = "netd", priority: str = "I", **more: int) -> bytes:
    """A text entry."""
    return frame(bytes(["??VDIWEFS".index(priority)]) + tag.encode() + b"\0" + message.encode()
                 + b"\0", **more)
