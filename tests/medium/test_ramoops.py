"""medium/ramoops.py against real regions, built regions and noise."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.medium import contents, division, ramoops
from lastlog_py.medium.geometry import Geometry
from lastlog_py.medium.layout import layouts
from lastlog_py.medium.persistent_ram import HEADER_SIZE
from tests import packers, samples, zones

FILES = {"kernel": "dmesg", "console": "console", "pmsg": "pmsg"}


def geometry_of(name: str) -> list[Geometry]:
    sizes = samples.manifest()[name]["geometry"]
    return [Geometry(sizes["record_size"], sizes["console_size"], sizes["ftrace_size"],
                     sizes["pmsg_size"], sizes.get("ecc", 0))]


@pytest.mark.parametrize("how", ["given", "found by scanning"])
@pytest.mark.parametrize("name", samples.of_ramoops())
def test_a_real_region_reads_as_its_kernel_showed_it(name: str, how: str) -> None:
    known = geometry_of(name) if how == "given" else []
    contents = ramoops.records(samples.region(name), known)
    ours = {f"{FILES[r.kind]}-ramoops-{r.source.zone}": r.text for r in contents.records
            if not (r.source.truncated and r.source.compression) and r.kind != "ftrace"}
    assert samples.is_shown(name, ours)


def test_a_truncated_stream_gives_its_beginning_and_keeps_its_bytes() -> None:
    contents = ramoops.records(samples.region("s13_trunc"), geometry_of("s13_trunc"))
    (record,) = contents.records
    assert len(record.text) == 12232 and record.text.startswith("Panic#1 Part1\n")
    assert record.source.truncated and record.source.compression == "deflate"
    assert record.raw == samples.kernel_file("s13_trunc", "dmesg-ramoops-0.enc.z")
    assert "damaged" in contents.problems[0].what


def test_an_unreadable_compression_is_named_and_its_bytes_are_kept(
        monkeypatch: pytest.MonkeyPatch) -> None:
    packers.without_zstd(monkeypatch)
    contents = ramoops.records(samples.region("c10_compress_zstd"))
    record = contents.records[0]
    assert record.source.compression == "zstd" and record.text == ""
    assert record.raw and record.raw[:4] == b"\x28\xb5\x2f\xfd"
    assert "pip install zstandard" in contents.problems[0].what


@pytest.mark.parametrize("known", [True, False])
def test_what_error_correction_put_right_is_counted_as_the_kernel_does(known: bool) -> None:
    """8 bytes in one block, 1 in another, 1 in the header."""
    name = "s04_ecc16_corr8"
    contents = ramoops.records(samples.region(name), geometry_of(name) if known else [])
    (record,) = contents.records
    assert b"10 Corrected bytes, 0 unrec" in samples.kernel_file(name, "dmesg-ramoops-0")
    assert (record.source.ecc_corrected, record.source.ecc_failed) == (10, 0)
    assert (record.source.zone, record.source.torn) == (0, False) and not contents.problems


@pytest.mark.parametrize("at", range(HEADER_SIZE))
@pytest.mark.parametrize("flag", ["C", "D"])
def test_any_byte_of_a_zone_header_may_be_lost(at: int, flag: str) -> None:
    zone = zones.zone(4096, zones.dump(zones.log(20), flag=flag))
    broken = bytearray(zone + zones.zone(4096, zones.dump(zones.log(30))))
    broken[at] ^= 0x81
    found = ramoops.records(bytes(broken)).records
    assert {record.text.encode() for record in found} >= {zones.log(30)}
    assert any(record.text.encode().startswith(zones.log(20)[:300]) for record in found)


def test_what_was_erased_does_not_come_back() -> None:
    zapped = bytearray(zones.zone(4096, zones.dump(zones.log(20))))
    zapped[4:12] = bytes(8)             # as the kernel does when its file is removed
    assert ramoops.records(bytes(zapped) + zones.zone(4096)).records == []


@pytest.mark.parametrize("better", ["the lost one", "the zone's"])
def test_what_was_erased_does_not_come_back_from_another_copy(better: str) -> None:
    """The record has the places of all copies of its dump, and its own first."""
    whole = zones.dump(zones.log(60))
    damaged = whole[:400] + b"\x80" * 100 + whole[500:]
    zone, lost = (damaged, whole) if better == "the lost one" else (whole, damaged)
    other = zones.zone(4096, zones.dump(zones.log(9), "1600000000.000001"))
    region = bytearray(zones.zone(4096, zone) + zones.zone(4096, lost, signature=0x44332211)
                       + other)
    region[4100:4108] = b"\x70" * 8     # nor is there a length
    there = contents.read(bytes(region)).reading
    (record,) = [each for each in there.records if each.text.encode() == zones.log(60)]
    places = there.extents[record.id]
    assert [offset for offset, _ in places] == [4096, 0] if zone == damaged else [0, 4096]
    for offset, size in places:
        region[offset:offset + size] = contents.erased("ramoops", bytes(region[offset:][:size]))
    assert [each.text.encode() for each in contents.read(bytes(region)).reading.records] \
        == [zones.log(9)]


def test_what_was_erased_under_an_earlier_layout_does_not_come_back() -> None:
    """The zones are larger now, and an emptied zone of before lies within what is free."""
    zapped = bytearray(zones.zone(4096, zones.dump(zones.log(20))))
    zapped[4:12] = bytes(8)
    region = zones.zone(4096, zones.dump(zones.log(3))) + bytes(zapped)
    assert len(ramoops.records(region, [Geometry(8192)]).records) == 1


@pytest.mark.parametrize("line", [b"====1.1-D\n", b"====1.1-C\n", b"DBGC" + bytes(8),
                                  zones.zone(20, b"evil")])
def test_noise_made_to_keep_us_busy(line: bytes) -> None:
    noise = line * ((1 << 20) // len(line))
    for region in (noise, zones.zone(len(noise) + 64, noise)):
        assert len(ramoops.records(region).records) <= division.MOST_ZONES


@pytest.mark.parametrize("name", ["c13_mtdoops", "c14_pstore_blk"])
def test_another_format_is_no_ramoops_region(name: str) -> None:
    contents = ramoops.records(samples.region(name))
    assert contents.records == [] and contents.problems[0].severity == "warning"


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("flag", ["C", "D", None])
def test_both_byte_orders_and_every_header(endian: str, flag: str | None) -> None:
    text = zones.log()
    region = zones.zone(4096, zones.dump(text, "1700000000.42", flag), endian=endian)
    (record,) = ramoops.records(region).records
    assert record.text.encode() == text
    assert record.time == pytest.approx(1700000000.000042)
    assert record.source.compression == ("deflate" if flag == "C" else None)


@pytest.mark.parametrize("start", [0, 1, 100, 4083])
def test_a_wrapped_ring_is_unrolled(start: int) -> None:
    text = b"".join(b"[%5d.000000] console line\n" % i for i in range(200))[:4084]
    (record,) = ramoops.records(zones.zone(4096, text, start=start)).records
    assert record.text.encode() == text and record.kind == "console"


@pytest.mark.parametrize(("sizes", "region_size", "expected"), [
    # FORMATS section 11: c01, 13 dump zones that share what is left over.
    ((65536, 65536, 65536, 32768), 1 << 20, ("kernel", 0, 68056, 13)),
    ((0x3000, 0x3000, 0x5000, 0), 1 << 20, ("kernel", 0, 8192, 125)),
])
def test_layouts_of_current_kernels(sizes: tuple[int, ...], region_size: int,
                                    expected: tuple[str, int, int, int]) -> None:
    slots = next(layouts(Geometry(*sizes), region_size))
    kind, offset, size, count = expected
    dumps = [slot for slot in slots if slot.kind == kind]
    assert (len(dumps), dumps[0].offset, dumps[0].size) == (count, offset, size)


def test_the_order_behind_the_dumps_is_told_by_the_ftrace_signature() -> None:
    version = zones.SIGNATURE ^ (6 << 16 | 12 << 8 | 117)
    head = zones.zone(4096, zones.dump(zones.log(5)))
    console = zones.zone(4096, b"[    1.000000] c\n")
    pmsg, ftrace = zones.zone(4096, b"user text"), zones.zone(4096, b"\1" * 24, signature=version)
    for tail in (pmsg + ftrace, ftrace + pmsg):
        contents = ramoops.records(head + console + tail, [Geometry(4096, 4096, 4096, 4096)])
        assert [(r.kind, r.source.offset) for r in contents.records][2] == \
            ("pmsg", 8192 + 4096 * (tail[:4] != pmsg[:4]))


def test_zones_of_4_4_are_exactly_record_size() -> None:
    # 5 pages: two records of two pages, then (older kernels) slack at the end.
    region = zones.zone(8192) + zones.zone(8192, zones.dump(zones.log(4))) + b"\xaa" * 4096
    (record,) = ramoops.records(region, [Geometry(8192)]).records
    assert record.source.offset == 8192


def test_a_wrong_geometry_is_reported_and_the_zones_are_found_all_the_same() -> None:
    region = b"\xff" * 1536 + zones.zone(4096, zones.dump(zones.log(40)))
    contents = ramoops.records(region, [Geometry(1024, origin="the configuration")])
    assert len(contents.records) == 1
    assert "the configuration" in contents.problems[0].what


def test_a_geometry_that_fits_in_part_does_not_cost_a_record() -> None:
    filled = zones.zone(8192, zones.dump(zones.log(200)))
    contents = ramoops.records(filled * 2, [Geometry(4096, origin="the configuration")])
    assert len(contents.records) == 2 and "the configuration" in contents.problems[0].what


def test_a_live_region_shows_only_its_dump_zones() -> None:
    region = zones.zone(4096, zones.dump(zones.log(5))) + zones.zone(4096, b"[    1.000000] c\n")
    kinds = [r.kind for r in ramoops.records(region, [Geometry(4096, 4096)], live=True).records]
    assert kinds == ["kernel"]


@pytest.mark.parametrize(("region", "word"), [
    (b"", "no bytes"), (bytes(65536), "blank"), (b"\xff" * 65536, "blank"),
    (b"DBGC", "no ramoops zone"), (b"\1" * 11, "no ramoops zone")])
def test_nothing_there_is_said_clearly(region: bytes, word: str) -> None:
    contents = ramoops.records(region)
    assert contents.records == [] and word in contents.problems[0].what


def test_cold_memory_gives_no_records() -> None:
    noise = random.Random(1).randbytes(1 << 20)
    contents = ramoops.records(noise)
    assert contents.records == [] and contents.problems


def test_text_that_looks_like_zones_does_not_hide_the_zone_it_is_in() -> None:
    fake = zones.zone(64, b"fake")
    text = zones.log(3) + fake * 3 + b"\nend\n"
    region = zones.zone(4096, zones.dump(text)) + zones.zone(4096, zones.dump(zones.log(7)))
    found = ramoops.records(region).records
    assert [record.source.offset for record in found] == [0, 4096]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600), st.integers(0, 700), st.binary(max_size=40))
def test_no_bytes_raise(noise: bytes, at: int, patch: bytes) -> None:
    region = bytearray(zones.zone(512, zones.dump(zones.log(4))) + noise)
    region[at:at + len(patch)] = patch
    for known in ([], [Geometry(256, 64, 64, 64, 16)], [Geometry(512)]):
        contents = ramoops.records(bytes(region), known)
        for record in contents.records:
            assert "\0" not in record.text
            assert record.text.encode()


def test_of_many_zones_only_so_many_become_records() -> None:
    """Every record is explained, which takes longer than to read it."""
    contents = ramoops.records(zones.zone(4096, zones.dump(zones.log(3))) * 1100)
    assert len(contents.records) == 1024 and contents.zones == 1100
    assert [problem.what for problem in contents.problems] == [
        "76 more records are there than are shown"]


def test_dumps_of_a_clock_that_stands_still_are_told_apart() -> None:
    region = b"".join(bytes(12) + zones.zone(4096, zones.dump(zones.log(9, title), "0.000000"))[12:]
                      for title in ("Panic#1 Part1", "Oops#2 Part1"))
    records = ramoops.records(region, [Geometry(4096)]).records
    assert [record.text.split("#")[0] for record in records] == ["Panic", "Oops"]
