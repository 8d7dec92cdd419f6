"""The typed results of an evaluation; ``results.json`` holds the same under the same names."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cropvlm_core.evaluation.reliability import Reliability
from cropvlm_core.evaluation.statistics import Interval
from cropvlm_core.evaluation.views import NO_CROP


@dataclass(frozen=True)
class Times:
    """Milliseconds a question."""

    median: float
    p95: float


@dataclass(frozen=True)
class Figures:
    """What one view comes to.

    ``questions`` of which ``boxed`` have a true box. ``score``: the metric. ``hit_rate``: share of
    the boxed questions whose answer lies at least 90 % inside one crop. ``pointing``: share whose
    best proposed place has its centre in a true box. ``area``: mean share of the page that crops
    cover, 1 where there is none. ``no_zoom_rate``: whole page because the cropper found that
    right; ``fallback_rate``: whole page because its reply was unreadable, late or unsure.
    ``crop_ms``: naming the box, decoding apart; ``target_ms``: the target's reply. ``tokens`` and
    ``pixels``: mean of what the target is shown; ``added_tokens``: over the page alone;
    ``points_per_100_tokens``: gain in points of the score (0..100) for every 100 of them.

    None where there is nothing to count.
    """

    questions: int
    boxed: int
    score: Interval | None
    hit_rate: Interval | None
    pointing: Interval | None
    area: float
    no_zoom_rate: float
    fallback_rate: float
    crop_ms: Times | None
    target_ms: Times | None
    tokens: float | None
    pixels: float | None
    added_tokens: float | None
    points_per_100_tokens: float | None


@dataclass(frozen=True)
class SetFigures:
    """Figures over one question set, and over each field in it."""

    figures: Figures
    fields: Mapping[str, Figures]


@dataclass(frozen=True)
class ViewFigures:
    """Figures of one view: over everything, and by set and field.

    ``reliability``: of a cropper's own view, what its confidences are worth; None without any, or
    without true boxes.
    """

    view: str
    kind: str
    cropper: str | None
    figures: Figures
    sets: Mapping[str, SetFigures]
    reliability: Reliability | None = None


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two views: score of ``view`` minus score of ``against``.

    ``set``: None over all sets. ``p``: two-sided permutation test over documents. The four counts
    go by a score of at least 0.5 as right: ``rescued`` is wrong under ``against`` and right under
    ``view``.
    """

    view: str
    against: str
    set: str | None
    questions: int
    difference: Interval
    p: float
    rescued: int
    harmed: int
    both_right: int
    both_wrong: int


@dataclass(frozen=True)
class Results:
    """All figures of an evaluation; :meth:`to_dict` is what ``results.json`` holds.

    ``settings``: what the evaluation was told. ``failed``: questions that have no row because an
    image could not be opened, or a model failed. ``complete``: no question is missing.
    """

    settings: Mapping[str, Any]
    questions: int
    boxed: int
    images: int
    failed: int
    complete: bool
    views: tuple[ViewFigures, ...]
    comparisons: tuple[Comparison, ...] = ()

    def figures(
        self, view: str, *, set_name: str | None = None, field: str | None = None
    ) -> Figures:
        """Return the figures of one view, over everything or over one set, or one field of it.

        Raises:
            KeyError: there is no such view, set or field.
        """
        found = next((each for each in self.views if each.view == view), None)
        if found is None:
            raise KeyError(view)
        if set_name is None:
            return found.figures
        one = found.sets[set_name]
        return one.figures if field is None else one.fields[field]

    def comparison(
        self, view: str, against: str = NO_CROP, *, set_name: str | None = None
    ) -> Comparison:
        """Return the difference of two views.

        Raises:
            KeyError: these two were not compared.
        """
        for each in self.comparisons:
            if (each.view, each.against, each.set) == (view, against, set_name):
                return each
        raise KeyError((view, against, set_name))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dictionary; shares are 0..1, times milliseconds."""
        return dict(self.settings) | {
            "questions": self.questions,
            "boxed": self.boxed,
            "images": self.images,
            "failed": self.failed,
            "complete": self.complete,
            "views": [asdict(each) for each in self.views],
            "comparisons": [asdict(each) for each in self.comparisons],
        }
