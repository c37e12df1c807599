"""Scripts hear of a program's crash when it happens: events.tell, in a process of its own.

It has a session of its own, no descriptor of the handler's, and its limits; so a script that
hangs, or crashes, holds up nobody and starts nothing.  Imported when a record has been written.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

from .. import programs
from ..config import Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..record import Record
    from .outlet import Written

__all__ = ["tell"]

WITH = ("ubus", "hotplug-call")     # what events.tell runs
LONGEST = 60                    # seconds that all of it may take
FIRST, BEHIND = 3, 1024         # the descriptors that are not inherited


def tell(config: Config, written: Written) -> None:
    """Start the process, if there is anybody to tell; it ends by itself."""
    if any(programs.find(config.site, name) for name in WITH) and os.fork() == 0:
        try:
            _stand_alone()
            _tell(config, written)
        finally:
            os._exit(0)


def _stand_alone() -> None:
    """As a program that nobody waits for is started."""
    os.setsid()
    _signal.setitimer(_signal.ITIMER_REAL, LONGEST)
    os.umask(0o022)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(FIRST):
        os.dup2(null, fd)
    os.closerange(FIRST, BEHIND)


def _tell(config: Config, written: Written) -> None:
    from .. import events

    events.tell(config.site, _record(config, written))


def _record(config: Config, written: Written) -> Record:
    """As `list` shows it; where it cannot be found yet (a journal in /dev/pmsg0 is read in the
    next boot), as it will."""
    from .. import service
    from ..record_id import record_id

    body, moment = written
    try:
        return service.find(config, record_id("coredump", body, round(moment, 6)))
    except Exception:
        return _made(config, written)


def _made(config: Config, written: Written) -> Record:
    from ..boot import this_boot
    from ..diagnose import explain
    from ..record import Boot, Source, captured

    body, moment = written
    here = this_boot(config.site)
    boot = Boot(here.id or None, here.number or None, here.firmware or None, here.kernel or None)
    return explain(captured("coredump", body, Source("journal", size=len(body)),
                            time=round(moment, 6)))._replace(boot=boot)
