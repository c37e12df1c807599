"""Makes samples: crash each in a machine of its own, then let one boot read a whole group.

A region is a slot of the hole in the guest's RAM (for pstore_blk: a disk).  The RAM is a file, and
QEMU ends where the machine would reset, so that between crash and reading the host has the memory
in its hands: it keeps it, damages it, and puts many of them into the RAM of the one boot that reads
them.  What that kernel shows is the truth, also about damage.
"""

from __future__ import annotations

import fnmatch
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from .. import debian, image, machine, trip
from . import writing
from .busybox import busybox
from .cases import ALL, Case
from .kernels import ALL as KERNELS
from .kernels import HOLE, Board, Built, build

__all__ = ["make", "matching"]

HERE = Path(__file__).parent
BUILD = trip.BUILD.with_name("samples")
RAM = 256 << 20
OUTPUT = 32 << 20           # of the disk that the guest's results go to, sparse
SLOT = 1 << 20              # distance of the regions in the hole
TIME_LIMIT = 240.0          # seconds for one boot


class Guest(NamedTuple):
    """What one boot needs."""

    folder: Path
    board: Board
    kernel: Built
    append: str                 # to the command line
    processors: int
    disks: tuple[Path, ...]     # behind the one for the results


def matching(patterns: Iterable[str]) -> list[Case]:
    """The cases with these names, in the table's order; raises ValueError."""
    chosen = {case.name for pattern in patterns
              for case in _matching(pattern)}
    return [case for case in ALL.values() if case.name in chosen]


def _matching(pattern: str) -> list[Case]:
    found = [case for name, case in ALL.items() if fnmatch.fnmatch(name, pattern)]
    if not found:
        raise ValueError(f"no sample is named {pattern}")
    return found


