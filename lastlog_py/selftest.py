"""The retention self-test: does this memory keep its contents across a reboot, and how well?

`arm` fills what is unused of the region with a pattern that only a nonce can reproduce; after a
warm reboot `result` counts what is left of it.  The nonce is kept in a file beside the boot
ledger, for after a cold boot nothing in the region can be believed.  Records are never
overwritten, and what became one since does not count as lost.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from . import boot, locks
from .config import Config
from .errors import LastlogError, code_of
from .medium import contents, device, journal, journal_device, ramoops, retention
from .medium.device import Device
from .medium.geometry import Geometry, candidates
from .medium.layout import layouts
from .medium.persistent_ram import HEADER_SIZE, Zone
from .medium.retention import Extent, Loss
from .site import Site

__all__ = ["arm", "result"]

Answer = dict[str, Any]

LEAST = 1024                    # bytes: less than that says nothing
SLACK = 8192                    # bytes behind the newest journal record, for those of next boots
TAIL = 64                       # bytes at a zone's end, where the ECC of its header may be

FADING = 1e-6                   # of the bits: less than that is lost in memory that keeps
ECC_SIZES = (8, 16, 32, 64)     # parity bytes per block that are worth considering
HEADER_ECC = 32                 # brings back a header of which all 12 bytes are lost

_SIGNATURE = re.compile(rb"DBGC|CBGD")
_READABLE = re.compile(_SIGNATURE.pattern + rb"|\[ *\d{1,10}\.\d{6}\] ")
_AGAIN = "Run lastlog selftest arm, then reboot, then lastlog selftest result."
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class State(NamedTuple):
    """What is remembered of an armed test."""

    nonce: str                  # in hexadecimal
    region: str                 # the file, or the MTD device's name
    size: int                   # bytes, journal included
    boot_id: str                # of the boot that armed it; "": not known
    time: float
    extents: list[Extent]
    zones: list[int]            # offsets of zones whose header's cache line is in the extents


def arm(config: Config) -> Answer:
    """Write a pattern over all that is unused of the region.

    {"tested", "of": bytes, "extents": n, "text"}.  Raises LastlogError if there is no region,
    nothing unused, or something cannot be written; the region is as it was then, unless it itself
    cannot be written.
    """
    where = device.find(config.site)
    with _alone(where.path):
        region = _read(where)
        extents, zones = _unused(config.site, where, region, SLACK)
        tested = _size(extents)
        if tested < LEAST:
            raise LastlogError("no-space", f"Only {tested} bytes of {where.path} are unused: too "
                               "few for a test.", "Run lastlog save and lastlog clear, and try "
                               "again.")
        nonce = os.urandom(retention.NONCE)
        now = boot.moment(config.site).time
        state = State(nonce.hex(), _name(config.site), len(region),
                      boot.this_boot(config.site).id, now, extents, zones)
        with _noted(_path(config), state):
            _fill(where, region, nonce, extents)
    text = (f"A pattern was written over {tested} of {len(region)} bytes, all that is unused and "
            "can be tested. Now run: reboot, then: lastlog selftest result")
    return {"tested": tested, "of": len(region), "extents": len(extents), "text": text}


def result(config: Config) -> Answer:
    """What is left of the pattern.

    {"state": "kept"|"decayed"|"cold"|"wiped", "bits", "lost_bits", "share", "lines_lost",
    "header_line_lost": bool, or null if no zone's was tested, "header_lines": {"of", "lost"},
    "ecc": parity bytes, 0 if none are needed, null if none help, "blocks": {"of", "worst",
    "repaired": {ECC size: share}}, "tested": bytes, "overwritten": [{"offset", "size"}…],
    "armed": time, "text"}

    Raises LastlogError if no test is armed, or the router was not rebooted since.
    """
    state = _load(_path(config))
    if state.boot_id and state.boot_id == boot.this_boot(config.site).id:
        raise LastlogError("busy", "The router was not rebooted since the self-test was armed.",
                           "Run: reboot, then: lastlog selftest result")
    where = device.find(config.site)
    region = _read(where)
    if (state.region, state.size) != (_name(config.site), len(region)):
        raise LastlogError("no-region", f"The self-test was armed for {state.size} bytes of "
                           f"{state.region}; the region is {_name(config.site)} with "
                           f"{len(region)} bytes now.", _AGAIN)
    unused, _ = _unused(config.site, where, region, 0)
    extents = _common(state.extents, unused)
    if _size(extents) < LEAST:
        raise LastlogError("not-found", "What was tested holds records now, or is in use.",
                           "Run lastlog save and lastlog clear. " + _AGAIN)
    loss = retention.measure(region, bytes.fromhex(state.nonce), extents, state.zones)
    return {**_verdict(region, loss), "armed": state.time}


def _read(where: Device) -> bytes:
    """All of the region, the journal included."""
    size = where.size + where.journal_size
    region = where.read(0, size)
    if len(region) < size:
        raise LastlogError("io", f"{where.path} ended {size - len(region)} bytes early.",
                           "See dmesg, and whether the region lies in memory that exists.")
    return region


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """Hold the lock of the journal's writers.  Raises LastlogError "busy" after some seconds."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LastlogError(code_of(error), f"{path} cannot be opened: {error.strerror}.",
                           "Run lastlog as root, and see that the device is there.") from None
    try:
        if not locks.locked(fd, locks.EXCLUSIVE, journal_device.PATIENCE):
            raise LastlogError("busy", f"Another process keeps writing to {path}.",
                               "Try again in a moment.")
        yield
    finally:
        os.close(fd)


