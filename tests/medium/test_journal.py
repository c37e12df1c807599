"""medium/journal.py: the format found again whatever happened to it, and who goes first."""

from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lastlog_py.medium import journal
from lastlog_py.medium.journal import (
    LINE,
    MAGIC,
    MOST_DAMAGED,
    MOST_HEADER,
    Entry,
    encode,
    escape,
    gaps,
    largest,
    place,
    room_for,
    scan,
    unescape,
)
from tests.medium.journals import append_writes, applied, cut, filled, log, scanned, told, written

RING = 4096
texts = st.binary(max_size=300)
hostile = st.lists(st.sampled_from([b"====lastlog ", b"====", b"\\", b"lastlog", b"=", b" 1 log\n",
                                    b"\0", b"x", b"\x1f\x8b"]), max_size=12).map(b"".join)


# --- one record


def test_a_person_can_read_it() -> None:
    entry = Entry("log", b"first line\nlast line\n", 12, 7, 123.45, 1795000000.5, True, "a \"log\"")
    head, body = encode(entry).split(b"\n", 1)
    said = (b"====lastlog 1 log seq=12 boot=7 up=123.45 time=1795000000.500000 clock=set form=text "
            b"size=21 body=%08x label=\"a %%22log%%22\"" % zlib.crc32(entry.body))
    assert head == said + b" head=%08x" % zlib.crc32(said)
    assert body == b"first line\nlast line\n\n"


@settings(deadline=None)
@given(st.sampled_from(["log", "coredump", "boot", "kernel"]), texts | hostile,
       st.integers(1, 10**15 - 1), st.integers(0, 10**6), st.integers(0, 10**9),
       st.integers(0, 2**32 * 10**6), st.booleans(), st.text("abc \"%\\=é中\n", max_size=20),
       st.sampled_from(["text", "record"]))
def test_what_is_written_is_read(kind: str, body: bytes, sequence: int, boot: int, uptime: int,
                                 time: int, trusted: bool, label: str, form: str) -> None:
    entry = Entry(kind, body, sequence, boot, uptime / 100, time / 10**6, trusted, label, form)
    encoded = encode(entry)
    (read,) = scan(bytes(LINE) + encoded + bytes(LINE)).entries
    assert told(read) == told(entry)
    assert len(encoded) - len(escape(body)) - 1 <= MOST_HEADER


@settings(deadline=None)
@given(st.text(max_size=400))
def test_a_label_is_kept_as_far_as_it_fits(label: str) -> None:
    (read,) = scan(encode(Entry("log", b"", 1, label=label))).entries
    clean = label.encode("utf-8", "replace").decode()
    assert clean.startswith(read.label) and (read.label == clean or len(read.label) >= 16)


@settings(deadline=None)
@given(texts | hostile)
@example(b"====\\lastlog ====lastlog ====\\\\====lastlog")
def test_no_body_holds_what_a_record_begins_with(body: bytes) -> None:
    stored = escape(body)
    assert MAGIC not in stored and MAGIC not in stored + b"\n"
    assert unescape(stored) == body


def test_a_forged_record_in_a_body_stays_text() -> None:
    forged = encode(Entry("kernel", b"nothing happened\n", 99))
    ring = filled(RING, Entry("log", b"see:\n" + forged, 0))
    (entry,) = scan(ring).entries
    assert entry.kind == "log" and entry.body == b"see:\n" + forged
    broken = ring.replace(b"label=", b"LABEL=", 1)          # its header is lost: it is searched
    (entry,) = scan(broken).entries
    assert entry.torn and forged in entry.body


# --- anything at all


@settings(deadline=None)
@given(st.lists(texts | hostile | st.builds(lambda body: encode(Entry("log", body, 3)), texts),
                max_size=6).map(b"".join), st.sampled_from([1, LINE]))
