"""handler.py and outlet.py: whatever comes, a record is written, in time."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from lastlog_py import service
from lastlog_py.archive import Archive
from lastlog_py.boot import moment
from lastlog_py.coredump import limiter, reading
from lastlog_py.coredump.core import Stream, capture, read_head
from lastlog_py.coredump.core_program import core_context
from lastlog_py.coredump.crash import Crash, examine, take_core
from lastlog_py.coredump.report import render, title
from lastlog_py.medium import journal_device
from tests.coredump import corefile
from tests.coredump.crashing import ROOT, Router, folder

KIND = corefile.KINDS["x86_64"]
CODE, STACK = 0x400000, 0x7ffd0000
ARGUMENTS = (812, 813, 0, 0, 1, 11, 1795420930, "!usr!sbin!prog")
STATUS = "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nNSpid:\t812\nCoreDumping:\t1\n"


@pytest.fixture
def router() -> Iterator[Router]:
    """One without a process in /proc: all is from the core."""
    with folder() as path:
        yield Router(path)


def core(secure: bool = False, threads: int = 1) -> bytes:
    """A crash in a program of one mapped file, whose stack holds nothing."""
    notes = corefile.note(KIND, 1, corefile.prstatus(KIND, 813, 11, corefile.registers(
        KIND, pc=CODE + 0x123, sp=STACK + 64)))
    notes += corefile.note(KIND, 3, corefile.prpsinfo(KIND, 812, 0, "prog", "prog -f"))
    notes += corefile.note(KIND, 0x53494749, corefile.siginfo(KIND, 11, 1, 0x10))
    notes += corefile.note(KIND, 6, KIND.pack([23, int(secure), 0, 0]))
    notes += corefile.note(KIND, 0x46494c45, corefile.files(
        KIND, [(CODE, CODE + 4096, 0, "/usr/sbin/prog")]))
    for tid in range(1, threads):
        notes += corefile.note(KIND, 1, corefile.prstatus(KIND, 813 + tid, 0, corefile.registers(
            KIND, pc=CODE + tid, sp=STACK + 64)))
    return corefile.core(KIND, notes, [(CODE, 5, bytes(4096)), (STACK, 6, bytes(4096))])


def notes(dump: dict[str, Any]) -> str:
    return " ".join(dump["notes"])


# --- the ordinary way


def test_a_core_without_a_process(router: Router) -> None:
    assert router.handle(core(), *ARGUMENTS).returncode == 0
    dump = router.dump()
    assert dump["executable"] == "/usr/sbin/prog" and dump["command"] == "prog -f"
    assert (dump["pid"], dump["tid"], dump["uid"]) == (812, 813, 0)
    assert (dump["signal_name"], dump["code_name"]) == ("SIGSEGV", "SEGV_MAPERR")
    assert (dump["machine"], dump["fault_address"]) == ("x86_64", "0x10")
    first = dump["threads"][0]["frames"][0]
    assert (first["module"], first["offset"]) == ("/usr/sbin/prog", "0x123")
    assert "gone from /proc" in notes(dump)
    entry, = router.entries()
    assert (entry.kind, entry.form) == ("coredump", "text")
    assert entry.label == "prog: SIGSEGV in prog+0x123"


def test_a_core_and_what_proc_says(router: Router) -> None:
    router.process(812, status=STATUS, comm="prog\n", cmdline=b"prog\0-x\0", exe="/opt/prog",
                   maps=b"", root="/")
    router.handle(core(), *ARGUMENTS)
    dump = router.dump()
    assert (dump["executable"], dump["command"]) == ("/opt/prog", "prog -x")
    assert len(dump["threads"][0]["frames"]) >= 1 and "not in /proc" in notes(dump)


def test_more_threads_than_are_wanted(router: Router) -> None:
    router.configure(max_threads=3)
    router.handle(core(threads=9), *ARGUMENTS)
    dump = router.dump()
    assert len(dump["threads"]) == 3 and dump["threads_cut"]


# --- what is not kept of whom


@pytest.mark.parametrize(("dumpable", "status", "secure", "word"), [
    (2, STATUS, False, "dumpable is 2"), (0, STATUS, False, "dumpable is 0"),
    ("x", STATUS, False, "dumpable is unknown"),
    (1, STATUS.replace("Uid:\t0\t0", "Uid:\t0\t5"), False, "Uid 0/5/0/0"),
    (1, STATUS.replace("Gid:\t0\t0", "Gid:\t0\t7"), False, "Gid 0/7/0/0"),
    (1, STATUS, True, "rights of its file")])
def test_whose_memory_is_nobodys_business(router: Router, dumpable: object, status: str,
                                          secure: bool, word: str) -> None:
    router.configure(keep_core=1 << 16)
    router.process(812, status=status, exe="/usr/sbin/prog", root="/")
    router.handle(core(secure), 812, 813, 0, 0, dumpable, *ARGUMENTS[5:])
    dump = router.dump()
    assert word in notes(dump) and "None of its memory is kept" in notes(dump)
    assert dump["threads"][0]["frames"]


def test_nobody_is_told_of_a_core_that_nobody_wants(router: Router) -> None:
    router.process(812, status=STATUS, exe="/usr/sbin/prog", root="/")
    router.handle(core(secure=True), 812, 813, 0, 0, 2, *ARGUMENTS[5:])
    assert router.dump()["notes"] == ["Its memory is not in /proc; all is from the core."]


def test_whose_memory_might_be_kept(router: Router) -> None:
    router.process(812, status=STATUS, exe="/usr/sbin/prog", root="/")
    router.handle(core(), *ARGUMENTS)
    assert "None of its memory" not in notes(router.dump())


def test_a_record_holds_no_memory(router: Router) -> None:
    """Neither the stack's bytes nor the environment's."""
    secret = b"hunter2-hunter2-"
    data = core().replace(bytes(4096), secret * 256)
    router.handle(data, *ARGUMENTS)
    assert b"hunter2" not in router.region.read_bytes() and router.texts()


# --- whatever goes wrong


@pytest.mark.parametrize(("data", "word"), [
    (b"", "empty"), (b"x" * 100, "not an ELF"), (b"\x7fELF", "not an ELF"),
    (core()[:64], "core"), (core()[:400], "core"), (core()[:1200], "truncated"),
    (b"\x7fELF" + bytes(range(256)) * 9, "")], ids=range(7))
def test_a_core_that_is_none(router: Router, data: bytes, word: str) -> None:
    assert router.handle(data, *ARGUMENTS).returncode == 0
    dump = router.dump()
    assert (dump["signal"], dump["pid"], dump["executable"]) == (11, 812, "/usr/sbin/prog")
    assert word in notes(dump)


def examined(data: bytes) -> dict[str, Any]:
    """What the handler makes of a core without a process, here and now."""
    stream = Stream(BytesIO(data).read)
    read, crash = read_head(stream), Crash(11, 812)
    take_core(crash, read)
    memory = capture(read, stream)
    context = core_context(read, memory) if memory else None
    if context is not None:
        examine(crash, read, context)
    dump = reading.read(render(crash, 1 << 16).decode())
    assert dump is not None and title(crash).isprintable()
    return dump


def test_a_core_cut_anywhere() -> None:
    """Nothing raises, and what the head says is said as soon as it is there."""
    data = core(threads=3)
    found = [len(examined(data[:size])["threads"]) for size in range(0, 2400, 4)]
    assert found == sorted(found) and found[0] == 0 and found[-1] == 3


def test_a_core_with_wrong_bits() -> None:
    data, luck = core(threads=3), Random(4)
    for _ in range(600):
        broken = bytearray(data)
        for _ in range(luck.randint(1, 8)):
            broken[luck.randrange(2400)] = luck.choice((0, 1, 0x7f, 0xff, luck.randrange(256)))
        assert examined(bytes(broken))["pid"] is not None


@pytest.mark.parametrize("words", [
    [], ["x"] * 8, ["-1"] * 8, ["9" * 5000] * 8, [""] * 8, ["812"], ["\xff\n"] * 9])
def test_arguments_that_make_no_sense(router: Router, words: list[str]) -> None:
    assert router.handle(core(), *words).returncode == 0
    assert router.dump()["signal"] == 11


def test_a_name_with_spaces_that_came_in_pieces(router: Router) -> None:
    router.handle(b"", *ARGUMENTS[:7], "!opt!my", "own", "prog", "(deleted)")
    assert router.dump()["executable"] == "/opt/my own prog"


@pytest.mark.parametrize("what", ["RuntimeError('boom')", "MemoryError()", "KeyboardInterrupt()",
                                  "RecursionError('deep')", "SystemExit(3)"])
@pytest.mark.parametrize("where", ["handler.take_core", "handler.examine", "handler.limiter.ask",
                                   "handler.procfs.find", "handler._judge", "handler.load"])
def test_an_exception(router: Router, where: str, what: str) -> None:
    if where == "handler.load":         # without a configuration nobody knows of the journal
        router.install(f"def fail(*_): raise {what}", "load = handler.load",
                       "handler.load = lambda path: (setattr(job[0], 'config', load(path)), "
                       "fail())", "job = []", "start = handler._Job.__init__",
                       "handler._Job.__init__ = lambda self, *words: (start(self, *words), "
                       "job.append(self))[0]")
    else:
        router.install(f"def fail(*_): raise {what}", f"{where} = fail")
    assert router.handle(core(), *ARGUMENTS).returncode == 0
    dump = router.dump()
    assert (dump["signal"], dump["pid"], dump["uid"]) == (11, 812, 0)
    assert "It failed while" in notes(dump) and what.partition("(")[0] in notes(dump)


def test_an_exception_in_the_writing(router: Router) -> None:
    """What it failed on is left out."""
    router.install("real = outlet.render", "def fail(crash, room, log):",
                   "    if crash.threads: raise MemoryError",
                   "    return real(crash, room, log)", "outlet.render = fail")
    assert router.handle(core(), *ARGUMENTS).returncode == 0
    dump = router.dump()
    assert dump["threads"] == [] and "MemoryError" in notes(dump)


def test_too_much_memory(router: Router) -> None:
    router.install("handler.examine = lambda *_: bytearray(64 << 20)")
    router.handle(core(), *ARGUMENTS)
    assert "MemoryError" in notes(router.dump())


def test_a_core_that_never_comes(router: Router) -> None:
    router.install("handler.SOFT = 0.3")
    start = time.monotonic()
    assert router.handle(None, *ARGUMENTS).returncode == 0
    assert time.monotonic() - start < 3
    dump = router.dump()
    assert dump["pid"] == 812 and "Time was up" in notes(dump) and "reading the core" in notes(dump)


def test_backtraces_that_take_too_long(router: Router) -> None:
    """What there is by then is written; without them no log is waited for."""
    router.script("/sbin/logread", "echo log")
    router.install("handler.SOFT = 0.3", "import time",
                   "real = handler.examine",
                   "handler.examine = lambda *given: (real(*given), time.sleep(9))")
    router.handle(core(), *ARGUMENTS)
    dump = router.dump()
    assert dump["threads"][0]["frames"] and "making the backtraces" in notes(dump)


def test_a_mistake_in_one_thread_costs_no_other(router: Router) -> None:
    router.install("from lastlog_py.coredump import crash", "real = crash.backtrace",
                   "crash.backtrace = lambda context, registers, limits: "
                   "registers['oops'] if registers[context.machine.PC] == 0x400001 "
                   "else real(context, registers, limits)")
    router.handle(core(threads=3), *ARGUMENTS)
    dump = router.dump()
    assert [len(thread["frames"]) >= 1 for thread in dump["threads"]] == [True] * 3
    assert "backtrace of thread 814 failed: KeyError: 'oops'" in notes(dump)


def test_a_late_backtrace_is_cut(router: Router) -> None:
    router.install("handler.UNWIND = -1.0")
    router.handle(core(threads=5), *ARGUMENTS)
    dump = router.dump()
    assert [len(thread["frames"]) for thread in dump["threads"]] == [1] * 5     # their places
    assert all(thread["frames_cut"] for thread in dump["threads"]) and not dump["threads_cut"]
    assert "Time was up" in notes(dump)


def test_the_last_limit_needs_nothing_of_python(router: Router) -> None:
    """It hangs where no other thread of it can run."""
    router.install("handler.HARD = 0.5", "import ctypes",
                   "handler.examine = lambda *_: ctypes.PyDLL(None).sleep(20)")
    start = time.monotonic()
    done = router.handle(core(), *ARGUMENTS)
    assert done.returncode == -signal.SIGALRM and time.monotonic() - start < 5


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_descriptors_that_are_closed(router: Router, closed: str) -> None:
    """What the handler opens lands on none of them; it prints nothing either."""
    words = " ".join(f"'{word}'" for word in ("--config", router.conf, *ARGUMENTS))
    done = subprocess.run(["sh", "-c", f"exec '{router.entry}' {words} {closed}"], input=core(),
                          capture_output=True, timeout=20, env={}, cwd="/")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    dump = router.dump()
    assert dump["signal"] == 11 and ("empty" in notes(dump)) == ("<" in closed)


def test_limits_that_it_sets_itself(router: Router) -> None:
    """A core limit of 1 is how the kernel tells its own handler; 0 would not stop it."""
    router.install("import resource as r", "handler.examine = lambda crash, *_: crash.note(str(["
                   "r.getrlimit(r.RLIMIT_CORE), r.getrlimit(r.RLIMIT_DATA), "
                   "r.getrlimit(r.RLIMIT_CPU)]))")
    router.handle(core(), *ARGUMENTS)
    assert f"[(1, 1), ({32 << 20}, {32 << 20}), (11, 11)]" in notes(router.dump())


def test_nothing_is_imported_from_where_it_stands_or_the_environment(router: Router) -> None:
    trap = router.folder / "trap"
    trap.mkdir()
    for name in ("struct", "zlib", "_signal", "resource", "fcntl", "sitecustomize", "lastlog_py"):
        (trap / f"{name}.py").write_text("raise SystemExit('trapped')")
    done = subprocess.run([router.entry, "--config", router.conf, *map(str, ARGUMENTS)],
                          input=core(), capture_output=True, timeout=20, cwd=trap,
                          env={"PYTHONPATH": str(trap), "PYTHONSTARTUP": str(trap / "zlib.py")})
    assert (done.returncode, done.stderr) == (0, b"") and router.dump()["signal"] == 11


def test_it_imports_next_to_nothing() -> None:
    """Every import costs a crash its time; what is for rare cases waits until then."""
    code = ("import sys; sys.path.append(sys.argv[1]); before = set(sys.modules); "
            "import lastlog_py.coredump.handler; "
            "print(*(name for name in set(sys.modules) - before if 'lastlog' not in name))")
    done = subprocess.run([sys.executable, "-IS", "-c", code, ROOT], capture_output=True,
                          text=True, check=True)
    assert set(done.stdout.split()) <= {
        "__future__", "_collections_abc", "_signal", "_stat", "_struct", "_thread", "abc", "_abc",
        "fcntl", "genericpath", "io", "os", "os.path", "posixpath", "stat", "struct", "time",
        "zlib"}


# --- what hangs gives the kernel back what it waits for


def let_go(router: Router, in_turn: bool = False) -> tuple[float, bool]:
    """Seconds until stdin was closed, and whether the handler still ran.

    in_turn: other handlers' turn must come then, too.
    """
    with subprocess.Popen([router.entry, "--config", router.conf, *map(str, ARGUMENTS)],
                          stdin=subprocess.PIPE, env={}) as running:
        assert running.stdin is not None
        start = time.monotonic()
        running.stdin.write(core())
        running.stdin.flush()
        waiting = select.poll()
        waiting.register(running.stdin, 0)          # POLLERR: nobody can read any more
        assert waiting.poll(9000)
        took = time.monotonic() - start
        assert not in_turn or limiter.turn(router.config().site, 0.3) >= 0
        ran = running.poll() is None
        running.kill()
    return took, ran


def test_a_late_handler_lets_go_before_it_writes(router: Router) -> None:
    router.install("handler.SOFT = 0.3", "import time", "handler.examine = "
                   "lambda *_: time.sleep(30)")
    with router.region.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)            # the journal is waited for
        took, ran = let_go(router)
    assert took < 3 and ran


def test_a_core_that_hangs_is_given_up(router: Router) -> None:
    """Its record is written, so the watching thread has nothing else to do."""
    router.configure(keep_core=1 << 20)
    router.process(812, status=STATUS, exe="/usr/sbin/prog", root="/")
    router.install("handler.SOFT, handler.CORE = 0.5, 1.0", "import time",
                   "from lastlog_py.coredump import reduced_core",
                   "reduced_core.keep = lambda *_: time.sleep(30)")
    took, ran = let_go(router, in_turn=True)
    assert 0.8 < took < 4 and ran and router.dump()["signal"] == 11


def test_nothing_of_its_memory_is_read_before_the_limiter_is_asked(router: Router) -> None:
    router.configure(most_crashes=1)
    router.process(812, status=STATUS, comm="prog\n", cmdline=b"prog\0-x\0", exe="/opt/prog",
                   maps=b"", mem=b"", root="/")
    seen = router.folder / "seen"
    router.install("from lastlog_py.coredump import procfs", "real = procfs._read",
                   f"procfs._read = lambda folder, name, most: (open('{seen}', 'a').write("
                   "name + ' '), real(folder, name, most))[1]")
    router.handle(core(), *ARGUMENTS)
    assert {"status", "comm", "cmdline"} <= set(seen.read_text().split())
    seen.unlink()
    router.handle(core(), *ARGUMENTS)
    assert set(seen.read_text().split()) == {"status", "comm"} and len(router.texts()) == 1


def test_limits_that_the_configuration_sets(router: Router) -> None:
    router.configure(time_limit=4, memory_limit=24 << 20)
    router.install("import resource as r, _signal", "handler.examine = lambda crash, *_: "
                   "crash.note(str([r.getrlimit(r.RLIMIT_DATA)[0], r.getrlimit(r.RLIMIT_CPU)[0], "
                   "round(_signal.getitimer(_signal.ITIMER_REAL)[0])]))")
    router.handle(core(), *ARGUMENTS)
    assert f"[{24 << 20}, 5, 4]" in notes(router.dump())


def test_a_short_time_limit_is_kept(router: Router) -> None:
    router.configure(time_limit=1)
    start = time.monotonic()
    router.handle(None, *ARGUMENTS)
    assert time.monotonic() - start < 3
    assert "Time was up after 0.45 seconds" in notes(router.dump())


def test_one_waits_for_the_other_and_goes_on_in_vain(router: Router) -> None:
    """The time that it waits is not taken from its own."""
    router.install("handler.TURN, handler.SOFT = 0.6, 0.5")
    fd = limiter.turn(router.config().site, 0)
    assert fd >= 0
    start = time.monotonic()
    router.handle(core(), *ARGUMENTS)
    assert 0.6 < time.monotonic() - start < 5
    limiter.end_turn(fd)
    assert "Time was up" not in notes(router.dump()) and router.dump()["threads"]


def test_a_handler_that_cannot_even_be_imported(router: Router) -> None:
    """Names are the crashed program's; numbers and a class are all that is told."""
    router.install()
    told = router.folder / "kmsg"
    text = router.entry.read_text()
    assert "/dev/kmsg" in text
    router.entry.write_text(text.replace("/dev/kmsg", str(told)).replace(
        "lastlog_py.coredump.handler", "lastlog_py.coredump.handlerx"))
    done = router.handle(core(), *ARGUMENTS)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert told.read_text() == (
        "<27>lastlog: the core handler is broken (ModuleNotFoundError): the crash of process 812 "
        "by signal 11 was not recorded. Install lastlog anew.\n")
    router.handle(core(), "8\n1", "x")
    assert "process ? by signal ? was" in told.read_text()


