"""From what lastlog knows to what the page says: the verdict, the facts, the rows of its lists.

The model is the plain dicts of CONTRACT; out comes a dict of plain strings for the template.
Nothing here knows HTML: whatever comes from a crash is escaped by the template alone.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from ..coredump import shape
from ..coredump import words as program
from . import log, words

__all__ = ["Limits", "build"]

STATES = {"captured": "captured", "saved": "saved", "both": "captured and saved",
          "file": "from a file"}

AFTER = {"panic": "a kernel panic", "oops": "a kernel oops", "oom": "running out of memory"}

# How a reboot looks that no crash record explains, or none that is still there.
TONES = {"clean": "calm", "hang": "warn", "power-loss": "warn", "panic": "crash", "oops": "crash",
         "oom": "crash"}

# Facts that take a line of their own; the others stand two in a row.
WIDE = ("Cause", "Where", "Killed", "Suspect", "Hardware", "Program", "Command")

NAMED = 12      # records that the question before clearing names


class Limits(NamedTuple):
    """How much of everything goes on the page, so that its size has a bound."""

    log: int = 65536        # characters of the open record's text, its newest
    rows: int = 100         # records listed
    frames: int = 64        # of one trace
    dumps: int = 8          # core dumps shown with their trace
    threads: int = 24       # of the open core dump, beside the one that crashed
    line: int = 160         # characters of a title, a name, a path
    asked: int = 500        # records that one question about clearing covers

    def shrunk(self, factor: int) -> Limits:
        """The limits divided, none below what still makes sense."""
        return Limits(self.log // factor, max(1, self.rows // factor),
                      max(8, self.frames // factor), self.dumps // factor,
                      self.threads // factor, self.line,
                      max(1, self.asked // factor))


Dict = dict[str, Any]


def build(model: Dict, limits: Limits) -> Dict:
    """What the template shows.  `model` as render.render says."""
    status, records, opened = model["status"], model["records"], model["open"]
    listed = [each for each in records if each["kind"] != "boot"]
    dumps = [each for each in listed if each["coredump"]]
    verdict = _verdict(status, listed, limits)
    return {
        "armed": status["armed"],
        "verdict": verdict,
        "alarm": None if status["armed"] else _alarm(status, limits),
        "clock_set": model["now_trusted"],
        "history": _history(status["history"], {each["id"] for each in records}, limits),
        "record": _record(opened, listed, verdict["id"] == opened["id"], limits) if opened
        else None,
        "dumps": [_dump(each, limits) for each in dumps[:limits.dumps]],
        "dumps_left": max(0, len(dumps) - limits.dumps),
        "kept": _kept(listed, opened, limits),
        "archive": _archive(status),
        "unsaved": sum(each["state"] == "captured" for each in listed),
        "clear": _clear(listed, limits),
        "checks": [_check(each, limits) for each in status["checks"][:limits.rows]],
        "problems": [_problem(each, limits) for each in model["problems"][:limits.rows]],
        "version": status["version"],
    }


def _clip(text: object, limits: Limits) -> str:
    """One line of bounded length."""
    line = str(text).replace("\n", " ").strip()
    return line if len(line) <= limits.line else line[:limits.line - 1] + "\u2026"


# ---- the boots ------------------------------------------------------------------------------

ENDS = {"clean": "clean", "panic": "kernel panic", "oops": "kernel oops",
        "oom": "out of memory", "hang": "hang or reset", "power-loss": "power loss",
        "unknown": "not known"}


def _history(history: Dict, ids: set[str], limits: Limits) -> Dict:
    """How the boots ended: a sentence, and a row for each, newest first.

    ids: of the records that are still there."""
    boots = history["boots"]
    rows = [{"number": before["number"], "firmware": _clip(before["firmware"] or "", limits),
             "ended": ENDS.get(after["reason"], after["reason"]), "reason": after["reason"],
             "record": after["record"] if after["record"] in ids else None,
             "time": words.stamp(after["time"]) if after["time"] else None}
            for after, before in itertools.pairwise(boots)]
    return {"text": _clip(history["text"], limits), "rows": rows}


# ---- the verdict ----------------------------------------------------------------------------

def _verdict(status: Dict, records: list[Dict], limits: Limits) -> Dict:
    """The one sentence on top, in pieces: before, time, after, title, again; and its tone."""
    last = status["last_reboot"]
    ids = {each["id"] for each in records}
    # A crash is told by its head record, or, where that was deleted, by what is left of it.
    whole = [each for each in records if each["kernel"] and each["crash"]
             and (each["crash"] == each["id"] or each["crash"] not in ids)]
    dumps = [each for each in records if each["coredump"]] if status["armed"] else []
    told = next((each["crash"] for each in records if each["id"] == last["record"]), None)
    cause = next((each for each in whole if each["id"] == told), None)
    if cause is not None:
        after = f" after {AFTER.get(last['reason'], 'a crash')}:"
        return _crash_verdict("Rebooted", after, cause, records, limits)
    verdict: Dict = {"tone": "calm", "id": None, "time": None, "after": "", "title": "",
                     "again": ""}
    if last["reason"] in TONES and last["text"]:
        verdict["before"] = _clip(last["text"], limits)
        verdict["tone"] = TONES[last["reason"]]
    elif whole:
        what = AFTER.get(whole[0]["kernel"]["reason"], "a crash of the kernel")
        return _crash_verdict(f"The last crash on record was {what},", ":", whole[0], records,
                              limits)
    elif dumps:
        told = _crash_verdict("The last crash on record was of a program,", ":", dumps[0], records,
                              limits)
        return told | {"tone": "warn"}
    elif status["armed"]:
        verdict["before"] = "No crash has been captured. Everything is set for the next one."
    else:
        verdict["before"] = "Not armed: a crash now would leave no trace."
    if not status["armed"] and not whole:
        verdict["tone"] = "alarm"
    return verdict


def _crash_verdict(before: str, after: str, record: Dict, records: list[Dict],
                   limits: Limits) -> Dict:
    when = words.stamp(record["time"]) if record["time_trusted"] else None
    return {"tone": "crash", "id": record["id"], "time": when, "after": after,
            "before": before if when else before.removesuffix(","),
            "title": _clip(record["title"], limits), "again": _again(record, records, limits)}


def _again(record: Dict, records: list[Dict], limits: Limits) -> str:
    """ "third time since 24.10.2", "" for the first time."""
    count = record["count"] or 1
    if count < 2:
        return ""
    same = [each for each in records
            if each["signature"] == record["signature"] and record["signature"]]
    boot = (same[-1]["boot"] if same else None) or {}
    first = words.stamp(record["first_seen"])
    since = boot.get("firmware") or (first and first["date"])
    return f"{words.ordinal(count)} time" + (f" since {_clip(since, limits)}" if since else "")


def _alarm(status: Dict, limits: Limits) -> list[Dict]:
    """The checks that keep capture from being armed, worst first; maybe none is known."""
    bad = [each for each in status["checks"] if each["state"] == "fail"]
    return [_check(each, limits) for each in bad[:3]]


# ---- the open record ------------------------------------------------------------------------

def _record(record: Dict, records: list[Dict], in_verdict: bool, limits: Limits) -> Dict:
    text = _log(record)
    shown = log.newest(text, limits.log)
    parsed = log.lines(shown) if shown else []
    return {
        **_row(record, records, limits),
        "facts": _facts(record, limits),
        "marks": _marks(record["source"]),
        "trace": _trace(record["kernel"], limits) if record["kernel"] else [],
        "around": log.as_rows(log.around_fault(parsed)) if record["kernel"] else [],
        "in_verdict": in_verdict,
        "runs": [run._asdict() for run in log.runs(parsed)],
        "lines": text.count("\n") + (not text.endswith("\n") and text != ""),
        "cut": words.size(len(shown)) if len(shown) < len(text) else "",
        "dump": _open_dump(record, limits) if record["coredump"] else None,
    }


def _log(record: Dict) -> str:
    """The log in its text: of a core dump's what the system said before it."""
    text: str = record["text"]
    return shape.system_log(text) if record["coredump"] else text


