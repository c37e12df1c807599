"""Saved records: a directory with one file each, bounded in bytes, that a power cut cannot hurt.

A record is written under a temporary name in the same directory, synced, read back from the
medium, renamed, and the directory is synced; what has to go for it goes after that.  Writers
take turns, readers need not.  The format of a file is in archive_file.py, what goes first in
archive_quota.py, the directory itself in archive_folder.py, and the cores that lie beside records
of crashed programs in archive_cores.py.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from . import archive_cores
from .archive_cores import Beside, first_to_go
from .archive_file import HEAD, MOST, Entry, Found, is_foreign, pack, parse, unpack
from .archive_folder import (
    ELSEWHERE,
    FOLDER,
    NEW,
    READ,
    Opened,
    Translated,
    away,
    core_name,
    create,
    explained,
    id_of,
    is_beside,
    is_core,
    is_leftover,
    is_record,
    is_there,
    lock,
    record_name,
    remove,
    shown,
    size_of,
    symbols_name,
    sync,
    sync_parents,
    temporary,
)
from .archive_quota import Saved, next_entry, tallied, victims
from .errors import LastlogError
from .record import Core, Problem, Record

__all__ = ["Archive", "DeleteResult", "Found", "SaveResult", "Skipped", "parse"]

_ABSENT = "is not in the archive"


class Skipped(NamedTuple):
    """A record with which nothing was done."""

    id: str
    why: str                            # for people: what is wrong and what to do


class SaveResult(NamedTuple):
    saved: list[str]                    # ids that stand in the archive now
    skipped: list[Skipped]


class DeleteResult(NamedTuple):
    deleted: list[str]
    kept: list[Skipped]


class _Shelf(NamedTuple):
    """What the directory holds, by what it is."""

    files: list[Saved]
    beside: list[Beside]                # cores and symbols, in the order in which they go
    leftovers: list[str]                # temporary files of an interrupted save
    strangers: list[str]                # names that are not ours: left alone


class Archive:
    """The saved records in one directory.

    path: need not exist.  limit: bytes that all its files together may take.
    """

    def __init__(self, path: str, limit: int) -> None:
        self.path = os.path.abspath(path)
        self.limit = limit

    # Reading: never raises

    def headers(self) -> tuple[list[Record], list[Problem]]:
        """Every saved record without its text, newest first, and what else there is to say.

        count, first_seen and last_seen are those of its signature.
        """
        try:
            with Opened(self.path) as folder:
                shelf = _survey(folder)
                leftovers = _abandoned(folder, shelf.leftovers)
        except OSError as error:
            return [], _unopened(self.path, error)
        problems = [_damaged(self.path, each) for each in shelf.files if each.damage]
        problems += [Problem(f"{self.path}/{name}", "it was interrupted half-written: the next "
                             "save removes it", "info") for name in leftovers]
        if shelf.strangers:
            problems.append(_strange(self.path, shelf.strangers))
        return tallied(shelf.files), problems

    def load(self, id: str) -> Found:
        """The record whole, with its text; what is left of a damaged one, and a problem.

        Both are None if there is no such record.
        """
        where = f"{self.path}/{record_name(id)}"
        try:
            with Opened(self.path) as folder:
                name = record_name(id)
                packed = _read(folder, name) if _is_ours(folder, name) else None
        except FileNotFoundError:
            packed = None
        except OSError as error:
            return Found(None, Problem(where, f"it {_unreadable(error)}", "error"))
        if packed is None:
            return Found(None, None)
        record, problem = parse(packed, where)
        return Found(record._replace(id=id, state="saved") if record else None, problem)

    def ids(self) -> list[str]:
        """The ids of all files, damaged ones and cores too: what `delete` can delete."""
        try:
            with Opened(self.path) as folder:
                shelf = _survey(folder)
        except OSError:
            return []
        return list(dict.fromkeys([id_of(each.name) for each in shelf.files]
                                  + [each.id for each in shelf.beside]))

    def cores(self) -> dict[str, Core]:
        """The reduced cores by the ids of their records, which need not be saved yet."""
        try:
            with Opened(self.path) as folder:
                return {each.id: Core(f"{self.path}/{each.name}", each.size)
                        for each in archive_cores.look(folder) if is_core(each.name)}
        except OSError:
            return {}

    def symbols(self, id: str) -> str | None:
        """The path of the file with the names and lines of the record's frames."""
        try:
            with Opened(self.path) as folder:
                there = archive_cores.is_ours(folder, symbols_name(id))
        except OSError:
            return None
        return f"{self.path}/{symbols_name(id)}" if there else None

    def holds(self, id: str) -> bool:
        """Whether the saved copy stands, reads back right, and would outlive a power cut now."""
        try:
            with Opened(self.path) as folder:
                return is_record(record_name(id)) and _holds(folder, id)
        except OSError:
            return False

    def usage(self) -> int:
        """Bytes that the archive's files take; 0 where it cannot be read."""
        try:
            with Opened(self.path) as folder:
                return sum(size_of(folder, name) or 0 for name in os.listdir(folder)
                           if _is_ours(folder, name))
        except OSError:
            return 0

    def obstacle(self) -> LastlogError | None:
        """Why nothing can be saved here as long as a drive is missing; None if none is."""
        return away(self.path)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """While this is entered no other process saves, evicts or deletes; nor may this one.

        What `holds` said stays true, so that a source can be erased for it.  Raises LastlogError
        "busy".  Without an archive there is nothing to hold still.
        """
        try:
            folder = os.open(self.path, FOLDER)
        except OSError:
            yield
            return
        try:
            lock(folder, self.path)
            yield
        finally:
            os.close(folder)

    # Writing: raises LastlogError where nothing at all could be done

    def save(self, records: Sequence[Record]) -> SaveResult:
        """Make `records` durable, the oldest first; give them oldest first where no time tells.

        One that is there and whole is saved already, without a write.
        """
        wanted = {each.id: each for each in records}
        if all(map(self.holds, wanted)) and self.usage() <= self.limit:
            return SaveResult(list(wanted), [])
        with Translated(self.path):
            create(self.path)
            with Opened(self.path) as folder:
                lock(folder, self.path)
                return _Writer(folder, self, wanted).save(sorted(wanted.values(), key=_moment))

    def delete(self, ids: Iterable[str]) -> DeleteResult:
        """Delete the files of `ids`, whatever their state, and the cores beside them."""
        wanted = list(dict.fromkeys(ids))
        with Translated(self.path):
            try:
                with Opened(self.path) as folder:
                    lock(folder, self.path)
                    return _delete(folder, wanted)
            except FileNotFoundError:
                return DeleteResult([], [Skipped(id, _ABSENT) for id in wanted])

    def lay_symbols(self, id: str, text: str) -> str:
        """Put the names and lines of a saved record's frames beside it; the file's path.

        Raises LastlogError, also where that would take more than the limit.
        """
        packed = text.encode("utf-8", "replace")
        with Translated(self.path), Opened(self.path) as folder:
            lock(folder, self.path)
            if not _is_ours(folder, record_name(id)):
                raise LastlogError("not-found", f"{id} {_ABSENT}.", "Save it first.")
            before = size_of(folder, symbols_name(id)) or 0
            if self.usage() - before + len(packed) > self.limit:
                raise LastlogError("no-space", f"{len(packed)} bytes do not fit into the archive.",
                                   "Delete saved records, or raise option archive_limit.")
            _write(folder, symbols_name(id), packed)
        return f"{self.path}/{symbols_name(id)}"

    def drop_cores(self, ids: Iterable[str]) -> None:
        """Delete the cores beside these records, which are in no archive and gone."""
        names = [core_name(id) for id in ids if id in self.cores()]
        if names:
            with Translated(self.path), Opened(self.path) as folder:
                lock(folder, self.path)
                remove(folder, names)


