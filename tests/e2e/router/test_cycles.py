"""Crash, boot, crash, boot: nothing is lost, nothing grows.  A hundred of them: `make cycles`."""

from __future__ import annotations

import pytest

from .scenario import Router

pytestmark = pytest.mark.qemu

ARCHIVE_LIMIT = 262144
LEDGER_LIMIT = 32768
JOURNAL = 0x20000


def crashes(router: Router) -> int:
    return len(router.boots) - 1


def test_every_crash_is_counted(cycles: Router) -> None:
    newest = cycles.last.crashes[0]
    assert newest["count"] == crashes(cycles)
    assert cycles.last.reason == "panic"
    assert len(cycles.last.ledger) == min(crashes(cycles) + 1, 64)


def test_the_first_and_the_last_are_kept(cycles: Router) -> None:
    texts = cycles.last.archive.values()
    for number in (1, crashes(cycles)):
        assert len([text for text in texts if f"lab: crash of boot {number}\n" in text]) == 1


def test_nothing_grows(cycles: Router) -> None:
    lines = (cycles.folder / "results/growth").read_text().splitlines()
    sizes = [dict(zip(words[::2], map(int, words[1::2]), strict=True))
             for words in map(str.split, lines)]
    assert [each["boot"] for each in sizes] == list(range(1, crashes(cycles) + 2))
    assert max(each["archive"] for each in sizes) <= ARCHIVE_LIMIT
    assert max(each["ledger"] for each in sizes) <= LEDGER_LIMIT
    assert max(each["journal"] for each in sizes) <= JOURNAL
    # What is saved is remembered there, without the texts.
    assert max(each["tmp"] for each in sizes) <= 2 * sizes[1]["tmp"] + ARCHIVE_LIMIT
