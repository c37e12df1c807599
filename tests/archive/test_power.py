"""The power goes at any moment, also after the process was killed at any earlier one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from lastlog_py import archive as module
from lastlog_py import archive_folder
from lastlog_py.archive import Archive
from lastlog_py.record import Record
from tests.archive.making import ROOM, crash
from tests.archive.power import Change, Disk, Killed, Recorder, disks, lay_out, looks

SAVED = "lastlog/saved"


class Bench:
    """Runs the archive over a recorded disk and examines what a power cut leaves of it."""

    def __init__(self, folder: Path, limit: int = ROOM, may_go: Sequence[Record] = ()) -> None:
        self.folder, self.may_go = folder, may_go
        self.root = folder / "root"
        self.root.mkdir()
        self.archive = Archive(str(self.root / SAVED), limit)
        self.recorder = Recorder(self.root)
        self.changes = self.recorder.changes
        self.known: set[object] = set()

    def run(self, records: Sequence[Record], kill_at: int = -1, save: bool = True) -> None:
        """Save, or only ask what the archive holds, and erase the sources of that."""
        self.recorder.kill_at, self.recorder.dead = kill_at, False
        with pytest.MonkeyPatch.context() as patch:
            for each in (module, archive_folder):
                patch.setattr(each, "os", self.recorder)
            try:
                safe = self.archive.save(records).saved if save else [
                    each.id for each in records if self.archive.holds(each.id)]
                self.changes.extend(Change("erase", 0, id) for id in safe)
            except Killed:
                pass

    def erased(self, until: int | None = None) -> set[str]:
        return {each.name for each in self.changes[:until] if each.what == "erase"}

    def examine(self, records: Sequence[Record], until: int) -> None:
        """Every disk that the power cut after so many changes may leave."""
        erased = self.erased(until)
        for disk in disks(self.changes[:until]):
            seen = (looks(disk), frozenset(erased))
            if seen not in self.known:
                self.known.add(seen)
                self._nothing_is_lost(disk, records, erased)

    def _nothing_is_lost(self, disk: Disk, records: Sequence[Record], erased: set[str]) -> None:
        root = self.folder / "after"
        lay_out(disk, root)
        archive = Archive(str(root / SAVED), self.archive.limit)
        whole = {each.id for each in archive.headers()[0]}
        for record in records:
            assert record.id in whole or record.id not in erased or record in self.may_go
        archive.save([each for each in records if each.id not in erased])
        for record in records:
            found = archive.load(record.id)
            assert record in self.may_go or (found.record and found.record.text == record.text)
        shutil.rmtree(root)


def test_a_power_cut_during_the_first_save(tmp_path: Path) -> None:
    records = [crash(1), crash(2)]
    bench = Bench(tmp_path)
    bench.run(records)
    for until in range(len(bench.changes) + 1):
        bench.examine(records, until)
    assert bench.erased() == {each.id for each in records} and len(bench.known) > 50


def full(folder: Path, records: Sequence[Record]) -> Bench:
    """An archive with no room left, where the middle of five equal crashes has to go."""
    bench = Bench(folder, may_go=records[1:-1])
    bench.run(records[:3])
    bench.archive.limit = bench.archive.usage() + 100
    return bench


def test_a_power_cut_while_repeats_make_room(tmp_path: Path) -> None:
    records = [crash(number, "k1:same") for number in range(5)]
    bench = full(tmp_path, records)
    settled = len(bench.changes)
    bench.run(records[3:])
    for until in range(settled, len(bench.changes) + 1):
        bench.examine(records[:3] + records[3:], until)
    assert len(bench.known) > 30


@pytest.mark.parametrize("save", [True, False], ids=["saved again", "only asked for"])
def test_a_power_cut_after_a_save_was_killed_and(tmp_path: Path, save: bool) -> None:
    """What the killed one left in the page cache must not be taken for durable."""
    records, seen = [crash(1)], 0
    for kill_at in range(calls_until_the_erasing(tmp_path / "calm", records)):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        bench = Bench(folder)
        bench.run(records, kill_at)
        assert len(bench.changes) == kill_at and not bench.erased()
        bench.run(records, save=save)
        assert not save or len(bench.erased()) == 1
        for until in range(kill_at, len(bench.changes) + 1):
            bench.examine(records, until)
        seen += len(bench.known)
    assert seen > 50


def calls_until_the_erasing(folder: Path, records: Sequence[Record]) -> int:
    folder.mkdir()
    bench = Bench(folder)
    bench.run(records)
    return [each.what for each in bench.changes].index("erase")
