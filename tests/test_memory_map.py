"""memory_map.py: /proc/iomem as x86, arm64, arm and mips print it, and who may use what."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.memory_map import (
    SYSTEM_RAM,
    Range,
    iomem,
    is_hidden,
    parse_iomem,
    refusal,
    reserved,
    set_aside,
    tree_memory,
    uncovered,
)
from tests.machine import Machine
from tests.memory import ARM, ARM64, MIPS, MIPS_HOLE, X86, X86_RESERVED, node, x86_firmware

MIB = 1 << 20
MEMBLOCK = "/sys/kernel/debug/memblock/reserved"


def why(machine: Machine, address: int, size: int = MIB) -> str:
    """The message of the refusal, "" if there is none."""
    error = refusal(machine.site(), address, size)
    assert error is None or error.hint
    return error.message if error else ""


# --- reading


def test_entries_and_their_nesting() -> None:
    entries = parse_iomem(X86)
    code = next(each for each in entries if each.name == "Kernel code")
    assert (code.start, code.end, code.depth) == (0x1000000, 0x1a02000, 1)
    assert entries[0].depth == 0 and str(entries[0]) == "0x0-0xfff"


def test_a_name_may_hold_anything() -> None:
    (entry,) = parse_iomem("fed00000-fed003ff : a : b - c\n")
    assert entry.name == "a : b - c"


@given(st.text(max_size=300))
def test_no_text_raises(text: str) -> None:
    for entry in parse_iomem(text):
        assert entry.start < entry.end


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), max_size=6))
def test_uncovered_is_what_no_cover_holds(covers: list[tuple[int, int]]) -> None:
    ranges = [Range(start, start + size) for start, size in covers]
    left = {at for piece in uncovered(Range(10, 30), ranges)
            for at in range(piece.start, piece.end)}
    assert left == {at for at in range(10, 30)
                    if not any(each.start <= at < each.end for each in ranges)}


@pytest.mark.parametrize("text", [X86, ARM64, ARM, MIPS])
def test_addresses_hidden_from_others_than_root(machine: Machine, text: str) -> None:
    assert not is_hidden(parse_iomem(text))
    lines = [line for line in text.split("\n") if line]
    hidden = "".join(f"00000000-00000000 : {line.partition(' : ')[2]}\n" for line in lines)
    machine.write("/proc/iomem", hidden)
    assert is_hidden(iomem(machine.site()))
    assert "root" in (refusal(machine.site(), 0x7000000, MIB) or pytest.fail()).hint


@pytest.mark.parametrize("text", ["", "nonsense\n", "00000000-ffffffff : PCI Bus 0000:00\n"])
def test_a_map_that_cannot_be_read_allows_nothing(machine: Machine, text: str) -> None:
    assert "nobody can tell" in why(machine, 0x7000000)
    machine.write("/proc/iomem", text)
    assert "nobody can tell" in why(machine, 0x7000000)


# --- the shape


@pytest.mark.parametrize(("address", "size", "word"), [
    (0x7000100, MIB, "whole pages"), (0x7000000, 0, "whole pages"),
    (0x7000000, 1000, "whole pages"), (0x7000000, 128 << 20, "larger than any region"),
    ((1 << 64) - 4096, 8192, "beyond all addresses")])
def test_shapes_that_are_refused(machine: Machine, address: int, size: int, word: str) -> None:
    machine.write("/proc/iomem", X86)
    assert word in why(machine, address, size)


# --- what the kernel cannot reach


@pytest.mark.parametrize(("arch", "above", "allowed"), [
    ("i686", "", False), ("i686", "100000000-23fffffff : System RAM\n", True),
    ("x86_64", "", True)])
def test_above_4_gib_with_32_bits(machine: Machine, arch: str, above: str, allowed: bool) -> None:
    """The drivers would cut the address off, and hit 0x1000000 instead."""
    machine.write("/proc/sys/kernel/arch", f"{arch}\n")
    machine.write("/proc/iomem", X86 + above.replace("100000000", "102000000"))
    x86_firmware(machine)
    for name, text in (("start", "0x100000000"), ("end", "0x23fffffff"), ("type", SYSTEM_RAM)):
        machine.write(f"/sys/firmware/memmap/6/{name}", f"{text}\n")
    said = why(machine, 0x101000000)
    assert (said == "") is allowed and (allowed or "32 bits" in said)
    assert allowed or "32 bits" in why(machine, 0xfff00000, 2 * MIB)


def test_above_4_gib_on_arm(machine: Machine) -> None:
    machine.write("/proc/iomem", ARM)
    node(machine, "memory@42000000", [(0x42000000, 0x1_00000000)])
    node(machine, "reserved-memory/ramoops@102300000", [(0x1_02300000, MIB)], "ramoops", True)
    for arch, word in (("armv7l", "32 bits"), ("aarch64", "")):
        machine.write("/proc/sys/kernel/arch", f"{arch}\n")
        assert word in why(machine, 0x1_02300000) and bool(word) == bool(
            why(machine, 0x1_02300000))


@pytest.mark.parametrize("address", [0, 0x10000, 0x9f000, 0xff000])
def test_the_first_mib_of_a_pc(machine: Machine, address: int) -> None:
    machine.write("/proc/sys/kernel/arch", "x86_64\n")
    machine.write("/proc/iomem", X86)
    x86_firmware(machine)
    assert "first MiB" in why(machine, address, 0x1000)


# --- x86: the firmware's map


@pytest.mark.parametrize(("text", "address", "size", "word"), [
    (X86_RESERVED, 0x7000000, MIB, ""),                       # memmap=1M$0x7000000
    (X86_RESERVED, 0x7000000, 2 * MIB, "overlaps System RAM"),
    (X86_RESERVED, 0x6f00000, MIB, "overlaps System RAM"),
    (X86_RESERVED, 0x6fff000, 8192, "overlaps System RAM"),
    (X86, 0x7000000, MIB, "overlaps System RAM"),
    (X86, 0x1000000, MIB, "overlaps System RAM"),             # the kernel itself
    (X86, 0xf0000, 0x10000, "first MiB"),
    (X86, 0xffe0000, 0x20000, "reserved by the firmware (Reserved)"),
    (X86, 0xfd000000, MIB, "no memory known"),                # PCI
])
def test_x86(machine: Machine, text: str, address: int, size: int, word: str) -> None:
    machine.write("/proc/sys/kernel/arch", "x86_64\n")
    machine.write("/proc/iomem", text)
    x86_firmware(machine)
    said = why(machine, address, size)
    assert word in said and bool(word) == bool(said)


def test_a_reserved_range_that_nothing_explains_is_refused(machine: Machine) -> None:
    """Without the firmware's map it may be the firmware's own."""
    machine.write("/proc/iomem", X86_RESERVED)
    assert "no memory known" in why(machine, 0x7000000)


def test_persistent_memory_belongs_to_its_driver(machine: Machine) -> None:
    machine.write("/proc/iomem", X86_RESERVED.replace("Reserved\n07100000",
                                                      "Persistent Memory (legacy)\n07100000"))
    x86_firmware(machine)
    assert "Persistent Memory (legacy) uses" in why(machine, 0x7000000)


def test_a_driver_inside_reserved_memory_is_named(machine: Machine) -> None:
    machine.write("/proc/iomem", X86_RESERVED.replace(
        "07000000-070fffff : Reserved\n",
        "07000000-070fffff : Reserved\n  07080000-07080fff : pnp 00:03\n"))
    x86_firmware(machine)
    assert "pnp 00:03 uses" in why(machine, 0x7000000)
    assert why(machine, 0x7000000, 0x80000) == ""


@pytest.mark.parametrize("label", ["ramoops:dmesg(0/12)", "persistent_ram", "ramoops", "phram",
                                   "lastlog"])
def test_our_own_drivers_may_be_there(machine: Machine, label: str) -> None:
    machine.write("/proc/iomem", X86_RESERVED.replace(
        "07000000-070fffff : Reserved\n",
        f"07000000-070fffff : Reserved\n  07000000-0700ffff : {label}\n"))
    x86_firmware(machine)
    assert why(machine, 0x7000000) == ""


# --- arm64 and arm: the device tree


def arm64(machine: Machine, text: str = ARM64) -> None:
    machine.write("/proc/sys/kernel/arch", "aarch64\n")
    machine.write("/proc/iomem", text)
    node(machine, "memory@40000000", [(0x40000000, 0x20000000)])
    node(machine, "reserved-memory/secmon@43000000", [(0x43000000, 0x30000)], no_map=True)


def test_arm64_with_a_node_that_stays_mapped(machine: Machine) -> None:
    """mediatek's ramoops@42ff0000 has no no-map: a reserved child of System RAM."""
    arm64(machine)
    assert "overlaps System RAM" in why(machine, 0x42ff0000, 0x10000)
    node(machine, "reserved-memory/ramoops@42ff0000", [(0x42ff0000, 0x10000)], "ramoops")
    assert why(machine, 0x42ff0000, 0x10000) == ""
    assert "overlaps System RAM" in why(machine, 0x42fe0000, 0x20000)
    assert "secmon" in why(machine, 0x42ff0000, 0x20000)


