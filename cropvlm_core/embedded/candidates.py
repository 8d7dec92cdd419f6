"""The candidates of a policy: how likely each is the answer, and how likely a crop holds it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropvlm_core.embedded.page_input import CELL_HEIGHT, CELL_WIDTH, PageInput
from cropvlm_core.embedded.side_lengths import LADDER, STEPS

LEAST_CHANCE = 0.003
"""Candidates less likely than this are not looked at."""

_LOG_EDGES = np.log(LADDER[0]) + np.log(LADDER[1] / LADDER[0]) * (np.arange(STEPS + 1) - 0.5)
"""A step of the ladder stands for the distances between two of these, evenly in the logarithm."""

_NOTHING = 1e-6

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """The candidates seen along one direction, across or down; lengths in input pixels.

    Attributes:
        middles: (K,) where the candidates' cells have their middles.
        before, after: (K, STEPS + 1) how likely the answer's side before, and after, the middle is
            nearer than each of the edges between the ladder's steps.
        start, end: where the page starts and ends.
    """

    middles: Numbers
    before: Numbers
    after: Numbers
    start: float
    end: float

    def lows(self, quantiles: Numbers) -> Numbers:
        """Where the candidates begin (K, quantiles), on the page; further out as they rise."""
        return self._on_page(self.middles[:, None] - _distances(self.before, quantiles))

    def highs(self, quantiles: Numbers) -> Numbers:
        """Where the candidates end (K, quantiles), on the page; further out as they rise."""
        return self._on_page(self.middles[:, None] + _distances(self.after, quantiles))

    def begun(self, lows: Numbers) -> Numbers:
        """The chance (K, N) that each candidate begins at or after each of ``lows``.

        What is said to begin off the page begins at its edge.
        """
        chances = _nearer(self.before, self.middles[:, None] - lows)
        return np.where(lows <= self.start + _NOTHING, 1.0, chances)

    def ended(self, highs: Numbers) -> Numbers:
        """The chance (K, N) that each candidate ends at or before each of ``highs``, likewise."""
        chances = _nearer(self.after, highs - self.middles[:, None])
        return np.where(highs >= self.end - _NOTHING, 1.0, chances)

    def held(self, lows: Numbers, highs: Numbers) -> Numbers:
        """The chance (N, K) that each candidate lies in each of N spans."""
        return (self.begun(lows) * self.ended(highs)).T

    def widened(self, low: float, high: float, least: float) -> tuple[float, float]:
        """The span at least ``least`` long, about its middle, moved onto the page if it fits."""
        length = min(max(high - low, least), self.end - self.start)
        begin = min(max((low + high - length) / 2, self.start), self.end - length)
        return begin, begin + length

    def _on_page(self, places: Numbers) -> Numbers:
        return np.minimum(np.maximum(places, self.start), self.end)


@dataclass(frozen=True)
class Candidates:
    """K candidates.

    Attributes:
        chances: (K,) how likely each is the answer.
        across, down: where they may reach, sideways and up and down.
    """

    chances: Numbers
    across: Axis
    down: Axis

    @classmethod
    def read(
        cls,
        page: PageInput,
        size: tuple[int, int],
        cells: NDArray[np.float32],
        peaks: NDArray[np.int64],
        sides: NDArray[np.float32],
    ) -> Candidates:
        """The peaks that are likely enough, and in any case the likeliest.

        The probability of a cell is that of the peak nearest to it. For the arguments see
        ``decode_proposal``; numbers that are no numbers count as 0.
        """
        chances = _chances(cells, peaks)
        kept = chances > LEAST_CHANCE
        kept[chances.argmax()] = True
        shares = np.nan_to_num(sides[kept].astype(np.float64), posinf=0.0, neginf=0.0)
        sums = np.pad(np.maximum(shares, 0.0).cumsum(-1), ((0, 0), (0, 0), (1, 0)))
        sums /= np.maximum(sums[..., -1:], _NOTHING)
        rows, columns = np.divmod(peaks[kept], cells.shape[1])
        left, top = -page.left * page.scale, -page.top * page.scale
        width, height = size[0] * page.scale, size[1] * page.scale
        x, y = (columns + 0.5) * CELL_WIDTH, (rows + 0.5) * CELL_HEIGHT
        across = Axis(x, sums[:, 0], sums[:, 2], left, left + width)
        return cls(chances[kept], across, Axis(y, sums[:, 1], sums[:, 3], top, top + height))

    def places(self, quantile: float) -> Numbers:
        """Where each candidate says the answer stands: left, top, right, bottom (K, 4)."""
        one = np.array([quantile])
        ends = (
            self.across.lows(one), self.down.lows(one),
            self.across.highs(one), self.down.highs(one),
        )  # fmt: skip
        return np.concatenate(ends, 1)

    def held(self, window: Numbers) -> Numbers:
        """The chance (K,) that each candidate, if it is the answer, lies in the window."""
        left, top, right, bottom = window[:, None]
        held: Numbers = (self.across.held(left, right) * self.down.held(top, bottom))[0]
        return held


def _chances(cells: NDArray[np.float32], peaks: NDArray[np.int64]) -> Numbers:
    """The probability (N,) of the cells nearest to each peak."""
    logs = np.nan_to_num(cells.ravel().astype(np.float64), nan=-np.inf, posinf=0.0)
    shares = np.exp(np.minimum(logs, 0.0))
    likely = np.flatnonzero(shares > _NOTHING)
    rows, columns = np.divmod(likely, cells.shape[1])
    peak_rows, peak_columns = np.divmod(peaks[:, None], cells.shape[1])
    nearest = ((rows - peak_rows) ** 2 + (columns - peak_columns) ** 2).argmin(0)
    return np.bincount(nearest, shares[likely], len(peaks)).astype(np.float64)


def _distances(sums: Numbers, quantiles: Numbers) -> Numbers:
    """The distances (K, quantiles) below which so much of the probability lies."""
    return np.exp([np.interp(quantiles, row, _LOG_EDGES) for row in sums])


def _nearer(sums: Numbers, distances: Numbers) -> Numbers:
    """The chance (K, N) that a side is nearer than the distances (K, N)."""
    logs = np.log(np.maximum(distances, _NOTHING))
    chances = [np.interp(own, _LOG_EDGES, row) for own, row in zip(logs, sums, strict=True)]
    return np.array(chances)
