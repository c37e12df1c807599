"""Imports modules from the bundle: one file with the compiled ones that a crash needs.

bundle.py writes it into __pycache__, where the .pyc files of the other modules are.  As with these,
a module whose source has another time or size by now is compiled anew, and so are all by another
Python.  On the hot path: imports next to nothing, and so not even __future__.
"""

import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, NamedTuple

    class Kept(NamedTuple):
        """A module in the bundle; there a plain tuple."""

        source: str             # below the package's folder: coredump/core.py
        changed: int            # the source's time when it was compiled, Unix seconds
        size: int               # and its size, in bytes
        at: int                 # where what marshal makes of its code is in the file
        length: int             # and how many bytes that are

__all__ = ["NAME", "use"]

NAME = f"__pycache__/bundle.{sys.implementation.cache_tag}"


def use() -> None:
    """Import from this package's bundle from now on, if there is one that is whole."""
    folder = __file__.rpartition("/")[0]
    path = f"{folder}/{NAME}"
    try:
        with open(path, "rb", 0) as file:
            content = file.read()
        if content.startswith(MAGIC_NUMBER):
            length, modules = loads(memoryview(content)[len(MAGIC_NUMBER):])
            if length == len(content):
                sys.meta_path.insert(0, Bundle(folder, path, memoryview(content), modules))
    except (OSError, EOFError, ValueError, TypeError):      # what marshal raises where it is torn
        pass


class Bundle:
    """A finder and loader for sys.meta_path."""

    def __init__(self, folder: str, path: str, content: memoryview,
                 modules: "dict[str, Kept]") -> None:
        self.folder = folder
        self.path = path
        self.content = content
        self.modules = modules

    def find_spec(self, name: str, path: object = None, target: object = None
                  ) -> "ModuleSpec | None":
        """None: it is not in here, or out of date."""
        kept = self.modules.get(name)
        if kept is None:
            return None
        below, changed, size, _, _ = kept
        source = f"{self.folder}/{below}"
        try:
            status = posix.stat(source)
        except OSError:
            return None
        if (int(status.st_mtime), status.st_size) != (changed, size):
            return None
        loader: Any = self
        spec = ModuleSpec(name, loader, origin=source, is_package=below.endswith("__init__.py"))
        spec.has_location = True
        spec.cached = self.path
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(source.rpartition("/")[0])
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual kind of module."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run its code."""
        _, _, _, at, length = self.modules[module.__name__]
        exec(loads(self.content[at:at + length]), module.__dict__)
