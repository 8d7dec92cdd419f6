"""How sure to say that one is: the confidence map of a weight file, fitted on rendered pages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cropvlm_core.embedded.confidence import ConfidenceMap
from cropvlm_core.scoring import calibration_error

BREAK_EVEN = 0.1
"""A crop that holds the answer less often than this costs more than it brings, by our reckoning.

It costs about a tenth of what the page costs (its share of the pixels), and a hit turns about every
second answer from wrong to right where print is small: so 0.1 is right for someone to whom an
answer is worth two pages' cost, 0.2 for someone to whom it is worth one.
"""

MOST_LOST = 0.005
"""The most hits that the recommended limit may cost on rendered pages, share of all hits."""

_PRIOR = 1.0
_STEPS = 60
_UNCHANGED = np.array([1.0, 1.0, 0.0])  # the map that changes nothing


@dataclass(frozen=True)
class Fitted:
    """A confidence map with what it came to on pages that it was not fitted on.

    Attributes:
        calibration: the map, fitted on half of the pages.
        threshold: the confidence below which the whole page is recommended.
        questions: how many the other pages have.
        error_before: expected calibration error there without the map, 0..1.
        error_after: and with it.
        left_out: share of crops that the threshold leaves out there.
        lost: share of the hits there that it leaves out.
        unanswerable_left_out: share of the crops that it leaves out for questions that their pages
            do not answer; None where none were asked. The map knows nothing of such questions: a
            confidence is the chance of a hit where the page holds the answer.
    """

    calibration: ConfidenceMap
    threshold: float
    questions: int
    error_before: float
    error_after: float
    left_out: float
    lost: float
    unanswerable_left_out: float | None = None

    def to_text(self) -> str:
        """One line for a person."""
        vain = self.unanswerable_left_out
        return (
            f"confidence: calibration error {self.error_before:.1%} as it was, "
            f"{self.error_after:.1%} as fitted, on {self.questions} questions about other pages; "
            f"below {self.threshold:.2f} the whole page is used: {self.left_out:.1%} of the crops, "
            f"{self.lost:.1%} of the hits"
            + ("" if vain is None else f", {vain:.1%} where the page holds no answer")
        )


def fit_confidence(
    masses: ArrayLike, hits: ArrayLike, halves: ArrayLike, ranks: ArrayLike
) -> Fitted:
    """Fit on the crops of half 0, measure on the first crops of half 1.

    Args:
        masses: (N,) the probability that the box of each crop shows, 0..1.
        hits: (N,) whether the crop holds the answer.
        halves: (N,) 0 or 1, by page.
        ranks: (N,) 0 for a question's first crop, 1 for its second.
    """
    mass, hit = np.asarray(masses, dtype=np.float64), np.asarray(hits, dtype=np.float64)
    fitted = np.asarray(halves) == 0
    calibration = fit_map(mass[fitted], hit[fitted])
    sure = np.array([calibration(one) for one in mass])
    first = np.asarray(ranks) == 0
    threshold = recommended_threshold(sure[fitted & first], hit[fitted & first])
    rest = first & ~fitted if (first & ~fitted).any() else first
    out = sure[rest] < threshold
    return Fitted(
        calibration=calibration,
        threshold=threshold,
        questions=int(rest.sum()),
        error_before=calibration_error(mass[rest], hit[rest]),
        error_after=calibration_error(sure[rest], hit[rest]),
        left_out=float(out.mean()),
        lost=float(hit[rest][out].sum() / max(1.0, hit[rest].sum())),
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
        found = _newton(inputs, hits, free)
        wrong = free & (found < 0) & (True, True, False)
        if not wrong.any():
            return ConfidenceMap(*map(float, found))
        free &= ~wrong  # a slope below 0 would turn the order round: without it


def _newton(
    inputs: NDArray[np.float64], hits: NDArray[np.float64], free: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Parameters of the logistic regression; those that are not free are 0."""
    found = np.where(free, _UNCHANGED, 0.0)

    def loss(parameters: NDArray[np.float64]) -> float:
        odds = inputs @ parameters
        misfit = np.logaddexp(0.0, odds) - hits * odds
        return float(misfit.sum() + _PRIOR / 2 * ((parameters - _UNCHANGED)[free] ** 2).sum())

    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ found, -500, 500)))
        slope = inputs.T @ (chance - hits) + _PRIOR * (found - _UNCHANGED)
        bend = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + _PRIOR * np.eye(3)
        step = np.zeros(3)
        step[free] = np.linalg.solve(bend[np.ix_(free, free)], slope[free])
        size = 1.0
        while size > 1e-6 and loss(found - size * step) > loss(found):
            size /= 2
        found = found - size * step
        if np.abs(size * step).max() < 1e-8:
            break
    return found


def recommended_threshold(sure: NDArray[np.float64], hits: NDArray[np.float64]) -> float:
    """``BREAK_EVEN``, or as much below as keeps all hits but ``MOST_LOST``; in hundredths."""
    right = np.sort(sure[hits > 0])
    if not right.size:
        return 0.0
    least = right[min(int(MOST_LOST * right.size), right.size - 1)]
    return float(np.floor(min(BREAK_EVEN, least) * 100 + 1e-9) / 100)
