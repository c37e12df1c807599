"""What a captured record means: cause, culprit, trace, signature, title, crash.

Pure: text in, facts out.  Any text is welcome; what it does not say stays None.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..record import Record
from . import kernel_log, signature, title
from .crash import group, is_crash
from .line import last_time, lines_of

__all__ = ["explain", "explain_all", "signature_text"]

# Kinds whose lines carry the kernel's time stamps.
_STAMPED = ("console",)
# Kinds that whoever made the record has given a title.
_TITLED = ("coredump", "log", "boot")


def explain(record: Record) -> Record:
    """The record with what its text says about it; `crash` as far as it says alone."""
    explained = _explain_kernel(record) if record.kind == "kernel" else _explain_other(record)
    return explained._replace(crash=record.id if is_crash(explained) else None)


def explain_all(records: Sequence[Record]) -> list[Record]:
    """The records explained, and `crash` as they say together; in the same order."""
    return group([explain(record) for record in records])


def signature_text(record: Record) -> str | None:
    """The text that a kernel record's signature is a hash of; None where there is none."""
    if record.kind != "kernel":
        return None
    return signature.hashed_text(kernel_log.explain(record.text))


def _explain_kernel(record: Record) -> Record:
    told = kernel_log.explain(record.text)
    return record._replace(kernel=told.kernel, uptime=told.uptime,
                           title=title.kernel_title(told), signature=signature.signature(told))


def _explain_other(record: Record) -> Record:
    uptime = last_time(lines_of(record.text)) if record.kind in _STAMPED else record.uptime
    if record.title and record.kind in _TITLED:
        return record
    return record._replace(uptime=uptime, title=title.other_title(record.kind, uptime))
