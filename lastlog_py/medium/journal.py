"""The journal: lastlog's own ring of records.  Pure: bytes in, entries out, and back.

There is no central header that a lost cache line could take along: records are found by searching
for how they begin.  One record is a line of ASCII that a person can read with `strings`, the body,
and a line feed:

    ====lastlog 1 log seq=12 boot=7 up=123.45 time=1795000000.500000 clock=set form=text
        size=4096 body=89abcdef label="system log" head=01234567        (one line, in truth)

size: bytes of the body as stored.  body: its CRC-32.  head: CRC-32 of the line up to there, so
that a damaged line is never believed for its size, while of a torn body the line is still true.
label: UTF-8, with %XX for what is not printable ASCII, for quotes and for percent signs.
Records begin at multiples of 64 bytes, a cache line, have at least one NUL behind them, and never
wrap round the ring's end.

A whole record is skipped as a whole.  What is left of a broken or overwritten one is searched, and
must not pass for records: in a stored body nothing begins like one (`escape`).

Memory that is full of broken beginnings is no journal: some of these are kept, and whole records.

On the hot path: imports zlib only.
"""

from __future__ import annotations

import zlib

__all__ = ["LINE", "MAGIC", "MOST_DAMAGED", "MOST_HEADER", "MOST_NUMBER", "Entry", "Scan",
           "beyond_share", "encode", "escape", "gaps", "largest", "place", "room_for", "scan",
           "unescape"]

MAGIC = b"====lastlog "
LINE = 64                           # bytes of a cache line
MOST_HEADER = 384                   # bytes that the first line can have, at most
MOST_LABEL = 192                    # bytes of it, as encoded
MOST_NUMBER = 10 ** 15 - 1          # no sequence or boot number is larger
MOST_DAMAGED = 1024                 # records with a damaged header that are kept
DAMAGED = "a record whose header is damaged"
TORN = ("a record is torn: it was being written when the router went down, or the memory lost some "
        "of it")
HEADLESS = "a record's header is damaged; what can be read of it is shown"
ONLY_WHOLE = (f"{MOST_DAMAGED} records before this have damaged headers: of others like them, "
              "nothing is shown")
_GZIP = b"\x1f\x8b"
_CHECKSUM = b" head="                # and 8 digits, at the end of the first line
_LAST = len(_CHECKSUM) + 8


class Entry:
    """One record of the journal."""

    __slots__ = ("body", "boot", "checksum", "form", "kind", "label", "offset", "sequence", "size",
                 "time", "torn", "trusted", "uptime")

    def __init__(self, kind: str, body: bytes, sequence: int = 0, boot: int = 0,
                 uptime: float = 0.0, time: float = 0.0, trusted: bool = False, label: str = "",
                 form: str = "text") -> None:
        self.kind = kind                # a record's kind: "log", "coredump", "boot", "kernel", …
        self.body = body                # as it was given
        self.sequence = sequence        # counts up with every record; 0: its header is damaged
        self.boot = boot                # number of the boot that wrote it; 0: not known
        self.uptime = uptime            # seconds, of that boot, when it was written
        self.time = time                # Unix seconds then
        self.trusted = trusted          # the clock was set
        self.label = label              # one line for people; "": none
        self.form = form                # "text": the body is a log as it is; "record": a saved
                                        # record's file (archive_file.pack)
        self.offset: int | None = None  # bytes into the ring; None: it is in none
        self.size = 0                   # bytes that it takes up there, header and padding included
        self.checksum = 0               # CRC-32 of these bytes
        self.torn = False               # damaged: the body is what can be read of it


class Scan:
    """What a ring holds."""

    __slots__ = ("entries", "problems")

    def __init__(self) -> None:
        self.entries: list[Entry] = []              # oldest first; damaged headers before all
        self.problems: list[tuple[int, str]] = []   # offset, and what is wrong there


# --- writing


def encode(entry: Entry) -> bytes:
    """The bytes of `entry`, without padding."""
    body = escape(entry.body)
    head = (f"====lastlog 1 {entry.kind} seq={entry.sequence} boot={entry.boot} "
            f"up={entry.uptime:.2f} time={entry.time:.6f} "
            f"clock={'set' if entry.trusted else 'unset'} form={entry.form} size={len(body)} "
            f'body={zlib.crc32(body):08x} label="{_quoted(entry.label)}"').encode("ascii")
    return head + b" head=%08x\n" % zlib.crc32(head) + body + b"\n"


def escape(body: bytes) -> bytes:
    """`body` without anything in it that begins like a record; `unescape` brings it back."""
    return body.replace(b"====\\", b"====\\\\").replace(b"====lastlog", b"====\\lastlog")


def unescape(stored: bytes) -> bytes:
    """What `escape` was given."""
    return stored.replace(b"====\\lastlog", b"====lastlog").replace(b"====\\\\", b"====\\")


