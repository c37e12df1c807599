"""What the guest boots from: an initramfs and a disk, both made without root.

The initramfs only reaches the disk.  The disk is a small ext4 root file system: busybox, the
Python that runs this, lastlog_py, the modules under test and the script of the trip.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from . import debian
from .kernel import Kernel

__all__ = ["cpio", "make_disk", "make_ext4", "make_initramfs", "put_modules", "put_python",
           "read_results"]

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
DISK_SIZE = "256M"          # sparse: takes on the host what is in it, some 100 MB

# Parts of the standard library that no router has, and that would only fill the disk.
NOT_WANTED = ("site-packages", "test", "tests", "config-*", "idlelib", "tkinter", "ensurepip",
              "lib2to3", "distutils", "unittest", "turtledemo", "pydoc_data", "*.opt-?.pyc",
              "_tkinter*", "_test*", "_ctypes_test*", "_sqlite3*", "_ssl*", "_hashlib*",
              "_curses*", "nis.*", "readline*", "*.a")


def make_initramfs(kernel: Kernel, busybox: Path, path: Path) -> None:
    """Write the initramfs that starts /trip/run of the disk."""
    entries: dict[str, bytes | None] = dict.fromkeys(("bin", "dev", "modules", "root"))
    entries["bin/busybox"] = busybox.read_bytes()
    entries["init"] = (HERE / "guest/init").read_bytes()
    entries["modules/order"] = "\n".join(each.name for each in kernel.disk).encode()
    entries |= {f"modules/{each.name}": each.read_bytes() for each in kernel.disk}
    path.write_bytes(cpio(entries))


def cpio(entries: dict[str, bytes | None]) -> bytes:
    """A cpio archive of the kind the kernel unpacks ("newc"): path -> content, None: directory.

    Every file is executable.  Source: Documentation/driver-api/early-userspace/buffer-format.rst
    """
    parts = []
    for inode, (name, content) in enumerate([*entries.items(), ("TRAILER!!!", b"")], 1):
        mode = 0o040755 if content is None else 0o100755
        body = content or b""
        fields = (inode, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08X" % each for each in fields)
        parts += [_padded(header + name.encode() + b"\0"), _padded(body)]
    return b"".join(parts)


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 4)


def make_disk(kernel: Kernel, busybox: Path, settings: dict[str, str], path: Path) -> None:
    """Write the guest's disk; `settings` go to the shell script /trip/run."""
    root = path.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    for name in ("proc", "sys", "dev", "tmp", "bin", "results", "etc/config", "trip", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    shutil.copy(HERE / "guest/run", root / "trip/run")
    shutil.copy(HERE / "guest/lastlog.config", root / "etc/config/lastlog")
    (root / "trip/run").chmod(0o755)
    (root / "trip/boot").write_text("0\n")
    (root / "trip/settings").write_text("".join(f"{k}='{v}'\n" for k, v in settings.items()))
    put_modules(kernel.crash, root / "modules")
    put_python(root, "python")
    shutil.copytree(PROJECT / "lastlog_py", root / "lastlog/lastlog_py",
                    ignore=shutil.ignore_patterns("__pycache__"))
    make_ext4(root, path, DISK_SIZE)
    shutil.rmtree(root)


def put_modules(modules: Iterable[Path], target: Path) -> None:
    """Copy `modules`, and their loading order, to the folder `target`."""
    for module in modules:
        shutil.copy(module, target)
    (target / "order").write_text("\n".join(each.name for each in modules))


def put_python(root: Path, prefix: str) -> None:
    """The running interpreter at PREFIX/bin/python3 of the root, its libraries where the loader
    looks for them."""
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    below = root / prefix / library.relative_to(sys.base_prefix)
    shutil.copytree(library, below, ignore=shutil.ignore_patterns(*NOT_WANTED))
    program = root / prefix / "bin/python3"
    program.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(sys.executable).resolve(), program)
    for needed in _shared_libraries([program, *below.glob("lib-dynload/*.so")]):
        # The loader itself must keep its place; the others are found beside it.
        loader = needed.name.startswith("ld-")
        target = root / str(needed).lstrip("/") if loader else root / "lib" / needed.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(needed, target)


def _shared_libraries(programs: Iterable[Path]) -> set[Path]:
    told = subprocess.run([debian.need("ldd", "libc-bin"), *programs], capture_output=True,
                          text=True, timeout=60).stdout
    return {Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+)", told, re.MULTILINE)}


def make_ext4(root: Path, path: Path, size: str, *options: str) -> None:
    """Write an ext4 file system of `size` ("256M") with the files below `root`."""
    path.unlink(missing_ok=True)
    subprocess.run([debian.need("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", *options, "-d", root,
                    path, size], check=True, capture_output=True, timeout=120)


def read_results(disk: Path, target: Path) -> None:
    """Copy /results of the guest's disk to `target`, a path that is named results too.

    Works also on a disk that was not unmounted.
    """
    shutil.rmtree(target, ignore_errors=True)
    for command in (["e2fsck", "-fy"], ["debugfs", "-R", f"rdump /results {target.parent}"]):
        subprocess.run([debian.need(command[0], "e2fsprogs"), *command[1:], disk],
                       capture_output=True, timeout=120)
