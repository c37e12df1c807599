"""The router's hardware: a QEMU process through all warm resets, another one after a power cut."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .. import debian
from ..machine import end, follow
from .board import Board

__all__ = ["Hardware", "run"]


class Hardware(NamedTuple):
    """What the machine consists of."""

    board: Board
    kernel: Path
    initramfs: Path
    disks: tuple[Path, ...]     # the first one is not written
    console: Path               # what the serial console said
    ram: Callable[[Path], None] | None  # fills the file that is the RAM when power comes; None: 0


def run(hardware: Hardware, seconds: float, heard: Callable[[str], None]) -> None:
    """Run the machine until it is switched off; raises Stuck after `seconds`.

    The guest's line "lab: reset" presses the reset button, "lab: power" pulls the plug and puts
    it back, "lab: off" pulls it for good; heard: called with each line of the console.
    """
    hardware.console.write_bytes(b"")
    deadline = time.monotonic() + seconds
    while _powered(hardware, deadline, heard):
        pass


def _powered(hardware: Hardware, deadline: float, heard: Callable[[str], None]) -> bool:
    """From power on to power off; whether it is to come back."""
    start = hardware.console.stat().st_size
    machine = _start(hardware, deadline - time.monotonic())
    last = ""

    def obey(line: str) -> bool:
        nonlocal last
        heard(line)
        last = line
        if line == "lab: reset" and machine.stdin:
            machine.stdin.write("system_reset\n")
            machine.stdin.flush()
        return line in ("lab: power", "lab: off")

    try:
        return follow(machine, hardware.console, deadline, obey, start) and last == "lab: power"
    finally:
        end(machine)


def _start(hardware: Hardware, seconds: float) -> subprocess.Popen[str]:
    # Software emulation always: it is the same everywhere.  `timeout` ends QEMU even where this
    # process is killed.  The monitor is on stdin.
    drives = []
    for number, disk in enumerate(hardware.disks):
        protected = "" if number else ",readonly=on"
        drives += ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe{protected}"]
    board = hardware.board
    return subprocess.Popen(
        [debian.need("timeout", "coreutils"), "-k", "5", str(seconds + 5),
         debian.need(board.program, board.package), "-accel", "tcg", *board.options,
         "-m", f"{board.ram >> 20}", *_memory(hardware), "-nodefaults", "-display", "none", *drives,
         "-chardev", f"file,id=console,path={hardware.console},append=on",
         "-serial", "chardev:console", "-monitor", "stdio", "-kernel", hardware.kernel,
         "-initrd", hardware.initramfs, "-append", board.command_line],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _memory(hardware: Hardware) -> list[str]:
    """Options for a RAM that is a file, which can be filled before power comes."""
    if hardware.ram is None:
        return []
    file = hardware.console.with_name("ram")
    hardware.ram(file)
    size = hardware.board.ram
    return ["-object", f"memory-backend-file,id=ram,size={size},mem-path={file},share=on",
            "-machine", "memory-backend=ram"]
