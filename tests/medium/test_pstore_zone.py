"""medium/pstore_zone.py against a real block device, built ones, and damage."""

from __future__ import annotations

import pytest

from lastlog_py.diagnose import explain, explain_all
from lastlog_py.medium import pstore_zone, pstorefs
from tests import foreign, samples, zones
from tests.foreign import PAGE, dump, zone

LOG = zones.log(40, "Oops#1 Part1")
MACHINES = ("64", "32", "i386")
TOTAL = b"Panic: Total 1 times\n"       # what the kernel's file of such a dump begins with


@pytest.mark.parametrize("name", ["c14_pstore_blk", "b04_blk_none"])
def test_a_real_block_device_reads_as_its_kernel_showed_it(name: str) -> None:
    reading = pstore_zone.read(samples.region(name))
    ours = {f"{'dmesg' if record.kind == 'kernel' else record.kind}-pstore_blk-"
            f"{record.source.zone}": record.text.encode() for record in reading.records}
    assert ours == {file: samples.kernel_file(name, file)
                    for file in samples.manifest()[name]["kernel_files"]}
    assert reading.problems == []


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("size", [PAGE, 16 * PAGE])
def test_every_layout_and_order(machine: str, endian: str, packed: bool, size: int) -> None:
    other = zones.log(9, "Panic#2 Part1")
    data = b"".join((zone("pmsg", b"from a program\n", endian=endian),
                     zone("console", b"[    1.000000] on the console\n", 2 * PAGE, endian=endian),
                     zone("kernel", dump(LOG, machine, packed=packed, endian=endian), size,
                          endian=endian), bytes(size),
                     zone("kernel", dump(other, machine, packed=packed, endian=endian), size,
                          endian=endian)))
    found = pstore_zone.read(data)
    assert found.problems == []
    assert [(each.kind, each.text.encode(), each.time) for each in found.records] == [
        ("pmsg", b"from a program\n", None),
        ("console", b"[    1.000000] on the console\n", None),
        *(("kernel", (b"" if packed else TOTAL) + text, foreign.SECONDS)
          for text in (LOG, other))]
    assert {each.source.medium for each in found.records} == {"pstore_zone"}


@pytest.mark.parametrize("start", [0, 1, 77, 4084])
@pytest.mark.parametrize("kind", ["console", "pmsg"])
def test_a_ring_that_has_wrapped(kind: str, start: int) -> None:
    text = zones.log(200)[-4084:]
    (record,) = pstore_zone.read(zone(kind, text, start=start)).records
    assert record.text.encode() == text


@pytest.mark.parametrize("name", [name for name in samples.every() if "_blk" in name])
def test_the_size_of_a_zone_is_right_or_not_known(name: str) -> None:
    """Console and trace have zones without a header where no front end wrote to them; those of a
    CPU are together."""
    told = samples.manifest()[name].get("parameters", "kmsg_size=64 console_size=64 pmsg_size=32")
    sizes = {each.split("_size=")[0]: int(each.split("=")[1]) * 1024 for each in told.split()}
    found = {(record.kind, record.source.zone_size)
             for record in pstore_zone.read(samples.region(name)).records}
    right = {(kind, sizes["kmsg" if kind == "kernel" else kind]) for kind, _ in found}
    unsure = {each for each in found if each[1] is None}
    assert found - unsure <= right
    assert {kind for kind, _ in unsure} == {"c14_pstore_blk": {"console"}, "b09_mips_blk": {"pmsg"},
                                            "b10_arm_blk": {"pmsg"}}.get(name, set())


@pytest.mark.parametrize("endian", ["<", ">"])
def test_the_trace_of_all_cpus_is_one_record(endian: str) -> None:
    rows = [(tick % 3, tick, 0x80001000 + 8 * tick, 0x80002004) for tick in range(1, 40)]
    data = b"".join(zone("ftrace", foreign.calls([row for row in rows if row[0] == cpu], "32",
                                                 endian), endian=endian) for cpu in range(3))
    reading = pstore_zone.read(data)
    (record,) = reading.records
    lines = record.text.splitlines()
    assert [line.split()[:2] for line in lines] == [[f"CPU:{row[0]}", f"ts:{row[1]}"]
                                                    for row in rows]
    assert [offset for offset, _ in reading.extents[record.id]] == [0, PAGE, 2 * PAGE]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("packed", [True, False])
