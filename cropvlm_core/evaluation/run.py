"""One run of an evaluation: propose boxes, show the views, ask the target, write the rows."""

import dataclasses
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cropvlm_core.box import Box, union_area
from cropvlm_core.errors import CropVLMError, DataError, ImageError, ModelError, SourceError
from cropvlm_core.evaluation.rows import RowStore
from cropvlm_core.evaluation.sight import Reply, Sight
from cropvlm_core.evaluation.source import Source, image_name
from cropvlm_core.evaluation.views import NO_CROP, Proposed, Shown, View, show
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.scoring import Metric
from cropvlm_core.zoom import ZoomPipeline

PATIENCE = 5
"""After this many questions in a row that failed, the evaluation stops with the last error."""

_NEIGHBOURS = 64  # the shuffled box comes from among so many consecutive questions of a set


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where an evaluation stands.

    ``done`` of ``total`` questions have a row (``total`` None: unknown), ``fresh`` of them since
    ``seconds`` ago; ``gains``: by cropper, mean score over the page alone among the fresh ones.
    """

    done: int
    total: int | None
    failed: int
    fresh: int
    seconds: float
    gains: Mapping[str, float]

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the seconds to go; None where that is unknown."""
        if self.total is None or not self.fresh:
            return None
        return (self.total - self.done - self.failed) * self.seconds / self.fresh


@dataclasses.dataclass
class _One:
    """One question on its way through a run; it holds its page only while it is worked on."""

    number: int
    key: str
    asked: AnsweredQuestion
    opened: AnsweredQuestion | None = None
    own: dict[str, Proposed] | None = None


