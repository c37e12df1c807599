"""How often a program's crashes are kept: a few in some minutes, and the others are counted.

A daemon that is restarted and crashes over and over must not fill the journal, nor use up what
other programs may have.  Times are on the monotonic clock: a router's own jumps at boot.  The
state is one small file in tmpfs, of lines `DROPPED TIME,TIME… UID PROGRAM`, the program as a hash,
or "*" for all of the user's; without a place for it, everything is kept.  On the hot path.
"""

from __future__ import annotations

import fcntl
import os
import time

from ..record_id import sha256
from ..site import Site

__all__ = ["Verdict", "ask", "end_turn", "turn"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    _Key = tuple[int, str]      # uid, program

FOLDER, NAME, TURN = "/var/run/lastlog", "cores", "turn"
MOST_PROGRAMS = 64
MOST_FILE = 1 << 20
MOST_CRASHES = 256              # no limit is higher: so many times are kept for each program
ALL = "*"                       # in a program's place
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

    __slots__ = ("dropped", "times")

    def __init__(self, dropped: int, times: list[float]) -> None:
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
        name = sha256(program.encode("utf-8", "surrogatepass"))[:16]
        verdict = _judged(rows, name, uid, (min(most, MOST_CRASHES), seconds),
                          time.monotonic() if now is None else now)
        _bound(rows)
        _write(fd, rows)
        return verdict
    except OSError:
        return Verdict(True, 0)
    finally:
        os.close(fd)


def _judged(rows: dict[_Key, _Row], program: str, uid: int, limit: tuple[int, int],
            now: float) -> Verdict:
    """Count the crash in `rows`."""
    most, seconds = limit
    for row in rows.values():
        row.times = [moment for moment in row.times if now - seconds < moment < now + 1]
    own = _row(rows, (uid, program))
    wanted = [(own, most)]
    if uid:
        wanted.append((_row(rows, (uid, ALL)), most * OF_A_USER))
    if any(len(row.times) >= most for row, most in wanted):
        own.dropped += 1
        return Verdict(False, own.dropped)
    for row, _ in wanted:
        row.times.append(now)
    verdict = Verdict(True, own.dropped)
    own.dropped = 0
    return verdict


def _row(rows: dict[_Key, _Row], key: _Key) -> _Row:
    """The program's row, now the last."""
    row = rows.pop(key, None) or _Row(0, [])
    rows[key] = row
    return row


def _bound(rows: dict[_Key, _Row]) -> None:
    """Forget rows that say nothing any more; then what was not asked for longest, of the user who
    has most and is not root: who makes up names pushes out no row but their own."""
    for key in [key for key, row in rows.items() if not row.times and not row.dropped]:
        del rows[key]
    while len(rows) > MOST_PROGRAMS:
        users = [uid for uid, _ in rows]
        most = max(users, key=lambda uid: (uid != 0, users.count(uid)))
        del rows[next(key for key in rows if key[0] == most)]


# --- the file


def turn(site: Site, patience: float) -> int:
    """Wait so many seconds for one's turn among the handlers; until `end_turn` it is nobody else's.
    -1: in vain, or there are no turns to be had."""
    fd = _opened(site, TURN)
    if fd is None:
        return -1
    try:
        _lock(fd, patience)
        return fd
    except OSError:
        os.close(fd)
        return -1


def end_turn(fd: int) -> None:
    """For a copy of the descriptor in another process as well."""
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
    except OSError:
        pass


def _opened(site: Site, name: str = NAME) -> int | None:
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
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600,
                       dir_fd=folder)
    except OSError:
        return None
    finally:
        os.close(folder)


def _lock(fd: int, patience: float = PATIENCE) -> None:
    """Raises OSError where others do not end."""
    until = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.005)


def _parsed(raw: bytes) -> dict[_Key, _Row]:
    """The rows; what makes no sense is left out."""
    rows: dict[_Key, _Row] = {}
    for line in raw.decode("utf-8", "replace").split("\n")[:MOST_PROGRAMS]:
        words = line.split(" ")
        try:
            dropped, times, uid, program = words
            moments = [float(word) for word in times.split(",") if word]
            rows[int(uid), program] = _Row(int(dropped), moments)
        except ValueError:
            continue
    return rows


def _write(fd: int, rows: dict[_Key, _Row]) -> None:
    lines = [f"{row.dropped} {','.join(f'{moment:.3f}' for moment in row.times)} {uid} {program}"
             for (uid, program), row in rows.items()]
    os.ftruncate(fd, 0)
    os.pwrite(fd, "\n".join(lines).encode("utf-8", "replace"), 0)
