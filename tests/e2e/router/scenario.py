"""A scenario: what happens to a router, boot by boot, and what it left behind."""

from __future__ import annotations

import functools
import gzip
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .. import debian, kernel, trip
from .. import image as disk_image
from ..machine import Stuck, tail
from . import image, machine
from .board import PC, Board

__all__ = ["Boot", "Router", "Scenario", "Step", "run"]

BUILD = trip.BUILD.with_name("router")
MAIN = {"archive": "/etc/lastlog/saved", "archive_limit": "262144", "autosave": "1",
        "panic_reboot": "1"}
REGION = {"journal_size": "0x20000", "record_size": "0x10000", "console_size": "0x10000",
          "pmsg_size": "0"}
# What Python consists of in Debian, and what it needs.
PYTHON = ("libc6", "zlib1g", "libexpat1", "libpython3.11-minimal", "python3.11-minimal",
          "libpython3.11-stdlib")


class Step(NamedTuple):
    """One boot; both parts are shell, with the words of lab.sh."""

    later: str              # when the services are done; ends the boot
    early: str = ""         # before the services start


class Scenario(NamedTuple):
    """What happens to a router."""

    name: str
    steps: tuple[Step, ...]
    main: dict[str, str] = {}       # noqa: RUF012  options besides MAIN
    region: dict[str, str] = {}     # noqa: RUF012  options besides REGION
    board: Board = PC
    flash: str = "16M"
    garbage: bool = False           # RAM is full of it when power comes
    seconds: float = 300.0          # for all boots together


class Boot(NamedTuple):
    """What was seen in one boot."""

    folder: Path

    def text(self, name: str) -> str:
        """A file's text; "" if there is none."""
        path = self.folder / name
        return path.read_text(errors="replace") if path.exists() else ""

    def json(self, name: str) -> Any:
        """What a command printed, read as JSON."""
        return json.loads(self.text(f"{name}.out"))

    @property
    def records(self) -> list[dict[str, Any]]:
        """What `lastlog list` showed, newest first."""
        found: list[dict[str, Any]] = self.json("list")["records"]
        return found

    @property
    def crashes(self) -> list[dict[str, Any]]:
        """The kernel's own among them."""
        return [each for each in self.records if each["kind"] == "kernel"]

    @property
    def reason(self) -> str:
        """Why it rebooted before, says `lastlog status`."""
        found: str = self.json("status")["last_reboot"]["reason"]
        return found

    @property
    def check(self) -> dict[str, dict[str, str]]:
        """The readiness checks of `lastlog status`, by id."""
        return {each["id"]: each for each in self.json("status")["checks"]}

    @property
    def archive(self) -> dict[str, str]:
        """What `zcat` shows of each file in the archive, by the record's id."""
        return {path.name.removesuffix(".gz"): gzip.decompress(path.read_bytes()).decode()
                for path in sorted(self.folder.glob("etc/saved/*.gz"))}

    @property
    def ledger(self) -> list[str]:
        """The lines of the boot ledger on flash."""
        return [line for line in self.text("etc/boots").splitlines() if not line.startswith("#")]

    @property
    def events(self) -> list[tuple[str, Any]]:
        """What was sent over ubus in this boot: (type, message)."""
        pairs = (line.split("\t", 1) for line in self.text("ubus.events").splitlines())
        return [(kind, json.loads(message)) for kind, message in pairs]


class Router(NamedTuple):
    """A router after its scenario."""

    folder: Path
    console: str
    boots: tuple[Boot, ...]

    def boot(self, number: int) -> Boot:
        """The boot with that number, from 1."""
        return self.boots[number - 1]

    @property
    def last(self) -> Boot:
        """The last boot."""
        return self.boots[-1]


class _Firmware(NamedTuple):
    kernel: Path
    initramfs: Path
    disk: Path


_LOCK = threading.Lock()
_MADE: dict[Board, _Firmware | debian.Missing] = {}


def _firmware(board: Board) -> _Firmware:
    """Made once a process, for the sources may have changed since; raises Missing."""
    with _LOCK:
        if board not in _MADE:
            try:
                _MADE[board] = _make_firmware(board)
            except debian.Missing as missing:
                _MADE[board] = missing
    made = _MADE[board]
    if isinstance(made, debian.Missing):
        raise made
    return made


def _make_firmware(board: Board) -> _Firmware:
    BUILD.mkdir(parents=True, exist_ok=True)
    cache = trip.BUILD / "cache" / board.architecture
    chosen = kernel.prepare(board.metapackage, cache, board.architecture)
    busybox = trip.busybox(cache, board.architecture)
    python = [debian.fetch(name, cache, board.architecture) for name in PYTHON] \
        if board.architecture else []
    start = chosen.image if board.architecture else kernel.uncompressed(chosen)
    made = _Firmware(start, BUILD / f"{board.name}.initramfs", BUILD / f"{board.name}.img")
    image.make_initramfs(chosen, busybox, made.initramfs)
    image.make_firmware(chosen, busybox, python, made.disk)
    return made


def run(scenario: Scenario, say: Callable[[str], None]) -> Router:
    """Let it happen; raises debian.Missing or Stuck."""
    debian.need(scenario.board.program, scenario.board.package)
    firmware = _firmware(scenario.board)
    folder = BUILD / scenario.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    flash, lab = folder / "flash.img", folder / "lab.img"
    image.make_flash(flash, scenario.flash)
    image.make_lab(lab, _files(scenario))
    fill = functools.partial(_garbage, scenario.board) if scenario.garbage else None
    hardware = machine.Hardware(scenario.board, firmware.kernel, firmware.initramfs,
                                (firmware.disk, flash, lab), folder / "console.log", fill)
    try:
        machine.run(hardware, scenario.seconds, say)
    finally:
        disk_image.read_results(lab, folder / "results")
        for file in (lab, flash, folder / "ram"):
            file.unlink(missing_ok=True)
    return _finished(scenario, folder)


def _finished(scenario: Scenario, folder: Path) -> Router:
    boots = tuple(Boot(folder / f"results/boot{number}")
                  for number in range(1, len(scenario.steps) + 1))
    if not (boots[-1].folder / "finished").exists():
        raise Stuck("the guest is off, but not at the end of its scenario; its console ends:\n"
                    + tail(folder / "console.log"))
    return Router(folder, (folder / "console.log").read_text(errors="replace"), boots)


def _files(scenario: Scenario) -> dict[str, str]:
    """The laboratory's files, by path."""
    place = {"address": hex(scenario.board.address), "size": hex(scenario.board.size)}
    files = {"config": _uci("lastlog 'main'", MAIN | scenario.main)
             + _uci("region 'ram'", place | REGION | scenario.region)}
    for number, step in enumerate(scenario.steps, 1):
        files[f"steps/{number}/early"] = step.early + "\n"
        files[f"steps/{number}/later"] = step.later + "\n"
    return files


def _uci(section: str, options: dict[str, str]) -> str:
    lines = (f"\toption {name} '{value}'\n" for name, value in options.items()
             if value)
    return f"config {section}\n{''.join(lines)}\n"


def _garbage(board: Board, file: Path) -> None:
    """DRAM that was just switched on holds anything."""
    with file.open("wb") as ram:
        ram.truncate(board.ram)
        ram.seek(board.address)
        ram.write(os.urandom(board.size))
