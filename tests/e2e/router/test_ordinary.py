"""Every way to reboot, once, on a router that has nothing wrong with it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .scenario import Router

pytestmark = pytest.mark.qemu

# boot that looks, reason, a word of what it is told with
REASONS = [(1, "unknown", "first boot"), (2, "clean", "properly"), (3, "panic", "sysrq"),
           (4, "panic", "version_proc_show"), (5, "oom", "memory"), (6, "hang", "a hang"),
           (7, "power-loss", "Power was lost")]
# boot that looks, cause, dumps of that crash: an oops that becomes a panic is two
CRASHES = [(3, "sysrq", 1), (4, "null-pointer", 2), (5, "oom", 1)]


@pytest.mark.parametrize(("number", "reason", "word"), REASONS)
def test_the_reason_of_the_last_reboot(ordinary: Router, number: int, reason: str,
                                       word: str) -> None:
    told = ordinary.boot(number).json("status")["last_reboot"]
    assert told["reason"] == reason
    assert word in told["text"]


@pytest.mark.parametrize(("number", "reason", "word"), REASONS)
def test_one_line_of_it_in_the_system_log(ordinary: Router, number: int, reason: str,
                                          word: str) -> None:
    said = [line for line in ordinary.boot(number).text("syslog").splitlines()
            if " lastlog: " in line]
    assert len(said) == 1
    assert word in said[0]


@pytest.mark.parametrize("number", range(1, 8))
def test_it_is_armed_at_every_boot(ordinary: Router, number: int) -> None:
    boot = ordinary.boot(number)
    assert boot.json("status")["armed"] is True
    assert [each for each in boot.check.values() if each["state"] == "fail"] == []


@pytest.mark.parametrize(("number", "cause", "dumps"), CRASHES)
def test_a_crash_is_saved_whole(ordinary: Router, number: int, cause: str, dumps: int) -> None:
    boot = ordinary.boot(number)
    new = [each for each in boot.crashes if each["boot"]["number"] == number - 1]
    assert [(each["state"], each["kernel"]["cause"]) for each in new] == dumps * [("saved", cause)]
    for each in new:
        assert f"lab: crash of boot {number - 1}\n" in boot.archive[each["id"]]
        assert not each["source"]["truncated"]


@pytest.mark.parametrize(("number", "cause", "dumps"), CRASHES)
def test_a_crash_carries_the_boot_that_crashed(ordinary: Router, number: int, cause: str,
                                               dumps: int) -> None:
    boot = ordinary.boot(number).crashes[0]["boot"]
    before = ordinary.boot(number).json("status")["history"]["boots"][1]
    assert (boot["id"], boot["number"]) == (before["id"], number - 1)
    assert boot["firmware"] == "24.10.2 r28739-d9340319c6"
    assert boot["kernel"].startswith("6.1.")


@pytest.mark.parametrize("number", [3, 4, 5])
def test_memory_is_free_for_the_next_crash(ordinary: Router, number: int) -> None:
    boot = ordinary.boot(number)
    assert not [path.name for path in boot.folder.glob("pstore/dmesg-*")]
    assert boot.json("status")["captured"] == 0


@pytest.mark.parametrize(("number", "crash"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 0),
                                               (7, 0)])
def test_scripts_hear_of_a_crash_once(ordinary: Router, number: int, crash: int) -> None:
    boot = ordinary.boot(number)
    assert [kind for kind, _ in boot.events] == crash * ["lastlog.crash"]
    assert boot.text("hotplug.events").count("ACTION=crash\n") == crash


@pytest.mark.parametrize("number", [3, 4, 5])
def test_what_scripts_hear(ordinary: Router, number: int) -> None:
    boot = ordinary.boot(number)
    newest = boot.crashes[0]
    ((_, message),) = boot.events
    told = dict(line.split("=", 1) for line in boot.text("hotplug.events").splitlines() if line)
    assert told == {"ACTION": "crash", "HOTPLUG_TYPE": "lastlog", "KIND": "kernel",
                    "RECORD": newest["id"], "SIGNATURE": newest["signature"],
                    "TITLE": newest["title"]}
    assert (message["id"], message["title"]) == (newest["id"], newest["title"])
    assert "text" not in message


def test_a_second_harvest_changes_nothing(ordinary: Router) -> None:
    again = ordinary.boot(4).json("again")
    assert (again["reason"], again["saved"], again["moved"], again["problems"]) \
        == ("panic", [], [], [])
    assert len(ordinary.boot(4).ledger) == 4


def test_the_history(ordinary: Router) -> None:
    history = ordinary.last.json("status")["history"]
    assert [each["reason"] for each in reversed(history["boots"])] \
        == [reason for _, reason, _ in REASONS]
    assert re.sub(r"[^\w, ]", "", history["text"]).startswith("6 boots 1 clean, 2 panics")


def test_the_ledger_on_flash_has_a_line_a_boot(ordinary: Router) -> None:
    for number, boot in enumerate(ordinary.boots, 1):
        assert [line.split("\t")[0] for line in boot.ledger] \
            == [f"n={each}" for each in range(1, number + 1)]


def test_saved_records_outlive_a_power_cut(ordinary: Router) -> None:
    before = {each["id"] for each in ordinary.boot(6).crashes}
    assert {each["id"] for each in ordinary.last.crashes} == before
    assert len(before) == 4


def test_the_clean_shutdown_keeps_the_end_of_the_system_log(ordinary: Router) -> None:
    (log,) = [each for each in ordinary.boot(2).records if each["kind"] == "log"]
    assert (log["boot"]["number"], log["state"]) == (1, "captured")
    assert "This is the first boot" in ordinary.boot(3).archive[log["id"]]


def test_the_clock_of_a_router_without_one_is_not_trusted(ordinary: Router) -> None:
    assert [each["time_trusted"] for each in ordinary.last.crashes] == 4 * [False]


def test_rpcd_answers_the_same(ordinary: Router) -> None:
    asked: Any = json.loads(ordinary.boot(1).text("ubus.out"))
    assert asked["last_reboot"] == ordinary.boot(1).json("status")["last_reboot"]


def test_no_command_fails(ordinary: Router) -> None:
    failed = {str(path) for path in ordinary.folder.glob("results/*/*.exit")
              if path.read_text() != "0\n"}
    complaints = {str(path) for path in ordinary.folder.glob("results/*/*.err")
                  if path.stat().st_size}
    assert (failed, complaints) == (set(), set())
