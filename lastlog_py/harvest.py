"""What the boot service runs: see that the router is armed, find out why it rebooted, and move
what was captured to where the next crash cannot touch it.

The order is what keeps it safe.  This boot is noted in the journal first, so that a crash from
here on is this boot's; captured records are copied next; then the ledger on flash tells the
reason; only after that are the sources erased; scripts hear of it last.  Whatever cuts this off,
the next harvest goes on from there.

Most boots find nothing, so this module is on the hot path (imports os and time only) and leaves
everything about records to keeping.py, which is imported when there are some.
"""

from __future__ import annotations

import fcntl
import os
import time

from . import boot, boots, cache, ledger, setup
from .boots import Memory, Problem
from .config import Config
from .errors import LastlogError, visible
from .medium import glance
from .medium.device import read_small
from .site import Site

__all__ = ["harvest", "has_errors", "report", "shutdown"]

PATIENCE = 20.0                 # seconds that a harvest waits for another one
LAST_PATIENCE = 3.0             # seconds that a shutdown waits for one
LOG_BYTES = 16384               # of the system log, at shutdown

TYPE_CHECKING = False           # the type checker takes it for true; typing costs half a start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .keeping import Haul

    Reply = dict[str, Any]


# --- at boot


def harvest(config: Config) -> Reply:
    """Do all of it; harmless when done again.

    {"boot", "reason", "text", "record", "found", "saved", "moved", "kept", "problems"}; raises
    LastlogError "busy" if another harvest does not end.
    """
    problems: list[Problem] = []
    lock = _lock(config, PATIENCE, problems)
    try:
        problems += setup.arm(config)
        reply, haul = _harvest(config, problems)
    finally:
        if lock is not None:
            os.close(lock)
    if haul is not None:
        haul.tell()                     # scripts take their time: nobody has to wait for them
    return reply


def _lock(config: Config, patience: float, problems: list[Problem]) -> int | None:
    """Only one harvest at a time; a dead one holds nothing.  Without a place for the lock it is
    done without."""
    folder = cache.folder(config)
    try:
        if folder is None:
            raise OSError("it is not ours alone")
        fd = os.open(f"{folder}/harvest", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                     0o600)
    except OSError as error:
        problems.append((config.site.system(cache.RUN), "nothing can be noted there: "
                         f"{error.strerror or error}", "warning"))
        return None
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(fd)
                raise LastlogError("busy", "Another harvest is running.",
                                   "Try again in a moment.") from None
            time.sleep(0.05)


def _harvest(config: Config, problems: list[Problem]) -> tuple[Reply, Haul | None]:
    now, memory = boot.moment(config.site), Memory(config.site)
    mark = glance.captured_mark(config.site)
    entry, before = _found(config, memory, now, mark)
    known_before = bool(entry.reason)
    reason = entry.reason or _reason(config.site, memory, before)
    haul = None
    if mark or reason in ledger.UNCLEAN or (config.autosave and memory.holds_crashes()):
        from . import keeping  # everything about records: most boots have none

        haul = keeping.Haul(config, now, entry, before, mark)
        is_news = haul.explain(reason)
        haul.keep()
        problems += haul.problems
    else:
        is_news = not known_before
    entry.reason = entry.reason or reason
    ledger.settle(before)
    if is_news:
        problems += _noted(config, memory, [*before, entry], now)
    if haul is not None:
        haul.erase()
    problems += [memory.problem] if memory.problem else []
    return _reply(entry, not before, haul, problems), haul


def _found(config: Config, memory: Memory, now: boot.Moment,
           mark: str) -> tuple[ledger.BootEntry, list[ledger.BootEntry]]:
    """This boot's entry, noted in the journal by now, and the boots before it."""
    here = boot.this_boot(config.site)
    known = boots.known(config, memory)
    entry = next((each for each in known if each.id == here.id), None)
    before = [each for each in known if each.id != here.id]
    if entry is None:
        return _announced(config, memory, here, now, before, mark), before
    if entry.end == "clean" and ledger.outlived(entry, now.uptime):
        entry.uptime, entry.time, entry.trusted = now.uptime, now.time, now.trusted
        memory.append(entry, now)           # it went on: that was no shutdown
        _noted(config, memory, [*before, entry], now)
    return entry, before


def _reason(site: Site, memory: Memory, before: list[ledger.BootEntry]) -> str:
    """Why the last boot ended, if no crash tells."""
    previous = before[-1] if before else None
    return ledger.why(previous, memory.survived(previous), _watchdog(site), _is_flashed(site))


def _announced(config: Config, memory: Memory, here: boot.ThisBoot, now: boot.Moment,
               before: list[ledger.BootEntry], mark: str = "") -> ledger.BootEntry:
    """This boot, noted in the journal and for all who write records in it."""
    entry = ledger.BootEntry(here.id, (before[-1].number if before else _last_number(config)) + 1)
    entry.time, entry.trusted, entry.uptime = now.time, now.trusted, now.uptime
    entry.firmware, entry.kernel, entry.waiting = here.firmware, here.kernel, mark
    entry.memory = memory.kind()
    memory.append(entry, now)
    entry.memory = memory.kind()            # another one, if the journal failed
    boot.note(config.site, entry.number, now)
    return entry


