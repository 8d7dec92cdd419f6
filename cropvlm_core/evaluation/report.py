"""The figures of an evaluation as a table for people and as a dictionary for programs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cropvlm_core.evaluation.evaluate import CONTROLS, Evaluation, Figures

_HEAD = ("questions", "hits", "area", "whole page", "median ms", "p95 ms")


def to_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Return a JSON-able dictionary; rates and areas are shares 0..1, times are milliseconds."""
    croppers = [
        {
            "cropper": name,
            "control": name in CONTROLS,
            "figures": asdict(evaluation.figures(name)),
            "sets": {
                set_name: {
                    "figures": asdict(evaluation.figures(name, set_name=set_name)),
                    "fields": {
                        field: asdict(evaluation.figures(name, set_name=set_name, field=field))
                        for field in fields
                    },
                }
                for set_name, fields in evaluation.sets().items()
            },
        }
        for name in evaluation.rows
    ]
    first: dict[str, Any] = croppers[0]["figures"] if croppers else {}  # type: ignore[assignment]
    return {
        "questions": first.get("questions", 0),
        "boxed": first.get("boxed", 0),
        "images": evaluation.images,
        "croppers": croppers,
    }


def to_text(evaluation: Evaluation) -> str:
    """Return the table: over everything, by set where there are several, by set and field."""
    names = tuple(evaluation.rows)
    sets = evaluation.sets()
    total = evaluation.figures(names[0])
    parts = [
        f"{total.questions} questions ({total.boxed} with boxes) about {evaluation.images} images",
        _table(("cropper",), [((name,), evaluation.figures(name)) for name in names]),
    ]
    if len(sets) > 1:
        rows = [
            ((set_name, name), evaluation.figures(name, set_name=set_name))
            for set_name in sets
            for name in names
        ]
        parts.append(_table(("set", "cropper"), rows))
    if any(len(fields) > 1 for fields in sets.values()):
        parts.append("Hits at area, by field:\n" + _by_field(evaluation))
    parts.append(
        "hits: an answer's box lies at least 90 % inside one crop (the whole page always hits); "
        "area: the crops' share of the page.\n"
        "Controls: " + ", ".join(name for name in names if name in CONTROLS) + ". "
        "Times leave out decoding the image and loading the model."
    )
    return "\n\n".join(parts)


def _table(labels: Sequence[str], rows: Sequence[tuple[Sequence[str], Figures]]) -> str:
    lines = [(*labels, *_HEAD)] + [(*names, *_cells(figures)) for names, figures in rows]
    return _aligned(lines, left=len(labels))


def _by_field(evaluation: Evaluation) -> str:
    """One line a field, one column a cropper; the whole page is left out, as it says nothing."""
    names = [name for name in evaluation.rows if name != "whole"]
    lines = [("set", "field", "questions", *names)]
    for set_name, fields in evaluation.sets().items():
        for field in fields:
            all_figures = [
                evaluation.figures(name, set_name=set_name, field=field) for name in names
            ]
            cells = [f"{_share(one.hit_rate)} at {one.mean_area:.1%}" for one in all_figures]
            lines.append((set_name, field, str(all_figures[0].questions), *cells))
    return _aligned(lines, left=2)


def _aligned(lines: Sequence[Sequence[str]], *, left: int) -> str:
    """Columns as wide as their widest cell, the first `left` of them flush left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _cells(figures: Figures) -> tuple[str, ...]:
    return (
        str(figures.questions),
        _share(figures.hit_rate),
        f"{figures.mean_area:.1%}",
        f"{figures.whole_rate:.1%}",
        f"{figures.median_ms:.1f}",
        f"{figures.p95_ms:.1f}",
    )
