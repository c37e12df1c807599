"""report.py and names.py: a crash as text, and as one line."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump import offline, reading, words
from lastlog_py.coredump.crash import Crash, FrameRow, ModuleRow, ThreadRow
from lastlog_py.coredump.module import Module
from lastlog_py.coredump.names import code_name, signal_name
from lastlog_py.coredump.report import escape, plain_log, render, title
from tests.coredump import cases

WHOLE = """\
lastlog core dump 1
Executable: /usr/sbin/uhttpd
Command: uhttpd -f -h /www
PID: 1203
TID: 1204
UID: 0
Machine: mipsel
Signal: 11 SIGSEGV
Code: SEGV_MAPERR
Fault-Address: 0x10
Truncated: yes
Threads-Cut: yes
Dropped: 3
Note: one
Note: two

Module 0: base=0x77a00000 size=0x9f000 build-id=ab12 path=/lib/libc.so
Module 1: base=0x400000 size=0x1000 text-id=77 path=/usr/sbin/a b

Thread 1204: crashed cut omitted=120 gap=2
Registers: pc=0x77a01c34 sp=0x7fff0000
#0 0x77a01c34 module=0 offset=0x1c34 how=registers symbol=strlen+0x14
#1 0x400100 module=1 offset=0x100 how=prologue
#2 0x5 how=scan

Thread 1203:
Registers: pc=0x1

