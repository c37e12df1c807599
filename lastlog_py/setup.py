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
from .errors import LastlogError, visible
from .medium import device
from .medium.device import read_small
from .site import Site

__all__ = ["HANDLER", "NEEDS_NO_MAP", "arm", "core_pattern", "has_mtd", "ill_said", "mtd_size",
           "not_in_force", "ramoops_works", "record_size", "stays_mapped"]

TYPE_CHECKING = False           # the type checker takes it for true; typing costs half a start
if TYPE_CHECKING:
    from collections.abc import Callable

Problem = tuple[str, str, str]          # where, what, "info" | "warning" | "error"

HANDLER = "/usr/libexec/lastlog/coredump"
CORE_ARGUMENTS = "%P %I %u %g %d %s %t %E"
# Programs that may crash at once: the kernel drops what is beyond, and 0 would not wait for the
# handler.  Of the handlers one is at work; those that wait have about 5 MiB of their own.
CORE_PIPE_LIMIT = 16

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
    return [*_tried("sysctl", _sysctls, config), *_tried("region", _region, config),
            *_tried("pstore", _pstore, config.site)]


def _tried(where: str, step: Callable[..., list[Problem]], *given: object) -> list[Problem]:
    """What `step` found; what it did not think of is a problem too, and other steps go on."""
    try:
        return step(*given)
    except OSError as error:
        return [(where, f"it failed: {error.strerror or error}", "error")]


# --- kernel settings


def _sysctls(config: Config) -> list[Problem]:
    found = []
    if config.panic_reboot:
        found += _set(config.site, "kernel/panic", str(config.panic_reboot))
    if config.panic_on_oom:
        found += _panic_on_oom(config.site)
    return found + (_core_pattern(config.site) if config.coredump.enabled else [])


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


def _region(config: Config) -> list[Problem]:
    """Load what is missing on the region that the configuration names, if it names one."""
    site = config.site
    if site.address is None and site.size is None:
        return []
    if wrong := ill_said(config):
        return [("region", wrong, "error")]
    address, size = site.address or 0, site.size or 0
    part = size - site.journal_size
    found = _compared(site, address, part)
    missing = [each for each, there in (
        (("ramoops", _ramoops), not part or ramoops_works(site)),
        (("phram", _phram), mtd_size(site) is not None)) if not there]
    refused = memory_map.refusal(site, address, size) if missing else None
    if refused:
        return [*found, ("region", f"{refused.message} {refused.hint} Nothing was loaded.",
                         "error")]
    for where, load in missing:
        found += _tried(where, load, site, address, size)
    return found


def ill_said(config: Config) -> str:
    """What is wrong with the region section, and what is odd in the configuration because of which
    it may be; "" if nothing is."""
    site = config.site
    if site.address is None and site.size is None:
        return ""
    wrong = _ill_said(site)
    return "; ".join((wrong, *config.problems)) if wrong else ""


def _ill_said(site: Site) -> str:
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


def has_mtd(site: Site) -> bool:
    """Whether this kernel has MTD, or a module for it; OpenWrt's for x86 has not."""
    return os.path.exists(site.system("/proc/mtd")) or \
        any(_module(site, name) for name in ("phram", "mtd"))


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
    found += [("ramoops", each, "warning") for each in not_in_force(site)]
    has = mtd_size(site)
    if has not in (None, site.size):
        found.append(("phram", f'the MTD device "{site.mtd}" has 0x{has:x} bytes, and was left '
                      f"alone; the configuration says 0x{site.size:x}", "warning"))
    return found


def not_in_force(site: Site) -> list[str]:
    """What the configuration says of the zones, and ramoops on the same memory does otherwise: it
    is told once, when it starts."""
    start, part = _driver(site, "mem_address"), _driver(site, "mem_size")
    if not ramoops_works(site) or site.address != start or \
            (site.size or 0) - site.journal_size != part:
        return []
    runs, why = _zones_in_use(site, start)
    said = {"record_size": site.record_size, "console_size": site.console_size,
            "ftrace_size": site.ftrace_size, "pmsg_size": site.pmsg_size, "ecc": site.ecc}
    return [f"option {name} {value} {why} {runs[name]}" for name, value in said.items()
            if value is not None and name in runs
            and _in_effect(name, value) != _in_effect(name, runs[name])]


def _zones_in_use(site: Site, start: int) -> tuple[dict[str, int], str]:
    """The zones' sizes that ramoops at `start` has, and why it is not the configuration's."""
    tree = next((each for each in memory_map.reserved(site)
                 if each.start == start and each.driver == "ramoops"), None)
    if tree is not None:
        from .medium.geometry import candidates  # rare, and costs half a start

        # Older kernels do not write it back to the parameters.
        said = (each for each in candidates(site) if each.origin == "the device tree")
        sizes = next((each._asdict() for each in said), {})
        return sizes, "has no effect: the device tree says"
    why = "takes effect at the next reboot; until then it is" if _is_module(site) else \
        "has no effect: ramoops is built into the kernel, and has"
    return {name: _driver(site, name) for name in (
        "record_size", "console_size", "ftrace_size", "pmsg_size", "ecc")}, why


def _in_effect(name: str, value: int) -> int:
    """What the driver makes of it: a power of two, and of ecc 1 the usual 16."""
    if name == "ecc":
        return 16 if value == 1 else value
    return _down(value)


def _is_module(site: Site) -> bool:
    """Whether ramoops was loaded; what is built in has no such file."""
    return os.path.exists(site.system("/sys/module/ramoops/initstate"))


