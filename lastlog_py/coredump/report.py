"""A crash as the text of its record, and as one line for people.

The text is for a person with `strings` as much as for reading.py, which turns it back: `Key: value`
lines, then a line each for the modules, then the threads, each after an empty line; last, if there
is one, the end of the system log as it was.  What a value holds of control characters, backslashes
and undecodable bytes is written as \\xNN: one line stays one line.  A value that is not known has
no line.  On the hot path.
"""

from __future__ import annotations

from .culprit import file_name, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .crash import Crash, FrameRow, ModuleRow, ThreadRow

__all__ = ["MAGIC", "escape", "escape_path", "leave_out_core", "plain_log", "render", "title"]

MAGIC = "lastlog core dump 1"
NO_CORE = "None of its memory is kept: "        # how the handler begins to say so
LOG = b"\nSystem log:\n"
LOG_SHARE = 4096            # bytes of the room that the log gets before the later threads
LEAST = 2048                # bytes in which the head and the innermost frames have room
LEAST_VALUE, MOST_VALUE = 32, 1024      # bytes of a value
MOST_PATH = 300             # of a module's; its last part may be 255, and stays whole
LONGEST_ESCAPE = 16         # bytes of one character, written as \xNN
MOST_TITLE = 120


def render(crash: Crash, room: int, log: bytes = b"") -> bytes:
    """The text, in at most `room` bytes if these are LEAST or more; log: of the system, its end.

    Who has precedence: the head, the crashed thread, a part of the log, the other threads, each
    with the modules that its frames are in, and last the modules that no frame is in.
    """
    threads = list(crash.threads)       # where time is up, the thread that makes them still runs
    text = _Text(crash, room - len(_head(crash, True, room).encode()))
    for thread in threads[:1]:
        text.add_crashed(thread)
    text.spare = min(len(LOG) + len(log), LOG_SHARE) if log else 0
    for thread in threads[1:]:
        if not text.add(thread):
            break
    text.add_modules()
    head = _head(crash, crash.threads_cut or len(text.threads) < len(threads), room)
    return f"{head}{text}".encode() + _log_part(log, text.left)


