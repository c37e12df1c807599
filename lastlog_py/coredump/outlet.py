"""Where a crash's record goes: into the journal, else into the archive, else, as one line, into the
system log; and the system log's end, which goes with it.  On the hot path: what is rare is imported
where it is used.
"""

from __future__ import annotations

import os

from ..boot import Moment, moment, this_boot
from ..config import Config
from ..errors import LastlogError
from ..medium import journal_device
from .crash import Crash
from .report import leave_out_core, plain_log, render, title

__all__ = ["keep", "system_log", "to_kernel_log", "to_system_log"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    Written = tuple[bytes, float]       # the record's text, and its time: what its id is made of

SHARE = 4                       # a crash takes at most a quarter of the journal …
OF_ALL = 2                      # … and all together a half: what a program does costs no logs
LEAST_TEXT, MOST_TEXT = 4096, 65536     # … but may have so many bytes, and no more than these
PATIENCE = 1.5                  # seconds that a program of the system's may take
LOG_LINES, LOG_BYTES = 50, 8192
MOST_LINE = 900                 # characters of a line in the system log


def keep(config: Config, crash: Crash, log: bytes) -> Written | None:
    """Write the record where it can be written; log: of the system.  None: there is none."""
    why = []
    if not config.coredump.keep_core:
        leave_out_core(crash)
    for way in (_to_journal, _to_archive):
        try:
            return way(config, crash, log)
        except LastlogError as error:
            why.append(error.message)
        except MemoryError:
            raise
        except Exception as error:
            why.append(f"{type(error).__name__}: {error}")
    to_system_log(config, f"{title(crash)} (process {crash.pid}); it could not be recorded: "
                  + " ".join(why))
    return None


def _to_journal(config: Config, crash: Crash, log: bytes) -> Written:
    """Raises LastlogError where there is none, or no room for it."""
    site, now = config.site, moment(config.site)
    journal = journal_device.find(site)
    share = max(journal.capacity // SHARE, LEAST_TEXT)
    try:
        return _append(config, journal, render(crash, min(share, MOST_TEXT), log), now,
                       title(crash))
    except LastlogError as error:
        room = journal.room(spare_crashes=True) if error.code == "no-space" else 0
        if not room:
            raise
        return _append(config, journal, render(crash, room, log), now, title(crash))


def _append(config: Config, journal: journal_device.Journal, body: bytes, now: Moment,
            label: str) -> Written:
    journal.append("coredump", body, now, this_boot(config.site).number, label,
                   spare_crashes=True, share=OF_ALL)
    return body, now.time


def _to_archive(config: Config, crash: Crash, log: bytes) -> Written:
    """Raises LastlogError where it cannot be saved, or others could change it."""
    from ..archive import Archive
    from ..archive_cores import check_own
    from ..diagnose import explain
    from ..record import Boot, Source, captured

    now, here = moment(config.site), this_boot(config.site)
    body = render(crash, min(MOST_TEXT, config.archive_limit // SHARE), log)
    boot = Boot(here.id or None, here.number or None, here.firmware or None, here.kernel or None)
    record = captured("coredump", body, Source("core", size=len(body)), time=round(now.time, 6))
    record = explain(record._replace(title=title(crash), time_trusted=now.trusted,
                                     uptime=now.uptime, boot=boot))
    check_own(config.archive)
    result = Archive(config.archive, config.archive_limit).save([record])
    if result.skipped:
        raise LastlogError("no-space", result.skipped[0].why)
    return body, now.time


def to_system_log(config: Config, line: str) -> None:
    """One line, through stdin: nothing of a crash is an argument of a program."""
    from .. import programs

    line = "".join(char if char.isprintable() else "?" for char in line)[:MOST_LINE]
    status, _ = programs.run(config.site, ["logger", "-t", "lastlog", "-p", "daemon.err"],
                             stdin=line.encode("utf-8", "replace") + b"\n", seconds=PATIENCE)
    if status:
        to_kernel_log(config, line)


def to_kernel_log(config: Config, line: str) -> None:
    """Without a system log; nothing is left to do if that fails.  <27>: daemon.err."""
    try:
        fd = os.open(config.site.system("/dev/kmsg"), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, f"<27>lastlog: {line}\n".encode("utf-8", "replace"))
        finally:
            os.close(fd)
    except OSError:
        pass


def system_log(config: Config) -> bytes:
    """Its last lines; b"" where there is none, or not at once."""
    from .. import programs

    status, said = programs.run(config.site, ["logread", "-l", str(LOG_LINES)], seconds=PATIENCE)
    if status:
        return b""
    end = said[-LOG_BYTES:]
    return plain_log(end.partition(b"\n")[2] if len(said) > LOG_BYTES else end)
