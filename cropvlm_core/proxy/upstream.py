"""The server behind the proxy: a request goes out and its answer comes back, byte for byte."""

from collections.abc import AsyncIterator
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from cropvlm_core.proxy.exchange import Exchange
from cropvlm_core.proxy.headers import Headers, for_client
from cropvlm_core.proxy.refusals import STATUS_HEADER, CutError, RefusedError
from cropvlm_core.proxy.settings import Settings

_IDLE_SECONDS = 2.0  # less than what servers keep an idle connection for: 5 s of many
_WRITE_SECONDS = 60.0

Content = bytes | AsyncIterator[bytes] | None


class Upstream:
    """The one server that requests go to; for one event loop."""

    def __init__(self, settings: Settings) -> None:
        """Connect to nothing yet."""
        self._url = httpx.URL(settings.origin)
        self._prefix = settings.prefix
        self._seconds = settings.timeout
        self._timeout = {
            "connect": settings.connect_seconds,
            "read": settings.timeout,
            "write": _WRITE_SECONDS,
            "pool": None,  # the gate has let the request in
        }
        self._client = httpx.AsyncClient(
            limits=httpx.Limits(
                max_connections=None,
                max_keepalive_connections=settings.max_requests,
                keepalive_expiry=_IDLE_SECONDS,
            ),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # keeps none: the apps do
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def pass_on(
        self, exchange: Exchange, target: bytes, headers: Headers, content: Content, crops: str
    ) -> None:
        """Send a request and pass its answer to the client as it comes.

        Args:
            exchange: the client's side.
            target: path and query, as the client sent them.
            headers: of the request, those of the connection left out.
            content: the body, or its parts as they come; None: there is none.
            crops: what the answer's header says of crops; empty: it has no such header.

        Raises:
            RefusedError: the upstream could not be reached (502), or was silent for too long (504).
            CutError: it broke off in the middle of its answer.
            ClientGoneError: see :class:`Exchange`.
        """
        # A request made by hand, and not by the client, has no headers but these and Host; before
        # httpx 0.28 it would not have the client's timeouts either.
        request = httpx.Request(
            exchange.method,
            self._url,
            headers=headers,
            content=content,
            extensions={"target": self._prefix + target, "timeout": self._timeout},
        )
        response = await self._answered(request)
        try:
            added = [(STATUS_HEADER, crops.encode("ascii"))] if crops else []
            await exchange.start(response.status_code, for_client(response.headers.raw) + added)
            exchange.record.took("first_ms", exchange.record.began)
            async for part in response.aiter_raw():
                await exchange.part(part)
        except httpx.TransportError:
            raise CutError from None
        finally:
            await response.aclose()
        await exchange.finish()

    async def _answered(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._client.send(request, stream=True)
        except httpx.ConnectTimeout:
            raise RefusedError(
                504, "upstream_unreachable", "the upstream cannot be reached in time"
            ) from None
        except httpx.TimeoutException:
            told = f"the upstream was silent for {self._seconds:g} s"
            raise RefusedError(504, "upstream_silent", told) from None
        except httpx.ConnectError:
            raise RefusedError(
                502, "upstream_unreachable", "the upstream cannot be reached"
            ) from None
        except httpx.LocalProtocolError:
            raise RefusedError(
                400, "bad_request", "expected a request that can be passed on"
            ) from None
        except httpx.TransportError:
            raise RefusedError(
                502, "upstream_broken", "the upstream gave no whole answer"
            ) from None
        if response.status_code > 599:
            await response.aclose()
            raise RefusedError(502, "upstream_broken", "the upstream gave no status known to HTTP")
        return response
