"""Records for the archive's tests."""

from __future__ import annotations

import random
from pathlib import Path

from lastlog_py.archive import Archive
from lastlog_py.record import Record, Source, captured

NOON = 1_750_000_000.0
ROOM = 1 << 20


def noise(size: int, seed: int) -> bytes:
    """Text of about `size` bytes once it is packed."""
    return random.Random(seed).randbytes(size * 2 // 3).hex().encode()


def crash(number: int, signature: str | None = None, size: int = 300, **fields: object) -> Record:
    """A kernel crash, `number` hours after noon."""
    record = captured("kernel", b"<4>[    1.0] Oops %d\n" % number + noise(size, number),
                      Source("ramoops", number, 64, size), time=NOON + 3600 * number)
    return record._replace(**{"signature": signature, "crash": record.id,  # type: ignore[arg-type]
                              "title": f"crash {number}", **fields})


def log(number: int, size: int = 300) -> Record:
    return captured("log", b"log %d\n" % number + noise(size, number), Source("journal"),
                    time=NOON + 3600 * number)


def titles(archive: Archive) -> list[str]:
    return [record.title for record in archive.headers()[0]]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
