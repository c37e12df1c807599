"""The archive's directory: what its files are called; made, opened, locked, synced; and what to say
when that fails.

Writers take turns by a lock on the directory itself: it needs no file, and a dead owner cannot hold
it.  On the hot path, for a crash may leave a core here: imports next to nothing.
"""

from __future__ import annotations

import errno
import os
import stat

from . import locks
from .errors import LastlogError

__all__ = ["ELSEWHERE", "FOLDER", "NEW", "READ", "Opened", "Translated", "away", "core_name",
           "create", "explained", "id_of", "is_beside", "is_core", "is_leftover", "is_record",
           "is_there", "lock", "record_name", "remove", "shown", "size_of", "symbols_name", "sync",
           "sync_parents", "temporary"]

TYPE_CHECKING = False           # the type checker takes it for true; typing costs half a start
if TYPE_CHECKING:
    from collections.abc import Iterable

PATIENCE = 5.0                          # seconds that a writer waits for another one
MOUNTS = ("/mnt", "/media")             # what stands in these is a drive's place, not a directory
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
ELSEWHERE = "set another directory with option archive"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_RECORD, _CORE, _SYMBOLS = ".gz", ".core.gz", ".symbols.txt"
_KINDS, _HEX = frozenset("abcdefghijklmnopqrstuvwxyz"), frozenset("0123456789abcdef")


# Names

def record_name(id: str) -> str:
    """The file of the record."""
    return id + _RECORD


def core_name(id: str) -> str:
    """The file of the reduced core that belongs to the record."""
    return id + _CORE


def symbols_name(id: str) -> str:
    """The file with the names and lines of the record's frames."""
    return id + _SYMBOLS


def id_of(name: str) -> str:
    """Of the record whose file it is, or beside which it lies."""
    return name.partition(".")[0]


def is_record(name: str) -> bool:
    """Whether lastlog would name a record so: the directory may hold somebody's own files too."""
    return name.endswith(_RECORD) and _is_id(name.removesuffix(_RECORD))


def is_core(name: str) -> bool:
    """Whether lastlog would name a reduced core so."""
    return name.endswith(_CORE) and _is_id(name.removesuffix(_CORE))


def is_beside(name: str) -> bool:
    """Whether lastlog would name so what lies beside a record: its core, or its symbols."""
    return is_core(name) or (name.endswith(_SYMBOLS) and _is_id(name.removesuffix(_SYMBOLS)))


def _is_id(text: str) -> bool:
    """record_id: the kind's letter, a hyphen, 12 hexadecimal digits; later ids may be longer."""
    kind, _, digits = text.partition("-")
    return len(kind) == 1 and kind in _KINDS and 12 <= len(digits) <= 32 \
        and _HEX.issuperset(digits)


def temporary(name: str) -> str:
    """What a file is called until it is whole."""
    return f".{name}.new"


def is_leftover(name: str) -> bool:
    """Whether it is such a file."""
    return name == temporary(name[1:-4]) and (is_record(name[1:-4]) or is_beside(name[1:-4]))


def shown(name: str) -> str:
    """A file's name for people."""
    return name if name.isprintable() else ascii(name)


# The directory


class Opened:
    """A directory within `with`; not one in the place of a drive that is missing."""

    __slots__ = ("fd", "path")

    def __init__(self, path: str) -> None:
        self.path, self.fd = path, -1

    def __enter__(self) -> int:
        self.fd = os.open(self.path, FOLDER)
        if away(self.path):
            os.close(self.fd)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        return self.fd

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def lock(folder: int, path: str) -> None:
    """Wait for other writers; closing the directory ends the lock."""
    if not locks.locked(folder, locks.EXCLUSIVE, PATIENCE):
        raise LastlogError("busy", f"Another process keeps writing to {path}.",
                           "Try again in a moment.")


def create(path: str) -> None:
    """Make the directory and its parents, but not in the place of a drive that is not there."""
    if missing_drive := away(path):
        raise missing_drive
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for at in reversed(missing):
        try:
            os.mkdir(at, 0o700)
        except FileExistsError:
            pass


def away(path: str) -> LastlogError | None:
    """Why the directory belongs to a drive that is not there; None if it does not."""
    at = path
    while at and not os.path.lexists(at):
        at = os.path.dirname(at)
    if os.path.islink(at) and not os.path.exists(at):
        return LastlogError("io", f"{at} points to {shown(os.readlink(at))}, which is not "
                            "there.", f"Plug in the drive, or {ELSEWHERE}.")
    drive = _drive(path)
    if drive and not os.path.ismount(drive) and (path == drive or not os.path.isdir(path)):
        return LastlogError("io", f"Nothing is mounted at {drive}.",
                            f"Plug in the drive, or {ELSEWHERE}.")
    return None


def _drive(path: str) -> str | None:
    """The mount point that `path` should be on, by its name: /mnt/sda1/… → /mnt/sda1."""
    for root in MOUNTS:
        if path.startswith(f"{root}/"):
            return f"{root}/{path[len(root) + 1:].partition('/')[0]}"
    return None


# What is in it

def size_of(folder: int, name: str) -> int | None:
    """Bytes of a plain file; None if it is none, or not there."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def is_there(folder: int, name: str) -> bool:
    """False if it has been evicted, or got its final name, since the directory was listed."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        return error.errno != errno.ENOENT
    return True


def remove(folder: int, names: Iterable[str]) -> None:
    """Delete these files for good; one that is not there is no matter."""
    for name in names:
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            pass
    sync(folder)


def sync(file: int) -> None:
    """Some file systems have nothing to sync there, or cannot be written, and say EINVAL."""
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def sync_parents(path: str) -> None:
    """Make the directory itself durable: every parent on the same file system."""
    path = os.path.realpath(path)
    device = os.stat(path).st_dev
    while path != "/" and os.stat(path := os.path.dirname(path)).st_dev == device:
        try:
            with Opened(path) as parent:
                sync(parent)
        except PermissionError:
            pass


# What to say

class Translated:
    """Within `with`, an OSError becomes the LastlogError that says what to do."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        if isinstance(error, OSError):
            raise explained(error, self.path) from error


def explained(error: OSError, path: str) -> LastlogError:
    """What it means for the archive."""
    if error.errno in _NO_SPACE:
        return LastlogError("no-space", f"There is no space left at {path}.",
                            f"Delete saved records or other files, or {ELSEWHERE}.")
    if error.errno == errno.EROFS:
        return LastlogError("read-only", f"{path} is on a read-only file system.",
                            f"Mount it for writing, or {ELSEWHERE}.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return LastlogError("io", f"There is no permission for {path}.", "Do it as root.")
    if error.errno == errno.ENOTDIR:
        return LastlogError("io", f"{path} is no directory.", f"Move it away, or {ELSEWHERE}.")
    if error.errno in (errno.EEXIST, errno.EISDIR):
        name = os.path.join(path, error.filename2 or error.filename or "")
        return LastlogError("io", f"{name} is in the way and not lastlog's.", "Move it away.")
    return LastlogError("io", f"{path}: {error.strerror or error}.",
                        f"See the kernel log (dmesg) for the drive's trouble, or {ELSEWHERE}.")