def _name(site: Site) -> str:
    return site.file or site.mtd


def _fill(where: Device, region: bytes, nonce: bytes, extents: Iterable[Extent]) -> None:
    for extent in extents:
        if where.live and extent.start < where.size:
            _check_empty(where, region, extent)
        where.write(extent.start, retention.pattern(nonce, extent.start, extent.end))


def _check_empty(where: Device, region: bytes, extent: Extent) -> None:
    """Raises LastlogError if a crash was written into the zone since the region was read."""
    header = extent.base - HEADER_SIZE
    if where.read(header, HEADER_SIZE) != region[header:extent.base]:
        raise LastlogError("busy", "A crash was recorded just now.",
                           "See lastlog list, and try again.")


# --- what is unused


def _unused(site: Site, where: Device, region: bytes, slack: int) -> tuple[list[Extent], list[int]]:
    """The extents that hold nothing and that nobody uses, and the zones that begin there.

    slack: bytes to leave free behind the newest journal record.
    """
    extents, zones = _unused_zones(site, where, region[:where.size])
    return extents + _unused_journal(site, where, region, slack), zones


def _unused_zones(site: Site, where: Device, region: bytes) -> tuple[list[Extent], list[int]]:
    """The data of empty zones for crashes: the kernel neither reads nor clears it.

    Of a region that no driver uses and that holds no zone: all of it, but for what may be read.
    """
    given = candidates(site)
    # Behind a dump that lost its header something has to stay that ends it.
    records = _places(contents.read(region, given, where.live))
    # The driver knows where its zones are; a configuration may be wrong and seem to fit.
    said = [each for each in given if not where.live or each.origin == "the ramoops driver"]
    zones, _ = ramoops.find_zones(region, said)
    geometry = _geometry(zones, said, len(region))
    if where.live and (geometry is None or (geometry.mem_size or 0) > where.size):
        return [], []
    if not zones:
        offsets = _zones_to_be(given, len(region))
        return _without(_from_each(offsets, len(region)), records + _readable(region)), offsets
    empty = [zone.slot.offset for zone in zones if zone.slot.kind == "kernel" and not zone.used]
    size = _room(zones, geometry, len(region)) - max([TAIL, *(each.ecc for each in given)])
    extents = [_data(region, at, at + size) for at in empty]
    return _without([each for each in extents if each.start < each.end], records), empty


