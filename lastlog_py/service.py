"""The use cases, one function each.  The doors (cli, rpcd, the page) call these and print.

Everything returned is plain data in CONTRACT's shapes.  What cannot be carried out raises
LastlogError; what could only partly be read is told in `problems`.
"""

from __future__ import annotations

import json
import os
import time as clock
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from . import __version__, archive_file, attribution, boots, cache, ledger, readiness
from .archive import Archive
from .boot import moment, this_boot
from .config import Config
from .errors import LastlogError, code_of
from .ledger import BootEntry
from .medium import collect as medium
from .medium.collect import Found, Place
from .medium.device import MAX_REGION, read_small
from .medium.geometry import Geometry
from .record import Problem, Record, Source, captured, clock_was_set, from_dict, to_dict

__all__ = ["clear", "decode", "find", "get", "lay_symbols", "list_records", "page_model", "save",
           "status", "symbolize"]

Answer = dict[str, Any]

# A crash belongs to the last reboot if the boot began at most this many seconds after it.
REBOOT_TAKES = 600
CLOCK_SLACK = 5

MOST_PROBLEMS = 50

CORE_DUMP = b"lastlog core dump "      # what the text of one begins with

MOST_BOOTS = 16                 # in an answer


class Survey(NamedTuple):
    """Everything there is, captured and saved, each record once."""

    records: list[Record]                   # newest first; saved-only ones have no text
    places: dict[str, list[Place]]          # of the captured ones, by id
    of_this_boot: set[str]                  # ids of oopses that this boot survived
    problems: list[Problem]
    zones: int                              # for crashes, with a valid header, in the region
    boots: list[BootEntry]                  # that were counted, oldest first

    def captured(self) -> list[Record]:
        """The records in persistent memory, newest first."""
        return [record for record in self.records if record.id in self.places]

    def crashes(self) -> list[Record]:
        """One record of each crash, the newest first: what is in memory is newer than what is
        only saved, whatever a clock said that may have been set back."""
        whole = [record for record in self.records if record.crash == record.id]
        return sorted(whole, key=lambda record: record.id not in self.places)


def survey(config: Config) -> Survey:
    """Look everywhere."""
    saved, saved_problems = _saved(config)
    found, problems, zones = medium.collect(config.site)
    found = _known_again(config, found, saved)
    explained = _explained(config, [each.record for each in found])
    known = boots.known(config, boots.Memory(config.site))
    records = [attribution.with_noted_boot(record, known)
               for record in _with_saved(explained, saved)]
    notes = [Problem(config.path, text, "warning") for text in config.problems]
    records, alone = _with_cores(config, records)
    notes += alone
    return Survey(_newest_first(records, explained, known), _places(found),
                  {each.record.id for each in found if each.of_this_boot},
                  _first(notes + problems + saved_problems), zones, known)


def _known_again(config: Config, found: list[Found], saved: Iterable[Record]) -> list[Found]:
    """`found`, with the ids of saved records for dumps that no header leads to any more, have their
    very time, and nothing more to say: where such a text ends can only be guessed, so it may have
    another id by itself."""
    known = {each.time: each.id for each in saved if each.kind == "kernel" and each.time}
    return [_renamed(config, each, known.pop(each.record.time or 0.0, None))
            if each.record.kind == "kernel" and each.record.source.recovered else each
            for each in found]


def _renamed(config: Config, found: Found, name: str | None) -> Found:
    """`found` as the saved record of that name, if it is that."""
    saved = _archive(config).load(name).record if name else None
    if saved is None or not _says_all(saved, found.record.text):
        return found
    return found._replace(record=found.record._replace(id=saved.id))


def _says_all(saved: Record, text: str) -> bool:
    """Whether `text` is the saved record's, be it less of it, or with something older behind."""
    whole = not (saved.source.torn or saved.source.truncated)
    return saved.text.startswith(text) or (whole and text.startswith(saved.text))


def _first(problems: list[Problem]) -> list[Problem]:
    """As many problems as a person reads, and how many more there are."""
    more = len(problems) - MOST_PROBLEMS
    rest = [Problem("lastlog", f"and {more} more problems", "info")] if more > 0 else []
    return problems[:MOST_PROBLEMS] + rest


