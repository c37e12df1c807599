"""The text of a core dump's record, read back: CONTRACT's `coredump` as a dict.

report.py writes the text and says how it looks.  The text may be damaged or hostile: nothing here
raises, what cannot be understood is left out, and every list has a limit.  Pure; not on the
handler's path, but on that of `backtrace`: `re`, `typing` and `collections` would cost it 6 ms.
"""

from __future__ import annotations

from .shape import LOG, MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Dict = dict[str, Any]

__all__ = ["read"]

MAX_THREADS, MAX_FRAMES, MAX_MODULES, MAX_NOTES = 1024, 1 << 14, 1024, 64
MAX_REGISTERS = 256             # of one thread
LONGEST = 4096                  # characters of a value: PATH_MAX

HOW = ("registers", "signal", "cfi", "exidx", "prologue", "frame-pointer", "link-register", "scan")

DIGITS, HEX, LOWER = "0123456789", "0123456789abcdef", "abcdefghijklmnopqrstuvwxyz"
SIGNAL_NAME, REGISTER_NAME = f"{LOWER.upper()}{DIGITS}+_-", f"{LOWER}{DIGITS}_"


def read(text: str) -> Dict | None:
    """The core dump that `text` tells of; None: nothing in it does.

    Beside CONTRACT's keys: "notes" [str], "dropped" int; each module's "text_id"; each thread's
    "omitted" (frames left out of the middle) and "gap" (index of the first frame behind them).  The
    "pc" of a frame whose line is damaged may be None.
    """
    reader = _Reader()
    for line in text.partition(LOG)[0].split("\n"):
        reader.take(line.removesuffix("\r"))
    return reader.dump if text.startswith(MAGIC) or reader.knows_something() else None


# A frame of which only its place in the backtrace is known.
_LOST = {"pc": None, "module": None, "offset": None, "build_id": None, "symbol": None,
         "symbol_offset": None, "how": "scan"}


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
        self.has_registers = False          # that thread
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
        elif line.startswith("Registers:"):
            self._registers(line)
        elif self.thread is not None and " how=" in line:
            self._frame(line)                   # its first character is damaged
        elif line:
            self._fact(line)

    def _fact(self, line: str) -> None:
        key, _, value = line.partition(": ")
        if key == "Note" and len(self.dump["notes"]) < MAX_NOTES:
            self.dump["notes"].append(_plain(value))
        elif key == "Signal":
            self._signal(value)
        elif key in _FACTS:
            name, convert = _FACTS[key]
            known = convert(value)
            if known is not None:
                self.dump[name] = known

    def _signal(self, value: str) -> None:
        """ "11 SIGSEGV"."""
        number, space, name = value.partition(" ")
        if _is(number, DIGITS, 3) and (_is(name, SIGNAL_NAME, 16) or not space):
            self.dump |= {"signal": int(number), "signal_name": name or f"signal {number}"}

    def _module(self, line: str) -> None:
        number, rest = _numbered(line, "Module ", 5)
        if number is None or len(self.modules) >= MAX_MODULES or number in self.modules:
            return
        words, _, path = rest.partition(" path=")
        fields = _fields(words)
        module = {"path": _plain(path), "build_id": _hex(fields.get("build-id", "")),
                  "base": _address(fields.get("base", "")), "text_id": _hex(fields.get("text-id",
                                                                                       "")),
                  "size": int(_address(fields.get("size", "")) or "0", 16)}
        self.modules[number] = module
        self.dump["modules"].append(module)

    def _thread(self, line: str) -> None:
        number, rest = _numbered(line, "Thread ", 10)
        self.thread = None
        if number is None:
            return
        if len(self.dump["threads"]) >= MAX_THREADS:
            self.dump["threads_cut"] = True
            return
        self._begin(number, _fields(rest))

    def _begin(self, tid: int, fields: dict[str, str]) -> None:
        self.thread = {"tid": tid, "crashed": "crashed" in fields, "registers": {},
                       "frames": [], "frames_cut": "cut" in fields,
                       "omitted": _number(fields.get("omitted", "")) or 0,
                       "gap": _number(fields.get("gap", ""))}
        self.dump["threads"].append(self.thread)
        self.has_registers = False

    def _registers(self, line: str) -> None:
        """A thread has one such line: where there is another, the heading above is damaged."""
        if (self.thread is None or self.has_registers) and self.knows_something():
            is_first = not self.dump["threads"] and self.dump["signal"] is not None
            self._begin((self.dump["tid"] or 0) if is_first else 0,
                        {"crashed": ""} if is_first else {})
        if self.thread is not None:
            self.has_registers = True
            self.thread["registers"].update(
                (name, value.lower()) for name, value in list(_fields(line).items())[:MAX_REGISTERS]
                if _is(name, REGISTER_NAME, 8) and _address(value))

    def _frame(self, line: str) -> None:
        """Whatever is damaged in it, the frame stays: those below must not be taken for it."""
        if self.thread is None:
            return
        if self.frames >= MAX_FRAMES:
            self.thread["frames_cut"] = True
            return
        self.frames += 1
        frames: list[Dict] = self.thread["frames"]
        if _number(line[1:].partition(" ")[0]) == len(frames) + 1:
            frames.append({**_LOST})            # the line above ended in damage, and is in another
        words, _, symbol = line.partition(" symbol=")
        fields = _fields(words)
        pc = next((word for word in words.split(" ")[1:2] if _address(word)), None)
        module, offset = self._module_of(fields, pc)
        if pc is None and module and offset:
            pc = hex(int(module["base"] or "0", 16) + int(offset, 16))
        name, symbol_offset = _symbol(symbol)
        how = fields.get("how")
        frames.append({
            "pc": pc and pc.lower(), "module": module.get("path"), "offset": offset,
            "build_id": module.get("build_id"), "symbol": name,
            "symbol_offset": symbol_offset, "how": how if how in HOW else "scan"})

    def _module_of(self, fields: dict[str, str], pc: str | None) -> tuple[Dict, str | None]:
        """The module of a frame and the offset in it.  Of pc, module and offset two give the third,
        where one of them is damaged."""
        offset = _address(fields.get("offset", ""))
        number = _number(fields.get("module", ""))
        module = self.modules.get(number, {}) if number is not None else {}
        if pc is None or bool(module) == bool(offset):
            return module, offset
        if offset:
            base = hex(max(int(pc, 16) - int(offset, 16), 0))
            return next((row for row in self.dump["modules"] if row["base"] == base), {}), offset
        distance = int(pc, 16) - int(module["base"] or "0", 16)
        return module, hex(distance) if 0 <= distance < module["size"] else None


