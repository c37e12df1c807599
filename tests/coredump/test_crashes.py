"""Real crashes of real programs, handed to the handler by the kernel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.coredump.crashing import (
    VICTIMS,
    Router,
    compiled,
    folder,
    handed_over,
    obstacle,
)

pytestmark = pytest.mark.skipif(obstacle() is not None, reason=obstacle() or "")

THROWS = """
#include <stdexcept>
__attribute__((noinline)) int thrower(int x) { if (x) throw std::runtime_error("no"); return x; }
int main(int argc, char **) { return thrower(argc) + 1; }
"""


@pytest.fixture
def router() -> Iterator[Router]:
    with folder() as path:
        yield Router(path, real=True)


@pytest.fixture(scope="module")
def victim() -> Iterator[Path]:
    with folder() as path:
        yield compiled(path / "victim")


def crash(*words: object, count: int = 1, **options: Any) -> None:
    """Run a program that crashes, `count` of them at once."""
    running = [subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, **options) for _ in range(count)]
    for each in running:
        assert each.wait(30) not in (0, 3)


def symbols(dump: dict[str, Any]) -> list[str]:
    """Of the crashed thread."""
    return [frame["symbol"] for frame in dump["threads"][0]["frames"] if frame["symbol"]]


def no_core_kept(dump: dict[str, Any]) -> bool:
    return any(note.startswith("None of its memory is kept") for note in dump["notes"])


def test_a_plain_crash(router: Router, victim: Path) -> None:
    with handed_over(router):
        crash(victim, "plain", "an argument")
        dump, = router.dumps("victim")
    assert dump["executable"] == str(victim) and dump["command"] == f"{victim} plain an argument"
    assert (dump["signal_name"], dump["code_name"]) == ("SIGSEGV", "SEGV_MAPERR")
    assert dump["fault_address"] == "0x10" and dump["pid"] == dump["tid"] and dump["uid"] == 0
    assert symbols(dump)[:5] == ["inner", "inner", "inner", "outer", "main"]
    assert {frame["how"] for frame in dump["threads"][0]["frames"]} == {"registers", "cfi"}
    assert not dump["truncated"] and not no_core_kept(dump) and dump["notes"] == []
    entry = next(each for each in router.entries() if each.label.startswith("victim"))
    assert (entry.kind, entry.label) == ("coredump", "victim: SIGSEGV in inner")


def test_an_abort_is_named_after_who_called_it(router: Router, victim: Path) -> None:
    with handed_over(router):
        crash(victim, "abort")
        dump, = router.dumps("victim")
    assert (dump["signal_name"], dump["code_name"]) == ("SIGABRT", "SI_TKILL")
    assert "abort" in symbols(dump)
    assert "victim: SIGABRT in main" in {entry.label for entry in router.entries()}


def test_an_exception_in_cpp(router: Router) -> None:
    source = router.folder / "throws.cc"
    source.write_text(THROWS)
    program = compiled(router.folder / "throws", source, "g++")
    with handed_over(router):
        crash(program)
        dump, = router.dumps("throws")
    named = symbols(dump)
    assert dump["signal_name"] == "SIGABRT"
    assert named.index("abort") < named.index("_Z7throweri") < named.index("main")
    assert "throws: SIGABRT in _Z7throweri" in {entry.label for entry in router.entries()}


def test_64_threads(router: Router, victim: Path) -> None:
    with handed_over(router):
        crash(victim, "threads", 64)
        dump, = router.dumps("victim")
    assert len(dump["threads"]) == 64 and not dump["threads_cut"]
    assert [thread["crashed"] for thread in dump["threads"]] == [True] + [False] * 63
    assert all("waiter" in [frame["symbol"] for frame in thread["frames"]]
               for thread in dump["threads"][1:])


def test_python(router: Router) -> None:
    with handed_over(router):
        crash(sys.executable, "-I", "-c", "import os; os.abort()")
        dump, = router.dumps("python")
    assert dump["signal_name"] == "SIGABRT" and len(dump["threads"][0]["frames"]) > 5
    assert "os.abort" in dump["command"]


def test_dropped_privileges(router: Router, victim: Path) -> None:
    """OpenWrt's suid_dumpable is 2: such a program reaches the handler, and its memory stays."""
    with handed_over(router):
        crash(victim, "drop")
        dump, = router.dumps("victim")
    assert dump["uid"] == 65534 and symbols(dump)[0] == "inner"
    assert not dump["notes"]            # nobody wants a core: test_kept_cores.py does


def test_another_effective_user(router: Router, victim: Path) -> None:
    with handed_over(router):
        crash(victim, "effective")
        dump, = router.dumps("victim")
    assert symbols(dump)[0] == "inner" and not dump["notes"]


