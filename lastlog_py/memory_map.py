"""What this machine's memory is used for, and whether a range may become a region.

Loading ramoops or phram over memory that the kernel uses destroys the running system, and neither
driver checks it; so every range is looked at here first.  Sources: /proc/iomem (kernel/resource.c;
arm64 and riscv name memory kept from the allocator "reserved", x86 "Reserved"), the map as an x86
firmware gave it (Documentation/ABI/testing/sysfs-firmware-memmap), and the device tree's memory
and reserved-memory nodes (their cells are big-endian u32), the kernel command line (mem= and
memmap= in Documentation/admin-guide/kernel-parameters.txt), and what the kernel's first allocator
keeps (mm/memblock.c: memblock_debug_show).  On the hot path: imports os only.
"""

from __future__ import annotations

import os

from .errors import LastlogError
from .medium.device import MAX_REGION, read_small
from .site import Site

__all__ = ["PAGE", "SYSTEM_RAM", "Range", "cells", "firmware", "iomem", "is_hidden", "is_mapped",
           "machine", "parse_iomem", "refusal", "reserved", "set_aside", "tree_memory",
           "uncovered", "unreadable"]

PAGE = 4096

SYSTEM_RAM = "System RAM"
LOW = 1 << 20                   # on a PC the firmware's and the BIOS's own lie below
END = 1 << 64                   # of all addresses

# Nobody's: memory that was set aside, x86's placeholder up to the next 64 MiB, ramoops' own zones
# (fs/pstore/ram_core.c: persistent_ram_iomap; its label changed with the kernel).
_NOBODYS = ("reserved", "ram buffer")
_OURS = ("ramoops", "persistent_ram", "phram", "pstore", "lastlog")

_RESERVE = "lastlog propose prints how to reserve memory on this machine."


class Range:
    """A piece of the address space: from `start` up to, not including, `end`; bytes."""

    __slots__ = ("depth", "driver", "end", "name", "ours", "start")

    def __init__(self, start: int, end: int, name: str = "", depth: int = 0,
                 ours: bool = True) -> None:
        self.start = start
        self.end = end
        self.name = name                # what it is used for; "" for a mere range
        self.depth = depth              # in /proc/iomem: 0 for what lies in nothing else
        self.ours = ours                # of a reserved-memory node: it is there for crash logs
        self.driver = ""                # of such a node: what it is compatible with

    def overlaps(self, other: Range) -> bool:
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return f"0x{self.start:x}-0x{self.end - 1:x}"


def uncovered(wanted: Range, covers: list[Range]) -> list[Range]:
    """The pieces of `wanted` that are in none of `covers`."""
    pieces, at = [], wanted.start
    for each in sorted(covers, key=lambda each: each.start):
        if not each.overlaps(wanted):
            continue
        if each.start > at:
            pieces.append(Range(at, each.start))
        at = max(at, each.end)
    if at < wanted.end:
        pieces.append(Range(at, wanted.end))
    return pieces


# --- what the system says


def machine(site: Site) -> str:
    """ "x86", "mips", "arm", "arm64" or "other"."""
    name = _kernel_arch(site)
    if name == "x86_64" or (name[:1] == "i" and name.endswith("86")):
        return "x86"
    if name == "aarch64":
        return "arm64"
    return next((each for each in ("mips", "arm") if name.startswith(each)), "other")


def _kernel_arch(site: Site) -> str:
    """As uname -m has it.  The file is there since Linux 6.1."""
    return read_small(site.system("/proc/sys/kernel/arch")).strip() or os.uname().machine


def iomem(site: Site) -> list[Range]:
    """/proc/iomem; empty if it cannot be read."""
    return parse_iomem(read_small(site.system("/proc/iomem")))


def parse_iomem(text: str) -> list[Range]:
    """The entries in their order; lines that are none are left out.

    "  01000000-017fffff : Kernel code": two spaces for each entry that it lies in.
    """
    entries = []
    for line in text.split("\n"):
        span, colon, name = line.partition(" : ")
        start, _, end = span.strip().partition("-")
        first, last = _number(start, 16), _number(end, 16)
        if colon and first is not None and last is not None and first <= last:
            depth = (len(span) - len(span.lstrip(" "))) // 2
            entries.append(Range(first, last + 1, name.strip(), depth))
    return entries


def is_hidden(entries: list[Range]) -> bool:
    """Whether the addresses are all zero, as everybody but root sees them."""
    return bool(entries) and all(each.end == 1 for each in entries)


