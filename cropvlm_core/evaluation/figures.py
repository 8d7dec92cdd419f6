"""What the rows of an evaluation come to: figures of each view, and differences between views.

Rows are read once, as a stream, and only numbers are kept: some hundred bytes a question and view.
"""

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropvlm_core.evaluation.reliability import Reliability, reliability
from cropvlm_core.evaluation.results import (
    Comparison,
    Figures,
    Results,
    SetFigures,
    Times,
    ViewFigures,
)
from cropvlm_core.evaluation.statistics import Interval, bootstrap, paired_test, quartets
from cropvlm_core.evaluation.views import NO_CROP, View

_NO_ZOOM = 1.0
_FALLBACK = 2.0
_COLUMNS = (
    "score", "hit", "pointing", "area", "tokens", "pixels", "crop_seconds", "seconds", "whole",
    "confidence", "first",
)  # fmt: skip

_Mask = NDArray[np.bool_]
_Column = NDArray[np.float64]


class _Numbers:
    """Numbers by question (set, field, document) and by view."""

    def __init__(self, views: Sequence[View]) -> None:
        self.names: dict[str, dict[tuple[str, ...], int]] = {"set": {}, "field": {}, "doc": {}}
        self.by_question = {name: array("i") for name in self.names}
        self.boxed = array("b")
        self.images: set[int] = set()
        self.by_view = {view.name: {column: array("d") for column in _COLUMNS} for view in views}

    def add(self, row: Mapping[str, Any]) -> None:
        set_name, image = row["set"] or "", row["image"]
        keys = {
            "set": (set_name,),
            "field": (set_name, row["field"] or ""),
            "doc": (set_name, str(row["doc"] or image or row["key"])),
        }
        for name, key in keys.items():
            known = self.names[name]
            self.by_question[name].append(known.setdefault(key, len(known)))
        self.boxed.append(bool(row["boxes"]))
        self.images.add(hash((set_name, image or row["doc"] or row["key"])))
        for name, columns in self.by_view.items():
            cell = row["views"].get(name)
            for column, values in columns.items():
                values.append(math.nan if cell is None else _number(cell, column))


def _number(cell: Mapping[str, Any], column: str) -> float:
    if column == "whole":
        reason = cell["reason"]
        return 0.0 if reason is None else _NO_ZOOM if reason == "no_zoom_needed" else _FALLBACK
    if column == "pixels":
        sizes = [*([cell["page_size"]] if cell["page_size"] else ()), *cell["crop_sizes"]]
        return float(sum(width * height for width, height in sizes))
    if column == "first":  # whether the first crop, whose confidence it is, holds the answer
        hits = cell.get("hits") or [cell["hit"]]
        return math.nan if hits[0] is None else float(hits[0])
    value = cell[column]
    return math.nan if value is None else float(value)


def summarise(
    rows: Iterable[Mapping[str, Any]],
    views: Sequence[View],
    settings: Mapping[str, Any],
    *,
    failed: int = 0,
    complete: bool = True,
    resamples: int = 2000,
) -> Results:
    """Sum up the rows of an evaluation, read once.

    Args:
        rows: such as ``read_rows`` gives.
        views: those of the evaluation.
        settings: carried into the results.
        failed: questions without a row.
        complete: whether every question was put.
        resamples: of the bootstrap behind each interval.
    """
    numbers = _Numbers(views)
    for row in rows:
        numbers.add(row)
    table = _Table(numbers, resamples)
    return Results(
        settings=settings,
        questions=len(table.docs),
        boxed=int(table.boxed.sum()),
        images=len(numbers.images),
        failed=failed,
        complete=complete,
        views=tuple(
            ViewFigures(
                view.name,
                view.kind,
                view.cropper,
                *table.by_set(view.name),
                table.reliability(view.name) if view.kind == "cropper" else None,
            )
            for view in views
            if table.there(view.name).any()
        ),
        comparisons=tuple(table.comparisons(views)),
    )


