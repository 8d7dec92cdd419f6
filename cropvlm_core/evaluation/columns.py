"""One view of a finished or running evaluation as columns of numbers, read row by row."""

import itertools
import math
import os
from array import array
from collections.abc import Container, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropvlm_core.errors import DataError, shorten
from cropvlm_core.evaluation.rows import read_rows, read_settings
from cropvlm_core.evaluation.views import (
    CENTRE,
    CROP_ALONE,
    EQUAL_COST,
    NO_CROP,
    PAGE_TWICE,
    RANDOM,
    SHUFFLED,
    TRUE_BOX,
)

FIGURES = ("score", "hit", "area")
"""What is kept: the metric, an answer's box inside one crop, the crops' share of the page."""

Folder = str | os.PathLike[str]

_OF_A_CROPPER = tuple(f", {kind}" for kind in (SHUFFLED, CROP_ALONE, EQUAL_COST))


class Columns:
    """The figures of one view by question.

    ``keys``: the place of each question that has the view. ``sets`` and ``docs``: its set, and a
    number for its document. ``told``: what the evaluation was told.
    """

    def __init__(self, folder: Folder, view: str) -> None:
        self.folder, self.view = folder, view
        self.keys: dict[str, int] = {}
        self.sets: list[str] = []
        self.docs = array("q")
        self.columns = {name: array("d") for name in FIGURES}
        self.told = read_settings(folder)
        self._docs: dict[tuple[str, str], int] = {}
        self._sets: dict[str, str] = {}

    @classmethod
    def read(cls, folder: Folder, view: str | None = None) -> "Columns":
        """Read one view; None: that of the only cropper.

        Raises:
            DataError: there is no row, one is none, a key comes twice, or there is no such view.
        """
        rows = read_rows(folder)
        first = next(rows, None)
        if first is None:
            raise DataError(f"expected rows in {shorten(str(folder))}, got none")
        numbers = cls(folder, view or _only_cropper(first, folder))
        seen: dict[str, None] = {}
        for row in itertools.chain((first,), rows):
            views = _views(row)
            seen.update(dict.fromkeys(views))
            if numbers.view in views:
                numbers._add(row, views[numbers.view])
        if not numbers.keys:
            raise DataError(
                f"expected a view of {list(seen)} in {shorten(str(folder))}, got {shorten(view)}"
            )
        return numbers

    def _add(self, row: Mapping[str, Any], cell: Mapping[str, Any]) -> None:
        key = row["key"]
        if key in self.keys:
            raise DataError(f"expected each key once in {shorten(str(self.folder))}, got {key}")
        self.keys[key] = len(self.keys)
        set_name = str(row.get("set") or "")
        self.sets.append(self._sets.setdefault(set_name, set_name))
        document = set_name, str(row.get("doc") or row.get("image") or key)
        self.docs.append(self._docs.setdefault(document, len(self._docs)))
        for name, column in self.columns.items():
            column.append(_number(cell.get(name), row))

    def at(self, name: str, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return one of :data:`FIGURES` at these places, NaN where there is none."""
        return np.frombuffer(self.columns[name], np.float64)[places]

    def rows(self, keys: Container[str]) -> Iterator[dict[str, Any]]:
        """Read the rows of ``keys`` once more."""
        return (row for row in read_rows(self.folder) if row["key"] in keys)


def _views(row: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    views = row.get("views")
    if not isinstance(views, dict) or not all(isinstance(cell, dict) for cell in views.values()):
        raise DataError(f"expected a row of an evaluation with views, got {shorten(row)}")
    return views


def _number(value: object, row: Mapping[str, Any]) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, int | float):
        raise DataError(f"expected numbers in row {row['key']}, got {shorten(value)}")
    return float(value)


def _only_cropper(row: Mapping[str, Any], folder: Folder) -> str:
    """The view of the cropper; a control that was also asked for as a cropper has views besides."""
    views = _views(row)
    croppers = [
        name
        for name in views
        if any(name + kind in views for kind in _OF_A_CROPPER)
        or not (
            name in (NO_CROP, PAGE_TWICE, CENTRE, RANDOM, TRUE_BOX)
            or name.startswith(f"{RANDOM}:")
            or name.endswith(_OF_A_CROPPER)
        )
    ]
    if len(croppers) != 1:
        raise DataError(
            f"expected a view to compare, as {shorten(str(folder))} has {len(croppers)} croppers: "
            f"one of {list(views)}"
        )
    return croppers[0]
