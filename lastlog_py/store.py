"""`store`: the end of a log, or a text, into the journal now.

What the old recipe did with `dd … skip=… of=/dev/mtdchar/phram-oops`: two or three large reads,
one append.  Without a journal it goes into the archive.  On the hot path: nothing is imported
that the append does not need; what reads the rest of the house is imported where it is used.
"""

from __future__ import annotations

import os
import stat

from .boot import Moment, moment, this_boot
from .config import Config
from .errors import LastlogError, visible
from .medium import journal_device
from .medium.journal import escape
from .medium.journal_device import Journal
from .record_id import record_id

__all__ = ["STDIN", "in_json", "parse", "said", "store", "store_text"]

STDIN = "-"
PIECE = 1 << 20                     # bytes read at once
SHARE = 4                           # a log takes at most a quarter of the journal, unless asked for
MOST_SAVED = 65536                  # bytes, unless asked for, where there is no journal

Reply = dict[str, object]


def store(config: Config, path: str, wanted: int | None = None, label: str | None = None,
          plain: bool = False) -> Reply:
    """The last `wanted` bytes (None: what fits, see `_limit`) of the file `path`, or of stdin.

    label: what to call it (None: the file's name).  plain: nothing but a plain file will do.
    Returns {"id", "bytes", "cut": there was more than what is kept, "where": "journal" | "pmsg" |
    "archive", "note": what else there is to say, or None}.  Raises LastlogError.
    """
    keep = _Keeper(config, wanted)
    body, more = _tail_of_stream(0, keep.limit) if path == STDIN else \
        _tail_of_file(path, keep.limit, plain)
    return keep.keep(body, more, _name(path) if label is None else label)


def store_text(config: Config, text: str, wanted: int | None = None, label: str = "") -> Reply:
    """The last `wanted` bytes of `text`; otherwise as `store`."""
    keep = _Keeper(config, wanted)
    body = text.encode("utf-8", "replace")
    more = len(body) > keep.limit
    return keep.keep(body[-keep.limit - 1:] if more else body, more, label)


def _name(path: str) -> str:
    return "stdin" if path == STDIN else os.path.basename(path)


