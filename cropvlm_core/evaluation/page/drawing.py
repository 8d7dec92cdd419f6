"""The cost-gain plot as inline SVG.

Shape tells the kind of a view, colour the cropper, and every point has its name beside it, so that
the plot also works without colour. Colours are classes of the stylesheet.
"""

import math
from collections.abc import Sequence

from cropvlm_core.evaluation.page.plot import Plot, Point
from cropvlm_core.evaluation.page.wording import text

_LETTER, _STRONG = 6.8, 7.7  # width of a letter at 12 pixels, generously; of a bold one
_MOST_STEPS = 5  # a point that far from its cost would mislead
_APART = 11.0  # pixels between points whose bars would cover each other
_LINE = 17.0  # height of a label
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 16.0, 16.0, 44.0  # margins, in pixels
_DISTANCES = (11, 20, 32, 46, 62, 80, 100, 125, 150, 180)  # of a label from its point, in pixels
_MOVES = [(math.cos(turn * math.pi / 8), math.sin(turn * math.pi / 8)) for turn in range(16)]

Frame = tuple[float, float, float, float]


def draw(plot: Plot, width: float, name: str) -> str:
    """Return the plot as an ``<svg>`` of ``width`` pixels; ``name`` makes its ids its own."""
    crowd = max(0, len(plot.points) - 10)
    height = 420.0 + 9.0 * crowd if width > 500 else width + 90.0 + 20.0 * crowd
    scale = 100 if plot.percent else 1
    xs, x_ends = _axis([scale * point.x for point in plot.points], 0.1)
    ends = [end for point in plot.points for end in (point.low, point.high)]
    ys, y_ends = _axis([100 * end for end in (*ends, 0.0)], 0.06)
    right, bottom = width - _RIGHT, height - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ends[0]) / (x_ends[1] - x_ends[0])
        up = (y - y_ends[0]) / (y_ends[1] - y_ends[0])
        return _LEFT + across * (right - _LEFT), bottom - up * (bottom - _TOP)

    parts = [
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{text(plot.y_title)}, against {text(plot.x_title)}</title>'
        f'<desc id="{name}-text">{_told(plot)}</desc>'
    ]
    for tick in ys:
        y = place(xs[0], tick)[1]
        kind = "zero" if tick == 0 and plot.gain else "grid"
        parts.append(
            f'<line class="{kind}" x1="{_LEFT}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">'
            f"{_tick(tick, ys, plus=plot.gain)}</text>"
        )
    for tick in xs:
        x = place(tick, ys[0])[0]
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom:.1f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 17:.1f}" text-anchor="middle">'
            f"{_tick(tick, xs)}</text>"
        )
    parts.append(
        f'<text class="axis" x="{right:.1f}" y="{height - 6:.1f}" text-anchor="end">'
        f"{text(plot.x_title)}</text>"
        f'<text class="axis" x="14" y="{(_TOP + bottom) / 2:.1f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {(_TOP + bottom) / 2:.1f})">{text(plot.y_title)}</text>'
    )
    bars = [(place(0, 100 * point.low)[1], place(0, 100 * point.high)[1]) for point in plot.points]
    spots = [place(scale * point.x, 100 * point.y) for point in plot.points]
    spots = _apart(spots, bars, (_LEFT, right))
    for point, (x, _), (low, high) in zip(plot.points, spots, bars, strict=True):
        parts.append(_bar(_paint(point), x, low, high))
    for point, (x, y) in zip(plot.points, spots, strict=True):
        parts.append(_marker(point.kind, _paint(point), x, y))
    parts += _labels(plot.points, spots, bars, (_LEFT, _TOP, right, bottom))
    return "".join((*parts, "</svg>"))


def _told(plot: Plot) -> str:
    """The points in words, for those who cannot see them."""
    scale, unit = (100, " %") if plot.percent else (1, "")
    return text(
        "; ".join(
            f"{p.view}: {100 * p.y:+.1f} ({100 * p.low:+.1f} to {100 * p.high:+.1f}) "
            f"at {scale * p.x:.0f}{unit}"
            for p in plot.points
        )
    )


def _axis(values: Sequence[float], margin: float) -> tuple[list[float], tuple[float, float]]:
    """Round numbers, equally far apart, and the ends of an axis around ``values``.

    ``margin``: room at either end, as a share of their spread.
    """
    low, high = min(values), max(values)
    spread = (high - low) or 1.0
    low, high = low - margin * spread, high + margin * spread
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [number * step for number in range(first, last + 1)], (low, high)


def _tick(value: float, ticks: Sequence[float], *, plus: bool = False) -> str:
    step = ticks[1] - ticks[0]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    sign = "−" if value < 0 else "+" if plus and value > 0 else ""
    return f"{sign}{abs(value):,.{digits}f}"


def _paint(point: Point) -> str:
    if point.colour is not None:
        return f"cropper-{point.colour % 6}"
    return "ceiling" if point.kind == "ceiling" else "control"


