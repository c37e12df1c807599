"""medium/forensics.py: what stands behind headers that were zapped, damaged or overwritten."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.medium import dump, ramoops
from lastlog_py.medium.geometry import Geometry
from tests import samples, zones
from tests.regions import HEADER, Kernel, Region, Ring, damaged

SIZE = 8192
LOG = zones.log(60)
CONSOLE = b"".join(b"[%5d.000000] console line\n" % i for i in range(90))


def zapped(ecc: int = 0, letter: str = "D", text: bytes = LOG) -> Ring:
    ring = Ring(SIZE, Kernel(), ecc, noise=3).dump(text, letter=letter)
    ring.zap()
    return ring


def texts(region: bytes, recover: bool = True, **sizes: int) -> list[str]:
    given_ = [Geometry(SIZE, **sizes)]
    return [record.text for record in ramoops.records(region, given_, recover=recover).records]


@pytest.mark.parametrize("letter", "CD")
@pytest.mark.parametrize("ecc", [0, 16])
@pytest.mark.parametrize("said", [False, True])
def test_what_the_kernel_zapped_is_still_there(ecc: int, letter: str, said: bool) -> None:
    region = zapped(ecc, letter).bytes() + Ring(SIZE, Kernel(), ecc).bytes()
    contents = ramoops.records(region, [Geometry(SIZE, ecc=ecc)] if said else [], recover=True)
    (record,) = contents.records
    # Without compression nothing says where the text ends: cold memory follows.
    assert record.text.encode().startswith(LOG) and record.source.recovered
    assert record.time == pytest.approx(1_700_000_000.000042)
    assert [problem.severity for problem in contents.problems] == ["info"]
    assert "somebody erased it" in contents.problems[0].what


@pytest.mark.parametrize("letter", "CD")
def test_it_stays_away_where_somebody_may_have_cleared_it(letter: str) -> None:
    region = zapped(0, letter).bytes() + zapped(16, letter).bytes()
    assert ramoops.records(region).records == []


def test_decode_shows_it() -> None:
    (record,) = dump.records("region.bin", zapped(letter="C").bytes())[0]
    assert record.text.encode() == LOG and record.source.recovered


@pytest.mark.parametrize("said", [False, True])
def test_parity_still_corrects_what_is_behind_a_zapped_header(said: bool) -> None:
    ring = zapped(16, "C")
    wrong = [HEADER + 2, HEADER + 20, HEADER + 50, HEADER + 300]    # the "====" line too
    region = damaged(ring.bytes(), wrong) + Ring(SIZE, Kernel(), 16).bytes()
    (record,) = ramoops.records(region, [Geometry(SIZE, ecc=16)] if said else [],
                                recover=True).records
    assert record.text.encode() == LOG
    assert (record.source.ecc_corrected, record.source.ecc_failed) == (4, 0)


def test_the_same_dump_is_never_shown_twice() -> None:
    """An old copy of it, of an earlier layout, stands elsewhere."""
    whole = Ring(SIZE, Kernel()).dump(LOG, letter="C").bytes()
    region = whole + zapped(letter="C").bytes() + damaged(whole, range(4))
    assert texts(region) == [LOG.decode()]


@pytest.mark.parametrize("letter", "CD")
@pytest.mark.parametrize("stale_first", [False, True])
def test_of_two_copies_the_better_one_is_shown(stale_first: bool, letter: str) -> None:
    """Its zone is valid, but the dump in it damaged, its title too; the other copy is whole."""
    whole = Ring(SIZE, Kernel()).dump(LOG, letter=letter).bytes()
    places = range(37, 40) if letter == "D" else range(120, 124)
    pieces = [damaged(whole, places), damaged(whole, range(4))]
    for region in (b"".join(pieces[::-1] if stale_first else pieces),
                   b"".join([pieces[1], pieces[0], pieces[1]])):
        contents = ramoops.records(region, [Geometry(SIZE)], recover=True)
        (record,) = contents.records
        assert record.text.encode() == LOG and record.source.recovered


@pytest.mark.parametrize("broken", [0, 1])
def test_the_copy_with_fewer_blocks_lost_is_shown(broken: int) -> None:
    ring = Ring(SIZE, Kernel(), 4).dump(LOG)
    blocks = [[*range(HEADER + 300, HEADER + 306)], []]
    rings = [damaged(ring.bytes(), [*blocks[broken != at], *(range(4) if at else [])])
             for at in (0, 1)]
    (record,) = ramoops.records(b"".join(rings), [Geometry(SIZE, ecc=4)], recover=True).records
    assert record.text.encode() == LOG and not record.source.ecc_failed


def test_records_of_one_second_are_different_ones() -> None:
    rings = [Ring(SIZE, Kernel()).dump(LOG, microseconds=at) for at in (1, 2)]
    rings[1].zap()
    assert len(texts(b"".join(ring.bytes() for ring in rings))) == 2


def test_an_older_dump_behind_a_newer_one() -> None:
    """Kernels before 5.5: the second dump is appended; then the zone is emptied and used anew."""
    ring = Ring(SIZE, Kernel((4, 14, 1)))
    ring.dump(zones.log(20, "Oops#1 Part1"), 1_700_000_000, zap=False)
    ring.dump(zones.log(30, "Panic#2 Part1"), 1_700_000_001, zap=False)
    assert texts(ring.bytes(), recover=False) == [zones.log(20, "Oops#1 Part1").decode(),
                                                  zones.log(30, "Panic#2 Part1").decode()]
    ring.zap()
    ring.dump(zones.log(3, "Oops#1 Part1"), 1_700_000_009)
    newest, *older = texts(ring.bytes())
    assert newest == zones.log(3, "Oops#1 Part1").decode()
    assert [text[:13] for text in older] == ["Panic#2 Part1"]


@pytest.mark.parametrize("count", [3, 7, 40])
def test_dumps_appended_in_a_ring_that_wrapped(count: int) -> None:
    ring = Ring(SIZE, Kernel((4, 4, 5)))
    logs = [zones.log(20 + n % 9, f"Oops#{n + 1} Part1") for n in range(count)]
    for number, log in enumerate(logs):
        ring.dump(log, 1_700_000_000 + number, zap=False)
    found = texts(ring.bytes(), recover=False)
    assert found[-1] == logs[-1].decode() and found[-2] == logs[-2].decode()
    assert all(text.encode() in logs for text in found[1:])


@pytest.mark.parametrize("kind", ["console", "pmsg"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_text_behind_a_damaged_header(kind: str, wrapped: bool) -> None:
    made = Region(1 << 16, 0x2000, **{kind: 0x1000})
    ring = made.console or made.pmsg
    assert ring
    written = b"".join(b"[%5d.000000] console line\n" % i for i in range(300 if wrapped else 90))
    ring.write(written)
    region = bytearray(made.bytes())
    region[len(made.dumps) * made.dumps[0].size] ^= 0x10
    geometry = Geometry(0x2000, **{f"{kind}_size": 0x1000})
    (record,) = ramoops.records(bytes(region), [geometry]).records
    assert record.kind == kind and record.source.recovered and record.source.torn
    assert len(record.text) == min(len(written), ring.capacity)
    if kind == "console":
        lines_of = record.text.splitlines()[:-1]
        assert lines_of[1:] == sorted(lines_of[1:])


def test_a_damaged_header_in_front_of_no_text_gives_nothing() -> None:
    made = Region(1 << 16, 0x2000, 0x1000, noise=3)
    region = damaged(made.bytes(), [len(made.dumps) * made.dumps[0].size])
    assert ramoops.records(region, [Geometry(0x2000, 0x1000)], recover=True).records == []


def test_a_live_console_is_this_boots_own() -> None:
    made = Region(1 << 16, 0x2000, 0x1000)
    assert made.console
    made.console.write(CONSOLE)
    region = damaged(made.bytes(), [len(made.dumps) * made.dumps[0].size])
    assert ramoops.records(region, [Geometry(0x2000, 0x1000)], live=True).records == []


def test_unlinking_leaves_the_bytes() -> None:
    """s19: the kernel changed the header only; here as that would be."""
    region = bytearray(samples.region("s19_unlink"))
    region[4:12] = bytes(8)
    (record,) = ramoops.records(bytes(region), recover=True).records
    assert record.text.encode() == samples.kernel_text("s19_unlink", "dmesg-ramoops-0")
    assert ramoops.records(bytes(region)).records == []


def test_cold_memory_gives_nothing() -> None:
    for seed in range(6):
        noise = random.Random(seed).randbytes(1 << 20)
        for said in ([], [Geometry(65536, 65536, 65536, 65536, 16)]):
            assert ramoops.records(noise, said, recover=True).records == []


def test_noise_in_which_header_lines_stand() -> None:
    chance = random.Random(4)
    noise = bytearray(chance.randbytes(1 << 18))
    for at in range(0, len(noise) - 64, 4096):
        noise[at + 12:at + 36] = b"====1700000000.000042-C\n"
    assert ramoops.records(bytes(noise), recover=True).records == []


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 400), st.sampled_from([0, 2, 16]))
def test_no_damage_raises(seed: int, errors: int, ecc: int) -> None:
    made = Region(1 << 15, 0x2000, 0x1000, 0x1000, 0x1000, ecc=ecc, noise=seed)
    made.dumps[0].dump(LOG, letter="C").zap()
    made.dumps[1].dump(LOG)
    chance = random.Random(seed)
    region = damaged(made.bytes(), [chance.randrange(1 << 15) for _ in range(errors)], seed)
    for said in ([], [Geometry(0x2000, 0x1000, 0x1000, 0x1000, ecc)]):
        found = ramoops.records(region, said, recover=True).records
        assert len({(record.kind, record.time, record.text) for record in found}) == len(found)
