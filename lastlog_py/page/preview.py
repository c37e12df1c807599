"""The Last Crash page on a PC: LuCI's frame, its client API and uhttpd's /ubus, as small stand-ins.

What is clicked here is the view file that ships, and the HTML that a router would show.
Listens on 127.0.0.1 only, answers only requests that name it so (against DNS rebinding), and
serves nothing but the four files below.

The protocol is uhttpd's ubus plugin (JSON-RPC 2.0, method "call" with session, object, method
and arguments; error numbers as there).
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["Answer", "Preview", "main", "serve"]

# rpcd.answer without the configuration: a method and its arguments as JSON, the answer as JSON.
Answer = Callable[[str, bytes], bytes]

HERE = Path(__file__).parent
VIEW = "/luci-static/resources/view/system/lastlog.js"

MAX_REQUEST = 65536                                         # bytes, as uhttpd's /ubus
READ = frozenset({"status", "list", "get", "page"})         # what the ACL file grants
WRITE = frozenset({"save", "clear", "store"})

PARSE, REQUEST, METHOD, PARAMS = -32700, -32600, -32601, -32602
OBJECT, SESSION, ACCESS = -32000, -32001, -32002
MESSAGES = {PARSE: "Parse error", REQUEST: "Invalid request", METHOD: "Method not found",
            PARAMS: "Invalid parameters", OBJECT: "Object not found",
            SESSION: "Session not found", ACCESS: "Access denied"}


class Preview:
    """What the page's requests come to; knows the protocol, not HTTP."""

    def __init__(self, answer: Answer, read_only: bool = False, dark: bool = False) -> None:
        self.session = secrets.token_hex(16)
        self.read_only = read_only
        self.dark = dark
        self._answer = answer
        self._lock = threading.Lock()

    def page(self) -> bytes:
        """The frame that LuCI would put around the view."""
        env = json.dumps({"sessionid": self.session, "readonly": self.read_only})
        text = (HERE / "preview.html").read_text(encoding="utf-8")
        return text.replace("{{env}}", env).replace(
            "{{dark}}", "true" if self.dark else "false").encode()

    def ubus(self, body: bytes) -> bytes:
        """The answer to one JSON-RPC request, or to a batch of them."""
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            return json.dumps(_error(None, PARSE)).encode()
        if isinstance(request, list):
            return b"[" + b",".join(self._one(each) for each in request) + b"]"
        return self._one(request)

    def _one(self, request: Any) -> bytes:
        if not isinstance(request, dict) or request.get("jsonrpc") != "2.0":
            return json.dumps(_error(None, REQUEST)).encode()
        number, params = request.get("id"), request.get("params")
        refused = METHOD if request.get("method") != "call" else self._refused(params)
        if refused:
            return json.dumps(_error(number, refused)).encode()
        assert isinstance(params, list)
        arguments = {**params[3], "ubus_rpc_session": self.session}
        with self._lock:
            reply = self._answer(params[2], json.dumps(arguments).encode())
        return b'{"jsonrpc":"2.0","id":%s,"result":[0,%s]}' % (json.dumps(number).encode(), reply)

    def _refused(self, params: Any) -> int | None:
        """Why a call may not be made; None: it may."""
        shape = (str, str, str, dict)
        if not isinstance(params, list) or len(params) != len(shape) or not all(
                isinstance(each, kind) for each, kind in zip(params, shape, strict=True)):
            return PARAMS
        if params[0] != self.session:
            return ACCESS
        if params[1] != "lastlog":
            return OBJECT
        return None if params[2] in (READ if self.read_only else READ | WRITE) else ACCESS


def _error(number: Any, code: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": MESSAGES[code]}}


class _Handler(BaseHTTPRequestHandler):
    """HTTP around a Preview; nothing else is to be had."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        files: dict[str, tuple[str, Callable[[], bytes]]] = {
            "/": ("text/html", self.server.preview.page),
            "/preview.css": ("text/css", (HERE / "preview.css").read_bytes),
            "/preview.js": ("text/javascript", (HERE / "preview.js").read_bytes),
            VIEW: ("text/javascript", self.server.view.read_bytes),
        }
        found = files.get(self.path.partition("?")[0])
        if not self._is_for_us():
            self._refuse(HTTPStatus.FORBIDDEN)
        elif found is None:
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            self._send(found[0], found[1]())

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not self._is_for_us():
            self._refuse(HTTPStatus.FORBIDDEN)
        elif self.path.partition("?")[0] != "/ubus":
            self._refuse(HTTPStatus.NOT_FOUND)
        elif self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        elif not (length.isascii() and length.isdigit()):
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
        elif len(length) > 9 or int(length) > MAX_REQUEST:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            body = self.rfile.read(int(length))
            self._send("application/json", self.server.preview.ubus(body))

    def _is_for_us(self) -> bool:
        """Whether the browser meant this address, not a name that somebody pointed here."""
        port = self.server.server_address[1]
        return self.headers.get("Host") in (f"127.0.0.1:{port}", f"localhost:{port}")

    def _send(self, kind: str, body: bytes, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self._send("text/plain", f"{status.value} {status.phrase}\n".encode(), status)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal for what matters."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    preview: Preview
    view: Path

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def serve(preview: Preview, port: int, view: Path | None = None) -> _Server:
    """A server on 127.0.0.1 for `preview`, not running yet; port 0 takes any free one.

    view: the view file; by default the clone's own.  Raises OSError if the port is taken.
    """
    server = _Server(("127.0.0.1", port), _Handler)
    server.preview = preview
    server.view = view or HERE.parents[1] / "files/www" / VIEW.lstrip("/")
    return server


def run(preview: Preview, port: int, hello: Callable[[str], str]) -> int:
    """Serve until Ctrl-C; `hello` makes the greeting of the URL.  The exit status."""
    try:
        server = serve(preview, port)
    except (OSError, OverflowError) as error:
        print(f"Port {port} on 127.0.0.1 cannot be used: {error}. "
              "Choose another with PORT= or --port.", file=sys.stderr)
        return 1
    with server:
        print(hello(f"http://127.0.0.1:{server.server_address[1]}/"), flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nDone.")
    return 0


def answers(config: str) -> Answer:
    """rpcd's door for the configuration at `config`."""
    from .. import rpcd

    return lambda method, arguments: rpcd.answer(method, arguments, config)


def options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The options that preview and demo share."""
    parser.add_argument("--port", type=int, default=8088, help="on 127.0.0.1 (default 8088)")
    parser.add_argument("--read-only", action="store_true", help="as a user who may only look")
    parser.add_argument("--dark", action="store_true", help="LuCI's dark look")
    return parser


def main(argv: list[str] | None = None) -> int:
    """`python3 -m lastlog_py.page.preview`: the page over a configuration of your own."""
    parser = options(argparse.ArgumentParser(description=main.__doc__))
    parser.add_argument("--config", default="/etc/config/lastlog", help="UCI file")
    args = parser.parse_args(argv)
    preview = Preview(answers(args.config), args.read_only, args.dark)
    return run(preview, args.port, lambda url: f"The Last Crash page is at {url}")


if __name__ == "__main__":
    sys.exit(main())
