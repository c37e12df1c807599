"""A harvest that found something: whose boot it was, copies that last, sources erased.

Used by harvest.py, step by step, because the ledger has to be written between the copies and the
erasing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from . import ledger, programs, service
from .archive import Archive
from .archive_file import Entry, pack
from .boot import ThisBoot, moment
from .config import Config
from .diagnose import panic_told
from .errors import LastlogError
from .medium import journal_device
from .medium.collect import Place
from .record import Boot, Record, to_dict

__all__ = ["Haul", "crashed_boot"]

# What is moved at every harvest, and what only when the boot before did not end cleanly: the
# console of a router that was switched off properly is nothing to wear out flash for.
ALWAYS = ("kernel", "coredump")
UNCLEAN = ("console", "pmsg", "log")

# The kernel's own files hold these only once, but their zones are in use again: saved, not erased.
IN_USE = ("console", "pmsg", "ftrace")

CLOCK_SLACK = 2.0               # seconds between the clock of printk and that of /proc/uptime
LONGEST_TITLE = 200             # characters in a script's environment


def crashed_boot(record: Record, previous: ledger.BootEntry | None, here: ThisBoot) -> Boot:
    """The boot in which `record` was written, as far as it can be told.

    previous: the newest boot before this one that was counted.  A crash that came sooner after
    its boot than that one lived, or after it had ended cleanly, was of a later boot, which crashed
    before its harvest: that one has no number, and its firmware is known only by its kernel.
    """
    release = record.kernel.release if record.kernel else None
    if previous is not None and _is_of(record, previous):
        return Boot(previous.id, previous.number, previous.firmware or None,
                    release or previous.kernel or None)
    for kernel, firmware in ((here.kernel, here.firmware),
                             *([(previous.kernel, previous.firmware)] if previous else [])):
        if release and release == kernel:
            return Boot(None, None, firmware or None, release)
    return Boot(None, None, None, release)


def _is_of(record: Record, previous: ledger.BootEntry) -> bool:
    release = record.kernel.release if record.kernel else None
    if release and previous.kernel and release != previous.kernel:
        return False
    if record.uptime is None:
        return previous.end != "clean"
    if previous.uptime is not None and record.uptime + CLOCK_SLACK < previous.uptime:
        return False
    return not (_is_panic(record) and _ended_before(record, previous))


def _is_panic(record: Record) -> bool:
    return record.kernel is not None and record.kernel.reason == "panic"


def _ended_before(record: Record, previous: ledger.BootEntry) -> bool:
    """Whether the boot went on to end cleanly after what `record` tells.

    No boot survives a panic: one about the time of the mark came after it.
    """
    if previous.end != "clean" or record.uptime is None or previous.end_uptime is None:
        return previous.end == "clean"
    slack = -CLOCK_SLACK if _is_panic(record) else CLOCK_SLACK
    return record.uptime <= previous.end_uptime + slack


class Haul:
    """What one harvest found.  Call `keep`, then `erase`, then `tell`."""

    def __init__(self, config: Config, here: ThisBoot, entry: ledger.BootEntry,
                 before: Sequence[ledger.BootEntry], reason: str, mark: str) -> None:
        """entry: of this boot; its crash is filled in, and reasons that are still missing in
        `before`, the boots before it.  reason: what holds if there is no crash.  mark: of the
        dumps that are there now."""
        self.config = config
        self.problems: list[tuple[str, str, str]] = []
        self.saved: list[str] = []
        self.moved: dict[str, bytes] = {}       # into the journal: id → what stands there
        self.kept: dict[str, str] = {}          # id → why its source was not erased
        self.reason = reason
        led_to, ended = _led_to(entry, before, mark)
        self.seen = _labelled(service.survey(config), ended, here, entry.number)
        known = {name for each in before for name in each.records}
        self.crashes = [record for record in self._new() if record.id not in known]
        if not led_to.reason:
            led_to.reason = self._explained(led_to, ended, reason if led_to is entry else
                                            ledger.why(ended, None, 0))
            self.reason = led_to.reason if led_to is entry else reason
        _settle(before, self.seen.crashes())

    def _new(self) -> list[Record]:
        """The crashes that no harvest has moved yet, newest first."""
        return [record for record in self.seen.crashes() if record.kernel
                and record.id not in self.seen.of_this_boot
                and any(place.medium != "journal" for place in self.seen.places.get(record.id, ()))]

    def _explained(self, entry: ledger.BootEntry, ended: ledger.BootEntry | None,
                   reason: str) -> str:
        """Why the boot `ended` made way for that of `entry`: the newest crash that it did not
        survive, or else `reason`."""
        for record in self.crashes:
            survived = ended is not None and record.boot is not None \
                and record.boot.number == ended.number and _ended_before(record, ended)
            if not survived:
                entry.records = [record.id, *(each.id for each in self.crashes if each != record)]
                entry.signature = record.signature or ""
                return service.reboot_reason(record)
        return self._last_words(entry) if reason == "hang" else reason

    def _last_words(self, entry: ledger.BootEntry) -> str:
        """A panic may be told by the console alone, where there are no zones for dumps."""
        record = next(filter(panic_told, self.seen.captured()), None)
        if record is None:
            return "hang"
        entry.records = [record.id]
        return "panic"

    # Copies

    def keep(self) -> None:
        """Copy what was captured, the oldest first, into the archive; where that is not to be or
        cannot be, the crashes into the journal."""
        wanted = [record for record in self.seen.captured() if record.kind in self._kinds()]
        if self.config.autosave:
            self._save(wanted[::-1])
        left = [record for record in wanted if record.id not in self.saved
                and record.kind == "kernel" and not self._is_in_journal(record)]
        if left:
            self._move(left[::-1])

    def _kinds(self) -> tuple[str, ...]:
        return ALWAYS if self.reason in ("clean", "unknown", "power-loss") else ALWAYS + UNCLEAN

    def _is_in_journal(self, record: Record) -> bool:
        return any(place.medium == "journal" for place in self.seen.places[record.id])

    def _save(self, records: list[Record]) -> None:
        if not records:
            return
        try:
            result = _archive(self.config).save(records)
        except LastlogError as error:
            self.problems.append((self.config.archive, f"{error.message} {error.hint}", "error"))
            return
        self.saved = result.saved
        self.problems += [(name, f"not saved: {why}", "error") for name, why in result.skipped]

    def _move(self, records: list[Record]) -> None:
        """Into the journal, the oldest first."""
        try:
            ring = journal_device.find(self.config.site)
            if ring.what == "pmsg":
                raise LastlogError("no-region", "The next crash may overwrite what is captured.",
                                   "Save it, or give the region a journal (option journal_size).")
        except LastlogError as error:
            self.problems.append(("journal", f"{error.message} {error.hint}", "warning"))
            return
        for record in records:
            body = pack(Entry(record))
            now = moment(self.config.site)
            try:
                ring.append(record.kind, body, now, _number(record), label=record.title,
                            form="record")
            except LastlogError as error:
                self.problems.append((record.id, f"not moved into the journal: {error.message} "
                                      f"{error.hint}", "warning"))
            else:
                self.moved[record.id] = body

    # Sources

    def erase(self) -> None:
        """Erase the sources of which a copy stands."""
        archive = _archive(self.config)
        try:
            with archive.standing_still():
                self._erase([name for name in self.saved if archive.holds(name)])
        except LastlogError as error:
            self.problems.append((self.config.archive, f"{error.message} {error.hint}", "warning"))
        self._erase([record.id for record in self.seen.captured()
                     if record.id not in self.saved and self._stands_in_journal(record)],
                    keep="journal")

    def _stands_in_journal(self, record: Record) -> bool:
        if self._is_in_journal(record):
            return True
        if record.id not in self.moved:
            return False
        try:
            entries = journal_device.find(self.config.site).read().entries
        except LastlogError:
            return False
        return any(entry.body == self.moved[record.id] and not entry.torn for entry in entries)

    def _erase(self, names: list[str], keep: str = "") -> None:
        done: set[Place] = set()
        for record in self.seen.captured():
            if record.id not in names or record.kind in IN_USE \
                    or record.id in self.seen.of_this_boot:
                continue
            places = [place for place in self.seen.places[record.id] if place.medium != keep]
            why = service.shared_with(self.seen, record, names) \
                or service.erase(self.config, places, done)
            if why:
                self.kept[record.id] = why

    # Those who want to hear of it

    def tell(self) -> None:
        """A ubus event and the hotplug scripts, for each new crash, the oldest first."""
        for record in reversed(self.crashes):
            event = json.dumps(to_dict(record, text=False))
            title = "".join(filter(str.isprintable, record.title))[:LONGEST_TITLE]
            programs.run(self.config.site, ["ubus", "send", "lastlog.crash", event])
            programs.run(self.config.site, ["hotplug-call", "lastlog"],
                         {"ACTION": "crash", "RECORD": record.id, "KIND": record.kind,
                          "SIGNATURE": record.signature or "", "TITLE": title}, seconds=30)

    def reply(self) -> dict[str, Any]:
        """What the harvest's answer says of it."""
        told = {"text": self._told()} if self.crashes else {}
        return told | {"found": [record.id for record in self.crashes], "saved": self.saved,
                       "moved": list(self.moved),
                       "kept": [{"id": name, "why": why} for name, why in self.kept.items()]}

    def _told(self) -> str:
        """The crashes in one line for the system log, the newest first."""
        titles = "; before that: ".join(
            f"{record.title} ({_times(record.count)}; {self._where(record)})"
            for record in self.crashes)
        return ledger.told(self.reason, titles if self.reason in ledger.CRASHES else "") + (
            "" if self.reason in ledger.CRASHES else f" A crash that it survived: {titles}")

    def _where(self, record: Record) -> str:
        if record.id in self.saved:
            return f"saved as {record.id}"
        return f"{record.id}, " + ("kept in memory" if self._is_in_journal(record)
                                   or record.id in self.moved else "not saved")


