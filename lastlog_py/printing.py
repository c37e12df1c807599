"""Replies as text for a terminal.  What came from a crash is hostile: no control character of it
reaches the terminal."""

from __future__ import annotations

import re
import time
from typing import Any

__all__ = ["PRINTERS", "safe"]

Reply = dict[str, Any]

# Everything that moves a cursor, changes colours or reorders text.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def safe(text: str) -> str:
    """`text` with control characters made visible; line feeds and tabs stay."""
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\r\n", "\n"))


def when(seconds: float | None, trusted: bool = True) -> str:
    """A time for people, in UTC."""
    if seconds is None:
        return "-"
    if not trusted:
        return "clock not set"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "-"


def _status(reply: Reply) -> str:
    lines = [f"lastlog {reply['version']}: {'armed' if reply['armed'] else 'NOT ARMED'}",
             safe(reply["last_reboot"]["text"]), ""]
    for check in reply["checks"]:
        lines.append(f"  {check['state']:<8}{check['title']}: {safe(check['found'])}")
        if check["fix"]:
            lines.append(f"          to do: {safe(check['fix'])}")
    archive = reply["archive"]
    lines += ["", f"{reply['captured']} records in memory, {reply['saved']} saved "
              f"({archive['used'] >> 10} of {archive['limit'] >> 10} KiB in {archive['path']})"]
    return "\n".join(lines)


def _list(reply: Reply) -> str:
    row = "{:<16} {:<20} {:<9} {:>5}  {}"
    lines = [row.format("ID", "WHEN (UTC)", "STATE", "COUNT", "WHAT")]
    lines += [row.format(each["id"], when(each["time"], each["time_trusted"]), each["state"],
                         each["count"], _what(each)) for each in reply["records"]]
    if not reply["records"]:
        lines = ["No records: nothing is captured and nothing is saved. lastlog status says "
                 "whether capture is armed."]
    return "\n".join(lines + _problems(reply))


def _what(record: Reply) -> str:
    same = record["crash"] and record["crash"] != record["id"]
    return safe(record["title"]) + (f" (same crash as {record['crash']})" if same else "")


def _problems(reply: Reply) -> list[str]:
    return [f"{each['severity']}: {safe(each['where'])}: {safe(each['what'])}"
            for each in reply["problems"]]


def _show(record: Reply) -> str:
    return "\n".join([*_facts(record), "", safe(record["text"]).rstrip("\n")])


def _facts(record: Reply) -> list[str]:
    kernel = record["kernel"] or {}
    source = record["source"]
    place = kernel.get("function")
    if place:
        place += (kernel["offset"] and f"+{kernel['offset']}") or ""
        place += (kernel["module"] and f" [{kernel['module']}]") or ""
    state = [word for word in ("truncated", "torn") if source[word]]
    rows = (("Title", record["title"]), ("Id", f"{record['id']} ({record['state']})"),
            ("When", when(record["time"], record["time_trusted"])),
            ("Uptime", record["uptime"] and f"{record['uptime']:.1f} s"),
            ("Seen", record["count"] > 1 and f"{record['count']} times, first "
             f"{when(record['first_seen'])}"),
            ("Cause", kernel.get("cause")), ("Where", place),
            ("Process", kernel.get("process") and f"{kernel['process']} (pid {kernel['pid']})"),
            ("Kernel", kernel.get("release")), ("Hardware", kernel.get("hardware")),
            ("Tainted", kernel.get("tainted")), ("Signature", record["signature"]),
            ("Found in", source["medium"] + "".join(f", {word}" for word in state)))
    facts = [f"{name + ':':<11}{safe(str(value))}" for name, value in rows if value]
    return facts + [_frame(frame) for frame in kernel.get("trace", ())]


def _frame(frame: Reply) -> str:
    guess = "" if frame["reliable"] else "? "
    offset = f"+{frame['offset']}" if frame["offset"] else ""
    module = f" [{frame['module']}]" if frame["module"] else ""
    return safe(f"    {guess}{frame['function']}{offset}{module}")


def _save(reply: Reply) -> str:
    done = f"Saved {len(reply['saved'])}: {', '.join(reply['saved'])}" if reply["saved"] else \
        "Nothing new to save." if not reply["skipped"] else "Nothing was saved."
    return "\n".join([done, *_reasons("Not saved", reply["skipped"])])


def _clear(reply: Reply) -> str:
    done = f"Cleared {len(reply['cleared'])}: {', '.join(reply['cleared'])}" \
        if reply["cleared"] else "Nothing was cleared." if reply["kept"] else "Nothing to clear."
    return "\n".join([done, *_reasons("Kept", reply["kept"])])


def _reasons(word: str, rows: list[Reply]) -> list[str]:
    return [f"{word} {row['id']}: {safe(row['why'])}" for row in rows]


def _decode(reply: Reply) -> str:
    blocks = [_show(record) for record in reply["records"]] or ["No records."]
    return "\n\n".join([*blocks, "\n".join(_problems(reply))]).rstrip("\n")


PRINTERS = {"status": _status, "list": _list, "show": _show, "save": _save, "clear": _clear,
            "decode": _decode}
