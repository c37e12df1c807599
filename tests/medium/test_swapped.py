"""medium/swapped.py: dumps whose bytes are swapped in pairs or in fours."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.medium import dump, swapped
from tests import foreign, samples, zones
from tests.foreign import PAGE, early, log, slot, zone
from tests.medium.journals import Entry
from tests.medium.journals import log as entry
from tests.medium.test_dump import ring

REGIONS = {
    "mtdoops": slot(log(30), 1) + slot(log(31), 2) + foreign.unused(),
    "mtdoops 1": slot(log(300), 7, 1, endian=">", size=4 * PAGE) + slot(log(9), 8, 1, endian=">"),
    "mtdoops 0": slot(b"Oops: 1 [#1]\nCall Trace: is not there\n" * 30, 7, 0),
    "pstore_zone": zone("kernel", foreign.dump(zones.log(60))),
    "console": zone("console", b"[    1.000000] x\n" * 9),
    "crashlog": foreign.crashlog(foreign.crashlog_file(log(30), log(5)), endian=">"),
    "seed": early(log(30)) + early(log(35)),
    "journal": ring(entry(1), Entry("log", b"the text of it\n", 2)),
    "pmsg": zones.zone(2 * PAGE, b"the daemon is not started\n" * 20),
    "packed": zones.zone(2 * PAGE, zones.dump(zones.log(50), flag="C"), endian=">") * 3,
    **{name: samples.region(name) for name in ("s01_plain", "s02_ecc16", "c14_pstore_blk",
                                               "c10_compress_zstd", "m02_mipsbe_malta",
                                               "t05_mips_mtdoops", "z04_842", "z03_lzo_4k")}}


@pytest.mark.parametrize("name", REGIONS)
@pytest.mark.parametrize(("unit", "said"), [(2, "pairs"), (4, "fours")])
def test_what_is_swapped_is_read_as_if_it_were_not(name: str, unit: int, said: str) -> None:
    region = REGIONS[name]
    records, problems = dump.records("some.bin", region)
    found, wrong = dump.records("some.bin", swapped.in_order(region, unit))
    assert records and found == records and wrong[1:] == problems
    assert f"swapped in {said}" in wrong[0].what and wrong[0].severity == "info"


@pytest.mark.parametrize("name", [*samples.every()[::4], *REGIONS])
def test_what_is_in_order_is_not_swapped(name: str) -> None:
    region = REGIONS[name] if name in REGIONS else samples.region(name)
    assert swapped.unit_of(region, dump._read_region("some.bin", region, ())[0]) == 0


@pytest.mark.parametrize("data", [
    random.Random(2).randbytes(1 << 20), b"====" * (1 << 16), b"DBGC" * (1 << 16), b"x",
    b"====12.5\n" * 999, b"the words of it, in order\n" * 9999, b"\0\x5d\0\x5d<4>x" * 9999])
def test_noise_is_read_once(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    once = dump._read_region
    monkeypatch.setattr(dump, "_read_region", lambda *asked: read.append(asked[1]) or once(*asked))
    assert not any("swapped" in problem.what for problem in dump.records("some.bin", data)[1])
    assert read == [data]


def test_few_pieces_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[bytes] = []
    monkeypatch.setattr(swapped, "_holds_records", lambda piece, _any: pieces.append(piece))
    swapped.unit_of(b"DBGC====".ljust(PAGE, b"\1") * 999, [])
    assert len(pieces) == 2 * swapped.MOST_PIECES
    assert max(map(len, pieces)) <= swapped.PIECE


@given(st.binary(max_size=40), st.sampled_from(list(swapped.UNITS)))
def test_swapped_twice_is_as_before(data: bytes, unit: int) -> None:
    other = swapped.in_order(data, unit)
    assert swapped.in_order(other, unit) == data
    assert other[:unit] == (data[:unit][::-1] if len(data) >= unit else data)
