"""calls.py and rpcd.py: arguments checked, answers bounded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lastlog_py import calls, rpcd
from tests import samples, zones
from tests.machine import Machine

C12 = "c12_null_deref_panic_on_oops"
LIMIT = 512 << 10


@pytest.fixture
def ubus(machine: Machine) -> Any:
    """Calls a method as rpcd does, and checks what holds for every answer."""
    machine.configure(file=machine.write("/region.bin", samples.region(C12)))

    def call(method: str, **arguments: object) -> dict[str, Any]:
        reply = rpcd.answer(method, json.dumps(arguments).encode(), str(machine.conf))
        assert len(reply) < LIMIT
        answer = json.loads(reply.decode())
        assert isinstance(answer, dict) and answer
        return answer

    return call


def test_every_method_answers(ubus: Any) -> None:
    name = ubus("list")["records"][0]["id"]
    assert ubus("status")["version"]
    record = ubus("get", id=name)
    assert record["text"].startswith("Panic#2") and record["cut"] is False
    assert "NULL pointer dereference" in ubus("page")["html"]
    assert ubus("page")["generation"] == ubus("page", id=name)["generation"]
    assert set(ubus("save")) == {"saved", "skipped"}
    assert set(ubus("clear", what="memory")) == {"cleared", "kept"}
    assert ubus("list")["records"][0]["state"] == "saved"


@pytest.mark.parametrize(("method", "arguments"), [
    ("get", {}), ("get", {"id": 7}), ("get", {"id": ["k-0"]}), ("get", {"id": "../etc"}),
    ("get", {"id": ""}), ("get", {"id": "K-0"}), ("list", {"kind": "kernels"}),
    ("list", {"kind": 1}), ("list", {"limit": "3"}), ("list", {"limit": True}),
    ("list", {"limit": -1}), ("list", {"limit": 1.5}), ("save", {"id": {}}),
    ("clear", {"what": "everything"}), ("clear", {"what": 3}), ("clear", {"force": "yes"}),
    ("clear", {"force": 2}), ("clear", {"ids": "k-0"}), ("clear", {"ids": [], "force": True}),
    ("clear", {"ids": ["k-0", 7]}), ("clear", {"ids": ["../k"], "force": True}),
    ("nonsense", {}), ("", {})])
def test_wrong_arguments_are_refused(ubus: Any, method: str, arguments: dict[str, Any]) -> None:
    error = ubus(method, **arguments)["error"]
    assert error["code"] == "bad-argument" and error["message"] and error["hint"]


@pytest.mark.parametrize(("method", "code"), [("get", "not-found"), ("save", "not-found"),
                                              ("clear", "not-found")])
def test_an_unknown_id(ubus: Any, method: str, code: str) -> None:
    assert ubus(method, id="k-000000000000")["error"]["code"] == code


def test_null_arguments_and_unknown_keys_are_ignored(ubus: Any) -> None:
    reply = ubus("list", kind=None, limit=None, ubus_rpc_session="secret0", more={"x": 1})
    assert len(reply["records"]) == 3 and "secret0" not in json.dumps(reply)


@pytest.mark.parametrize("stdin", [b"", b"{}", b" {}\n", b'{"ubus_rpc_session":"0123abc"}'])
def test_bare_calls_are_remembered(machine: Machine, stdin: bytes) -> None:
    machine.configure(file=machine.write("/region.bin", samples.region(C12)))
    first = rpcd.answer("list", stdin, str(machine.conf))
    remembered = list((machine.root / "var/run/lastlog").glob("list-*"))
    assert len(remembered) == 1 and remembered[0].read_bytes().endswith(first)
    assert rpcd.answer("list", b"{}", str(machine.conf)) == first


@pytest.mark.parametrize("stdin", [b"[]", b"7", b"nope", b'{"id":', b"\xff\xfe", b"{" * 60000,
                                   b'{"ubus_rpc_session":"a","id":"../x"}', b"null",
                                   b'{"id":"' + b"x" * 65529])
def test_junk_is_refused(machine: Machine, stdin: bytes) -> None:
    answer = json.loads(rpcd.answer("get", stdin, str(machine.conf)))
    assert answer["error"]["code"] == "bad-argument"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None,
          max_examples=60)
@given(method=st.sampled_from([*calls.METHODS, "x"]), stdin=st.binary(max_size=60))
def test_no_input_raises(machine: Machine, method: str, stdin: bytes) -> None:
    assert isinstance(json.loads(rpcd.answer(method, stdin, str(machine.conf))), dict)


def test_what_a_reader_takes_away(ubus: Any) -> None:
    record = ubus("get", id=ubus("list")["records"][0]["id"])
    assert record["header"].startswith(f"Title: {record['title']}\n")
    assert f"Reported by: lastlog {ubus('status')['version']}\n\n" in record["header"]
    assert record["report"].startswith(f"### `{record['title']}`\n")


def test_clearing_by_force_takes_only_these(ubus: Any) -> None:
    first, second, third = (each["id"] for each in ubus("list")["records"])
    assert ubus("clear", ids=[first, third], force=True)["cleared"] == [first, third]
    assert [each["id"] for each in ubus("list")["records"]] == [second]
    assert ubus("clear", ids=[first, second], force=True)["error"]["code"] == "not-found"
    assert [each["id"] for each in ubus("list")["records"]] == [second]


@pytest.mark.parametrize("noise", [b"\x01", b"<", b'"', b"\\", b"\xff", b"`", b"\n", b"\t\n",
                                   "\U0001f600".encode(), "\u202e".encode()])
def test_the_largest_text_stays_below_the_limit(machine: Machine, noise: bytes) -> None:
    """Control characters take six bytes each in JSON, < five in HTML."""
    text = b"Panic#1 Part1\n<0>[    1.000000] Kernel panic - not syncing: x\n" + noise * 700_000
    machine.configure(file=machine.write("/region.bin",
                                         zones.zone(len(text) + 4096, zones.dump(text))))
    (record,) = json.loads(rpcd.answer("list", b"{}", str(machine.conf)))["records"]
    for method in ("get", "page", "list"):
        reply = rpcd.answer(method, json.dumps({"id": record["id"]}).encode(), str(machine.conf))
        assert len(reply) <= calls.MAX_ANSWER
        assert "error" not in json.loads(reply)
    got = json.loads(rpcd.answer("get", json.dumps({"id": record["id"]}).encode(),
                                 str(machine.conf)))
    assert got["cut"] is True and 32 << 10 < len(got["text"].encode()) <= 256 << 10
    assert "only the newest part" in got["header"] and "Title: " in got["report"]
    assert len(got["report"].encode()) < 64 << 10


def test_a_long_list_leaves_out_the_oldest(machine: Machine) -> None:
    region = b"".join(zones.zone(2048, zones.dump(zones.log(9), f"18{n:08d}.000001"))
                      for n in range(900))
    machine.configure(file=machine.write("/region.bin", region))
    reply = rpcd.answer("list", b"{}", str(machine.conf))
    answer = json.loads(reply)
    assert len(reply) < LIMIT and 100 < len(answer["records"]) < 900
    assert "left out" in answer["problems"][-1]["what"]
    assert answer["records"][0]["time"] == 1800000899.000001


def test_an_opened_record_is_remembered_too(machine: Machine, ubus: Any) -> None:
    name = ubus("list")["records"][2]["id"]
    first = ubus("page", id=name)
    assert first == ubus("page", id=name) and first["html"] != ubus("page")["html"]
    (remembered,) = (machine.root / "var/run/lastlog").glob("page.open-*")
    assert name.encode() in remembered.read_bytes().splitlines()[0]


def test_something_nobody_thought_of_is_still_an_answer(machine: Machine,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(calls.service, "status", fails)
    answer = json.loads(rpcd.answer("status", b"{}", str(machine.conf)))
    assert "boom" in answer["error"]["message"] and answer["error"]["code"] == "io"


@pytest.mark.parametrize(("path", "mode", "allowed"), [
    ("log", 0o644, True), ("secret", 0o600, False), ("link", 0o644, False), ("fifo", 0o644, False)])
def test_store_reads_only_what_everybody_may(ubus: Any, tmp_path: Path, path: str, mode: int,
                                             allowed: bool) -> None:
    file = tmp_path / path
    if path == "link":
        file.symlink_to("/etc/passwd")
    elif path == "fifo":
        os.mkfifo(file, mode)
    else:
        file.write_text("a line\n")
        file.chmod(mode)
    reply = ubus("store", path=str(file))
    assert ("error" not in reply) is allowed
    if not allowed:
        assert reply["error"]["code"] == "bad-argument" and "ubus" in reply["error"]["message"]


@pytest.mark.parametrize("path", ["/proc/self/pagemap", "/dev/watchdog", "/etc/passwd", "/"])
def test_store_reads_nothing_of_the_system(ubus: Any, path: str) -> None:
    reply = ubus("store", path=path)
    assert reply["error"]["code"] in ("bad-argument", "not-found")
