"""From the policy's probabilities to boxes: which cell, how far to each side, how sure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cropvlm_core.box import Box
from cropvlm_core.cropper import Proposal
from cropvlm_core.embedded.page_input import CELL_HEIGHT, CELL_WIDTH, PageInput
from cropvlm_core.embedded.side_lengths import quantile_distance


def decode_proposal(
    page: PageInput,
    size: tuple[int, int],
    cells: NDArray[np.float32],
    peaks: NDArray[np.int64],
    sides: NDArray[np.float32],
    quantile: float,
    least: tuple[float, float] = (0.0, 0.0),
) -> Proposal:
    """Read the boxes that the policy proposes for one question.

    Args:
        page: the prepared page, for the way back to page pixels.
        size: (width, height) of the upright page in pixels.
        cells: (rows, columns) log-probabilities of the cells.
        peaks: (N,) flat numbers of the candidate cells, likeliest first.
        sides: (N, 4, STEPS) probabilities of the distances to left, top, right, bottom.
        quantile: which quantile of a distance is taken; above one half leans to the wide side.
        least: smallest width and height of a box in input pixels: a size that follows the print,
            since the input is scaled so that print comes out at one height.

    Returns:
        Boxes, the surest first. The confidence is the probability of all cells inside the box
        before it is widened to ``least`` (cells inside a better candidate's box counted there). A
        candidate that lies inside a better one's box is the same answer and is dropped.
    """
    rows, columns = cells.shape
    shares = np.exp(cells.astype(np.float64))
    sums = np.pad(shares, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    down = (np.arange(rows) + 0.5) * CELL_HEIGHT
    across = (np.arange(columns) + 0.5) * CELL_WIDTH
    found: list[tuple[float, Box]] = []
    taken = np.zeros((rows, columns), dtype=bool)
    for peak, spread in zip(peaks, sides, strict=True):
        row, column = divmod(int(peak), columns)
        if taken[row, column]:
            continue
        left, top, right, bottom = quantile_distance(spread, quantile)
        x, y = across[column], down[row]
        inside = ((down >= y - top) & (down <= y + bottom))[:, None] & (
            (across >= x - left) & (across <= x + right)
        )[None, :]
        confidence = float(min(1.0, shares[inside & ~taken].sum()))
        taken |= inside
        wide = _widened((x - left, y - top, x + right, y + bottom), least, sums)
        box = _page_box(page, size, wide)
        if box is not None:
            found.append((confidence, box))
    if not found:
        return Proposal(reason="unreadable")
    found.sort(key=lambda pair: -pair[0])
    return Proposal(tuple(box for _, box in found), tuple(share for share, _ in found))


_STEPS = np.linspace(-1, 1, 9)


def _widened(
    sides: tuple[float, float, float, float],
    least: tuple[float, float],
    sums: NDArray[np.float64],
) -> tuple[float, float, float, float]:
    """The box at least ``least`` wide and high, with a cell's margin at least where it grows.

    Of all places that show the box, the one that shows the most probability (``sums``, cumulative
    over rows and columns), the middle one among equals: other candidates near by come into view.
    """
    spare_x = max(0.0, least[0] - (sides[2] - sides[0])) / 2
    spare_y = max(0.0, least[1] - (sides[3] - sides[1])) / 2
    dx = _STEPS * max(0.0, spare_x - CELL_WIDTH)
    dy = _STEPS * max(0.0, spare_y - CELL_HEIGHT)

    def edge(values: NDArray[np.float64], unit: int, count: int) -> NDArray[np.int64]:
        return np.clip(np.rint(values / unit), 0, count).astype(np.int64)

    rows, columns = sums.shape[0] - 1, sums.shape[1] - 1
    low = edge(sides[1] - spare_y + dy, CELL_HEIGHT, rows)[:, None]
    high = edge(sides[3] + spare_y + dy, CELL_HEIGHT, rows)[:, None]
    first = edge(sides[0] - spare_x + dx, CELL_WIDTH, columns)[None, :]
    last = edge(sides[2] + spare_x + dx, CELL_WIDTH, columns)[None, :]
    shown = sums[high, last] - sums[low, last] - sums[high, first] + sums[low, first]
    shown = shown - 1e-3 * (np.abs(_STEPS)[:, None] + np.abs(_STEPS)[None, :])
    j, i = np.unravel_index(int(shown.argmax()), shown.shape)
    return (
        sides[0] - spare_x + dx[i], sides[1] - spare_y + dy[j],
        sides[2] + spare_x + dx[i], sides[3] + spare_y + dy[j],
    )  # fmt: skip


def _page_box(
    page: PageInput, size: tuple[int, int], sides: tuple[float, float, float, float]
) -> Box | None:
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
