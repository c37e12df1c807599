"""The command `backtrace`: what a core, or a process that runs, says; nothing is stored.

Beside eu-stack it takes as long only if next to nothing is imported that the backtraces do not
need: no argparse, json, typing or re, nor what deals with records, which needs those.
"""

from __future__ import annotations

from .coredump import reading, words
from .coredump.shape import is_snapshot
from .coredump.signature import signature
from .errors import LastlogError
from .record_id import record_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .site import Site

    Reply = dict[str, Any]

__all__ = ["Asked", "backtrace", "check", "has_failed", "in_json", "parse", "said"]


class Asked:
    """What the command line says."""

    __slots__ = ("core", "pids", "sysroot")

    def __init__(self, core: str | None = None, sysroot: str | None = None,
                 pids: Sequence[int] = ()) -> None:
        self.core = core                # a file, or "-" for stdin; None: the processes run
        self.sysroot = sysroot
        self.pids = list(dict.fromkeys(pids))


def parse(line: list[str]) -> Asked | None:
    """The words of a plain `--core FILE [--sysroot DIR] [--pid N]` behind `backtrace`; None: the
    full command line has to look at them."""
    values: dict[str, str] = {}
    left = iter(line)
    for word in left:
        name, equals, value = word.partition("=")
        value = value if equals else next(left, "")
        if name not in ("--core", "--sysroot", "--pid") or name in values or not value \
                or (value.startswith("-") and value != "-"):
            return None
        values[name] = value
    pid = values.get("--pid", "")
    if "--core" not in values or pid.strip("0123456789") or len(pid) > 10:
        return None
    return Asked(values["--core"], values.get("--sysroot"), [int(pid)] if pid else [])


def check(asked: Asked) -> None:
    """Raises LastlogError if that makes no sense together; what `parse` gives does."""
    why = "Give --core or --pid." if asked.core is None and not asked.pids else \
        "--sysroot goes with --core: a process has its files." \
        if asked.core is None and asked.sysroot is not None else \
        "A core is of one process." if asked.core is not None and len(asked.pids) > 1 else ""
    if why:
        raise LastlogError("bad-argument", why, "See lastlog backtrace --help.")


def backtrace(asked: Asked, site: Site) -> Reply:
    """CONTRACT's RECORD; of several processes {"records": [RECORD…], "problems": [PROBLEM…]}, with
    a problem for each of which nothing is to be had.  Raises LastlogError.
    """
    if asked.core is not None:
        return record(_text_of_core(asked, site))
    from .coredump import running

    if len(asked.pids) == 1:
        return record(running.text_of(site, asked.pids[0]))
    reply: Reply = {"records": [], "problems": []}
    for pid in asked.pids:
        try:
            reply["records"].append(record(running.text_of(site, pid)))
        except LastlogError as error:
            reply["problems"].append({"where": f"process {pid}", "severity": "error",
                                      "what": f"{error.message} {error.hint}".strip()})
    return reply


def _text_of_core(asked: Asked, site: Site) -> bytes:
    """The record's text.  The process of a core that is being written stands in /proc."""
    from .coredump import offline

    assert asked.core is not None
    if not asked.pids:
        return offline.text_of(asked.core, asked.sysroot)
    from .coredump import procfs

    process = procfs.find(site, asked.pids[0])
    try:
        return offline.text_of(asked.core, asked.sysroot, process, asked.pids[0])
    finally:
        if process is not None:
            process.close()


def record(text: bytes) -> Reply:
    """RECORD of a core dump's text, as record.captured and diagnose would make it."""
    told = reading.read(text.decode("utf-8", "replace"))
    source = {"medium": "core", "zone": None, "offset": None, "size": len(text),
              "zone_size": None, "compression": None, "ecc_corrected": None, "ecc_failed": None,
              "truncated": bool(told and told["truncated"]), "torn": False,
              "recovered": False}
    name = record_id("coredump", text, None)
    return {"id": name, "kind": "coredump", "text": text.decode("utf-8", "replace"),
            "source": source, "state": "file", "time": None, "time_trusted": False,
            "uptime": None, "boot": None, "title": words.title(told) if told else "",
            "signature": signature(told) if told else None, "count": 1, "first_seen": None,
            "last_seen": None, "crash": None if told and is_snapshot(told) else name,
            "kernel": None, "coredump": told, "core": None, "symbols": None}


def in_json(reply: Reply) -> bytes:
    """As json.dumps writes it, by the part of json that is compiled: all of it costs 6 ms."""
    try:
        from _json import encode_basestring_ascii, make_encoder

        encode = make_encoder(None, _unknown, encode_basestring_ascii, None, ": ", ", ", False,
                              False, True)
        return "".join(encode(reply, 0)).encode()
    except (ImportError, TypeError):            # another Python's
        import json

        return json.dumps(reply).encode()


def _unknown(value: object) -> object:
    raise TypeError(f"{type(value)} is not for JSON")


def said(reply: Reply) -> bytes:
    """For people."""
    from . import printing

    return printing.PRINTERS["backtrace"](reply).encode("utf-8", "replace")


def has_failed(reply: Reply) -> bool:
    """Whether it lacks one of the processes that were asked for."""
    return bool(reply.get("problems"))
