"""Answers kept in tmpfs, so that a question asked again costs no more than starting Python.

An answer is as good as new while everything that it was made from has the same fingerprint:
the configuration, the ledger, the crash zones of the region, the journal, the pstore files, the
archive and the kernel settings that readiness looks at.  On the hot path: imports os and zlib only.

A cache that cannot be written or is not ours alone is not used; nothing depends on it.
"""

from __future__ import annotations

import os
import zlib

from . import __version__
from .config import Config
from .errors import LastlogError
from .medium import device
from .readiness import gather

__all__ = ["fingerprint", "folder", "listing", "lookup", "remember"]

RUN = "/var/run/lastlog"


def fingerprint(config: Config) -> str:
    """What all answers depend on, in 16 hexadecimal digits and a few sizes."""
    parts = [__version__, _stat(config.path), _stat(config.ledger), listing(config.archive),
             listing(config.site.system("/sys/fs/pstore")), repr(sorted(gather(config).items()))]
    text = "\n".join(parts).encode("utf-8", "surrogateescape")
    region = _region(config)
    return f"{_checksum(text)}-{len(region):x}-{_checksum(region)}"


def _checksum(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}{zlib.adler32(data):08x}"


def _region(config: Config) -> bytes:
    """The parts of the region that change only with a crash or a record of our own; the error if
    it cannot be read."""
    try:
        where = device.find(config.site)
        return b"".join((f"{where.path} {where.size} {where.live} ".encode(),
                         where.read(0, where.settled), where.read(where.size, where.journal_size)))
    except LastlogError as error:
        return error.message.encode("utf-8", "replace")


def _stat(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        return f"{path} {error.errno}"
    return f"{path} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


def listing(folder: str) -> str:
    """Every file's name, inode, size and time: a saved record is a new inode, whatever a
    flash file system's clock says."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.path for entry in entries)
    except OSError as error:
        return f"{folder} {error.errno}"
    return "\n".join([folder, *map(_stat, names)])


# --- the answers


def folder(config: Config) -> str | None:
    """The directory for what can be made again, ours alone; None if there can be none."""
    path = config.site.system(RUN)
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        status = os.lstat(path)
    except OSError:
        return None
    ours = status.st_uid == os.geteuid() and status.st_mode & 0o170077 == 0o040000
    return path if ours else None


def lookup(config: Config, name: str, stamp: str) -> bytes | None:
    """The answer called `name` that was remembered under `stamp`, or None."""
    where = folder(config)
    if where is None:
        return None
    try:
        with open(_path(where, config, name), "rb", buffering=0) as file:
            known, _, answer = file.read().partition(b"\n")
    except OSError:
        return None
    return answer if known == stamp.encode() else None


def remember(config: Config, name: str, stamp: str, answer: bytes) -> None:
    """Keep `answer` for as long as `stamp` is the fingerprint; one answer per name."""
    where = folder(config)
    if where is None:
        return
    path = _path(where, config, name)
    new = f"{path}.{os.getpid()}"
    try:
        with open(new, "wb") as file:
            file.write(stamp.encode() + b"\n" + answer)
        os.rename(new, path)
    except OSError:
        _remove(new)


def _path(where: str, config: Config, name: str) -> str:
    return f"{where}/{name}-{zlib.crc32(config.path.encode()):08x}"


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
