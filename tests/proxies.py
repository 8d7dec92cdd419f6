"""A proxy that runs inside a ``with``, and an upstream that keeps every byte it was sent.

Import it behind ``require_package`` for starlette, uvicorn and httpx.
"""

import socket
import socketserver
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from cropvlm_core.listening import listen
from cropvlm_core.proxy import server
from cropvlm_core.proxy.app import Proxy
from cropvlm_core.proxy.settings import Settings
from cropvlm_core.zoom import ZoomPipeline
from tests.pages import pipeline as middle


class RunningProxy:
    """A context manager: the proxy serves inside it, in a thread of its own."""

    def __init__(
        self,
        upstream: str,
        pipeline: ZoomPipeline | None = None,
        name: str = "embedded",
        **limits: Any,
    ) -> None:
        settings = Settings(upstream, **limits)
        self._listening = listen("127.0.0.1", 0, waiting=server.BACKLOG)
        self.app = Proxy(settings, pipeline or middle(), name)
        self._server = server.http_server(self.app, 5)
        self.root = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.url = f"{self.root}/v1"

    def health(self) -> dict[str, Any]:
        """What the proxy says of itself."""
        told: dict[str, Any] = httpx.get(f"{self.root}/healthz").json()
        return told

    def until(self, requests: int, waiting: int = 0) -> None:
        """Wait until so many requests are under way and waiting."""
        end = time.monotonic() + 20
        while (told := self.health()) and time.monotonic() < end:
            if (told["requests"], told["waiting"]) == (requests, waiting):
                return
            time.sleep(0.02)
        raise AssertionError(f"expected {requests} requests and {waiting} waiting, got {told}")

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listening]}, daemon=True
        )
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()


class Received(NamedTuple):
    """A request, byte by byte."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header."""
        return [value for each, value in self.headers if each.lower() == name]


class RawUpstream(socketserver.ThreadingTCPServer):
    """A context manager: answers each connection's one request with raw bytes, then closes it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *answers: bytes | Callable[[socket.socket], None]) -> None:
        super().__init__(("127.0.0.1", 0), _OneRequest)
        self.answers = list(answers)
        self.received: list[Received] = []
        self.gone = threading.Event()  # a client closed its connection before it was answered
        self.lock = threading.Lock()
        self.root = f"http://127.0.0.1:{self.server_address[1]}"
        self.url = f"{self.root}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _OneRequest(socketserver.StreamRequestHandler):
    server: RawUpstream

    def handle(self) -> None:
        line = self.rfile.readline().rstrip(b"\r\n")
        if not line:
            return
        headers = []
        while (header := self.rfile.readline().rstrip(b"\r\n")) != b"":
            name, _, value = header.partition(b":")
            headers.append((name, value.strip()))
        known = {name.lower(): value for name, value in headers}
        body = b""
        if known.get(b"transfer-encoding") == b"chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(known.get(b"content-length", 0)))
        with self.server.lock:
            self.server.received.append(Received(line, headers, body))
            answers = self.server.answers
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        try:
            if isinstance(answer, bytes):
                self.connection.sendall(answer)
            else:
                answer(self.connection)
        except OSError:
            self.server.gone.set()


def holds(server: RawUpstream, begun: bytes = b"") -> Callable[[socket.socket], None]:
    """Send how an answer begins, and wait until the client closes the connection."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(begun)
        connection.settimeout(20)
        try:
            if connection.recv(1) == b"":
                server.gone.set()
        except TimeoutError:
            pass

    return answer


def plain(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole raw answer."""
    head = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body
