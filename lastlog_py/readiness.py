"""Is capture armed?  Every check with what was found and how to put it right.

"Nothing captured" must never be confused with "capture does not work".  `gather` reads what the
system says, cheaply, because answers are cached under it; `judge` makes checks of that.
On the hot path: imports os and time only.
"""

from __future__ import annotations

import os
import time

from . import CLOCK_FLOOR, boot
from .config import Config
from .errors import LastlogError
from .medium import device
from .site import Site

__all__ = ["gather", "is_armed", "judge"]

_RAMOOPS = "/sys/module/ramoops/parameters"
_FILES = {"panic": "/proc/sys/kernel/panic",
          "panic_on_oops": "/proc/sys/kernel/panic_on_oops",
          "core_pattern": "/proc/sys/kernel/core_pattern",
          "core_pipe_limit": "/proc/sys/kernel/core_pipe_limit",
          "backend": "/sys/module/pstore/parameters/backend",
          "compress": "/sys/module/pstore/parameters/compress",
          "ramoops_address": f"{_RAMOOPS}/mem_address",
          "ramoops_size": f"{_RAMOOPS}/mem_size",
          "record_size": f"{_RAMOOPS}/record_size",
          "console_size": f"{_RAMOOPS}/console_size",
          "ftrace_size": f"{_RAMOOPS}/ftrace_size",
          "pmsg_size": f"{_RAMOOPS}/pmsg_size",
          "ecc": f"{_RAMOOPS}/ecc",
          "boot_id": "/proc/sys/kernel/random/boot_id",
          "boot": boot.NOTE}

_SERVICES = "/etc/rc.d"

# What the next crash needs; the other checks are about how well it will be kept.
_ARMING = ("region", "memory", "zones", "pstore", "panic")

# What kernels call their compressions of which lastlog needs none, or reads it itself.
_READABLE = ("deflate", "zlib", "lz4", "lz4hc", "lzo", "842")
_UNCOMPRESSED = ("", "(null)", "none")

# What an archive must have room for, beyond its quota's rest: one crash, compressed.
ROOM = 65536

MOST_LOG = 1 << 20              # bytes of the kernel's log that are looked at

Check = dict[str, str]


def gather(config: Config) -> dict[str, str]:
    """What the system says, by name; "" for what it does not.  Stable while nothing changes."""
    facts = {name: device.read_small(config.site.system(path)).strip()
             for name, path in _FILES.items()}
    mounts = device.read_small(config.site.system("/proc/mounts"))
    facts["pstore"] = "mounted" if " /sys/fs/pstore pstore " in mounts else ""
    facts["service"] = _service(config)
    facts["clock"] = _clock()
    facts["archive"] = _archive_state(config.archive)
    facts["drive"] = _drive(config.archive)
    return facts


def _service(config: Config) -> str:
    """The links that start and stop the boot service; "" if there are none; "?" where this system
    has no such links."""
    try:
        names = os.listdir(config.site.system(_SERVICES))
    except OSError:
        return "?"
    return " ".join(sorted(name for name in names if name[:1] in ("S", "K")
                           and name[1:3].isdigit() and name[3:] == "lastlog"))


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
    checks = [_region(config, where, missing, facts)]
    if where is not None and where.what == "file":
        checks += [_zones_of_file(zones), _journal(config, where)]
    else:
        checks += [_memory(config, facts), _zones(config, facts), _phram(config, where, missing),
                   _journal(config, where), _pstore(facts, where), _compression(facts),
                   _ecc(config, facts), _strict_devmem(config), _panic(facts),
                   _panic_on_oops(facts), _core_pattern(config, facts), _service_enabled(facts),
                   _harvest(config, facts), _recovery(config, captured)]
    waiting = _waiting(captured, unsaved) if where or facts["pstore"] else _not_looked()
    return [*checks, waiting, _archive(config, facts)]


def is_armed(checks: list[Check]) -> bool:
    """Whether the next crash would be kept, and seen."""
    return all(check["state"] != "fail" for check in checks if check["id"] in _ARMING)


def _check(name: str, state: str, title: str, found: str, fix: str = "") -> Check:
    return {"id": name, "state": state, "title": title, "found": found, "fix": fix}


# --- the memory


def _ill_said(config: Config) -> str:
    from . import setup  # not for `gather`, nor for a region that is a file

    return setup.ill_said(config)


