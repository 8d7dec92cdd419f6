"""The door of bulk jobs: one function, from a folder or a question set to rows and crops."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cropvlm_core import journal
from cropvlm_core.bulk.crew import Crew
from cropvlm_core.bulk.ledger import Ledger
from cropvlm_core.bulk.pages import Pages
from cropvlm_core.bulk.results import BulkProgress, BulkReport
from cropvlm_core.bulk.run import Run
from cropvlm_core.bulk.worker import CROPS, OVERLAYS, Work
from cropvlm_core.cropper import Cropper
from cropvlm_core.errors import ImageError
from cropvlm_core.journal import Journal

_JOB = "cropvlm bulk 1"  # the form of rows and keys
_WHAT = "bulk job"
_MIB = 2**20


def zoom_pages(
    data: str | os.PathLike[str],
    questions: Sequence[str] = (),
    *,
    out: str | os.PathLike[str],
    cropper: str | Callable[[], Cropper] = "embedded",
    notation: str | None = None,
    input_size: int | None = None,
    max_crops: int = 1,
    min_confidence: float | None = None,
    crops: bool = True,
    overlays: bool = False,
    workers: int | None = None,
    timeout: float = 60.0,
    memory: int = 2048,
    pages_a_worker: int = 1000,
    limit: int | None = None,
    again: bool = False,
    progress: Callable[[BulkProgress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> BulkReport:
    """Zoom into every page of ``data`` for every question; each outcome is one row in ``out``.

    The same call goes on where an earlier one was stopped or killed: what has a row is left alone,
    but for rows that failed for another reason than the image itself (an unreadable file, a model
    that failed), which are taken out and tried again. Pages are opened in worker processes. One
    that kills its worker, or takes too long, is tried once more at the end, alone, and then
    quarantined. Questions about one page are put in one call of the cropper, up to 32.

    Started as a script, a program that calls this must guard its start with
    ``if __name__ == "__main__":``, as for all processes that Python spawns.

    Args:
        data: a folder, whose image files at any depth are the pages, or a question set (a JSONL
            file, a folder with ``questions.jsonl``, a folder of such folders).
        questions: what is asked about every page of a folder; empty for a question set.
        out: folder that gets ``rows.jsonl``, ``settings.json`` and ``crops``.
        cropper: a name as ``load_cropper`` takes, or a picklable function that makes a cropper,
            called in each worker.
        notation: see ``load_cropper``.
        input_size: see ``load_cropper``.
        max_crops: see ``Zoom.follow``.
        min_confidence: see ``Zoom.follow``.
        crops: write each crop as ``crops/KEY.png``, further ones as ``crops/KEY-2.png`` ...
        overlays: write each page with its crops outlined as ``overlays/KEY.jpg``.
        workers: processes; None: one for each core, and a single one for ``hf:`` models.
        timeout: seconds a page may take for each question about it.
        memory: MiB that a page may take in a worker beyond the cropper (Linux).
        pages_a_worker: after so many pages a worker is replaced.
        limit: the most pages.
        again: take out all rows that failed or are quarantined, and try them again.
        progress: called after each row.
        stop: asked several times a second; True ends the run soon, with what is ready on the disk.

    Raises:
        DataError: nothing to do, a row that breaks the format, or ``out`` holds another job.
        QuestionError: a blank or endless question.
        SpecError, WeightsError, MissingExtraError: the cropper cannot be loaded.
        ModelError: the model or server failed on five pages in a row, or no worker starts.
        OSError: a row or a picture cannot be written.
    """
    start = time.monotonic()
    folder = Path(out)
    pages = Pages(data, questions, out=folder, limit=limit)
    size = workers or _default_workers(cropper)
    work = Work(
        cropper=cropper,
        notation=notation,
        input_size=input_size,
        max_crops=max_crops,
        min_confidence=min_confidence,
        folder=folder,
        crops=crops,
        overlays=overlays,
        threads=max(1, _cores() // size),
        memory=memory * _MIB,
    )
    crew = Crew(work, size, pages_a_worker)
    try:
        loaded = crew.first(stop)
        settings: dict[str, Any] = {
            "job": _JOB,
            "cropper": loaded["version"],
            "max_crops": max_crops,
            "min_confidence": min_confidence,
            "crops": crops,
            "overlays": overlays,
        }
        with Journal(folder, settings, what=_WHAT) as store:
            store.drop(failed if again else may_go_well_now)
            ledger = Ledger(store.rows())
            for name in [CROPS] * crops + [OVERLAYS] * overlays:
                _make_folder(folder / name)
            run = Run(
                pages,
                crew,
                store,
                ledger,
                loaded["cropper"],
                timeout=timeout,
                progress=progress,
                stop=stop,
            )
            run.go()
    finally:
        crew.dismiss()
    counts = ledger.counts
    return BulkReport(
        rows=counts["ok"] + counts["failed"] + counts["quarantined"],
        ok=counts["ok"],
        zoomed=counts["zoomed"],
        failed=counts["failed"],
        quarantined=counts["quarantined"],
        fresh=run.fresh,
        missing=run.total - run.done,
        seconds=time.monotonic() - start,
    )


def read_rows(folder: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Read the rows of a bulk job one by one, in the order in which they were written.

    Raises:
        DataError: there is no such file, or a line is no row. A last line without its end is left
            out: the job is writing it, or was killed.
    """
    return journal.read_rows(Path(folder), _WHAT)


def failed(row: Mapping[str, Any]) -> bool:
    """Whether a row is tried again where that is asked for."""
    return bool(row["status"] != "ok")


def may_go_well_now(row: Mapping[str, Any]) -> bool:
    """Whether a row failed for another reason than what is in the image, and is tried again."""
    return bool(row["status"] == "failed" and row["reason"] != ImageError.code)


def _make_folder(folder: Path) -> None:
    """Make it, or take out what a killed run had half written."""
    folder.mkdir(exist_ok=True)
    for aside in folder.glob(".*.part"):
        aside.unlink(missing_ok=True)


def _default_workers(cropper: str | Callable[[], Cropper]) -> int:
    """One a core; models of gigabytes are loaded once."""
    return 1 if isinstance(cropper, str) and cropper.startswith("hf:") else _cores()


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