# --- who is not recorded


@pytest.fixture
def jailed(router: Router) -> Router:
    """A program that is called as it likes in a mount namespace of its own."""
    router.process(812, status=STATUS, comm="prog\n", exe="/usr/sbin/prog", root="/",
                   ns_mnt="mnt:[2]")
    router.process("self", ns_mnt="mnt:[1]")
    return router


def test_the_list_means_no_path_in_another_mount_namespace(jailed: Router) -> None:
    jailed.configure(ignore=["/usr/sbin/"])
    jailed.handle(core(), *ARGUMENTS)
    assert jailed.dump()["executable"] == "/usr/sbin/prog"


def test_a_jail_does_not_use_up_what_ours_may_have(jailed: Router) -> None:
    jailed.configure(most_crashes=1)
    for _ in range(3):
        jailed.handle(core(), *ARGUMENTS)
    assert len(jailed.texts()) == 1
    jailed.handle(core(), 4711, *ARGUMENTS[1:])     # gone from /proc: of our namespace
    dumps = list(map(reading.read, jailed.texts()))
    assert [dump["dropped"] for dump in dumps if dump] == [0, 0]


@pytest.mark.parametrize(("ignored", "kept"), [
    ("/usr/sbin/prog", 0), ("/usr/sbin/", 0), ("/usr/sbin", 1), ("/usr/sbin/pro", 1),
    ("prog", 1)])