class _Writer:
    """One save, under the lock."""

    def __init__(self, folder: int, archive: Archive, wanted: Collection[str]) -> None:
        """wanted: ids of what is to be saved."""
        self.folder, self.path, self.limit = folder, archive.path, archive.limit
        shelf = _survey(folder, wanted)
        self.files, self.beside = shelf.files, shelf.beside
        remove(folder, shelf.leftovers)
        if not self.files:
            sync_parents(self.path)
        self._trim()

    def save(self, records: Iterable[Record]) -> SaveResult:
        """Each that can be saved.  Raises the first fault of the medium if none can."""
        saved: list[str] = []
        skipped: list[Skipped] = []
        broken: LastlogError | None = None      # the first that says more than "no room"
        for record in records:
            try:
                self._add(record)
                saved.append(record.id)
            except LastlogError as error:
                if error.code in ("io", "read-only"):
                    broken = broken or error
                skipped.append(Skipped(record.id, f"{error.message} {error.hint}"))
        if broken and not saved:
            raise broken
        left = {each.name for each in self.files}
        skipped += [Skipped(id, "It made room for newer ones at once. Raise option archive_limit.")
                    for id in saved if record_name(id) not in left]
        return SaveResult([id for id in saved if record_name(id) in left], skipped)

    def _trim(self) -> None:
        """What the last save had to do at its end, if it was interrupted or the limit is new."""
        excess = self._used(self.files) - self.limit
        last = max((each for each in self.files if each.whole), default=None, key=_serial)
        with suppress(LastlogError):
            if last and excess > 0:
                self._drop(self._going(last, [each for each in self.files if each != last], 0))
            elif excess > 0:
                self._drop([each.name for each in first_to_go(self.beside, excess)])

    def _used(self, files: Iterable[Saved]) -> int:
        """Bytes of these files and of all that lies beside records."""
        return sum(each.size for each in files) + sum(each.size for each in self.beside)

    def _add(self, record: Record) -> None:
        """Write one record, then remove what has to go for it; a full disk turns that round."""
        others = [each for each in self.files if each.name != record_name(record.id)]
        if self._stands(record.id):
            return
        entry = next_entry(record, others)
        packed = _packed(entry)
        bare = entry._replace(record=entry.record._replace(text="", raw=None))
        incoming = Saved(record_name(record.id), len(packed), bare)
        going = self._going(incoming, others, 0)
        try:
            self._write(incoming.name, packed)
        except LastlogError as error:
            if error.code != "no-space":
                raise
            going = self._going(incoming, others, len(packed))
            self._drop(going)
            self._write(incoming.name, packed)
        self.files = [incoming, *(each for each in self.files if each.name != incoming.name)]
        with suppress(LastlogError):    # the record stands; the next save tries again
            self._drop(going)

    def _stands(self, id: str) -> bool:
        """Whether the record need not be written.  Raises if it must not be."""
        if not is_record(record_name(id)):
            raise LastlogError("bad-argument", f"{id!a} cannot be a file's name.",
                               "An id is a letter, a hyphen and 12 to 32 hexadecimal digits.")
        if any(each.newer for each in self.files if each.name == record_name(id)):
            raise LastlogError("busy", "A newer lastlog has saved it.",
                               "Update lastlog to read it.")
        return _holds(self.folder, id)

    def _going(self, incoming: Saved, others: list[Saved], least: int) -> list[str]:
        """The names of what goes for `incoming`: as much as the limit demands, and at least
        `least` bytes; what lies beside records before any record."""
        needed = max(self._used(others) + incoming.size - self.limit, least)
        beside = first_to_go(self.beside, needed)
        going = victims(incoming, others, needed - sum(each.size for each in beside))
        if going is None:
            raise _no_room(incoming, sum(each.size for each in others), self.limit,
                           disk=least > 0)
        return [each.name for each in beside] + [each.name for each in going]

    def _write(self, name: str, packed: bytes) -> None:
        with Translated(self.path):
            _write(self.folder, name, packed)

    def _drop(self, going: list[str]) -> None:
        here = [each.name for each in self.files] + [each.name for each in self.beside]
        names = set(here).intersection(going)
        if names:
            with Translated(self.path):
                remove(self.folder, names)
            self.files = [each for each in self.files if each.name not in names]
            self.beside = [each for each in self.beside if each.name not in names]


