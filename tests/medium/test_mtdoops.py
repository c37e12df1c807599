"""medium/mtdoops.py: slots of all versions, and of what damage leaves of them."""

from __future__ import annotations

import random

import pytest

from lastlog_py.medium import dump, mtdoops
from lastlog_py.medium.geometry import Geometry
from tests import foreign, samples
from tests.foreign import PAGE, log, slot, unused

OLD = b"Oops: 0002 [#1]\nCPU 0 Unable to handle kernel paging request\nCall Trace:\n [<8002>] x\n"


def texts(data: bytes, *given: Geometry) -> list[str]:
    return [record.text for record in mtdoops.read(data, given).records]


def test_a_real_partition() -> None:
    """Two oopses, written by 6.1; there is no reader in the kernel to compare with."""
    region = samples.region("c13_mtdoops")
    newest, oldest = mtdoops.read(region).records
    for record, count, start in ((newest, 2, 0x4000), (oldest, 1, 0)):
        assert record.source[:3] == ("mtdoops", count - 1, start)
        assert record.source.zone_size == 16384 and not record.source.torn
        text = region[start + 16:start + 16384].rstrip(b"\xff").removesuffix(b"\0")
        assert record.text.encode() == text
    assert oldest.time == pytest.approx(1795379392.402018, abs=1e-6)
    assert mtdoops.read(region).problems == []


def test_a_big_endian_partition_is_no_packed_data() -> None:
    region = samples.region("t05_mips_mtdoops")
    found, problems = dump.records("mtd3.bin", region)
    assert [record.text for record in found] == texts(region)
    assert len(found) == 3 and problems == []


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize(("version", "time"), [(1, None), (2, foreign.SECONDS)])
@pytest.mark.parametrize("size", [PAGE, 4 * PAGE, 5 * PAGE])
def test_every_version_order_and_size(endian: str, version: int, time: float | None,
                                      size: int) -> None:
    full = b"<4>[    1.000000] " + b"x" * size
    data = b"".join(slot(text, number, version, endian=endian, size=size)
                    for number, text in enumerate((log(9), full, log(7)), 1)) + unused(size)
    reading = mtdoops.read(data)
    header = 8 if version == 1 else 16
    assert [record.text.encode() for record in reading.records] == \
        [log(7), full[:size - header], log(9)]
    assert [record.source.zone for record in reading.records] == [2, 1, 0]
    assert {record.time for record in reading.records} == {time} and reading.problems == []


@pytest.mark.parametrize("endian", ["<", ">"])
def test_a_count_alone(endian: str) -> None:
    full = (OLD * 60)[:PAGE - 4]
    data = b"".join(slot(text, number, 0, endian=endian)
                    for number, text in enumerate((OLD, full), 300)) + unused()
    assert [text.encode() for text in texts(data)] == [full, OLD]


@pytest.mark.parametrize("page", [
    b"\1\0\0\0" + b"nothing that a kernel says\n" * 9, b"\1\0\0\0" + OLD + b"\0more",
    b"\xfe\xca\xad\xde" + OLD, b"\0\0\0\0" + OLD, b"\1\0\0\0" + bytes(range(128, 255))])
def test_what_only_looks_like_a_count_is_none(page: bytes) -> None:
    assert texts(page.ljust(PAGE, b"\xff")) == []


@pytest.mark.parametrize(("sequences", "newest_first"), [
    ([1, 2, 3], [3, 2, 1]), ([7, 5, 6], [7, 6, 5]),
    ([0xfffffffe, 0, 1], [1, 0, 0xfffffffe]), ([3, 0xfffffffd, 0xfffffffe], [3, 0xfffffffe,
                                                                             0xfffffffd]),
    ([0xb0000000, 0x40000001], [0xb0000000, 0x40000001])])
def test_the_count_wraps(sequences: list[int], newest_first: list[int]) -> None:
    data = b"".join(slot(log(5, f"of {number}"), number) for number in sequences)
    assert [text.split("of ")[1].split()[0] for text in texts(data)] == list(map(str, newest_first))


def test_unused_slots_and_a_larger_partition() -> None:
    data = b"\x5a" * 3 * PAGE + unused() + slot(log(4), 9) + unused(5 * PAGE) + b"junk" * PAGE
    assert [text.encode() for text in texts(data)] == [log(4)]
    assert texts(unused(8 * PAGE)) == [] and texts(bytes(8 * PAGE)) == []


def test_given_sizes() -> None:
    data = slot(log(4), 1, size=2 * PAGE) + unused(2 * PAGE) + slot(log(5), 2, size=2 * PAGE)
    found = mtdoops.read(data, [Geometry(2 * PAGE, origin="the command line")])
    assert found.problems == [] and [each.source.zone for each in found.records] == [2, 0]
    wrong = mtdoops.read(data, [Geometry(3 * PAGE, origin="the command line")])
    assert len(wrong.records) == 2 and "the command line" in wrong.problems[0].what
    assert "16384" in wrong.problems[0].what


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("bit", range(32))
def test_any_bit_of_a_magic_may_be_lost(version: int, bit: int) -> None:
    data = bytearray(slot(log(9), 1, version) + slot(log(8), 2, version))
    data[4 + bit // 8] ^= 1 << bit % 8
    found = mtdoops.read(bytes(data))
    assert {record.text.encode() for record in found.records} == {log(9), log(8)}
    assert [record.source.torn for record in found.records] == [False, True]
    assert found.problems[0].severity == "warning"


@pytest.mark.parametrize("lost", [b"\xff", b"\0", b"\xff" * 40, b"\0" * 100])
def test_a_byte_lost_within_the_text_does_not_cost_what_follows(lost: bytes) -> None:
    text = log(40)
    torn = text[:900] + lost + text[900 + len(lost):]
    (record,) = mtdoops.read(slot(torn, 1) + unused()).records
    assert record.source.torn and (record.raw or b"") == torn


def test_a_torn_write() -> None:
    """The power went while the flash was programmed: the rest is what it was."""
    text = log(60)
    (cut,) = mtdoops.read(slot(text[:1000], 1)[:2048] + unused(2048)).records
    assert cut.text.encode() == text[:1000]
    (noisy,) = mtdoops.read(slot(text[:1000] + random.Random(3).randbytes(900), 1)).records
    assert noisy.text.encode().startswith(text[:1000]) and noisy.source.torn
    assert texts(slot(b"", 1)) == [] and texts(slot(text, 1)[:12]) == []
    assert [t.encode() for t in texts(slot(text, 1)[:1016])] == [text[:1000]]


def test_more_than_anybody_reads() -> None:
    found = mtdoops.read(slot(b"<4>x\n", 1) * 1100)
    assert len(found.records) == 1024 and "76 more" in found.problems[-1].what


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_no_number_makes_a_partition_a_packed_dump(version: int, endian: str) -> None:
    """lz4 and lzo take plain text for literals, whatever stands before it."""
    for sequence in range(1, 400, 3):
        data = foreign.slot(foreign.log(9), sequence, version, endian=endian) + foreign.unused()
        records, _ = dump.records("mtd5.bin", data)
        assert [record.source.medium for record in records] == ["mtdoops"], sequence
