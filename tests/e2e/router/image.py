"""The router's disks: its firmware, its flash, and the laboratory's own.

The firmware is what an OpenWrt image would hold: busybox, Python, jinja2, what `make install` lays
out, and stand-ins for procd, ubus and ubox (guest/).  All guests share it; it is never written.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import debian, image, kernel

__all__ = ["make_firmware", "make_flash", "make_initramfs", "make_lab"]

HERE = Path(__file__).parent
PROJECT = HERE.parents[2]
FOLDERS = ("proc", "sys", "dev", "tmp", "rom", "overlay", "lab", "mnt", "bin", "sbin", "usr/bin",
           "usr/sbin", "etc/config", "etc/rc.d", "lib/modules")


def make_initramfs(chosen: kernel.Kernel, busybox: Path, path: Path) -> None:
    """Write the initramfs that reaches the router's root."""
    modules = (*chosen.disk, *chosen.overlay)
    entries: dict[str, bytes | None] = dict.fromkeys(
        ("bin", "dev", "modules", "root", "rom", "overlay"))
    entries["bin/busybox"] = busybox.read_bytes()
    entries["init"] = (HERE / "initramfs.sh").read_bytes()
    entries["modules/order"] = "\n".join(each.name for each in modules).encode()
    entries |= {f"modules/{each.name}": each.read_bytes() for each in modules}
    path.write_bytes(image.cpio(entries))


def make_firmware(chosen: kernel.Kernel, busybox: Path, python: Sequence[Path],
                  path: Path) -> None:
    """Write the read-only root.

    python: Debian's packages of it and all that it needs; none: the Python that runs this.
    """
    root = path.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    (root / "var").symlink_to("tmp")
    shutil.copytree(HERE / "guest", root, dirs_exist_ok=True)
    _put_busybox(busybox, root)
    _put_modules(chosen, root)
    if python:
        _put_debian_python(python, root)
    else:
        image.put_python(root, "usr")
    _put_packages(root)
    _install(root)
    # In one step: a guest of another process may be using the old one.
    image.make_ext4(root, path.with_suffix(".part"), "384M", "-O", "^has_journal")
    path.with_suffix(".part").rename(path)
    shutil.rmtree(root)


def _put_busybox(busybox: Path, root: Path) -> None:
    """busybox under all its names, but where a stand-in has one."""
    shutil.copy(busybox, root / "bin/busybox")
    for name in _applets(busybox):
        if not any((root / folder / name).exists() for folder in ("bin", "sbin")):
            (root / "bin" / name).symlink_to("busybox")


def _applets(busybox: Path) -> list[str]:
    """The names in the program, which may be another machine's: one after the other, each ended
    by a NUL (libbb/appletlib.c: applet_names)."""
    names = re.search(rb"\[\0\[\[\0(?:[a-z0-9_-]+\0)+", busybox.read_bytes())
    if names is None:
        raise debian.Missing("busybox-static holds no list of its applets")
    return names[0].decode().rstrip("\0").split("\0")


def _put_modules(chosen: kernel.Kernel, root: Path) -> None:
    """Flat in /lib/modules/RELEASE, as OpenWrt has them, with what busybox' modprobe needs."""
    target = root / "lib/modules" / chosen.release
    target.mkdir()
    image.put_modules(chosen.crash, target)
    lines = (f"{each.name}: {' '.join(f'{name}.ko' for name in kernel.needs(each.read_bytes()))}\n"
             for each in chosen.crash)
    (target / "modules.dep").write_text("".join(lines))


def _put_debian_python(packages: Sequence[Path], root: Path) -> None:
    """Python as Debian packs it, compiled by the one that runs this, which may be the same."""
    for package in packages:
        debian.unpack(package, root)
    for not_wanted in ("usr/share", *(f"usr/lib/python3.*/{name}" for name in image.NOT_WANTED)):
        for path in root.glob(not_wanted):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (program,) = root.glob("usr/bin/python3.*")
    (root / "usr/bin/python3").symlink_to(program.name)
    _compile(root, root / "usr/lib" / program.name)


def _put_packages(root: Path) -> None:
    """jinja2 where Python looks for it, also a Python that Debian built."""
    (library,) = root.glob("usr/lib/python3.*")
    for name in ("jinja2", "markupsafe"):
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise debian.Missing(f"the Python package {name} is not installed")
        shutil.copytree(Path(found.origin).parent, library / "site-packages" / name)
    shutil.copy(HERE / "interrupt.py", library / "site-packages/sitecustomize.py")
    (root / "usr/lib/python3").mkdir()
    (root / "usr/lib/python3/dist-packages").symlink_to(f"../{library.name}/site-packages")


def _install(root: Path) -> None:
    """What building an image with lastlog does: lay out, compile, enable the init scripts."""
    subprocess.run(["make", "-s", "-C", PROJECT, "install", f"DESTDIR={root}"], check=True,
                   capture_output=True, timeout=120)
    _compile(root, root / "usr/lib/lastlog")
    # -S would leave out sitecustomize, which interrupts harvests.
    command = root / "usr/bin/lastlog"
    command.write_text(command.read_text().replace("python3 -IS", "python3 -I", 1))
    for script in sorted((root / "etc/init.d").iterdir()):
        subprocess.run(["sh", root / "etc/rc.common", script, "enable"], check=True,
                       env={"IPKG_INSTROOT": str(root), "PATH": "/usr/bin:/bin"}, timeout=60)


def _compile(root: Path, folder: Path) -> None:
    """Some files of the standard library are meant not to compile."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-j", "2", "-s", root, "-p", "/",
                    folder], capture_output=True, timeout=300)


def make_flash(path: Path, size: str) -> None:
    """Write an empty flash, which holds what was changed over the firmware."""
    root = path.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    image.make_ext4(root, path, size, "-m", "0")
    root.rmdir()


def make_lab(path: Path, files: dict[str, str]) -> None:
    """Write the laboratory's disk: lab.sh and `files` by path."""
    root = path.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    for name, content in {"lab.sh": (HERE / "lab.sh").read_text(), "boot": "0\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "results").mkdir()
    image.make_ext4(root, path, "256M")
    shutil.rmtree(root)
