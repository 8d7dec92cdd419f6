"""From the policy's probabilities to boxes: which cell, how far to each side, how sure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cropvlm_core.box import Box
from cropvlm_core.cropper import Proposal
from cropvlm_core.embedded.page_input import CELL_HEIGHT, CELL_WIDTH, PageInput
from cropvlm_core.embedded.side_lengths import quantile_distance
from cropvlm_core.questions import HIT_SHARE

MOST_BOXES = 4
"""The most boxes of a proposal: three crops are the most that we measure, and one is to spare."""

_Sides = NDArray[np.float64]
"""(..., 4): left, top, right, bottom in input pixels."""

_CELL = np.array((CELL_WIDTH, CELL_HEIGHT))
_STEPS = np.linspace(-1, 1, 9)
_SLIDES = np.stack(np.meshgrid(_STEPS, _STEPS), -1).reshape(-1, 2)
"""Where a box stands that may slide over a place, across and down: from one end to the other."""

_PULL = 1e-3 * np.abs(_SLIDES).sum(1)
"""Keeps a box in the middle among places that show as much."""

_NOTHING = 1e-9


def decode_proposal(
    page: PageInput,
    size: tuple[int, int],
    cells: NDArray[np.float32],
    peaks: NDArray[np.int64],
    sides: NDArray[np.float32],
    quantile: float,
    least: tuple[float, float] = (0.0, 0.0),
    *,
    most: int = MOST_BOXES,
    calibration: Callable[[float], float] | None = None,
) -> Proposal:
    """Read the boxes that the policy proposes for one question.

    Each box shows the place of a candidate and is at least ``least`` wide and high, with room to
    slide. First comes the one that shows the most probability, then again and again the one that
    shows the most of what no earlier box shows; candidates whose place is shown are done with. The
    place of a box is that of the likeliest candidate in it.

    Args:
        page: the prepared page, for the way back to page pixels.
        size: (width, height) of the upright page in pixels.
        cells: (rows, columns) log-probabilities of the cells.
        peaks: (N,) flat numbers of the candidate cells, likeliest first.
        sides: (N, 4, STEPS) probabilities of the distances to left, top, right, bottom.
        quantile: which quantile of a distance is taken; above one half leans to the wide side.
        least: smallest width and height of a box in input pixels: a size that follows the print,
            since the input is scaled so that print comes out at one height.
        most: the most boxes.
        calibration: turns the probability that a box shows, and no earlier one does, into its
            confidence; None: it is the confidence.

    Returns:
        Boxes with their places and confidences, the surest first.
    """
    shares = np.exp(cells.astype(np.float64))
    places = _places(cells.shape[1], peaks, quantile_distance(sides, quantile))
    windows = _windows(places, least)
    spans = _cells(windows, shares.shape)
    found: list[tuple[Box, Box, float]] = []
    mass = 1.0
    while len(found) < most and len(places):
        shown = _shown(shares, spans)
        best, slide = divmod(int((shown - _PULL).argmax()), len(_PULL))
        mass = max(0.0, min(mass, float(shown[best, slide])))
        window = windows[best, slide]
        inside = share_inside(places, window) >= HIT_SHARE
        inside[best] = True  # also where its numbers are no numbers
        box = page_box(page, size, window)
        if box is not None:
            place = page_box(page, size, places[inside.argmax()]) or box
            found.append((box, place, mass if calibration is None else calibration(mass)))
        left, top, right, bottom = spans[best, slide]
        shares[top:bottom, left:right] = 0.0
        places, windows, spans = places[~inside], windows[~inside], spans[~inside]
    return as_proposal(found)


def as_proposal(found: list[tuple[Box, Box, float]]) -> Proposal:
    """The proposal of boxes, each with its place and confidence; without any it is unreadable."""
    if not found:
        return Proposal(reason="unreadable")
    boxes, narrow, confidences = zip(*found, strict=True)
    return Proposal(boxes, confidences, places=narrow)


def _places(columns: int, peaks: NDArray[np.int64], distances: NDArray[np.float64]) -> _Sides:
    """Where each candidate says the answer stands (N, 4), but for those inside a likelier one."""
    kept: list[tuple[float, float, float, float]] = []
    for peak, (left, top, right, bottom) in zip(peaks, distances, strict=True):
        row, column = divmod(int(peak), columns)
        x, y = (column + 0.5) * CELL_WIDTH, (row + 0.5) * CELL_HEIGHT
        if not any(one[0] <= x <= one[2] and one[1] <= y <= one[3] for one in kept):
            kept.append((x - left, y - top, x + right, y + bottom))
    return np.array(kept).reshape(-1, 4)


def _windows(places: _Sides, least: tuple[float, float]) -> _Sides:
    """Boxes (N, slides, 4) of at least ``least`` that show the places, with a cell around them."""
    spare = np.maximum(0.0, np.array(least) - (places[:, 2:] - places[:, :2]))[:, None] / 2
    moves = _SLIDES * np.maximum(0.0, spare - _CELL)
    return np.concatenate(
        (places[:, None, :2] - spare + moves, places[:, None, 2:] + spare + moves), -1
    )


def _cells(windows: _Sides, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Columns and rows, from and to, of the cells whose middles lie in the windows (..., 4)."""
    height, width = shape
    cells: NDArray[np.float64] = np.rint(windows / (*_CELL, *_CELL))
    return np.minimum(np.maximum(cells, 0), (width, height, width, height)).astype(np.int64)


def _shown(shares: NDArray[np.float64], spans: NDArray[np.int64]) -> NDArray[np.float64]:
    """The probability that the cells of each span hold (N, slides)."""
    sums = np.zeros((shares.shape[0] + 1, shares.shape[1] + 1))
    np.cumsum(shares.cumsum(0), 1, out=sums[1:, 1:])
    left, top, right, bottom = np.moveaxis(spans, -1, 0)
    held: NDArray[np.float64] = (
        sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    )
    return held


def share_inside(places: _Sides, window: _Sides) -> NDArray[np.float64]:
    """How much of each place lies in the window, 0..1."""
    sides = np.minimum(places[:, 2:], window[2:]) - np.maximum(places[:, :2], window[:2])
    lengths = np.maximum(places[:, 2:] - places[:, :2], _NOTHING)
    shares: NDArray[np.float64] = np.maximum(sides, 0.0) / lengths
    return shares[:, 0] * shares[:, 1]


def page_box(page: PageInput, size: tuple[int, int], sides: _Sides) -> Box | None:
    """Input pixels to fractions of the page, cut at the page's edges; None if nothing is left."""
    left, top, right, bottom = (
        min(max((value / page.scale + offset) / length, 0.0), 1.0)
        for value, offset, length in zip(
            sides, (page.left, page.top) * 2, (size[0], size[1]) * 2, strict=True
        )
    )
    if right - left <= 0 or bottom - top <= 0:
        return None
    return Box(left, top, right, bottom)
