"""The crashed program's memory, wherever it still is: the live process, the core, the files.

Reading never raises: what is not there comes back shorter or empty.  On the hot path.
"""

from __future__ import annotations

import posix  # `os` costs 0.7 ms more

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from .machine import Machine

__all__ = ["CoreMemory", "FileMemory", "Layered", "Memory", "PiecesMemory", "ProcMemory",
           "last_at"]

PAGE = 4096
MAX_PAGES = 256             # of the cache: 1 MiB
MAX_CACHED = 4 * PAGE       # what is longer passes the cache by
MAX_READ = 16 << 20
TOP = 1 << 64


class Memory:
    """Memory by address; subclasses say where the bytes come from in `_fetch`."""

    __slots__ = ("_pages", "order", "word_size")

    step = PAGE                 # a fetch never crosses a multiple of this

    def __init__(self, machine: Machine) -> None:
        self.order: Literal["little", "big"] = machine.order
        self.word_size = machine.word
        self._pages: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes from `address` on; fewer up to the first that is not there, or none.

        At most MAX_READ at once.
        """
        if size <= 0 or address < 0:
            return b""
        start = address % PAGE
        if start + size <= PAGE:
            return self._page(address - start)[start:start + size]
        return self._read_long(address, min(size, MAX_READ))

    def integer(self, address: int, size: int) -> int | None:
        """The unsigned integer of `size` bytes at `address`; None where that is not there."""
        data = self.read(address, size)
        return int.from_bytes(data, self.order) if len(data) == size else None

    def word(self, address: int) -> int | None:
        """The address-sized word at `address`; None where that is not there."""
        return self.integer(address, self.word_size)

    def string(self, address: int, limit: int = 4096) -> bytes:
        """The bytes up to a NUL, at most `limit`."""
        pieces: list[bytes] = []
        while limit > 0:
            piece = self.read(address, min(limit, PAGE - address % PAGE))
            pieces.append(piece.partition(b"\0")[0])
            if not piece or len(pieces[-1]) < len(piece):
                break
            address += len(piece)
            limit -= len(piece)
        return b"".join(pieces)

    def _read_long(self, address: int, size: int) -> bytes:
        """Through the cache if that is not too much for it."""
        cached = size <= MAX_CACHED
        step = PAGE if cached else self.step
        pieces = []
        while size > 0:
            start = address % step
            wanted = min(step - start, size)
            piece = (self._page(address - start)[start:start + wanted] if cached
                     else self._whole(address, wanted))
            pieces.append(piece)
            if len(piece) < wanted:
                break
            address += wanted
            size -= wanted
        return b"".join(pieces)

    def _page(self, address: int) -> bytes:
        page = self._pages.get(address)
        if page is None:
            if len(self._pages) >= MAX_PAGES:
                self._pages.clear()
            page = self._pages[address] = self._whole(address, PAGE)
        return page

    def past_cache(self, address: int, size: int) -> bytes:
        """As `read`, of what is needed once."""
        return self._whole(address, size)

    def _whole(self, address: int, size: int) -> bytes:
        """What `_fetch` gives, and goes on to give where that was only the first part."""
        data = self._fetch(address, size) if address < TOP else b""
        while data and len(data) < size:
            more = self._fetch(address + len(data), size - len(data))
            if not more:
                break
            data += more
        return data

    def _fetch(self, address: int, size: int) -> bytes:
        """What is at `address`, or its beginning; every kind of memory says it in its own way, and
        this one has nothing mapped."""
        return b""


class ProcMemory(Memory):
    """The process as it stands, through a descriptor of /proc/PID/mem.

    unread: (start, end) of what is not touched, sorted.
    """

    __slots__ = ("_starts", "fd", "unread")

    step = 1 << 16

    def __init__(self, machine: Machine, fd: int, unread: list[tuple[int, int]] | None = None
                 ) -> None:
        super().__init__(machine)
        self.fd = fd
        self.unread = unread or []
        self._starts = [start for start, _ in self.unread]

    def _fetch(self, address: int, size: int) -> bytes:
        return _pread(self.fd, address, self._allowed(address, size) if self.unread else size)

    def _allowed(self, address: int, size: int) -> int:
        """How many of these bytes, from the first on, may be touched."""
        index = last_at(self._starts, address)
        if index >= 0 and address < self.unread[index][1]:
            return 0
        if index + 1 < len(self.unread):
            return min(size, self.unread[index + 1][0] - address)
        return size


class CoreMemory(Memory):
    """A core in a file that can be read anywhere: its PT_LOADs at their addresses.

    segments: (address, offset in the file, bytes in the file).
    """

    __slots__ = ("_rows", "_starts", "fd")

    def __init__(self, machine: Machine, fd: int, segments: list[tuple[int, int, int]]) -> None:
        super().__init__(machine)
        self.fd = fd
        self._rows = sorted(row for row in segments if row[2] > 0)
        self._starts = [row[0] for row in self._rows]

    def _fetch(self, address: int, size: int) -> bytes:
        index = last_at(self._starts, address)
        if index < 0:
            return b""
        start, offset, length = self._rows[index]
        skip = address - start
        return _pread(self.fd, offset + skip, min(size, length - skip)) if skip < length else b""


class PiecesMemory(Memory):
    """What one pass over a stream kept: (address, bytes) pieces."""

    __slots__ = ("_pieces", "_starts")

    def __init__(self, machine: Machine, pieces: list[tuple[int, bytes]]) -> None:
        super().__init__(machine)
        self._pieces = sorted(pieces)
        self._starts = [piece[0] for piece in self._pieces]

    def _fetch(self, address: int, size: int) -> bytes:
        index = last_at(self._starts, address)
        if index < 0:
            return b""
        start, data = self._pieces[index]
        return data[address - start:address - start + size]


class FileMemory(Memory):
    """Parts of files where the process had them mapped."""

    __slots__ = ("_rows", "_starts")

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._rows: list[tuple[int, int, int, int]] = []
        self._starts: list[int] = []        # of the rows, sorted; behind by those just added

    def add(self, start: int, end: int, offset: int, fd: int) -> None:
        """The file `fd`, from `offset` on, is mapped at `start` up to `end`; whole pages are."""
        before = start % PAGE
        if before <= offset:
            start, offset = start - before, offset - before
        self._rows.append((start, end, offset, fd))
        self._pages.clear()

    def _fetch(self, address: int, size: int) -> bytes:
        if len(self._starts) != len(self._rows):
            self._rows.sort()
            self._starts = [row[0] for row in self._rows]
        index = last_at(self._starts, address)
        if index < 0:
            return b""
        start, end, offset, fd = self._rows[index]
        return _pread(fd, offset + address - start, min(size, end - address))


class Layered(Memory):
    """Several memories, the first that has a byte wins: the core, then the files."""

    __slots__ = ("layers",)

    def __init__(self, machine: Machine, layers: list[Memory]) -> None:
        super().__init__(machine)
        self.layers = layers

    def forget(self) -> None:
        """A layer got more to show."""
        self._pages.clear()

    def _fetch(self, address: int, size: int) -> bytes:
        for layer in self.layers:
            data = layer._fetch(address, size)
            if data:
                return data
        return b""


def last_at(starts: list[int], address: int) -> int:
    """The index of the last of the sorted `starts` at or before `address`; -1: none."""
    low, high = 0, len(starts)
    while low < high:
        middle = (low + high) // 2
        if starts[middle] <= address:
            low = middle + 1
        else:
            high = middle
    return low - 1


def _pread(fd: int, offset: int, size: int) -> bytes:
    """Bytes at `offset`, or none: unmapped, [vvar] (EIO), beyond 2^63 (OverflowError)."""
    if size <= 0:
        return b""
    try:
        return posix.pread(fd, size, offset)
    except (OSError, OverflowError, ValueError):
        return b""