class Run:
    """Puts the questions that have no row yet; ``keys`` are those of all questions."""

    def __init__(
        self,
        source: Source,
        views: Sequence[View],
        pipelines: Mapping[str, ZoomPipeline],
        sight: Sight,
        store: RowStore,
        metric: Metric,
        *,
        seed: int = 0,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.source, self.views, self.pipelines = source, views, pipelines
        self.sight, self.store, self.score = sight, store, metric
        self.seed, self.progress = seed, progress
        self.keys: set[str] = set()
        self.failed = self.done = self.fresh = 0
        self._failures_in_a_row = 0
        self._gains = {view.name: 0.0 for view in views if view.kind == "cropper"}
        self._start = time.monotonic()
        self._warm = False

    def go(self) -> None:
        """Put them all; a question that failed has no row.

        Raises:
            DataError: there is no question, or a row breaks the format.
            SourceError, ImageError, ModelError: of the last of five in a row that failed.
        """
        for batch in self._batches():
            self.keys.update(one.key for one in batch)
            fresh = [one for one in batch if one.key not in self.store.done]
            self.done += len(batch) - len(fresh)
            if fresh:
                self._propose(batch)
                self._answer(fresh, self._partners(batch))
        if not self.keys:
            raise DataError("expected at least one question to evaluate, got none")

    def _batches(self) -> Iterator[list[_One]]:
        """Consecutive questions of one set."""
        ones = (_One(number, *pair) for number, pair in enumerate(self.source, 1))
        for _, group in itertools.groupby(ones, key=lambda one: one.asked.set_name):
            while batch := list(itertools.islice(group, _NEIGHBOURS)):
                yield batch

    def _opened(self, batch: Sequence[_One]) -> Iterator[_One]:
        """Each question while its page is open; neighbours about one image share its decoding."""
        for _, group in itertools.groupby(batch, key=lambda one: one.asked.shown):
            upright = None
            for one in group:
                try:
                    one.opened = one.asked.opened(upright)
                except (ImageError, SourceError) as error:
                    self._fail(error)
                    continue
                upright = one.opened.open()
                yield one
                one.opened = None

    def _propose(self, batch: Sequence[_One]) -> None:
        for one in self._opened(batch):
            try:
                one.own = {
                    name: self._proposed(pipeline, one) for name, pipeline in self.pipelines.items()
                }
            except ModelError as error:
                self._fail(error)
                continue
            self._warm = True

    def _proposed(self, pipeline: ZoomPipeline, one: _One) -> Proposed:
        asked = [one.opened or one.asked]
        if not self._warm:
            pipeline.zoom_batch(asked)
        start = time.perf_counter()
        zoom = pipeline.zoom_batch(asked)[0]
        return Proposed(zoom.proposal, time.perf_counter() - start)

    def _partners(self, batch: Sequence[_One]) -> dict[str, _One]:
        """By key, the question whose boxes the shuffled views show: of another page if possible."""
        usable = [one for one in batch if one.own is not None]
        pages: dict[Any, list[_One]] = {}
        for one in usable:
            pages.setdefault(one.asked.doc or image_name(one.asked) or one.key, []).append(one)
        groups = list(pages.values())
        random.Random(f"{self.seed} {batch[0].key}").shuffle(groups)
        order = [one for group in groups for one in group]
        shift = min(max((len(group) for group in groups), default=0), max(1, len(order) // 2))
        if len(order) < 2:
            return {}
        return {one.key: order[(place + shift) % len(order)] for place, one in enumerate(order)}

    def _answer(self, fresh: Sequence[_One], partners: Mapping[str, _One]) -> None:
        ready = [one for one in fresh if one.own is not None]
        for one in self._opened(ready):
            try:
                row = self._row(one, partners.get(one.key))
            except ModelError as error:
                self._fail(error)
                continue
            self.store.add(row)
            self._failures_in_a_row = 0
            self._tell(row)

    def _row(self, one: _One, partner: _One | None) -> dict[str, Any]:
        asked = one.opened or one.asked
        other = (partner.own or {}) if partner is not None else {}
        shown = show(self.views, asked, one.own or {}, other, self.pipelines, self.sight)
        replies: Sequence[Reply | None] = [None] * len(shown)
        if self.sight.target is not None:
            replies = self.sight.ask(asked.question, [each.request for each in shown])
        return {
            "key": one.key,
            "number": one.number,
            "set": asked.set_name or "",
            "id": asked.id,
            "doc": asked.doc,
            "field": asked.field,
            "image": image_name(asked),
            "question": asked.question,
            "answers": list(asked.answers),
            "size": list(asked.open().size),
            "boxes": [_sides(box) for box in asked.targets],
            "views": {
                each.view.name: self._cell(asked, each, reply)
                for each, reply in zip(shown, replies, strict=True)
            },
        }

    def _cell(self, asked: AnsweredQuestion, shown: Shown, reply: Reply | None) -> dict[str, Any]:
        request = shown.request
        sizes = [list(self.sight.seen(each, request.edge)) for each in request.pictures]
        page = [size for size, place in zip(sizes, request.places, strict=True) if place is None]
        crops = [size for size, place in zip(sizes, request.places, strict=True) if place]
        pointing = shown.point and any(_holds(box, shown.point) for box in asked.targets)
        return {
            "crops": [_sides(box) for box in shown.crops],
            "hit": asked.hit(shown.crops),
            "hits": [asked.hit([crop]) for crop in shown.crops],
            "area": union_area(shown.crops) if shown.crops else 1.0,
            "reason": shown.reason,
            "confidence": shown.confidence,
            "pointing": pointing if asked.targets else None,
            "crop_seconds": shown.crop_seconds,
            "page_size": page[0] if page else None,
            "crop_sizes": page[1:] + crops,
            "answer": None if reply is None else reply.text,
            "score": None if reply is None else self.score(reply.text, asked.answers),
            "tokens": self.sight.tokens(request),
            "seconds": None if reply is None else reply.seconds,
        }

    def _fail(self, error: CropVLMError) -> None:
        self.failed += 1
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= PATIENCE:
            raise error
        self._report()

    def _tell(self, row: Mapping[str, Any]) -> None:
        self.done += 1
        self.fresh += 1
        base = row["views"][NO_CROP]["score"]
        if base is not None:
            for name in self._gains:
                self._gains[name] += row["views"][name]["score"] - base
        self._report()

    def _report(self) -> None:
        if self.progress is None:
            return
        gains = {name: total / max(1, self.fresh) for name, total in self._gains.items()}
        seconds = time.monotonic() - self._start
        self.progress(
            Progress(
                done=self.done,
                total=self.source.total,
                failed=self.failed,
                fresh=self.fresh,
                seconds=seconds,
                gains=gains if self.sight.target is not None else {},
            )
        )


def _holds(box: Box, point: tuple[float, float]) -> bool:
    return box.left <= point[0] <= box.right and box.top <= point[1] <= box.bottom


def _sides(box: Box) -> list[float]:
    return [round(side, 6) for side in (box.left, box.top, box.right, box.bottom)]
