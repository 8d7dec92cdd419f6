"""A worker process as its employer sees it: what it is at, until when, and how it ended."""

import contextlib
import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from cropvlm_core.bulk.pages import Asked, AskedPage
from cropvlm_core.bulk.worker import Work, serve

START_SECONDS = 600.0
"""How long a worker may take to load its cropper."""

_MOST = 16 * 2**20  # bytes of one message
_DYING = 5.0  # seconds that a process may take to be gone


class WorkerProcess:
    """One worker process, with the page it is at.

    Attributes:
        stage: ``reading`` is of the page's file.
        page: the page that it is at.
        digest: of the bytes of the page's file, once they are read.
        keys: the questions that it zooms for, by key.
        opened: whether the page has been decoded.
        pages: how many it was given.
    """

    def __init__(self, work: Work) -> None:
        """Start it."""
        context = multiprocessing.get_context("spawn")
        self.connection, inner = context.Pipe()
        self._process = context.Process(target=serve, args=(inner, work), daemon=True)
        with _out_of_reach(), contextlib.nullcontext() if work.with_main else _without_main():
            self._process.start()
        inner.close()  # so that its end is noticed
        self.stage: Literal["starting", "idle", "reading", "zooming"] = "starting"
        self.page = AskedPage("", "", ())
        self.digest: str | None = None
        self.keys: dict[str, Asked] = {}
        self.opened = False
        self.pages = 0
        self._deadline = time.monotonic() + START_SECONDS

    @property
    def seconds_left(self) -> float:
        """Until its deadline; an idle worker has none."""
        return float("inf") if self.stage == "idle" else self._deadline - time.monotonic()

    def begin(self, page: AskedPage, seconds: float) -> None:
        """Let it read ``page``; it has ``seconds`` for all of it."""
        self.stage, self.page = "reading", page
        self.digest, self.keys, self.opened = None, {}, False
        self.pages += 1
        self._deadline = time.monotonic() + seconds
        self._tell({"source": page.source, "page": page.page, "seconds": seconds})

    def zoom(self, keys: Mapping[str, Asked]) -> None:
        """Let it zoom for these questions about the page that it has read; for none, it is idle."""
        self.stage, self.keys = "zooming" if keys else "idle", dict(keys)
        self._tell({key: asked.question for key, asked in keys.items()})

    def hear(self) -> dict[str, Any] | None:
        """Return what it says, once its connection is ready; None: it has ended."""
        try:
            said = json.loads(self.connection.recv_bytes(_MOST))
        except (EOFError, OSError, ValueError, RecursionError):
            return None
        return said if isinstance(said, dict) else None

    def leave(self) -> None:
        """Let it go as soon as it is idle."""
        self.connection.close()

    def end(self, patience: float = 0.0) -> str:
        """End it, unless it ends by itself within so many seconds, and say how it did."""
        self.connection.close()
        self._process.join(patience)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join(_DYING)
            return "a worker that was ended"
        code = self._process.exitcode
        self._process.close()
        if code >= 0:
            return f"a worker that ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"a worker killed by {signal.Signals(-code).name}"
        return f"a worker killed by signal {-code}"

    def _tell(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it has ended: who listens will hear it
            self.connection.send_bytes(json.dumps(message).encode())


@contextlib.contextmanager
def _out_of_reach() -> Iterator[None]:
    """Start a process that Ctrl-C does not reach even before it can see to that itself."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Start a process that does not read the program again that this one was started with."""
    main = vars(sys.modules["__main__"])
    file = main.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            main["__file__"] = file
