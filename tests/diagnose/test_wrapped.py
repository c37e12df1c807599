"""Lines that were broken in two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.diagnose.line import Line, lines_of
from lastlog_py.diagnose.wrapped import joined

BROKEN = [
    ("[    5.000000] BUG: kernel NULL pointer dereference, address:", "0000000000000004"),
    ("Unable to handle kernel paging request at virtual address", "ffffff80f41e8e80"),
    ("BUG: Unable to handle kernel data access at", "0xffffffffffffffdc"),
    ("CPU 0 Unable to handle kernel paging request at virtual address",
     "00000000, epc == 802c3064, ra == 8022b4b4"),
    ("WARNING: CPU: 1 PID: 1277 at backports-2017-11-01/net/mac80211/key.c:",
     "1010 mt76_wcid_key_setup+0x6c/0x138 [mt76]"),
    ("WARNING: CPU: 0 PID: 4 at drivers/usb/core/urb.c:450", "usb_submit_urb+0x162/0x404"),
    ("[    5.000000] RIP: 0010:mt7921_init_acpi_sar+0x106/0x220", "[mt7921_common]"),
]

WHOLE = [
    ("[    5.000000] Unable to handle kernel paging request at virtual address 00000004",
     "pgd = c0004000"),
    ("[    5.000000] BUG: kernel NULL pointer dereference, address:", "[    5.000100] 00000004"),
    ("WARNING: CPU: 0 PID: 4 at drivers/usb/core/urb.c:450", "Modules linked in: a"),
    (" f+0x1/0x2", " g+0x1/0x2 [m]"),
    ("[<80012345>] f+0x1/0x2", "[<80012345>] g+0x1/0x2"),
    ("at virtual address", "<12>00000004"),
]


@pytest.mark.parametrize(("first", "second"), BROKEN)
def test_a_broken_line(first: str, second: str) -> None:
    lines = lines_of(f"a\n{first}\n  {second}\nb")
    one = lines[1]._replace(text=f"{lines[1].text} {second}")
    assert joined(lines) == [lines[0], one, lines[3]]


@pytest.mark.parametrize(("first", "second"), WHOLE)
def test_two_lines(first: str, second: str) -> None:
    lines = lines_of(f"{first}\n{second}")
    assert joined(lines) == lines


def test_many_halves_do_not_become_one_line() -> None:
    """Each begins as a second half does, and ends as a first one."""
    lines = lines_of("\n".join(["00000000 " + "x" * 360 + " address"] * 9))
    found = joined(lines)
    assert [len(line.text) for line in found] == 4 * [2 * len(lines[0].text) + 1] \
        + [len(lines[8].text)]


def test_no_line_is_longer_than_a_kernel_prints() -> None:
    lines = lines_of("x" * 2030 + " address\n00000000\n" + "x" * 2039 + " address\n00000000")
    assert [len(line.text) for line in joined(lines)] == [2047, 2047, 8]


@given(st.lists(st.builds(Line, st.none(), st.sampled_from(
    [line for pair in BROKEN + WHOLE for line in pair] + ["", "a"]))))
def test_nothing_is_lost(lines: list[Line]) -> None:
    found = joined(lines)
    assert len(found) <= len(lines)
    assert " ".join(line.text for line in found) == " ".join(line.text for line in lines)
