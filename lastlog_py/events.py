"""Tells scripts of a crash: a ubus event, and what is in /etc/hotplug.d/lastlog/."""

from __future__ import annotations

import json

from . import programs
from .record import Record, to_dict
from .site import Site

__all__ = ["tell"]

LONGEST_TITLE = 200             # characters, of what scripts get
HOTPLUG_SECONDS = 30            # that all scripts together may take


def tell(site: Site, record: Record) -> None:
    """The event `lastlog.crash`, with the record but for its text, and the hotplug scripts, which
    get ACTION=crash, RECORD (its id), KIND, SIGNATURE and TITLE.  What fails there is theirs."""
    programs.run(site, ["ubus", "send", "lastlog.crash", json.dumps(to_dict(record, text=False))])
    title = "".join(filter(str.isprintable, record.title))[:LONGEST_TITLE]
    programs.run(site, ["hotplug-call", "lastlog"],
                 {"ACTION": "crash", "RECORD": record.id, "KIND": record.kind,
                  "SIGNATURE": record.signature or "", "TITLE": title}, seconds=HOTPLUG_SECONDS)
