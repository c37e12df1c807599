"""What a module for a Debian kernel is built from: its headers, its compiler, its source.

Unpacked below the cache, not installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from . import debian

__all__ = ["build_tree", "source"]


def build_tree(release: str, cache: Path) -> Path:
    """The folder in which `make` builds modules for the kernel `release` ("6.1.0-56-amd64").

    Raises debian.Missing, also if the compiler is not here that the kernel was built with.
    """
    name = f"linux-headers-{release}"
    home = cache / name
    if not home.is_dir():
        part = home.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        for deb in _with_needs(debian.fetch(name, cache), cache):
            debian.unpack(deb, part)
        part.rename(home)
    tree = home / "usr/src" / name
    # This file names its place by its path from the root, where it was not installed.
    (common,) = tree.parent.glob("linux-headers-*-common*")
    (tree / "Makefile").write_text(f"include {common}/Makefile\n")
    for compiler in re.findall(r"\bgcc-\d+", (tree / ".kernelvariables").read_text()):
        debian.need(compiler, compiler)
    return tree


def source(release: str, cache: Path, target: Path) -> None:
    """Write the kernel's source, linux-source-6.1.tar.xz, to `target`."""
    series = ".".join(release.split(".")[:2])
    deb = debian.fetch(f"linux-source-{series}", cache)
    with target.open("wb") as file, subprocess.Popen(
            [debian.need("dpkg-deb", "dpkg"), "--fsys-tarfile", deb],
            stdout=subprocess.PIPE) as packed:
        subprocess.run([debian.need("tar", "tar"), "-xO", "--wildcards", "*/linux-source-*.tar.xz"],
                       stdin=packed.stdout, stdout=file, check=True, timeout=120)


def _with_needs(deb: Path, cache: Path) -> list[Path]:
    """A package of headers, and those of its dependencies that hold parts of the build tree."""
    told = subprocess.run([debian.need("dpkg-deb", "dpkg"), "-f", deb, "Depends"], check=True,
                          capture_output=True, text=True, timeout=60).stdout
    names = [part.split()[0] for part in told.split(",")]
    return [deb, *(debian.fetch(name, cache) for name in names
                   if name.startswith(("linux-headers-", "linux-kbuild-")))]
