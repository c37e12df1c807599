"""What groups equal crashes of programs: the signature `u1:`.

The hashed text joins with `|`: the executable's path, the signal, and up to five frames of the
crashed thread, innermost first, as "build-id+offset", or for a module without a build-id as
"name of its file+offset".  Left out are
1. where a program ended itself (abort, raise, kill) in a signal's handler, the handler and all on
   top of it: it caught its own crash, and what it was doing is below.  A handler in which the
   hardware found a fault is where it went wrong, and stays;
2. the C library's own way from abort, assert and raise to the signal;
3. frames that are guesses, and what is below them: they differ from crash to crash.

Never change what `u1` means: another algorithm gets another prefix.
"""

from __future__ import annotations

from ..record_id import sha256
from .shape import is_snapshot

TYPE_CHECKING = False           # typing costs `backtrace` 3 ms
if TYPE_CHECKING:
    from typing import Any

    Dict = dict[str, Any]

__all__ = ["SENT", "culprits", "hashed_text", "helpers", "signature"]

_FRAMES = 5

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


def signature(dump: Dict) -> str | None:
    """ "u1:" and 16 hex digits; None where not even the program is known, or none crashed."""
    text = hashed_text(dump)
    if text is None:
        return None
    return "u1:" + sha256(text.encode("utf-8", "replace"))[:16]


def hashed_text(dump: Dict) -> str | None:
    """The text that the signature is a hash of; dump: CONTRACT's `coredump`."""
    if is_snapshot(dump):
        return None
    path = dump["executable"] or dump["command"]
    if not path:
        return None
    names = [_name(frame) for frame in _certain(culprits(dump))[:_FRAMES]]
    return "|".join([path, dump["signal_name"] or str(dump["signal"]), *names])


def culprits(dump: Dict) -> list[Dict]:
    """The crashed thread's frames from where it went wrong on."""
    frames = _crashed(dump)
    if dump["code_name"] in SENT or helpers(frames):
        frames = _interrupted(frames)
    return frames[helpers(frames):] or frames


def helpers(frames: list[Dict]) -> int:
    """How many frames, counted from the innermost, are the C library's way to the signal."""
    last = 0
    for index, frame in enumerate(frames):
        if not _is_libc(frame):
            break
        if frame["symbol"] in _HELPERS:
            last = index + 1
    return last


def _crashed(dump: Dict) -> list[Dict]:
    """CONTRACT: the crashed thread comes first."""
    thread: Dict = next(iter(dump["threads"]), {"frames": []})
    frames: list[Dict] = thread["frames"]
    return frames


def _interrupted(frames: list[Dict]) -> list[Dict]:
    """The frames from the one that a signal interrupted on; all of them if there is none."""
    for index, frame in enumerate(frames):
        if frame["how"] == "signal":
            return frames[index:]
    return frames


def _certain(frames: list[Dict]) -> list[Dict]:
    for index, frame in enumerate(frames):
        if frame["how"] == "scan":
            return frames[:index]
    return frames


def _is_libc(frame: Dict) -> bool:
    name = (frame["module"] or "").rpartition("/")[2]
    return name.startswith(_LIBC) or name == "[vdso]"


def _name(frame: Dict) -> str:
    module = frame["build_id"] or (frame["module"] or "").rpartition("/")[2]
    return f"{module}+{frame['offset']}" if module and frame["offset"] else "?"
