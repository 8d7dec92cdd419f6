"""Further crops beside the earlier ones: moved off them or cut, so that they show new print."""

from collections.abc import Iterator, Sequence

from cropvlm_core.box import Pixels

MOST_SHARED = 0.25
"""The most that two crops of one question share, of the smaller one's area.

On rendered pages a tenth found fewer answers on more of the page: places between two crops were
cut through.
"""

LEAST_LEFT = 0.5
"""The least of a further crop's area that must be left when it is cut; else it is dropped."""


def beside(
    crop: Pixels,
    place: Pixels,
    earlier: Sequence[Pixels],
    size: tuple[int, int],
    *,
    least: int = 1,
    max_aspect: float | None = None,
) -> Pixels | None:
    """Return ``crop`` so that it shares at most :data:`MOST_SHARED` with each earlier crop.

    Off each crop that it overlaps more it is moved, in one of the four directions, as far as
    ``place`` stays in it and it stays on the page; what still overlaps too much is cut away. Of the
    four ways the one that cuts least is taken, then the one that shares and then moves least.

    Args:
        crop: (left, top, right, bottom) in whole pixels, half-open, as the others.
        place: what must stay in view, if it can.
        earlier: the crops to stand beside.
        size: (width, height) of the page in pixels.
        least: the shortest side of a crop that was cut, pixels.
        max_aspect: the longest side of a crop that was cut, over the shortest; None: any.

    Returns:
        The crop; None where there is no such place, or less than half of it would be left.
    """
    found = crop
    for other in earlier:
        if shared(found, other) <= MOST_SHARED:
            continue
        ways = [
            (cut, shared(way, other), moved, way)
            for cut, moved, way in _ways(found, place, other, size)
            if not cut or _keeps(way, size, least, max_aspect)
        ]
        if not ways:
            return None
        found = min(ways)[-1]
    apart = all(shared(found, other) <= MOST_SHARED for other in earlier)
    return found if apart and _area(found) >= LEAST_LEFT * _area(crop) else None


def shared(one: Pixels, other: Pixels) -> float:
    """Return the area that two crops share, as a share of the smaller one's (0..1)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0, width) * max(0, height) / min(_area(one), _area(other))


def _ways(
    crop: Pixels, place: Pixels, other: Pixels, size: tuple[int, int]
) -> Iterator[tuple[float, float, Pixels]]:
    """Share cut away, share moved, and the crop: to the right or down, and to the left or up."""
    for axis in (0, 1):
        low, high = crop[axis], crop[axis + 2]
        after = other[axis + 2] - low, min(place[axis] - low, size[axis] - high), 1
        before = high - other[axis], min(high - place[axis + 2], low), -1
        for need, room, sign in (after, before):
            move = max(0, min(need, room))
            start, end = low + sign * move, high + sign * move
            cut = 0
            if shared(_along(crop, axis, start, end), other) > MOST_SHARED:
                cut = need - move
                start, end = (start + cut, end) if sign > 0 else (start, end - cut)
            if start < end:
                length = high - low
                yield cut / length, move / length, _along(crop, axis, start, end)


def _along(crop: Pixels, axis: int, start: int, end: int) -> Pixels:
    """The crop with other ends in one direction."""
    return (start, crop[1], end, crop[3]) if axis == 0 else (crop[0], start, crop[2], end)


def _keeps(crop: Pixels, size: tuple[int, int], least: int, max_aspect: float | None) -> bool:
    sides = (crop[2] - crop[0], crop[3] - crop[1])
    wide_enough = all(side >= min(least, most) for side, most in zip(sides, size, strict=True))
    return wide_enough and (max_aspect is None or max(sides) <= max_aspect * min(sides))


def _area(crop: Pixels) -> int:
    return (crop[2] - crop[0]) * (crop[3] - crop[1])
