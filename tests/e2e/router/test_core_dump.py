"""A program crashes on the router, and its record outlives the panic that follows."""

from __future__ import annotations

import pytest

from .scenario import Router

pytestmark = pytest.mark.qemu


def test_the_kernel_hands_core_dumps_over(core_dump: Router) -> None:
    assert core_dump.boot(1).text("pattern.out").startswith("|/usr/libexec/lastlog/coredump %P ")


def test_it_is_captured_at_once(core_dump: Router) -> None:
    (dump,) = core_dump.boot(1).json("before")["records"]
    assert (dump["kind"], dump["state"]) == ("coredump", "captured")


def test_it_outlives_the_panic(core_dump: Router) -> None:
    last = core_dump.last
    assert last.reason == "panic"
    (dump,) = [each for each in last.records if each["kind"] == "coredump"]
    assert (dump["state"], dump["boot"]["number"]) == ("saved", 1)


def test_it_says_what_crashed(core_dump: Router) -> None:
    dump = core_dump.last.json("show")["coredump"]
    assert dump["executable"].endswith("busybox") and dump["signal_name"] == "SIGSEGV"
    thread = dump["threads"][0]
    assert thread["crashed"] and thread["frames"][0]["how"] == "registers"
    assert thread["frames"][0]["module"].endswith("busybox")
