"""/sys/fs/pstore: what the running kernel read from the last boot's persistent memory.

Source: fs/pstore/inode.c (pstore_mkfile: names, times), fs/pstore/ram.c (the ECC notice, added by
persistent_ram_ecc_string).
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ..record import Problem, Record, Source, captured, clock_was_set
from .compression import complaint, unpack

__all__ = ["EFI", "TOTAL", "File", "copied_time", "listing", "may_be", "name_in", "parse_name",
           "read", "record_of", "seconds"]

# type-backend-id; up to about 3.1x console and ftrace have no id.  ".enc.z": the kernel could not
# decompress it.
NAME = (r"(dmesg|mce|console|ftrace|rtas|powerpc-ofw|powerpc-common|pmsg|powerpc-opal)"
        r"-([a-z0-9_]+)(?:-(\d+))?(\.enc\.z)?")
# How backends call themselves (struct pstore_info.name).
BACKENDS = "ramoops|efi|efi_pstore|erst|pstore_blk|pstore_zone|mtdpstore|nvram"
KINDS = {"dmesg": "kernel", "console": "console", "pmsg": "pmsg", "ftrace": "ftrace"}

# Stands at the end of every file of a zone with ECC; up to 5.4 at least it has no
# "ECC: " (3.10, 4.4 and 5.4 read).
ECC_NOTICE = (rb"\n(?:ECC: )?(?:No errors detected|"
              rb"(\d+) Corrected bytes, (\d+) unrecoverable blocks)\n\0?\Z")

# What pstore_zone puts above a dump that is not compressed (fs/pstore/zone.c, psz_kmsg_read).
TOTAL = rb"[A-Z][a-z]+: Total -?\d+ times\n"

MAX_FILE = 4 << 20                  # bytes; no kernel's log ring that a router has is larger

BLANK = 64                          # equal bytes, zeros or erased flash, that no log has in a row

MICRO = 1000                        # nanoseconds: what the headers of dumps are exact to
# efi-pstore's ids: (seconds * 100 + part) * 1000 + count (drivers/firmware/efi/efi-pstore.c).
EFI = 10**5


class File(NamedTuple):
    """What a pstore file's name says."""

    kind: str                   # as in Record
    backend: str                # "ramoops", "efi", ...
    number: int | None
    compressed: bool


def parse_name(name: str) -> File | None:
    """`name` taken apart; None if no kernel names a pstore file so."""
    match = re.fullmatch(NAME, name)
    if match is None:
        return None
    number = int(match[3]) if match[3] else None
    return File(KINDS.get(match[1], "log"), match[2], number, match[4] is not None)


def name_in(name: str) -> str | None:
    """The kernel's name of a file in what somebody calls a copy of it: router7-dmesg-efi-1.txt."""
    match = re.search(rf"(?<![a-z0-9]){NAME}(?![a-z0-9])", name)
    return match[0] if match and re.fullmatch(BACKENDS, match[2]) else None


def may_be(data: bytes) -> bool:
    """Whether this may be such a file: none has the blank stretches of a dump of memory."""
    return bytes(BLANK) not in data and b"\xff" * BLANK not in data


def listing(folder: str) -> list[str]:
    """The names of the pstore files in `folder`, sorted; empty if it is not there or not mounted.

    Raises OSError if it is there and cannot be read.
    """
    try:
        return sorted(name for name in os.listdir(folder) if parse_name(name))
    except FileNotFoundError:
        return []


def read(path: str) -> tuple[bytes, float]:
    """A file's bytes, at most MAX_FILE, and the time in seconds that the kernel gave it.

    Raises OSError.
    """
    with open(path, "rb") as file:
        return file.read(MAX_FILE), seconds(os.fstat(file.fileno()).st_mtime_ns)


def seconds(stamp: int) -> float:
    """The time of the dump in a file of the kernel's with this time, in nanoseconds.

    Whole microseconds: a float of nanoseconds would round, and differ from the region's.
    """
    whole, fraction = divmod(stamp, 10**9)
    if _is_early(fraction):
        return (whole * 10**6 + fraction) / 1e6
    return stamp // MICRO / 1e6


def _is_early(fraction: int) -> bool:
    """Whether these nanoseconds are microseconds: kernels before 5.4 or so take the header's number
    for them."""
    return fraction < 10**6 and fraction % MICRO != 0


def copied_time(name: str, stamp: int) -> float | None:
    """The time of the dump in a copy of the kernel's file `name` that has this time; None: it may
    be that of the copying.

    Of the header's time the kernel makes whole microseconds; a clock hardly ever shows some, unless
    a file system keeps no more than milliseconds.
    """
    file = parse_name(name)
    if file is None:
        return None
    written = (file.number or 0) // EFI
    if file.backend.startswith("efi") and clock_was_set(written) and written < 1 << 32:
        return float(written)
    fraction = stamp % 10**9
    is_kernels = fraction % 10**6 and (fraction % MICRO == 0 or _is_early(fraction))
    return seconds(stamp) if is_kernels else None


def record_of(name: str, data: bytes, time: float | None) -> tuple[Record | None, Problem | None]:
    """The record in one file, less the ECC notice.  None if `name` is no pstore file's."""
    file = parse_name(name)
    if file is None:
        return None, None
    body, corrected, failed = _without_notice(data)
    source = Source("pstore", file.number, size=len(data), ecc_corrected=corrected,
                    ecc_failed=failed)
    if file.kind != "kernel":
        time = None                     # the kernel gives these the time of the mount
    elif body.startswith(b"===="):
        body, time = _beheaded(body, time)
    if file.compressed:
        return _compressed(name, body, source, file.kind, time)
    if file.kind == "pmsg":
        from . import android_log  # here, not above: most routers have no such file

        return android_log.record_of(body, source), _ecc_problem(name, failed)
    return captured(file.kind, body, source, time=time), _ecc_problem(name, failed)


def _without_notice(data: bytes) -> tuple[bytes, int | None, int | None]:
    """The text, and what the notice behind it says: corrected bytes, lost blocks."""
    notice = re.compile(ECC_NOTICE).search(data, max(0, len(data) - 100))
    if notice is None:
        return data, None, None
    return data[:notice.start()], int(notice[1] or 0), int(notice[2] or 0)


def _beheaded(body: bytes, time: float | None) -> tuple[bytes, float | None]:
    """A dump without its header line, and the time in that: kernels up to 3.11 leave it in the
    file, whose own time is that of the mount (ramoops_pstore_read)."""
    from . import kernel_dump  # here, not above: newer kernels have no such file

    line = re.match(kernel_dump.LINE, body)
    return (body[line.end():], next(kernel_dump.split(body)).time) if line else (body, time)


def _compressed(name: str, body: bytes, source: Source, kind: str,
                time: float | None) -> tuple[Record, Problem]:
    read = unpack(body, MAX_FILE)
    wrong = complaint(read)
    source = source._replace(compression=read.algorithm or "unknown",
                             truncated=not read.complete, torn=read.torn)
    record = captured(kind, read.text, source, time=time, raw=body if wrong else None)
    what = wrong or "the kernel could not decompress it; lastlog could"
    return record, Problem(name, what, "warning" if wrong else "info")


def _ecc_problem(name: str, failed: int | None) -> Problem | None:
    if not failed:
        return None
    return Problem(name, f"{failed} blocks of 128 bytes were damaged beyond repair: the text has "
                   "errors there", "warning")
