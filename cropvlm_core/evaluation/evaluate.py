"""Evaluation: does zooming help a target, what does it cost, and where does it hurt?

Every question is shown to the target in every view (page alone, page and crop, and the controls of
:mod:`cropvlm_core.evaluation.views`); the row of a question is written at once, and figures are
summed up from the rows. Without a target, croppers are measured by the boxes alone.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cropvlm_core import __version__
from cropvlm_core.cropper import Cropper
from cropvlm_core.errors import DataError, shorten
from cropvlm_core.evaluation.figures import summarise
from cropvlm_core.evaluation.page import write_page
from cropvlm_core.evaluation.results import Results
from cropvlm_core.evaluation.rows import RowStore, read_rows, rescore, write_whole
from cropvlm_core.evaluation.run import Progress, Run
from cropvlm_core.evaluation.sight import Sight
from cropvlm_core.evaluation.source import Data, Source
from cropvlm_core.evaluation.tokens import RULES, TokenRule, at_input_size, rule_for
from cropvlm_core.evaluation.views import RANDOM, views_of
from cropvlm_core.loading import load_cropper, load_target, metric_for
from cropvlm_core.scoring import METRICS
from cropvlm_core.vlm import VLM
from cropvlm_core.zoom import ZoomPipeline

RESULTS_FILE = "results.json"
PAGE_FILE = "report.html"


def evaluate(
    data: Data,
    croppers: Mapping[str, Cropper] | Sequence[str] = ("embedded",),
    target: str | VLM | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    metric: str | None = None,
    target_size: int | None = None,
    token_rule: str | TokenRule | None = None,
    without: Sequence[str] = (),
    seed: int = 0,
    max_crops: int = 1,
    min_confidence: float | None = None,
    limit: int | None = None,
    pictures: int = 200,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Put every question to every cropper, and to the target in every view.

    Args:
        data: a question set (file, folder, folder of folders), the name of a benchmark, or
            questions in memory.
        croppers: names as ``load_cropper`` takes, or croppers by the names that they shall have.
        target: a name as ``load_target`` takes, any VLM, or None: boxes only.
        out: folder that gets ``settings.json``, ``rows.jsonl``, ``results.json`` and
            ``report.html``; an evaluation that was broken off there goes on. None: nothing stays.
        metric: a name of ``scoring.METRICS``; None: the benchmark's own, ``contains`` for a
            ``tesseract@N`` target, else ``mixed_accuracy``. On rows that are there already only
            the scores are made anew.
        target_size: longest edge in pixels to which each picture is scaled down before the target
            sees it; None: as it is. A ``tesseract@N`` target has its own.
        token_rule: how the target counts image tokens (a name of ``tokens.RULES``); None: by the
            target's name.
        without: views of ``views.OPTIONAL`` to leave out.
        seed: of the random control, and of who gets whose box in the shuffled one.
        max_crops: the most crops a question.
        min_confidence: crops less sure are left out; None: as each cropper recommends.
        limit: the most questions of each set.
        pictures: the most questions that ``report.html`` shows with pictures.
        progress: called after each question.

    Raises:
        DataError: no question, a row that breaks the format, an unknown metric, or a folder that
            holds another evaluation.
        SpecError, WeightsError, MissingExtraError: a cropper or target cannot be loaded.
        SourceError, ImageError, ModelError: five questions in a row failed with it. Single
            failures are counted, and put again when the same evaluation is run again.
    """
    source = Source(data, limit)
    name = target if isinstance(target, str) else type(target).__name__ if target else None
    chosen = metric or source.metric or metric_for(name or "")
    if chosen not in METRICS:
        raise DataError(f"expected a metric of {sorted(METRICS)}, got {shorten(chosen)}")
    loaded = (
        dict(croppers)
        if isinstance(croppers, Mapping)
        else {spec: load_cropper(spec) for spec in dict.fromkeys(croppers)}
    )
    chance = RANDOM if seed == 0 else f"{RANDOM}:{seed}"
    views = views_of(tuple(loaded), random=chance, without=without)
    for view in views:
        if view.kind == "control" and view.cropper and view.cropper not in loaded:
            loaded[view.cropper] = load_cropper(view.cropper)
    asked = load_target(target) if isinstance(target, str) else target
    sight = Sight(
        asked,
        target_size,
        _rule(token_rule, name, target_size or getattr(asked, "input_size", None)),
    )
    settings: dict[str, Any] = {
        "target": name,
        "target_version": getattr(asked, "version", None),
        "target_size": sight.size,
        "token_rule": None if sight.rule is None else sight.rule.name,
        "metric": chosen,
        "croppers": {each: cropper.version for each, cropper in loaded.items()},
        "views": [view.name for view in views],
        "seed": seed,
        "max_crops": max_crops,
        "min_confidence": min_confidence,
    }
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside if out is None else out)
        rescore(folder, chosen)
        with RowStore(folder, settings) as store:
            run = Run(
                source,
                views,
                {
                    each: ZoomPipeline(cropper, max_crops=max_crops, min_confidence=min_confidence)
                    for each, cropper in loaded.items()
                },
                sight,
                store,
                METRICS[chosen],
                seed=seed,
                progress=progress,
            )
            run.go()
        told = {
            "cropvlm": __version__,
            "date": datetime.now(UTC).date().isoformat(),
            "data": source.name,
        }

        def rows() -> Iterator[dict[str, Any]]:
            return (row for row in read_rows(folder) if row["key"] in run.keys)

        results = summarise(
            rows(),
            views,
            told | settings,
            failed=run.failed,
            complete=not run.failed,
        )
        if out is not None:
            text = json.dumps(results.to_dict(), ensure_ascii=False, indent=1)
            write_whole(folder / RESULTS_FILE, text + "\n")
            write_page(
                folder / PAGE_FILE,
                results.to_dict(),
                rows(),
                lambda _keys: source.beside(rows()),  # the page takes what it needs
                limit=pictures,
            )
    return results


def read_results(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what ``results.json`` of an evaluation holds.

    Raises:
        DataError: there is no such file, or it is no JSON object.
    """
    file = Path(folder) / RESULTS_FILE
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"expected {RESULTS_FILE} in {shorten(str(folder))}, got none") from error
    if not isinstance(results, dict):
        raise DataError(f"expected an object in {RESULTS_FILE}, got {shorten(results)}")
    return results


def _rule(rule: str | TokenRule | None, target: str | None, size: int | None) -> TokenRule | None:
    if isinstance(rule, str):
        if rule not in RULES:
            raise DataError(f"expected a token rule of {sorted(RULES)}, got {shorten(rule)}")
        return at_input_size(RULES[rule], size if target and target.startswith("hf:") else None)
    return rule or (None if target is None else rule_for(target, size))
