"""The preview's server: the JSON-RPC protocol, and what it refuses."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lastlog_py.page import demo, preview
from lastlog_py.page.preview import ACCESS, METHOD, OBJECT, PARAMS, PARSE, REQUEST, Preview

Dict = dict[str, Any]


class Calls:
    """An `Answer` that remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Dict]] = []

    def __call__(self, method: str, arguments: bytes) -> bytes:
        self.seen.append((method, json.loads(arguments)))
        return json.dumps({"asked": method}).encode()


@pytest.fixture
def calls() -> Calls:
    return Calls()


def request(page: Preview, call: str = "page", arguments: Any = None, **fields: Any) -> Dict:
    params = [page.session, "lastlog", call, {} if arguments is None else arguments]
    return {"jsonrpc": "2.0", "id": 7, "method": "call", "params": params} | fields


def ask(page: Preview, message: Any) -> Any:
    return json.loads(page.ubus(json.dumps(message).encode()))


def test_a_call_reaches_lastlog(calls: Calls) -> None:
    page = Preview(calls)
    assert ask(page, request(page, "get", {"id": "k-1"})) == {
        "jsonrpc": "2.0", "id": 7, "result": [0, {"asked": "get"}]}
    assert calls.seen == [("get", {"id": "k-1", "ubus_rpc_session": page.session})]


def test_a_batch_is_answered_in_order(calls: Calls) -> None:
    page = Preview(calls)
    reply = ask(page, [request(page, "page", id=1), request(page, "odd", id=2),
                       request(page, "save", id=3), 5])
    assert [each["id"] for each in reply] == [1, 2, 3, None]
    assert ["result" in each for each in reply] == [True, False, True, False]
    assert [method for method, _ in calls.seen] == ["page", "save"]


@pytest.mark.parametrize("method", ["status", "list", "get", "page"])
def test_a_reader_may_look(method: str, calls: Calls) -> None:
    page = Preview(calls, read_only=True)
    assert "result" in ask(page, request(page, method))


@pytest.mark.parametrize("method", ["save", "clear", "store"])
def test_a_reader_may_change_nothing(method: str, calls: Calls) -> None:
    page = Preview(calls, read_only=True)
    assert ask(page, request(page, method))["error"]["code"] == ACCESS
    assert calls.seen == []
    writer = Preview(calls)
    assert "result" in ask(writer, request(writer, method))


WRONG: list[tuple[Any, int]] = [
    ({"jsonrpc": "1.0"}, REQUEST), ({"method": "list"}, METHOD), ({"method": None}, METHOD),
    ({"params": None}, PARAMS), ({"params": []}, PARAMS), ({"params": {}}, PARAMS),
    ({"params": ["", "lastlog", "page", {}]}, ACCESS),
    ({"params": ["0" * 32, "lastlog", "page", {}]}, ACCESS),
    ({"params": [1, "lastlog", "page", {}]}, PARAMS),
    ({"params": ["0" * 32, "lastlog", "page", []]}, PARAMS),
    ({"params": ["0" * 32, "lastlog", "page", {}, {}]}, PARAMS)]


@pytest.mark.parametrize(("fields", "code"), WRONG)
def test_wrong_requests_are_refused(fields: Dict, code: int, calls: Calls) -> None:
    page = Preview(calls)
    assert ask(page, request(page, **fields))["error"]["code"] == code
    assert calls.seen == []


@pytest.mark.parametrize(("obj", "code"), [("file", OBJECT), ("session", OBJECT)])
def test_other_objects_are_not_there(obj: str, code: int, calls: Calls) -> None:
    page = Preview(calls)
    message = request(page, params=[page.session, obj, "page", {}])
    assert ask(page, message)["error"]["code"] == code


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 60000, b'"' + b"x" * 60000])
def test_what_is_no_json_is_refused(body: bytes, calls: Calls) -> None:
    assert json.loads(Preview(calls).ubus(body))["error"]["code"] == PARSE


@pytest.mark.parametrize("message", [None, 5, "call", {}])
def test_what_is_no_request_is_refused(message: Any, calls: Calls) -> None:
    assert ask(Preview(calls), message)["error"]["code"] == REQUEST


# ---- over HTTP ------------------------------------------------------------------------------

class Site:
    """A running preview."""

    def __init__(self, page: Preview) -> None:
        self.page = page
        self.server = preview.serve(page, 0)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def ask(self, method: str, path: str, body: bytes | None = None,
            **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body, {name.replace("_", "-"): value
                                                for name, value in headers.items()})
        response = connection.getresponse()
        status, content = response.status, response.read()
        connection.close()
        return status, content

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site(calls: Calls) -> Iterator[Site]:
    running = Site(Preview(calls))
    yield running
    running.close()


def test_it_listens_on_this_machine_only(site: Site) -> None:
    assert site.server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/", "/?x", "/preview.css", "/preview.js", preview.VIEW,
                                  preview.VIEW + "?v=1"])
def test_the_files_of_the_page_are_served(site: Site, path: str) -> None:
    status, content = site.ask("GET", path)
    assert status == 200 and len(content) > 500


@pytest.mark.parametrize("path", [
    "/preview.py", "/../preview.py", "/preview.js/", "//etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
    "/luci-static/", "/luci-static/resources/view/system/../system/lastlog.js", "/ubus", "*"])
