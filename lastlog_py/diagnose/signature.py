"""What groups equal crashes: the signature `k1:` of a kernel crash.

The hashed text names, joined with `|`:
1. the function the program counter was in, or else what the kernel says of the fault or panic,
   with numbers masked; for a hang the mark "hang" before it.  After a jump to where no code is,
   the cause and the function that jumped;
2. the next six reliable frames of the call trace that are not plumbing.
Names are cut at the first dot (`.isra.0`, `.constprop.0`, `.part.0`).  A kernel without symbols
prints addresses: of those the last three digits count, which moving a module or the kernel to
other pages does not change.

Never change what `k1` means: another algorithm gets another prefix.
"""

from __future__ import annotations

from collections.abc import Iterator

from .kernel_log import Explanation
from .pattern import Pattern
from .plumbing import base_name, informative
from .rules import HANGS

__all__ = ["hashed_text", "signature"]

_FRAMES = 6
_NUMBER = Pattern(r"(?i:(?:\b|(?<=\bCPU))(?:0x[0-9a-f]+|[0-9a-f]{8,}|\d[0-9a-f]*)|\(null\))")
_MESSAGE = 120          # characters of a message that count

# What a jump to where no code is causes; every architecture says it in other words.
_BAD_POINTERS = frozenset({"null-pointer", "bad-access"})

# A trace through it says no more than the message does, and arm64's leaves it out.
_SAID_ALREADY = frozenset({"sysrq_handle_crash"})


def signature(explanation: Explanation) -> str | None:
    """"k1:" and 16 hex digits; None when nothing went wrong, or nothing says what."""
    text = hashed_text(explanation)
    if text is None:
        return None
    import hashlib  # here, not above: only new records need it

    return "k1:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def hashed_text(explanation: Explanation) -> str | None:
    """The names that the signature is a hash of."""
    if explanation.message is None:
        return None
    return "|".join([*_culprit(explanation), *_callers(explanation)])


def _culprit(explanation: Explanation) -> Iterator[str]:
    kernel = explanation.kernel
    hang = kernel.cause in HANGS
    if hang:
        yield "hang"
    jumped = explanation.jump is not None and kernel.cause in _BAD_POINTERS
    if jumped:
        yield kernel.cause
    if explanation.culprit:
        yield _name(explanation.culprit, kernel.module)
    elif not (jumped or (hang and informative(kernel.trace))):
        yield _masked(explanation.message or "")


def _callers(explanation: Explanation) -> list[str]:
    """The frames' names, without the culprit itself, which x86 does not list but others do."""
    frames = informative(explanation.kernel.trace)
    if frames and frames[0].function == explanation.culprit:
        frames = frames[1:]
    return [_name(frame.function, frame.module) for frame in frames
            if frame.function not in _SAID_ALREADY][:_FRAMES]


def _name(function: str, module: str | None) -> str:
    if not function.startswith("0x"):
        return base_name(function)
    return f"{module or ''}~{function[-3:]}"


def _masked(message: str) -> str:
    """The message without what differs from crash to crash."""
    return _NUMBER.compiled.sub("N", message[:_MESSAGE]).strip()