def _ramoops(site: Site, address: int, size: int) -> list[Problem]:
    """Load ramoops on its part of the region, unless somebody has just done it."""
    part = size - site.journal_size
    if ramoops_works(site):
        return []
    wrong = _does_not_fit(site, part) or _taken(site) or _unloaded(site)
    if wrong:
        return [("ramoops", wrong, "error")]
    sizes = {"record_size": record_size(site, part), "console_size": site.console_size or 0,
             "ftrace_size": site.ftrace_size or 0, "pmsg_size": site.pmsg_size or 0,
             "ecc": site.ecc or 0}
    given = [f"mem_address=0x{address:x}", f"mem_size=0x{part:x}",
             *(f"{name}={value}" for name, value in sizes.items())]
    with _KernelLog(site) as log:
        failed = _insert(site, "ramoops", given, log)
        if ramoops_works(site):
            return []
        failed = failed or f"it is loaded, but pstore does not use it{log.about('ramoops')}"
    return [("ramoops", failed, "error")]


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
    if not _is_module(site):
        return ("it is built into the kernel, without a region; put ramoops.mem_address=… on the "
                "kernel command line or a node into the device tree: lastlog propose prints both")
    _, said = programs.run(site, ["rmmod", "ramoops"])
    return f"it runs without a region, and cannot be unloaded: {_text(said)}" \
        if _is_loaded(site, "ramoops") else ""


def _phram(site: Site, address: int, size: int) -> list[Problem]:
    """Make the whole region an MTD device, and see it there: phram hardly ever fails, whatever
    it is told."""
    if device.named(site) is not None:
        return _unusable(site)
    if not has_mtd(site):
        return [("phram", "this kernel has no MTD, so no journal: set option journal_size 0, and "
                 "ramoops has all of the memory", "warning")] if site.journal_size else []
    if stays_mapped(site, address, size):
        return [("phram", f"{_MAPPED}. {NEEDS_NO_MAP}", "warning")]
    with _KernelLog(site) as log:
        failed = _given_to_phram(site, f"{site.mtd},0x{address:x},0x{size:x}", log)
        if not failed and mtd_size(site) != size:
            failed = f"there is no MTD device of that name and size{log.about('phram')}"
    if not failed and not _has_node(site):
        failed = f'the device file of "{site.mtd}" has not appeared in /dev'
    return [("phram", failed, "error")] if failed else []


_MAPPED = "it cannot have this memory, which the kernel maps, so there is no journal"
NEEDS_NO_MAP = ("Give the memory's node in the device tree the property no-map, or the journal's "
                'part a node of its own that is compatible with "phram".')


def stays_mapped(site: Site, address: int, size: int) -> bool:
    """Whether phram would be refused this memory: ARM does not map twice what is mapped as the
    system's, and warns of the attempt (arch/arm64/mm/ioremap.c)."""
    return memory_map.machine(site) in ("arm", "arm64") and \
        memory_map.is_mapped(site, address, size)


def _unusable(site: Site) -> list[Problem]:
    """Why the device of the configured name is not the region, if it is not."""
    try:
        device.find(site)
    except LastlogError as error:
        return [("phram", f"{error.message} {error.hint}", "error")]
    return []


def _given_to_phram(site: Site, value: str, log: _KernelLog) -> str:
    """Tell phram of the region, loading it if need be; "" or why that failed."""
    if _is_loaded(site, "phram"):
        return _put(site, "/sys/module/phram/parameters/phram", value)
    failed = _insert(site, "phram", [f"phram={value}"], log)
    return "" if device.named(site) else failed     # what is there counts, not how insmod ended


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


def _insert(site: Site, name: str, parameters: list[str], log: _KernelLog) -> str:
    """Load a module after what it needs; "" or why that failed."""
    path = _module(site, name)
    if path is None:
        return (f"the kernel module {name} is not installed; install the package "
                f"{_PACKAGES[name]}")
    for needed in _NEEDS[name]:
        _load_needed(site, needed)
    status, said = programs.run(site, ["insmod", path, *parameters])
    return f"it cannot be loaded: {_text(said)}{log.about(name)}" if status else ""


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


class _KernelLog:
    """What the kernel says from now on (Documentation/ABI/testing/dev-kmsg)."""

    __slots__ = ("fd",)

    def __init__(self, site: Site) -> None:
        self.fd = -1                    # it cannot be read
        try:
            self.fd = os.open(site.system("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self.fd, 0, os.SEEK_END)
        except OSError:
            pass

    def __enter__(self) -> _KernelLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def about(self, name: str) -> str:
        """The last line about a module, to be put behind a message."""
        lines = [text for line in self._said().split(b"\n")
                 if name.encode() in (text := line.partition(b";")[2])]
        return f"; the kernel says: {_text(lines[-1])}" if lines else "; see logread"

    def _said(self) -> bytes:
        """Records, one a read, until there are no more (EAGAIN) or the next is overwritten
        (EPIPE)."""
        said = b""
        try:
            while self.fd >= 0 and len(said) < 1 << 18 and (record := os.read(self.fd, 8192)):
                said += record
        except OSError:
            pass
        return said


def _text(said: bytes) -> str:
    """The last line of what a program said, fit for a message."""
    lines = said.decode("utf-8", "replace").strip().splitlines() or ["it gave no reason"]
    return visible(lines[-1])[:200]


# --- the file system


def _pstore(site: Site) -> list[Problem]:
    """Mount what hands out the records, where the kernel has it."""
    path = site.system(PSTORE)
    if _is_mounted(site) or not os.path.isdir(path):
        return []
    _, said = programs.run(site, ["mount", "-t", "pstore", "pstore", path])
    if _is_mounted(site):
        return []
    return [("pstore", f"{PSTORE} cannot be mounted: {_text(said)}", "warning")]


def _is_mounted(site: Site) -> bool:
    return f" {PSTORE} pstore " in read_small(site.system("/proc/mounts"))
