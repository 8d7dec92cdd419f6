"""A small server on 127.0.0.1 that speaks the Chat Completions protocol, good and bad."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Exchange(BaseHTTPRequestHandler):
    """One request; what it answers is the next act of its server's script."""

    server: "ChatServer"
    body: dict[str, Any]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Record the request and play the next act."""
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(self.body)
        self.server.paths.append(self.path)
        self.server.keys.append(self.headers.get("Authorization", ""))
        self.server.times.append(time.monotonic())
        with self.server.lock:
            script = self.server.script
            act = script.pop(0) if len(script) > 1 else script[0]
        try:
            act(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client gave up, as some tests want it to

    def send(
        self,
        body: bytes,
        status: int = 200,
        content_type: str = "application/json",
        **headers: str,
    ) -> None:
        """Send one whole response; underscores in header names become hyphens."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base's name
        """Stay quiet."""


Act = Callable[[Exchange], None]


def completion(**message: Any) -> dict[str, Any]:
    """Return the body of a chat completion with one choice that holds `message`."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "test",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant"} | message}
        ],
    }


def says(text: str | None, *, after: float = 0.0) -> Act:
    """Answer with `text` after some seconds."""

    def act(exchange: Exchange) -> None:
        time.sleep(after)
        exchange.send(json.dumps(completion(content=text)).encode())

    return act


def sends(body: Any, status: int = 200, **headers: str) -> Act:
    """Send `body` (bytes as they are, anything else as JSON) with a status."""

    def act(exchange: Exchange) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        exchange.send(data, status, **headers)

    return act


def fails(status: int, message: str = "no", **headers: str) -> Act:
    """Refuse with an HTTP status and the protocol's error object."""
    return sends({"error": {"message": message, "type": "x", "code": None}}, status, **headers)


def hangs(seconds: float = 30.0) -> Act:
    """Say nothing until the test is over."""

    def act(exchange: Exchange) -> None:
        exchange.server.over.wait(seconds)
        exchange.close_connection = True

    return act


def drips(seconds: float = 30.0) -> Act:
    """Send one byte of the body at a time, each well within any read timeout."""

    def act(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("Content-Type", "application/json")
        exchange.send_header("Content-Length", "100000")
        exchange.end_headers()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not exchange.server.over.wait(0.05):
            exchange.wfile.write(b" ")
            exchange.wfile.flush()
        exchange.close_connection = True

    return act


def cuts() -> Act:
    """Close the connection in the middle of the body."""

    def act(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("Content-Type", "application/json")
        exchange.send_header("Content-Length", "1000")
        exchange.end_headers()
        exchange.wfile.write(b'{"id": "chat')
        exchange.close_connection = True

    return act


class ChatServer(ThreadingHTTPServer):
    """A context manager: the server runs inside it, and plays its script act by act.

    The last act repeats. `requests`, `paths`, `keys` and `times` hold what came, in order.
    """

    daemon_threads = True

    def __init__(self, *script: Act) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.script = list(script)
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str] = []
        self.times: list[float] = []
        self.lock = threading.Lock()
        self.over = threading.Event()

    @property
    def url(self) -> str:
        """The base URL to hand to a client."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()
        self._thread.join()
