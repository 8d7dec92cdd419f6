"""A weight file's settings, chosen on rendered pages it was not trained on: how wide, how sure."""

from __future__ import annotations

import dataclasses
import itertools
import json
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cropvlm_core.box import Box
from cropvlm_core.cropper import ZoomRules
from cropvlm_core.cutting import cuts, grown
from cropvlm_core.embedded.cropper import EmbeddedCropper, Seen
from cropvlm_core.embedded.decoding import first_boxes
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.errors import DataError
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.confidence import Fitted, fit_confidence
from cropvlm_core.training.export import export_policy
from cropvlm_core.training.questions import unanswerable_questions, validation_questions
from cropvlm_core.training.supervised import load_checkpoint, trained_network

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

PHOTOGRAPH_LEASTS = (*LEASTS, (320.0, 120.0), (400.0, 120.0), (400.0, 160.0), (520.0, 160.0))
"""The same for pictures like photographs, in which words are of any size."""

PHOTOGRAPH_AREA = 0.12
"""Largest mean area of crops of such pictures."""

WAYS = tuple(itertools.product(QUANTILES, LEASTS))


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way to crop and what it came to on the validation pages (shares, 0..1).

    ``confidence``: how sure its first boxes are to be taken, where that was fitted.
    """

    settings: PolicySettings
    hit_rate: float
    mean_area: float
    confidence: Fitted | None = None


@dataclasses.dataclass(frozen=True)
class Looked:
    """A validation question without its page, and what the network made of it."""

    asked: AnsweredQuestion
    seen: Seen

    @property
    def half(self) -> int:
        """0 or 1, by chance, and the same for all questions about a page in any wording."""
        return zlib.crc32(str(self.asked.doc).encode()) % 2


def export_run(folder: Path, *, area: float, pages: int = 100) -> Setting:
    """Export the checkpoint of a run as ``folder/policy.onnx``, with the settings that suit it.

    How wide to crop is chosen on ``pages`` validation pages with wordings of training. With as many
    questions in wordings that are kept out of training, the confidence map is fitted on half of the
    pages and measured on the others; the file's metadata ``confidence`` says what came of it, and
    of questions that their pages do not answer.

    Args:
        folder: the run's folder, with ``checkpoint.pt``.
        area: largest mean crop area, share of the page.
        pages: how many validation pages.

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
        best = calibrate(draft, area=area, pages=pages)
    if best.confidence is not None:
        about["confidence"] = json.dumps(dataclasses.asdict(best.confidence))
    export_policy(network, file, best.settings, about)
    return best


