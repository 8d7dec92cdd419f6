"""The socket that a server of ours listens at, and by which names it may be called."""

import os
import socket
from ipaddress import ip_address

from cropvlm_core.errors import SourceError

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
"""How programs of this machine call a server on it, as the header Host has it."""


def listen(host: str, port: int, *, waiting: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: an address or name of this machine.
        port: 0 is any that is free.
        waiting: how many connections the system keeps until they are accepted.

    Raises:
        SourceError: the address is in use, or none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Said to be TCP, as asyncio sends small packets at once (TCP_NODELAY) only where it knows that:
    # without, each answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(waiting)
    except (OSError, OverflowError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or "no such address"
        raise SourceError(
            f"expected a free address to listen on, got {host}:{port}: {why}"
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL of what is served there."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_local(listener: socket.socket) -> bool:
    """Whether programs of this machine alone reach it."""
    return ip_address(listener.getsockname()[0]).is_loopback
