"""A sample's place in tests/data/samples: region, the kernel's files, a row of the manifest."""

from __future__ import annotations

import hashlib
import json
import lzma
import shutil
from pathlib import Path
from typing import Any

from .cases import Case
from .kernels import ALL as KERNELS
from .kernels import Board

__all__ = ["write"]

FOLDER = Path(__file__).parents[2] / "data" / "samples"
PACKED = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
SIZES = ("record_size", "console_size", "ftrace_size", "pmsg_size", "ecc")


def write(case: Case, board: Board, region: bytes, output: dict[str, bytes], log: bytes) -> None:
    """Write the sample; output: what the guest that read it handed over, log: the kernel's
    whole logs of the boots that crashed, as far as they could hand them over."""
    files = {path.removeprefix(f"{case.name}/"): content for path, content in output.items()
             if path.startswith(f"{case.name}/")}
    folder = FOLDER / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kept = {"region.bin": region, **files, **({"log": log} if case.medium == "mtdoops" else {})}
    for name, content in kept.items():
        (folder / f"{name}.xz").write_bytes(lzma.compress(content, lzma.FORMAT_XZ,
                                                          filters=PACKED))
    _enter(_row(case, board, region, files, output))


def _row(case: Case, board: Board, region: bytes, files: dict[str, bytes],
         output: dict[str, bytes]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": case.name,
        "description": case.description,
        "kernel": output["version"].decode().strip(),
        "architecture": case.kernel.split("-")[0],
        "endian": board.endian,
        "bits": board.bits,
        "format": case.medium,
        "provoked": case.provoked,
        "region": _told(region),
        "geometry": _geometry(case),
        "zone_order": ["dmesg", "console", *(("pmsg", "ftrace") if KERNELS[case.kernel].series
                                             == "6.12" else ("ftrace", "pmsg"))],
        "parameters": case.parameters,
        "compression": case.compression,
        "damaged": case.damaged,
        "cmdline": f"{board.command_line} {case.append}".strip(),
        "processors": case.processors,
        "kernel_files": {name: _told(files[name]) for name in sorted(files)},
        "listing": output.get(f"{case.name}.listing", b"").decode().splitlines()[1:],
    }
    if case.medium == "mtdoops":
        row["log"] = "log"      # what the kernel's whole log was, before each reset
    return row


def _geometry(case: Case) -> dict[str, int]:
    given = dict(word.split("=") for word in case.parameters.split() if "=" in word)
    if case.medium != "ramoops":
        return {}
    sizes = {name: int(given.get(name, "4096"), 0) for name in SIZES[:-1]}
    return sizes | ({"ecc": int(given["ecc"])} if "ecc" in given else {})


def _told(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _enter(row: dict[str, Any]) -> None:
    path = FOLDER / "manifest.json"
    manifest = json.loads(path.read_text())
    rows = {each["name"]: each for each in manifest["samples"]} | {row["name"]: row}
    manifest["samples"] = [rows[name] for name in sorted(rows)]
    path.write_text(json.dumps(manifest, indent=1) + "\n")
