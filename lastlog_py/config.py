"""The UCI file /etc/config/lastlog, read without libuci.

On the hot path: imports os only.  A file that is not there means the defaults; an option that
makes no sense is reported in `problems` and its default is used, because a typo must not cost
anybody a crash log.
"""

from __future__ import annotations

import os

from .errors import LastlogError
from .site import Site

__all__ = ["DEFAULT_PATH", "Config", "CoreDump", "load", "parse_uci"]

DEFAULT_PATH = "/etc/config/lastlog"


class CoreDump:
    """What becomes of programs' crashes."""

    __slots__ = ("crash_period", "enabled", "ignore", "keep_core", "max_frames", "max_threads",
                 "memory_limit", "most_crashes", "time_limit")

    def __init__(self) -> None:
        self.enabled = True
        self.max_threads = 64
        self.max_frames = 64            # innermost ones of each thread; a few outermost come along
        self.keep_core = 0              # bytes of the program's memory to keep; 0: none
        self.time_limit = 10            # seconds that the handler has
        self.memory_limit = 32 << 20    # bytes of data that the handler may have
        self.most_crashes = 5           # of one program that are kept …
        self.crash_period = 600         # … in so many seconds; 0 crashes: no limit
        self.ignore: list[str] = []     # paths of programs; one that ends in a slash: all below


class Config:
    """What the UCI file says.  Paths are absolute, sizes are bytes."""

    __slots__ = ("archive", "archive_limit", "autosave", "coredump", "ledger", "panic_on_oom",
                 "panic_reboot", "path", "problems", "site", "store_log")

    def __init__(self, path: str) -> None:
        self.path = path
        self.archive = "/etc/lastlog/saved"
        self.archive_limit = 262144
        self.autosave = True            # a harvest saves what it finds; else it goes to the journal
        self.ledger = ""                # where the boots are counted; "" until `load` knows it
        self.panic_reboot = 3           # seconds, for kernel.panic; 0 leaves it alone
        self.panic_on_oom = False       # for vm.panic_on_oom; False leaves it alone
        self.store_log = True           # the end of the system log, at a core dump and at shutdown
        self.coredump = CoreDump()
        self.site = Site()
        self.problems: list[str] = []


# Options by section; those of the sections "site" and "region" describe the site.
_TEXT = {"main": ("archive", "ledger"), "site": ("root",), "region": ("file", "mtd"),
         "coredump": ()}
_FLAGS = {"main": ("autosave", "panic_on_oom", "store_log"), "site": (), "region": (),
          "coredump": ("enabled",)}
_NUMBERS = {"main": ("archive_limit", "panic_reboot"), "site": (),
            "region": ("address", "size", "journal_size", "record_size", "console_size",
                       "ftrace_size", "pmsg_size", "ecc"),
            "coredump": ("max_threads", "max_frames", "keep_core", "time_limit", "memory_limit",
                         "most_crashes", "crash_period")}
_LISTS = ("ignore",)                # all of whose values count; of any other list the last one


def load(path: str | None = None) -> Config:
    """The configuration in `path`; None: the router's own, whose absence means the defaults.

    Raises LastlogError if a file that was asked for by name cannot be read.
    """
    config = Config(os.path.abspath(path or DEFAULT_PATH))
    try:
        with open(config.path, "rb") as file:
            text = file.read(65536).decode("utf-8", "replace")
    except FileNotFoundError:
        if path is not None:
            raise LastlogError("not-found", f"There is no configuration file {path}.",
                               "Name an existing file with --config, or leave it out.") from None
        text = ""
    except OSError as error:
        raise LastlogError("io", f"{config.path} cannot be read: {error.strerror}.",
                           "Run lastlog as root, and see that it is a file.") from None
    _fill(config, parse_uci(text, config.problems))
    config.ledger = config.ledger or _default_ledger(config)
    return config


def _default_ledger(config: Config) -> str:
    """On the router's own flash, for the archive may be on a drive that comes later; but with a
    region that is a file, beside the archive, and nothing of the system is touched."""
    if config.site.file:
        return f"{os.path.dirname(config.archive.rstrip('/'))}/boots"
    return config.site.system("/etc/lastlog/boots")


