"""Which questions the page shows with their pictures, and what one look over all rows tells.

The rows are read once and none is kept: per class, set and field at most ``limit`` keys.
"""

import hashlib
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cropvlm_core.evaluation.page.wording import BASELINE, known

RIGHT = 0.5
"""A question counts as answered from this score on."""

Row = Mapping[str, Any]

_LEAST = {"harmed": 1 / 2, "rescued": 1 / 4, "missed": 3 / 4, "other": 1 / 4}
"""Share of the page's room that a class may take before others may take what is left of it."""


@dataclass(frozen=True)
class Choice:
    """The questions to show, and what all rows come to.

    ``keys``: of the rows to show. ``questions``: the rows there are. ``shown``: for each class
    how many are shown of how many. The classes, by the croppers' views (page with crops, and
    crops alone) against no crop: ``harmed`` by one of them, else ``rescued`` by one, else
    ``other``; without scores ``missed`` (a cropper's crops do not hold the answer) and ``other``.
    ``added_pixels``: mean pixels that the target saw of a view beyond those of no crop.
    """

    keys: frozenset[str]
    questions: int
    shown: Mapping[str, tuple[int, int]]
    added_pixels: Mapping[str, float]


def choose(results: Mapping[str, Any], rows: Iterable[Row], limit: int) -> Choice:
    """Pick at most ``limit`` of ``rows`` to show; the same ones for the same rows.

    Harmed questions come first and rescued ones second, but a quarter of the room stays for the
    others, as a page that shows only what changed would flatter. Within a class sets and fields
    take turns, and a fixed hash of the key decides.
    """
    croppers = {
        view["view"] for view in results["views"] if view["kind"] in ("cropper", "crop_alone")
    }
    beside = {view["view"] for view in results["views"] if view["kind"] == "cropper"}
    kept: dict[str, dict[tuple[str, str], list[tuple[int, str]]]] = {}
    sizes: dict[str, int] = {}
    pixels: dict[str, list[float]] = {}
    for row in rows:
        label = _class(row["views"], croppers, beside)
        sizes[label] = sizes.get(label, 0) + 1
        stratum = (str(row.get("set")), str(row.get("field")))
        heap = kept.setdefault(label, {}).setdefault(stratum, [])
        heapq.heappush(heap, (-_lot(row["key"]), row["key"]))
        if len(heap) > limit:
            heapq.heappop(heap)
        _count_pixels(row["views"], pixels)
    room = _rooms(sizes, limit)
    keys = {label: _in_turns(strata, room[label]) for label, strata in kept.items()}
    return Choice(
        frozenset(key for chosen in keys.values() for key in chosen),
        sum(sizes.values()),
        {label: (len(keys[label]), sizes[label]) for label in _LEAST if label in sizes},
        {view: total / number for view, (total, number) in pixels.items()},
    )


def _class(views: Mapping[str, Any], croppers: set[str], beside: set[str]) -> str:
    before = known((views.get(BASELINE) or {}).get("score"))
    here = [(name, view) for name, view in views.items() if name in croppers]
    if before is None:
        missed = any(view.get("hit") is False for name, view in here if name in beside)
        return "missed" if missed else "other"
    after = [
        (name in beside, score >= RIGHT)
        for name, view in here
        if (score := known(view.get("score"))) is not None
    ]
    if before >= RIGHT and any(not right for _, right in after):
        return "harmed"
    if before < RIGHT and any(right for with_page, right in after if with_page):
        return "rescued"
    return "other"


def _lot(key: str) -> int:
    data = key.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())


def _rooms(sizes: Mapping[str, int], limit: int) -> dict[str, int]:
    room = {label: min(size, int(limit * _LEAST[label])) for label, size in sizes.items()}
    for label in _LEAST:
        if label in sizes:
            rest = limit - sum(room.values())
            room[label] = max(0, min(sizes[label], room[label] + rest))
    return room


def _in_turns(strata: Mapping[tuple[str, str], list[tuple[int, str]]], room: int) -> list[str]:
    queues = [sorted(strata[stratum], reverse=True) for stratum in sorted(strata)]
    turns = [
        (turn, number, key)
        for number, queue in enumerate(queues)
        for turn, (_, key) in enumerate(queue)
    ]
    return [key for _, _, key in sorted(turns)[:room]]


def _count_pixels(views: Mapping[str, Any], pixels: dict[str, list[float]]) -> None:
    """Add the pixels beyond those of no crop to ``[sum, rows]`` of each view."""
    base = _seen(views.get(BASELINE))
    if base is None:
        return
    for name, view in views.items():
        if (seen := _seen(view)) is not None:
            total = pixels.setdefault(name, [0.0, 0])
            total[0] += seen - base
            total[1] += 1


def _seen(view: Mapping[str, Any] | None) -> float | None:
    """Pixels of everything that the target saw of one view, None where the row does not tell."""
    if view is None or view.get("crop_sizes") is None:
        return None
    sizes = [*view["crop_sizes"], *([view["page_size"]] if view.get("page_size") else [])]
    return float(sum(width * height for width, height in sizes)) if sizes else None