def test_programs_that_are_ignored(router: Router, ignored: str, kept: int) -> None:
    router.configure(ignore=["/other", ignored])
    assert router.handle(core(), *ARGUMENTS).returncode == 0
    assert len(router.texts()) == kept


def test_when_it_is_switched_off(router: Router) -> None:
    router.configure(enabled=0)
    assert router.handle(core(), *ARGUMENTS).returncode == 0 and router.texts() == []


def test_the_limit(router: Router) -> None:
    router.configure(most_crashes=2, crash_period=600)
    for _ in range(5):
        router.handle(core(), *ARGUMENTS)
    assert len(router.texts()) == 2
    router.configure(most_crashes=3, crash_period=600)
    router.handle(core(), *ARGUMENTS)
    dump = reading.read(router.texts()[-1])
    assert dump is not None and dump["dropped"] == 3 and len(router.texts()) == 3


# --- where to


def test_a_journal_that_is_busy_for_a_while(router: Router) -> None:
    with router.region.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with subprocess.Popen([router.entry, "--config", router.conf, *map(str, ARGUMENTS)],
                              stdin=subprocess.PIPE) as running:
            assert running.stdin is not None
            running.stdin.write(core())
            running.stdin.close()
            time.sleep(0.5)
            fcntl.flock(held, fcntl.LOCK_UN)
            assert running.wait(10) == 0
    assert router.dump()["signal"] == 11


