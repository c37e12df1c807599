"""Stops the threads of a process for a moment, by ptrace through ctypes.

They are seized, which sends them no signal and does not depend on this process going on: when it
ends, however that is, the kernel lets them go.  What a thread was about to be told by a signal it
is told when it is let go.  Source: ptrace(2); include/uapi/linux/ptrace.h.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Stopped", "stopped"]

PTRACE_DETACH, PTRACE_GETREGSET, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4204, 0x4206, 0x4207
PTRACE_EVENT_STOP = 128
NT_PRSTATUS = 1
WALL = 0x40000000               # waitpid: threads too
ESRCH, ETIMEDOUT = 3, 110
PATIENCE = 1.0                  # seconds until all threads have to stand
ROUNDS = 4                      # looks for threads that were started meanwhile
MOST_REGISTERS = 4096           # bytes
QUIET = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class Stopped:
    """One thread."""

    __slots__ = ("error", "registers", "signal", "stands", "tid")

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self.stands = False
        self.signal = 0                 # that it was about to get
        self.registers = b""            # as struct elf_prstatus has them; b"": not known
        self.error = 0                  # the errno that says why


@contextmanager
def stopped(pid: int, threads: Callable[[], list[int]]) -> Iterator[list[Stopped]]:
    """The threads of process `pid`, which stand while this lasts, its first one first.

    threads: says which there are.  Ctrl-C waits until they are let go.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, QUIET)
    found: dict[int, Stopped] = {}
    try:
        _stop(found, threads)
        for thread in found.values():
            _read(thread)
        yield sorted(found.values(), key=lambda thread: (thread.tid != pid, thread.tid))
    finally:
        for thread in found.values():
            _let_go(thread)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(found: dict[int, Stopped], threads: Callable[[], list[int]]) -> None:
    """Seize them, and those that they start before they stand."""
    until = time.monotonic() + PATIENCE
    for _ in range(ROUNDS):
        new = [found.setdefault(tid, Stopped(tid)) for tid in threads() if tid not in found]
        if not new:
            return
        for thread in new:
            thread.error = _ptrace(PTRACE_SEIZE, thread.tid) or _ptrace(PTRACE_INTERRUPT,
                                                                        thread.tid)
        for thread in new:
            while not thread.error and not thread.stands:
                _wait(thread, until)


def _wait(thread: Stopped, until: float) -> None:
    """See whether it stands by now."""
    try:
        tid, status = os.waitpid(thread.tid, WALL | os.WNOHANG)
    except ChildProcessError:
        thread.error = ESRCH
        return
    if not tid:
        thread.error = ETIMEDOUT if time.monotonic() > until else 0
        time.sleep(0.0005)
    elif os.WIFSTOPPED(status):
        thread.stands = True
        thread.signal = 0 if status >> 16 == PTRACE_EVENT_STOP else os.WSTOPSIG(status)
    else:
        thread.error = ESRCH            # it ended


def _read(thread: Stopped) -> None:
    if not thread.stands:
        return
    buffer = ctypes.create_string_buffer(MOST_REGISTERS)
    vector = _Vector(ctypes.addressof(buffer), MOST_REGISTERS)
    thread.error = _ptrace(PTRACE_GETREGSET, thread.tid, NT_PRSTATUS, ctypes.addressof(vector))
    if not thread.error:
        thread.registers = buffer.raw[:vector.size]


def _let_go(thread: Stopped) -> None:
    """One that does not stand yet is let go when this process ends."""
    if thread.stands:
        _ptrace(PTRACE_DETACH, thread.tid, 0, thread.signal)
        thread.stands = False


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, tid: int, address: int = 0, data: int = 0) -> int:
    """0, or the errno of what went wrong."""
    ctypes.set_errno(0)
    return ctypes.get_errno() if _libc.ptrace(request, tid, address, data) == -1 else 0