def test_arm64_with_a_node_that_the_kernel_did_not_keep(machine: Machine) -> None:
    arm64(machine, ARM64.replace("  42ff0000-42ffffff : reserved\n", ""))
    node(machine, "reserved-memory/ramoops@42ff0000", [(0x42ff0000, 0x10000)], "ramoops")
    assert "nothing shows" in why(machine, 0x42ff0000, 0x10000)
    machine.write(MEMBLOCK, "   0: 0x0000000040080000..0x0000000040b2ffff\n"
                            "   1: 0x0000000042ff0000..0x0000000042ffffff    0 NONE\n")
    assert why(machine, 0x42ff0000, 0x10000) == ""


@pytest.mark.parametrize("arch", ["aarch64", "armv7l", "mips"])
def test_a_map_that_shows_nothing_reserved_proves_nothing(machine: Machine, arch: str) -> None:
    """A vendor's kernel may know no reserved-memory at all; arm and mips do not show it."""
    machine.write("/proc/sys/kernel/arch", f"{arch}\n")
    machine.write("/proc/iomem", "40000000-5fffffff : System RAM\n"
                                 "  40008000-40b2ffff : Kernel code\n")
    node(machine, "memory@40000000", [(0x40000000, 0x20000000)])
    node(machine, "reserved-memory/ramoops@42ff0000", [(0x42ff0000, 0x10000)], "ramoops")
    assert "nothing shows" in why(machine, 0x42ff0000, 0x10000)
    machine.write(MEMBLOCK, "   0: 0x42ff0000..0x42ff7fff\n nonsense ..\n 1: 0x1..\n")
    assert "nothing shows" in why(machine, 0x42ff0000, 0x10000)
    machine.write(MEMBLOCK, "   0: 0x42ff0000..0x42ffffff\n")
    assert why(machine, 0x42ff0000, 0x10000) == ""


