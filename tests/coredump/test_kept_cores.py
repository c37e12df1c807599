"""The handler with option keep_core: a reduced core beside the record, or a reason why not.

The crashes are real where the kernel can be asked; gdb sees the same in the reduced core as in the
whole one of the same crash, which the kernel's stream is copied into on its way to the handler.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lastlog_py import backtracing, harvest, printing, service
from lastlog_py.archive_cores import RECORD_ROOM
from lastlog_py.coredump.core import Core, Stream, read_head
from lastlog_py.site import Site
from tests.coredump.crashing import VICTIMS, Router, compiled, folder, handed_over, obstacle
from tests.coredump.test_handler import ARGUMENTS, CODE, STACK, STATUS, core

real = pytest.mark.skipif(obstacle() is not None, reason=obstacle() or "")
MIB = 1 << 20
# Starts the handler as the kernel would, and keeps what the kernel writes of VICTIM's crash.
TEE = """#!/usr/bin/python3 -IS
import os, subprocess, sys
mine = b"{name}" in open(f"/proc/{{sys.argv[3]}}/cmdline", "rb").read()
with open("{whole}" if mine else "/dev/null", "wb") as out:
    handler = subprocess.Popen(["{entry}", *sys.argv[1:]], stdin=subprocess.PIPE, bufsize=0)
    while data := os.read(0, 1 << 16):
        out.write(data)
        try:
            handler.stdin.write(data)
        except BrokenPipeError:
            pass
    handler.stdin.close()
    handler.wait()
