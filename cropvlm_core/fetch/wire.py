"""Deadline and Wire: every byte that comes in comes before the deadline, and is counted.

A socket's timeout bounds one read. TLS is spoken through buffers in memory, so that not even its
own records get round the count and the clock.
"""

import io
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from cropvlm_core.errors import CropVLMError, DeadlineError, SourceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK = 2**16

_T = TypeVar("_T")


class Deadline:
    """The one end of everything that belongs to a fetch."""

    def __init__(self, seconds: float, called: str) -> None:
        """Start the clock; ``called`` is what to call the fetched thing in a message."""
        self._end = time.monotonic() + seconds
        self._message = f"expected an image within {seconds:g} s, got none from {called}"

    def left(self) -> float:
        """Seconds left, above 0.

        Raises:
            DeadlineError: there are none.
        """
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise self.error()
        return seconds

    def error(self) -> DeadlineError:
        """What to raise when it has passed."""
        return DeadlineError(self._message)


class Wire(io.RawIOBase):
    """A connected socket, as ``http.client`` reads from one."""

    def __init__(self, connected: socket.socket, deadline: Deadline, called: str) -> None:
        """Read nothing before :meth:`allow`. The socket stays its owner's to close."""
        super().__init__()
        self._socket = connected
        self._deadline = deadline
        self._called = called
        self._allowed = 0
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.failure: CropVLMError | None = None
        """Why reading ended: some of what ``http.client`` is told it retells as its own error."""

    def allow(self, count: int) -> None:
        """Let so many bytes more come in."""
        self._allowed += count

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Shake hands, as the client of ``host``."""
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._with_bytes(self._tls.do_handshake)

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        if self._tls is None:
            self._send(data)
        else:
            tls = self._tls
            self._with_bytes(lambda: tls.write(data))

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - as of a socket
        """Return what ``http.client`` reads from."""
        return io.BufferedReader(self, _CHUNK)

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read what has come, 0 at the end; waits at most until the deadline."""
        view = memoryview(buffer).cast("B")
        if self._tls is None:
            data = self._received(len(view))
        else:
            tls = self._tls
            try:
                data = self._with_bytes(lambda: tls.read(len(view)))
            except ssl.SSLZeroReturnError:  # the other side said goodbye
                data = b""
        view[: len(data)] = data
        return len(data)

    def _with_bytes(self, step: Callable[[], _T]) -> _T:
        """Do a step of TLS, which asks for bytes until it has enough."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._send(self._outgoing.read())
                if data := self._received(_CHUNK):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                self._send(self._outgoing.read())
                return done

    def _send(self, data: bytes) -> None:
        if data:
            self._socket.settimeout(self._deadline.left())
            self._socket.sendall(data)

    def _received(self, count: int) -> bytes:
        try:
            self._socket.settimeout(self._deadline.left())
            data = self._socket.recv(min(count, self._allowed + 1))
            self._allowed -= len(data)
            if self._allowed < 0:
                raise SourceError(
                    f"expected an image of the allowed size, got more: {self._called}"
                )
        except CropVLMError as error:
            self.failure = error
            raise
        return data
