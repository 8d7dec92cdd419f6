"""Where one worker of Ray zooms: a process of its own at the pages, as in the plain engine.

Ray's process opens no page. A page that kills or hangs the process at it is tried once more, alone
in a fresh one, after the other pages of its batch, and is then quarantined; Ray never sees it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cropvlm_core.bulk.crew import Crew
from cropvlm_core.bulk.ray_engine.batches import Batch
from cropvlm_core.bulk.run import Keys, Run
from cropvlm_core.bulk.worker import CROPS, OVERLAYS, Work
from cropvlm_core.errors import CropVLMError, DataError
from cropvlm_core.journal import lock

_PREFIX, _LOCK = "cropvlm-worker-", ".lock"


@dataclass
class Zoomed:
    """What came of a batch.

    ``rows``: as the plain engine writes them, pictures in them. ``done``: questions that need no
    further look, those with a row already included. ``more``: questions about pages that only
    opening a file brought to light. ``error``: what ended the batch before its end.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0
    more: int = 0
    error: CropVLMError | OSError | None = None


class Bench:
    """One worker process, replaced as it wears out or dies; used from any thread, one at a time."""

    def __init__(self, work: Work, *, timeout: float, pages_a_worker: int) -> None:
        """Start nothing yet; a folder for pages and pictures is made in that of ``work``."""
        _sweep(work.folder)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=work.folder))
        self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT)  # held as long as we live
        lock(self._lock, folder, "worker")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for name in (CROPS, OVERLAYS):
            (folder / name).mkdir()
        self.folder, self.timeout = folder, timeout
        self._crew = Crew(replace(work, folder=folder, with_main=False), 1, pages_a_worker)
        # A process dies with the thread that started it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cropvlm")
        self._model_failures = 0
        self._name = ""

    def load(self) -> str:
        """Have the worker load the cropper; return the cropper's version.

        Raises:
            CropVLMError: it cannot be loaded.
        """
        loaded = self._thread.submit(self._crew.first, lambda: False).result()
        self._name = loaded["cropper"]
        version: str = loaded["version"]
        return version

    def zoom(
        self,
        batch: Any,
        questions: Sequence[str],
        keys: Keys,
        stop: Callable[[], bool] = lambda: False,
    ) -> Zoomed:
        """Zoom into the pages of a batch; see :class:`Batch`.

        Raises:
            DataError: it is no batch of pages.
        """
        return self._thread.submit(self._zoom, batch, questions, keys, stop).result()

    def close(self) -> None:
        """End the worker process."""
        self._thread.submit(self._crew.dismiss).result()
        self._thread.shutdown()
        os.close(self._lock)

    def _zoom(
        self, batch: Any, questions: Sequence[str], keys: Keys, stop: Callable[[], bool]
    ) -> Zoomed:
        came = Zoomed()
        with tempfile.TemporaryDirectory(prefix="pages-", dir=self.folder) as folder:
            pages = Batch(batch, questions, Path(folder))
            rows = _Rows(self.folder, came.rows)
            run = Run(
                pages,
                self._crew,
                rows,
                keys,
                self._name,
                timeout=self.timeout,
                progress=None,
                stop=stop,
            )
            run.model_failures = self._model_failures
            try:
                run.go()
            except (CropVLMError, OSError) as error:
                came.error = error
            if came.error or stop():  # who is still at a page would answer the next batch
                self._crew.dismiss()
            self._model_failures = run.model_failures
            came.done, came.more = run.done, run.total - pages.total
        return came


def _sweep(folder: Path) -> None:
    """Take away what workers left behind that were killed: nobody holds the lock of those."""
    for left in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(DataError, OSError):
            file = os.open(left / _LOCK, os.O_RDWR)
            try:
                lock(file, left, "worker")
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(file)


class _Rows:
    """Takes rows, and the pictures that the worker wrote for them."""

    def __init__(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        self.folder, self._rows = folder, rows

    def add(self, row: Mapping[str, Any]) -> None:
        crops = [dict(crop) | {"bytes": self._taken(crop["file"])} for crop in row["crops"]]
        taken = dict(row) | {"crops": crops}
        if "overlay" in row:
            taken["overlay"] = self._taken(row["overlay"])
        self._rows.append(taken)

    def sync(self) -> None:
        """Nothing: rows are written a batch at a time."""

    def _taken(self, name: str | None) -> bytes | None:
        if name is None:
            return None
        file = self.folder / name
        data = file.read_bytes()
        file.unlink()
        return data
