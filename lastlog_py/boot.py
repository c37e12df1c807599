"""This boot: which one it is, what runs in it, and what time it is by a clock that may be wrong.

A harvest notes the boot's number and clock in tmpfs; whoever writes a record later in the same
boot reads them there.  On the hot path: imports os and time only.
"""

from __future__ import annotations

import os
import time

from . import CLOCK_FLOOR
from .medium.device import read_small
from .site import Site

__all__ = ["Moment", "ThisBoot", "moment", "note", "this_boot"]

NOTE = "/var/run/lastlog/boot"
STEP = 2                        # seconds: a clock that jumped by more was set by somebody


class Moment:
    """Now.  time: Unix seconds; uptime: seconds since the boot; trusted: the clock was set."""

    __slots__ = ("time", "trusted", "uptime")

    def __init__(self, time: float, trusted: bool, uptime: float) -> None:
        self.time = time
        self.trusted = trusted
        self.uptime = uptime


class ThisBoot:
    """The running boot, as far as it is known."""

    __slots__ = ("firmware", "id", "kernel", "number")

    def __init__(self, id: str, number: int, firmware: str, kernel: str) -> None:
        self.id = id                    # the kernel's boot_id; "" if it cannot be read
        self.number = number            # counted by the boot ledger; 0: no harvest has run yet
        self.firmware = firmware        # "24.10.2 r28739"; "" if nothing says so
        self.kernel = kernel            # "6.6.93"


def this_boot(site: Site) -> ThisBoot:
    """The running boot; its number is 0 until a harvest has counted it."""
    id = _boot_id(site)
    noted = _noted(site, id)
    return ThisBoot(id, int(noted[1]) if noted else 0, _firmware(site),
                    read_small(site.system("/proc/sys/kernel/osrelease")).strip())


def note(site: Site, number: int, now: Moment) -> None:
    """Remember until the next boot that this one has that number, and what its clock said."""
    path = site.system(NOTE)
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                     | os.O_CLOEXEC, 0o600)
        try:
            began = now.time - now.uptime
            os.write(fd, f"{_boot_id(site)} {number} {began:.0f} {now.trusted:d}\n".encode())
        finally:
            os.close(fd)
        os.rename(f"{path}.new", path)
    except OSError:
        pass                            # records of this boot will have no number


def moment(site: Site) -> Moment:
    """Now, and whether the clock can be believed.

    Routers have no clock of their own: OpenWrt starts with the time of the newest file in /etc
    (sysfixtime).  It is believed if there is a real-time clock, or if it has jumped since the
    harvest, so that somebody has set it; and where the region is a file, on a PC.
    """
    now, uptime = time.time(), _uptime(site)
    if now < CLOCK_FLOOR:
        return Moment(now, False, uptime)
    noted = _noted(site, _boot_id(site))
    trusted = bool(site.file) or os.path.exists(site.system("/dev/rtc0")) or bool(
        noted and (noted[3] == "1" or abs(now - uptime - float(noted[2])) > STEP))
    return Moment(now, trusted, uptime)


def _boot_id(site: Site) -> str:
    return read_small(site.system("/proc/sys/kernel/random/boot_id")).strip()


def _uptime(site: Site) -> float:
    try:
        return float(read_small(site.system("/proc/uptime")).split()[0])
    except (IndexError, ValueError):
        return time.monotonic()


def _noted(site: Site, id: str) -> list[str] | None:
    """[boot id, number, when it began, whether that is trusted]; None: not noted in this boot."""
    words = read_small(site.system(NOTE)).split()
    if len(words) != 4 or words[0] != id or not words[1].isdigit():
        return None
    try:
        float(words[2])
    except ValueError:
        return None
    return words


def _firmware(site: Site) -> str:
    """OpenWrt's release and revision, or the name that another system gives itself."""
    ours = _release(site, "/etc/openwrt_release")
    words = [ours.get("DISTRIB_RELEASE", ""), ours.get("DISTRIB_REVISION", "")]
    named = " ".join(filter(None, words)) or _release(site, "/etc/os-release").get(
        "PRETTY_NAME", "")
    return "".join(char for char in named if char.isprintable())[:80]


def _release(site: Site, path: str) -> dict[str, str]:
    """The NAME='value' lines of a release file."""
    pairs = (line.partition("=") for line in read_small(site.system(path)).splitlines())
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}