System log:
one
two
"""


def module(path: str, base: int, size: int) -> ModuleRow:
    return ModuleRow(Module(path, base, size, None, []))


def frame(pc: int, how: str = "cfi", module: int | None = None, offset: int | None = None,
          symbol: str | None = None, symbol_offset: int = 0) -> FrameRow:
    row = FrameRow(pc, how)
    row.module, row.offset, row.symbol, row.symbol_offset = module, offset, symbol, symbol_offset
    return row


def thread(tid: int, *frames: FrameRow, crashed: bool = False) -> ThreadRow:
    row = ThreadRow(tid, crashed)
    row.registers, row.frames = [("pc", 1)], list(frames)
    return row


def whole() -> Crash:
    """The crash of WHOLE."""
    crash = Crash(11, 1203)
    crash.executable, crash.command = "/usr/sbin/uhttpd", "uhttpd -f -h /www"
    crash.tid, crash.uid, crash.machine, crash.code_name = 1204, 0, "mipsel", "SEGV_MAPERR"
    crash.fault_address, crash.truncated, crash.threads_cut, crash.dropped = 16, True, True, 3
    crash.notes = ["one", "two"]
    libc, own = module("/lib/libc.so", 0x77a00000, 0x9f000), module("/usr/sbin/a b", 0x400000, 4096)
    libc.build_id, own.text_id = "ab12", "77"
    crash.modules = [libc, own]
    first = thread(1204, frame(0x77a01c34, "registers", 0, 0x1c34, "strlen", 0x14),
                   frame(0x400100, "prologue", 1, 0x100), frame(5, "scan"), crashed=True)
    first.registers = [("pc", 0x77a01c34), ("sp", 0x7fff0000)]
    first.cut, first.omitted, first.gap = True, 120, 2
    crash.threads = [first, thread(1203)]
    return crash


def test_all_of_it() -> None:
    assert render(whole(), 1 << 20, b"one\ntwo\n").decode() == WHOLE


def test_what_is_not_known_has_no_line() -> None:
    assert render(Crash(), 1000) == b"lastlog core dump 1\n"
    assert render(Crash(11, 5), 1000) == b"lastlog core dump 1\nPID: 5\nSignal: 11 SIGSEGV\n"
    assert b"Signal: 200\n" in render(Crash(200), 1000)


def many(threads: int, frames: int = 20) -> Crash:
    crash = Crash(6, 1)
    crash.threads = [thread(at, *(frame(pc, symbol="a_function") for pc in range(frames)),
                            crashed=at == 0) for at in range(threads)]
    return crash


@pytest.mark.parametrize("room", [1000, 3000, 10000, 100000])
def test_the_room_is_kept_to(room: int) -> None:
    """The crashed thread goes before the log, and some of the log before the other threads."""
    log = b"".join(b"line %d\n" % at for at in range(1000))
    text = render(many(64), room, log)
    dump = reading.read(text.decode())
    assert len(text) <= room and dump is not None
    assert len(dump["threads"][0]["frames"]) == 20 or room == 1000
    assert dump["threads_cut"] == (len(dump["threads"]) < 64)
    if room > 1000:
        said = text.decode().partition("\nSystem log:\n")[2]
        assert said.startswith("line ") and said.endswith("line 999\n")


@pytest.mark.parametrize("room", [0, 200, 400, 700])
def test_little_room_is_for_the_innermost_frames(room: int) -> None:
    dump = reading.read(render(many(3), room, b"log\n").decode())
    assert dump is not None and dump["signal"] == 6 and dump["threads_cut"]
    first, = dump["threads"]
    assert first["crashed"] and first["frames_cut"] and len(first["frames"]) < 20
    assert [int(each["pc"], 16) for each in first["frames"]] == list(range(len(first["frames"])))


def loaded(modules: int, length: int) -> Crash:
    """A program with 20 frames, and as many libraries with paths of that length."""
    crash = many(3)
    crash.modules = [module(f"/{at:0{length}}/lib{at}.so", at << 24, 1) for at in range(modules)]
    for at, each in enumerate(crash.threads[0].frames):
        each.module, each.offset = at % 2 + 3, at
    crash.threads[1].frames[0].module, crash.threads[1].frames[0].offset = 7, 0
    return crash


@pytest.mark.parametrize(("modules", "length", "room"), [
    (40, 60, 4096), (128, 60, 16384), (128, 1000, 32768), (128, 4000, 8192)])
def test_no_module_takes_the_room_of_the_frames(modules: int, length: int, room: int) -> None:
    """Those that the frames are in come with them, all others last."""
    text = render(loaded(modules, length), room, b"log\n")
    dump = reading.read(text.decode())
    assert len(text) <= room and dump is not None and text.endswith(b"\nSystem log:\nlog\n")
    frames = [frame for each in dump["threads"] for frame in each["frames"]]
    assert len(frames) == 60 and not dump["threads_cut"]
    assert [each["module"].rpartition("/")[2] for each in frames[:3]] == [
        "lib3.so", "lib4.so", "lib3.so"]
    assert frames[20]["module"].endswith("lib7.so")
    assert all(len(each["path"]) <= 300 for each in dump["modules"])
    assert 3 <= len(dump["modules"]) < modules or room > 16384


def test_threads_stop_where_the_log_begins() -> None:
    crash = loaded(8, 290)
    crash.threads *= 20
    text = render(crash, 8192, b"line\n" * 2000)
    dump = reading.read(text.decode())
    assert dump is not None and dump["threads_cut"] and 1 < len(dump["threads"]) < 60
    assert len(text.partition(b"\nSystem log:\n")[2]) > 4000 and len(text) <= 8192


@pytest.mark.parametrize(("path", "expected"), [
    ("/bin/x", "/bin/x"), ("/" + "x" * 1023, "/" + "x" * 1023),
    ("/" + "a" * 2000 + "/name", "/" + "a" * 127 + "..." + "a" * 888 + "/name"),
    ("\u202e" * 400, r"\xe2\x80\xae" * 10 + "..." + r"\xe2\x80\xae" * 75)])
def test_a_long_path_keeps_its_end(path: str, expected: str) -> None:
    crash = Crash(11, 1)
    crash.executable = path
    line = render(crash, 1 << 16).decode().split("\n")[1]
    assert line == f"Executable: {expected}" and len(line) <= 12 + 1024


@pytest.mark.parametrize(("value", "expected"), [
    ("plain /path with spaces", "plain /path with spaces"), ("a\nSignal: 9", r"a\x0aSignal: 9"),
    ("\x1b[31m", r"\x1b[31m"), ("a\\b", r"a\x5cb"), ("\udcff", r"\xff"), ("é", "é"),
    ("\u202eevil", r"\xe2\x80\xaeevil"), ("\x7f\x85\u2028", r"\x7f\xc2\x85\xe2\x80\xa8"),
    ("\ud800", r"\xed\xa0\x80"), ("\0", r"\x00"), ("x" * 5000, "x" * 1024)])
def test_one_line_stays_one_line(value: str, expected: str) -> None:
    assert escape(value) == expected


@given(st.text(max_size=60), st.text(max_size=60), st.text(min_size=1, max_size=60), st.binary())
def test_whatever_a_program_is_called(path: str, command: str, symbol: str, log: bytes) -> None:
    crash = many(2)
    crash.executable, crash.command, crash.name = path, command, path
    crash.modules = [module(path, 0, 1)]
    crash.threads[0].frames[0].symbol = symbol
    text = render(crash, 1 << 20, plain_log(log)).decode()
    assert len(text.partition("\nSystem log:\n")[0].split("\n")) in range(50, 60)
    assert all(line.isprintable() for line in text.partition("\nSystem log:\n")[0].split("\n"))
    assert title(crash).isprintable() and "\0" not in text
    dump = reading.read(text)
    assert dump is not None and len(dump["threads"]) == 2 and dump["signal"] == 6


# --- the title


def test_titles() -> None:
    assert title(whole()) == "uhttpd: SIGSEGV in strlen"
    assert title(Crash()) == "a program: crashed"
    assert title(Crash(200)) == "a program: signal 200"


LIBC = 1


@pytest.mark.parametrize(("frames", "place"), [
    ([frame(1, symbol="f"), frame(2, symbol="g")], " in f"),
    ([frame(1, "cfi", LIBC, 1, "raise"), frame(2, "cfi", LIBC, 2),
      frame(3, "cfi", LIBC, 3, "abort"), frame(4, symbol="g")], " in g"),
    ([frame(1, "cfi", LIBC, 1, "abort")], " in abort"),
    ([frame(1, "cfi", 0, 1, "abort"), frame(2, symbol="g")], " in abort"),      # its own
    ([frame(1, symbol="handler"), frame(2, "signal", symbol="f")], " in handler"),
    ([frame(1, "cfi", LIBC, 1, "abort"), frame(2, "signal", symbol="f")], " in f"),
    ([frame(1, "cfi", LIBC, 1, "abort"), frame(2, "signal", LIBC, 2, "abort"),
      frame(4, module=0, offset=16)], " in prog+0x10"),
    ([frame(1, "cfi", LIBC, 1, "abort"), frame(2, "cfi", 2, 1, "_ZSt9terminatev"),
      frame(4, module=0, offset=16)], " in prog+0x10"),
    ([frame(0x123)], "")])
def test_the_place_is_behind_what_only_ends_the_program(frames: list[FrameRow],
                                                        place: str) -> None:
    """And the title that is made of the text begins with the same."""
    crash = Crash(6)
    crash.name = crash.executable = "p"
    crash.modules = [module("/bin/prog", 0x1000, 0x1000), module("/lib/libc.so", 0, 0),
                     module("/usr/lib/libstdc++.so.6", 0, 0)]
    crash.threads = [thread(1, *frames, crashed=True)]
    assert title(crash) == f"p: SIGABRT{place}"
    dump = reading.read(render(crash, 1 << 16).decode())
    assert dump is not None and words.title(dump).startswith(f"{title(crash)}: ")


@cases.needs_cores()
@pytest.mark.parametrize("mode", ["sig", "nullcall", "abort"])
def test_the_label_of_a_real_crash_begins_its_title(mode: str,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Crash] = []
    monkeypatch.setattr(offline, "render", lambda crash, room: (made.append(crash),
                                                                render(crash, room))[1])
    for set_ in cases.sets():
        for case in cases.cases(f"{set_}/{mode}"):
            text = offline.text_of(str(case.core()), str(case.sysroot()))
            dump = reading.read(text.decode())
            assert dump is not None
            label = title(made.pop()).partition(": ")[2]
            assert words.title(dump).partition(": ")[2].startswith(label), case.name


# --- names


def test_signals_are_called_as_this_machine_calls_them() -> None:
    for each in signal.Signals:
        if each < signal.SIGRTMIN and each.name not in ("SIGRTMIN", "SIGRTMAX"):
            assert signal_name(each) == each.name
    assert signal_name(0) is None and signal_name(-1) is None and signal_name(65) is None
    assert signal_name(40) == "SIG40"


@pytest.mark.parametrize(("number", "name"), [
    (4, "SIGILL"), (6, "SIGABRT"), (7, "SIGEMT"), (10, "SIGBUS"), (11, "SIGSEGV"), (12, "SIGSYS"),
    (13, "SIGPIPE"), (16, "SIGUSR1"), (17, "SIGUSR2"), (18, "SIGCHLD"), (30, "SIGXCPU"),
    (31, "SIGXFSZ"), (100, "SIG100"), (128, None)])
def test_signals_of_mips(number: int, name: str | None) -> None:
    assert signal_name(number, "mips") == name


@pytest.mark.parametrize(("number", "code", "family", "name"), [
    (11, 1, "x86", "SEGV_MAPERR"), (11, 2, "arm", "SEGV_ACCERR"), (11, 0x80, "x86", "SI_KERNEL"),
    (7, 1, "arm", "BUS_ADRALN"), (10, 1, "mips", "BUS_ADRALN"), (8, 1, "x86", "FPE_INTDIV"),
    (4, 1, "x86", "ILL_ILLOPC"), (5, 1, "x86", "TRAP_BRKPT"), (31, 1, "x86", "SYS_SECCOMP"),
    (6, -6, "x86", "SI_TKILL"), (6, 0, "x86", "SI_USER"), (14, -2, "x86", "SI_TIMER"),
    (14, -2, "mips", "SI_ASYNCIO"), (14, -3, "mips", "SI_TIMER"), (11, 99, "x86", None),
    (200, 1, "x86", None)])
def test_codes(number: int, code: int, family: str, name: str | None) -> None:
    assert code_name(number, code, family) == name