def test_arm64_with_no_map(machine: Machine) -> None:
    arm64(machine, ARM64.replace("43040000-5fffffff : System RAM",
                                 "43040000-50ffffff : System RAM\n51000000-510fffff : reserved\n"
                                 "51100000-5fffffff : System RAM"))
    assert "something else uses it" in why(machine, 0x51000000)
    node(machine, "reserved-memory/ramoops@51000000", [(0x51000000, MIB)], "ramoops", True)
    assert why(machine, 0x51000000) == ""
    assert "System RAM" in why(machine, 0x51000000, 2 * MIB)


def test_a_node_that_says_no_address(machine: Machine) -> None:
    """The kernel places it; where is seen nowhere but in the hole that it makes."""
    hole = ARM64.replace("43040000-5fffffff : System RAM", "43040000-4effffff : System RAM\n"
                         "50000000-5fffffff : System RAM")
    arm64(machine, hole)
    folder = "/proc/device-tree/reserved-memory/wifi-fw"
    for name, value in (("size", (1 << 24).to_bytes(8, "big")), ("no-map", b""),
                        ("compatible", b"shared-dma-pool\0")):
        machine.write(f"{folder}/{name}", value)
    assert "something else uses it" in why(machine, 0x4f000000)
    node(machine, "reserved-memory/lastlog@4f800000", [(0x4f800000, MIB)], no_map=True)
    assert why(machine, 0x4f800000) == "" and why(machine, 0x4f700000, 2 * MIB)


