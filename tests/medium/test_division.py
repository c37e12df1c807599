"""medium/division.py and layout.py: the zones of every kernel's layout, said or not."""

from __future__ import annotations

import itertools
import random
import struct

import pytest

from lastlog_py.medium import division, kernel_dump, persistent_ram, ramoops, reed_solomon
from lastlog_py.medium.division import divide
from lastlog_py.medium.geometry import Geometry
from lastlog_py.medium.layout import layouts
from tests import samples, zones
from tests.medium.test_ramoops import geometry_of
from tests.regions import Kernel, Region

SIZE = 1 << 18
SIZES = (0x8000, 0x4000, 0x4000, 0x2000)
LOG = zones.log(120)
CONSOLE = b"".join(b"[%5d.000000] console line\n" % i for i in range(900))
KERNELS = [(6, 12, 117), (6, 1, 192), (5, 10, 3), (4, 4, 9), (3, 18, 1), (3, 4, 5)]


def filled(kernel: Kernel, ecc: int, cpus: int, noise: int | None, size: int = SIZE) -> Region:
    region = Region(size, *SIZES, ecc=ecc, kernel=kernel, cpus=cpus, noise=noise)
    region.dumps[0].dump(LOG, letter="C" if kernel.version >= (3, 12) else "D")
    region.dumps[1].dump(LOG[:-200], 1_700_000_001)
    assert region.console and region.pmsg
    region.console.write(CONSOLE)
    region.pmsg.write(b"hello from userland\n" * 20)
    for count, ring in enumerate(region.ftrace):
        ring.write(bytes(range(1, 25)) * (10 + count))
    return region


CASES = [(version, endian, ecc) for version, endian in itertools.product(KERNELS, "<>")
         for ecc in ((0, 16, 5, 2, 32) if version > (3, 6) else (0, 16))]


@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize(("version", "endian", "ecc"), CASES)
def test_every_layout_of_every_kernel(version: tuple[int, int, int], endian: str, ecc: int,
                                      said: bool) -> None:
    for cpus, noise in itertools.product((1, 3, 4), (None, 5)):
        made = filled(Kernel(version, endian), ecc, cpus, noise)
        given = [Geometry(*SIZES, ecc)] if said else []
        division = divide(made.bytes(), given)
        found = {slot.kind: sum(each.kind == slot.kind for each in division.slots)
                 for slot in division.slots}
        assert found == {"kernel": len(made.dumps), "console": 1, "ftrace": cpus, "pmsg": 1}
        assert len(division.zones) == len(division.slots) and not division.problems
        assert (division.ecc.size if division.ecc else 0) == ecc
        assert not division.ecc or division.ecc.early == (version < (3, 6))
        texts = {record.kind: record.text.encode()
                 for record in reversed(ramoops.records(made.bytes(), given).records)}
        assert made.console and texts["console"] == CONSOLE[-made.console.capacity:]
        assert texts["kernel"] == LOG and texts["pmsg"] == b"hello from userland\n" * 20


def test_kernels_of_the_3_4_era_round_the_whole_down() -> None:
    made = filled(Kernel((3, 4, 5)), 0, 1, 5, size=0x30000)
    division = divide(made.bytes(), [Geometry(*SIZES)])
    assert len(division.zones) == len(division.slots) == len(made.dumps) + 3 == 5
    assert division.zones[2].slot.offset == 2 * 0x8000


@pytest.mark.parametrize("name", [name for name in samples.of_ramoops()
                                  # An empty pmsg more, or a dump zone; and what kernels before
                                  # 4.10 leave unused at the end, which nothing tells from a zone.
                                  if name not in ("s16_gap", "k44_odd", "k44_ftrace", "k310_odd",
                                                  "k310_ftrace")
                                  and not samples.manifest()[name]["damaged"]])
def test_a_real_region_is_divided_as_its_kernel_did(name: str) -> None:
    sizes = samples.manifest()[name]["geometry"]
    geometry = Geometry(sizes["record_size"], sizes["console_size"], sizes["ftrace_size"],
                        sizes["pmsg_size"], sizes.get("ecc", 0))
    region = samples.region(name)
    told, found = divide(region, [geometry]), divide(region, [])
    assert told.slots == found.slots and told.ecc == found.ecc
    assert len(told.zones) == len(told.slots)