def _region(config: Config, where: device.Device | None, missing: LastlogError | None,
            facts: dict[str, str]) -> Check:
    title = "Persistent memory"
    wrong = "" if config.site.file else _ill_said(config)
    if wrong:
        runs = where is not None or _has_ramoops(facts) or _other_backend(facts)
        return _check("region", "warn" if runs else "fail", title, "after the next reboot nothing "
                      f"is loaded: {wrong}", f"Correct the region section in {config.path}.")
    if where is not None:
        kind = "a file in the memory's place" if where.what == "file" else "an MTD device"
        size = where.size + where.journal_size
        return _check("region", "ok", title, f"{where.path}, {size >> 10} KiB: {kind}")
    if _has_ramoops(facts):
        return _check("region", "ok", title, "ramoops has reserved memory; lastlog reads it "
                      "through /sys/fs/pstore")
    if _other_backend(facts):
        return _check("region", "ok", title, f"the kernel keeps crashes with {facts['backend']}; "
                      "lastlog reads them through /sys/fs/pstore")
    if missing is not None and (config.site.file or device.named(config.site)):
        return _check("region", "fail", title, missing.message, missing.hint)
    return _check("region", "fail", title, f'no memory survives a reboot: there is neither ramoops '
                  f'nor an MTD device named "{config.site.mtd}"', "lastlog propose prints how to "
                  "set memory aside on this router, and what to configure; then install "
                  "kmod-ramoops and kmod-mtd-phram.")


def _has_ramoops(facts: dict[str, str]) -> bool:
    """Whether ramoops has a region, and pstore uses it: the parameter is 0 until it is given one
    (fs/pstore/ram.c: ramoops_probe), and stays if the driver then refuses it."""
    return facts["backend"] == "ramoops" or (
        facts["backend"] == "" and facts["ramoops_address"] not in ("", "0"))


def _other_backend(facts: dict[str, str]) -> str:
    """What else pstore keeps crashes with: the firmware's variables, for example."""
    return facts["backend"] if facts["backend"] not in ("", "(null)", "ramoops") else ""


def _driver(facts: dict[str, str]) -> tuple[int, int] | None:
    """Where ramoops runs, address and size; None: nowhere."""
    address, size = _number(facts["ramoops_address"]), _number(facts["ramoops_size"])
    return (address, size) if _has_ramoops(facts) and address and size else None


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _memory(config: Config, facts: dict[str, str]) -> Check:
    """What the configuration names is judged: what the kernel itself gave ramoops is its own
    affair, and need not be visible in its maps (reserve_mem=, ramoops.mem_address=)."""
    from .memory_map import Range, refusal  # not for `gather`

    title = "Nobody else uses that memory"
    site = config.site
    runs = _driver(facts)
    if site.address is None or not site.size:
        if runs is None:
            return _check("memory", "unknown", title, "nothing says where the memory is",
                          "Set option address and option size of the region.")
        return _check("memory", "ok", title, "the kernel itself, its device tree or its command "
                      f"line gave {Range(runs[0], sum(runs))} to ramoops")
    said = Range(site.address, site.address + site.size)
    error = refusal(site, site.address, site.size)
    if error is None:
        return _check("memory", "ok", title, f"{said} is set aside from the system's memory")
    is_used = runs is None or said.overlaps(Range(runs[0], sum(runs)))
    state = "unknown" if error.code == "io" else "fail" if is_used else "warn"
    return _check("memory", state, title, error.message, error.hint)


def _zones(config: Config, facts: dict[str, str]) -> Check:
    from . import setup  # not for `gather`

    title = "Kernel crashes are recorded"
    if backend := _other_backend(facts):
        return _check("zones", "warn", title, f"the kernel keeps them with {backend}, not with "
                      "ramoops; lastlog reads them from /sys/fs/pstore", "To have them in memory "
                      "that lastlog can read by itself, put pstore.backend=ramoops on the kernel "
                      "command line.")
    if not _has_ramoops(facts):
        return _check("zones", "fail", title, *_why_no_ramoops(facts))
    runs = _driver(facts)
    if runs is None:
        return _check("zones", "ok", title, "ramoops is loaded and writes the log of a crash "
                      "into the memory")
    found = f"ramoops is loaded, with {_kib(runs[1])} at 0x{runs[0]:x}: {_zone_sizes(facts)}"
    if no_dumps := _without_dumps(facts):
        return _check("zones", no_dumps, title, f"{found}, and none for crashes", "Set option "
                      "record_size to 0x1000 or more in the region section, or record-size in the "
                      "device tree's node, and reboot.")
    said = _said_otherwise(config.site, runs)
    if said:
        return _check("zones", "warn", title, found, said)
    waiting = [each for each in setup.not_in_force(config.site) if "option ecc" not in each]
    return _check("zones", "warn" if waiting else "ok", title, "; ".join([found, *waiting]),
                  _until(waiting))


