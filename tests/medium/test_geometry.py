"""medium/geometry.py: what the configuration, the driver and the device tree say."""

from __future__ import annotations

import struct

import pytest

from lastlog_py.medium.geometry import Geometry, candidates, parity_bytes
from tests.machine import Machine


def node(machine: Machine, name: str, cells: str = ">I", **sizes: int) -> None:
    folder = f"/proc/device-tree/reserved-memory/{name}"
    machine.write(f"{folder}/compatible", b"vendor,thing\0ramoops\0")
    for size, value in sizes.items():
        machine.write(f"{folder}/{size.replace('_', '-')}", struct.pack(cells, value))


def test_the_configuration_counts_first(machine: Machine) -> None:
    machine.ramoops(1 << 20, 0x2000)
    machine.configure(record_size="0x10000", console_size="0x8000", ecc=1)
    first, second = candidates(machine.site())
    assert first == Geometry(0x10000, 0x8000, ecc=16, origin="the configuration")
    assert second.origin == "the ramoops driver"


def test_the_drivers_parameters(machine: Machine) -> None:
    machine.ramoops(0x40000, 0x4000, console=0x2000, ftrace=0x1000, pmsg=0x800, ecc=16)
    assert candidates(machine.site()) == [
        Geometry(0x4000, 0x2000, 0x1000, 0x800, 16, 0x40000, "the ramoops driver")]


@pytest.mark.parametrize("cells", [">I", ">Q"])
def test_the_device_tree_with_cells_of_either_size(machine: Machine, cells: str) -> None:
    node(machine, "ramoops@42ff0000", cells, record_size=0x1000, console_size=0x2000, ecc_size=16)
    assert candidates(machine.site()) == [
        Geometry(0x1000, 0x2000, ecc=16, origin="the device tree")]


def test_the_driver_does_not_know_the_ecc_of_a_device_tree(machine: Machine) -> None:
    node(machine, "ramoops@42ff0000", record_size=0x1000, ecc_size=8)
    machine.ramoops(0x10000, 0x1000)
    assert [each.ecc for each in candidates(machine.site())] == [8, 8]


def test_other_nodes_and_junk_are_passed_over(machine: Machine) -> None:
    machine.write("/proc/device-tree/reserved-memory/wmcpu@0/compatible", b"mediatek,wmcpu\0")
    machine.write("/proc/device-tree/reserved-memory/#size-cells", b"\0\0\0\2")
    machine.write("/sys/module/ramoops/parameters/record_size", "junk\n")
    assert candidates(machine.site()) == []


def test_a_region_file_is_not_this_machines_memory(machine: Machine) -> None:
    machine.ramoops(1 << 20, 0x2000)
    node(machine, "ramoops@0", record_size=0x1000)
    assert candidates(machine.configure(file="/x").site()) == []


@pytest.mark.parametrize(("ecc", "parity"), [(0, 0), (1, 16), (2, 2), (16, 16), (32, 32)])
def test_one_means_sixteen(ecc: int, parity: int) -> None:
    assert parity_bytes(ecc) == parity
