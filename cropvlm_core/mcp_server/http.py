"""Streamable HTTP: the server for clients that do not start it themselves.

There is no authentication here: whoever reaches the address may call. By default that is this
machine alone, and the headers Host and Origin are checked, so that no web page that is open in a
browser here gets through (DNS rebinding).
"""

import socket
from collections.abc import Sequence

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cropvlm_core.listening import LOCAL_NAMES
from cropvlm_core.mcp_server.calls import Calls
from cropvlm_core.sources import MAX_BYTES

PATH = "/mcp"
"""Where clients speak to the server; ``/healthz`` answers "ok"."""

BODY_BYTES = MAX_BYTES * 4 // 3 + 2**20
"""The most bytes of a request: the largest image as a ``data:`` URI, and a mebibyte."""

CONNECTIONS = 64
"""The most connections at once; further ones are answered 503."""

_SECONDS_TO_END = 5  # for calls at work, when the server is told to end


def http_app(server: Server[Calls], names: Sequence[str] = ()) -> Starlette:
    """Return the ASGI application.

    ``names``: hosts, besides this machine's own, that clients may name in the headers Host and
    Origin, with any port or none.
    """
    hosts = [*LOCAL_NAMES, *names]
    any_port = [f"{host}{port}" for host in hosts for port in ("", ":*")]
    return server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=BODY_BYTES,
        transport_security=TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=any_port,
            allowed_origins=[
                f"{scheme}://{host}" for scheme in ("http", "https") for host in any_port
            ],
        ),
        custom_starlette_routes=[Route("/healthz", _healthy)],
    )


async def serve_http(server: Server[Calls], listener: socket.socket, names: Sequence[str]) -> None:
    """Serve until SIGINT or SIGTERM; calls at work then have some seconds to end."""
    settings = uvicorn.Config(
        http_app(server, names),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=_SECONDS_TO_END,
    )
    await uvicorn.Server(settings).serve(sockets=[listener])


async def _healthy(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok\n")
