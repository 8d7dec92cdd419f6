"""What the embedded policy sees of a page: its ink, in grey, evened out, at a fixed pixel budget.

The same code prepares pages for training and for inference.
"""

from __future__ import annotations

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
    """

    pixels: NDArray[np.float32]
    scale: float
    left: float
    top: float
    used: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in input pixels."""
        return (self.pixels.shape[0], self.pixels.shape[1])


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
    grey = image if image.mode == "L" else image.convert("L")
    left, top, right, bottom = ink_extent(grey)
    width, height = right - left, bottom - top
    scale, shape = max(
        (min(shape[0] / height, shape[1] / width, _MAX_ENLARGEMENT), shape)
        for shape in input_shapes(budget)
    )
    used = (
        max(1, min(shape[1], round(width * scale))),
        max(1, min(shape[0], round(height * scale))),
    )
    small = grey.resize(
        used, Image.Resampling.BILINEAR, box=(left, top, right, bottom), reducing_gap=2.0
    )
    pixels = np.zeros(shape, dtype=np.float32)
    pixels[: used[1], : used[0]] = even_out(np.asarray(small, dtype=np.float32))
    return PageInput(pixels, scale, float(left), float(top), used)


def ink_extent(grey: Image.Image) -> tuple[int, int, int, int]:
    """The rectangle (left, top, right, bottom; page pixels) outside which the page is blank."""
    factor = max(1, min(grey.size) // 180)
    small = np.asarray(grey.reduce(factor) if factor > 1 else grey, dtype=np.float32)
    if min(small.shape) < 32:
        return (0, 0, *grey.size)
    mean, _ = _local_statistics(small, 8)
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
    mean, deviation = _local_statistics(pixels, 20)
    evened = (pixels - mean) / (deviation + np.float32(_CONTRAST_FLOOR))
    return np.clip(evened, -3, 3, out=evened)


def _local_statistics(
    pixels: NDArray[np.float32], radius: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation in a box around each pixel, both computed on a four times coarser grid."""
    height, width = pixels.shape
    edge = pixels
    if height % _COARSE or width % _COARSE:
        edge = np.pad(pixels, ((0, -height % _COARSE), (0, -width % _COARSE)), mode="edge")
    tiles = edge.reshape(edge.shape[0] // _COARSE, _COARSE, edge.shape[1] // _COARSE, _COARSE)
    mean = tiles.mean(axis=(1, 3))
    square = np.einsum("iajb,iajb->ij", tiles, tiles) / np.float32(_COARSE * _COARSE)
    for axis in (0, 1):
        mean = _box_mean(mean, max(1, radius // _COARSE), axis)
        square = _box_mean(square, max(1, radius // _COARSE), axis)
    deviation = np.sqrt(np.maximum(square - mean * mean, 0))
    size = (edge.shape[1], edge.shape[0])
    fine = [
        np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))[:height, :width]
        for plane in (mean, deviation)
    ]
    return fine[0], fine[1]


def _box_mean(values: NDArray[np.float32], radius: int, axis: int) -> NDArray[np.float32]:
    size = values.shape[axis]
    padding = [(0, 0), (0, 0)]
    padding[axis] = (radius + 1, radius)
    sums = np.cumsum(np.pad(values, padding, mode="edge"), axis=axis, dtype=np.float64)
    high = np.take(sums, np.arange(2 * radius + 1, 2 * radius + 1 + size), axis=axis)
    low = np.take(sums, np.arange(size), axis=axis)
    return ((high - low) / (2 * radius + 1)).astype(np.float32)
