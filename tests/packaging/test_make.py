"""The Makefile on a PC: what CONTRACT promises, and one version for everything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lastlog_py import __version__

from .make import ROOT, make

TARGETS = ["help", "run", "test", "crash", "cycles", "bench", "ipk", "install", "clean"]


def test_without_a_target_it_helps() -> None:
    done = make()
    assert done.returncode == 0
    assert re.findall(r"^  make (\w+)\t\S", done.stdout, re.MULTILINE) == TARGETS
    assert done.stdout.startswith(f"lastlog {__version__}:")
    assert done.stdout == make("help").stdout


@pytest.mark.parametrize(("target", "module"), [
    ("run", "lastlog_py.page.demo"), ("crash", "tests.e2e.crash"), ("bench", "tests.bench"),
])
def test_targets_start_modules_that_exist(target: str, module: str) -> None:
    assert f"-m {module}" in make("-n", target).stdout
    path = ROOT / module.replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def test_the_port_can_be_chosen() -> None:
    assert "--port 8088" in make("-n", "run").stdout
    assert "--port 8099" in make("-n", "run", "PORT=8099").stdout


@pytest.mark.parametrize("failing", ["ruff", "mypy", "pytest", None])
def test_the_status_of_test_is_that_of_all_three(failing: str | None, tmp_path: Path) -> None:
    """With a python that fails for one of them; pytest runs all the same, and last."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "ran $2"\n[ "$2" != "{failing}" ]\n')
    python.chmod(0o755)
    done = make("-s", "-o", ".venv/.ready", "-o", "tools", "test", f"PYTHON={python}")
    assert done.stdout.split("\n") == ["ran ruff", "ran mypy", "ran pytest", ""]
    assert (done.returncode != 0) == (failing is not None)


def test_requirements_are_pinned() -> None:
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    pinned = r'[a-z0-9.-]+==[0-9.]+(; python_version < "[0-9.]+")?'
    assert all(re.fullmatch(pinned, line) for line in lines
               if line and not line.startswith("#"))
