"""The text of a core dump's record, read back: CONTRACT's `coredump` as a dict.

report.py writes the text and says how it looks.  The text may be damaged or hostile: nothing here
raises, what cannot be understood is left out, and every list has a limit.  Pure; not on the
handler's path.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .shape import LOG, MAGIC

__all__ = ["read"]

Dict = dict[str, Any]

MAX_THREADS, MAX_FRAMES, MAX_MODULES, MAX_NOTES = 1024, 1 << 14, 1024, 64
MAX_REGISTERS = 256             # of one thread
LONGEST = 4096                  # characters of a value: PATH_MAX

HOW = ("registers", "signal", "cfi", "exidx", "prologue", "frame-pointer", "link-register", "scan")

_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{1,16}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,10}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{1,128}", re.ASCII)
_SIGNAL = re.compile(r"(\d{1,3})(?: ([A-Z0-9+_-]{1,16}))?", re.ASCII)
_MODULE = re.compile(r"Module (\d{1,5}):", re.ASCII)
_THREAD = re.compile(r"Thread (\d{1,10}):", re.ASCII)
_FRAME = re.compile(r"#\d{1,6} (0x[0-9a-fA-F]{1,16})", re.ASCII)
_REGISTER = re.compile(r"([a-z0-9_]{1,8})=(0x[0-9a-fA-F]{1,16})", re.ASCII)


def read(text: str) -> Dict | None:
    """The core dump that `text` tells of; None: nothing in it does.

    Beside CONTRACT's keys: "notes" [str], "dropped" int; each module's "text_id"; each thread's
    "omitted" (frames left out of the middle) and "gap" (index of the first frame behind them).
    """
    reader = _Reader()
    for line in text.partition(LOG)[0].split("\n"):
        reader.take(line.removesuffix("\r"))
    return reader.dump if text.startswith(MAGIC) or reader.knows_something() else None


class _Reader:
    """Line by line; a frame belongs to the thread above it."""

    def __init__(self) -> None:
        self.dump: Dict = {
            "executable": None, "command": None, "pid": None, "tid": None, "uid": None,
            "machine": None, "signal": None, "signal_name": None, "code_name": None,
            "fault_address": None, "truncated": False, "threads": [], "modules": [],
            "threads_cut": False, "dropped": 0, "notes": []}
        self.modules: dict[int, Dict] = {}
        self.thread: Dict | None = None
        self.frames = 0

    def knows_something(self) -> bool:
        return any(self.dump[name] for name in ("executable", "signal", "threads", "modules"))

    def take(self, line: str) -> None:
        if line.startswith("#"):
            self._frame(line)
        elif line.startswith("Thread "):
            self._thread(line)
        elif line.startswith("Module "):
            self._module(line)
        elif line.startswith("Registers: "):
            self._registers(line)
        else:
            self._fact(line)

    def _fact(self, line: str) -> None:
        key, _, value = line.partition(": ")
        if key == "Note" and len(self.dump["notes"]) < MAX_NOTES:
            self.dump["notes"].append(_plain(value))
        elif key == "Signal":
            found = _SIGNAL.fullmatch(value)
            if found:
                number = int(found[1])
                self.dump |= {"signal": number, "signal_name": found[2] or f"signal {number}"}
        elif key in _FACTS:
            name, convert = _FACTS[key]
            known = convert(value)
            if known is not None:
                self.dump[name] = known

    def _module(self, line: str) -> None:
        found = _MODULE.match(line)
        if not found or len(self.modules) >= MAX_MODULES or int(found[1]) in self.modules:
            return
        words, _, path = line[found.end():].partition(" path=")
        fields = _fields(words)
        module = {"path": _plain(path), "build_id": _hex(fields.get("build-id", "")),
                  "base": _address(fields.get("base", "")), "text_id": _hex(fields.get("text-id",
                                                                                       "")),
                  "size": int(_address(fields.get("size", "")) or "0", 16)}
        self.modules[int(found[1])] = module
        self.dump["modules"].append(module)

    def _thread(self, line: str) -> None:
        found = _THREAD.match(line)
        self.thread = None
        if not found:
            return
        if len(self.dump["threads"]) >= MAX_THREADS:
            self.dump["threads_cut"] = True
            return
        fields = _fields(line[found.end():])
        self.thread = {"tid": int(found[1]), "crashed": "crashed" in fields, "registers": {},
                       "frames": [], "frames_cut": "cut" in fields,
                       "omitted": _number(fields.get("omitted", "")) or 0,
                       "gap": _number(fields.get("gap", ""))}
        self.dump["threads"].append(self.thread)

    def _registers(self, line: str) -> None:
        if self.thread is not None:
            rows = _REGISTER.findall(line, len("Registers:"))[:MAX_REGISTERS]
            self.thread["registers"].update((name, value.lower()) for name, value in rows)

    def _frame(self, line: str) -> None:
        found = _FRAME.match(line)
        if self.thread is None or not found:
            return
        if self.frames >= MAX_FRAMES:
            self.thread["frames_cut"] = True
            return
        self.frames += 1
        words, _, symbol = line[found.end():].partition(" symbol=")
        fields = _fields(words)
        module = self.modules.get(_number(fields.get("module", "")) or 0, {}) \
            if "module" in fields else {}
        name, offset = _symbol(symbol)
        how = fields.get("how")
        self.thread["frames"].append({
            "pc": found[1].lower(), "module": module.get("path"),
            "offset": _address(fields.get("offset", "")), "build_id": module.get("build_id"),
            "symbol": name, "symbol_offset": offset, "how": how if how in HOW else "scan"})


def _plain(value: str) -> str:
    """`value` as it was before it was written: \\xNN is a byte."""
    raw = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()),
                       value[:4 * LONGEST].encode("utf-8", "replace"))
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")[:LONGEST]


def _text(value: str) -> str | None:
    return _plain(value) or None


def _number(value: str) -> int | None:
    return int(value) if _NUMBER.fullmatch(value) else None


def _address(value: str) -> str | None:
    return value.lower() if _ADDRESS.fullmatch(value) else None


def _hex(value: str) -> str | None:
    return value if _HEX.fullmatch(value) else None


def _yes(value: str) -> bool | None:
    return True if value == "yes" else None


def _fields(words: str) -> dict[str, str]:
    """ "crashed gap=4" as {"crashed": "", "gap": "4"}."""
    return {key: value for key, _, value in (word.partition("=") for word in words.split())}


def _symbol(text: str) -> tuple[str | None, str | None]:
    """ "strlen+0x14" as name and offset."""
    name, plus, offset = text.rpartition("+")
    if plus and _ADDRESS.fullmatch(offset):
        return _text(name), offset.lower()
    return _text(text), None


# Key of a line → key of the dict, and what makes the value; None: it cannot be understood
_FACTS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "Executable": ("executable", _text), "Command": ("command", _text), "PID": ("pid", _number),
    "TID": ("tid", _number), "UID": ("uid", _number), "Machine": ("machine", _text),
    "Code": ("code_name", _text), "Fault-Address": ("fault_address", _address),
    "Truncated": ("truncated", _yes), "Threads-Cut": ("threads_cut", _yes),
    "Dropped": ("dropped", _number),
}
