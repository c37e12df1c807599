"""What a crash costs, against eu-stack, gdb and `cat` as the handler, on the same cores.

The programs crash for real, stripped to their program headers as on a router.  The kernel hands
the core to a script that stores it and then waits: so the process stays in /proc as it does for the
handler, which is run on it as often as it takes.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.measure import Command, Cost, Row, compare, peak
from tests.coredump import crashing

__all__ = ["rows"]

ROOT = Path(__file__).parents[2]
VICTIM = Path(__file__).with_name("victim.c")
ROUTER = "-Os -fomit-frame-pointer -pthread -Wl,--eh-frame-hdr -s".split()
TOOLS = ("eu-stack", "gdb", "gcc")
THREADS, HEAP = 33, 300         # threads; MB
MB = 1024                       # KiB
SHM = "/dev/shm" if os.path.isdir("/dev/shm") else None
DEATHS = 11                     # of each handler, in pairs
# Other programs of this machine may crash as well.
CATCHER = """#!/bin/sh
cd {folder}
[ -e wanted.$1 ] || exec cat >/dev/null
cat >part.$1 && mv part.$1 core.$1
timeout 900 cat release
"""


class Crashed(NamedTuple):
    """A process that crashed and is still there, with its core."""

    pid: int
    core: Path
    program: Path


def rows() -> Iterator[Row]:
    """All comparisons; none, and why, where they cannot be made."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    why = crashing.obstacle() or (f"{', '.join(missing)} missing" if missing else None)
    if why:
        print(f"crashes of programs are not measured: {why}")
        return
    with crashing.folder() as folder, tempfile.TemporaryDirectory(dir=SHM) as memory:
        install = _Installed(folder, Path(memory))
        for compiler in filter(shutil.which, ("musl-gcc", "gcc")):
            yield from _with_cores(install, compiler)
        yield _whole_crash(install)


# --- what is compared


class _Installed:
    """lastlog as a router has it: the files of the package, compiled, with a journal."""

    def __init__(self, folder: Path, memory: Path) -> None:
        self.folder = folder
        self.router = crashing.Router(folder, real=True)
        self.router.region = memory / "region"      # what a disk takes is no part of a router's
        self.router.region.write_bytes(bytes(1 << 18))
        self.router.configure(main={"store_log": 0}, most_crashes=0)
        tree = folder / "installed"
        subprocess.run(["sh", "package/install.sh", "lastlog", tree], cwd=ROOT, check=True)
        library = tree / "usr/lib/lastlog"
        for words in (("-m", "compileall", "-q", library), (library / "lastlog_py/bundle.py",)):
            subprocess.run([_python(), "-I", *words], check=True)       # as postinst does
        self.handler = self._script(tree / "usr/libexec/lastlog/coredump", library)
        self.command = self._script(tree / "usr/bin/lastlog", library)

    def _script(self, path: Path, library: Path) -> Path:
        text = path.read_text().replace("/usr/lib/lastlog", str(library))
        path.write_text(text.replace("/usr/bin/python3", _python(), 1))
        return path

    def handling(self, crashed: Crashed) -> Command:
        """The handler as the kernel runs it."""
        name = str(crashed.program).replace("/", "!")
        words = (crashed.pid, crashed.pid, 0, 0, 1, 11, int(time.time()), name)
        return Command([str(self.handler), "--config", str(self.router.conf), *map(str, words)],
                       crashed.core, {})

    def telling(self, crashed: Crashed) -> Command:
        """`lastlog backtrace`, which like eu-stack has the files where they were."""
        return Command([str(self.command), "backtrace", "--core", str(crashed.core),
                        "--sysroot", "/"])


