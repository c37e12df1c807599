"""Imports modules from the bundle: one file with the compiled ones that a crash needs.

bundle.py puts this, compiled, at its beginning, from where the entry points run it.  A module whose
source has another time or size by now is left to the usual way, as with .pyc files.
"""

from __future__ import annotations

import posix
import sys
from _frozen_importlib import ModuleSpec
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import IO, Any

    # Module → its source, that one's time and size, where its code is in the bundle, and how many
    # bytes long; "": the size of the whole bundle is third.
    Index = dict[str, tuple[str, int, int, int, int]]

__all__ = ["Bundle", "use"]


def use(file: IO[bytes], index: Index) -> None:
    """Import from the open bundle `file` from now on, if it is whole."""
    if posix.fstat(file.fileno()).st_size == index[""][2]:
        sys.meta_path.insert(0, Bundle(file, index))
        _put_off_os()


class Bundle:
    """A finder and loader for sys.meta_path."""

    def __init__(self, file: IO[bytes], index: Index) -> None:
        self.file = file
        self.index = index

    def find_spec(self, name: str, path: object = None, target: object = None
                  ) -> ModuleSpec | None:
        """None: it is not in here, or out of date."""
        row = self.index.get(name)
        if row is None:
            return None
        source, changed, size, _, _ = row
        try:
            status = posix.stat(source)
        except OSError:
            return None
        if (int(status.st_mtime), status.st_size) != (changed, size):
            return None
        folder, _, base = source.rpartition("/")
        loader: Any = self
        spec = ModuleSpec(name, loader, origin=source, is_package=base == "__init__.py")
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(folder)
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual kind of module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run its code."""
        _, _, _, at, size = self.index[module.__name__]
        exec(loads(posix.pread(self.file.fileno(), size, at)), module.__dict__)


class _Os(type(sys)):           # type: ignore[misc]
    """The module os, of which nearly all is posix's: whole from the first name on that is not.

    Importing it costs 0.7 ms, of which 0.5 are for the classes of collections.abc.
    """

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get("os") is self:
            sys.modules.pop("os")
        import os

        self.__dict__.update(vars(os))
        return getattr(os, name)


def _put_off_os() -> None:
    if "os" in sys.modules:
        return
    light = sys.modules["os"] = _Os("os")
    light.__dict__.update((name, value) for name, value in vars(posix).items()
                          if name[:2] != "__" and name != "environ")    # of bytes there
    import posixpath

    light.__dict__["path"] = sys.modules["os.path"] = posixpath
