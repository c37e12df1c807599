"""reading.py: what report.py wrote comes back; what is damaged or hostile raises nothing."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.coredump import reading, report, shape, signature, words
from lastlog_py.coredump.crash import Crash, FrameRow, ModuleRow, ThreadRow
from lastlog_py.diagnose import explain, signature_text
from lastlog_py.record import Source, captured, from_dict, to_dict
from lastlog_py.report import backtrace as lines_of

TEXT = """lastlog core dump 1
Executable: /usr/sbin/uhttpd
Command: uhttpd -f -h /www\\x0a
PID: 1203
TID: 1204
UID: 0
Machine: mipsel
Signal: 11 SIGSEGV
Code: SEGV_MAPERR
Fault-Address: 0x10
Dropped: 3
Note: Time was up after 2 threads.

Module 0: base=0x77a00000 size=0x9f000 build-id=ab12 path=/lib/libc.so
Module 1: base=0x55560000 size=0x8000 text-id=0123456789abcdef7f00 path=/usr/sbin/u httpd

Thread 1204: crashed cut omitted=120 gap=1
Registers: pc=0x77a03c34 sp=0x7fff0000
#0 0x77a03c34 module=0 offset=0x3c34 how=registers symbol=strlen+0x14
#121 0x55561234 module=1 offset=0x1234 how=prologue
#122 0x1 how=scan

Thread 1203:
Registers:

