"""In which boot was a record written?  Not in the one that reads it.

What is captured carries no boot of its own.  It is of the boot before, unless something speaks
against that: another kernel, an uptime that does not fit, a clean end, a second panic.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import ledger
from .ledger import BootEntry
from .record import Boot, Record

__all__ = ["boot_of", "crashed_boot", "ended_before", "labelled", "with_noted_boot"]

CLOCK_SLACK = 2.0               # seconds between the clock of printk and that of /proc/uptime
CLOCK_STEP = 5.0                # seconds: a clock that jumped by more was set by somebody


def boot_of(entry: BootEntry) -> Boot:
    """A ledger's entry as a record's boot."""
    return Boot(entry.id or None, entry.number, entry.firmware or None, entry.kernel or None)


def crashed_boot(record: Record, ended: BootEntry | None, here: BootEntry) -> Boot:
    """The boot in which `record` was written, as far as it can be told.

    ended: the boot before `here`, which found it.  A crash that came sooner after its boot than
    that one lived, or after it had ended cleanly, was of a later boot, which crashed before its
    harvest: that one has no number, and its firmware is known only by its kernel.
    """
    release = record.kernel.release if record.kernel else None
    if ended is not None and _is_of(record, ended):
        return boot_of(ended)._replace(kernel=release or ended.kernel or None)
    return _uncounted(record, ended, here)


def _uncounted(record: Record, ended: BootEntry | None, here: BootEntry) -> Boot:
    """A boot between `ended` and `here` that crashed before it was counted."""
    release = record.kernel.release if record.kernel else None
    same = [each for each in (here, ended) if each and release and each.kernel == release]
    return Boot(None, None, same[0].firmware or None if same else None, release)


def _is_of(record: Record, ended: BootEntry) -> bool:
    release = record.kernel.release if record.kernel else None
    if release and ended.kernel and release != ended.kernel:
        return False
    if record.uptime is None:
        return not ledger.is_clean(ended)
    if ended.uptime is not None and record.uptime + CLOCK_SLACK < ended.uptime:
        return False
    return not (_is_panic(record) and ended_before(record, ended))


def _is_panic(record: Record) -> bool:
    return record.kernel is not None and record.kernel.reason == "panic"


def ended_before(record: Record, ended: BootEntry) -> bool:
    """Whether the boot went on to end cleanly after what `record` tells.

    No boot survives a panic: one about the time of the mark came after it.
    """
    if not ledger.is_clean(ended) or record.uptime is None or ended.end_uptime is None:
        return ledger.is_clean(ended)
    slack = -CLOCK_SLACK if _is_panic(record) else CLOCK_SLACK
    return record.uptime <= ended.end_uptime + slack


def labelled(records: Sequence[Record], ended: BootEntry | None,
             here: BootEntry) -> list[Record]:
    """Captured records, newest first, each with its boot; those that have one keep it.

    A crash is one thing: its oops goes with its panic.  After a panic there is nothing of the same
    boot, so what is newer was of one that was not counted.
    """
    boots: dict[str, Boot] = {}
    panicked = False
    for head in (each for each in reversed(records) if each.crash == each.id and not each.boot):
        boot = _uncounted(head, ended, here) if panicked else crashed_boot(head, ended, here)
        panicked = panicked or (_is_panic(head) and boot.number is not None)
        boots[head.id] = boot
    known = {each.id: each for each in records}
    return [_in(record, boots.get(record.crash or "") or crashed_boot(
        known.get(record.crash or "", record), ended, here), ended)
            if record.boot is None else record for record in records]


def _in(record: Record, boot: Boot, ended: BootEntry | None) -> Record:
    """`record` in `boot`; its time is not believed if that boot's clock was never set."""
    trusted = record.time_trusted
    if ended and boot.id == ended.id and not ended.trusted and record.time and record.uptime:
        began = (ended.time or 0.0) - (ended.uptime or 0.0)
        trusted = trusted and abs(record.time - record.uptime - began) > CLOCK_STEP
    return record._replace(boot=boot, time_trusted=trusted)


def with_noted_boot(record: Record, known: Sequence[BootEntry]) -> Record:
    """`record` with what the ledger knows of its boot: all about it where only the number is
    given; or, if a harvest has found the crash before, what that one could tell."""
    if record.boot is not None:
        entry = next((each for each in known if each.number == record.boot.number), None)
        missing = record.boot.id is None and record.boot.number is not None
        return record._replace(boot=boot_of(entry)) if entry and missing else record
    at = next((at for at, each in enumerate(known) if record.id in each.records), None)
    if at is None:
        return record
    return labelled([record], known[at - 1] if at else None, known[at])[0]