def _facts(record: Dict, limits: Limits) -> list[Dict]:
    """What is known, as name and value; what is not known is left out."""
    kernel, boot = record["kernel"] or {}, record["boot"] or {}
    facts = [*_kernel_facts(kernel), *_dump_facts(record["coredump"]), *_when(record),
             ("Firmware", boot.get("firmware")),
             ("Kernel", kernel.get("release") or boot.get("kernel")),
             ("Tainted", kernel.get("tainted")),
             ("Hardware", kernel.get("hardware"))]
    return [{"name": name, "wide": name in WIDE,
             "value": value if isinstance(value, dict) else _clip(value, limits)}
            for name, value in facts if value]


def _kernel_facts(kernel: Dict) -> list[tuple[str, Any]]:
    if not kernel:
        return []
    name, meaning = words.cause(kernel["cause"])
    return [("Cause", f"{name}: {meaning}" if meaning else name),
            ("Where", _where(kernel)),
            ("Killed", _victim(kernel) if kernel["oom"] else ""),
            ("Suspect", _suspect(kernel.get("suspect"))),
            ("Process", _process(kernel))]          # behind the wide ones, which take whole rows


def _dump_facts(dump: Dict | None) -> list[tuple[str, Any]]:
    if not dump:
        return []
    thread = "" if dump["tid"] in (None, dump["pid"]) else f"thread {dump['tid']}"
    pid = "" if dump["pid"] is None else f"PID {dump['pid']}"
    return [("Cause", _sentence(program.cause(dump))), ("Program", dump["executable"]),
            ("Command", dump["command"]), ("Signal", program.signal(dump)),
            ("Process", ", ".join(filter(None, (pid, thread)))), ("Machine", dump["machine"])]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _where(kernel: Dict) -> str:
    """ "lkdtm_EXCEPTION+0x8 in module lkdtm, at address 0x0"."""
    offset = f"+{kernel['offset']}" if kernel["offset"] else ""
    pieces = [f"{kernel['function']}{offset}" if kernel["function"] else "",
              f"in module {kernel['module']}" if kernel["module"] else "",
              f"at address {kernel['address']}" if kernel["address"] else ""]
    return ", ".join(piece for piece in pieces if piece)


