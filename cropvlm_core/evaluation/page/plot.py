"""What the cost-gain plot shows: every view at its mean cost, with its gain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cropvlm_core.evaluation.page.wording import BASELINE, known

_LONGEST = 18  # letters of a cropper's name

POINTING = ("baseline", "control", "cropper", "shuffled", "ceiling")
"""Kinds of views whose hits say something; the others repeat those of these."""


@dataclass(frozen=True)
class Point:
    """One view: a short ``label``, its cost ``x``, its gain ``y`` (a share) and 95 % interval."""

    view: str
    label: str
    kind: str
    colour: int | None
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Plot:
    """Points and what their axes say; ``percent`` tells that x is a share of the page."""

    points: tuple[Point, ...]
    x_title: str
    y_title: str
    percent: bool = False
    gain: bool = True


def plotted(results: Mapping[str, Any], added_pixels: Mapping[str, float]) -> Plot | None:
    """Return the points of a run, or None where fewer than two can be drawn.

    The cost is image tokens where a rule counts them, else the pixels that the target sees beyond
    those of the page alone, else the crops' share of the page. Without scores the hit rate is
    drawn against that share.
    """
    views = results["views"]
    gains = {
        told["view"]: told["difference"]
        for told in results.get("comparisons") or ()
        if told["against"] == BASELINE and told["set"] is None and told["difference"]
    }
    croppers = [view["view"] for view in views if view["kind"] == "cropper"]
    rated = bool(gains)
    if not rated:
        gains = {v["view"]: v["figures"]["hit_rate"] for v in views if v["figures"]["hit_rate"]}
        views = [
            view for view in views if view["kind"] in POINTING and view["view"] != "page twice"
        ]
    costs, title = _costs(views, added_pixels if rated else {}, tokens=rated)
    points = []
    for view in views:
        gain = gains.get(view["view"])
        if view["view"] == BASELINE and rated:
            gain = {"mean": 0.0, "low": 0.0, "high": 0.0}
        cost = costs.get(view["view"])
        mean = known((gain or {}).get("mean"))
        if gain is None or mean is None or cost is None:
            continue
        colour = croppers.index(view["cropper"]) if view["cropper"] in croppers else None
        low, high = (known(gain.get(end)) for end in ("low", "high"))
        ends = (mean if low is None else low, mean if high is None else high)
        points.append(Point(view["view"], _label(view), view["kind"], colour, cost, mean, *ends))
    if len(points) < 2:
        return None
    y_title = "gain in score over no crop, points" if rated else "answer inside a crop, %"
    return Plot(tuple(points), title, y_title, percent=title.startswith("share"), gain=rated)


def _label(view: Mapping[str, Any]) -> str:
    """A name with room for it: of a long cropper's the beginning and the end."""
    whole, cropper = str(view["view"]), str(view["cropper"] or view["view"])
    if len(cropper) <= _LONGEST or not whole.startswith(cropper):
        return whole[: 2 * _LONGEST]
    return f"{cropper[:9]}…{cropper[-8:]}{whole[len(cropper) :]}"


def _costs(
    views: Sequence[Mapping[str, Any]], added_pixels: Mapping[str, float], *, tokens: bool
) -> tuple[dict[str, float], str]:
    added = {v["view"]: known(v["figures"].get("added_tokens")) for v in views} if tokens else {}
    counted = {view: value for view, value in added.items() if value is not None}
    if len(counted) > 1 or (counted and BASELINE not in counted):
        return {BASELINE: 0.0} | counted, "image tokens added to a question, mean"
    if len(added_pixels) > 1:
        costs = {view: value / 1000 for view, value in added_pixels.items()}
        return costs, "thousand pixels added to what the target sees, mean"
    areas = {view["view"]: known(view["figures"].get("area")) for view in views}
    shares = {view: value for view, value in areas.items() if value is not None}
    if tokens:
        shares[BASELINE] = 0.0  # nothing is added to the page
    return shares, "share of the page in the crops, mean %"
