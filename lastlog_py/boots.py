"""The boots as flash and memory know them: the ledger's file, and the journal's records of boots.

On the hot path: imports os only.
"""

from __future__ import annotations

from . import boot, ledger
from .config import Config
from .errors import LastlogError
from .medium import glance, journal, journal_device
from .medium.device import read_small
from .site import Site

__all__ = ["Memory", "Problem", "known"]

Problem = tuple[str, str, str]  # where, what, severity


KEPT = 16                       # boots that the journal keeps; more are on flash

# What a harvest saves from the journal as soon as there is an archive.
CRASHES = ("kernel", "coredump")


class Memory:
    """The journal, and what it holds of the boots before."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.problem: Problem | None = None
        self.ring: journal_device.Journal | None = None
        self.entries: list[journal.Entry] = []
        try:
            ring = journal_device.find(site)
            self.entries = [*ring.read().entries, *journal_device.left_behind(site).entries]
            self.ring = ring
        except LastlogError as error:
            if error.code != "no-region":
                self._complain(error)
        self.numbers = {entry.boot for entry in self.entries}
        self.boots = _boots(self.entries)

    def _complain(self, error: LastlogError) -> None:
        self.problem = ("journal", f"{error.message} {error.hint}", "error")

    def holds_crashes(self) -> bool:
        """Whether a crash is in it, which then is not saved yet."""
        return any(entry.kind in CRASHES for entry in self.entries)

    def append(self, entry: ledger.BootEntry, now: boot.Moment) -> None:
        """Note a boot, in the place of the oldest; what goes wrong becomes a problem."""
        if self.ring is None:
            return
        try:
            self.ring.append("boot", ledger.to_line(entry).encode(), now, entry.number,
                             label=entry.end or "boot")
            noted = [each for each in self.entries if each.kind == "boot"]
            for old in noted[:-KEPT] if self.ring.what == "region" else ():
                self.ring.erase(old)
        except LastlogError as error:
            self._complain(error)

    def survived(self, previous: ledger.BootEntry | None) -> bool | None:
        """Whether what was written in the boot `previous` is still there; None: nothing tells."""
        if previous is None or not previous.memory:
            return None
        if previous.memory == "journal":
            known = {each.id for each in self.boots}
            held = previous.id in known or previous.number in self.numbers
            return held if self.ring or held else None
        if not _is_mounted(self.site):
            return None
        return any(name.startswith(f"{previous.memory}-")
                   for name in glance.pstore_names(self.site))

    def kind(self) -> str:
        """What can tell the next boot that memory survived: see ledger.BootEntry.memory."""
        if self.ring is not None and self.problem is None:
            return "pmsg" if self.ring.what == "pmsg" else "journal"
        return "console" if _console_is_kept(self.site) else ""


def _boots(entries: list[journal.Entry]) -> list[ledger.BootEntry]:
    lines = (ledger.parse(entry.body.decode("utf-8", "replace")) for entry in entries
             if entry.kind == "boot" and not entry.torn)
    return ledger.merged([line for line in lines if line], [])


def _console_is_kept(site: Site) -> bool:
    """Whether what the console says goes into a zone: kernel/printk's list of consoles tells, for
    there are zones without a front-end too (fs/pstore/platform.c: pstore_register_console)."""
    consoles = read_small(site.system("/proc/consoles")).splitlines()
    return any(line.startswith(("ramoops", "pstore")) for line in consoles)


def _is_mounted(site: Site) -> bool:
    return " pstore " in read_small(site.system("/proc/mounts"))


def known(config: Config, memory: Memory) -> list[ledger.BootEntry]:
    """All boots that are known, oldest first."""
    return ledger.merged(ledger.load(config.ledger), memory.boots)
