"""The arithmetic behind :mod:`cropvlm_core.evaluation.tokens`: tokens of one picture, by its size.

Widths, heights, edges and cells are in pixels. Which model follows which function with which
numbers, and where that is written, is told there.
"""

import math
from bisect import bisect_left

Size = tuple[int, int]
"""Width and height in pixels."""


def scaled(size: Size, edge: int) -> Size:
    """Return ``size`` with ``edge`` as its longest edge, aspect kept, each side at least 1."""
    scale = edge / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def fixed(_width: int, _height: int, *, tokens: int) -> int:
    """Count the same for every picture."""
    return tokens


def openai_tiles(width: int, height: int, *, base: int, tile: int) -> int:
    """Count ``base``, and ``tile`` for each 512 pixels of the picture in 2048 x 768."""
    width, height = _within(width, height, 2048)
    shortest = min(width, height)
    if shortest > 768:
        width, height = width * 768 // shortest, height * 768 // shortest
    return base + tile * _cells(width, 512) * _cells(height, 512)


def openai_patches(width: int, height: int, *, percent: int, edge: int, budget: int | None) -> int:
    """Count ``percent`` of a token for each 32 pixels of the picture within edge and budget."""
    width, height = _within(width, height, edge)
    across, down = _cells(width, 32), _cells(height, 32)
    if budget is not None and across * down > budget:
        # The page's shrink factors, in whole numbers: the side that has to give way the most
        # becomes a multiple of 32 pixels, the other follows and is rounded down.
        across, down = math.isqrt(budget * width // height), math.isqrt(budget * height // width)
        if across * height <= down * width:
            down = _cells(height * 32 * across // width, 32)
        else:
            across = _cells(width * 32 * down // height, 32)
    return _cells(across * down * percent, 100)


def anthropic_patches(width: int, height: int, *, edge: int, budget: int) -> int:
    """Count the 28 pixel patches of the largest picture of this aspect that fits both limits."""
    longest, aspect = max(width, height), max(width, height) / min(width, height)

    def patches(length: int) -> Size:
        return _cells(length, 28), _cells(max(1, round(length / aspect)), 28)

    def too_large(length: int) -> bool:
        across, down = patches(length)
        return across * 28 > edge or across * down > budget

    return math.prod(patches(bisect_left(range(1, longest + 1), True, key=too_large)))


def gemini_tiles(width: int, height: int) -> int:
    """Count 258 for a small picture, else for each tile with two thirds of the shortest side."""
    if max(width, height) <= 384:
        return 258
    unit = max(256, min(width, height) * 2 // 3)
    return 258 * _cells(width, unit) * _cells(height, unit)


def qwen_patches(width: int, height: int, *, unit: int, least: int, most: int) -> int:
    """Count the units of the picture, scaled to whole units of ``least`` to ``most`` pixels."""
    across, down = round(width / unit), round(height / unit)
    if across * down * unit**2 > most:
        shrink = math.sqrt(width * height / most)
        across = max(1, math.floor(width / shrink / unit))
        down = max(1, math.floor(height / shrink / unit))
    elif across * down * unit**2 < least:
        grow = math.sqrt(least / (width * height))
        across, down = math.ceil(width * grow / unit), math.ceil(height * grow / unit)
    return across * down


def idefics_tiles(width: int, height: int, *, edge: int, tile: int, tokens: int) -> int:
    """Count ``tokens`` for the whole picture and each tile of it, scaled up or down to ``edge``."""
    if edge <= tile:
        return tokens
    # In floating point, step by step as the processor does: rounding decides over a row of tiles.
    aspect = width / height
    if width >= height:
        side = max(1, int(edge / aspect))
        across, down = edge, side + side % 2
        columns = _cells(across, tile)
        rows = _cells(int(columns * tile / (across / down)), tile)
    else:
        side = max(1, int(edge * aspect))
        across, down = side + side % 2, edge
        rows = _cells(down, tile)
        columns = _cells(int(rows * tile * (across / down)), tile)
    return (rows * columns + 1) * tokens


def idefics_tiles_of(width: int, height: int, *, least: int, tile: int, tokens: int) -> int:
    """Count the same for a picture that is seen at its own size, or at ``least`` if smaller."""
    return idefics_tiles(width, height, edge=max(least, width, height), tile=tile, tokens=tokens)


def _within(width: int, height: int, edge: int) -> Size:
    return (width, height) if max(width, height) <= edge else scaled((width, height), edge)


def _cells(length: int, cell: int) -> int:
    return -(-length // cell)
