"""The command `lastlog`: the door for a prompt.

`status` and `list` are answered from the cache, and `store`, `backtrace`, `harvest` and `shutdown`
are done, before anything heavy is imported: argparse and json together cost a router more than the
interpreter itself.  For the same reason posix, not os, is used where it will do.
"""

from __future__ import annotations

import posix
import sys

from .errors import LastlogError, unexpected
from .site import Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .config import Config

__all__ = ["main"]

CACHED = ("status", "list")
BOOT_SERVICE = (["harvest"], ["shutdown"])


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 failed, 2 wrong usage."""
    words = sys.argv[1:] if argv is None else argv
    config_path, as_json, rest = _globals(words)
    try:
        done = _quickly(config_path, as_json, rest)
        if done == 0 and argv is None:
            posix._exit(0)              # nothing is left to tidy up, which takes Python a while
        if done is not None:
            return done
        import gc

        from . import commands

        gc.enable()                     # what is not quick may make much garbage
        return commands.run(config_path, as_json, rest)
    except BrokenPipeError:             # `lastlog show … | head`
        posix.dup2(posix.open("/dev/null", posix.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:            # what was found out cannot be told
        posix.write(2, f"lastlog: the output cannot be written: {error.strerror}.\n".encode())
        return 1


def _quickly(config_path: str | None, as_json: bool, rest: list[str]) -> int | None:
    """The exit status of what needs nothing heavy; None if the full command line has to look."""
    if rest[:1] == ["store"]:
        return _stored(config_path, as_json, rest[1:])
    if rest[:1] == ["backtrace"]:
        return _traced(config_path, as_json, rest[1:])
    if rest in BOOT_SERVICE and not as_json:
        return _booted(config_path, rest[0])
    known = _remembered(config_path, as_json, rest)
    if known is None:
        return None
    write(known)
    return 0


def _globals(words: list[str]) -> tuple[str | None, bool, list[str]]:
    """--config and --json, which may stand anywhere, and the words that remain."""
    config_path, as_json, rest = None, False, []
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--config" and at + 1 < len(words):
            at += 1
            config_path = words[at]
        elif word.startswith("--config="):
            config_path = word.partition("=")[2]
        elif word == "--json":
            as_json = True
        else:
            rest.append(word)
        at += 1
    return config_path, as_json, rest


def _stored(config_path: str | None, as_json: bool, words: list[str]) -> int | None:
    """The exit status of `store`; None if the full command line has to look at the words."""
    from . import store

    asked = store.parse(words)
    if asked is None:
        return None
    try:
        reply = store.store(_load(config_path), *asked)
        output = store.in_json(reply) if as_json else store.said(reply)
    except Exception as error:          # the door's last guard
        return _failed(error, as_json)
    write(output.encode("utf-8", "replace"))
    return 0


def _traced(config_path: str | None, as_json: bool, words: list[str]) -> int | None:
    """The exit status of `backtrace`; None if the full command line has to look at the words."""
    from . import backtracing

    asked = backtracing.parse(words)
    if asked is None:
        return None
    try:
        # Mostly not needed, but one that is named and is not there is a mistake.
        site = Site() if config_path is None else _load(config_path).site
        reply = backtracing.backtrace(asked, site)
        output = backtracing.in_json(reply) if as_json else backtracing.said(reply)
    except Exception as error:          # the door's last guard
        return _failed(error, as_json)
    write(output)
    return 0


def _booted(config_path: str | None, command: str) -> int:
    """The exit status of what the boot service runs."""
    try:
        from . import harvest

        config = _load(config_path)
        reply = harvest.harvest(config) if command == "harvest" else \
            harvest.shutdown(config, system_log)
    except Exception as error:          # the door's last guard
        return _failed(error, as_json=False)
    said = harvest.report(reply).encode("utf-8", "replace")
    if said:
        write(said)
    return 1 if harvest.has_errors(reply) else 0


def system_log() -> bytes:
    """What is piped in; nothing if somebody runs it at a terminal."""
    log = b""
    while not posix.isatty(0) and (piece := posix.read(0, 1 << 16)):
        log = (log + piece)[-1 << 20:]
    return log


def _load(path: str | None) -> Config:
    from .config import load  # here, not above: `backtrace` does without

    return load(path)


def _failed(error: Exception, as_json: bool) -> int:
    from . import commands

    return commands.failed(error if isinstance(error, LastlogError) else unexpected(error),
                           as_json)


def _remembered(config_path: str | None, as_json: bool, rest: list[str]) -> bytes | None:
    """The answer to a bare `status` or `list`, if nothing has changed since it was made."""
    if len(rest) != 1 or rest[0] not in CACHED:
        return None
    from . import cache

    try:
        config = _load(config_path)
    except LastlogError:
        return None                     # the full command says it
    return cache.lookup(config, cache_name(rest[0], as_json), cache.fingerprint(config))


def cache_name(command: str, as_json: bool) -> str:
    """Under which name a command's output is remembered."""
    return f"{command}.{'json' if as_json else 'txt'}"


def write(output: bytes) -> None:
    """Print `output` and a line feed."""
    write_all([output])


def write_all(pieces: Iterable[bytes]) -> None:
    """Print the pieces, one behind the other, and a line feed unless there is one."""
    sys.stdout.flush()
    piece = b""
    for piece in pieces:
        _put(piece)
    if not piece.endswith(b"\n"):
        _put(b"\n")


def _put(output: bytes) -> None:
    while output:
        output = output[posix.write(1, output):]
