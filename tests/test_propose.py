"""propose.py: what is proposed on the machines of tests/memory.py, and that it would be allowed
once it is reserved as proposed."""

from __future__ import annotations

from typing import Any

import pytest

from lastlog_py import memory_map, setup
from lastlog_py.config import load
from lastlog_py.errors import LastlogError
from lastlog_py.memory_map import Range, parse_iomem
from lastlog_py.propose import propose
from tests.machine import Machine
from tests.memory import ARM, ARM64, MIPS, MIPS_HOLE, X86, X86_RESERVED, node, x86_firmware

MIB = 1 << 20

Answer = dict[str, Any]

# /proc/iomem of a MIPS router with 64 MiB, and an x86 machine with 4 GiB.
MIPS_64 = MIPS.replace("00000000-0fffffff", "00000000-03ffffff")
X86_4G = X86.replace("0ffdffff", "bffdffff").replace("0ffe0000-0fffffff", "bffe0000-bfffffff") \
    .replace("10000000-febfffff", "c0000000-febfffff") + "100000000-13fffffff : System RAM\n"


def arrange(machine: Machine, arch: str, text: str) -> Machine:
    machine.write("/proc/sys/kernel/arch", f"{arch}\n")
    machine.write("/proc/iomem", text)
    machine.write("/proc/mtd", "dev:    size   erasesize  name\n")
    if arch == "x86_64":
        x86_firmware(machine)
        machine.write("/sys/firmware/memmap/3/end", "0xbffdffff\n")
    return machine


def tree(machine: Machine, board: str, memory: tuple[int, int], *,
         cells: tuple[int, int] = (2, 2)) -> None:
    machine.write("/proc/device-tree/compatible", f"{board}\0")
    node(machine, f"memory@{memory[0]:x}", [memory], cells=cells)


def reserve(machine: Machine, answer: Answer, *, cells: tuple[int, int] = (2, 2)) -> None:
    """The nodes that are proposed."""
    region, journal = span(answer), answer["region"]["journal_size"]
    part = region.end - region.start - journal
    node(machine, f"reserved-memory/ramoops@{region.start:x}", [(region.start, part)], "ramoops",
         no_map=True, cells=cells)
    node(machine, "reserved-memory/lastlog@1", [(region.start + part, journal)], no_map=True,
         cells=cells)


def proposed(machine: Machine) -> Answer:
    answer = propose(machine.config())
    assert set(answer) == {"region", "reserved", "why", "device_tree", "command_line", "uci",
                           "notes"}
    assert answer["why"] and answer["notes"]
    return answer


def span(answer: Answer) -> Range:
    start = int(answer["region"]["address"], 16)
    return Range(start, start + answer["region"]["size"])


def without(text: str, hole: Range, name: str = "") -> str:
    """The memory map once `hole` is kept from the system; name: how it is shown, "" not at all."""
    lines = []
    for line, entry in zip(text.splitlines(), parse_iomem(text), strict=True):
        if not entry.overlaps(hole) or entry.depth:
            lines.append(line)
            continue
        assert entry.name == "System RAM"
        lines.append(f"{entry.start:08x}-{hole.start - 1:08x} : System RAM")
        lines += [f"{hole.start:08x}-{hole.end - 1:08x} : {name}"] if name else []
        lines.append(f"{hole.end:08x}-{entry.end - 1:08x} : System RAM")
    return "\n".join(lines) + "\n"


def check_allowed(machine: Machine, answer: Answer) -> None:
    """It may be used as soon as the memory map is that of the reservation, not before; and the
    UCI section is what setup.py accepts."""
    region = span(answer)
    assert memory_map.refusal(machine.site(), region.start, region.end - region.start) is None
    machine.conf.write_text(f"config lastlog 'main'\n\toption root '{machine.root}'\n"
                            f"{answer['uci']}")
    config = load(str(machine.conf))
    assert config.problems == []
    for name, value in answer["region"].items():
        assert getattr(config.site, name) == (int(value, 16) if name == "address" else value)
    assert setup._ill_said(config.site) == ""
    assert setup._does_not_fit(config.site, answer["region"]["size"]
                               - answer["region"]["journal_size"]) == ""


# --- a region that is proposed, and then reserved


@pytest.mark.parametrize(("text", "address"), [(X86, 0xbf00000), (X86_4G, 0x2ff00000)])
def test_x86(machine: Machine, text: str, address: int) -> None:
    answer = proposed(arrange(machine, "x86_64", text))
    assert address - MIB <= span(answer).start <= address + MIB
    size = answer["region"]["size"]
    assert answer["command_line"] == f"memmap={size // MIB}M$0x{span(answer).start:x}"
    assert answer["device_tree"] is None and not answer["reserved"]
    assert any("GRUB" in each for each in answer["notes"])
    machine.write("/proc/iomem", without(text, span(answer), "Reserved"))
    check_allowed(machine, answer)