def test_a_gap_that_an_efi_machine_has(machine: Machine) -> None:
    """There the device tree tells of no memory."""
    machine.write("/proc/sys/kernel/arch", "aarch64\n")
    machine.write("/proc/iomem", "40000000-5fffffff : System RAM\n60200000-7fffffff : System RAM\n")
    for line in ("", "mem=512M", "mem=1022M", "memmap=1M$0x60100000"):
        machine.write("/proc/cmdline", f"root=/dev/vda2 {line}\n")
        assert "something else uses it" in why(machine, 0x60000000)


def test_the_firmwares_own_memory_is_not_ours(machine: Machine) -> None:
    """secmon has no compatible, is no-map, and kills the machine that touches it."""
    arm64(machine)
    assert "secmon@43000000" in why(machine, 0x43000000, 0x30000)


@pytest.mark.parametrize(("name", "compatible", "reusable", "allowed"), [
    ("lastlog@44000000", "", False, True), ("crash@44000000", "phram", False, True),
    ("x@44000000", "ramoops", False, True), ("buffer@44000000", "shared-dma-pool", False, False),
    ("ramoops@44000000", "shared-dma-pool", False, False), ("wo-emi@44000000", "", False, False),
    ("ramoops@44000000", "ramoops", True, False)])
def test_whose_node_it_is(machine: Machine, name: str, compatible: str, reusable: bool,
                          allowed: bool) -> None:
    arm64(machine, ARM64.replace("  48000000-480fffff : reserved\n",
                                 "  44000000-440fffff : reserved\n"))
    folder = node(machine, f"reserved-memory/{name}", [(0x44000000, MIB)], compatible)
    if reusable:
        machine.write(f"{folder}/reusable", "")
    assert (why(machine, 0x44000000) == "") is allowed


def test_two_nodes_side_by_side(machine: Machine) -> None:
    arm64(machine, ARM64.replace("  48000000-480fffff : reserved\n",
                                 "  44000000-440fffff : reserved\n"))
    node(machine, "reserved-memory/ramoops@44000000", [(0x44000000, 0xe0000)], "ramoops")
    assert "System RAM" in why(machine, 0x44000000)
    node(machine, "reserved-memory/phram@440e0000", [(0x440e0000, 0x20000)], "phram")
    assert why(machine, 0x44000000) == ""


def test_a_disabled_node_reserves_nothing(machine: Machine) -> None:
    arm64(machine)
    folder = node(machine, "reserved-memory/ramoops@42ff0000", [(0x42ff0000, 0x10000)], "ramoops")
    machine.write(f"{folder}/status", "disabled\0")
    assert "System RAM" in why(machine, 0x42ff0000, 0x10000)
    machine.write(f"{folder}/status", "okay\0")
    assert why(machine, 0x42ff0000, 0x10000) == ""


@pytest.mark.parametrize("cells", [(1, 1), (2, 2), (2, 1)])
def test_cells(machine: Machine, cells: tuple[int, int]) -> None:
    node(machine, "reserved-memory/a@1", [(0x1000, 0x2000), (0x8000, 0x1000)], "ramoops",
         cells=cells)
    assert [(each.start, each.end) for each in reserved(machine.site())] == [
        (0x1000, 0x3000), (0x8000, 0x9000)]


def test_reg_that_is_cut_or_empty(machine: Machine) -> None:
    folder = node(machine, "memory@0", [(0, 0)])
    machine.write(f"{folder}/reg", b"\0" * 5)
    machine.write("/proc/device-tree/memory-controller@1/reg", b"\0" * 8)
    assert tree_memory(machine.site()) == []


