"""A crash as the text of its record, and as one line for people.

The text is for a person with `strings` as much as for reading.py, which turns it back: `Key: value`
lines, then a line each for the modules, then the threads, each after an empty line; last, if there
is one, the end of the system log as it was.  What a value holds of control characters, backslashes
and undecodable bytes is written as \\xNN: one line stays one line.  A value that is not known has
no line.  On the hot path.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .crash import Crash, FrameRow, ModuleRow, ThreadRow

__all__ = ["MAGIC", "escape", "plain_log", "render", "title"]

MAGIC = "lastlog core dump 1"
LOG_SHARE = 4096            # bytes of the room that the log gets before the later threads
MOST_VALUE = 1024           # characters of a value
MOST_TITLE = 120
# Functions in which a program ends that found out itself that something is wrong.
_ENDING = frozenset((
    "abort", "raise", "gsignal", "kill", "tgkill", "tkill", "pthread_kill", "_exit", "_Exit",
    "__assert", "__assert_fail", "__assert2", "__stack_chk_fail", "__fortify_fail", "__chk_fail",
    "__libc_message", "__libc_fatal", "_ZSt9terminatev", "_ZSt10unexpectedv", "__cxa_throw",
    "__cxa_rethrow", "__cxa_pure_virtual", "_ZSt17__throw_bad_allocv", "thrd_kill"))
_ENDS_WITHIN = 12           # frames in which such functions are looked for


def render(crash: Crash, room: int, log: bytes = b"") -> bytes:
    """The text, in at most `room` bytes where that is possible; log: of the system, its end.

    The crashed thread has precedence, then a part of the log, then the other threads.
    """
    modules = "".join(map(_module, range(len(crash.modules)), crash.modules))
    head = _head(crash, True) + (f"\n{modules}" if modules else "")
    spare = min(len(log), LOG_SHARE) if log else 0
    threads, left = _fitting(crash.threads, room - len(head.encode("utf-8", "replace")), spare)
    cut = crash.threads_cut or len(threads) < len(crash.threads)
    text = _head(crash, cut) + (f"\n{modules}" if modules else "") + "".join(threads)
    return text.encode("utf-8", "replace") + _log_part(log, left)


def _fitting(threads: list[ThreadRow], room: int, spare: int) -> tuple[list[str], int]:
    """The threads for which there is room, and what remains of it."""
    texts: list[str] = []
    for thread in threads:
        text = _thread(thread)
        size = len(text.encode("utf-8", "replace"))
        if not texts and size > room:
            text = _shortened(thread, room)
            size = len(text.encode("utf-8", "replace"))
        elif texts and size > room - spare:
            break
        texts.append(text)
        room -= size
    return texts, room


def _shortened(thread: ThreadRow, room: int) -> str:
    """The thread with as many of its innermost frames as there is room for."""
    lines = _thread_lines(thread, len(thread.frames) - 1)
    room -= sum(len(line.encode("utf-8", "replace")) + 1 for line in lines[:3])
    kept = lines[:3]
    for line in lines[3:]:
        room -= len(line.encode("utf-8", "replace")) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join(kept) + "\n"


def _head(crash: Crash, threads_cut: bool) -> str:
    lines = [MAGIC]
    for key, value in _fields(crash, threads_cut):
        if value is not None and value != "":
            lines.append(f"{key}: {escape(value)}")
    return "\n".join(lines) + "\n"


def _fields(crash: Crash, threads_cut: bool) -> list[tuple[str, str | None]]:
    signal = f"{crash.signal} {crash.signal_name or ''}".rstrip() if crash.signal else None
    return [("Executable", crash.executable), ("Command", crash.command),
            ("PID", _number(crash.pid)), ("TID", _number(crash.tid)), ("UID", _number(crash.uid)),
            ("Machine", crash.machine), ("Signal", signal), ("Code", crash.code_name),
            ("Fault-Address", None if crash.fault_address is None else f"{crash.fault_address:#x}"),
            ("Truncated", "yes" if crash.truncated else None),
            ("Threads-Cut", "yes" if threads_cut else None),
            ("Dropped", str(crash.dropped) if crash.dropped else None),
            *(("Note", note) for note in crash.notes)]


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _module(index: int, module: ModuleRow) -> str:
    ids = f" build-id={module.build_id}" if module.build_id else ""
    ids += f" text-id={module.text_id}" if module.text_id else ""
    return (f"Module {index}: base={module.base:#x} size={module.size:#x}{ids} "
            f"path={escape(module.path)}\n")


def _thread(thread: ThreadRow) -> str:
    return "\n".join(_thread_lines(thread, len(thread.frames))) + "\n"


def _thread_lines(thread: ThreadRow, frames: int) -> list[str]:
    """An empty line, the heading, the registers, and a line for each of the first `frames`."""
    words = ["crashed"] if thread.crashed else []
    words += ["cut"] if thread.cut or frames < len(thread.frames) else []
    if thread.omitted:
        words += [f"omitted={thread.omitted}", f"gap={thread.gap}"]
    registers = " ".join(f"{name}={value:#x}" for name, value in thread.registers)
    return ["", f"Thread {thread.tid}: {' '.join(words)}".rstrip(),
            f"Registers: {registers}".rstrip(),
            *(_frame(index, frame) for index, frame in enumerate(thread.frames[:frames]))]


def _frame(index: int, frame: FrameRow) -> str:
    place = f" module={frame.module} offset={frame.offset:#x}" if frame.module is not None and \
        frame.offset is not None else ""
    symbol = f" symbol={escape(frame.symbol)}+{frame.symbol_offset:#x}" if frame.symbol else ""
    return f"#{index} {frame.pc:#x}{place} how={frame.how}{symbol}"


def escape(value: str) -> str:
    """`value` on one line, and so that it can be told from what is around it."""
    value = value[:MOST_VALUE]
    if value.isascii() and value.isprintable() and "\\" not in value:
        return value
    return "".join(map(_escaped, value))


def _escaped(char: str) -> str:
    """Surrogates stand for undecodable bytes; what turns text around is not printable."""
    if char.isprintable() and char != "\\":
        return char
    how = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", how))


# --- the log


def plain_log(log: bytes) -> bytes:
    """A system log as UTF-8 without NUL."""
    return log.decode("utf-8", "replace").replace("\0", "\ufffd").encode()


def _log_part(log: bytes, room: int) -> bytes:
    """The end of the log, from the start of a line, as far as there is room."""
    heading = b"\nSystem log:\n"
    room -= len(heading)
    if len(log) > room:
        log = log[-room:].partition(b"\n")[2] if room > 0 else b""
    return heading + log if log else b""


# --- the title


def title(crash: Crash) -> str:
    """"uhttpd: SIGSEGV in strlen"."""
    name = crash.name or (crash.executable or "").rpartition("/")[2] or "a program"
    what = crash.signal_name or (f"signal {crash.signal}" if crash.signal else "crashed")
    place = _place(crash)
    return escape(f"{name}: {what}{f' in {place}' if place else ''}"[:MOST_TITLE])


def _place(crash: Crash) -> str:
    """Where it happened: behind a signal's handler and the functions that end a program."""
    frames = crash.threads[0].frames if crash.threads else []
    start = max((at for at, frame in enumerate(frames) if frame.how == "signal"), default=0)
    for at, frame in enumerate(frames[start:start + _ENDS_WITHIN], start):
        if frame.symbol in _ENDING and at + 1 < len(frames):
            start = at + 1
    return _frame_name(crash, frames[start]) if frames else ""


def _frame_name(crash: Crash, frame: FrameRow) -> str:
    if frame.symbol:
        return frame.symbol
    if frame.module is None:
        return f"{frame.pc:#x}"
    return f"{crash.modules[frame.module].path.rpartition('/')[2]}+{frame.offset:#x}"
