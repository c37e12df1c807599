"""Memory maps of routers for tests: /proc/iomem as each architecture prints it, the firmware's
map, nodes of a device tree."""

from __future__ import annotations

from tests.machine import Machine

# x86_64, QEMU, 256 MiB.
X86 = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
0009fc00-0009ffff : Reserved
000a0000-000bffff : PCI Bus 0000:00
000c0000-000c99ff : Video ROM
000f0000-000fffff : Reserved
  000f0000-000fffff : System ROM
00100000-0ffdffff : System RAM
  01000000-01a01fff : Kernel code
  01c00000-02466fff : Kernel rodata
  02600000-029b5cff : Kernel data
  02c4d000-030fffff : Kernel bss
0ffe0000-0fffffff : Reserved
10000000-febfffff : PCI Bus 0000:00
  fd000000-fdffffff : 0000:00:02.0
fec00000-fec003ff : IOAPIC 0
fffc0000-ffffffff : Reserved
"""

# The same with memmap=1M$0x7000000.
X86_RESERVED = X86.replace("00100000-0ffdffff", "00100000-06ffffff").replace(
    "0ffe0000-0fffffff", "07000000-070fffff : Reserved\n07100000-0ffdffff : System RAM\n"
    "0ffe0000-0fffffff")

# arm64, mediatek filogic, 512 MiB: secmon is no-map, ramoops is not.
ARM64 = """\
0c000000-0c0fffff : c000000.interrupt-controller interrupt-controller@c000000
11002000-110020ff : serial
15100000-1517ffff : 15100000.ethernet ethernet@15100000
40000000-42ffffff : System RAM
  40000000-40b2ffff : Kernel code
  40b30000-40deffff : reserved
  40df0000-40ecffff : Kernel data
  42ff0000-42ffffff : reserved
43000000-4303ffff : reserved
43040000-5fffffff : System RAM
  48000000-480fffff : reserved
  5cc00000-5fffffff : reserved
"""

# arm, ipq806x, 480 MiB: memory that is no-map is not shown at all.
ARM = """\
00500000-005fffff : rpm
12490000-12490fff : serial
42000000-420fffff : System RAM
42140000-5fffffff : System RAM
  42208000-42bfffff : Kernel code
  42d00000-42dc5fff : Kernel data
"""

# mipsel, malta, 256 MiB.
MIPS = """\
00000000-0fffffff : System RAM
  00100000-0093cb2f : Kernel code
  0093cb30-00b6b0ff : Kernel data
  00cf0000-00d5a12f : Kernel bss
10000000-17ffffff : MSC PCI MEM
  10000000-11ffffff : 0000:00:12.0
"""

# The same with mem=208M mem=47M@0xd100000.
MIPS_HOLE = MIPS.replace("00000000-0fffffff : System RAM", "00000000-0cffffff : System RAM") \
    .replace("10000000-17ffffff", "0d100000-0fffffff : System RAM\n10000000-17ffffff")


def x86_firmware(machine: Machine) -> None:
    """The map of X86 as its firmware gave it."""
    entries = [(0x0, 0x9fbff, "System RAM"), (0x9fc00, 0x9ffff, "Reserved"),
               (0xf0000, 0xfffff, "Reserved"), (0x100000, 0xffdffff, "System RAM"),
               (0xffe0000, 0xfffffff, "Reserved"), (0xfffc0000, 0xffffffff, "Reserved")]
    for number, (start, end, kind) in enumerate(entries):
        folder = f"/sys/firmware/memmap/{number}"
        machine.write(f"{folder}/start", f"0x{start:x}\n")
        machine.write(f"{folder}/end", f"0x{end:x}\n")
        machine.write(f"{folder}/type", f"{kind}\n")


def node(machine: Machine, path: str, reg: list[tuple[int, int]], compatible: str = "",
         no_map: bool = False, cells: tuple[int, int] = (2, 2)) -> str:
    """A node of the device tree, and its parent's cells; where it is."""
    folder = f"/proc/device-tree/{path}"
    for name, count in zip(("#address-cells", "#size-cells"), cells, strict=True):
        machine.write(f"{folder.rpartition('/')[0]}/{name}", count.to_bytes(4, "big"))
    machine.write(f"{folder}/reg", b"".join(
        number.to_bytes(4 * count, "big") for each in reg
        for number, count in zip(each, cells, strict=True)))
    if compatible:
        machine.write(f"{folder}/compatible", compatible.encode() + b"\0")
    if no_map:
        machine.write(f"{folder}/no-map", b"")
    return folder