class _Text:
    """The modules and threads that there was room for."""

    __slots__ = ("crash", "left", "modules", "most", "spare", "threads")

    def __init__(self, crash: Crash, left: int) -> None:
        self.crash = crash
        self.left = left - 1                    # bytes; one is the empty line above the modules
        self.spare = 0                          # of them, for the log
        self.most = _most(left)
        self.modules: dict[int, str] = {}       # number → line
        self.threads: list[str] = []

    def __str__(self) -> str:
        modules = "".join(self.modules[number] for number in sorted(self.modules))
        return (f"\n{modules}" if modules else "") + "".join(self.threads)

    def add_crashed(self, thread: ThreadRow) -> None:
        """With as many of its innermost frames as there is room for."""
        text, modules, _ = self._taken(thread)
        self._put(text, modules)

    def add(self, thread: ThreadRow) -> bool:
        """All of it; False: there is no room for that."""
        text, modules, is_whole = self._taken(thread)
        if is_whole:
            self._put(text, modules)
        return is_whole

    def add_modules(self) -> None:
        """Those that no frame is in, which registers may point to."""
        for number in range(len(self.crash.modules)):
            row = self._module(number, self.modules)
            if _size(row) > self.left - self.spare:
                break
            if row:
                self.modules[number] = row
                self.left -= _size(row)

    def _put(self, text: str, modules: dict[int, str]) -> None:
        self.threads.append(text)
        self.modules |= modules
        self.left -= _size(text) + sum(map(_size, modules.values()))

    def _taken(self, thread: ThreadRow) -> tuple[str, dict[int, str], bool]:
        """Its lines, those of the modules that come with them, and whether it is all of it."""
        room = self.left - self.spare
        lines: list[str] = []
        modules: dict[int, str] = {}
        registers = _registers(thread, room // 3)
        room -= _size(_heading(thread, True) + registers)
        for index, frame in enumerate(thread.frames):
            row = self._module(frame.module, modules)
            lines.append(_frame(index, frame, self.most))
            room -= _size(row) + _size(lines[-1])
            if room < 0:
                lines.pop()
                break
            if row and frame.module is not None:
                modules[frame.module] = row
        cut = room < 0
        return "".join([_heading(thread, cut), registers, *lines]), modules, not cut

    def _module(self, number: int | None, taken: dict[int, str]) -> str:
        """Its line; "" if there is none, or it is in the text or among `taken`."""
        if number is None or number in self.modules or number in taken:
            return ""
        return _module(number, self.crash.modules[number], min(self.most, MOST_PATH))


def _size(text: str) -> int:
    return len(text.encode())


def _most(room: int) -> int:
    """Bytes of one value."""
    return max(LEAST_VALUE, min(room // 8, MOST_VALUE))


def _head(crash: Crash, threads_cut: bool, room: int) -> str:
    most = _most(room)
    lines = [MAGIC]
    for key, value in _fields(crash, threads_cut):
        if value:
            shown = escape_path(value, most) if key == "Executable" else escape(value, most)
            lines.append(f"{key}: {shown}")
    notes = (f"Note: {escape(note, most)}" for note in crash.notes if note)
    return "\n".join([*lines, *_fitting(notes, max(room // 8, 0))]) + "\n"


def _fields(crash: Crash, threads_cut: bool) -> list[tuple[str, str | None]]:
    signal = f"{crash.signal} {crash.signal_name or ''}".rstrip() if crash.signal else None
    return [("Executable", crash.executable), ("Command", crash.command),
            ("PID", _number(crash.pid)), ("TID", _number(crash.tid)), ("UID", _number(crash.uid)),
            ("Machine", crash.machine), ("Signal", signal), ("Code", crash.code_name),
            ("Fault-Address", None if crash.fault_address is None else f"{crash.fault_address:#x}"),
            ("Truncated", "yes" if crash.truncated else None),
            ("Threads-Cut", "yes" if threads_cut else None),
            ("Dropped", str(crash.dropped) if crash.dropped else None)]


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _module(index: int, module: ModuleRow, most: int) -> str:
    ids = f" build-id={module.build_id}" if module.build_id else ""
    ids += f" text-id={module.text_id}" if module.text_id else ""
    return (f"Module {index}: base={module.base:#x} size={module.size:#x}{ids} "
            f"path={escape_path(module.path, most)}\n")


def _heading(thread: ThreadRow, cut: bool) -> str:
    words = [f"\nThread {thread.tid}:"]
    words += ["crashed"] if thread.crashed else []
    words += ["cut"] if thread.cut or cut else []
    if thread.omitted:
        words += [f"omitted={thread.omitted}", f"gap={thread.gap}"]
    return " ".join(words) + "\n"


def _registers(thread: ThreadRow, room: int) -> str:
    words = (f" {name}={value:#x}" for name, value in thread.registers)
    return f"Registers:{''.join(_fitting(words, room))}\n"


def _frame(index: int, frame: FrameRow, most: int) -> str:
    place = f" module={frame.module} offset={frame.offset:#x}" if frame.module is not None and \
        frame.offset is not None else ""
    symbol = f" symbol={escape(frame.symbol, most)}+{frame.symbol_offset:#x}" if frame.symbol \
        else ""
    return f"#{index} {frame.pc:#x}{place} how={frame.how}{symbol}\n"


def escape(value: str, most: int = MOST_VALUE) -> str:
    """`value` on one line, and so that it can be told from what is around it; at most `most` bytes,
    its beginning."""
    value = value[:most]
    if value.isascii() and value.isprintable() and "\\" not in value:
        return value
    return "".join(_fitting(map(_escaped, value), most))


def escape_path(value: str, most: int = MOST_VALUE) -> str:
    """`value` escaped; where it is too long without its middle: the last part names the file."""
    whole = escape(value, most + LONGEST_ESCAPE)
    if _size(whole) <= most:
        return whole
    first = escape(value, most // 8) + "..."
    last = list(_fitting(map(_escaped, reversed(value[-most:])), most - _size(first)))
    return first + "".join(reversed(last))


def _fitting(pieces: Iterable[str], room: int) -> Iterator[str]:
    """As many of the first pieces as are at most `room` bytes."""
    for piece in pieces:
        room -= _size(piece)
        if room < 0:
            return
        yield piece


def _escaped(char: str) -> str:
    """Surrogates stand for undecodable bytes; what turns text around is not printable."""
    if char.isprintable() and char != "\\":
        return char
    how = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", how))


def leave_out_core(crash: Crash) -> None:
    """Where no core is wanted it goes without saying that none is kept; of the reasons only those
    stay that say how the record is to be read."""
    notes = [note.removeprefix(NO_CORE) for note in crash.notes
             if not note.startswith(NO_CORE) or note.startswith(f"{NO_CORE}its ")]
    crash.notes = [note[:1].upper() + note[1:] for note in notes]


# --- the log


def plain_log(log: bytes) -> bytes:
    """A system log as UTF-8 without NUL."""
    return log.decode("utf-8", "replace").replace("\0", "\ufffd").encode()


def _log_part(log: bytes, room: int) -> bytes:
    """The end of the log, from the start of a line, as far as there is room."""
    room -= len(LOG)
    if len(log) > room:
        log = log[-room:].partition(b"\n")[2] if room > 0 else b""
    return LOG + log if log else b""


# --- the title


def title(crash: Crash) -> str:
    """"uhttpd: SIGSEGV in strlen"."""
    name = crash.name or (crash.executable or "").rpartition("/")[2] or "a program"
    what = crash.signal_name or (f"signal {crash.signal}" if crash.signal else "crashed")
    place = _place(crash)
    return escape(f"{name}: {what}{f' in {place}' if place else ''}"[:MOST_TITLE])


def _place(crash: Crash) -> str:
    """Where it happened; "" where that is not known."""
    frames = crash.threads[0].frames if crash.threads else []
    steps = [(frame.how, frame.symbol or "", _path(crash, frame)) for frame in frames]
    at = shown(steps, crash.code_name, crash.signal_name)
    return _frame_name(frames[at], steps[at][2]) if steps else ""


def _path(crash: Crash, frame: FrameRow) -> str:
    return "" if frame.module is None else crash.modules[frame.module].path


def _frame_name(frame: FrameRow, path: str) -> str:
    name = file_name(path)
    return frame.symbol or (f"{name}+{frame.offset:#x}" if name and frame.offset is not None
                            else name)