def _led_to(entry: ledger.BootEntry, before: Sequence[ledger.BootEntry],
            mark: str) -> tuple[ledger.BootEntry, ledger.BootEntry | None]:
    """The boot that the crashes in memory led to, and the one before it, in which they happened.

    That is this boot, `entry`; but if the boot before found the very same dumps and its harvest
    was cut off, they led to that one.
    """
    if before and mark and not before[-1].reason and before[-1].waiting == mark:
        return before[-1], before[-2] if len(before) > 1 else None
    return entry, before[-1] if before else None


def _archive(config: Config) -> Archive:
    return Archive(config.archive, config.archive_limit)


def _times(count: int) -> str:
    return "for the first time" if count == 1 else f"{count} times by now"


def _number(record: Record) -> int:
    return record.boot.number or 0 if record.boot else 0


def _labelled(seen: service.Survey, ended: ledger.BootEntry | None, here: ThisBoot,
              number: int) -> service.Survey:
    """The survey, its captured records with the boot that each was written in.

    ended: the newest one in which a crash can have happened; number: of this boot."""
    heads = {record.id: record for record in seen.records}
    now = Boot(here.id or None, number, here.firmware or None, here.kernel or None)

    def labelled(record: Record) -> Record:
        if record.id not in seen.places or record.boot is not None:
            return record
        if record.id in seen.of_this_boot:
            return record._replace(boot=now)
        head = heads.get(record.crash or record.id, record)
        return record._replace(boot=crashed_boot(head, ended, here))

    return seen._replace(records=[labelled(record) for record in seen.records])


def _settle(before: Sequence[ledger.BootEntry], crashes: Sequence[Record]) -> None:
    """Find the reasons of reboots whose harvest was cut off: by the crashes that it had saved."""
    for at, entry in enumerate(before):
        if entry.reason:
            continue
        ended = before[at - 1] if at else None
        record = next((each for each in crashes if ended and each.kernel and each.boot
                       and each.boot.id == ended.id), None)
        entry.reason = service.reboot_reason(record) if record else ledger.why(ended, None, 0)
        if record:
            entry.records, entry.signature = [record.id], record.signature or ""
