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

CELL_HEIGHT = 8
CELL_WIDTH = 16
"""One cell of the policy's grid covers 8 rows and 16 columns of input pixels."""

_CONTRAST_FLOOR = (
    14.0  # grey levels: weaker contrast than this stays weak instead of being amplified
)
_MAX_ENLARGEMENT = 1.6
_COARSE = 4
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
    pixels[: used[1], : used[0]] = even_out(np.asarray(small, dtype=np.float32))
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
    return bool((shown > 0.8).mean() > 0.6 * (shown < -0.8).mean())


def line_height(prepared: PageInput) -> float | None:
    """The usual height of the page's printed lines in input pixels; None without much print.

    Letters of a line are joined sideways, and the height of the bars that result is measured at
    every fourth column. Capitals and long letters stick out of the bars: it is about the height of
    an "x". The mean of the middle half of all heights.
    """
    reach, every = 4, 4
    ink = (prepared.pixels[: prepared.used[1], : prepared.used[0]] < -0.8).view(np.uint8)
    near = np.pad(ink, ((0, 0), (reach, reach)))
    places = range(0, ink.shape[1], every)
    count = np.zeros((ink.shape[0], len(places)), dtype=np.uint8)
    for shift in range(2 * reach + 1):
        count += near[:, shift : shift + ink.shape[1] : every]
    joined = count >= 2
    edges = np.diff(np.pad(joined.T, ((0, 0), (1, 1))).astype(np.int8), axis=1).ravel()
    runs = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    runs = np.sort(runs[(runs >= 2) & (runs <= 64)])
    if len(runs) < 50:
        return None
    return float(runs[len(runs) // 4 : -(len(runs) // 4)].mean())


def ink_extent(grey: Image.Image) -> tuple[int, int, int, int]:
    """The rectangle (left, top, right, bottom; page pixels) outside which the page is blank."""
    factor = max(1, min(grey.size) // 150)
    small = np.asarray(grey.reduce(factor) if factor > 1 else grey, dtype=np.float32)
    if min(small.shape) < 32:
        return (0, 0, *grey.size)
    mean = _refined(_box_mean(_coarse(small), 8), small.shape)
    ink = np.abs(small - mean) > 20
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


def even_out(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Local mean and contrast taken away: (value - mean) / (deviation + floor), clipped to +-3."""
    mean = _box_mean(_coarse(pixels), 20)
    square = _box_mean(_coarse(pixels * pixels), 20)
    spread: NDArray[np.float32] = np.sqrt(np.maximum(square - mean * mean, 0))
    spread += np.float32(_CONTRAST_FLOOR)
    evened = pixels - _refined(mean, pixels.shape)
    evened *= _refined(np.reciprocal(spread), pixels.shape)
    return np.clip(evened, -3, 3, out=evened)


def _coarse(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 4 x 4 tiles, the edge repeated where the last tile is not full."""
    height, width = pixels.shape
    if height % _COARSE or width % _COARSE:
        pixels = np.pad(pixels, ((0, -height % _COARSE), (0, -width % _COARSE)), mode="edge")
    # Sums of slices: several times faster than a mean over two axes of four.
    rows = pixels[0::4] + pixels[1::4] + pixels[2::4] + pixels[3::4]
    tiles: NDArray[np.float32] = rows[:, 0::4] + rows[:, 1::4] + rows[:, 2::4] + rows[:, 3::4]
    tiles /= np.float32(_COARSE * _COARSE)
    return tiles


def _refined(coarse: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A four times coarser plane interpolated back to ``shape``, its edge repeated outside."""
    rows, columns = coarse.shape
    ends = np.pad(coarse, ((0, 0), (1, 1)), mode="edge")
    wide = np.empty((rows + 2, columns, _COARSE), dtype=np.float32)
    for place, (first, share) in enumerate(_BETWEEN):
        left, right = ends[:, first : first + columns], ends[:, first + 1 : first + 1 + columns]
        wide[1:-1, :, place] = left + np.float32(share) * (right - left)
    wide[0], wide[-1] = wide[1], wide[-2]
    lines = wide.reshape(rows + 2, -1)
    fine = np.empty((rows, _COARSE, lines.shape[1]), dtype=np.float32)
    for place, (first, share) in enumerate(_BETWEEN):
        above, below = lines[first : first + rows], lines[first + 1 : first + 1 + rows]
        part = np.subtract(below, above, out=fine[:, place])
        part *= np.float32(share)
        part += above
    return fine.reshape(-1, lines.shape[1])[: shape[0], : shape[1]]


_BETWEEN = ((0, 0.625), (0, 0.875), (1, 0.125), (1, 0.375))
"""Of the four places in a tile: between which neighbours it lies, and how far along."""


def _box_mean(values: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Mean over a square of ``radius`` pixels to each side, on the coarse grid."""
    reach = max(1, radius // _COARSE)
    for axis in (0, 1):
        padding = [(0, 0), (0, 0)]
        padding[axis] = (reach + 1, reach)
        sums = np.cumsum(np.pad(values, padding, mode="edge"), axis=axis, dtype=np.float64)
        size, width = values.shape[axis], 2 * reach + 1
        high, low = (
            sums[start : start + size] if axis == 0 else sums[:, start : start + size]
            for start in (width, 0)
        )
        values = ((high - low) / width).astype(np.float32)
    return values
