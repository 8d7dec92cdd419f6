"""What a weight file does on questions that nothing was learned from: as users run it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cropvlm_core.box import union_area
from cropvlm_core.embedded import EmbeddedCropper
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.own_documents.material import by_page
from cropvlm_core.training.rewards import Reward
from cropvlm_core.training.rollouts import Rollout
from cropvlm_core.zoom import Zoom, ZoomPipeline


@dataclass(frozen=True)
class Outcome:
    """What became of one question.

    ``document``: its page. ``score``: what the reader's reply is worth, None where it gave none, or
    was not asked. ``hit``: whether the answer's box lies in the crop, None where it is not known.
    ``area``: the crop's share of the page, 1 for the whole page.
    """

    document: str
    score: float | None
    hit: bool | None
    area: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure(
    weights: Path,
    questions: Sequence[AnsweredQuestion],
    reader: Reward | None,
    *,
    check: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Zoom with a weight file, and let the reader see page and crop.

    Args:
        weights: the file.
        questions: any number; outcomes come in their order if those about a page stand together.
        reader: its score; None: nobody is asked.
        check: called before each page; may raise to stop.

    Raises:
        WeightsError: the file cannot be read.
        SourceError, ImageError: a page cannot be opened.
    """
    pipeline = ZoomPipeline(EmbeddedCropper(weights))
    outcomes: list[Outcome] = []
    for page in by_page(questions):
        check()
        zooms = pipeline.zoom_batch(page)
        outcomes += _outcomes(zooms, reader)
    return outcomes


def _outcomes(zooms: Sequence[Zoom], reader: Reward | None) -> Iterable[Outcome]:
    rollouts = []
    for zoom in zooms:
        assert isinstance(zoom.asked, AnsweredQuestion)
        rollouts.append(Rollout(zoom.asked, "", zoom.proposal, repaired=False, zoom=zoom))
    scores = [None] * len(rollouts) if reader is None else reader(rollouts)
    for rollout, score in zip(rollouts, scores, strict=True):
        boxes = [crop.box for crop in rollout.zoom.crops]
        question = rollout.question
        yield Outcome(
            str(question.doc or question.reference),
            score,
            question.hit(boxes),
            union_area(boxes) if boxes else 1.0,
        )
