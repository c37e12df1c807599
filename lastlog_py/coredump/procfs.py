"""The crashed process in /proc, through one descriptor of its directory.

It is opened once, so that another process that gets the same number is never taken for it; only
texts, the targets of links, and its memory are read: no path is followed into the process' own
root or mount namespace.  Everything is bounded, and nothing raises on what is read.  Of its memory
`unread` says what better is not touched: a page that another program or machine has to supply may
never come, and who waits for it cannot be killed (fs/fuse/dev.c: request_wait_answer).
Source: Documentation/filesystems/proc.rst.  On the hot path.
"""

from __future__ import annotations

import os

from ..site import Site
from .names import DELETED, is_deleted

__all__ = ["DELETED", "Process", "Status", "find", "look"]

MOST_STATUS, MOST_COMMAND = 1 << 14, 4096
MOST_MAPS = 4 << 20             # the kernel's 65530 mappings with short paths
MOST_MOUNTS = 1 << 18
# File systems whose pages come from another program or machine.
SERVED = ("fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "coda", "orangefs", "ocfs2", "gfs2")
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
        return _read(self.fd, name, most)

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

    def unread(self, maps: bytes) -> list[tuple[int, int]]:
        """The (start, end) of mappings, of those in the text `maps`, that are of files on no file
        system of this machine that answers by itself; sorted."""
        known = {b"00:00": True}            # of no file
        found = []
        for line in maps.split(b"\n"):
            fields = line.split(None, 4)
            if len(fields) < 5:
                continue
            device = fields[3]
            if device not in known:
                known |= dict.fromkeys(_local_devices(self.own), True)
                known.setdefault(device, False)
            start, _, end = fields[0].partition(b"-")
            if not known[device] and _is_hex(start) and _is_hex(end):
                found.append((int(start, 16), int(end, 16)))
        return found

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


def _read(folder: int, name: str, most: int) -> bytes:
    pieces: list[bytes] = []
    try:
        fd = os.open(name, _OPEN, dir_fd=folder)
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


def _local_devices(own: int) -> list[bytes]:
    """"major:minor", as in maps, of the file systems that are mounted here and answer by
    themselves, and of shared memory, which is mounted nowhere (mm/shmem.c: shm_mnt).

    own: /proc/self.  What is mounted elsewhere only, or not any more, is not among them.
    """
    devices = _of_shared_memory()
    for line in _read(own, "mountinfo", MOST_MOUNTS).split(b"\n"):
        before, _, after = line.partition(b" - ")
        fields, kind = before.split(None, 3), after.partition(b" ")[0].decode("ascii", "replace")
        major, _, minor = fields[2].partition(b":") if len(fields) > 2 else (b"", b"", b"")
        if major.isdigit() and minor.isdigit() and not kind.startswith(SERVED):
            devices.append(b"%02x:%02x" % (int(major), int(minor)))
    return devices


def _of_shared_memory() -> list[bytes]:
    try:
        fd = os.memfd_create("lastlog")
    except (AttributeError, OSError):
        return []
    try:
        return [_device(os.fstat(fd).st_dev)]
    finally:
        os.close(fd)


def _is_hex(text: bytes) -> bool:
    return bool(text) and not text.strip(b"0123456789abcdef")


def _device(number: int) -> bytes:
    return b"%02x:%02x" % (os.major(number), os.minor(number))


def _link(folder: int, name: str) -> str:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return ""


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split() if word.isascii() and word.isdigit()]
