"""The modules that a crash needs, in one file: found there; done without where it is no good."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lastlog_py import __version__, bundle
from tests.coredump.crashing import Router, folder
from tests.coredump.test_handler import ARGUMENTS, core

from .make import make

ENTRIES = ("usr/bin/lastlog", "usr/libexec/lastlog/coredump")
# As the entry points do it; then which loader each module came from.
PROGRAM = """
import marshal, sys
sys.path.append({library!r})
file = open({bundle!r}, "rb", 0)
index, code = marshal.loads(file.read(24576))
exec(code, space := {{}})
space["use"](file, index)
from lastlog_py import cli
import lastlog_py.coredump.handler
cli.main(["backtrace", "--core", {core!r}])
{then}
for name, module in sys.modules.items():
    if name.startswith("lastlog_py"):
        print(name, type(module.__spec__.loader).__name__)
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
    return library / bundle.NAME


def loaders(library: Path, core: str = "/none", then: str = "") -> dict[str, str]:
    """Module → its loader; then: what else the program does."""
    code = PROGRAM.format(library=str(library), bundle=str(place(library)), core=core, then=then)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return dict(line.split() for line in done.stdout.splitlines() if line.startswith("lastlog_py"))


def version(library: Path) -> str:
    command = library.parents[1] / "bin/lastlog"
    done = subprocess.run([sys.executable, "-IS", command, "--version"], capture_output=True,
                          text=True, timeout=30)
    assert not done.stderr
    return done.stdout.strip()


def test_what_a_crash_needs_comes_from_it(library: Path, tmp_path: Path) -> None:
    known = loaders(library)
    assert len(known) > 25 and known.pop("lastlog_py.commands") == "SourceFileLoader"
    assert known["lastlog_py.coredump.offline"] == "Bundle"
    others = {name for name, loader in known.items() if loader != "Bundle"}
    assert not others & {"lastlog_py.coredump", "lastlog_py.cli", "lastlog_py.errors"}
    assert not {name for name in others if name.startswith("lastlog_py.coredump")}


def test_it_holds_nothing_of_a_pc(library: Path) -> None:
    index, _ = marshal.loads(place(library).read_bytes())
    assert not {name for name in index if name.endswith(("symbolize", "dwarf_lines", "service"))}
    assert {"lastlog_py.coredump.handler", "lastlog_py.coredump.unwind.prologue_mips",
            "lastlog_py.coredump.unwind.arm_exidx", "lastlog_py.medium.journal"} <= set(index)


def test_the_entry_points_read_its_whole_head(library: Path) -> None:
    for entry in ENTRIES:
        assert f"read({bundle.HEAD})" in (library.parents[2] / entry).read_text()


def test_a_changed_source_counts(library: Path) -> None:
    source = library / "lastlog_py/coredump/offline.py"
    source.write_text(source.read_text() + "\n")
    known = loaders(library)
    assert known["lastlog_py.coredump.offline"] == "SourceFileLoader"
    assert known["lastlog_py.coredump.core"] == "Bundle"


def test_a_source_of_another_time_counts(library: Path) -> None:
    os.utime(library / "lastlog_py/coredump/offline.py", (1, 1))
    assert loaders(library)["lastlog_py.coredump.offline"] == "SourceFileLoader"


@pytest.mark.parametrize("keep", [0, 10, 5000, -1])
def test_a_torn_one_is_not_used(library: Path, keep: int) -> None:
    whole = place(library).read_bytes()
    place(library).write_bytes(whole[:keep])
    assert version(library) == f"lastlog {__version__}"
    if keep == -1:                      # its head is whole, so only its size tells
        assert loaders(library)["lastlog_py.coredump.offline"] == "SourceFileLoader"


def test_garbage_is_not_used(library: Path) -> None:
    place(library).write_bytes(b"\xff" * 30000)
    assert version(library) == f"lastlog {__version__}"


def test_without_one(library: Path) -> None:
    place(library).unlink()
    assert version(library) == f"lastlog {__version__}"


def test_written_anew_over_an_old_one(library: Path) -> None:
    place(library).write_bytes(b"old")
    write(library)
    assert [path.name for path in place(library).parent.iterdir()] == [place(library).name]
    assert loaders(library)["lastlog_py.coredump.offline"] == "Bundle"


# --- os, which is put off


def test_a_crash_is_told_without_all_of_os(library: Path, tmp_path: Path) -> None:
    file = tmp_path / "core"
    file.write_bytes(core())
    loaders(library, str(file), "assert '_collections_abc' not in sys.modules, 'os is there'\n"
            "assert 'environ' not in vars(sys.modules['os'])")


def test_it_is_there_when_it_is_asked_for(library: Path, tmp_path: Path) -> None:
    file = tmp_path / "core"
    file.write_bytes(core())
    loaders(library, str(file), "light = sys.modules['os']\n"
            "import os.path, posixpath\n"
            "assert os is light and os.path is posixpath\n"
            "from os import PathLike, environ\n"
            "assert sys.modules['os'] is not light and light.environ is environ\n"
            "import os\n"
            "assert os.open is light.open and os.makedirs is light.makedirs\n"
            "assert os.fspath('x') == os.path.join('', 'x') == 'x'\n"
            "import subprocess\n"
            "assert subprocess.run(['true']).returncode == 0\n"
            "try: light.nothing\n"
            "except AttributeError: pass\n"
            "else: raise SystemExit('it has anything')")


def test_the_handler_from_a_bundle(library: Path) -> None:
    with folder() as path:
        router = Router(path)
        installed = library.parents[2] / "usr/libexec/lastlog/coredump"
        router.entry.write_text(installed.read_text().replace("/usr/bin/python3",
                                                              os.path.realpath(sys.executable)))
        assert router.handle(core(threads=3), *ARGUMENTS).returncode == 0
        dump = router.dump()
    assert dump["signal_name"] == "SIGSEGV" and len(dump["threads"]) == 3