def test_no_other_file_is_served(site: Site, path: str) -> None:
    assert site.ask("GET", path)[0] == 404


def test_the_view_is_the_one_that_ships(site: Site) -> None:
    shipped = demo.CLONE / "files/www" / preview.VIEW.lstrip("/")
    assert site.ask("GET", preview.VIEW)[1] == shipped.read_bytes()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "",
                                  "127.0.0.1:{port}.evil.example", "10.0.0.1:{port}"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/ubus")])
def test_a_name_that_points_here_is_not_enough(site: Site, host: str, method: str,
                                               path: str) -> None:
    status, content = site.ask(method, path, b"{}", Host=host.format(port=site.port),
                               Content_Type="application/json")
    assert status == 403 and site.page.session.encode() not in content


def test_localhost_is_a_name_for_here(site: Site) -> None:
    assert site.ask("GET", "/", Host=f"localhost:{site.port}")[0] == 200


def test_ubus_over_http(site: Site, calls: Calls) -> None:
    body = json.dumps(request(site.page, "list")).encode()
    status, content = site.ask("POST", "/ubus?123", body, Content_Type="application/json")
    assert (status, json.loads(content)["result"]) == (200, [0, {"asked": "list"}])


@pytest.mark.parametrize(("path", "headers", "status"), [
    ("/", {}, 404), ("/ubus/x", {}, 404),
    ("/ubus", {"Content_Type": "text/plain"}, 415),
    ("/ubus", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
    ("/ubus", {"Content_Length": "many"}, 411), ("/ubus", {"Content_Length": "-1"}, 411),
    ("/ubus", {"Content_Length": "65537"}, 413), ("/ubus", {"Content_Length": "9" * 400}, 413)])
def test_bad_posts_are_refused(site: Site, calls: Calls, path: str, headers: dict[str, str],
                               status: int) -> None:
    given = {"Content_Type": "application/json"} | headers
    assert site.ask("POST", path, b"{}", **given)[0] == status
    assert calls.seen == []


def test_junk_on_the_wire_does_not_stop_it(site: Site) -> None:
    for junk in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"POST /ubus HTTP/1.1\r\n\r\n", b""):
        with socket.create_connection(("127.0.0.1", site.port), timeout=5) as wire:
            wire.sendall(junk)
            wire.shutdown(socket.SHUT_WR)
            wire.recv(1000)
    assert site.ask("GET", "/")[0] == 200


def test_a_taken_port_is_told(calls: Calls, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert preview.run(Preview(calls), site.port, str) == 1
    assert f"Port {site.port} on 127.0.0.1 cannot be used" in capsys.readouterr().err


def test_a_port_that_is_none_is_told(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert preview.run(Preview(calls), 70000, str) == 1
    assert "Port 70000" in capsys.readouterr().err


def test_the_frame_follows_its_options(calls: Calls) -> None:
    assert b'data-darkmode="true"' in Preview(calls, dark=True).page()
    assert b'"readonly": true' in Preview(calls, read_only=True).page()
    assert b"{{" not in Preview(calls).page()


# ---- the demo -------------------------------------------------------------------------------

def test_the_demo_keeps_its_state_until_told_otherwise(tmp_path: Path) -> None:
    config = demo.prepare(tmp_path / "run")
    region = tmp_path / "run" / "region.bin"
    first = region.read_bytes()
    assert len(first) == (1 << 20) + demo.JOURNAL
    blank = bytes(len(first))
    region.write_bytes(blank)
    answer = tmp_path / "run/root/var/run/lastlog/page-0"
    answer.parent.mkdir(parents=True)
    answer.touch()
    assert demo.prepare(tmp_path / "run") == config
    assert region.read_bytes() == blank and not answer.exists()
    demo.prepare(tmp_path / "run", fresh=True)
    assert region.read_bytes() == first


def test_the_demo_keeps_away_from_the_machine_s_own(tmp_path: Path) -> None:
    text = demo.prepare(tmp_path).read_text()
    for option in ("file", "archive", "root"):
        assert f"option {option} '{tmp_path}/" in text
    assert "option record_size '65536'" in text


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_the_demo_runs_until_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lastlog_py.page.demo", "--port", "0", "--dir", str(tmp_path)]
    # A shell starts what runs in the background with SIGINT ignored, and children inherit that.
    with subprocess.Popen(command, cwd=demo.CLONE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, preexec_fn=_heed_interrupts) as running:
        assert running.stdout and running.stderr
        url = next(line.strip() for line in running.stdout if "http://127.0.0.1:" in line)
        connection = http.client.HTTPConnection(url.split("/")[2], timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 0
        assert running.stderr.read() == ""


def test_the_demo_of_an_older_version_is_made_anew(tmp_path: Path) -> None:
    demo.prepare(tmp_path)
    region = tmp_path / "region.bin"
    whole = region.read_bytes()
    region.write_bytes(whole[:1 << 20])
    demo.prepare(tmp_path)
    assert region.read_bytes() == whole


def test_starting_over_touches_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    demo.prepare(tmp_path, fresh=True)
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_demo_that_cannot_be_prepared_is_told(tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert demo.main(["--dir", str(tmp_path / "file")]) == 1
    assert "cannot be prepared" in capsys.readouterr().err