# The directory

def _abandoned(folder: int, leftovers: list[str]) -> list[str]:
    """Those leftovers that no running save is about to rename."""
    if not leftovers:
        return []
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return []
    except OSError:                     # no locks there, so no savers either
        pass
    return [name for name in leftovers if size_of(folder, name) is not None]


def _survey(folder: int, known: Collection[str] = ()) -> _Shelf:
    """known: ids of records that are about to be saved."""
    shelf = _Shelf([], archive_cores.look(folder, known), [], [])
    for name in sorted(os.listdir(folder)):
        if not _is_ours(folder, name):
            if name != "lost+found" and is_there(folder, name):
                shelf.strangers.append(name)
        elif is_leftover(name):
            shelf.leftovers.append(name)
        elif not is_beside(name) and (each := _examined(folder, name)):
            shelf.files.append(each)
    return shelf


def _is_ours(folder: int, name: str) -> bool:
    """Whether it is a plain file that lastlog made, going by its name and how it begins."""
    if archive_cores.is_ours(folder, name):
        return True
    if not (is_record(name) or is_leftover(name)) or size_of(folder, name) is None:
        return False
    try:
        return not is_foreign(_read(folder, name, HEAD))
    except OSError:
        return True


def _examined(folder: int, name: str) -> Saved | None:
    """A file of the archive, checked to its last byte; None if it has just been evicted."""
    try:
        packed = _read(folder, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Saved(name, size_of(folder, name) or 0, None, _unreadable(error), unread=True)
    entry, damage, newer = unpack(packed, text=False)
    if entry and not damage and record_name(entry.record.id) != name:
        damage = f"holds {entry.record.id}: name it {record_name(entry.record.id)}"
    return Saved(name, size_of(folder, name) or len(packed), entry, damage, newer)


# One file

def _read(folder: int, name: str, most: int = MOST) -> bytes:
    """Not much more than `most` bytes: a record of MOST is damaged."""
    file = os.open(name, READ, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "is no plain file")
        return _all_of(file, most)
    finally:
        os.close(file)


def _all_of(file: int, most: int = MOST) -> bytes:
    parts: list[bytes] = []
    while sum(map(len, parts)) < most and (part := os.read(file, min(most, 1 << 16))):
        parts.append(part)
    return b"".join(parts)


def _packed(entry: Entry) -> bytes:
    """The file of `entry`, which is known to be readable."""
    packed = pack(entry)
    damage = unpack(packed).damage
    if damage:
        raise LastlogError("bad-argument", f"It cannot be saved: its file {damage}.", "Report it.")
    return packed


def _write(folder: int, name: str, packed: bytes) -> None:
    """The file whole and durable, or an OSError and no file.  Nothing of others is touched."""
    new = temporary(name)
    for each in (name, new):
        if is_there(folder, each) and not _is_ours(folder, each):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), each)
    file = os.open(new, NEW, 0o600, dir_fd=folder)
    try:
        _fill(file, packed)
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=folder)
        raise
    sync(folder)


