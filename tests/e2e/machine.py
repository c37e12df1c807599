"""A QEMU process: started, watched by its serial console, ended in every case."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from . import debian

__all__ = ["Stuck", "boot_until_off", "end", "follow"]

# Persistent memory: cut out of RAM by memmap=, far from where QEMU and the kernel put things.
COMMAND_LINE = "console=ttyS0 quiet panic=1 memmap=1M$0x7000000"


class Stuck(Exception):
    """The guest did not switch itself off; the message holds the end of its console."""


def boot_until_off(image: Path, initramfs: Path, disk: Path, console: Path, seconds: float,
                   heard: Callable[[str], None]) -> None:
    """Run a machine, through all its warm resets, until it is off; raises Stuck after `seconds`.

    console: the file its serial console goes to; heard: called with each line of it.
    """
    # One process for all boots: a warm reset keeps the machine's memory, a new process has none.
    # Software emulation always: it is the same everywhere.  `timeout` ends QEMU even where this
    # process is killed.  1 GiB, of which little is used: where a kernel is unpacked over the code
    # of the last boot, emulation crawls, and in a big memory it seldom lands there.
    console.unlink(missing_ok=True)
    console.touch()
    machine = subprocess.Popen(
        [debian.need("timeout", "coreutils"), "-k", "5", str(seconds + 5),
         debian.need("qemu-system-x86_64", "qemu-system-x86"),
         "-accel", "tcg", "-cpu", "qemu64", "-m", "1024", "-nodefaults", "-display", "none",
         "-drive", f"file={disk},if=virtio,format=raw,cache=unsafe",
         "-serial", f"file:{console}", "-kernel", image, "-initrd", initramfs,
         "-append", COMMAND_LINE],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        follow(machine, console, time.monotonic() + seconds, heard)
    finally:
        end(machine)


def follow(machine: subprocess.Popen[str], console: Path, deadline: float,
           heard: Callable[[str], bool | None], start: int = 0) -> bool:
    """Give `heard` each line of the console from the byte `start` until the machine is off or
    `heard` returns true, which is returned; raises Stuck when time.monotonic() is past `deadline`,
    or if QEMU fails."""
    with console.open(errors="replace", newline="") as lines:
        lines.seek(start)
        pending = ""
        while True:
            off = machine.poll() is not None
            *complete, pending = (pending + lines.read()).split("\n")
            for line in complete:
                if heard(line.rstrip("\r")):
                    return True
            if off:
                break
            if time.monotonic() > deadline:
                raise Stuck(f"the guest did not finish in time; its console ends:\n{tail(console)}")
            time.sleep(0.1)
    if machine.returncode:
        complaint = machine.stderr.read() if machine.stderr else ""
        raise Stuck(f"QEMU ended with status {machine.returncode}: {complaint}{tail(console)}")
    return False


def tail(console: Path, lines: int = 40) -> str:
    """The last lines of a console log."""
    return "\n".join(console.read_text(errors="replace").splitlines()[-lines:])


def end(machine: subprocess.Popen[str]) -> None:
    """End QEMU, if it has not ended."""
    if machine.poll() is None:
        machine.terminate()
        try:
            machine.wait(10)
        except subprocess.TimeoutExpired:
            machine.kill()
            machine.wait()
    for pipe in (machine.stdin, machine.stderr):
        if pipe:
            pipe.close()