def test_any_bytes_are_scanned(ring: bytes, line: int) -> None:
    found = scan(ring, line)
    at = 0
    for entry in sorted(found.entries, key=lambda each: each.offset or 0):
        assert entry.offset is not None and entry.offset >= at
        at = entry.offset + entry.size
        assert entry.checksum == zlib.crc32(ring[entry.offset:at])
    assert at <= len(ring)
    assert len(found.problems) == sum(entry.torn for entry in found.entries)
    for size in (64, 640):
        spot = place(found.entries, len(ring), size)
        assert spot is None or 0 <= spot[0] <= len(ring) - size


@settings(deadline=None)
@given(st.data())
def test_one_wrong_byte_costs_one_record(data: st.DataObject) -> None:
    ring = filled(RING, *(log(number) for number in range(1, 6)))
    at = data.draw(st.integers(0, RING - 1))
    broken = bytearray(ring)
    broken[at] ^= data.draw(st.integers(1, 255))
    whole = [told(entry) for entry in scan(ring).entries
             if not (entry.offset or 0) <= at < (entry.offset or 0) + entry.size]
    assert [each for each in scanned(bytes(broken)) if each in whole] == whole


def test_many_broken_beginnings_are_quick() -> None:
    """No work that grows with the square of what is claimed."""
    entry = encode(Entry("log", bytes(10 ** 6), 1))[:200].partition(b"\n")[0] + b"\n"
    assert len(scan(entry.ljust(192, b"\0") * 20000).entries) == 20000


@pytest.mark.parametrize("broken", [MAGIC, MAGIC.ljust(64, b"x"), MAGIC + b"\n", MAGIC + b" head=",
                                    MAGIC + b"x head=00000000\n", MAGIC + b"\n\x1f\x8b"])
def test_of_many_damaged_headers_some_are_kept_and_whole_records_behind_them(
        broken: bytes) -> None:
    whole, later = encode(Entry("log", b"whole", 7)), encode(Entry("log", b"later", 8))
    ring = broken * (2 * MOST_DAMAGED) + whole + broken * 99 + later
    found = scan(ring)
    assert [entry.sequence for entry in found.entries] == [0] * MOST_DAMAGED + [7, 8]
    assert [entry.body for entry in found.entries[-2:]] == [b"whole", b"later"]
    left_out = [offset for offset, what in found.problems if str(MOST_DAMAGED) in what]
    assert left_out == [MOST_DAMAGED * len(broken)]


def test_no_more_records_are_looked_at_than_was_asked_for() -> None:
    ring = b"".join(encode(log(number)) for number in range(5))
    found = scan(ring, most=3)
    assert len(found.entries) == 3 and found.entries[0].body == log(0).body
    assert [offset for offset, _ in found.problems] == [ring.find(MAGIC, ring.find(log(2).body))]
    assert scan(ring, most=5).problems == []


@pytest.mark.parametrize("start", [b"\n", b"\n\x1f\x8b", b"x" * 500])
def test_what_a_damaged_record_holds_is_copied_once(start: bytes) -> None:
    ring = MAGIC + start + b"body" * (1 << 18) + bytes(1 << 20)
    tracemalloc.start()
    (entry,) = scan(ring).entries
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert entry.body.endswith(b"body") and peak < 1.1 * (1 << 20)


@pytest.mark.parametrize("damage", [
    (b"seq=1", b"seq=x"), (b"seq=1", b"seq=99999999999999999"), (b"boot=7", b"boot="),
    (b"up=101.00", b"up=inf"), (b"up=101.00", b"up=1e9"), (b"size=200", b"size=-1"),
    (b"size=200", b"sizes=20"), (b"body=", b"body=zz"), (b" 1 log ", b" "),
    (b"log seq", b"l0g seq"), (b"form=text", b"form"), (b"50%25", b"50%GG"), (b"50%25", b"50%-1")])
