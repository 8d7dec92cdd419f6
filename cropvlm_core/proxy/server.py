"""Running a proxy: the socket, the server, signals."""

import logging
import math
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from cropvlm_core import __version__
from cropvlm_core.listening import LOCAL_NAMES, is_local, url_of
from cropvlm_core.proxy.app import Proxy
from cropvlm_core.proxy.settings import Settings

logger = logging.getLogger(__name__)

BACKLOG = 2048
"""Connections that the system keeps for us."""

_FILES = 65_536  # two sockets a request, and those of clients that wait


def names_of(listening: socket.socket, more: Sequence[str]) -> tuple[str, ...] | None:
    """By which names clients may call what is served there, with ``more``; None: any.

    None where others than this machine's programs reach the address, unless there are ``more``.
    """
    if not more and not is_local(listening):
        return None
    return (*LOCAL_NAMES, *more)


def serve(proxy: Proxy, settings: Settings, listening: socket.socket, grace: float) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what runs, for ``grace`` seconds at most.

    Raises:
        KeyboardInterrupt: it was Ctrl-C.
    """
    told = {"listen": url_of(listening), "upstream": settings.origin, "version": __version__}
    _raise_file_limit()
    logger.info("start", extra={"told": told})
    running = http_server(proxy, grace)
    try:
        with _signals(running) as heard:
            running.run(sockets=[listening])
    finally:
        logger.info("stop")
    if signal.SIGINT in heard:
        raise KeyboardInterrupt


def http_server(proxy: Proxy, grace: float) -> uvicorn.Server:
    """The HTTP server of a proxy; it adds no header of its own."""
    return uvicorn.Server(
        uvicorn.Config(
            proxy.app,
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(grace),
        )
    )


@contextmanager
def _signals(server: uvicorn.Server) -> Iterator[list[int]]:
    """Note SIGTERM and Ctrl-C, which the server raises again once it has finished its work."""
    heard: list[int] = []

    def note(number: int, _frame: object) -> None:
        heard.append(number)
        server.should_exit = True  # it may not have begun to listen to signals itself

    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before: dict[int, Any] = {}
    try:
        for each in (signal.SIGINT, signal.SIGTERM):
            before[each] = signal.signal(each, note)
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_file_limit() -> None:
    with suppress(ImportError, OSError, ValueError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
        if soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
