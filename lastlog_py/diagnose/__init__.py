"""What a captured record means: cause, culprit, trace, signature, title, crash.

Pure: text in, facts out.  Any text is welcome; what it does not say stays None.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..errors import visible
from ..record import Record
from . import kernel_log, signature, title
from .crash import group
from .line import ends_of, last_time, lines_of

__all__ = ["explain", "explain_all", "panic_told", "signature_text"]

# Kinds whose lines carry the kernel's time stamps.
_STAMPED = ("console",)
# Kinds that whoever made the record has given a title.
_TITLED = ("log", "boot")

_PANIC = "Kernel panic - not syncing: "

# When the kernel said what: the console shows the same lines as a dump, without their levels.
_Said = tuple[float | None, str]


def explain(record: Record) -> Record:
    """The record with what its text says about it; `crash` as far as it says alone."""
    return explain_all([record])[0]


def explain_all(records: Sequence[Record]) -> list[Record]:
    """The records explained, and `crash` as they say together; in the same order."""
    told = {panic for record in records if record.kind == "kernel" for panic in _panics(record)}
    return group([_explain(record, told) for record in records])


def panic_told(record: Record) -> str | None:
    """What the panic was, where only console output tells of it; None: this record tells of
    none."""
    told = record.title.removeprefix(title.CONSOLE_PANIC)
    return told if record.kind == "console" and told != record.title else None


def signature_text(record: Record) -> str | None:
    """The text that a record's signature is a hash of; None where there is none."""
    if record.kind == "coredump":
        from ..coredump.signature import hashed_text

        return hashed_text(record.coredump) if record.coredump else None
    if record.kind != "kernel":
        return None
    return signature.hashed_text(kernel_log.explain(record.text))


def _panics(record: Record) -> list[_Said]:
    """The lines of its text that tell of a panic."""
    lines = (line for line in ends_of(record.text).split("\n") if _PANIC in line)
    return [(line.time, line.text) for line in lines_of("\n".join(lines))
            if line.text.startswith(_PANIC)]


def _explain(record: Record, told: Collection[_Said]) -> Record:
    if record.kind == "kernel":
        return _explain_kernel(record)
    return _explain_dump(record) if record.kind == "coredump" else _explain_other(record, told)


def _explain_kernel(record: Record) -> Record:
    told = kernel_log.explain(record.text)
    return record._replace(kernel=told.kernel, uptime=told.uptime,
                           title=visible(title.kernel_title(told)),
                           signature=signature.signature(told))


def _explain_dump(record: Record) -> Record:
    """What its text says; one that says nothing keeps the title it has."""
    from ..coredump import reading, words  # here, not above: most records are no core dumps
    from ..coredump.signature import signature as program_signature

    told = reading.read(record.text)
    if told is None:
        return record._replace(coredump=None, title=record.title
                               or title.other_title(record.kind, None))
    return record._replace(coredump=told, title=words.title(told),
                           signature=program_signature(told))


def _explain_other(record: Record, told: Collection[_Said]) -> Record:
    """`told`: the panics that kernel records tell of."""
    if record.title and record.kind in _TITLED:
        return record
    stamped = record.kind in _STAMPED
    uptime = last_time(lines_of(record.text)) if stamped else record.uptime
    suspect = kernel_log.suspect_at_end(record.text) if stamped else None
    name = _panic_title(record, told) or title.other_title(record.kind, uptime, suspect)
    return record._replace(uptime=uptime, title=visible(name))


def _panic_title(record: Record, told: Collection[_Said]) -> str | None:
    """The title of console output up to a panic that no kernel record tells of."""
    panics = _panics(record) if record.kind == "console" else []
    if not panics or panics[-1] in told:
        return None
    panic = kernel_log.explain_end(record.text)
    return title.console_title(panic) if panic else None