def test_a_header_with_a_right_checksum_and_nonsense_in_it(damage: tuple[bytes, bytes]) -> None:
    entry = log(1)
    entry.sequence, entry.label = 1, "50%"
    head = encode(entry).partition(b" head=")[0]
    assert damage[0] in head
    head = head.replace(*damage, 1)
    ring = head + b" head=%08x\nthe text" % zlib.crc32(head)
    (entry,) = scan(ring).entries
    assert entry.torn and entry.body == b"the text" and entry.sequence == 0


def test_keys_and_versions_of_the_future_are_read() -> None:
    head = encode(log(1)).partition(b" head=")[0]
    head = head.replace(b"lastlog 1", b"lastlog 2").replace(b"seq=0", b"new=thing seq=5")
    (entry,) = scan(head + b" head=%08x\n" % zlib.crc32(head) + log(1).body + b"\n").entries
    assert (entry.sequence, entry.body, entry.torn) == (5, log(1).body, False)


# --- torn and damaged


def test_a_damaged_header_still_shows_the_text() -> None:
    ring = filled(RING, log(1), log(2))
    found = scan(ring.replace(b"seq=1", b"seq=9"))
    first, second = found.entries
    assert first.torn and first.body.startswith(log(1).body) and first.label == journal.DAMAGED
    assert told(second)[1:] == (2, *told(log(2))[2:])
    assert [offset for offset, _ in found.problems] == [0]


def test_a_damaged_header_of_a_packed_record_keeps_its_nuls() -> None:
    packed = zlib.compress(b"\0" * 100 + b"text", wbits=31)
    ring = filled(RING, Entry("kernel", packed, form="record"))
    (entry,) = scan(ring.replace(b"seq=1", b"seq=9")).entries
    assert entry.form == "record" and zlib.decompress(entry.body.rstrip(b"\n"), 31)[100:] == b"text"


def test_a_lost_first_line_costs_one_record() -> None:
    ring = filled(RING, log(1), log(2), log(3))
    whole = scanned(ring)
    assert scanned(bytes(LINE) + ring[LINE:]) == whole[1:]


@pytest.mark.parametrize("seed", range(3))
def test_a_hole_anywhere_costs_what_it_lies_in(seed: int) -> None:
    noise = random.Random(seed)
    ring = filled(RING, *(log(number, 150 + 37 * number) for number in range(1, 7)),
                  seed=b"\0" if seed else b"old text ")
    entries = scan(ring).entries
    for at in range(0, RING - LINE + 1, 7):
        for hole in (bytes(LINE), b"\xff" * LINE, noise.randbytes(LINE)):
            left = scanned(ring[:at] + hole + ring[at + LINE:])
            for entry in entries:
                start = entry.offset or 0
                if start + entry.size <= at or at + LINE <= start:
                    assert told(entry) in left


@pytest.mark.parametrize("seed", [b"\0", b"\xff", b"old text "])
@pytest.mark.parametrize("before", [0, 5, 40])
def test_an_append_cut_at_every_byte(before: int, seed: bytes) -> None:
    """Whatever the finished append keeps is whole all along; the new one absent, torn or whole."""
    ring = filled(RING, *(log(number, 100 + number % 7 * 50, "kernel" if number == 38 else "log")
                          for number in range(1, before + 1)), seed=seed)
    new = log(99, 500)
    writes = append_writes(ring, new)
    kept = [each for each in scanned(applied(ring, writes)) if each != told(new)]
    assert len(kept) >= min(before, 3)
    states = set()
    for count in range(sum(len(data) for _, data in writes) + 1):
        found = scan(applied(ring, cut(writes, count))).entries
        said = [told(entry) for entry in found]
        others = [each for each in said if each in scanned(ring)]
        assert [each for each in others if each in kept] == kept
        rest = [entry for entry in found if told(entry) not in others]
        assert len(rest) <= 1
        states.add("absent" if not rest else "torn" if rest[0].torn else "whole")
        if rest and rest[0].torn and rest[0].sequence:
            assert new.body.startswith(rest[0].body.rstrip(b"\n")) and rest[0].label == "log 99"
    assert states == {"absent", "torn", "whole"}


# --- room


