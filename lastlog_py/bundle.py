"""Writes the bundle: the compiled modules that a crash needs, in one file.

    python3 -I /usr/lib/lastlog/lastlog_py/bundle.py

Importing the 35 of `lastlog backtrace` one by one costs a PC 5.5 ms, from the bundle 2.3.  The
package manager has it made when lastlog is installed, and a flashed image at its first boot.  It is
for the Python that wrote it; without it everything is done later, and otherwise the same.

It begins with what marshal makes of bundled.py's code; then comes the code of each module.
"""

from __future__ import annotations

import ast
import os
import sys
from importlib import import_module
from marshal import dumps
from types import CodeType

__all__ = ["HEAD", "NAME", "write"]

HEAD = 24576                    # bytes that the entry points read of it at first
NAME = f"__pycache__/bundle.{sys.implementation.cache_tag}"
FINDER = "lastlog_py/bundled.py"
# The way to the coredump package from a prompt.
ROOTS = ("lastlog_py.cli", "lastlog_py.backtracing", "lastlog_py.printing")
FOLDERS = ("lastlog_py/coredump", "lastlog_py/coredump/unwind")
ON_A_PC = ("__init__.py", "symbolize.py", "debug_files.py", "dwarf_lines.py")


def write(library: str) -> str:
    """Write the bundle of the modules below `library`; its path.  Raises OSError."""
    sources = _sources(library)
    codes = [dumps(_compiled(source)) for source in sources.values()]
    head = b""
    for _ in range(4):          # it names places that are behind itself
        head = _head(library, sources, codes, len(head))
    if len(head) > HEAD:
        raise OSError(f"the bundle's index takes {len(head)} bytes")
    target = f"{library}/{NAME}"
    new = f"{target}.{os.getpid()}"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(new, "wb") as file:
        file.write(b"".join([head, *codes]))
    os.replace(new, target)
    return target


def _sources(library: str) -> dict[str, str]:
    """Module → source, of all that have to do with a crash, and what these import."""
    sys.path.insert(0, library)
    for folder in FOLDERS:
        for name in os.listdir(f"{library}/{folder}"):
            if name.endswith(".py") and name not in ON_A_PC:
                import_module(f"{folder.replace('/', '.')}.{name.removesuffix('.py')}")
    for root in ROOTS:
        import_module(root)
    return {name: module.__file__ for name, module in sorted(sys.modules.items())
            if name.partition(".")[0] == "lastlog_py" and module.__file__}


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


def _head(library: str, sources: dict[str, str], codes: list[bytes], at: int) -> bytes:
    """The beginning, if it is `at` bytes long."""
    index = {"": ("", 0, at + sum(map(len, codes)), 0, 0)}
    for (name, source), code in zip(sources.items(), codes, strict=True):
        status = os.stat(source)
        index[name] = (source, int(status.st_mtime), status.st_size, at, len(code))
        at += len(code)
    return dumps((index, _compiled(f"{library}/{FINDER}")))


if __name__ == "__main__":
    write(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
