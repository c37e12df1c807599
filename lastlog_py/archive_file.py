"""The file of a saved record, for `zcat` and for `parse`.  Pure: bytes in, records out.

One gzip member (RFC 1952, without name and time, so that equal records give equal bytes)
around UTF-8:

    lastlog record 1                            the format's version
    Id: k-9f31c2d08a44                          `Key: value` lines, each at most once; a field that
    Time: 1712345678.5 (2024-04-05 19:34:38 UTC)    is not known has no line; what is in brackets
    Kernel: {"reason": "panic", …}              is for people; nested fields are JSON
    Text-Size: 4096 (bytes)
                                                an empty line
    the text as captured, Text-Size bytes, then, if there is a Raw-Size line: a line feed and
    the captured bytes in base64

The text is hostile: nothing in it is searched for, sizes alone say where it ends.  gzip's
CRC-32 covers all of it.
"""

from __future__ import annotations

import binascii
import functools
import json
import math
import time
import typing
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .record import Problem, Record, Source, part_from_dict, readable, to_dict

__all__ = ["Entry", "Found", "HEAD", "MOST", "Unpacked", "is_foreign", "is_id", "pack", "parse",
           "unpack"]

MAGIC = "lastlog record "
VERSION = 1
MOST = 4 << 20                          # bytes, unpacked: more than that is no record
HEAD = 4096                             # bytes, packed: enough to see whose file it is
ID_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_GZIP = 31                              # zlib's wbits: 32 KiB window, gzip header and CRC
_BASE64_LINE = 57                       # bytes that make a line of 76 characters


class Entry(NamedTuple):
    """A record with what only the archive knows of it."""

    record: Record                      # its count, first_seen and last_seen: as of this save
    serial: int = 0                     # counts up with every save; 0: unknown
    counted: tuple[str, ...] = ()       # crashes that record.count contains, the latest of them


class Unpacked(NamedTuple):
    """What a file holds."""

    entry: Entry | None                 # None: nothing in it can be read
    damage: str | None = None           # what is wrong, goes behind the file's name; None: whole
    newer: bool = False                 # whole perhaps, but in a format of the future


class Found(NamedTuple):
    """A record, a problem, or a damaged record together with its problem."""

    record: Record | None
    problem: Problem | None


def is_id(text: str) -> bool:
    """Whether `text` can be a record's id: safe as a file name."""
    return 0 < len(text) <= 40 and ID_LETTERS.issuperset(text)


def is_foreign(packed: bytes) -> bool:
    """Whether the file that starts with these bytes is a gzip of something else.

    HEAD bytes of it suffice.  What nothing can be unpacked from is not foreign but damaged.
    """
    stream, magic = zlib.decompressobj(_GZIP), MAGIC.encode()
    try:
        plain = stream.decompress(packed[:HEAD], len(magic))
    except zlib.error:
        return False
    return not magic.startswith(plain) or (stream.eof and plain != magic)


def parse(packed: bytes, name: str = "archived record") -> Found:
    """The record in a file's bytes, or in what `zcat` made of them.  Never raises."""
    if packed.startswith(MAGIC.encode()):
        entry, damage, _ = _read(packed[:MOST], None)
    else:
        entry, damage, _ = unpack(packed)
    problem = Problem(name, f"it {damage}", "warning" if entry else "error") if damage else None
    return Found(entry.record._replace(state="file") if entry else None, problem)


# Writing

def pack(entry: Entry) -> bytes:
    """The file of `entry`, whole."""
    text = entry.record.text.encode("utf-8", "replace")
    head = [f"{MAGIC}{VERSION}", *(f"{key}: {value}" for key, value in _header(entry, len(text)))]
    plain = "\n".join(head).encode() + b"\n\n" + text
    if entry.record.raw is not None:
        plain += _base64(entry.record.raw)
    return zlib.compress(plain, 9, wbits=_GZIP)


def _header(entry: Entry, text_size: int) -> Iterator[tuple[str, str]]:
    fields = to_dict(entry.record, text=False)
    for key, name, write, _ in _LINES:
        if fields[name] not in (None, ""):
            yield key, write(fields[name])
    yield "Serial", str(entry.serial)
    if entry.counted:
        yield "Counted", " ".join(entry.counted)
    yield "Text-Size", f"{text_size} (bytes)"
    if entry.record.raw is not None:
        yield "Raw-Size", f"{len(entry.record.raw)} (bytes, in base64 behind the text)"