def _places(there: contents.Findings) -> list[tuple[int, int]]:
    """(offset, size) of the records, and of something behind each that ends it."""
    return [(offset, size + TAIL) for places in there.reading.extents.values()
            for offset, size in places]


def _data(region: bytes, zone: int, end: int) -> Extent:
    """The data of `zone`, as far as no other one begins there."""
    start = zone + HEADER_SIZE
    other = _SIGNATURE.search(region, start, end)
    return Extent(start, other.start() if other else end, start)


def _geometry(zones: list[Zone], said: Iterable[Geometry], size: int) -> Geometry | None:
    """The geometry that the zones are in, every one of them."""
    slots = [zone.slot for zone in zones]
    return next((each for each in said if slots in layouts(each, size)), None)


def _room(zones: list[Zone], geometry: Geometry | None, size: int) -> int:
    """Bytes that a zone for crashes has at least, whatever kernel laid it out.

    They are all of one size, but behind the last one found by its signature there may be others
    whose headers are lost.
    """
    slots = [zone.slot for zone in zones]
    for layout in layouts(geometry, size) if geometry else ():
        slots += layout
    return min((slot.size for slot in slots if slot.kind == "kernel"), default=0)


def _zones_to_be(given: Iterable[Geometry], size: int) -> list[int]:
    """Where the zones of a region will begin that is not divided yet."""
    for each in given:
        for slots in layouts(each, size):
            return [slot.offset for slot in slots if slot.kind == "kernel"]
    return [0]


def _from_each(offsets: list[int], end: int) -> list[Extent]:
    """All but the headers of the zones to be: they are the driver's, should it come."""
    starts = [offset + HEADER_SIZE for offset in offsets]
    ends = [*offsets[1:], end]
    return [Extent(start, end, start) for start, end in zip(starts, ends, strict=True)]


def _readable(region: bytes) -> list[tuple[int, int]]:
    """(offset, size) of pages with lines of a kernel log, or the signature of a zone: where a
    header was lost no reader finds the dump, but a person could."""
    pages = dict.fromkeys(match.start() & -4096 for match in _READABLE.finditer(region))
    return [(page, 4096) for page in pages]


def _unused_journal(site: Site, where: Device, region: bytes, slack: int) -> list[Extent]:
    try:
        ring = journal_device.on(site, where)
    except LastlogError:
        return []                       # there is none, or ramoops has it too
    end = ring.start + ring.capacity
    entries = journal.scan(region[ring.start:end]).entries
    free = [Extent(ring.start + at, ring.start + at + size, ring.start + at)
            for at, size in journal.gaps(entries, ring.capacity)]
    ahead = [(ring.start + at, size) for at, size in _ahead(entries, ring.capacity, slack)]
    return _without(free, ahead + _left_by_zones(region, ring.start))


def _left_by_zones(region: bytes, start: int) -> list[tuple[int, int]]:
    """(offset, size) of what ramoops left behind `start`, if it had that part too before it was
    named journal: nothing else shows it any more."""
    left = [(start + at, size) for at, size in _readable(region[start:])]
    return _places(contents.read(region)) + left


def _ahead(entries: list[journal.Entry], capacity: int, slack: int) -> list[tuple[int, int]]:
    """(offset, size) of where the next `slack` bytes of records go, round the end."""
    newest = max(entries, key=lambda entry: entry.sequence, default=None)
    at = (newest.offset or 0) + newest.size if newest else 0
    return [(at, slack), (0, max(0, at + slack - capacity))]


def _without(extents: Iterable[Extent], taken: Iterable[tuple[int, int]]) -> list[Extent]:
    """`extents` less what is in `taken`: (offset, size)."""
    taken = sorted(taken)
    return [part for extent in extents for part in _parts(extent, taken) if part.start < part.end]


