"""What the policy says of a question, read as boxes by the rule that its settings name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cropvlm_core.cropper import Proposal
from cropvlm_core.embedded.decoding import MOST_BOXES, decode_proposal
from cropvlm_core.embedded.expected import expected_proposal
from cropvlm_core.embedded.page_input import PageInput
from cropvlm_core.embedded.settings import PolicySettings


def propose(
    page: PageInput,
    size: tuple[int, int],
    cells: NDArray[np.float32],
    peaks: NDArray[np.int64],
    sides: NDArray[np.float32],
    settings: PolicySettings,
    *,
    answerable: float = 0.0,
    most: int = MOST_BOXES,
) -> Proposal:
    """The boxes for one question: those worth their price, or, without a price, of a fixed size.

    Args:
        page: the prepared page.
        size: (width, height) of the upright page in pixels.
        cells: (rows, columns) log-probabilities of the cells.
        peaks: (N,) flat numbers of the candidate cells, likeliest first.
        sides: (N, 4, STEPS) probabilities of the distances to left, top, right, bottom.
        settings: those of the weight file.
        answerable: the network's log-odds that the page answers the question, which count where the
            settings say how much.
        most: the most boxes.
    """
    price, least = settings.price_on(page), settings.least_on(page)
    sure = settings.confidence(answerable)
    if price is None:
        return decode_proposal(
            page, size, cells, peaks, sides, settings.quantile, least,
            most=most, calibration=sure,
        )  # fmt: skip
    # The price is that of so much print as fills an ordinary input, whatever the page's size.
    price *= size[0] * size[1] * page.scale**2 / settings.budget
    return expected_proposal(
        page, size, cells, peaks, sides, price, least,
        quantile=settings.quantile, most=most, calibration=sure,
    )  # fmt: skip