def firmware(site: Site) -> list[Range]:
    """The memory map as the firmware gave it (x86); empty where there is none."""
    folder = site.system("/sys/firmware/memmap")
    entries = []
    for number in _children(folder):
        first, last = (_number(read_small(f"{folder}/{number}/{name}").strip(), 16)
                       for name in ("start", "end"))
        if first is not None and last is not None and first <= last:
            kind = read_small(f"{folder}/{number}/type").strip()
            entries.append(Range(first, last + 1, kind))
    return sorted(entries, key=lambda each: each.start)


def tree_memory(site: Site) -> list[Range]:
    """The device tree's memory nodes; empty where there are none, or all are placeholders."""
    root = site.system("/proc/device-tree")
    found = []
    for node in _children(root):
        if node.partition("@")[0] == "memory":
            found += _registers(root, f"{root}/{node}", node)
    return found


def reserved(site: Site) -> list[Range]:
    """The device tree's reserved-memory nodes that have an address and are not disabled."""
    folder = site.system("/proc/device-tree/reserved-memory")
    found = []
    for node in _children(folder):
        path = f"{folder}/{node}"
        if _property(f"{path}/status").rstrip(b"\0") in (b"", b"ok", b"okay"):
            for each in _registers(folder, path, node):
                each.driver = _compatible(path)
                each.ours = _is_ours(path, node)
                found.append(each)
    return found


def _kept_by_the_kernel(site: Site) -> list[Range]:
    """What its first allocator keeps, where debugfs shows it.

    "   0: 0x0000000042ff0000..0x0000000042ffffff"; since 6.5 with more words behind.
    """
    kept = []
    for line in read_small(site.system("/sys/kernel/debug/memblock/reserved")).splitlines():
        span = next((word for word in line.split() if ".." in word), "")
        first, last = (_number(end, 16) for end in (span.split("..") if span else ("", "")))
        if first is not None and last is not None and first <= last:
            kept.append(Range(first, last + 1))
    return kept


def set_aside(site: Site, entries: list[Range]) -> list[Range]:
    """What the kernel command line keeps from the system: memmap=SIZE$START names it, mem= the
    rest."""
    words = read_small(site.system("/proc/cmdline")).split()
    named = [span for word in words if word.startswith("memmap=")
             for each in word[7:].split(",") if (span := _span(each, "$"))]
    mem = [word[4:] for word in words if word.startswith("mem=")]
    return named + (_left_out(site, entries, mem) if mem else [])


def _left_out(site: Site, entries: list[Range], mem: list[str]) -> list[Range]:
    """What is in none of the blocks SIZE@START in `mem`; elsewhere than on MIPS and 32-bit ARM its
    SIZE is a limit to all there is."""
    arch = machine(site)
    blocks = [each for each in entries if each.name == SYSTEM_RAM]
    first = min((each.start for each in blocks), default=0) if arch.startswith("arm") else 0
    if arch in ("mips", "arm"):
        kept = [span for word in mem if (span := _span(word, "@", first))]
        return uncovered(Range(0, END), kept) if len(kept) == len(mem) else []
    limit = _span(mem[-1].partition("@")[0], "@", first)
    return [Range(max([limit.end, *(each.end for each in blocks)]), END)] if limit else []


def _span(word: str, mark: str, start: int | None = None) -> Range | None:
    """SIZE, `mark` and START; or SIZE alone, from `start`."""
    size, there, at = word.partition(mark)
    length, first = _amount(size), _amount(at) if there else start
    if not length or first is None or first + length >= END:
        return None
    return Range(first, first + length)


def _amount(text: str) -> int | None:
    """A number as memparse() reads it (lib/cmdline.c)."""
    power = "kmgtp".find(text[-1].lower()) + 1 if text else 0
    number = _number(text[:-1] if power else text, 0)
    return None if number is None or number < 0 else number << 10 * power


def _is_ours(path: str, node: str) -> bool:
    """Whether a reserved-memory node is there for crash logs.

    Without a compatible only its name can tell: firmware's own memory has none either (secmon,
    wmcpu-reserved, wo-emi), and touching that stops the machine.
    """
    if os.path.exists(f"{path}/reusable"):
        return False                    # CMA: the kernel lends it out
    return (_compatible(path) or node).startswith(_OURS)


def _compatible(path: str) -> str:
    return _property(f"{path}/compatible").split(b"\0")[0].decode("ascii", "replace")


