"""The ``openai`` client as we use it: no retries, no redirects, and no more than we want to read.

A server is not ours to trust. An answer is read while it is counted, and never beyond the cap:
without that, a server decides how much memory a client takes. Compressed answers, whose size no
one knows, are refused; we ask for none. Following a redirect would hand the page to a server that
nobody named.
"""

import asyncio
import functools
import inspect
import os
import sys
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MAX_ANSWER = 2**20
"""The most bytes of an answer (1 MiB)."""

MAX_REFUSAL = 2**16
"""The most bytes read of the body of an error: the rest is left out."""


class UnwantedError(Exception):
    """An answer that we do not read: says what was expected and what came."""


def prepare() -> None:
    """Import the client, and read the certificates: most of a second, at the first call only."""
    _certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


def open_client(key: str, base_url: str | None, timeout: float) -> "AsyncOpenAI":
    """A client for one event loop, to be closed.

    Raises:
        OpenAIError, ValueError: what the client refuses.
    """
    import openai

    # The client's own timeout only bounds single reads, and its retries know no deadline.
    return openai.AsyncOpenAI(
        api_key=key,
        base_url=base_url,
        max_retries=0,
        timeout=timeout,
        http_client=openai.DefaultAsyncHttpxClient(
            verify=_certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
            headers={"Accept-Encoding": "identity"},
            follow_redirects=False,
            event_hooks={"response": [_cap]},
        ),
    )


async def close(client: "AsyncOpenAI", tasks: Sequence["asyncio.Task[Any]"]) -> None:
    """Wait for the tasks that used a client to end, then close it.

    A second cancelling must not reach this, or connections stay open until they are collected.
    """
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()


async def post(client: "AsyncOpenAI", path: str, body: Sequence[bytes]) -> Any:
    """Send pieces of JSON, and return what the server's JSON says; text where it is none.

    Raises:
        APIError: the server failed, refused, or was not reached.
        UnwantedError: an answer that we do not read.
        ValueError, RecursionError: the server said that it sends JSON, and did not.
    """
    import openai

    headers = {"Content-Type": "application/json", "Content-Length": str(sum(map(len, body)))}
    options: Any = {"headers": headers}
    sent: dict[str, Any] = {"content": _one_by_one(body)}
    if "content" not in inspect.signature(client.post).parameters:  # an early version 2
        sent = {"body": b"".join(body)}
    try:
        return await client.post(path, cast_to=object, options=options, **sent)
    except openai.APIConnectionError as error:  # some versions wrap what comes out of a stream
        if isinstance(error.__cause__, UnwantedError):
            raise error.__cause__ from None
        raise


async def _one_by_one(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@functools.cache
def _certificates(_file: str | None, _folder: str | None) -> Any:
    """Reading the certificates takes 20 ms, in which no other thread runs: once is enough."""
    return _http().create_ssl_context()


def _http() -> Any:
    """The HTTP library that the client stands on: httpx, or httpx2 from version 3 on."""
    import openai

    kinds = openai.DefaultAsyncHttpxClient.__mro__
    return sys.modules[next(kind.__module__ for kind in kinds if kind.__name__ == "AsyncClient")]


async def _cap(response: Any) -> None:
    """Count what is read of a response from now on."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        raise UnwantedError(f"an answer that is not compressed, got one in {encoding[:20]!r}")
    response.stream = _capped_stream()(response.stream, response.is_success)


@functools.cache
def _capped_stream() -> Any:
    """The class below, as the HTTP library wants it."""

    class CappedStream(_http().AsyncByteStream):  # type: ignore[misc]  # known when it runs
        def __init__(self, stream: Any, is_answer: bool) -> None:
            self._stream, self._is_answer = stream, is_answer

        async def __aiter__(self) -> AsyncIterator[bytes]:
            most = MAX_ANSWER if self._is_answer else MAX_REFUSAL
            async for chunk in self._stream:
                most -= len(chunk)
                if most >= 0:
                    yield chunk
                elif self._is_answer:
                    raise UnwantedError(f"an answer of at most {MAX_ANSWER} bytes, got more")
                else:
                    return

        async def aclose(self) -> None:
            await self._stream.aclose()

    return CappedStream
