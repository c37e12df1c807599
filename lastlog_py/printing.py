"""Replies as text for a terminal.  What came from a crash is hostile: no control character of it
reaches the terminal."""

from __future__ import annotations

from .report import backtrace, core_from, facts, frame, safe, symbols_from, utc

TYPE_CHECKING = False           # typing costs `backtrace` 3 ms
if TYPE_CHECKING:
    from typing import Any

    Reply = dict[str, Any]

__all__ = ["PRINTERS", "safe", "show"]


def _status(reply: Reply) -> str:
    lines = [f"lastlog {reply['version']}: {'armed' if reply['armed'] else 'NOT ARMED'}",
             safe(reply["last_reboot"]["text"])]
    lines += [safe(reply["history"]["text"]), ""] if reply["history"]["text"] else [""]
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
    lines += [row.format(each["id"], _when(each), each["state"], each["count"], _what(each))
              for each in reply["records"]]
    if not reply["records"]:
        lines = ["No records: nothing is captured and nothing is saved. lastlog status says "
                 "whether capture is armed."]
    return "\n".join(lines + _problems(reply))


def _when(record: Reply) -> str:
    if record["time"] is not None and not record["time_trusted"]:
        return "clock not set"
    return utc(record["time"]) or "-"


def _what(record: Reply) -> str:
    same = record["crash"] and record["crash"] != record["id"]
    return safe(record["title"]) + (f" (same crash as {record['crash']})" if same else "") \
        + (" (core kept)" if record.get("core") else "")


def _problems(reply: Reply) -> list[str]:
    return [f"{each['severity']}: {safe(each['where'])}: {safe(each['what'])}"
            for each in reply.get("problems", ())]


def show(record: Reply) -> str:
    """One record, whole."""
    known = [f"{name + ':':<11}{value}" for name, value in facts(record)]
    if record["coredump"]:
        return "\n".join([*known, "", *_core_dump(record), *_problems(record)]).rstrip("\n")
    trace = ["  " + frame(each) for each in (record["kernel"] or {}).get("trace", ())]
    return "\n".join([*known, *trace, "", safe(record["text"]).rstrip("\n")])


def _backtrace(reply: Reply) -> str:
    """One record, or those of several processes."""
    return _decode(reply) if "records" in reply else show(reply)


def _core_dump(record: Reply) -> list[str]:
    """The backtraces, the command that says more of them, the system log."""
    from .coredump.shape import system_log  # here, not above: most records are no core dumps

    dump = record["coredump"]
    registers = [f"{name}={value}" for thread in dump["threads"][:1]
                 for name, value in thread["registers"].items()]
    log = safe(system_log(record["text"])).rstrip("\n")
    return [*backtrace(dump), "", safe(" ".join(["Registers:", *registers])), "",
            *symbols_from(record), *core_from(record), *(["", "System log:", log] if log else [])]


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
    blocks = [show(record) for record in reply["records"]] or ["No records."]
    return "\n\n".join([*blocks, "\n".join(_problems(reply))]).rstrip("\n")


def _selftest(reply: Reply) -> str:
    return safe(reply["text"])


def _propose(reply: Reply) -> str:
    region = reply["region"]
    state = "Set aside already" if reply["reserved"] else "Proposed, not applied"
    blocks = [f"{state}: {region['size'] >> 10} KiB at {region['address']}.\n"
              f"{safe(reply['why'])}"]
    for title, key in (("In the board's device tree (.dts):", "device_tree"),
                       ("On the kernel command line:", "command_line"),
                       ("In /etc/config/lastlog:", "uci")):
        if reply[key]:
            blocks.append(f"{title}\n\n{reply[key].rstrip()}")
    return "\n\n".join([*blocks, "\n".join(f"- {safe(note)}" for note in reply["notes"])])


def _store(reply: Reply) -> str:
    from . import store

    return store.said(reply)


def _harvest(reply: Reply) -> str:
    from . import harvest

    return harvest.report(reply)


PRINTERS = {"status": _status, "list": _list, "show": show, "save": _save, "clear": _clear,
            "decode": _decode, "store": _store, "selftest": _selftest, "propose": _propose,
            "backtrace": _backtrace, "symbolize": show, "harvest": _harvest, "shutdown": _harvest}