def _saved(config: Config) -> tuple[list[Record], list[Problem]]:
    """The saved records, without their text, and what is wrong with the archive.

    Remembered for as long as no file there changes: every one is unpacked and checked to its last
    byte, which for a full archive takes longer than all the rest.
    """
    stamp = f"{__version__} {cache.listing(config.archive)}".replace("\n", "|")
    known = cache.lookup(config, "saved", stamp)
    try:
        if known is not None:
            records, problems = json.loads(known)
            return [from_dict(each) for each in records], [Problem(*each) for each in problems]
    except (KeyError, TypeError, ValueError):
        pass                            # as below
    saved, wrong = _archive(config).headers()
    cache.remember(config, "saved", stamp, json.dumps(
        [[to_dict(each, text=False) for each in saved], wrong]).encode())
    return saved, wrong


def _explained(config: Config, bare: list[Record]) -> list[Record]:
    """`bare` records with what they mean.

    Remembered for as long as the same records are captured: the diagnosis of a log, and the
    import of its rules, take longer than everything else here.
    """
    if not bare:
        return []
    stamp = " ".join([__version__, *(record.id for record in bare)])
    known = cache.lookup(config, "explained", stamp)
    try:
        if known is not None:
            return [from_dict(fields)._replace(text=record.text, source=record.source,
                                               raw=record.raw, boot=record.boot)
                    for fields, record in zip(json.loads(known), bare, strict=True)]
    except (KeyError, TypeError, ValueError):
        pass                            # not what was remembered: made anew
    explained = diagnosed(bare)
    memory = json.dumps([to_dict(record, text=False) for record in explained])
    cache.remember(config, "explained", stamp, memory.encode())
    return explained


def diagnosed(bare: list[Record]) -> list[Record]:
    """`bare` records explained."""
    if not bare:
        return []
    from .diagnose import explain_all  # mostly there is nothing, or the answer is remembered

    return explain_all(bare)


def _archive(config: Config) -> Archive:
    return Archive(config.archive, config.archive_limit)


def _places(found: Iterable[Found]) -> dict[str, list[Place]]:
    places: dict[str, list[Place]] = {}
    for each in found:
        places.setdefault(each.record.id, []).extend(each.places)
    return places


def _with_saved(captured: Sequence[Record], saved: Sequence[Record]) -> list[Record]:
    """Captured and saved records as one list: what is in both places is one record."""
    by_id = {record.id: record for record in saved}
    here = {record.id: record for record in _counted(captured, saved)}
    both = [record._replace(state="both", count=by_id[record.id].count,
                            first_seen=by_id[record.id].first_seen,
                            last_seen=by_id[record.id].last_seen,
                            boot=by_id[record.id].boot or record.boot)
            if record.id in by_id else record for record in here.values()]
    return both + [record for record in saved if record.id not in here]


def _with_cores(config: Config, records: list[Record]) -> tuple[list[Record], list[Problem]]:
    """`records` with the reduced cores that belong to them, and which cores belong to none."""
    cores = _archive(config).cores()
    found = [record._replace(core=cores.pop(record.id, None)) for record in records]
    return found, [Problem(core.path, "no record here belongs to this core: lastlog backtrace "
                           f"--core reads it, unpacked; lastlog clear --saved {name} deletes it",
                           "info")
                   for name, core in cores.items()]


def _counted(captured: Sequence[Record], saved: Sequence[Record]) -> list[Record]:
    """The captured records with the count their signature will have once they are saved."""
    counts: dict[str, tuple[int, float | None]] = {}
    for record in saved:
        if record.signature:
            count, first = counts.get(record.signature, (0, None))
            counts[record.signature] = max(count, record.count), record.first_seen or first
    crashes = {record.crash for record in saved}
    counted = []
    for record in sorted(captured, key=age):
        if record.signature:
            count, first = counts.get(record.signature, (0, None))
            if record.crash not in crashes:
                crashes.add(record.crash)
                count += 1
            moment = record.time if record.time_trusted else None
            first = moment if first is None else first
            counts[record.signature] = count, first
            record = record._replace(count=max(1, count), first_seen=first, last_seen=moment)
        counted.append(record)
    return counted


