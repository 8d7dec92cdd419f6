"""Zooming as a stage of a Ray Data pipeline: a class for ``map_batches``, and a function."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from cropvlm_core.bulk.ledger import Ledger
from cropvlm_core.bulk.ray_engine.bench import Bench
from cropvlm_core.bulk.ray_engine.rows import to_table
from cropvlm_core.bulk.worker import Work
from cropvlm_core.cropper import Cropper
from cropvlm_core.questions import VisualQuestion

MIB = 2**20


class ZoomPages:
    """Zooms into the pages of batches; for ``Dataset.map_batches`` with a pool of actors.

    ::

        pages = ray.data.read_binary_files("s3://bucket/scans", include_paths=True)
        rows = pages.map_batches(
            ZoomPages,
            fn_constructor_kwargs={"questions": ["What is the total?"]},
            compute=ray.data.ActorPoolStrategy(size=8),
            batch_size=64,
            batch_format="pyarrow",
        )

    A batch has ``image`` or ``bytes`` (of a file, or Hugging Face's ``{"bytes", "path"}``)
    or ``path`` (which is read here), and optionally ``question``, ``id``, ``page`` and ``name``.
    What comes out has :data:`~cropvlm_core.bulk.ray_engine.rows.SCHEMA`, a row for each page and
    question, whatever happens: a page that cannot be read is ``failed``, one that kills or hangs
    the process at it twice is ``quarantined``. Keys tell pages of one batch apart that are the same
    byte for byte, not those of different batches.
    """

    def __init__(
        self,
        questions: Sequence[str] = (),
        *,
        cropper: str | Callable[[], Cropper] = "embedded",
        notation: str | None = None,
        input_size: int | None = None,
        max_crops: int = 1,
        min_confidence: float | None = None,
        crops: bool = True,
        overlays: bool = False,
        threads: int = 1,
        timeout: float = 60.0,
        memory: int = 2048,
        pages_a_worker: int = 1000,
        folder: str | None = None,
    ) -> None:
        """Load the cropper; the arguments are those of :func:`cropvlm_core.bulk.zoom_pages`.

        Args:
            questions: what is asked about every row; empty: what its column ``question`` says.
            cropper: a name, or a function that makes a cropper, which a module must hold.
            notation: see ``load_cropper``.
            input_size: see ``load_cropper``.
            max_crops: see ``Zoom.follow``.
            min_confidence: see ``Zoom.follow``.
            crops: put each crop's picture into its row.
            overlays: put the page with its crops outlined into the row.
            threads: for the numerical libraries.
            timeout: seconds a page may take for each question about it.
            memory: MiB that a page may take beyond the cropper (Linux).
            pages_a_worker: after so many pages the process at them is replaced.
            folder: where pages and pictures lie for a moment; None: the system's temporary folder.

        Raises:
            CropVLMError: the cropper cannot be loaded.
            QuestionError: a blank or endless question.
        """
        self.questions = checked(questions)
        self.bench = Bench(
            Work(
                cropper=cropper,
                notation=notation,
                input_size=input_size,
                max_crops=max_crops,
                min_confidence=min_confidence,
                folder=Path(folder or tempfile.gettempdir()),
                crops=crops,
                overlays=overlays,
                threads=threads,
                memory=memory * MIB,
            ),
            timeout=timeout,
            pages_a_worker=pages_a_worker,
        )
        self.version = self.bench.load()

    def __call__(self, batch: Any) -> pa.Table:
        """Zoom into the pages of a batch.

        Raises:
            DataError: it has no pages, or questions in two places or none.
            ModelError: the model or server failed on five pages in a row.
            OSError: a full disk, where pictures lie for a moment.
        """
        came = self.bench.zoom(batch, self.questions, Ledger(()))
        if came.error is not None:
            raise came.error
        return to_table(came.rows)


def checked(questions: Sequence[str]) -> tuple[str, ...]:
    """Return the questions, each once.

    Raises:
        QuestionError: one is blank or endless.
    """
    for question in questions:
        VisualQuestion(b"", question)  # it checks the text
    return tuple(dict.fromkeys(questions))


def zoom_dataset(
    data: Any,
    questions: Sequence[str] = (),
    *,
    workers: int | None = None,
    gpus: float = 0.0,
    batch_size: int = 64,
    **options: Any,
) -> Any:
    """Return the rows for the pages of a data set, as a ``ray.data.Dataset``; nothing runs yet.

    Args:
        data: a ``ray.data.Dataset`` with the columns that :class:`ZoomPages` takes.
        questions: what is asked about every row; empty: what its column ``question`` says.
        workers: how many, with one processor each; None: from one to as many as processors.
        gpus: for each worker; a share, where several work on one.
        batch_size: rows that a worker takes at once; what kills a worker costs so many.
        options: of :class:`ZoomPages`.

    Raises:
        QuestionError: a blank or endless question.
    """
    from ray.data import ActorPoolStrategy

    size = {"min_size": 1} if workers is None else {"size": workers}
    return data.map_batches(
        ZoomPages,
        fn_constructor_kwargs={"questions": checked(questions)} | options,
        compute=ActorPoolStrategy(**size),
        batch_size=batch_size,
        batch_format="pyarrow",
        num_cpus=1,
        num_gpus=gpus or None,
    )
