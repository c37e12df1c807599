"""The Makefile as somebody at a prompt calls it, also from within `make test`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

__all__ = ["ROOT", "make"]

ROOT = Path(__file__).parents[2]
# What a make hands to those below it.
INHERITED = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "MAKE_TERMOUT", "MAKE_TERMERR")


def make(*arguments: str, folder: Path = ROOT,
         **variables: str) -> subprocess.CompletedProcess[str]:
    """`make` with `arguments` in `folder`, and `variables` in its environment."""
    environment = {name: value for name, value in os.environ.items() if name not in INHERITED}
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True,
                          timeout=120, env=environment | variables)