def age(record: Record) -> tuple[float, int]:
    sequence = record.kernel.sequence if record.kernel else None
    return record.time or 0.0, sequence or 0


def _newest_first(records: Sequence[Record], captured: Sequence[Record],
                  known: Sequence[BootEntry]) -> list[Record]:
    """All `records`, newest first, whatever clocks said that were not set: a boot with a higher
    number came later, if the ledger knows both.

    Without a number, what the console said belongs to the newest crash in memory; a captured
    record whose clock was not set is newer than anything saved.
    """
    newest = max((record.time or 0.0 for record in captured), default=0.0)
    here = {record.id for record in captured}
    boots = {each.id: each.number for each in known}
    numbers = {record.id: boots.get(record.boot.id or "", 0) if record.boot else 0
               for record in records}
    times = _in_boot_order(records, numbers)

    def key(record: Record) -> tuple[bool, float, int, float, int]:
        number, uptime, is_here = numbers[record.id], record.uptime or 0.0, record.id in here
        time, sequence = age(record)
        if record.time is None and is_here and not number:
            time, sequence = newest, -1
        unset = is_here and not number and not record.time_trusted and record.time is not None
        return not unset, -times.get(record.id, time), -number, -uptime if number else 0.0, \
            -sequence

    return sorted(records, key=key)


def _in_boot_order(records: Sequence[Record], numbers: dict[str, int]) -> dict[str, float]:
    """A time for each record whose boot has a number, never before one of an earlier boot."""
    times: dict[str, float] = {}
    latest = 0.0
    counted = (record for record in records if numbers[record.id])
    for record in sorted(counted, key=lambda each: (numbers[each.id], age(each))):
        latest = times[record.id] = max(latest, record.time or 0.0)
    return times


# --- looking


def list_records(config: Config, kind: str | None = None, limit: int | None = None) -> Answer:
    """`list`: every record without its text, newest first."""
    seen = survey(config)
    known = _boot_records(seen) if kind == "boot" else seen.records
    chosen = [record for record in known if kind in (None, record.kind)]
    return {"records": [to_dict(record, text=False) for record in chosen[:limit]],
            "problems": [problem._asdict() for problem in seen.problems]}


def _boot_records(seen: Survey) -> list[Record]:
    """The boots as records, newest first: asked for by their kind only."""
    return [Record(id=f"b-{zlib.crc32(each.id.encode()):08x}", kind="boot",
                   text=ledger.to_line(each).replace("\t", "\n") + "\n",
                   source=Source("journal"), time=each.time, time_trusted=each.trusted,
                   uptime=each.uptime, boot=attribution.boot_of(each),
                   signature=each.signature or None,
                   title=f"Boot {each.number}: "
                         f"{ledger.told(each.reason or 'unknown', '', each is seen.boots[0])}")
            for each in reversed(seen.boots)]


def find(config: Config, name: str) -> Record:
    """One record, as `list` has it.  Raises LastlogError "not-found"."""
    record = next((each for each in survey(config).records if each.id == name), None)
    if record is None:
        raise _unknown([name])
    return record


def get(config: Config, name: str) -> Answer:
    """`get`, `show`: one record, whole.  Raises LastlogError "not-found"."""
    return to_dict(_whole(config, survey(config), name))


def _whole(config: Config, seen: Survey, name: str) -> Record:
    record = _found(config, seen, name)
    if record.kind != "coredump":
        return record
    return record._replace(symbols=_archive(config).symbols(record.id))


def _found(config: Config, seen: Survey, name: str) -> Record:
    known = next((record for record in seen.records if record.id == name), None)
    if known is None and name.startswith("b-"):
        known = next((boot for boot in _boot_records(seen) if boot.id == name), None)
    if known is None:
        raise _unknown([name])
    if known.id in seen.places or known.kind == "boot":
        return known
    stored, problem = _archive(config).load(name)
    if stored is None:
        raise LastlogError("io", problem.what, f"See {problem.where}.") if problem else \
            _unknown([name])
    return stored._replace(state="saved", count=known.count, first_seen=known.first_seen,
                           last_seen=known.last_seen, core=known.core)


def _unknown(names: Iterable[str]) -> LastlogError:
    return LastlogError("not-found", f"There is no record {', '.join(names)}.",
                        "lastlog list shows what there is.")


