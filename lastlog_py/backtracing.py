"""The command `backtrace`: what a core, or a process that runs, says; nothing is stored.

Beside eu-stack it takes as long only if next to nothing is imported that the backtraces do not
need: no argparse, json, typing or re, nor what deals with records, which needs those.
"""

from __future__ import annotations

from .coredump import reading, words
from .coredump.signature import signature
from .record_id import record_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Reply = dict[str, Any]

__all__ = ["backtrace", "in_json", "parse", "said"]


class Asked:
    """What the command line says."""

    __slots__ = ("core", "sysroot")

    def __init__(self, core: str | None = None, sysroot: str | None = None) -> None:
        self.core = core                # a file, or "-" for stdin
        self.sysroot = sysroot


def parse(line: list[str]) -> Asked | None:
    """The words behind `backtrace`; None: the full command line has to look at them."""
    asked, left = Asked(), iter(line)
    for word in left:
        name, equals, value = word.partition("=")
        value = value if equals else next(left, "")
        if not value or (value.startswith("-") and value != "-"):
            return None
        if name == "--core" and asked.core is None:
            asked.core = value
        elif name == "--sysroot" and asked.sysroot is None:
            asked.sysroot = value
        else:
            return None
    return asked if asked.core is not None else None


def backtrace(asked: Asked) -> Reply:
    """CONTRACT's RECORD.  Raises LastlogError."""
    from .coredump import offline

    assert asked.core is not None
    return record(offline.text_of(asked.core, asked.sysroot))


def record(text: bytes) -> Reply:
    """RECORD of a core dump's text, as record.captured and diagnose would make it."""
    told = reading.read(text.decode("utf-8", "replace"))
    source = {"medium": "core", "zone": None, "offset": None, "size": len(text),
              "zone_size": None, "compression": None, "ecc_corrected": None, "ecc_failed": None,
              "truncated": bool(told and told["truncated"]), "torn": False}
    name = record_id("coredump", text, None)
    return {"id": name, "kind": "coredump", "text": text.decode("utf-8", "replace"),
            "source": source, "state": "file", "time": None, "time_trusted": False,
            "uptime": None, "boot": None, "title": words.title(told) if told else "",
            "signature": signature(told) if told else None, "count": 1, "first_seen": None,
            "last_seen": None, "crash": name, "kernel": None, "coredump": told,
            "core": None, "symbols": None}


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

    return printing.show(reply).encode("utf-8", "replace")
