"""archive_file.py: a record's file, whole, damaged and hostile."""

from __future__ import annotations

import subprocess
import zlib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lastlog_py.archive_file import MOST, Entry, is_id, pack, parse, unpack
from lastlog_py.record import Boot, Frame, Kernel, Oom, Record, Source, captured
from tests.archive.making import crash

numbers = st.none() | st.integers(-2**40, 2**40)
words = st.none() | st.text(max_size=20)
moments = st.none() | st.floats(allow_nan=False, allow_infinity=False)
ids = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=40)
logs = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)
json = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8)
sources = st.builds(Source, st.text(max_size=9), zone=numbers, offset=numbers,
                    size=st.integers(0, 2**40), compression=words, ecc_corrected=numbers,
                    ecc_failed=numbers, truncated=st.booleans(), torn=st.booleans())
frames = st.builds(Frame, st.text(max_size=20), words, words, st.booleans())
kernels = st.builds(Kernel, st.text(max_size=9), numbers, numbers, st.text(max_size=9),
                    function=words, offset=words, module=words, process=words, pid=numbers,
                    cpu=numbers, address=words, tainted=words, release=words, hardware=words,
                    trace=st.lists(frames, max_size=3).map(tuple),
                    oom=st.none() | st.builds(Oom, words, numbers, numbers, words))
flags = st.booleans()
dumps = st.fixed_dictionaries({
    **dict.fromkeys(("executable", "command", "machine", "signal_name", "code_name",
                     "fault_address"), words),
    **dict.fromkeys(("pid", "tid", "uid", "signal"), numbers), "dropped": st.integers(0, 9),
    "truncated": flags, "threads_cut": flags, "notes": st.lists(st.text(max_size=9), max_size=2),
    "modules": st.lists(st.fixed_dictionaries({
        "path": st.text(max_size=9), "build_id": words, "text_id": words, "base": words,
        "size": st.integers(0, 2**40)}), max_size=2),
    "threads": st.lists(st.fixed_dictionaries({
        "tid": st.integers(0, 2**31), "crashed": flags, "frames_cut": flags, "gap": numbers,
        "omitted": st.integers(0, 9), "registers": st.dictionaries(st.text(max_size=4),
                                                                   st.text(max_size=9), max_size=2),
        "frames": st.lists(st.fixed_dictionaries({
            "pc": st.text(max_size=9), "how": st.text(max_size=9), **dict.fromkeys(
                ("module", "offset", "build_id", "symbol", "symbol_offset"), words)}),
            max_size=2)}), max_size=2)})
records = st.builds(
    Record, id=ids, kind=st.sampled_from(["kernel", "log", "coredump"]), text=logs, source=sources,
    state=st.just("saved"), time=moments, time_trusted=st.booleans(), uptime=moments,
    boot=st.none() | st.builds(Boot, words, numbers, words, words), title=st.text(max_size=40),
    signature=st.none() | st.text(min_size=1, max_size=20), count=st.integers(1, 2**40),
    first_seen=moments, last_seen=moments, crash=st.none() | ids, kernel=st.none() | kernels,
    coredump=st.none() | dumps, core=st.none(), symbols=st.none(),
    raw=st.none() | st.binary(max_size=300))
unhurried = settings(deadline=None)
entries = st.builds(Entry, records, st.integers(0, 2**40), st.lists(ids, max_size=4).map(tuple))


@unhurried
@given(entries)
@example(Entry(crash(1)._replace(text="lastlog record 1\n\nText-Size: 1\r\n\n\r", raw=b"")))
def test_every_record_comes_back(entry: Entry) -> None:
    entry = entry._replace(record=entry.record._replace(state="saved"))
    packed = pack(entry)
    assert unpack(packed) == (entry, None, False)
    bare = entry._replace(record=entry.record._replace(text="", raw=None))
    assert unpack(packed, text=False) == (bare, None, False)
    assert parse(packed) == (entry.record._replace(state="file"), None)
    assert pack(entry) == packed


@unhurried
@given(st.binary(max_size=200))
@example(zlib.compress(bytes(MOST + 9), wbits=31))
def test_any_bytes_give_a_problem_not_an_exception(junk: bytes) -> None:
    for file in (junk, b"\x1f\x8b" + junk, zlib.compress(junk, wbits=31)):
        record, problem = parse(file, "junk")
        assert record is None and problem is not None and problem.where == "junk"


@unhurried
@given(st.binary(max_size=120), st.binary(max_size=60))
def test_any_bytes_behind_our_first_line_give_no_exception(head: bytes, body: bytes) -> None:
    for line in (b"", b"Kernel: ", b"Source: ", b"Text-Size: ", b"Time: ", b"Counted: "):
        plain = b"lastlog record 1\n" + line + head + b"\n\n" + body
        assert parse(zlib.compress(plain, wbits=31)).record is not None
        assert parse(plain).record is not None


@unhurried
@given(entries, st.data())
def test_a_cut_file_shows_what_is_left(entry: Entry, data: st.DataObject) -> None:
    packed = pack(entry)
    end = data.draw(st.integers(0, len(packed) - 1))
    record, problem = parse(packed[:end])
    assert problem is not None
    if record:
        assert record.source.truncated
        assert entry.record.text.startswith(record.text.rstrip("\ufffd"))


