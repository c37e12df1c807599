"""The Record: one thing that happened, in the shape that everyone passes on.

A format module makes a bare record with `captured`; `diagnose` fills in what it means;
`service` adds what only the archive knows (state, count); the doors print `to_dict`.
Records are immutable: each step returns a new one with `_replace`.

The field names are the public JSON of CONTRACT, RECORD.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from . import CLOCK_FLOOR
from .record_id import record_id

__all__ = ["Boot", "Core", "Frame", "Kernel", "Oom", "Problem", "Record", "Source", "captured",
           "clock_was_set", "from_dict", "part_from_dict", "readable", "to_dict"]

KINDS = ("kernel", "console", "pmsg", "ftrace", "coredump", "log", "boot")


class Problem(NamedTuple):
    """Something that could not be read, or that somebody should know."""

    where: str              # "region, zone 3", a path, ...
    what: str               # one line: what is wrong, and what to do where there is something
    severity: str           # "info" | "warning" | "error"


class Source(NamedTuple):
    """Where a record was found, and in what state."""

    medium: str                         # "ramoops" | "pstore" | "mtdoops" | "archive" | ...
    zone: int | None = None             # index of the zone among its kind; None: no zones there
    offset: int | None = None           # bytes from the region's start; None: not in a region
    size: int = 0                       # bytes it takes up there, as captured, without headers
    zone_size: int | None = None        # bytes of the whole zone; None: not in one, or unknown
    compression: str | None = None      # "deflate", "zstd", ...; None: it was plain text
    ecc_corrected: int | None = None    # bytes put right; None: no ECC was read
    ecc_failed: int | None = None       # blocks beyond repair
    truncated: bool = False             # its end is missing
    torn: bool = False                  # it is damaged inside
    recovered: bool = False             # no header leads to it: it is damaged, or says "empty"


class Boot(NamedTuple):
    """The boot in which a record happened, not the one that read it."""

    id: str | None                      # the kernel's boot_id
    number: int | None                  # counted by the boot ledger
    firmware: str | None                # "24.10.2 r28739"
    kernel: str | None                  # "6.6.93"


class Frame(NamedTuple):
    """One line of a kernel call trace, innermost first."""

    function: str
    offset: str | None                  # "0x18"; None: the line has none
    module: str | None                  # None: the kernel image itself
    reliable: bool                      # False for "? " lines: left on the stack, maybe stale


class Oom(NamedTuple):
    """What the out-of-memory killer did."""

    victim: str | None                  # the process that was killed; None: panic_on_oom
    pid: int | None
    rss_kib: int | None                 # its anonymous + file + shmem resident memory
    trigger: str | None                 # the process whose allocation failed
    cgroup: bool = False                # it was a control group's limit, not the machine's


class Kernel(NamedTuple):
    """What a kernel log says about the crash it ends with."""

    reason: str                         # "panic" | "oops" | "emergency" | "shutdown" | "unknown"
    sequence: int | None = None         # N of "Panic#N": dumps of this boot, counted together
    part: int | None = None             # M of "PartM": 1 is the newest text
    cause: str = "other"                # one of CONTRACT's CAUSE
    function: str | None = None         # where it happened
    offset: str | None = None
    module: str | None = None           # of that function
    process: str | None = None
    pid: int | None = None
    cpu: int | None = None
    address: str | None = None          # the bad address, "0x10"
    tainted: str | None = None          # the flags, "G     U"; None: not tainted, or not said
    release: str | None = None          # "6.6.93"
    hardware: str | None = None
    trace: tuple[Frame, ...] = ()
    oom: Oom | None = None
    suspect: str | None = None          # what the kernel said shortly before of a wireless
                                        # device that failed; None: nothing


class Core(NamedTuple):
    """The reduced core of a crashed program: a file of its own, beside the record."""

    path: str                           # in the archive; an ELF core in gzip
    size: int                           # bytes of that file


class Record(NamedTuple):
    """One thing that happened.  Times are Unix seconds, sizes are bytes."""

    id: str                             # stable: same content, same id; safe as a file name
    kind: str                           # one of KINDS
    text: str                           # the log as captured
    source: Source
    state: str = "captured"             # "captured" | "saved" | "both" | "file"
    time: float | None = None           # when it happened; None: nothing says so
    time_trusted: bool = False          # False: the clock was not set yet
    uptime: float | None = None         # seconds since the boot in which it happened
    boot: Boot | None = None
    title: str = ""                     # one line for people
    signature: str | None = None        # what groups equal crashes
    count: int = 1  # type: ignore[assignment]  # hides tuple.count on purpose: of that signature, from the archive
    first_seen: float | None = None
    last_seen: float | None = None
    crash: str | None = None            # id of the record that tells this crash whole: its own,
                                        # or the panic's for the oops that led to it; None: no crash
    kernel: Kernel | None = None        # kind kernel only
    coredump: dict[str, Any] | None = None  # kind coredump only
    core: Core | None = None            # kind coredump only; None: none is kept.  Not in its file
    symbols: str | None = None          # path of the file beside it with names and lines, which
                                        # `symbolize --save` made; like core, not in its own
    raw: bytes | None = None            # the bytes as captured, where `text` cannot stand for
                                        # them (no UTF-8, not decompressed whole); not in the JSON


def readable(body: bytes) -> str:
    """`body` as text: undecodable bytes and NUL become U+FFFD, everything else stays."""
    if b"\0" in body:
        body = body.replace(b"\0", b"\xff")
    return body.decode("utf-8", "replace")


def _is_clean(body: bytes, text: str) -> bool:
    """Whether `readable` changed nothing: it put no U+FFFD that was not there.  Not by decoding
    once more, which takes as much memory again."""
    return b"\0" not in body and (text.isascii() or
                                  text.count("\ufffd") == body.count(b"\xef\xbf\xbd"))


def clock_was_set(time: float | None) -> bool:
    """Whether `time` can be the time of day, rather than of a clock nobody has set."""
    return time is not None and time >= CLOCK_FLOOR


def captured(kind: str, body: bytes, source: Source, *, time: float | None = None,
             raw: bytes | None = None) -> Record:
    """A record as found in memory, not explained yet.

    body: its text, decompressed, without headers and notices of the medium.
    time: seconds, exact to the microsecond, as the medium gives it.
    raw: the captured bytes, if `body` is not all of them.
    """
    name = record_id(kind, body, time, raw or b"")
    text = readable(body)
    if raw is None and not _is_clean(body, text):
        raw = body
    return Record(id=name, kind=kind, text=text, source=source, time=time,
                  time_trusted=clock_was_set(time), raw=raw)


def to_dict(record: Record, text: bool = True) -> dict[str, Any]:
    """The record as CONTRACT's RECORD, ready for JSON; without its text if so asked."""
    out = record._asdict()
    del out["raw"]
    if not text:
        del out["text"]
    out["source"] = record.source._asdict()
    out["boot"] = record.boot._asdict() if record.boot else None
    out["core"] = record.core._asdict() if record.core else None
    if record.kernel:
        kernel = record.kernel._asdict()
        kernel["trace"] = [frame._asdict() for frame in record.kernel.trace]
        kernel["oom"] = record.kernel.oom._asdict() if record.kernel.oom else None
        out["kernel"] = kernel
    return out


