"""memory_map.py: /proc/iomem as x86, arm64, arm and mips print it, and who may use what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.memory_map import (
    Range,
    iomem,
    is_hidden,
    parse_iomem,
    refusal,
    reserved,
    tree_memory,
    uncovered,
)
from tests.machine import Machine
from tests.memory import ARM, ARM64, MIPS, MIPS_HOLE, X86, X86_RESERVED, node, x86_firmware

MIB = 1 << 20


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


# --- x86: the firmware's map


@pytest.mark.parametrize(("text", "address", "size", "word"), [
    (X86_RESERVED, 0x7000000, MIB, ""),                       # memmap=1M$0x7000000
    (X86_RESERVED, 0x7000000, 2 * MIB, "overlaps System RAM"),
    (X86_RESERVED, 0x6f00000, MIB, "overlaps System RAM"),
    (X86_RESERVED, 0x6fff000, 8192, "overlaps System RAM"),
    (X86, 0x7000000, MIB, "overlaps System RAM"),
    (X86, 0x1000000, MIB, "overlaps System RAM"),             # the kernel itself
    (X86, 0xf0000, 0x10000, "reserved by the firmware (Reserved)"),
    (X86, 0xffe0000, 0x20000, "reserved by the firmware (Reserved)"),
    (X86, 0xfd000000, MIB, "no memory known"),                # PCI
])
def test_x86(machine: Machine, text: str, address: int, size: int, word: str) -> None:
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
    assert "System RAM" in why(machine, 0x42ff0000, 0x20000)


def test_arm64_with_a_node_that_the_kernel_did_not_keep(machine: Machine) -> None:
    arm64(machine, ARM64.replace("  42ff0000-42ffffff : reserved\n", ""))
    node(machine, "reserved-memory/ramoops@42ff0000", [(0x42ff0000, 0x10000)], "ramoops")
    assert "has not set it aside" in why(machine, 0x42ff0000, 0x10000)


def test_arm64_with_no_map(machine: Machine) -> None:
    arm64(machine, ARM64.replace("43040000-5fffffff : System RAM",
                                 "43040000-50ffffff : System RAM\n51000000-510fffff : reserved\n"
                                 "51100000-5fffffff : System RAM"))
    assert why(machine, 0x51000000) == ""
    assert "System RAM" in why(machine, 0x51000000, 2 * MIB)


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
    machine.write("/proc/iomem", ARM)
    node(machine, "memory@42000000", [(0x42000000, 0x1e000000)], cells=(1, 1))
    assert "System RAM" in why(machine, 0x43000000)
    assert why(machine, 0x42100000, 0x40000) == ""
    assert "no memory known" in why(machine, 0x61000000)


# --- mips: nothing tells but the holes


@pytest.mark.parametrize(("text", "address", "word"), [
    (MIPS_HOLE, 0xd000000, ""), (MIPS_HOLE, 0xc000000, "System RAM"),
    (MIPS_HOLE, 0xd100000, "System RAM"), (MIPS_HOLE, 0x10000000, "no memory known"),
    (MIPS_HOLE, 0x18000000, "no memory known"), (MIPS, 0xd000000, "System RAM"),
    (MIPS, 0x10000000, "no memory known")])
def test_mips(machine: Machine, text: str, address: int, word: str) -> None:
    machine.write("/proc/iomem", text)
    said = why(machine, address)
    assert word in said and bool(word) == bool(said)


def test_a_hole_with_our_drivers_in_it_is_still_one(machine: Machine) -> None:
    machine.write("/proc/iomem", MIPS_HOLE.replace(
        "0d100000-", "0d000000-0d00ffff : ramoops:dmesg(0/12)\n0d100000-"))
    assert why(machine, 0xd000000) == ""
    machine.write("/proc/iomem", MIPS_HOLE.replace(
        "0d100000-", "0d080000-0d080fff : serial\n0d100000-"))
    assert "no memory known" in why(machine, 0xd000000)
