"""Numbers and codes in plain language."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.page import words


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "0.0 s"), (1.944736, "1.9 s"), (192, "3 min 12 s"), (14700, "4 h 5 min"),
    (86400, "1 day 0 h"), (1047600, "12 days 3 h"), (-1, "an unknown time"),
    (math.inf, "an unknown time"), (math.nan, "an unknown time")])
def test_duration(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [
    (0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (21143, "20.6 KiB"),
    (1048576, "1.0 MiB")])
def test_size(count: int, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(("number", "text"), [
    (1, "first"), (3, "third"), (10, "tenth"), (11, "11th"), (12, "12th"), (21, "21st"),
    (22, "22nd"), (113, "113th"), (1003, "1003rd")])
def test_ordinal(number: int, text: str) -> None:
    assert words.ordinal(number) == text


def test_stamp_is_utc() -> None:
    assert words.stamp(1795379381.9) == {
        "iso": "2026-11-22T20:29:41Z", "date": "22 Nov 2026",
        "text": "22 Nov 2026, 20:29:41 UTC"}


@pytest.mark.parametrize("seconds", [None, math.nan, math.inf, -math.inf, 1e30, -1e30, 1e12])
def test_no_stamp_for_what_is_no_time(seconds: float | None) -> None:
    assert words.stamp(seconds) is None


@given(st.floats() | st.integers())
def test_stamp_never_raises(seconds: float) -> None:
    found = words.stamp(seconds)
    assert found is None or found["iso"].endswith("Z")


@pytest.mark.parametrize(("kernel", "kind", "label"), [
    ({"reason": "panic", "sequence": 2, "part": 1}, "Kernel panic", "Panic#2"),
    ({"reason": "oops", "sequence": 1, "part": 3}, "Kernel oops", "Oops#1 part 3"),
    ({"reason": "unknown", "sequence": None, "part": None}, "Kernel log", "Kernel log"),
    ({"reason": "new one", "sequence": None, "part": None}, "Kernel log", "Kernel log")])
def test_kernel_records_are_named(kernel: dict[str, Any], kind: str, label: str) -> None:
    record = {"kind": "kernel", "kernel": kernel}
    assert (words.kind(record), words.label(record)) == (kind, label)


def test_unknown_codes_have_words_too() -> None:
    assert words.kind({"kind": "radio", "kernel": None}) == "Record"
    assert words.cause("cosmic-ray") == words.cause("other")
