"""The boot ledger: which boots there were, how each ended, and so why the router rebooted.

It stands in two places.  In the journal, as records of kind "boot", it shows whether the memory
survived; in a small file on flash it outlives a power cut.  Both hold the same lines, one a boot:

    n=12	id=5f3c…	time=1795000000	clock=set	up=14.2	firmware=24.10.2 r28739	reason=clean

Fields are separated by tabs; what is not known is left out.  On the hot path: imports os only.
"""

from __future__ import annotations

import os

from .errors import LastlogError, code_of

__all__ = ["CRASHES", "KEEP", "REASONS", "UNCLEAN", "BootEntry", "history", "is_clean", "load",
           "merged", "outlived", "parse", "settle", "to_line", "told", "why", "write"]

KEEP = 64                       # boots in the file, the newest
MOST_BYTES = 1 << 17            # of the file that are read
RECORDS = 32                    # ids of crashes in a line
LAST_GASP = 60.0                # seconds that a shutdown takes at most after its mark
LONGEST = 80                    # characters of a value

REASONS = ("clean", "panic", "oops", "oom", "hang", "power-loss", "unknown")
CRASHES = ("panic", "oops", "oom")
UNCLEAN = (*CRASHES, "hang")

_HEAD = ("# The boots of this router, oldest first, as lastlog counted them.  reason: how the\n"
         "# boot before it ended.  end: how it ended itself.\n")

WATCHDOG_RESET = 0x20           # WDIOF_CARDRESET of include/uapi/linux/watchdog.h


class BootEntry:
    """One boot.  Times are Unix seconds; uptimes are seconds since the boot began."""

    __slots__ = ("cause", "end", "end_uptime", "firmware", "id", "kernel", "memory", "number",
                 "reason", "records", "signature", "survived", "time", "trusted", "uptime",
                 "waiting")

    def __init__(self, id: str, number: int) -> None:
        self.id = id                        # the kernel's boot_id
        self.number = number
        self.time: float | None = None      # when the entry was made
        self.trusted = False                # whether the clock was set by then
        self.uptime: float | None = None    # it lived at least so long: until the entry was made
        self.firmware = ""
        self.kernel = ""
        self.memory = ""                    # what can tell the next boot that memory survived:
                                            # "journal" | "pmsg" | "console"; "": nothing
        self.reason = ""                    # why the boot before it ended; "": not found out yet
        self.records: list[str] = []        # ids of the crashes of boots before that it found,
                                            # newest first
        self.survived: list[str] = []       # ids of its own, which it survived
        self.cause = ""                     # id of the one that is the reason
        self.signature = ""                 # of that one
        self.waiting = ""                   # mark of the dumps that were there when it began
        self.end = ""                       # "clean"; "": not known
        self.end_uptime: float | None = None


# --- lines


_TEXTS = (("id", "id"), ("firmware", "firmware"), ("kernel", "kernel"), ("memory", "memory"),
          ("reason", "reason"), ("cause", "cause"), ("signature", "signature"), ("end", "end"),
          ("waiting", "waiting"))
_LISTS = ("records", "survived")
_NUMBERS = (("time", "time"), ("up", "uptime"), ("end-up", "end_uptime"))


def to_line(entry: BootEntry) -> str:
    """`entry` as a line, without its line feed."""
    fields = [f"n={entry.number}", f"clock={'set' if entry.trusted else 'unset'}"]
    for key, name in _TEXTS:
        value = _plain(getattr(entry, name))
        fields += [f"{key}={value}"] if value else []
    for key, name in _NUMBERS:
        number = getattr(entry, name)
        fields += [f"{key}={number:.2f}"] if number is not None else []
    for key in _LISTS:
        ids = getattr(entry, key)[:RECORDS]
        fields += [f"{key}={','.join(map(_plain, ids))}"] if ids else []
    return "\t".join(fields)


def _plain(text: str) -> str:
    return "".join(char for char in text if char.isprintable())[:LONGEST]


def parse(line: str) -> BootEntry | None:
    """The boot of a line; None if it is none.  What makes no sense in it is left out."""
    fields = dict(field.partition("=")[::2] for field in line.rstrip("\n").split("\t"))
    number, id = fields.get("n", ""), _plain(fields.get("id", ""))
    if not (number.isascii() and number.isdigit() and len(number) < 16 and id):
        return None
    entry = BootEntry(id, int(number))
    entry.trusted = fields.get("clock") == "set"
    for key, name in _TEXTS:
        setattr(entry, name, _plain(fields.get(key, "")))
    for key, name in _NUMBERS:
        setattr(entry, name, _number(fields.get(key, "")))
    for key in _LISTS:
        setattr(entry, key, [each for each in _plain_list(fields.get(key, "")) if each])
    if entry.reason not in REASONS:
        entry.reason = ""
    return entry


def _plain_list(text: str) -> list[str]:
    return [_plain(each) for each in text.split(",")[:RECORDS]]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < 1e11 else None


# --- the file


