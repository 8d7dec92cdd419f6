"""What a proxy is told, checked."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from cropvlm_core.errors import shorten

MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """Where requests go, and the limits on the way.

    Attributes:
        upstream: scheme, host and port of the server, and the path before the apps' own; a final
            ``/v1`` is taken for the apps' own.
        hosts: names by which clients may call this server (Host); None: any. Where it listens for
            this machine alone a web page could else reach the upstream through it, by a name of
            its own that leads here.
        urls: images that are http or https URLs are fetched for zooming, from public addresses.
        workers: threads that zoom.
        max_requests: requests under way at once; the others wait in line.
        queue: requests that wait at most; a further one is answered 429.
        queue_seconds: how long one waits at most; then it is answered 503.
        max_body: the most bytes of a body that may be zoomed into; a larger one is answered 413.
        memory: the most bytes of such bodies held at once.
        body_seconds: how long a client may take to send such a body.
        zoom_seconds: how long zooming may take, waiting for a worker included; a request that
            takes longer goes on without crops.
        connect_seconds: how long connecting to the upstream may take.
        timeout: seconds of silence from the upstream after which it is given up.
        send_seconds: how long a client may take to accept a part of the answer.
    """

    upstream: str
    hosts: tuple[str, ...] | None = None
    urls: bool = False
    workers: int = 2
    max_requests: int = 64
    queue: int = 128
    queue_seconds: float = 30.0
    max_body: int = 64 * MIB
    memory: int = 512 * MIB
    body_seconds: float = 60.0
    zoom_seconds: float = 20.0
    connect_seconds: float = 10.0
    timeout: float = 600.0
    send_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: no such URL, or a limit is not above 0.
        """
        check_upstream(self.upstream)
        for name, value in vars(self).items():
            if name not in ("upstream", "hosts", "urls") and not value > 0:
                raise ValueError(f"expected {name} above 0, got {shorten(value)}")

    @property
    def origin(self) -> str:
        """Scheme, host and port of the upstream."""
        parts = urlsplit(self.upstream)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def prefix(self) -> bytes:
        """What stands before the path that an app asks for."""
        path = urlsplit(self.upstream).path.rstrip("/")
        return path.removesuffix("/v1").encode("ascii")


def check_upstream(url: str) -> None:
    """Refuse what is no base URL of a server.

    Raises:
        ValueError: no http or https URL, or one with a user name, query or fragment.
    """
    expected = "expected an upstream as http(s)://HOST[:PORT][/PATH]"
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in ("http", "https") and parts.port != 0 else None
    except ValueError:  # a port that is no number, a broken IPv6 address
        raise ValueError(f"{expected}, got {shorten(url)}") from None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{expected}, got {shorten(url)}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{expected}, got more: keys come from the apps, with each request")