def make(cases: list[Case], say: Callable[[str], None], again: bool = False) -> None:
    """Make these samples, crashing anew only where no crash is kept in build/samples.

    Raises debian.Missing, and machine.Stuck when all others are made.
    """
    failed = {}
    for name in dict.fromkeys(case.of or case.name for case in cases):
        try:
            _crash(ALL[name], say, again)
        except machine.Stuck as stuck:
            say(f"{name} failed")
            failed[name] = stuck
    cases = [case for case in cases if (case.of or case.name) not in failed]
    groups: dict[tuple[str, str, int, str], list[Case]] = {}
    for case in cases:
        key = case.kernel, case.append, case.processors, case.medium
        groups.setdefault(key, []).append(case)
    for group in groups.values():
        for start in range(0, len(group), HOLE // SLOT):
            _read(group[start:start + HOLE // SLOT], say)
    for name, stuck in failed.items():
        raise machine.Stuck(f"{', '.join(failed)} failed; {name}: {stuck}")


def _crash(case: Case, say: Callable[[str], None], again: bool) -> None:
    """Let the case's crashes happen, and keep the region."""
    folder = BUILD / case.name
    region = folder / "crashed.bin"
    if region.exists() and not again:
        return
    guest = _guest(case, folder, (folder / "region.bin",))
    ram = _fresh(folder / "ram", RAM)
    content = case.before * (case.size // len(case.before) + 1)
    _put(guest, case, ram, content[:case.size])
    log = b""
    for step in case.steps:
        say(f"{case.name}: {case.provoked}")
        log += _boot(guest, ram, f"{_load(case)}\n{case.setup}\n{step}\n").get("log", b"")
    region.write_bytes(_taken(guest, case, ram))
    (folder / "log").write_bytes(log)
    ram.unlink()


def _read(group: list[Case], say: Callable[[str], None]) -> None:
    """Let one boot read the group's regions, and write the samples."""
    folder = BUILD / f"reading-{group[0].name}"
    folder.mkdir(parents=True, exist_ok=True)
    disks = tuple(folder / f"{case.name}.bin" for case in group if case.medium == "pstore_blk")
    guest = _guest(group[0], folder, disks)
    ram = _fresh(folder / "ram", RAM)
    regions, steps = {}, []
    for slot, case in enumerate(group):
        crashed = (BUILD / (case.of or case.name) / "crashed.bin").read_bytes()
        regions[case.name] = case.damage(crashed)
        _put(guest, case, ram, regions[case.name], slot)
        steps.append(_read_step(case, slot, disks))
    say(f"reading {', '.join(case.name for case in group)}")
    output = _boot(guest, ram, "\n".join(steps))
    if "version" not in output:
        raise machine.Stuck("the guest left nothing; its console ends:\n"
                            + machine.tail(folder / "console.log"))
    for case in group:
        log = (BUILD / (case.of or case.name) / "log").read_bytes()
        writing.write(case, guest.board, regions[case.name], output, log)
    ram.unlink()


def _guest(case: Case, folder: Path, disks: tuple[Path, ...]) -> Guest:
    folder.mkdir(parents=True, exist_ok=True)
    board = KERNELS[case.kernel].board
    return Guest(folder, board, build(case.kernel, trip.BUILD / "cache"), case.append,
                 case.processors, disks if case.medium == "pstore_blk" else ())


def _load(case: Case, slot: int = 0, disk: str = "/dev/vdb") -> str:
    """The guest's command that loads the driver."""
    address = hex(KERNELS[case.kernel].board.hole + slot * SLOT)
    if case.medium == "ramoops":
        return f"ramoops {address} {case.size} {case.parameters}"
    if case.medium == "mtdoops":
        return f"mtdoops {address} {case.size} {case.parameters}"
    return f"pstore_blk {disk} {case.parameters}"


def _read_step(case: Case, slot: int, disks: tuple[Path, ...]) -> str:
    if case.medium == "mtdoops":
        return ""                       # no kernel reads these
    disk = "/dev/vd" + "bcdefghijklmnopq"[
        [path.stem for path in disks].index(case.name)] if disks else ""
    return f"{_load(case, slot, disk)}\nkeep {case.name}\nunload {case.medium}"


def _put(guest: Guest, case: Case, ram: Path, region: bytes, slot: int = 0) -> None:
    if case.medium == "pstore_blk":
        next(disk for disk in guest.disks if disk.stem in (case.name, "region")
             ).write_bytes(region)
    else:
        with ram.open("r+b") as file:
            file.seek(guest.board.hole - guest.board.ram_base + slot * SLOT)
            file.write(region)


def _taken(guest: Guest, case: Case, ram: Path) -> bytes:
    if case.medium == "pstore_blk":
        return guest.disks[0].read_bytes()
    with ram.open("rb") as file:
        file.seek(guest.board.hole - guest.board.ram_base)
        return file.read(case.size)


def _fresh(path: Path, size: int) -> Path:
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def _boot(guest: Guest, ram: Path, step: str) -> dict[str, bytes]:
    """Boot until the machine resets itself; the files that the guest handed over."""
    output, console = _fresh(guest.folder / "output", OUTPUT), guest.folder / "console.log"
    initramfs = guest.folder / "initramfs"
    initramfs.write_bytes(_initramfs(guest, step))
    console.write_bytes(b"")
    process = _start(guest, ram, output, initramfs, console)

    def obey(line: str) -> bool:
        asked = line.partition("sample: monitor ")[2]
        if asked and process.stdin:
            process.stdin.write(f"{asked}\n")
            process.stdin.flush()
        # Without a driver for the board's reset; the RAM outlives QEMU in any case.
        return line.endswith("Reboot failed -- System halted")

    try:
        machine.follow(process, console, time.monotonic() + TIME_LIMIT, obey)
    finally:
        machine.end(process)
    files = _handed_over(output)
    output.unlink()
    return files


def _start(guest: Guest, ram: Path, output: Path, initramfs: Path,
           console: Path) -> subprocess.Popen[str]:
    drives = [word for path in (output, *guest.disks)
              for word in ("-drive", f"file={path},if=virtio,format=raw,cache=unsafe")]
    board = guest.board
    return subprocess.Popen(
        ["nice", "-n", "5", debian.need("timeout", "coreutils"), "-k", "5", str(TIME_LIMIT + 5),
         debian.need(board.program, board.package), "-accel", "tcg", *board.options,
         "-m", f"{RAM >> 20}", "-smp", str(guest.processors), "-no-reboot",
         "-object", f"memory-backend-file,id=ram,size={RAM},mem-path={ram},share=on",
         "-machine", "memory-backend=ram", "-nodefaults", "-display", "none", *drives,
         "-serial", f"file:{console}", "-monitor", "stdio", "-kernel", guest.kernel.image,
         "-initrd", initramfs, "-append", f"{board.command_line} {guest.append}"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _initramfs(guest: Guest, step: str) -> bytes:
    entries: dict[str, bytes | None] = dict.fromkeys(
        ("bin", "dev", "proc", "sys", "modules", "tmp"))
    entries["bin/busybox"] = busybox(guest.board, trip.BUILD / "cache").read_bytes()
    entries["init"] = (HERE / "guest/init").read_bytes()
    entries["step"] = step.encode()
    entries |= {f"modules/{path.name}": path.read_bytes() for path in guest.kernel.modules}
    return image.cpio(entries)


def _handed_over(output: Path) -> dict[str, bytes]:
    """Name -> content; empty if the guest crashed before it handed over anything."""
    try:
        with tarfile.open(output) as archive:
            return {each.name.removeprefix("./"): archive.extractfile(each).read()  # type: ignore[union-attr]
                    for each in archive if each.isfile()}
    except tarfile.ReadError:
        return {}
