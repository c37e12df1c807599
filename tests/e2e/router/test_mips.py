"""A little-endian MIPS, whose kernel has phram and no pstore: a panic leaves what was stored."""

from __future__ import annotations

import pytest

from .scenario import Router

pytestmark = pytest.mark.qemu


def test_what_was_stored_survives_a_panic(mips: Router) -> None:
    id = mips.boot(1).json("store")["id"]
    (log,) = mips.last.records
    assert (log["id"], log["kind"], log["state"]) == (id, "log", "saved")
    assert log["boot"]["number"] == 1
    assert "written before the panic\n" in mips.last.archive[id]


def test_the_reason_is_told_honestly(mips: Router) -> None:
    """Nothing recorded the panic, but memory and the ledger tell that power was not lost."""
    told = mips.last.json("status")["last_reboot"]
    assert (told["reason"], told["record"]) == ("hang", None)
    assert "a hang" in told["text"]


def test_it_is_not_armed_and_says_why(mips: Router) -> None:
    assert mips.last.json("status")["armed"] is False
    assert mips.last.check["zones"]["state"] == "fail"
    assert {mips.last.check[each]["state"] for each in ("region", "memory", "phram", "journal")} \
        == {"ok"}


def test_a_region_that_is_all_journal_is_no_fault(mips: Router) -> None:
    assert mips.last.json("list")["problems"] == []


def test_the_harvest_runs_on_a_mips(mips: Router) -> None:
    assert mips.last.text("lastlog.harvest.exit") == "0\n"
    assert [line.split("\t")[0] for line in mips.last.ledger] == ["n=1", "n=2"]