@unhurried
@given(entries, st.data())
def test_a_flipped_bit_is_noticed(entry: Entry, data: st.DataObject) -> None:
    packed = bytearray(pack(entry))
    at = data.draw(st.integers(10, len(packed) - 1))    # behind gzip's header, which no CRC covers
    packed[at] ^= 1 << data.draw(st.integers(0, 7))
    assert parse(bytes(packed)).problem is not None


def test_the_text_survives_a_wrong_checksum() -> None:
    packed = bytearray(pack(Entry(crash(1, size=9000))))
    packed[-8] ^= 1
    record, problem = parse(bytes(packed))
    assert record and problem and record.text == crash(1, size=9000).text
    assert record.source.torn and "damaged" in problem.what


@pytest.mark.parametrize(("line", "instead", "said"), [
    ("lastlog record 1", "lastlog record 2", "newer lastlog (format 2)"),
    ("lastlog record 1", "lastlog record one", "no record of lastlog"),
    ("Kind: kernel\n", "", "no readable Kind"),
    ("Id: k-", "Id: ../k-", "no readable Id"),
    ("Time: 1", "Time: nan1", "no readable Time"),
    ('"zone": 1', '"zone": "1"', "no readable Source"),
    ('"size": 300', '"size": [300]', "no readable Source"),
    ("Source: {", "Source: [", "no readable Source"),
    ("Text-Size: ", "Text-Size: 1", "not the length"),
    ("Text-Size: ", "Text-Size: -", "no readable Text-Size"),
    ("Text-Size: ", "Raw-Size: 3\nText-Size: ", "not the length"),
    ("Title: ", 'Kernel: ' + '{"trace":' * 9000 + "\nTitle: ", "no readable Kernel"),
    ("Title: ", 'Kernel: {"reason": "panic", "trace": [{}]}\nTitle: ', "no readable Kernel"),
    ("Title: ", 'Boot: {"id": 1, "number": 1, "firmware": "", "kernel": ""}\nTitle: ',
     "no readable Boot"),
])
def test_a_header_that_makes_no_sense(line: str, instead: str, said: str) -> None:
    plain = zlib.decompress(pack(Entry(crash(1))), wbits=31).decode()
    assert line in plain
    problem = parse(zlib.compress(plain.replace(line, instead, 1).encode(), wbits=31)).problem
    assert problem and said in problem.what


def test_lines_of_the_future_are_skipped() -> None:
    plain = zlib.decompress(pack(Entry(crash(1))), wbits=31).replace(b"\n", b"\nMood: grim\n", 1)
    assert parse(zlib.compress(plain, wbits=31)) == (crash(1)._replace(state="file"), None)


def test_bytes_behind_the_end_are_noticed() -> None:
    problem = parse(pack(Entry(crash(1))) + b"\0\0").problem
    assert problem and "2 bytes too many" in problem.what


def test_zcat_shows_it() -> None:
    body = b"<4>[    1.0] it broke\r\nhere\xff"
    record = captured("kernel", body, Source("ramoops", 0, 12, 99), time=1712345678.5,
                      raw=bytes(range(70)))._replace(title="a\nb", boot=Boot("x", 3, None, "6.6"))
    shown = subprocess.run(["zcat"], input=pack(Entry(record, 7)), stdout=subprocess.PIPE,
                           check=True).stdout.decode()
    head, text = shown.split("\n\n", 1)
    assert head.splitlines()[:3] == ["lastlog record 1", f"Id: {record.id}", "Kind: kernel"]
    assert "Time: 1712345678.5 (2024-04-05 19:34:38 UTC)\nTime-Trusted: yes\n" in head
    assert 'Title: "a\\nb"' in head and '"firmware": null' in head
    assert text.startswith("<4>[    1.0] it broke\r\nhere\ufffd\nAAECAwQF")
    assert parse(shown.encode()) == (record._replace(state="file"), None)


def test_a_lone_surrogate_is_replaced() -> None:
    assert unpack(pack(Entry(crash(1)._replace(text="a\ud800b", title="\ud800")))).entry == Entry(
        crash(1)._replace(text="a?b", title="\ud800", state="saved"))


@pytest.mark.parametrize(("text", "good"), [
    ("k-9f31c2d08a44", True), ("a" * 40, True), ("a" * 41, False), ("", False), ("..", False),
    ("K-1", False), ("k/1", False), ("k-1\n", False), ("k\0", False), ("é", False)])
def test_ids(text: str, good: bool) -> None:
    assert is_id(text) is good


@unhurried
@given(json, dumps)
def test_what_is_no_core_dump_is_not_taken_for_one(thing: Any, dump: dict[str, Any]) -> None:
    entry = Entry(crash(1)._replace(kind="coredump", coredump=dump))
    assert unpack(pack(entry)).entry is not None
    for broken in (thing, {**dump, "threads": thing}, {**dump, "pid": "1"},
                   {**dump, "modules": [thing]}):
        found = unpack(pack(Entry(entry.record._replace(coredump=broken))))
        if broken not in (None, "", {**dump, "threads": []}):
            assert found.damage and "Coredump" in found.damage
