"""The region as the kernel hands it out: an MTD character device, or a file in its place.

On the hot path: imports os only.  phram writes are a memcpy, need no erase and no fsync
(drivers/mtd/devices/phram.c); a file is fsync'd.
"""

from __future__ import annotations

import os

from ..errors import LastlogError, code_of
from ..site import Site

__all__ = ["Device", "find", "named", "oops_partition", "ramoops_runs", "read_small"]

# No router reserves more than this for crash logs; a larger file is not a region.
MAX_REGION = 64 << 20
MAX_OOPS = 8 << 20              # bytes: MTDOOPS_MAX_MTD_SIZE


class Device:
    """One region that can be read and written.  Sizes in bytes."""

    __slots__ = ("journal_size", "live", "path", "settled", "size", "what")

    def __init__(self, path: str, size: int, what: str) -> None:
        self.path = path
        self.size = size                # of ramoops' part: the journal behind it is left out
        self.journal_size = 0           # of the part behind `size`
        self.what = what                # "file" | "mtd" | "flash", which is never written to
        # ramoops is writing here now: its console and pmsg zones hold this boot, not the last,
        # and each zone's header belongs to the driver.
        self.live = False
        # Bytes from the start that change only when a crash is written or erased: all of it, or
        # a live region's dump zones without the console, ftrace and pmsg zones behind them.
        self.settled = size

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """`size` bytes (None: to the end) at `offset`; fewer if the device ends before.

        Raises LastlogError if it cannot be opened or read.
        """
        left = self.size - offset if size is None else size
        pieces = []
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while left > 0 and (piece := os.pread(fd, min(left, 1 << 20), offset)):
                    pieces.append(piece)
                    offset += len(piece)
                    left -= len(piece)
            finally:
                os.close(fd)
        except OSError as error:
            raise _unreadable(self.path, error) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`, and see it there.  Raises LastlogError if that fails."""
        if self.what == "flash":
            raise LastlogError("read-only", f"{self.path} is flash: lastlog never writes there.",
                               "mtdoops itself overwrites the oldest record.")
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            try:
                done = 0
                while done < len(data):
                    done += os.pwrite(fd, data[done:], offset + done)
                if self.what == "file":
                    os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise LastlogError(code_of(error), f"{self.path} cannot be written: {error.strerror}.",
                               "Run lastlog as root; what is read-only cannot be cleared."
                               ) from None
        if self.read(offset, len(data)) != data:
            raise LastlogError("io", f"{self.path} did not keep what was written to it.",
                               "The memory may be claimed by another driver; see dmesg.")


def find(site: Site) -> Device:
    """The configured region.  Raises LastlogError "no-region" if there is none to be had."""
    device = _file(site) if site.file else _mtd(site)
    device.journal_size = min(site.journal_size, device.size)
    device.size -= device.journal_size
    device.settled = device.size
    if device.what == "mtd":
        _mark_live(site, device)
    return device


def _file(site: Site) -> Device:
    path = site.file or ""
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise LastlogError("no-region", f"The region file {path} cannot be used: "
                           f"{error.strerror}.", "Correct option file in the region section of the "
                           "configuration.") from None
    if not os.path.isfile(path):
        raise LastlogError("no-region", f"The region {path} is not a file.",
                           "Correct option file in the region section of the configuration.")
    if size > MAX_REGION:
        raise LastlogError("no-region", f"{path} has {size} bytes, more than any region "
                           f"({MAX_REGION >> 20} MiB).", "Name the region alone, not a whole disk.")
    return Device(path, size, "file")


def _mtd(site: Site) -> Device:
    entry = named(site)
    if entry is None:
        raise LastlogError("no-region", f'There is no MTD device named "{site.mtd}" in /proc/mtd.',
                           "Reserve memory for it and load phram, or set option mtd or option "
                           "file in the region section of the configuration.")
    _check_type(site, entry[0])
    return Device(site.system(f"/dev/mtd{entry[0]}"), entry[1], "mtd")


def named(site: Site) -> tuple[int, int] | None:
    """Number and size in bytes of the MTD device with the configured name, whatever it is."""
    return next((entry[:2] for entry in _mtd_entries(site) if entry[2] == site.mtd), None)


def oops_partition(site: Site) -> Device | None:
    """The MTD partition that mtdoops writes to: the one that the driver was told, else the one of
    its name.  None: there is none, or it is the region.

    drivers/mtd/mtdoops.c: mtddev is a name or a number; at most 8 MiB are used.
    """
    told = read_small(site.system("/sys/module/mtdoops/parameters/mtddev")).strip() or "mtdoops"
    for number, size, name in _mtd_entries(site):
        if told in (name, str(number)):
            what = "mtd" if _mtd_type(site, number) == "ram" else "flash"
            is_region = not site.file and name == site.mtd and what == "mtd"
            return None if is_region else Device(site.system(f"/dev/mtd{number}"),
                                                 min(size, MAX_OOPS), what)
    return None


def _mtd_entries(site: Site) -> list[tuple[int, int, str]]:
    lines = read_small(site.system("/proc/mtd")).splitlines()
    return [entry for entry in map(_mtd_entry, lines) if entry]


def _check_type(site: Site, number: int) -> None:
    """Raises LastlogError unless the device is memory: flash of that name holds the firmware, its
    settings or the radio's calibration."""
    kind = _mtd_type(site, number)
    if kind == "ram":
        return
    what = f"is of the type {kind[:20]}" if kind else \
        f"may be flash: /sys/class/mtd/mtd{number}/type does not say what it is"
    raise LastlogError("no-region", f'The MTD device "{site.mtd}" (mtd{number}) {what}; lastlog '
                       "writes to memory only (type ram).", "Set option mtd in the region section "
                       "of the configuration to a name that no flash partition has.")


def _mtd_type(site: Site, number: int) -> str:
    return read_small(site.system(f"/sys/class/mtd/mtd{number}/type")).strip()


def _mtd_entry(line: str) -> tuple[int, int, str] | None:
    """Number, size in bytes and name of a line of /proc/mtd; None for its heading.

    mtd0: 00100000 00001000 "lastlog"
    """
    words = line.split(None, 3)
    try:
        return int(words[0].removeprefix("mtd").removesuffix(":")), int(words[1], 16), \
            words[3].removeprefix('"').removesuffix('"')
    except (IndexError, ValueError):
        return None


def ramoops_runs(site: Site) -> bool:
    """Whether ramoops has a region, from its module parameters.

    fs/pstore/ram.c: ramoops_probe writes the values in use back to them, also for a device tree.
    """
    return _ramoops(site, "mem_address") > 0


def _ramoops(site: Site, parameter: str) -> int:
    text = read_small(site.system("/sys/module/ramoops/parameters/" + parameter)).strip()
    return int(text) if text.isdigit() else 0


def _mark_live(site: Site, device: Device) -> None:
    """Note whether ramoops runs on this very memory."""
    address, size = _ramoops(site, "mem_address"), _ramoops(site, "mem_size")
    ours = site.address
    if not address or (ours is not None and not _overlap(ours, device.size, address, size)):
        return
    device.live = True
    behind = sum(_ramoops(site, zone) for zone in ("console_size", "ftrace_size", "pmsg_size"))
    device.settled = max(0, min(size, device.size) - behind)


def _overlap(start: int, size: int, other: int, other_size: int) -> bool:
    return start < other + max(other_size, 1) and other < start + size


def read_small(path: str) -> str:
    """A file of /proc or /sys; "" if it is not there or cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _unreadable(path: str, error: OSError) -> LastlogError:
    return LastlogError("io", f"{path} cannot be read: {error.strerror}.",
                        "Run lastlog as root, and see that the device is still there.")
