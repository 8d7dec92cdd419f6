"""A server on 127.0.0.1 that answers a GET well or badly, and a fetcher that reaches it.

The fetcher is ours with two methods overridden: what a name resolves to, and where a connection
to a checked address really goes. Users have no such opening.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from cropvlm_core.fetch.fetcher import FETCH_SECONDS, Fetcher
from cropvlm_core.fetch.url import Address

PUBLIC = "93.184.215.14"
"""What every name resolves to unless a test says otherwise."""


class Connection:
    """One connection; an act sends what it wants over it."""

    def __init__(self, peer: socket.socket, over: threading.Event) -> None:
        self.peer = peer
        self.over = over

    def send(self, data: bytes) -> None:
        self.peer.sendall(data)

    def wait(self, seconds: float) -> bool:
        """Whether the test is over."""
        return self.over.wait(seconds)


Act = Callable[[Connection], None]


def answers(body: bytes, status: int = 200, headers: str = "", *, length: bool = True) -> Act:
    """Send one whole response."""
    sized = f"Content-Length: {len(body)}\r\n" if length else ""

    def act(to: Connection) -> None:
        to.send(f"HTTP/1.1 {status} Said\r\n{sized}{headers}\r\n".encode("latin-1") + body)

    return act


def redirects(location: str, status: int = 302) -> Act:
    """Send the client elsewhere."""
    return answers(b"elsewhere", status, f"Location: {location}\r\n")


def says(*parts: bytes) -> Act:
    """Send these bytes and close."""

    def act(to: Connection) -> None:
        for part in parts:
            to.send(part)

    return act


def keeps_saying(start: bytes, part: bytes, pause: float = 0.0) -> Act:
    """Send ``part`` again and again behind ``start``, with a pause of so many seconds."""

    def act(to: Connection) -> None:
        to.send(start)
        while not (to.wait(pause) if pause else to.over.is_set()):
            to.send(part)

    return act


def hangs(start: bytes = b"") -> Act:
    """Say ``start`` and nothing more."""

    def act(to: Connection) -> None:
        to.send(start)
        to.wait(60)

    return act


def resets(start: bytes = b"") -> Act:
    """Break the connection off behind ``start``."""

    def act(to: Connection) -> None:
        to.send(start)
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        to.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    return act


class HostileServer:
    """A context manager: the server runs inside it, and acts by the path it is asked for.

    ``heads`` holds what came, in order. With ``greeting`` it acts without being asked. With
    ``tls`` it speaks TLS; ``names`` are the server names that clients sent.
    """

    def __init__(
        self,
        acts: Mapping[str, Act],
        *,
        tls: ssl.SSLContext | None = None,
        greeting: Act | None = None,
    ) -> None:
        self.acts = acts
        self.heads: list[str] = []
        self.names: list[str | None] = []
        self.over = threading.Event()
        self._tls = tls
        self._greeting = greeting
        if tls is not None:
            tls.sni_callback = lambda _, name, __: self.names.append(name)

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.over.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)

    def _serve(self) -> None:
        while not self.over.is_set():
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._talk, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, peer: socket.socket) -> None:
        peer.settimeout(10)
        with contextlib.suppress(OSError), contextlib.ExitStack() as open_until:
            open_until.callback(lambda: peer.close())
            if self._greeting is not None:
                self._greeting(Connection(peer, self.over))
                return
            if self._tls is not None:
                peer = self._tls.wrap_socket(peer, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head and (data := peer.recv(4096)):
                head += data
            if head:
                self.heads.append(head.decode("latin-1"))
                path = self.heads[-1].split(" ")[1].partition("?")[0]
                self.acts[path](Connection(peer, self.over))


class LocalFetcher(Fetcher):
    """Resolves by ``names`` (an answer each look-up, the last one repeats), connects to a server.

    ``asked`` and ``dialled`` hold the names it looked up and the addresses it connected to.
    """

    def __init__(
        self,
        server: HostileServer | None = None,
        names: Mapping[str, Sequence[Sequence[str]]] | None = None,
        *,
        seconds: float = FETCH_SECONDS,
        trusting: Path | None = None,
    ) -> None:
        super().__init__(seconds)
        self._server = server
        self._names = {name: list(each) for name, each in (names or {}).items()}
        self._trusting = trusting
        self.asked: list[str] = []
        self.dialled: list[tuple[str, int]] = []

    def _resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        script = self._names.get(host, [[PUBLIC]])
        return script.pop(0) if len(script) > 1 else script[0]

    def _connected(self, address: Address, port: int, seconds: float) -> socket.socket:
        self.dialled.append((str(address), port))
        assert self._server is not None, f"a connection to {address}"
        return socket.create_connection(("127.0.0.1", self._server.port), seconds)

    def _tls_context(self) -> ssl.SSLContext:
        context = super()._tls_context()
        if self._trusting is None:
            return context
        fresh = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        fresh.options = context.options
        assert (fresh.verify_mode, fresh.check_hostname) == (
            context.verify_mode,
            context.check_hostname,
        )
        fresh.load_verify_locations(self._trusting)
        return fresh