def _process(kernel: Dict) -> str:
    pieces = [kernel["process"] or "",
              "" if kernel["pid"] is None else f"PID {kernel['pid']}",
              "" if kernel["cpu"] is None else f"on CPU {kernel['cpu']}"]
    return ", ".join(piece for piece in pieces if piece)


def _victim(kernel: Dict) -> str:
    oom = kernel["oom"]
    nobody = ("no process, the kernel was told to panic" if kernel["reason"] == "panic"
              else "a process that the log does not name")
    pieces = [oom["victim"] or nobody, "" if oom["pid"] is None else f"PID {oom['pid']}",
              "" if oom["rss_kib"] is None else words.size(oom["rss_kib"] * 1024),
              f"for {oom['trigger']}" if oom["trigger"] else "",
              "at the limit of its control group" if oom.get("cgroup") else ""]
    return ", ".join(piece for piece in pieces if piece)


def _suspect(line: str | None) -> str:
    """What may have brought it about, as the kernel put it."""
    return f"A wireless device had failed shortly before: {line}" if line else ""


def _when(record: Dict) -> list[tuple[str, Any]]:
    """When it happened, as honestly as the clock allows."""
    facts: list[tuple[str, Any]] = []
    when = words.stamp(record["time"])
    if when and record["time_trusted"]:
        facts.append(("When", when))
    elif when:
        facts.append(("When", f"not known: the clock was not set and said {when['text']}"))
    else:
        facts.append(("When", "not known: the record bears no time"))
    if record["uptime"] is not None:
        facts.append(("Uptime", words.duration(record["uptime"]) + " after the kernel started"))
    first = words.stamp(record["first_seen"])
    if (record["count"] or 1) > 1:
        facts.append(("Seen", words.plural(record["count"], "time")
                      + (f", first on {first['date']}" if first else "")))
    return facts


