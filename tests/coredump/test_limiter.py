"""limiter.py: how many crashes of one program are kept."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.coredump import limiter
from lastlog_py.coredump.limiter import ask
from lastlog_py.site import Site
from tests.machine import Machine

STATE = "/var/run/lastlog/cores"


def asked(site: Site, program: str, now: float, uid: int = 0, most: int = 5,
          seconds: int = 600) -> tuple[bool, int]:
    verdict = ask(site, program, uid, most, seconds, now)
    return verdict.keep, verdict.dropped


def test_five_in_ten_minutes_and_the_next_one_tells_of_the_others(machine: Machine) -> None:
    site = machine.site()
    assert [asked(site, "/sbin/x", 100 + at)[0] for at in range(8)] == [True] * 5 + [False] * 3
    assert asked(site, "/sbin/x", 699) == (False, 4)
    assert asked(site, "/sbin/x", 700.5) == (True, 4)
    assert asked(site, "/sbin/x", 702) == (True, 0)


def test_one_program_does_not_use_up_what_others_may_have(machine: Machine) -> None:
    site = machine.site()
    assert [asked(site, "/sbin/x", 1)[0] for _ in range(7)].count(True) == 5
    assert asked(site, "/sbin/y", 2) == (True, 0)
    assert asked(site, "/sbin/x", 2, uid=1000) == (True, 0)


def test_a_user_who_is_not_root_has_a_limit_over_all_programs(machine: Machine) -> None:
    site = machine.site()
    kept = [asked(site, f"/tmp/{at}", 1, uid=1000)[0] for at in range(100)]
    assert kept.count(True) == 20
    assert asked(site, "/sbin/x", 1) == (True, 0)


@pytest.mark.parametrize("before", [5000.0, 1e9])
def test_a_time_in_the_future_does_not_count(machine: Machine, before: float) -> None:
    """Left by another boot, where /var/run is no tmpfs."""
    site = machine.site()
    for _ in range(6):
        asked(site, "/sbin/x", before)
    assert asked(site, "/sbin/x", 50)[0]


def test_no_limit(machine: Machine) -> None:
    assert all(asked(machine.site(), "x", 1, most=0) == (True, 0) for _ in range(9))


def test_the_state_is_bounded_and_ours_alone(machine: Machine) -> None:
    site = machine.site()
    for at in range(200):
        asked(site, f"/sbin/{'x' * 600}\n{at}", 1)
        asked(site, f"/sbin/{at}\n5 1,2 0 /sbin/y", 1)
    file = machine.root / STATE[1:]
    assert len(file.read_bytes()) < limiter.MOST_FILE
    assert len(file.read_bytes().split(b"\n")) <= limiter.MOST_PROGRAMS
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert asked(site, "/sbin/y", 1) == (True, 0)


def test_without_a_place_for_it_everything_is_kept(machine: Machine) -> None:
    """A folder that others can write to, or a link, is not used."""
    folder = machine.root / "var/run/lastlog"
    elsewhere = machine.root / "elsewhere"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert all(asked(machine.site(), "x", 1) == (True, 0) for _ in range(9))
    folder.rmdir()
    elsewhere.mkdir(0o700)
    folder.symlink_to(elsewhere)
    assert all(asked(machine.site(), "x", 1) == (True, 0) for _ in range(9))
    folder.unlink()
    folder.mkdir(0o700)
    (folder / "cores").symlink_to(elsewhere / "file")
    assert all(asked(machine.site(), "x", 1) == (True, 0) for _ in range(9))
    assert os.listdir(elsewhere) == []


def test_handlers_take_turns(machine: Machine) -> None:
    site, kept = machine.site(), []

    def crash() -> None:
        kept.append(ask(site, "/sbin/x", 0, 5, 600).keep)

    threads = [threading.Thread(target=crash) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(kept) == [False] * 15 + [True] * 5


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_whatever_is_in_the_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    machine = Machine(Path(tmp_path_factory.mktemp("m")))
    machine.write(STATE, content).parent.chmod(0o700)
    results = [asked(machine.site(), "/sbin/x", 10)[0] for _ in range(6)]
    assert results == sorted(results, reverse=True) and results.count(True) <= 5


@pytest.mark.parametrize("line", ["0 nan,nan,nan,nan,nan 0 /x", "0 inf,inf,inf,inf,inf 0 /x",
                                  "x 1,1,1,1,1 0 /x", f"{'9' * 5000} 1 0 /x"])
def test_numbers_that_are_none(machine: Machine, line: str) -> None:
    machine.write(STATE, line).parent.chmod(0o700)
    assert asked(machine.site(), "/x", 10) == (True, 0)
