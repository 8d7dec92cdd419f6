"""Paper colour, light and contrast taken away from a page, by means over squares around each pixel.

Means are taken of 4 x 4 tiles and interpolated in between. Pages pass here once or twice each, so
this is written for speed: whole rows at a time, and a quarter of them at once, which then fits the
processor's caches. Sums of grey levels are exact in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TILE = 4
_CONTRAST_FLOOR = 14.0  # grey levels: weaker contrast than this stays weak and is not amplified
_RADIUS = 20

Pixels = NDArray[np.uint8] | NDArray[np.float32]


def even_out(pixels: Pixels, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Local mean and contrast taken away: (value - mean) / (deviation + floor), clipped to +-3.

    Args:
        pixels: grey levels (height, width), 0..255.
        out: where to write it; None: a new array.
    """
    tiled = _tiled(pixels)
    mean, square = _box_mean(_tile_means(tiled, squares=True), _RADIUS)
    spread: NDArray[np.float32] = np.sqrt(np.maximum(square - mean * mean, 0))
    spread += np.float32(_CONTRAST_FLOOR)
    evened = np.empty(pixels.shape, dtype=np.float32) if out is None else out
    coarse = np.stack([mean, np.reciprocal(spread)])
    for rows, seen, (local, share) in _quarters(evened, tiled, coarse):
        np.subtract(seen, local, out=rows)
        rows *= share
        np.clip(rows, -3, 3, out=rows)
    return evened


def stands_out(pixels: Pixels, least: float, *, radius: int) -> NDArray[np.bool_]:
    """Which pixels (height, width) differ by more than ``least`` from the mean around them."""
    tiled = _tiled(pixels)
    found = np.empty(pixels.shape, dtype=bool)
    for rows, seen, (local,) in _quarters(found, tiled, _box_mean(_tile_means(tiled), radius)):
        np.greater(np.abs(seen - local), least, out=rows)
    return found


def _quarters(
    out: NDArray[Any], tiled: NDArray[np.float32], coarse: NDArray[np.float32]
) -> Iterator[tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]]:
    """Every fourth row of ``out``, of the picture in whole tiles, and of ``coarse`` interpolated.

    ``coarse`` are planes (N, rows, columns) of a value a tile; their edges are repeated outside.
    """
    lines = _widened(coarse)
    steps = np.diff(lines, axis=-2)
    for place, (first, share) in enumerate(_BETWEEN):
        rows = out[place::_TILE]
        height, width = rows.shape
        fine = steps[:, first : first + height, :width] * np.float32(share)
        fine += lines[:, first : first + height, :width]
        yield rows, tiled[place::_TILE, :width][:height], fine


def _tiled(pixels: Pixels) -> NDArray[np.float32]:
    """Whole 4 x 4 tiles, the edge repeated where the last one is not full."""
    height, width = pixels.shape
    tiled = np.empty((height + -height % _TILE, width + -width % _TILE), dtype=np.float32)
    tiled[:height, :width] = pixels
    tiled[:height, width:] = tiled[:height, width - 1 : width]
    tiled[height:] = tiled[height - 1]
    return tiled


def _tile_means(tiled: NDArray[np.float32], *, squares: bool = False) -> NDArray[np.float32]:
    """Means (1, rows, columns) of whole 4 x 4 tiles; and, if wanted, (2, ...) of their squares."""
    # Sums of slices: several times faster than a mean over two axes of four.
    rows = np.zeros((1 + squares, len(tiled) // _TILE, tiled.shape[1]), dtype=np.float32)
    for place in range(_TILE):
        seen = tiled[place::_TILE]
        rows[0] += seen
        if squares:
            rows[1] += seen * seen
    tiles: NDArray[np.float32] = rows[..., 0::_TILE] + rows[..., 1::_TILE]
    tiles += rows[..., 2::_TILE]
    tiles += rows[..., 3::_TILE]
    tiles /= np.float32(_TILE * _TILE)
    return tiles


def _widened(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Planes (N, rows, columns) as (N, rows + 2, 4 columns), their edges repeated outside."""
    planes, rows, columns = coarse.shape
    ends = _edged(_edged(coarse, -2, 1), -1, 1)
    steps = np.diff(ends, axis=-1)
    wide = np.empty((planes, rows + 2, columns, _TILE), dtype=np.float32)
    for place, (first, share) in enumerate(_BETWEEN):
        step = steps[..., first : first + columns] * np.float32(share)
        step += ends[..., first : first + columns]
        wide[..., place] = step
    return wide.reshape(planes, rows + 2, -1)


_BETWEEN = ((0, 0.625), (0, 0.875), (1, 0.125), (1, 0.375))
"""Of the four places in a tile: between which neighbours it lies, and how far along."""


def _box_mean(values: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Mean over a square of ``radius`` pixels to each side, on coarse planes (N, rows, columns)."""
    reach = max(1, radius // _TILE)
    for axis in (-2, -1):
        sums = _sums(_edged(values, axis, reach).astype(np.float64), 2 * reach + 1, axis)
        sums /= 2 * reach + 1
        values = sums.astype(np.float32)
    return values


def _sums(values: NDArray[np.float64], width: int, axis: int) -> NDArray[np.float64]:
    """The sum of each ``width`` neighbours along an axis, from sums of 1, 2, 4, ... of them."""
    size = values.shape[axis] - width + 1

    def part(start: int, length: int) -> NDArray[np.float64]:
        own = slice(start, start + length)
        return values[..., own] if axis == -1 else values[..., own, :]

    total = np.zeros_like(part(0, size))
    done, power = 0, 1
    while True:
        if width & power:
            total += part(done, size)
            done += power
        if done == width:
            return total
        length = values.shape[axis] - power
        values = part(0, length) + part(power, length)
        power *= 2


def _edged(values: NDArray[np.float32], axis: int, times: int) -> NDArray[np.float32]:
    """With the first and the last along an axis repeated so many times more."""
    size = values.shape[axis]
    return values.take(np.clip(np.arange(-times, size + times), 0, size - 1), axis)