def status(config: Config, seen: Survey | None = None) -> Answer:
    """`status`: is capture armed, why was the last reboot, how much is there."""
    seen = seen or survey(config)
    captured = seen.captured()
    saved = sum(record.state in ("saved", "both") for record in seen.records)
    dumps = [record for record in captured if record.kind == "kernel"
             and any(place.medium != "journal" for place in seen.places[record.id])]
    unsaved = sum(record.state == "captured" for record in dumps)
    checks = readiness.judge(config, readiness.gather(config), len(dumps), unsaved, seen.zones)
    return {"armed": readiness.is_armed(checks), "checks": checks,
            "last_reboot": _last_reboot(config, seen),
            "history": _history(seen.boots), "captured": len(captured), "saved": saved,
            "archive": {"used": _archive(config).usage(), "limit": config.archive_limit,
                        "path": config.archive},
            "version": __version__}


def _last_reboot(config: Config, seen: Survey) -> Answer:
    """The reason of the last reboot: from the ledger, or before a harvest has written it, as far
    as the crash records tell it."""
    booted = _boot_time(config)
    here = this_boot(config.site)
    entry = next((each for each in seen.boots if each.id == here.id and each.reason), None)
    if entry is not None:
        return _reboot_told(entry, seen, booted, is_first=entry is seen.boots[0])
    record = _crash_before(config, seen, booted)
    if record is None:
        return {"reason": "unknown", "record": None, "time": booted,
                "text": "No crash was recorded before the last reboot; why it happened is not "
                        "known."}
    reason = reboot_reason(record)
    return {"reason": reason, "record": record.id, "time": booted or record.time,
            "text": ledger.told(reason, record.title)}


def _reboot_told(entry: BootEntry, seen: Survey, booted: float | None, is_first: bool) -> Answer:
    """What the ledger says of the start of this boot.  is_first: it knows of no boot before."""
    record = next((each for each in seen.records if each.id == entry.cause), None)
    title = record.title if record else ""
    if record and record.kind == "console":
        from .diagnose import panic_told  # mostly there is no need of it

        title = panic_told(record) or ""
    text = ledger.told(entry.reason, title, is_first)
    return {"reason": entry.reason, "record": record.id if record else None,
            "time": booted or (entry.time if entry.trusted else None), "text": text}


def _history(known: Sequence[BootEntry]) -> Answer:
    """The boots before this one in a sentence, and the newest of them."""
    return {"text": ledger.history(list(known)),
            "boots": [{"number": each.number, "id": each.id, "firmware": each.firmware or None,
                       "kernel": each.kernel or None, "reason": each.reason or "unknown",
                       "record": each.cause or None, "end": each.end or None,
                       "time": each.time if each.trusted else None}
                      for each in reversed(known[-MOST_BOOTS:])]}


def _crash_before(config: Config, seen: Survey, booted: float | None) -> Record | None:
    """The crash that ended the boot before this one.

    It is in memory when this boot first looks; after that its id is remembered in tmpfs, which
    this boot's end wipes, because the record itself may be saved and cleared.  A region file knows
    of no boot: the newest crash counts.
    """
    crashes = [record for record in seen.crashes() if record.kernel]
    if config.site.file:
        return crashes[0] if crashes else None
    boot = read_small(config.site.system("/proc/sys/kernel/random/boot_id")).strip()
    known = cache.lookup(config, "reboot", boot)
    if known is not None:
        return next((record for record in crashes if record.id.encode() == known), None)
    found = next((record for record in crashes if _explains(seen, record, booted)), None)
    if found is not None:
        cache.remember(config, "reboot", boot, found.id.encode())
    return found


def _explains(seen: Survey, record: Record, booted: float | None) -> bool:
    """Whether the crash in `record` can have led to this boot.

    It must be in memory and not of this boot, and if both clocks can be trusted, the boot must
    have followed it closely.
    """
    if record.id not in seen.places or record.id in seen.of_this_boot:
        return False
    if record.time is None or not record.time_trusted or booted is None:
        return True
    return -REBOOT_TAKES <= record.time - booted <= CLOCK_SLACK


def reboot_reason(record: Record) -> str:
    assert record.kernel is not None
    if record.kernel.cause == "oom":
        return "oom"
    return "oops" if record.kernel.reason == "oops" else "panic"


