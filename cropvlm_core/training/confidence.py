"""How sure to say that one is: the confidence maps of a weight file, fitted on rendered pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropvlm_core.embedded.confidence import AnswerableMap, ConfidenceMap
from cropvlm_core.scoring import calibration_error

BREAK_EVEN = 0.1
"""A crop that holds the answer less often than this costs more than it brings, by our reckoning.

It costs about a tenth of what the page costs (its share of the pixels), and a hit turns about every
second answer from wrong to right where print is small: so 0.1 is right for someone to whom an
answer is worth two pages' cost, 0.2 for someone to whom it is worth one.
"""

MOST_LOST = 0.005
"""The most hits that the recommended limit may cost on rendered pages, share of all hits."""

VAIN_SHARE = 0.1
"""How many questions are put to pages that do not answer them, by our reckoning."""

_PRIOR = 1.0
_STEPS = 60
_UNCHANGED = np.array([1.0, 1.0, 0.0])  # the map that changes nothing


@dataclass(frozen=True)
class Fitted:
    """Confidence maps with what they came to on pages that they were not fitted on.

    Attributes:
        calibration: the map for pages that answer the question, fitted on half of the pages.
        answerable: from the network's log-odds to the chance that a page does; None where the
            network does not tell, or no question was asked in vain.
        threshold: the confidence below which the whole page is recommended.
        questions: how many the other pages have.
        error_before: expected calibration error there without the map, 0..1.
        error_after: and with it.
        left_out: share of crops that the threshold leaves out there.
        lost: share of the hits there that it leaves out.
        unanswerable_left_out: share of the crops that it leaves out for questions that their pages
            do not answer; None where none were asked.
        told_apart: how often the confidence of a question that its page answers is above that of
            one that its page does not (area under the ROC curve); None likewise.
    """

    calibration: ConfidenceMap
    threshold: float
    questions: int
    error_before: float
    error_after: float
    left_out: float
    lost: float
    answerable: AnswerableMap | None = None
    unanswerable_left_out: float | None = None
    told_apart: float | None = None

    def to_text(self) -> str:
        """One line for a person."""
        vain = self.unanswerable_left_out
        return (
            f"confidence: calibration error {self.error_before:.1%} as it was, "
            f"{self.error_after:.1%} as fitted, on {self.questions} questions about other pages; "
            f"below {self.threshold:.2f} the whole page is used: {self.left_out:.1%} of the crops, "
            f"{self.lost:.1%} of the hits"
            + ("" if vain is None else f", {vain:.1%} where the page holds no answer")
            + ("" if self.told_apart is None else f"; the two told apart: {self.told_apart:.1%}")
        )


@dataclass(frozen=True)
class Outcomes:
    """What became of N crops.

    Attributes:
        masses: the probability that the box of each shows, 0..1.
        hits: whether it holds the answer.
        halves: 0 or 1, by page.
        ranks: 0 for a question's first crop, 1 for its second.
        odds: the network's log-odds that the page answers the question.
        vain: whether the page is known not to answer it.
    """

    masses: NDArray[np.float64]
    hits: NDArray[np.float64]
    halves: NDArray[np.float64]
    ranks: NDArray[np.float64]
    odds: NDArray[np.float64]
    vain: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[tuple[float, bool, int, int, float, bool]]) -> Outcomes:
        """From a row for each crop, in the order of the attributes."""
        masses, hits, halves, ranks, odds, vain = np.array(rows, dtype=np.float64).reshape(-1, 6).T
        return cls(masses, hits, halves, ranks, odds, vain > 0)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights by which ``VAIN_SHARE`` of the questions are vain, however many were asked."""
        vain, first = self.vain, self.ranks == 0
        asked, missed = int((first & ~vain).sum()), int((first & vain).sum())
        weight = VAIN_SHARE / (1 - VAIN_SHARE) * asked / missed if missed and asked else 1.0
        return np.where(vain, weight, 1.0)


