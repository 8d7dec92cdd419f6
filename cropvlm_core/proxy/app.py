"""The application: which request goes which way, and one line of the log for each."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cropvlm_core import __version__
from cropvlm_core.openai_requests import Conversation, conversation_in
from cropvlm_core.proxy.exchange import Exchange, Receive, Scope, Send
from cropvlm_core.proxy.gate import Gate, Place
from cropvlm_core.proxy.headers import for_upstream, value_of
from cropvlm_core.proxy.refusals import STATUS_HEADER, ClientGoneError, CutError, RefusedError
from cropvlm_core.proxy.settings import Settings
from cropvlm_core.proxy.upstream import Upstream
from cropvlm_core.proxy.work import Workers, log_bug
from cropvlm_core.zoom import ZoomPipeline

logger = logging.getLogger(__name__)

_Way = Callable[[Exchange], Awaitable[None]]


class Proxy:
    """One proxy; :attr:`app` is its ASGI application."""

    def __init__(self, settings: Settings, pipeline: ZoomPipeline, name: str = "embedded") -> None:
        """Follow ``pipeline``, whose cropper requests and answers call ``name``."""
        self._settings = settings
        self._gate = Gate(
            settings.max_requests, settings.memory, settings.queue, settings.queue_seconds
        )
        self._workers = Workers(pipeline, settings, name)
        self.app = Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/v1/zoom", _Handler(self, self._zoom)),
            ],
            lifespan=self._running,
        )
        self.app.router.default = _Handler(self, self._pass_on)  # whatever is asked for
        self.app.router.redirect_slashes = False

    @asynccontextmanager
    async def _running(self, _app: Starlette) -> AsyncIterator[None]:
        self._upstream = Upstream(self._settings)
        try:
            yield
        finally:
            await self._upstream.close()
            self._workers.close()

    async def serve(self, exchange: Exchange, way: _Way) -> None:
        """Serve one request, whatever happens, and log it."""
        try:
            exchange.check_host(self._settings.hosts)
            await way(exchange)
        except RefusedError as refusal:
            with suppress(ClientGoneError):
                await exchange.refuse(refusal)
        except (ClientGoneError, CutError) as error:
            exchange.record.end = error.code
        except Exception as bug:  # noqa: BLE001 - the client gets an answer, the log the place
            log_bug(bug)
            with suppress(ClientGoneError):
                await exchange.refuse(RefusedError(500, "internal", "the proxy failed"))
        except BaseException:  # the grace of a shutdown is over
            exchange.record.end = "stopped"
            raise
        finally:
            logger.info("request", extra={"told": exchange.record.line()})

    def exchange(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        """A request, with this proxy's deadlines."""
        return Exchange(scope, receive, send, self._settings.send_seconds)

    async def _health(self, _request: Request) -> JSONResponse:
        gate = self._gate
        told = {"requests": gate.inside_now, "waiting": gate.waiting_now}
        return JSONResponse({"status": "ok", "version": __version__, **told})

    async def _pass_on(self, exchange: Exchange) -> None:
        target = exchange.target
        conversation = self._to_zoom(exchange, target)
        if conversation is None:
            async with self._gate.inside(0):
                await exchange.unless_gone(self._stream(exchange, target))
            return
        async with self._gate.inside(self._memory_of(exchange)) as place:
            body = [await self._body(exchange)]
            await exchange.unless_gone(self._crop(exchange, target, conversation, body, place))

    def _to_zoom(self, exchange: Exchange, target: bytes) -> Conversation | None:
        """Where the body holds images to zoom into; None: it is passed on unread."""
        asked = value_of(exchange.headers, STATUS_HEADER) or b""
        encoding = value_of(exchange.headers, b"content-encoding") or b"identity"
        if exchange.method != "POST" or asked.strip().lower() == b"off" or encoding != b"identity":
            return None
        return conversation_in(target.decode("ascii", "replace"))

    def _memory_of(self, exchange: Exchange) -> int:
        return min(self._settings.max_body, exchange.size or self._settings.max_body)

    async def _body(self, exchange: Exchange) -> bytes:
        return await exchange.read(self._settings.max_body, self._settings.body_seconds)

    async def _stream(self, exchange: Exchange, target: bytes) -> None:
        headers = for_upstream(exchange.headers)
        if exchange.size == 0:
            await exchange.read_nothing()
            await self._upstream.pass_on(exchange, target, headers, None, "")
        else:
            await self._upstream.pass_on(exchange, target, headers, exchange.stream(), "")

    async def _crop(
        self,
        exchange: Exchange,
        target: bytes,
        conversation: Conversation,
        body: list[bytes],
        place: Place,
    ) -> None:
        """Add crops and pass on; ``body`` is handed over in a list, to be let go of once sent."""
        rewritten = await self._workers.rewrite(body[0], conversation)
        told = ""
        if rewritten is not None:
            told = rewritten.header
            exchange.record.told |= {"crops": rewritten.crops, "passed_over": list(rewritten.why)}
            exchange.record.took("zoomed_ms", exchange.record.began)
            if rewritten.body is not None:
                body[0] = rewritten.body
            del rewritten

        async def once() -> AsyncIterator[bytes]:
            yield body.pop()
            place.free()

        headers = for_upstream(exchange.headers, len(body[0]))
        await self._upstream.pass_on(exchange, target, headers, once(), told)

    async def _zoom(self, exchange: Exchange) -> None:
        if exchange.method != "POST":
            raise RefusedError(405, "bad_method", "expected POST")
        async with self._gate.inside(self._memory_of(exchange)):
            body = await self._body(exchange)
            await exchange.unless_gone(self._answer_zoom(exchange, body))

    async def _answer_zoom(self, exchange: Exchange, body: bytes) -> None:
        told = await self._workers.zoom(body)
        exchange.record.told["crops"] = len(told["crops"])
        headers = [(b"content-type", b"application/json")]
        await exchange.answer(200, headers, json.dumps(told).encode("ascii"))


class _Handler:
    """An ASGI application of one way; a class, so that Starlette hands over every method."""

    def __init__(self, proxy: Proxy, way: _Way) -> None:
        self._proxy = proxy
        self._way = way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._proxy.serve(self._proxy.exchange(scope, receive, send), self._way)
