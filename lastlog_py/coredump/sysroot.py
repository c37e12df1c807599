"""Files of a crashed program in a copy of its root file system, on a PC.

A core names absolute paths; they and the symbolic links on the way are followed inside the copy,
never out of it.
"""

from __future__ import annotations

import errno
import posix  # `os` costs 0.7 ms more
import stat

__all__ = ["Sysroot"]

MAX_LINKS, MAX_FILES, MAX_TARGET, MAX_PARTS = 40, 256, 255, 16
MAX_PATH = 4096                 # PATH_MAX


class Sysroot:
    """A directory that stands for the program's "/"."""

    __slots__ = ("_fds", "root")

    def __init__(self, root: str) -> None:
        self.root = root
        self._fds: dict[str, int] = {}

    def resolve(self, path: str) -> str | None:
        """`path` without links and "..", as the program would say it; None: no such file."""
        left = [part for part in reversed(path.split("/")) if part]
        done: list[str] = []
        links = 0
        while left:
            part = left.pop()
            if part in (".", ".."):
                done = done[:-1] if part == ".." else done
                continue
            target = self._link([*done, part])
            if target is None:
                return None
            if not target:
                done.append(part)
                continue
            links += 1
            if links > MAX_LINKS:
                return None
            done = [] if target.startswith("/") else done
            left += [piece for piece in reversed(target.split("/")) if piece]
        found = "/" + "/".join(done)
        return found if self._is_file(found) else None

    def find(self, path: str) -> str | None:
        """As `resolve`; else by the end of the path, down to a file of that name at the top; None
        also for a path that is longer than Linux allows.

        A program may have been started from elsewhere than it is kept, and a copy may be flat.
        musl's loader is a link to its libc, which a copy may have without the link.
        """
        if len(path) >= MAX_PATH:
            return None
        folder, _, name = path.rpartition("/")
        found = self.resolve(path) or self._by_end(path)
        if found is None and name.startswith("ld-musl-"):
            found = self.resolve(folder + "/libc.so") or self._by_end("/usr/lib/libc.so")
        return found

    def _by_end(self, path: str) -> str | None:
        parts = [part for part in path.split("/") if part][-MAX_PARTS:]
        for start in range(1, len(parts)):
            found = self.resolve("/".join(parts[start:]))
            if found is not None:
                return found
        return None

    def open(self, path: str) -> int | None:
        """A descriptor of the resolved `path`, kept open; None where it cannot be read."""
        fd = self._fds.get(path)
        if fd is None and len(self._fds) < MAX_FILES:
            try:
                fd = posix.open(self._place(path), posix.O_RDONLY | posix.O_CLOEXEC
                                | posix.O_NONBLOCK | posix.O_NOCTTY)
            except (OSError, ValueError):
                return None
            self._fds[path] = fd
        return fd

    def close(self) -> None:
        """Every file that was opened."""
        for fd in self._fds.values():
            posix.close(fd)
        self._fds.clear()

    def _place(self, path: str) -> str:
        return self.root.rstrip("/") + "/" + path.lstrip("/")

    def _link(self, parts: list[str]) -> str | None:
        """Where it leads; "": it is no link; None: nothing is there."""
        place = self._place("/".join(parts))
        try:
            return posix.readlink(place)
        except OSError as error:
            return _link_as_text(place) if error.errno == errno.EINVAL else None
        except ValueError:                      # a NUL in the name
            return None

    def _is_file(self, path: str) -> bool:
        try:
            return stat.S_ISREG(posix.lstat(self._place(path)).st_mode)
        except (OSError, ValueError):
            return False


def _link_as_text(place: str) -> str:
    """ "", or the target that a copy on a file system without links keeps as a small text file."""
    try:
        status = posix.lstat(place)
        if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= MAX_TARGET:
            return ""
        with open(place, "rb") as file:
            text = file.read(MAX_TARGET)
    except OSError:
        return ""
    plain = text[:1].isalnum() or text[:1] in (b".", b"/")
    return text.decode("ascii") if plain and text.isascii() and b"\n" not in text else ""
