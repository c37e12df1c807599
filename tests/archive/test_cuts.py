"""The process dies before any one system call of a save, of a clear, of a delete."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lastlog_py.archive import Archive
from lastlog_py.record import Record
from tests.archive.cut import cut, is_possible
from tests.archive.making import ROOM, crash, log, names

pytestmark = pytest.mark.skipif(not is_possible(), reason="processes may not be traced here")

SIZE = 400                                      # a record's, packed, roughly


class Machine:
    """An archive, and a directory that stands for the memory with the sources."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.memory = folder, folder / "memory"
        self.archive = Archive(str(folder / "lastlog/saved"), limit)

    def capture(self, records: Sequence[Record]) -> None:
        self.memory.mkdir()
        for record in records:
            (self.memory / record.id).write_text(record.text)

    def captured(self) -> list[str]:
        return names(self.memory)

    def save_and_clear(self, records: Sequence[Record]) -> None:
        self.archive.save([each for each in records if (self.memory / each.id).exists()])
        for record in records:
            if self.archive.holds(record.id):
                (self.memory / record.id).unlink(missing_ok=True)

    def whole(self, record: Record) -> bool:
        found = self.archive.load(record.id)
        return found.problem is None and found.record is not None and \
            found.record.text == record.text


def at_every_call(folder: Path, limit: int, prepare: Callable[[Machine], object],
                  step: Callable[[Machine], object], check: Callable[[Machine], object]) -> int:
    """How many cuts there were; after each, `check`."""
    cuts = 0
    while True:
        here = folder / "machine"
        here.mkdir()
        machine = Machine(here, limit)
        prepare(machine)
        was_cut = cut(lambda: step(machine), cuts + 1)  # noqa: B023
        check(machine)
        shutil.rmtree(here)
        if not was_cut:
            return cuts
        cuts += 1


def nothing_is_lost(machine: Machine, records: Sequence[Record], may_go: Sequence[Record]) -> None:
    """Each record is whole in one of the two places, and a second try makes it good."""
    listed, problems = machine.archive.headers()
    assert all(problem.severity == "info" for problem in problems), problems
    for record in records:
        assert (machine.whole(record) and record.id in [each.id for each in listed]) \
            or record.id in machine.captured() or record in may_go, record.title
    machine.save_and_clear(records)
    assert machine.captured() == [] and machine.archive.headers()[1] == []
    assert all(machine.whole(record) for record in records if record not in may_go)
    assert machine.archive.usage() <= machine.archive.limit


def test_the_first_save_and_clear_of_a_new_archive(tmp_path: Path) -> None:
    records = [crash(1), log(2)]
    cuts = at_every_call(
        tmp_path, ROOM, lambda machine: machine.capture(records),
        lambda machine: machine.save_and_clear(records),
        lambda machine: nothing_is_lost(machine, records, []))
    assert cuts > 60


def test_a_save_that_makes_room_and_sweeps_and_replaces(tmp_path: Path) -> None:
    old = [crash(number, "k1:same") for number in range(1, 4)]
    new = [crash(4), crash(5, "k1:same")]

    def prepare(machine: Machine) -> None:
        machine.archive.save(old)
        folder = Path(machine.archive.path)
        (folder / f".{new[0].id}.gz.new").write_bytes(b"half")
        whole = (folder / f"{old[0].id}.gz").read_bytes()
        (folder / f"{new[1].id}.gz").write_bytes(whole[:20])
        machine.archive.limit = machine.archive.usage() + len(whole)
        machine.capture(new)

    def check(machine: Machine) -> None:
        problems = machine.archive.headers()[1]
        damaged = [each for each in problems if each.severity != "info"]
        assert all(each.where.endswith(f"{new[1].id}.gz") for each in damaged)
        if damaged:                             # its source must be there then, and mends it
            machine.save_and_clear([new[1]])
        nothing_is_lost(machine, [*old, *new], may_go=old[1:])

    cuts = at_every_call(tmp_path, ROOM, prepare,
                         lambda machine: machine.save_and_clear(new), check)
    assert cuts > 100


def test_a_delete(tmp_path: Path) -> None:
    records = [crash(1), crash(2), log(3)]

    def check(machine: Machine) -> None:
        listed, problems = machine.archive.headers()
        assert problems == [] and machine.whole(records[1])
        assert machine.archive.delete([records[0].id, records[2].id]).deleted == [
            each.id for each in (records[0], records[2]) if each.id in [one.id for one in listed]]
        assert [each.id for each in machine.archive.headers()[0]] == [records[1].id]

    cuts = at_every_call(
        tmp_path, ROOM, lambda machine: machine.archive.save(records),
        lambda machine: machine.archive.delete([records[0].id, records[2].id]), check)
    assert cuts > 5
