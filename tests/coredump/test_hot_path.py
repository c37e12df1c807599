"""The core handler's modules import next to nothing: every import costs a crash its time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Not os, which brings 0.7 ms: posix is in Python.
ALLOWED = {"__future__", "_stat", "_struct", "errno", "stat", "struct", "time", "zlib"}
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
__import__(sys.argv[2])
print(*(name for name in set(sys.modules) - before if not name.startswith("lastlog_py")))
"""


@pytest.mark.parametrize("name", ["core", "program", "core_program", "memory", "machine", "module",
                                  "backtrace", "offline", "sysroot"])
def test_imports(name: str) -> None:
    done = subprocess.run([sys.executable, "-I", "-S", "-c", PROGRAM, str(ROOT),
                           f"lastlog_py.coredump.{name}"], capture_output=True, text=True,
                          check=True)
    assert set(done.stdout.split()) <= ALLOWED
