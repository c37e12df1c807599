"""medium/zone_ecc.py: damage in every part of a zone, for every parity size and byte order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.medium import ramoops, zone_ecc
from lastlog_py.medium.geometry import Geometry
from lastlog_py.medium.persistent_ram import Ecc, Slot
from tests import samples, zones
from tests.regions import BLOCK, HEADER, Kernel, Region, Ring, damaged

SIZE = 8192
LOG = zones.log(120)
ROOTS = range(2, 33)


def one_zone(ecc: int, text: bytes = LOG, letter: str = "D", kernel: Kernel | None = None) -> Ring:
    return Ring(SIZE, kernel or Kernel(), ecc, noise=9).dump(text, letter=letter)


def region_of(ring: Ring) -> bytes:
    return ring.bytes() + Ring(SIZE, ring.kernel, ring.ecc, noise=10).bytes()


def places(ring: Ring, errors: int, chance: random.Random) -> list[int]:
    """Offsets of `errors` bytes in each word of the zone: data and parity of every used block, and
    the header's."""
    words = [[*range(HEADER), *range(SIZE - ring.ecc, SIZE)]]
    for block in range(-(-ring.used // BLOCK)):
        parity = HEADER + ring.capacity + block * ring.ecc
        start, end = block * BLOCK, min((block + 1) * BLOCK, ring.capacity)
        words.append([*range(HEADER + start, HEADER + end), *range(parity, parity + ring.ecc)])
    return [at for word in words for at in chance.sample(word, errors)]


@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("ecc", ROOTS)
def test_all_that_can_be_corrected_is(ecc: int, endian: str) -> None:
    """As many errors as the code corrects, in every block and in the header at once."""
    ring = one_zone(ecc, kernel=Kernel(endian=endian))
    wrong = places(ring, ecc // 2, random.Random(ecc))
    region = damaged(region_of(ring), wrong)
    (record,) = ramoops.records(region, [Geometry(SIZE, ecc=ecc)]).records
    assert record.text.encode() == LOG and not record.source.torn
    assert (record.source.ecc_corrected, record.source.ecc_failed) == (len(wrong), 0)


@pytest.mark.parametrize("letter", "CD")
@pytest.mark.parametrize("ecc", [4, 16, 31])
def test_without_being_told(ecc: int, letter: str) -> None:
    """Some damage in a header and in data; neither geometry nor ecc is given."""
    ring = one_zone(ecc, letter=letter)
    wrong = [2, 9, *(HEADER + block * BLOCK + 50 for block in range(1, ring.used // BLOCK))]
    contents = ramoops.records(damaged(region_of(ring), wrong))
    (record,) = contents.records
    assert record.text.encode() == LOG and record.source.ecc_corrected == len(wrong)
    assert not contents.problems


def test_the_only_header_there_is_is_damaged() -> None:
    """No signature at all: the parity shows the zone."""
    for size in (SIZE, 65536):
        region = damaged(Ring(size, Kernel(), 16).dump(LOG).bytes(), [0, 1, 2, 3, 7])
        (record,) = ramoops.records(region).records
        assert record.text.encode() == LOG and record.source.ecc_corrected == 5


def test_the_blocks_of_3_4_and_3_5() -> None:
    ring = one_zone(16, kernel=Kernel((3, 5, 0)))
    assert ring.capacity < one_zone(16).capacity
    wrong = places(ring, 8, random.Random(3))
    for geometry in ([], [Geometry(SIZE, ecc=16)]):
        region = damaged(region_of(ring), wrong if geometry else wrong[16:])
        (record,) = ramoops.records(region, geometry).records
        assert record.text.encode() == LOG and not record.source.ecc_failed
        assert record.source.ecc_corrected == (len(wrong) if geometry else len(wrong) - 16)


def test_the_last_block_is_decoded_as_a_whole() -> None:
    """What is behind the text in its last block is old, but was there when the parity was made."""
    ring = Ring(SIZE, Kernel(), 16, noise=4).dump(LOG[:1100])
    behind = HEADER + ring.used + 3
    assert ring.used // BLOCK == (ring.used + 3) // BLOCK
    contents = ramoops.records(damaged(region_of(ring), [behind, behind - 20]),
                               [Geometry(SIZE, ecc=16)])
    assert contents.records[0].source.ecc_corrected == 2
    assert contents.records[0].text.encode() == LOG[:1100]


def test_a_full_zone_has_a_short_last_block() -> None:
    text = b"".join(b"[%5d.000000] console line\n" % i for i in range(400))
    ring = Ring(SIZE, Kernel(), 16).write(text)
    assert ring.used == ring.capacity and ring.capacity % BLOCK
    last = HEADER + ring.capacity - 1
    (record,) = ramoops.records(damaged(ring.bytes(), [last - n for n in range(8)])).records
    assert record.text.encode() == text[-ring.capacity:] and record.source.ecc_corrected == 8


@pytest.mark.parametrize("letter", "CD")
def test_a_block_beyond_repair_costs_no_more_than_itself(letter: str) -> None:
    text = zones.log(300)
    ring = one_zone(16, text[:7000], letter)
    block = 12 if letter == "D" else ring.used // BLOCK - 2
    at = HEADER + block * BLOCK
    contents = ramoops.records(damaged(region_of(ring), range(at + 20, at + 40)),
                               [Geometry(SIZE, ecc=16)])
    (record,) = contents.records
    assert (record.source.ecc_corrected, record.source.ecc_failed) == (0, 1)
    assert record.source.torn and f"at offset {at:#x}" in contents.problems[0].what
    if letter == "D":
        before, after = block * BLOCK - 24, (block + 1) * BLOCK - 24
        assert record.text.startswith(text[:before].decode())
        assert record.text.endswith(text[after:7000].decode())
    else:
        assert record.text.startswith(text[:4000].decode())


def test_many_lost_blocks_are_not_all_named() -> None:
    ring = one_zone(2)
    contents = ramoops.records(damaged(region_of(ring), range(200, 3000)), [Geometry(SIZE, ecc=2)])
    assert "and " in contents.problems[0].what and len(contents.problems[0].what) < 250


def test_a_header_beyond_repair_that_looks_valid_is_used() -> None:
    """As the kernel does: it counts a bad block, and then looks at the numbers."""
    ring = one_zone(4)
    region = damaged(region_of(ring), range(SIZE - 4, SIZE))
    contents = ramoops.records(region, [Geometry(SIZE, ecc=4)])
    (record,) = contents.records
    assert record.text.encode() == LOG and record.source.ecc_failed == 1
    assert "header" in contents.problems[0].what


def test_a_header_beyond_repair_leaves_its_dump_to_be_found() -> None:
    ring = one_zone(16, letter="C")
    wrong = [*range(HEADER), HEADER + 1, HEADER + 300]
    for geometry in ([], [Geometry(SIZE, ecc=16)]):
        contents = ramoops.records(damaged(region_of(ring), wrong), geometry)
        (record,) = contents.records
        assert record.text.encode() == LOG and record.source.recovered
        assert record.source.ecc_corrected == 2 and record.source.offset == 0


def test_a_correction_that_makes_no_text_of_text_is_doubted() -> None:
    """With 2 parity bytes every other block of two errors is taken for one of a single error.  It
    is shown as the kernel shows it, which does not know."""
    ring, told = one_zone(2), 0
    for seed in range(30):
        region = damaged(region_of(ring), [HEADER + 700, HEADER + 710], seed)
        (record,), problems = ramoops.records(region, [Geometry(SIZE, ecc=2)])[:2]
        source = record.source
        assert (source.ecc_failed, source.ecc_corrected) in ((0, 1), (1, 0))
        assert source.torn == bool(problems)
        assert not problems or f"offset {HEADER + 5 * BLOCK:#x}" in problems[0].what
        told += len(problems)
    assert told > 20


def test_several_cpus_writing_to_ftrace_are_no_decay() -> None:
    """They write without a lock, and leave parity that does not fit."""
    made = Region(1 << 17, 0x4000, 0, 0x4000, ecc=16, cpus=2)
    made.dumps[0].dump(LOG)
    for ring in made.ftrace:
        ring.write(bytes(range(24)) * 100)
    end = len(made.dumps) * made.dumps[0].size
    region = damaged(made.bytes(), range(end + 40, end + 1000, 3))
    contents = ramoops.records(region, [Geometry(0x4000, 0, 0x4000, ecc=16)])
    assert all("correction" not in problem.what for problem in contents.problems)


@pytest.mark.parametrize("name", ["s01_plain", "s02_ecc16", "s07_none", "a01_arm64_virt_dt",
                                  "m02_mipsbe_malta"])
def test_which_ecc_a_real_region_has(name: str) -> None:
    slots = [Slot("kernel", number, number << 16, 1 << 16) for number in range(13)]
    wanted = Ecc(16) if samples.manifest()[name]["geometry"].get("ecc") else None
    for said in (0, 16, 7):
        assert zone_ecc.find(samples.region(name), slots, said) == wanted


def test_noise_has_no_ecc() -> None:
    slots = [Slot("kernel", number, number * 4096, 4096) for number in range(16)]
    for seed in range(20):
        assert zone_ecc.find(random.Random(seed).randbytes(65536), slots, 16) is None
    assert zone_ecc.find(bytes(65536), slots, 16) is None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_damage(data: st.DataObject) -> None:
    """Never more errors in a word than the code corrects: all is as it was."""
    ecc = data.draw(st.integers(2, 32))
    letter = data.draw(st.sampled_from("CD"))
    ring = one_zone(ecc, letter=letter)
    chance = random.Random(data.draw(st.integers(0, 1 << 32)))
    wrong = places(ring, data.draw(st.integers(0, ecc // 2)), chance)
    wrong = [at for at in wrong if chance.random() < 0.7]
    (record,) = ramoops.records(damaged(region_of(ring), wrong), [Geometry(SIZE, ecc=ecc)]).records
    assert record.text.encode() == LOG
    assert (record.source.ecc_corrected, record.source.ecc_failed) == (len(wrong), 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(2, 32), st.integers(1, 3000), st.booleans())
def test_heavy_damage_never_raises(seed: int, ecc: int, errors: int, said: bool) -> None:
    ring = one_zone(ecc)
    chance = random.Random(seed)
    region = damaged(region_of(ring), [chance.randrange(2 * SIZE) for _ in range(errors)], seed)
    for cut in (len(region), chance.randrange(len(region))):
        contents = ramoops.records(region[:cut], [Geometry(SIZE, ecc=ecc)] if said else [],
                                   recover=True)
        assert all("\0" not in record.text for record in contents.records)


def test_blank_words_with_a_bit_or_two_are_of_no_code() -> None:
    """Any code would correct them into zeros."""
    region = bytearray(zones.zone(4096) * 16)
    for at in range(100, len(region), 256):
        region[at] ^= 1 << at % 8
    for slot in range(3):
        region[slot * 4096 + 4] = 1     # not empty, as it seems
    slots = [Slot("kernel", n, n * 4096, 4096) for n in range(16)]
    assert zone_ecc.find(bytes(region), slots) is None
