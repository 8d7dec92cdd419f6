"""A Hub on 127.0.0.1 that data sets can be read from: just enough of its API for ``datasets``."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlparse

_COMMIT = "a" * 40


class Request(BaseHTTPRequestHandler):
    """One request of ``datasets`` or ``huggingface_hub``."""

    server: "DataHub"
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        """Tell what a file is."""
        self.do_GET()

    def do_GET(self) -> None:
        """Describe a repository, list a folder of it, or give a file or a part of one."""
        parts = unquote(urlparse(self.path).path).split("/")[1:]
        if parts[:2] == ["api", "datasets"] and len(parts) >= 4:
            self._describe(self.server.root / "/".join(parts[2:4]), parts[4:])
        elif parts[0] == "datasets" and len(parts) > 5 and parts[3] == "resolve":
            self._give(self.server.root / "/".join(parts[1:3]) / "/".join(parts[5:]))
        else:
            self._send(b"{}", 404)

    def _describe(self, repository: Path, rest: list[str]) -> None:
        if not repository.is_dir():
            self._send(b'{"error": "Repository not found"}', 404, {"X-Error-Code": "RepoNotFound"})
        elif rest[:1] == ["tree"]:
            folder = repository / "/".join(rest[2:])
            self._json([self._entry(repository, each) for each in sorted(folder.iterdir())])
        else:
            name = repository.relative_to(self.server.root).as_posix()
            self._json({"id": name, "sha": _COMMIT, "private": False, "siblings": [], "tags": []})

    def _entry(self, repository: Path, path: Path) -> dict[str, Any]:
        kind = "file" if path.is_file() else "directory"
        size = path.stat().st_size if path.is_file() else 0
        name = path.relative_to(repository).as_posix()
        return {"type": kind, "path": name, "size": size, "oid": hashlib.sha1(b"").hexdigest()}

    def _give(self, file: Path) -> None:
        if not file.is_file():
            self._send(b"", 404, {"X-Error-Code": "EntryNotFound"})
            return
        data = file.read_bytes()
        head = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = int(last) + 1 if last else len(data)
            head["Content-Range"] = f"bytes {first}-{end - 1}/{len(data)}"
            self._send(data[int(first) : end], 206, head)
        else:
            self._send(data, 200, head)

    def _json(self, body: Any) -> None:
        self._send(json.dumps(body).encode())

    def _send(self, body: bytes, status: int = 200, head: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"X-Repo-Commit": _COMMIT} | (head or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base's name
        """Stay quiet."""


class DataHub(ThreadingHTTPServer):
    """A context manager; ``root`` holds repositories as folders ``owner/name``."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.root = root

    @property
    def url(self) -> str:
        """What HF_ENDPOINT should be."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