def calibrate(weights: Path, *, area: float, pages: int = 100) -> Setting:
    """Choose how wide a weight file crops, and how sure it says it is; see :func:`export_run`."""
    cropper = EmbeddedCropper(weights)
    looked = list(look_at(cropper, validation_questions(pages)))
    best = choose_settings(looked, cropper.settings, area=area)[0]
    scenes = look_at(cropper, validation_questions(max(1, pages // 3), "street"))
    best = dataclasses.replace(best, settings=_for_photographs(scenes, best.settings))
    looked += look_at(cropper, validation_questions(pages, held_out=True))
    cropper.settings = best.settings
    fitted = fit_confidence(*_outcomes(cropper, looked))
    vain = _outcomes(cropper, look_at(cropper, unanswerable_questions(max(1, pages // 4))))
    sure = [fitted.calibration(mass) for mass in vain[0, vain[3] == 0]]
    if sure:
        left_out = float(np.mean(np.array(sure) < fitted.threshold))
        fitted = dataclasses.replace(fitted, unanswerable_left_out=left_out)
    settings = dataclasses.replace(
        best.settings, calibration=fitted.calibration, threshold=fitted.threshold
    )
    return dataclasses.replace(best, settings=settings, confidence=fitted)


def look_at(cropper: EmbeddedCropper, questions: Iterable[AnsweredQuestion]) -> Iterator[Looked]:
    """Let the network look at questions, a page at a time, and let go of the pages."""
    for _, group in itertools.groupby(questions, key=lambda question: question.shown):
        asked = list(group)
        for one, seen in zip(asked, cropper.look(asked), strict=True):
            yield Looked(dataclasses.replace(one, image=b""), seen)


def choose_settings(
    looked: Iterable[Looked], plain: PolicySettings, *, area: float
) -> list[Setting]:
    """Measure each quantile, smallest box and growth; best first.

    Best is the highest hit rate among those whose crops show at most ``area`` of the page on
    average (if none does: the smallest area). Questions without an answer on the page do not count.

    Args:
        looked: the validation questions.
        plain: the settings to begin with.
        area: largest mean area, share of the page.
    """
    settings = [
        dataclasses.replace(plain, quantile=quantile, least=least, rules=ZoomRules(grow=growth))
        for (quantile, least), growth in itertools.product(WAYS, GROWTHS)
    ]
    hits, areas = _tally(looked, WAYS, [ZoomRules(grow=growth) for growth in GROWTHS])
    measured = [
        Setting(way, float(hit), float(shown))
        for way, hit, shown in zip(settings, hits.ravel(), areas.ravel(), strict=True)
    ]
    fit = [one for one in measured if one.mean_area <= area]
    rest = [one for one in measured if one.mean_area > area]
    return sorted(fit, key=lambda one: (-one.hit_rate, one.mean_area)) + sorted(
        rest, key=lambda one: one.mean_area
    )


def _for_photographs(looked: Iterable[Looked], chosen: PolicySettings) -> PolicySettings:
    """Choose the smallest box on pages that look like photographs as it is chosen on all pages."""
    shown = [one for one in looked if one.seen.page.photograph and one.asked.targets]
    if not shown:
        return chosen
    ways = [(chosen.quantile, least) for least in PHOTOGRAPH_LEASTS]
    hits, areas = (figures[:, 0] for figures in _tally(shown, ways, [chosen.rules]))
    fit = np.flatnonzero(areas <= PHOTOGRAPH_AREA)
    if not fit.size:
        return chosen
    best = max(fit, key=lambda index: (hits[index], -areas[index]))
    return dataclasses.replace(chosen, least_photograph=PHOTOGRAPH_LEASTS[best])


def _tally(
    looked: Iterable[Looked],
    ways: Sequence[tuple[float, tuple[float, float]]],
    rules: Sequence[ZoomRules],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hit rate and mean area of first crops, each (ways, rules); questions with an answer count."""
    hits, areas, count = np.zeros((len(ways), len(rules))), np.zeros((len(ways), len(rules))), 0
    for one in looked:
        if not one.asked.targets:
            continue
        count += 1
        seen = one.seen
        boxes = first_boxes(seen.page, seen.size, seen.cells, seen.peaks, seen.sides, ways)
        for way, box in enumerate(boxes):
            for rule, growing in enumerate(rules):
                crop = Box(0, 0, 1, 1) if box is None else grown(box, seen.size, growing)
                hits[way, rule] += bool(one.asked.hit([crop]))
                areas[way, rule] += crop.area
    if not count:
        raise DataError("expected validation questions with answers, got none")
    return hits / count, areas / count


def _outcomes(cropper: EmbeddedCropper, looked: Iterable[Looked]) -> NDArray[np.float64]:
    """Of the first two crops of each question: probability shown, hit, half, rank (4, N).

    The second ones tell what small probabilities are worth, which first ones seldom are.
    """
    found: list[tuple[float, bool, int, int]] = []
    for one in looked:
        size = one.seen.size
        crops = cuts(cropper.decode(one.seen), size, cropper.settings.rules, max_crops=2)
        for rank, (pixels, mass) in enumerate(crops):
            hit = bool(one.asked.hit([Box.from_pixels(pixels, size)]))
            found.append((mass or 0.0, hit, one.half, rank))
    return np.array(found, dtype=np.float64).reshape(-1, 4).T
