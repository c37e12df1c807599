"""Lines of a kernel log, as the kernel writes them and as others hand them on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.diagnose.line import Line, ends_of, last_time, lines_of

LINES = [
    ("<4>[   12.345678] a b", Line(12.345678, "a b")),
    ("<4>[   12.345678][  T123] a", Line(12.345678, "a")),
    ("[   12.345678] [c4] a", Line(12.345678, "a")),
    ("[  240.] a", Line(240.0, "a")),
    ("<4>a", Line(None, "a")),
    ("<4>[   12.345678] a\r", Line(12.345678, "a")),
    ("<12>[   12.345678] a", Line(12.345678, "a", True)),
    ("a: b", Line(None, "a: b")),
    ("<0      1.552341u Kernel panic", Line(1.552341, "Kernel panic")),
    ("<4>[    1.55r341] a", Line(None, "a")),
    ("\x1c4>[    1.552341\x1d a", Line(1.552341, "a")),
    ("<4>{    1\x2e552341]  a+0x1/0x2", Line(1.552341, "a+0x1/0x2")),
    ("<4>[    1n552341][  T123] a", Line(None, "a")),
    ("<4>[    1.", Line(None, "[    1.")),
    ("<4>00000000 00000000 00000000", Line(None, "00000000 00000000 00000000")),
    ("<4>[<80012345>] (f) from", Line(None, "[<80012345>] (f) from")),
    ("[<c0012345>] (f) from", Line(None, "[<c0012345>] (f) from")),
    ("Thu Sep  1 19:21:30 2022 kern.warn kernel: [  124.166968] a", Line(124.166968, "a")),
    ("Thu Sep  1 19:21:30 2022 kern.warn kernel: [  124.166968]         00", Line(
        124.166968, "00")),
    ("Jan  4 17:43:42 OpenWrt kernel: [ 2091.802849] a", Line(2091.802849, "a")),
    ("Jan 1 00:00:00 OpenWrt kern.err kernel: [ 2091.802849] a", Line(2091.802849, "a")),
    ("    May 17 18:48:11 kernel: [ 6141.921740] a: b", Line(6141.92174, "a: b")),
    ("Dec 20 14:02:50 kernel: a", Line(None, "a")),
    ("Apr 15 13:58:08.549417 host kernel:  a", Line(None, "a")),
    ("2024-05-01T12:00:00.123456+02:00 router.lan kernel: [    1.000000] a", Line(1.0, "a")),
    ("2024-05-01 12:00:00 kernel[0]: a", Line(None, "a")),
    ("alert kernel[]: [ 4591.684808] a", Line(4591.684808, "a")),
    ("[Thu Dec  7 00:05:15 2017] a", Line(None, "a")),
    ("16:56:35 [ 82.646346] a", Line(82.646346, "a")),
    ("root@OpenWrt:/# [88937.005139] a", Line(88937.005139, "a")),
    ("OpenWrt login: [   35.184476] a", Line(35.184476, "a")),
    ("** 93 printk messages dropped ** [  322.962139] a", Line(322.962139, "a")),
    ("16:56:35 a", Line(None, "16:56:35 a")),
    ("6,339,5140900,-;a", Line(5.1409, "a")),
    ("12,339,5140900,-;a", Line(5.1409, "a", True)),
    ("6,339,5140900,c,caller=T1;a", Line(5.1409, "a")),
    ("Jan  4 17:43:42 OpenWrt hostapd: a", Line(None, "a", True)),
    ("Jan  4 17:43:42 OpenWrt hostapd[77]: [    1.000000] a", Line(None, "[    1.000000] a", True)),
    ("Thu Sep  1 19:21:30 2022 user.info kernel: [    1.000000] a", Line(
        None, "[    1.000000] a", True)),
    ("<4>1 2014-08-27T23:36:42-07:00 router.lan kernel - - - kernel: [    1.000000] a", Line(
        1.0, "a")),
    ("<12>1 2014-08-27T23:36:42-07:00 router.lan kernel - - - kernel: [    1.000000] a", Line(
        None, "[    1.000000] a", True)),
    ("<4>Jan  4 17:43:42 OpenWrt kernel: [    1.000000] a", Line(1.0, "a")),
    ("<14>Jan  4 17:43:42 OpenWrt hostapd: a", Line(None, "a", True)),
    ("May  5 16:04:59 kernel: <1>a", Line(None, "a")),
    ("[  183.000000][5 T1     d.] a", Line(183.0, "a")),
    ("[  183.000000][12 C0    ...] a", Line(183.0, "a")),
    ("2024-05-01T12:00:00,123456+02:00 Internal error: a", Line(None, "Internal error: a")),
    ("kern  :alert : [    1.000000] a", Line(1.0, "a")),
    ("user  :notice: [    1.000000] a", Line(None, "user  :notice: [    1.000000] a")),
    ("user  :notice : [    1.000000] a", Line(None, "[    1.000000] a", True)),
    (" kernel:[    1.000000] a", Line(1.0, "a")),
    ("x y hostapd[7]: [    1.000000] a", Line(None, "x y hostapd[7]: [    1.000000] a")),
    ("2021-10-05 00:37:49 | [    1.000000] a", Line(1.0, "a")),
    ("                  [    1.000000]  a", Line(1.0, "a")),
    ("[2024-05-01 12:00:00] [    1.000000] a", Line(1.0, "a")),
    ("[2024-05-01 12:00:00.123] [    1.000000] a", Line(1.0, "a")),
    ("[12:00:00.123][    1.000000] a", Line(1.0, "a")),
    ("In(05) vcpu-5 - Guest - <4>[    1.000000] a", Line(1.0, "a")),
    ("In(05) vcpu-5 - Guest - <12>[    1.000000] a", Line(1.0, "a", True)),
    ("kernel: a", Line(None, "a")),
    ("kernel: [    1.000000] a", Line(1.0, "a")),
    ("07:37:18 kernel: a: b", Line(None, "a: b")),
    ("07:37:18 hostapd: a", Line(None, "07:37:18 hostapd: a")),
    ("34.000000] a: b", Line(None, "a: b")),
    ("000][T123] a: b", Line(None, "a: b")),
    ("4>[    1.000000] a", Line(1.0, "a")),
    ("> > a: b", Line(None, "a: b")),
    (">>  <4>[    1.000000] a", Line(1.0, "a")),
    (">  [    1.000000] a", Line(1.0, "a")),
    ("/ # [    1.000000] a", Line(1.0, "a")),
    ("\x1b[33m[    1.000000] \x1b[0m\x1b[1;31ma: b\x1b[0m", Line(1.0, "a: b")),
    ("<4>[    1.000000] a^M", Line(1.0, "a")),
    ("[    1.000000] a    ", Line(1.0, "a")),
    ("Jan  4 17:43:42 and so on", Line(None, "Jan  4 17:43:42 and so on")),
]


@pytest.mark.parametrize(("text", "line"), LINES)
def test_a_line(text: str, line: Line) -> None:
    assert lines_of(text) == [line]


def test_the_last_time() -> None:
    assert last_time(lines_of("[    1.000000] a\n6,1,2000000,-;b\nc\n")) == 2.0
    assert last_time(lines_of("a\n")) is None


@given(st.text())
def test_any_text_is_welcome(text: str) -> None:
    lines = lines_of(text)
    assert len(lines) == len([line for line in text.split("\n") if line])
    assert all(line.text in text for line in lines)


def test_of_a_text_larger_than_any_log_the_lines_in_the_middle_are_not_made(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lastlog_py.diagnose.line._BEGINNING", 20)
    monkeypatch.setattr("lastlog_py.diagnose.line._END", 30)
    text = "".join(f"line {number}\n" for number in range(100, 200))
    assert [each.text for each in lines_of(text)] == \
        ["line 100", "line 101", "li", "96", "line 197", "line 198", "line 199"]
    assert ends_of("x" * 50) == "x" * 50 and len(ends_of("x" * 5000)) == 51