def test_a_zone_whose_header_is_lost_is_counted_all_the_same() -> None:
    made = Region(SIZE, 0x8000, 0x4000, 0, 0x4000, kernel=Kernel((6, 1, 1)))
    for number, ring in enumerate(made.dumps):
        ring.dump(zones.log(5), 1_700_000_000 + number)
    region = bytearray(made.bytes())
    region[0] ^= 1
    region[3 * made.dumps[0].size] ^= 1
    found = ramoops.records(bytes(region)).records
    assert [record.source.zone for record in found] == [1, 2, 4, 5, 6, None, None]


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 7, 8, 64])
def test_an_ftrace_zone_for_each_cpu(cpus: int) -> None:
    made = Region(1 << 20, 0x10000, 0, 0x10000, kernel=Kernel((5, 15, 1)), cpus=cpus, noise=3)
    region = bytearray(made.bytes())
    if cpus > 2:                        # one of them lost its header
        region[len(made.dumps) * made.dumps[0].size + 2 * made.ftrace[0].size] ^= 0xff
    slots = divide(bytes(region), [Geometry(0x10000, 0, 0x10000)]).slots
    assert [slot.size for slot in slots if slot.kind == "ftrace"] == [made.ftrace[0].size] * cpus


@pytest.mark.parametrize(("said", "really"), [(16, 8), (8, 16), (16, 0), (1, 16), (0, 16)])
def test_what_is_said_of_ecc_counts_unless_it_is_plainly_wrong(said: int, really: int) -> None:
    made = Region(SIZE, *SIZES, ecc=really)
    made.dumps[0].dump(LOG)
    contents = ramoops.records(made.bytes(), [Geometry(*SIZES, said, origin="the configuration")])
    assert contents.records[0].text.encode() == LOG
    assert contents.records[0].source.ecc_corrected == (0 if really else None)
    wrong = said > 1 and said != really
    assert [wrong] == [bool(contents.problems)]
    assert not wrong or (f"{said} bytes" in contents.problems[0].what
                         and contents.problems[0].severity == "warning")


def test_parity_that_is_left_of_an_earlier_boot_is_none_now() -> None:
    """Empty zones' headers are the same in every boot, and the parity at their end still fits."""
    before = Region(SIZE, 0x8000, ecc=16).bytes()
    now = Region(SIZE, 0x8000)
    now.dumps[0].dump(LOG)
    region = b"".join(ring.bytes()[:len(LOG) + 60] + before[at * ring.size + len(LOG) + 60:
                                                            (at + 1) * ring.size]
                      for at, ring in enumerate(now.dumps))
    (record,) = ramoops.records(region, [Geometry(0x8000, ecc=16)]).records
    assert record.text.encode() == LOG and record.source.ecc_corrected is None


@pytest.mark.parametrize(("size", "sizes"), [(1 << 20, (0, 0, 0, 0)), (0, (4096, 0, 0, 0)),
                                             (4096, (65536, 0, 0, 0)),
                                             (1 << 20, (4096, 1 << 20, 0, 0))])
def test_a_geometry_that_cannot_be(size: int, sizes: tuple[int, ...]) -> None:
    assert list(layouts(Geometry(*sizes), size)) == []
    contents = ramoops.records(bytes(size), [Geometry(*sizes)])
    assert contents.records == []


def test_a_journal_behind_the_zones_does_not_hide_them() -> None:
    """mem_size is not known: the zones are found, whatever is behind them."""
    made = filled(Kernel((6, 6, 1)), 16, 1, 5)
    for behind in (b"", b"\xa5" * 0x9000, bytes(0x20000)):
        found, problems = ramoops.records(made.bytes() + behind)[:2]
        # The ftrace zone has no signature to search for; with a journal of a usual size it is seen.
        assert len(behind) == 0x9000 or [problem.where for problem in problems] == [
            "region, ftrace zone 0"]
        assert [record.kind for record in found[:3]] == ["kernel", "kernel", "console"]
        assert all(record.source.ecc_corrected == 0 and not record.source.torn
                   for record in found[:4])


def found_in(region: bytes, given: list[Geometry], before: int) -> list[tuple[str, int, str]]:
    return sorted((record.kind, (record.source.offset or 0) - before, record.text)
                  for record in ramoops.records(region, given).records)


