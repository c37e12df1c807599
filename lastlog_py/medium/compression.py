"""The compressed body of a kernel dump (the "-C" of its header), unpacked as far as it goes.

Nothing in a record names its algorithm; it is recognised as FORMATS section 4 says: by how the
stream begins, and by what comes out of it, which must be a dump.  Each algorithm is read by a
module of its own, imported when something is compressed with it.

Source: fs/pstore/platform.c (3.12 to 4.6 deflate, then lzo, lz4, lz4hc, 842, since 4.19 zstd; 6.6
and later deflate alone).  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .allowance import Allowance
from .inflate import LINE, RAW, SEVERAL, WRAPPED, inflate, is_wrapped, odd_lines, position

__all__ = ["TITLE", "Unpacked", "begins", "complaint", "unpack"]

# The first line of every dump's text: "Panic#2 Part1" (fs/pstore/platform.c: pstore_dump).
TITLE = rb"([A-Z][a-z]+)#(\d+) Part(\d+)\n"
END_OF_TITLE = rb"[^\n]{0,24}#\d+ Part\d+\n"

PEEK = 512                  # compressed bytes, and bytes of text, that are enough to see a dump
FEW_LINES = 3               # that show a log whose title is damaged
TRY = 50                    # steps of work to ask one algorithm
MOST_PACKED = 1 << 19       # bytes in which it is looked for what stands behind damage
LIBRARY_PACE = 256          # bytes of text that a library gives in one step


ROOM, WORK = "room", "work"


class Reading(NamedTuple):
    """What one algorithm makes of a body."""

    text: bytes                 # up to the damage
    used: int | None            # bytes of the stream; None: it did not come to its end
    sound: bool | None = None   # what the stream's own check says; None: there is none


class Unpacked(NamedTuple):
    """What a compressed body held."""

    text: bytes                 # what could be read; b"" if nothing could
    algorithm: str | None       # "deflate", "zstd", ...; None: not recognised
    complete: bool              # the stream ended as it should
    used: int                   # bytes of the body that the stream takes; all, if it has no end
    torn: bool = False          # it is damaged inside: parts are missing, and marked, or wrong
    short: str | None = None    # what kept us from more: ROOM for the text, or WORK; None: nothing


class Algorithm(NamedTuple):
    """One algorithm."""

    name: str
    recognise: Callable[[bytes], bool]          # by how its streams begin
    read: Callable[[bytes, int], Reading]       # body and most bytes of text
    copies: bool = False                        # what is new stands in its streams as it is
    pace: int | None = None                     # bytes of text that a step of work gives at least;
                                                # None: it is read by a library


def unpack(body: bytes, limit: int, allowance: Allowance | None = None) -> Unpacked:
    """`body` unpacked, to at most `limit` bytes of text.

    A stream that came to its end gives what the kernel makes of it, lines that damage has garbled
    included.  allowance: the work that may be done for it; None: what a dump alone may cost.
    """
    allowance = allowance or Allowance(limit)
    read = _read(body, limit, allowance)
    if not read.complete and not read.short and read.algorithm in ("deflate", None):
        read = _beyond(body, limit, read, allowance)
    return read if read.torn else read._replace(torn=len(odd_lines(read.text)) >= SEVERAL)


def begins(data: bytes, at: int, allowance: Allowance | None = None) -> bool:
    """Whether a compressed dump begins at byte `at`; quick.  Without work that is left none does.
    """
    body = data[at:at + PEEK]
    # A block of zstd is larger than that, and there may be no library for it.
    return _is_zstd(body) or bool(_read(body, PEEK, allowance or Allowance(PEEK)).text)


def complaint(read: Unpacked) -> str | None:
    """What is wrong with a dump, and what to do about it; None if nothing is."""
    advice = ("error correction (ramoops.ecc=1) guards against this, and without compression "
              "(pstore.compress=none) damage takes no more than the bytes it is in")
    if read.short:
        return _shortened(read)
    if read.complete and not read.torn:
        return None
    if read.torn:
        return (f"the compressed log ({read.algorithm}) is damaged inside: gaps are marked, bytes "
                "that are not known are shown as \ufffd, and lines may be garbled"
                f"{'' if read.complete else ', the newest may be lost'}; {advice}")
    if read.text:
        return (f"the compressed log ({read.algorithm}) is damaged or cut: its first "
                f"{len(read.text)} bytes could be read, the newest lines are lost; {advice}")
    if read.algorithm == "zstd":
        from . import zstd
        return zstd.complaint()
    if read.algorithm in (None, "deflate"):
        return f"the compressed log is damaged at its start and cannot be read; {advice}"
    return (f"the log is compressed with {read.algorithm}, and damaged at its start: it cannot be "
            f"read; {advice}")


def _shortened(read: Unpacked) -> str:
    """What is wrong with a dump that was not read as far as it could be."""
    if read.short == ROOM:
        return (f"the compressed log ({read.algorithm}) is longer than there is room for: its "
                f"first {len(read.text)} bytes are shown, and its bytes are kept as they are")
    known = f" ({read.algorithm})" if read.algorithm else ""
    return (f"the compressed log{known} is damaged, or made to keep lastlog busy: "
            f"{len(read.text)} bytes of it could be read, and no more was tried, because this "
            "memory is full of such logs; its bytes are kept as they are")


# --- the algorithms


def _anything(_body: bytes) -> bool:
    return True


def _is_zstd(body: bytes) -> bool:
    return body.startswith(b"\x28\xb5\x2f\xfd")


def _zlib_wrapped(body: bytes, limit: int) -> Reading:
    text, used, _ = inflate(body, WRAPPED, limit)
    return Reading(text, used, None if used is None else True)


def _raw_deflate(body: bytes, limit: int) -> Reading:
    text, used, _ = inflate(body, RAW, limit)
    return Reading(text, used)


def _zstd(body: bytes, limit: int) -> Reading:
    from . import zstd
    text, used = zstd.decode(body, limit)
    return Reading(text, used, None if used is None else True)


def _lz4(body: bytes, limit: int) -> Reading:
    from . import lz4
    text, used = lz4.decode(body, limit)
    # Nothing marks a block's end, but a log ends with a line.
    return Reading(text, used if text.endswith(b"\n") else None)


def _lzo(body: bytes, limit: int) -> Reading:
    from . import lzo
    return Reading(*lzo.decode(body, limit))


def _sw842(body: bytes, limit: int) -> Reading:
    from . import sw842
    return Reading(*sw842.decode(body, limit))


_ALGORITHMS = (Algorithm("zstd", _is_zstd, _zstd),
               Algorithm("deflate", is_wrapped, _zlib_wrapped),
               Algorithm("deflate", _anything, _raw_deflate),
               Algorithm("lz4", _anything, _lz4, True, 2),
               Algorithm("lzo", _anything, _lzo, True, 1),
               Algorithm("842", _anything, _sw842, True, 1))


def _read(body: bytes, limit: int, allowance: Allowance) -> Unpacked:
    """What the first algorithm gives that makes a dump of `body`."""
    for each in _ALGORITHMS:
        most = min(limit, allowance.work * each.pace) if each.pace else limit
        if most and each.recognise(body):
            text, used, sound = each.read(body, most)
            allowance.use(TRY + len(text) // (each.pace or LIBRARY_PACE))
            if text and (sound or _is_log(text, each.copies)):
                short = None if len(text) < most else ROOM if most == limit else WORK
                return Unpacked(text, each.name, used is not None,
                                len(body) if used is None else used, sound is False,
                                short if used is None else None)
    return Unpacked(b"", _name(body), False, len(body), short=None if allowance.work else WORK)


def _is_log(text: bytes, copied: bool) -> bool:
    """Whether it begins with a dump's title; if that is damaged, whether it has lines of a log.

    copied: lines alone prove nothing, for a log that is not packed at all would give them, too;
    the rest of the title has to be there.
    """
    if re.match(TITLE, text):
        return True
    if copied and not re.match(END_OF_TITLE, text):
        return False
    return len(re.findall(rb"\n" + LINE, text[:8 * PEEK])) >= FEW_LINES


def _name(body: bytes) -> str | None:
    """The algorithm of a body that could not be unpacked, from how such streams begin."""
    if _is_zstd(body):
        return "zstd"
    # lz4: a token (and a length byte), then literals; lzo: a literal run's length, then literals.
    # Both begin with the title as it is, because nothing before it could be repeated.
    title = re.search(rb"(?:Panic|Oops|Emergency|Shutdown|Unknown)#", body[:12])
    if title is None or title.start() not in (1, 2):
        return None
    long_literals = title.start() == 2
    lzo = body[0] == 0 if long_literals else 17 < body[0] < 0x40
    return "lzo" if lzo else "lz4"


# --- deflate behind its damage


def _beyond(body: bytes, limit: int, read: Unpacked, allowance: Allowance) -> Unpacked:
    """`read`, which is not whole, with what can be read behind the damage."""
    if not allowance.work:
        return read._replace(short=WORK)
    start = 2 if is_wrapped(body) else 0        # the sum at the end is no help
    stream = body[start:start + MOST_PACKED]
    whole = inflate(stream, RAW, limit)
    allowance.use(TRY + len(whole.text) // LIBRARY_PACE)
    for known, stopped in _damage(stream, read.text, whole.stopped):
        from . import resync  # for damaged streams alone
        log = resync.log(stream, limit, known, stopped, allowance)
        short = ROOM if len(log.text) >= limit else None if allowance.work else WORK
        if log.gaps and len(log.text) >= len(read.text):
            return Unpacked(log.text, "deflate", log.used is not None,
                            len(body) if log.used is None else start + log.used, True, short)
        read = read._replace(short=short)
    return read._replace(torn=True, complete=True) if read.text and whole.used else read


def _damage(stream: bytes, text: bytes, stopped: int | None) -> Iterator[tuple[bytes, int]]:
    """Where the damage may be: the text before it, and a byte offset behind it.

    zlib often goes on with wrong text and gives up much later, or never; lines show where it began.
    """
    odd = odd_lines(text)
    if len(odd) >= SEVERAL:
        yield text[:odd[0]], position(stream, odd[0])
    if stopped is not None:
        yield text, stopped
