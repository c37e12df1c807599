"""archive_cores.py: cores beside records, within the same limit, and going before them."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastlog_py import archive_cores, archive_folder
from lastlog_py.archive import Archive
from lastlog_py.errors import LastlogError
from tests.archive.making import ROOM, crash, names
from tests.archive.test_disks import PAGE, disk, fill  # noqa: F401

ID, OTHER, THIRD = (f"c-00000000000{number}" for number in (1, 2, 3))


class Plain:
    """A core that does not get smaller when it is packed."""

    def __init__(self, size: int, seed: int = 1, fails: bool = False) -> None:
        self.size, self.fails = size, fails
        self.bytes = b"\x7fELF" + random.Random(seed).randbytes(size - 4)

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, self.size, 1000):
            if self.fails and at > self.size // 2:
                raise LastlogError("busy", "Time was up.")
            yield self.bytes[at:at + 1000]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(str(tmp_path / "lastlog/saved"), ROOM)


def keep(archive: Archive, id: str, size: int = 3000, program: str = "/x",
         **options: object) -> int:
    return archive_cores.save(archive.path, archive.limit, id,
                              Plain(size, **options), program)  # type: ignore[arg-type]


def test_a_core_beside_no_record_yet(archive: Archive) -> None:
    size = keep(archive, ID)
    path = Path(archive.path) / f"{ID}.core.gz"
    assert gzip.decompress(path.read_bytes()) == Plain(3000).bytes
    assert path.stat().st_mode & 0o7777 == 0o600 and path.parent.stat().st_mode & 0o7777 == 0o700
    assert path.stat().st_size == size == archive.usage()
    assert archive.cores()[ID] == (str(path), size) and archive.ids() == [ID]
    assert archive.headers() == ([], [])


def test_it_goes_with_its_record(archive: Archive) -> None:
    archive.save([crash(1), crash(2)])
    keep(archive, crash(1).id)
    keep(archive, crash(2).id)
    assert archive.delete([crash(1).id]).deleted == [crash(1).id]
    assert names(Path(archive.path)) == [f"{crash(2).id}.core.gz", f"{crash(2).id}.gz"]
    assert archive.delete([crash(2).id, OTHER]).kept[0].id == OTHER
    assert names(Path(archive.path)) == []


def test_a_core_alone_can_be_deleted(archive: Archive) -> None:
    keep(archive, ID)
    keep(archive, OTHER)
    assert archive.delete([ID]).deleted == [ID]
    archive.drop_cores([OTHER, THIRD])
    assert names(Path(archive.path)) == []
    archive.drop_cores([OTHER])


def test_all_cores_go_before_a_record_does(archive: Archive) -> None:
    """Those without a saved record first, then the oldest."""
    archive.save([crash(1)])
    keep(archive, crash(1).id)
    keep(archive, ID)
    keep(archive, OTHER)
    for at, id in enumerate((crash(1).id, ID, OTHER)):
        os.utime(f"{archive.path}/{id}.core.gz", (at, at))
    archive.limit = archive.usage()
    left = []
    for number in range(2, 6):
        assert archive.save([crash(number, size=2000)]).saved
        left.append(set(archive.cores()))
        assert archive.usage() <= archive.limit
    assert left[0] == {crash(1).id, OTHER} and left[1] == {crash(1).id}
    assert left[-1] == set() and len(archive.headers()[0]) == 5


def test_the_core_of_what_is_saved_just_now_goes_last(archive: Archive) -> None:
    keep(archive, crash(1).id)
    keep(archive, ID)
    os.utime(f"{archive.path}/{crash(1).id}.core.gz", (1, 1))
    archive.limit = archive.usage() + 100
    assert archive.save([crash(1)]).saved and set(archive.cores()) == {crash(1).id}


def test_older_cores_make_room_for_a_new_one_and_records_never(archive: Archive) -> None:
    archive.save([crash(1), crash(2)])
    taken = archive.usage()
    archive.limit = taken + archive_cores.RECORD_ROOM + 8000
    for id in (ID, OTHER, THIRD):
        keep(archive, id)
    assert len(archive.cores()) == 2 and len(archive.headers()[0]) == 2
    with pytest.raises(LastlogError, match="8000 bytes") as caught:
        keep(archive, "c-0123456789ab", size=9000)
    assert caught.value.code == "no-space" and "keep_core" in caught.value.hint
    assert len(archive.cores()) == 2 and len(names(Path(archive.path))) == 4
    keep(archive, "c-0123456789ab", size=7900)
    assert list(archive.cores()) == ["c-0123456789ab"]


def test_a_crash_loop_costs_its_own_cores_first(archive: Archive) -> None:
    records = [crash(number) for number in range(1, 6)]
    archive.save(records)
    archive.limit = archive.usage() + 12000
    ids = [record.id for record in records]
    keep(archive, ids[0], program="/usr/sbin/hostapd")
    for id in ids[1:]:
        keep(archive, id, size=5000, program="/tmp/loop")
    assert set(archive.cores()) == {ids[0], ids[4]}
    raw = (Path(archive.path) / archive_folder.core_name(ids[4])).read_bytes()
    assert gzip.decompress(raw) == Plain(5000).bytes and b"loop" not in raw[:64]


def test_symbols_make_room_for_no_core(archive: Archive) -> None:
    record = crash(1)
    archive.save([record])
    archive.lay_symbols(record.id, "x" * 5000)
    archive.limit = archive.usage() + archive_cores.RECORD_ROOM + 4000
    for id in (ID, OTHER):
        keep(archive, id)
    assert archive.symbols(record.id) and list(archive.cores()) == [OTHER]
    with pytest.raises(LastlogError, match="4000 bytes"):
        keep(archive, THIRD, size=6000)
    assert archive.symbols(record.id)


def test_a_lower_limit_costs_cores_first(archive: Archive) -> None:
    archive.save([crash(1)])
    taken = archive.usage()
    keep(archive, ID)
    archive.limit = taken + 10
    archive.save([crash(1)])
    assert archive.cores() == {} and archive.usage() == taken


def test_nothing_is_left_of_one_that_fails(archive: Archive) -> None:
    with pytest.raises(LastlogError, match="Time was up"):
        keep(archive, ID, fails=True)
    assert names(Path(archive.path)) == []


def test_what_a_cut_left_is_removed_by_the_next_core_and_the_next_save(archive: Archive) -> None:
    keep(archive, ID)
    left = Path(archive.path) / f".{OTHER}.core.gz.new"
    half = (Path(archive.path) / f"{ID}.core.gz").read_bytes()[:1000]
    for go_on in (lambda: keep(archive, THIRD), lambda: archive.save([crash(1)])):
        left.write_bytes(half)
        assert "interrupted half-written" in archive.headers()[1][0].what
        assert archive.usage() > 1000
        go_on()
        assert not left.exists() and archive.headers()[1] == []


@pytest.mark.parametrize("content", [gzip.compress(b"a text of somebody's"), None])
@pytest.mark.parametrize("name", [f"{ID}.core.gz", f".{ID}.core.gz.new"])
def test_what_is_not_a_core_stays(archive: Archive, name: str, content: bytes | None) -> None:
    os.makedirs(archive.path, 0o700)
    path = Path(archive.path) / name
    path.write_bytes(content) if content else path.mkdir()
    assert archive.cores() == {} and "not lastlog's" in archive.headers()[1][0].what
    with pytest.raises(LastlogError, match="is in the way"):
        keep(archive, ID)
    assert archive.delete([ID]).deleted == [] and archive.ids() == []
    assert path.is_dir() if content is None else path.read_bytes() == content


def test_links_are_not_followed(archive: Archive, tmp_path: Path) -> None:
    os.makedirs(archive.path, 0o700)
    target = tmp_path / "target"
    target.write_bytes(b"theirs")
    for name in (f"{ID}.core.gz", f".{ID}.core.gz.new"):
        (Path(archive.path) / name).symlink_to(target)
        with pytest.raises(LastlogError, match="is in the way"):
            keep(archive, ID)
        (Path(archive.path) / name).unlink()
    assert target.read_bytes() == b"theirs"


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_directory_that_others_may_write_to(archive: Archive, mode: int) -> None:
    os.makedirs(archive.path)
    os.chmod(archive.path, mode)
    with pytest.raises(LastlogError, match="Others than root may write"):
        keep(archive, ID)
    assert names(Path(archive.path)) == []


def test_a_file_system_without_modes(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """As vfat: what was opened with 0600 is there for everybody."""
    monkeypatch.setattr(archive_cores.os, "fchmod", lambda file, mode: os.chmod(file, 0o755))
    with pytest.raises(LastlogError, match="keeps no modes"):
        keep(archive, ID)
    assert names(Path(archive.path)) == []


def test_what_reads_back_different(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_cores, "_read_back", lambda file: 0)
    with pytest.raises(LastlogError, match="reads back different"):
        keep(archive, ID)
    assert names(Path(archive.path)) == []


def test_a_drive_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_folder, "MOUNTS", (str(tmp_path / "mnt"),))
    with pytest.raises(LastlogError, match="Nothing is mounted"):
        keep(Archive(str(tmp_path / "mnt/sda1/saved"), ROOM), ID)
    assert not (tmp_path / "mnt").exists()


def test_a_full_disk(disk: Path) -> None:  # noqa: F811
    """Older cores go for a new one, records do not; without any the error says so."""
    archive = Archive(str(disk / "saved"), ROOM)
    archive.save([crash(1)])
    fill(disk, 1)
    with pytest.raises(LastlogError, match="no space left"):
        keep(archive, ID, size=3 * PAGE)
    assert names(disk / "saved") == [f"{crash(1).id}.gz"]
    (disk / "filler").unlink()
    keep(archive, ID, size=3 * PAGE)
    fill(disk, 1)
    keep(archive, OTHER, size=3 * PAGE - 200)
    assert set(archive.cores()) == {OTHER} and archive.holds(crash(1).id)


def test_a_full_disk_costs_cores_before_records(disk: Path) -> None:  # noqa: F811
    archive = Archive(str(disk / "saved"), ROOM)
    archive.save([crash(1)])
    keep(archive, ID, size=3 * PAGE)
    fill(disk, 1)
    assert archive.save([crash(2, size=2 * PAGE)]).saved
    assert archive.cores() == {} and len(archive.headers()[0]) == 2


def test_a_read_only_disk_keeps_none(disk: Path) -> None:  # noqa: F811
    archive = Archive(str(disk / "saved"), ROOM)
    keep(archive, OTHER)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(LastlogError) as caught:
        keep(archive, ID)
    assert caught.value.code == "read-only" and set(archive.cores()) == {OTHER}