@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize(("before", "after"), [(0x42000, 0xbe000), (3591, 0), (0x10000, 0x10000),
                                               (0, 0x30000), (0x42001, 0x5000)])
@pytest.mark.parametrize("name", ["c01_all_console_pmsg_ftrace", "m02_mipsbe_malta", "e04_ecc16",
                                  "f05_wrapped_ecc", "g01_gap", "g08_small_records"])
def test_a_region_somewhere_in_a_larger_dump(name: str, before: int, after: int,
                                             said: bool) -> None:
    filler = random.Random(before).randbytes
    sizes = samples.manifest()[name]["geometry"]
    given = [Geometry(*(sizes.get(key) or 0 for key in (
        "record_size", "console_size", "ftrace_size", "pmsg_size", "ecc")))] if said else []
    region = filler(before) + samples.region(name) + filler(after)
    assert found_in(region, given, before) == found_in(samples.region(name), given, 0)
    problems = [problem for problem in ramoops.records(region, given).problems
                if "begins at offset" in problem.what]
    if before == 0x10000 and not said:
        return                          # it may be a zone whose header is lost
    assert [problem.severity for problem in problems] == ["info"] * bool(before)
    assert not before or f"{before:#x}" in problems[0].what


def test_the_first_zones_may_be_lost_without_a_larger_dump() -> None:
    """The zones keep their numbers."""
    region = bytearray(samples.region("z03_lzo_4k"))
    first = samples.region("z03_lzo_4k")[:4096]
    region[:4096], region[8192:12288] = bytes(4096), first
    for given in ([], [Geometry(4096)]):
        assert [record.source.zone for record in ramoops.records(bytes(region), given).records] \
            == [2]


