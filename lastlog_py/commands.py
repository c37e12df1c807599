"""The command line in full: arguments, use cases, exit status."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from . import __version__, backtracing, cache, harvest, printing, service, store
from .archive_file import is_id
from .cli import cache_name, system_log, write, write_all
from .config import Config, load
from .errors import LastlogError, unexpected
from .medium.geometry import Geometry, parity_bytes
from .record import KINDS

__all__ = ["failed", "in_json", "run"]

Reply = dict[str, Any]
PIECE = 1 << 16                 # characters of a text that are written at once
GEOMETRY = ("record", "console", "ftrace", "pmsg")


def run(config_path: str | None, as_json: bool, words: list[str]) -> int:
    """Carry out the command in `words`; its exit status."""
    try:
        asked = _Parser.whole().parse_args(words)
        if asked.command == "backtrace":
            backtracing.check(_traced(asked))
    except SystemExit:                  # --help or --version, printed already
        return 0
    except LastlogError as error:
        failed(error, as_json)
        return 2
    try:
        return _carry_out(asked, load(config_path), as_json)
    except LastlogError as error:
        return failed(error, as_json)
    except OSError:
        raise                           # of the output; `cli` knows what to say
    except Exception as error:          # the door's last guard
        return failed(unexpected(error), as_json)


def _carry_out(asked: argparse.Namespace, config: Config, as_json: bool) -> int:
    bare = asked.command in ("status", "list") and not (asked.kind or asked.limit is not None)
    stamp = cache.fingerprint(config) if bare else ""
    reply, failures = asked.call(config, asked)
    pieces = in_json(reply) if as_json else [_for_people(asked, reply)]
    if bare:
        pieces = [b"".join(pieces)]
        cache.remember(config, cache_name(asked.command, as_json), stamp, pieces[0])
    write_all(pieces)
    return 1 if failures else 0


def in_json(reply: Reply) -> Iterator[bytes]:
    """What json.dumps makes of it, record by record, and a record's text piece by piece: a
    character of a byte or two takes six there.

    For a terminal too, so in ASCII: no control character of a log reaches it.
    """
    held = ""
    for piece in _pieces(reply):
        held += piece
        if len(held) >= PIECE:
            yield held.encode()
            held = ""
    yield held.encode()


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield ", " if number else "["
            yield from _pieces(each)
        yield "]" if value else "[]"
    elif isinstance(value, dict) and ("records" in value or "text" in value):
        for number, (name, each) in enumerate(value.items()):
            yield f'{", " if number else "{"}"{name}": '
            yield from _pieces(each)
        yield "}"
    elif isinstance(value, str):
        yield '"'
        for at in range(0, len(value), PIECE):
            yield json.dumps(value[at:at + PIECE])[1:-1]
        yield '"'
    else:
        yield json.dumps(value)


def _for_people(asked: argparse.Namespace, reply: Reply) -> bytes:
    if asked.command == "list" and not reply["records"] and (asked.kind or asked.limit == 0):
        return b"No records of that kind." if asked.kind else b""
    return printing.PRINTERS[asked.command](reply).encode("utf-8", "replace")


def failed(error: LastlogError, as_json: bool) -> int:
    """Say what is wrong; the exit status."""
    if as_json:
        write(b"".join(in_json(error.reply())))
    else:
        print(printing.safe(f"lastlog: {error.message} {error.hint}".strip()), file=sys.stderr)
    return 1


# --- the commands: arguments in, (reply, whether something failed) out


Done = tuple[Reply, bool]


def _status(config: Config, _asked: argparse.Namespace) -> Done:
    return service.status(config), False


def _list(config: Config, asked: argparse.Namespace) -> Done:
    return service.list_records(config, asked.kind, asked.limit), False


def _show(config: Config, asked: argparse.Namespace) -> Done:
    return service.get(config, asked.id), False


def _save(config: Config, asked: argparse.Namespace) -> Done:
    reply = service.save(config, asked.ids)
    return reply, bool(reply["skipped"])


def _clear(config: Config, asked: argparse.Namespace) -> Done:
    reply = service.clear(config, asked.what, asked.ids, asked.force)
    return reply, bool(reply["kept"])


def _store(config: Config, asked: argparse.Namespace) -> Done:
    return store.store(config, asked.file, asked.bytes, asked.label), False


def _decode(_config: Config, asked: argparse.Namespace) -> Done:
    reply = service.decode(asked.files, _geometry(asked))
    failures = [problem for problem in reply["problems"] if problem["severity"] == "error"]
    if failures and not reply["records"]:
        first = failures[0]
        raise LastlogError("io", f"{first['where']}: {first['what']}.",
                           "See whether it is the right file, and whole.")
    return reply, bool(failures)


def _backtrace(config: Config, asked: argparse.Namespace) -> Done:
    reply = backtracing.backtrace(_traced(asked), config.site)
    return reply, backtracing.has_failed(reply)


def _traced(asked: argparse.Namespace) -> backtracing.Asked:
    return backtracing.Asked(asked.core, asked.sysroot,
                             [pid for each in asked.pid or () for pid in each])


def _symbolize(config: Config, asked: argparse.Namespace) -> Done:
    reply = service.symbolize(config, asked.record, asked.debug)
    if asked.save:
        path = service.lay_symbols(config, reply, asked.record,
                                   printing.PRINTERS["symbolize"](reply) + "\n")
        print(printing.safe(f"lastlog: saved as {path}"), file=sys.stderr)
    return reply, False


def _harvest(config: Config, _asked: argparse.Namespace) -> Done:
    reply = harvest.harvest(config)
    return reply, harvest.has_errors(reply)


def _shutdown(config: Config, _asked: argparse.Namespace) -> Done:
    reply = harvest.shutdown(config, system_log)
    return reply, harvest.has_errors(reply)


def _selftest(config: Config, asked: argparse.Namespace) -> Done:
    from . import selftest  # here, not above: no other command needs it

    return (selftest.arm if asked.step == "arm" else selftest.result)(config), False


def _propose(config: Config, _asked: argparse.Namespace) -> Done:
    from . import propose  # here, not above: no other command needs it

    return propose.propose(config), False


def _geometry(asked: argparse.Namespace) -> list[Geometry]:
    others = (asked.console_size, asked.ftrace_size, asked.pmsg_size, asked.ecc)
    if not asked.record_size and any(others):
        raise LastlogError("bad-argument", "--record-size is missing.",
                           "Give it along with the other sizes, or none for a search.")
    if not asked.record_size:
        return []
    return [Geometry(asked.record_size, *others[:3], parity_bytes(asked.ecc),
                     origin="the command line")]


# --- the arguments


class _Parser(argparse.ArgumentParser):
    """Names options in full only, and raises what it would print."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise LastlogError("bad-argument", f"{message[0].upper()}{message[1:]}.",
                           f"See {self.prog} --help.")

    @classmethod
    def whole(cls) -> _Parser:
        """The parser of all commands."""
        parser = cls(prog="lastlog",
                     description="Why did my router reboot, and what did it say last?",
                     epilog="Exit status: 0 done, 1 failed, 2 wrong usage.")
        parser.add_argument("--version", action="version", version=f"lastlog {__version__}")
        # Taken out of the words before argparse sees them, because they may stand anywhere.
        parser.add_argument("--config", metavar="FILE", help="instead of /etc/config/lastlog")
        parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
        parser.set_defaults(kind=None, limit=None)
        _add_commands(parser.add_subparsers(dest="command", metavar="COMMAND", required=True))
        return parser


