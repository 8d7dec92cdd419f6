"""A small object store that speaks as much of S3 as Apache Arrow asks for, on this machine."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_DAY = "%Y-%m-%dT%H:%M:%S.000Z"


class ObjectStore(ThreadingHTTPServer):
    """Keeps ``objects`` by ``bucket/key``; ``asked`` lists the objects that were read."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.asked: list[str] = []

    def uri(self, path: str) -> str:
        """The URI of a path, for Arrow."""
        query = f"scheme=http&endpoint_override=127.0.0.1:{self.server_port}&region=here"
        return f"s3://{path}?{query}"

    def put(self, path: str, data: bytes) -> None:
        """Store an object."""
        self.objects[path] = (data, time.time())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObjectStore

    def do_GET(self) -> None:
        path, query = self._asked()
        if "/" not in path.rstrip("/"):
            self._list(path.rstrip("/"), query)
            return
        found = self.server.objects.get(path)
        if found is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        data, changed = found
        if self.command == "GET":
            self.server.asked.append(path)
        headers = {"Last-Modified": formatdate(changed, usegmt=True), "ETag": '"1"'}
        if span := self.headers.get("Range"):
            first, _, last = span.removeprefix("bytes=").partition("-")
            end = min(int(last or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{end}/{len(data)}"
            self._answer(206, data[int(first) : end + 1], headers)
            return
        self._answer(200, data, headers)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        path, query = self._asked()
        data = self._body()
        if "uploadId" in query:
            self.server.uploads[query["uploadId"]][int(query["partNumber"])] = data
        else:
            self.server.put(path, data)
        self._answer(200, b"", {"ETag": '"1"'})

    def do_POST(self) -> None:
        path, query = self._asked()
        self._body()
        if "uploads" in query:
            number = f"upload-{len(self.server.uploads)}"
            self.server.uploads[number] = {}
            self._xml("InitiateMultipartUploadResult", f"<UploadId>{number}</UploadId>")
            return
        parts = self.server.uploads[query["uploadId"]]
        self.server.put(path, b"".join(parts[number] for number in sorted(parts)))
        self._xml("CompleteMultipartUploadResult", '<ETag>"1"</ETag>')

    def do_DELETE(self) -> None:
        path, _ = self._asked()
        self.server.objects.pop(path, None)
        self._answer(204, b"")

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        told, folders = [], set()
        for path, (data, changed) in sorted(self.server.objects.items()):
            key = path.removeprefix(f"{bucket}/")
            if not path.startswith(f"{bucket}/") or not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
                continue
            day = time.strftime(_DAY, time.gmtime(changed))
            told.append(
                f"<Contents><Key>{escape(key)}</Key><LastModified>{day}</LastModified>"
                f'<ETag>"1"</ETag><Size>{len(data)}</Size></Contents>'
            )
        told += [
            f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>"
            for each in sorted(folders)
        ]
        count = f"<KeyCount>{len(told)}</KeyCount><IsTruncated>false</IsTruncated>"
        self._xml("ListBucketResult", count + "".join(told))

    def _asked(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        return unquote(parts.path).lstrip("/"), {name: each[0] for name, each in query.items()}

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = _unchunked(self.rfile)
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            data = _unchunked(io.BytesIO(data))
        return data

    def _xml(self, name: str, inner: str) -> None:
        self._answer(200, f"<?xml version='1.0'?><{name}>{inner}</{name}>".encode())

    def _answer(self, code: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def _unchunked(stream: Any) -> bytes:
    """What was sent in chunks: by HTTP, or by Amazon's own way inside it."""
    whole = b""
    while size := int(stream.readline().split(b";")[0], 16):
        whole += stream.read(size)
        stream.readline()
    while stream.readline().strip():
        """Sums over the data, which we do not check."""
    return whole


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Run one."""
    with ObjectStore() as store:
        thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join()
