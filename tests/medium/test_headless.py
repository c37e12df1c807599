"""medium/forensics.py: dumps whose zone lost its first bytes, as a reset of a MIPS router does."""

from __future__ import annotations

import random

import pytest

from lastlog_py.medium import ramoops
from lastlog_py.medium.division import divide
from lastlog_py.medium.geometry import Geometry
from tests import samples

FILLERS = {"zeros": bytes, "ones": lambda size: b"\xff" * size,
           "random": lambda size: random.Random(size).randbytes(size)}

# sample -> per cent of the kernel's lines that are left, by bytes lost
PACKED = {16: 95, 32: 95, 36: 95}       # behind them the code of a packed stream is lost
PLAIN = {16: 95, 32: 95, 36: 95, 64: 90}
WANTED = {"c05_two_oops_then_panic": PACKED, "m02_mipsbe_malta": PACKED,
          "c10_compress_zstd": PACKED, "p04_mips_6_1_lz4": PACKED, "z03_lzo": PACKED,
          "z04_842": PACKED, "s01_plain": PACKED,
          "e08_ecc8": PACKED, "a01_arm64_virt_dt": PACKED, "s02_ecc16": PACKED,
          "p04_mips_6_1_ecc": PACKED, "s07_none": PLAIN, "dm_null": PLAIN, "di_bug": PLAIN,
          "dr_panic": PLAIN, "e01_ecc2": PLAIN, "e03_ecc8": PLAIN, "e04_ecc16": PLAIN,
          "g08_small_records": PLAIN}


def torn(name: str, size: int, filler: str) -> tuple[bytes, set[str]]:
    """The sample without the first bytes of its dump zones, and the lines that were in them."""
    region = bytearray(samples.region(name))
    kernel = [record for record in ramoops.records(bytes(region)).records
              if record.kind == "kernel"]
    for record in kernel:
        at = record.source.offset or 0
        region[at:at + size] = FILLERS[filler](size)
    return bytes(region), {line for record in kernel for line in record.text.splitlines()}


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize(("name", "size", "least"), [
    (name, size, least) for name, sizes in WANTED.items() for size, least in sizes.items()])
def test_a_dump_without_its_first_bytes(name: str, size: int, least: int, filler: str) -> None:
    region, lines = torn(name, size, filler)
    said = samples.manifest()[name]["geometry"]
    geometry = Geometry(*(said.get(key) or 0 for key in (
        "record_size", "console_size", "ftrace_size", "pmsg_size", "ecc")))
    for given in ([], [geometry]):
        contents = ramoops.records(region, given, recover=True)
        found = [record for record in contents.records if record.kind == "kernel"]
        left = lines & {line for record in found for line in record.text.splitlines()}
        assert 100 * len(left) >= least * len(lines), 100 * len(left) // len(lines)
        if any("lost" in problem.what for problem in contents.problems):
            assert any(record.source.torn and record.time is None for record in found)


def test_a_later_block_is_read() -> None:
    """With 64 bytes the code of the first block of a packed stream is lost."""
    contents = ramoops.records(torn("c05_two_oops_then_panic", 64, "ones")[0])
    kernel = [record for record in contents.records if record.kind == "kernel"]
    assert kernel and all(len(record.text) > 2000 and record.source.torn for record in kernel)
    (first, *_) = [problem for problem in contents.problems if "header" in problem.what]
    assert first.where == "region, kernel zone 0, offset 0x0"


def test_what_cannot_be_read_is_said() -> None:
    region = bytearray(samples.region("c05_two_oops_then_panic"))
    region[:20000] = random.Random(1).randbytes(20000)
    (problem,) = ramoops.records(bytes(region)).problems
    assert problem.where == "region, kernel zone 0, offset 0x0"
    assert "its header is lost, and nothing of it could be read" in problem.what


def test_cold_memory_has_no_dumps() -> None:
    for seed in range(8):
        noise = random.Random(seed).randbytes(1 << 20)
        assert ramoops.records(noise, [Geometry(65536)], recover=True).records == []
        assert ramoops.records(noise, recover=True).records == []


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("size", [16, 36])
@pytest.mark.parametrize("name", ["c05_two_oops_then_panic", "m02_mipsbe_malta", "di_bug",
                                  "e01_ecc2", "e02_ecc4", "e08_ecc8", "s02_ecc16", "z03_lzo_4k",
                                  "z05_zstd"])
def test_no_header_is_left_at_all(name: str, size: int, filler: str) -> None:
    """Of the other zones neither, nor does anybody say how the region is divided."""
    region = bytearray(samples.region(name))
    for slot in divide(bytes(region), []).slots:
        region[slot.offset:slot.offset + size] = FILLERS[filler](size)
    whole = ramoops.records(samples.region(name)).records
    found = ramoops.records(bytes(region), recover=True).records
    assert len(found) <= len(whole)
    wanted = {line for record in whole if record.kind == "kernel"
              for line in record.text.splitlines()}
    left = wanted & {line for record in found if record.kind == "kernel"
                     for line in record.text.splitlines()}
    assert 100 * len(left) >= 95 * len(wanted)


@pytest.mark.parametrize("filler", ["zeros", "ones"])
def test_a_console_that_lost_its_first_line(filler: str) -> None:
    region = bytearray(samples.region("g03_console_only"))
    (whole,) = ramoops.records(bytes(region)).records
    region[:64] = FILLERS[filler](64)
    for given in ([], [Geometry(0, 32768)]):
        (record,) = ramoops.records(bytes(region), given).records
        lines = whole.text.splitlines()
        assert record.kind == "console"
        assert len(set(lines) & set(record.text.splitlines())) >= len(lines) - 3


def test_a_log_in_a_file_is_no_memory() -> None:
    text = samples.kernel_text("s07_none", "dmesg-ramoops-0")
    assert ramoops.records(text[100:], recover=True).records == []