def saved(router: Router) -> list[Any]:
    archive = Archive(str(router.folder / "saved"), 262144)
    return [archive.load(id).record for id in archive.ids()]


def test_without_a_journal_it_goes_to_the_archive(router: Router) -> None:
    router.configure(region=False)
    router.script("/sbin/logread", "echo 'the log'")
    assert router.handle(core(), *ARGUMENTS).returncode == 0
    record, = saved(router)
    assert (record.kind, record.source.medium) == ("coredump", "core")
    assert record.title.startswith("prog: SIGSEGV in ") and record.text.endswith("\nthe log\n")
    file, = (router.folder / "saved").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("owner", "mode", "kept"), [
    (0, 0o700, 1), (0, 0o755, 1), (0, 0o777, 0), (0, 0o770, 0), (65534, 0o700, 0)])
def test_an_archive_that_others_may_write_to_gets_none(router: Router, owner: int, mode: int,
                                                       kept: int) -> None:
    if os.geteuid():
        pytest.skip("only root can give a directory away")
    folder = router.folder / "saved"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, owner, owner)
    router.configure(region=False)
    router.script("/usr/bin/logger", f"cat > {router.folder}/said")
    assert router.handle(core(), *ARGUMENTS).returncode == 0
    assert len(list(folder.iterdir())) == kept
    assert kept or "Others than root may write to" in (router.folder / "said").read_text()


