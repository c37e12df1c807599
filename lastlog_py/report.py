"""A record as text that leaves the router: the head of a download, a bug report in Markdown.

Pure functions over CONTRACT's RECORD as a dict.  What came from a crash is hostile: no control
character of it, and none that hides or reorders text, gets out.
"""

from __future__ import annotations

import re
import time
from typing import Any

__all__ = ["facts", "frame", "header", "markdown", "safe", "tail", "utc"]

Dict = dict[str, Any]

LOG_LINES = 80              # of the log, in a bug report
LOG_BYTES = 8 << 10         # of UTF-8, likewise
FRAMES = 64                 # of a trace
LONGEST = 300               # characters of a fact or a frame

# What moves a cursor, changes colours, is invisible or turns text around.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f"
                     "\ufeff]")


def safe(text: str) -> str:
    """`text` with control characters made visible; line feeds and tabs stay."""
    return CONTROL.sub(_escape, text.replace("\r\n", "\n"))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _line(text: object) -> str:
    """`text` made safe, as one line of bounded length."""
    line = safe(str(text)).replace("\n", "\\n")
    return line if len(line) <= LONGEST else line[:LONGEST - 1] + "\u2026"


def tail(text: bytes, limit: int) -> str:
    """The newest `limit` bytes of UTF-8, from the start of a character."""
    return text[max(0, len(text) - limit):].decode("utf-8", "ignore")


def utc(seconds: float | None) -> str | None:
    """A time for people, "2026-11-22 20:29:41"; None if it is not known, or none at all."""
    try:
        return None if seconds is None else \
            time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return None


def facts(record: Dict) -> list[tuple[str, str]]:
    """What is known of a record, name and value; every value is safe and one line."""
    kernel, boot = record["kernel"] or {}, record["boot"] or {}
    rows = (("Title", record["title"]),
            ("Id", record["id"]),
            ("Kind", ", ".join(filter(None, (record["kind"], kernel.get("reason"))))),
            ("State", record["state"]),
            ("When", _when(record)),
            ("Uptime", None if record["uptime"] is None else f"{record['uptime']:.1f} s"),
            ("Seen", _seen(record)),
            ("Cause", kernel.get("cause")),
            ("Where", kernel.get("function") and _place(kernel)),
            ("Address", kernel.get("address")),
            ("Process", _process(kernel)),
            ("Kernel", kernel.get("release") or boot.get("kernel")),
            ("Tainted", kernel.get("tainted")),
            ("Firmware", boot.get("firmware")),
            ("Hardware", kernel.get("hardware")),
            ("Signature", record["signature"]),
            ("Found in", _found_in(record["source"])))
    return [(name, _line(value)) for name, value in rows if value]


def _when(record: Dict) -> str | None:
    if not record["time_trusted"]:
        return None if record["time"] is None else "not known: the clock was not set"
    moment = utc(record["time"])
    return moment and f"{moment} UTC"


def _seen(record: Dict) -> str | None:
    if record["count"] < 2:
        return None
    first = utc(record["first_seen"])
    return f"{record['count']} times" + (f", first {first} UTC" if first else "")


def _place(entry: Dict) -> str:
    """ "direct_entry+0xb0 [lkdtm]"; entry: a record's `kernel`, or a frame."""
    offset = f"+{entry['offset']}" if entry["offset"] else ""
    module = f" [{entry['module']}]" if entry["module"] else ""
    return f"{entry['function']}{offset}{module}"


def _process(kernel: Dict) -> str | None:
    name, pid = kernel.get("process"), kernel.get("pid")
    return name if pid is None else f"{name or 'unknown'} (pid {pid})"


def _found_in(source: Dict) -> str:
    return ", ".join((source["medium"], *(word for word in ("truncated", "torn") if source[word])))


def frame(entry: Dict) -> str:
    """A line of a call trace, safe; "? " marks what may be stale, as kernels do."""
    return ("  " if entry["reliable"] else "? ") + _line(_place(entry))


def _head(record: Dict, version: str) -> str:
    rows = [*facts(record), ("Reported by", f"lastlog {version}")]
    return "\n".join(f"{name}: {value}" for name, value in rows)


def header(record: Dict, version: str) -> str:
    """What stands above the text in a downloaded file, with the empty line between them.

    record: CONTRACT's answer of `get`; its "cut" says whether the text is only the newest part.
    """
    note = "\nNote: only the newest part of the text" if record["cut"] else ""
    return f"{_head(record, version)}{note}\n\n"


def markdown(record: Dict, version: str) -> str:
    """A bug report for somebody who knows neither this router nor lastlog.

    At most LOG_BYTES of it are log; facts and trace are bounded too.
    """
    frames = (record["kernel"] or {}).get("trace", ())[:FRAMES]
    trace = "\n".join(map(frame, frames))
    log = _end(record["text"])
    title = _line(record["title"] or record["kind"])
    return "\n\n".join((f"### {_span(title)}", _fenced(_head(record, version)),
                        *(("Call trace:", _fenced(trace)) if trace else ()),
                        *(("The end of the log:", _fenced(log)) if log else ()))) + "\n"


def _end(text: str) -> str:
    """The last lines of a log, safe: at most LOG_LINES and LOG_BYTES, whole if one fits."""
    lines = safe(text.rstrip("\n")).split("\n")[-LOG_LINES:]
    end = "\n".join(lines).encode("utf-8", "replace")
    short = tail(end, LOG_BYTES)
    return short.partition("\n")[2] or short if len(end) > LOG_BYTES else short


def _span(text: str) -> str:
    """`text` as code within a line: nothing in it is a mention, a link or markup."""
    fence = _fence(text, 1)
    gap = " " if len(fence) > 1 else ""
    return f"{fence}{gap}{text}{gap}{fence}"


def _fenced(text: str) -> str:
    """`text` in a fence that nothing in it can close."""
    fence = _fence(text, 3)
    return f"{fence}\n{text}\n{fence}"


def _fence(text: str, least: int) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(least, longest + 1)
