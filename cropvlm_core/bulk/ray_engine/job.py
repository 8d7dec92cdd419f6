"""A bulk job on Ray: from a folder, a store, Parquet or a question set to rows in Parquet."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cropvlm_core.bulk.crew import unfit
from cropvlm_core.bulk.door import failed, may_go_well_now
from cropvlm_core.bulk.ledger import packed, who_of
from cropvlm_core.bulk.ray_engine.cluster import cluster
from cropvlm_core.bulk.ray_engine.inputs import Inputs, identity, parquet_dataset
from cropvlm_core.bulk.ray_engine.rows import to_row
from cropvlm_core.bulk.ray_engine.shared import SharedKeys
from cropvlm_core.bulk.ray_engine.store import Part, RowStore
from cropvlm_core.bulk.ray_engine.writing import ZoomIntoStore
from cropvlm_core.bulk.results import BulkProgress, BulkReport
from cropvlm_core.cropper import Cropper
from cropvlm_core.errors import CropVLMError, ModelError, shorten

_JOB = "cropvlm bulk ray 1"  # the form of rows and keys
_LOOK = 0.2  # seconds between two looks at how far the workers are
_ENDING = 10.0  # seconds that Ray has to give a pipeline up
_PATIENCE = 30.0  # seconds that workers have to write what they have when they are told to stop


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
    gpus: float = 0.0,
    timeout: float = 60.0,
    memory: int = 2048,
    pages_a_worker: int = 1000,
    pages_a_file: int = 64,
    limit: int | None = None,
    again: bool = False,
    progress: Callable[[BulkProgress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> BulkReport:
    """Zoom as :func:`cropvlm_core.bulk.zoom_pages` does, by workers of Ray, into Parquet.

    On the Ray that this process is connected to, the cluster of ``RAY_ADDRESS``, or one that is
    started on this machine. The same call goes on where an earlier one was stopped or killed.

    Args:
        data: a folder or the URI of one in an object store, whose image files at any depth are the
            pages; a Parquet file or a folder or URI of such; a local question set.
        questions: what is asked about every page; empty where each brings its own.
        out: folder or URI that gets ``settings.json`` and ``rows/*.parquet``.
        cropper: a name, or a function that makes a cropper, of a module that workers can import.
        notation: see ``load_cropper``.
        input_size: see ``load_cropper``.
        max_crops: see ``Zoom.follow``.
        min_confidence: see ``Zoom.follow``.
        crops: put each crop's picture into its row.
        overlays: put each page with its crops outlined into the row.
        workers: how many, with one processor each; None: as many as there are processors.
        gpus: for each worker; a share, where several work on one.
        timeout: seconds a page may take for each question about it.
        memory: MiB that a page may take in a worker beyond the cropper (Linux).
        pages_a_worker: after so many pages the process at them is replaced.
        pages_a_file: the most pages whose rows make one file; they are written together.
        limit: the most pages.
        again: take out all rows that failed or are quarantined, and try them again.
        progress: called several times a second.
        stop: asked several times a second; True ends the run soon, with what is ready written.

    Raises:
        DataError: nothing to do, a row that breaks the format, or ``out`` holds another job.
        QuestionError: a blank or endless question.
        SpecError, WeightsError, MissingExtraError: the cropper cannot be loaded.
        ModelError: the model or server failed on five pages in a row, or Ray did.
        OSError: rows cannot be written.
    """
    start = time.monotonic()
    store = RowStore(os.fspath(out))
    inputs = Inputs(os.fspath(data), questions, out=store.out, limit=limit)
    options = {
        "questions": inputs.questions,
        "cropper": cropper,
        "notation": notation,
        "input_size": input_size,
        "max_crops": max_crops,
        "min_confidence": min_confidence,
        "crops": crops,
        "overlays": overlays,
        "timeout": timeout,
        "memory": memory,
        "pages_a_worker": pages_a_worker,
    }
    names = ("max_crops", "min_confidence", "crops", "overlays")
    settings = {"job": _JOB} | {name: options[name] for name in names}
    with store.locked():
        parts = store.scan(failed if again else may_go_well_now)
        job = _Job(inputs, store, parts, settings, progress)
        with cluster(workers) as ready:
            folder = None if ready.folder is None else str(ready.folder)
            job.go(options | {"folder": folder}, ready.workers, gpus, pages_a_file, stop)
    counts = job.counts
    return BulkReport(
        rows=counts["ok"] + counts["failed"] + counts["quarantined"],
        ok=counts["ok"],
        zoomed=counts["zoomed"],
        failed=counts["failed"],
        quarantined=counts["quarantined"],
        fresh=job.fresh,
        missing=job.total + job.more - job.done,
        seconds=time.monotonic() - start,
    )


def read_rows(out: str | os.PathLike[str], *, pictures: bool = False) -> Iterator[dict[str, Any]]:
    """Read the rows of a job one by one, with the keys of the plain engine's rows.

    Args:
        out: the folder or URI of the job.
        pictures: also read the crops' pictures (``bytes`` of each crop) and overlays.

    Raises:
        DataError: a file there is not of such a job.
    """
    return map(to_row, RowStore(os.fspath(out)).rows(pictures=pictures))


class _Job:
    """One run; ``counts`` are of all rows, ``fresh`` of those of this run."""

    def __init__(
        self,
        inputs: Inputs,
        store: RowStore,
        parts: Sequence[Part],
        settings: Mapping[str, Any],
        progress: Callable[[BulkProgress], None] | None,
    ) -> None:
        self.inputs, self.progress = inputs, progress
        self.counts: Counter[str] = Counter()
        self.done = self.fresh = self.more = 0
        self.total = inputs.total
        self._earlier: Counter[str] = Counter()
        self._start = time.monotonic()
        self._began: dict[bytes, float] = {}
        owners: dict[bytes, int] = {}
        for part in parts:
            for row in part.rows:
                owners[packed(row["key"])] = who_of(row["image"], row["id"])
                which = identity(row["image"], row["page"], row["question"], row["id"])
                self._began[which] = part.began
                self._earlier[row["status"]] += 1
                self._earlier["zoomed"] += row["zoomed"]
        unwanted = {part.name: part.unwanted for part in parts if part.unwanted}
        self._told = (store, settings, owners, unwanted)
        self._left_out = 0
        self._error: BaseException | None = None

    def go(
        self,
        options: Mapping[str, Any],
        workers: int,
        gpus: float,
        pages_a_file: int,
        stop: Callable[[], bool],
    ) -> None:
        """Have the workers do it, until all is done or ``stop`` says so."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        shared = (
            ray.remote(SharedKeys)
            .options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
            .remote(*self._told)
        )
        data, blocks = self._dataset(workers, pages_a_file)
        data = data.map_batches(
            ZoomIntoStore,
            fn_constructor_kwargs=dict(options) | {"shared": shared, "store": self._told[0]},
            compute=_pool(workers, blocks),
            batch_size=None if blocks else pages_a_file,
            batch_format="pyarrow",
            num_cpus=1,
            num_gpus=gpus or None,
        )
        through = threading.Thread(target=self._drain, args=(data,), daemon=True)
        through.start()
        try:
            self._watch(shared, through, stop)
        finally:
            with contextlib.suppress(RayError):
                ray.kill(shared)
            through.join(_ENDING)

    def _dataset(self, workers: int, pages_a_file: int) -> tuple[Any, int]:
        """The pages that are left, and in how many blocks, each a batch; 0: Ray chooses blocks."""
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        if self.inputs.is_parquet:
            data, self.total = parquet_dataset(self.inputs, ray.data, readers=max(1, workers // 4))
            return data, 0
        asked = max(1, len(self.inputs.questions))
        most = -(-self.inputs.total // (asked * 4 * workers))  # so that all have work to the end
        tables = list(self.inputs.tables(self._began, max(1, min(pages_a_file, most))))
        if not tables:
            tables = [self.inputs.any_table()]
        self._left_out = self.total - asked * sum(table.num_rows for table in tables)
        return ray.data.from_arrow(tables), len(tables)

    def _drain(self, data: Any) -> None:
        # Ray tells how many blocks it would like to have.
        warnings.filterwarnings("ignore", "The minimum number of concurrent actors")
        try:
            for _ in data.iter_batches(batch_size=None, prefetch_batches=0):
                pass
        except BaseException as error:  # noqa: BLE001 - told to who waits
            self._error = error

    def _watch(self, shared: Any, through: threading.Thread, stop: Callable[[], bool]) -> None:
        told_to = None
        while through.is_alive():
            through.join(_LOOK)
            try:
                state = self._look(shared)
                if told_to is None and (stop() or state["failure"]):
                    ray.get(shared.stop.remote(), timeout=_PATIENCE)
                    told_to = time.monotonic()
            except RayError as error:
                if stop():  # whoever told us told Ray too, and it was faster
                    return
                raise ModelError(f"expected Ray to run, got {_cause(error)}") from error
            late = told_to is not None and time.monotonic() - told_to > _PATIENCE
            if late or (told_to is not None and not state["busy"]):
                break
        failure = self._look(shared)["failure"]
        if failure is not None:
            raise _as_error(failure)
        if self._error is not None and not stop():
            raise ModelError(
                f"expected Ray to run the job, got {_cause(self._error)}"
            ) from self._error

    def _look(self, shared: Any) -> dict[str, Any]:
        """See how far they are, and tell."""
        state: dict[str, Any] = ray.get(shared.state.remote(), timeout=_PATIENCE)
        here: Counter[str] = Counter(state["counts"])
        self.counts = self._earlier + here
        self.fresh = here["ok"] + here["failed"] + here["quarantined"]
        self.done = self._left_out + here["done"]
        self.more = here["more"]
        if self.progress is not None:
            self.progress(
                BulkProgress(
                    done=self.done,
                    total=self.total + self.more,
                    failed=self.counts["failed"],
                    quarantined=self.counts["quarantined"],
                    fresh=self.fresh,
                    seconds=time.monotonic() - self._start,
                )
            )
        return state


def _pool(workers: int, blocks: int) -> Any:
    """All at once where the blocks are there; else more and more, as reading needs room too."""
    if blocks:
        return ray.data.ActorPoolStrategy(size=min(workers, blocks))
    return ray.data.ActorPoolStrategy(min_size=1, max_size=workers)


def _as_error(words: Mapping[str, Any]) -> CropVLMError | OSError:
    if "errno" in words:
        return OSError(words["errno"], words["error"], "rows")
    return unfit(dict(words))


def _cause(error: BaseException) -> str:
    """The line of Ray's text, a trace from another process, that names what was raised there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Invalid)\b.*: ", line)]
    return shorten((named or lines or [type(error).__name__])[-1], 200)