def test_a_loop_of_crashes_costs_no_kernel_crash_and_no_log(router: Router) -> None:
    router.configure(most_crashes=0, max_threads=256)
    ring, now = journal_device.find(router.config().site), moment(router.config().site)
    for kind, size in (("kernel", 30000), ("log", 9000), ("kernel", 3000), ("boot", 10)):
        ring.append(kind, b"x" * size, now, 1)
    for _ in range(12):
        router.handle(core(threads=256), *ARGUMENTS)
    kinds = [entry.kind for entry in router.entries()]
    assert kinds[:4] == ["kernel", "log", "kernel", "boot"] and set(kinds[4:]) == {"coredump"}
    assert 2 <= len(kinds[4:]) < 12


def test_a_journal_that_is_too_small(router: Router) -> None:
    """It takes as much as there is room for; what is no use at all goes to the archive."""
    text = router.conf.read_text()
    router.conf.write_text(text.replace(f"'{0x20000}'", "'2048'"))
    router.handle(core(threads=40), *ARGUMENTS)
    dump = router.dump()
    assert dump["threads"][0]["frames"] and dump["threads_cut"] and saved(router) == []
    router.conf.write_text(text.replace(f"'{0x20000}'", "'64'"))
    router.handle(core(), *ARGUMENTS)
    assert len(saved(router)) == 1


