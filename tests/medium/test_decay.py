"""Real regions after a reset that cost them a bit here and there, without being told how they
are divided: which records are there does not change."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from lastlog_py.medium import ramoops
from tests import samples

NAMES = ["c01_all_console_pmsg_ftrace", "c03_console_pmsg_wrap", "m02_mipsbe_malta",
         "p06_x86_64_6_12", "s09_rec4k", "s16_gap", "g08_small_records", "z01_lz4_4k",
         "z02_lz4hc_4k", "di_poison", "dx_atomic", "e01_ecc2", "e02_ecc4", "e08_ecc8",
         "e04_ecc16"]


def decayed(region: bytes, bytes_per_bit: int, seed: int) -> bytes:
    chance, broken = random.Random(seed), bytearray(region)
    for _ in range(len(region) // bytes_per_bit):
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
    return bytes(broken)


def kinds(region: bytes) -> Counter[str]:
    return Counter(record.kind for record in ramoops.records(region, recover=True).records)


@pytest.mark.parametrize("bytes_per_bit", [1024, 256])
@pytest.mark.parametrize("name", NAMES)
def test_decay_makes_no_other_records(name: str, bytes_per_bit: int) -> None:
    whole = samples.region(name)
    right = kinds(whole)
    for seed in range(2):
        assert kinds(decayed(whole, bytes_per_bit, seed)) == right


@pytest.mark.parametrize("kind", ["console", "pmsg"])
def test_a_wrapped_ring_whose_header_lost_a_bit_is_read_from_its_start(kind: str) -> None:
    region = bytearray(samples.region("c03_console_pmsg_wrap"))
    (record,) = [each for each in ramoops.records(bytes(region)).records if each.kind == kind]
    region[(record.source.offset or 0) + 1] ^= 4
    contents = ramoops.records(bytes(region))
    (torn,) = [each for each in contents.records if each.kind == kind]
    assert torn.text == record.text and torn.source.torn and torn.source.recovered
    assert any(f"{kind} zone 0" in each.where and "damaged" in each.what
               for each in contents.problems)
