"""medium/ftrace.py against the kernel's own files, and every form of a record."""

from __future__ import annotations

import pytest

from lastlog_py.medium import contents, ftrace
from lastlog_py.record import Source
from tests import samples
from tests.foreign import calls
from tests.medium.test_ramoops import geometry_of

TRACE, BLOCK_TRACE = "ftrace-ramoops-0", "ftrace-pstore_blk-0"
KERNEL64, KERNEL32 = 0xffffffff81000000, 0x80008000


def rows(count: int, base: int, cpus: int = 4,
         first: int = 5000) -> list[tuple[int, int, int, int]]:
    return [(tick * 7 % cpus, first + tick, base + 16 * (tick % 99), base + 4096 + 8 * (tick % 50))
            for tick in range(count)]


def parted(line: str) -> list[str]:
    """CPU, tick (since 4.10) and both addresses, without the symbols."""
    return line.split()[:4 if line.startswith("CPU:") else 3]


@pytest.mark.parametrize("name", [name for name in samples.of_ramoops()
                                  if TRACE in samples.manifest()[name]["kernel_files"]
                                  and (name, TRACE) not in samples.DIFFERENT])
def test_every_line_of_a_real_trace(name: str) -> None:
    reading = contents.read(samples.region(name), geometry_of(name)).reading
    (record,) = (each for each in reading.records if each.kind == "ftrace")
    shown = samples.kernel_file(name, TRACE).decode().splitlines()
    assert list(map(parted, record.text.splitlines())) == list(map(parted, shown))
    bare = [line for line in shown if "+" not in line and line.count("0x") == 2]
    assert set(bare) <= set(record.text.splitlines())


@pytest.mark.parametrize(("name", "calls"), [("b06_blk_ftrace", 679), ("b07_i386_blk", 509)])
def test_a_trace_whose_pages_are_of_different_moments(name: str, calls: int) -> None:
    """The kernel shows what comes out where it reads on in steps of a record: of its 680 and 511
    lines 509 and 289 are calls, and those we have, and the others too, in their order."""
    reading = contents.read(samples.region(name)).reading
    (record,) = (each for each in reading.records if each.kind == "ftrace")
    ours = [parted(line) for line in record.text.splitlines()]
    theirs = [parted(line) for line in
              samples.kernel_file(name, BLOCK_TRACE).decode().splitlines()]
    sound = [line for line in theirs if line in ours]
    assert (len(ours), len(sound)) == (calls, {"b06_blk_ftrace": 509, "b07_i386_blk": 289}[name])
    ticks = [int(line[1].removeprefix("ts:")) for line in ours]
    assert ticks == sorted(ticks) and record.source.torn
    assert [problem.what for problem in reading.problems] == [ftrace.TORN]


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize(("form", "base"), [("64", KERNEL64), ("32", KERNEL32),
                                            ("arm", 0xc0008000)])
@pytest.mark.parametrize("shift", [4, 8, 12])
def test_parts_that_are_shifted_and_out_of_order(form: str, base: int, endian: str,
                                                 shift: int) -> None:
    made = rows(300, base)
    records = calls(made, form, endian)
    size = len(records) // 300
    zone = records[200 * size:] + bytes(shift) + records[:120 * size] + bytes(shift) \
        + records[120 * size:200 * size]
    assert ftrace.text_of([zone])[0] is None
    record, problem = ftrace.record_of([zone], Source("pstore_zone"), "zone", 1 << 20)
    assert record is not None and record.text.encode() == ftrace.text_of([records])[0]
    assert record.source.torn and problem is not None and problem.what == ftrace.TORN


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize(("form", "base"), [("64", KERNEL64), ("32", KERNEL32),
                                            ("arm", 0xc0008000)])
def test_forms_with_a_tick(form: str, base: int, endian: str) -> None:
    made = rows(300, base)
    text, more = ftrace.text_of([b"\x01\x02\x03" + calls(made, form, endian)])
    ip_cpu = [(row[2] | row[0] if form == "arm" else row[2]) for row in made]
    assert text is not None and text.decode().splitlines() == [
        f"CPU:{cpu} ts:{tick} {ip:08x}  {parent:08x}  0x{ip:x} <- 0x{parent:x}"
        for (cpu, tick, _, parent), ip in zip(made, ip_cpu, strict=True)]
    assert more == 0


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize(("form", "base"), [("old 64", KERNEL64), ("old 32", KERNEL32),
                                            ("old arm", 0xc0008000)])