def test_with_neither_it_is_a_line_in_the_system_log(router: Router) -> None:
    router.configure(region=False)
    (router.folder / "saved").write_text("a file")
    router.script("/usr/bin/logger", f'(printf "%s|" "$@"; cat) > {router.folder}/said')
    assert router.handle(core(), *ARGUMENTS[:7], "!sbin!\x1b[2J\nx").returncode == 0
    said = (router.folder / "said").read_text()
    assert said.startswith("-t|lastlog|-p|daemon.err|prog: SIGSEGV in ")
    assert said.endswith("\n") and said[:-1].isprintable()
    assert "(process 812); it could not be recorded: There is no MTD device" in said


def test_without_a_system_log_it_goes_to_the_kernels(router: Router) -> None:
    router.configure(region=False)
    (router.folder / "saved").write_text("a file")
    messages = router.write("/dev/kmsg", "")
    assert router.handle(core(), *ARGUMENTS).returncode == 0
    assert messages.read_text().startswith("<27>lastlog: prog: SIGSEGV in ")
    messages.unlink()
    assert router.handle(core(), *ARGUMENTS).returncode == 0


def test_without_a_configuration_the_defaults_are_used(router: Router) -> None:
    """One that cannot be read costs no record, and the record says so."""
    router.conf.unlink()
    router.conf.mkdir()
    router.install(*_under(router))
    assert router.handle(core(), *ARGUMENTS).returncode == 0
    record, = saved(router)
    assert f"Note: {router.conf} cannot be read" in record.text and "SIGSEGV" in record.title