class _Table:
    """The numbers as columns, and the figures of any part of them."""

    def __init__(self, numbers: _Numbers, resamples: int) -> None:
        self.sets = np.array(numbers.by_question["set"], dtype=np.int64)
        self.fields = np.array(numbers.by_question["field"], dtype=np.int64)
        self.docs = np.array(numbers.by_question["doc"], dtype=np.int64)
        self.boxed = np.array(numbers.boxed, dtype=np.bool_)
        self.set_names = [key[0] for key in numbers.names["set"]]
        self.field_names = list(numbers.names["field"])
        self.resamples = resamples
        self.views: dict[str, dict[str, _Column]] = {
            name: {column: np.array(values, dtype=np.float64) for column, values in table.items()}
            for name, table in numbers.by_view.items()
        }

    def there(self, view: str) -> _Mask:
        return ~np.isnan(self.views[view]["area"])

    def by_set(self, view: str) -> tuple[Figures, dict[str, SetFigures]]:
        there = self.there(view)
        sets: dict[str, SetFigures] = {}
        for number, name in enumerate(self.set_names):
            inside = there & (self.sets == number)
            if not inside.any():
                continue
            fields = {
                field_name: self._figures(view, part)
                for code, (set_name, field_name) in enumerate(self.field_names)
                if set_name == name and (part := inside & (self.fields == code)).any()
            }
            whole = next(iter(fields.values())) if len(fields) == 1 else self._figures(view, inside)
            sets[name] = SetFigures(whole, fields)
        over_all = (
            next(iter(sets.values())).figures if len(sets) == 1 else self._figures(view, there)
        )
        return over_all, sets

    def reliability(self, view: str) -> Reliability | None:
        sure, first = self.views[view]["confidence"], self.views[view]["first"]
        known = ~np.isnan(sure) & ~np.isnan(first)
        return reliability(sure[known], first[known], self.docs[known]) if known.any() else None

    def _interval(self, values: _Column, mask: _Mask) -> Interval | None:
        known = mask & ~np.isnan(values)
        if not known.any():
            return None
        return bootstrap(values[known], self.docs[known], resamples=self.resamples)

    def _figures(self, view: str, mask: _Mask) -> Figures:
        column = {name: values[mask] for name, values in self.views[view].items()}
        score = self._interval(self.views[view]["score"], mask)
        tokens = _mean(column["tokens"])
        added = points = None
        base = self.views.get(NO_CROP)
        if base is not None and tokens is not None and view != NO_CROP:
            added = _mean(column["tokens"] - base["tokens"][mask])
            gain = _mean(column["score"] - base["score"][mask])
            if added is not None and added > 0 and gain is not None:
                points = 100 * 100 * gain / added
        return Figures(
            questions=int(mask.sum()),
            boxed=int(self.boxed[mask].sum()),
            score=score,
            hit_rate=self._interval(self.views[view]["hit"], mask),
            pointing=self._interval(self.views[view]["pointing"], mask),
            area=float(column["area"].mean()),
            no_zoom_rate=float((column["whole"] == _NO_ZOOM).mean()),
            fallback_rate=float((column["whole"] == _FALLBACK).mean()),
            crop_ms=_times(column["crop_seconds"]),
            target_ms=_times(column["seconds"]),
            tokens=tokens,
            pixels=_mean(column["pixels"]),
            added_tokens=added,
            points_per_100_tokens=points,
        )

    def comparisons(self, views: Sequence[View]) -> Iterable[Comparison]:
        scored = [view for view in views if not np.isnan(self.views[view.name]["score"]).all()]
        pairs = [
            (view.name, other.name)
            for view in scored
            for other in scored
            if view is not other and (view.kind == "cropper" or other.name == NO_CROP)
        ]
        everything = np.ones(len(self.docs), dtype=np.bool_)
        parts: list[tuple[str | None, _Mask]] = [(None, everything)]
        if len(self.set_names) > 1:
            parts += [(name, self.sets == code) for code, name in enumerate(self.set_names)]
        for view, against in pairs:
            for set_name, mask in parts:
                made = self._comparison(view, against, set_name, mask)
                if made is not None:
                    yield made

    def _comparison(
        self, view: str, against: str, set_name: str | None, mask: _Mask
    ) -> Comparison | None:
        after, before = self.views[view]["score"], self.views[against]["score"]
        known = mask & ~np.isnan(after) & ~np.isnan(before)
        if not known.any():
            return None
        after, before, docs = after[known], before[known], self.docs[known]
        counts = quartets(before, after)
        return Comparison(
            view,
            against,
            set_name,
            int(known.sum()),
            bootstrap(after - before, docs, resamples=self.resamples),
            paired_test(after - before, docs),
            counts.rescued,
            counts.harmed,
            counts.both_right,
            counts.both_wrong,
        )


def _known(values: _Column) -> _Column:
    found: _Column = values[~np.isnan(values)]
    return found


def _summed(values: _Column, sum_up: Callable[[_Column], float]) -> float | None:
    known = _known(values)
    return float(sum_up(known)) if known.size else None


def _mean(values: _Column) -> float | None:
    return _summed(values, np.mean)


def _times(seconds: _Column) -> Times | None:
    known = np.sort(_known(seconds)) * 1000
    if not known.size:
        return None
    return Times(float(np.median(known)), float(known[math.ceil(0.95 * known.size) - 1]))
