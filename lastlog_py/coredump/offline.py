"""A core from any machine, with or without a copy of its root file system, as a record's text.

What the handler does with a crashed process, for a core in a file or on a pipe; nothing is stored.
Not on the handler's path.
"""

from __future__ import annotations

import posix  # `os` costs 0.7 ms more
import stat

from ..errors import LastlogError
from .core import Core, Stream, capture, core_memory, read_head
from .core_program import core_context
from .crash import Crash, examine, take_core
from .report import render
from .sysroot import Sysroot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .memory import Memory
    from .procfs import Process
    from .unwind.frame import Context

__all__ = ["text_of"]

AT_PHDR = 3
MAX_TEXT = 4 << 20              # bytes
MAX_THREADS, MAX_FRAMES = 256, 256


def text_of(path: str, sysroot: str | None, process: Process | None = None,
            pid: int | None = None) -> bytes:
    """The record's text; path: a core, "-" for stdin.

    process: that it is of, if it still stands in /proc; then all is taken from there.  pid: which
    one that would be.
    Raises LastlogError if it cannot be read, or is no core of a machine that is understood.
    """
    if sysroot is not None and not _is_directory(sysroot):
        raise LastlogError("bad-argument", f"{sysroot} is no directory.",
                           "Name a copy of the router's root file system.")
    fd = _opened(path)
    try:
        if stat.S_ISDIR(posix.fstat(fd).st_mode):
            raise _unreadable(path, "it is a directory")
        stream = _stream(fd)
        core = read_head(stream)
        context = _standing(core, process) if core.threads and process is not None else None
        if context is not None:
            return _examined(core, context)
        if pid is not None:
            core.note(f"Process {pid} is not the core's, or gone from /proc; all is from the core.")
        memory = _memory(core, stream, fd)
        if memory is None or not core.threads:
            raise _useless(path, core)
        return _unwound(core, memory, Sysroot(sysroot) if sysroot else None)
    finally:
        posix.close(fd)


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(posix.stat(path).st_mode)
    except (OSError, ValueError):           # ValueError: a NUL in the name
        return False


def _opened(path: str) -> int:
    try:
        return posix.dup(0) if path == "-" else posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = error.strerror or "" if isinstance(error, OSError) else "that is no path"
        raise _unreadable(path, why) from error


def _unreadable(path: str, why: str) -> LastlogError:
    return LastlogError("io", f"{path} cannot be read: {why}.",
                        "Name a core, or - for one on stdin.")


def _stream(fd: int) -> Stream:
    """A file can be read where it is needed."""
    if not stat.S_ISREG(posix.fstat(fd).st_mode):
        return Stream(lambda size: posix.read(fd, size))
    posix.lseek(fd, 0, 0)
    return Stream(lambda size: posix.read(fd, size), lambda to: posix.lseek(fd, to, 0))


def _memory(core: Core, stream: Stream, fd: int) -> Memory | None:
    """The core's own; of a pipe what matters is kept.  None: of a machine that is not known."""
    status = posix.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        return core_memory(core, fd, status.st_size)
    return capture(core, stream)


def _standing(core: Core, process: Process) -> Context | None:
    """The program, as its process still has it; None: it has nothing of it."""
    from .program import dumping_context

    return dumping_context(core, process)


def _useless(path: str, core: Core) -> LastlogError:
    name = "What is on stdin" if path == "-" else path
    why = " ".join(core.problems) or "It tells of no thread."
    return LastlogError("io", f"{name} is no core dump that can be read. {why}",
                        "Name a core as the kernel writes it, unpacked and whole.")


def _unwound(core: Core, memory: Memory, sysroot: Sysroot | None) -> bytes:
    """The text, by what the core and the sysroot have of the program."""
    try:
        return _examined(core, core_context(core, memory, sysroot))
    finally:
        if sysroot is not None:
            sysroot.close()


def _examined(core: Core, context: Context | None) -> bytes:
    crash = Crash()
    if context is not None and not core.files:
        program = context.module_at(core.auxv.get(AT_PHDR, 0))
        crash.executable = program.path if program else None
    take_core(crash, core)
    if context is not None:
        examine(crash, core, context, MAX_THREADS, MAX_FRAMES)
    return render(crash, MAX_TEXT)
