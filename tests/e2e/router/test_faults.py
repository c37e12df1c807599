"""A router with something wrong with it: its flash, its memory, its configuration, its board."""

from __future__ import annotations

import pytest

from .scenario import Boot, Router

pytestmark = pytest.mark.qemu


def said(boot: Boot) -> str:
    """What lastlog wrote to the system log."""
    return "\n".join(line for line in boot.text("syslog").splitlines() if " lastlog: " in line)


# --- a flash that cannot be written: full, or read-only


@pytest.fixture(params=["full_flash", "read_only"])
def stuck(request: pytest.FixtureRequest) -> Router:
    """Both routers in turn: two crashes, then a flash that works again."""
    router: Router = request.getfixturevalue(request.param)
    return router


def test_crashes_wait_in_the_journal(stuck: Router) -> None:
    for number in (2, 3):
        boot = stuck.boot(number)
        assert [(each["state"], each["boot"]["number"]) for each in boot.crashes] \
            == [("captured", each) for each in range(number - 1, 0, -1)]
        assert boot.json("status")["saved"] == 0
        assert not list(boot.folder.glob("pstore/dmesg-*"))


def test_the_owner_is_told(stuck: Router) -> None:
    for number in (2, 3):
        boot = stuck.boot(number)
        assert boot.check["archive"]["state"] == "fail"
        assert boot.check["archive"]["fix"]
        assert "kept in memory" in said(boot)
        assert "option archive" in said(boot)


def test_the_reason_is_told_all_the_same(stuck: Router) -> None:
    assert [stuck.boot(number).reason for number in (2, 3)] == ["panic", "panic"]
    boots = stuck.boot(3).json("status")["history"]["boots"]
    assert [(each["number"], each["reason"]) for each in boots] \
        == [(3, "panic"), (2, "panic"), (1, "unknown")]


def test_they_are_saved_when_the_flash_works_again(stuck: Router) -> None:
    boot = stuck.boot(3)
    assert len(boot.json("save")["saved"]) == 2
    assert boot.json("save")["skipped"] == []
    states = [each["state"] for each in boot.json("saved")["records"] if each["kind"] == "kernel"]
    assert states == ["both", "both"]


def test_no_half_written_file_stays_on_a_full_flash(full_flash: Router) -> None:
    files = {path.name for path in full_flash.boot(3).folder.glob("etc/**/*") if path.is_file()}
    assert files <= {"boots"}


# --- memory


def test_garbage_in_cold_memory_is_no_crash(garbage: Router) -> None:
    boot = garbage.boot(1)
    assert boot.records == []
    assert boot.reason == "unknown"
    assert boot.json("status")["armed"] is True


def test_what_is_written_over_garbage_is_found(garbage: Router) -> None:
    boot = garbage.boot(2)
    assert [(each["state"], each["kernel"]["cause"]) for each in boot.crashes] \
        == [("saved", "sysrq")]
    assert boot.reason == "panic"


def test_garbage_after_a_power_cut_is_a_power_cut(garbage: Router) -> None:
    boot = garbage.boot(3)
    assert boot.reason == "power-loss"
    assert [each["id"] for each in boot.records] == [each["id"] for each in garbage.boot(2).records]


# --- configuration


def test_a_region_in_system_ram_is_refused(wrong_region: Router) -> None:
    for boot in wrong_region.boots:
        assert "System RAM" in said(boot)
        assert "Nothing was loaded" in said(boot)
        assert boot.json("status")["armed"] is False
        assert any(each["state"] == "fail" and "System RAM" in each["found"]
                   for each in boot.check.values())
        assert "phram" not in boot.text("system").replace("lastlog", "")
        assert "ramoops:" not in boot.text("system")


def test_the_router_keeps_running_without_a_region(wrong_region: Router) -> None:
    assert wrong_region.boot(2).reason == "clean"
    assert "BUG" not in wrong_region.console
    assert "Oops" not in wrong_region.console


def test_without_autosave_crashes_wait_in_the_journal(autosave_off: Router) -> None:
    for number in (2, 3, 4):
        boot = autosave_off.boot(number)
        crashes = min(number - 1, 2)
        assert [(each["state"], each["boot"]["number"]) for each in boot.crashes] \
            == [("captured", each) for each in range(crashes, 0, -1)]
        assert boot.archive == {}
        assert not list(boot.folder.glob("pstore/dmesg-*"))
    reasons = [autosave_off.boot(number).reason for number in (2, 3, 4)]
    assert reasons == ["panic", "panic", "hang"]


def test_without_autosave_the_button_saves(autosave_off: Router) -> None:
    boot = autosave_off.boot(4)
    ids = [each["id"] for each in boot.crashes]
    assert set(ids) <= set(boot.json("save")["saved"])
    after = autosave_off.boot(5)
    assert after.reason == "power-loss"
    assert [(each["id"], each["state"]) for each in after.crashes] \
        == [(each, "saved") for each in ids]


# --- a board with ramoops in its device tree, and no phram


def test_reasons_without_phram(ramoops_only: Router) -> None:
    assert [boot.reason for boot in ramoops_only.boots] == ["unknown", "clean", "panic", "unknown"]


def test_a_crash_without_phram_is_saved(ramoops_only: Router) -> None:
    (crash,) = ramoops_only.boot(3).crashes
    assert (crash["state"], crash["boot"]["number"]) == ("saved", 2)
    assert "lab: crash of boot 2\n" in ramoops_only.boot(3).archive[crash["id"]]


def test_nothing_is_loaded_without_a_region(ramoops_only: Router) -> None:
    for boot in ramoops_only.boots:
        assert "phram" not in boot.text("system")
        assert boot.json("status")["armed"] is True
        assert boot.check["journal"]["state"] == "warn"
