"""What the records of one region may cost, all together: memory for their texts, and work.

A region that a kernel wrote comes nowhere near it.  One that was made to keep us busy, or to fill
the memory, is read as far as it goes.
"""

from __future__ import annotations

__all__ = ["Allowance", "Spent"]

WORK = 2_800_000                # steps, each of about half a microsecond on a PC


class Spent(Exception):
    """No work is left."""


class Allowance:
    """What is left; it is handed on from record to record."""

    __slots__ = ("text", "work")

    def __init__(self, text: int, work: int | None = None) -> None:
        # Bytes of memory that records may take.
        self.text = text
        # Steps; 0: none are left, and maybe more were wanted.
        self.work = WORK if work is None else work

    def take(self, size: int) -> None:
        """A record takes so many bytes."""
        self.text = max(0, self.text - size)

    def use(self, steps: int) -> None:
        """So many steps were taken."""
        self.work = max(0, self.work - steps)

    def spend(self, steps: int) -> None:
        """The same before they are taken.  Raises Spent if that leaves none."""
        self.use(steps)
        if not self.work:
            raise Spent
