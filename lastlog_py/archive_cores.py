"""Reduced cores in the archive: ELF core files in gzip, each beside the record of its crash.

The name tells whose it is: RECORD.core.gz.  It goes with its record, and may come before it, for
the record can wait in the journal.  All cores share the archive's limit with the records and go
before any of these does: first those whose record is not saved, then the oldest.  So does what
`symbolize --save` lays beside a record, RECORD.symbols.txt.  A new core takes the place of older
ones of the same program first, which the name in its gzip header tells (RFC 1952: FNAME).

The core handler writes them, as root and with what a crashed program left, so on the hot path:
imports next to nothing.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib

from .archive_folder import (
    ELSEWHERE,
    NEW,
    READ,
    Opened,
    Translated,
    core_name,
    create,
    id_of,
    is_beside,
    is_core,
    is_leftover,
    is_record,
    is_there,
    lock,
    record_name,
    remove,
    size_of,
    sync,
    sync_parents,
    temporary,
)
from .errors import LastlogError
from .record_id import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Protocol

    class Plain(Protocol):
        """A core that can be read more than once, piece by piece."""

        size: int                       # bytes of all pieces together

        def __iter__(self) -> Iterator[bytes]: ...

__all__ = ["Beside", "check_own", "first_to_go", "is_ours", "look", "save"]

RECORD_ROOM = 16384                     # bytes of the limit that are left to the core's own record
PIECE = 1 << 16
_GZIP, _RAW, _LEVEL = 31, -15, 6        # zlib's wbits: 32 KiB window; gzip's header and CRC, none
_HEADER = b"\x1f\x8b\x08\x08\0\0\0\0\0\x03"     # deflate, a name follows; no time; made on Unix
_ELF = b"\x7fELF"


class Beside:
    """One file beside a record: a core, or symbols."""

    __slots__ = ("id", "name", "size", "time")

    def __init__(self, name: str, size: int, time: int) -> None:
        self.name = name
        self.id = id_of(name)           # of its record
        self.size = size                # bytes
        self.time = time                # nanoseconds: when it was written, by the clock of then


def look(folder: int, known: Collection[str] = ()) -> list[Beside]:
    """What lies beside records in the directory, in the order in which it goes.

    known: ids of records that are about to be saved.
    """
    names = set(os.listdir(folder))
    found = []
    for name in names:
        if is_beside(name) and is_ours(folder, name):
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue                # it has just been deleted
            found.append(Beside(name, status.st_size, status.st_mtime_ns))
    saved = {id_of(name) for name in names if is_record(name)}.union(known)
    return sorted(found, key=lambda core: (core.id in saved, core.time, core.name))


def first_to_go(files: list[Beside], needed: int) -> list[Beside]:
    """Those of `files` that go so that `needed` bytes get free; all, if these are too few."""
    going = []
    for each in files:
        if needed <= 0:
            break
        going.append(each)
        needed -= each.size
    return going


def is_ours(folder: int, name: str) -> bool:
    """Whether lastlog laid it beside a record, whole or half, by its name and how a core begins."""
    whole = name[1:-4] if is_leftover(name) else name
    if not is_beside(whole) or size_of(folder, name) is None:
        return False
    if not is_core(whole):
        return True
    try:
        file = os.open(name, READ, dir_fd=folder)
    except OSError:
        return True
    try:
        begins = zlib.decompressobj(_GZIP).decompress(os.read(file, 4096), len(_ELF))
    except (OSError, zlib.error):
        return True                     # damaged: nobody else's
    finally:
        os.close(file)
    return _ELF.startswith(begins)


def save(path: str, limit: int, id: str, core: Plain, program: str = "") -> int:
    """Put `core` beside the record `id`, in the archive at `path` of `limit` bytes.

    program: whose it is; the file has only a hash of that.  Returns the bytes that it takes there.
    Raises LastlogError; nothing is left of a core that cannot be kept whole.
    """
    with Translated(path):
        create(path)
        with Opened(path) as folder:
            _check_own(folder, path)
            lock(folder, path)
            return _Writer(folder, path, limit, id, program).write(core)


def check_own(path: str) -> None:
    """See that the archive's directory is there, and none that others can write to: the handler
    acts for whoever made a program crash.  Raises LastlogError."""
    with Translated(path):
        create(path)
        with Opened(path) as folder:
            _check_own(folder, path)


def _check_own(folder: int, path: str) -> None:
    """What a program had in memory goes into no directory that others can write to."""
    status = os.fstat(folder)
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise LastlogError("io", f"Others than root may write to {path}.",
                           f"Do chown root and chmod 700, or {ELSEWHERE}.")


class _Writer:
    """One core on its way, under the lock."""

    __slots__ = ("folder", "header", "name", "new", "others", "path", "room")

    def __init__(self, folder: int, path: str, limit: int, id: str, program: str) -> None:
        self.folder, self.path = folder, path
        self.header = _header(program)
        self.name = core_name(id)
        self.new = temporary(self.name)
        names = os.listdir(folder)
        self._tidy(names)
        if not any(map(is_record, names)):
            sync_parents(path)
        taken = sum(size_of(folder, name) or 0 for name in names if is_record(name))
        # Symbols are small, and somebody wants them: they go for no core.
        self.others = [each for each in look(folder) if is_core(each.name)
                       and each.name != self.name]
        self.others.sort(key=lambda each: not self._is_of_program(each.name))   # and as they were
        taken += sum(size_of(folder, name) or 0 for name in names
                     if is_beside(name) and not is_core(name))
        # For this core, if all others go.
        self.room = limit - taken - (0 if record_name(id) in names else RECORD_ROOM)

    def _is_of_program(self, name: str) -> bool:
        try:
            file = os.open(name, READ, dir_fd=self.folder)
        except OSError:
            return False
        try:
            return os.read(file, len(self.header)) == self.header
        except OSError:
            return False
        finally:
            os.close(file)

    def _tidy(self, names: list[str]) -> None:
        """Remove what is left of one that was cut off, and see that nothing is in the way."""
        left = [name for name in names if is_leftover(name) and is_ours(self.folder, name)]
        if left:
            remove(self.folder, left)
        for each in (self.name, self.new):
            if is_there(self.folder, each) and not is_ours(self.folder, each):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), each)

    def write(self, core: Plain) -> int:
        """All of it, or an error and no file."""
        try:
            size = self._with_room(core)
            os.rename(self.new, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        except BaseException:
            try:
                os.unlink(self.new, dir_fd=self.folder)
            except OSError:
                pass
            raise
        sync(self.folder)
        self._drop(size + sum(each.size for each in self.others) - self.room)
        return size

    def _with_room(self, core: Plain) -> int:
        """The temporary file, whole; other cores go for it where the disk is full."""
        try:
            return self._stream(core)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self.others:
                raise
        os.unlink(self.new, dir_fd=self.folder)
        self._drop(core.size)
        return self._stream(core)

    def _drop(self, needed: int) -> None:
        """Delete other cores, so many bytes of them."""
        going = {each.name for each in first_to_go(self.others, needed)}
        if going:
            remove(self.folder, going)
            self.others = [each for each in self.others if each.name not in going]

    def _stream(self, core: Plain) -> int:
        file = os.open(self.new, NEW, 0o600, dir_fd=self.folder)
        try:
            os.fchmod(file, 0o600)
            if os.fstat(file).st_mode & 0o077:
                raise LastlogError("io", f"The file system of {self.path} keeps no modes: anybody "
                                   "could read the core.", f"To keep cores, {ELSEWHERE}.")
            size, checksum = self._fill(file, core)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)    # read it from the medium
            if _read_back(file) != checksum:
                raise OSError(errno.EIO, "what was written reads back different")
        finally:
            os.close(file)
        return size

    def _fill(self, file: int, core: Plain) -> tuple[int, int]:
        """Its size and CRC-32, packed."""
        size = checksum = 0
        for packed in _packed(core, self.header):
            size += len(packed)
            if size > self.room:
                raise LastlogError("no-space", "It takes more than the records leave of the "
                                   f"archive's limit: {max(0, self.room)} bytes.",
                                   "Raise option archive_limit, or lower option keep_core.")
            checksum = zlib.crc32(packed, checksum)
            rest = memoryview(packed)
            while rest:
                rest = rest[os.write(file, rest):]
        return size, checksum


def _header(program: str) -> bytes:
    """Of the gzip member."""
    digest = sha256(program.encode("utf-8", "surrogatepass"))
    return _HEADER + f"{digest[:16]}.core\0".encode()


def _packed(core: Plain, header: bytes) -> Iterator[bytes]:
    yield header
    stream, checksum, size = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW), 0, 0
    for piece in core:
        checksum, size = zlib.crc32(piece, checksum), size + len(piece)
        yield stream.compress(piece)
    yield stream.flush() + struct.pack("<II", checksum, size & 0xffffffff)


def _read_back(file: int) -> int:
    """The CRC-32 of all that is in the file."""
    os.lseek(file, 0, os.SEEK_SET)
    checksum = 0
    while piece := os.read(file, PIECE):
        checksum = zlib.crc32(piece, checksum)
    return checksum
