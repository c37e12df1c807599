"""The boot ledger: lines, the file, why a router rebooted, the history in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py import ledger
from lastlog_py.errors import LastlogError
from lastlog_py.ledger import BootEntry


def boot(number: int = 1, **fields: object) -> BootEntry:
    entry = BootEntry(f"boot-{number}", number)
    for name, value in fields.items():
        setattr(entry, name, value)
    return entry


def fields(entry: BootEntry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in BootEntry.__slots__}


FULL = {"time": 1.75e9, "trusted": True, "uptime": 14.25, "firmware": "24.10.2 r28739",
        "kernel": "6.6.93", "memory": "journal", "reason": "panic", "signature": "k1:0123",
        "records": ["k-9f31c2d08a44", "k-9f31c2d08a45"], "end": "clean", "end_uptime": 5000.5}


@pytest.mark.parametrize("given_fields", [{}, FULL, {"firmware": "a\tb\nc"}, {"trusted": True}])
def test_a_line_gives_the_boot_back(given_fields: dict[str, object]) -> None:
    entry = boot(7, **given_fields)
    line = ledger.to_line(entry)
    assert "\n" not in line
    back = ledger.parse(line + "\n")
    assert back is not None
    entry.firmware = entry.firmware.replace("\t", "").replace("\n", "")
    assert fields(back) == fields(entry)


@pytest.mark.parametrize("line", ["", "# a comment", "n=x\tid=a", "n=1", "n=1\tid=", "n=-1\tid=a",
                                  "n=9999999999999999\tid=a", "n=²\tid=a", "\t\t=\t="])
def test_what_is_no_line(line: str) -> None:
    assert ledger.parse(line) is None


@pytest.mark.parametrize("piece", ["up=nan", "up=-1", "up=1e300", "up=x", "reason=hungry", "time="])
def test_what_makes_no_sense_is_left_out(piece: str) -> None:
    entry = ledger.parse(f"n=1\tid=a\t{piece}")
    assert entry is not None
    assert (entry.uptime, entry.time, entry.reason) == (None, None, "")


@given(st.text())
def test_any_text_is_a_line_or_none(text: str) -> None:
    entry = ledger.parse(text)
    if entry is not None:
        again = ledger.parse(ledger.to_line(entry))
        assert again is not None
        assert fields(again)["id"] == entry.id


def test_the_file_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "boots"
    ledger.write(str(path), [boot(n) for n in range(1, 101)])
    known = ledger.load(str(path))
    assert [entry.number for entry in known] == list(range(101 - ledger.KEEP, 101))
    assert path.read_text().startswith("# ")
    assert [each.name for each in path.parent.iterdir()] == ["boots"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_longest_lines_fit_into_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "boots"
    long = "x" * 500
    ledger.write(str(path), [boot(n, firmware=long, kernel=long, signature=long,
                                  records=[long] * 20) for n in range(1, 101)])
    assert len(ledger.load(str(path))) == ledger.KEEP


def test_no_file_no_boots(tmp_path: Path) -> None:
    assert ledger.load(str(tmp_path / "none")) == []
    assert ledger.load(str(tmp_path)) == []


def test_garbage_in_the_file_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "boots"
    path.write_bytes(b"\xff\0junk\n" + ledger.to_line(boot(3)).encode() + b"\n\x80\nn=4\tid=cut")
    assert [entry.number for entry in ledger.load(str(path))] == [3, 4]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LastlogError) as told:
        ledger.write(str(tmp_path / "file" / "boots"), [boot()])
    assert "boots cannot be noted" in told.value.message and told.value.hint


def test_flash_and_memory_complete_each_other() -> None:
    flash = [boot(1, end="clean", end_uptime=9.0), boot(2, reason="clean")]
    memory = [boot(2, firmware="1"), boot(3)]
    both = ledger.merged(flash, memory)
    assert [(each.number, each.reason, each.end, each.firmware) for each in both] == [
        (1, "", "clean", ""), (2, "clean", "", "1"), (3, "", "", "")]


@pytest.mark.parametrize(("previous", "survived", "watchdog", "reason"), [
    (None, None, 0, "unknown"), (None, True, 0, "unknown"),
    (boot(end="clean"), None, 0, "clean"), (boot(end="clean"), False, 0, "clean"),
    (boot(), True, 0, "hang"), (boot(), False, 0, "power-loss"), (boot(), None, 0, "unknown"),
    (boot(), False, 0x20, "hang"), (boot(), None, 0x20, "hang"),
    (boot(), False, 0x10, "power-loss"),
    (boot(end="clean"), True, 0x20, "clean")])
def test_why(previous: BootEntry | None, survived: bool | None, watchdog: int,
             reason: str) -> None:
    assert ledger.why(previous, survived, watchdog) == reason


def ends(*reasons: str, **last: object) -> list[BootEntry]:
    return [boot(1), *(boot(n, reason=reason, **last) for n, reason in enumerate(reasons, 2))]


@pytest.mark.parametrize(("boots", "text"), [
    ([], ""), ([boot(1, reason="unknown")], ""),
    (ends("clean"), "1 boot: 1 clean"),
    (ends("clean", "panic", "clean"), "3 boots: 2 clean, 1 panic"),
    (ends("hang", "hang", "power-loss", "oom"),
     "4 boots: 1 out of memory, 2 hangs or resets, 1 power loss")])
def test_history(boots: list[BootEntry], text: str) -> None:
    assert ledger.history(boots) == text


def test_a_repeated_crash_in_the_history() -> None:
    boots = ends(*["clean"] * 9, "panic", "panic", "power-loss", signature="k1:1",
                 firmware="24.10.2 r28739")
    assert ledger.history(boots) == ("12 boots: 9 clean, 2 panics with the same signature since "
                                     "24.10.2, 1 power loss")
    boots[-2].signature = "k1:2"
    assert "2 panics, 1 power loss" in ledger.history(boots)
