"""Where in its backtrace a program went wrong: the one rule for titles and for signatures.

Left out are
1. where a program ended itself (abort, raise, kill) in a signal's handler, the handler and all on
   top of it: it caught its own crash, and what it was doing is below.  A handler in which the
   hardware found a fault is where it went wrong, and stays;
2. the C library's own way from abort, assert and raise to the signal.

The signature u1 is made of this: never change what it finds.  Pure; on the hot path.
"""

from __future__ import annotations

TYPE_CHECKING = False           # typing costs `backtrace` 3 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    # Of a frame: how it was found, its function, and the path of its module; "": not known
    Step = tuple[str, str, str]

__all__ = ["SENT", "begin", "file_name", "helpers", "shown"]

# si_codes of signals that a program sent, another one or itself.
SENT = ("SI_USER", "SI_QUEUE", "SI_TKILL")

# How the C libraries name the way from abort to the signal.
_HELPERS = frozenset({
    "abort", "raise", "gsignal", "kill", "tkill", "tgkill", "killpg", "pthread_kill", "sigqueue",
    "__pthread_kill", "__pthread_kill_implementation", "__pthread_kill_internal", "__GI_raise",
    "__GI_abort", "__assert", "__assert_fail", "__assert_fail_base", "__assert_perror_fail",
    "__libc_fatal", "__libc_message", "__fortify_fail", "__chk_fail", "__stack_chk_fail",
    "__stack_chk_fail_local", "a_crash", "syscall", "__kernel_vsyscall"})

_LIBC = ("libc.so", "libc-2.", "libc.musl-", "ld-musl-", "ld-linux", "ld.so", "ld-2.", "libpthread",
         "ld-uClibc", "libuClibc", "libssp")
_CPLUSPLUS = ("libstdc++", "libc++", "libsupc++", "libuClibc++")


def begin(steps: Sequence[Step], code: str | None) -> int:
    """Index of the frame in which it went wrong; steps: of the crashed thread, innermost first."""
    start = 0
    if code in SENT or helpers(steps):
        start = next((at for at, step in enumerate(steps) if step[0] == "signal"), 0)
    below = start + helpers(steps[start:])
    return below if below < len(steps) else start


def shown(steps: Sequence[Step], code: str | None, signal: str | None) -> int:
    """Index of the frame that a title names: of an exception that nobody caught, who threw it."""
    start = begin(steps, code)
    if signal != "SIGABRT":
        return start
    return next((at for at, step in enumerate(steps[start:], start)
                 if not file_name(step[2]).startswith(_CPLUSPLUS)), start)


def helpers(steps: Sequence[Step]) -> int:
    """How many frames, counted from the innermost, are the C library's way to the signal."""
    last = 0
    for index, (_, symbol, path) in enumerate(steps):
        if not _is_libc(path):
            break
        if symbol in _HELPERS:
            last = index + 1
    return last


def file_name(path: str) -> str:
    """Of a module, without its folders."""
    return path.rpartition("/")[2]


def _is_libc(path: str) -> bool:
    name = file_name(path)
    return name.startswith(_LIBC) or name == "[vdso]"
