"""Rows as Parquet holds them, under one schema, and as the plain engine writes them.

The columns are the keys of ``cropvlm batch``'s rows. A box is ``[left, top, right, bottom]`` in
fractions of the upright page; each of ``crops`` also has its picture (``bytes``, PNG), and
``overlay`` is the page with its crops outlined (JPEG), where that was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

_BOX = pa.list_(pa.float64())
_PIXELS = pa.list_(pa.int64())

CROP = pa.struct(
    [
        ("box", _BOX),
        ("pixels", _PIXELS),
        ("confidence", pa.float64()),
        ("size", _PIXELS),
        ("file", pa.string()),
        ("bytes", pa.binary()),
    ]
)
"""One crop; ``file``: the name that the plain engine gives its picture, None without pictures."""

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("status", pa.string()),
        ("attempts", pa.int32()),
        ("id", pa.string()),
        ("page", pa.int32()),
        ("image", pa.string()),
        ("question", pa.string()),
        ("zoomed", pa.bool_()),
        ("reason", pa.string()),
        ("crops", pa.list_(CROP)),
        ("box", _BOX),
        ("pixels", _PIXELS),
        ("confidence", pa.float64()),
        ("cropper", pa.string()),
        ("seconds", pa.float64()),
        ("error", pa.string()),
        ("overlay", pa.binary()),
    ]
)
"""The schema of all rows, whatever is in them."""

_SIDES = ("left", "top", "right", "bottom")
_WHERE_THERE_IS_ONE = ("id", "page", "error", "overlay")


def to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows of the plain engine as a table of :data:`SCHEMA`."""
    return pa.Table.from_pylist([_flat(row) for row in rows], schema=SCHEMA)


def to_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of such a table as the plain engine has it; pictures stay where they are."""
    found = {
        name: value
        for name, value in row.items()
        if value is not None or name not in _WHERE_THERE_IS_ONE
    }
    crops = [dict(crop) | {"box": _named(crop["box"])} for crop in row["crops"]]
    for crop in crops:
        if crop.get("bytes") is None:
            crop.pop("bytes", None)
    return found | {"crops": crops, "box": _named(row["box"])}


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    crops = [dict(crop) | {"box": _sides(crop["box"])} for crop in row["crops"]]
    flat = dict(row) | {"crops": crops, "box": _sides(row["box"])}
    for name in ("image", "question", "error"):
        if isinstance(flat.get(name), str):  # half a surrogate pair, as file names may hold
            flat[name] = flat[name].encode(errors="backslashreplace").decode()
    return flat


def _sides(box: Mapping[str, float] | None) -> list[float] | None:
    return None if box is None else [box[side] for side in _SIDES]


def _named(box: Sequence[float] | None) -> dict[str, float] | None:
    return None if box is None else dict(zip(_SIDES, box, strict=True))
