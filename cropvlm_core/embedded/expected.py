"""Boxes chosen for what they are worth: the chance that a crop holds the answer, less its price.

The policy says how likely each candidate is and, for each of its sides, how far it may reach. So
the chance that the answer lies in a crop is a sum over candidates: the candidate's probability
times, for each side, the probability that the side lies in the crop. Boxes are searched among all
whose sides stand at quantiles of the candidates' sides. One box may hold several candidates: it
does where they stand so near to each other that this is worth more than a smaller box.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cropvlm_core.box import Box
from cropvlm_core.cropper import Proposal
from cropvlm_core.embedded.candidates import LEAST_CHANCE, Axis, Candidates, Numbers
from cropvlm_core.embedded.decoding import MOST_BOXES, as_proposal, page_box, share_inside
from cropvlm_core.embedded.page_input import PageInput
from cropvlm_core.questions import HIT_SHARE

QUANTILES = np.array((0.5, 0.75, 0.9, 0.96, 0.985, 0.997))
"""Where the sides of a box may stand, of the distances to each candidate's sides."""

_BANDS = np.array((60.0, 200.0))
"""The search begins with the rows so many input pixels up and down from each candidate."""

_NOTHING = 1e-6


def expected_proposal(
    page: PageInput,
    size: tuple[int, int],
    cells: NDArray[np.float32],
    peaks: NDArray[np.int64],
    sides: NDArray[np.float32],
    price: float,
    least: tuple[float, float] = (0.0, 0.0),
    *,
    quantile: float = 0.5,
    most: int = MOST_BOXES,
    calibration: Callable[[float], float] | None = None,
) -> Proposal:
    """Read the boxes that are worth the most for one question.

    First comes the box that is worth the most, then again and again the one that is for what no
    earlier box shows, as long as its chance is worth its price; candidates whose place is shown are
    done with. The place of a box is that of the candidate that brings it the most.

    Args:
        page: the prepared page, for the way back to page pixels.
        size: (width, height) of the upright page in pixels.
        cells: (rows, columns) log-probabilities of the cells.
        peaks: (N,) flat numbers of the candidate cells, likeliest first.
        sides: (N, 4, STEPS) probabilities of the distances to left, top, right, bottom.
        price: the chance of a hit that a crop must bring for a cost of 1; see ``cost``.
        least: smallest width and height of a box in input pixels.
        quantile: which quantile of the distances a candidate's place is.
        most: the most boxes.
        calibration: turns the chance that a box, and no earlier one, holds the answer into its
            confidence; None: it is the confidence.

    Returns:
        Boxes on the page with their places and confidences, the surest first.
    """
    if not len(peaks):
        return Proposal(reason="unreadable")
    candidates = Candidates.read(page, size, cells, peaks, sides)
    search = _Search(candidates, price, least)
    places, chances = candidates.places(quantile), candidates.chances
    found: list[tuple[Box, Box, float]] = []
    mass = 1.0
    for _ in range(len(places)):  # each turn is done with one at least
        if len(found) == most:
            break
        window, worth = search.best(chances)
        if found and worth <= 0:
            break
        held = candidates.held(window)
        best = int((chances * held).argmax())
        mass = min(mass, float(chances @ held))
        inner = np.clip(places[best], window[[0, 1, 0, 1]], window[[2, 3, 2, 3]])
        box, place = page_box(page, size, window), page_box(page, size, inner)
        place = place or box
        if box and place and not any(place.covered_by(one) >= HIT_SHARE for one, _, _ in found):
            found.append((box, place, mass if calibration is None else calibration(mass)))
        shown = share_inside(places, window) >= HIT_SHARE
        shown[best] = True
        chances = np.where(shown, 0.0, chances * (1 - held))
    return as_proposal(found)