def _bar(paint: str, x: float, low: float, high: float) -> str:
    return (
        f'<path class="error {paint}" d="M{x:.1f} {low:.1f}V{high:.1f}'
        f'M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"/>'
    )


def _marker(kind: str, paint: str, x: float, y: float) -> str:
    at = f'transform="translate({x:.1f} {y:.1f})"'
    path = {
        "cropper": '<circle r="6.5"/>',
        "baseline": '<circle class="open" r="5"/>',
        "shuffled": '<path class="stroke" d="M-5-5L5 5M-5 5L5-5"/>',
        "crop_alone": '<path d="M0-6.5L6 5H-6Z"/>',
        "equal_cost": '<path class="open" d="M0-6.5L6.5 0L0 6.5L-6.5 0Z"/>',
        "ceiling": '<path d="M0-8L2 -2.5H8L3.2 1.2L5 7L0 3.4L-5 7L-3.2 1.2L-8-2.5H-2Z"/>',
    }.get(kind, '<rect class="open" x="-4.5" y="-4.5" width="9" height="9"/>')
    return f'<g class="marker {paint}" {at}>{path}</g>'


def _apart(
    spots: Sequence[tuple[float, float]],
    bars: Sequence[tuple[float, float]],
    ends: tuple[float, float],
) -> list[tuple[float, float]]:
    """Move points at nearly the same cost sideways, as little as their bars need."""
    placed: list[tuple[float, float, float]] = []
    moved = []
    for (x, y), bar in zip(spots, bars, strict=True):
        top, bottom = min(*bar, y - 8), max(*bar, y + 8)
        steps = (sign * step * _APART for step in range(_MOST_STEPS) for sign in (1, -1))
        free = (
            step
            for step in steps
            if ends[0] <= x + step <= ends[1]
            and not any(
                abs(x + step - other) < _APART - 0.1 and top < low and high < bottom
                for other, high, low in placed
            )
        )
        step = next(free, 0.0)
        placed.append((x + step, top, bottom))
        moved.append((x + step, y))
    return moved


def _labels(
    points: Sequence[Point],
    spots: Sequence[tuple[float, float]],
    bars: Sequence[tuple[float, float]],
    room: Frame,
) -> list[str]:
    """Names beside their points, where they cover neither a point, a bar nor another name."""
    taken: list[Frame] = [(x - 8, y - 8, x + 8, y + 8) for x, y in spots]
    taken += [(x - 3, min(bar), x + 3, max(bar)) for (x, _), bar in zip(spots, bars, strict=True)]
    leaders, names = [], []
    for point, (x, y) in sorted(
        zip(points, spots, strict=True), key=lambda pair: (pair[0].kind != "cropper", pair[1])
    ):
        letter = _STRONG if point.kind == "cropper" else _LETTER
        frame = _free(x, y, len(point.label) * letter, taken, room)
        taken.append(frame)
        left, top, right, bottom = frame
        near = min(max(x, left), right), min(max(y, top + 2), bottom - 2)
        if math.dist((x, y), near) > 15:
            leaders.append(
                f'<line class="leader" x1="{x:.1f}" y1="{y:.1f}" '
                f'x2="{near[0]:.1f}" y2="{near[1]:.1f}"/>'
            )
            taken += _along((x, y), near)
        kind = "label strong" if point.kind == "cropper" else "label"
        names.append(
            f'<text class="{kind} {_paint(point)}" x="{(left + right) / 2:.1f}" '
            f'y="{bottom - 4:.1f}" text-anchor="middle">{text(point.label)}</text>'
        )
    return leaders + names  # no line runs through a name


def _free(x: float, y: float, width: float, taken: Sequence[Frame], room: Frame) -> Frame:
    best: tuple[float, Frame] | None = None
    for distance in _DISTANCES:
        for across, down in _MOVES:
            middle = x + across * (distance + width / 2), y + down * (distance + _LINE / 2)
            left = min(max(middle[0] - width / 2, room[0] + 2), room[2] - width)
            top = min(max(middle[1] - _LINE / 2, room[1]), room[3] - _LINE)
            frame = left, top, left + width, top + _LINE
            covered = sum(_shared(frame, other) for other in taken)
            if covered == 0:
                return frame
            if best is None or covered < best[0]:
                best = covered, frame
    assert best is not None  # there are always places, good or bad
    return best[1]


def _shared(one: Frame, other: Frame) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, down)


def _along(start: tuple[float, float], end: tuple[float, float]) -> list[Frame]:
    """Small squares along a line, so that names keep off it."""
    steps = max(2, int(math.dist(start, end) / 6))
    middles = [
        (start[0] + (end[0] - start[0]) * n / steps, start[1] + (end[1] - start[1]) * n / steps)
        for n in range(steps + 1)
    ]
    return [(x - 2, y - 2, x + 2, y + 2) for x, y in middles]