def _marks(source: Dict) -> list[str]:
    """What is wrong with the record itself."""
    marks = []
    if source["recovered"]:
        marks.append("It was recovered: no zone's header leads to it.")
    if source["truncated"]:
        marks.append("Its end is missing.")
    if source["torn"]:
        marks.append("It is damaged: parts of the text may be wrong or missing.")
    if source["ecc_failed"]:
        marks.append(f"{words.plural(source['ecc_failed'], 'block')} could not be repaired.")
    if source["ecc_corrected"]:
        marks.append(f"{words.plural(source['ecc_corrected'], 'byte')} flipped in memory "
                     "and repaired.")
    return marks


def _trace(kernel: Dict, limits: Limits) -> list[Dict]:
    """The frames, innermost first, on top the place of the fault where the trace lacks it."""
    frames = [{"function": _clip(each["function"], limits), "offset": each["offset"] or "",
               "module": _clip(each["module"] or "", limits), "reliable": each["reliable"],
               "fault": False}
              for each in kernel["trace"][:limits.frames]]
    if not frames or not kernel["function"]:
        return frames
    place = {"function": _clip(kernel["function"], limits), "offset": kernel["offset"] or "",
             "module": _clip(kernel["module"] or "", limits), "reliable": True, "fault": False}
    if place not in frames and frames[0]["function"] != place["function"]:
        frames.insert(0, place)
    here = place if place in frames else frames[0]
    frames[frames.index(here)]["fault"] = True
    return frames


# ---- lists ----------------------------------------------------------------------------------

def _row(record: Dict, records: list[Dict], limits: Limits) -> Dict:
    """What identifies a record, in the list and above its own section."""
    mates = [each for each in records
             if record["crash"] and each["crash"] == record["crash"] and each["id"] != record["id"]]
    return {
        "id": record["id"],
        "title": _clip(record["title"], limits) or words.kind(record),
        "kind": words.kind(record),
        "is_crash": record["crash"] is not None,
        "led_to": record["crash"] not in (None, record["id"]),
        "label": words.label(record),
        "time": words.stamp(record["time"]) if record["time_trusted"] else None,
        "state": record["state"],
        "state_words": STATES.get(record["state"], record["state"]),
        "size": words.size(record["source"]["size"]),
        "count": record["count"] or 1,
        "has_core": bool(record.get("core")),
        "mates": [{"id": each["id"], "label": words.label(each)} for each in mates[:8]],
    }


def _kept(records: list[Dict], opened: Dict | None, limits: Limits) -> Dict:
    """The list of what is captured and saved: one row a crash, its other records inside it."""
    ids = {each["id"] for each in records}
    heads = [each for each in records
             if each["crash"] in (None, each["id"]) or each["crash"] not in ids]
    rows = [_row(each, records, limits) for each in heads[:limits.rows]]
    for row, head in zip(rows, heads, strict=False):        # there may be more heads than rows
        family = (row["id"], *(mate["id"] for mate in row["mates"]))
        row["open"] = opened is not None and opened["id"] in family
        row["ids"] = " ".join(family)
        row["name"] = _named(head, limits)
    return {"rows": rows, "left": len(heads) - len(rows), "total": len(records)}


def _clear(records: list[Dict], limits: Limits) -> Dict:
    """What the question before clearing memory says; the newest records, should there be many.

    ids: of everything the question covers.  To clear without saving is to clear these and none
    that is captured after the page was made.
    """
    going = [each for each in records if each["state"] in ("captured", "both")][:limits.asked]
    rows = [{"name": _named(each, limits), "state": each["state"]} for each in going[:NAMED]]
    return {"rows": rows, "left": len(going) - len(rows),
            "lost": sum(each["state"] == "captured" for each in going),
            "ids": " ".join(each["id"] for each in going)}


def _named(record: Dict, limits: Limits) -> str:
    """ "Panic#2, NULL pointer dereference in foo"; without a number the title says it all."""
    label, title = words.label(record), _clip(record["title"], limits)
    return f"{label}, {title}" if label != words.kind(record) and title else title or label


def _archive(status: Dict) -> Dict:
    archive = status["archive"]
    return {"path": archive["path"], "used": words.size(archive["used"]),
            "limit": words.size(archive["limit"])}


