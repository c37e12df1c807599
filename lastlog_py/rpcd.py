"""The door for ubus: rpcd runs `PLUGIN call METHOD` with JSON on stdin and reads JSON back.

Whatever comes in, one JSON object of less than 512 KiB goes out: rpcd drops an empty answer as
"no data", and falls off the bus for good at 1 MiB.  On the hot path (a cached `status`, `list` or
`page`) nothing is imported that parses JSON.
"""

from __future__ import annotations

import gc
import os
import sys

from . import cache
from .config import Config, load
from .errors import LastlogError, unexpected

__all__ = ["answer", "main"]

MAX_INPUT = 65536                   # bytes; rpcd cuts what is longer
MAX_ANSWER = 512 << 10              # bytes
CACHED = ("status", "list", "page")

# What LuCI's HTTP calls always carry, and all that they carry for a method without arguments.
_SESSION_ONLY = (b'{"ubus_rpc_session":"', b'"}')


def main(argv: list[str] | None = None) -> int:
    """Answer `call METHOD` as rpcd asks it: arguments on stdin, the answer on stdout."""
    words = sys.argv if argv is None else argv
    gc.disable()                    # the process ends before there is anything worth collecting
    method = words[2] if len(words) == 3 and words[1] == "call" else ""
    try:
        reply = answer(method, _read_all(0, MAX_INPUT + 1), os.environ.get("LASTLOG_CONFIG"))
        while reply:
            reply = reply[os.write(1, reply):]
    except OSError:                 # nobody listens any more
        return 1
    return 0


def _read_all(fd: int, limit: int) -> bytes:
    data = b""
    while len(data) < limit and (more := os.read(fd, limit - len(data))):
        data += more
    return data


def answer(method: str, arguments: bytes, config_path: str | None = None) -> bytes:
    """One JSON object in UTF-8 for `method` with `arguments`, a JSON object.  Never raises."""
    reply = _answer(method, arguments, config_path)
    if len(reply) >= MAX_ANSWER:        # every method bounds its own; this one must hold
        return _failed(LastlogError("io", f"The answer is too long ({len(reply)} bytes).",
                                    "Use the command lastlog, and report this as a bug."))
    return reply


def _answer(method: str, arguments: bytes, config_path: str | None) -> bytes:
    try:
        config = load(config_path)
        if method in CACHED and _is_bare(arguments):
            return _cached(config, method)
        return _called(config, method, arguments)
    except LastlogError as error:
        return _failed(error)
    except Exception as error:      # the door's last guard: a caller must get an answer
        return _failed(unexpected(error))


def _is_bare(arguments: bytes) -> bool:
    """Whether nothing is asked but the method: {} or a session only."""
    text = arguments.strip()
    head, tail = _SESSION_ONLY
    if text.startswith(head) and text.endswith(tail):
        return text[len(head):-len(tail)].isalnum()
    return text in (b"", b"{}")


def _cached(config: Config, method: str) -> bytes:
    stamp = cache.fingerprint(config)
    return _remembered(config, method, stamp, {}, stamp)


def _called(config: Config, method: str, arguments: bytes) -> bytes:
    from . import calls

    checked = calls.parse(method, arguments)
    if method != "page":
        return calls.answer(config, method, checked, "")
    generation = cache.fingerprint(config)
    stamp = f"{generation} {checked.get('id', '')}"
    return _remembered(config, "page.open", stamp, checked, generation)


def _remembered(config: Config, name: str, stamp: str, arguments: dict[str, object],
                generation: str) -> bytes:
    """The answer called `name`: the one that was made under `stamp`, or else a new one."""
    known = cache.lookup(config, name, stamp)
    if known is None:
        from . import calls

        known = calls.answer(config, name.partition(".")[0], arguments, generation)
        cache.remember(config, name, stamp, known)
    return known


def _failed(error: LastlogError) -> bytes:
    import json  # and nothing of ours, which may be what failed

    return json.dumps(error.reply()).encode()