def _boot_time(config: Config) -> float | None:
    """When this boot began, to the second; None if that is not known, or not about this region."""
    now = moment(config.site)
    if config.site.file or not now.trusted:
        return None
    return float(int(now.time) - int(now.uptime))


def page_model(config: Config, name: str | None = None) -> Answer:
    """What the page shows: {"status", "records", "open", "problems", "now_trusted"}.

    `name`: the record to open; without it the newest crash, or else the newest record.
    """
    seen = survey(config)
    if name and name not in {record.id for record in seen.records}:
        seen.problems.append(Problem(name, "this record is gone: it was cleared", "info"))
        name = None
    said = status(config, seen)
    chosen = name or _worth_opening(seen, said["last_reboot"]["record"])
    opened = _whole(config, seen, chosen) if chosen else None
    return {"status": said,
            "records": [to_dict(record, text=False) for record in seen.records],
            "open": to_dict(opened) if opened else None,
            "problems": [problem._asdict() for problem in seen.problems],
            "now_trusted": clock_was_set(clock.time())}


def _worth_opening(seen: Survey, cause: str | None) -> str | None:
    """What the last reboot was for, if that was a crash; else the newest crash or record."""
    crashes = seen.crashes()
    if any(record.id == cause and record.kernel for record in crashes):
        return cause
    return next((record.id for record in crashes + seen.records), None)


def decode(paths: Sequence[str], given: Sequence[Geometry] = ()) -> Answer:
    """`decode`: the records in files that somebody sent, or in all files of a folder, each once;
    nothing is stored.

    given: the geometry of a region, if it was said.
    """
    from .medium import joining  # nothing else reads files that somebody sent

    bare: list[Record] = []
    together: list[str] = []            # of each of them: what it is explained with
    problems: list[Problem] = []
    for path in _files(paths):
        found, wrong = _decode_file(path, given)
        bare += found
        together += [_machine_of(path)] * len(found)
        problems += wrong
    whole = joining.once({min(group): joining.joined([bare[index] for index in group])
                          for group in joining.groups(bare)})
    explained: dict[int, Record] = {}
    for machine in dict.fromkeys(together):
        mine = [index for index in whole if together[index] == machine]
        explained |= zip(mine, diagnosed([whole[index] for index in mine]), strict=True)
    return {"records": [to_dict(explained[index]._replace(state="file"))
                        for index in sorted(explained)],
            "problems": [problem._asdict() for problem in problems]}


def _files(paths: Iterable[str]) -> Iterator[str]:
    """`paths`, of a folder the plain files in it and below; itself, if there are none."""
    for path in paths:
        inside = [f"{folder.rstrip('/')}/{name}" for folder, _, names in os.walk(path)
                  for name in names]
        yield from sorted(filter(os.path.isfile, inside)) or [path]


def _machine_of(path: str) -> str:
    """What the records of a file are explained with: those of the pstore files beside it, which
    are of one machine, or those of the file alone."""
    from .medium import pstorefs  # as above

    folder, name = os.path.split(path)
    return folder if pstorefs.name_in(name) else path


def _decode_file(path: str, given: Sequence[Geometry]) -> tuple[list[Record], list[Problem]]:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_REGION + 1)
            stamp = os.fstat(file.fileno()).st_mtime_ns
    except IsADirectoryError:
        return [], [Problem(path, "there is no file in this folder, or none that may be seen",
                            "error")]
    except OSError as error:
        return [], [Problem(path, f"it cannot be read: {error.strerror}", "error")]
    if len(data) > MAX_REGION:
        return [], [Problem(path, f"it is larger than any region ({MAX_REGION >> 20} MiB): cut the "
                            "region out of it first, with dd", "error")]
    name = os.path.basename(path)
    found, problems = _decoded(name, data, given, stamp)
    return found, [problem._replace(where=path if problem.where in name
                                    else f"{path}: {problem.where}") for problem in problems]


