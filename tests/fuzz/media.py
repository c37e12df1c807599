"""The formats that a crash leaves in memory or on flash, and the logs in them, as fuzz targets."""

from __future__ import annotations

import json
from collections.abc import Callable

from lastlog_py.diagnose import explain_all
from lastlog_py.medium import (
    android_log,
    contents,
    crashlog,
    dump,
    ftrace,
    mtdoops,
    pstore_zone,
    reed_solomon,
    seed_ramoops,
    swapped,
)
from lastlog_py.medium.reading import Reading
from lastlog_py.record import Source, captured, to_dict
from tests import foreign, zones
from tests.fuzz.target import Target

__all__ = ["TARGETS"]

MOST_TEXT = 8               # times the input; a small one has room for a page more


def _reads(read: Callable[[bytes], Reading]) -> Callable[[bytes], None]:
    """Records lie within the region, and are no larger than what it may hold."""
    def run(data: bytes) -> None:
        reading = read(data)
        for record in reading.records:
            assert len(record.text) <= max(1 << 16, MOST_TEXT * len(data))
        for places in reading.extents.values():
            assert all(0 <= offset <= offset + size <= len(data) for offset, size in places)
    return run


def _contents(data: bytes) -> None:
    _reads(lambda region: contents.read(region).reading)(data)
    _reads(lambda region: contents.read(region, recover=True).reading)(data)


def _dump(data: bytes) -> None:
    """A file that somebody sent, all the way to its JSON."""
    records, _ = dump.records("dump.bin", data)
    for record in explain_all(records):
        json.dumps(to_dict(record))


def _kernel_log(data: bytes) -> None:
    record, = explain_all([captured("kernel", data, Source("ramoops"))])
    assert record.kernel is not None and record.title and record.title.isprintable()


def _ftrace(data: bytes) -> None:
    ftrace.text_of([data[:len(data) // 2], data[len(data) // 2:]])


def _android(data: bytes) -> None:
    android_log.record_of(data, Source("ramoops"))


def _reed_solomon(data: bytes) -> None:
    """Blocks that may be anything: what is called corrected is a word of the code."""
    roots = 2 + data[0] % 31 if data else 16
    count = len(data) // (reed_solomon.BLOCK + roots)
    blocks, parity = data[:count * reed_solomon.BLOCK], data[count * reed_solomon.BLOCK:]
    read = reed_solomon.correct(blocks, parity[:count * roots], roots)
    assert len(read.data) == len(blocks)
    assert all(count <= roots // 2 for count in read.corrected.values())


def _slots() -> list[bytes]:
    return [foreign.slot(foreign.log(9), 3, version, endian=endian) + foreign.unused()
            for version in (1, 2) for endian in "<>"]


def _early() -> list[bytes]:
    return [foreign.early(foreign.log(9)) * 2]


def _zones() -> list[bytes]:
    return [foreign.zone("kernel", foreign.dump(foreign.log(9), machine), 4096)
            + foreign.zone("console", foreign.log(5), 4096) for machine in ("64", "i386")]


def _crashlogs() -> list[bytes]:
    file = foreign.crashlog_file(foreign.log(9), foreign.log(4))
    return [foreign.crashlog(file), foreign.crashlog(file, endian=">"), file]


def _traces() -> list[bytes]:
    rows = [(at % 2, at, 0xc0100000 + 8 * at, 0xc0200000) for at in range(40)]
    return [foreign.calls(rows, form, endian) for form in ("64", "32", "arm", "old 32", "old arm")
            for endian in "<>"]


def _frames() -> list[bytes]:
    return [b"".join(foreign.said(f"message {at}") for at in range(9)), b"plain\ntext\n"]


def _regions() -> list[bytes]:
    ramoops = zones.zone(4096, zones.dump(zones.log(9), flag="C")) * 2
    regions = [ramoops, *_slots(), *_early(), *_zones(), *_crashlogs()]
    return [*regions, *(b"x" * 77 + region for region in regions),
            *(swapped.in_order(region, unit) for unit in swapped.UNITS for region in regions)]


def _blocks() -> list[bytes]:
    blocks = bytes(range(128)) + bytes(128)
    parity = b"".join(reed_solomon.encode(blocks[at:at + 128], 16) for at in (0, 128))
    return [b"\x0e" + blocks[1:] + parity, b"\x0e" + bytes(287)]


def _logs() -> list[bytes]:
    return [zones.log(9), foreign.log(9),
            b"Oops#1 Part1\n<1>[    1.5] BUG: kernel NULL pointer dereference, address: 0000\n"
            b"<4>[    1.5] RIP: 0010:f+0x1/0x2\n<4>[    1.6] Call Trace:\n<4>[    1.6]  g+0x1/0x9\n"
            b"<0>[    1.7] Kernel panic - not syncing: Fatal exception\n"]


TARGETS = {
    "mtdoops": Target(_reads(mtdoops.read), _slots, 16384, quick=200),
    "seed-ramoops": Target(_reads(seed_ramoops.read), _early, 16384, quick=200),
    "pstore-zone": Target(_reads(lambda data: pstore_zone.read(data, True)), _zones, 16384,
                          quick=100),
    "crashlog": Target(_reads(lambda data: crashlog.read(data, True)), _crashlogs, 20000,
                       quick=200),
    "ftrace": Target(_ftrace, _traces),
    "android": Target(_android, _frames),
    "contents": Target(_contents, _regions, 16384, quick=60),
    "dump": Target(_dump, _regions, 16384, quick=60),
    "kernel-log": Target(_kernel_log, _logs),
    "reed-solomon": Target(_reed_solomon, _blocks, quick=200),
}