def _last_number(config: Config) -> int:
    """Of the boots in the archive, for a ledger that was lost; 0 for a new router."""
    try:
        if not os.listdir(config.archive):
            return 0
    except OSError:
        return 0
    from .archive import Archive  # only here: it is at most once in a router's life

    saved, _ = Archive(config.archive, config.archive_limit).headers()
    return max((record.boot.number or 0 for record in saved if record.boot), default=0)


def _noted(config: Config, memory: Memory, known: list[ledger.BootEntry],
           now: boot.Moment) -> list[Problem]:
    """Put the reason into the ledger, and into the journal where there is no flash for it."""
    try:
        ledger.write(config.ledger, known)
    except LastlogError as error:
        memory.append(known[-1], now)
        return [("ledger", f"{error.message} {error.hint}", "warning")]
    return []


def _is_flashed(site: Site) -> bool:
    """Whether this is the first boot of an image; /etc/uci-defaults leaves a mark in tmpfs."""
    return os.path.exists(site.system("/var/run/lastlog/flashed"))


def _watchdog(site: Site) -> int:
    """The bits of why the hardware was reset, from all watchdogs together; 0 if none tells.

    Not from WDIOC_GETBOOTSTATUS, which gives the same bits: opening a watchdog starts it.
    """
    bits = 0
    folder = site.system("/sys/class/watchdog")
    try:
        names = os.listdir(folder)
    except OSError:
        return 0
    for name in names:
        text = read_small(f"{folder}/{name}/bootstatus").strip()
        bits |= int(text, 0) if text.isdigit() else 0
    return bits


def _reply(entry: ledger.BootEntry, first: bool, haul: Haul | None,
           problems: list[Problem]) -> Reply:
    """first: no boot before this one is known."""
    reply: Reply = {"boot": entry.number, "reason": entry.reason or "unknown",
                    "record": entry.cause or None,
                    "text": ledger.told(entry.reason or "unknown", "", first),
                    "found": [], "saved": [], "moved": [], "kept": []}
    reply |= haul.reply() if haul else {}
    return reply | {"problems": _plain(problems)}


def _plain(problems: list[Problem]) -> list[dict[str, str]]:
    return [dict(zip(("where", "what", "severity"), each, strict=True)) for each in problems]


def has_errors(reply: Reply) -> bool:
    """Whether something could not be done."""
    return any(each["severity"] == "error" for each in reply["problems"])


def report(reply: Reply) -> str:
    """A harvest's or a shutdown's answer for the system log, a line each."""
    lines = [str(reply["text"])] if "text" in reply else []
    for each in reply.get("kept", ()):
        lines.append(f"{each['id']} is still in memory: {each['why']}")
    for each in reply["problems"]:
        lines.append(f"{each['severity']}: {each['where']}: {each['what']}")
    return "\n".join(map(visible, lines))


# --- at shutdown


def shutdown(config: Config, read_log: Callable[[], bytes]) -> Reply:
    """Note that this boot ends cleanly, in memory and on flash; then keep the end of the system
    log in the journal, if option store_log is on.

    read_log: gives it, and may hang.  {"boot", "problems"}
    """
    problems: list[Problem] = []
    now = boot.moment(config.site)
    lock = _lock_for_the_mark(config, problems)
    try:
        memory = Memory(config.site)
        entry = _marked(config, memory, now, problems)
    finally:
        if lock is not None:
            os.close(lock)
    if config.store_log:
        problems += _stored(memory, read_log(), now, entry.number)
    problems += [memory.problem] if memory.problem else []
    return {"boot": entry.number, "problems": _plain(problems)}


def _lock_for_the_mark(config: Config, problems: list[Problem]) -> int | None:
    """A harvest that hangs must not cost the mark."""
    try:
        return _lock(config, LAST_PATIENCE, problems)
    except LastlogError:
        return None


def _marked(config: Config, memory: Memory, now: boot.Moment,
            problems: list[Problem]) -> ledger.BootEntry:
    """This boot's entry with its clean end, noted in both places."""
    here = boot.this_boot(config.site)
    known = boots.known(config, memory)
    entry = next((each for each in known if each.id == here.id), None)
    if entry is None:
        entry = _announced(config, memory, here, now, known)
        known.append(entry)
    entry.end, entry.end_uptime = "clean", now.uptime
    memory.append(entry, now)
    try:
        ledger.write(config.ledger, known)
    except LastlogError as error:
        problems.append(("ledger", f"{error.message} {error.hint}", "warning"))
    return entry


def _stored(memory: Memory, log: bytes, now: boot.Moment, number: int) -> list[Problem]:
    """Keep the end of the system log, from the start of a line."""
    end = log[-LOG_BYTES:]
    end = end.partition(b"\n")[2] if len(log) > LOG_BYTES else end
    if not end or memory.ring is None:
        return []
    try:
        memory.ring.append("log", end, now, number, label="system log at shutdown")
    except LastlogError as error:
        return [("journal", f"{error.message} {error.hint}", "warning")]
    return []
