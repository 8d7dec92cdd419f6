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
) -> Proposal:
    """Read the boxes that the policy proposes for one question.

    Args:
        page: the prepared page, for the way back to page pixels.
        size: (width, height) of the upright page in pixels.
        cells: (rows, columns) log-probabilities of the cells.
        peaks: (N,) flat numbers of the candidate cells, likeliest first.
        sides: (N, 4, STEPS) probabilities of the distances to left, top, right, bottom.
        quantile: which quantile of a distance is taken; above one half leans to the wide side.

    Returns:
        Boxes with, as confidence, the probability of all cells inside the box (cells inside a
        better candidate's box counted there). A candidate that
        lies inside a better one's box is the same answer and is dropped.
    """
    rows, columns = cells.shape
    shares = np.exp(cells.astype(np.float64))
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
        box = _page_box(page, size, (x - left, y - top, x + right, y + bottom))
        if box is not None:
            found.append((confidence, box))
    if not found:
        return Proposal(reason="unreadable")
    found.sort(key=lambda pair: -pair[0])
    return Proposal(tuple(box for _, box in found), tuple(share for share, _ in found))


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
