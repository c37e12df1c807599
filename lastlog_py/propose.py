"""A region for a board that has none: where, how large, and what to write so that it is set aside.

Computed from this machine's own memory map and what boot loaders are known to leave alone
(FORMATS.md section 12); nothing is ever applied.  Placed by the rule that boot loaders load
kernels into the lower half of memory and move themselves to the top of it, so three quarters up
is the quietest place; it is a block of whole MiB inside System RAM, clear of everything that has
a name.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from . import memory_map, setup
from .config import Config
from .errors import LastlogError
from .medium.device import read_small
from .memory_map import SYSTEM_RAM, Range, uncovered
from .site import Site

__all__ = ["propose"]

Answer = dict[str, Any]

MIB = 1 << 20
SMALLEST_BLOCK = 16 * MIB       # of System RAM in which a region is proposed
LEAST = 65536                   # of a region that is set aside already and worth using

# By a board's compatible: where OpenWrt's own device trees, and U-Boot, keep crash logs.
KNOWN = {"mediatek,mt7622": (0x42ff0000, 0x10000), "mediatek,mt7981": (0x42ff0000, 0x10000),
         "mediatek,mt7986": (0x42ff0000, 0x10000), "mediatek,mt7988": (0x42f00000, 0x100000),
         "qcom,ipq807": (0x51200000, 0x100000), "qcom,ipq817": (0x51200000, 0x100000),
         "qcom,ipq60": (0x51200000, 0x100000), "qcom,ipq806": (0x42100000, 0x40000)}

# RAM in MiB up to which a size is proposed; memory that firmware keeps makes it less than it says.
SIZES = ((48, 0x20000), (96, 0x40000), (192, 0x80000))

# How far up memory is sure to be mapped by the kernel, and the same after every boot.
REACH = {"x86": 1 << 30, "mips": 1 << 29, "arm": 1 << 29, "arm64": 1 << 31, "other": 1 << 29}


class Region(NamedTuple):
    """Sizes in bytes."""

    address: int
    size: int                   # of all of it, the journal's part included
    why: str
    is_reserved: bool = False   # the running kernel leaves it alone already
    given: int | None = None    # what ramoops has been given at its start; None: nothing yet
    has_journal: bool = True    # this kernel has MTD, through which lastlog reaches it

    @property
    def journal_size(self) -> int:
        if self.given is not None:
            return self.size - self.given
        return max(self.size // 8, 0x4000) if self.has_journal else 0

    @property
    def record_size(self) -> int:
        return min(self.size // 16, 0x10000)

    @property
    def pmsg_size(self) -> int:
        return max(self.record_size // 4, memory_map.PAGE)

    def range(self) -> Range:
        return Range(self.address, self.address + self.size)


ECC = 16


def propose(config: Config) -> Answer:
    """{"region": {"address", "size", "journal_size", "record_size", "console_size", "pmsg_size",
    "ecc"}, "reserved": bool, "why", "device_tree", "command_line", "uci", "notes": [...]}

    reserved: the running kernel leaves that memory alone already.  device_tree, command_line,
    uci: what to add; None if there is nothing to add, or this machine has no use for it.
    record_size and what follows it are None where ramoops has been given sizes already.

    Raises LastlogError "io" if the memory map cannot be read, "no-space" if nothing fits.
    """
    site = config.site
    entries = memory_map.iomem(site)
    if wrong := memory_map.unreadable(entries):
        raise wrong
    machine = memory_map.machine(site)
    region = _there_already(site, entries) or _known(site, entries) or \
        _placed(site, entries, machine)
    region = region._replace(has_journal=setup.has_mtd(site))
    cells = _cells(site)
    tree = _device_tree(region, cells) if cells and not region.is_reserved else None
    line = None if region.is_reserved else _command_line(region, entries, machine)
    is_said = (site.address, site.size) == (region.address, region.size)
    is_all_given = region.given == region.size
    uci = None if is_all_given or (is_said and region.is_reserved) else _uci(region)
    return {"region": _plain(region), "reserved": region.is_reserved, "why": region.why,
            "device_tree": tree, "command_line": line, "uci": uci,
            "notes": _notes(region, machine, tree, line, uci) + _mapped(site, region, uci)}


def _plain(region: Region) -> Answer:
    sizes = {"record_size": region.record_size, "console_size": region.record_size,
             "pmsg_size": region.pmsg_size, "ecc": ECC}
    return {"address": f"0x{region.address:x}", "size": region.size,
            "journal_size": region.journal_size,
            **(sizes if region.given is None else dict.fromkeys(sizes))}


def _cells(site: Site) -> tuple[int, int] | None:
    """Those of reserved-memory; None: this machine has no device tree."""
    tree = site.system("/proc/device-tree")
    return memory_map.cells(f"{tree}/reserved-memory") or memory_map.cells(tree)


# --- where


def _there_already(site: Site, entries: list[Range]) -> Region | None:
    """What has been set aside: for ramoops as it runs, by the device tree, as the configuration
    says, or on the kernel command line."""
    nodes = [each for each in memory_map.reserved(site) if each.ours]
    said = [Range(site.address, site.address + site.size)] \
        if site.address is not None and site.size else []
    runs = _running(site)
    if runs is not None:
        whole = next((each for each in _joined(nodes) + said
                      if each.start == runs.start and each.end > runs.end), runs)
        return Region(runs.start, _size(whole), "ramoops runs there: this router has a region.",
                      True, _size(runs))
    for each in _joined(nodes) + said + _set_aside(site, entries):
        if _size(each) >= LEAST and memory_map.refusal(site, each.start, _size(each)) is None:
            given = next((_size(node) for node in nodes if node.start == each.start
                          and node.driver == "ramoops"), None)
            return Region(each.start, _size(each), "It is set aside already, and nothing uses it.",
                          True, given)
    return None


def _size(each: Range) -> int:
    return each.end - each.start


def _joined(nodes: list[Range]) -> list[Range]:
    """Nodes that lie side by side as one range."""
    joined: list[Range] = []
    for each in sorted(nodes, key=lambda each: each.start):
        if joined and joined[-1].end == each.start:
            joined[-1] = Range(joined[-1].start, each.end)
        else:
            joined.append(Range(each.start, each.end))
    return joined


def _running(site: Site) -> Range | None:
    """Where ramoops runs."""
    address, size = (_parameter(site, name) for name in ("mem_address", "mem_size"))
    return Range(address, address + size) if address and size else None


def _parameter(site: Site, name: str) -> int:
    text = read_small(site.system(f"/sys/module/ramoops/parameters/{name}")).strip()
    return int(text) if text.isdigit() else 0


def _set_aside(site: Site, entries: list[Range]) -> list[Range]:
    """What the kernel command line has kept from the system: entries that are merely reserved, and
    gaps between System RAM."""
    named = memory_map.set_aside(site, entries)
    gaps = [Range(below.end, above.start) for below, above in pairwise(_blocks(entries))
            if below.end < above.start]
    return [each for each in [*entries, *gaps] if each.name in ("Reserved", "")
            and not uncovered(each, named)]


def _blocks(entries: list[Range]) -> list[Range]:
    return [each for each in entries if each.name == SYSTEM_RAM and not each.depth]


def _known(site: Site, entries: list[Range]) -> Region | None:
    """Where boards of this kind are known to keep crash logs, if it is free on this one."""
    boards = read_small(site.system("/proc/device-tree/compatible")).split("\0")
    for prefix, (address, size) in KNOWN.items():
        region = Region(address, size, f"Where OpenWrt keeps crash logs on other boards with "
                        f"{prefix.replace(',', ' ')}.")
        if any(board.startswith(prefix) for board in boards) and \
                not uncovered(region.range(), _blocks(entries)) and \
                _is_clear(region, _taken(site, entries)):
            return region
    return None


def _taken(site: Site, entries: list[Range]) -> list[Range]:
    """Everything that has a name inside System RAM, all that the device tree reserves, and where
    the boot loader puts the initial RAM disk."""
    return [each for each in entries if each.name != SYSTEM_RAM] + memory_map.reserved(site) \
        + _ram_disk(site)


def _ram_disk(site: Site) -> list[Range]:
    ends = []
    for name in ("start", "end"):
        try:
            with open(site.system(f"/proc/device-tree/chosen/linux,initrd-{name}"), "rb") as file:
                ends.append(int.from_bytes(file.read(8), "big"))
        except OSError:
            return []
    return [Range(ends[0], ends[1])] if ends[0] < ends[1] else []


def _is_clear(region: Region, taken: list[Range]) -> bool:
    return not any(each.overlaps(region.range()) for each in taken)


def _placed(site: Site, entries: list[Range], machine: str) -> Region:
    """Three quarters up the largest block of memory, or as near below or above as is free."""
    total = sum(each.end - each.start for each in _blocks(entries))
    size = next((size for most, size in SIZES if total < most * MIB), MIB)
    block = max(_reachable(entries, machine), key=lambda each: each.end - each.start,
                default=Range(0, 0))
    length = block.end - block.start
    why = (f"{size >> 10} KiB for {total >> 20} MiB of memory, about three quarters up the block "
           f"{block}: above the kernel and what boot loaders load, below the top, where they move "
           "themselves.")
    taken = _taken(site, entries)
    for eighths in ((6, 4), (6, 7)) if length >= SMALLEST_BLOCK else ():
        first, last = (_round(block.start + length * each // 8) for each in eighths)
        step = MIB if first < last else -MIB
        for address in range(first, last, step):
            region = Region(address, size, why)
            if _is_clear(region, taken):
                return region
    raise LastlogError("no-space", "There is no place for a region: no block of System RAM has "
                       "free memory in its upper half.",
                       "Reserve memory by hand, in the device tree of this board.")


def _reachable(entries: list[Range], machine: str) -> list[Range]:
    blocks = _blocks(entries)
    limit = (0 if machine == "x86" else min(each.start for each in blocks)) + REACH[machine]
    return [Range(each.start, min(each.end, limit)) for each in blocks if each.start < limit]


def _round(address: int) -> int:
    return address // MIB * MIB


# --- what to write


def _device_tree(region: Region, cells: tuple[int, int]) -> str:
    """Two nodes side by side, so that ramoops runs as early as it can.  No-map: what a crash wrote
    must not stay in a cache that the reset empties."""
    part = region.size - region.journal_size
    journal = _journal_node(region, cells) if region.journal_size else ""
    return f"""\
