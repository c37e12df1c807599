"""medium/allowance.py, and what it bounds: damaged and hostile dumps by the hundred.  Work is
counted in calls and steps, not in seconds."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from lastlog_py.medium import allowance, forensics, inflate, kernel_dump, ramoops, resync
from lastlog_py.medium.allowance import WORK, Allowance, Spent
from lastlog_py.medium.compression import begins, complaint, unpack
from lastlog_py.medium.geometry import Geometry
from lastlog_py.medium.layout import layouts
from lastlog_py.record import Problem
from tests import packers, samples, zones

LOG = samples.kernel_text("s15_oom", "dmesg-ramoops-0")
ZONE = 65536


def raw(text: bytes, memory: int = 8) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, memory)
    return packer.compress(text) + packer.flush()


def broken(body: bytes, at: int, size: int = 16) -> bytes:
    """With noise that zlib gives up at."""
    for seed in range(at, at + 500):
        noise = random.Random(seed).randbytes(size)
        damaged = body[:seed] + noise + body[seed + size:]
        if inflate.inflate(damaged, inflate.RAW, 1 << 20).stopped is not None:
            return damaged
    raise AssertionError("it goes on whatever stands there")


DAMAGED = broken(raw(LOG), 900)


def counted(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[Any]:
    """What a function of `module` gives from now on, call by call."""
    calls: list[Any] = []
    function: Callable[..., Any] = getattr(module, name)

    def counting(*args: Any, **named: Any) -> Any:
        calls.append(function(*args, **named))
        return calls[-1]

    monkeypatch.setattr(module, name, counting)
    return calls


def region(body: bytes, count: int, size: int = ZONE) -> bytes:
    return b"".join(zones.zone(size, b"====%d.000042-C\n" % (1_700_000_000 + number) + body)
                    for number in range(count))


def busy(problems: list[Problem]) -> bool:
    return ramoops.BUSY in problems


def test_it_goes_down_and_no_further_than_to_nothing() -> None:
    left = Allowance(100, 10)
    left.take(60)
    left.take(60)
    left.spend(9)
    assert (left.text, left.work) == (0, 1)
    for _ in range(2):
        with pytest.raises(Spent):
            left.spend(1)
    left.use(5)
    assert left.work == 0


# --- damage


def test_all_damaged_dumps_of_an_ordinary_region_are_read_behind_their_damage() -> None:
    """1 MiB of 16 zones, each as full as a kernel makes it, and damaged."""
    words = random.Random(1)
    text = LOG + b"".join(b"<4>[  %3d.%06d] %s\n" % (99 + n, n, words.randbytes(24).hex().encode())
                          for n in range(1500))
    body = broken(raw(text), 2000)
    assert 50_000 < len(body) < ZONE - 100
    found = ramoops.records(region(body, 16))
    assert len(found.records) == 16 and not busy(found.problems)
    for record in found.records:
        assert record.text.count("bytes of the compressed log could not be read") == 1
        assert record.text.endswith(text[-40:].decode())


def test_a_region_full_of_damage_is_read_up_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is read behind the damage; of the others it is said, and they keep their bytes."""
    monkeypatch.setattr(allowance, "WORK", WORK // 20)
    read = counted(monkeypatch, resync, "log")
    found = ramoops.records(region(DAMAGED, 60))
    assert len(found.records) == 60 and busy(found.problems)
    assert 1 < len(read) < 12 and sum(log.gaps > 0 for log in read[:-1]) == len(read) - 1
    stopped = inflate.inflate(DAMAGED, inflate.RAW, 1 << 20).text.decode()
    for record in found.records[len(read):]:
        assert record.text == stopped and record.raw == DAMAGED and record.source.truncated
    assert sum("no more was tried" in problem.what for problem in found.problems) \
        == 60 - len(read) + (read[-1].gaps == 0)


def test_what_was_read_when_the_work_ran_out_is_shown() -> None:
    """Of two gaps the first is closed."""
    body = raw(LOG, memory=1)
    starts = [block.start // 8 for block in resync.blocks(resync.Bits(body))]
    twice = body[:starts[4]] + b"\xff" * 40 + body[starts[4] + 40:starts[20]] \
        + b"\xff" * 40 + body[starts[20] + 40:]
    reads = [unpack(twice, 1 << 20, Allowance(0, work)) for work in range(1000, 400_000, 25_000)]
    gaps = [read.text.count(b"could not be read") for read in reads]
    assert gaps == sorted(gaps) and {0, 1, 2} <= set(gaps)
    assert [read.short for read in reads] == ["work" if count < max(gaps) else None
                                             for count in gaps]


@pytest.mark.parametrize("packer", ["lz4", "lzo", "842"])
def test_without_work_what_python_reads_is_not_read(packer: str) -> None:
    log = LOG[:8000]
    body = packers.PACKERS[packer](log)
    read = unpack(body, 1 << 20, Allowance(0, 0))
    assert (read.text, read.complete, read.short) == (b"", False, "work")
    some = unpack(body, 1 << 20, Allowance(0, 3000))
    assert log.startswith(some.text) and 2000 < len(some.text) <= 6000
    assert some.short == "work" and "no more was tried" in (complaint(some) or "")
    assert not begins(body, 0, Allowance(0, 0)) and begins(raw(LOG), 0, Allowance(0, 0))


def test_what_zlib_reads_needs_no_work() -> None:
    assert unpack(raw(LOG), 1 << 20, Allowance(0, 0))[:3] == (LOG, "deflate", True)


def test_lines_that_look_like_headers_are_not_all_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = counted(monkeypatch, kernel_dump, "begins")
    left = Allowance(1 << 20, 100_000)
    kernel_dump.headers(b"====1700000000.000001-C\nno log\n" * 2000, left)
    assert 100 < len(tried) < 1000 and not left.work


# --- room


def test_a_log_that_is_cut_by_us_is_said_to_be() -> None:
    bomb = zones.dump(b"Panic#1 Part1\n" + b"<6>[    1.000000] a\n" * (1 << 18), flag="C")
    found = ramoops.records(zones.zone(ZONE, bomb))
    (record,), (problem,) = found.records, found.problems
    assert record.source.truncated and record.raw
    assert "longer than there is room for" in problem.what
    assert f"first {len(record.text)} bytes" in problem.what


def test_a_character_counts_as_what_it_takes() -> None:
    costs = [kernel_dump.cost(ramoops.captured("kernel", text.encode() * 1000,
                                               ramoops.Source("ramoops")))
             for text in ("abcd", "ab\u0100", "\U0001f600")]
    assert 4000 <= costs[0] < 4100 and 6000 <= costs[1] < 6200 and 4000 <= costs[2] < 4200


def test_dumps_by_the_thousand_are_not_all_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ramoops, "MOST_RECORDS", 50)
    monkeypatch.setattr(ramoops, "MOST_BEHIND", 0)
    body = b"".join(zones.dump(b"Oops#%d Part1\nx\n" % number, f"17{number:08}.1")
                    for number in range(40))
    used = zones.zone(4096, body)
    found = ramoops.records(used * 5)
    assert len(found.records) == 80 and ramoops.MANY in found.problems
    few = ramoops.records(used)
    assert len(few.records) == 40 and not few.problems


# --- less of what is done for nothing


def test_a_position_is_found_without_reading_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    packer = zlib.compressobj(0, zlib.DEFLATED, -15)
    body = packer.compress(bytes(100_000)) + packer.flush()
    calls = _streams(monkeypatch)
    assert inflate.position(body, 90_000) > 90_000
    assert calls["decompress"] < 2000


def test_damage_is_found_in_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    body = packers.literals(LOG * 2)
    calls = _streams(monkeypatch)
    assert inflate.inflate(body[:60_000] + b"\xff" * 2000, inflate.RAW, 1 << 20).stopped
    assert calls["copy"] < 200


def _streams(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often a stream is asked for what from now on."""
    calls = {"decompress": 0, "copy": 0}

    class Stream:
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def decompress(self, *args: Any) -> bytes:
            calls["decompress"] += 1
            return bytes(self._stream.decompress(*args))

        def copy(self) -> Stream:
            calls["copy"] += 1
            return Stream(self._stream.copy())

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

    make = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda *args, **named: Stream(make(*args, **named)))
    return calls


def test_of_lines_that_are_none_the_first_are_enough() -> None:
    text = b"Panic#1 Part1\n<6>[    1.000000] a\n" + b"\n" * 100_000
    assert len(inflate.odd_lines(text)) == inflate.SEVERAL


def test_lost_dumps_are_looked_for_outside_of_zones_alone() -> None:
    whole = zones.zone(4096, zones.dump(zones.log(20)) * 3)
    lost = b"\xee" * 12 + zones.dump(zones.log(9), "1700000009.1")
    empty = zones.zone(4096, b"")
    data = whole + lost.ljust(4096, b"\0") + empty + whole + lost
    found = [zone for zone in ramoops.find_zones(data, [])[0]]
    places = [match.start() for match in forensics._outside(data, found)]
    assert places == [4096 + 12, len(data) - len(lost) + 12]


@pytest.mark.parametrize("record", [1, 2, 16])
def test_a_geometry_of_more_zones_than_there_can_be_is_none(record: int) -> None:
    assert list(layouts(Geometry(record), 1 << 20)) == []
    assert len(next(layouts(Geometry(4096), 64 << 20))) == 1 << 14
