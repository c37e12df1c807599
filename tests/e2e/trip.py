"""One trip: a guest crashes, is warm-reset, looks, saves, clears, crashes again, looks again.

What happens in the guest, boot by boot, is in guest/run; here is what it needs before and what
it left behind.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from . import debian, image, kernel, machine

__all__ = ["BUILD", "DEFAULT", "OOPS", "Boot", "Scenario", "Trip", "busybox", "run"]

BUILD = Path(__file__).parents[2] / "build" / "e2e"
TIME_LIMIT = 400.0          # seconds for all boots together; 70 to 120 measured


class Scenario(NamedTuple):
    """What crashes, and how."""

    name: str
    metapackage: str        # Debian's name for "the current kernel of that series"
    ramoops: str            # module parameters besides the address
    first: str              # how to crash at boot 1: "sysrq" | "oom" | "oops"
    second: str             # and at boot 3; "": the trip ends at boot 2


DEFAULT = Scenario("sysrq-then-oom", "linux-image-amd64",
                   "record_size=0x10000 console_size=0x10000 pmsg_size=0x10000 ftrace_size=0",
                   "sysrq", "oom")
OOPS = Scenario("oops-on-6.12", "linux-image-6.12-amd64",
                "record_size=0x8000 console_size=0x10000 pmsg_size=0 ftrace_size=0x10000 ecc=16",
                "oops", "")


class Boot(NamedTuple):
    """What one boot left in its folder."""

    folder: Path

    def text(self, name: str) -> str:
        """What a command printed."""
        return (self.folder / f"{name}.out").read_text()

    def json(self, name: str) -> Any:
        """What a command printed, read as JSON."""
        return json.loads(self.text(name))

    def status(self, name: str) -> int:
        """A command's exit status."""
        return int((self.folder / f"{name}.status").read_text())

    def region(self, name: str) -> bytes:
        """The raw memory at the moment `name`."""
        return (self.folder / f"{name}.region").read_bytes()

    def pstore(self, name: str) -> dict[str, bytes]:
        """The files of /sys/fs/pstore at the moment `name`, as the kernel showed them."""
        return {path.name: path.read_bytes()
                for path in sorted((self.folder / f"{name}.pstore").iterdir())}


class Trip(NamedTuple):
    """A finished trip."""

    folder: Path
    boots: tuple[Boot, ...]

    def boot(self, number: int) -> Boot:
        """The boot with that number, from 1."""
        return self.boots[number - 1]


def run(scenario: Scenario, name: str, say: Callable[[str], None]) -> Trip:
    """Make the trip in build/e2e/`name`, telling `say` how far it is.

    Raises debian.Missing or machine.Stuck.
    """
    debian.need("qemu-system-x86_64", "qemu-system-x86")
    folder, cache = BUILD / name, BUILD / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    initramfs, disk = folder / "initramfs", folder / "disk.img"
    chosen = _prepared(scenario, cache, initramfs, disk, say)
    try:
        machine.boot_until_off(chosen.image, initramfs, disk, folder / "console.log", TIME_LIMIT,
                               functools.partial(_translate, say))
    finally:
        image.read_results(disk, folder / "results")
        disk.unlink()
    last = 4 if scenario.second else 2
    boots = tuple(Boot(folder / f"results/boot{number}") for number in range(1, last + 1))
    if not (boots[-1].folder / "finished").exists():
        raise machine.Stuck("the guest is off, but has not made the whole trip; its console ends:\n"
                            + machine.tail(folder / "console.log"))
    return Trip(folder, boots)


def _prepared(scenario: Scenario, cache: Path, initramfs: Path, disk: Path,
              say: Callable[[str], None]) -> kernel.Kernel:
    say("preparing a kernel and a disk")
    chosen = kernel.prepare(scenario.metapackage, cache)
    shell = busybox(cache)
    settings = {"RAMOOPS": scenario.ramoops, "FIRST": scenario.first, "SECOND": scenario.second}
    image.make_initramfs(chosen, shell, initramfs)
    image.make_disk(chosen, shell, settings, disk)
    say(f"starting QEMU with Debian's {chosen.release}")
    return chosen


def busybox(cache: Path, architecture: str = "") -> Path:
    """The program, from Debian's package of static busybox."""
    deb = debian.fetch("busybox-static", cache, architecture)
    home = cache / deb.name.removesuffix(".deb")
    if not home.is_dir():
        debian.unpack(deb, home)
    return next(home.glob("**/bin/busybox"))


def _translate(say: Callable[[str], None], line: str) -> None:
    """Pass on what a person wants to hear of the guest's console."""
    ours, theirs = line.partition("trip: ")[2], line.partition("Kernel panic - ")[2]
    if ours:
        say(ours)
    elif theirs and "end " not in line:
        say(f"kernel panic - {theirs}")