def test_what_was_removed_is_recovered_on_request(machine: str, packed: bool) -> None:
    data = zone("kernel", dump(LOG, machine, packed=packed), length=0) + \
        zone("console", b"[    1.000000] gone\n", length=0, filler=b"\xff") + \
        zone("pmsg", b"", filler=b"\xff") + zone("kernel", b"", filler=b"\xff")
    assert pstore_zone.read(data).records == []
    found = pstore_zone.read(data, recover=True)
    assert [record.text.encode().removeprefix(TOTAL) for record in found.records] == [
        LOG, b"[    1.000000] gone\n"]
    assert all(record.source.recovered for record in found.records)
    assert all("removed" in problem.what for problem in found.problems)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("at", range(12 + 40))
def test_any_byte_of_the_headers_may_be_lost(at: int, packed: bool) -> None:
    data = bytearray(zone("kernel", dump(LOG, packed=packed)) + zone("kernel", dump(LOG + LOG)))
    data[at] ^= 0x11
    found = pstore_zone.read(bytes(data))
    assert any(LOG in record.text.encode() for record in found.records)


@pytest.mark.parametrize(("seconds", "nanoseconds", "time"), [
    (0, 5, 0.0), (-5, 0, -5.0), (1 << 40, 0, None), (1700000000, 999_999_999, 1700000000.999999)])
def test_times(seconds: int, nanoseconds: int, time: float | None) -> None:
    body = dump(LOG, nanoseconds=seconds * 10**9 + nanoseconds)
    assert pstore_zone.read(zone("kernel", body)).records[0].time == time


def test_a_full_zone_keeps_what_fits() -> None:
    noise = "".join(f"{number:x}" for number in range(9000))
    text = b"Panic#1 Part1\n" + noise.encode()
    body = dump(text)[:PAGE - 12]
    found = pstore_zone.read(zone("kernel", body))
    (record,) = found.records
    assert record.source.truncated and text.startswith(record.text.encode()) and record.text
    assert found.problems[0].severity == "warning"
    plain = dump(text, packed=False)[:PAGE - 12]
    assert pstore_zone.read(zone("kernel", plain)).records[0].text.encode() == TOTAL + plain[40:]


@pytest.mark.parametrize(("reason", "counter", "line"), [
    (1, 7, b"Panic: Total 7 times\n"), (2, 12, b"Oops: Total 12 times\n"),
    (3, 0, b"Emergency: Total 0 times\n"), (4, 0, b"Shutdown: Total 0 times\n"),
    (0, 0, b"Unknown: Total 0 times\n"), (9, 0xffffffff, b"Unknown: Total -1 times\n")])
@pytest.mark.parametrize("machine", MACHINES)
def test_the_line_above_a_plain_dump(machine: str, reason: int, counter: int,
                                     line: bytes) -> None:
    for packed in (False, True):
        data = zone("kernel", dump(LOG, machine, packed=packed, reason=reason, counter=counter))
        (record,) = pstore_zone.read(data).records
        assert record.text.encode() == (b"" if packed else line) + LOG


@pytest.mark.parametrize("name", ["b01_blk", "b04_blk_none", "b08_i386_blk_none"])
def test_the_kernels_file_is_the_same_record(name: str) -> None:
    dumps = [each for each in pstore_zone.read(samples.region(name)).records
             if each.kind == "kernel"]
    assert dumps
    for record in explain_all(dumps):
        file = f"dmesg-pstore_blk-{record.source.zone}"
        bare, _ = pstorefs.record_of(file, samples.kernel_file(name, file), record.time)
        assert bare is not None
        other = explain(bare)
        assert (other.id, other.title, other.signature, other.kernel, other.crash) == \
            (record.id, record.title, record.signature, record.kernel, record.crash)


@pytest.mark.parametrize("other", [
    zones.zone(PAGE, zones.dump(LOG)), zones.zone(PAGE, LOG, start=5), zones.zone(PAGE),
    bytes(2 * PAGE), b"\xff" * 2 * PAGE, b"CBGC" + b"\xff" * 8 + bytes(PAGE)])
def test_what_is_no_such_zone(other: bytes) -> None:
    assert pstore_zone.read(other, recover=True).records == []


@pytest.mark.parametrize("machine", MACHINES)
def test_an_erased_zone_keeps_its_count_of_crashes(machine: str) -> None:
    body = zone("kernel", dump(LOG, machine))
    after = pstore_zone.erased(body)
    assert after[:4] == body[:4] and after[4:12] == bytes(8) and after[12:40] == body[12:40]
    assert len(after) == len(body) and pstore_zone.read(after, recover=True).records == []
    assert pstore_zone.erased(after) == after and pstore_zone.erased(b"CB") == b"CB"
