"""What a fuzz target is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

__all__ = ["Target"]


class Target(NamedTuple):
    """One parser.  `run` takes any bytes and must not raise; what else has to hold it asserts."""

    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]        # inputs that it understands, made at run time
    largest: int = 4096                         # bytes of an input
    quick: int = 300                            # inputs of the run in the suite
