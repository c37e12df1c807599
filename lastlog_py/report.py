"""A record as text that leaves the router: the head of a download, a bug report in Markdown.

Pure functions over CONTRACT's RECORD as a dict.  What came from a crash is hostile: no control
character of it, and none that hides or reorders text, gets out.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from typing import Any

    Dict = dict[str, Any]

__all__ = ["backtrace", "core_from", "facts", "frame", "header", "markdown", "safe",
           "symbols_from", "tail", "utc"]

LOG_LINES = 80              # of the log, in a bug report
LOG_BYTES = 8 << 10         # of UTF-8, likewise
FRAMES = 64                 # of a trace
THREADS = 8                 # of a core dump, in a bug report
LONGEST = 300               # characters of a fact or a frame

# What moves a cursor, changes colours, is invisible or turns text around.
CONTROL = ("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f"
           "\ufeff]")


def safe(text: str) -> str:
    """`text` with control characters made visible; line feeds and tabs stay."""
    if text.isprintable():              # mostly so, and then no pattern need be compiled
        return text
    import re  # here, not above: it costs `backtrace` 5 ms

    return re.sub(CONTROL, _escape, text.replace("\r\n", "\n"))


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
            ("Suspect", kernel.get("suspect")),
            *_dump_facts(record["coredump"]),
            ("Kernel", kernel.get("release") or boot.get("kernel")),
            ("Tainted", kernel.get("tainted")),
            ("Firmware", boot.get("firmware")),
            ("Hardware", kernel.get("hardware")),
            ("Signature", record["signature"]),
            ("Core", _core(record)),
            ("Symbols", record.get("symbols")),
            ("Found in", _found_in(record["source"])))
    return [(name, _line(value)) for name, value in rows if value]


def _dump_facts(dump: Dict | None) -> list[tuple[str, str | None]]:
    if dump is None:
        return []
    from .coredump import words  # here, not above: most records are no core dumps

    thread = "" if dump["tid"] is None else f", thread {dump['tid']}"
    pid = None if dump["pid"] is None else f"{dump['pid']}{thread}"
    return [("Program", dump["executable"]), ("Command", dump["command"]), ("PID", pid),
            ("Signal", words.signal(dump)), ("Cause", words.cause(dump)),
            ("Machine", dump["machine"]),
            ("Dropped", _plural_crashes(dump.get("dropped"))),
            *(("Note", note) for note in dump.get("notes", ()))]


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
    return ", ".join((source["medium"], *(word for word in ("recovered", "truncated", "torn")
                                           if source[word])))


def frame(entry: Dict) -> str:
    """A line of a call trace, safe; "? " marks what may be stale, as kernels do."""
    return ("  " if entry["reliable"] else "? ") + _line(_place(entry))


def _plural_crashes(dropped: int | None) -> str | None:
    """Of the same program, too often to be recorded."""
    return f"{dropped} more {'crash' if dropped == 1 else 'crashes'} before it" if dropped else None


def backtrace(dump: Dict) -> list[str]:
    """The threads of a core dump as lines, safe, the crashed one first; "? " marks guesses."""
    rows: list[str] = []
    for thread in dump["threads"]:
        what = f"Thread {thread['tid']}{', the one that crashed' if thread['crashed'] else ''}:"
        rows += ["", what] if rows else [what]
        rows += _frames(thread)
    return rows + (["", "There were more threads."] if dump["threads_cut"] else [])


def _frames(thread: Dict) -> list[str]:
    rows: list[str] = []
    omitted, gap = thread.get("omitted") or 0, thread.get("gap") or 0
    for index, entry in enumerate(thread["frames"]):
        if omitted and index == gap:
            rows.append(f"  ... {omitted} frames left out")
        rows += _dump_frame(index + (omitted if index >= gap else 0), entry)
    cut = thread["frames_cut"] and not omitted
    return rows + (["  ... and more"] if cut else [] if rows else ["  no frame is known"])


def _dump_frame(number: int, entry: Dict) -> list[str]:
    """ "  #1  strlen+0x14  [libc.so+0x3c34]  cfi", and a line for each function that is known."""
    symbol = f"{entry['symbol']}+{entry['symbol_offset'] or '0x0'}" if entry["symbol"] else ""
    name = (entry["module"] or "").rpartition("/")[2]
    place = f"{name}+{entry['offset']}" if name and entry["offset"] else \
        entry["pc"] or "unreadable"
    mark = "? " if entry["how"] == "scan" else "  "
    rows = [_line(mark + "  ".join(filter(None, (f"#{number:<3}", symbol, f"[{place}]",
                                                 entry["how"]))))]
    lines = entry.get("lines", ())
    for index, each in enumerate(lines):
        inlined = " (inlined)" if index < len(lines) - 1 else ""
        at = f" at {each['file']}:{each['line'] or '?'}" if each["file"] else ""
        rows.append(_line(f"        {each['function'] or 'a function'}{at}{inlined}"))
    return rows


def symbols_from(record: Dict) -> list[str]:
    """The command that names functions and lines, and the files that it needs, each with the
    command that does it for that one; [] for none."""
    from .coredump import words  # as above

    dump = record["coredump"]
    used = {each["module"] for thread in dump["threads"] for each in thread["frames"]}
    rows = [each for each in dump["modules"] if each["path"] in used
            and (each["build_id"] or each.get("text_id"))]
    if any("debug" in each for each in dump["modules"]):       # it has been done
        return ["Files:", *(f"  {_module(each)}" for each in rows)] if rows else []
    lines = [f"With the unstripped files in DIR, {words.to_symbolize(record)} names the functions "
             "and lines of"] if rows else []
    for each in rows:
        lines.append(f"  {_module(each)}")
        lines += [f"      {words.to_symbolize(record, each['path'])}"] \
            if each["path"].startswith("/") else []
    return lines


def _core(record: Dict) -> str | None:
    core = record.get("core")
    return f"{core['path']} ({core['size'] + 1023 >> 10} KiB)" if core else None


def core_from(record: Dict) -> list[str]:
    """How to open the reduced core on a PC; [] where there is none."""
    from .coredump import words  # as above

    commands = words.to_open(record)
    return ["With the unstripped files in DIR, each where it is on the router, gdb opens its core:",
            *(f"  {_line(each)}" for each in commands)] if commands else []


def _module(module: Dict) -> str:
    known = f"build-id {module['build_id']}" if module["build_id"] else \
        f"text id {module['text_id']}"
    return _line(f"{module['path']}  {known}" + (f"  from {module['debug']}"
                                                 if module.get("debug") else ""))


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
    trace = "\n".join(_trace(record))
    log = _end(_log(record))
    traced = "Backtrace" if record["coredump"] else "Call trace"
    title = _line(record["title"] or record["kind"])
    return "\n\n".join((f"### {_span(title)}", _fenced(_head(record, version)),
                        *((f"{traced}:", _fenced(trace)) if trace else ()),
                        *(("The end of the log:", _fenced(log)) if log else ()))) + "\n"


def _trace(record: Dict) -> list[str]:
    if not record["coredump"]:
        return [frame(each) for each in (record["kernel"] or {}).get("trace", ())[:FRAMES]]
    dump = record["coredump"]
    threads = [{**each, "frames": each["frames"][:FRAMES],
                "frames_cut": each["frames_cut"] or len(each["frames"]) > FRAMES}
               for each in dump["threads"][:THREADS]]
    cut = dump["threads_cut"] or len(dump["threads"]) > THREADS
    rows = backtrace({**dump, "threads": threads, "threads_cut": cut}) if threads else []
    known = symbols_from(record)
    return [*rows, *(["", *known] if known else [])]


def _log(record: Dict) -> str:
    """The log in the record's text: all of it, or what stands behind a core dump."""
    text: str = record["text"]
    if not record["coredump"]:
        return text
    from .coredump.shape import system_log

    return system_log(text)


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
    import re  # here, not above: a bug report needs it

    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(least, longest + 1)
