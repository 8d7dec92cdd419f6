"""How a teacher's boxes grow before the warm start: the paper's rule (CropVLM, arXiv 2511.19820).

Teachers draw boxes tightly around the answer. By area, the boxes of a data set are parted into
fifths, and the smaller a fifth, the more its boxes grow. The fifths are quintiles of the data:
were they fixed shares of the page, a factor of 45 would make most boxes the whole page.
"""

import bisect
import math
from collections.abc import Iterable

from cropvlm_core.box import Box

AREA_FACTORS = (45.0, 10.0, 4.0, 2.0, 1.0)
"""By how much the area of a box grows, from the fifth of the boxes with the smallest areas to the
fifth with the largest: the paper's figures for its warm start."""

Quintiles = tuple[float, float, float, float]
"""The areas, shares of the page, below which 20, 40, 60 and 80 % of the boxes lie."""


def area_quintiles(boxes: Iterable[Box]) -> Quintiles:
    """Return the areas that part ``boxes`` into fifths, small to large; zeros without boxes."""
    areas = sorted(box.area for box in boxes) or [0.0]
    one, two, three, four = (areas[len(areas) * fifth // 5] for fifth in (1, 2, 3, 4))
    return one, two, three, four


def area_factor(box: Box, quintiles: Quintiles) -> float:
    """Return which of :data:`AREA_FACTORS` is for ``box``, among boxes with these quintiles."""
    return AREA_FACTORS[bisect.bisect_right(quintiles, box.area)]


def grown_by_area(box: Box, quintiles: Quintiles) -> Box:
    """Grow ``box`` as the paper does for its warm start.

    The area grows by :func:`area_factor`, each side by its square root, about the centre. A box
    that then leaves the page is shifted inside, not cut; no side exceeds the page.

    Args:
        box: the teacher's.
        quintiles: of all the teacher's boxes for the data set (:func:`area_quintiles`).
    """
    factor = math.sqrt(area_factor(box, quintiles))
    left, right = _grown_side(box.left, box.right, factor)
    top, bottom = _grown_side(box.top, box.bottom, factor)
    return Box(left, top, right, bottom)


def _grown_side(low: float, high: float, factor: float) -> tuple[float, float]:
    length = min((high - low) * factor, 1.0)
    start = min(max((low + high - length) / 2, 0.0), 1.0 - length)
    return min(start, low), max(start + length, high)  # rounding must not lose the box's edge
