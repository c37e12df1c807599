"""The guests' only program: Debian's static busybox, or built where Debian has none any more."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .. import debian, trip
from .kernels import Board

__all__ = ["busybox"]

# Debian gave up its big-endian MIPS after 2018.  tc does not build with current headers.
OPTIONS = ("CONFIG_STATIC=y", "CONFIG_EXTRA_CFLAGS=\"-mips32r2 -mabi=32\"", "CONFIG_TC=n")


def busybox(board: Board, cache: Path) -> Path:
    """The program for `board`; raises debian.Missing."""
    if board.busybox is None:
        return _built(board, cache / f"busybox-{board.compiler}static")
    return trip.busybox(cache / board.busybox if board.busybox else cache, board.busybox)


def _built(board: Board, path: Path) -> Path:
    if not path.exists():
        debian.need(f"{board.compiler}gcc", board.compiler_package)
        folder = debian.fetch_source("busybox", path.parent)
        (tarball,) = folder.glob("*.orig.tar.*")
        tree = path.with_suffix(".tree")
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir()
        subprocess.run([debian.need("tar", "tar"), "-xf", tarball, "-C", tree,
                        "--strip-components=1"], check=True, timeout=60)
        _make(tree, board, "defconfig")
        chosen = (tree / ".config").read_text().splitlines()
        names = {option.split("=")[0] for option in OPTIONS}
        kept = [line for line in chosen
                if line.replace("# ", "").split("=")[0].split(" ")[0] not in names]
        (tree / ".config").write_text("\n".join((*kept, *OPTIONS)) + "\n")
        _make(tree, board, "oldconfig")
        _make(tree, board, "busybox")
        shutil.copy(tree / "busybox", path)
        shutil.rmtree(tree)
    return path


def _make(tree: Path, board: Board, target: str) -> None:
    # An empty answer to each question of oldconfig takes what is suggested.
    subprocess.run(["nice", debian.need("make", "make"), "-s", f"-j{os.cpu_count()}", "-C", tree,
                    f"ARCH={board.architecture}", f"CROSS_COMPILE={board.compiler}", target],
                   check=True, input=b"\n" * 1000, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
