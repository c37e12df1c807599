"""medium/contents.py: a region in any format, in several, and noise."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.diagnose import explain
from lastlog_py.medium import contents, dump, marks, pstorefs
from lastlog_py.medium.geometry import Geometry
from lastlog_py.record import Record
from tests import foreign, hostile, samples, zones
from tests.foreign import PAGE, early, log, slot, zone
from tests.medium.test_ramoops import geometry_of
from tests.regions import Kernel, Ring

PACKED = zones.zone(PAGE, zones.dump(zones.log(9), flag="C"))
KINDS = {"kernel": "dmesg"}
BACKENDS = {"pstore_zone": "pstore_blk"}


def texts(region: bytes, *given: Geometry, recover: bool = False) -> list[bytes]:
    found = contents.read(region, given, recover=recover).reading.records
    return [record.text.encode() for record in found]


@pytest.mark.parametrize("name", samples.every())
def test_a_real_region_reads_as_its_kernel_showed_it(name: str) -> None:
    """mtdoops has no files; traces are compared line by line elsewhere."""
    known = geometry_of(name) if samples.manifest()[name]["geometry"] else []
    ours = {f"{KINDS.get(record.kind, record.kind)}-"
            f"{BACKENDS.get(record.source.medium, record.source.medium)}-{record.source.zone}":
            record.text for record in contents.read(samples.region(name), known).reading.records
            if record.kind != "ftrace" and record.source.medium != "mtdoops"
            and not (record.source.truncated and record.source.compression)}
    assert samples.is_shown(name, ours)


def test_several_formats_in_one_dump() -> None:
    """A whole flash and its RAM: each format is found, with its place."""
    pieces = [b"\x27\x05\x19\x56 a boot loader".ljust(3 * PAGE, b"\xff"), PACKED,
              slot(log(5, "mtdoops")), foreign.unused(), early(log(6, "seed")), bytes(PAGE),
              foreign.crashlog(foreign.crashlog_file(log(7, "crashlog"))),
              zone("console", b"[    1.000000] zone\n"), zone("kernel", foreign.dump(zones.log(8)))]
    region = b"".join(pieces)
    there = contents.read(region, recover=True)
    offsets = {record.source.medium: record.source.offset for record in there.reading.records}
    assert len(there.reading.records) == 6 and there.zones == 1
    places = {place for found in there.reading.extents.values() for place in found}
    starts = {sum(map(len, pieces[:index])) for index in (1, 2, 4, 6, 7, 8)}
    assert {offset for offset, _ in places} == starts
    assert set(offsets) == {"ramoops", "mtdoops", "crashlog", "pstore_zone"}


@pytest.mark.parametrize("inner", [slot(log(3)), foreign.crashlog(foreign.crashlog_file(log(3)))],
                         ids=["mtdoops", "crashlog"])
def test_what_begins_first_holds_what_is_in_it(inner: bytes) -> None:
    """A program wrote it to pmsg: it is no record of its own."""
    body = (b"text\n" * 1700)[:PAGE * 2 - 12] + inner
    for outer in (zones.zone(len(body) + PAGE, body), zone("pmsg", body, len(body) + PAGE)):
        there = contents.read(outer).reading
        assert [(record.kind, record.source.offset) for record in there.records] == [("pmsg", 0)]


@pytest.mark.parametrize("before", [PAGE, 37 * PAGE])
def test_a_region_within_a_larger_dump(before: int) -> None:
    name = "c01_all_console_pmsg_ftrace"
    alone = contents.read(samples.region(name), geometry_of(name)).reading.records
    nested = bytes(before) + samples.region(name)
    geometry = geometry_of(name)[0]._replace(origin="the command line")
    found = contents.read(nested, [geometry], recover=True).reading
    assert [record.id for record in found.records] == [record.id for record in alone]
    assert [record.source.offset for record in found.records] == \
        [before + (record.source.offset or 0) for record in alone]
    assert [(problem.what, problem.severity) for problem in found.problems] == \
        [(f"ramoops' region begins at offset {before:#x} of what was read", "info")]


def test_given_geometry_that_does_not_fit_is_reported() -> None:
    found = contents.read(samples.region("s01_plain"), [Geometry(4096, 8192, origin="the command "
                                                                  "line")], recover=True).reading
    assert [record.kind for record in found.records] == ["kernel"]
    assert "the command line" in found.problems[0].what


def test_a_live_region_is_ramoops_alone() -> None:
    assert contents.read(slot(log(3)) * 2 + PACKED, live=True).reading.records != []
    assert all(record.source.medium == "ramoops" for record
               in contents.read(slot(log(3)) * 2 + PACKED, live=True).reading.records)


def test_what_ramoops_emptied_is_recovered_on_request_too() -> None:
    zapped = PACKED[:4] + bytes(8) + PACKED[12:]
    for region in (zapped + PACKED[:4] + bytes(PAGE - 4), zapped + slot(log(3))):
        assert zones.log(9) not in texts(region) and zones.log(9) in texts(region, recover=True)


def test_the_same_dump_twice_has_two_places() -> None:
    reading = contents.read(slot(log(3)) * 2).reading
    assert len(reading.records) == 2 and len(reading.extents[reading.records[0].id]) == 2


@pytest.mark.parametrize("region", [
    slot(log(5)) + foreign.unused(), slot(b"Oops\nCall Trace:\n", 1, 0), early(log(5)), PACKED,
    zone("kernel", foreign.dump(zones.log(4))), zone("console", b"[    1.000000] x\n"),
    zone("ftrace", foreign.calls([(0, 9, 0xc0001000, 0xc0002000)] * 9, "32")),
    foreign.crashlog(foreign.crashlog_file(log(5)))],
    ids=["mtdoops", "old mtdoops", "seed", "ramoops", "dump", "console", "trace", "crashlog"])
def test_what_is_erased_is_gone_for_good(region: bytes) -> None:
    reading = contents.read(region).reading
    after = bytearray(region)
    for record in reading.records:
        for offset, size in reading.extents[record.id]:
            piece = bytes(after[offset:offset + size])
            wiped = contents.erased(record.source.medium, piece)
            assert len(wiped) == size and contents.erased(record.source.medium, wiped) == wiped
            after[offset:offset + size] = wiped
    assert reading.records and texts(bytes(after), recover=True) == []
    assert len(after) == len(region)


# --- one crash, whatever it came through

def through_every_medium(text: bytes) -> dict[str, Record]:
    """`text` is a log without a title line."""
    titled = b"Panic#1 Part1\n" + text
    lines = text.splitlines(keepends=True)
    half = len(lines) // 2
    regions = {
        "ramoops": zones.zone(16 * PAGE, zones.dump(titled, flag="C")),
        "seed": early(text, size=16 * PAGE), "mtdoops 1": slot(text, 1, 1, size=16 * PAGE),
        "mtdoops 2": slot(text, 1, 2, size=16 * PAGE, endian=">"),
        "pstore_zone": zone("kernel", foreign.dump(titled), 16 * PAGE),
        "pstore_zone, i386": zone("kernel", foreign.dump(titled, "i386", packed=False), 16 * PAGE),
        "crashlog": foreign.crashlog(foreign.crashlog_file(text), size=64 * PAGE)}
    if len(text) < PAGE - 4:
        regions["mtdoops 0"] = slot(text, 1, 0)
    found = {}
    for medium, region in regions.items():
        (found[medium],) = contents.read(region).reading.records
    files = {"pstore": ("dmesg-efi-170000000001001", titled),
             "pstore_blk": ("dmesg-pstore_blk-0", b"Panic: Total 1 times\n" + titled),
             "debugfs": ("crashlog", foreign.crashlog_file(text)),
             "packed": ("dmesg-ramoops-0.enc.z", zones.deflated(titled))}
    for medium, (name, data) in files.items():
        ((found[medium],), _) = dump.records(name, data)
    parts = [pstorefs.record_of(f"dmesg-erst-{number}", b"Panic#1 Part%d\n%s" % (
        number, b"".join(piece)), 1700000000.0)[0] for number, piece in
        ((1, lines[half:]), (2, lines[:half]))]
    from lastlog_py.medium.joining import joined

    found["erst"] = joined([each for each in parts[::-1] if each])
    return found


LOGS = sorted((samples.FOLDER.parent / "logs").glob("*.txt"))
DUMPS = ["s01_plain", "c08_softlockup", "c12_null_deref_panic_on_oops", "s15_oom",
         "m02_mipsbe_malta", "a01_arm64_virt_dt"]


@pytest.mark.parametrize("name", [*(path.stem for path in LOGS), *DUMPS])
def test_a_crash_has_one_signature_and_title_whatever_it_came_through(name: str) -> None:
    text = samples.kernel_text(name, "dmesg-ramoops-0") if name in DUMPS else \
        (samples.FOLDER.parent / "logs" / f"{name}.txt").read_bytes()
    if text.startswith((b"Panic#", b"Oops#")):
        text = text.partition(b"\n")[2]
    text = text[-15000:].partition(b"\n")[2] if len(text) > 15000 else text
    told = {medium: explain(record) for medium, record in through_every_medium(text).items()}
    assert len({record.signature for record in told.values()}) == 1, \
        {medium: record.title for medium, record in told.items()}
    assert len({record.title for record in told.values()}) == 1
    untitled = {told[medium].kernel.reason for medium in  # type: ignore[union-attr]
                ("seed", "mtdoops 1", "mtdoops 2", "crashlog", "debugfs")}
    assert len(untitled) == 1


# --- made to keep us busy


@pytest.mark.parametrize("name", sorted(hostile.REGIONS))
def test_nothing_raises(name: str) -> None:
    """How long it takes, and how much memory, is measured by `make bench`."""
    contents.read(hostile.REGIONS[name][:1 << 16], recover=True)


@pytest.mark.parametrize("name", ["zeros", "random", "mtdoops", "slots", "seed", "ls", "equals",
                                  "text", "crashlogs", "fronts"])
def test_nothing_takes_eight_times_its_size_in_memory(name: str) -> None:
    few = hostile.REGIONS[name][:1 << 18]           # tracing takes its time
    tracemalloc.start()
    contents.read(few, recover=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * len(few), f"{peak / len(few):.1f} times"


PIECES = [slot(log(3)), slot(log(4), 2, 1, endian=">"), slot(b"Oops\n<4>x\n", 3, 0),
          early(log(2)), early(log(400)), zone("kernel", foreign.dump(zones.log(5))),
          zone("kernel", foreign.dump(zones.log(5), "i386", packed=False), length=0),
          zone("console", b"[    1.000000] x\n", endian=">"), zone("pmsg", foreign.said("x") * 9),
          zone("ftrace", foreign.calls([(1, 5, 0xc0001000, 0xc0002000)] * 9, "32")), PACKED,
          foreign.crashlog(foreign.crashlog_file(log(3), log(4))), bytes(PAGE), b"\xff" * PAGE]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6),
       st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=12),
       st.integers(0, 9000), st.booleans())
def test_no_damage_makes_a_reader_raise(pieces: list[bytes], damage: list[tuple[int, int]],
                                        cut: int, recover: bool) -> None:
    region = bytearray(b"".join(pieces))
    for at, value in damage:
        region[at % len(region)] = value
    data = bytes(region[:max(0, len(region) - cut)])
    there = contents.read(data, recover=recover)
    if not recover:
        others = [record for record in there.reading.records if record.source.medium != "ramoops"]
        assert not others or marks.any_in(data)
    for record in there.reading.records:
        for offset, size in there.reading.extents[record.id]:
            assert 0 <= offset <= offset + size <= len(data)
    for record in dump.records("some.bin", data, [Geometry(PAGE)])[0]:
        assert record.text or record.source.torn or record.source.truncated


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["<", ">"]), st.integers(0, 2))
def test_no_bytes_make_a_reader_raise(data: bytes, endian: str, version: int) -> None:
    for region in (data, slot(data, 1, version, endian=endian), early(data),
                   zone("kernel", data), zone("kernel", foreign.dump(b"")[:40] + data),
                   zone("pmsg", b"l" + data), zone("ftrace", data * 9),
                   foreign.crashlog(b"Time: 1.1\n" + data)):
        contents.read(region, recover=True)
    for name in ("crashlog", "dmesg-efi-1", "pmsg-ramoops-0", "x"):
        dump.records(name, data)


@pytest.mark.parametrize("name", ["s01_plain", "s02_ecc16", "c01_all_console_pmsg_ftrace"])
def test_one_bit_of_a_signature_makes_no_zone_of_pstore_zone(name: str) -> None:
    """ "DBGC" and "FBGC", a console of pstore_zone, differ in one bit."""
    region = bytearray(samples.region(name))
    whole = contents.read(bytes(region)).reading.records
    for bit in range(8):
        torn = region[:]
        torn[0] ^= 1 << bit
        found = contents.read(bytes(torn)).reading.records
        assert [(record.kind, record.text) for record in found if record.kind == "kernel"] == \
            [(record.kind, record.text) for record in whole if record.kind == "kernel"]
        assert all(record.source.medium == "ramoops" for record in found)


@pytest.mark.parametrize("kind", ["kernel", "console", "pmsg"])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("signature", [0x43474246, 0x43474247, 0x43474243, 0x43474245])
def test_error_correction_comes_before_another_format(signature: int, wrapped: bool,
                                                      kind: str) -> None:
    """A lone zone whose signature became one of pstore_zone's."""
    ring = Ring(16384, Kernel(), 16)
    line = b"[    1.000000] a line\n" if kind == "console" else b"some program's line\n"
    if kind == "kernel":
        ring.dump(zones.log(400 if wrapped else 90))
    else:
        ring.write(line * (900 if wrapped else 90))
    region = ring.bytes()
    (right,) = contents.read(region, recover=True).reading.records
    torn = signature.to_bytes(4, "little") + region[4:]
    (record,) = contents.read(torn, recover=True).reading.records
    assert (record.kind, record.text, record.source.medium) == (kind, right.text, "ramoops")
    assert record.source.ecc_corrected == 1