def fit_confidence(crops: Outcomes) -> Fitted:
    """Fit on the crops of half 0, measure on the first crops of half 1."""
    fitted, first, hit = crops.halves == 0, crops.ranks == 0, crops.hits
    calibration = fit_map(crops.masses[fitted & ~crops.vain], hit[fitted & ~crops.vain])
    asked = fitted & first
    answerable = _fit_answerable(crops.odds[asked], crops.vain[asked], crops.weights[asked])
    told = zip(crops.masses, crops.odds, strict=True)
    sure = np.array(
        [calibration(mass) * (answerable(odds) if answerable else 1.0) for mass, odds in told]
    )
    chosen = asked & ~crops.vain
    threshold = recommended_threshold(sure[chosen], hit[chosen])
    rest = first & ~fitted if (first & ~fitted & ~crops.vain).any() else first
    vain, rest = rest & crops.vain, rest & ~crops.vain
    out, mass = sure[rest] < threshold, crops.masses
    return Fitted(
        calibration=calibration,
        threshold=threshold,
        questions=int(rest.sum()),
        error_before=calibration_error(mass[rest], hit[rest]),
        error_after=calibration_error(sure[rest], hit[rest]),
        left_out=float(out.mean()),
        lost=float(hit[rest][out].sum() / max(1.0, hit[rest].sum())),
        answerable=answerable,
        unanswerable_left_out=float((sure[vain] < threshold).mean()) if vain.any() else None,
        told_apart=told_apart(sure[rest], sure[vain]) if vain.any() else None,
    )


def fit_map(masses: NDArray[np.float64], hits: NDArray[np.float64]) -> ConfidenceMap:
    """The likeliest confidence map, by Newton's method, with a weak pull to changing nothing.

    Args:
        masses: (N,) 0..1.
        hits: (N,) 0 or 1.
    """
    kept = np.clip(masses, 1e-6, 1 - 1e-6)
    inputs = np.stack((np.log(kept), -np.log1p(-kept), np.ones_like(kept)), 1)
    free = np.array([True, True, True])
    while True:
        found = _newton(inputs, hits, np.ones_like(kept), _UNCHANGED, free)
        wrong = free & (found < 0) & (True, True, False)
        if not wrong.any():
            return ConfidenceMap(*map(float, found))
        free &= ~wrong  # a slope below 0 would turn the order round: without it


def _fit_answerable(
    odds: NDArray[np.float64], vain: NDArray[np.bool_], weights: NDArray[np.float64]
) -> AnswerableMap | None:
    """Platt's scaling, by the same method; None where there is nothing to tell by."""
    if not vain.any() or vain.all() or np.ptp(odds) == 0:
        return None
    inputs = np.stack((odds, np.ones_like(odds)), 1)
    unchanged, free = np.array([1.0, 0.0]), np.array([True, True])
    slope, offset = _newton(inputs, (~vain).astype(np.float64), weights, unchanged, free)
    return AnswerableMap(float(slope), float(offset)) if slope > 0 else None


def _newton(
    inputs: NDArray[np.float64],
    hits: NDArray[np.float64],
    weights: NDArray[np.float64],
    unchanged: NDArray[np.float64],
    free: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Parameters of the logistic regression; those that are not free are 0."""
    found = np.where(free, unchanged, 0.0)

    def loss(parameters: NDArray[np.float64]) -> float:
        odds = inputs @ parameters
        misfit = weights * (np.logaddexp(0.0, odds) - hits * odds)
        return float(misfit.sum() + _PRIOR / 2 * ((parameters - unchanged)[free] ** 2).sum())

    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ found, -500, 500)))
        slope = inputs.T @ (weights * (chance - hits)) + _PRIOR * (found - unchanged)
        bend = (inputs * (weights * chance * (1 - chance))[:, None]).T @ inputs
        bend += _PRIOR * np.eye(len(found))
        step = np.zeros(len(found))
        step[free] = np.linalg.solve(bend[np.ix_(free, free)], slope[free])
        size = 1.0
        while size > 1e-6 and loss(found - size * step) > loss(found):
            size /= 2
        found = found - size * step
        if np.abs(size * step).max() < 1e-8:
            break
    return found


def told_apart(answered: NDArray[np.float64], vain: NDArray[np.float64]) -> float:
    """How often a confidence of the first is above one of the second; ties count half.

    The area under the ROC curve, 0.5 where they are not told apart.
    """
    ordered = np.sort(vain)
    ranks = np.searchsorted(ordered, answered) + np.searchsorted(ordered, answered, side="right")
    return float(ranks.mean() / 2 / len(ordered))


def recommended_threshold(sure: NDArray[np.float64], hits: NDArray[np.float64]) -> float:
    """``BREAK_EVEN``, or as much below as keeps all hits but ``MOST_LOST``; in hundredths."""
    right = np.sort(sure[hits > 0])
    if not right.size:
        return 0.0
    least = right[min(int(MOST_LOST * right.size), right.size - 1)]
    return float(np.floor(min(BREAK_EVEN, least) * 100 + 1e-9) / 100)
