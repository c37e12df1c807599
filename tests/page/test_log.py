"""A kernel log as the page shows it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.page import log
from tests.page.models import sample


@pytest.mark.parametrize(("line", "expected"), [
    ("<6>[    1.934435] usb: hello", log.Line(6, "[    1.934435] ", "usb: hello")),
    ("<0>[12345.000001][  T42] Kernel panic", log.Line(0, "[12345.000001][  T42] ",
                                                       "Kernel panic")),
    ("<30>procd: facility daemon, severity info", log.Line(
        6, "", "procd: facility daemon, severity info")),
    ("[    0.1] console, no severity", log.Line(None, "[    0.1] ", "console, no severity")),
    ("Panic#2 Part1", log.Line(None, "", "Panic#2 Part1")),
    ("<x>no number", log.Line(None, "", "<x>no number")),
    ("<²>no digit", log.Line(None, "", "<²>no digit")),
    ("<>", log.Line(None, "", "<>")),
    ("<6", log.Line(None, "", "<6")),
    ("", log.Line(None, "", ""))])
def test_line(line: str, expected: log.Line) -> None:
    assert log.lines(line) == [expected]


@given(st.text())
def test_runs_keep_every_character_but_the_severities(text: str) -> None:
    parsed = log.lines(text)
    shown = "".join(run.text for run in log.runs(parsed))
    assert shown == "".join(line.stamp + line.text + "\n" for line in parsed)
    assert shown == text.removesuffix("\n") + "\n" or "<" in text


def test_runs_are_as_long_as_they_can_be() -> None:
    parsed = log.lines("<6>a\n<6>b\n<4>c\nd\n<6>e\n")
    assert log.runs(parsed) == [log.Run(6, "a\nb\n"), log.Run(4, "c\n"), log.Run(None, "d\n"),
                                log.Run(6, "e\n")]


@pytest.mark.parametrize(("text", "limit", "expected"), [
    ("one\ntwo\n", 100, "one\ntwo\n"),
    ("one\ntwo\n", 6, "two\n"),
    ("one long line", 4, "line"),
    ("one long line\n", 5, "line\n"),
    ("", 5, "")])
def test_newest_starts_with_a_line_where_it_can(text: str, limit: int, expected: str) -> None:
    assert log.newest(text, limit) == expected


@given(st.text(alphabet="ab\n"), st.integers(1, 20))
def test_newest_is_the_end_within_the_limit(text: str, limit: int) -> None:
    found = log.newest(text, limit)
    assert text.endswith(found)
    assert len(found) <= limit


CONTROLS = [("\x1b[31m", "␛[31m"), ("\x07\x08", "␇␈"), ("\x01", "␁"), ("\x7f", "␡"), ("\r", "␍"),
            ("\x9b", "\\x9b"), ("\u202e", "\\u202e"), ("\u2028", "\\u2028"),
            ("\ufeff", "\\ufeff"), ("\ufffd", "\ufffd"), ("a\tb\n", "a\tb\n"), ("Grüße", "Grüße")]


@pytest.mark.parametrize(("text", "expected"), CONTROLS)
def test_control_characters_become_visible(text: str, expected: str) -> None:
    assert log.visible(text) == expected


@pytest.mark.parametrize(("name", "first"), [
    ("c12_null_deref_panic_on_oops/dmesg-ramoops-0", "BUG: kernel NULL pointer dereference"),
    ("c12_null_deref_panic_on_oops/dmesg-ramoops-1", "BUG: kernel NULL pointer dereference"),
    ("c08_softlockup/dmesg-ramoops-0", "watchdog: BUG: soft lockup"),
    ("m02_mipsbe_malta/dmesg-ramoops-0", "sysrq: Trigger a crash"),
    ("s15_oom/dmesg-ramoops-0", "dd invoked oom-killer")])
def test_the_fault_is_found_in_real_logs(name: str, first: str) -> None:
    parsed = log.lines(sample(name))
    shown = log.around_fault(parsed)
    fault = [each for each in shown if isinstance(each, log.Line) and first in each.text]
    assert shown.index(fault[0]) == log.BEFORE
    assert len(shown) <= log.BEFORE + log.AFTER + 16


def test_the_last_of_several_faults_counts() -> None:
    """Sample c05: three oopses that the kernel outlived, then a panic."""
    logs = [log.lines(sample(f"c05_two_oops_then_panic/dmesg-ramoops-{n}")) for n in range(4)]
    faults = [log.around_fault(each)[log.BEFORE] for each in logs]
    assert len({fault.stamp for fault in faults if isinstance(fault, log.Line)}) == 4


def test_the_panic_an_oops_led_to_is_shown_with_it() -> None:
    shown = log.around_fault(log.lines(sample("c12_null_deref_panic_on_oops/dmesg-ramoops-1")))
    gap, panic = shown[-3:-1]
    assert gap == 33
    assert isinstance(panic, log.Line) and panic.text.startswith("Kernel panic - not syncing")


def test_gaps_count_what_is_left_out() -> None:
    parsed = log.lines("<1>BUG: x\n" + "<6>y\n" * 50 + "<0>Kernel panic - not syncing: Fatal\n")
    shown = log.around_fault(parsed)
    lines = sum(isinstance(each, log.Line) for each in shown)
    assert lines + sum(each for each in shown if isinstance(each, int)) == len(parsed)


def test_no_fault_no_excerpt() -> None:
    assert log.around_fault(log.lines("<6>all is well\n")) == []


@given(st.lists(st.sampled_from(["<1>BUG: x", "<4>---[ end trace 0 ]---", "<6>y", "", "<0>z"])))
def test_excerpts_are_bounded_and_in_order(chosen: list[str]) -> None:
    parsed = log.lines("\n".join(chosen))
    shown = log.around_fault(parsed)
    assert len(shown) <= log.BEFORE + log.AFTER + 16
    assert bool(shown) == any("BUG" in line for line in chosen)
