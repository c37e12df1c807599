"""medium/persistent_ram.py: headers that lost some bits."""

from __future__ import annotations

import struct

import pytest

from lastlog_py.medium.persistent_ram import (
    HEADER_SIZE,
    SIGNATURE,
    Ecc,
    Slot,
    Zone,
    is_nearly_signed,
    nearly_zone_at,
    straightened,
    zone_at,
)

SIZE = 4096
FULL = SIZE - HEADER_SIZE
TEXT = b"[    1.000000] a line of text\n" * 50
FTRACE = SIGNATURE ^ (6 << 16 | 1 << 8 | 192)


def memory(signature: int, start: int, used: int, body: bytes = TEXT) -> bytes:
    return (struct.pack("<III", signature, start, used) + body).ljust(SIZE, b"\0")


@pytest.mark.parametrize(("start", "used", "body", "right"), [
    (1000, 1000, TEXT, (1000, 1000)), (900, FULL, TEXT, (900, FULL)), (0, FULL, TEXT, (0, FULL)),
    (7, 400, TEXT, (7, 400)),                           # several bits: nobody knows
    (0, 512, bytes(512), (0, 0)), (0, 512, TEXT, (0, 0)),       # it was empty
    (1000, 1004, TEXT, (1004, 1004)), (1000, 1004, TEXT[:1000], (1000, 1000)),
    (1000, 2024, TEXT[:1000] + bytes(range(128, 256)) * 8, (1000, 1000)),
    (1000, 1004, bytes(range(256)) * 8, (1004, 1004))])
def test_a_bit_of_start_or_size(start: int, used: int, body: bytes,
                                right: tuple[int, int]) -> None:
    region = memory(SIGNATURE, start, used, body)
    zone = zone_at(region, Slot("console", 0, 0, SIZE), "little")
    assert zone is not None
    found = straightened(region, zone)
    assert (found.start, found.used) == right
    assert found.damaged is (right != (start, used))


@pytest.mark.parametrize(("signature", "start", "used", "right"), [
    (SIGNATURE ^ 1, 1000, 1000, (1000, 1000)), (SIGNATURE ^ 0x80000101, 900, FULL, (900, FULL)),
    (SIGNATURE, 1000, 1000 ^ 8, (1000, 1000)), (SIGNATURE, 1000, 1000 ^ 1 << 21, (1000, 1000)),
    (SIGNATURE ^ 1, 1000 ^ 1 << 31, 1000, (1000, 1000)),
    (SIGNATURE ^ 1, 0, 0, None), (SIGNATURE ^ 15, 1000, 1000, None),
    (SIGNATURE ^ 1, 7, 400, None), (SIGNATURE ^ 1, 1 << 20, 1 << 20, None)])
def test_a_header_that_lost_some_bits(signature: int, start: int, used: int,
                                      right: tuple[int, int] | None) -> None:
    zone = nearly_zone_at(memory(signature, start, used), Slot("console", 0, 0, SIZE), "little")
    assert (zone and (zone.start, zone.used)) == right
    assert zone is None or zone.damaged


def test_the_signature_of_a_trace_tells_its_kernel() -> None:
    slot = Slot("ftrace", 0, 0, SIZE)
    assert nearly_zone_at(memory(FTRACE ^ 1 << 28, 24, 24), slot, "little") == \
        Zone(slot, 24, 24, damaged=True)
    assert nearly_zone_at(memory(0x12345678, 24, 24), slot, "little") is None


def test_the_capacity_is_less_with_parity() -> None:
    slot, ecc = Slot("pmsg", 0, 0, SIZE), Ecc(16)
    for used, there in ((ecc.capacity(SIZE), True), (ecc.capacity(SIZE) + 1, False)):
        region = memory(SIGNATURE ^ 1, used, used)
        assert (nearly_zone_at(region, slot, "little", ecc) is not None) is there


@pytest.mark.parametrize(("head", "near"), [(b"DBGC", True), (b"CGBD", True), (b"DBG\x40", True),
                                            (b"EFGC", True), (b"CBGC", True), (b"DBFD", False),
                                            (b"DB", False)])
def test_nearly_a_signature(head: bytes, near: bool) -> None:
    assert is_nearly_signed(b"x" + head, 1) is near
