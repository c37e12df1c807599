"""What lastlog knows, as the HTML of the Last Crash page.

`render` gives a fragment (no <html>) that LuCI puts in with one call, so the templates'
autoescaping is the only guard against what a crash wrote: it is on, nothing from a crash is
marked safe, and control characters are made visible on their way out.

A router renders anew only when something changed, yet that must not take long: the templates
are compiled once and their bytecode is kept in a directory that the caller names.
"""

from __future__ import annotations

import os
import stat
from typing import Any

import jinja2
from jinja2.bccache import Bucket, BytecodeCache

from .. import __version__
from . import log, view

__all__ = ["MOST", "environment", "render"]

TEMPLATES = os.path.join(os.path.dirname(__file__), "templates")

MOST = 400_000      # bytes of HTML, so that an answer with it stays far below rpcd's limits


def render(model: dict[str, Any], cache_dir: str | None = None) -> str:
    """The page for `model`, at most MOST bytes as UTF-8.

    model: "status": CONTRACT's `status` answer; "records": [RECORD without text, newest first];
    "open": RECORD with text, or None; "problems": [PROBLEM]; "now_trusted": whether the clock
    is set now.  All are plain dicts with every key of CONTRACT.
    cache_dir: an existing directory for the compiled templates, used only if nobody but us
    may write there; None: compile each time.
    """
    template = environment(cache_dir).get_template("page.html")
    for factor in (1, 4, 16, 256):
        html = template.render(view.build(model, view.Limits().shrunk(factor)))
        encoded = html.encode("utf-8", "replace")   # no text of a file is beyond UTF-8, JSON's is
        if len(encoded) <= MOST:
            break
    return encoded.decode()


def environment(cache_dir: str | None = None) -> jinja2.Environment:
    """The one environment for all templates: autoescape on, control characters made visible."""
    cache = _Bytecode(cache_dir) if cache_dir and _only_ours(cache_dir) else None
    return jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True,
                              finalize=_finalize, undefined=jinja2.StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, auto_reload=False,
                              bytecode_cache=cache)


def _finalize(value: Any) -> Any:
    """A value on its way into the page.  What a template has rendered is a subclass of str."""
    return log.visible(value) if type(value) is str else value


def _only_ours(directory: str) -> bool:
    """Whether nobody else may put files there: what lies in it is run as code."""
    try:
        found = os.lstat(directory)
    except OSError:
        return False
    return (stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
            and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


class _Bytecode(BytecodeCache):
    """Compiled templates in a directory.  Whatever goes wrong there only costs time."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def _path(self, bucket: Bucket) -> str:
        return os.path.join(self.directory, f"{bucket.key}-{__version__}.template")

    def load_bytecode(self, bucket: Bucket) -> None:
        try:
            with open(self._path(bucket), "rb") as file:
                bucket.load_bytecode(file)
        except Exception:  # unpickling a damaged file raises nearly anything
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        temporary = f"{self._path(bucket)}.{os.getpid()}"
        try:
            with open(temporary, "xb") as file:
                bucket.write_bytecode(file)
            os.replace(temporary, self._path(bucket))
        except OSError:
            _forget(temporary)


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