/ {{
	reserved-memory {{
		#address-cells = <{cells[0]}>;
		#size-cells = <{cells[1]}>;
		ranges;

		ramoops@{region.address:x} {{
			compatible = "ramoops";
			reg = <{_cell_words(region.address, cells[0])} {_cell_words(part, cells[1])}>;
			no-map;
			record-size = <0x{region.record_size:x}>;
			console-size = <0x{region.record_size:x}>;
			pmsg-size = <0x{region.pmsg_size:x}>;
			ecc-size = <{ECC}>;
		}};
{journal}	}};
}};
"""


def _journal_node(region: Region, cells: tuple[int, int]) -> str:
    address = region.address + region.size - region.journal_size
    return f"""
		lastlog@{address:x} {{
			reg = <{_cell_words(address, cells[0])} {_cell_words(region.journal_size, cells[1])}>;
			no-map;
		}};
"""


def _cell_words(number: int, count: int) -> str:
    """A number as so many u32, the highest first."""
    return " ".join(f"0x{number >> 32 * at & 0xffffffff:x}" for at in reversed(range(count)))


def _command_line(region: Region, entries: list[Range], machine: str) -> str | None:
    """What keeps the region from the kernel; None where only a device tree can."""
    if machine == "x86":
        return f"memmap={_amount(region.size)}$0x{region.address:x}"
    if machine not in ("mips", "arm"):
        return None
    pieces = [piece for block in _blocks(entries) for piece in uncovered(block, [region.range()])]
    return " ".join(f"mem={_amount(piece.end - piece.start)}"
                    + (f"@0x{piece.start:x}" if piece.start or machine == "arm" else "")
                    for piece in pieces)


def _amount(size: int) -> str:
    """A size as the kernel's memparse() reads it."""
    for unit, name in ((MIB, "M"), (1024, "K")):
        if size % unit == 0:
            return f"{size // unit}{name}"
    return f"0x{size:x}"


