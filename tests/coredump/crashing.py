"""The handler run as the kernel runs it: on a core from a test, or by the kernel itself."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lastlog_py.config import Config, load
from lastlog_py.coredump import reading
from lastlog_py.medium import journal_device
from lastlog_py.medium.journal import Entry
from lastlog_py.setup import CORE_PIPE_LIMIT

__all__ = ["ARGUMENTS", "ROOT", "VICTIMS", "Router", "compiled", "core_pattern", "folder",
           "handed_over", "obstacle"]

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / "files/usr/libexec/lastlog/coredump"
VICTIMS = Path(__file__).with_name("victims.c")
SETTINGS = {"/proc/sys/kernel/core_pipe_limit": str(CORE_PIPE_LIMIT),
            "/proc/sys/fs/suid_dumpable": "2"}
PATTERN = "/proc/sys/kernel/core_pattern"
ARGUMENTS = "%P %I %u %g %d %s %t %E"
JOURNAL = 0x20000


class Router:
    """A router with the handler on it, below a folder with a short name.

    real: it has this machine's /proc.
    """

    def __init__(self, folder: Path, real: bool = False) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.conf = folder / "conf"
        self.entry = folder / "coredump"
        self.region = folder / "region"
        self.root.mkdir()
        if real:
            (self.root / "proc").symlink_to("/proc")
        self.region.write_bytes(bytes(1 << 18))
        self.configure()
        self.install()

    def configure(self, region: bool = True, main: dict[str, object] | None = None,
                  ignore: list[str] | None = None, **coredump: object) -> None:
        """The UCI file; region: there is a journal."""
        lines = ["config lastlog 'main'", f"\toption root '{self.root}'",
                 f"\toption archive '{self.folder}/saved'",
                 *(f"\toption {name} '{value}'" for name, value in (main or {}).items())]
        if region:
            lines += ["config region 'ram'", f"\toption file '{self.region}'",
                      f"\toption journal_size '{JOURNAL}'"]
        lines += ["config coredump 'coredump'",
                  *(f"\toption {name} '{value}'" for name, value in coredump.items()),
                  *(f"\tlist ignore '{path}'" for path in ignore or [])]
        self.conf.write_text("\n".join(lines) + "\n")

    def install(self, *changes: str) -> None:
        """The installed script, run by this Python on the clone; changes: lines of Python that
        come first, for what cannot be made to happen otherwise."""
        text = INSTALLED.read_text().replace("/usr/bin/python3", os.path.realpath(sys.executable))
        text = text.replace('sys.path.append("/usr/lib/lastlog")', "\n".join(
            [f'sys.path.append("{ROOT}")', "from lastlog_py.coredump import handler, outlet",
             *changes]) if changes else f'sys.path.append("{ROOT}")')
        self.entry.write_text(text)
        self.entry.chmod(0o755)

    def config(self) -> Config:
        return load(str(self.conf))

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> Path:
        """A file on the router."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)
        return file

    def script(self, path: str, text: str) -> None:
        self.write(path, f"#!/bin/sh\n{text}\n", 0o755)

    def process(self, pid: int | str, **files: str | bytes) -> Path:
        """A process in the made-up /proc; exe, root and ns_… are links."""
        folder = self.root / f"proc/{pid}"
        (folder / "ns").mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            if name in ("exe", "root") or name.startswith("ns_"):
                os.symlink(content, folder / name.replace("_", "/"))
            else:
                self.write(f"/proc/{pid}/{name}", content)
        return folder

    def handle(self, core: bytes | None, *arguments: object, wait: float = 20
               ) -> subprocess.CompletedProcess[bytes]:
        """Run the handler; core: None leaves it a stdin that never ends."""
        words = [str(self.entry), "--config", str(self.conf), *map(str, arguments)]
        if core is not None:
            return subprocess.run(words, input=core, capture_output=True, timeout=wait, env={},
                                  cwd="/")
        never, held = os.pipe()
        try:
            return subprocess.run(words, stdin=never, capture_output=True, timeout=wait, env={})
        finally:
            os.close(never)
            os.close(held)

    def entries(self) -> list[Entry]:
        return journal_device.find(self.config().site).read().entries

    def texts(self) -> list[str]:
        """The records, oldest first."""
        return [entry.body.decode() for entry in self.entries()]

    def text(self) -> str:
        """The only record."""
        only, = self.texts()
        return only

    def dump(self) -> dict[str, Any]:
        """The only record, read."""
        found = reading.read(self.text())
        assert found is not None
        return found

    def dumps(self, name: str, count: int = 1, seconds: float = 20) -> list[dict[str, Any]]:
        """Wait for `count` records of crashes of programs of that name; others crash too."""
        until = time.monotonic() + seconds
        while True:
            found = [dump for dump in map(reading.read, self.texts()) if dump is not None
                     and name in dump["executable"]]
            if len(found) >= count or time.monotonic() > until:
                assert len(found) >= count, self.texts()
                return found
            time.sleep(0.02)


def obstacle() -> str | None:
    """Why the kernel cannot be asked here; None: it can."""
    if os.geteuid():
        return "only root may set kernel.core_pattern"
    if not os.access(PATTERN, os.W_OK) or not os.path.exists("/proc/sys/kernel/core_pipe_limit"):
        return "kernel.core_pattern cannot be set here"
    if os.readlink("/proc/self/ns/mnt") != "mnt:[4026531832]" and _is_contained():
        return "the kernel would look for the handler outside of this container"
    return None


def _is_contained() -> bool:
    return os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")


@contextmanager
def handed_over(router: Router) -> Iterator[None]:
    """Within it the kernel hands the crashes of all programs of this machine to the handler."""
    with core_pattern(f"|{router.entry} --config {router.conf} {ARGUMENTS}"):
        yield


@contextmanager
def core_pattern(pattern: str) -> Iterator[None]:
    """Within it the kernel hands all crashes to what `pattern` names.

    One at a time; whatever happens, everything is as it was afterwards.
    """
    assert len(pattern) < 128, pattern
    with VICTIMS.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = {path: Path(path).read_text() for path in (PATTERN, *SETTINGS)}
        try:
            for path, value in {**SETTINGS, PATTERN: pattern}.items():
                Path(path).write_text(value)
            yield
        finally:
            for path, value in before.items():
                Path(path).write_text(value)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short name that everybody can look into: core_pattern has 127 bytes."""
    path = Path(tempfile.mkdtemp(prefix="ll", dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)     # who is told of a crash may write still


def compiled(target: Path, source: Path = VICTIMS, compiler: str = "gcc", *options: str) -> Path:
    """The program in `source`; its functions are exported, so that they have names."""
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    subprocess.run([compiler, "-O1", "-fno-optimize-sibling-calls", "-rdynamic", "-pthread",
                    *options, "-o", target, source], check=True, capture_output=True, timeout=60)
    return target
