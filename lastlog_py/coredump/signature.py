"""What groups equal crashes of programs: the signature `u1:`.

The hashed text joins with `|`: the executable's path, the signal, and up to five frames of the
crashed thread from where it went wrong on (culprit.py), innermost first, as "build-id+offset", or
for a module without a build-id as "name of its file+offset".  Frames that are guesses are left
out, with what is below them: they differ from crash to crash.

Never change what `u1` means: another algorithm gets another prefix.
"""

from __future__ import annotations

from ..record_id import sha256
from .culprit import begin, file_name
from .shape import is_snapshot

TYPE_CHECKING = False           # typing costs `backtrace` 3 ms
if TYPE_CHECKING:
    from typing import Any

    from .culprit import Step

    Dict = dict[str, Any]

__all__ = ["crashed", "culprits", "hashed_text", "signature", "steps"]

_FRAMES = 5


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
    frames = crashed(dump)
    return frames[begin(steps(frames), dump["code_name"]):]


def crashed(dump: Dict) -> list[Dict]:
    """The crashed thread's frames.  CONTRACT: it comes first."""
    thread: Dict = next(iter(dump["threads"]), {"frames": []})
    frames: list[Dict] = thread["frames"]
    return frames


def steps(frames: list[Dict]) -> list[Step]:
    """The frames as culprit.py looks at them."""
    return [(frame["how"], frame["symbol"] or "", frame["module"] or "") for frame in frames]


def _certain(frames: list[Dict]) -> list[Dict]:
    for index, frame in enumerate(frames):
        if frame["how"] == "scan":
            return frames[:index]
    return frames


def _name(frame: Dict) -> str:
    module = frame["build_id"] or file_name(frame["module"] or "")
    return f"{module}+{frame['offset']}" if module and frame["offset"] else "?"
