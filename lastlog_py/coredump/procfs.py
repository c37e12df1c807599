"""The crashed process in /proc, through one descriptor of its directory.

It is opened once, so that another process that gets the same number is never taken for it; only
texts, the targets of links, and its memory are read: no path is followed into the process' own
root or mount namespace.  Everything is bounded, and nothing raises on what is read.
Source: Documentation/filesystems/proc.rst.  On the hot path.
"""

from __future__ import annotations

import os

from ..site import Site
from .names import DELETED, is_deleted

__all__ = ["DELETED", "Process", "Status", "find", "look"]

MOST_STATUS, MOST_COMMAND = 1 << 14, 4096
MOST_MAPS = 4 << 20             # the kernel's 65530 mappings with short paths
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Status:
    """What /proc/PID/status says of who runs.  Empty, None: it does not say."""

    __slots__ = ("dumping", "gids", "group", "namespaces", "state", "uids")

    def __init__(self, text: str) -> None:
        # The kernel escapes no more of the name in the first line than line feeds.
        rows = dict(line.split(":", 1) for line in text.split("\n") if ":" in line)
        self.uids = _numbers(rows.get("Uid", ""))           # real, effective, saved, file system
        self.gids = _numbers(rows.get("Gid", ""))
        # How deep its pid namespace lies below ours; 1: it is ours.
        self.namespaces = len(_numbers(rows.get("NSpid", "")))
        self.state = rows.get("State", "").strip()[:1]      # "R", "S", "Z", …
        self.group = next(iter(_numbers(rows.get("Tgid", ""))), None)   # the process it belongs to
        dumping = _numbers(rows.get("CoreDumping", ""))
        self.dumping = bool(dumping[0]) if dumping else None    # None: a kernel before 4.15


class Process:
    """One process."""

    __slots__ = ("fd", "own", "pid", "status")

    def __init__(self, fd: int, own: int, pid: int) -> None:
        self.fd = fd                    # of its directory
        self.own = own                  # of this process', to compare namespaces; -1: none
        self.pid = pid
        self.status = Status(self.text("status", MOST_STATUS))

    def read(self, name: str, most: int) -> bytes:
        """The first `most` bytes of one of its files; what could be read of them."""
        pieces: list[bytes] = []
        try:
            fd = os.open(name, _OPEN, dir_fd=self.fd)
        except OSError:
            return b""
        try:
            while most > 0 and (piece := os.read(fd, min(most, 1 << 16))):
                pieces.append(piece)
                most -= len(piece)
        except OSError:
            pass
        finally:
            os.close(fd)
        return b"".join(pieces)

    def text(self, name: str, most: int) -> str:
        """As `read`; a byte that is no UTF-8 becomes a surrogate."""
        return self.read(name, most).decode("utf-8", "surrogateescape")

    def name(self) -> str:
        """What the program calls itself, at most 15 characters and any of them; "" if unknown."""
        return self.text("comm", 64).removesuffix("\n")

    def executable(self) -> tuple[str, bool]:
        """The path of its file, and whether that was deleted or replaced; "" if unknown."""
        path = self.link("exe")
        return path.removesuffix(DELETED), is_deleted(path)

    def command(self) -> str:
        """Its command line, words parted by spaces."""
        return self.text("cmdline", MOST_COMMAND).rstrip("\0").replace("\0", " ")

    def link(self, name: str) -> str:
        """Where a link of it points, as text; it is not followed.  "" if unknown."""
        return _link(self.fd, name)

    def memory(self) -> int | None:
        """A descriptor of its memory; None where that cannot be had."""
        try:
            return os.open("mem", _OPEN, dir_fd=self.fd)
        except OSError:
            return None

    def maps(self) -> bytes:
        """Its mappings, as text."""
        return self.read("maps", MOST_MAPS)

    def threads(self) -> list[int]:
        """The numbers of its threads, in ours."""
        try:
            folder = os.open("task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError:
            return []
        try:
            return sorted(int(name) for name in os.listdir(folder) if name.isdigit())
        except OSError:
            return []
        finally:
            os.close(folder)

    def foreign(self) -> list[str]:
        """The namespaces that differ from ours, of "mnt" and "pid", and "root"."""
        names = [name for name in ("mnt", "pid") if self._differs(f"ns/{name}")]
        return names + (["root"] if self.link("root") not in ("/", "") else [])

    def _differs(self, name: str) -> bool:
        theirs = self.link(name)
        return bool(theirs) and self.own >= 0 and theirs != _link(self.own, name)

    def close(self) -> None:
        """Give its directory back."""
        for fd in (self.fd, self.own):
            if fd >= 0:
                os.close(fd)
        self.fd = self.own = -1


def find(site: Site, pid: int) -> Process | None:
    """The process with this number, as root's /proc has it; None: it is gone, or is another one,
    which does not dump core."""
    process = look(site, pid)
    if process is not None and process.status.dumping is False:
        process.close()
        return None
    return process


def look(site: Site, pid: int) -> Process | None:
    """The process with this number, whatever it does; None: there is none."""
    fd = _directory(site.system(f"/proc/{pid}"))
    return None if fd < 0 else Process(fd, _directory(site.system("/proc/self")), pid)


def _directory(path: str) -> int:
    """A descriptor of it; -1: there is none."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1


def _link(folder: int, name: str) -> str:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return ""


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split() if word.isascii() and word.isdigit()]
