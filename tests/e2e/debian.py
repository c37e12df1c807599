"""Debian packages for the guest: fetched by apt into build/, unpacked, never installed.

Works without root.  Where apt has no package lists (a bare container, another architecture), or
lists so old that the file is gone from the mirror, it makes lists of its own below the cache: one
cache an architecture, which is named as Debian names it, "mipsel"; "" is this machine's own.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Missing", "fetch", "fetch_source", "need", "newest", "unpack"]


_UPDATED: set[tuple[str, ...]] = set()      # the lists that are up to date, by apt's options


class Missing(Exception):
    """Something the trip needs is not on this machine; the message says which package has it."""


def need(program: str, package: str) -> str:
    """The path of `program`, which Debian's `package` holds; raises Missing."""
    # Debian keeps the file system tools in sbin, which is not on every user's PATH.
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if not path:
        raise Missing(f"{program} not found: install the Debian package {package}")
    return path


def newest(metapackage: str, cache: Path, architecture: str = "") -> str:
    """The package that `metapackage` stands for today, e.g. linux-image-6.1.0-56-amd64."""
    name = None if architecture else _first_dependency(metapackage, ())
    if not name:
        own = _update(cache, architecture)
        name = _first_dependency(metapackage, own)
    if not name:
        raise Missing(f"apt knows no package {metapackage}")
    return name


def fetch(package: str, cache: Path, architecture: str = "", suite: str = "") -> Path:
    """The .deb of `package` in its newest version, from `cache` or downloaded into it.

    suite: another release of Debian than the one that apt is set up for, "bullseye".
    """
    have = sorted(cache.glob(f"{package}_*.deb"))
    if have:
        return have[-1]
    cache.mkdir(parents=True, exist_ok=True)
    deb = None if architecture or suite else _download(package, cache, ())
    if not deb:
        deb = _download(package, cache, _update(cache, architecture, suite))
    if not deb:
        raise Missing(f"apt-get cannot download the Debian package {package}")
    return deb


def fetch_source(package: str, cache: Path) -> Path:
    """The folder with the source of `package` as its authors released it: NAME_VERSION.orig.tar.*.
    """
    folder = cache / f"source-{package}"
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        own = _own_source(cache, "deb-src", _release())
        if not (_apt_get(*own, "update", folder=cache)
                and _apt_get(*own, "source", "--download-only", package, folder=part)):
            raise Missing(f"apt-get cannot download the source of the Debian package {package}")
        part.rename(folder)
    return folder


def unpack(deb: Path, target: Path) -> None:
    """Lay the files of `deb` under `target`."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run([need("dpkg-deb", "dpkg"), "-x", deb, target], check=True, timeout=120)


def _first_dependency(package: str, options: Sequence[str]) -> str | None:
    asked = subprocess.run([need("apt-cache", "apt"), *options, "depends", "--important", package],
                           capture_output=True, text=True, timeout=60)
    for line in asked.stdout.splitlines():
        key, _, name = line.strip().partition(": ")
        if key == "Depends":
            return name
    return None


def _download(package: str, cache: Path, options: Sequence[str]) -> Path | None:
    """Download into `cache`, where only a whole file appears; None if that failed."""
    with tempfile.TemporaryDirectory(dir=cache) as part:
        if _apt_get(*options, "download", package, folder=part):
            (deb,) = Path(part).glob("*.deb")
            return deb.replace(cache / deb.name)
    return None


def _update(cache: Path, architecture: str, suite: str = "") -> tuple[str, ...]:
    """Make lists of our own, once a process; the options that make apt use them."""
    own = _own_source(cache, "deb", suite) if suite else _own_lists(cache, architecture)
    if own not in _UPDATED:
        _apt_get(*own, "update", folder=cache)
        _UPDATED.add(own)
    return own


def _apt_get(*words: str, folder: Path | str) -> bool:
    """Whether apt-get did it; without a network it gives up after a minute."""
    patience = ("-o", "Acquire::http::Timeout=20", "-o", "Acquire::Retries=1")
    done = subprocess.run([need("timeout", "coreutils"), "300", need("apt-get", "apt"), *patience,
                           *words], cwd=folder, capture_output=True)
    return done.returncode == 0


def _own_source(cache: Path, kind: str, suite: str) -> tuple[str, ...]:
    """Options for another suite on the mirrors that apt knows; kind: "deb" | "deb-src"."""
    home = cache / f"apt-{kind}-{suite}"
    (home / "parts").mkdir(parents=True, exist_ok=True)
    mirrors = {line for line in _targets("$(REPO_URI)") if line.endswith("/debian/")}
    (home / "list").write_text("".join(f"{kind} {each} {suite} main\n" for each in mirrors))
    return (*_own_lists(home, ""), "-o", f"Dir::Etc::sourcelist={(home / 'list').absolute()}",
            "-o", f"Dir::Etc::sourceparts={(home / 'parts').absolute()}")


def _release() -> str:
    """The suite that apt is set up for."""
    return next(line for line in _targets("$(RELEASE)") if "-" not in line)


def _targets(form: str) -> list[str]:
    """What apt's package lists are, in this form."""
    return subprocess.run([need("apt-get", "apt"), "indextargets", "--format", form,
                           "Created-By: Packages"], capture_output=True, text=True,
                          timeout=60).stdout.split()


def _own_lists(cache: Path, architecture: str) -> tuple[str, ...]:
    base = (cache / "apt").absolute()
    (base / "lists/partial").mkdir(parents=True, exist_ok=True)
    foreign = ("-o", f"APT::Architecture={architecture}",
               "-o", f"APT::Architectures={architecture}") if architecture else ()
    return ("-o", f"Dir::State::lists={base}/lists", "-o", f"Dir::Cache={base}",
            "-o", "APT::Sandbox::User=", *foreign)