def _add_commands(commands: Any) -> None:
    _command(commands, "status", _status, "is capture armed, and why was the last reboot")
    _listing(_command(commands, "list", _list, "the records, newest first"))
    show = _command(commands, "show", _show, "one record, whole")
    show.add_argument("id", type=_record_id)
    saving = _command(commands, "save", _save, "make captured records durable")
    saving.add_argument("ids", nargs="*", metavar="ID", type=_record_id)
    _clearing(_command(commands, "clear", _clear, "erase captured or saved records"))
    _storing(_command(commands, "store", _store,
                      "the end of a log into the journal, where it survives a reboot"))
    _decoding(_command(commands, "decode", _decode, "read a dump that somebody sent"))
    _backtracing(_command(commands, "backtrace", _backtrace,
                          "what a core of any machine, or a process that runs, says; nothing is "
                          "stored"))
    _symbolizing(_command(commands, "symbolize", _symbolize,
                          "function, file and line of a core dump's frames, on a PC"))
    _command(commands, "harvest", _harvest,
             "what the boot service runs: arm, find out why it rebooted, keep what was captured")
    _command(commands, "shutdown", _shutdown,
             "what the boot service runs before a reboot; the system log may come on stdin")
    testing = _command(commands, "selftest", _selftest,
                       "does the memory keep its contents across a reboot")
    testing.add_argument("step", choices=("arm", "result"),
                         help="arm: write a pattern; result: after the reboot, what is left of it")
    _command(commands, "propose", _propose,
             "memory for a router that has none set aside: what to write where; changes nothing")


