"""Arms the router: kernel settings, ramoops and phram on the region that the configuration names,
and the pstore file system.

Whatever is already as it should be is left alone, and then no program is started; what the device
tree or the kernel itself provides has precedence.  Nothing is loaded on memory that memory_map
refuses.  Every problem is (where, what, severity), as in record.Problem.  Sources: fs/pstore/ram.c
(ramoops_probe), drivers/mtd/devices/phram.c; ubox kmodloader.c and busybox, whose modprobe takes
no parameters on OpenWrt and whose insmod wants a path.  On the hot path: imports os and time only.
"""

from __future__ import annotations

import os
import time

from . import memory_map, programs
from .config import Config
from .errors import LastlogError
from .medium import device
from .medium.device import read_small
from .site import Site

__all__ = ["HANDLER", "arm", "core_pattern", "mtd_size", "ramoops_works", "record_size"]

Problem = tuple[str, str, str]          # where, what, "info" | "warning" | "error"

HANDLER = "/usr/libexec/lastlog/coredump"
CORE_ARGUMENTS = "%P %I %u %g %d %s %t %E"
CORE_PIPE_LIMIT = 4             # programs that may crash at once; 0 would not wait for the handler

PSTORE = "/sys/fs/pstore"

# What a module needs first (modules.dep, which OpenWrt does not have), and where it comes from.
_NEEDS = {"ramoops": ("pstore", "reed_solomon"), "phram": ("mtd",)}
_PACKAGES = {"ramoops": "kmod-ramoops", "phram": "kmod-mtd-phram"}

# A code word of the kernel's Reed-Solomon has 255 bytes, 128 of them data.
MOST_ECC = 127
LONGEST_NAME = 63               # phram.c: phram_setup; the whole value has 123 at most
APPEARS = 2.0                   # seconds in which a device node appears after its driver


def arm(config: Config) -> list[Problem]:
    """See that the next crash is kept; what could not be done, as [(where, what, severity)].

    With a region that is a file the system is left alone.
    """
    if config.site.file:
        return []
    return [*_sysctls(config), *_region(config.site), *_pstore(config.site)]


# --- kernel settings


def _sysctls(config: Config) -> list[Problem]:
    found = []
    if config.panic_reboot:
        found += _set(config.site, "kernel/panic", str(config.panic_reboot))
    if config.panic_on_oom:
        found += _panic_on_oom(config.site)
    return found + _core_pattern(config.site)


def _panic_on_oom(site: Site) -> list[Problem]:
    """2 is stricter than 1, and stays."""
    found = [] if _sysctl(site, "vm/panic_on_oom") == "2" else _set(site, "vm/panic_on_oom", "1")
    if _sysctl(site, "kernel/panic") == "0":
        found.append(("kernel.panic", "option panic_on_oom makes the router panic when memory runs "
                      "out, and with kernel.panic 0 it then hangs; set option panic_reboot",
                      "warning"))
    return found


def core_pattern() -> str:
    """kernel.core_pattern while lastlog keeps programs' crashes."""
    return f"|{HANDLER} {CORE_ARGUMENTS}"


def _core_pattern(site: Site) -> list[Problem]:
    """Let the kernel hand core dumps to lastlog, where its handler is installed."""
    if not os.access(site.system(HANDLER), os.X_OK):
        return []
    return _set(site, "kernel/core_pipe_limit", str(CORE_PIPE_LIMIT)) + \
        _set(site, "kernel/core_pattern", core_pattern())


def _sysctl(site: Site, name: str) -> str:
    return read_small(site.system(f"/proc/sys/{name}")).strip()


def _set(site: Site, name: str, value: str) -> list[Problem]:
    if _sysctl(site, name) == value:
        return []
    error = _put(site, f"/proc/sys/{name}", value)
    dotted = name.replace("/", ".")
    return [(dotted, f"it cannot be set to {value}: {error}; run as root", "warning")] if error \
        else []


