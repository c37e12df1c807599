"""The backtraces of a process that runs, without a core: a record's text.

Its threads are stopped by ptrace while their registers are read and their stacks are unwound, and
let go again whatever happens; not even this process' death would kill or hold it.  Where Python has
no ctypes (python3-light on a router) nothing is stopped, and /proc tells of a waiting thread where
its stack and its code are.  For people at a prompt, not for the handler.

Sources: ptrace(2): PTRACE_SEIZE (Linux 3.4), PTRACE_GETREGSET (2.6.34);
Documentation/filesystems/proc.rst, 3.15 (/proc/PID/task/TID/syscall).
"""

from __future__ import annotations

import os
import time

from ..errors import LastlogError
from . import procfs
from .core import Core, Thread
from .crash import Crash, examine
from .elf import header
from .machine import of
from .memory import ProcMemory
from .program import parse_maps, process_context
from .report import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..site import Site
    from .machine import Machine
    from .procfs import Process
    from .tracing import Stopped
    from .unwind.frame import Context

__all__ = ["text_of"]

MOST_TEXT = 4 << 20             # bytes
MOST_THREADS, MOST_FRAMES = 256, 256
HOLD = 3.0                      # seconds that the process is stopped at the most


def text_of(site: Site, pid: int) -> bytes:
    """The record's text.  Raises LastlogError where there is nothing to be had of process `pid`."""
    process, memory = _found(site, pid), -1
    try:
        memory = _memory(process)
        context = _context(process, memory)
        crash = Crash(0, pid)
        crash.tid, crash.snapshot = pid, True
        crash.executable = process.executable()[0] or None
        crash.command = process.command() or None
        crash.name, crash.machine = process.name() or None, context.machine.name
        crash.uid = next(iter(process.status.uids), None)
        _look(process, context, crash)
    finally:
        process.close()
        if memory >= 0:
            os.close(memory)
    return render(crash, MOST_TEXT)


# --- which process


def _found(site: Site, pid: int) -> Process:
    """Raises LastlogError if it is not there, or is none that can be looked at."""
    if pid == os.getpid():
        raise LastlogError("bad-argument", f"Process {pid} is this one.", "Name another one.")
    process = procfs.look(site, pid)
    if process is None:
        raise LastlogError("not-found", f"There is no process {pid}.", "ps shows which there are.")
    status, why = process.status, None
    if status.group not in (pid, None):
        why = f"{pid} is a thread of process {status.group}.", f"Name that: --pid {status.group}."
    elif status.state in ("Z", "X"):
        why = f"Process {pid} has ended: it is a zombie.", "Nothing of it is left to look at."
    if why is not None:
        process.close()
        raise LastlogError("bad-argument", *why)
    return process


def _memory(process: Process) -> int:
    """A descriptor of its memory.  Raises LastlogError if it is not to be had."""
    try:
        return os.open("mem", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.fd)
    except ProcessLookupError as error:         # it has none
        raise _kernel_thread(process) from error
    except OSError as error:
        raise _refused(process.pid, error) from error


def _refused(pid: int, error: OSError) -> LastlogError:
    return LastlogError("io", f"Process {pid} must not be looked at: "
                        f"{error.strerror}.", "Run lastlog as root, and let no debugger hold it.")


def _kernel_thread(process: Process) -> LastlogError:
    return LastlogError("bad-argument", f"Process {process.pid} is a thread of the kernel.",
                        "Only programs have backtraces here.")


def _context(process: Process, memory: int) -> Context:
    """The program.  Raises LastlogError if there is none, or none that is understood."""
    maps = process.maps()
    if not maps:
        raise _kernel_thread(process)
    for row in parse_maps(maps):
        machine = _machine(memory, row.start) if row.path.startswith("/") else None
        if machine is not None:
            return process_context(machine, ProcMemory(machine, memory), maps)
    raise LastlogError("io", f"Process {process.pid} has no program that is understood.",
                       "It has ended, or is for another machine.")


def _machine(memory: int, address: int) -> Machine | None:
    """What the ELF file that is mapped there is for."""
    try:
        head = header(os.pread(memory, 64, address))
    except (OSError, OverflowError):
        return None
    return of(head.machine, head.e_class, head.data, head.flags) if head else None


# --- its threads


def _look(process: Process, context: Context, crash: Crash) -> None:
    """The backtraces of its threads."""
    try:
        from . import tracing
    except ImportError:
        crash.note("Of the registers only the stack pointer and the pc are known, and only where a "
                   "thread waits: Python's ctypes is missing (package python3-ctypes).")
        _examined(crash, context, _waiting(process, context.machine, crash))
        return
    with tracing.stopped(process.pid, process.threads) as threads:
        _examined(crash, context, _registers(process, context.machine, crash, threads))


def _examined(crash: Crash, context: Context, threads: list[Thread]) -> None:
    core = Core()
    core.threads, core.thread_count = threads, len(threads)
    examine(crash, core, context, MOST_THREADS, MOST_FRAMES, time.monotonic() + HOLD)


def _registers(process: Process, machine: Machine, crash: Crash, threads: list[Stopped]
               ) -> list[Thread]:
    """By ptrace; of a thread that it does not stop, by what /proc says.  Raises LastlogError."""
    found = []
    for thread in threads:
        if thread.registers:
            raw = bytes(machine.registers_at) + thread.registers
            found.append(Thread(thread.tid, machine.from_prstatus(raw), 0))
            continue
        if thread.error in (1, 13):             # EPERM, EACCES
            raise _refused(process.pid, OSError(thread.error, os.strerror(thread.error)))
        if thread.error != 3:                   # ESRCH: it has ended
            crash.note(f"Thread {thread.tid} could not be stopped: {os.strerror(thread.error)}.")
            found.append(_waits(process, machine, crash, thread.tid))
    return found


def _waiting(process: Process, machine: Machine, crash: Crash) -> list[Thread]:
    return [_waits(process, machine, crash, tid) for tid in process.threads()]


def _waits(process: Process, machine: Machine, crash: Crash, tid: int) -> Thread:
    """Where the thread waits for the kernel, by /proc; without registers where it does not."""
    text = process.text(f"task/{tid}/syscall", 512)
    words = text.split()[-2:]
    if len(words) < 2:
        what = "was running" if text.startswith("running") else \
            "cannot be looked at: the kernel does not say where it is"
        crash.note(f"Thread {tid} {what}.")
        return Thread(tid, {}, 0)
    return Thread(tid, {machine.SP: int(words[0], 16), machine.PC: int(words[1], 16)}, 0)