def _fill(file: int, packed: bytes) -> None:
    """Write and close the open `file`; what it reads back must be the same."""
    try:
        rest = memoryview(packed)
        while rest:
            rest = rest[os.write(file, rest):]
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)    # read it from the medium
        os.lseek(file, 0, os.SEEK_SET)
        if _all_of(file) != packed:
            raise OSError(errno.EIO, "what was written reads back different")
    finally:
        os.close(file)


def _holds(folder: int, id: str) -> bool:
    try:
        file = os.open(record_name(id), READ, dir_fd=folder)
    except OSError:
        return False
    try:
        entry, damage, _ = unpack(_all_of(file), text=False)
        sync(file)
        sync(folder)                   # who wrote it may have died before doing that
    except OSError:
        return False
    finally:
        os.close(file)
    return entry is not None and not damage and entry.record.id == id


def _delete(folder: int, ids: list[str]) -> DeleteResult:
    result = DeleteResult([], [])
    for id in ids:
        try:
            names = (core_name(id), symbols_name(id), record_name(id))
            _unlink(folder, [name for name in names if _is_ours(folder, name)], id)
            result.deleted.append(id)
        except FileNotFoundError:
            result.kept.append(Skipped(id, _ABSENT))
        except OSError as error:
            if not result.deleted:
                raise
            result.kept.append(Skipped(id, error.strerror or str(error)))
    sync(folder)
    return result


def _unlink(folder: int, names: list[str], id: str) -> None:
    """A record's file and what lies beside it, as far as they are there."""
    if not names:
        raise FileNotFoundError(id)
    for name in names:
        os.unlink(name, dir_fd=folder)


def _serial(file: Saved) -> int:
    return file.entry.serial if file.entry else 0


def _moment(record: Record) -> float:
    """For sorting: by trusted time, what has none first."""
    return record.time if record.time_trusted and record.time is not None else float("-inf")


# What to say

def _unopened(path: str, error: OSError) -> list[Problem]:
    """Why nothing saved can be seen.  That nothing was saved yet is no problem."""
    if isinstance(error, FileNotFoundError):
        why, severity = away(path), "warning"
    else:
        why, severity = explained(error, path), "error"
    return [Problem(path, f"{why.message} {why.hint}", severity)] if why else []


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


def _damaged(path: str, file: Saved) -> Problem:
    id = id_of(file.name)
    help = "" if file.newer else (
        f"; lastlog show {id} shows what is left" if file.entry else
        f"; lastlog clear --saved {id} deletes it")
    return Problem(f"{path}/{file.name}", f"it {file.damage}{help}",
                   "warning" if file.entry or file.newer else "error")


def _strange(path: str, names: list[str]) -> Problem:
    some = ", ".join(map(shown, names[:3])) + (", …" if len(names) > 3 else "")
    are = "1 file here is not lastlog's and is" if len(names) == 1 else (
        f"{len(names)} files here are not lastlog's and are")
    return Problem(path, f"{are} left alone: {some}", "info")


def _no_room(incoming: Saved, used: int, limit: int, disk: bool) -> LastlogError:
    if disk:
        return LastlogError("no-space", f"The disk is full: {incoming.size} bytes are needed.",
                            f"Delete saved records or other files, or {ELSEWHERE}.")
    return LastlogError("no-space", f"{incoming.size} bytes do not fit: of {limit}, {used} are "
                        "taken by what is worth as much.",
                        "Delete saved records, or raise option archive_limit.")