def _base64(raw: bytes) -> bytes:
    starts = range(0, len(raw), _BASE64_LINE)
    return b"\n" + b"".join(binascii.b2a_base64(raw[at:at + _BASE64_LINE]) for at in starts)


def _base64_size(size: int) -> int:
    """How long `_base64` of so many bytes is."""
    lines, rest = divmod(size, _BASE64_LINE)
    return 1 + 77 * lines + (4 * ((rest + 2) // 3) + 1 if rest else 0)


def _plain(text: str) -> str:
    """As it is, where that is one harmless line; otherwise as a JSON string."""
    if text.isprintable() and text == text.strip() and not text.startswith('"'):
        return text
    return json.dumps(text)


def _when(moment: float) -> str:
    try:
        utc = time.gmtime(moment)
    except (OverflowError, ValueError, OSError):
        return repr(moment)
    return f"{moment!r} ({time.strftime('%Y-%m-%d %H:%M:%S UTC', utc)})"


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


# Reading

def unpack(packed: bytes, text: bool = True) -> Unpacked:
    """What a file's bytes hold; without text and raw bytes if so asked.  Never raises.

    A damaged record has its source marked as torn or truncated.
    """
    return _read(*_inflate(packed), text=text)


def _inflate(packed: bytes) -> tuple[bytes, str | None]:
    """The unpacked bytes, at most MOST, and what is wrong with them."""
    if not packed:
        return b"", "is empty"
    stream = zlib.decompressobj(_GZIP)
    try:
        plain = stream.decompress(packed, MOST)
    except zlib.error:
        return _salvage(packed), "is damaged"
    if len(plain) == MOST:
        return plain, f"is larger than {MOST >> 20} MiB unpacked"
    if not stream.eof:
        return plain, "is cut off"
    if stream.unused_data:
        return plain, f"has {len(stream.unused_data)} bytes too many"
    return plain, None


def _salvage(packed: bytes) -> bytes:
    """All that comes out of a broken stream before its first error."""
    stream, out, at, step = zlib.decompressobj(_GZIP), bytearray(), 0, 4096
    while at < len(packed) and len(out) < MOST:
        before = stream.copy()
        try:
            out += stream.decompress(packed[at:at + step], MOST - len(out))
        except zlib.error:
            if step == 1:
                break
            stream, step = before, 1
        else:
            at += step
    return bytes(out)


def _read(plain: bytes, damage: str | None, text: bool = True) -> Unpacked:
    version = _version(plain)
    if version is None:
        return Unpacked(None, damage or "is no record of lastlog")
    if version > VERSION:
        return Unpacked(None, f"was written by a newer lastlog (format {version}): update "
                              "lastlog to read it", newer=True)
    head, gap, body = plain.partition(b"\n\n")
    lines, bad = _lines(head if gap else head.rpartition(b"\n")[0])
    damage = damage or _complaint(bad, _misfit(lines, body))
    entry = _entry(lines, body if text else None)
    return Unpacked(_marked(entry, damage) if damage else entry, damage)


def _version(plain: bytes) -> int | None:
    """The format's version; None: this is no record."""
    line = plain[:64].partition(b"\n")[0].decode("ascii", "replace")
    number = line.removeprefix(MAGIC)
    return int(number) if number != line and number.isdecimal() and number.isascii() else None


def _lines(head: bytes) -> tuple[dict[str, Any], list[str]]:
    """The header's values by field name, and the keys whose value makes no sense."""
    values: dict[str, Any] = {}
    bad = []
    for line in head.decode("utf-8", "replace").split("\n")[1:]:
        key, _, value = line.partition(": ")
        if key in _READERS:
            name, reader = _READERS[key]
            try:
                values[name] = reader(value)
            except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
                bad.append(key)
    bad.extend(key for key in ("Id", "Kind", "Source", "Text-Size")
               if _READERS[key][0] not in values and key not in bad)
    return values, bad


def _misfit(lines: dict[str, Any], body: bytes) -> bool:
    """Whether the body has not the size that the header announces."""
    announced = lines.get("text_size", 0)
    if "raw_size" in lines:
        announced += _base64_size(lines["raw_size"])
    return bool(len(body) != announced)


def _complaint(bad: list[str], misfit: bool) -> str | None:
    if bad:
        return f"has no readable {', '.join(bad)} in its header"
    return "has not the length its header says" if misfit else None


def _entry(lines: dict[str, Any], body: bytes | None) -> Entry:
    """The record as far as `lines` and `body` go.  body: None if only the header is wanted."""
    fields = {name: value for name, value in lines.items() if name in Record._fields}
    record = Record(**{"id": "", "kind": "log", "text": "", "source": Source("archive"), **fields,
                       "state": "saved"})
    if body is not None:
        size = lines.get("text_size", len(body))
        record = record._replace(text=readable(body[:size]))
        if "raw_size" in lines:
            record = record._replace(raw=_unbase64(body[size:]))
    return Entry(record, lines.get("serial", 0), lines.get("counted", ()))


def _unbase64(body: bytes) -> bytes:
    """The captured bytes; of a damaged end what is left."""
    whole = len(body.translate(None, b"\n")) // 4 * 4
    try:
        return binascii.a2b_base64(body.translate(None, b"\n")[:whole])
    except binascii.Error:
        return b""


def _marked(entry: Entry, damage: str) -> Entry:
    cut = damage == "is cut off"
    source = entry.record.source
    source = source._replace(truncated=source.truncated or cut, torn=source.torn or not cut)
    return entry._replace(record=entry.record._replace(source=source))


# One line of the header each; every reader raises ValueError, TypeError or KeyError

def _text(value: str) -> str:
    text = json.loads(value) if value.startswith('"') else value
    if not isinstance(text, str):
        raise TypeError(value)
    return text


def _id(value: str) -> str:
    if not is_id(value):
        raise ValueError(value)
    return value


def _number(value: str) -> float:
    number = float(value.partition(" ")[0])
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _size(value: str) -> int:
    number = int(value.partition(" ")[0])
    if number < 0:
        raise ValueError(value)
    return number


def _truth(value: str) -> bool:
    return {"yes": True, "no": False}[value]


def _ids(value: str) -> tuple[str, ...]:
    return tuple(_id(each) for each in value.split(" "))


def _nested(name: str) -> Callable[[str], Any]:
    """A reader for the record's field `name`: JSON, of the shape that record.py says."""
    def reader(value: str) -> Any:
        given = json.loads(value)
        if not isinstance(given, dict):
            raise TypeError(value)
        part = part_from_dict(name, given)
        if not _well_typed(part):
            raise TypeError(value)
        return part
    return reader


def _coredump(value: str) -> dict[str, Any]:
    from .coredump.shape import is_whole  # here, not above: most records are no core dumps

    given: dict[str, Any] = json.loads(value)
    if not is_whole(given):
        raise TypeError(value)
    return given


def _well_typed(part: tuple[Any, ...]) -> bool:
    """Whether a NamedTuple holds what its annotations say, and so do those in it."""
    hints = _hints(type(part)) if hasattr(part, "_fields") else [tuple] * len(part)
    return all(map(isinstance, part, hints)) and all(
        _well_typed(value) for value in part if isinstance(value, tuple))


@functools.cache
def _hints(shape: type) -> list[Any]:
    """What `isinstance` takes: of `tuple[Frame, ...]` the tuple alone."""
    return [typing.get_origin(hint) if typing.get_origin(hint) is tuple else hint
            for hint in typing.get_type_hints(shape).values()]


# Key of the line, field of the record, value → line, line → value
_LINES: tuple[tuple[str, str, Callable[[Any], str], Callable[[str], Any]], ...] = (
    ("Id", "id", str, _id),
    ("Kind", "kind", _plain, _text),
    ("Title", "title", _plain, _text),
    ("Time", "time", _when, _number),
    ("Time-Trusted", "time_trusted", _yes_or_no, _truth),
    ("Uptime", "uptime", repr, _number),
    ("Signature", "signature", _plain, _text),
    ("Count", "count", str, _size),
    ("First-Seen", "first_seen", _when, _number),
    ("Last-Seen", "last_seen", _when, _number),
    ("Crash", "crash", _plain, _text),
    ("Boot", "boot", json.dumps, _nested("boot")),
    ("Source", "source", json.dumps, _nested("source")),
    ("Kernel", "kernel", json.dumps, _nested("kernel")),
    ("Coredump", "coredump", json.dumps, _coredump),
)
_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    **{key: (name, read) for key, name, _, read in _LINES},
    "Serial": ("serial", _size),
    "Counted": ("counted", _ids),
    "Text-Size": ("text_size", _size),
    "Raw-Size": ("raw_size", _size),
}