System log:
Thread 1: this is a log
"""


def test_every_line() -> None:
    dump = reading.read(TEXT)
    assert dump == {
        "executable": "/usr/sbin/uhttpd", "command": "uhttpd -f -h /www\n", "pid": 1203,
        "tid": 1204, "uid": 0, "machine": "mipsel", "signal": 11, "signal_name": "SIGSEGV",
        "code_name": "SEGV_MAPERR", "fault_address": "0x10", "truncated": False,
        "threads_cut": False, "dropped": 3, "notes": ["Time was up after 2 threads."],
        "modules": [
            {"path": "/lib/libc.so", "build_id": "ab12", "text_id": None, "base": "0x77a00000",
             "size": 0x9f000},
            {"path": "/usr/sbin/u httpd", "build_id": None, "text_id": "0123456789abcdef7f00",
             "base": "0x55560000", "size": 0x8000}],
        "threads": [
            {"tid": 1204, "crashed": True, "frames_cut": True, "omitted": 120, "gap": 1,
             "registers": {"pc": "0x77a03c34", "sp": "0x7fff0000"}, "frames": [
                 frame("0x77a03c34", "/lib/libc.so", "0x3c34", "registers", "ab12", "strlen",
                       "0x14"),
                 frame("0x55561234", "/usr/sbin/u httpd", "0x1234", "prologue"),
                 frame("0x1", None, None, "scan")]},
            {"tid": 1203, "crashed": False, "frames_cut": False, "omitted": 0, "gap": None,
             "registers": {}, "frames": []}]}
    assert shape.system_log(TEXT) == "Thread 1: this is a log\n"
    assert shape.is_whole(dump) and shape.is_whole(json.loads(json.dumps(dump)))


def frame(pc: str, module: str | None, offset: str | None, how: str, build_id: str | None = None,
          symbol: str | None = None, symbol_offset: str | None = None) -> dict[str, Any]:
    return {"pc": pc, "module": module, "offset": offset, "build_id": build_id, "symbol": symbol,
            "symbol_offset": symbol_offset, "how": how}


def test_a_record_is_explained() -> None:
    record = explain(captured("coredump", TEXT.encode(), Source("journal"))._replace(title="x"))
    assert record.title == ("uhttpd: SIGSEGV in strlen: tried to read or write address 0x10, a "
                            "NULL pointer plus an offset")
    assert record.crash == record.id
    assert signature_text(record) == ("/usr/sbin/uhttpd|SIGSEGV|ab12+0x3c34|u httpd+0x1234")
    assert record.signature and record.signature.startswith("u1:")
    assert from_dict(json.loads(json.dumps(to_dict(record)))) == record


def test_a_record_that_says_nothing_keeps_its_title() -> None:
    record = captured("coredump", b"\xff\x00 torn", Source("journal"))._replace(title="uhttpd: x")
    assert explain(record) == record._replace(crash=record.id)
    assert explain(record._replace(title="")).title == "Crash of a program"


# --- both ways

numbers = st.integers(0, 2**63)
ids = st.none() | st.binary(min_size=4, max_size=20).map(bytes.hex)
# Names as a hostile program has them; os.fsdecode makes surrogates of undecodable bytes.
names = st.text(max_size=30) | st.binary(max_size=30).map(
    lambda raw: raw.decode("utf-8", "surrogateescape")) | st.sampled_from(
        ["a b", "x path=y", "\\x41", "\n#0 0x1", "Note: x", " lead", "trail ", "a+0x1", "\u202e"])
symbols = st.text("abcXYZ_0123456789.@$", min_size=1, max_size=20) | st.just("_Zpl+1\n")


@st.composite
def crashes(draw: st.DrawFn) -> Crash:
    crash = Crash(draw(st.sampled_from([0, 4, 6, 11, 64])), draw(st.none() | st.integers(0, 2**22)))
    crash.executable, crash.command = draw(st.none() | names), draw(st.none() | names)
    crash.tid, crash.uid = draw(st.none() | numbers.map(lambda n: n >> 41)), draw(st.just(1000))
    crash.machine, crash.code_name = draw(st.sampled_from([None, "mipsel"])), "SEGV_MAPERR"
    crash.fault_address = draw(st.none() | numbers)
    crash.truncated, crash.threads_cut = draw(st.booleans()), draw(st.booleans())
    crash.dropped, crash.notes = draw(st.integers(0, 9)), draw(st.lists(names, max_size=3))
    crash.modules = draw(st.lists(modules(), max_size=3))
    crash.threads = draw(st.lists(threads(len(crash.modules)), max_size=3))
    return crash


@st.composite
def modules(draw: st.DrawFn) -> ModuleRow:
    row = ModuleRow.__new__(ModuleRow)
    row.path, row.base, row.size = draw(names), draw(numbers), draw(numbers)
    row.build_id, row.text_id = draw(ids), draw(ids)
    return row


@st.composite
def threads(draw: st.DrawFn, files: int) -> ThreadRow:
    row = ThreadRow(draw(st.integers(0, 2**22)), draw(st.booleans()))
    row.registers = [("pc", draw(numbers)), ("sp", draw(numbers))]
    row.frames = draw(st.lists(frames(files), max_size=4))
    row.cut = draw(st.booleans())
    row.omitted, row.gap = draw(st.sampled_from([(0, 0), (7, 2)]))
    return row


@st.composite
def frames(draw: st.DrawFn, files: int) -> FrameRow:
    row = FrameRow(draw(numbers), draw(st.sampled_from(reading.HOW)))
    if files and draw(st.booleans()):
        row.module, row.offset = draw(st.integers(0, files - 1)), draw(numbers)
    if draw(st.booleans()):
        row.symbol, row.symbol_offset = draw(symbols), draw(numbers)
    return row


def plain(text: str | None) -> str | None:
    """A name as it comes back: what is no UTF-8 as U+FFFD, and so is NUL."""
    if not text:
        return None
    raw = b"".join(char.encode("utf-8", "surrogateescape" if "\udc80" <= char <= "\udcff"
                               else "surrogatepass") for char in text)
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")


@settings(deadline=None)
@given(crashes(), st.binary(max_size=200))
def test_what_was_written_comes_back(crash: Crash, log: bytes) -> None:
    log = report.plain_log(log)
    text = report.render(crash, 1 << 20, log).decode()
    dump = reading.read(text)
    assert dump is not None and shape.is_whole(dump)
    assert shape.system_log(text) == log.decode()
    assert (dump["executable"], dump["command"]) == (plain(crash.executable), plain(crash.command))
    assert (dump["pid"], dump["tid"], dump["uid"]) == (crash.pid, crash.tid, 1000)
    assert (dump["truncated"], dump["dropped"]) == (crash.truncated, crash.dropped)
    assert dump["notes"] == [plain(note) for note in crash.notes if note]
    assert dump["threads_cut"] == crash.threads_cut
    assert dump["fault_address"] == (None if crash.fault_address is None
                                     else hex(crash.fault_address))
    assert [(row["path"], row["base"], row["size"], row["build_id"], row["text_id"])
            for row in dump["modules"]] == [
        (plain(row.path) or "", hex(row.base), row.size, row.build_id, row.text_id)
        for row in crash.modules]
    assert [(row["tid"], row["crashed"], row["frames_cut"], row["omitted"])
            for row in dump["threads"]] == [
        (row.tid, row.crashed, row.cut, row.omitted) for row in crash.threads]
    for read, written in zip(dump["threads"], crash.threads, strict=True):
        assert read["registers"] == {name: hex(value) for name, value in written.registers}
        assert read["frames"] == [_expected(crash, row) for row in written.frames]


@settings(deadline=None, max_examples=60)
@given(crashes(), st.sampled_from([1, 30, 400]), st.sampled_from([1, 40]),
       st.binary(max_size=9000), st.integers(report.LEAST, 1 << 15))
def test_the_room_is_kept_to(crash: Crash, longer: int, more: int, log: bytes, room: int) -> None:
    """Whatever a program and its files are called, and however many there are."""
    crash.executable = (crash.executable or "") * longer
    crash.command = (crash.command or "") * longer
    crash.notes = [note * longer for note in crash.notes] * more
    for file in crash.modules:
        file.path *= longer
    for row in crash.threads:
        for each in row.frames:
            each.symbol = each.symbol and each.symbol * longer
        row.frames, row.registers = row.frames * more, [(f"r{at}", 2**63) for at in range(more)]
    crash.threads *= more
    text = report.render(crash, room, report.plain_log(log))
    dump = reading.read(text.decode())
    assert len(text) <= room and dump is not None
    assert (dump["pid"], dump["tid"], dump["signal"]) == (crash.pid, crash.tid,
                                                          crash.signal or None)
    if crash.threads and crash.threads[0].frames:
        found, wanted = dump["threads"][0]["frames"], crash.threads[0].frames
        assert found and [int(each["pc"], 16) for each in found] == \
            [each.pc for each in wanted[:len(found)]]
        assert [each["offset"] for each in found] == [
            None if each.offset is None else hex(each.offset) for each in wanted[:len(found)]]


def _expected(crash: Crash, row: FrameRow) -> dict[str, Any]:
    module = None if row.module is None else crash.modules[row.module]
    return frame(hex(row.pc), None if module is None else plain(module.path) or "",
                 None if row.offset is None else hex(row.offset), row.how,
                 module.build_id if module else None, row.symbol,
                 hex(row.symbol_offset) if row.symbol else None)


# --- hostile

def used(text: str) -> None:
    """Everything that is done with a text."""
    dump = reading.read(text)
    if dump is not None:
        assert shape.is_whole(dump)
        assert "\n" not in words.title(dump) and len(words.title(dump)) <= words.LONGEST
        signature.signature(dump)
    shape.system_log(text)


@given(st.text(max_size=400) | st.lists(st.sampled_from(
    [*TEXT.split("\n"), "Thread 1:", "#0 0x", "Module 99999999:", "Signal: 99999999999",
                        "PID: 99999999999999999999", "Registers: pc=0x1 pc=0x2", "Thread x:"]),
    max_size=40).map("\n".join))
def test_no_text_raises(text: str) -> None:
    used(text)
    used(f"lastlog core dump 1\n{text}")


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_no_damage_raises(seed: int) -> None:
    chance = random.Random(seed)
    raw = bytearray(TEXT.encode())
    for _ in range(chance.randrange(1, 30)):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    start = chance.randrange(0, 40)
    used(raw[start:start + chance.randrange(len(raw))].decode("utf-8", "replace"))


def test_a_torn_beginning_is_no_reason_to_drop_the_rest() -> None:
    dump = reading.read(TEXT[40:])
    assert dump is not None and dump["pid"] == 1203 and len(dump["threads"]) == 2


DAMAGED = TEXT.replace("#121", "#1").replace("#122", "#2")      # numbered as report.py does


@pytest.mark.parametrize("char", ["~", "\0", "\ufffd", "\n", " ", "x"])
def test_one_damaged_character_takes_no_frame_away(char: str) -> None:
    """Else the caller of the innermost frame would be taken for where it crashed."""
    for at in range(DAMAGED.index("Thread 1204"), DAMAGED.index("\nThread 1203")):
        dump = reading.read(DAMAGED[:at] + char + DAMAGED[at + 1:])
        assert dump is not None and shape.is_whole(dump)
        found, where = dump["threads"][0]["frames"], DAMAGED[at - 20:at + 20]
        assert len(found) >= 3 or DAMAGED[at:at + 3] == "\n#2", where       # the last frame
        assert "u httpd+" not in words.title(dump), where
        assert (found[0]["module"], found[0]["build_id"]) in (("/lib/libc.so", "ab12"),
                                                              (None, None)), where
        assert "None" not in "\n".join(lines_of(dump))


@pytest.mark.parametrize(("line", "frame"), [
    ("#0 0x77a0~c34 module=0 offset=0x3c34 how=registers", ("0x77a03c34", "0x3c34")),
    ("#0 ~x77a03c34 module=0 offset=0x3c34 how=registers", ("0x77a03c34", "0x3c34")),
    ("~0 0x77a03c34 module=0 offset=0x3c34 how=registers", ("0x77a03c34", "0x3c34")),
    ("#0~0x77a03c34 module=0 offset=0x3c34 how=registers", ("0x77a03c34", "0x3c34")),
    ("#0 0x77a03c34 mo~ule=0 offset=0x3c34 how=registers", ("0x77a03c34", "0x3c34")),
    ("#0 0x77a03c34 module=~ offset=0x3c34 how=registers", ("0x77a03c34", "0x3c34")),
    ("#0 0x77a03c34 module=0 off~et=0x3c34 how=registers", ("0x77a03c34", "0x3c34")),
    ("#0 0x77a03c34 module=0 offset=0x~c34 how=registers", ("0x77a03c34", "0x3c34")),
    ("#0 0x77a0", ("0x77a0", None)), ("#~~~", (None, None))])
def test_a_frame_is_told_by_two_of_pc_module_and_offset(line: str,
                                                        frame: tuple[str | None, ...]) -> None:
    head, tail = DAMAGED.split("#0 ", 1)
    dump = reading.read(f"{head}{line}\n{tail.partition(chr(10))[2]}")
    assert dump is not None
    found = dump["threads"][0]["frames"]
    assert (found[0]["pc"], found[0]["offset"]) == frame and len(found) == 3
    assert found[0]["module"] == (frame[1] and "/lib/libc.so")
    assert "u httpd+" not in words.title(dump)


@pytest.mark.parametrize("heading", ["Txread 1204: crashed", "Thread 12x4: crashed", "~"])
def test_a_damaged_heading_takes_no_frame_away(heading: str) -> None:
    for tid in ("1204", "1203"):
        text = TEXT.replace(f"Thread {tid}: crashed cut omitted=120 gap=1", heading)
        text = text.replace("Thread 1203:", heading) if tid == "1203" else text
        dump = reading.read(text)
        assert dump is not None and len(dump["threads"]) == 2
        assert len(dump["threads"][0]["frames"]) >= 3
        assert [each["crashed"] for each in dump["threads"]] == [True, False]


@pytest.mark.parametrize(("many", "limit"), [
    ("Thread 1:\n" * 5000, reading.MAX_THREADS), ("Note: x\n" * 500, reading.MAX_NOTES)])
def test_lists_have_limits(many: str, limit: int) -> None:
    dump = reading.read("lastlog core dump 1\n" + many)
    assert dump is not None
    assert len(dump["threads"]) + len(dump["notes"]) == limit
    assert dump["threads_cut"] == bool(dump["threads"])


def test_frames_have_a_limit() -> None:
    dump = reading.read("lastlog core dump 1\nThread 1: crashed\n" + "#0 0x1 how=cfi\n" * 20000)
    assert dump is not None
    assert len(dump["threads"][0]["frames"]) == reading.MAX_FRAMES
    assert dump["threads"][0]["frames_cut"]