def _at(offset: int, size: int, sequence: int, kind: str = "log", torn: bool = False) -> Entry:
    entry = Entry(kind, b"", sequence)
    entry.offset, entry.size, entry.torn = offset, size, torn
    return entry


def test_gaps() -> None:
    entries = [_at(64, 64, 1), _at(256, 128, 2)]
    assert gaps(entries, 512) == [(0, 64), (128, 128), (384, 128)]
    assert gaps([], 512) == [(0, 512)] and gaps([_at(0, 512, 1)], 512) == []


@pytest.mark.parametrize(("entries", "size", "offset", "goes"), [
    ([], 512, 0, []),
    ([], 576, None, []),
    ([_at(0, 64, 1)], 128, 64, []),                                     # behind the newest
    ([_at(0, 64, 1), _at(320, 64, 2)], 128, 384, []),
    ([_at(0, 64, 1), _at(384, 64, 2)], 128, 64, []),                    # round the end
    ([_at(0, 256, 1), _at(256, 192, 2)], 128, 0, [1]),                  # never across the end
    ([_at(0, 256, 3), _at(256, 256, 2)], 128, 256, [2]),                # the oldest, wherever
    ([_at(0, 256, 1), _at(256, 256, 2)], 512, 0, [1, 2]),
    ([_at(0, 256, 1, "kernel"), _at(256, 256, 2)], 64, 256, [2]),       # not the kernel's crash
    ([_at(0, 256, 1, "kernel"), _at(256, 256, 2, "kernel")], 64, 0, [1]),   # but an older one
    ([_at(0, 256, 1, "kernel"), _at(256, 256, 2, "kernel", True)], 64, 256, [2]),   # or a torn one
    ([_at(64, 64, 1, "kernel")], 448, None, []),
    ([_at(64, 64, 1, "kernel")], 384, 128, []),
    ([_at(0, 64, 0, torn=True), _at(64, 448, 1)], 64, 0, [0]),          # damaged ones first
    ([_at(0, 128, 1), _at(128, 128, 4), _at(256, 128, 2), _at(384, 128, 3)], 256, 256, [2, 3]),
])
def test_place(entries: list[Entry], size: int, offset: int | None, goes: list[int]) -> None:
    spot = place(entries, 512, size)
    assert (spot and (spot[0], [entry.sequence for entry in spot[1]])) == (
        None if offset is None else (offset, goes))
    assert (size <= largest(entries, 512)) is (offset is not None)


def _oldest_first(entries: list[Entry], capacity: int, size: int) -> int:
    """The newest that goes if they are dropped in order until there is room; -1: none has to."""
    kept = next(iter(journal._spared(entries, False)), None)
    left = sorted(entries, key=lambda entry: entry.sequence)
    newest = -1
    while not any(-(-start // LINE) * LINE + size <= start + length
                  for start, length in gaps(left, capacity)):
        dropped = next(entry for entry in left if entry is not kept)
        left.remove(dropped)
        newest = dropped.sequence
    return newest


@pytest.mark.parametrize("seed", range(5))
def test_thousands_of_appends(seed: int) -> None:
    """The ring never grows, the new one always stands, the newest crash never goes, and nothing
    goes that is newer than what has to."""
    chance = random.Random(seed)
    ring, crash = bytes(16384), None
    for number in range(1, 400):
        kind = "kernel" if chance.random() < 0.05 else "log"
        new = log(number, chance.choice((10, 100, 700, 2500)), kind)
        before = scan(ring).entries
        size = room_for(len(encode(new)) + len(str(number)))
        if size > largest(before, len(ring)):
            continue
        must = _oldest_first(before, len(ring), size)
        ring = written(ring, new)
        after = scanned(ring)
        assert told(new) in after and not any(entry.torn for entry in scan(ring).entries)
        gone = [entry.sequence for entry in before if told(entry) not in after]
        assert max(gone, default=-1) <= must
        crash = told(new) if kind == "kernel" else crash
        assert crash is None or crash in after
