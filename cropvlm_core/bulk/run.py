"""One run of a bulk job: pages go to workers, rows to the disk, harmful pages into quarantine."""

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cropvlm_core.bulk.crew import Crew, Said
from cropvlm_core.bulk.pages import Asked, AskedPage
from cropvlm_core.bulk.process import WorkerProcess
from cropvlm_core.bulk.results import BulkProgress, Status, nothing, row
from cropvlm_core.errors import DeadlineError, ModelError, shorten

PATIENCE = 5
"""After this many pages in a row whose model failed, the job stops with the last error."""

_TICK = 0.2  # seconds between two looks at deadlines and at whether to stop
_MODEL = (ModelError.code, DeadlineError.code)
_DEATHS = 2  # of those who run workers, at one page: it is not tried again


class PagesToDo(Protocol):
    """What a run goes through: pages, and how many questions they come with (``total``)."""

    total: int

    def __iter__(self) -> Iterator[AskedPage]:
        """Yield the pages."""
        ...


class Rows(Protocol):
    """Where rows go; ``folder`` is what a full disk is told by."""

    folder: Path

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row."""
        ...

    def sync(self) -> None:
        """Do what is to be done now and then."""
        ...


class Keys(Protocol):
    """Who has which key: :class:`cropvlm_core.bulk.ledger.Ledger`, or one that several runs share.

    ``deaths``: how many of those who run workers died at what was claimed last.
    """

    counts: Counter[str]
    deaths: int

    def claim(
        self, page: AskedPage, digest: str | None, asked: Sequence[Asked]
    ) -> dict[str, Asked]:
        """Take the keys of questions about a page."""
        ...

    def release(self, keys: Iterable[str]) -> None:
        """Give keys back that got no row."""
        ...

    def note(self, row: Mapping[str, Any]) -> None:
        """Count a row."""
        ...


class Run:
    """Puts the questions that have no row yet.

    ``model_failures``: of how many pages in a row the model failed, up to now.
    """

    def __init__(
        self,
        pages: PagesToDo,
        crew: Crew,
        journal: Rows,
        ledger: Keys,
        cropper: str,
        *,
        timeout: float,
        progress: Callable[[BulkProgress], None] | None,
        stop: Callable[[], bool],
    ) -> None:
        self.pages, self.crew, self.journal, self.ledger = pages, crew, journal, ledger
        self.cropper, self.timeout, self.progress, self.stop = cropper, timeout, progress, stop
        self.total = pages.total
        self.done = self.fresh = 0
        self._further: deque[AskedPage] = deque()
        self._suspects: list[AskedPage] = []
        self._attempt = 1
        self._also: Sequence[Asked] = ()  # what shares the fate of a page that cannot be opened
        self._given_up = False
        self.model_failures = 0
        self._start = time.monotonic()

    def go(self) -> None:
        """Put them all, until ``stop`` says so.

        Raises:
            ModelError: of the last of five pages in a row whose model failed, or no worker starts.
            OSError: a row or a picture cannot be written.
        """
        known = iter(self.pages)
        while not self.stop():
            self._work_through(known)
            suspects, self._suspects = self._suspects, []
            for page in suspects:
                self._try_alone(page)
            if not self._further:
                break
        self._listen(0)  # what is ready when we are told to stop

    def _work_through(self, known: Iterator[AskedPage]) -> None:
        """Give all pages to workers, those in between that opening a file brings to light."""
        while not self.stop():
            page = self._further.popleft() if self._further else next(known, None)
            if page is not None:
                worker = self._free()
                if worker is not None:
                    self._give(worker, page)
                continue
            self._finish()
            if not self._further:
                return

    def _free(self) -> WorkerProcess | None:
        """Wait for an idle worker; None: it is time to stop."""
        while not self.stop():
            worker = self.crew.free()
            if worker is not None:
                return worker
            self._listen(_TICK)
        return None

    def _give(self, worker: WorkerProcess, page: AskedPage) -> None:
        worker.begin(page, self.timeout * len(page.asked))

    def _finish(self) -> None:
        while self.crew.busy and not self.stop():
            self._listen(_TICK)

    def _try_alone(self, page: AskedPage) -> None:
        """Put the questions about a suspect one by one, in a fresh process, with no other at work.

        Alone, it has all the memory, and nothing that an earlier page left behind.
        """
        self.crew.dismiss()
        size, self.crew.size = self.crew.size, 1
        self._attempt, self._given_up = 2, False
        for place, asked in enumerate(page.asked, 1):
            worker = self._free()
            if worker is None or self._given_up:
                break
            self._also = page.asked[place:]
            self._give(worker, dataclasses.replace(page, asked=(asked,)))
            self._finish()
        self._attempt, self.crew.size = 1, size

    def _listen(self, seconds: float) -> None:
        for worker, said in self.crew.listen(seconds):
            if worker.stage in ("reading", "zooming"):
                self._take(worker, said)
        self.journal.sync()

    def _take(self, worker: WorkerProcess, said: Said) -> None:
        kind = said["kind"]
        if kind == "read":
            self._choose(worker, str(said["digest"]), int(said["pages"]))
        elif kind == "opened":
            worker.opened = True
        elif kind == "zoomed":
            for (key, asked), told in zip(worker.keys.items(), said["told"], strict=True):
                self._write(key, "ok", told, worker.page, asked)
            self.model_failures = 0
            worker.stage = "idle"
        elif kind == "refused":
            self._refuse(worker, said)
        elif kind == "harmed":
            self._lose(worker, said["code"], said["error"])
            worker.stage = "idle"
        elif kind == "unwritable":
            raise OSError(said["errno"], said["error"], str(self.journal.folder))
        elif kind == "timed_out":
            limit = self.timeout * len(worker.page.asked)
            self._lose(worker, kind, f"expected a page that takes at most {limit:g} s, got more")
        else:
            what = shorten(said["error"], 200) if "error" in said else str(said["how"])
            self._lose(worker, "died", f"expected a page that does no harm, got {what}")

    def _choose(self, worker: WorkerProcess, digest: str, pages: int) -> None:
        """Of the questions about a page that was read, put those that have no row."""
        page = worker.page = dataclasses.replace(
            worker.page, page=worker.page.page or 1, several=worker.page.several or pages > 1
        )
        self._further.extend(dataclasses.replace(page, page=n) for n in range(2, pages + 1))
        self.total += (pages - 1) * len(page.asked)
        keys = self.ledger.claim(worker.page, digest, worker.page.asked)
        self.done += len(worker.page.asked) - len(keys)
        worker.digest = digest
        if self.ledger.deaths >= _DEATHS:
            error = f"expected a page that does no harm, got one at which {_DEATHS} machines died"
            for key, asked in keys.items():
                told = nothing(asked.question, self.cropper, "died", error)
                self._write(key, "quarantined", told, worker.page, asked)
            keys = {}
        worker.zoom(keys)
        if not keys:
            self._tell()

    def _refuse(self, worker: WorkerProcess, said: Said) -> None:
        """A typed error: the row says it, and the worker is as good as before."""
        left = self._left(worker)
        self._write_nothing(worker, left, "failed", said["code"], said["error"])
        worker.stage = "idle"
        if said["code"] not in _MODEL:
            return
        self.model_failures += 1
        if self.model_failures >= PATIENCE:
            kind = DeadlineError if said["code"] == DeadlineError.code else ModelError
            raise kind(said["error"])

    def _lose(self, worker: WorkerProcess, reason: str, error: str) -> None:
        """A page that cost us its worker: a second try later, or the end of it."""
        left = self._left(worker)
        if self._attempt == 1:
            self._suspects.append(dataclasses.replace(worker.page, asked=left))
            return
        if not worker.opened:
            left = (*left, *self._also)
            self._given_up = True
        self._write_nothing(worker, left, "quarantined", reason, error)

    def _left(self, worker: WorkerProcess) -> tuple[Asked, ...]:
        """The questions that a worker got no further with; their keys are free again."""
        self.ledger.release(worker.keys)
        return tuple(worker.keys.values()) or worker.page.asked

    def _write_nothing(
        self,
        worker: WorkerProcess,
        questions: Sequence[Asked],
        status: Status,
        reason: str,
        error: str,
    ) -> None:
        keys = self.ledger.claim(worker.page, worker.digest, questions)
        self.done += len(questions) - len(keys)
        for key, asked in keys.items():
            told = nothing(asked.question, self.cropper, reason, error)
            self._write(key, status, told, worker.page, asked)

    def _write(self, key: str, status: Status, told: Said, page: AskedPage, asked: Asked) -> None:
        attempts = min(2, self._attempt + self.ledger.deaths)
        written = row(key, status, attempts, told, page, asked)
        self.journal.add(written)
        self.ledger.note(written)
        self.done += 1
        self.fresh += 1
        self._tell()

    def _tell(self) -> None:
        if self.progress is None:
            return
        counts = self.ledger.counts
        self.progress(
            BulkProgress(
                done=self.done,
                total=self.total,
                failed=counts["failed"],
                quarantined=counts["quarantined"],
                fresh=self.fresh,
                seconds=time.monotonic() - self._start,
            )
        )
