"""Runs of an evaluation whose outcome is known, and the pages written from them."""

import itertools
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from cropvlm_core.box import Box, union_area
from cropvlm_core.evaluation.figures import summarise
from cropvlm_core.evaluation.page import write_page
from cropvlm_core.evaluation.views import View, views_of
from cropvlm_core.questions import AnsweredQuestion

Row = dict[str, Any]

SIZE = (400, 600)
"""Pixels of a page."""

TRUE = Box(0.25, 0.5, 0.75, 0.6)
"""Where the answer stands on every page: a red field."""

AIMED = Box(0.2, 0.45, 0.8, 0.65)
WIDE = Box(0.0, 0.0, 1.0, 0.2)
"""Crops of the two croppers: around the answer, and far from it."""

OUTCOMES = ("rescued", "harmed", "both right", "both wrong")
"""Of the cropper "aim" against no crop, question after question."""

_BOXES = {"aim": AIMED, "wide": WIDE, "centre": Box(0.25, 0.25, 0.75, 0.75), "true box": TRUE}


def draw_page(file: Path) -> None:
    """A white page with the red field."""
    page = Image.new("RGB", SIZE, "white")
    left, top, right, bottom = TRUE.to_pixels(SIZE)
    ImageDraw.Draw(page).rectangle((left, top, right - 1, bottom - 1), fill=(220, 0, 0))
    page.save(file)


def questions(folder: Path, pages: int = 3) -> list[AnsweredQuestion]:
    """Four questions a page, of two fields; the last page is of another set."""
    for number in range(pages):
        draw_page(folder / f"{number}.png")
    return [
        AnsweredQuestion(
            folder / f"{number // 4}.png",
            f"What is number {number + 1}?",
            id=f"q{number + 1}",
            answers=(f"value {number + 1}",),
            boxes=(TRUE,),
            field=("total", "date")[number // 2 % 2],
            doc=f"doc-{number // 4}",
            set_name="signs" if number // 4 == pages - 1 else "bills",
        )
        for number in range(4 * pages)
    ]


def views(croppers: Sequence[str] = ("aim", "wide")) -> tuple[View, ...]:
    """Those of an evaluation of ``croppers``, without the random control."""
    return views_of(croppers, without=("random",))


def row(number: int, asked: AnsweredQuestion, shown: Sequence[View], *, scored: bool = True) -> Row:
    """The row of one question; the answer of "aim" goes through :data:`OUTCOMES`."""
    outcome = OUTCOMES[(number - 1) % 4]
    return {
        "key": f"key-{number}",
        "number": number,
        "set": asked.set_name,
        "id": asked.id,
        "doc": asked.doc,
        "field": asked.field,
        "image": str(asked.image),
        "question": asked.question,
        "answers": list(asked.answers),
        "size": list(SIZE),
        "boxes": [_sides(box) for box in asked.targets],
        "views": {view.name: _cell(view, asked, outcome, scored=scored) for view in shown},
    }


def _cell(view: View, asked: AnsweredQuestion, outcome: str, *, scored: bool) -> dict[str, Any]:
    alone = view.kind in ("baseline", "equal_cost") or view.name == "page twice"
    cropper = "wide" if view.kind == "shuffled" else view.cropper or view.name
    crops = [] if alone else [_BOXES.get(cropper, AIMED)]
    before = outcome in ("harmed", "both right")
    after = outcome in ("rescued", "both right")
    right = after if view.name == "aim" else view.kind == "ceiling" or before
    sizes = [[round(box.width * 400), round(box.height * 600)] for box in crops]
    reply = f"I read {asked.answers[0]}." if right else "I cannot read it."
    return {
        "crops": [_sides(box) for box in crops],
        "hit": asked.hit(crops),
        "area": union_area(crops) if crops else 1.0,
        "reason": None,
        "confidence": 0.5 if view.kind == "cropper" else None,
        "pointing": bool(crops) and view.name != "wide",
        "crop_seconds": 0.05 if view.kind == "cropper" else None,
        "page_size": None if view.kind == "crop_alone" else [400, 600],
        "crop_sizes": sizes,
        "answer": reply if scored else None,
        "score": float(right) if scored else None,
        "tokens": None,
        "seconds": 0.4 if scored else None,
    }


def _sides(box: Box) -> list[float]:
    return [box.left, box.top, box.right, box.bottom]


def run(
    asked: Sequence[AnsweredQuestion],
    croppers: Sequence[str] = ("aim", "wide"),
    *,
    scored: bool = True,
    **told: Any,
) -> tuple[dict[str, Any], list[Row]]:
    """What ``results.json`` and ``rows.jsonl`` of a run over ``asked`` hold."""
    shown = views(croppers)
    rows = [row(number, one, shown, scored=scored) for number, one in enumerate(asked, 1)]
    settings = {
        "cropvlm": "0.0",
        "date": "2026-01-02",
        "data": "pages",
        "target": "openai:some/model" if scored else None,
        "target_size": None,
        "token_rule": None,
        "metric": "contains",
    }
    results = summarise(iter(rows), shown, settings | told, resamples=100)
    return json.loads(json.dumps(results.to_dict())), rows


def write(
    file: Path,
    results: Mapping[str, Any],
    rows: Sequence[Row],
    asked: Sequence[AnsweredQuestion],
    *,
    limit: int = 200,
) -> int:
    """Write the page of a run to ``file``; return how many questions it shows."""

    def find(keys: Collection[str]) -> Iterator[tuple[Row, AnsweredQuestion]]:
        assert len(keys) <= limit
        return zip(rows, asked, strict=True)

    return write_page(file, results, iter(rows), find, limit=limit)


def blocks(file: Path, kind: str) -> dict[str, Any]:
    """The blocks of data in a page, by id."""
    pattern = rf'<script type="application/json" class="{kind}" id="([^"]+)">(.*?)</script>\n'
    return {name: json.loads(text) for name, text in re.findall(pattern, file.read_text(), re.S)}


def overlapping(frames: Sequence[Mapping[str, float]]) -> list[tuple[int, int]]:
    """Which of the rectangles (``x, y, width, height``) share more than a pixel's width."""

    def shared(one: Mapping[str, float], other: Mapping[str, float], at: str, side: str) -> float:
        return min(one[at] + one[side], other[at] + other[side]) - max(one[at], other[at])

    return [
        (first, second)
        for (first, one), (second, other) in itertools.combinations(enumerate(frames), 2)
        if shared(one, other, "x", "width") > 1 and shared(one, other, "y", "height") > 1
    ]