def test_namespaces_of_its_own(router: Router, victim: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    with handed_over(router):
        crash("unshare", "--mount", "--pid", "--fork", victim, "plain")
        dump, = router.dumps("victim")
    notes = " ".join(dump["notes"])
    assert symbols(dump)[:5] == ["inner", "inner", "inner", "outer", "main"]
    assert "mount namespace" in notes and "pid namespace" in notes and not no_core_kept(dump)
    assert dump["threads"][0]["tid"] == 1 and dump["pid"] > 1


def test_another_root(router: Router) -> None:
    jail = router.folder / "jail"
    jail.mkdir()
    compiled(jail / "jailed", VICTIMS, "gcc", "-static")
    with handed_over(router):
        crash("chroot", jail, "/jailed", "plain")
        dump, = router.dumps("jailed")
    assert "another root" in " ".join(dump["notes"]) and not no_core_kept(dump)
    assert len(dump["threads"][0]["frames"]) >= 5


def test_50_crashes_in_a_second(router: Router, victim: Path) -> None:
    """Five are kept; the next one after some time tells of the others."""
    router.configure(crash_period=9)
    with handed_over(router):
        start = time.monotonic()
        for _ in range(5):
            crash(victim, "plain", count=10)
        assert time.monotonic() - start < 8.5
        time.sleep(max(0, start + 10 - time.monotonic()))
        crash(victim, "plain")
        dumps = router.dumps("victim", 6)
    assert len(dumps) == 6 and [dump["dropped"] for dump in dumps[:5]] == [0] * 5
    assert 35 <= dumps[5]["dropped"] <= 45      # what is beyond core_pipe_limit comes to nobody


@pytest.mark.parametrize("count", [5, 14])
def test_several_at_once(router: Router, victim: Path, count: int) -> None:
    """With the limit that is shipped; others on this machine may crash too."""
    router.configure(most_crashes=0)
    with handed_over(router):
        crash(victim, "plain", count=count)
        dumps = router.dumps("victim", count)
    assert len({dump["pid"] for dump in dumps}) == count
    assert all(symbols(dump)[0] == "inner" for dump in dumps)
    assert not any(entry.torn for entry in router.entries())


def test_a_program_that_was_deleted(router: Router, victim: Path) -> None:
    program = Path(shutil.copy(victim, router.folder / "deleted-victim"))
    with handed_over(router):
        crash(program, "gone")
        dump, = router.dumps("deleted-victim")
    assert dump["executable"] == str(program) and not program.exists()
    assert symbols(dump)[:5] == ["inner", "inner", "inner", "outer", "main"]
    assert ["deleted" in note for note in dump["notes"]] == [True]


def test_a_large_heap_is_not_read(router: Router, victim: Path) -> None:
    with handed_over(router):
        crash(victim, "heap", 300)
        dump, = router.dumps("victim")
    assert symbols(dump)[:5] == ["inner", "inner", "inner", "outer", "main"]


def test_hostile_names(router: Router, victim: Path) -> None:
    """Nothing that a program calls itself makes a line, or moves a cursor."""
    program = router.folder / "we ird\n\x1b]0;x\x07Signal: 9 (deleted)"
    shutil.copy(victim, program)
    with handed_over(router):
        crash(program, "name", "\x1b[2J) R 1\n\udcffx")
        dump, = router.dumps("we ird")
    text = next(text for text in router.texts() if "we ird" in text)
    assert all(line.isprintable() for line in text.split("\n"))
    assert dump["signal"] == 11 and symbols(dump)[0] == "inner"
    assert "we ird\n\x1b]0;x\x07Signal: 9" in dump["executable"]
    label = next(entry.label for entry in router.entries() if "inner" in entry.label)
    assert label.isprintable() and "SIGSEGV in inner" in label


def test_a_crash_of_the_handler_starts_no_other(router: Router, victim: Path) -> None:
    started = router.folder / "started"
    router.install(f"import os; handler._Job.run = lambda self: (os.write(os.open('{started}', "
                   "os.O_WRONLY | os.O_CREAT | os.O_APPEND), b'x'), os.abort())")
    with handed_over(router):
        crash(victim, "plain")
        until = time.monotonic() + 10
        while not started.exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
    assert started.read_bytes() == b"x"


def test_the_system_log_comes_along(router: Router, victim: Path) -> None:
    router.script("/sbin/logread", 'echo "asked for $1 $2"; echo "daemon.err victim: oh no"')
    with handed_over(router):
        crash(victim, "plain")
        router.dumps("victim")
    text = next(text for text in router.texts() if "victim" in text)
    assert text.endswith("\nSystem log:\nasked for -l 50\ndaemon.err victim: oh no\n")


def test_no_path_of_the_crashed_program_is_followed(router: Router, victim: Path) -> None:
    """Its files are named after what /proc says, and read through its memory alone."""
    router.install("import os", "opened, real = [], os.open",
                   "os.open = lambda path, *rest, **named: (opened.append(str(path)), "
                   "real(path, *rest, **named))[1]",
                   "write = outlet.keep",
                   "outlet.keep = lambda config, crash, log: (crash.note('Opened ' + "
                   "' '.join(opened)), write(config, crash, log))")
    with handed_over(router):
        crash(victim, "plain")
        dump, = router.dumps("victim")
    opened = next(note for note in dump["notes"] if note.startswith("Opened ")).split()
    assert "mem" in opened and len(dump["modules"]) > 2
    assert not {module["path"] for module in dump["modules"]} & set(opened)