def cost(width: Numbers, height: Numbers, page: float) -> Numbers:
    """What a crop costs; about its share of the page where that is small, for all of it no end.

    The share is half that of its area and half that of a crop of its length, three times as long as
    high. The area is what a model pays for that is shown a crop in its own size. A reader of
    limited size scales the longer side to it, so the longer that is, the smaller print comes out:
    on rendered pages of small print one of 512 pixels read 66 % of the answers, and 60 % with the
    area alone and crops of the same mean area; hits are half a point fewer. That share is divided
    by the share of the page that the crop leaves out, since the page is shown anyway.

    Args:
        width: of crops, input pixels.
        height: of crops, input pixels.
        page: area of the page, square input pixels.
    """
    area: Numbers = width * height
    share = np.maximum(width, height)
    share *= share
    share /= 3
    share += area
    area -= page
    area *= -2
    share /= np.maximum(area, _NOTHING)
    return share


class _Spans(NamedTuple):
    """Spans of S crops along an axis.

    ``low``, ``high``: where they begin and end; ``lengths``, widened to the least; ``held`` (S, K):
    the chance that each candidate lies in each; ``worth``: what the crops come to; ``number``: of
    the span among all.
    """

    low: Numbers
    high: Numbers
    lengths: Numbers
    held: Numbers
    worth: Numbers
    number: NDArray[np.intp]

    def distinct(self) -> _Spans:
        """Each span once."""
        _, kept = np.unique(self.number, return_index=True)
        return _Spans(
            self.low[kept], self.high[kept], self.lengths[kept],
            self.held[kept], self.worth[kept], self.number[kept],
        )  # fmt: skip


class _Choices:
    """All spans along an axis between quantiles of the candidates' sides."""

    def __init__(self, axis: Axis, least: float, price: float, page: float) -> None:
        self.price, self.page = price, page
        self.lows = np.unique(axis.lows(QUANTILES))
        self.highs = np.unique(axis.highs(QUANTILES))
        self.begun, self.ended = axis.begun(self.lows).T, axis.ended(self.highs)
        self.lengths = np.maximum(self.highs - self.lows[:, None], least)

    def best(self, chances: Numbers, lengths: Numbers) -> _Spans:
        """The best span for each of S crops whose other direction is given.

        Args:
            chances: (S, K) that each candidate is the answer and lies in the crop the other way.
            lengths: (S,) of the crops the other way.
        """
        worth = (self.begun * chances[:, None]) @ self.ended
        worth -= self.price * cost(self.lengths, lengths[:, None, None], self.page)
        flat = worth.reshape(len(chances), -1)
        taken = flat.argmax(1)
        low, high = np.divmod(taken, len(self.highs))
        return _Spans(
            self.lows[low],
            self.highs[high],
            self.lengths[low, high],
            self.begun[low] * self.ended[:, high].T,
            flat[np.arange(len(flat)), taken],
            taken,
        )


class _Search:
    """The search for the box that is worth the most, by turns across and down."""

    def __init__(self, candidates: Candidates, price: float, least: tuple[float, float]) -> None:
        across, down = candidates.across, candidates.down
        self.across, self.down = across, down
        self.least = (max(least[0], 1.0), max(least[1], 1.0))
        area = (across.end - across.start) * (down.end - down.start)
        self.columns = _Choices(across, self.least[0], price, area)
        self.rows = _Choices(down, self.least[1], price, area)

    def best(self, chances: Numbers) -> tuple[Numbers, float]:
        """The best box (left, top, right, bottom) in input pixels, and what it is worth.

        Args:
            chances: (K,) how likely each candidate is the answer.
        """
        live = chances > LEAST_CHANCE
        live[chances.argmax()] = True
        middles = self.down.middles[live, None]
        low, high = (middles - _BANDS).ravel(), (middles + _BANDS).ravel()
        _, rows = self._turn(chances, self.down.held(low, high), high - low)
        rows = rows.distinct()
        columns, rows = self._turn(chances, rows.held, rows.lengths)
        best = int(rows.worth.argmax())
        left, right = self.across.widened(columns.low[best], columns.high[best], self.least[0])
        top, bottom = self.down.widened(rows.low[best], rows.high[best], self.least[1])
        return np.array((left, top, right, bottom)), float(rows.worth[best])

    def _turn(self, chances: Numbers, held: Numbers, lengths: Numbers) -> tuple[_Spans, _Spans]:
        """The best columns for rows that hold the candidates so, then the best rows for those."""
        columns = self.columns.best(held * chances, lengths).distinct()
        return columns, self.rows.best(columns.held * chances, columns.lengths)
