"""Packs a directory as an OpenWrt package (.ipk) without a buildroot.

The archive is what OpenWrt's scripts/ipkg-build makes: a gzip'd tar of ./debian-binary,
./data.tar.gz and ./control.tar.gz.  The same input gives the same bytes: owner root, names sorted,
every time stamp SOURCE_DATE_EPOCH.  The maintainer scripts are wrapped as include/package-pack.mk
of the buildroot wraps them, so that OpenWrt's default_postinst and default_prerm do their part.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import tarfile
from pathlib import Path

__all__ = ["build", "control_members", "main"]

WRAPPER = """#!/bin/sh
{no_script}[ -s ${{IPKG_INSTROOT}}/lib/functions.sh ] || exit 0
. ${{IPKG_INSTROOT}}/lib/functions.sh
default_{script} $0 $@
"""
NO_SCRIPT = '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0\n'


def control_members(scripts: Path, fields: dict[str, str]) -> dict[str, tuple[int, bytes]]:
    """The control archive: name -> (mode, content), from `fields` and the files in `scripts`.

    A field without a value is left out.
    """
    control = "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
    members = {
        "control": (0o644, control.encode()),
        "postinst": (0o755, WRAPPER.format(script="postinst", no_script=NO_SCRIPT).encode()),
        "prerm": (0o755, WRAPPER.format(script="prerm", no_script="").encode()),
    }
    for path in scripts.iterdir():
        name = f"{path.name}-pkg" if path.name in ("postinst", "prerm") else path.name
        members[name] = (0o644 if path.name == "conffiles" else 0o755, path.read_bytes())
    return members


def build(root: Path, scripts: Path, target: Path, fields: dict[str, str], time: int) -> Path:
    """Pack the files below `root` as a package in the directory `target`; its path.

    `fields` are those of the control file, `time` is Unix seconds.
    """
    data = _tree(root, time)
    fields = fields | {"Installed-Size": str(len(data))}
    control = _archive(control_members(scripts, fields), time)
    package = _archive({"debian-binary": (0o644, b"2.0\n"), "data.tar.gz": (0o644, _pack(data)),
                        "control.tar.gz": (0o644, _pack(control))}, time, top=False)
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{fields['Package']}_{fields['Version']}_{fields['Architecture']}.ipk"
    path.write_bytes(_pack(package))
    return path


def _tree(root: Path, time: int) -> bytes:
    """A tar of everything below `root`, with its modes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, ".", 0o755, None, time)
        for path in sorted(root.rglob("*")):
            content = path.read_bytes() if path.is_file() else None
            _add(tar, f"./{path.relative_to(root)}", path.stat().st_mode & 0o7777, content, time)
    return buffer.getvalue()


def _archive(members: dict[str, tuple[int, bytes]], time: int, top: bool = True) -> bytes:
    """A tar of `members`: name -> (mode, content); `top`: with an entry for the directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        if top:
            _add(tar, ".", 0o755, None, time)
        for name in members if not top else sorted(members):
            mode, content = members[name]
            _add(tar, f"./{name}", mode, content, time)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, mode: int, content: bytes | None, time: int) -> None:
    """One member, owned by root; a directory if there is no content."""
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = mode, time
    info.uname = info.gname = "root"
    if content is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    else:
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def _pack(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)


def main() -> None:
    """The command that `make ipk` runs; SOURCE_DATE_EPOCH is taken from the environment."""
    parser = argparse.ArgumentParser(description="Pack a directory as an .ipk.")
    parser.add_argument("root", type=Path, help="the files, laid out as on the router")
    parser.add_argument("scripts", type=Path, help="conffiles, postinst, prerm, postrm")
    parser.add_argument("target", type=Path, help="where the .ipk goes")
    for option in ("package", "version", "depends", "description"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--recommends", default="", help="installed too where they are to be had")
    given = parser.parse_args()
    fields = {
        "Package": given.package, "Version": given.version,
        "Depends": ", ".join(given.depends.split()),
        "Recommends": ", ".join(given.recommends.split()), "License": "Apache-2.0",
        "Section": "luci" if given.package.startswith("luci-") else "admin",
        "Architecture": "all", "Description": given.description,
    }
    time = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
    print(build(given.root, given.scripts, given.target, fields, time))


if __name__ == "__main__":
    main()