def _parts(extent: Extent, taken: Iterable[tuple[int, int]]) -> Iterator[Extent]:
    at = extent.start
    for start, size in taken:
        yield extent._replace(start=at, end=min(start, extent.end))
        at = max(at, start + size)
    yield extent._replace(start=at)


def _common(armed: Iterable[Extent], unused: Iterable[Extent]) -> list[Extent]:
    """The parts of `armed` that are in `unused` too."""
    unused = list(unused)
    return [each._replace(start=max(each.start, other.start), end=min(each.end, other.end))
            for each in armed for other in unused
            if each.start < other.end and other.start < each.end]


def _size(extents: Iterable[Extent]) -> int:
    return sum(each.end - each.start for each in extents)


# --- what is remembered


def _path(config: Config) -> str:
    return os.path.join(os.path.dirname(config.ledger), "selftest")


@contextmanager
def _noted(path: str, state: State) -> Iterator[None]:
    """Remember `state` if what is done meanwhile succeeds.

    It is on flash before, so that there is room for it; what was noted before goes first, because
    its pattern is overwritten.  Raises LastlogError if it cannot be written.
    """
    new = f"{path}.new"
    try:
        _write(new, json.dumps(state._asdict()).encode())
        with suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        yield
        os.rename(new, path)
        _sync(os.path.dirname(path))
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        with suppress(OSError):
            os.unlink(new)


