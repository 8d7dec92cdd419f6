"""One request and its answer, on the side of the client."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from cropvlm_core.proxy.headers import Headers, value_of
from cropvlm_core.proxy.refusals import ClientGoneError, RefusedError

_PORT = re.compile(r":[0-9]*\Z")

Scope = MutableMapping[str, Any]
Receive = Any
Send = Any


@dataclass
class Record:
    """What the log tells of a request: sizes, times and codes, never content."""

    method: str
    path: str
    began: float = field(default_factory=time.perf_counter)
    status: int | None = None
    end: str = "done"
    bytes_in: int = 0
    bytes_out: int = 0
    told: dict[str, Any] = field(default_factory=dict)

    def took(self, name: str, since: float) -> None:
        """Note how long something took, in milliseconds."""
        self.told[name] = round((time.perf_counter() - since) * 1000, 1)

    def line(self) -> dict[str, Any]:
        """What is written."""
        self.took("ms", self.began)
        known = {name: value for name, value in vars(self).items() if name not in ("began", "told")}
        return known | self.told


class Exchange:
    """A request that is read, and an answer that is sent, within deadlines."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, send_seconds: float) -> None:
        self.method: str = scope["method"]
        self.headers: Headers = list(scope["headers"])
        self.record = Record(self.method, _shown(scope["raw_path"]))
        self.started = False
        self._scope = scope
        self._receive = receive
        self._send = send
        self._send_seconds = send_seconds
        self._read_to_end = asyncio.Event()

    @property
    def target(self) -> bytes:
        """Path and query as they came.

        Raises:
            RefusedError: no absolute path, or one with ``.`` or ``..`` in it, which could lead out
                of the upstream's.
        """
        path: bytes = self._scope["raw_path"]
        parts = unquote_to_bytes(path).replace(b"\\", b"/").split(b"/")
        if not path.startswith(b"/") or b"." in parts or b".." in parts:
            raise RefusedError(
                400, "bad_path", "expected an absolute path without dots as segments"
            )
        query: bytes = self._scope["query_string"]
        return path + b"?" + query if query else path

    @property
    def size(self) -> int | None:
        """How many bytes the body will have: 0 where there is none, None where nobody says."""
        given = value_of(self.headers, b"content-length")
        if given is not None and given.isdigit():
            return int(given)
        return None if value_of(self.headers, b"transfer-encoding") is not None else 0

    def check_host(self, hosts: tuple[str, ...] | None) -> None:
        """See :attr:`Settings.hosts`.

        Raises:
            RefusedError: the client calls this server by another name.
        """
        given = (value_of(self.headers, b"host") or b"").decode("latin-1").lower()
        if hosts is not None and _PORT.sub("", given) not in hosts:
            raise RefusedError(403, "bad_host", "expected a Host that --allow-host names")

    async def stream(self) -> AsyncIterator[bytes]:
        """Give the parts of the body as they come.

        Raises:
            ClientGoneError: before its end.
        """
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            more = message.get("more_body", False)
            if part := message.get("body"):
                self.record.bytes_in += len(part)
                yield part
        self._read_to_end.set()

    async def read(self, most: int, seconds: float) -> bytes:
        """Read the whole body; what is too large is read, too: who is cut off reads no answer.

        Raises:
            ClientGoneError: before its end.
            RefusedError: more than ``most`` bytes (413), or not within ``seconds`` (408).
        """
        parts = bytearray()
        too_large = (self.size or 0) > most
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for part in self.stream():
                    too_large = too_large or len(parts) + len(part) > most
                    if not too_large:
                        parts += part
        if too_large:
            told = f"expected a body of at most {most} bytes, got more"
            raise RefusedError(413, "body_too_large", told)
        if not self._read_to_end.is_set():
            raise RefusedError(408, "body_slow", f"expected the whole body within {seconds:g} s")
        return bytes(parts)

    async def read_nothing(self) -> None:
        """Read the end of a request without a body."""
        async for _ in self.stream():
            pass

    async def unless_gone(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, and stop as soon as the client is gone.

        Raises:
            ClientGoneError: it is.
        """
        gone = asyncio.ensure_future(self._gone())
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGoneError
            await task
        finally:
            for each in (task, gone):
                each.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    async def _gone(self) -> None:
        await self._read_to_end.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers."""
        self.started = True
        self.record.status = status
        await self._sent(
            self._send({"type": "http.response.start", "status": status, "headers": headers})
        )

    async def part(self, data: bytes) -> None:
        """Send a part of the answer; waits while the client does not read.

        Raises:
            ClientGoneError: it did not read for too long.
        """
        self.record.bytes_out += len(data)
        await self._sent(
            self._send({"type": "http.response.body", "body": data, "more_body": True})
        )

    async def finish(self) -> None:
        """End the answer."""
        await self._sent(self._send({"type": "http.response.body", "body": b""}))

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer of the proxy's own."""
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.part(body)
        await self.finish()

    async def refuse(self, refusal: RefusedError) -> None:
        """Send a refusal; where an answer has begun, it can only be cut off."""
        self.record.end = refusal.code
        if not self.started:
            await self.answer(refusal.status, refusal.headers(), refusal.body())

    async def _sent(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._send_seconds):
                await sending
        except TimeoutError:
            raise ClientGoneError from None


def _shown(path: bytes) -> str:
    """A path for the log: without its query, which may hold keys."""
    return path[:200].decode("ascii", "backslashreplace")