def _under(router: Router) -> list[str]:
    """The defaults, but below the made-up root."""
    return ["real = handler.Config", "def made(path):", "    made = real(path)",
            f"    made.site.root = '{router.root}'", f"    made.archive = '{router.folder}/saved'",
            "    return made", "handler.Config = made"]


# --- who hears of it


def listen(router: Router, *more: str) -> None:
    """ubus and hotplug-call that note what they are told, and then do `more`."""
    for name in ("ubus", "hotplug-call"):
        router.script(f"/usr/sbin/{name}", "\n".join([
            "{ echo \"${0##*/} $*\"; env | grep =; } >> " + str(router.folder / f"heard-{name}"),
            f"mv {router.folder}/heard-{name} {router.folder}/{name}", *more]))


def heard(router: Router, name: str, seconds: float = 10) -> str:
    """What the program was told, once it was."""
    file, until = router.folder / name, time.monotonic() + seconds
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return file.read_text()


@pytest.mark.parametrize("region", [True, False])
def test_scripts_hear_of_it_at_once(router: Router, region: bool) -> None:
    """With the record as it is listed, from the journal or from the archive."""
    router.configure(region=region)
    router.write("/proc/sys/kernel/random/boot_id", "b-1\n")
    listen(router)
    assert router.handle(core(), *ARGUMENTS).returncode == 0
    called = heard(router, "hotplug-call").splitlines()
    said = heard(router, "ubus").splitlines()[0]
    record, = service.list_records(router.config(), "coredump")["records"]
    assert record["title"] and record["signature"].startswith("u1:")
    event = json.loads(said.removeprefix("ubus send lastlog.crash "))
    assert event == record and "text" not in event
    assert called[0] == "hotplug-call lastlog"
    assert {"ACTION=crash", f"RECORD={record['id']}", "KIND=coredump",
            f"SIGNATURE={record['signature']}", f"TITLE={record['title']}"} <= set(called)


