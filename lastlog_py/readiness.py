"""Is capture armed?  Every check with what was found and how to put it right.

"Nothing captured" must never be confused with "capture does not work".  `gather` reads what the
system says, cheaply, because answers are cached under it; `judge` makes checks of that.
On the hot path: imports os and time only.
"""

from __future__ import annotations

import os
import time

from . import CLOCK_FLOOR
from .config import Config
from .errors import LastlogError
from .medium import device

__all__ = ["gather", "is_armed", "judge"]

_FILES = {"panic": "/proc/sys/kernel/panic",
          "panic_on_oops": "/proc/sys/kernel/panic_on_oops",
          "backend": "/sys/module/pstore/parameters/backend",
          "compress": "/sys/module/pstore/parameters/compress",
          "ramoops_address": "/sys/module/ramoops/parameters/mem_address",
          "boot_id": "/proc/sys/kernel/random/boot_id"}

# What an archive must have room for, beyond its quota's rest: one crash, compressed.
ROOM = 65536

Check = dict[str, str]


def gather(config: Config) -> dict[str, str]:
    """What the system says, by name; "" for what it does not.  Stable while nothing changes."""
    facts = {name: device.read_small(config.site.system(path)).strip()
             for name, path in _FILES.items()}
    mounts = device.read_small(config.site.system("/proc/mounts"))
    facts["pstore"] = "\n".join(line for line in mounts.splitlines() if " pstore " in line)
    facts["clock"] = _clock()
    facts["archive"] = _archive_state(config.archive)
    facts["drive"] = _drive(config.archive)
    return facts


def _clock() -> str:
    """ "" while the clock is not set; else when this boot began by it, to five minutes, so that
    answers with times in them are made anew once the clock is put right."""
    now = time.time()
    return str(int(now - time.monotonic()) // 300) if now >= CLOCK_FLOOR else ""


def _archive_state(path: str) -> str:
    """ "" if records can be saved, else the reason why not."""
    existing = path
    while existing and not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        return f"{existing or path} is not a directory that can be reached"
    try:
        disk = os.statvfs(existing)
    except OSError as error:
        return f"{existing} cannot be used: {error.strerror}"
    if disk.f_flag & os.ST_RDONLY:
        return f"{existing} is on a read-only file system"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} cannot be written by this user"
    if disk.f_bavail * disk.f_frsize < ROOM:
        return f"the file system of {existing} has less than {ROOM >> 10} KiB left"
    return ""


def _drive(path: str) -> str:
    """Which file system `path` is on, or would be: it changes when a drive comes or goes."""
    while path and not os.path.exists(path):
        path = os.path.dirname(path)
    return str(os.stat(path or "/").st_dev)


def judge(config: Config, facts: dict[str, str], captured: int, unsaved: int,
          zones: int) -> list[Check]:
    """The checks of CONTRACT's `status`, each {"id", "state", "title", "found", "fix"}.

    captured, unsaved: records in memory, and how many of them the archive does not hold.
    zones: dump zones with a valid header in the region.
    """
    try:
        where: device.Device | None = device.find(config.site)
        missing = None
    except LastlogError as error:
        where, missing = None, error
    checks = [_region(where, missing, facts), _zones(where, zones, facts)]
    if where is None or where.what != "file":
        checks += [_pstore(facts, where), _panic(facts), _panic_on_oops(facts)]
    waiting = _waiting(captured, unsaved) if where or facts["pstore"] else _not_looked()
    return [*checks, waiting, _archive(config, facts)]


def is_armed(checks: list[Check]) -> bool:
    """Whether the next crash would be kept, and seen."""
    return all(check["state"] != "fail" for check in checks
               if check["id"] in ("region", "zones", "pstore", "panic"))


def _check(name: str, state: str, title: str, found: str, fix: str = "") -> Check:
    return {"id": name, "state": state, "title": title, "found": found, "fix": fix}


def _region(where: device.Device | None, missing: LastlogError | None,
            facts: dict[str, str]) -> Check:
    title = "Persistent memory"
    if where is not None:
        kind = "a file in the memory's place" if where.what == "file" else "an MTD device"
        return _check("region", "ok", title, f"{where.path}, {where.size >> 10} KiB: {kind}")
    if _has_ramoops(facts):
        return _check("region", "ok", title, "ramoops has reserved memory; lastlog reads it "
                      "through /sys/fs/pstore")
    message = missing.message if missing else ""
    return _check("region", "fail", title, message, missing.hint if missing else "")