def _uci(region: Region) -> str:
    """The section for /etc/config/lastlog."""
    sizes = {name: size for name, size in _plain(region).items()
             if name not in ("address", "ecc") and size is not None}
    options = {"address": f"0x{region.address:x}"}
    options |= {name: f"0x{size:x}" for name, size in sizes.items()}
    options |= {"ecc": str(ECC)} if region.given is None else {}
    lines = [f"\toption {name} '{value}'" for name, value in options.items()]
    return "\n".join(["config region 'ram'", *lines, ""])


def _mapped(site: Site, region: Region, uci: str | None) -> list[str]:
    """What a region that is reserved already needs before lastlog can write its journal there."""
    return ["phram cannot have this memory as it is, so there would be no journal. "
            + setup.NEEDS_NO_MAP] if uci and region.is_reserved and region.journal_size \
        and setup.stays_mapped(site, region.address, region.size) else []


def _notes(region: Region, machine: str, tree: str | None, line: str | None,
           uci: str | None) -> list[str]:
    notes = [] if region.is_reserved else ["Nothing has been changed. What is proposed takes "
                                           "effect with the next boot; lastlog status then says "
                                           "whether the router is armed."]
    if region.given == region.size:
        notes.append("There is nothing to configure: ramoops uses all of it, and the records are "
                     "in /sys/fs/pstore." + (_MORE if region.has_journal else ""))
    elif region.is_reserved:
        notes.append("There is nothing to reserve. The section for /etc/config/lastlog is all "
                     "that lastlog needs; then run /etc/init.d/lastlog restart." if uci else
                     "There is nothing to do: the configuration names it already. lastlog status "
                     "says whether the router is armed.")
    if not region.has_journal:
        notes.append("This kernel has no MTD, so there is no journal.")
    if tree:
        notes.append("Put the nodes into the board's .dts and build the firmware anew: a running "
                     "device tree cannot be changed. With them ramoops starts by itself.")
    if line:
        notes.append(_LINE_NOTES[machine])
    if (region.address, region.size) == KNOWN["mediatek,mt7986"]:
        notes.append("OpenWrt's U-Boot for these boards looks for crashes right there, in records "
                     "of 4 KiB, and starts the recovery system while it finds one: clearing the "
                     "memory gets the router back.")
    if tree and line:
        notes.append("Use the device tree or the command line, not both; the device tree is "
                     "safer.")
    if not tree and not line and not region.is_reserved:
        notes.append("On this machine only its device tree can reserve memory, and it shows none.")
    return notes


_MORE = (" To have a journal as well, make the region larger where it is reserved, or ramoops' "
         "part smaller, and leave the end to lastlog.")

_LINE_NOTES = {
    "x86": r"A $ has a meaning in GRUB: write memmap=…\$0x… in /boot/grub/grub.cfg, and "
           r"memmap=…\\\$0x… in /etc/default/grub. Without the backslashes the region is lost "
           "silently; see cat /proc/cmdline.",
    "mips": "mem= replaces what the boot loader says of the memory, so keep all of its parts. It "
            "goes into bootargs of the device tree or of the boot loader; add nokaslr on a "
            "kernel that relocates itself.",
    "arm": "mem= replaces what the boot loader says of the memory, so keep all of its parts.",
}
