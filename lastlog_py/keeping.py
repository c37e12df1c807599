"""A harvest that found something: whose boot it was, copies that last, sources erased.

Used by harvest.py, step by step, because the ledger has to be written between the copies and the
erasing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from . import attribution, events, ledger, service
from .archive import Archive
from .archive_file import Entry, pack
from .boot import Moment
from .config import Config
from .errors import LastlogError
from .ledger import BootEntry
from .medium import journal_device
from .medium.collect import Place
from .record import Record

__all__ = ["Haul"]

# What is moved at every harvest, and what only when the boot before did not end cleanly: the
# console of a router that was switched off properly is nothing to wear out flash for.
ALWAYS = ("kernel", "coredump")
UNCLEAN = ("console", "pmsg", "log")
MOST_WORDS = 16                 # records of the second kind that one harvest saves, the newest

# Zones that are in use again when a harvest sees what the last boot left in them: not erased.
IN_USE = ("console", "pmsg", "ftrace")

# Media that hold what the kernel wrote, while it is running and in boots before.
ZONES = ("ramoops", "mtdoops", "pstore_zone")


class Haul:
    """What one harvest found.  Call `explain`, `keep`, `erase`, `tell`, in this order."""

    def __init__(self, config: Config, now: Moment, entry: BootEntry,
                 before: Sequence[BootEntry], mark: str) -> None:
        """entry: of this boot; before: the boots before it.  mark: of the dumps that are there."""
        self.config, self.now, self.entry, self.before = config, now, entry, before
        self.problems: list[tuple[str, str, str]] = []
        self.saved: list[str] = []
        self.moved: dict[str, bytes] = {}       # into the journal: id → what stands there
        self.kept: dict[str, str] = {}          # id → why its source was not erased
        self.led_to, self.ended = _led_to(entry, before, mark)
        seen = service.survey(config)
        self.own = self._own(seen)
        self.seen = self._labelled(seen)
        known = {name for each in (*before, entry) for name in (*each.records, *each.survived)}
        self.crashes = [record for record in self.seen.crashes() if record.kernel
                        and record.id not in known and not self._is_lasting(record)
                        and self._places(record, but="journal")]    # newest first

    # Whose

    def _own(self, seen: service.Survey) -> set[str]:
        """The ids of what this boot wrote and survived.

        Once a harvest has emptied the zones, what is in them is of this boot, unless the kernel
        hands it out as of another, or its uptime says so.
        """
        begun = self.entry.uptime or 0.0
        fresh = {record.id for record in seen.captured() if self.entry.reason
                 and record.kind == "kernel" and record.boot is None
                 and all(place.medium in ZONES for place in seen.places[record.id])
                 and begun <= (record.uptime or 0.0) <= self.now.uptime}
        return seen.of_this_boot | fresh

    def _labelled(self, seen: service.Survey) -> service.Survey:
        """The survey, its captured records with the boot that each was written in."""
        captured = seen.captured()
        foreign = attribution.labelled([each for each in captured if each.id not in self.own],
                                       self.ended, self.led_to)
        own = [each._replace(boot=each.boot or attribution.boot_of(self.entry))
               for each in captured if each.id in self.own]
        by_id = {record.id: record for record in (*foreign, *own)}
        return seen._replace(records=[by_id.get(each.id, each) for each in seen.records])

    # Why

    def _is_lasting(self, record: Record) -> bool:
        """Whether it is saved already and stands where it cannot be erased: no boot finds it first
        for finding it there again."""
        return record.state == "both" and all(place.fixed for place in
                                              self.seen.places.get(record.id, ()))

    def explain(self, reason: str) -> bool:
        """Note in the ledger's entries what was found, and the reasons that are still open.

        reason: of this boot, if there is no crash.  Returns whether anything was noted.
        """
        self._note_ids()
        is_open = not self.led_to.reason
        if is_open:
            told = reason if self.led_to is self.entry else ledger.why(self.ended, None, 0)
            self.led_to.reason = self._caused(told)
        self._settle()
        if not self.entry.reason:
            self.entry.reason = reason
            is_open = True
        return is_open or bool(self.crashes)

    def _note_ids(self) -> None:
        found = [record.id for record in self.crashes]
        self.entry.survived += [name for name in found if name in self.own]
        self.led_to.records += [name for name in found if name not in self.own]

    def _caused(self, reason: str) -> str:
        """Why the boot `led_to` began: the newest crash that the one before did not survive."""
        for record in self.crashes:
            # What was recovered may be older: somebody removed its file, which leaves the bytes.
            older = reason == "clean" and record.source.recovered
            if record.id not in self.own and not older and not self._was_survived(record):
                return _blame(self.led_to, record)
        if reason != "clean" and self._went_down_properly():
            return "clean"
        return self._last_words() if reason == "hang" else reason

    def _was_survived(self, record: Record) -> bool:
        return self.ended is not None and record.boot is not None \
            and record.boot.id == self.ended.id and attribution.ended_before(record, self.ended)

    def _went_down_properly(self) -> bool:
        """Whether the kernel itself dumped its log on a restart: some do (kmsg_dump's
        max_reason)."""
        return any(record.kernel.reason == "shutdown" for record in self.seen.captured()
                   if record.kernel and record.id not in self.own)

    def _last_words(self) -> str:
        """A panic may be told by the console alone, where there are no zones for dumps."""
        from .diagnose import panic_told  # only here: most harvests have no need of it

        record = next(filter(panic_told, self.seen.captured()), None)
        if record is None:
            return "hang"
        self.led_to.cause = record.id
        return "panic"

    def _settle(self) -> None:
        """Find the reasons of reboots whose harvest was cut off: by the crashes it had saved."""
        for ended, entry in itertools.pairwise([*self.before, self.entry]):
            if not entry.reason:
                _settle(entry, ended, self.seen.crashes())

    # Copies

    def keep(self) -> None:
        """Copy what was captured, the oldest first, into the archive; where that is not to be or
        cannot be, the crashes into the journal."""
        captured = self.seen.captured()
        crashes = [record for record in captured if record.kind in ALWAYS]
        if self.config.autosave:
            self._save(crashes)
            self._save(self._words(captured)[:MOST_WORDS])
        self._move([record for record in crashes if record.kind == "kernel"
                    and record.id not in self.saved and not self._places(record, "journal")])

    def _words(self, captured: Iterable[Record]) -> list[Record]:
        """What else was said before a boot that did not end cleanly; not what this one says."""
        if self.entry.reason in ("clean", "unknown", "power-loss"):
            return []
        return [record for record in captured if record.kind in UNCLEAN
                and not (record.boot and record.boot.number == self.entry.number)]

    def _save(self, records: Sequence[Record]) -> None:
        if not records:
            return
        try:
            result = _archive(self.config).save(records[::-1])
        except LastlogError as error:
            self._complain(self.config.archive, error, "error")
            return
        self.saved += result.saved
        self.problems += [(name, f"not saved: {why}", "error") for name, why in result.skipped]

    def _move(self, records: Sequence[Record]) -> None:
        """Into the journal, from which nothing goes for it that is in no other place."""
        if not records:
            return
        try:
            ring = journal_device.find(self.config.site)
            if ring.what == "pmsg":
                raise LastlogError("no-region", "The next crash may overwrite what is captured.",
                                   "Save it, or give the region a journal (option journal_size).")
        except LastlogError as error:
            self._complain("journal", error)
            return
        for record in reversed(records):
            body = pack(Entry(record))
            number = record.boot.number or 0 if record.boot else 0
            try:
                ring.append(record.kind, body, self.now, number, label=record.title,
                            form="record", spare_crashes=True)
                self.moved[record.id] = body
            except LastlogError as error:
                self._complain(record.id, error)

    def _complain(self, where: str, error: LastlogError, severity: str = "warning") -> None:
        self.problems.append((where, f"{error.message} {error.hint}", severity))

    # Sources

    def erase(self) -> None:
        """Erase the sources of which a copy stands."""
        archive = _archive(self.config)
        try:
            with archive.standing_still():
                self._erase([name for name in self.saved if archive.holds(name)])
        except LastlogError as error:
            self._complain(self.config.archive, error)
        standing = self._standing()
        self._erase([record.id for record in self.seen.captured()
                     if record.id not in self.saved and record.id in standing], keep="journal")

    def _standing(self) -> set[str]:
        """The ids of the records that stand in the journal, whole."""
        if not self.moved and not any(place.medium == "journal" for places in
                                      self.seen.places.values() for place in places):
            return set()
        try:
            entries = journal_device.find(self.config.site).read().entries
        except LastlogError:
            return set()
        bodies = {entry.body for entry in entries if not entry.torn}
        offsets = {entry.checksum for entry in entries if not entry.torn}
        return {name for name, body in self.moved.items() if body in bodies} | {
            name for name, places in self.seen.places.items()
            if any(place.medium == "journal" and place.checksum in offsets for place in places)}

    def _erase(self, names: list[str], keep: str = "") -> None:
        done: set[Place] = set()
        for record in self.seen.captured():
            places = [place for place in self._places(record, but=keep) if not place.fixed]
            if record.id not in names or record.id in self.own or not places \
                    or any(_is_in_use(record, place) for place in places):
                continue
            why = service.shared_with(self.seen, record, names) \
                or service.erase(self.config, places, done)
            if why:
                self.kept[record.id] = why

    def _places(self, record: Record, only: str = "", but: str = "") -> list[Place]:
        """Where `record` is, in one medium only, or in all but one."""
        return [place for place in self.seen.places.get(record.id, ())
                if only in ("", place.medium) and place.medium != but]

    # Those who want to hear of it

    def tell(self) -> None:
        """A ubus event and the hotplug scripts, for each new crash, the oldest first."""
        for record in reversed(self.crashes):
            events.tell(self.config.site, record)

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
        cause = self.entry.cause in {record.id for record in self.crashes}
        return ledger.told(self.entry.reason, titles if cause else "", not self.before) + (
            "" if cause else f" A crash that it survived: {titles}")

    def _where(self, record: Record) -> str:
        if record.id in self.saved:
            return f"saved as {record.id}"
        kept = self._places(record, "journal") or record.id in self.moved
        return f"{record.id}, " + ("kept in memory" if kept else "not saved")


def _led_to(entry: BootEntry, before: Sequence[BootEntry],
            mark: str) -> tuple[BootEntry, BootEntry | None]:
    """The boot that the crashes in memory led to, and the one before it, in which they happened.

    That is this boot, `entry`; but if the boot before found the very same dumps and its harvest
    was cut off, they led to that one.
    """
    if before and mark and not before[-1].reason and before[-1].waiting == mark:
        return before[-1], before[-2] if len(before) > 1 else None
    return entry, before[-1] if before else None


def _blame(entry: BootEntry, record: Record) -> str:
    """Note `record` as the reason of `entry`, and return that."""
    entry.cause, entry.signature = record.id, record.signature or ""
    return service.reboot_reason(record)


def _settle(entry: BootEntry, ended: BootEntry, crashes: Iterable[Record]) -> None:
    """Give `entry` the crash that ended the boot `ended`, if one is known."""
    for record in crashes:
        if record.kernel and record.boot and record.boot.id == ended.id \
                and not attribution.ended_before(record, ended) \
                and record.id not in ended.survived:
            entry.reason = _blame(entry, record)
            return


def _is_in_use(record: Record, place: Place) -> bool:
    return record.kind in IN_USE or bool(place.zone and place.zone[0] in IN_USE)


def _archive(config: Config) -> Archive:
    return Archive(config.archive, config.archive_limit)


def _times(count: int) -> str:
    return "for the first time" if count == 1 else f"{count} times by now"
