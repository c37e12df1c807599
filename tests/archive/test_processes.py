"""Several processes at once over one archive."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lastlog_py import archive_folder
from lastlog_py.archive import Archive
from lastlog_py.errors import LastlogError
from tests.archive.making import ROOM, crash, names


def at_once(*steps: Callable[[], object]) -> None:
    """Run each step in a process of its own; all must come to a good end."""
    children = []
    for step in steps:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                step()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("same", [True, False], ids=["same", "different"])
def test_saves_at_once(tmp_path: Path, processes: int, same: bool) -> None:
    batches = [[crash(number if same else 10 * process + number, "k1:same") for number in range(8)]
               for process in range(processes)]
    path = tmp_path / "saved"

    def save(batch: int) -> None:
        result = Archive(str(path), ROOM).save(batches[batch])
        assert len(result.saved) == 8 and not result.skipped

    at_once(*[lambda batch=each: save(batch) for each in range(processes)])  # type: ignore[misc]
    records, problems = Archive(str(path), ROOM).headers()
    wanted = {each.id: each for batch in batches for each in batch}
    assert problems == [] and {each.id for each in records} == set(wanted)
    assert names(path) == sorted(f"{id}.gz" for id in wanted)
    assert {each.count for each in records} == {len(wanted)}


def test_readers_see_whole_records_while_old_ones_make_room(tmp_path: Path) -> None:
    archive = Archive(str(tmp_path), 4000)
    archive.save([crash(0)])

    def write() -> None:
        for number in range(1, 60):
            archive.save([crash(number, "k1:same")])

    def read() -> None:
        until = time.monotonic() + 0.4
        while time.monotonic() < until:
            records, problems = archive.headers()
            assert records and problems == [], problems
            found = archive.load(records[0].id)
            assert found.problem is None and archive.usage() > 0

    at_once(write, read, read)


def test_a_writer_that_never_ends_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_folder, "PATIENCE", 0.1)
    archive, folder = Archive(str(tmp_path), ROOM), os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    (tmp_path / f".{crash(1).id}.gz.new").write_bytes(b"being written")
    for write in (lambda: archive.save([crash(1)]), lambda: archive.delete(["k-1"])):
        with pytest.raises(LastlogError) as caught:
            write()
        assert caught.value.code == "busy" and caught.value.hint
    assert archive.headers() == ([], [])        # what is being written is no leftover
    os.close(folder)
    assert "interrupted" in archive.headers()[1][0].what
    assert archive.save([crash(1)]).saved == [crash(1).id]
    assert archive.headers()[1] == []
