"""How often a program's crashes are kept: a few in some minutes, and the others are counted.

A daemon that is restarted and crashes over and over must not fill the journal, nor use up what
other programs may have.  Times are on the monotonic clock: a router's own jumps at boot.  The
state is one small file in tmpfs, of lines `DROPPED TIME,TIME… KEY`; without a place for it,
everything is kept.  On the hot path.
"""

from __future__ import annotations

import fcntl
import os
import time

from ..site import Site

__all__ = ["Verdict", "ask"]

FOLDER, NAME = "/var/run/lastlog", "cores"
MOST_PROGRAMS = 64
MOST_FILE = 1 << 16
MOST_KEY = 512                  # characters of a path that tell programs apart
OF_A_USER = 4                   # so many programs' worth may one user have that is not root
PATIENCE = 0.5                  # seconds that one waits for another crash's handler


class Verdict:
    """What to do with a crash."""

    __slots__ = ("dropped", "keep")

    def __init__(self, keep: bool, dropped: int) -> None:
        self.keep = keep
        self.dropped = dropped          # crashes of the program that were not kept since the last


class _Row:
    """What is known of one program."""

    __slots__ = ("dropped", "key", "times")

    def __init__(self, key: str, dropped: int, times: list[float]) -> None:
        self.key = key
        self.dropped = dropped
        self.times = times              # of the crashes that were kept, seconds


def ask(site: Site, program: str, uid: int, most: int, seconds: int,
        now: float | None = None) -> Verdict:
    """May another crash of the program be kept: at most `most` in so many seconds?

    Users who are not root have programs of their own, and share a limit over all of them.
    """
    fd = _opened(site)
    if fd is None or most <= 0:
        return Verdict(True, 0)
    try:
        _lock(fd)
        rows = _parsed(os.pread(fd, MOST_FILE, 0))
        verdict = _judged(rows, program, uid, (most, seconds),
                          time.monotonic() if now is None else now)
        _write(fd, rows)
        return verdict
    except OSError:
        return Verdict(True, 0)
    finally:
        os.close(fd)


def _judged(rows: dict[str, _Row], program: str, uid: int, limit: tuple[int, int],
            now: float) -> Verdict:
    """Count the crash in `rows`."""
    most, seconds = limit
    for row in rows.values():
        row.times = [moment for moment in row.times if now - seconds < moment < now + 1]
    wanted = [(_row(rows, f"{uid} {program}"), most)]
    if uid:
        wanted.append((_row(rows, f"{uid}"), most * OF_A_USER))
    own = wanted[0][0]
    if any(len(row.times) >= most for row, most in wanted):
        own.dropped += 1
        return Verdict(False, own.dropped)
    for row, _ in wanted:
        row.times.append(now)
    verdict = Verdict(True, own.dropped)
    own.dropped = 0
    return verdict


def _row(rows: dict[str, _Row], key: str) -> _Row:
    """The program's row, now the last: what was not asked for longest goes first."""
    key = "".join(char if char.isprintable() else "?" for char in key[:MOST_KEY])
    row = rows.pop(key, None) or _Row(key, 0, [])
    rows[key] = row
    return row


# --- the file


def _opened(site: Site) -> int | None:
    """The file, in a directory that is ours alone; None: there is none to be had."""
    path = site.system(FOLDER)
    try:
        if not os.path.isdir(path):
            os.makedirs(path, 0o700, exist_ok=True)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return None
        return os.open(NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600,
                       dir_fd=folder)
    except OSError:
        return None
    finally:
        os.close(folder)


def _lock(fd: int) -> None:
    """Raises OSError where others do not end."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.005)


def _parsed(raw: bytes) -> dict[str, _Row]:
    """The rows by key; what makes no sense is left out."""
    rows: dict[str, _Row] = {}
    for line in raw.decode("utf-8", "replace").split("\n")[:MOST_PROGRAMS]:
        dropped, _, rest = line.partition(" ")
        times, _, key = rest.partition(" ")
        try:
            moments = [float(word) for word in times.split(",") if word]
            rows[key] = _Row(key, int(dropped), moments)
        except ValueError:
            continue
    return rows


def _write(fd: int, rows: dict[str, _Row]) -> None:
    """The rows that were asked for last."""
    lines = [f"{row.dropped} {','.join(f'{moment:.3f}' for moment in row.times)} {row.key}"
             for row in list(rows.values())[-MOST_PROGRAMS:]]
    data = "\n".join(lines).encode("utf-8", "replace")
    os.ftruncate(fd, 0)
    os.pwrite(fd, data, 0)
