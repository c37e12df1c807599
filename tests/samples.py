"""The memory regions of real crashed kernels in tests/data/samples, and what these kernels
themselves showed of them after the reboot."""

from __future__ import annotations

import functools
import json
import lzma
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "data" / "samples"

NOTICE = b"\nECC: "


@functools.cache
def manifest() -> dict[str, dict[str, Any]]:
    samples = json.loads((FOLDER / "manifest.json").read_text())["samples"]
    return {sample["name"]: sample for sample in samples}


@functools.cache
def region(name: str) -> bytes:
    return _unpacked(name, "region.bin")


@functools.cache
def kernel_file(name: str, file: str) -> bytes:
    """A file of /sys/fs/pstore as the crashed machine's next boot showed it."""
    return _unpacked(name, file)


def kernel_text(name: str, file: str) -> bytes:
    """The same less the ECC notice, which is not part of the text."""
    return kernel_file(name, file).split(NOTICE)[0]


def _unpacked(name: str, file: str) -> bytes:
    return lzma.decompress((FOLDER / name / f"{file}.xz").read_bytes())


def of_ramoops() -> list[str]:
    """The samples of ramoops."""
    return [name for name in every() if manifest()[name]["geometry"]]


def every() -> list[str]:
    """Those of other formats too."""
    return sorted(manifest())
