"""How ramoops divides a region, as somebody says it does: the configuration, the driver's
module parameters, or the device tree.  `layout.layouts` turns a Geometry into zones.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from ..site import Site
from .device import read_small

__all__ = ["Geometry", "candidates"]

_SIZES = ("record_size", "console_size", "ftrace_size", "pmsg_size", "ecc")


class Geometry(NamedTuple):
    """Sizes in bytes, as given: not rounded yet."""

    record_size: int
    console_size: int = 0
    ftrace_size: int = 0
    pmsg_size: int = 0
    ecc: int = 0                    # parity bytes per block of 128; 0: none
    mem_size: int | None = None     # of all zones together; None: the whole region
    origin: str = "given"           # who says so, for messages


def candidates(site: Site) -> list[Geometry]:
    """What is said about this machine's region, most trustworthy first; may be empty."""
    said = (_configured(site), _parameters(site), _device_tree(site))
    return [geometry for geometry in said if geometry and geometry.record_size > 0]


def parity_bytes(ecc: int) -> int:
    """The driver's ecc number as parity bytes: 1 stands for 16 (ramoops.c: ecc_info)."""
    return 16 if ecc == 1 else ecc


def _configured(site: Site) -> Geometry | None:
    if site.record_size is None:
        return None
    return Geometry(site.record_size, site.console_size or 0, site.ftrace_size or 0,
                    site.pmsg_size or 0, parity_bytes(site.ecc or 0), origin="the configuration")


def _parameters(site: Site) -> Geometry | None:
    """/sys/module/ramoops/parameters: decimal; the values in use once the driver has a region."""
    folder = site.system("/sys/module/ramoops/parameters")
    if site.file or not os.path.isdir(folder):
        return None
    values = [read_small(f"{folder}/{name}").strip() for name in (*_SIZES, "mem_size")]
    record, console, ftrace, pmsg, ecc, mem = (int(v) if v.isdigit() else 0 for v in values)
    if not ecc:
        tree = _device_tree(site)     # for a device tree's region the driver leaves ecc at 0
        ecc = tree.ecc if tree else 0
    return Geometry(record, console, ftrace, pmsg, parity_bytes(ecc), mem or None,
                    "the ramoops driver")


def _device_tree(site: Site) -> Geometry | None:
    """The first /reserved-memory node that is compatible with "ramoops".

    Documentation/devicetree/bindings/reserved-memory/ramoops.yaml: cells are big-endian u32;
    vendor trees of the 4.4 era have u64.  Sizes that are left out are 0.
    """
    if site.file:
        return None
    folder = site.system("/proc/device-tree/reserved-memory")
    try:
        nodes = sorted(os.listdir(folder))
    except OSError:
        return None
    for node in nodes:
        if b"ramoops" in _property(f"{folder}/{node}/compatible").split(b"\0"):
            return _node(f"{folder}/{node}")
    return None


def _node(folder: str) -> Geometry:
    def size(name: str) -> int:
        return int.from_bytes(_property(f"{folder}/{name}"), "big")

    return Geometry(size("record-size"), size("console-size"), size("ftrace-size"),
                    size("pmsg-size"), parity_bytes(size("ecc-size")), origin="the device tree")


def _property(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except OSError:
        return b""
