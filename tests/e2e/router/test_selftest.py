"""The retention test on memory that really survives, or really does not."""

from __future__ import annotations

import json

import pytest

from .scenario import Router

pytestmark = pytest.mark.qemu


def test_a_warm_reboot_keeps_every_bit(selftest: Router) -> None:
    armed, result = selftest.boot(1).json("arm"), selftest.boot(2).json("result")
    assert result["state"] == "kept"
    assert (result["share"], result["lost_bits"], result["header_line_lost"]) == (1.0, 0, False)
    assert result["tested"] == armed["tested"] > 0.9 * armed["of"]


def test_a_cold_boot_is_told_from_decay(selftest: Router) -> None:
    result = selftest.boot(3).json("result")
    assert result["state"] == "cold"
    assert 0.45 < result["share"] < 0.55
    assert result["ecc"] is None


def test_the_test_leaves_the_journal_alone(selftest: Router) -> None:
    assert [boot.folder.name for boot in selftest.boots
            if boot.text("lastlog.harvest.exit") not in ("", "0\n")] == []
    assert selftest.boot(3).reason == "power-loss"
    assert json.loads(selftest.boot(2).text("store.out"))["bytes"] == len("over ubus")


def test_a_reserved_region_is_found(selftest: Router, wrong_region: Router) -> None:
    used = selftest.boot(3).json("propose")
    assert (used["region"]["address"], used["uci"]) == ("0x7000000", None)
    free = wrong_region.boot(2).json("propose")
    assert free["region"]["address"] == "0x7000000"
    assert "option address '0x7000000'" in free["uci"]