@pytest.mark.parametrize("given", [[], [Geometry(8192, 4096)], [Geometry(8192, 8192)]])
@pytest.mark.parametrize("bit", range(0, 32, 5))
def test_a_damaged_dump_where_a_console_should_be_is_a_dump(bit: int,
                                                          given: list[Geometry]) -> None:
    """The geometry that is given says that a console stands there, or what is not told does."""
    dumps = [zones.dump(zones.log(30 + each), f"170000000{each}.000042") for each in range(3)]
    region = bytearray(b"".join(zones.zone(8192, each) for each in dumps)
                       + zones.zone(4096, CONSOLE[:3000]))
    for at in (2 * 8192, 3 * 8192):
        region[at + bit // 8] ^= 1 << bit % 8
    records = ramoops.records(bytes(region), given).records
    assert [record.kind for record in records if record.text.startswith("====")] == []
    assert sum(record.kind == "kernel" for record in records) == 3


@pytest.mark.parametrize(("body", "kind"), [
    (zones.dump(LOG), "kernel"), (b"==\x3f=1700000000,000042-C\n" + bytes(range(256)), "kernel"),
    (b"\xff" * 30 + LOG, "kernel"), (b"", "kernel"), (CONSOLE, "console"),
    (b"x" + CONSOLE[1:], "console"), (b"hello\n" * 9, "pmsg"), (bytes(range(256)), "pmsg")])
def test_what_a_zone_holds_is_seen_in_it(body: bytes, kind: str) -> None:
    assert division._kind(body) == kind


# --- memory made to keep us busy


def counted(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[int]:
    """How often a function is called from now on: the length of the list."""
    calls: list[int] = []
    real = getattr(module, name)

    def counting(*args: object, **named: object) -> object:
        calls.append(1)
        return real(*args, **named)

    monkeypatch.setattr(module, name, counting)
    return calls


@pytest.mark.parametrize("head", [b"DBGC", b"CGBD", b"DBGC\xff\0\0\xff", b"CGBD\xff\0\0\0"])
def test_signatures_without_a_zone_behind_them_are_not_looked_at(
        head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch, division, "zone_at")
    assert divide(head * (1 << 16), []).zones == [] and len(calls) < 100


def test_so_many_damaged_headers_are_looked_at_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(division, "MOST_SIGNATURES", 100)
    calls = counted(monkeypatch, division, "zone_at")
    assert divide(struct.pack("<4sII", b"DBGC", 9, 8) * 1000, []).zones == []
    assert 100 <= len(calls) < 200


def test_empty_zones_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch, kernel_dump, "torn_body")
    assert ramoops.records(zones.zone(4096) * 256, recover=True).records == [] and not calls


def test_the_size_of_the_parity_is_learned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zones at no regular distance, each with another header."""
    region = b"".join(zones.zone(2048 + 2 * (n * n % 97), bytes(n)) for n in range(1, 400))
    persistent_ram._parity.cache_clear()
    calls = counted(monkeypatch, reed_solomon, "encode")
    assert len(divide(region, []).zones) == 399
    assert len(calls) < 1000


def test_what_stands_behind_too_many_dumps_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    dumps = b"".join(zones.zone(1024, zones.dump(zones.log(3), f"17000{n:05}.000042"))
                     for n in range(1100))
    region = dumps + zones.zone(1024, CONSOLE[:900]) + zones.zone(1024, b"hello\n" * 90)
    contents = ramoops.records(region)
    assert [record.kind for record in contents.records] == ["kernel"] * 1022 + ["console", "pmsg"]
    assert any("more records" in problem.what for problem in contents.problems)


def test_a_zone_at_an_odd_offset_is_found() -> None:
    zone = zones.zone(4096, zones.dump(LOG[:900]))
    (found,) = divide(b"x" * 77 + zone, []).zones
    assert found.slot.offset == 77


# --- a dump that ends early


@pytest.mark.parametrize(("cut", "within", "beyond"), [
    (1 << 19, 0, 8), (786532, 1, 4), (978576, 1, 1), ((1 << 20) - 16384, 1, 0)])
def test_a_dump_that_ends_before_its_zones_do(cut: int, within: int, beyond: int) -> None:
    """No header is damaged that is not there.  Of a trace that is cut what is there is shown."""
    name = "c01_all_console_pmsg_ftrace"
    region = samples.region(name)
    given = geometry_of(name)[0]
    whole = ramoops.records(region, [given]).records
    found = ramoops.records(region[:cut], [given])
    assert [record.id for record in found.records if not record.source.torn] == [
        record.id for record in whole if (record.source.offset or 0) + record.source.size < cut]
    whats = [problem.what for problem in found.problems]
    assert sum("ends within it" in what for what in whats) <= within
    assert [what for what in whats if "ends before" in what] == (
        [f"the dump ends before {beyond} of the 16 zones: it was cut short"] if beyond else [])
    assert not any("damaged" in what or "lost" in what or "not where" in what for what in whats)


# --- lost headers, and what else may be told from them


@pytest.mark.parametrize("lost", [1, 9, 12])
@pytest.mark.parametrize("given", [[], [Geometry(8192)], [Geometry(8192, mem_size=16 * 8192)]])
def test_lost_headers_at_the_front_do_not_move_the_region(given: list[Geometry],
                                                          lost: int) -> None:
    """A reset may lose the first line of the cache of each zone."""
    region = bytearray(b"".join(zones.zone(8192, zones.dump(zones.log(80 + n),
                                                                 f"17000{n:05}.000042"))
                                for n in range(16)))
    for n in range(lost):
        region[n * 8192:n * 8192 + 64] = bytes(64)
    found = ramoops.records(bytes(region), given)
    assert {(record.source.offset or 0) // 8192 for record in found.records} == {*range(16)}
    assert not any("begins at" in problem.what for problem in found.problems)


@pytest.mark.parametrize("bit", [1, 4, 16, 256])
@pytest.mark.parametrize("given", [[], [Geometry(8192, 4096)]])
def test_a_dump_with_one_wrong_bit_in_its_header_is_no_console(given: list[Geometry],
                                                               bit: int) -> None:
    region = bytearray(b"".join([*(zones.zone(8192, zones.dump(
        zones.log(60 + n), f"17000{n:05}.000042")) for n in range(8)),
        zones.zone(4096, CONSOLE[:4084])]))
    start = int.from_bytes(region[7 * 8192 + 4:7 * 8192 + 8], "little")
    region[7 * 8192 + 4:7 * 8192 + 8] = (start ^ bit).to_bytes(4, "little")
    found = ramoops.records(bytes(region), given).records
    assert [record.kind for record in found].count("console") == 1
    assert len([record for record in found if record.kind == "kernel"]) == 8