def _plain(value: str) -> str:
    """`value` as it was before it was written: \\xNN is a byte."""
    raw = value[:4 * LONGEST].encode("utf-8", "replace")
    first, *parts = raw.split(b"\\x")
    raw = b"".join([first, *map(_unescaped, parts)])
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")[:LONGEST]


def _unescaped(part: bytes) -> bytes:
    """What stood behind a "\\x": two digits are a byte, and everything else stays."""
    code = part[:2].decode("ascii", "replace")
    is_byte = len(code) == 2 and not code.lower().strip(HEX)
    return bytes((int(code, 16),)) + part[2:] if is_byte else b"\\x" + part


def _is(text: str, allowed: str, most: int) -> bool:
    """Whether `text` is one to `most` of the characters `allowed`."""
    return 0 < len(text) <= most and not text.strip(allowed)


def _numbered(line: str, head: str, most: int) -> tuple[int | None, str]:
    """ "Module 3: …" as 3 and what comes behind the colon; None: it has no such number."""
    number, _, rest = line.removeprefix(head).partition(":")
    return int(number) if _is(number, DIGITS, most) else None, rest


def _text(value: str) -> str | None:
    return _plain(value) or None


def _number(value: str) -> int | None:
    return int(value) if _is(value.removeprefix("-"), DIGITS, 10) else None


def _address(value: str) -> str | None:
    value = value.lower()
    return value if value.startswith("0x") and _is(value[2:], HEX, 16) else None


def _hex(value: str) -> str | None:
    return value if _is(value, HEX, 128) else None


def _yes(value: str) -> bool | None:
    return True if value == "yes" else None


def _fields(words: str) -> dict[str, str]:
    """ "crashed gap=4" as {"crashed": "", "gap": "4"}."""
    return {key: value for key, _, value in (word.partition("=") for word in words.split())}


def _symbol(text: str) -> tuple[str | None, str | None]:
    """ "strlen+0x14" as name and offset."""
    name, plus, offset = text.rpartition("+")
    if plus and _address(offset):
        return _text(name), _address(offset)
    return _text(text), None


# Key of a line → key of the dict, and what makes the value; None: it cannot be understood
_FACTS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "Executable": ("executable", _text), "Command": ("command", _text), "PID": ("pid", _number),
    "TID": ("tid", _number), "UID": ("uid", _number), "Machine": ("machine", _text),
    "Code": ("code_name", _text), "Fault-Address": ("fault_address", _address),
    "Truncated": ("truncated", _yes), "Threads-Cut": ("threads_cut", _yes),
    "Dropped": ("dropped", _number),
}
