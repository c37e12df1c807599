"""The shipped rpcd plugin, run as rpcd runs it: exec.c and plugin.c of rpcd, 2026.

rpcd executes `PLUGIN list` or `PLUGIN call METHOD` with umask 0077, SIGPIPE ignored and an
environment that holds little more than PATH; one JSON object goes in and one comes out.
"""

from __future__ import annotations

import json
import lzma
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lastlog_py import calls

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "files/usr/libexec/rpcd/lastlog"
PANIC = ROOT / "tests/data/samples/c12_null_deref_panic_on_oops/region.bin.xz"
METHODS: dict[str, dict[str, Any]] = {
    "status": {}, "list": {"kind": "", "limit": 0}, "get": {"id": ""}, "page": {"id": ""},
    "save": {"id": ""}, "clear": {"what": "", "id": "", "ids": [], "force": False},
    "store": {"path": "", "text": "", "bytes": 0, "label": ""},
}
CODES = {"bad-argument", "not-found", "not-saved", "no-region", "no-space", "read-only", "io",
         "busy"}
SECRET = "0123456789abcdef0123456789abcdef"
LIMIT = 512 << 10


def run(arguments: list[str], stdin: bytes = b"", config: Path | None = None,
        path: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """The plugin with `arguments`, as rpcd would start it."""
    environment = {"PATH": path or f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    if config:
        environment["LASTLOG_CONFIG"] = str(config)
    return subprocess.run([PLUGIN, *arguments], input=stdin, capture_output=True, timeout=60,
                          env=environment, cwd="/", preexec_fn=_like_rpcd)


def _like_rpcd() -> None:
    os.umask(0o077)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def call(method: str, arguments: Any, config: Path) -> dict[str, Any]:
    """The answer to one call; `arguments` are bytes as they are, or what JSON says."""
    stdin = arguments if isinstance(arguments, bytes) else json.dumps(arguments).encode()
    return parsed(run(["call", method], stdin, config))


def parsed(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    """The one object on stdout, checked against what rpcd and ubus can carry."""
    assert done.stdout, done.stderr.decode()
    assert len(done.stdout) < LIMIT
    assert b"\\u0000" not in done.stdout
    assert SECRET.encode() not in done.stdout + done.stderr
    answer = json.loads(done.stdout.decode("utf-8"))
    assert isinstance(answer, dict)
    return answer


def refused(answer: dict[str, Any]) -> str:
    """The code of an error that is one as CONTRACT has them."""
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"code", "message", "hint"}
    assert all(isinstance(text, str) and text for text in answer["error"].values())
    assert answer["error"]["code"] in CODES
    return str(answer["error"]["code"])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A router with a panic in its region and nothing saved yet."""
    region = tmp_path / "region"
    region.write_bytes(lzma.decompress(PANIC.read_bytes()))
    file = tmp_path / "config"
    file.write_text(f"config lastlog 'main'\n\toption archive '{tmp_path}/saved'\n"
                    f"\toption root '{tmp_path}/root'\n"
                    f"config region 'ram'\n\toption file '{region}'\n")
    return file


def crash_id(config: Path) -> str:
    return str(call("list", {"kind": "kernel"}, config)["records"][0]["id"])


# --- list


def test_list_prints_the_signature_and_nothing_else() -> None:
    done = run(["list"])
    assert json.loads(done.stdout) == METHODS
    assert (done.returncode, done.stderr) == (0, b"")


def test_signature_is_what_the_backend_checks() -> None:
    assert {name: {key: type(value) for key, value in arguments.items()}
            for name, arguments in METHODS.items()} == {
        name: method.types for name, method in calls.METHODS.items()}


def test_list_starts_no_process(tmp_path: Path) -> None:
    """With an empty PATH nothing but the shell's own commands can run."""
    assert json.loads(run(["list"], path=str(tmp_path)).stdout) == METHODS


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--help"], [""], ["LIST"]])
def test_what_is_neither_list_nor_call_ends_quietly(arguments: list[str]) -> None:
    done = run(arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


# --- calls that cannot be answered


def test_without_python_there_is_an_error_with_a_hint(tmp_path: Path) -> None:
    answer = parsed(run(["call", "status"], b"{}", path=str(tmp_path)))
    assert refused(answer) == "io"
    assert "python3-light" in answer["error"]["hint"]


JUNK = {
    "text": b"nonsense", "array": b"[1, 2]", "number": b"7", "null": b"null", "open": b'{"id": "k-',
    "latin1": b'{"id": "\xe4\xf6\xfc"}', "zeros": bytes(64), "deep": b"[" * 60000,
    "two": b'{} {"id": "k-1"}',
    "cut at 64 KiB": (b'{"id": "' + b"x" * 70000)[:65536],
    "more than 64 KiB": b'{"id": "' + b"x" * 200000 + b'"}',
}


@pytest.mark.parametrize("method", ["get", "save", "clear", "store"])
@pytest.mark.parametrize("name", JUNK)
def test_junk_on_stdin_is_a_bad_argument(name: str, method: str, config: Path) -> None:
    assert refused(call(method, JUNK[name], config)) == "bad-argument"


@pytest.mark.parametrize(("method", "arguments"), [
    ("get", {}), ("get", {"id": 5}), ("get", {"id": None}), ("get", {"id": ["k-1"]}),
    ("get", {"id": "../../etc/shadow"}), ("get", {"id": ""}), ("get", {"id": "k-1\u0000"}),
    ("page", {"id": {}}), ("page", {"id": "<script>"}),
    ("list", {"limit": "3"}), ("list", {"limit": -1}), ("list", {"kind": "panic"}),
    ("list", {"limit": True}), ("save", {"id": 1.5}), ("save", {"id": "x" * 60000}),
    ("clear", {"what": "everything"}), ("clear", {"what": 1}), ("clear", {"force": "yes"}),
    ("store", {}), ("store", {"text": "x", "path": "/x"}), ("store", {"path": "x"}),
    ("", {}), ("nonsense", {}), ("__init__", {}), ("x" * 5000, {}),
])
def test_wrong_arguments_are_refused(method: str, arguments: object, config: Path) -> None:
    assert refused(call(method, arguments, config)) == "bad-argument"
    assert not (config.parent / "saved").exists()


@pytest.mark.parametrize("method", ["get", "save", "clear"])
def test_an_unknown_id_is_not_found(method: str, config: Path) -> None:
    assert refused(call(method, {"id": "k-000000000000"}, config)) == "not-found"


def test_the_page_shows_something_even_for_an_unknown_id(config: Path) -> None:
    assert crash_id(config) in call("page", {"id": "k-000000000000"}, config)["html"]


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_configuration_is_an_error(method: str, tmp_path: Path) -> None:
    assert refused(call(method, {"id": "k-1"}, tmp_path / "none")) == "not-found"


# --- calls that are answered


@pytest.mark.parametrize("stdin", [b"", b"{}", b" {}\n", b'{"limit": null}'])
@pytest.mark.parametrize("method", ["status", "list", "page"])
def test_no_arguments_are_fine(method: str, stdin: bytes, config: Path) -> None:
    assert "error" not in call(method, stdin, config)


def test_unknown_keys_are_ignored_and_the_session_is_never_told(config: Path) -> None:
    for method in METHODS:
        call(method, {"ubus_rpc_session": SECRET, "nonsense": 1}, config)
        call(method, {"ubus_rpc_session": SECRET, "id": 5, "kind": 7}, config)
    kept = [path for path in config.parent.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in kept)


def test_the_keys_are_those_of_the_contract(config: Path) -> None:
    status = call("status", {}, config)
    assert {"armed", "checks", "last_reboot", "captured", "saved", "archive",
            "version"} <= set(status)
    assert set(call("list", {}, config)) >= {"records", "problems"}
    record = call("get", {"id": crash_id(config)}, config)
    assert record["kind"] == "kernel" and record["state"] == "captured" and record["cut"] is False
    assert set(call("page", {}, config)) >= {"html", "generation"}


def test_save_then_clear(config: Path) -> None:
    record = crash_id(config)
    assert refused(call("clear", {"id": record}, config)) == "not-saved"
    assert call("get", {"id": record}, config)["state"] == "captured"
    assert call("save", {"id": record}, config)["saved"] == [record]
    assert call("get", {"id": record}, config)["state"] == "both"
    assert record in call("clear", {"what": "memory", "id": record}, config)["cleared"]
    assert call("get", {"id": record}, config)["state"] == "saved"


def test_clear_with_force_loses_what_is_not_saved(config: Path) -> None:
    assert crash_id(config) in call("clear", {"force": True}, config)["cleared"]
    assert call("list", {}, config)["records"] == []


def test_what_is_saved_is_for_root_only(config: Path) -> None:
    call("save", {}, config)
    saved = config.parent / "saved"
    assert saved.stat().st_mode & 0o077 == 0
    modes = [path.stat().st_mode & 0o077 for path in saved.iterdir()]
    assert modes and not any(modes)


def test_page_with_an_open_record(config: Path) -> None:
    record = crash_id(config)
    assert record in call("page", {"id": record}, config)["html"]


def test_store_a_text_and_a_file(config: Path, tmp_path: Path) -> None:
    with config.open("a") as file:
        file.write("\toption journal_size '0x8000'\n")
    log = tmp_path / "log"
    log.write_bytes(b"what the log said\n" * 1000)
    for arguments in ({"text": "a note\n", "label": "note"}, {"path": str(log), "bytes": 180}):
        reply = call("store", {**arguments, "ubus_rpc_session": SECRET}, config)
        record = call("get", {"id": reply["id"]}, config)
        assert (record["kind"], len(record["text"])) == ("log", reply["bytes"])
    assert {each["title"] for each in call("list", {"kind": "log"}, config)["records"]} == {
        "note", "log"}
