"""Crashes where they hurt: one on top of the other, before the harvest, in the middle of it."""

from __future__ import annotations

import pytest

from .scenario import Boot, Router
from .scenarios import MOMENTS

pytestmark = pytest.mark.qemu

CUT = "lab: crash of boot {}\n"


def of_boot(boot: Boot, number: int) -> list[str]:
    """The saved crashes that happened in the lab's boot `number`."""
    return [id for id, text in boot.archive.items() if CUT.format(number) in text]


def test_of_three_crashes_the_last_is_there_whole(unharvested: Router) -> None:
    boot = unharvested.last
    (crash,) = boot.crashes
    assert of_boot(boot, 4) == [crash["id"]]
    assert boot.archive[crash["id"]].count("lab: crash of boot") == 1
    assert "Kernel panic - not syncing: sysrq triggered crash\n" in boot.archive[crash["id"]]
    assert boot.reason == "panic"


def test_nothing_is_invented_about_boots_that_nobody_saw(unharvested: Router) -> None:
    boot = unharvested.last
    assert (boot.crashes[0]["boot"]["id"], boot.crashes[0]["boot"]["number"]) == (None, None)
    assert boot.crashes[0]["count"] == 1
    assert boot.json("list")["problems"] == []


def test_a_crash_before_the_harvest_costs_nothing(early: Router) -> None:
    boot = early.last
    assert of_boot(boot, 1) == [each["id"] for each in boot.crashes]
    assert boot.crashes[0]["boot"]["number"] == 1
    assert boot.reason == "panic"


# How the interrupted boots lie: boot 2 counts the operations, then pairs of an interrupted
# harvest of the crash before it and one that goes on.
PAIRS = [(2 * index + 3, at, key) for index, (at, key) in enumerate(MOMENTS)]
RESETS = [pair for pair in PAIRS if pair[2] == "b"]
PANICS = [pair for pair in PAIRS if pair[2] == "c"]


def was_saved(router: Router, at: str) -> bool:
    """Whether a harvest has put the crash into the archive before it is cut off at `at`."""
    every = router.boot(2).text("operations").splitlines()
    over, under = map(int, at.split("/"))
    return "rename lastlog_py.archive" in every[:len(every) * over // under - 1]


@pytest.mark.parametrize(("number", "at", "key"), PAIRS)
def test_the_harvest_was_cut_off(interrupted: Router, number: int, at: str, key: str) -> None:
    assert not (interrupted.boot(number).folder / "finished").exists()
    assert not (interrupted.boot(number).folder / "system").exists()


@pytest.mark.parametrize(("number", "at", "key"), RESETS)
def test_a_reset_in_the_harvest_loses_nothing(interrupted: Router, number: int, at: str,
                                              key: str) -> None:
    after = interrupted.boot(number + 1)
    (id,) = of_boot(after, number - 1)
    (crash,) = [each for each in after.crashes if each["id"] == id]
    assert (crash["state"], crash["source"]["torn"]) == ("saved", False)
    assert crash["kernel"]["reason"] == "panic"


@pytest.mark.parametrize(("number", "at", "key"), PANICS)
def test_a_panic_in_the_harvest_is_kept_too(interrupted: Router, number: int, at: str,
                                            key: str) -> None:
    after = interrupted.boot(number + 1)
    ours = [each for each in after.crashes if each["kernel"]["process"] == "lastlog"
            or each["kernel"]["process"].startswith("python")]
    assert [each["state"] for each in ours] == (PANICS.index((number, at, key)) + 1) * ["saved"]
    # Only the kernel overwrites the crash before, in the first slot, and only if it stood nowhere.
    if was_saved(interrupted, at):
        assert len(of_boot(after, number - 1)) == 1


@pytest.mark.parametrize(("number", "at", "key"), PAIRS)
def test_memory_is_free_afterwards(interrupted: Router, number: int, at: str, key: str) -> None:
    after = interrupted.boot(number + 1)
    assert {each["state"] for each in after.crashes} == {"saved"}
    assert not list(after.folder.glob("pstore/dmesg-*"))


def test_every_crash_is_there_once(interrupted: Router) -> None:
    boot = interrupted.last
    crashed = {1, 2, *(number + 1 for number, _, _ in PAIRS)}
    lost = {number - 1 for number, at, _ in PANICS if not was_saved(interrupted, at)}
    assert {number: len(of_boot(boot, number)) for number in crashed - lost} \
        == dict.fromkeys(crashed - lost, 1)
    assert len(boot.crashes) == len(boot.archive) == len(crashed - lost) + len(PANICS)
    assert boot.json("list")["problems"] == []


def test_one_panic_came_before_the_copy_stood_and_one_after(interrupted: Router) -> None:
    assert [was_saved(interrupted, at) for _, at, _ in PANICS] == [False, True]