def _command(commands: Any, name: str, call: Callable[..., Done],
             what: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=what, description=what[0].upper() + what[1:] + ".")
    parser.set_defaults(call=call)
    return parser


def _listing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", choices=KINDS, help="this kind only")
    parser.add_argument("--limit", type=number, metavar="N", help="at most N records")


def _clearing(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    for what, text in (("memory", "from persistent memory (this is what happens by default)"),
                       ("saved", "from the archive"), ("all", "from both")):
        where.add_argument(f"--{what}", dest="what", action="store_const", const=what, help=text)
    parser.set_defaults(what="memory")
    parser.add_argument("--force", action="store_true",
                        help="also what is not saved: it is lost then")
    parser.add_argument("ids", nargs="*", metavar="ID", type=_record_id)


def _storing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a log, or - for what comes on stdin")
    parser.add_argument("--bytes", type=number, metavar="N", help="at most the last N bytes; "
                        "without it, as much as a quarter of the journal")
    parser.add_argument("--label", metavar="L", help="what to call it, instead of FILE's name")


def _decoding(parser: argparse.ArgumentParser) -> None:
    for zone in GEOMETRY:
        parser.add_argument(f"--{zone}-size", type=number, default=0, metavar="N",
                            help=f"ramoops.{zone}_size of the kernel that wrote it")
    parser.add_argument("--ecc", type=number, default=0, metavar="N", help="ramoops.ecc")
    parser.add_argument("files", nargs="+", metavar="FILE")


def _backtracing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--core", metavar="FILE", help="the core, or - for one on stdin")
    parser.add_argument("--sysroot", metavar="DIR", help="a copy of the root file system of the "
                        "machine it is from; without it only what the core itself holds is known")
    parser.add_argument("--pid", metavar="N", type=number, nargs="+", action="append",
                        help="with --core: the process that is dumping it, which is then read from "
                        "/proc (%%P in kernel.core_pattern); without: processes that run, which "
                        "are stopped for a moment; may be given more than once")


def _symbolizing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("record", metavar="RECORD", help="a record's id, its file, or its text")
    parser.add_argument("--debug", metavar="DIR", action="append", required=True,
                        help="where the unstripped files are, as a buildroot's staging_dir, or one "
                        "such file; may be given more than once")
    parser.add_argument("--save", action="store_true", help="also write what is printed to "
                        "RECORD.symbols.txt: beside the record's file, which for an id is in the "
                        "archive, or here if it is not saved")


def number(text: str) -> int:
    """4096, 0x1000; not negative.  argparse names this function in its messages."""
    value = int(text, 0)
    if value < 0:
        raise ValueError(text)
    return value


def _record_id(text: str) -> str:
    if not is_id(text):
        raise argparse.ArgumentTypeError(f"{printing.safe(text)!r} is no record's id; see "
                                         "lastlog list")
    return text