def _put(site: Site, path: str, value: str) -> str:
    """Write `value` into a file of the kernel's; "" or why that failed."""
    try:
        fd = os.open(site.system(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        return error.strerror or str(error)
    return ""


# --- the region


def _region(site: Site) -> list[Problem]:
    """Load what is missing on the region that the configuration names, if it names one."""
    if site.address is None and site.size is None:
        return []
    if wrong := _ill_said(site):
        return [("region", wrong, "error")]
    address, size = site.address or 0, site.size or 0
    part = size - site.journal_size
    found = _compared(site, address, part)
    missing = [load for load, there in ((_ramoops, not part or ramoops_works(site)),
                                        (_phram, mtd_size(site) is not None)) if not there]
    refused = memory_map.refusal(site, address, size) if missing else None
    if refused:
        return [*found, ("region", f"{refused.message} {refused.hint} Nothing was loaded.",
                         "error")]
    for load in missing:
        found += load(site, address, size)
    return found


def _ill_said(site: Site) -> str:
    """What is wrong with the region section; "" if nothing is."""
    if site.address is None or site.size is None:
        return "option address and option size belong together; give both, or neither"
    if site.journal_size > site.size or site.journal_size % memory_map.PAGE:
        return (f"option journal_size ({site.journal_size}) must be a multiple of "
                f"{memory_map.PAGE} and no larger than option size ({site.size})")
    plain = site.mtd.isascii() and all(char.isalnum() or char in "._-" for char in site.mtd)
    if not plain or len(site.mtd) > LONGEST_NAME:
        return (f"option mtd '{site.mtd[:80]}' is no name for the device: letters, digits, . _ "
                f"and - are, at most {LONGEST_NAME}")
    return ""


def mtd_size(site: Site) -> int | None:
    """The size of the MTD device with the configured name; None: there is none."""
    try:
        where = device.find(site)
    except LastlogError:
        return None
    return where.size + where.journal_size


def ramoops_works(site: Site) -> bool:
    """Whether ramoops has a region and pstore uses it.

    The module's parameters alone do not tell: they stay as given if the driver refused them.
    """
    return device.ramoops_runs(site) and _backend(site) in ("", "ramoops")


def _backend(site: Site) -> str:
    """What pstore keeps crashes with: a driver, "(null)", or "" if it does not say."""
    return read_small(site.system("/sys/module/pstore/parameters/backend")).strip()


def _driver(site: Site, parameter: str) -> int:
    text = read_small(site.system(f"/sys/module/ramoops/parameters/{parameter}")).strip()
    return int(text) if text.isdigit() else 0


def _compared(site: Site, address: int, part: int) -> list[Problem]:
    """Where what is there already is not what the configuration says."""
    found: list[Problem] = []
    start, size = _driver(site, "mem_address"), _driver(site, "mem_size")
    if ramoops_works(site) and part and (start, size) != (address, part):
        what = f"it runs on 0x{size:x} bytes at 0x{start:x}, and was left alone; the " \
               f"configuration says 0x{part:x} at 0x{address:x}"
        if start < address + part + site.journal_size and address + part < start + size:
            what += ", so it would overwrite the journal: correct option address, option size or " \
                    "option journal_size"
        found.append(("ramoops", what, "warning"))
    has = mtd_size(site)
    if has not in (None, site.size):
        found.append(("phram", f'the MTD device "{site.mtd}" has 0x{has:x} bytes, and was left '
                      f"alone; the configuration says 0x{site.size:x}", "warning"))
    return found


def _ramoops(site: Site, address: int, size: int) -> list[Problem]:
    """Load ramoops on its part of the region."""
    part = size - site.journal_size
    wrong = _does_not_fit(site, part) or _taken(site) or _unloaded(site)
    if wrong:
        return [("ramoops", wrong, "error")]
    sizes = {"record_size": record_size(site, part), "console_size": site.console_size or 0,
             "ftrace_size": site.ftrace_size or 0, "pmsg_size": site.pmsg_size or 0,
             "ecc": site.ecc or 0}
    given = [f"mem_address=0x{address:x}", f"mem_size=0x{part:x}",
             *(f"{name}={value}" for name, value in sizes.items())]
    failed = _insert(site, "ramoops", given)
    if not failed and not ramoops_works(site):
        failed = "it is loaded, but pstore does not use it" + _kernel_says(site, "ramoops")
    return [("ramoops", failed, "error")] if failed else []


def record_size(site: Site, part: int) -> int:
    """What one crash may take of `part` bytes: as configured, or an eighth, 4 to 64 KiB."""
    if site.record_size is not None:
        return site.record_size
    return max(4096, min(65536, _down(part // 8)))


def _does_not_fit(site: Site, part: int) -> str:
    """Why the driver would refuse these sizes; "" if it would not (ram.c: ramoops_probe)."""
    if (site.ecc or 0) > MOST_ECC:
        return f"option ecc is {site.ecc}; at most {MOST_ECC} bytes are possible, 16 are usual"
    record = _down(record_size(site, part))
    others = sum(_down(size or 0) for size in (site.console_size, site.ftrace_size,
                                               site.pmsg_size))
    if record < memory_map.PAGE:
        return f"option record_size must be at least {memory_map.PAGE}, or no crash is recorded"
    if record + others > part:
        return (f"the zones do not fit: option size less option journal_size leaves {part} bytes, "
                f"and one record of {record} with console, ftrace and pmsg takes "
                f"{record + others}; make them smaller")
    return ""


def _down(size: int) -> int:
    """The driver rounds sizes down to a power of two."""
    return 1 << size.bit_length() - 1 if size > 0 else 0


def _taken(site: Site) -> str:
    """Why pstore would not take ramoops: it keeps crashes with one driver only."""
    backend = _backend(site)
    if backend in ("", "(null)", "ramoops"):
        return ""
    return (f"the kernel keeps crashes with {backend} already; put pstore.backend=ramoops on the "
            "kernel command line to have lastlog's region used")


def _unloaded(site: Site) -> str:
    """Take out a ramoops that has no region, which can be given only when it is loaded; why that
    cannot be done."""
    if not _is_loaded(site, "ramoops"):
        return ""
    if not os.path.exists(site.system("/sys/module/ramoops/initstate")):
        return ("it is built into the kernel, without a region; put ramoops.mem_address=… on the "
                "kernel command line or a node into the device tree: lastlog propose prints both")
    status, said = programs.run(site, ["rmmod", "ramoops"])
    return f"it runs without a region, and cannot be unloaded: {_text(said)}" if status else ""


def _phram(site: Site, address: int, size: int) -> list[Problem]:
    """Make the whole region an MTD device, and see it there: phram hardly ever fails, whatever
    it is told."""
    value = f"{site.mtd},0x{address:x},0x{size:x}"
    if _is_loaded(site, "phram"):
        failed = _put(site, "/sys/module/phram/parameters/phram", value)
    else:
        failed = _insert(site, "phram", [f"phram={value}"])
    if not failed and mtd_size(site) != size:
        failed = "it is loaded, but there is no MTD device of that name and size" \
            + _kernel_says(site, "phram")
    if not failed and not _has_node(site):
        failed = f'the device file of "{site.mtd}" has not appeared in /dev'
    return [("phram", failed, "error")] if failed else []


def _has_node(site: Site) -> bool:
    """Whether /dev has the device; hotplug makes it a moment after the driver does."""
    path = device.find(site).path
    until = time.monotonic() + APPEARS
    while not os.path.exists(path) and time.monotonic() < until:
        time.sleep(0.02)
    return os.path.exists(path)


# --- modules


def _is_loaded(site: Site, name: str) -> bool:
    """Whether it is in the kernel, loaded or built in."""
    return os.path.isdir(site.system(f"/sys/module/{name}"))


def _insert(site: Site, name: str, parameters: list[str]) -> str:
    """Load a module after what it needs; "" or why that failed."""
    path = _module(site, name)
    if path is None:
        return (f"the kernel module {name} is not installed; install the package "
                f"{_PACKAGES[name]}")
    for needed in _NEEDS[name]:
        _load_needed(site, needed)
    status, said = programs.run(site, ["insmod", path, *parameters])
    return f"it cannot be loaded: {_text(said)}" + _kernel_says(site, name) if status else ""


def _load_needed(site: Site, name: str) -> None:
    """Load a module that takes no parameters.  What fails here shows in what needs it."""
    if _is_loaded(site, name) or (path := _module(site, name)) is None:
        return
    if programs.find(site, "modprobe"):
        programs.run(site, ["modprobe", "-q", name])
    else:
        programs.run(site, ["insmod", path])


def _module(site: Site, name: str) -> str | None:
    """The file of a module for the running kernel; OpenWrt has them all in one folder."""
    release = read_small(site.system("/proc/sys/kernel/osrelease")).strip()
    folder = site.system(f"/lib/modules/{release}")
    files = [f"{name}.ko{packed}" for packed in ("", ".gz", ".xz", ".zst")]
    if os.path.isfile(f"{folder}/{files[0]}"):
        return f"{folder}/{files[0]}"
    for where, _, names in os.walk(folder):
        for file in files:
            if file in names:
                return f"{where}/{file}"
    return None


def _kernel_says(site: Site, name: str) -> str:
    """The last line of the kernel's log about a module, to be put behind a message."""
    _, log = programs.run(site, ["dmesg"])
    lines = [line for line in log.split(b"\n") if name.encode() in line]
    return f"; the kernel says: {_text(lines[-1])}" if lines else ""


def _text(said: bytes) -> str:
    """The last line of what a program said, fit for a message."""
    lines = said.decode("utf-8", "replace").strip().splitlines() or ["no reason was given"]
    return "".join(char if char.isprintable() else "\ufffd" for char in lines[-1])[:200]


# --- the file system


def _pstore(site: Site) -> list[Problem]:
    """Mount what hands out the records, where the kernel has it."""
    path = site.system(PSTORE)
    if _is_mounted(site) or not os.path.isdir(path):
        return []
    status, said = programs.run(site, ["mount", "-t", "pstore", "pstore", path])
    if status == 0 and _is_mounted(site):
        return []
    return [("pstore", f"{PSTORE} cannot be mounted: {_text(said)}", "warning")]


def _is_mounted(site: Site) -> bool:
    return " pstore " in read_small(site.system("/proc/mounts"))
