"""limiter.py: how many crashes of one program are kept."""

from __future__ import annotations

import hashlib
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

X = hashlib.sha256(b"/x").hexdigest()[:16]      # what a program is called there
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


def test_long_names_do_not_push_out_what_is_known(machine: Machine) -> None:
    """Of four bytes each, 512 characters once filled the file, and its newest rows were lost."""
    site = machine.site()
    paths = [f"/tmp/{at:02}/" + "\U0001f600" * 1000 for at in range(40)]
    kept = [asked(site, paths[at % 40], 1, uid=1000)[0] for at in range(200)]
    assert kept.count(True) == 20
    assert [asked(site, "/sbin/loop", 2, uid=1000)[0] for _ in range(50)].count(True) == 0


def test_names_that_are_made_up_push_out_no_other_users_program(machine: Machine) -> None:
    site = machine.site()
    for _ in range(50):
        asked(site, "/usr/sbin/hostapd", 1)
    for at in range(300):
        asked(site, f"/tmp/{at}", 2, uid=1000 + at % 3)
    assert asked(site, "/usr/sbin/hostapd", 3) == (False, 46)
    assert asked(site, "/usr/sbin/hostapd", 602) == (True, 46)


def test_a_user_with_names_without_end_keeps_the_limit_over_all(machine: Machine) -> None:
    site = machine.site()
    kept = [asked(site, f"/tmp/{at}", 1, uid=1000)[0] for at in range(500)]
    assert kept.count(True) == 20


def test_a_limit_beyond_what_can_be_counted(machine: Machine) -> None:
    kept = [asked(machine.site(), "/x", 1, most=10 ** 9)[0] for _ in range(300)]
    assert kept.count(True) == limiter.MOST_CRASHES


def test_turns(machine: Machine) -> None:
    """Nobody waits for ever, and a place that is not ours makes nobody wait."""
    site = machine.site()
    first = limiter.turn(site, 0.1)
    assert first >= 0 and limiter.turn(site, 0.1) == -1
    copy = os.dup(first)
    limiter.end_turn(first)
    again = limiter.turn(site, 0.1)
    assert again >= 0
    limiter.end_turn(again)
    os.close(copy)
    (machine.root / "var/run/lastlog").chmod(0o777)
    assert limiter.turn(site, 0.1) == -1


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


@pytest.mark.parametrize("line", [f"0 nan,nan,nan,nan,nan 0 {X}", f"0 inf,inf,inf,inf,inf 0 {X}",
                                  f"x 1,1,1,1,1 0 {X}", f"{'9' * 5000} 1 0 {X}"])
def test_numbers_that_are_none(machine: Machine, line: str) -> None:
    machine.write(STATE, line).parent.chmod(0o700)
    assert asked(machine.site(), "/x", 10) == (True, 0)
