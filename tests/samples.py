"""The memory regions of real crashed kernels in tests/data/samples, and what these kernels
themselves showed of them after the reboot."""

from __future__ import annotations

import functools
import json
import lzma
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "data" / "samples"

# Without "ECC: " up to 5.4 at least.
NOTICE = re.compile(rb"\n(ECC: )?(No errors detected|\d+ Corrected bytes, "
                    rb"\d+ unrecoverable blocks)\n\Z")

# Where we show something else than the kernel did: (sample, file) -> why.
DIFFERENT = {
    ("f03_android_pmsg", "pmsg-ramoops-0"): "Android's frames are shown as lines",
    ("f04_android_pmsg_wrapped", "pmsg-ramoops-0"): "Android's frames are shown as lines",
    # Its pages are of different moments, and in some the kernel is a word or two beside the calls:
    # 171 of 680 and 222 of 511 lines are none.  We show calls alone, in their order.
    ("b06_blk_ftrace", "ftrace-pstore_blk-0"): "what the kernel shows are no calls for a third",
    ("b07_i386_blk", "ftrace-pstore_blk-0"): "what the kernel shows are no calls for a half",
    # A Thumb kernel's addresses have no room for two bits of processor, so that the kernel shows
    # a processor 2 or 3 that the machine has not: in 326 of 2047 and 265 of 2046 lines.
    ("p03_arm_6_1", "ftrace-ramoops-0"): "the kernel shows bits of the address as it",
    ("p20_arm_smp2_ftrace", "ftrace-ramoops-0"): "the kernel shows bits of the address as it",
}


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
    return NOTICE.sub(b"", kernel_file(name, file))


def shown(name: str) -> dict[str, str]:
    """What the kernel showed of the sample, as we show it: file -> text.  Without traces, and
    without streams that it could not unpack; up to 3.11 a dump's header line, which is no text, is
    in the file."""
    files = {file: kernel_text(name, file) for file in manifest()[name]["kernel_files"]
             if not file.startswith("ftrace") and not file.endswith(".enc.z")}
    return {file: re.sub(rb"\A====\d+\.\d+\n", b"", text)
            .decode("utf-8", "replace").replace("\0", "\ufffd")
            for file, text in files.items() if (name, file) not in DIFFERENT}


def is_shown(name: str, ours: dict[str, str]) -> bool:
    """Whether `ours` is what the kernel showed.  It gives up on a zone that is damaged too much:
    we need not."""
    theirs = shown(name)
    row = manifest()[name]
    more = {file for file in set(ours) - set(theirs) if (name, file) not in DIFFERENT}
    return {file: ours.get(file) for file in theirs} == theirs and (
        not more or bool(row["damaged"]))


def _unpacked(name: str, file: str) -> bytes:
    return lzma.decompress((FOLDER / name / f"{file}.xz").read_bytes())


def of_ramoops() -> list[str]:
    """The samples of ramoops."""
    return [name for name in every() if manifest()[name]["geometry"]]


def every() -> list[str]:
    """Those of other formats too."""
    return sorted(manifest())


def undeflated() -> list[tuple[str, str]]:
    """Every stream of deflate that the kernel could not unpack: (sample, file)."""
    return [(name, file) for name in every() for file in manifest()[name]["kernel_files"]
            if file.endswith(".enc.z") and manifest()[name]["compression"] == "deflate"]
