"""Which headers are passed on: all but those of one connection alone (RFC 9110, section 7.6.1)."""

from collections.abc import Iterable

from cropvlm_core.proxy.refusals import STATUS_HEADER

Headers = list[tuple[bytes, bytes]]
"""Names and values as they came, in order; a name may come several times."""

_OF_THE_CONNECTION = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_OF_THE_PROXY = frozenset({b"host", b"expect", STATUS_HEADER})


def for_upstream(headers: Iterable[tuple[bytes, bytes]], size: int | None = None) -> Headers:
    """Return the headers of a request as they go on; ``size``: the length of its body now."""
    kept = _end_to_end(headers, _OF_THE_PROXY)
    if size is None:
        return kept
    kept = [pair for pair in kept if pair[0].lower() != b"content-length"]
    return [*kept, (b"content-length", b"%d" % size)]


def for_client(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers of an answer as they go on, names in lower case as ASGI wants them."""
    return [(name.lower(), value) for name, value in _end_to_end(headers, frozenset())]


def value_of(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    """The first value of a header, or None."""
    return next((value for name, value in headers if name.lower() == wanted), None)


def _end_to_end(headers: Iterable[tuple[bytes, bytes]], other: frozenset[bytes]) -> Headers:
    pairs = list(headers)
    named = {
        word.strip().lower()
        for name, value in pairs
        if name.lower() == b"connection"
        for word in value.split(b",")
    }
    # a client could name the length of its body here, and make two requests of one
    dropped = (_OF_THE_CONNECTION | other | named) - {b"content-length"}
    return [pair for pair in pairs if pair[0].lower() not in dropped]
