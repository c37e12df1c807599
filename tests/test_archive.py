"""archive.py: the directory of saved records, and what can be wrong with it."""

from __future__ import annotations

import errno
import gzip
import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastlog_py import archive as module
from lastlog_py import archive_folder, locks
from lastlog_py.archive import Archive
from lastlog_py.errors import LastlogError
from lastlog_py.record import Problem, Record
from tests.archive.making import ROOM, crash, log, names, titles


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(str(tmp_path / "lastlog/saved"), ROOM)


def file_of(archive: Archive, record: Record) -> Path:
    return Path(archive.path) / f"{record.id}.gz"


def test_a_saved_record_comes_back_whole(archive: Archive) -> None:
    record = crash(1, "k1:x", raw=b"\0\1")
    assert archive.save([record]) == ([record.id], [])
    seen = {"first_seen": record.time, "last_seen": record.time, "state": "saved"}
    assert archive.load(record.id) == (record._replace(**seen), None)
    assert archive.headers() == ([record._replace(**seen, text="", raw=None)], [])
    assert archive.holds(record.id) and archive.ids() == [record.id]
    assert archive.usage() == file_of(archive, record).stat().st_size


def test_only_root_can_read_it(archive: Archive) -> None:
    archive.save([crash(1)])
    assert file_of(archive, crash(1)).stat().st_mode & 0o777 == 0o600
    assert os.stat(archive.path).st_mode & 0o777 == 0o700


def test_newest_first_however_they_came(archive: Archive) -> None:
    archive.save([crash(3), log(1), crash(2)])
    archive.save([crash(0), crash(9)])
    assert titles(archive) == ["crash 9", "crash 3", "crash 2", "", "crash 0"]


def test_nothing_there_yet_is_no_problem(archive: Archive) -> None:
    assert archive.headers() == ([], []) and archive.usage() == 0 and archive.ids() == []
    assert archive.load("k-1") == (None, None) and not archive.holds("k-1")
    assert archive.delete(["k-1"]) == ([], [("k-1", "is not in the archive")])
    assert archive.save([]) == ([], []) and not os.path.exists(archive.path)


def test_saving_again_writes_nothing(archive: Archive) -> None:
    archive.save([crash(1), crash(2)])
    before = [path.stat() for path in sorted(Path(archive.path).iterdir())]
    assert archive.save([crash(2), crash(1), crash(2)]).saved == [crash(2).id, crash(1).id]
    after = [path.stat() for path in sorted(Path(archive.path).iterdir())]
    assert [(each.st_ino, each.st_mtime_ns) for each in before] == [
        (each.st_ino, each.st_mtime_ns) for each in after]


