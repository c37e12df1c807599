"""Method calls as JSON: arguments checked, use cases called, answers kept below the limit.

CONTRACT's table of the ubus object `lastlog`.  rpcd does not enforce argument types, so they are
checked here; keys that a method does not have (`ubus_rpc_session`) are ignored.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import __version__, cache, service
from .archive_file import is_id
from .config import Config
from .errors import LastlogError
from .record import KINDS

__all__ = ["MAX_ANSWER", "answer", "encode", "parse"]

MAX_ANSWER = 500 << 10              # bytes; rpcd falls off the bus at 1 MiB
MAX_TEXT = 256 << 10                # bytes of a record's text in `get`
PUBLIC = ("/tmp", "/var/log", "/mnt", "/media")     # where a file may be that `store` reads

Arguments = dict[str, Any]


class Method(NamedTuple):
    """A method, and the types of its arguments."""

    call: Callable[[Config, Arguments, str], Arguments]
    types: dict[str, type]
    required: tuple[str, ...] = ()


def answer(config: Config, method: str, arguments: Arguments, stamp: str) -> bytes:
    """The answer to `method`, encoded.  stamp: the fingerprint of what it is made from."""
    return encode(METHODS[method].call(config, arguments, stamp))


def encode(reply: Arguments) -> bytes:
    """`reply` as one line of JSON."""
    return json.dumps(reply, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def parse(method: str, arguments: bytes) -> Arguments:
    """The arguments of `method`, checked.  Raises LastlogError "bad-argument"."""
    if method not in METHODS:
        raise LastlogError("bad-argument", f"There is no method '{method[:40]}'.",
                           f"There are {', '.join(METHODS)}.")
    given = _object(arguments)
    wanted = METHODS[method]
    checked = {name: _typed(name, given[name], kind) for name, kind in wanted.types.items()
               if given.get(name) is not None}
    for name in wanted.required:
        if name not in checked:
            raise LastlogError("bad-argument", f"{method} needs the argument {name}.",
                               f'For example {{"{name}": …}}.')
    return checked


def _object(arguments: bytes) -> Arguments:
    try:
        given = json.loads(arguments.decode() or "{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise LastlogError("bad-argument", "The arguments are not one JSON object.",
                           'Send {} or {"name": value}; rpcd cuts input at 64 KiB.')
    return given


def _typed(name: str, value: Any, kind: Any) -> Any:
    if kind is bool and value in (0, 1):        # True and False too; a script may send 1
        return bool(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {str: "a string", int: "a whole number", bool: "true or false", list: "a list"}
        raise LastlogError("bad-argument", f"{name} must be {words[kind]}.", "Correct the call.")
    if name in ("id", "ids"):
        _check_ids([value] if name == "id" else value)
    return value


def _check_ids(values: list[Any]) -> None:
    """Ids, at least one: a list without any must never come to mean all records."""
    if not values or not all(isinstance(each, str) and is_id(each) for each in values):
        raise LastlogError("bad-argument", "That is no record's id.",
                           "Ids are letters, digits and '-': see lastlog list.")


# --- the methods


def _status(config: Config, _arguments: Arguments, _stamp: str) -> Arguments:
    return service.status(config)


def _list(config: Config, arguments: Arguments, _stamp: str) -> Arguments:
    kind, limit = arguments.get("kind"), arguments.get("limit")
    if kind is not None and kind not in KINDS:
        raise LastlogError("bad-argument", "There is no such kind of record.",
                           f"There are {', '.join(KINDS)}.")
    if limit is not None and limit < 0:
        raise LastlogError("bad-argument", "limit must not be negative.", "Leave it out for all.")
    return _short_list(service.list_records(config, kind, limit))


def _short_list(reply: Arguments) -> Arguments:
    """`reply` short enough to be sent: its largest core dumps told in brief, as few as need be;
    where that is not enough, the oldest records left out, and such as are too large by themselves.
    """
    records = reply["records"]
    sizes = [len(encode(record)) + 1 for record in records]
    room = MAX_ANSWER - len(encode({**reply, "records": []}))
    for index in sorted(range(len(records)), key=lambda index: -sizes[index]):
        if sum(sizes) <= room:
            return reply
        records[index] = _brief(records[index])
        sizes[index] = len(encode(records[index])) + 1
    reply["records"] = list(_fitting(records, sizes, room))
    left_out = len(records) - len(reply["records"])
    if left_out:
        what = f"the list is too long: {left_out} records are left out; ask for one kind"
        reply["problems"].append({"where": "list", "what": what, "severity": "info"})
    return reply


def _brief(record: Arguments) -> Arguments:
    """`record`; a core dump with no more than where it crashed."""
    from .coredump.shape import brief  # here, not above: lists are mostly short

    return {**record, "coredump": brief(record["coredump"])} if record["coredump"] else record


def _fitting(records: list[Arguments], sizes: list[int], room: int) -> Iterator[Arguments]:
    """Newest first, those that there is room for."""
    for record, size in zip(records, sizes, strict=True):
        if size <= room:
            room -= size
            yield record


def _get(config: Config, arguments: Arguments, _stamp: str) -> Arguments:
    return _sendable(service.get(config, arguments["id"]))


def _sendable(record: Arguments) -> Arguments:
    """`record` with the newest part of its text, as much as can be sent, and what a reader takes
    away: "header" goes above the text in a file, "report" is a bug report."""
    from . import report  # here, not above: pages are rendered without it

    record["report"] = report.markdown(record, __version__)
    whole = record["text"].encode()
    limit = MAX_TEXT
    while True:
        record |= {"text": report.tail(whole, limit), "cut": len(whole) > limit}
        record["header"] = report.header(record, __version__)
        if len(encode(record)) <= MAX_ANSWER:
            return record
        if not limit:
            return _thinned(record)
        limit //= 2                 # control characters take six bytes each in JSON


def _thinned(record: Arguments) -> Arguments:
    """A core dump of very many frames, with few enough of them; a kernel's log has no such."""
    dump = record["coredump"]
    while dump and dump["threads"] and len(encode(record)) > MAX_ANSWER:
        threads = dump["threads"]
        if len(threads) > 1:
            dump = {**dump, "threads": threads[:len(threads) // 2], "threads_cut": True}
        else:
            frames = threads[0]["frames"]
            dump = {**dump, "threads": [{**threads[0], "frames": frames[:len(frames) // 2],
                                         "frames_cut": True}] if frames else []}
        record["coredump"] = dump
    return record


def _page(config: Config, arguments: Arguments, stamp: str) -> Arguments:
    from .page import render

    html = render.render(service.page_model(config, arguments.get("id")), cache.folder(config))
    return {"html": html, "generation": stamp}


def _save(config: Config, arguments: Arguments, _stamp: str) -> Arguments:
    return service.save(config, _names(arguments))


def _clear(config: Config, arguments: Arguments, _stamp: str) -> Arguments:
    return service.clear(config, arguments.get("what", "memory"), _names(arguments),
                         arguments.get("force", False))


def _store(config: Config, arguments: Arguments, _stamp: str) -> Arguments:
    """From a plain file only: whoever calls is not kept waiting by a pipe."""
    from . import store  # here, not above: pages are rendered without it

    path, text = arguments.get("path"), arguments.get("text")
    if (path is None) == (text is None):
        raise LastlogError("bad-argument", "store needs either path or text.",
                           'For example {"path": "/tmp/log"} or {"text": "…"}.')
    wanted, label = arguments.get("bytes"), arguments.get("label")
    if text is not None:
        return store.store_text(config, text, wanted, label or "")
    assert path is not None
    if not path.startswith("/"):
        raise LastlogError("bad-argument", "path must begin with a slash.",
                           "Name a file by its whole path.")
    if os.path.lexists(path) and not _is_public(path):
        raise LastlogError("bad-argument", f"{path} cannot be stored over ubus.",
                           f"Only plain files below {', '.join(PUBLIC)} that everybody may read "
                           "can be; the command lastlog store takes any.")
    return store.store(config, path, wanted, label, plain=True)


def _is_public(path: str) -> bool:
    """Whether a session that may store may also see what is in the file, wherever links lead.

    /var/run is no place for logs, and holds the keys of the radios.
    """
    real = os.path.realpath(path)
    try:
        mode = os.stat(real).st_mode
    except (OSError, ValueError):
        return False
    return real.startswith(tuple(f"{place}/" for place in PUBLIC)) \
        and not real.startswith("/tmp/run/") and stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)


def _names(arguments: Arguments) -> tuple[str, ...]:
    one = (arguments["id"],) if "id" in arguments else ()
    return (*one, *arguments.get("ids", ()))


METHODS = {
    "status": Method(_status, {}),
    "list": Method(_list, {"kind": str, "limit": int}),
    "get": Method(_get, {"id": str}, ("id",)),
    "page": Method(_page, {"id": str}),
    "save": Method(_save, {"id": str}),
    "clear": Method(_clear, {"what": str, "id": str, "ids": list, "force": bool}),
    "store": Method(_store, {"path": str, "text": str, "bytes": int, "label": str}),
}
