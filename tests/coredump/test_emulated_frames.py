"""Backtraces of programs that an emulator ran, beside gdb's, which is shown far more.

unwound.c is built for each machine without tables of frames; what is run is stripped and has no
section headers.  gdb reads the same core with the program's unstripped twin, which has them all in
its debugging information.  Needs Debian's cross compilers, qemu-user and gdb-multiarch.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from lastlog_py.coredump.backtrace import Limits, backtrace
from lastlog_py.coredump.core import Stream, core_memory, read_head
from lastlog_py.coredump.core_program import core_context
from lastlog_py.coredump.sysroot import Sysroot
from tests.coredump.test_emulated import allow_cores

SOURCE = Path(__file__).with_name("unwound.c")
NO_TABLES = "-g -fno-asynchronous-unwind-tables -fno-unwind-tables -fomit-frame-pointer"
MODES = range(12)
FRAME = re.compile(r"#(\d+) +(?:0x([0-9a-f]+) in )?(\w+)")


class Built(NamedTuple):
    """A machine, what compiles for it and what runs it."""

    compiler: str
    emulator: str
    options: str


MACHINES = {
    "mips": Built("mips-linux-gnu-gcc", "qemu-mips", "-mips32r2"),
    "mipsel": Built("mipsel-linux-gnu-gcc", "qemu-mipsel", "-mips32r2"),
    "mips16": Built("mipsel-linux-gnu-gcc", "qemu-mipsel", "-mips32r2 -mips16"),
    "mips64": Built("mips64el-linux-gnuabi64-gcc", "qemu-mips64el", ""),
    "arm": Built("arm-linux-gnueabihf-gcc", "qemu-arm", "-marm"),
    "thumb": Built("arm-linux-gnueabihf-gcc", "qemu-arm", "-mthumb"),
    "armel": Built("arm-linux-gnueabi-gcc", "qemu-arm", "-marm"),
    "aarch64": Built("aarch64-linux-gnu-gcc", "qemu-aarch64", ""),
    "powerpc": Built("powerpc-linux-gnu-gcc", "qemu-ppc", ""),
    "x86_64": Built("x86_64-linux-gnu-gcc", "qemu-x86_64", ""),
}


def build(machine: Built, style: str, folder: Path) -> Path:
    """The unstripped twin; the stripped program is `victim` beside it."""
    for tool in (machine.compiler, machine.emulator, "gdb-multiarch"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    twin = folder / "twin"
    done = subprocess.run([machine.compiler, style, *NO_TABLES.split(), *machine.options.split(),
                           "-static", "-no-pie", "-o", str(twin), str(SOURCE)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{machine.compiler} cannot build it: {done.stderr.strip().splitlines()[-1]}")
    strip = machine.compiler.removesuffix("gcc") + "strip"
    subprocess.run([strip, "-s", "-o", str(folder / "victim"), str(twin)], check=True)
    _drop_section_headers(folder / "victim")
    return twin


def _drop_section_headers(path: Path) -> None:
    data = bytearray(path.read_bytes())
    wide = data[4] == 2
    data[40 if wide else 32:48 if wide else 36] = bytes(8 if wide else 4)       # e_shoff
    data[58 if wide else 46:64 if wide else 52] = bytes(6)      # its entries' size and number
    path.write_bytes(data)


def crash(machine: Built, folder: Path, mode: int) -> Path:
    """The core of one crash."""
    subprocess.run([machine.emulator, str(folder / "victim"), str(mode)], cwd=folder,
                   preexec_fn=allow_cores, capture_output=True, timeout=60, check=False)
    cores = list(folder.glob("qemu_victim*.core"))
    if not cores:
        pytest.skip(f"{machine.emulator} wrote no core")
    return cores[0].rename(folder / f"{mode}.core")


def by_gdb(twin: Path, cores: list[Path]) -> list[list[tuple[int | None, str]]]:
    """Per core (pc, function), innermost first, up to main; None: gdb leaves out the pc where a
    line of the source begins."""
    words = ["gdb-multiarch", "-nx", "-batch", "-ex", "set auto-load off", "-ex",
             "set print inferior-events off", "-ex", f"file {twin}"]
    for core in cores:
        words += ["-ex", "echo \\nCORE\\n", "-ex", f"core-file {core}", "-ex", "echo \\nFRAMES\\n",
                  "-ex", "bt"]
    text = subprocess.run(["timeout", "60", *words], capture_output=True, text=True,
                          env={**os.environ, "HOME": "/nonexistent"}, check=False).stdout
    return [_frames(part.partition("\nFRAMES\n")[2]) for part in text.split("\nCORE\n")[1:]]


def _frames(text: str) -> list[tuple[int | None, str]]:
    found = []
    for number, pc, name in FRAME.findall(text):
        if int(number) != len(found):
            break
        found.append((int(pc, 16) if pc else None, name))
        if name == "main":
            break
    return found


def ours(core: Path, folder: Path) -> list[tuple[int, str]]:
    """(pc without the mode bit, how it was found) of the crashed thread."""
    sysroot = Sysroot(str(folder))
    with core.open("rb") as file:
        head = read_head(Stream(file.read, file.seek))
        memory = core_memory(head, file.fileno(), core.stat().st_size)
        assert memory is not None
        context = core_context(head, memory, sysroot)
        assert context is not None
        frames = backtrace(context, head.threads[0].registers, Limits()).frames
    sysroot.close()
    return [(context.machine.code_address(frame.pc), frame.how) for frame in frames]


@pytest.mark.parametrize(("machine", "style"), [
    *((machine, "-Os") for machine in MACHINES), ("mips16", "-O2"), ("thumb", "-O2"),
    ("x86_64", "-O2")])
def test_as_gdb_with_everything(machine: str, style: str, tmp_path: Path) -> None:
    twin = build(MACHINES[machine], style, tmp_path)
    cores = [crash(MACHINES[machine], tmp_path, mode) for mode in MODES]
    # gdb leaves bit 0 in return addresses of mips16 code.
    mask = 2 if machine in ("mips16", "thumb") else 1
    compared = 0
    for mode, expected in enumerate(by_gdb(twin, cores)):
        assert expected, f"gdb says nothing of {mode}"
        if expected[-1][1] != "main":
            continue                    # not even with all this
        found = ours(cores[mode], tmp_path)[:len(expected)]
        pcs = [found[at][0] if pc is None else pc & -mask for at, (pc, _) in enumerate(expected)]
        assert [pc for pc, _ in found] == pcs, (mode, expected, found)
        compared += 1
    assert compared >= len(MODES) - 2
