"""How wide to crop: a weight file's settings, chosen on rendered pages it was not trained on."""

from __future__ import annotations

import dataclasses
import itertools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cropvlm_core.cropper import Proposal, ZoomRules
from cropvlm_core.embedded.cropper import EmbeddedCropper, PolicySettings
from cropvlm_core.errors import DataError
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.export import export_policy
from cropvlm_core.training.questions import validation_questions
from cropvlm_core.training.supervised import load_checkpoint, trained_network
from cropvlm_core.zoom import grown

MOST = 2.5
"""The most that a page may take of the budget, whatever it was trained with: 150 ms on one core.

On rendered pages 3 times the budget found no more.
"""
QUANTILES = (0.5, 0.6, 0.7, 0.8, 0.9)
GROWTHS = ((1.0, 1.0), (1.1, 1.3), (1.2, 1.6))
LEASTS = (
    (0.0, 0.0), (200.0, 40.0), (260.0, 56.0), (320.0, 64.0), (320.0, 80.0), (380.0, 64.0),
    (380.0, 80.0), (440.0, 80.0), (440.0, 104.0), (520.0, 96.0),
)  # fmt: skip
"""Smallest boxes in input pixels; a line of print with its tall letters is 11 to 16 high there."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way to crop and what it came to on the validation pages (shares, 0..1)."""

    settings: PolicySettings
    hit_rate: float
    mean_area: float


def export_run(folder: Path, *, area: float, pages: int = 100) -> Setting:
    """Export the checkpoint of a run as ``folder/policy.onnx``, with the settings that suit it.

    Args:
        folder: the run's folder, with ``checkpoint.pt``.
        area: largest mean crop area, share of the page.
        pages: how many validation pages the settings are chosen on.

    Raises:
        DataError: there is no checkpoint.
        WeightsError: the exported file does not compute what the network computes.
    """
    state = load_checkpoint(folder / "checkpoint.pt")
    if state is None:
        raise DataError(f"expected a checkpoint in {folder.name}, found none")
    network = trained_network(state)
    file = folder / "policy.onnx"
    pages_plan = state["plan"].get("pages")
    reading = pages_plan if isinstance(pages_plan, dict) else {"line": 0.0, "most": 1.0}
    first = PolicySettings(
        state["plan"]["budget"],
        0.7,
        ZoomRules(),
        line=reading["line"],
        most=min(MOST, reading["most"]),
    )
    about = {
        "trained": json.dumps(
            {name: state[name] for name in ("minutes", "step", "pages", "kinds", "plan")}
        )
    }
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / "draft.onnx"
        export_policy(network, draft, first, about)
        best = choose_settings(draft, area=area, pages=pages)[0]
    export_policy(network, file, best.settings, about)
    return best


def choose_settings(weights: Path, *, area: float, pages: int = 100) -> list[Setting]:
    """Measure each quantile, smallest box and growth; best first.

    Best is the highest hit rate among those whose crops show at most ``area`` of the page on
    average (if none does: the smallest area).

    Args:
        weights: an exported weight file.
        area: largest mean area, share of the page.
        pages: how many validation pages.
    """
    questions = list(validation_questions(pages))
    cropper = EmbeddedCropper(weights)
    seen = cropper.look(questions)
    plain, measured = cropper.settings, []
    for quantile, least in itertools.product(QUANTILES, LEASTS):
        cropper.settings = dataclasses.replace(plain, quantile=quantile, least=least)
        proposals = [cropper.decode(one) for one in seen]
        for grow in GROWTHS:
            settings = dataclasses.replace(cropper.settings, rules=ZoomRules(grow=grow))
            measured.append(_measure(questions, proposals, settings))
    fit = [one for one in measured if one.mean_area <= area]
    rest = [one for one in measured if one.mean_area > area]
    return sorted(fit, key=lambda one: (-one.hit_rate, one.mean_area)) + sorted(
        rest, key=lambda one: one.mean_area
    )


def _measure(
    questions: Sequence[AnsweredQuestion],
    proposals: Sequence[Proposal],
    settings: PolicySettings,
) -> Setting:
    hits, area = 0, 0.0
    for question, proposal in zip(questions, proposals, strict=True):
        size = question.open().size
        crops = [grown(box, size, settings.rules) for box in proposal.boxes[:1]]
        hits += bool(question.hit(crops))
        area += crops[0].area if crops else 1.0
    return Setting(settings, hits / len(questions), area / len(questions))
