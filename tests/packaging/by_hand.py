"""A stand-in for opkg, for machines without it: the order in which it does things to a package's
files and scripts, without feeds and dependencies.

The tests that use it run under the real opkg too, where there is one.  Source of the order:
libopkg/opkg_install.c and opkg_remove.c of opkg-lede.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from .chroot import Router, member

__all__ = ["ByHand"]

INFO = "usr/lib/opkg/info"


class ByHand(Router):
    """A router on which packages are installed and removed step by step."""

    def opkg(self, *words: str | Path, status: int = 0) -> str:
        command, *rest = words
        for each in rest:
            if command == "install":
                self._install(Path(each))
            elif command == "remove":
                self._remove(str(each))
        return "\n".join(self._listed() if command == "list-installed" else self._changed())

    def _install(self, ipk: Path) -> None:
        name = ipk.name.partition("_")[0]
        content = ipk.read_bytes()
        control = _members(member(content, "./control.tar.gz"))
        data = _members(member(content, "./data.tar.gz"))
        upgrade = (self.root / INFO / f"{name}.control").exists()
        kept = [path for path in self._changed() if path.lstrip("/") in data]
        if upgrade:
            self._script(name, "prerm", "upgrade", upgrade)
            self._script(name, "postrm", "upgrade", upgrade)
            self._delete(name, {f"/{path}" for path in data} | set(kept))
        for path, (mode, text) in data.items():
            self._lay(f"{path}-opkg" if f"/{path}" in kept else path, mode, text)
        for path, (mode, text) in control.items():
            self._lay(f"{INFO}/{name}.{path}", mode, text)
        self._lay(f"{INFO}/{name}.list", 0o644, "".join(f"/{path}\n" for path in data).encode())
        self._lay(f"{INFO}/{name}.default", 0o644, data.get(_conffile(control), (0, b""))[1])
        self._script(name, "postinst", "configure", upgrade)

    def _remove(self, name: str) -> None:
        self._script(name, "prerm", "remove", False)
        self._delete(name, set(self._changed()))
        self._script(name, "postrm", "remove", False)
        for path in (self.root / INFO).glob(f"{name}.*"):
            path.unlink()

    def _delete(self, name: str, kept: set[str]) -> None:
        """The package's files except `kept`, and the folders that are empty then."""
        for line in set(self.text(f"{INFO}/{name}.list").split()) - kept:
            file = self.root / line[1:]
            file.unlink(missing_ok=True)
            for folder in file.parents:
                if folder == self.root or not folder.exists() or any(folder.iterdir()):
                    break
                folder.rmdir()

    def _script(self, name: str, script: str, word: str, upgrade: bool) -> None:
        path = f"/{INFO}/{name}.{script}"
        if (self.root / path[1:]).exists():
            self.run("sh", "-c", f"PKG_UPGRADE={upgrade:d} {path} {word}")

    def _lay(self, path: str, mode: int, content: bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)

    def _listed(self) -> list[str]:
        """The packages: "name - version"."""
        controls = [dict(line.split(": ", 1) for line in path.read_text().splitlines())
                    for path in (self.root / INFO).glob("*.control")]
        return [f"{each['Package']} - {each['Version']}" for each in controls]

    def _changed(self) -> list[str]:
        """The configuration files that are not as they came."""
        listed = [(path.read_text().strip(), path.with_suffix(".default").read_text())
                  for path in (self.root / INFO).glob("*.conffiles")]
        return [path for path, default in listed
                if (self.root / path[1:]).exists() and self.text(path) != default]


def _members(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """The files of a packed tar: path from the root -> (mode, content)."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {info.name.removeprefix("./"): (info.mode, file.read())
                for info in tar if (file := tar.extractfile(info))}


def _conffile(control: dict[str, tuple[int, bytes]]) -> str:
    """The one configuration file that a package of ours has; "" if none."""
    return control.get("conffiles", (0, b""))[1].decode().strip().lstrip("/")