def _python() -> str:
    """The one that the scripts name, if it is new enough."""
    usual = "/usr/bin/python3"
    old = subprocess.run([usual, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"],
                         capture_output=True) if os.access(usual, os.X_OK) else None
    return usual if old is not None and not old.returncode else os.path.realpath(sys.executable)


def _eu_stack(crashed: Crashed) -> Command:
    """It ends with 1 where it could not unwind to the end."""
    return Command(["eu-stack", "--core", str(crashed.core), "-e", str(crashed.program)],
                   may_fail=True)


def _gdb(crashed: Crashed) -> Command:
    return Command(["gdb", "-nx", "-batch", "-ex", "thread apply all bt", str(crashed.program),
                    str(crashed.core)])


# --- the same cores


def _with_cores(install: _Installed, compiler: str) -> Iterator[Row]:
    """One thread, many threads, much memory; libc: musl's has no unwind tables, glibc's has."""
    libc = "musl" if compiler.startswith("musl") else "glibc"
    victim = _victim(install.folder / libc, compiler)
    with _catching(install.folder) as catch:
        one = catch(victim, "one")
        many = catch(victim, "threads", str(THREADS))
        large = catch(victim, "heap", str(HEAP))
        for name, ours in (("handler", install.handling), ("backtrace", install.telling)):
            row = _row(f"{name}, {libc}, 1 thread", "eu-stack", 1.3, ours(one), _eu_stack(one))
            yield row
            yield _row(f"{name}, {libc}, 1 thread", "gdb", 0.2, ours(one), _gdb(one))
            yield from _memory(row, f"{name}, {libc}, 1 thread, memory")
            row = _row(f"{name}, {libc}, {THREADS} threads", "eu-stack", 3.0, ours(many),
                       _eu_stack(many))
            yield row
            yield from _memory(row, f"{name}, {libc}, {THREADS} threads, memory")
            yield from _growth(f"{name}, {libc}, {HEAP} MB, more memory", ours(one), ours(large))


def _row(what: str, against: str, bar: float, ours: Command, reference: Command) -> Row:
    return Row(what, against, bar, *compare(ours, reference, wall=True))


def _memory(row: Row, what: str) -> Iterator[Row]:
    if row.ours.peak_kib and row.reference.peak_kib:
        yield row._replace(what=what, bar=1.0, ratio=row.ours.peak_kib / row.reference.peak_kib)


def _growth(what: str, small: Command, large: Command) -> Iterator[Row]:
    """What a large heap adds to the peak, against 1 MB."""
    low, high = peak(small), peak(large)
    if low is not None and high is not None:
        yield Row(what, "1 MB more", 1.0, max(high - low, 0) / MB, Cost(0.0, high),
                  Cost(0.0, low + MB))


# --- from the signal to the end


def _whole_crash(install: _Installed) -> Row:
    """A crash with a large heap until the kernel has let go of it, which it does when the handler
    has ended: with lastlog, and with a handler that only throws the core away."""
    victim = _victim(install.folder / "large", "gcc")
    cat = install.folder / "cat"
    _script(cat, "#!/bin/sh\nexec cat >/dev/null\n")
    ours = f"|{install.handler} --config {install.router.conf} {crashing.ARGUMENTS}"
    pairs = [(_death(victim, ours), _death(victim, f"|{cat}")) for _ in range(DEATHS)]
    return Row(f"crash with {HEAP} MB, to the end", "cat >/dev/null", 0.6,
               statistics.median(mine / theirs for mine, theirs in pairs),
               Cost(statistics.median(mine for mine, _ in pairs), None),
               Cost(statistics.median(theirs for _, theirs in pairs), None))


def _death(victim: Path, pattern: str) -> float:
    """Seconds from the fault until the parent can see the end."""
    with crashing.core_pattern(pattern):
        process = _ready(victim, "heap", str(HEAP))
        began = time.perf_counter()
        _crash(process)
        process.wait()
        return time.perf_counter() - began


# --- programs that crash


def _victim(path: Path, compiler: str) -> Path:
    """The program, stripped, and without section headers, as sstrip leaves it."""
    subprocess.run([compiler, *ROUTER, "-o", path, VICTIM], check=True)
    with path.open("r+b") as file:
        file.seek(40)               # e_shoff
        file.write(bytes(8))
        file.seek(58)               # e_shentsize, e_shnum, e_shstrndx
        file.write(bytes(6))
    return path


class _Catcher:
    """Makes processes crash, and keeps them as they are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "catch"
        _script(self.script, CATCHER.format(folder=folder))
        os.mkfifo(folder / "release")
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(self, victim: Path, *words: str) -> Crashed:
        with crashing.core_pattern(f"|{self.script} %P"):
            process = _ready(victim, *words)
            self.processes.append(process)
            (self.folder / f"wanted.{process.pid}").touch()
            _crash(process)
            core = self.folder / f"core.{process.pid}"
            until = time.monotonic() + 60
            while not core.exists():
                if time.monotonic() > until:
                    raise RuntimeError(f"the kernel gave no core of {victim}")
                time.sleep(0.02)
        return Crashed(process.pid, core, victim)

    def close(self) -> None:
        fd = os.open(self.folder / "release", os.O_RDWR | os.O_NONBLOCK)
        time.sleep(0.2)             # those who wait have it open now, and see its end
        os.close(fd)
        for process in self.processes:
            process.wait(60)
            (self.folder / f"core.{process.pid}").unlink(missing_ok=True)
        (self.folder / "release").unlink()


@contextmanager
def _catching(folder: Path) -> Iterator[_Catcher]:
    catcher = _Catcher(folder)
    try:
        yield catcher
    finally:
        catcher.close()


def _ready(victim: Path, *words: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([victim, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    if process.stdout.read(1) != b"!":
        raise RuntimeError(f"{victim} did not start")
    return process


def _crash(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.write(b"!")
    process.stdin.flush()


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
