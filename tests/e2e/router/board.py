"""The boards that QEMU emulates, and where each has its persistent memory."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MALTA", "PC", "Board"]


class Board(NamedTuple):
    """A kind of router.  Sizes and addresses in bytes."""

    name: str
    architecture: str           # Debian's name; "": the one of this machine
    metapackage: str            # of Debian's kernel
    program: str                # QEMU's
    package: str                # and where Debian has it
    options: tuple[str, ...]
    ram: int
    command_line: str           # of the kernel; it cuts the region out of RAM
    address: int                # of the region
    size: int


# 192 MiB: small, as a router's, and quick to get full.
PC = Board("pc", "", "linux-image-amd64", "qemu-system-x86_64", "qemu-system-x86",
           ("-cpu", "qemu64"), 192 << 20,
           "console=ttyS0 quiet panic=1 mitigations=off memmap=1M$0x7000000", 0x7000000, 0x100000)

# A little-endian MIPS with 32 bits, as so many routers have.  Debian's kernel for it has phram, and
# was built without pstore.  QEMU puts the initramfs at the top of RAM, so the region is a hole.
MALTA = Board("malta", "mipsel", "linux-image-4kc-malta", "qemu-system-mipsel", "qemu-system-mips",
              ("-M", "malta", "-cpu", "24Kf"), 256 << 20,
              "console=ttyS0 quiet panic=1 nokaslr mem=208M mem=47M@0xd100000",
              0xd000000, 0x100000)
