"""Answers of the proxy's own, in the words of the protocol, and why an exchange ends early."""

import json

STATUS_HEADER = b"x-cropvlm"
"""In a request ``off``: no crops. In an answer: what was added, or that it is the proxy's own."""


class RefusedError(Exception):
    """The proxy answers itself: ``status``, a stable ``code``, and a message for people."""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None
    ) -> None:
        """``retry_after``: seconds after which the client may try again."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after

    def body(self) -> bytes:
        """The protocol's error object."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": str(self), "type": kind, "param": None, "code": self.code}
        return json.dumps({"error": error}).encode("ascii")

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the answer but for its length."""
        headers = [(b"content-type", b"application/json")]
        headers.append((STATUS_HEADER, b"error=" + self.code.encode("ascii")))
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after))
        return headers


class ClientGoneError(Exception):
    """The client closed the connection, or stopped reading: nobody waits for the answer."""

    code = "client_gone"


class CutError(Exception):
    """The upstream broke off in the middle of an answer: the client's connection is closed."""

    code = "upstream_cut"