class _Keeper:
    """Where a log goes, and how much of it."""

    def __init__(self, config: Config, wanted: int | None) -> None:
        """Raises LastlogError "bad-argument", or what is wrong with the journal but its absence."""
        if wanted is not None and wanted < 1:
            raise LastlogError("bad-argument", "At least one byte has to be stored.",
                               "Leave the number of bytes out for as much as fits.")
        self.config = config
        self.wanted = wanted
        self.notes: list[str] = []
        self.journal = self._journal()
        self.limit = self._limit()

    def _journal(self) -> Journal | None:
        try:
            return journal_device.find(self.config.site)
        except LastlogError as error:
            if error.code != "no-region":
                raise
            self.notes.append(f"It is in the archive, for there is no journal: {error.message} "
                              f"{error.hint}")
            return None

    def _limit(self) -> int:
        """How many bytes are kept at most: what was asked for, as far as it can fit.

        By default no more than a quarter of the journal, so that one log does not push out all
        records before it.
        """
        if self.journal is None:
            return min(self.wanted or MOST_SAVED, self.config.archive_limit)
        return min(self.wanted or self.journal.capacity // SHARE, self.journal.capacity)

    def keep(self, body: bytes, more: bool, label: str) -> Reply:
        """Store `body`; more: it is the end of something longer, with the byte before it."""
        if not body:
            raise LastlogError("bad-argument", "There is nothing to store: the input is empty.",
                               "See whether the program that writes the log runs.")
        now = moment(self.config.site)
        if self.journal is None:
            body = _from_line(body, self.limit) if more else body
            name, where = _saved(self.config, body, now, label), "archive"
        else:
            body, more = self._append(self.journal, body, more, now, label)
            where = "journal" if self.journal.what == "region" else "pmsg"
            if where == "pmsg":
                self.notes.append("It can be seen after the next reboot.")
            name = record_id("log", body, round(now.time, 6))
        return {"id": name, "bytes": len(body), "cut": more, "where": where,
                "note": " ".join(self.notes) or None}

    def _append(self, journal: Journal, body: bytes, more: bool, now: Moment,
                label: str) -> tuple[bytes, bool]:
        """Append as much of `body` as there is room for: what, and whether there was more."""
        number = this_boot(self.config.site).number
        kept = _from_line(body, self.limit) if more else body
        if more and self.wanted is None:
            self.notes.append("It takes a quarter of the journal; say how many bytes for more.")
        try:
            journal.append("log", kept, now, number, label)
        except LastlogError as error:
            room = journal.room() if error.code == "no-space" else 0
            if not room:
                raise
            self.notes.append(f"The journal has room for {room} bytes at once.")
            kept, more = _fitting(kept, room), True
            journal.append("log", kept, now, number, label)
        return kept, more


# --- the end of something long


def _tail_of_file(path: str, limit: int, plain: bool) -> tuple[bytes, bool]:
    """The last bytes of a file, and whether there were more than `limit`: then one more than
    that, to see whether a line begins there.  Raises LastlogError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if plain else 0))
        try:
            status = os.fstat(fd)
            is_plain = stat.S_ISREG(status.st_mode)
            if stat.S_ISDIR(status.st_mode) or (plain and not is_plain):
                raise LastlogError("bad-argument", f"{path} is not a plain file.",
                                   "Name a log file.")
            if not is_plain or not status.st_size:      # a pipe, or a file of /proc
                return _tail_of_stream(fd, limit)
            start = max(0, status.st_size - limit - 1)
            body = _read(fd, start, status.st_size - start)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise LastlogError("not-found", f"There is no file {path}.", "Name a log file.") from None
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else "that is no path"
        raise LastlogError("io", f"{path} cannot be read: {what}.",
                           "Run lastlog as root, and name a log file.") from None
    return body, len(body) > limit


def _read(fd: int, start: int, size: int) -> bytes:
    pieces = []
    while size > 0 and (piece := os.pread(fd, min(size, PIECE), start)):
        pieces.append(piece)
        start += len(piece)
        size -= len(piece)
    return b"".join(pieces)


def _tail_of_stream(fd: int, limit: int) -> tuple[bytes, bool]:
    """As `_tail_of_file`, of what has to be read from its start to know its end."""
    pieces: list[bytes] = []
    held, total = 0, 0
    try:
        while piece := os.read(fd, PIECE):
            pieces.append(piece)
            total += len(piece)
            held += len(piece)
            while held - len(pieces[0]) > limit:
                held -= len(pieces.pop(0))
    except OSError as error:
        raise LastlogError("io", f"The input cannot be read: {error.strerror}.",
                           "Pipe a log into it, or name a file.") from None
    body = b"".join(pieces)
    return body[-limit - 1:], total > limit


def _fitting(body: bytes, room: int) -> bytes:
    """`body` cut at the front until it is short enough as it is stored."""
    limit = room
    while len(body) > limit or len(escape(body)) > room:
        limit = min(limit, len(body) - 1)
        body = _from_line(body[-limit - 1:], limit)
        limit -= max(0, len(escape(body)) - room)
    return body


def _from_line(body: bytes, limit: int) -> bytes:
    """At most the last `limit` bytes of `body`, which has one more, from where a line begins.

    Where that would cost half of it, as in what has no lines, it is cut in the middle.
    """
    feed = body.find(b"\n", 0, limit // 2 + 1)
    return body[-limit:] if feed < 0 else body[feed + 1:]


# --- where it goes without a journal


def _saved(config: Config, body: bytes, now: Moment, label: str) -> str:
    """Save it; its id.  Raises LastlogError if it cannot be."""
    from .archive import Archive
    from .record import Boot, Source, captured

    here = this_boot(config.site)
    boot = Boot(here.id or None, here.number or None, here.firmware or None, here.kernel or None)
    record = captured("log", body, Source("archive", size=len(body)), time=round(now.time, 6))
    result = Archive(config.archive, config.archive_limit).save([record._replace(
        title=visible(label) or "A stored log", time_trusted=now.trusted, uptime=now.uptime,
        boot=boot)])
    if result.skipped:
        raise LastlogError("no-space", f"It was not saved: {result.skipped[0].why}",
                           "Store less of it.")
    return record.id


# --- the command


def parse(words: list[str]) -> tuple[str, int | None, str | None] | None:
    """File, bytes and label of a plain `FILE [--bytes N] [--label L]`; None: anything else, which
    the full command line answers."""
    files: list[str] = []
    values: dict[str, str] = {}
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if name in ("--bytes", "--label"):
            value = value if equals else next(left, "")
            if not value or (value.startswith("-") and not equals):
                return None
            values[name] = value
        elif word and (word == STDIN or not word.startswith("-")):
            files.append(word)
        else:
            return None
    count = values.get("--bytes", "")
    if len(files) != 1 or count.strip("0123456789") or count.startswith("0") or len(count) > 15:
        return None
    return files[0], int(count) if count else None, values.get("--label")


def said(reply: Reply) -> str:
    """The answer for people."""
    cut = ", the end of something longer" if reply["cut"] else ""
    line = f"Stored {reply['bytes']} bytes{cut}, as {reply['id']}."
    return f"{line}\n{reply['note']}" if reply["note"] else line


def in_json(reply: Reply) -> str:
    """The answer for scripts; json itself is only imported where there is something to quote."""
    if reply["note"] is None:
        return (f'{{"id": "{reply["id"]}", "bytes": {reply["bytes"]}, '
                f'"cut": {"true" if reply["cut"] else "false"}, "where": "{reply["where"]}", '
                '"note": null}')
    import json

    return json.dumps(reply)
