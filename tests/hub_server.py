"""A Hub on 127.0.0.1 that takes uploads: just enough of its API for ``push_to_hub``."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Request(BaseHTTPRequestHandler):
    """One request of ``HfApi``."""

    server: "HubServer"
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Create a repository, say how files are to come, or take a commit."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.append(self.headers.get("Authorization", ""))
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            name = "{organization}/{name}".format(**self.server.created[-1])
            self._send({"url": f"{self.server.url}/{name}", "name": name})
        elif self.path == "/api/validate-yaml":
            self._send({"warnings": [], "errors": []})
        elif "/branch/" in self.path:
            self.server.branches.append(self.path.rpartition("/")[2])
            self._send({})
        elif "/preupload/" in self.path:
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = [
                {"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files
            ]
            self._send({"files": modes})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "header":
                    self.server.messages.append(value["summary"])
                else:
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            name, _, self.server.branch = self.path.removeprefix("/api/models/").partition(
                "/commit/"
            )
            address = f"{self.server.url}/{name}/commit/1"
            self._send({"success": True, "commitOid": "1" * 40, "commitUrl": address})
        else:
            self._send({"error": self.path}, 404)

    def do_GET(self) -> None:
        """Nothing can be read here."""
        self._send({"error": self.path}, 404)

    def _send(self, body: Any, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base's name
        """Stay quiet."""


class HubServer(ThreadingHTTPServer):
    """A context manager; ``created``, ``branches``, ``files`` and so on hold what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.messages: list[str] = []
        self.keys: list[str] = []
        self.branches: list[str] = []
        self.branch = ""

    @property
    def url(self) -> str:
        """The endpoint to hand to ``HfApi``."""
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
