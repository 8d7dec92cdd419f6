"""Paper and light taken away at speed: the same numbers as when it is written plainly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cropvlm_core.embedded.evening import even_out, stands_out
from cropvlm_core.embedded.page_input import PageInput, line_height, photographic, prepare_readable

Plane = NDArray[np.float32]
BETWEEN = ((-1, 0.625), (-1, 0.875), (0, 0.125), (0, 0.375))


def grey(seed: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Noise of any strength around any grey, some of it flat."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(rng.uniform(0, 255), rng.choice((0.5, 5, 60)), shape)
    noise[: shape[0] // 3] = rng.integers(0, 256)
    return noise.clip(0, 255).astype(np.uint8)


def tile_means(pixels: Plane) -> Plane:
    padded = np.pad(pixels, [(0, -side % 4) for side in pixels.shape], mode="edge")
    tiles = padded.reshape(padded.shape[0] // 4, 4, padded.shape[1] // 4, 4)
    means: Plane = tiles.astype(np.float64).mean((1, 3)).astype(np.float32)
    return means


def box_mean(values: Plane, reach: int) -> Plane:
    """In double precision, a window at a time; first down, then across."""
    for _ in range(2):
        padded = np.pad(values.T, ((0, 0), (reach, reach)), mode="edge").astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=1)
        values = (windows.sum(-1) / (2 * reach + 1)).astype(np.float32)
    return values


def refined(coarse: Plane, shape: tuple[int, ...]) -> Plane:
    """Between the middles of tiles; first across, then down."""
    for _ in range(2):
        size = coarse.shape[1]
        fine = np.empty((coarse.shape[0], size, 4), dtype=np.float32)
        for place, (first, share) in enumerate(BETWEEN):
            left = coarse[:, np.clip(np.arange(size) + first, 0, size - 1)]
            right = coarse[:, np.clip(np.arange(size) + first + 1, 0, size - 1)]
            fine[:, :, place] = left + np.float32(share) * (right - left)
        coarse = fine.reshape(len(fine), -1).T
    return coarse[: shape[0], : shape[1]]


def plainly(pixels: Plane) -> Plane:
    mean, square = (box_mean(tile_means(one), 5) for one in (pixels, pixels * pixels))
    spread = np.sqrt(np.maximum(square - mean * mean, 0)) + np.float32(14)
    shares = refined(np.reciprocal(spread), pixels.shape)
    evened: Plane = np.clip((pixels - refined(mean, pixels.shape)) * shares, -3, 3)
    return evened


@given(st.integers(0, 10_000), st.integers(1, 70), st.integers(1, 70))
def test_pages_are_evened_out_to_the_bit(seed: int, height: int, width: int) -> None:
    page = grey(seed, (height, width))
    wanted = plainly(page.astype(np.float32))
    np.testing.assert_array_equal(even_out(page), wanted)
    np.testing.assert_array_equal(even_out(page.astype(np.float32)), wanted)
    out = np.full((height + 3, width + 5), 7, dtype=np.float32)
    even_out(page, out=out[:height, :width])
    np.testing.assert_array_equal(out[:height, :width], wanted)
    assert (out[height:] == 7).all()
    assert (out[:, width:] == 7).all()


@given(st.integers(0, 10_000), st.integers(32, 90), st.integers(32, 90))
def test_ink_is_what_differs_from_its_surroundings(seed: int, height: int, width: int) -> None:
    page = grey(seed, (height, width)).astype(np.float32)
    wanted = np.abs(page - refined(box_mean(tile_means(page), 2), page.shape)) > 20
    np.testing.assert_array_equal(stands_out(page, 20, radius=8), wanted)


def bars(prepared: PageInput) -> float | None:
    """``line_height``, a column at a time."""
    width, height = prepared.used
    ink = prepared.pixels[:height, :width] < -0.8
    found = []
    for column in range(0, width, 4):
        joined = ink[:, max(0, column - 4) : column + 5].sum(1) >= 2
        run = 0
        for set_ in [*joined, False]:
            if not set_ and 2 <= run <= 64:
                found.append(run)
            run = run + 1 if set_ else 0
    found.sort()
    quarter = len(found) // 4
    return float(np.mean(found[quarter:-quarter])) if len(found) >= 50 else None


@pytest.mark.parametrize("size", [(317, 463), (640, 402), (1201, 1699)])
def test_lines_and_photographs_are_told_as_when_counted_plainly(size: tuple[int, int]) -> None:
    page = Image.fromarray(grey(sum(size), size[::-1]) // 2 + 120)
    pen = ImageDraw.Draw(page)
    for number, top in enumerate(range(40, size[1] - 40, 23)):
        for left in range(30 + number % 7, size[0] - 60, 11):
            pen.rectangle((left, top, left + 6, top + 3 + (left + number) % 8), fill=20)
    prepared = prepare_readable(page, 65_536, 6.0, 2.5)
    assert line_height(prepared) == bars(prepared)
    shown = prepared.pixels[: prepared.used[1] : 2, : prepared.used[0] : 2]
    light, dark = (shown > 0.8).mean(), (shown < -0.8).mean()
    assert photographic(prepared) == (light > 0.6 * dark)