def _has_ramoops(facts: dict[str, str]) -> bool:
    """The parameter is 0 until the driver has a region (fs/pstore/ram.c: ramoops_probe)."""
    return facts["ramoops_address"] not in ("", "0") or facts["backend"] == "ramoops"


def _zones(where: device.Device | None, zones: int, facts: dict[str, str]) -> Check:
    title = "Kernel crashes are recorded"
    if _has_ramoops(facts) and (where is None or where.what != "file"):
        return _check("zones", "ok", title, "ramoops is loaded and writes the log of a crash "
                      "into the memory")
    if where is not None and where.what == "file":
        found = f"{zones} zones for crashes" if zones else "blank, or not divided into zones yet"
        return _check("zones", "ok" if zones else "unknown", title, found,
                      "" if zones else "The kernel divides it when ramoops is loaded.")
    return _check("zones", "fail", title, "ramoops is not loaded: the kernel does not record "
                  "crashes", "Install kmod-ramoops and load it with mem_address, mem_size and "
                  "record_size, or add a ramoops node to the device tree.")


def _pstore(facts: dict[str, str], where: device.Device | None) -> Check:
    title = "The kernel hands records out"
    if facts["pstore"]:
        return _check("pstore", "ok", title, "/sys/fs/pstore is mounted")
    return _check("pstore", "warn" if where else "fail", title, "/sys/fs/pstore is not mounted"
                  + ("" if where else ", and there is no other way to the records"),
                  "mount -t pstore pstore /sys/fs/pstore")


def _panic(facts: dict[str, str]) -> Check:
    title = "A panic reboots the router"
    value = facts["panic"]
    if not value:
        return _check("panic", "unknown", title, "kernel.panic cannot be read", "Run as root.")
    if value == "0":
        return _check("panic", "fail", title, "kernel.panic is 0: after a panic the router hangs "
                      "until its power is cut, and then nothing is kept (unless a watchdog "
                      "resets it)", "sysctl -w kernel.panic=3, and put it into /etc/sysctl.conf.")
    return _check("panic", "ok", title, f"kernel.panic is {value} (seconds)")


def _panic_on_oops(facts: dict[str, str]) -> Check:
    title = "An oops reboots the router"
    value = facts["panic_on_oops"]
    if not value:
        return _check("panic_on_oops", "unknown", title, "kernel.panic_on_oops cannot be read",
                      "Run as root.")
    if value == "0":
        return _check("panic_on_oops", "warn", title, "kernel.panic_on_oops is 0: the router goes "
                      "on with a damaged kernel", "sysctl -w kernel.panic_on_oops=1, unless you "
                      "want it to go on.")
    return _check("panic_on_oops", "ok", title, f"kernel.panic_on_oops is {value}")


_FREE = "Memory is free for the next crash"


def _waiting(captured: int, unsaved: int) -> Check:
    if not captured:
        return _check("waiting", "ok", _FREE, "nothing is captured: all of it is free")
    if not unsaved:
        return _check("waiting", "ok", _FREE, f"{_records(captured)} in memory, saved",
                      "Clear the memory to free it for the next crash.")
    return _check("waiting", "warn", _FREE, f"{_records(captured)} in memory, {unsaved} not "
                  "saved; the next crash overwrites the first", "Save, then clear.")


def _not_looked() -> Check:
    return _check("waiting", "unknown", _FREE, "the memory cannot be read, so nobody knows what "
                  "is in it", "Mount /sys/fs/pstore, or load phram.")


def _records(number: int) -> str:
    return "1 record" if number == 1 else f"{number} records"


def _archive(config: Config, facts: dict[str, str]) -> Check:
    from .archive import Archive  # not for `gather`, which is on the hot path

    title = "Records can be saved"
    obstacle = Archive(config.archive, config.archive_limit).obstacle()
    if facts["archive"] or obstacle:
        message, hint = (obstacle.message, obstacle.hint) if obstacle else (facts["archive"], "")
        return _check("archive", "fail", title, message, hint or "Name a directory that can be "
                      f"written with option archive in {config.path}.")
    if config.archive_limit < ROOM:
        return _check("archive", "warn", title, f"archive_limit is {config.archive_limit} bytes: "
                      "a crash may not fit", f"Raise option archive_limit in {config.path}.")
    return _check("archive", "ok", title, f"{config.archive}, up to "
                  f"{config.archive_limit >> 10} KiB")
