"""How far a cropper's confidences can be trusted: a diagram and figures over question sets.

    python scripts/reliability.py DATA [DATA ...] --out DIR [--cropper embedded]

Every first crop counts, whatever its confidence. DIR gets reliability.svg (all sets pooled) and
figures.json; the figures of each set, and what limits of confidence would leave out, are printed.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cropvlm_core.evaluation.evaluate import evaluate
from cropvlm_core.evaluation.page.diagram import draw
from cropvlm_core.evaluation.reliability import reliability
from cropvlm_core.evaluation.rows import read_rows
from cropvlm_core.evaluation.views import OPTIONAL

LIMITS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)

STYLE = (
    "<style>svg{background:#fff}text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}"
    ".zero{stroke:#888;stroke-dasharray:4}.marker{fill:#b3203c;stroke:#b3203c}.stroke{fill:none;stroke-width:2}"
    "</style>"
)

Crops = list[tuple[float, bool, str]]  # confidence, hit, document


def first_crops(data: Path, cropper: str, limit: int | None) -> Crops:
    """Confidence, hit and document of the first crop of each question that has a true box."""
    with tempfile.TemporaryDirectory() as folder:
        evaluate(
            str(data), [cropper], out=folder, without=OPTIONAL, min_confidence=0, limit=limit,
            pictures=1,
        )  # fmt: skip
        cells = [(row, row["views"][cropper]) for row in read_rows(folder)]
    return [
        (cell["confidence"], cell["hits"][0], f"{data.name} {row['doc'] or row['image']}")
        for row, cell in cells
        if cell["confidence"] is not None and cell["hits"] and cell["hits"][0] is not None
    ]


def told(crops: Crops) -> dict[str, Any]:
    """The figures of some crops."""
    sure, hits, docs = zip(*crops, strict=True)
    return dataclasses.asdict(reliability(sure, hits, docs))


def limits(crops: Crops) -> list[dict[str, float]]:
    """What a limit of confidence leaves out, among hits and among crops beside the answer."""
    sure = np.array([one[0] for one in crops])
    hits = np.array([one[1] for one in crops], dtype=bool)
    return [
        {
            "limit": limit,
            "kept": float((sure >= limit).mean()),
            "hits lost": int((hits & (sure < limit)).sum()),
            "hits": int(hits.sum()),
            "misses saved": int((~hits & (sure < limit)).sum()),
            "misses": int((~hits).sum()),
        }
        for limit in LIMITS
    ]


def line(name: str, figures: dict[str, Any]) -> str:
    """One set in words."""
    error = figures["error"]
    ends = "" if error["low"] is None else f" [{100 * error['low']:.1f}, {100 * error['high']:.1f}]"
    parts = " / ".join(f"{100 * part['hits']:.0f}" for part in figures["quarters"])
    return (
        f"{name}: calibration error {100 * error['mean']:.1f} %{ends} over "
        f"{figures['questions']} crops; hits by quarter, the least sure first: {parts} %"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cropper", default="embedded")
    parser.add_argument("--limit", type=int, help="only the first N questions of each set")
    given = parser.parse_args(argv)
    sets = {data.name: first_crops(data, given.cropper, given.limit) for data in given.data}
    pooled = [one for crops in sets.values() for one in crops]
    figures = {name: told(crops) for name, crops in (sets | {"pooled": pooled}).items()}
    given.out.mkdir(parents=True, exist_ok=True)
    picture = draw(figures["pooled"]["bins"]).replace("<title", f"{STYLE}<title", 1)
    (given.out / "reliability.svg").write_text(picture, encoding="utf-8")
    content = {"sets": figures, "limits": limits(pooled)}
    (given.out / "figures.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    for name, one in figures.items():
        print(line(name, one))
    for one in content["limits"]:
        print(
            f"limit {one['limit']:.2f}: keeps {one['kept']:.1%} of the crops, loses "
            f"{one['hits lost']} of {one['hits']} hits, saves {one['misses saved']} of "
            f"{one['misses']} others"
        )


if __name__ == "__main__":
    main()
