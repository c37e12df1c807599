"""Runs a program of the router, without a shell and for a limited time.

What runs is looked for below the site's root, so that a made-up router never runs the programs of
the machine that it is made on.  On the hot path: imports os and time only, because subprocess
costs a router more than the programs it would run.
"""

from __future__ import annotations

import os
import time

from .site import Site

__all__ = ["NOT_FOUND", "TIMED_OUT", "UNKNOWN", "find", "run"]

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
MOST = 65536                    # bytes of output that are kept: its end

NOT_FOUND, NOT_RUN, TIMED_OUT = 127, 126, 124       # as a shell and timeout(1) say it
UNKNOWN = 125                   # it has ended, and nobody knows how

SIGKILL, SIGPIPE = 9, 13        # on every architecture; the module signal costs an import
SIGCHLD = (17, 18)              # 18 on MIPS; the other one is what a program starts with anyway
GIVEN_UP = 1.0                  # seconds until a program that cannot even be killed is left behind
PAUSE = 0.02                    # seconds, at most, between two looks


def find(site: Site, name: str) -> str | None:
    """Where the program `name` is on this machine; None: nowhere.  With a slash in it, it is a
    path from the router's root."""
    paths = [name] if "/" in name else [f"{folder}/{name}" for folder in PATH.split(":")]
    for path in map(site.system, paths):
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def run(site: Site, words: list[str], env: dict[str, str] | None = None, stdin: bytes = b"",
        seconds: float = 10) -> tuple[int, bytes]:
    """Run the program and arguments in `words`: its exit status, and what it printed.

    env: variables beside PATH.  stdin: what it reads.  The output is stdout and stderr together,
    its last MOST bytes.  The status is 128 + n if signal n ended it, NOT_FOUND if there is no such
    program, NOT_RUN if it cannot be started, TIMED_OUT if it was killed after `seconds`, UNKNOWN
    if this process was started with SIGCHLD ignored.
    """
    path = find(site, words[0])
    if path is None:
        return NOT_FOUND, f"{words[0]}: not found in {PATH}".encode()
    gave, feed = os.pipe2(os.O_CLOEXEC)
    said, tell = os.pipe2(os.O_CLOEXEC)
    try:
        pid = _spawn(path, words, {"PATH": PATH, **(env or {})}, gave, tell)
    except (OSError, ValueError) as error:      # ValueError: a NUL in a word
        _close(gave, feed, said, tell)
        return NOT_RUN, f"{words[0]}: {getattr(error, 'strerror', '') or error}".encode()
    _close(gave, tell)
    try:
        return _talk(pid, feed, stdin, said, time.monotonic() + seconds)
    finally:
        _close(said)


def _spawn(path: str, words: list[str], env: dict[str, str], stdin: int, stdout: int) -> int:
    """Its pid.  It leads a group of its own, so that what it starts can be ended with it;
    SIGPIPE, which Python ignores, ends it as usual, and it can wait for what it starts."""
    return os.posix_spawn(path, words, env, setpgroup=0, setsigdef=(SIGPIPE, *SIGCHLD),
                          file_actions=[(os.POSIX_SPAWN_DUP2, stdin, 0),
                                        (os.POSIX_SPAWN_DUP2, stdout, 1),
                                        (os.POSIX_SPAWN_DUP2, stdout, 2)])


def _talk(pid: int, feed: int, stdin: bytes, said: int, until: float) -> tuple[int, bytes]:
    """Feed the program and listen until it ends; what it started may go on and is not waited
    for."""
    os.set_blocking(feed, False)
    os.set_blocking(said, False)
    output, pause = b"", 0.001
    feed, stdin = _fed(feed, stdin)
    while (status := _ended(pid)) is None and time.monotonic() < until:
        feed, stdin = _fed(feed, stdin)
        output, heard = _heard(said, output)
        pause = 0.001 if heard else min(pause * 2, PAUSE)
        time.sleep(0 if heard else pause)
    _close(feed)
    if status is None:
        _kill(pid)
    output, _ = _heard(said, output)
    return TIMED_OUT if status is None else status, output


def _fed(feed: int, stdin: bytes) -> tuple[int, bytes]:
    """Write what fits: the descriptor, -1 once it is closed, and what remains."""
    try:
        while feed >= 0 and stdin:
            stdin = stdin[os.write(feed, stdin):]
    except BlockingIOError:
        return feed, stdin
    except OSError:
        pass                            # it does not read: EPIPE
    _close(feed)
    return -1, b""


def _heard(said: int, output: bytes) -> tuple[bytes, bool]:
    """The end of `output` and what has come since; whether anything has.

    At most what a pipe holds, four times over, lest a program that never stops keeps us here.
    """
    heard = False
    try:
        for _ in range(4):
            piece = os.read(said, MOST)
            if not piece:
                break
            output, heard = (output + piece)[-MOST:], True
    except BlockingIOError:
        pass
    return output, heard


def _ended(pid: int) -> int | None:
    """Its exit status; None: it runs."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return UNKNOWN                  # SIGCHLD is ignored: the kernel has put it away
    if not done:
        return None
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _kill(pid: int) -> None:
    """End the program, which has not been waited for, and its group, which it may have left.

    One that waits for a broken device ends when the device does: it is left behind.
    """
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, SIGKILL)
        except OSError:
            pass
    until = time.monotonic() + GIVEN_UP
    while _ended(pid) is None and time.monotonic() < until:
        time.sleep(PAUSE)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)
