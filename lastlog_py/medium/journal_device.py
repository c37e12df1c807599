"""The journal where it lies: behind ramoops' part of the region, or in /dev/pmsg0.

Writers take turns by flock on the device itself, which a dead owner cannot hold.  An append first
takes away how the records begin that have to go, then zeroes the space, then writes: cut short
anywhere, every record that stays is whole, and the new one is absent, torn, or whole.

/dev/pmsg0 can only be written (fs/pstore/pmsg.c): its records are found in the next boot, in the
file that the kernel makes of the zone.  On the hot path: imports next to nothing.
"""

from __future__ import annotations

import os
import zlib

from .. import locks
from ..boot import Moment
from ..errors import LastlogError, code_of
from ..site import Site
from . import device
from .device import read_small
from .journal import (
    LINE,
    MAGIC,
    MOST_HEADER,
    MOST_NUMBER,
    Entry,
    Scan,
    beyond_share,
    encode,
    largest,
    place,
    room_for,
    scan,
)

__all__ = ["PMSG", "Journal", "find", "left_behind", "on"]

PATIENCE = 5.0                      # seconds that a writer waits for another one
GLANCE = 0.1                        # seconds that a reader waits for a writer
PMSG = "/dev/pmsg0"
PMSG_SIZE = 4096                    # of a zone that nothing says the size of: ramoops' default
PSTORE = "/sys/fs/pstore"
_RAMOOPS = "/sys/module/ramoops/parameters/"
_RESERVED = "/proc/device-tree/reserved-memory"


