"""Which records tell of the same crash.

With kernel.panic_on_oops one fault leaves two records: "Oops#1", written when it happened, and
"Panic#2", written right after, which repeats the oops and says more.  An oops that the kernel
survived is a crash of its own, whatever came after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..record import Record

__all__ = ["group", "is_crash"]

_NO_CRASH = ("shutdown", "emergency")
_MOMENT = 10.0          # seconds between an oops and the panic it leads to

_STAMPED = re.compile(r"(?:<\d{1,3}>)?\[ {0,11}\d{1,12}\.\d{1,9}\]")


def is_crash(record: Record) -> bool:
    """Whether the record tells of a crash, rather than of a clean end or of something else."""
    if record.kind == "kernel":
        return record.kernel is not None and record.kernel.reason not in _NO_CRASH
    return record.kind == "coredump"


def group(records: Sequence[Record]) -> list[Record]:
    """The same records in the same order, with `crash` set.

    A crash is named by its own record, an oops that led to a panic by the panic's.
    """
    panics = [record for record in records if record.kernel and record.kernel.reason == "panic"]
    return [record._replace(crash=_crash(record, panics)) for record in records]


def _crash(record: Record, panics: Sequence[Record]) -> str | None:
    if not is_crash(record):
        return None
    whole = next((panic for panic in panics if _led_to(record, panic)), record)
    return whole.id


def _led_to(oops: Record, panic: Record) -> bool:
    """Whether the oops is the fault that the panic followed from."""
    if oops.kernel is None or oops.kernel.reason != "oops":
        return False
    return _next(oops, panic) and _same_fault(oops, panic) and _same_boot(oops, panic)


def _next(oops: Record, panic: Record) -> bool:
    """Whether nothing was dumped between the two; dumps without a number may be neighbours."""
    numbers = [record.kernel.sequence if record.kernel else None for record in (oops, panic)]
    return None in numbers or numbers == [numbers[0], (numbers[0] or 0) + 1]


def _same_fault(oops: Record, panic: Record) -> bool:
    """Whether both are about the same fault; of a panic's log the part with it may be lost."""
    lost = panic.kernel is not None and panic.kernel.cause == "other"
    return (oops.signature == panic.signature is not None) or (lost and _soon_after(oops, panic))


def _same_boot(oops: Record, panic: Record) -> bool:
    """Whether the panic's log repeats the end of the oops', or would but for some damage."""
    return _repeats(panic, oops) or (_damaged(oops, panic) and _soon_after(oops, panic))


def _repeats(panic: Record, oops: Record) -> bool:
    """Whether the panic's log goes on where that of the oops ends: the same boot."""
    last = next((line for line in reversed(oops.text.rstrip().split("\n"))
                 if _STAMPED.match(line)), None)
    return last is not None and last in panic.text


def _damaged(*records: Record) -> bool:
    return any(record.source.torn or record.source.truncated for record in records)


def _soon_after(oops: Record, panic: Record) -> bool:
    if oops.uptime is None or panic.uptime is None:
        return True
    return 0 <= panic.uptime - oops.uptime <= _MOMENT
