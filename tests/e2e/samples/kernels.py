"""The kernels that the samples come from, and the machines that QEMU emulates for them.

Debian builds its kernels without pstore's front ends, without most compressions and without LKDTM,
so they are built here: from Debian's source packages, with the options in config/.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from .. import debian

__all__ = ["ALL", "Board", "Built", "SampleKernel", "build"]

HERE = Path(__file__).parent
MODULES = ("reed_solomon", "ramoops", "pstore_zone", "pstore_blk", "mtd", "phram", "mtdoops",
           "faulty_driver")


class Board(NamedTuple):
    """A machine.  Addresses and sizes in bytes."""

    program: str                # QEMU's
    package: str                # and where Debian has it
    options: tuple[str, ...]
    architecture: str           # the kernel's name for it
    compiler: str               # prefix of the programs; "": this machine's own
    compiler_package: str
    busybox: str | None         # Debian's architecture whose busybox runs on it; "": this one's
    config: tuple[str, ...]     # files in config/
    image: str                  # what of the build tree QEMU boots
    command_line: str           # it cuts HOLE out of RAM
    hole: int                   # physical address of 16 MiB for regions
    bits: int
    endian: str
    ram_base: int = 0           # where RAM begins


class SampleKernel(NamedTuple):
    """A kernel on a board."""

    series: str                 # "6.1": the source is Debian's package linux-source-6.1
    suite: str                  # Debian's release that has it
    board: Board


class Built(NamedTuple):
    """A kernel that is ready to boot."""

    image: Path
    modules: tuple[Path, ...]   # those of MODULES that it has, in loading order


HOLE = 16 << 20

_PC = "console=ttyS0 panic=1 mitigations=off no_timer_check memmap=16M$0x7000000"
X86_64 = Board("qemu-system-x86_64", "qemu-system-x86", ("-cpu", "qemu64"), "x86", "", "gcc",
               "", ("common", "x86", "x86_64"), "vmlinux", _PC, 0x7000000, 64, "little")
I386 = Board("qemu-system-i386", "qemu-system-x86", ("-cpu", "qemu32"), "i386", "", "gcc",
             "i386", ("common", "x86", "i386"), "vmlinux", _PC, 0x7000000, 32, "little")
ARM64 = Board("qemu-system-aarch64", "qemu-system-arm", ("-M", "virt", "-cpu", "cortex-a53"),
              "arm64", "aarch64-linux-gnu-", "gcc-aarch64-linux-gnu", "arm64",
              ("common", "arm64"), "arch/arm64/boot/Image",
              "console=ttyAMA0 panic=1 mem=112M", 0x47000000, 64, "little", 0x40000000)
# QEMU puts the initramfs at 128 MiB, which this kernel does not find above mem=.
ARM = Board("qemu-system-arm", "qemu-system-arm",
            ("-M", "virt,highmem=off", "-cpu", "cortex-a15"), "arm", "arm-linux-gnueabihf-",
            "gcc-arm-linux-gnueabihf", "armhf", ("common", "arm"), "arch/arm/boot/zImage",
            "console=ttyAMA0 panic=1 mem=240M", 0x4f000000, 32, "little", 0x40000000)
_MALTA = ("-M", "malta", "-cpu", "24Kf")
_HOLE_IN_MALTA = "console=ttyS0 panic=1 nokaslr mem=192M mem=48M@0xd000000"
MIPS = Board("qemu-system-mips", "qemu-system-mips", _MALTA, "mips", "mips-linux-gnu-",
             "gcc-mips-linux-gnu", None, ("common", "malta", "malta_be"), "vmlinux", _HOLE_IN_MALTA,
             0xc000000, 32, "big")
MIPSEL = Board("qemu-system-mipsel", "qemu-system-mips", _MALTA, "mips", "mipsel-linux-gnu-",
               "gcc-mipsel-linux-gnu", "mipsel", ("common", "malta", "malta_le"), "vmlinux",
               _HOLE_IN_MALTA, 0xc000000, 32, "little")

ALL = {
    "x86_64-6.1": SampleKernel("6.1", "", X86_64),
    "x86_64-6.12": SampleKernel("6.12", "", X86_64),
    "x86_64-5.10": SampleKernel("5.10", "bullseye", X86_64),
    "i386-6.1": SampleKernel("6.1", "", I386),
    "arm64-6.1": SampleKernel("6.1", "", ARM64),
    "arm-6.1": SampleKernel("6.1", "", ARM),
    "mips-6.1": SampleKernel("6.1", "", MIPS),
    "mipsel-6.1": SampleKernel("6.1", "", MIPSEL),
}


def build(name: str, cache: Path) -> Built:
    """The kernel `name` of ALL, built in the cache if it is not there.

    Raises debian.Missing.
    """
    chosen = ALL[name]
    board = chosen.board
    home = cache / f"sample-kernel-{name}"
    if not home.is_dir():
        tree, source = cache / f"build-{name}", _source(chosen, cache)
        debian.need(f"{board.compiler}gcc", board.compiler_package)
        for program in ("bc", "bison", "flex"):
            debian.need(program, program)
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir()
        _make(source, tree, board, "tinyconfig")
        with (tree / ".config").open("a") as file:      # of two values the last one counts
            file.writelines((HERE / "config" / part).read_text() for part in board.config)
        _make(source, tree, board, "olddefconfig")
        _make(source, tree, board, Path(board.image).name, "modules")
        shutil.copytree(HERE / "module", tree / "faulty")
        _make(source, tree, board, f"M={tree.absolute() / 'faulty'}", "modules")
        _keep(tree, board, home)
        shutil.rmtree(tree)
    listed = (home / f"{module}.ko" for module in MODULES)
    return Built(home / "image", tuple(path for path in listed if path.exists()))


def _source(chosen: SampleKernel, cache: Path) -> Path:
    """The unpacked source tree; it is not written to."""
    name = f"linux-source-{chosen.series}"
    tree = cache / name
    if not tree.is_dir():
        deb = debian.fetch(name, cache, suite=chosen.suite)
        part = tree.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        debian.unpack(deb, part)
        (tarball,) = part.glob(f"usr/src/{name}.tar.xz")
        subprocess.run([debian.need("tar", "tar"), "-xf", tarball, "-C", part], check=True,
                       timeout=300)
        (part / name).rename(tree)
        shutil.rmtree(part)
    return tree


def _make(source: Path, tree: Path, board: Board, *targets: str) -> None:
    subprocess.run(["nice", debian.need("make", "make"), "-s", f"-j{os.cpu_count()}",
                    "-C", source.absolute(), f"O={tree.absolute()}", f"ARCH={board.architecture}",
                    f"CROSS_COMPILE={board.compiler}", *targets],
                   env=os.environ | {"KBUILD_BUILD_USER": "lastlog",
                                     "KBUILD_BUILD_HOST": "samples"},
                   check=True, stdout=subprocess.DEVNULL)


def _keep(tree: Path, board: Board, home: Path) -> None:
    """What is booted of a build tree, in `home`, which appears only when complete."""
    part = home.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    strip = debian.need(f"{board.compiler}strip", "binutils")
    shutil.copy(tree / board.image, part / "image")
    if board.image == "vmlinux":
        subprocess.run([strip, "-s", part / "image"], check=True, timeout=60)
    for module in tree.glob("**/*.ko"):
        name = module.stem.replace("-", "_")
        if name in MODULES:
            subprocess.run([strip, "-g", "-o", part / f"{name}.ko", module], check=True,
                           timeout=60)
    part.rename(home)
