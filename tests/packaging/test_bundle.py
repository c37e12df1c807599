"""The modules that a crash needs, in one file: found there; done without where it is no good."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

import pytest

from lastlog_py import __version__, bundled
from tests.coredump.crashing import Router, folder
from tests.coredump.test_handler import ARGUMENTS, core

from .make import make

ENTRIES = ("usr/bin/lastlog", "usr/libexec/lastlog/coredump")
# What comes first, and what says from where the modules came.
FIRST = {"lastlog_py", "lastlog_py.bundled"}
PROGRAM = """
import sys
sys.path.append({library!r})
from lastlog_py import cli
{then}
for name, module in sys.modules.items():
    if name.startswith("lastlog_py"):
        print(name, type(module.__spec__.loader).__name__)
"""
TELLS = """

import atexit
@atexit.register
def tell():
    with open({file!r}, "w") as file:
        for name, module in sys.modules.items():
            if name.startswith("lastlog_py") or name == "os":
                print(name, type(module.__spec__.loader).__name__, file=file)
import posix
posix._exit = lambda status: sys.exit(status)
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Where the modules are installed, with a bundle."""
    make("install", f"DESTDIR={tmp_path}").check_returncode()
    library = tmp_path / "usr/lib/lastlog"
    write(library)
    for entry in ENTRIES:
        file = tmp_path / entry
        file.write_text(file.read_text().replace("/usr/lib/lastlog", str(library)))
    return library


def write(library: Path) -> None:
    """What the package manager runs."""
    subprocess.run([sys.executable, "-I", library / "lastlog_py/bundle.py"], check=True)


def place(library: Path) -> Path:
    return library / "lastlog_py" / bundled.NAME


def compiled(library: Path, source: str) -> Path:
    """Where a module's .pyc file is."""
    return Path(cache_from_source(str(library / "lastlog_py" / source)))


def loaders(library: Path, then: str = "from lastlog_py.coredump import offline") -> dict[str, str]:
    """Module → its loader, after the program has done that."""
    code = PROGRAM.format(library=str(library), then=then)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return parsed(done.stdout)


def parsed(said: str) -> dict[str, str]:
    return dict(line.split() for line in said.splitlines() if line.strip())


def version(library: Path) -> str:
    command = library.parents[1] / "bin/lastlog"
    done = subprocess.run([sys.executable, "-IS", command, "--version"], capture_output=True,
                          text=True, timeout=30)
    assert not done.stderr
    return done.stdout.strip()


def telling(entry: Path, file: Path) -> None:
    """Have an entry point say in the end where its modules came from."""
    head, append, rest = entry.read_text().partition("sys.path.append")
    line, _, rest = rest.partition("\n")
    entry.write_text(head + append + line + TELLS.format(file=str(file)) + rest)


# --- what is in it


def test_a_backtrace_imports_nothing_else(library: Path, tmp_path: Path) -> None:
    file = tmp_path / "core"
    file.write_bytes(core(threads=2))
    command = library.parents[1] / "bin/lastlog"
    telling(command, tmp_path / "told")
    done = subprocess.run([sys.executable, "-IS", command, "backtrace", "--core", file],
                          capture_output=True, text=True, timeout=30)
    assert "SIGSEGV" in done.stdout and not done.stderr
    known = parsed((tmp_path / "told").read_text())
    assert len(known) > 25
    assert {name for name, loader in known.items() if loader != "Bundle"} == FIRST


def test_the_handler_imports_nothing_else(library: Path, tmp_path: Path) -> None:
    with folder() as path:
        router = Router(path)
        installed = library.parents[2] / "usr/libexec/lastlog/coredump"
        router.entry.write_text(installed.read_text().replace("/usr/bin/python3",
                                                              os.path.realpath(sys.executable)))
        telling(router.entry, tmp_path / "told")
        assert router.handle(core(threads=3), *ARGUMENTS).returncode == 0
        dump = router.dump()
    assert dump["signal_name"] == "SIGSEGV" and len(dump["threads"]) == 3
    known = parsed((tmp_path / "told").read_text())
    assert {name for name, loader in known.items() if loader != "Bundle"} == {*FIRST, "os"}


