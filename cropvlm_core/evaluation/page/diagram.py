"""The reliability diagram as inline SVG: what came of crops against how sure the cropper was."""

from collections.abc import Mapping, Sequence
from typing import Any

from cropvlm_core.evaluation.page.wording import interval, name, text

_SIDE, _LEFT, _TOP, _BOTTOM = 260.0, 56.0, 12.0, 40.0  # pixels
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def diagrams(results: Mapping[str, Any]) -> str:
    """Return a figure for each cropper whose confidences could be compared with hits, as HTML."""
    views = [view for view in results["views"] if view.get("reliability")]
    return "".join(_figure(view, number) for number, view in enumerate(views))


def _figure(view: Mapping[str, Any], number: int) -> str:
    told = view["reliability"]
    parts = ", ".join(f"{100 * part['hits']:.0f} %" for part in told["quarters"])
    return (
        f'<figure class="panel">{draw(told["bins"], number)}<figcaption>{name(view["view"])}: '
        f"expected calibration error {interval(told['error'])} over {told['questions']:,} crops. "
        f"Hits by quarter of confidence, the least sure first: {parts}.</figcaption></figure>"
    )


def draw(bins: Sequence[Mapping[str, Any]], number: int = 0) -> str:
    """Return the diagram of ``bins`` (confidence and hits, shares) as an ``<svg>``.

    ``number`` tells it apart from others on the page, and picks the colour.
    """
    width, height = _LEFT + _SIDE + 22, _TOP + _SIDE + _BOTTOM
    told = "; ".join(f"sure {100 * b['confidence']:.0f} %: {100 * b['hits']:.0f} %" for b in bins)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot square" width="{width:g}" '
        f'height="{height:g}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-labelledby="sure-{number}-title">'
        f'<title id="sure-{number}-title">Share of hits against confidence: {text(told)}</title>'
    ]
    for tick in _TICKS:
        x, y = _place(tick, tick)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {y:.1f}h{_SIDE}M{x:.1f} {_TOP}v{_SIDE}"/>'
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{tick:.0%}</text>"
            f'<text class="tick" x="{x:.1f}" y="{_TOP + _SIDE + 16:.1f}" text-anchor="middle">'
            f"{tick:.0%}</text>"
        )
    (left, bottom), (right, top) = _place(0, 0), _place(1, 1)
    parts.append(f'<path class="zero" d="M{left:.1f} {bottom:.1f}L{right:.1f} {top:.1f}"/>')
    spots = [_place(one["confidence"], one["hits"]) for one in bins]
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
    parts.append(f'<g class="marker cropper-{number % 6}"><path class="stroke" d="M{line}"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>' for x, y in spots]
    middle = _TOP + _SIDE / 2
    parts.append(
        f'</g><text class="axis" x="{right:.1f}" y="{height - 6:.1f}" text-anchor="end">'
        'confidence</text><text class="axis" x="12" '
        f'y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 12 {middle:.1f})">'
        "answer inside the crop</text></svg>"
    )
    return "".join(parts)


def _place(sure: float, right: float) -> tuple[float, float]:
    return _LEFT + sure * _SIDE, _TOP + (1 - right) * _SIDE