def from_dict(fields: dict[str, Any]) -> Record:
    """The record that `to_dict` was made from; unknown keys of a newer version are ignored.

    Raises KeyError, TypeError or ValueError if `fields` is no such dict.
    """
    known = _known(Record, fields)
    known["source"] = part_from_dict("source", fields["source"])
    for name in ("boot", "core", "kernel"):
        if known.get(name):
            known[name] = part_from_dict(name, fields[name])
    return Record(**{"text": "", **known})


def part_from_dict(name: str, fields: dict[str, Any]) -> Source | Boot | Core | Kernel:
    """The field `name` of a record, one of _PARTS or "kernel"; otherwise as `from_dict`."""
    if name == "kernel":
        return _kernel(fields)
    shape = _PARTS[name]
    return shape(**_known(shape, fields))


_PARTS: dict[str, type[Source] | type[Boot] | type[Core]] = {
    "source": Source, "boot": Boot, "core": Core}


def _kernel(fields: dict[str, Any]) -> Kernel:
    kernel = _known(Kernel, fields)
    kernel["trace"] = tuple(Frame(**_known(Frame, each)) for each in kernel.get("trace") or ())
    if kernel.get("oom"):
        kernel["oom"] = Oom(**_known(Oom, kernel["oom"]))
    return Kernel(**kernel)


def _known(shape: Any, fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in shape._fields if name in fields}