def _write(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with open(os.open(path, _CREATE, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unwritable(path: str, error: OSError) -> LastlogError:
    return LastlogError(code_of(error), f"The self-test cannot be noted in {path}: "
                        f"{error.strerror}.", "Run lastlog as root and make room there, or name "
                        "another place with option ledger.")


def _load(path: str) -> State:
    try:
        with open(path, "rb") as file:
            fields = json.loads(file.read(1 << 20))
        state = State(**fields)
        bytes.fromhex(state.nonce)
        return state._replace(extents=[Extent(*map(int, each)) for each in state.extents],
                              zones=[int(zone) for zone in state.zones])
    except FileNotFoundError:
        raise LastlogError("not-found", "No self-test was armed.", _AGAIN) from None
    except OSError as error:
        raise LastlogError("io", f"{path} cannot be read: {error.strerror}.",
                           "Run lastlog as root.") from None
    except (TypeError, ValueError):
        raise LastlogError("not-found", f"{path} is damaged.", _AGAIN) from None


# --- what it means


def _verdict(region: bytes, loss: Loss) -> Answer:
    if loss.bits // 8 * 16 < loss.tested:
        return _nothing_kept(region, loss)
    state = "kept" if loss.lost_bits <= FADING * loss.bits else "decayed"
    ecc = _ecc(loss)
    words = [_survived(loss), *_lost_lines(loss), _advice(loss, ecc), *_overwritten(loss)]
    return _answer(state, loss, loss.bits, loss.lost_bits, ecc, " ".join(words))


def _nothing_kept(region: bytes, loss: Loss) -> Answer:
    """Less than a sixteenth of the pattern is there."""
    bits, lost = loss.tested * 8, loss.lost_bits + loss.overwritten_bits
    if retention.is_constant(region, loss.overwritten):
        return _answer("wiped", loss, bits, lost, None, _WIPED)
    return _answer("cold", loss, bits, lost, None, _COLD)


_WIPED = ("The memory was wiped: it holds the same bytes all over. If the power stayed on, the "
          "boot loader or the memory training clears it, and it keeps nothing across a reboot: "
          "choose another place, see lastlog propose. If the power was off, this says nothing "
          "yet. " + _AGAIN)
_COLD = ("Nothing of the pattern is left: the memory lost power or was overwritten. This was a "
         "cold boot; it says nothing about decay. Arm the test again and reboot with the command "
         "reboot, not by pulling the plug. If that was done, something overwrites this memory at "
         "every boot: choose another place, see lastlog propose.")


def _answer(state: str, loss: Loss, bits: int, lost: int, ecc: int | None, text: str) -> Answer:
    nothing = state in ("cold", "wiped")
    return {"state": state, "bits": bits, "lost_bits": lost, "share": 1 - lost / bits,
            "lines_lost": loss.lines,
            "header_line_lost": bool(loss.lost_headers) if loss.headers and not nothing else None,
            "header_lines": {"of": loss.headers, "lost": len(loss.lost_headers)},
            "ecc": ecc, "blocks": _blocks(loss, nothing), "tested": loss.tested,
            "overwritten": [{"offset": start, "size": end - start}
                            for start, end in _joined(loss.overwritten)], "text": text}


def _blocks(loss: Loss, nothing: bool) -> Answer:
    shares = {str(size): None if nothing else retention.repaired(loss, size)
              for size in (0, *ECC_SIZES)}
    return {"of": loss.blocks, "worst": max(loss.bad_blocks, default=0), "repaired": shares}


def _ecc(loss: Loss) -> int | None:
    """The smallest ECC that repairs twice the errors of the worst block, or at least these."""
    worst = max(loss.bad_blocks, default=0)
    if worst == 0:
        return HEADER_ECC if loss.lost_headers else 0
    enough = [size for margin in (2, 1) for size in ECC_SIZES if size // 2 >= margin * worst]
    return max(enough[0], HEADER_ECC if loss.lost_headers else 0) if enough else None


def _survived(loss: Loss) -> str:
    if not loss.lost_bits:
        return f"The memory kept everything: all of {loss.bits} bits."
    share = 100 * (1 - loss.lost_bits / loss.bits)
    return (f"The memory kept {share:.8g} % of its bits: all but {loss.lost_bits} of "
            f"{loss.bits}.")


def _lost_lines(loss: Loss) -> Iterator[str]:
    if loss.lost_headers:
        yield (f"The cache line that holds a zone's header was lost in {len(loss.lost_headers)} "
               f"of {loss.headers} zones: without its header ramoops drops a crash.")
    if _other_lines(loss):
        yield f"Cache lines that were lost elsewhere: {_other_lines(loss)}."


def _other_lines(loss: Loss) -> int:
    return max(0, loss.lines - len(loss.lost_headers))


def _advice(loss: Loss, ecc: int | None) -> str:
    if ecc is None:
        hopeless = sum(wrong > ECC_SIZES[-1] // 2 for wrong in loss.bad_blocks)
        why = "whole cache lines are lost" if hopeless <= 2 * _other_lines(loss) else \
            "too much of it is wrong"
        return (f"No size of error correction (ecc) repairs all of that, because {why}; lastlog "
                "shows what can be read of a crash.")
    if ecc == 0:
        return "Error correction (ecc) is not needed."
    why = "also brings the headers back" if loss.lost_headers else \
        f"repairs {ecc // 2} bytes of each 128; the worst had {max(loss.bad_blocks)} wrong"
    return (f"Set error correction to {ecc} (option ecc in the region section, or ecc-size in the "
            f"device tree): that {why}.")


def _overwritten(loss: Loss) -> Iterator[str]:
    ranges = _joined(loss.overwritten)
    if ranges:
        shown = ", ".join(f"{start:#x} to {end - 1:#x}" for start, end in ranges[:4])
        more = f" and {len(ranges) - 4} more" if len(ranges) > 4 else ""
        yield (f"Overwritten, and left out of the count: offsets {shown}{more}. Unless records "
               "were there since, the boot loader uses that part: leave it out of the region.")


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """`ranges`, (start, end), with those in one that only a zone's header or less lies between."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and start - joined[-1][1] < retention.OVERWRITTEN:
            start = joined.pop()[0]
        joined.append((start, end))
    return joined
