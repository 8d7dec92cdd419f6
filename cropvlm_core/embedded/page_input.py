"""What the embedded policy sees of a page: its ink, in grey, evened out, at a fixed pixel budget.

The same code prepares pages for training and for inference, with one difference: training keeps to
one budget (small print is cut out of pages instead), inference may spend more on small print.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cropvlm_core.embedded.evening import even_out, stands_out

CELL_HEIGHT = 8
CELL_WIDTH = 16
"""One cell of the policy's grid covers 8 rows and 16 columns of input pixels."""

_MAX_ENLARGEMENT = 1.6
_ASPECTS = (0.35, 0.45, 0.57, 0.71, 0.87, 1.05, 1.26, 1.51, 1.82, 2.2, 2.65, 3.2, 4.0)


@dataclass(frozen=True)
class PageInput:
    """A prepared page.

    Attributes:
        pixels: float32 array (height, width), zero = local mean, ink usually negative, within +-3.
        scale: input pixels per page pixel.
        left, top: page pixel that became the input's upper left corner.
        used: (width, height) in input pixels that show the page; the rest is padding.
        photograph: whether it looks like one, where that was looked at.
    """

    pixels: NDArray[np.float32]
    scale: float
    left: float
    top: float
    used: tuple[int, int]
    photograph: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in input pixels."""
        return (self.pixels.shape[0], self.pixels.shape[1])

    def lean(self) -> PageInput:
        """The same without its pixels: zeros that take no memory."""
        return dataclasses.replace(self, pixels=np.broadcast_to(np.float32(0), self.shape))


@functools.cache
def input_shapes(budget: int) -> tuple[tuple[int, int], ...]:
    """The few (height, width) shapes of about ``budget`` pixels that inputs can have.

    Heights are multiples of 16 and widths of 32, what the network's coarsest grid needs.
    """
    shapes = []
    for aspect in _ASPECTS:
        width = max(32, 32 * round(math.sqrt(budget / aspect) / 32))
        shapes.append((max(16, 16 * round(budget / width / 16)), width))
    return tuple(dict.fromkeys(shapes))


def prepare_page(image: Image.Image, budget: int) -> PageInput:
    """Trim to the ink, scale into one of the fixed shapes, take away paper colour and light.

    Args:
        image: the upright page, any mode.
        budget: pixels of the network's input.
    """
    grey = to_grey(image)
    return _prepared(grey, ink_extent(grey), budget)


def to_grey(image: Image.Image) -> Image.Image:
    """All that the policy sees of a page's colours."""
    return image if image.mode == "L" else image.convert("L")


def _prepared(grey: Image.Image, extent: tuple[int, int, int, int], budget: int) -> PageInput:
    left, top, right, bottom = extent
    width, height = right - left, bottom - top
    scale, shape = max(
        (min(shape[0] / height, shape[1] / width, _MAX_ENLARGEMENT), shape)
        for shape in input_shapes(budget)
    )
    used = (
        max(1, min(shape[1], round(width * scale))),
        max(1, min(shape[0], round(height * scale))),
    )
    small = grey.resize(used, Image.Resampling.BILINEAR, box=extent, reducing_gap=2.0)
    pixels = np.zeros(shape, dtype=np.float32)
    even_out(np.asarray(small), out=pixels[: used[1], : used[0]])
    return PageInput(pixels, scale, float(left), float(top), used)


FACTORS = (0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
"""What the budget can be multiplied by so that print comes out in a readable size."""


def prepare_readable(image: Image.Image, budget: int, line: float, most: float) -> PageInput:
    """:func:`prepare_page`, with the budget that brings the print to a readable size.

    Pages of large print get less than ``budget``, pages of small print more, and pictures that
    look like photographs, in which print can be of any size, the most.

    Args:
        image: the upright page, any mode.
        budget: pixels of the network's input for ordinary print.
        line: height of a printed line (of its small letters) that is large enough, input pixels;
            0 keeps to ``budget``.
        most: how many times the budget small print may take.
    """
    grey = to_grey(image)
    extent = ink_extent(grey)
    prepared = _prepared(grey, extent, budget)
    if line == 0 or most <= 1:
        return prepared
    photograph = photographic(prepared)
    if photograph:
        prepared = dataclasses.replace(prepared, photograph=True)
        needed = most
    else:
        height = line_height(prepared)
        if height is None:
            return prepared
        needed = (line / height) ** 2
    factor = min([one for one in FACTORS if one >= 0.9 * needed] or [most])
    factor = min(factor, most)
    if factor == 1 or (factor > 1 and prepared.scale >= _MAX_ENLARGEMENT):
        return prepared
    larger = _prepared(grey, extent, round(budget * factor))
    return dataclasses.replace(larger, photograph=photograph)


def photographic(prepared: PageInput) -> bool:
    """Whether light and dark details are balanced, as in photographs; ink on paper is dark."""
    shown = prepared.pixels[: prepared.used[1] : 2, : prepared.used[0] : 2]
    light, dark = np.count_nonzero(shown > 0.8), np.count_nonzero(shown < -0.8)
    return bool(light / shown.size > 0.6 * (dark / shown.size))


def line_height(prepared: PageInput) -> float | None:
    """The usual height of the page's printed lines in input pixels; None without much print.

    Letters of a line are joined sideways, and the height of the bars that result is measured at
    every fourth column. Capitals and long letters stick out of the bars: it is about the height of
    an "x". The mean of the middle half of all heights.
    """
    every = 4
    ink = prepared.pixels[: prepared.used[1], : prepared.used[0]] < -0.8
    rows, columns = ink.shape
    places = math.ceil(columns / every)
    near = np.zeros((rows, (places + 2) * every), dtype=np.uint8)
    near[:, every : every + columns] = ink
    fours = near[:, 0::every] + near[:, 1::every] + near[:, 2::every] + near[:, 3::every]
    # Nine columns: four before the place, and four after it.
    count = fours[:, :-2] + fours[:, 1:-1] + near[:, 2 * every :: every]
    joined = np.zeros((places, rows + 2), dtype=bool)
    np.greater_equal(count.T, 2, out=joined[:, 1:-1])
    edges = np.flatnonzero(joined[:, 1:] != joined[:, :-1])
    runs = edges[1::2] - edges[0::2]
    runs = np.sort(runs[(runs >= 2) & (runs <= 64)])
    if len(runs) < 50:
        return None
    return float(runs[len(runs) // 4 : -(len(runs) // 4)].mean())


def ink_extent(grey: Image.Image) -> tuple[int, int, int, int]:
    """The rectangle (left, top, right, bottom; page pixels) outside which the page is blank."""
    factor = max(1, min(grey.size) // 150)
    small = np.asarray(grey.reduce(factor) if factor > 1 else grey)
    if min(small.shape) < 32:
        return (0, 0, *grey.size)
    ink = stands_out(small, 20, radius=8)
    rows = np.flatnonzero(ink.sum(axis=1) >= 2 + 0.004 * ink.shape[1])
    columns = np.flatnonzero(ink.sum(axis=0) >= 2 + 0.004 * ink.shape[0])
    if len(rows) < 8 or len(columns) < 8:
        return (0, 0, *grey.size)
    margin = 2 + 0.01 * max(small.shape)
    width, height = grey.size
    left = max(0, int((columns[0] - margin) * factor))
    top = max(0, int((rows[0] - margin) * factor))
    right = min(width, math.ceil((columns[-1] + 1 + margin) * factor))
    bottom = min(height, math.ceil((rows[-1] + 1 + margin) * factor))
    return (left, top, right, bottom)
