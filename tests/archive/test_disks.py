"""Real disks that are full or read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastlog_py.archive import Archive
from lastlog_py.errors import LastlogError
from tests.archive.making import ROOM, crash, log, names

PAGE = 4096
OPTIONS = "size=64k,nr_inodes=40"


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """64 KiB, mounted."""
    if os.geteuid() != 0 or not _mount("-t", "tmpfs", "-o", OPTIONS, "tmpfs", str(tmp_path)):
        pytest.skip("mounting a small disk needs root's rights")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def fill(disk: Path, leave: int) -> None:
    """Leave so many pages."""
    free = os.statvfs(disk).f_bavail
    (disk / "filler").write_bytes(bytes((free - leave) * PAGE))


@pytest.mark.parametrize("leave", range(5))
def test_a_full_disk_at_every_page(disk: Path, leave: int) -> None:
    """The record takes three pages; nothing of what is there may go for it."""
    archive = Archive(str(disk / "saved"), ROOM)
    archive.save([crash(1)])
    fill(disk, leave)
    result = archive.save([crash(0, size=3 * PAGE - 1000)])
    assert bool(result.saved) is (leave >= 3)
    assert archive.holds(crash(1).id) and archive.headers()[1] == []
    if not result.saved:
        assert "disk is full" in result.skipped[0].why
        assert names(disk / "saved") == [f"{crash(1).id}.gz"]


def test_a_full_disk_makes_old_ones_go_first(disk: Path) -> None:
    archive = Archive(str(disk / "saved"), ROOM)
    archive.save([log(1, 6000), crash(1, size=6000)])
    fill(disk, 1)
    result = archive.save([crash(2, size=5000), log(3, 9000)])
    assert result.saved == [crash(2, size=5000).id] and "full" in result.skipped[0].why
    assert [each.title for each in archive.headers()[0]] == ["crash 2", "crash 1"]


@pytest.mark.parametrize("what", ["bytes", "files"])
def test_a_disk_too_full_for_the_directory(disk: Path, what: str) -> None:
    archive = Archive(str(disk / "a/saved"), ROOM)
    for number in range(40 if what == "files" else 0):
        try:
            (disk / str(number)).touch()
        except OSError:
            break
    fill(disk, 0) if what == "bytes" else None
    try:
        result = archive.save([crash(1)])
    except LastlogError as error:
        assert error.code == "no-space" and error.hint
    else:
        assert "full" in result.skipped[0].why
    assert archive.headers()[0] == []


def test_a_read_only_disk(disk: Path) -> None:
    archive = Archive(str(disk / "saved"), ROOM)
    archive.save([crash(1)])
    (disk / f"saved/.{crash(2).id}.gz.new").write_bytes(b"half")
    assert _mount("-o", f"remount,ro,{OPTIONS}", str(disk))
    for path in ("saved", "other/saved"):
        with pytest.raises(LastlogError) as caught:
            Archive(str(disk / path), ROOM).save([crash(2)])
        assert caught.value.code == "read-only" and "option archive" in caught.value.hint
    with pytest.raises(LastlogError) as caught:
        archive.delete([crash(1).id])
    assert caught.value.code == "read-only"
    records, problems = archive.headers()
    assert len(records) == 1 and "interrupted" in problems[0].what
    assert archive.holds(crash(1).id) and archive.save([crash(1)]).saved == [crash(1).id]