def _until(waiting: list[str]) -> str:
    """What to do about options that are not in force."""
    return "" if not waiting else "reboot" if any("next reboot" in each for each in waiting) else \
        "Leave these options out of the region section, or change them where ramoops has them from."


def _without_dumps(facts: dict[str, str]) -> str:
    """ "fail" if no part is for crashes, "warn" if the console's may hold them; "" if there is one.

    The driver rounds sizes down to powers of two, and writes record_size back; kernels before 5.x
    do not write back the others, whose default of 4096 then stays.
    """
    if not facts["record_size"].isdigit() or _number(facts["record_size"]):
        return ""
    return "warn" if _number(facts["console_size"]) else "fail"


def _said_otherwise(site: Site, runs: tuple[int, int]) -> str:
    """What to do if the configuration names other memory than ramoops runs on; "" if not."""
    if site.address is None or not site.size:
        return ""
    part = site.size - site.journal_size
    if (site.address, part) == runs:
        return ""
    return (f"The configuration says {_kib(part)} at 0x{site.address:x}. To use what runs, set "
            f"option address 0x{runs[0]:x}, option size 0x{runs[1]:x} and option journal_size 0; "
            "or take away what gives ramoops that memory (a device tree's node, ramoops.… on the "
            "kernel command line, /etc/modules.d), and reboot.")


def _why_no_ramoops(facts: dict[str, str]) -> tuple[str, str]:
    """What was found, and what to do."""
    if facts["ramoops_address"] not in ("", "0"):
        return ("ramoops is loaded, but the kernel does not record crashes with it",
                "dmesg says what it did not like; correct the sizes of the region.")
    return ("ramoops is not loaded: the kernel does not record crashes",
            "Install kmod-ramoops and set option address and option size of the region, or add "
            "a ramoops node to the device tree; lastlog propose prints both.")


def _zone_sizes(facts: dict[str, str]) -> str:
    sizes = ((name.partition("_")[0], _number(facts[name]))
             for name in ("record_size", "console_size", "ftrace_size", "pmsg_size"))
    return ", ".join(f"{name} {_kib(size)}" for name, size in sizes if size) or "no zones"


def _kib(size: int) -> str:
    return f"{size >> 10} KiB" if size % 1024 == 0 else f"{size} bytes"


def _zones_of_file(zones: int) -> Check:
    title = "Kernel crashes are recorded"
    found = f"{zones} zones for crashes" if zones else "blank, or not divided into zones yet"
    return _check("zones", "ok" if zones else "unknown", title, found,
                  "" if zones else "The kernel divides it when ramoops is loaded.")


def _phram(config: Config, where: device.Device | None, missing: LastlogError | None) -> Check:
    from . import setup  # not for `gather`

    title = "lastlog reaches the memory itself"
    if where is not None:
        return _check("phram", "ok", title, f"phram is loaded, with "
                      f"{_kib(where.size + where.journal_size)} at {where.path}")
    if not setup.has_mtd(config.site):
        return _check("phram", "warn", title, _NO_MTD, _WITHOUT_JOURNAL)
    if missing is not None and device.named(config.site):
        return _check("phram", "warn", title, missing.message, missing.hint)
    if config.site.address is not None and setup.stays_mapped(
            config.site, config.site.address, config.site.size or 0):
        return _check("phram", "warn", title, "phram cannot have memory that the kernel maps: no "
                      "journal", setup.NEEDS_NO_MAP)
    return _check("phram", "warn", title, "phram shows no MTD device: no journal, and damaged "
                  "records cannot be read", "Install kmod-mtd-phram and set option address "
                  "and option size of the region.")


