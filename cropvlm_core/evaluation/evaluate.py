"""Box figures: does the crop hold the answer, how much of the page is it, how long does it take.

No target is asked here. A hit rate means nothing without the area beside it, and neither means
anything without the controls: the whole page always hits, a box anywhere hits now and then.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cropvlm_core.box import union_area
from cropvlm_core.cropper import Cropper
from cropvlm_core.errors import DataError
from cropvlm_core.loading import load_cropper
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.zoom import ZoomPipeline

CONTROLS = ("whole", "centre", "random")
"""The croppers that every evaluation includes: what no policy at all would reach."""


@dataclass(frozen=True)
class Row:
    """One question put to one cropper.

    ``hit``: None where the question has no box. ``area``: union of the crops as a share of the
    page, 1 where there is no crop. ``seconds``: from the opened image to the crops.
    """

    set_name: str
    field: str
    hit: bool | None
    area: float
    whole: bool
    seconds: float


@dataclass(frozen=True)
class Figures:
    """What many rows come to.

    ``questions`` of which ``boxed`` have a box. ``hit_rate``: share of the boxed questions whose
    answer lies at least 90 % inside one crop, None without any. ``mean_area`` and ``whole_rate``
    (share of questions that got the whole page) count every question, ``median_ms`` and
    ``p95_ms`` too: milliseconds a question, decoding of the image and loading of the model apart.
    """

    questions: int
    boxed: int
    hit_rate: float | None
    mean_area: float
    whole_rate: float
    median_ms: float
    p95_ms: float

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Figures":
        """Sum up ``rows``, of which there is at least one."""
        boxed = [row.hit for row in rows if row.hit is not None]
        times = sorted(row.seconds * 1000 for row in rows)
        return cls(
            questions=len(rows),
            boxed=len(boxed),
            hit_rate=sum(boxed) / len(boxed) if boxed else None,
            mean_area=math.fsum(row.area for row in rows) / len(rows),
            whole_rate=sum(row.whole for row in rows) / len(rows),
            median_ms=(times[(len(times) - 1) // 2] + times[len(times) // 2]) / 2,
            p95_ms=times[math.ceil(0.95 * len(times)) - 1],
        )


@dataclass(frozen=True)
class Evaluation:
    """All rows of an evaluation, by the name of the cropper, and the number of images opened."""

    rows: Mapping[str, Sequence[Row]]
    images: int

    def figures(
        self, cropper: str, *, set_name: str | None = None, field: str | None = None
    ) -> Figures:
        """Return the figures of one cropper, over everything or over one set and field."""
        return Figures.of(
            [
                row
                for row in self.rows[cropper]
                if set_name in (None, row.set_name) and field in (None, row.field)
            ]
        )

    def sets(self) -> dict[str, tuple[str, ...]]:
        """Return the fields of each set, both in the order in which they came."""
        fields: dict[str, dict[str, None]] = {}
        for row in next(iter(self.rows.values()), ()):
            fields.setdefault(row.set_name, {})[row.field] = None
        return {set_name: tuple(names) for set_name, names in fields.items()}


def with_controls(specs: Sequence[str]) -> dict[str, Cropper]:
    """Load the croppers named, and the controls after them; each name once, in this order.

    Raises:
        SpecError, WeightsError, MissingExtraError: a cropper cannot be loaded.
    """
    return {spec: load_cropper(spec) for spec in dict.fromkeys((*specs, *CONTROLS))}


def evaluate(
    questions: Iterable[AnsweredQuestion],
    croppers: Mapping[str, Cropper],
    *,
    max_crops: int = 1,
    progress: Callable[[AnsweredQuestion, int], None] | None = None,
) -> Evaluation:
    """Put every question to every cropper.

    Questions are read as they come, and one image is held at a time: neighbouring questions with
    the same image share one decoding. Each cropper is asked once before its time counts.

    Args:
        questions: such as ``read_questions`` gives.
        croppers: by the names that the figures shall have.
        max_crops: the most crops a question.
        progress: called with each question and its number, from 1, before it is put.

    Raises:
        DataError: there is no question, or a row breaks the format.
        SourceError, ImageError: an image cannot be opened.
        ModelError: a model or server behind a cropper failed.
    """
    pipelines = {
        name: ZoomPipeline(cropper, max_crops=max_crops) for name, cropper in croppers.items()
    }
    rows: dict[str, list[Row]] = {name: [] for name in pipelines}
    number = images = 0
    for _, neighbours in itertools.groupby(questions, key=lambda asked: asked.image):
        upright = None
        for asked in neighbours:
            opened = asked.opened(upright)
            number += 1
            if upright is None:
                upright = opened.open()
                images += 1
            if progress is not None:
                progress(asked, number)
            for name, pipeline in pipelines.items():
                if number == 1:
                    pipeline.zoom_batch([opened])
                rows[name].append(_row(pipeline, opened))
    if not number:
        raise DataError("expected at least one question to evaluate, got none")
    return Evaluation(rows, images)


def _row(pipeline: ZoomPipeline, asked: AnsweredQuestion) -> Row:
    start = time.perf_counter()
    zoom = pipeline.zoom_batch([asked])[0]
    seconds = time.perf_counter() - start
    boxes = [crop.box for crop in zoom.crops]
    return Row(
        set_name=asked.set_name or "",
        field=asked.field or "",
        hit=asked.hit(boxes),
        area=union_area(boxes) if boxes else 1.0,
        whole=not boxes,
        seconds=seconds,
    )