def test_forms_without(form: str, base: int, endian: str) -> None:
    made = rows(300, base)
    text, _ = ftrace.text_of([calls(made, form, endian)])
    ip_cpu = [(row[2] | row[0] if form == "old arm" else row[2]) for row in made]
    assert text is not None and text.decode().splitlines() == [
        f"{cpu} {ip:08x}  {parent:08x}  0x{ip:x} <- 0x{parent:x}"
        for (cpu, _, _, parent), ip in zip(made, ip_cpu, strict=True)]


def test_thumb_code_leaves_one_bit_for_the_cpu() -> None:
    made = [(cpu, tick, ip & ~2 | 2, parent | 1) for cpu, tick, ip, parent
            in rows(300, 0xc0008000, cpus=2)]
    text, _ = ftrace.text_of([calls(made, "arm")])
    assert text is not None
    assert [line.split()[0] for line in text.decode().splitlines()] == \
        [f"CPU:{row[0]}" for row in made]


@pytest.mark.parametrize(("first", "second", "order"), [
    ([1, 2, 5], [3, 4, 6], "001101"), ([1, 9, 2], [3, 4], "01100"), ([5, 1], [5, 1], "1100"),
    ([], [1], "1"), ([1, 2], [], "00")])
def test_zones_are_merged_and_not_sorted(first: list[int], second: list[int], order: str) -> None:
    """As pstore_ftrace_combine_log does it: the second's goes first unless the first's is older."""
    zones = [calls([(cpu, 9999 + tick, KERNEL64 + tick, KERNEL64) for tick in ticks], "64")
             for cpu, ticks in enumerate((first, second))]
    text, _ = ftrace.text_of(zones)
    assert text is not None
    assert "".join(line[4] for line in text.decode().splitlines()) == order


@pytest.mark.parametrize("junk", [b"", b"\0" * 4096, b"\xff" * 4096, bytes(range(256)) * 16,
                                  b"[    1.000000] text\n" * 200],
                         ids=["none", "zeros", "erased", "bytes", "text"])
def test_what_is_no_trace(junk: bytes) -> None:
    assert ftrace.text_of([junk]) == (None, 0)
    record, problem = ftrace.record_of([junk], Source("ramoops"), "here", 1 << 20)
    assert record is None and problem and problem.where == "here"
    assert str(len(junk)) in problem.what


def test_very_many_calls_and_cpus() -> None:
    large = calls(rows(1000, KERNEL64), "64") * 200
    text, more = ftrace.text_of([large])
    assert text is not None and ftrace.MOST_TEXT - 200 < len(text) <= ftrace.MOST_TEXT
    assert more == 200_000 - text.count(b"\n")
    text, _ = ftrace.text_of([calls(rows(40, KERNEL64), "64")] * 900)
    assert text is not None and text.count(b"\n") == 40 * 64
    text, more = ftrace.text_of([large], room=1000)
    assert text is not None and text.count(b"\n") == 1000 // (len(text) // text.count(b"\n"))


def test_damaged_calls_among_good_ones_are_shown_too() -> None:
    made = bytearray(calls(rows(200, KERNEL64), "64"))
    made[24 * 100 + 7] ^= 0x40
    text, _ = ftrace.text_of([bytes(made)])
    assert text is not None and text.count(b"\n") == 200


def test_of_a_real_trace_of_the_storing_of_traces_all_calls_are_shown() -> None:
    """pstore_zone's driver is traced too: 41 of 340 of the kernel's lines are no calls.  In the
    other byte order it looks like a trace as well."""
    reading = contents.read(samples.region("k71_blk")).reading
    (record,) = (each for each in reading.records if each.kind == "ftrace")
    shown = samples.kernel_file("k71_blk", "ftrace-pstore_blk-0").decode().splitlines()
    ours, theirs = (list(map(parted, lines)) for lines in (record.text.splitlines(), shown))
    assert [call for call in theirs[:299] if call not in ours] == [] and len(ours) == 339
