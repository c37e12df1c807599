"""medium/android_log.py: liblog's frames in pmsg."""

from __future__ import annotations

import struct

import pytest

from lastlog_py.medium import android_log
from lastlog_py.record import Source
from tests.foreign import frame, said

HEAD = "1700000000.123   321   322"


def text(body: bytes) -> str | None:
    found = android_log.text_of(body)
    return None if found is None else found.decode("utf-8", "replace")


def test_entries_as_logcat_prints_them() -> None:
    body = said("link up\nspeed 1000", "netd") + said("dead", "a long tag", "F", pid=7, tid=8)
    assert text(body) == (f"{HEAD} I netd    : link up\n{HEAD} I netd    : speed 1000\n"
                          "1700000000.123     7     8 F a long tag: dead\n")


@pytest.mark.parametrize(("values", "shown"), [
    (b"\0" + struct.pack("<i", -5), "-5"), (b"\1" + struct.pack("<q", 1 << 40), "1099511627776"),
    (b"\2" + struct.pack("<I", 4) + b"wlan", "wlan"), (b"\4" + struct.pack("<f", 0.5), "0.5"),
    (b"\3\2\0" + struct.pack("<i", 1) + b"\2" + struct.pack("<I", 1) + b"x", "[1,x]"),
    (b"\3\1\3\1\0" + struct.pack("<i", 3), "[[3]]"), (b"", "[]"), (b"\x09rest", "[]"),
    (b"\3\5\0" + struct.pack("<i", 1), "[1]"), (b"\3", "[]"), (b"\2\xff\xff\xff\xffend", "end"),
    (b"\3\1" * 4, "[[[[]]]]")])
def test_binary_entries(values: bytes, shown: str) -> None:
    body = frame(struct.pack("<i", 2722) + values, 2)
    assert text(body) == f"{HEAD} I [2722]  : {shown}\n"


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_ring_that_has_wrapped_begins_within_a_frame(cut: int) -> None:
    body = said("lost little lines, all of them l") + said("two") + said("three")
    lines = text(body[cut:])
    assert lines is not None
    assert lines.endswith(f"{HEAD} I netd    : two\n{HEAD} I netd    : three\n")


def test_of_a_frame_that_was_cut_what_is_text_is_kept() -> None:
    body = (said("the end of what was said") + said("two") * 3)[30:]
    assert body.startswith(b"d of what")
    lines = text(body)
    assert lines is not None and lines.startswith("d of what was said\n17")


def test_a_damaged_frame_costs_itself_alone() -> None:
    body = bytearray(said("one") * 3 + said("bad") + said("two") * 3)
    body[len(said("one")) * 3 + 2] ^= 0x80
    lines = text(bytes(body))
    assert lines is not None and lines.count(": one\n") == lines.count(": two\n") == 3
    assert "bad" in lines


@pytest.mark.parametrize("body", [b"", b"a log of a program\nall text\n", b"l" * 200, b"l" * 17,
                                  b"plain text " * 30 + said("one"), bytes(500),
                                  b"\xff" * 500, said("x")[:-1]])
def test_text_is_left_as_it_is(body: bytes) -> None:
    assert text(body) is None
    record = android_log.record_of(body, Source("pstore"))
    assert (record.raw or record.text.encode()) == body


def test_the_record_keeps_the_bytes() -> None:
    body = said("one") * 4
    record = android_log.record_of(body, Source("pstore"))
    assert record.kind == "pmsg" and record.raw == body and record.text.count("netd") == 4
    assert record.id != android_log.record_of(said("two") * 4, Source("pstore")).id