def test_equal_records_make_equal_files(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        archive = Archive(str(tmp_path / name), ROOM)
        archive.save([crash(1, "k1:x")])
        files.append(file_of(archive, crash(1)).read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("spoil", [
    lambda whole: b"", lambda whole: whole[:30], lambda whole: whole[:-1],
    lambda whole: bytes(len(whole)), lambda whole: whole[:99] + b"\xff\0" + whole[101:],
    lambda whole: b"lastlog record 1\n"], ids=["empty", "head", "end", "zeros", "rot", "foreign"])
def test_a_damaged_file_is_a_problem_and_is_replaced(
        archive: Archive, spoil: Callable[[bytes], bytes]) -> None:
    archive.save([crash(1), crash(2)])
    whole = file_of(archive, crash(1)).read_bytes()
    file_of(archive, crash(1)).write_bytes(spoil(whole))
    records, problems = archive.headers()
    assert [each.title for each in records] == ["crash 2"] and len(problems) == 1
    assert problems[0].where == str(file_of(archive, crash(1))) and "lastlog " in problems[0].what
    assert archive.load(crash(1).id).problem and not archive.holds(crash(1).id)
    assert archive.ids() == sorted([crash(1).id, crash(2).id])
    assert archive.save([crash(1)]).saved == [crash(1).id]
    assert archive.holds(crash(1).id) and archive.headers()[1] == []


def test_what_is_left_of_a_torn_record_is_shown(archive: Archive) -> None:
    archive.save([crash(1, size=9000)])
    whole = crash(1, size=9000)
    file_of(archive, whole).write_bytes(file_of(archive, whole).read_bytes()[:4000])
    record, problem = archive.load(whole.id)
    assert record and problem and record.source.truncated and record.title == "crash 1"
    assert len(record.text) > 2000 and whole.text.startswith(record.text)


def test_other_files_are_reported_and_left_alone(archive: Archive) -> None:
    archive.save([crash(1)])
    folder = Path(archive.path)
    (folder / "no\nte.txt").write_text("mine")
    (folder / f".{crash(2).id}.gz.new").write_bytes(b"half")
    (folder / "k-dir.gz").mkdir()
    (folder / "k-link.gz").symlink_to("/etc/passwd")
    os.mkfifo(folder / "k-pipe.gz")
    file_of(archive, crash(1)).with_name("k-00000000c0b1.gz").write_bytes(
        file_of(archive, crash(1)).read_bytes())
    records, problems = archive.headers()
    assert [each.title for each in records] == ["crash 1"]
    said = "\n".join(each.what for each in problems)
    assert "4 files here are not lastlog's" in said and f"holds {crash(1).id}" in said
    assert "interrupted" in said and "no\nte" not in said
    archive.save([crash(2)])
    assert f".{crash(2).id}.gz.new" not in names(folder) and len(names(folder)) == 7


def test_a_relative_path_and_a_place_of_its_own(tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drive/lost+found").mkdir(parents=True)
    for path in ("saved", "drive/"):
        archive = Archive(path, ROOM)
        assert archive.save([crash(1)]).saved == [crash(1).id]
        assert archive.headers()[1] == []
    assert names(tmp_path) == ["drive", "saved"]


def test_a_file_system_without_locks(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.save([crash(1)])
    file_of(archive, crash(1)).with_name(".k-000000000001.gz.new").touch()

    def fails(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", fails)
    records, problems = archive.headers()
    assert len(records) == 1 and "interrupted" in problems[0].what
    with pytest.raises(LastlogError, match="No locks available"):
        archive.save([crash(2)])


def test_a_name_taken_by_a_directory(archive: Archive) -> None:
    archive.save([crash(1)])
    file_of(archive, crash(2)).mkdir()
    with pytest.raises(LastlogError, match="in the way"):
        archive.save([crash(2)])
    assert archive.save([crash(2), crash(4)]).saved == [crash(4).id]     # the first is in the way
    result = archive.save([crash(0), crash(2), crash(3)])
    assert result.saved == [crash(0).id, crash(3).id] and result.skipped[0].id == crash(2).id
    assert archive.headers()[1] and all(".new" not in name for name in names(Path(archive.path)))


def test_a_newer_file_is_not_overwritten(archive: Archive) -> None:
    archive.save([crash(1)])
    plain = zlib.decompress(file_of(archive, crash(1)).read_bytes(), 31)
    newer = zlib.compress(plain.replace(b"record 1", b"record 2"), wbits=31)
    file_of(archive, crash(1)).write_bytes(newer)
    assert "newer lastlog" in archive.headers()[1][0].what
    assert "newer lastlog" in archive.save([crash(1)]).skipped[0].why
    assert file_of(archive, crash(1)).read_bytes() == newer


@pytest.mark.parametrize("name", ["../k-1", "K", "", "a" * 41])
def test_an_id_that_is_no_file_name(archive: Archive, name: str) -> None:
    result = archive.save([crash(1)._replace(id=name), crash(2)])
    assert result.saved == [crash(2).id] and "cannot be a file's name" in result.skipped[0].why
    assert archive.load(name) == (None, None) and not archive.holds(name)
    assert archive.delete([name, crash(2).id]) == ([crash(2).id], [(name, "is not in the archive")])


def test_a_record_that_is_too_large_for_any_reader(archive: Archive) -> None:
    result = archive.save([crash(1)._replace(text="\n" * (5 << 20))])
    assert "larger than 4 MiB" in result.skipped[0].why and archive.usage() == 0


def test_the_limit_says_its_sizes(archive: Archive) -> None:
    archive.limit = 500
    result = archive.save([crash(1, size=9000)])
    assert result.saved == [] and "of 500, 0 are" in result.skipped[0].why
    assert "archive_limit" in result.skipped[0].why


def test_what_made_room_within_one_save_is_not_said_to_be_saved(archive: Archive) -> None:
    archive.save([crash(100, size=3000)])
    archive.limit = archive.usage() + 1500
    crashes = [crash(number, "k1:x") for number in range(6)]
    result = archive.save(crashes)
    assert set(result.saved) | {each.id for each in result.skipped} == {x.id for x in crashes}
    assert all(map(archive.holds, result.saved)) and len(result.saved) == 2
    assert titles(archive) == ["crash 100", "crash 5", "crash 0"]
    assert archive.headers()[0][-1].count == 6
    again = archive.save(crashes)
    assert again.saved == result.saved and titles(archive) == ["crash 100", "crash 5", "crash 0"]


def test_a_lower_limit_holds_from_the_next_save(archive: Archive) -> None:
    archive.save([log(number) for number in range(5)])
    archive.limit = archive.usage() // 2
    assert archive.save([log(4)]).saved == [log(4).id]
    assert archive.usage() <= archive.limit and archive.holds(log(4).id)


# A directory that cannot be written

def test_a_dangling_symlink(tmp_path: Path) -> None:
    (tmp_path / "usb").symlink_to("/nowhere/sda1")
    for path in (tmp_path / "usb", tmp_path / "usb/lastlog"):
        archive = Archive(str(path), ROOM)
        with pytest.raises(LastlogError, match="points to /nowhere/sda1") as caught:
            archive.save([crash(1)])
        assert caught.value.code == "io" and "option archive" in caught.value.hint
        assert "points to /nowhere/sda1" in archive.headers()[1][0].what


@pytest.mark.parametrize("path", ["mnt/sda1", "mnt/sda1/lastlog", "mnt/sdb1/lastlog"])
def test_a_drive_that_is_not_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                     path: str) -> None:
    monkeypatch.setattr(archive_folder, "MOUNTS", (str(tmp_path / "mnt"),))
    (tmp_path / "mnt/sda1").mkdir(parents=True)
    archive = Archive(str(tmp_path / path), ROOM)
    with pytest.raises(LastlogError, match="Nothing is mounted at") as caught:
        archive.save([crash(1)])
    assert caught.value.code == "io" and "drive" in caught.value.hint
    assert archive.headers()[0] == [] and "mounted" in archive.headers()[1][0].what
    assert list((tmp_path / "mnt/sda1").iterdir()) == []


@pytest.mark.parametrize("path", ["file", "file/saved"])
def test_a_file_in_its_place(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("mine")
    archive = Archive(str(tmp_path / path), ROOM)
    for write in (lambda: archive.save([crash(1)]), lambda: archive.delete(["k-1"])):
        with pytest.raises(LastlogError, match="no directory"):
            write()
    records, problems = archive.headers()
    assert records == [] and problems[0].severity == "error"


@pytest.mark.parametrize(("number", "code"), [
    (errno.EACCES, "io"), (errno.EIO, "io"), (errno.EROFS, "read-only")])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_fault_loses_nothing(archive: Archive, monkeypatch: pytest.MonkeyPatch, call: str,
                               number: int, code: str) -> None:
    archive.save([crash(1, "k1:x"), crash(2, "k1:x"), crash(3, "k1:x")])
    archive.limit = archive.usage()                 # so that another one would push one out
    before = titles(archive)

    def fails(*arguments: Any, **named: Any) -> Any:
        if call != "open" or (isinstance(arguments[0], str) and ".new" in arguments[0]):
            raise OSError(number, os.strerror(number))
        return real(*arguments, **named)

    real = getattr(os, call)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        with pytest.raises(LastlogError) as caught:
            archive.save([crash(4, "k1:x")])
    assert caught.value.code == code and caught.value.hint
    assert titles(archive) == before and archive.headers()[1] == []
    assert archive.save([crash(4, "k1:x")]).saved == [crash(4).id]


def test_what_reads_back_different_is_not_saved(archive: Archive,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: real(file, bytes(len(data))))
        with pytest.raises(LastlogError, match="reads back different"):
            archive.save([crash(1)])
    assert names(Path(archive.path)) == []


def test_an_unreadable_file_is_a_problem(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.save([crash(1)])

    def fails(*_: Any) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "read", fails)
    assert "Input/output error" in archive.headers()[1][0].what
    assert "Input/output error" in str(archive.load(crash(1).id).problem)
    assert not archive.holds(crash(1).id)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_no_permission(tmp_path: Path) -> None:
    archive = Archive(str(tmp_path / "saved"), ROOM)
    archive.save([crash(1)])
    child = os.fork()
    if child == 0:
        os.chmod(tmp_path, 0o755)
        os.setuid(65534)
        records, problems = archive.headers()
        try:
            archive.save([crash(2)])
        except LastlogError as error:
            good = error.code == "io" and "no permission" in error.message
            os._exit(0 if good and not records and "no permission" in problems[0].what else 2)
        os._exit(3)
    assert os.waitpid(child, 0)[1] == 0


FOREIGN = gzip.compress(bytes(50_000) + b"mine")


@pytest.mark.parametrize(("name", "content"), [
    ("backup-2026.gz", FOREIGN), ("photos.gz", FOREIGN), ("2026-01-01.gz", b"noise"),
    ("Holiday.gz", FOREIGN), ("1-0123456789ab.gz", b"noise"), ("k-0123456789AB.gz", b"noise"),
    ("k-0123456789ab.gz.gz", b"noise"), (f"k-{'0' * 33}.gz", b"noise"),
    ("k-0123456789ab.gz", FOREIGN), ("k-0123456789ab.gz", FOREIGN[:60]),
    ("k-0123456789ab.gz", gzip.compress(b"")), ("k-0123456789ab.gz", gzip.compress(b"lastlog")),
    (".k-0123456789ab.gz.new", FOREIGN)])
def test_a_strangers_file_is_not_counted_evicted_or_deleted(
        archive: Archive, name: str, content: bytes) -> None:
    archive.save([crash(1)])
    archive.limit = archive.usage()
    stranger = Path(archive.path) / name
    stranger.write_bytes(content)
    assert archive.usage() == archive.limit and archive.ids() == [crash(1).id]
    said = f"1 file here is not lastlog's and is left alone: {name}"
    assert archive.headers()[1] == [Problem(archive.path, said, "info")]
    id = name.removesuffix(".gz")
    assert archive.load(id) == (None, None) and not archive.holds(id)
    assert archive.delete([id]) == ([], [(id, "is not in the archive")])
    archive.save([crash(2), crash(3)])
    assert archive.delete(archive.ids()).deleted and stranger.read_bytes() == content


@pytest.mark.parametrize("content", [random.Random(1).randbytes(5000), b"", FOREIGN[:12]],
                         ids=["noise", "empty", "only gzip's header"])
def test_what_cannot_be_unpacked_under_a_records_name_is_damaged(archive: Archive,
                                                                 content: bytes) -> None:
    archive.save([crash(1)])
    before = archive.usage()
    damaged = Path(archive.path) / "k-0123456789ab.gz"
    damaged.write_bytes(content)
    assert archive.ids() == sorted(["k-0123456789ab", crash(1).id])
    assert archive.usage() == before + len(content)
    assert "lastlog clear --saved k-0123456789ab" in archive.headers()[1][0].what
    assert archive.delete(["k-0123456789ab"]).deleted and not damaged.exists()


def test_a_huge_file_counts_with_all_its_bytes(archive: Archive) -> None:
    archive.save([crash(1)])
    with open(Path(archive.path) / "k-0123456789ab.gz", "wb") as file:
        file.truncate(5 << 30)
    assert archive.usage() > 5 << 30
    archive.save([crash(2)])
    assert archive.usage() <= archive.limit and sorted(archive.ids()) == sorted(
        [crash(1).id, crash(2).id])


OBSTACLES: dict[str, Callable[[Path], object]] = {
    "directory": Path.mkdir, "symlink": lambda path: path.symlink_to("/nowhere/victim"),
    "pipe": os.mkfifo, "foreign": lambda path: path.write_bytes(FOREIGN)}


@pytest.mark.parametrize("name", ["{}.gz", ".{}.gz.new"])
@pytest.mark.parametrize("make", OBSTACLES.values(), ids=OBSTACLES)
def test_what_is_in_the_way_stays_and_stops_no_other_record(
        archive: Archive, make: Callable[[Path], object], name: str) -> None:
    os.makedirs(archive.path)
    obstacle = Path(archive.path) / name.format(crash(1).id)
    make(obstacle)
    before = obstacle.lstat()
    result = archive.save([crash(1), crash(2), crash(3)])
    assert result.saved == [crash(2).id, crash(3).id]
    assert [each.id for each in result.skipped] == [crash(1).id]
    assert f"{obstacle} is in the way" in result.skipped[0].why
    with pytest.raises(LastlogError, match="in the way") as caught:
        archive.save([crash(1)])
    assert caught.value.code == "io" and "Move it" in caught.value.hint
    assert obstacle.lstat().st_ino == before.st_ino and len(names(Path(archive.path))) == 3


@pytest.mark.parametrize("at", ["{}.gz", ".{}.gz.new"])
def test_what_gets_in_the_way_meanwhile_stays_too(
        archive: Archive, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    os.makedirs(archive.path)
    obstacle = Path(archive.path) / at.format(crash(1).id)
    obstacle.mkdir()
    monkeypatch.setattr(module, "is_there", lambda *_: False)
    with pytest.raises(LastlogError, match=f"{obstacle.name} is in the way"):
        archive.save([crash(1)])
    assert names(Path(archive.path)) == [obstacle.name]


def test_a_fault_is_raised_only_when_every_record_was_tried(
        archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def fails(folder: int, name: str, packed: bytes) -> None:
        tried.append(name)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module, "_write", fails)
    with pytest.raises(LastlogError, match="Input/output error"):
        archive.save([crash(1), crash(2)])
    assert tried == [f"{crash(1).id}.gz", f"{crash(2).id}.gz"]


def test_a_passing_fault_of_the_medium_costs_no_record(archive: Archive,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read now may be whole: it is reported, but not evicted as damaged."""
    archive.save([crash(1)])
    failing, read = f"{crash(1).id}.gz", module._read

    def faulty(folder: int, name: str, *most: int) -> bytes:
        if name == failing:
            raise OSError(errno.EIO, "Input/output error")
        return read(folder, name, *most)

    archive.limit = archive.usage() + 10
    with monkeypatch.context() as patch:
        patch.setattr(module, "_read", faulty)
        assert archive.save([crash(2)]).saved == []
        assert any(failing in problem.where for problem in archive.headers()[1])
    assert [record.title for record in archive.headers()[0]] == ["crash 1"]
