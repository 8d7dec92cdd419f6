"""Rollouts: what a policy wrote about a question, and the crops that follow, as at inference."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from PIL import Image

from cropvlm_core.box import BoxNotation
from cropvlm_core.cropper import Proposal, ZoomRules, read_proposal
from cropvlm_core.errors import DataError
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.zoom import Zoom


@dataclass(frozen=True)
class Rollout:
    """One sampled reply.

    ``question``: opened. ``text``: of the reply. ``proposal``: what was read in it. ``repaired``:
    whether corners were reversed or off the page. ``zoom``: the crops, by the rules of inference.
    ``no_zoom``: whether the policy may say that no zoom is needed.
    """

    question: AnsweredQuestion
    text: str
    proposal: Proposal
    repaired: bool
    zoom: Zoom
    no_zoom: bool = False

    @property
    def declined(self) -> bool:
        """Whether the reply says that no zoom is needed, and may say so."""
        return self.no_zoom and self.proposal.reason == "no_zoom_needed"

    @property
    def legal(self) -> bool:
        """Whether the reply is one that the policy may give: a readable box, or declined."""
        return bool(self.proposal.boxes) or self.declined

    @property
    def view(self) -> Hashable:
        """Equal for rollouts that show a model the same: one image object, question and crops.

        It holds as long as the rollouts live.
        """
        crops = tuple(crop.pixels for crop in self.zoom.crops)
        return id(self.zoom.image), self.question.question, crops


def roll_out(
    questions: Sequence[AnsweredQuestion],
    texts: Sequence[str],
    *,
    notation: BoxNotation,
    rules: ZoomRules,
    no_zoom: bool = False,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> list[Rollout]:
    """Read each text as the cropper does, and follow what it proposes.

    Each image is opened once: questions with the same image share one image object.

    Args:
        questions: one a text; a group's question comes once for each of its texts.
        texts: what the policy wrote.
        notation: how it writes boxes.
        rules: how a box becomes a crop.
        no_zoom: whether it may say that no zoom is needed.
        sizes: (width, height) of the picture that the policy saw, one a text, for a notation of
            pixels; None: that of the whole upright image.

    Raises:
        DataError: not one text, or size, a question.
        SourceError, ImageError: an image cannot be opened.
    """
    if len(texts) != len(questions):
        raise DataError(f"expected {len(questions)} texts, one a question, got {len(texts)}")
    if sizes is not None and len(sizes) != len(questions):
        raise DataError(f"expected {len(questions)} sizes, one a question, got {len(sizes)}")
    opened = _opened(questions)
    seen = sizes or [question.open().size for question in opened]
    rollouts = []
    for question, text, size in zip(opened, texts, seen, strict=True):
        proposal, repaired = read_proposal(notation, text, size)
        zoom = Zoom.follow(question, proposal, rules=rules)
        rollouts.append(Rollout(question, text, proposal, repaired, zoom, no_zoom))
    return rollouts


def _opened(questions: Sequence[AnsweredQuestion]) -> list[AnsweredQuestion]:
    """The questions opened: the same object for the same object, one image for the same image."""
    twins: dict[int, AnsweredQuestion] = {}
    uprights: dict[object, Image.Image] = {}
    for question in questions:
        if id(question) not in twins:
            key = question.shown
            twin = question.opened(uprights.get(key))
            uprights.setdefault(key, twin.open())
            twins[id(question)] = twin
    return [twins[id(question)] for question in questions]
