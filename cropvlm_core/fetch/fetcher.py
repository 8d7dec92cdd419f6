"""Fetcher: one GET, under one deadline, of at most so many bytes, from public addresses only."""

import contextlib
import http.client
import io
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from typing import cast

from cropvlm_core.errors import CropVLMError, SourceError
from cropvlm_core.fetch.addresses import public_addresses
from cropvlm_core.fetch.trust import tls_context
from cropvlm_core.fetch.url import Address, Url, shown
from cropvlm_core.fetch.wire import Deadline, Wire

FETCH_SECONDS = 10.0
"""Seconds one fetch may take in all: names, connections, TLS, redirects, headers and body."""

MAX_REDIRECTS = 3

_HEAD_BYTES = 2**18  # for a handshake with its certificates and all headers of one answer
_FRAMES = 2**21  # what chunks, trailers and TLS records may add to a body in all
_CHUNK = 2**16
_DIALLED = 8  # addresses of one host
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def fetch(text: str, max_bytes: int) -> bytes:
    """Return the bytes that an http or https URL leads to.

    Args:
        text: the URL. User names, ports but 80, 443, 8080 and 8443, and hosts that are not of the
            public internet are refused, also behind a redirect; there are at most three of those,
            and none from https to http.
        max_bytes: the most bytes.

    Raises:
        SourceError: refused, or the server failed or answered no 200 with a plain body.
        DeadlineError: it took more than 10 seconds.
    """
    return Fetcher().fetch(text, max_bytes)


class Fetcher:
    """Fetches in the calling thread; safe to share between threads.

    No proxy, cookie, environment variable or setting has a say. The tests override
    :meth:`_resolve` and :meth:`_connected` to reach a server of their own.
    """

    def __init__(self, seconds: float = FETCH_SECONDS) -> None:
        """Fetch with a deadline of so many seconds."""
        self._seconds = seconds

    def fetch(self, text: str, max_bytes: int) -> bytes:
        """See :func:`fetch`."""
        called = shown(text)
        deadline = Deadline(self._seconds, called)
        url = Url.read(text, called)
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._answer(url, max_bytes, deadline, called)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise SourceError(f"expected at most {MAX_REDIRECTS} redirects, got more: {called}")

    def _answer(self, url: Url, max_bytes: int, deadline: Deadline, called: str) -> bytes | Url:
        """The body, or where a redirect leads."""
        addresses = public_addresses(
            url.address or url.host, url.port, self._resolve, deadline, called
        )
        with contextlib.closing(self._dialled(addresses, url.port, deadline, called)) as connected:
            wire = Wire(connected, deadline, called)
            wire.allow(_HEAD_BYTES)
            try:
                if url.scheme == "https":
                    wire.start_tls(self._tls_context(), url.host)
                wire.send(_request(url))
                # It asks a socket for nothing but makefile().
                response = http.client.HTTPResponse(cast("socket.socket", wire), method="GET")
                with contextlib.closing(response):
                    response.begin()
                    if response.status in _REDIRECTS:
                        return url.redirected(response.headers.get("Location", ""), called)
                    wire.allow(_FRAMES)
                    return _body(response, wire, max_bytes, called)
            except CropVLMError:
                raise
            except TimeoutError:
                raise deadline.error() from None
            except ssl.SSLCertVerificationError:
                raise SourceError(
                    f"expected a server with a valid certificate, got {called}"
                ) from None
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise wire.failure or SourceError(
                    f"expected a whole answer, got a broken one from {called} "
                    f"({type(error).__name__})"
                ) from None

    def _dialled(
        self, addresses: Sequence[Address], port: int, deadline: Deadline, called: str
    ) -> socket.socket:
        """Connect to the first address that answers, each given its share of the time left."""
        dialled = addresses[:_DIALLED]
        for waiting, address in zip(range(len(dialled), 0, -1), dialled, strict=True):
            seconds = deadline.left() / waiting
            try:
                connected = self._connected(address, port, seconds)
            except OSError:
                continue
            if _own_address(connected) == address:  # public, and of this very machine
                connected.close()
                raise SourceError(f"expected a host of the public internet, got {called}")
            return connected
        deadline.left()
        raise SourceError(f"expected a server that can be reached, got none for {called}")

    def _resolve(self, host: str, port: int) -> Sequence[str]:
        found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
        return [str(place[0]) for *_, place in found]

    def _connected(self, address: Address, port: int, seconds: float) -> socket.socket:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        connecting = socket.socket(family, socket.SOCK_STREAM)
        try:
            connecting.settimeout(seconds)
            connecting.connect((str(address), port))
        except BaseException:
            connecting.close()
            raise
        return connecting

    def _tls_context(self) -> ssl.SSLContext:
        return tls_context()


def _own_address(connected: socket.socket) -> Address | None:
    """The address from which a connection is made."""
    try:
        return ipaddress.ip_address(connected.getsockname()[0].partition("%")[0])
    except (OSError, ValueError):  # broken already
        return None


def _request(url: Url) -> bytes:
    lines = (
        f"GET {url.target} HTTP/1.1",
        f"Host: {url.authority}",
        "User-Agent: cropvlm",
        "Accept: image/*, */*;q=0.1",
        "Accept-Encoding: identity",
        "Connection: close",
        "",
        "",
    )
    return "\r\n".join(lines).encode("ascii")


def _body(response: http.client.HTTPResponse, wire: Wire, max_bytes: int, called: str) -> bytes:
    """Read the body of an answer; one that grows when unpacked is refused unread."""
    if response.status != HTTPStatus.OK:
        raise SourceError(f"expected HTTP 200, got {response.status} from {called}")
    for header, plain in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
        coding = ",".join(response.headers.get_all(header, [])).strip().lower()
        if coding not in ("", plain):
            raise SourceError(f"expected an answer that is not compressed, got one from {called}")
    too_much = SourceError(f"expected at most {max_bytes} bytes, got more: {called}")
    if response.length is not None and response.length > max_bytes:
        raise too_much
    body = io.BytesIO()
    while chunk := response.read(_CHUNK):
        body.write(chunk)
        wire.allow(len(chunk))
        if body.tell() > max_bytes:
            raise too_much
    if response.length:
        raise SourceError(f"expected a whole answer, got its beginning from {called}")
    if not body.tell():
        raise SourceError(f"expected an image, got an empty answer from {called}")
    return body.getvalue()