"""
HANDLER = """
#include <signal.h>
#include <stdlib.h>
__attribute__((noinline)) int inner(volatile int *at) { *at = 1; return 1; }
__attribute__((noinline)) void handle(int number) { (void)number; abort(); }
__attribute__((noinline)) int outer(int *at) { return inner(at) + 1; }
static char other[65536];
int main(int count, char **words)
{
    stack_t there = { .ss_sp = other, .ss_size = sizeof other };
    struct sigaction action = { .sa_handler = handle, .sa_flags = SA_ONSTACK };
    (void)words;
    sigaltstack(&there, 0);
    sigaction(SIGSEGV, &action, 0);
    return outer((int *)(long)(count * 16)) + 1;
}
"""


@pytest.fixture
def router() -> Iterator[Router]:
    """One without a process in /proc: all is from the core."""
    with folder() as path:
        router = Router(path)
        configure(router, MIB)
        yield router


def configure(router: Router, keep: int, limit: int = 64 * MIB, **others: Any) -> None:
    router.configure(main={"archive_limit": limit}, keep_core=keep, **others)
    router.script("/usr/bin/logger", f"cat >> {router.folder}/said")


def said(router: Router) -> str:
    file = router.folder / "said"
    return file.read_text() if file.exists() else ""


def records(router: Router) -> list[dict[str, Any]]:
    return list(service.list_records(router.config(), "coredump")["records"])


def files(router: Router) -> list[str]:
    saved = router.folder / "saved"
    return sorted(path.name for path in saved.iterdir()) if saved.exists() else []


def complaints(router: Router) -> list[dict[str, Any]]:
    """About the archive."""
    return [each for each in service.list_records(router.config())["problems"]
            if "saved" in each["where"]]


def opened(data: bytes) -> Core:
    found = read_head(Stream(io.BytesIO(data).read))
    assert found.problems == []
    return found


# --- without a process


def test_a_core_beside_its_record(router: Router) -> None:
    """From the pieces that were taken from the pipe; the record is in the journal."""
    router.handle(core(threads=3), *ARGUMENTS)
    record, = records(router)
    path = Path(record["core"]["path"])
    assert path.parent == router.folder / "saved" and path.name == f"{record['id']}.core.gz"
    assert record["core"]["size"] == path.stat().st_size and record["state"] == "captured"
    assert path.stat().st_mode & 0o7777 == 0o600 and path.parent.stat().st_mode & 0o7777 == 0o700
    found = opened(gzip.decompress(path.read_bytes()))
    assert [thread.tid for thread in found.threads] == [813, 814, 815] and found.signal == 11
    assert {row.address & ~0xfff for row in found.segments if row.filesz} == {CODE, STACK}
    assert said(router) == "" and len(router.texts()) == 1


def test_what_is_printed_of_it(router: Router) -> None:
    """`show` says where it is and how it is opened, `list` that it is there."""
    router.handle(core(), *ARGUMENTS)
    config = router.config()
    record, = records(router)
    shown = printing.PRINTERS["show"](service.get(config, record["id"]))
    path, name = record["core"]["path"], record["id"]
    assert f"Core:      {path} (1 KiB)" in shown
    assert f"  ssh root@ROUTER cat {path} | gunzip > {name}.core\n" in shown
    assert f"  gdb -iex 'set sysroot DIR' DIR/usr/sbin/prog {name}.core" in shown
    assert "(core kept)" in printing.PRINTERS["list"](service.list_records(config))


def test_none_is_kept_unless_asked_for(router: Router) -> None:
    configure(router, 0)
    router.handle(core(), *ARGUMENTS)
    assert files(router) == [] and records(router)[0]["core"] is None


@pytest.mark.parametrize("keep", [700, 4096, 5000, 12000, 1 << 50])
def test_the_limit_counts_unpacked_bytes(router: Router, keep: int) -> None:
    configure(router, keep)
    router.handle(core(threads=9), *ARGUMENTS)
    record, = records(router)
    if keep < 4096:
        assert "Nothing of it fits into 700 bytes. Raise option keep_core" in said(router)
        assert files(router) == []
    else:
        whole = gzip.decompress(Path(record["core"]["path"]).read_bytes())
        assert 1000 < len(whole) <= keep and opened(whole).threads[0].tid == 813


def test_without_a_journal_record_and_core_lie_side_by_side(router: Router) -> None:
    configure(router, MIB, region=False)
    router.handle(core(), *ARGUMENTS)
    record, = records(router)
    assert record["state"] == "saved"
    assert files(router) == [f"{record['id']}.core.gz", f"{record['id']}.gz"]


def test_a_harvest_finds_the_record_of_a_core(router: Router) -> None:
    """The record is saved under the id that the core was named after; then both are deleted."""
    router.handle(core(), *ARGUMENTS)
    before, = records(router)
    harvest.harvest(router.config())
    record, = records(router)
    assert (record["id"], record["core"], record["state"]) == (before["id"], before["core"],
                                                               "saved")
    assert service.get(router.config(), record["id"])["core"] == before["core"]
    assert not complaints(router)
    reply = service.clear(router.config(), "saved", [record["id"]])
    assert reply["cleared"] == [record["id"]] and files(router) == []


def test_a_record_that_is_dropped_from_memory_takes_its_core_along(router: Router) -> None:
    router.handle(core(), *ARGUMENTS)
    record, = records(router)
    service.clear(router.config(), "memory", [record["id"]], force=True)
    assert files(router) == [] and records(router) == []


def test_clearing_memory_keeps_the_core_of_what_is_saved(router: Router) -> None:
    router.handle(core(), *ARGUMENTS)
    name = service.save(router.config())["saved"][0]
    service.clear(router.config())
    assert files(router) == [f"{name}.core.gz", f"{name}.gz"]


def test_a_core_whose_record_is_lost(router: Router) -> None:
    """A power cut before the harvest: it is told of, and can be deleted."""
    router.handle(core(), *ARGUMENTS)
    record, = records(router)
    router.region.write_bytes(bytes(1 << 18))
    config = router.config()
    problem, = complaints(router)
    assert problem["where"] == record["core"]["path"] and problem["severity"] == "info"
    assert f"lastlog clear --saved {record['id']}" in problem["what"]
    assert service.clear(config, "saved", [record["id"]])["cleared"] == [record["id"]]
    assert files(router) == []


# --- of whom none is kept


@pytest.mark.parametrize(("dumpable", "status", "secure", "links"), [
    (2, STATUS, False, {}), (0, STATUS, False, {}), ("x", STATUS, False, {}),
    (1, STATUS.replace("Uid:\t0\t0", "Uid:\t0\t5"), False, {}),
    (1, STATUS.replace("Gid:\t0\t0", "Gid:\t0\t7"), False, {}), (1, STATUS, True, {}),
    (1, STATUS, False, {"ns_mnt": "mnt:[2]"}), (1, STATUS, False, {"root": "/jail"})],
    ids=["setuid", "not dumpable", "unknown", "user", "group", "secure", "namespace", "root"])
def test_whose_memory_is_nobodys_business(router: Router, dumpable: object, status: str,
                                          secure: bool, links: dict[str, str]) -> None:
    router.process(812, status=status, exe="/usr/sbin/prog", **{"root": "/", **links})
    here = router.root / "proc/self/ns"
    here.mkdir(parents=True)
    (here / "mnt").symlink_to("mnt:[1]")
    router.handle(core(secure), 812, 813, 0, 0, dumpable, *ARGUMENTS[5:])
    assert "None of its memory is kept" in " ".join(router.dump()["notes"])
    assert files(router) == [] and records(router)[0]["core"] is None


def test_a_pid_namespace_of_its_own_without_a_process(router: Router) -> None:
    """Nothing tells of the other namespaces then."""
    router.handle(core(), 812, 999, *ARGUMENTS[2:])
    assert "a pid namespace of its own" in " ".join(router.dump()["notes"])
    assert files(router) == []


# --- what goes wrong costs no record


def is_whole(router: Router) -> bool:
    dump = router.dump()
    return bool(dump["threads"][0]["frames"]) and "failed" not in " ".join(dump["notes"])


@pytest.mark.parametrize("what", ["RuntimeError('boom')", "MemoryError()", "KeyboardInterrupt()",
                                  "SystemExit(3)", "OSError(5, 'Input/output error')"])
@pytest.mark.parametrize("where", ["plan", "save", "record_id"])
def test_an_exception(router: Router, where: str, what: str) -> None:
    router.install("from lastlog_py.coredump import reduced_core", f"def fail(*_): raise {what}",
                   f"reduced_core.{where} = fail")
    assert router.handle(core(), *ARGUMENTS).returncode == 0
    assert is_whole(router) and files(router) == []
    assert "No core of prog (process 812) was kept: " in said(router)
    assert what.partition("(")[0] in said(router)


def test_a_module_that_is_broken(router: Router) -> None:
    router.install("sys.modules['lastlog_py.coredump.reduced_core'] = None")
    router.handle(core(), *ARGUMENTS)
    assert is_whole(router) and "None of its memory is kept: " in " ".join(router.dump()["notes"])


def test_neither_core_nor_log(router: Router) -> None:
    router.install("from lastlog_py.coredump import reduced_core",
                   "def fail(*_): raise MemoryError",
                   "reduced_core.plan = outlet.to_system_log = fail")
    assert router.handle(core(), *ARGUMENTS).returncode == 0
    assert is_whole(router)


def test_too_much_memory(router: Router) -> None:
    router.install("from lastlog_py.coredump import reduced_core",
                   "reduced_core.plan = lambda *_: bytearray(64 << 20)")
    router.handle(core(), *ARGUMENTS)
    assert is_whole(router) and "MemoryError" in said(router)


@pytest.mark.parametrize("limit", [
    "real = handler._Job._keep_core; handler._Job._keep_core = "
    "lambda job: (setattr(handler, 'SOFT', -1.0), real(job))",
    "handler.CORE = -1.0"])
def test_too_late(router: Router, limit: str) -> None:
    router.install(limit)
    router.handle(core(), *ARGUMENTS)
    assert is_whole(router) and files(router) == [] and "Time was up" in said(router)


def test_what_hangs_is_ended(router: Router) -> None:
    """The record stands by then, and the next crash removes what is left."""
    router.install("handler.HARD = 1.0", "from lastlog_py import archive_cores",
                   "archive_cores._read_back = lambda file: handler.time.sleep(30)")
    assert router.handle(core(), *ARGUMENTS).returncode == -signal.SIGALRM
    assert is_whole(router) and [name[0] for name in files(router)] == ["."]
    router.install()
    router.handle(core(threads=2), *ARGUMENTS)
    assert [name[0] for name in files(router)] == ["c"] and len(router.texts()) == 2


@pytest.mark.parametrize("data", [core()[:1400], core()[:-4000], core().replace(b"CORE", b"CODE")])
def test_a_broken_core(router: Router, data: bytes) -> None:
    assert router.handle(data, *ARGUMENTS).returncode == 0
    assert router.dump()["signal"] == 11
    for name in files(router):
        assert opened(gzip.decompress((router.folder / "saved" / name).read_bytes())).threads


def test_an_archive_that_cannot_take_it(router: Router) -> None:
    saved = router.folder / "saved"
    saved.write_text("a file")
    router.handle(core(), *ARGUMENTS)
    assert is_whole(router) and "is no directory" in said(router)
    saved.unlink()
    saved.mkdir(0o777)
    saved.chmod(0o777)
    router.handle(core(), *ARGUMENTS)
    assert "Others than root may write" in said(router) and files(router) == []


def test_the_archives_limit(router: Router) -> None:
    """Cores push out cores, and never a record."""
    router.handle(core(), *ARGUMENTS)
    size = records(router)[0]["core"]["size"]
    configure(router, MIB, limit=RECORD_ROOM + 2 * size - 100)
    for number in range(2, 5):
        router.handle(core(), *ARGUMENTS)
        assert len(files(router)) == 1 and len(router.texts()) == number
    configure(router, MIB, limit=RECORD_ROOM + 100)
    router.handle(core(), *ARGUMENTS)
    assert "Raise option archive_limit" in said(router) and len(router.texts()) == 5


# --- real crashes


@pytest.fixture(scope="module")
def victim() -> Iterator[Path]:
    with folder() as path:
        yield compiled(path / "victim", VICTIMS, "gcc", "-g")


@pytest.fixture
def kept() -> Iterator[Callable[..., tuple[Path, Path, dict[str, Any]]]]:
    """Crashes a program: the whole core, the reduced one, and the record."""
    with folder() as path:
        router = Router(path, real=True)

        def crash(program: Path, *words: object, keep: int = MIB, before: tuple[str, ...] = ()
                  ) -> tuple[Path, Path, dict[str, Any]]:
            configure(router, keep)
            tee, whole = path / "tee", path / "whole"
            tee.write_text(TEE.format(name=program.name, whole=whole, entry=router.entry))
            tee.chmod(0o755)
            router.entry = tee
            with handed_over(router):
                subprocess.run([*before, program, *map(str, words)], check=False, timeout=60,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                record = found(router, program.name)
            small = path / "small"
            if record["core"]:
                small.write_bytes(gzip.decompress(Path(record["core"]["path"]).read_bytes()))
            return whole, small, record

        yield crash


def found(router: Router, name: str) -> dict[str, Any]:
    """The record of the crash, once its core is there or will not be."""
    router.dumps(name)
    until = time.monotonic() + 10
    while True:
        record = next(each for each in records(router) if name in each["coredump"]["executable"])
        private = "None of its memory" in " ".join(record["coredump"]["notes"])
        if record["core"] or private or time.monotonic() > until:
            return record
        time.sleep(0.05)


def gdb(program: Path, path: Path) -> list[str]:
    """Its backtraces of all threads: pc, function, arguments, line."""
    if not shutil.which("gdb"):
        pytest.skip("gdb is not installed")
    done = subprocess.run(
        ["timeout", "60", "gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex",
         "set auto-load no", "-ex", "thread apply all backtrace", program, path],
        capture_output=True, text=True, check=False)
    lines = re.findall(r"^(?:#\d+ .*|Thread \d+)", done.stdout, re.M)
    assert lines, done.stderr
    return lines


def eu_stack(program: Path, path: Path) -> list[str]:
    if not shutil.which("eu-stack"):
        pytest.skip("elfutils is not installed")
    return subprocess.run(["eu-stack", "--core", path, "-e", program], capture_output=True,
                          text=True, check=False).stdout.splitlines()[1:]


@real
@pytest.mark.parametrize("words", [("plain",), ("threads", 33), ("heap", 300), ("abort",)],
                         ids=lambda words: words[0])
def test_gdb_sees_the_same(kept: Any, victim: Path, words: tuple[object, ...]) -> None:
    whole, small, record = kept(victim, *words)
    shown = gdb(victim, small)
    assert shown == gdb(victim, whole) and any(" in main (" in line for line in shown)
    assert small.stat().st_size < min(MIB, whole.stat().st_size)
    assert eu_stack(victim, small) == eu_stack(victim, whole)
    ours = backtracing.backtrace(backtracing.Asked(str(small), "/"), Site())["coredump"]
    assert [[frame["pc"] for frame in thread["frames"]] for thread in ours["threads"]] == [
        [frame["pc"] for frame in thread["frames"]] for thread in record["coredump"]["threads"]]


@real
def test_data_is_in_it(kept: Any, tmp_path: Path) -> None:
    source = tmp_path / "data.c"
    source.write_text("""
        struct state { int counter; char name[16]; } state = { 41, "radio0" };
        long zeros[2000];
        int main(void) { state.counter++; zeros[1999] = 7; *(volatile int *)8 = 1; return 0; }""")
    program = compiled(tmp_path / "with-data", source, "gcc", "-g")
    _, small, _ = kept(program)
    if not shutil.which("gdb"):
        pytest.skip("gdb is not installed")
    done = subprocess.run(["gdb", "-nx", "-batch", "-ex", "print state", "-ex",
                           "print zeros[1999]", program, small], capture_output=True, text=True,
                          check=False)
    assert 'counter = 42, name = "radio0' in done.stdout and "$2 = 7" in done.stdout


@real
def test_what_a_program_keeps_out_of_cores(kept: Any, tmp_path: Path) -> None:
    source = tmp_path / "secret.c"
    source.write_text("""
        #define _GNU_SOURCE
        #include <string.h>
        #include <sys/mman.h>
        register char *there asm("rbx");
        int main(void)
        {
            there = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            char *shown = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            for (int at = 0; at < 16; at++)
                there[at] = 'S', shown[at] = 'T';
            madvise(there, 4096, MADV_DONTDUMP);
            asm volatile("mov %0, %%r15; mov $8, %%r14; movl $1, (%%r14)" : : "r"(shown)
                         : "r14", "r15", "memory");
            return 0;
        }""")
    if os.uname().machine != "x86_64":
        pytest.skip("its registers are named after another machine's")
    program = compiled(tmp_path / "secretive", source, "gcc", "-O0")
    _, small, record = kept(program)
    assert int(record["coredump"]["threads"][0]["registers"]["rbx"], 16) % 4096 == 0
    assert b"T" * 16 in small.read_bytes() and b"S" * 16 not in small.read_bytes()


@real
def test_a_signal_handlers_own_stack(kept: Any, tmp_path: Path) -> None:
    """gdb goes on behind the handler, on the stack that was interrupted."""
    source = tmp_path / "handler.c"
    source.write_text(HANDLER)
    program = compiled(tmp_path / "handles", source, "gcc", "-g")
    whole, small, _ = kept(program)
    shown = gdb(program, small)
    assert shown == gdb(program, whole)
    names = r" handle \(.*signal handler called.* inner \(.* outer \(.* main \("
    assert re.search(names, " ".join(shown))


@real
@pytest.mark.parametrize("keep", [4096, 16384, 40000, 1 << 40])
def test_real_limits(kept: Any, victim: Path, keep: int) -> None:
    """Even of the least gdb shows where it crashed."""
    _, small, _ = kept(victim, "threads", 8, keep=keep)
    assert small.stat().st_size <= keep
    shown = gdb(victim, small)
    assert any(" inner (" in line for line in shown)
    if keep >= 16384:
        assert any(" in main (" in line for line in shown)


@real
@pytest.mark.parametrize("mode", ["drop", "effective"])
def test_who_changed_rights(kept: Any, victim: Path, mode: str) -> None:
    _, small, record = kept(victim, mode)
    assert record["core"] is None and not small.exists()


@real
def test_a_setuid_program(kept: Any, victim: Path) -> None:
    program = victim.with_name("setuid-victim")
    shutil.copy(victim, program)
    os.chown(program, 0, 0)
    program.chmod(0o4755)
    _, small, record = kept(program, "plain", before=(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    assert record["core"] is None and not small.exists()
    assert "None of its memory is kept" in " ".join(record["coredump"]["notes"])


@real
def test_namespaces_of_its_own(kept: Any, victim: Path) -> None:
    _, small, record = kept(victim, "plain", before=("unshare", "--mount", "--pid", "--fork"))
    assert record["core"] is None and not small.exists()


@real
def test_another_root(kept: Any) -> None:
    with folder() as jail:
        program = compiled(jail / "jailed", VICTIMS, "gcc", "-static")
        _, small, record = kept(Path("/jailed"), "plain", before=("chroot", str(jail)))
    assert record["core"] is None and not small.exists() and program.name == "jailed"
