"""medium/crashlog.py: OpenWrt's old crashlog, as a file and in memory."""

from __future__ import annotations

import pytest

from lastlog_py.medium import crashlog
from tests.foreign import PAGE, crashlog_file, log
from tests.foreign import crashlog as memory

ONE, TWO = log(9, "one"), log(11, "two")


@pytest.mark.parametrize(("texts", "times"), [((ONE,), [1700000000.000007]),
                                              ((ONE, TWO), [1700000060.000007, 1700000000.000007])])
def test_the_file(texts: tuple[bytes, ...], times: list[float]) -> None:
    data = crashlog_file(*texts)
    assert crashlog.is_file(data)
    found = crashlog.read_file(data).records
    assert [record.time for record in found] == times
    modules = "Modules:\tath9k@86b10000+1a2b\tmac80211@86a00000+5f000\n"
    assert [record.text.removeprefix(modules).encode() for record in found] == list(texts)[::-1]
    assert found[-1].text.startswith(modules) and found[-1].source.medium == "crashlog"


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("before", [0, 3 * PAGE])
def test_memory(endian: str, before: int) -> None:
    data = bytes(before) + memory(crashlog_file(ONE, TWO), endian=endian) + b"\x5a" * PAGE
    reading = crashlog.read(data)
    assert [record.text.encode()[-200:] for record in reading.records] == [TWO[-200:], ONE[-200:]]
    (place,) = {place for places in reading.extents.values() for place in places}
    assert place == (before, 8 + len(crashlog_file(ONE, TWO))) and reading.problems == []


@pytest.mark.parametrize("length", [0, 16377 * 4096, 0xffffffff])
def test_what_the_kernel_has_handed_out_is_recovered_on_request(length: int) -> None:
    data = memory(crashlog_file(ONE, TWO), length=length)
    assert crashlog.read(data).records == []
    found = crashlog.read(data, recover=True)
    assert len(found.records) == 2 and all(record.source.recovered for record in found.records)
    assert found.problems[0].severity == "info"


def test_larger_pages_and_a_length_that_lies() -> None:
    data = crashlog_file(log(900))
    assert len(data) > 4 * PAGE
    (record,) = crashlog.read(memory(data, size=4 * 65536)).records
    assert record.text.encode().endswith(log(900))
    (cut,) = crashlog.read(memory(data)).records
    assert log(900).startswith(cut.text.partition("\n")[2].encode())


@pytest.mark.parametrize(("data", "count"), [
    (b"Time: 5.7\n", 0), (b"Time: 4294967295.7\n<4>x\n", 1),
    (b"Time: 5.7\n<4>=\n===================================\nTime: no\n", 1),
    (b"Time: 5.7\n<4>a\n\n===================================\nTime: 6.8\n", 1)])
def test_what_there_may_be_in_a_file(data: bytes, count: int) -> None:
    assert len(crashlog.read_file(data).records) == count


@pytest.mark.parametrize("data", [b"", b"\xa1\xee\xde\xad", memory(b"no time\n"),
                                  b"x" + memory(crashlog_file(ONE)), bytes(4 * PAGE)])
def test_what_is_none(data: bytes) -> None:
    assert crashlog.read(data, recover=True).records == [] and not crashlog.is_file(data)


@pytest.mark.parametrize("bit", range(32))
def test_any_bit_of_the_magic_may_be_lost(bit: int) -> None:
    data = bytearray(memory(crashlog_file(ONE)))
    data[bit // 8] ^= 1 << bit % 8
    assert len(crashlog.read(bytes(data)).records) == 1


def test_erased() -> None:
    data = memory(crashlog_file(ONE, TWO))
    after = crashlog.erased(data)
    assert crashlog.read(after, recover=True).records == [] and len(after) == len(data)
    assert crashlog.erased(after) == after and crashlog.erased(b"") == b""


def test_of_many_dumps_only_so_many_become_records(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []
    record = crashlog._record
    monkeypatch.setattr(crashlog, "_record", lambda dump, source: (
        made.append(dump), record(dump, source))[1])
    data = memory(crashlog_file(*[b"Panic\n"] * 200))
    reading = crashlog.read(data * 6)
    assert len(made) == len(reading.records) == 1024
    assert [problem.what for problem in reading.problems] == [
        "176 more records are there than are shown"]
