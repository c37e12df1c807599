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
from .errors import LastlogError
from .medium import glance
from .medium.device import read_small
from .site import Site

__all__ = ["has_errors", "harvest", "has_errors", "report", "shutdown"]

PATIENCE = 20.0                 # seconds that a harvest waits for another one
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
    problems = list(setup.arm(config))
    lock = _lock(config)
    try:
        return _harvest(config, problems)
    finally:
        if lock is not None:
            os.close(lock)


def _lock(config: Config) -> int | None:
    """Only one harvest at a time; a dead one holds nothing."""
    folder = cache.folder(config)
    if folder is None:
        return None
    fd = os.open(f"{folder}/harvest", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + PATIENCE
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


def _harvest(config: Config, problems: list[Problem]) -> Reply:
    now, here = boot.moment(config.site), boot.this_boot(config.site)
    memory = Memory(config.site)
    known = boots.known(config, memory)
    entry = next((each for each in known if each.id == here.id), None)
    before = [each for each in known if each.id != here.id]
    previous = before[-1] if before else None
    is_first = entry is None or not entry.reason
    mark = glance.captured_mark(config.site)
    if entry is None:
        entry = _announced(config, memory, here, now, previous, mark)
    reason = entry.reason or ledger.why(previous, memory.survived(previous),
                                        _watchdog(config.site), _is_flashed(config.site))
    haul = None
    if mark or (reason == "hang" and is_first):
        from . import keeping  # everything about records: most boots have none

        haul = keeping.Haul(config, here, entry, before, reason, mark)
        haul.keep()
        problems += haul.problems
    if is_first:
        entry.reason = entry.reason or reason
        problems += _noted(config, memory, [*before, entry], now)
    if haul is not None:
        haul.erase()
        haul.tell()
    problems += [memory.problem] if memory.problem else []
    return _reply(entry, previous is None, haul, problems)


def _announced(config: Config, memory: Memory, here: boot.ThisBoot, now: boot.Moment,
               previous: ledger.BootEntry | None, mark: str = "") -> ledger.BootEntry:
    """This boot, noted in the journal and for all who write records in it."""
    entry = ledger.BootEntry(here.id, previous.number + 1 if previous else 1)
    entry.time, entry.trusted, entry.uptime = now.time, now.trusted, now.uptime
    entry.firmware, entry.kernel, entry.waiting = here.firmware, here.kernel, mark
    entry.memory = memory.kind()
    memory.append(entry, now)
    entry.memory = memory.kind()            # another one, if the journal failed
    here.number = entry.number
    boot.note(config.site, entry.number, now)
    return entry


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
                    "record": entry.records[0] if entry.records else None,
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
    return "\n".join("".join(char if char.isprintable() else "\ufffd" for char in line)
                     for line in lines)


# --- at shutdown


def shutdown(config: Config, read_log: Callable[[], bytes]) -> Reply:
    """Note that this boot ends cleanly, in memory and on flash; then keep the end of the system
    log in the journal, if option store_log is on.

    read_log: gives it, and may hang.  {"boot", "problems"}
    """
    now, here = boot.moment(config.site), boot.this_boot(config.site)
    memory = Memory(config.site)
    known = boots.known(config, memory)
    entry = next((each for each in known if each.id == here.id), None)
    if entry is None:
        entry = _announced(config, memory, here, now, known[-1] if known else None)
        known = [*known, entry]
    entry.end, entry.end_uptime = "clean", now.uptime
    memory.append(entry, now)
    problems: list[Problem] = []
    try:
        ledger.write(config.ledger, known)
    except LastlogError as error:
        problems.append(("ledger", f"{error.message} {error.hint}", "warning"))
    if config.store_log:
        problems += _stored(memory, read_log(), now, entry.number)
    problems += [memory.problem] if memory.problem else []
    return {"boot": entry.number, "problems": _plain(problems)}


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
