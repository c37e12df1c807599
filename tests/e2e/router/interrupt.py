"""Interrupts a harvest in the guest at a chosen operation; Python imports this at every start.

An operation is a call that changes something outside the process, or starts another one.  With
/lab/interrupt ("AT KEY") the kernel gets the sysrq KEY in place of operation AT; then the file is
gone already, so that it happens once.  AT 0 lets the harvest run and writes each operation, and the
module that called for it, to /lab/operations.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any

PLAN, LOG = "/lab/interrupt", "/lab/operations"
CHANGES = ("write", "pwrite", "writev", "ftruncate", "truncate", "fsync", "fdatasync", "rename",
           "replace", "unlink", "remove", "mkdir", "rmdir", "link", "symlink", "chmod", "fchmod",
           "utime", "posix_spawn", "fork", "fork_exec", "system", "umount")


def _watch(at: int, key: str) -> None:
    done: list[str] = []

    def called(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and function.__name__ == "_exit" and not at:
            _tell(done)             # it ends without what is left for the end
        elif event == "c_call" and function.__name__ in CHANGES and _is_outside(function):
            done.append(f"{function.__name__} {frame.f_globals['__name__']}")
            if len(done) == at:
                sys.setprofile(None)
                os.remove(PLAN)
                with open("/proc/sysrq-trigger", "w") as trigger:
                    trigger.write(key)

    sys.setprofile(called)


def _is_outside(function: Any) -> bool:
    """Whether it is the system's, and not e.g. str.replace."""
    return function.__module__ == "posix" or type(function.__self__).__module__ == "_io"


def _tell(done: list[str]) -> None:
    sys.setprofile(None)
    os.remove(PLAN)
    with open(LOG, "w") as log:
        log.write("".join(f"{each}\n" for each in done))


if sys.orig_argv[-1] == "harvest" and os.path.exists(PLAN):
    with open(PLAN) as plan:
        at, key = plan.read().split()
    _watch(int(at), key)