def _fill(config: Config, sections: list[tuple[str, str, dict[str, str]]]) -> None:
    regions = 0
    for kind, name, options in sections:
        if kind == "lastlog":
            _set(config, config, "main", name, options)
            _set(config, config.site, "site", name, options)
        elif kind == "region":
            regions += 1
            if regions == 1:
                _set(config, config.site, "region", name, options)
        elif kind == "coredump":
            _set(config, config.coredump, "coredump", name, options)
            config.coredump.ignore += [path for path in options.get("ignore", "").split("\n")
                                       if path]
    if regions > 1:
        config.problems.append("only the first region section is used")


def _set(config: Config, target: Config | Site | CoreDump, kind: str, name: str,
         options: dict[str, str]) -> None:
    for option in _TEXT[kind]:
        value = options.get(option)
        if value and not value.isprintable():
            config.problems.append(f"section {name or kind}: {option} holds control characters; "
                                   "the default is used")
        elif value:
            setattr(target, option, value)
    for option in _FLAGS[kind]:
        if option in options:
            flag = _flag(options[option])
            if flag is None:
                config.problems.append(f"section {name or kind}: {option} '{options[option]}' is "
                                       "neither 1 nor 0; the default is used")
            else:
                setattr(target, option, flag)
    for option in _NUMBERS[kind]:
        if option in options:
            number = _number(options[option])
            if number is None:
                config.problems.append(f"section {name or kind}: {option} '{options[option]}' is "
                                       "not a number; the default is used")
            else:
                setattr(target, option, number)


def _flag(text: str) -> bool | None:
    """A switch as UCI has it (libubox, /lib/functions.sh: get_bool)."""
    known = dict.fromkeys(("1", "on", "true", "yes", "enabled"), True)
    known |= dict.fromkeys(("0", "off", "false", "no", "disabled"), False)
    return known.get(text)


def _number(text: str) -> int | None:
    """A size or address as UCI has it: decimal, 0x hexadecimal, or with a k or M behind it."""
    unit = {"k": 1024, "K": 1024, "M": 1 << 20}.get(text[-1:], 1)
    try:
        number = int(text[:-1] if unit > 1 else text, 0)
    except ValueError:
        return None
    return number * unit if 0 <= number < 1 << 64 else None


def parse_uci(text: str, problems: list[str]) -> list[tuple[str, str, dict[str, str]]]:
    """The sections of a UCI file: (type, name, options).

    A list keeps its last value only, or, if it is one of _LISTS, all of them, a line each.
    """
    sections: list[tuple[str, str, dict[str, str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = _words(line)
        if words is None:
            problems.append(f"line {number}: a quote is not closed")
        elif len(words) >= 2 and words[0] == "config":
            sections.append((words[1], words[2] if len(words) > 2 else "", {}))
        elif len(words) == 3 and words[0] in ("option", "list") and sections:
            options, (_, option, value) = sections[-1][2], words
            listed = words[0] == "list" and option in _LISTS and option in options
            options[option] = f"{options[option]}\n{value}" if listed else value
        elif words:
            problems.append(f"line {number}: '{words[0]}' is not understood here")
    return sections


def _words(line: str) -> list[str] | None:
    """The words of one UCI line, quotes and comments resolved; None: an open quote."""
    words: list[str] = []
    at = 0
    while True:
        while at < len(line) and line[at].isspace():
            at += 1
        if at >= len(line) or line[at] == "#":
            return words
        word, at = _word(line, at)
        if at < 0:
            return None
        words.append(word)


def _word(line: str, at: int) -> tuple[str, int]:
    """The word at `at` and where it ends; -1 if one of its quotes is not closed.

    As in a shell, quoted and bare pieces may touch, and a backslash takes the next character as
    it is, but not within single quotes; one at the end of the line takes nothing.
    """
    word, quote = "", ""
    while at < len(line) and (quote or not line[at].isspace()):
        char = line[at]
        if char == "\\" and quote != "'":
            at += 1
            word += line[at:at + 1]
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        else:
            word += char
        at += 1
    return word, -1 if quote else at
