"""medium/forensics.py: dumps whose zone lost its first bytes, as a reset of a MIPS router does."""

from __future__ import annotations

import random

import pytest

from lastlog_py.medium import ramoops
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