def _registers(parent: str, path: str, name: str) -> list[Range]:
    """The ranges in a node's reg, by the cells of the folder that it is in."""
    data = _property(f"{path}/reg")
    address, size = (4 * count for count in cells(parent) or (2, 1))
    found = []
    for at in range(0, len(data) - address - size + 1, address + size):
        start = int.from_bytes(data[at:at + address], "big")
        length = int.from_bytes(data[at + address:at + address + size], "big")
        if length:
            found.append(Range(start, start + length, name))
    return found


def cells(folder: str) -> tuple[int, int] | None:
    """How many u32 the addresses and sizes in a folder's nodes have; None: it does not say."""
    address, size = (int.from_bytes(_property(f"{folder}/#{name}-cells"), "big")
                     for name in ("address", "size"))
    return (address, size) if 0 < address < 5 and 0 < size < 5 else None


def _children(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _property(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(4096)
    except OSError:
        return b""


def _number(text: str, base: int) -> int | None:
    try:
        return int(text, base)
    except ValueError:
        return None


# --- the judgement


def refusal(site: Site, address: int, size: int) -> LastlogError | None:
    """Why ramoops and phram must not get `size` bytes at `address`; None: they may have them."""
    if wrong := _misshapen(address, size):
        return wrong
    entries = iomem(site)
    if wrong := unreadable(entries):
        return wrong
    wanted, nodes = Range(address, address + size), reserved(site)
    return (_out_of_reach(site, wanted, entries) or _in_use(site, wanted, entries, nodes)
            or _somebodys(wanted, nodes) or _not_there(site, wanted, entries, nodes)
            or _occupied(wanted, entries))


def is_mapped(site: Site, address: int, size: int) -> bool:
    """Whether any of it is System RAM: reserved, but mapped by the kernel like the rest."""
    wanted = Range(address, address + size)
    return any(each.name == SYSTEM_RAM and each.overlaps(wanted) for each in iomem(site))


def unreadable(entries: list[Range]) -> LastlogError | None:
    """Why /proc/iomem tells nothing; None: it does."""
    if any(each.name == SYSTEM_RAM for each in entries) and not is_hidden(entries):
        return None
    return LastlogError("io", "/proc/iomem does not show where the system's memory lies, so "
                        "nobody can tell which of it is free.",
                        "Run lastlog as root: others see no addresses.")


def _misshapen(address: int, size: int) -> LastlogError | None:
    if size == 0 or address % PAGE or size % PAGE:
        return LastlogError("bad-argument", f"The region 0x{address:x}, 0x{size:x} bytes, is not "
                            "made of whole pages.", "Make option address and option size "
                            f"multiples of {PAGE} (0x{PAGE:x}).")
    if size > MAX_REGION or address + size > END:
        return LastlogError("bad-argument", f"The region 0x{address:x}, 0x{size:x} bytes, is "
                            f"larger than any region ({MAX_REGION >> 20} MiB) or reaches beyond "
                            "all addresses.", "Correct option address and option size.")
    return None


def _out_of_reach(site: Site, wanted: Range, entries: list[Range]) -> LastlogError | None:
    """A 32-bit kernel without a way beyond 4 GiB cuts addresses off: other memory would be hit."""
    if wanted.start < LOW and machine(site) == "x86":
        return LastlogError("bad-argument", f"The region {wanted} lies in the first MiB, where a "
                            "PC's firmware and its devices keep their own.",
                            f"Choose another address. {_RESERVE}")
    if wanted.end <= 1 << 32 or "64" in _kernel_arch(site) or \
            any(each.name == SYSTEM_RAM and each.end > 1 << 32 for each in entries):
        return None
    return LastlogError("bad-argument", f"The region {wanted} reaches beyond 4 GiB, where this "
                        "kernel of 32 bits cannot reach: its drivers would write elsewhere.",
                        f"Choose another address. {_RESERVE}")


def _in_use(site: Site, wanted: Range, entries: list[Range],
            nodes: list[Range]) -> LastlogError | None:
    """System RAM is the kernel's, but for what a reserved-memory node keeps from it: without
    no-map that stays a part of System RAM, where arm64 shows it as "reserved"."""
    ram = [each for each in entries if each.name == SYSTEM_RAM and each.overlaps(wanted)]
    taken = uncovered(wanted, [each for each in nodes if each.ours])
    for each in ram:
        if any(each.overlaps(piece) for piece in taken):
            return LastlogError("bad-argument", f"The region {wanted} overlaps System RAM {each}: "
                                "the running system uses that memory, and a driver there would "
                                "destroy it.", f"Reserve it first. {_RESERVE}")
    kept = [each for each in entries if each.depth and each.name.lower() == "reserved"]
    kept += _kept_by_the_kernel(site) if ram else []
    if any(uncovered(piece, kept) for piece in uncovered(wanted, uncovered(wanted, ram))):
        return LastlogError("bad-argument", f"The device tree reserves {wanted}, but nothing shows "
                            "that the kernel has set it aside: in /proc/iomem it is plain System "
                            "RAM.", "Give the node the property no-map; see what dmesg says of "
                            "reserved mem.")
    return None


def _somebodys(wanted: Range, nodes: list[Range]) -> LastlogError | None:
    for each in nodes:
        if not each.ours and each.overlaps(wanted):
            return LastlogError("bad-argument", f"The region {wanted} overlaps {each.name} "
                                f"({each}), which the device tree reserves for something else.",
                                "Choose another address. A node that is meant for lastlog is "
                                f'compatible with "ramoops" or "phram". {_RESERVE}')
    return None


def _not_there(site: Site, wanted: Range, entries: list[Range],
               nodes: list[Range]) -> LastlogError | None:
    """Whether memory is missing there, by whatever knows best what memory there is, or is kept
    from the system by nobody knows whom."""
    given = firmware(site)
    if given:
        return _not_given(wanted, given)
    memory = tree_memory(site)
    if memory and uncovered(wanted, memory):
        return _no_memory(wanted, "device tree's memory nodes")
    if not memory and not _in_hole(wanted, entries):
        return _no_memory(wanted, "gaps between two blocks of System RAM in /proc/iomem (and "
                          "nothing else tells where this machine has memory)")
    ours = [each for each in nodes if each.ours]
    return _unexplained(wanted) if uncovered(wanted, ours + set_aside(site, entries)) else None


def _unexplained(wanted: Range) -> LastlogError:
    """As a node does that says a size only, a driver, or the firmware of an EFI machine."""
    return LastlogError("bad-argument", f"The region {wanted} is kept from the system, but neither "
                        "a node of the device tree nor mem= or memmap= on the kernel command line "
                        "says that it is for lastlog: something else uses it.",
                        f"Choose another address. {_RESERVE}")


def _not_given(wanted: Range, given: list[Range]) -> LastlogError | None:
    if not uncovered(wanted, [each for each in given if each.name == SYSTEM_RAM]):
        return None
    for each in given:
        if each.name != SYSTEM_RAM and each.overlaps(wanted):
            return LastlogError("bad-argument", f"The region {wanted} overlaps {each}, which is "
                                f"reserved by the firmware ({each.name or 'no reason given'}).",
                                f"Choose another address. {_RESERVE}")
    return _no_memory(wanted, "firmware's memory map")


def _no_memory(wanted: Range, where: str) -> LastlogError:
    return LastlogError("bad-argument", f"There is no memory known at {wanted}: it is not in the "
                        f"{where}.", f"Choose another address. {_RESERVE}")


def _in_hole(wanted: Range, entries: list[Range]) -> bool:
    """Whether System RAM ends before `wanted` and goes on behind it, with nothing between."""
    others = [each for each in entries if not each.depth and not _is_free(each)]
    before = [each for each in others if each.end <= wanted.start]
    behind = [each for each in others if each.start >= wanted.end]
    if not before or not behind or len(before) + len(behind) != len(others):
        return False
    neighbours = (max(before, key=lambda each: each.end), min(behind, key=lambda each: each.start))
    return all(each.name == SYSTEM_RAM for each in neighbours)


def _occupied(wanted: Range, entries: list[Range]) -> LastlogError | None:
    for each in entries:
        if each.overlaps(wanted) and each.name != SYSTEM_RAM and not _is_nobodys(each):
            return LastlogError("bad-argument", f"The region {wanted} overlaps {each}, which "
                                f"{each.name or 'another driver'} uses.",
                                f"Choose another address. {_RESERVE}")
    return None


def _is_nobodys(entry: Range) -> bool:
    return entry.name.lower() in _NOBODYS or _is_free(entry)


def _is_free(entry: Range) -> bool:
    """Whether it is lastlog's own drivers that hold the memory."""
    return entry.name.startswith(_OURS)
