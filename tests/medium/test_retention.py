"""medium/retention.py: the pattern, and how what became of it is counted."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.medium import retention
from lastlog_py.medium.retention import Extent, measure, pattern
from tests import zones as making

NONCE = bytes(range(16))
SIZE = 1 << 16
ALL = [Extent(12, SIZE, 12)]


def written(extents: list[Extent] = ALL, size: int = SIZE) -> bytearray:
    region = bytearray(size)
    for extent in extents:
        region[extent.start:extent.end] = pattern(NONCE, extent.start, extent.end)
    return region


def test_the_pattern_is_balanced_and_never_a_record() -> None:
    data = pattern(NONCE, 0, 1 << 20)
    ones = int.from_bytes(data, "big").bit_count() / (8 << 20)
    assert 0.499 < ones < 0.501
    assert not set(b"=G\x00\xff") & set(data)
    assert pattern(bytes(16), 0, 4096) != data[:4096] != data[4096:8192]


@given(st.integers(0, 20000), st.integers(0, 20000))
def test_any_part_of_the_pattern_is_that_part_of_the_whole(start: int, size: int) -> None:
    assert pattern(NONCE, start, start + size) == pattern(NONCE, 0, 40000)[start:start + size]


@settings(max_examples=50)
@given(st.lists(st.integers(12 * 8, SIZE * 8 - 1), unique=True, max_size=40))
def test_every_flipped_bit_is_counted_once(bits: list[int]) -> None:
    """Against counting one by one."""
    region = written()
    for bit in bits:
        region[bit // 8] ^= 1 << bit % 8
    wrong: dict[int, set[int]] = {}
    for bit in bits:
        wrong.setdefault((bit // 8 - 12) // 128, set()).add(bit // 8)
    loss = measure(bytes(region), NONCE, ALL, [0])
    assert loss.lost_bits == len(bits) and loss.bits == (SIZE - 12) * 8
    if not loss.lost_headers:
        assert loss.bad_blocks == sorted(len(each) for each in wrong.values())
    assert loss.overwritten == []


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 8192)), max_size=4), st.binary())
def test_whatever_overwrites_it_the_sums_are_right(holes: list[tuple[int, int]],
                                                   filler: bytes) -> None:
    extents = [Extent(12, 9000, 12), Extent(9012, 40001, 9012), Extent(50000, SIZE, 50000)]
    region = written(extents)
    for start, size in holes:
        end = min(SIZE, start + size)
        region[start:end] = (filler * SIZE)[:end - start] if filler else bytes(end - start)
    loss = measure(bytes(region), NONCE, extents, [0, 9000])
    then = written(extents)
    wrong = sum((region[at] ^ then[at]).bit_count()
                for each in extents for at in range(each.start, each.end))
    gone = sum(end - start for start, end in loss.overwritten)
    assert loss.lost_bits + loss.overwritten_bits == wrong
    assert loss.bits == (loss.tested - gone) * 8 and loss.tested == sum(
        each.end - each.start for each in extents)
    assert len(loss.bad_blocks) <= max(loss.blocks, 0)
    assert all(end - start >= retention.OVERWRITTEN for start, end in loss.overwritten)
    assert all(0 <= (retention.repaired(loss, ecc) or 0) <= 1 for ecc in (0, 8, 16, 64))


@pytest.mark.parametrize("start", [4096, 4096 + 12, 5000])
@pytest.mark.parametrize("filler", ["zeros", "ones", "random", "text"])
def test_an_overwritten_range_is_found_to_the_line(start: int, filler: str) -> None:
    size = 3000
    rng = random.Random(start)
    new = {"zeros": bytes(size), "ones": b"\xff" * size, "random": rng.randbytes(size),
           "text": making.log(100)[:size]}[filler]
    region = written()
    region[start:start + size] = new
    loss = measure(bytes(region), NONCE, ALL, [])
    ((begin, end),) = loss.overwritten
    assert 0 <= start - begin < 64 and 0 <= end - start - size < 64
    assert loss.lost_bits == 0
    assert retention.is_constant(bytes(region), loss.overwritten) is (filler in ("zeros", "ones"))


@pytest.mark.parametrize(("line", "lost"), [(64, True), (32, True), (16, False)])
@pytest.mark.parametrize("rate", [0.0, 1e-4, 1e-2])
def test_a_lost_header_line_is_told_from_decay(line: int, lost: bool, rate: float) -> None:
    zones = [0, 4096, 8192 + 24, 16384]
    ends = [*zones[1:], 32768]
    extents = [Extent(zone + 12, end, zone + 12) for zone, end in zip(zones, ends, strict=True)]
    rng = random.Random(line)
    region = written(extents)
    for _ in range(int(32768 * 8 * rate)):
        region[rng.randrange(32768)] ^= 1 << rng.randrange(8)
    for zone in zones[1:]:
        region[zone:zone + line] = rng.randbytes(line)
    loss = measure(bytes(region), NONCE, extents, zones)
    assert loss.headers == 4 and loss.lost_headers == (zones[1:] if lost else [])
    if lost and not rate:
        assert loss.bad_blocks == [] and loss.lines >= 3


def test_without_a_pattern_no_header_is_lost() -> None:
    loss = measure(random.Random(1).randbytes(SIZE), NONCE, ALL, [0])
    assert loss.headers == 0 and loss.lost_headers == []
    assert retention.repaired(measure(b"", NONCE, [], [0]), 16) is None


@pytest.mark.parametrize(("data", "constant"), [
    (b"\xaa\x55" * 4096, True), (bytes(8192), True), (b"\xde\xad\xbe\xef" * 2048, True),
    ((bytes(1024) + b"\xff" * 1024) * 4, False), (random.Random(2).randbytes(8192), False)])
def test_wiped_is_told_from_faded(data: bytes, constant: bool) -> None:
    assert retention.is_constant(data, [(0, 4096), (4096, 8192)]) is constant
    assert not retention.is_constant(data, [])