def test_arm_keeps_no_map_memory_out_of_its_map(machine: Machine) -> None:
    machine.write("/proc/sys/kernel/arch", "armv7l\n")
    machine.write("/proc/iomem", ARM)
    node(machine, "memory@42000000", [(0x42000000, 0x1e000000)], cells=(1, 1))
    assert "System RAM" in why(machine, 0x43000000)
    assert "something else uses it" in why(machine, 0x42100000, 0x40000)
    node(machine, "reserved-memory/ramoops@42100000", [(0x42100000, 0x40000)], "ramoops", True,
         cells=(1, 1))
    assert why(machine, 0x42100000, 0x40000) == ""
    assert "no memory known" in why(machine, 0x61000000)


# --- mips: nothing tells but the holes


@pytest.mark.parametrize(("text", "address", "word"), [
    (MIPS_HOLE, 0xd000000, ""), (MIPS_HOLE, 0xc000000, "System RAM"),
    (MIPS_HOLE, 0xd100000, "System RAM"), (MIPS_HOLE, 0x10000000, "no memory known"),
    (MIPS_HOLE, 0x18000000, "no memory known"), (MIPS, 0xd000000, "System RAM"),
    (MIPS, 0x10000000, "no memory known")])
def test_mips(machine: Machine, text: str, address: int, word: str) -> None:
    mips(machine, text, LINE)
    said = why(machine, address)
    assert word in said and bool(word) == bool(said)


LINE = "console=ttyS0 mem=208M mem=47M@0xd100000"


def mips(machine: Machine, text: str, line: str) -> None:
    machine.write("/proc/sys/kernel/arch", "mips\n")
    machine.write("/proc/iomem", text)
    machine.write("/proc/cmdline", f"{line}\n")


@pytest.mark.parametrize(("line", "allowed"), [
    (LINE, True), ("mem=0xd000000@0 mem=48128K@0xd100000", True), ("", False),
    ("memmap=1M$0xd000000", True), ("memmap=64K$0x0,1M$0xd000000", True),
    ("memmap=512K$0xd000000", False), ("memmap=1M@0xd000000", False),
    ("memmap=1M$", False), ("memmap=$0xd000000", False), ("memmap=-1M$0xd000000", False),
    ("mem=208M", True), ("mem=256M", False), ("mem=nonsense mem=208M", False), ("mem=", False),
    ("mem=209M mem=47M@0xd100000", False), ("xmem=208M", False)])
def test_a_hole_is_ours_if_the_command_line_says_so(machine: Machine, line: str,
                                                    allowed: bool) -> None:
    mips(machine, MIPS_HOLE, line)
    said = why(machine, 0xd000000)
    assert (said == "") is allowed and (allowed or "something else uses it" in said)


@pytest.mark.parametrize(("arch", "line", "start"), [
    ("armv7l", "mem=384M", 0x5a000000), ("aarch64", "mem=384M", 0x60000000),
    ("aarch64", "mem=1G@0x1000", 0x82000000), ("aarch64", "mem=x", None),
    ("x86_64", "mem=2G", 0x80000000)])
def test_where_memory_ends_by_the_command_line(machine: Machine, arch: str, line: str,
                                               start: int | None) -> None:
    """As a limit it is one to the sum of what there is, so nothing below the last is free."""
    machine.write("/proc/sys/kernel/arch", f"{arch}\n")
    machine.write("/proc/cmdline", f"{line}\n")
    ends = [each.start for each in set_aside(machine.site(), parse_iomem(ARM))
            if each.end == 1 << 64]
    assert ends == ([] if start is None else [start])


@given(st.text(max_size=60))
def test_no_command_line_raises(line: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        machine.write("/proc/cmdline", f"mem={line} memmap={line}\n")
        assert all(each.start < each.end for each in set_aside(machine.site(), []))


def test_a_hole_with_our_drivers_in_it_is_still_one(machine: Machine) -> None:
    mips(machine, "", LINE)
    machine.write("/proc/iomem", MIPS_HOLE.replace(
        "0d100000-", "0d000000-0d00ffff : ramoops:dmesg(0/12)\n0d100000-"))
    assert why(machine, 0xd000000) == ""
    machine.write("/proc/iomem", MIPS_HOLE.replace(
        "0d100000-", "0d080000-0d080fff : serial\n0d100000-"))
    assert "no memory known" in why(machine, 0xd000000)
