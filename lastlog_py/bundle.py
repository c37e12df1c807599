"""Writes the bundle: the compiled modules that a crash needs, in one file.

    python3 -I /usr/lib/lastlog/lastlog_py/bundle.py

Importing the 37 of `lastlog backtrace` from their .pyc files takes a PC 1.4 ms longer, of 12; from
a zip with these 1.9 ms: zipimport is written in Python, and opens it for each module.  The package
manager has the bundle made when lastlog is installed, and a flashed image at its first boot.
Without it everything is done later, and otherwise the same.

After the magic number of the Python that wrote it comes what marshal makes of the file's length and
a dictionary, module → bundled.Kept; then the code of each module.  Their .pyc files, if there are
any, are removed: flash is scarce.
"""

from __future__ import annotations

import ast
import os
import sys
from importlib import import_module
from importlib.util import MAGIC_NUMBER, cache_from_source
from marshal import dumps
from types import CodeType

__all__ = ["write"]

# Of what the core handler and `lastlog backtrace` import: those that import the others.
ROOTS = ("cli", "backtracing", "printing", "coredump.handler", "coredump.offline",
         "coredump.telling", "medium.journal_device", "programs")
X86 = ("unwind.prologue_x86",)
OTHERS = ("unwind.prologue", "unwind.arm_exidx")
FIRST = ("lastlog_py", "lastlog_py.bundled")        # without which there is no import from it


def write(folder: str) -> str:
    """Write the bundle of the package in `folder`; its path.  Raises OSError."""
    sys.path.insert(0, os.path.dirname(folder))
    sources = _sources(folder)
    codes = [dumps(_compiled(source)) for source in sources.values()]
    head = b""
    for _ in range(4):          # it names places that are behind itself
        head = _head(folder, sources, codes, len(head))
    from lastlog_py.bundled import NAME

    target = f"{folder}/{NAME}"
    new = f"{target}.{os.getpid()}"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        with open(new, "wb") as file:
            file.write(b"".join([head, *codes]))
        os.replace(new, target)
    except OSError:
        _remove(new)            # the flash is full, perhaps of this
        raise
    for source in sources.values():
        _remove(cache_from_source(source))
    return target


def _sources(folder: str) -> dict[str, str]:
    """Module → source."""
    machine = os.uname().machine
    own = X86 if machine == "x86_64" or machine.endswith("86") else OTHERS
    for name in (*ROOTS, *(f"coredump.{name}" for name in own)):
        import_module(f"lastlog_py.{name}")
    return {name: module.__file__ for name, module in sorted(sys.modules.items())
            if name.partition(".")[0] == "lastlog_py" and name not in FIRST and module.__file__}


def _head(folder: str, sources: dict[str, str], codes: list[bytes], at: int) -> bytes:
    """What comes before the codes, if it is `at` bytes long."""
    whole = at + sum(map(len, codes))
    index = {}
    for (name, source), code in zip(sources.items(), codes, strict=True):
        status = os.stat(source)
        index[name] = (os.path.relpath(source, folder), int(status.st_mtime), status.st_size,
                       at, len(code))
        at += len(code)
    return MAGIC_NUMBER + dumps((whole, index))


def _compiled(source: str) -> CodeType:
    """Without docstrings, annotations and line numbers: a third less to read.  The module
    __future__ is nowhere imported: its flag does."""
    with open(source, "rb") as file:
        tree = ast.parse(file.read())
    tree.body = [node for node in tree.body
                 if not isinstance(node, ast.ImportFrom) or node.module != "__future__"]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return _unnumbered(compile(tree, source, "exec", annotations.compiler_flag, True, 2))


def _unnumbered(code: CodeType) -> CodeType:
    """Code without the table of its lines; nobody reads a traceback on a router."""
    parts = tuple(_unnumbered(part) if isinstance(part, CodeType) else part
                  for part in code.co_consts)
    return code.replace(co_linetable=b"", co_consts=parts)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


if __name__ == "__main__":
    try:
        write(os.path.dirname(os.path.abspath(__file__)))
    except OSError as error:
        sys.exit(f"lastlog: a crash will take longer to record: {error}.")