def _decoded(name: str, data: bytes, given: Sequence[Geometry],
             stamp: int) -> tuple[list[Record], list[Problem]]:
    """A saved record, as a file or as `zcat` shows it; or a dump, or a core dump's text, packed or
    with the header that a download from the page has.

    stamp: when the file was written, in nanoseconds.
    """
    from .medium import dump, pstorefs  # nothing else reads files that somebody sent

    unpacked = _unpacked(data)
    if unpacked.startswith(archive_file.MAGIC.encode()) or (data and not unpacked):
        record, problem = archive_file.parse(data, name)
        return ([dump.read_again(record)] if record else []), ([problem] if problem else [])
    if unpacked.startswith(b"Title: "):
        unpacked = unpacked.partition(b"\n\n")[2]
    if unpacked.startswith(CORE_DUMP):
        return [captured("coredump", unpacked, Source("core", size=len(unpacked)))], []
    name = (pstorefs.name_in(name) if pstorefs.may_be(unpacked) else None) \
        or name.removesuffix(".gz")
    return dump.records(name, unpacked, given, pstorefs.copied_time(name, stamp))


def _unpacked(data: bytes) -> bytes:
    """What is in a gzip file, as far as it can be read and is no larger than a region."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return zlib.decompressobj(31).decompress(data, MAX_REGION)
    except zlib.error:
        return b""


def symbolize(config: Config, name: str, folders: Sequence[str]) -> Answer:
    """`symbolize`: the core dump's RECORD, its frames with function, file and line.

    name: a record's id, or a file: a saved record, or the text of one.  folders: where unstripped
    files are.  Raises LastlogError.
    """
    from .coredump import symbolize as symbols  # for this use case alone
    from .coredump import words

    record = _core_dump(config, name)
    if record is None:
        raise LastlogError("bad-argument", f"{name} is no core dump of a program.",
                           "lastlog list --kind coredump shows what there is.")
    found = symbols.symbolize(record["coredump"], folders)
    return record | found | {"title": words.title(found["coredump"])}


def lay_symbols(config: Config, record: Answer, name: str, text: str) -> str:
    """Write what `symbolize` made of `record` beside it; the path of the file.

    name: as for `symbolize`.  That of a record that is not saved lies where we are.  Raises
    LastlogError.
    """
    if record["state"] in ("saved", "both"):
        return _archive(config).lay_symbols(record["id"], text)
    path = f"{name}.symbols.txt"
    try:
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError as error:
        raise LastlogError(code_of(error), f"{path} cannot be written: {error.strerror}.",
                           "Go where you may write, or leave out --save.") from error
    return path


def _core_dump(config: Config, name: str) -> Answer | None:
    """The record called `name`, or in the file of that name; None: it is no core dump."""
    if archive_file.is_id(name) and not os.path.exists(name):
        try:
            record = get(config, name)
        except LastlogError:
            here = _downloaded(name)
            if here is None:
                raise
            return _core_dump(config, here)
        return record if record["coredump"] else None
    found, problems = _decode_file(name, ())
    for each in diagnosed(found):
        if each.coredump:
            return to_dict(each._replace(state="file"))
    if problems and not found:
        from .medium.dump import NOTHING  # as in _decoded

        what = problems[0].what if problems[0].what != NOTHING else \
            "nothing that lastlog can read as a core dump's record is in it"
        raise LastlogError("io", f"{problems[0].where}: {what}.",
                           "Name a record's id, its file, or its text.")
    return None


def _downloaded(id: str) -> str | None:
    """The record's file where we are, as the page's Download or the archive has named it."""
    return next((name for name in (f"lastlog-{id}.txt", f"{id}.gz") if os.path.isfile(name)), None)


# --- keeping


def save(config: Config, names: Sequence[str] = ()) -> Answer:
    """`save`: make captured records durable; all of them, or those named.

    Raises LastlogError if a name is unknown, or nothing can be saved at all.
    """
    seen = survey(config)
    _check_known(seen, names)
    wanted = [record for record in seen.captured()
              if (record.id in names if names else record.state == "captured")]
    result = _archive(config).save(wanted[::-1])
    already = [record.id for record in seen.records
               if record.id in names and record.state == "saved"]
    return {"saved": [*result.saved, *already],
            "skipped": [{"id": name, "why": why} for name, why in result.skipped]}


def _check_known(seen: Survey, names: Collection[str], others: Iterable[str] = ()) -> None:
    """others: ids of files that are no whole records."""
    known = {record.id for record in seen.records}.union(others)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise _unknown(unknown)


def clear(config: Config, what: str = "memory", names: Sequence[str] = (),
          force: bool = False) -> Answer:
    """`clear`: erase records from memory, from the archive ("saved"), or from both ("all").

    A captured record goes only if the archive holds it whole, or with `force`.  Raises
    LastlogError "not-saved" if for that reason nothing could be cleared.
    """
    if what not in ("memory", "saved", "all"):
        raise LastlogError("bad-argument", f"'{what}' is nothing that can be cleared.",
                           "Say memory, saved or all.")
    seen = survey(config)
    _check_known(seen, names, [] if what == "memory" else _archive(config).ids())
    _crash_before(config, seen, _boot_time(config))     # while it can still be told
    cleared: list[str] = []
    kept: dict[str, str] = {}
    if what in ("memory", "all"):
        with _archive(config).standing_still():
            _clear_memory(config, seen, names, force, cleared, kept)
        _drop_cores(config, [record for record in seen.captured() if record.id in cleared
                             and record.state == "captured"], kept)
    if what in ("saved", "all"):
        _clear_saved(config, seen, names, cleared, kept)
    return {"cleared": list(dict.fromkeys(cleared)),
            "kept": [{"id": name, "why": why} for name, why in kept.items()]}


def _clear_memory(config: Config, seen: Survey, names: Sequence[str], force: bool,
                  cleared: list[str], kept: dict[str, str]) -> None:
    archive = _archive(config)
    wanted = [record for record in seen.captured() if not names or record.id in names]
    safe = [record for record in wanted if force or archive.holds(record.id)]
    for record in wanted:
        if record not in safe:
            kept[record.id] = "it is not saved yet"
    if kept and not safe:
        raise LastlogError("not-saved", f"{len(kept)} captured records are not saved yet: "
                           f"{', '.join(kept)}.", "Save them first, or clear with --force "
                           "(force: true) to lose them.")
    goes = {record.id for record in safe}
    done: set[Place] = set()
    for record in safe:
        why = shared_with(seen, record, goes) or erase(config, seen.places[record.id], done)
        if why:
            kept[record.id] = why
        else:
            cleared.append(record.id)
    if any(place.zone and place.zone[0] == "pmsg" for place in done):
        _mark_again(config, seen)


def _drop_cores(config: Config, gone: list[Record], kept: dict[str, str]) -> None:
    """Delete the reduced cores of records that were nowhere but in memory."""
    try:
        _archive(config).drop_cores([record.id for record in gone if record.core])
    except LastlogError as error:
        kept.update({record.id: f"its core is still there: {error.message} {error.hint}"
                     for record in gone if record.core})


def _mark_again(config: Config, seen: Survey) -> None:
    """Erasing what the last boot wrote to pmsg takes along what this one wrote, and with it how the
    next boot sees that memory survived."""
    here = this_boot(config.site)
    entry = next((each for each in seen.boots if each.id == here.id), None)
    if entry is not None:
        boots.Memory(config.site).append(entry, moment(config.site))


def shared_with(seen: Survey, record: Record, goes: Collection[str]) -> str | None:
    """Why a zone that also holds a record which stays cannot be erased for this one."""
    for name, places in seen.places.items():
        if name not in goes and medium.in_one_zone(seen.places[record.id], places):
            return f"it is in one zone with {name}, which is to stay"
    return None


def erase(config: Config, places: list[Place], done: set[Place]) -> str | None:
    """Erase the places that are not `done` yet; why not, if one cannot be."""
    try:
        medium.erase(config.site, places, done)
    except LastlogError as error:
        return f"{error.message} {error.hint}"
    done.update(places)
    return None


def _clear_saved(config: Config, seen: Survey, names: Sequence[str], cleared: list[str],
                 kept: dict[str, str]) -> None:
    """Delete saved copies, damaged ones and cores too; not of a record that had to stay in memory
    for being unsaved."""
    archive = _archive(config)
    there = archive.ids()
    saved = {record.id for record in seen.records if record.state in ("saved", "both")}.union(there)
    deleted, not_deleted = archive.delete([name for name in names or there
                                           if name not in kept and name in saved])
    cleared += deleted
    kept.update(not_deleted)
