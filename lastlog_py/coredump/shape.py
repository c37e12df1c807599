"""A core dump as everybody but the handler knows it: CONTRACT's `coredump`, a dict.

reading.py makes it from a record's text; what comes from a file instead is checked here.  Pure.
"""

from __future__ import annotations

TYPE_CHECKING = False           # typing costs `backtrace` 3 ms
if TYPE_CHECKING:
    from typing import Any

    Dict = dict[str, Any]

__all__ = ["LOG", "MAGIC", "brief", "is_snapshot", "is_whole", "program", "system_log"]

MAGIC = "lastlog core dump "            # what the text begins with
LOG = "\nSystem log:\n"                 # what the system log in it comes after
BRIEF = 16                              # frames of a thread that is told in brief

_DUMP = {"executable": str | None, "command": str | None, "pid": int | None, "tid": int | None,
         "uid": int | None, "machine": str | None, "signal": int | None,
         "signal_name": str | None, "code_name": str | None, "fault_address": str | None,
         "truncated": bool, "threads": list, "modules": list, "threads_cut": bool,
         "dropped": int, "notes": list}
_MODULE_ROW = {"path": str, "build_id": str | None, "text_id": str | None, "base": str | None,
               "size": int}
_THREAD_ROW = {"tid": int, "crashed": bool, "registers": dict, "frames": list,
               "frames_cut": bool, "omitted": int, "gap": int | None}
_FRAME_ROW = {"pc": str | None, "module": str | None, "offset": str | None, "build_id": str | None,
              "symbol": str | None, "symbol_offset": str | None, "how": str}


def is_whole(dump: Any) -> bool:
    """Whether `dump`, which was in a file, has the keys that `read` gives, of the same types."""
    return (_fits(dump, _DUMP) and all(isinstance(note, str) for note in dump["notes"])
            and all(_fits(row, _MODULE_ROW) for row in dump["modules"])
            and all(_fits(thread, _THREAD_ROW) and _is_thread(thread)
                    for thread in dump["threads"]))


def _is_thread(thread: Dict) -> bool:
    return (all(isinstance(value, str) for value in thread["registers"].values())
            and all(_fits(row, _FRAME_ROW) for row in thread["frames"]))


def _fits(row: Any, shape: dict[str, Any]) -> bool:
    return isinstance(row, dict) and all(
        name in row and isinstance(row[name], kind) for name, kind in shape.items())


def is_snapshot(dump: Dict) -> bool:
    """Whether nothing crashed: `backtrace --pid` looked at a process that ran."""
    return dump["signal"] is None and bool(dump["threads"]) and not any(
        thread["crashed"] for thread in dump["threads"])


def brief(dump: Dict) -> Dict:
    """`dump` with no more than the crashed thread's innermost frames, and what they are in."""
    threads = [{**each, "frames": each["frames"][:BRIEF],
                "frames_cut": each["frames_cut"] or len(each["frames"]) > BRIEF}
               for each in dump["threads"][:1]]
    used = {frame["module"] for each in threads for frame in each["frames"]}
    return {**dump, "threads": threads,
            "modules": [row for row in dump["modules"] if row["path"] in used],
            "threads_cut": dump["threads_cut"] or len(dump["threads"]) > 1}


def program(dump: Dict) -> str:
    """What people call the program: the last part of its path, or of its command."""
    command = (dump["command"] or "").partition(" ")[0]
    return (dump["executable"] or command).rpartition("/")[2]


def system_log(text: str) -> str:
    """The end of the system log that is stored with the core dump; "" if there is none."""
    return text.partition(LOG)[2]
