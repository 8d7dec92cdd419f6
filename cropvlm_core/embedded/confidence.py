"""From the probability that a box shows to the chance that its crop holds the answer."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

_EDGE = 1e-6  # masses are kept so far from 0 and 1


@dataclass(frozen=True)
class ConfidenceMap:
    """Beta calibration: the chance is 1 / (1 + exp(-(low ln m - high ln(1 - m) + offset))).

    Kull, Silva Filho and Flach 2017, Beyond Sigmoids: How to Obtain Well-Calibrated Probabilities
    from Binary Classifiers with Beta Calibration, section 3. With ``low = high`` it is Platt's
    scaling of the log-odds; with 1, 1, 0 it changes nothing.

    Attributes:
        low, high: how steep it is where m is small, and where it is near 1. At least 0, so that
            the map never falls and the order of boxes stays.
        offset: shift of the log-odds.

    Raises:
        ValueError: a parameter is not finite, or a slope is below 0.
    """

    low: float
    high: float
    offset: float

    def __post_init__(self) -> None:
        """Check that the map rises."""
        parameters = (self.low, self.high, self.offset)
        if not all(map(math.isfinite, parameters)) or min(self.low, self.high) < 0:
            raise ValueError(f"expected finite parameters, slopes >= 0, got {parameters}")

    def __call__(self, mass: float) -> float:
        """The chance, 0..1, for a mass of 0..1."""
        kept = min(max(mass, _EDGE), 1 - _EDGE)
        return _chance(self.low * math.log(kept) - self.high * math.log1p(-kept) + self.offset)


@dataclass(frozen=True)
class AnswerableMap:
    """Platt's scaling of the network's log-odds that the page answers the question at all.

    Attributes:
        slope: at least 0.
        offset: added.

    Raises:
        ValueError: one is not finite, or the slope below 0.
    """

    slope: float
    offset: float

    def __post_init__(self) -> None:
        """Check that the map rises."""
        if not (math.isfinite(self.slope) and math.isfinite(self.offset)) or self.slope < 0:
            raise ValueError(f"expected finite parameters, a slope >= 0, got {astuple(self)}")

    def __call__(self, odds: float) -> float:
        """The chance, 0..1; what is no number counts as 0."""
        known = min(max(odds, -500.0), 500.0) if math.isfinite(odds) else 0.0
        return _chance(self.slope * known + self.offset)


def _chance(odds: float) -> float:
    return 1 / (1 + math.exp(-min(max(odds, -500.0), 500.0)))
