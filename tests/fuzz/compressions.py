"""Decoders of compressed dumps, and what takes dumps apart, as fuzz targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from unittest import mock

from lastlog_py.medium import compression, inflate, kernel_dump, lz4, lzo, ramoops, resync, sw842
from lastlog_py.record import Source
from tests import packers, samples, zones
from tests.fuzz.target import Target

__all__ = ["TARGETS"]

LIMIT = 1 << 16             # bytes of text


def _log() -> bytes:
    """The beginning of a real log."""
    return samples.kernel_text("s09_rec4k", "dmesg-ramoops-0")[:1500]


def _bounded(decode: Callable[[bytes, int], tuple[bytes, ...]]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        text, used, *_ = decode(data, LIMIT)
        assert len(text) <= LIMIT and (used is None or 0 <= used <= len(data))
    return run


def _packed(*names: str) -> Callable[[], Iterable[bytes]]:
    def seeds() -> list[bytes]:
        return [packers.PACKERS[name](text) for name in names
                for text in (_log(), zones.log(3), b"Oops#1 Part1\n")]
    return seeds


def _inflate(data: bytes) -> None:
    for form in (inflate.RAW, inflate.WRAPPED):
        text, used, stopped = inflate.inflate(data, form, LIMIT)
        assert len(text) <= LIMIT and (used or 0) <= len(data) and (stopped or 0) <= len(data)
        inflate.odd_lines(text)


def _unpack(data: bytes) -> None:
    read = compression.unpack(data, LIMIT)
    assert len(read.text) <= LIMIT and 0 <= read.used <= len(data)
    assert (compression.complaint(read) is None) == (read.complete and not read.torn)


def _resync(data: bytes) -> None:
    """A stream that is certainly damaged, with the input behind the damage; fewer trials of a
    gap's length, which are what takes the time."""
    with mock.patch.object(resync, "MOST_LOST", 16):
        _unpack(_BEGUN + data)


_BEGUN = zones.deflated(zones.log(40))[:200] + b"\xff\xff\x07\xff"


def _region(data: bytes) -> None:
    for record in ramoops.records(data).records:
        assert len(record.text) <= max(65536, 8 * len(data))


def _kernel_dump(data: bytes) -> None:
    kernel_dump.records(data, Source("ramoops"), "zone 0")


def _regions() -> list[bytes]:
    return [zones.zone(2048, zones.dump(zones.log(9), flag=flag)) * 2 for flag in ("C", "D")]


TARGETS = {
    "lz4": Target(_bounded(lz4.decode), _packed("lz4", "lz4hc")),
    "lzo": Target(_bounded(lzo.decode), _packed("lzo")),
    "842": Target(_bounded(sw842.decode), _packed("842")),
    "inflate": Target(_inflate, _packed("deflate", "zlib")),
    "unpack": Target(_unpack, _packed(*packers.PACKERS)),
    "resync": Target(_resync, _packed("deflate")),
    "kernel-dump": Target(_kernel_dump, lambda: [zones.dump(zones.log(9), flag=flag) * 2
                                                 for flag in ("C", "D")]),
    "ramoops": Target(_region, _regions, 8192, quick=60),
}
