"""Call traces as each architecture writes them."""

from __future__ import annotations

import pytest

from lastlog_py.diagnose import symbol
from lastlog_py.diagnose.line import Line
from lastlog_py.record import Frame


def trace(texts: list[str]) -> tuple[Frame, ...]:
    return next(symbol.traces([Line(None, text) for text in texts]), ())


F = Frame("f", "0x11", None, True)
M = Frame("f", "0x11", "mod", True)

LINES = [
    (" f+0x11/0x20", [F]),                                              # x86, arm64
    (" ? f+0x11/0x20", [F._replace(reliable=False)]),
    (" f+0x11/0x20 [mod]", [M]),
    (" f+0x11/0x20 [mod 0123456789abcdef0123456789abcdef01234567]", [M]),
    (" f+0x11/0x20 [mod] (P)", [M]),                                    # arm64 v6.10
    ("[<ffffffff81062ed1>] f+0x11/0x20", [F]),                          # until v4.9; mips
    ("[<ffffffff81062ed1>] ? f+0x11/0x20", [F._replace(reliable=False)]),
    (" <IRQ>  [<ffffffff81062ed1>] f+0x11/0x20", [F]),
    ("[<(ptrval)>] f+0x11/0x20", [F]),
    ("[<8012abcd>] f.isra.3+0x11/0x20 [mod]", [M._replace(function="f.isra.3")]),
    (" f+0x0/0x20", [Frame("f", "0x0", None, False)]),                  # behind a noreturn call
    (" f+0x11/0x20 (unreliable)", [F._replace(reliable=False)]),
    # OpenWrt without symbols
    (" 0xffffffc000c81e2c [mod@000000006b7888f1+0x12000]",
     [Frame("0xffffffc000c81e2c", None, "mod", True)]),
    ("[<86d8a7a4>] 0x86d8a7a4 [mod@86d80000+0x7e000]", [Frame("0x86d8a7a4", None, "mod", True)]),
    # arm
    ("[<c0012345>] (g) from [<c0054321>] (f+0x11/0x20)", [Frame("g", None, None, True), F]),
    ("[<bf012345>] (g [n]) from [<bf054321>] (f+0x11/0x20 [mod])",
     [Frame("g", None, "n", True), M]),
    ("[<c0019e08>](g+0x0/0x118) from [<c001a16c>](f+0x11/0x1c)",
     [Frame("g", None, None, True), F]),
    (" g from f+0x11/0x20", [Frame("g", None, None, True), F]),
    (" g [n] from f+0x11/0x20 [mod]", [Frame("g", None, "n", True), M]),
    # powerpc: the stack, the return address; its debugger
    ("[c1863d70] [c0478104] f+0x11/0x20", [F]),
    ("[c000003fdce37970] [c00000000033720c] f+0x11/0x20 [mod] (unreliable)",
     [M._replace(reliable=False)]),
    ("[c1863d70] [c0478104] 0xc0478104", [Frame("0xc0478104", None, None, True)]),
    ("[c00000004a3dfb00] c000000000451764 f+0x11/0x20", [F]),
    ("[c0000000037fb640] [d0000000008cb4dc] .f+0x11/0x20 [mod]", [M]),
    # no frames
    ("f+0x11", [F._replace(offset="0x11")]),
    ("RIP: 0010:f+0x11/0x20", []),
    ("Code: 00000000 8e620028", []),
    ("eth0: link up from here", []),
    ("", []),
]


@pytest.mark.parametrize(("line", "frames"), LINES)
def test_a_line(line: str, frames: list[Frame]) -> None:
    assert trace(["Call Trace:", line]) == tuple(frames)


@pytest.mark.parametrize("end", ["Call trace:", " </TASK>", "---[ end trace 0 ]---",
                                 "Kernel panic - not syncing: x", "Modules linked in: a"])
def test_a_trace_ends(end: str) -> None:
    assert trace(["junk", " g+0x1/0x2", "Call Trace:", " <TASK>", " f+0x11/0x20", end,
                  " g+0x1/0x2"]) == (F,)


def test_registers_of_an_interrupted_function_do_not_end_a_trace() -> None:
    assert trace(["Call Trace:", " <IRQ>", " f+0x11/0x20", " </IRQ>", " <TASK>",
                  "RIP: 0010:h+0x1/0x2", "Code: 00 00", "RSP: 0018:ffff EFLAGS: 1",
                  " f+0x11/0x20 [mod]"]) == (F, M)


def test_a_log_may_hold_many_traces() -> None:
    lines = [Line(None, text) for text in (
        " f+0x11/0x20 [mod]", "---[ end trace 0 ]---", " g+0x1/0x2", "Call Trace:", " f+0x11/0x20",
        "Call Trace:", "junk", "Call Trace:", " f+0x11/0x20 [mod]")]
    assert list(symbol.traces(lines)) == [(F,), (M,)]
    assert list(symbol.traces(lines, begun=True)) == [(M,), (F,), (M,)]


def test_arm_needs_no_headline() -> None:
    assert trace(["junk", "[<c0012345>] (g) from [<c0054321>] (f+0x11/0x20)",
                  "[<c0054321>] (f) from [<c0054399>] (f+0x11/0x20 [mod])"]
                 ) == (Frame("g", None, None, True), F, M)
