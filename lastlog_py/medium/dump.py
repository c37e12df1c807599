"""A file somebody sent: which format it is in, and the records in it.  Pure.

Each format is one row of `_FORMATS`; the first that recognises the bytes reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..record import Problem, Record, Source, captured
from . import pstorefs, ramoops
from .compression import TITLE
from .geometry import Geometry

__all__ = ["records"]

Reading = tuple[list[Record], list[Problem]]


class Format(NamedTuple):
    """One format that a dump can be in."""

    recognise: Callable[[str, bytes], bool]                     # by file name and bytes
    read: Callable[[str, bytes, Sequence[Geometry]], Reading]


def records(name: str, data: bytes, given: Sequence[Geometry] = ()) -> Reading:
    """The records in `data`, a file called `name` (without its folder), and what is wrong with it.

    given: the region's geometry, if it was said.
    """
    if not data:
        return [], [Problem(name, "it is empty", "error")]
    for each in _FORMATS:
        if each.recognise(name, data):
            return each.read(name, data, given)
    what = ("nothing that lastlog can read: no ramoops zone, no pstore file and no saved record "
            "(a dump of the whole region is needed, from its first byte)")
    return [], [Problem(name, what, "error")]


def _is_pstore(name: str, data: bytes) -> bool:
    return pstorefs.parse_name(name) is not None or TITLE.match(data) is not None


def _read_pstore(name: str, data: bytes, _given: Sequence[Geometry]) -> Reading:
    if pstorefs.parse_name(name) is None:
        # A dump's text under a name of somebody's own.
        return [captured("kernel", data, Source("pstore", size=len(data)))], []
    record, problem = pstorefs.record_of(name, data, None)
    return [record] if record else [], [problem] if problem else []


def _is_region(_name: str, data: bytes) -> bool:
    return bool(ramoops.find_zones(data, ())[0]) or ramoops.is_blank(data)


def _read_region(_name: str, data: bytes, given: Sequence[Geometry]) -> Reading:
    found, problems, _ = ramoops.records(data, given)
    return found, problems


_FORMATS = (Format(_is_pstore, _read_pstore), Format(_is_region, _read_region))
