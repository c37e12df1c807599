"""What this machine's memory is used for, and whether a range may become a region.

Loading ramoops or phram over memory that the kernel uses destroys the running system, and neither
driver checks it; so every range is looked at here first.  Sources: /proc/iomem (kernel/resource.c;
arm64 and riscv name memory kept from the allocator "reserved", x86 "Reserved"), the map as an x86
firmware gave it (Documentation/ABI/testing/sysfs-firmware-memmap), and the device tree's memory
and reserved-memory nodes (their cells are big-endian u32).  On the hot path: imports os only.
"""

from __future__ import annotations

import os

from .errors import LastlogError
from .medium.device import MAX_REGION, read_small
from .site import Site

__all__ = ["PAGE", "SYSTEM_RAM", "Range", "cells", "firmware", "iomem", "is_hidden", "parse_iomem",
           "refusal", "reserved", "tree_memory", "uncovered", "unreadable"]

PAGE = 4096

SYSTEM_RAM = "System RAM"

# Nobody's: memory that was set aside, x86's placeholder up to the next 64 MiB, ramoops' own zones
# (fs/pstore/ram_core.c: persistent_ram_iomap; its label changed with the kernel).
_NOBODYS = ("reserved", "ram buffer")
_OURS = ("ramoops", "persistent_ram", "phram", "pstore", "lastlog")

_RESERVE = "lastlog propose prints how to reserve memory on this machine."


class Range:
    """A piece of the address space: from `start` up to, not including, `end`; bytes."""

    __slots__ = ("depth", "end", "name", "ours", "start")

    def __init__(self, start: int, end: int, name: str = "", depth: int = 0,
                 ours: bool = True) -> None:
        self.start = start
        self.end = end
        self.name = name                # what it is used for; "" for a mere range
        self.depth = depth              # in /proc/iomem: 0 for what lies in nothing else
        self.ours = ours                # of a reserved-memory node: it is there for crash logs

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
                each.ours = _is_ours(path, node)
                found.append(each)
    return found


def _is_ours(path: str, node: str) -> bool:
    """Whether a reserved-memory node is there for crash logs.

    Without a compatible only its name can tell: firmware's own memory has none either (secmon,
    wmcpu-reserved, wo-emi), and touching that stops the machine.
    """
    compatible = _property(f"{path}/compatible").split(b"\0")[0].decode("ascii", "replace")
    if os.path.exists(f"{path}/reusable"):
        return False                    # CMA: the kernel lends it out
    return (compatible or node).startswith(_OURS)


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
    return (_in_use(wanted, entries, nodes) or _somebodys(wanted, nodes)
            or _not_there(site, wanted, entries) or _occupied(site, wanted, entries))


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
    if size > MAX_REGION or address + size > 1 << 64:
        return LastlogError("bad-argument", f"The region 0x{address:x}, 0x{size:x} bytes, is "
                            f"larger than any region ({MAX_REGION >> 20} MiB) or reaches beyond "
                            "all addresses.", "Correct option address and option size.")
    return None


def _in_use(wanted: Range, entries: list[Range], nodes: list[Range]) -> LastlogError | None:
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
    if ram and kept and uncovered(wanted, kept):
        return LastlogError("bad-argument", f"The device tree reserves {wanted}, but the kernel "
                            "has not set it aside: /proc/iomem shows it as plain System RAM.",
                            "See what dmesg says of reserved mem.")
    return None


def _somebodys(wanted: Range, nodes: list[Range]) -> LastlogError | None:
    for each in nodes:
        if not each.ours and each.overlaps(wanted):
            return LastlogError("bad-argument", f"The region {wanted} overlaps {each.name} "
                                f"({each}), which the device tree reserves for something else.",
                                "Choose another address. A node that is meant for lastlog is "
                                f'compatible with "ramoops" or "phram". {_RESERVE}')
    return None


def _not_there(site: Site, wanted: Range, entries: list[Range]) -> LastlogError | None:
    """Whether memory is missing there, by whatever knows best what memory there is."""
    given = firmware(site)
    if given:
        return _not_given(wanted, given)
    memory = tree_memory(site)
    if memory:
        return _no_memory(wanted, "device tree's memory nodes") if uncovered(wanted, memory) \
            else None
    return None if _in_hole(site, wanted, entries) else _no_memory(
        wanted, "gaps between two blocks of System RAM in /proc/iomem (and nothing else tells "
        "where this machine has memory)")


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


def _in_hole(site: Site, wanted: Range, entries: list[Range]) -> bool:
    """Whether System RAM ends before `wanted` and goes on behind it, with nothing between."""
    others = [each for each in entries if not each.depth and not _is_free(site, each)]
    before = [each for each in others if each.end <= wanted.start]
    behind = [each for each in others if each.start >= wanted.end]
    if not before or not behind or len(before) + len(behind) != len(others):
        return False
    neighbours = (max(before, key=lambda each: each.end), min(behind, key=lambda each: each.start))
    return all(each.name == SYSTEM_RAM for each in neighbours)


def _occupied(site: Site, wanted: Range, entries: list[Range]) -> LastlogError | None:
    for each in entries:
        if each.overlaps(wanted) and each.name != SYSTEM_RAM and not _is_nobodys(site, each):
            return LastlogError("bad-argument", f"The region {wanted} overlaps {each}, which "
                                f"{each.name or 'another driver'} uses.",
                                f"Choose another address. {_RESERVE}")
    return None


def _is_nobodys(site: Site, entry: Range) -> bool:
    return entry.name.lower() in _NOBODYS or _is_free(site, entry)


def _is_free(site: Site, entry: Range) -> bool:
    """Whether it is lastlog's own drivers that hold the memory."""
    return entry.name.startswith(_OURS) or entry.name == site.mtd