class Journal:
    """One journal.  Sizes and offsets in bytes."""

    __slots__ = ("capacity", "is_file", "path", "start", "what")

    def __init__(self, what: str, path: str, start: int, capacity: int, is_file: bool) -> None:
        self.what = what            # "region" | "pmsg"
        self.path = path            # of the device or file
        self.start = start          # where in the region the journal begins; 0 for pmsg
        self.capacity = capacity    # of records, headers and padding included
        self.is_file = is_file      # a file in the region's place: it is fsync'd

    def read(self) -> Scan:
        """Everything in it; nothing for pmsg, which cannot be read.  Raises LastlogError "io"."""
        if self.what == "pmsg":
            return Scan()
        with _Opened(self.path, os.O_RDONLY) as fd:
            locks.locked(fd, locks.SHARED, GLANCE)  # without it, what is being written looks torn
            return scan(self._ring(fd))

    def room(self, spare_crashes: bool = False) -> int:
        """Bytes of the largest body that can be appended now, whatever else has to go for it."""
        if self.what == "pmsg":
            return max(0, self.capacity - MOST_HEADER - 2)
        entries = self.read().entries
        return max(0, largest(entries, self.capacity, spare_crashes) - MOST_HEADER - LINE)

    def append(self, kind: str, body: bytes, moment: Moment, boot: int, label: str = "",
               form: str = "text", spare_crashes: bool = False, share: int = 0) -> Entry:
        """Add a record, and see it there.

        boot: number of this boot, 0 if it is not known.  spare_crashes: rather not at all than in
        the place of a kernel crash.  share: all of its kind together take at most this part of the
        journal (2: a half; 0: any), and the oldest of them go first.  Raises LastlogError:
        "no-space" if it cannot fit, "busy" if another writer does not end, "io", "read-only".
        """
        entry = Entry(kind, body, 0, boot, round(moment.uptime, 2), round(max(0, moment.time), 6),
                      moment.trusted, label, form)
        if self.what == "pmsg":
            self._send(entry)
            return entry
        with _Opened(self.path, os.O_RDWR) as fd:
            if not locks.locked(fd, locks.EXCLUSIVE, PATIENCE):
                raise _busy(self.path)
            self._add(fd, entry, spare_crashes, share)
        return entry

    def erase(self, entry: Entry) -> None:
        """Take `entry` away, if it is still there.  Raises LastlogError."""
        if entry.offset is not None:
            self.erase_at(entry.offset, entry.size, entry.checksum)

    def erase_at(self, offset: int, size: int, checksum: int) -> None:
        """Take away the record at `offset` in the journal, if it is still the one whose `size`
        bytes have this CRC-32.  Raises LastlogError."""
        if self.what == "pmsg":
            raise LastlogError("read-only", f"{self.path} can only be written.",
                               "Its records are gone with the next boot but one.")
        with _Opened(self.path, os.O_RDWR) as fd:
            if not locks.locked(fd, locks.EXCLUSIVE, PATIENCE):
                raise _busy(self.path)
            if zlib.crc32(_read(fd, self.start + offset, size)) == checksum:
                self._put(fd, [(offset, bytes(len(MAGIC)))])

    def _ring(self, fd: int) -> bytes:
        return _read(fd, self.start, self.capacity)

    def _add(self, fd: int, entry: Entry, spare_crashes: bool = False, share: int = 0) -> None:
        """Place and write `entry`, under the lock."""
        there = scan(self._ring(fd)).entries
        last = there[-1].sequence if there else 0
        entry.sequence = min(last + 1, MOST_NUMBER)
        encoded = encode(entry)
        size = room_for(len(encoded))
        going = beyond_share(there, entry.kind, self.capacity // share - size) if share else []
        staying = [each for each in there if each not in going]
        spot = place(staying, self.capacity, size, spare_crashes)
        if spot is None:
            raise _no_room(size, largest(there, self.capacity, spare_crashes))
        entry.offset, entry.size = spot[0], size
        padded = encoded.ljust(size, b"\0")
        entry.checksum = zlib.crc32(padded)
        self._put(fd, [*((each.offset or 0, bytes(len(MAGIC))) for each in going + spot[1]),
                       (spot[0], bytes(size)), (spot[0], encoded)])
        if _read(fd, self.start + spot[0], size) != padded:
            raise LastlogError("io", f"{self.path} did not keep what was written to it.",
                               "The memory may be claimed by another driver; see dmesg.")

    def _put(self, fd: int, writes: list[tuple[int, bytes]]) -> None:
        """Carry out these writes, (offset in the journal, bytes), in this order."""
        for offset, data in writes:
            done = 0
            while done < len(data):
                done += os.pwrite(fd, data[done:], self.start + offset + done)
        if self.is_file:
            os.fdatasync(fd)            # its size does not change

    def _send(self, entry: Entry) -> None:
        """Write `entry` to pmsg, in one piece: the kernel keeps pieces of one write together.

        What is there already cannot be read, so the uptime in milliseconds is the sequence; a
        zone holds one boot only.
        """
        entry.sequence = int(entry.uptime * 1000) + 1
        encoded = encode(entry)
        if len(encoded) > self.capacity:
            raise _no_room(len(encoded), self.capacity)
        with _Opened(self.path, os.O_WRONLY | os.O_APPEND) as fd:
            if os.write(fd, encoded) != len(encoded):
                raise LastlogError("io", f"{self.path} took only a part of what was written.",
                                   "Store less at once.")


# --- which one


def find(site: Site) -> Journal:
    """This machine's journal.

    Raises LastlogError: "no-region" if there is none, or none that may be used.
    """
    try:
        return on(site, device.find(site))
    except LastlogError as error:
        pmsg = site.system(PMSG)
        if error.code != "no-region" or site.file or not os.path.exists(pmsg):
            raise
        return Journal("pmsg", pmsg, 0, _pmsg_room(site), False)


def on(site: Site, where: device.Device) -> Journal:
    """The journal in the region `where`.  Raises LastlogError "no-region" if it has none."""
    capacity = where.journal_size - where.journal_size % LINE
    if not capacity:
        raise LastlogError("no-region", f"{where.path} has no part that is set aside for the "
                           "journal.", "Set option journal_size in the region section of the "
                           "configuration: 0x20000 is plenty.")
    if where.what == "mtd":
        _check_ramoops(site, where)
    return Journal("region", where.path, where.size, capacity, where.what == "file")


def _check_ramoops(site: Site, where: device.Device) -> None:
    """Raises LastlogError if ramoops writes where the journal would be.

    fs/pstore/ram.c: ramoops_probe writes what it uses back to its parameters.  Where the region
    is, is known only if the configuration says so; otherwise ramoops is taken to be at its start.
    """
    address, size = _parameter(site, "mem_address"), _parameter(site, "mem_size")
    ours = address if site.address is None else site.address
    journal = ours + where.size
    if address and address < journal + where.journal_size and journal < address + size:
        raise LastlogError("no-region", f"ramoops uses {size} bytes at {address:#x} and reaches "
                           "into the journal.", "Set the address of the region, and a "
                           "journal_size that leaves the rest to ramoops; then restart.")


def _parameter(site: Site, name: str) -> int:
    text = read_small(site.system(_RAMOOPS + name)).strip()
    return int(text) if text.isdigit() else 0


def _pmsg_room(site: Site) -> int:
    """Bytes that pmsg keeps, at least: its zone less the header and an eighth for ECC.

    A longer write would overwrite its own beginning.
    """
    size = _parameter(site, "pmsg_size") or _pmsg_in_tree(site) or PMSG_SIZE
    return max(0, size - size // 8 - 12)


def _pmsg_in_tree(site: Site) -> int:
    """The property pmsg-size of a ramoops node: big-endian, of 4 or 8 bytes; 0: there is none."""
    folder = site.system(_RESERVED)
    try:
        for name in os.listdir(folder):
            if name.startswith("ramoops") and os.path.exists(f"{folder}/{name}/pmsg-size"):
                with open(f"{folder}/{name}/pmsg-size", "rb", buffering=0) as file:
                    return int.from_bytes(file.read(8), "big")
    except OSError:
        pass
    return 0


def left_behind(site: Site) -> Scan:
    """What the last boot wrote to pmsg, where its zone is handed out in /sys/fs/pstore."""
    folder = site.system(PSTORE)
    try:
        names = sorted(name for name in os.listdir(folder) if name.startswith("pmsg-"))
        pieces = []
        for name in names:
            with open(f"{folder}/{name}", "rb") as file:
                pieces.append(file.read(device.MAX_REGION))
    except OSError:
        return Scan()
    return scan(b"\n".join(pieces), 1)


# --- the device


class _Opened:
    """A device, opened; what goes wrong with it inside `with` becomes a LastlogError."""

    __slots__ = ("fd", "flags", "path")

    def __init__(self, path: str, flags: int) -> None:
        self.path, self.flags, self.fd = path, flags, -1

    def __enter__(self) -> int:
        try:
            self.fd = os.open(self.path, self.flags | os.O_CLOEXEC)
        except OSError as error:
            raise self._failed(error) from None
        return self.fd

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        os.close(self.fd)
        if isinstance(error, OSError):
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> LastlogError:
        doing = "read" if self.flags & os.O_ACCMODE == os.O_RDONLY else "written"
        return LastlogError(code_of(error), f"{self.path} cannot be {doing}: {error.strerror}.",
                            "Run lastlog as root, and see that the device is still there.")


def _read(fd: int, offset: int, size: int) -> bytes:
    """`size` bytes at `offset`; fewer if the device ends before."""
    data = os.pread(fd, size, offset)
    while data and len(data) < size and (more := os.pread(fd, size - len(data),
                                                          offset + len(data))):
        data += more
    return data


def _busy(path: str) -> LastlogError:
    return LastlogError("busy", f"Another process keeps writing to {path}.",
                        "Try again in a moment.")


def _no_room(size: int, most: int) -> LastlogError:
    return LastlogError("no-space", f"It takes {size} bytes in the journal, where at most {most} "
                        "can be had at once.", "Store less of it, or raise option journal_size.")