def test_nothing_is_compiled_twice(library: Path) -> None:
    subprocess.run([sys.executable, "-I", "-m", "compileall", "-q", library], check=True)
    assert compiled(library, "coredump/offline.py").exists()
    write(library)
    assert not compiled(library, "coredump/offline.py").exists()
    assert compiled(library, "commands.py").exists() and compiled(library, "bundled.py").exists()
    known = loaders(library, "from lastlog_py import commands\n"
                    "import lastlog_py.coredump.offline")
    assert known["lastlog_py.commands"] == "SourceFileLoader"
    assert not compiled(library, "coredump/offline.py").exists()


def test_it_holds_nothing_of_a_pc(library: Path) -> None:
    whole = place(library).read_bytes()
    assert b"coredump/core.py" in whole and b"symbolize.py" not in whole
    assert b"unwind/prologue_" in whole


def test_a_module_knows_its_file(library: Path) -> None:
    loaders(library, "from lastlog_py.coredump import core, unwind\n"
            f"assert core.__file__ == '{library}/lastlog_py/coredump/core.py', core.__file__\n"
            f"assert unwind.__path__ == ['{library}/lastlog_py/coredump/unwind'], unwind.__path__\n"
            f"assert core.__cached__ == '{place(library)}'")


# --- when it is not used


def test_a_changed_source_counts(library: Path) -> None:
    source = library / "lastlog_py/coredump/offline.py"
    source.write_text(source.read_text() + "\n")
    known = loaders(library)
    assert known["lastlog_py.coredump.offline"] == "SourceFileLoader"
    assert known["lastlog_py.coredump.core"] == "Bundle"


def test_a_source_of_another_time_counts(library: Path) -> None:
    os.utime(library / "lastlog_py/coredump/offline.py", (1, 1))
    assert loaders(library)["lastlog_py.coredump.offline"] == "SourceFileLoader"


@pytest.mark.parametrize("keep", [0, 3, 4, 10, 1000, -1])
def test_a_torn_one_is_not_used(library: Path, keep: int) -> None:
    whole = place(library).read_bytes()
    place(library).write_bytes(whole[:keep])
    assert version(library) == f"lastlog {__version__}"
    assert loaders(library)["lastlog_py.coredump.offline"] == "SourceFileLoader"


@pytest.mark.parametrize("content", [b"\xff" * 30000, MAGIC_NUMBER + b"N",
                                     MAGIC_NUMBER + b"\xff" * 99])
def test_garbage_is_not_used(library: Path, content: bytes) -> None:
    place(library).write_bytes(content)
    assert version(library) == f"lastlog {__version__}"


def test_another_pythons_is_not_used(library: Path) -> None:
    whole = place(library).read_bytes()
    place(library).write_bytes(b"\0\0\r\n" + whole[4:])
    assert loaders(library)["lastlog_py.coredump.offline"] == "SourceFileLoader"


def test_without_one(library: Path) -> None:
    place(library).unlink()
    assert version(library) == f"lastlog {__version__}"


def test_written_anew_over_an_old_one(library: Path) -> None:
    place(library).write_bytes(b"old")
    write(library)
    assert [path.name for path in place(library).parent.glob("bundle.*")] == [place(library).name]
    assert loaders(library)["lastlog_py.coredump.offline"] == "Bundle"


def test_one_that_cannot_be_written_leaves_things_as_they_are(library: Path) -> None:
    subprocess.run([sys.executable, "-I", "-m", "compileall", "-q", library], check=True)
    place(library).unlink()
    place(library).mkdir()
    done = subprocess.run([sys.executable, "-I", library / "lastlog_py/bundle.py"],
                          capture_output=True, text=True)
    assert done.returncode and done.stderr.startswith("lastlog: a crash will take longer")
    assert "Traceback" not in done.stderr
    assert list(place(library).parent.glob("bundle.cpython*[0-9]")) == [place(library)]
    assert compiled(library, "coredump/offline.py").exists()
