"""Tells scripts of a crash: a ubus event, and what is in /etc/hotplug.d/lastlog/."""

from __future__ import annotations

import json

from . import programs
from .coredump import shape
from .record import Record, to_dict
from .site import Site

__all__ = ["tell"]

MOST_EVENT = 96 << 10           # characters; Linux allows an argument 128 KiB (MAX_ARG_STRLEN)
LONGEST_TITLE = 200             # characters, of what scripts get
HOTPLUG_SECONDS = 30            # that all scripts together may take


def tell(site: Site, record: Record) -> None:
    """The event `lastlog.crash`, with the record but for its text, and the hotplug scripts, which
    get ACTION=crash, RECORD (its id), KIND, SIGNATURE and TITLE.  What fails there is theirs."""
    programs.run(site, ["ubus", "send", "lastlog.crash", _event(record)])
    title = "".join(filter(str.isprintable, record.title))[:LONGEST_TITLE]
    programs.run(site, ["hotplug-call", "lastlog"],
                 {"ACTION": "crash", "RECORD": record.id, "KIND": record.kind,
                  "SIGNATURE": record.signature or "", "TITLE": title}, seconds=HOTPLUG_SECONDS)


def _event(record: Record) -> str:
    """The record as JSON; a core dump of many frames in brief."""
    told = to_dict(record, text=False)
    whole = json.dumps(told)
    if len(whole) <= MOST_EVENT or not record.coredump:
        return whole
    return json.dumps({**told, "coredump": shape.brief(record.coredump)})
