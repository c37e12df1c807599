"""Taking turns by flock, which a dead owner cannot hold.  On the hot path."""

from __future__ import annotations

import fcntl
import time

__all__ = ["EXCLUSIVE", "SHARED", "locked"]

EXCLUSIVE, SHARED = fcntl.LOCK_EX, fcntl.LOCK_SH
PAUSE = 0.02                    # seconds between two tries


def locked(fd: int, how: int, patience: float) -> bool:
    """Wait for others, so many seconds; closing `fd` ends the lock.  False: in vain.

    Raises OSError where there are no locks.
    """
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(PAUSE)
