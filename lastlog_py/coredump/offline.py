"""A core from any machine, with or without a copy of its root file system, as a record's text.

What the handler does with a crashed process, for a core in a file or on a pipe; nothing is stored.
Not on the handler's path.
"""

from __future__ import annotations

import os
import stat

from ..errors import LastlogError
from .core import Core, Stream, capture, core_memory, read_head
from .core_program import core_context
from .crash import Crash, examine, take_core
from .memory import Memory
from .report import render
from .sysroot import Sysroot

__all__ = ["text_of"]

AT_PHDR = 3
MAX_TEXT = 4 << 20              # bytes
MAX_THREADS, MAX_FRAMES = 256, 256


def text_of(path: str, sysroot: str | None) -> bytes:
    """The record's text; path: a core, "-" for stdin.

    Raises LastlogError if it cannot be read, or is no core of a machine that is understood.
    """
    if sysroot is not None and not os.path.isdir(sysroot):
        raise LastlogError("bad-argument", f"{sysroot} is no directory.",
                           "Name a copy of the router's root file system.")
    fd = _opened(path)
    try:
        core, memory = _read(fd)
        if memory is None or not core.threads:
            raise _useless(path, core)
        return _examined(core, memory, Sysroot(sysroot) if sysroot else None)
    finally:
        os.close(fd)


def _opened(path: str) -> int:
    try:
        return os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "that is no path"
        raise LastlogError("io", f"{path} cannot be read: {why}.", "Name a core, or - for one on "
                           "stdin.") from error


def _read(fd: int) -> tuple[Core, Memory | None]:
    """A file is read where it is needed; of a pipe what matters is kept."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        start = Stream(lambda size: os.read(fd, size), lambda to: os.lseek(fd, to, os.SEEK_SET))
        os.lseek(fd, 0, os.SEEK_SET)
        core = read_head(start)
        return core, core_memory(core, fd, os.fstat(fd).st_size)
    stream = Stream(lambda size: os.read(fd, size))
    core = read_head(stream)
    return core, capture(core, stream)


def _useless(path: str, core: Core) -> LastlogError:
    name = "What is on stdin" if path == "-" else path
    why = " ".join(core.problems) or "It tells of no thread."
    return LastlogError("io", f"{name} is no core dump that can be read. {why}",
                        "Name a core as the kernel writes it, unpacked and whole.")


def _examined(core: Core, memory: Memory, sysroot: Sysroot | None) -> bytes:
    crash = Crash()
    try:
        context = core_context(core, memory, sysroot)
        if context is not None and not core.files:
            program = context.module_at(core.auxv.get(AT_PHDR, 0))
            crash.executable = program.path if program else None
        take_core(crash, core)
        if context is not None:
            examine(crash, core, context, MAX_THREADS, MAX_FRAMES)
    finally:
        if sysroot is not None:
            sysroot.close()
    return render(crash, MAX_TEXT)