def load(path: str) -> list[BootEntry]:
    """The boots in the file, oldest first; none if it is not there or cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            text = os.pread(fd, MOST_BYTES, max(0, size - MOST_BYTES)).decode("utf-8", "replace")
        finally:
            os.close(fd)
    except OSError:                     # a pipe or a device there is no ledger either
        return []
    return merged([entry for entry in map(parse, text.split("\n")) if entry], [])


def write(path: str, boots: list[BootEntry]) -> None:
    """Put the newest of `boots` into the file, whole or not at all.  Raises LastlogError."""
    text = _HEAD + "".join(to_line(entry) + "\n" for entry in boots[-KEEP:])
    new = f"{path}.new"
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC,
                     0o600)
        try:
            _write_all(fd, text.encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(new, path)
        _sync(os.path.dirname(path))
    except OSError as error:
        _remove(new)
        raise LastlogError(code_of(error), f"The boots cannot be noted in {path}: "
                           f"{error.strerror}.", "Make room there, or name another file with "
                           "option ledger; until then the history is short.") from None


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data):]


def _sync(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# --- what it says


def merged(one: list[BootEntry], other: list[BootEntry]) -> list[BootEntry]:
    """Both lists as one, each boot once, oldest first; what only one of two entries knows stays."""
    known: dict[str, BootEntry] = {}
    for entry in [*one, *other]:
        before = known.setdefault(entry.id, entry)
        if before is not entry:
            _complete(before, entry)
    return sorted(known.values(), key=lambda entry: entry.number)


def _complete(entry: BootEntry, other: BootEntry) -> None:
    """Fill what `entry` leaves open from `other`, an entry of the same boot."""
    for name in ("reason", "records", "survived", "cause", "signature", "end", "end_uptime",
                 "firmware", "kernel", "memory", "waiting"):
        if getattr(entry, name) in ("", None, []):
            setattr(entry, name, getattr(other, name))
    if (other.uptime or 0.0) > (entry.uptime or 0.0):
        entry.uptime, entry.time, entry.trusted = other.uptime, other.time, other.trusted
    entry.number = max(entry.number, other.number)


def is_clean(entry: BootEntry) -> bool:
    """Whether the boot ended cleanly, and did not live on after its mark."""
    return entry.end == "clean" and not outlived(entry, entry.uptime or 0.0)


def outlived(entry: BootEntry, uptime: float) -> bool:
    """Whether the boot lived at `uptime`, when it should have ended long ago."""
    return entry.end_uptime is not None and uptime > entry.end_uptime + LAST_GASP


def why(previous: BootEntry | None, survived: bool | None, watchdog: int,
        flashed: bool = False) -> str:
    """The reason of a reboot that no crash record explains: one of REASONS.

    previous: the boot that ended; None: there was none.  survived: whether memory that was written
    in it is still there; None: there is no memory that could tell.  watchdog: the bits of
    /sys/class/watchdog/*/bootstatus.  flashed: this is the first boot of a new firmware, and
    sysupgrade reboots without a word.
    """
    if previous is None:
        return "unknown"
    if is_clean(previous) or flashed:
        return "clean"
    if watchdog & WATCHDOG_RESET or survived:
        return "hang"
    return "unknown" if survived is None else "power-loss"


def settle(known: list[BootEntry]) -> None:
    """Find the reasons that are still missing, because a harvest was cut off, as far as the marks
    of the boots tell."""
    for at, entry in enumerate(known):
        if not entry.reason:
            entry.reason = why(known[at - 1] if at else None, None, 0)


_CRASHED = {"panic": "a kernel panic", "oops": "a kernel oops", "oom": "running out of memory"}
_TOLD = {
    "clean": "The router was rebooted or switched off properly.",
    "hang": "The router stopped without a word: a hang, the watchdog or the reset button. No crash "
            "was recorded.",
    "power-loss": "Power was lost: nothing could be kept of what came before.",
    "unknown": "Why the router rebooted is not known: nothing that could tell was kept.",
}
_FIRST = "This is the first boot that lastlog has seen."


def told(reason: str, title: str = "", is_first: bool = False) -> str:
    """A reason in a sentence.  title: of the crash; is_first: no boot before is known."""
    if reason in _CRASHED:
        return f"Rebooted after {_CRASHED[reason]}" + (f": {title}" if title else "")
    return _FIRST if is_first and reason == "unknown" else _TOLD[reason]


# --- the history


_WORDS = {"clean": ("clean", "clean"), "panic": ("panic", "panics"), "oops": ("oops", "oopses"),
          "oom": ("out of memory", "out of memory"), "hang": ("hang or reset", "hangs or resets"),
          "power-loss": ("power loss", "power losses"), "unknown": ("unknown", "unknown")}


def history(boots: list[BootEntry]) -> str:
    """How the boots ended that have another one behind them, in one line; "" if there is none.

    12 boots: 9 clean, 2 panics with the same signature since 24.10.2, 1 power loss
    """
    ends = [(boots[at], boots[at - 1]) for at in range(1, len(boots)) if boots[at].reason]
    if not ends:
        return ""
    parts = [_counted(reason, [pair for pair in ends if pair[0].reason == reason])
             for reason in REASONS]
    noun = "boot" if len(ends) == 1 else "boots"
    return f"{len(ends)} {noun}: {', '.join(filter(None, parts))}"


def _counted(reason: str, ends: list[tuple[BootEntry, BootEntry]]) -> str:
    if not ends:
        return ""
    words = f"{len(ends)} {_WORDS[reason][len(ends) > 1]}"
    signatures = {after.signature for after, _ in ends}
    firmware = ends[0][1].firmware.partition(" ")[0]
    if reason in CRASHES and len(ends) > 1 and len(signatures) == 1 and "" not in signatures:
        words += " with the same signature" + (f" since {firmware}" if firmware else "")
    return words
