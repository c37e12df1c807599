"""A small router below a directory: busybox, and stand-ins for what OpenWrt's packages call.

In it opkg installs what `make ipk` made.  The stand-ins (tests/packaging/router) note in
/log what they are asked for.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Self

from .make import ROOT

__all__ = ["Router", "assemble", "member", "packed"]

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
STAND_INS = Path(__file__).parent / "router"
CONFIG = "dest root /\nlists_dir ext /var/opkg-lists\narch all 1\nsrc feed file:///feed\n"


def packed(files: Path, scripts: Path, target: Path, name: str, version: str,
           **fields: str) -> Path:
    """A package made by package/ipk.py; `fields`: depends, recommends."""
    options = [word for key, value in ({"depends": ""} | fields).items()
               for word in (f"--{key}", value)]
    done = subprocess.run(
        ["python3", ROOT / "package/ipk.py", files, scripts, target, "--package", name,
         "--version", version, "--description", "-", *options],
        check=True, capture_output=True, text=True, timeout=60)
    return Path(done.stdout.strip())


class Router:
    """A router; `root` is its root directory, as this machine sees it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def copy(self, root: Path) -> Self:
        """Another router like this one."""
        shutil.copytree(self.root, root, symlinks=True)
        return type(self)(root)

    def offer(self, *names: str) -> None:
        """Put empty packages into the router's feed, and read the feed again."""
        empty = self.root.parent / "empty"
        empty.mkdir(exist_ok=True)
        for name in names:
            packed(empty, empty, self.root / "feed", name, "1-r1")
        self._index()
        self.opkg("update")

    def _index(self) -> None:
        """The feed's list of packages, as scripts/ipkg-make-index.sh makes it."""
        entries = []
        for ipk in sorted((self.root / "feed").glob("*.ipk")):
            content = ipk.read_bytes()
            control = member(member(content, "./control.tar.gz"), "./control").decode()
            entries.append(f"{control}Filename: {ipk.name}\nSize: {len(content)}\n"
                           f"SHA256sum: {hashlib.sha256(content).hexdigest()}\n\n")
        (self.root / "feed/Packages").write_text("".join(entries))

    def opkg(self, *words: str | Path, status: int = 0) -> str:
        """What opkg prints; it must end with `status`.  A Path is an .ipk of this machine."""
        names = [f"/incoming/{Path(shutil.copy(word, self.root / 'incoming')).name}"
                 if isinstance(word, Path) else word for word in words]
        return self.run("opkg", "-f", "/opkg.conf", *names, status=status)

    def run(self, *words: str, status: int = 0) -> str:
        """Run a program of the router; what it prints."""
        alone = [] if os.geteuid() == 0 else ["unshare", "-r"]
        done = subprocess.run([*alone, "chroot", self.root, *words], text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, env={"ROUTER": "", "PATH": PATH})
        assert done.returncode == status, done.stdout
        return done.stdout

    def files(self) -> set[str]:
        """Everything that is there, directories too."""
        return {f"/{path.relative_to(self.root)}" for path in self.root.rglob("*")}

    def text(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def write(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def log(self) -> list[str]:
        """What the stand-ins were asked for since the last call."""
        file = self.root / "log"
        lines = file.read_text().splitlines() if file.exists() else []
        file.write_text("")
        return lines


def assemble(root: Path, busybox: Path, opkg: Path | None = None) -> Router:
    """A router with these programs, and an empty feed."""
    shutil.copytree(STAND_INS, root)
    for folder in ("sbin", "dev", "tmp", "usr/lib/opkg", "var/lock", "var/run", "feed", "incoming"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "opkg.conf").write_text(CONFIG)
    _put(root, busybox, "bin/busybox")
    if opkg:
        _put(root, opkg, "bin/opkg")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if not (root / "bin" / applet).exists():
            (root / "bin" / applet).symlink_to("busybox")
    return Router(root)


def _put(root: Path, program: Path, place: str) -> None:
    """A program, and the libraries it needs where the loader looks for them."""
    shutil.copy(program, root / place)
    told = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    for library in re.findall(r"(?:=> |^\s+)(/\S+)", told, re.MULTILINE):
        (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / library[1:])


def member(archive: bytes, name: str) -> bytes:
    """One file of a packed tar."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = tar.extractfile(name)
        return found.read() if found else b""