@pytest.mark.parametrize(("text", "size", "line"), [
    (MIPS, MIB, "mem=192M mem=63M@0xc100000"),
    (MIPS_64, 0x40000, "mem=48M mem=16128K@0x3040000")])
def test_mips(machine: Machine, text: str, size: int, line: str) -> None:
    answer = proposed(arrange(machine, "mips", text))
    assert answer["region"]["size"] == size and answer["command_line"] == line
    machine.write("/proc/iomem", without(text, span(answer)))
    machine.write("/proc/cmdline", f"console=ttyS0 {line}\n")
    check_allowed(machine, answer)


def test_arm64_by_no_map_nodes(machine: Machine) -> None:
    tree(arrange(machine, "aarch64", ARM64), "acme,router\0acme,soc", (0x40000000, 0x20000000))
    node(machine, "reserved-memory/wmcpu@58000000", [(0x58000000, 0x1000000)], no_map=True)
    answer = proposed(machine)
    region = span(answer)
    assert answer["command_line"] is None
    assert region.start == 0x58000000 - MIB
    part = MIB - answer["region"]["journal_size"]
    assert f"reg = <0x0 0x{region.start:x} 0x0 0x{part:x}>;" in answer["device_tree"]
    assert f"lastlog@{region.start + part:x} {{" in answer["device_tree"]
    reserve(machine, answer)
    for text in (without(ARM64, region, "reserved"), without(ARM64, region)):
        machine.write("/proc/iomem", text)
        check_allowed(machine, answer)


def test_arm_by_its_device_tree(machine: Machine) -> None:
    tree(arrange(machine, "armv7l", ARM), "acme,router", (0x42000000, 0x1e000000), cells=(1, 1))
    answer = proposed(machine)
    region = span(answer)
    assert "#address-cells = <1>" in answer["device_tree"]
    assert f"reg = <0x{region.start:x} 0xe0000>;" in answer["device_tree"]
    assert answer["command_line"].startswith("mem=1M@0x42000000 mem=")
    machine.write("/proc/iomem", without(ARM, region))
    machine.write("/proc/cmdline", answer["command_line"])
    check_allowed(machine, answer)
    machine.write("/proc/cmdline", "")
    reserve(machine, answer, cells=(1, 1))
    check_allowed(machine, answer)


@pytest.mark.parametrize(("board", "address", "size"), [
    ("mediatek,mt7986a", 0x42ff0000, 0x10000), ("mediatek,mt7622", 0x42ff0000, 0x10000),
    ("mediatek,mt7988a", 0x42f00000, MIB), ("qcom,ipq8074", 0x51200000, MIB)])
def test_boards_that_are_known(machine: Machine, board: str, address: int, size: int) -> None:
    text = ARM64.replace("  42ff0000-42ffffff : reserved\n", "")
    tree(arrange(machine, "aarch64", text), f"acme,router\0{board}", (0x40000000, 0x20000000))
    answer = proposed(machine)
    assert (span(answer).start, answer["region"]["size"]) == (address, size)
    machine.write("/proc/iomem", without(text, span(answer)))
    reserve(machine, answer)
    check_allowed(machine, answer)


def test_a_known_address_that_is_taken_here(machine: Machine) -> None:
    tree(arrange(machine, "aarch64", ARM64), "mediatek,mt7986a", (0x40000000, 0x20000000))
    assert span(proposed(machine)).start > 0x48000000


def test_clear_of_the_initial_ram_disk_and_the_crash_kernel(machine: Machine) -> None:
    text = ARM64.replace("  5cc00000", "  57000000-57ffffff : Crash kernel\n  5cc00000")
    tree(arrange(machine, "aarch64", text), "acme,router", (0x40000000, 0x20000000))
    for name, value in (("start", 0x56000000), ("end", 0x57000000)):
        machine.write(f"/proc/device-tree/chosen/linux,initrd-{name}", value.to_bytes(8, "big"))
    region = span(proposed(machine))
    assert not region.overlaps(Range(0x56000000, 0x58000000))


# --- a region that is there


def test_ramoops_that_runs(machine: Machine) -> None:
    tree(arrange(machine, "aarch64", ARM64), "mediatek,mt7986a", (0x40000000, 0x20000000))
    node(machine, "reserved-memory/ramoops@42ff0000", [(0x42ff0000, 0x10000)], "ramoops")
    machine.ramoops(0x10000, 4096, address=0x42ff0000)
    answer = proposed(machine)
    assert answer["reserved"] and "runs there" in answer["why"]
    assert answer["region"] == {"address": "0x42ff0000", "size": 0x10000, "journal_size": 0,
                                "record_size": None, "console_size": None, "pmsg_size": None,
                                "ecc": None}
    assert answer["device_tree"] is None and answer["command_line"] is None
    assert answer["uci"] is None and "nothing to configure" in answer["notes"][0]
    assert "To have a journal" in answer["notes"][0]


