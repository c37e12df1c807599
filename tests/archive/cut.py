"""Cutting a process short before any one of its system calls, with ptrace(2).

The process is a fork of this one, so that a cut costs milliseconds and hundreds are affordable.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

TRACEME, SYSCALL, SETOPTIONS = 0, 24, 0x4200
EXITKILL = 0x100000

_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_ptrace.restype = ctypes.c_long


def cut(step: Callable[[], object], before: int) -> bool:
    """Run `step` in a process that dies before its system call number `before` (from 1).

    False: it came to its end first.  Raises OSError where processes may not be traced.
    """
    child = os.fork()
    if child == 0:
        _be_traced(step)
    os.waitpid(child, 0)
    try:
        _call(SETOPTIONS, child, EXITKILL)
        for _ in range(before * 2 - 1):         # every call stops twice: before it and behind it
            _call(SYSCALL, child, 0)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                assert os.WEXITSTATUS(status) == 0, "the step failed without being cut"
                return False
            assert os.WIFSTOPPED(status), status
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    os.kill(child, signal.SIGKILL)              # in a stop before a call: it does not happen
    os.waitpid(child, 0)
    return True


def _be_traced(step: Callable[[], object]) -> None:
    status = 1
    try:
        _call(TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        step()
        status = 0
    finally:
        os._exit(status)


def _call(request: int, process: int, data: int) -> None:
    if _ptrace(request, process, None, data) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def is_possible() -> bool:
    """Whether this machine lets a process trace its child."""
    try:
        return cut(os.getpid, 1)
    except OSError:
        return False
