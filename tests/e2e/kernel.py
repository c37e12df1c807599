"""A kernel for the guest: the image and just the modules that the guests load."""

from __future__ import annotations

import lzma
import re
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from . import debian

__all__ = ["Kernel", "needs", "prepare", "uncompressed"]

# What the initramfs needs to reach its disk, what the trip is about, and a router's root.
DISK = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
CRASH = ("phram", "reed_solomon", "ramoops")
OVERLAY = ("overlay",)
PURPOSES = (("disk", DISK), ("crash", CRASH), ("overlay", OVERLAY))
LAYOUT = "2"                # of what is kept of a kernel: goes up when that changes


class Kernel(NamedTuple):
    """A kernel unpacked below the cache."""

    release: str            # "6.1.0-56-amd64"
    image: Path             # its bzImage, or on MIPS its ELF file
    disk: tuple[Path, ...]  # modules for the disk, in loading order; built-in ones are left out
    crash: tuple[Path, ...]  # phram, ramoops and what they need, in loading order
    overlay: tuple[Path, ...]   # the overlay file system


def prepare(metapackage: str, cache: Path, architecture: str = "") -> Kernel:
    """The kernel `metapackage` stands for; fetched and unpacked if `cache` does not have it."""
    deb = debian.fetch(_known(metapackage, cache, architecture), cache, architecture)
    home = cache / f"{deb.name.removesuffix('.deb')}-{LAYOUT}"
    if not home.is_dir():
        _unpack(deb, home)
    release = re.sub(r"^linux-image-|_.*$", "", deb.name)
    return Kernel(release, home / "vmlinuz", *(_listed(home / each) for each, _ in PURPOSES))


def uncompressed(kernel: Kernel) -> Path:
    """The ELF file in a bzImage, made beside it; raises Missing if it is not packed by xz.

    QEMU starts it without a bootloader (PVH), which saves half of a boot: emulation is slow at
    unpacking, and where code is written over that of the last boot.
    Source of the offsets: Documentation/arch/x86/boot.rst, setup_sects and payload_*.
    """
    elf = kernel.image.with_name("vmlinux")
    if not elf.exists():
        image = kernel.image.read_bytes()
        offset, length = struct.unpack_from("<II", image, 0x248)
        start = (image[0x1f1] + 1) * 512 + offset
        try:
            content = lzma.LZMADecompressor().decompress(image[start:start + length])
        except lzma.LZMAError:
            raise debian.Missing(f"the kernel {kernel.release} is not packed by xz") from None
        part = elf.with_suffix(".part")
        part.write_bytes(content)
        part.rename(elf)
    return elf


def _known(metapackage: str, cache: Path, architecture: str) -> str:
    """What `metapackage` stood for when it was first asked: a second run needs no network."""
    note = cache / f"{metapackage}.is"
    if not note.exists():
        name = debian.newest(metapackage, cache, architecture)
        cache.mkdir(parents=True, exist_ok=True)
        note.write_text(name)
    return note.read_text()


def _unpack(deb: Path, home: Path) -> None:
    """Image, modules and their loading order into `home`, which appears only when complete."""
    whole, part = home.with_suffix(".whole"), home.with_suffix(".part")
    for old in (whole, part):
        shutil.rmtree(old, ignore_errors=True)
    debian.unpack(deb, whole)
    part.mkdir()
    shutil.copy(next(whole.glob("boot/vmlinu[xz]-*")), part / "vmlinuz")
    available = {_module_name(path): path for path in whole.glob("lib/modules/**/*.ko*")}
    for purpose, wanted in PURPOSES:
        names = _with_needs(wanted, available)
        for name in names:
            (part / f"{name}.ko").write_bytes(_content(available[name]))
        (part / purpose).write_text("".join(f"{name}.ko\n" for name in names))
    part.rename(home)
    shutil.rmtree(whole)


def _listed(listing: Path) -> tuple[Path, ...]:
    return tuple(listing.parent / name for name in listing.read_text().split())


def _with_needs(wanted: Iterable[str], available: dict[str, Path]) -> list[str]:
    """`wanted` and all they depend on, dependencies first; what is not a module is built in."""
    names: list[str] = []
    for name in wanted:
        if name in available:
            before = _with_needs(needs(_content(available[name])), available)
            names += [each for each in (*before, name) if each not in names]
    return names


def needs(module: bytes) -> list[str]:
    """The names in the `depends=` string of a module's .modinfo section."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return [_normal(name) for name in found[1].decode().split(",") if name] if found else []


def _module_name(path: Path) -> str:
    return _normal(path.name.split(".ko")[0])


def _normal(name: str) -> str:
    return name.replace("-", "_")


def _content(path: Path) -> bytes:
    """The module itself, whatever the distribution packed it with (Debian 12: nothing, or xz)."""
    packed = path.read_bytes()
    return lzma.decompress(packed) if path.suffix == ".xz" else packed