def _quoted(label: str) -> str:
    """`label` as printable ASCII without quotes and line ends, cut to MOST_LABEL bytes."""
    out = ""
    for char in label:
        plain = " " <= char <= "~" and char not in '"%'
        piece = char if plain else "".join(
            f"%{byte:02X}" for byte in char.encode("utf-8", "replace"))
        if len(out) + len(piece) > MOST_LABEL:
            break
        out += piece
    return out


def room_for(length: int) -> int:
    """Bytes that an encoded record of `length` takes up in the ring: whole cache lines, and at
    least one NUL at its end."""
    return (length // LINE + 1) * LINE


# --- reading


def scan(ring: bytes, line: int = LINE, most: int | None = None) -> Scan:
    """Everything in `ring`, whole or not, but damaged headers beyond MOST_DAMAGED.  Never raises.

    line: to multiples of what records are padded; 1 for text of /dev/pmsg0, where they are not.
    most: how many records are looked at, from the ring's start; None: all.
    """
    found = Scan()
    damaged = 0
    at = ring.find(MAGIC)
    while at >= 0:
        if len(found.entries) == most:
            found.problems.append((at, f"{most} records are before this; no more are looked at"))
            break
        entry, end = _entry_at(ring, at)
        _settle(entry, ring, at, end, line)
        found.entries.append(entry)
        if entry.torn:
            found.problems.append((at, TORN if entry.sequence else HEADLESS))
        damaged += not entry.sequence
        at = ring.find(MAGIC, end)
        if at >= 0 and damaged >= MOST_DAMAGED:
            found.problems += [(at, ONLY_WHOLE)] if not entry.sequence else []
            at = _undamaged(ring, at)
    found.entries.sort(key=lambda entry: entry.sequence)
    return found


def _undamaged(ring: bytes, at: int) -> int:
    """Where behind `at` the next record with an undamaged first line begins; -1: nowhere.

    Lines are found by how they end, which garbage has less often than how they begin.
    """
    end = ring.find(_CHECKSUM, at)
    while end >= 0:
        feed = end + _LAST
        if ring[feed:feed + 1] == b"\n":
            start = ring.rfind(MAGIC, max(at, feed - MOST_HEADER), end)
            if start >= 0 and _header(ring[start:feed]):
                return start
        end = ring.find(_CHECKSUM, end + 1)
    return -1


def _settle(entry: Entry, ring: bytes, at: int, end: int, line: int) -> None:
    """Note where an entry is that ends at `end`."""
    padded = end if line == 1 else (end // line + 1) * line
    entry.offset = at
    entry.size = min(padded, _next(ring, end, padded + len(MAGIC) - 1)) - at
    entry.checksum = zlib.crc32(memoryview(ring)[at:at + entry.size])


def _entry_at(ring: bytes, at: int) -> tuple[Entry, int]:
    """The entry that begins at `at`, and where what belongs to it ends."""
    feed = ring.find(b"\n", at, at + MOST_HEADER)
    header = _header(ring[at:feed]) if feed >= 0 else None
    if header is None:
        return _headless(ring, at)
    entry, size, checksum = header
    start = feed + 1
    end = _next(ring, start, start + size)
    if end == start + size and zlib.crc32(memoryview(ring)[start:end]) == checksum:
        entry.body = unescape(ring[start:end])
        return entry, end + (ring[end:end + 1] == b"\n")
    entry.torn = True
    # The space was zeroed before: where an append was cut short, there are NULs.
    end = _without_nuls(ring, start, end)
    entry.body = unescape(ring[start:end])
    return entry, end


def _headless(ring: bytes, at: int) -> tuple[Entry, int]:
    """What can be read of a record whose first line is damaged: up to the next record or NUL.

    Without the line feed that ends the line, what is left of the line is shown too.
    """
    start, end = at + len(MAGIC), _next(ring, at + 1, len(ring))
    feed = ring.find(b"\n", start, min(end, at + MOST_HEADER))
    start = min(start, end) if feed < 0 else feed + 1
    entry = Entry("log", b"", label=DAMAGED)
    entry.torn = True
    if ring.startswith(_GZIP, start):               # says itself where it ends
        entry.form = "record"
        end = _without_nuls(ring, start, end)
    else:
        nul = ring.find(b"\0", start, end)
        end = end if nul < 0 else nul
    entry.body = unescape(ring[start:end])
    return entry, end


def _without_nuls(ring: bytes, start: int, end: int) -> int:
    """Where the NULs begin that start..end ends with; `end` if it does not."""
    while start < end:
        piece = ring[max(start, end - MOST_HEADER):end]
        kept = len(piece.rstrip(b"\0"))
        end -= len(piece) - kept
        if kept:
            break
    return end


def _next(ring: bytes, at: int, end: int) -> int:
    """Where the next record begins, but at most `end`, or where the ring ends."""
    following = ring.find(MAGIC, at, end)
    return min(end, len(ring)) if following < 0 else following


def _header(line: bytes) -> tuple[Entry, int, int] | None:
    """An entry without its body, the stored body's size and CRC-32; None: the line is damaged.

    Keys and versions that are not known here change nothing about the others.
    """
    said, _, checksum = line.rpartition(_CHECKSUM)
    if len(checksum) != 8 or b"%08x" % zlib.crc32(said) != checksum:
        return None
    said, _, label = said.partition(b' label="')
    words = said.split(b" ")
    try:
        values = dict(word.split(b"=", 1) for word in words[3:])
        entry = Entry(_word(words[2]), b"", max(1, _number(values[b"seq"])),
                      _number(values[b"boot"]), _seconds(values[b"up"]),
                      _seconds(values[b"time"]), values[b"clock"] == b"set",
                      _unquoted(label.removesuffix(b'"')), _word(values[b"form"]))
        return entry, _number(values[b"size"]), int(values[b"body"], 16)
    except (KeyError, IndexError, ValueError):
        return None


def _word(text: bytes) -> str:
    if not text.isalpha() or len(text) > 16:
        raise ValueError
    return text.decode("ascii")


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 15:
        raise ValueError
    return int(text)


def _seconds(text: bytes) -> float:
    whole, _, part = text.partition(b".")
    if not (whole + part).isdigit() or len(whole) > 15 or len(part) > 6:
        raise ValueError
    return float(text)


def _unquoted(text: bytes) -> str:
    first, *others = text.split(b"%")
    return (first + b"".join(bytes([int(each[:2], 16)]) + each[2:] for each in others)).decode(
        "utf-8", "replace")


# --- room


def gaps(entries: list[Entry], capacity: int) -> list[tuple[int, int]]:
    """The free extents of a ring of `capacity` bytes: (offset, size)."""
    free, at = [], 0
    for start, end in [*sorted(map(_extent, entries)), (capacity, capacity)]:
        if start > at:
            free.append((at, start - at))
        at = max(at, end)
    return free


def largest(entries: list[Entry], capacity: int, spare_crashes: bool = False) -> int:
    """Bytes of the largest record, encoded and padded, that `place` would find a place for."""
    free = gaps(_spared(entries, spare_crashes), capacity - capacity % LINE)
    return max((max(0, start + size - _rounded(start)) // LINE * LINE for start, size in free),
               default=0)


def beyond_share(entries: list[Entry], kind: str, most: int) -> list[Entry]:
    """The oldest entries of this kind, without which the others take at most `most` bytes."""
    going = []
    of_kind = sorted((each for each in entries if each.kind == kind), key=_sequence)
    taken = sum(entry.size for entry in of_kind)
    for entry in of_kind:
        if taken <= most:
            break
        going.append(entry)
        taken -= entry.size
    return going


def place(entries: list[Entry], capacity: int, size: int,
          spare_crashes: bool = False) -> tuple[int, list[Entry]] | None:
    """Where a new record of `size` bytes (`room_for`) goes, and the entries that go for it.

    spare_crashes: no kernel crash that is whole goes for it.  None: there is no such place.

    The newest whole kernel crash goes for nothing, not even for a newer crash: it is an ordinary
    record once that one stands.  Of all places that is taken whose newest victim is the oldest, so
    what goes is never newer than it would be if records were dropped oldest first until there is
    room; among equals the one next behind the newest record.
    """
    entries = sorted(entries, key=_extent)
    extents = [_extent(entry) for entry in entries]
    sequences = [entry.sequence for entry in entries]
    hand = _hand(entries)
    keep = _spared(entries, spare_crashes)
    kept_at = [at for at, entry in enumerate(entries) if entry in keep]
    best: tuple[tuple[int, int, int], int, int, int] | None = None
    first = last = 0
    for start in [0, *(_rounded(end) for _, end in extents)]:
        if start + size > capacity:
            break
        while first < len(extents) and extents[first][1] <= start:
            first += 1
        last = max(first, last)
        while last < len(extents) and extents[last][0] < start + size:
            last += 1
        newest = max(sequences[first:last], default=-1)
        cost = newest, last - first, (start - hand) % capacity
        if (best is None or cost < best[0]) and not any(first <= at < last for at in kept_at):
            best = cost, start, first, last
    return (best[1], entries[best[2]:best[3]]) if best else None


def _extent(entry: Entry) -> tuple[int, int]:
    """Where the entry begins and ends in the ring."""
    offset = entry.offset or 0
    return offset, offset + entry.size


def _rounded(offset: int) -> int:
    return -(-offset // LINE) * LINE


def _spared(entries: list[Entry], all_crashes: bool) -> list[Entry]:
    """The entries that must not go: the newest kernel crash that is whole, or all of them."""
    crashes = [entry for entry in entries if entry.kind == "kernel" and not entry.torn]
    return crashes if all_crashes else sorted(crashes, key=_sequence)[-1:]


def _sequence(entry: Entry) -> int:
    return entry.sequence


def _hand(entries: list[Entry]) -> int:
    """Where the newest record ends."""
    newest = max(entries, key=lambda entry: entry.sequence, default=None)
    return _rounded(_extent(newest)[1]) if newest else 0