_NO_MTD = "this kernel has no MTD, so no journal; crashes are read through /sys/fs/pstore"
_WITHOUT_JOURNAL = "Nothing is lost by it but the journal: with option journal_size 0 ramoops has" \
    " all of the memory."


def _has_mtd(config: Config) -> bool:
    from . import setup  # as above

    return setup.has_mtd(config.site)


def _journal(config: Config, where: device.Device | None) -> Check:
    from .medium import journal_device

    title = "Logs and harvested records have a place"
    try:
        found = journal_device.find(config.site)
    except LastlogError as error:
        if where is None and not _has_mtd(config):
            return _check("journal", "warn", title, "this kernel has no MTD, so no journal",
                          "Set option pmsg_size, so that logs can be stored through /dev/pmsg0 "
                          "for one boot.")
        if where is None:
            return _check("journal", "warn", title, "no memory that lastlog itself can write: "
                          "logs cannot be stored, and a power cut looks like any other reboot",
                          "Give the region an address, a size and a journal_size.")
        return _check("journal", "warn", title, f"{error.message} Logs cannot be stored.",
                      error.hint)
    if found.what == "pmsg":
        return _check("journal", "ok", title, f"/dev/pmsg0, {_kib(found.capacity)}: one boot "
                      "long; with option journal_size it would be a journal")
    return _check("journal", "ok", title, f"{_kib(found.capacity)} at the end of the memory")


def _pstore(facts: dict[str, str], where: device.Device | None) -> Check:
    title = "The kernel hands records out"
    if facts["pstore"]:
        return _check("pstore", "ok", title, "/sys/fs/pstore is mounted")
    return _check("pstore", "warn" if where else "fail", title, "/sys/fs/pstore is not mounted"
                  + ("" if where else ", and there is no other way to the records"),
                  "mount -t pstore pstore /sys/fs/pstore")


def _compression(facts: dict[str, str]) -> Check:
    title = "Compressed records can be read"
    name = facts["compress"]
    if name in _UNCOMPRESSED:
        return _check("compression", "ok", title, "the kernel does not compress them, or does "
                      "not say how")
    if name in _READABLE:
        return _check("compression", "ok", title, f"the kernel compresses with {name}")
    return _check("compression", "warn", title, f"the kernel compresses with {name}, which "
                  "lastlog cannot read on the router: only the kernel itself can",
                  "Put pstore.compress=deflate on the kernel command line; until then keep "
                  "/sys/fs/pstore mounted.")


def _ecc(config: Config, facts: dict[str, str]) -> Check:
    """For a device tree's region the driver's own parameter stays 0."""
    from . import setup  # not for `gather`
    from .medium.geometry import candidates, parity_bytes

    title = "Bits that a reboot flips are repaired"
    said = {each.origin: each.ecc for each in candidates(config.site)}
    runs = said.get("the ramoops driver", parity_bytes(_number(facts["ecc"])))
    ecc = runs if _has_ramoops(facts) else max(said.values(), default=0)
    waiting = [each for each in setup.not_in_force(config.site) if "option ecc" in each]
    if waiting:
        return _check("ecc", "warn", title, waiting[0], _until(waiting))
    if ecc:
        return _check("ecc", "ok", title, f"{ecc} check bytes repair {ecc // 2} damaged bytes in "
                      "every 128")
    return _check("ecc", "unknown", title, "error correction is off; much memory needs none",
                  "lastlog selftest arm, reboot, lastlog selftest result: says whether this "
                  "router needs option ecc, and how much.")


def _strict_devmem(config: Config) -> Check:
    title = "The kernel lets lastlog read the memory"
    setting = _kernel_config(config, "CONFIG_IO_STRICT_DEVMEM")
    if setting is None:
        return _check("strict_devmem", "unknown", title, "the kernel does not show how it was "
                      "built; IO_STRICT_DEVMEM does not matter for phram")
    return _check("strict_devmem", "ok", title, f"IO_STRICT_DEVMEM is {'on' if setting else 'off'}"
                  ", which does not matter: phram does not go through /dev/mem")


def _kernel_config(config: Config, option: str) -> bool | None:
    """Whether a kernel option is set; None: /proc/config.gz is not there or not readable."""
    import zlib

    try:
        with open(config.site.system("/proc/config.gz"), "rb") as file:
            text = zlib.decompressobj(31).decompress(file.read(1 << 20), 4 << 20)
    except (OSError, zlib.error):
        return None
    return f"\n{option}=y\n".encode() in text


