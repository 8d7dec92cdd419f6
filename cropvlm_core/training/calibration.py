"""A weight file's settings, chosen on rendered pages it was not trained on: how wide, how sure."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import json
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cropvlm_core.box import Box
from cropvlm_core.cropper import ZoomRules
from cropvlm_core.cutting import cuts, grown
from cropvlm_core.embedded.cropper import EmbeddedCropper, Seen
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.errors import DataError
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.answerability import fit_answerable
from cropvlm_core.training.confidence import Fitted, Outcomes, fit_confidence
from cropvlm_core.training.export import export_policy
from cropvlm_core.training.questions import unanswerable_questions, validation_questions
from cropvlm_core.training.supervised import load_checkpoint, trained_network

MOST = 2.5
"""The most that a page may take of the budget, whatever it was trained with: 150 ms on one core.

On rendered pages 3 times the budget found no more.
"""

PRICES = tuple(np.geomspace(0.05, 50, 101).tolist())
"""The prices that are tried."""

QUANTILE = 0.5
"""Where a candidate's place ends."""

LEAST = (100.0, 32.0)
"""The smallest box in input pixels, about eight letters by two lines: models read slivers badly.

On rendered pages it costs no hits where crops show 8 % on average, half a point at 6 %.
"""


@dataclasses.dataclass(frozen=True)
class Setting:
    """A way to crop and what it came to on the validation pages (shares, 0..1).

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


def export_run(
    folder: Path, *, area: float, pages: int = 100, answerable_pages: int = 0
) -> Setting:
    """Export the checkpoint of a run as ``folder/policy.onnx``, with the settings that suit it.

    How wide to crop is chosen on ``pages`` validation pages with wordings of training. With as many
    questions in wordings that are kept out of training, the confidence map is fitted on half of the
    pages and measured on the others; the file's metadata ``confidence`` says what came of it, and
    of questions that their pages do not answer.

    Args:
        folder: the run's folder, with ``checkpoint.pt``.
        area: largest mean crop area, share of the page.
        pages: how many validation pages.
        answerable_pages: how many training pages teach the network to tell whether a page answers a
            question; 0: it stays as the run began it.

    Raises:
        DataError: there is no checkpoint, or too few such pages.
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
        QUANTILE,
        ZoomRules(),
        line=reading["line"],
        most=min(MOST, reading["most"]),
    )
    if answerable_pages:
        fit_answerable(network, first, pages=answerable_pages, seed=state["plan"]["seed"])
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
    scenes = look_at(cropper, validation_questions(max(1, pages // 3), "street"))
    best = choose_settings(looked, _for_photographs(scenes, cropper.settings, area), area=area)
    looked += look_at(cropper, validation_questions(pages, held_out=True))
    looked += look_at(cropper, unanswerable_questions(pages))
    cropper.settings = best.settings
    fitted = fit_confidence(_outcomes(cropper, looked))
    settings = dataclasses.replace(
        best.settings,
        calibration=fitted.calibration,
        answerable=fitted.answerable,
        threshold=fitted.threshold,
    )
    return dataclasses.replace(best, settings=settings, confidence=fitted)


def look_at(cropper: EmbeddedCropper, questions: Iterable[AnsweredQuestion]) -> Iterator[Looked]:
    """Let the network look at questions, a page at a time, and let go of the pages."""
    for _, group in itertools.groupby(questions, key=lambda question: question.shown):
        asked = list(group)
        for one, seen in zip(asked, cropper.look(asked), strict=True):
            yield Looked(dataclasses.replace(one, image=b""), seen)


def choose_settings(looked: Iterable[Looked], plain: PolicySettings, *, area: float) -> Setting:
    """Find the lowest price at which crops show at most ``area`` of the page on average.

    The lower the price the larger the crops, and the more hits. Where none is high enough it is the
    highest. Questions without an answer on the page do not count.

    Args:
        looked: the validation questions.
        plain: the settings to begin with.
        area: largest mean area of first crops, share of the page.

    Raises:
        DataError: no question has an answer.
    """
    asked = [one for one in looked if one.asked.targets]
    if not asked:
        raise DataError("expected validation questions with answers, got none")
    plain = dataclasses.replace(plain, quantile=QUANTILE, least=LEAST, rules=ZoomRules())

    @functools.cache
    def measured(price: float) -> Setting:
        return _measured(asked, dataclasses.replace(plain, price=price))

    index = bisect.bisect_left(PRICES, -area, key=lambda price: -measured(price).mean_area)
    return measured(PRICES[min(index, len(PRICES) - 1)])


def _for_photographs(
    looked: Iterable[Looked], plain: PolicySettings, area: float
) -> PolicySettings:
    """Choose the price on pages that look like photographs as it is chosen on all pages."""
    shown = [one for one in looked if one.seen.page.photograph and one.asked.targets]
    if not shown:
        return plain
    price = choose_settings(shown, plain, area=area).settings.price
    return dataclasses.replace(plain, price_photograph=price)


def _measured(looked: Sequence[Looked], settings: PolicySettings) -> Setting:
    """What the first crops of questions with answers come to."""
    hits, areas = [], []
    for one in looked:
        found = one.seen.propose(settings, most=1).boxes
        crop = grown(found[0], one.seen.size, settings.rules) if found else Box(0, 0, 1, 1)
        hits.append(bool(one.asked.hit([crop])))
        areas.append(crop.area)
    return Setting(settings, float(np.mean(hits)), float(np.mean(areas)))


def _outcomes(cropper: EmbeddedCropper, looked: Iterable[Looked]) -> Outcomes:
    """Of the first two crops of each question.

    The second ones tell what small probabilities are worth, which first ones seldom are.
    """
    found: list[tuple[float, bool, int, int, float, bool]] = []
    for one in looked:
        size = one.seen.size
        crops = cuts(cropper.decode(one.seen), size, cropper.settings.rules, max_crops=2)
        for rank, (pixels, mass) in enumerate(crops):
            hit = bool(one.asked.hit([Box.from_pixels(pixels, size)]))
            odds = one.seen.answerable
            found.append((mass or 0.0, hit, one.half, rank, odds, not one.asked.targets))
    return Outcomes.of(found)