@pytest.mark.parametrize("is_mapped", [True, False])
def test_nodes_that_phram_cannot_have(machine: Machine, is_mapped: bool) -> None:
    """Without no-map on arm64."""
    text = ARM64.replace("42ff0000-42ffffff : reserved", "42f00000-42ffffff : reserved")
    tree(arrange(machine, "aarch64", text if is_mapped else without(text, Range(
        0x42f00000, 0x43000000), "reserved")), "acme,router", (0x40000000, 0x20000000))
    node(machine, "reserved-memory/ramoops@42f00000", [(0x42f00000, 0xe0000)], "ramoops")
    node(machine, "reserved-memory/lastlog@42fe0000", [(0x42fe0000, 0x20000)])
    answer = proposed(machine)
    assert answer["reserved"] and answer["region"]["size"] == MIB
    assert any("no-map" in each for each in answer["notes"]) is is_mapped


@pytest.mark.parametrize("module", [True, False])
def test_a_kernel_without_mtd_gets_no_journal(machine: Machine, module: bool) -> None:
    """OpenWrt's for x86."""
    arrange(machine, "x86_64", X86)
    (machine.root / "proc/mtd").unlink()
    machine.write("/proc/sys/kernel/osrelease", "6.6.93\n")
    if module:
        machine.write("/lib/modules/6.6.93/phram.ko", "")
    answer = proposed(machine)
    assert (answer["region"]["journal_size"] == 0) is not module
    assert ("option journal_size '0x0'" in answer["uci"]) is not module
    assert any("no MTD" in each for each in answer["notes"]) is not module
    machine.write("/proc/iomem", without(X86, span(answer), "Reserved"))
    check_allowed(machine, answer)


def test_without_a_journal_there_is_one_node(machine: Machine) -> None:
    tree(arrange(machine, "aarch64", ARM64), "acme,router", (0x40000000, 0x20000000))
    (machine.root / "proc/mtd").unlink()
    text = proposed(machine)["device_tree"]
    assert "ramoops@" in text and "lastlog@" not in text and text.count("{") == text.count("}")


def test_a_node_that_nothing_uses_yet(machine: Machine) -> None:
    tree(arrange(machine, "aarch64", without(ARM64, Range(0x4a000000, 0x4a100000), "reserved")),
         "acme,router", (0x40000000, 0x20000000))
    node(machine, "reserved-memory/ramoops@4a000000", [(0x4a000000, 0xe0000)], "ramoops")
    node(machine, "reserved-memory/lastlog@4a0e0000", [(0x4a0e0000, 0x20000)])
    answer = proposed(machine)
    assert answer["reserved"] and span(answer).start == 0x4a000000
    assert (answer["region"]["size"], answer["region"]["journal_size"]) == (MIB, 0x20000)
    assert "option journal_size '0x20000'" in answer["uci"] and "ecc" not in answer["uci"]


@pytest.mark.parametrize(("arch", "text", "line", "address"), [
    ("x86_64", X86_RESERVED, "console=ttyS0 memmap=1M$0x7000000", "0x7000000"),
    ("mips", MIPS_HOLE, "console=ttyS0 mem=208M mem=47M@0xd100000", "0xd000000")])
def test_memory_that_the_command_line_sets_aside(machine: Machine, arch: str, text: str,
                                                 line: str, address: str) -> None:
    arrange(machine, arch, text).write("/proc/cmdline", f"{line}\n")
    answer = proposed(machine)
    assert answer["reserved"] and answer["region"]["address"] == address
    check_allowed(machine, answer)


def test_what_the_configuration_says_already(machine: Machine) -> None:
    arrange(machine, "x86_64", X86_RESERVED)
    machine.configure(address="0x7000000", size="0x80000")
    answer = proposed(machine)
    assert answer["reserved"] and answer["region"]["size"] == 0x80000
    assert answer["uci"] is None and "nothing to do" in answer["notes"][0]


# --- none


@pytest.mark.parametrize(("text", "code"), [
    ("", "io"), ("00000000-00000000 : System RAM\n", "io"),
    ("00000000-007fffff : System RAM\n", "no-space"),
    ("00000000-03ffffff : System RAM\n  02000000-03ffffff : reserved\n", "no-space")])
def test_nothing_to_propose(machine: Machine, text: str, code: str) -> None:
    with pytest.raises(LastlogError) as error:
        propose(arrange(machine, "mips", text).config())
    assert error.value.code == code and error.value.hint


def test_a_machine_that_shows_no_device_tree_and_takes_no_command_line(machine: Machine) -> None:
    answer = proposed(arrange(machine, "riscv64", MIPS))
    assert answer["device_tree"] is None and answer["command_line"] is None
    assert any("shows none" in each for each in answer["notes"])