# --- the system


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


def _core_pattern(config: Config, facts: dict[str, str]) -> Check:
    from . import setup  # not for `gather`

    title = "Crashes of programs are kept"
    if not os.path.exists(config.site.system(setup.HANDLER)):
        return _check("core_pattern", "unknown", title, "crashes of programs are not kept yet, "
                      "only those of the kernel")
    if not config.coredump.enabled:
        return _check("core_pattern", "unknown", title, "switched off: option enabled is 0 in "
                      "section coredump")
    restart = "/etc/init.d/lastlog restart"
    if facts["core_pattern"].split()[:1] != setup.core_pattern().split()[:1]:
        return _check("core_pattern", "warn", title, "kernel.core_pattern is "
                      f"'{facts['core_pattern']}', which is not lastlog's", restart)
    if facts["core_pipe_limit"] in ("", "0"):
        return _check("core_pattern", "warn", title, "kernel.core_pipe_limit is 0: what a crashed "
                      "program was vanishes before it is looked at", restart)
    told = f"the kernel hands core dumps to lastlog, at most {facts['core_pipe_limit']} at once"
    lost = _over_limit(config.site)
    if lost:
        crashes = "1 crash" if lost == 1 else f"{lost} crashes"
        return _check("core_pattern", "warn", title, f"{told}; {crashes} beyond that were dropped "
                      "in this boot", "dmesg | grep core_pipe_limit")
    return _check("core_pattern", "ok", title, told)


def _over_limit(site: Site) -> int:
    """Crashes that the kernel says it did not hand over (fs/coredump.c: "over core_pipe_limit"), as
    far back as its log goes."""
    count, left = 0, MOST_LOG
    try:
        fd = os.open(site.system("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        while left > 0 and (record := _next_record(fd)):
            count += record.count(b" over core_pipe_limit")
            left -= len(record)
    except OSError:                 # BlockingIOError: that was all
        pass
    finally:
        os.close(fd)
    return count


def _next_record(fd: int) -> bytes:
    """From the kernel's log; one may be overwritten just then (kernel/printk: EPIPE)."""
    try:
        return os.read(fd, 8192)
    except BrokenPipeError:
        return os.read(fd, 8192)


def _service_enabled(facts: dict[str, str]) -> Check:
    title = "lastlog starts at boot"
    if facts["service"] == "?":
        return _check("service", "unknown", title, f"this system has no {_SERVICES}")
    links = facts["service"].split()
    missing = [why for letter, why in (
        ("S", "the boot service is not enabled: after a crash nobody fetches the records"),
        ("K", "nothing marks a clean shutdown: every reboot looks like a hang or a reset"))
        if not any(link.startswith(letter) for link in links)]
    if missing:
        return _check("service", "warn", title, missing[0], "/etc/init.d/lastlog enable")
    return _check("service", "ok", title, f"{_SERVICES}: {facts['service']}")


def _harvest(config: Config, facts: dict[str, str]) -> Check:
    title = "This boot was looked into"
    number = boot.this_boot(config.site).number
    if number:
        return _check("harvest", "ok", title, f"it is boot {number}, and its harvest has run")
    if facts["service"] == "?":
        return _check("harvest", "unknown", title, "no harvest has run in this boot")
    return _check("harvest", "warn", title, "no harvest has run in this boot: what the last one "
                  "left is not fetched yet", "/etc/init.d/lastlog start")


def _recovery(config: Config, captured: int) -> Check:
    """MediaTek's U-Boot in OpenWrt starts the recovery system while `pstore check` finds a dump."""
    title = "The boot loader starts the router, not its recovery system"
    board = device.read_small(config.site.system("/proc/device-tree/compatible"))
    if "mediatek," not in board:
        return _check("recovery", "ok", title, "this board's is not known to look for crashes")
    if not captured:
        return _check("recovery", "ok", title, "it looks for crashes, and there are none in "
                      "memory")
    return _check("recovery", "warn", title, f"{_records(captured)} in memory: on this board "
                  "U-Boot may start the recovery system because of that, and the router looks as "
                  "if it had lost its settings", "Save, clear and reboot: the settings are still "
                  "there.")


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