def _check(check: Dict, limits: Limits) -> Dict:
    return {"state": check["state"] if check["state"] in ("ok", "warn", "fail") else "unknown",
            "title": _clip(check["title"], limits),
            "found": str(check["found"] or "")[:600], "fix": str(check["fix"] or "")[:2000]}


def _problem(problem: Dict, limits: Limits) -> Dict:
    return {"where": _clip(problem["where"], limits), "what": str(problem["what"])[:600],
            "severity": problem["severity"]}


# ---- core dumps -----------------------------------------------------------------------------

def _dump(record: Dict, limits: Limits) -> Dict:
    """A core dump: what died of what, and the trace of the thread that did."""
    core = record["coredump"]
    return {
        "id": record["id"],
        "title": _clip(record["title"], limits),
        "time": words.stamp(record["time"]) if record["time_trusted"] else None,
        "count": record["count"] or 1,
        "executable": _clip(core["executable"] or "", limits),
        "pid": core["pid"],
        "signal": program.signal(core),
        "truncated": core["truncated"],
        "thread": _thread(core["threads"][0], limits) if core["threads"] else None,
    }


def _open_dump(record: Dict, limits: Limits) -> Dict:
    """A core dump with all that is known of it."""
    core = record["coredump"]
    others = core["threads"][1:limits.threads + 1]
    crashed: Dict = next(iter(core["threads"]), {"registers": {}})
    left = len(core["threads"]) - 1 - len(others)
    return {
        **_dump(record, limits),
        "notes": [_clip(note, limits) for note in core.get("notes", ())],
        "dropped": core.get("dropped", 0),
        "others": [_thread(each, limits) for each in others],
        "others_left": max(0, left), "threads_cut": core["threads_cut"],
        "registers": [{"name": name, "value": value}
                      for name, value in list(crashed["registers"].items())[:limits.frames]],
        "modules": _modules(record, limits),
        "command": program.to_symbolize(record),
        "symbols": record.get("symbols"),
        "core": _core(record),
    }


def _core(record: Dict) -> Dict | None:
    """The reduced core beside the record, and the commands that open it."""
    core = record.get("core")
    return {"path": core["path"], "size": words.size(core["size"]),
            "commands": program.to_open(record)} if core else None


def _modules(record: Dict, limits: Limits) -> list[Dict]:
    """The files it was made of, those with frames first."""
    core = record["coredump"]
    used = {each["module"] for thread in core["threads"] for each in thread["frames"]}
    rows = sorted(core["modules"], key=lambda row: row["path"] not in used)
    return [{"path": _clip(row["path"], limits), "base": row["base"] or "",
             "size": words.size(row["size"]), "used": row["path"] in used,
             "identity": f"build-id {row['build_id']}" if row["build_id"] else
             f"text id {row['text_id']}" if row.get("text_id") else "",
             "command": program.to_symbolize(record, row["path"])
             if row["path"] in used and row["path"].startswith("/") else ""}
            for row in rows[:limits.frames]]


def _thread(thread: Dict, limits: Limits) -> Dict:
    frames = thread["frames"][:limits.frames]
    rows = [_frame(each, limits) for each in frames]
    gap, omitted = thread.get("gap"), thread.get("omitted")
    if omitted and gap is not None and 0 <= gap < len(rows):
        rows.insert(gap, {"omitted": omitted})
    cut = (thread["frames_cut"] and not omitted) or len(frames) < len(thread["frames"])
    return {"tid": thread["tid"], "frames": rows, "cut": cut}


def _frame(frame: Dict, limits: Limits) -> Dict:
    symbol = frame["symbol"] or ""
    if symbol and frame["symbol_offset"]:
        symbol += f"+{frame['symbol_offset']}"
    return {"pc": frame["pc"] or "unreadable", "symbol": _clip(symbol, limits), "omitted": 0,
            "module": _clip(program.file_name(frame), limits), "offset": frame["offset"] or "",
            "how": program.HOW.get(frame["how"], ""), "guess": frame["how"] == "scan",
            "here": frame["how"] == "registers"}