def test_nobody_hears_of_what_is_not_kept(router: Router) -> None:
    listen(router)
    router.configure(most_crashes=1)
    router.handle(core(), *ARGUMENTS)
    heard(router, "hotplug-call")
    for options in ({"most_crashes": 1}, {"ignore": ["/usr/sbin/"]}, {"enabled": 0}):
        (router.folder / "hotplug-call").unlink(missing_ok=True)
        router.configure(**options)
        router.handle(core(), *ARGUMENTS)
        time.sleep(0.4)
        assert not (router.folder / "hotplug-call").exists(), options
    assert len(router.texts()) == 1


def test_a_script_that_hangs_holds_up_nobody(router: Router) -> None:
    """Not the handler, not who waits for its output, and not the next one."""
    listen(router, "exec sleep 3")
    for _ in range(2):
        start = time.monotonic()
        assert router.handle(core(), *ARGUMENTS).returncode == 0
        assert time.monotonic() - start < 2.5
    assert len(router.texts()) == 2
    heard(router, "ubus")


def test_what_is_told_costs_no_record(router: Router) -> None:
    listen(router)
    router.install("import os", "def fail(): raise OSError(11, 'no more processes')",
                   "os.fork = fail")
    assert router.handle(core(), *ARGUMENTS).returncode == 0
    assert router.dump()["signal"] == 11


def test_a_late_record_is_told_of_too(router: Router) -> None:
    listen(router)
    router.install("handler.SOFT = 0.3")
    router.handle(None, *ARGUMENTS)
    record, = service.list_records(router.config(), "coredump")["records"]
    assert f"RECORD={record['id']}" in heard(router, "hotplug-call")


def test_a_listener_has_a_session_and_limits_of_its_own(router: Router) -> None:
    listen(router, f"{{ ulimit -c; umask; ps -o sid= -p $$; ls -l /proc/$$/fd; }} > "
           f"{router.folder}/state.new", f"mv {router.folder}/state.new {router.folder}/state")
    router.handle(core(), *ARGUMENTS)
    state = heard(router, "state")
    assert state.split()[1] == "0022" and int(state.split()[2]) != os.getsid(0)
    assert str(router.region) not in state and "/proc/812" not in state


# --- the system log


def test_the_end_of_the_system_log(router: Router) -> None:
    router.script("/sbin/logread", 'echo "old $1 $2"; printf "\\377\\0x\\n====lastlog 1 log\\n"')
    router.handle(core(), *ARGUMENTS)
    assert router.text().endswith("\nSystem log:\nold -l 50\n\ufffd\ufffdx\n====lastlog 1 log\n")
    assert len(router.entries()) == 1


@pytest.mark.parametrize("script", ["exec sleep 20", "exit 1", "kill -9 $$"])
def test_a_system_log_that_cannot_be_had(router: Router, script: str) -> None:
    router.script("/sbin/logread", script)
    router.install("outlet.PATIENCE = 0.2")
    start = time.monotonic()
    router.handle(core(), *ARGUMENTS)
    assert "System log" not in router.text() and time.monotonic() - start < 5


def test_a_long_system_log_is_cut_at_a_line(router: Router) -> None:
    router.script("/sbin/logread", "seq 1 9999")
    router.handle(core(), *ARGUMENTS)
    log = router.text().partition("\nSystem log:\n")[2].split()
    assert log[-1] == "9999" and 1000 < len(log) < 2000
    assert all(int(after) == int(one) + 1 for one, after in pairwise(log))


def test_no_system_log_if_nobody_wants_it(router: Router) -> None:
    router.configure(main={"store_log": 0})
    router.script("/sbin/logread", "echo log")
    router.handle(core(), *ARGUMENTS)
    assert "System log" not in router.text()
