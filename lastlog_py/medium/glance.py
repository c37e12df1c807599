"""Is anything captured at all?  A quick look before the media are read in earnest.

Most boots find nothing, and then a harvest should cost little more than starting Python.  On the
hot path: imports os and zlib only.  A doubtful answer is always "maybe".
"""

from __future__ import annotations

import os
import zlib

from ..errors import LastlogError
from ..site import Site
from . import device
from .marks import HEAD, PAGE, SEED, any_in, is_near, may_begin

__all__ = ["CRASHLOG", "PSTORE", "captured_mark", "pstore_names", "slot_heads"]

PSTORE = "/sys/fs/pstore"
CRASHLOG = "/sys/kernel/debug/crashlog"

# The signature of a zone in both byte orders, and how a dump in it begins (ramoops.py).
SIGNATURES = (b"DBGC", b"CGBD")
DUMP = b"===="
MARKS = tuple(int.from_bytes(each, "big") for each in SIGNATURES)
HEADER_SIZE = 12                # of a zone (persistent_ram.py)
CACHE_LINE = 64                 # bytes that a reset may lose at a zone's beginning
BEFORE = 16                     # bytes that tell whether a page goes on with what was before
BLANKS = (bytes(128), b"\xff" * 128)
SAMPLE = 256                    # bytes that tell text from noise
TEXT = b"\t\n\r\x1b" + bytes(range(32, 127))


def captured_mark(site: Site) -> str:
    """"" if there is certainly no dump of a kernel, and no other zone with something in it that a
    crash may have left; else a few characters that stay the same while no other dump is written.

    What the kernel's own files say of console and pmsg is left out: they hold the last boot's
    words after every warm reboot.
    """
    dumps = [name for name in pstore_names(site)
             if not name.startswith(("console-", "pmsg-", "ftrace-"))]
    mark = zlib.crc32("\n".join(_stat(site, name) for name in dumps).encode())
    elsewhere = _crashlog(site) + slot_heads(site)
    mark = zlib.crc32(elsewhere, mark)
    found = bool(dumps or elsewhere)
    try:
        where = device.find(site)
        region = where.read(0, where.settled)
    except LastlogError as error:
        return f"{mark:08x}" if found or error.code != "no-region" else ""
    if not found and not _holds_something(region, where.live):
        return ""
    return f"{zlib.crc32(region, mark):08x}"


def _crashlog(site: Site) -> bytes:
    """The beginning of what OpenWrt's crashlog holds, with the time of its first dump."""
    try:
        with open(site.system(CRASHLOG), "rb", buffering=0) as file:
            return file.read(64)
    except OSError:
        return b""


def slot_heads(site: Site) -> bytes:
    """The headers of what mtdoops has written to a partition of its own; they hold a count.

    b"": there is nothing, or no such partition.
    """
    where = device.oops_partition(site)
    if where is None:
        return b""
    try:
        fd = os.open(where.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b"?"
    try:
        heads = [os.pread(fd, HEAD, page) for page in range(0, where.size, PAGE)]
    except OSError:
        return b"?"
    finally:
        os.close(fd)
    return b"".join(head for head in heads if may_begin(head))


def _stat(site: Site, name: str) -> str:
    """Name, size and time of a file; the kernel gives it the time of the crash."""
    try:
        status = os.stat(site.system(f"{PSTORE}/{name}"))
    except OSError:
        return name
    return f"{name} {status.st_size} {status.st_mtime_ns}"


def pstore_names(site: Site) -> list[str]:
    """The names in /sys/fs/pstore; none if it is not mounted or cannot be read."""
    try:
        return sorted(os.listdir(site.system(PSTORE)))
    except OSError:
        return []


def _holds_something(region: bytes, live: bool) -> bool:
    """Whether a zone's header says that something is in it.

    A dump may also stand behind a lost header, or one that the driver has renewed, and so emptied:
    we leave no bytes of a dump that we erase.
    """
    if DUMP in region or (not live and (any_in(region) or _is_near_one(region))):
        return True
    return any(_is_used(region, at) or (live and _is_text(region, at))
               for signature in SIGNATURES for at in _places(region, signature))


def _is_near_one(region: bytes) -> bool:
    """Whether a page may begin with a used zone, or a dump in one, but for some bits, which error
    correction may bring back, or for the line of the cache that a reset loses."""
    noise = not any(blank in region for blank in BLANKS)    # cold memory, or full to the brim
    for page in range(0, len(region), PAGE):
        near = any(is_near(int.from_bytes(region[page:page + 4], "big"), mark) for mark in MARKS)
        dump = int.from_bytes(region[page + HEADER_SIZE:page + HEADER_SIZE + 4], "big")
        if is_near(dump, SEED) or (near and _is_used(region, page)):
            return True
        if not near and _lacks_its_start(region, page, noise):
            return True
    return False


def _lacks_its_start(region: bytes, page: int, noise: bool) -> bool:
    """Whether something stands in the page without a header, and nothing right before the page
    that may go on in it, or text.  noise: whether the region has no blank memory at all."""
    held = region[page + CACHE_LINE:page + PAGE]
    if noise:
        sample = held[:SAMPLE]
        return bool(sample) and 2 * len(sample.translate(None, TEXT)) < len(sample)
    begins = not region[max(0, page - BEFORE):page].strip(b"\0\xff")
    return begins and bool(held.strip(b"\0\xff"))


def _places(region: bytes, signature: bytes) -> list[int]:
    places = []
    at = region.find(signature)
    while at >= 0:
        places.append(at)
        at = region.find(signature, at + 1)
    return places


def _is_text(region: bytes, at: int) -> bool:
    """Whether text follows the header at `at` and the line of the cache that is lost with it."""
    sample = region[at + CACHE_LINE:at + 2 * CACHE_LINE]
    return len(sample) == CACHE_LINE and sample.isascii() and b"\0" not in sample


def _is_used(region: bytes, at: int) -> bool:
    """Whether the header at `at` has a start or a size (fs/pstore/ram_core.c)."""
    return region[at + 4:at + 12].strip(b"\0") != b""
