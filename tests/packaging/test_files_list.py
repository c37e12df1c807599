"""package/files.list is complete, and `make install` lays out what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lastlog_py import __version__
from lastlog_py.setup import HANDLER

from .make import ROOT, make

PACKAGES = ("lastlog", "luci-app-lastlog")
# The preview is for a PC: preview.py, preview.css, demo.py …
NOT_SHIPPED = ("lastlog_py/page/preview.", "lastlog_py/page/demo.")


def lines() -> list[list[str]]:
    """The list: [package, mode, source, destination] each."""
    text = (ROOT / "package/files.list").read_text()
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def listed() -> list[tuple[str, str, Path, str]]:
    """The list with its patterns resolved: (package, mode, source file, path on the router)."""
    return [(package, mode, source, place + source.name if place.endswith("/") else place)
            for package, mode, pattern, place in lines() for source in sorted(ROOT.glob(pattern))]


def shipped() -> list[str]:
    """The router's files in the repository, from its root."""
    found = [path for folder in ("files", "luasrc", "lastlog_py")
             for path in (ROOT / folder).rglob("*")
             if path.is_file() and "__pycache__" not in path.parts]
    names = {str(path.relative_to(ROOT)) for path in found}
    return sorted(name for name in names if not name.startswith(NOT_SHIPPED))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make install` makes; the umask must not matter."""
    target = tmp_path_factory.mktemp("router")
    umask = os.umask(0o077)
    try:
        make("install", f"DESTDIR={target}").check_returncode()
    finally:
        os.umask(umask)
    return target


def test_every_line_is_one() -> None:
    for line in lines():
        package, mode, pattern, place = line
        assert package in PACKAGES and mode in ("0644", "0755") and place.startswith("/"), line
        assert list(ROOT.glob(pattern)), f"{pattern} matches nothing"


def test_every_file_is_listed_once() -> None:
    counted = Counter(str(source.relative_to(ROOT)) for _, _, source, _ in listed())
    assert sorted(counted) == shipped()
    assert set(counted.values()) == {1}


def test_place_in_files_is_the_place_on_the_router() -> None:
    for _, _, source, place in listed():
        if source.is_relative_to(ROOT / "files"):
            assert place == f"/{source.relative_to(ROOT / 'files')}"


def test_install_lays_out_the_list(installed: Path) -> None:
    found = {f"/{path.relative_to(installed)}" for path in installed.rglob("*") if path.is_file()}
    assert found == {place for _, _, _, place in listed()}
    for _, mode, source, place in listed():
        target = installed / place[1:]
        assert target.read_bytes() == source.read_bytes()
        assert f"{target.stat().st_mode & 0o7777:04o}" == mode, place
    assert all(path.stat().st_mode & 0o7777 == 0o755 for path in installed.rglob("*")
               if path.is_dir())


def test_install_needs_to_be_told_where() -> None:
    done = make("install")
    assert done.returncode and "DESTDIR" in done.stderr


def test_the_entry_points_look_where_the_package_is(installed: Path) -> None:
    for entry in ("usr/bin/lastlog", "usr/libexec/rpcd/lastlog", "usr/libexec/lastlog/coredump"):
        assert 'sys.path.append("/usr/lib/lastlog")' in (installed / entry).read_text()
    assert (installed / "usr/lib/lastlog/lastlog_py/__init__.py").is_file()


def test_the_command_starts_isolated_and_answers(installed: Path) -> None:
    command = installed / "usr/bin/lastlog"
    assert command.read_text().startswith("#!/usr/bin/python3 -IS\n")
    done = subprocess.run([sys.executable, "-I", command, "--version"],
                          capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, f"lastlog {__version__}\n")


def test_the_core_handler_starts_isolated_and_is_where_the_kernel_looks(installed: Path) -> None:
    handler = installed / HANDLER.lstrip("/")
    first, *_ = handler.read_text().splitlines()
    assert first == "#!/usr/bin/python3 -IS" and handler.stat().st_mode & 0o777 == 0o755


def test_shipped_modules_import_without_the_clone(installed: Path) -> None:
    """Nothing that a router imports was left on the PC."""
    library = installed / "usr/lib/lastlog"
    modules = [".".join(path.relative_to(library).with_suffix("").parts)
               for path in sorted(library.rglob("*.py")) if path.name != "__main__.py"]
    code = ("import sys\n"
            f"sys.path.insert(0, {str(library)!r})\n"
            "import importlib\n"
            f"for name in {modules!r}:\n"
            f"    assert importlib.import_module(name).__file__.startswith({str(library)!r})\n")
    subprocess.run([sys.executable, "-I", "-B", "-c", code], check=True, timeout=60)
