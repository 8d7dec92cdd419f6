"""From a question set to what is learned from: pages with questions that need a crop."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from cropvlm_core.cropper import Proposal
from cropvlm_core.embedded.page_input import PageInput, prepare_readable
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.errors import DataError
from cropvlm_core.questions import AnsweredQuestion, read_questions
from cropvlm_core.training.own_documents.locate import MOST, PageReader, ReadWord, places
from cropvlm_core.training.pages.sheet import Span
from cropvlm_core.training.rewards import Reward, gold_answer
from cropvlm_core.training.rollouts import Rollout
from cropvlm_core.training.split import stratified_split
from cropvlm_core.zoom import Zoom

ANSWERED = 0.5
"""From this score on the reader is taken to have answered."""

_HELD = 48  # opened pages in memory
_TOGETHER = 8  # pages that are read side by side


class Album:
    """Opens pages, and keeps the latest."""

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._open: OrderedDict[Hashable, Image.Image] = OrderedDict()

    def opened(self, questions: Sequence[AnsweredQuestion]) -> list[AnsweredQuestion]:
        """Questions about one page, holding it.

        Raises:
            SourceError, ImageError: it cannot be opened.
        """
        key = questions[0].shown
        image = self._open.get(key)
        if image is None:
            image = self._open[key] = questions[0].open()
        self._open.move_to_end(key)
        if len(self._open) > _HELD:
            self._open.popitem(last=False)
        return [question.opened(image) for question in questions]


@dataclass
class OwnPage:
    """One page to learn from.

    Attributes:
        questions: those about it that need a crop, not opened.
        spans: for each question the places of its answer (page pixels), empty where none is known.
        words: what Tesseract read on it, empty without it.
        prepared: where the policy sees the page at inference; its pixels are all 0, to save memory.
        album: opens the page.
    """

    questions: list[AnsweredQuestion]
    spans: list[list[Span]]
    words: list[ReadWord]
    prepared: PageInput
    album: Album

    def opened(self) -> list[AnsweredQuestion]:
        """The questions, holding their page."""
        return self.album.opened(self.questions)


@dataclass
class Material:
    """What a run learns from, and how it came about.

    Attributes:
        pages: to learn from.
        held_out: questions that are measured on and never learned from.
        questions: how many were to be learned from before some were left out.
        answered: of these, left out because the reader answers them from the whole page.
        boxed, located, ambiguous: of the rest, those with a true box, those whose answer was found
            on the page, and those whose answer stands at too many places.
    """

    pages: list[OwnPage]
    held_out: list[AnsweredQuestion]
    questions: int
    answered: int = 0
    boxed: int = 0
    located: int = 0
    ambiguous: int = 0

    def counts(self) -> dict[str, int]:
        """The figures, for a report."""
        return {
            "questions": self.questions,
            "answered_by_the_whole_page": self.answered,
            "with_a_box": self.boxed,
            "located": self.located,
            "at_too_many_places": self.ambiguous,
            "pages": len(self.pages),
            "held_out_questions": len(self.held_out),
        }


def read_own(data: str | Path) -> list[AnsweredQuestion]:
    """Read a user's question set.

    Raises:
        DataError: it breaks the format, is empty, or has a question without an answer.
    """
    questions = list(read_questions(data))
    if not questions:
        raise DataError(f"expected questions with answers, got none in {Path(data).name!r}")
    for question in questions:
        gold_answer(question)
    return questions


def fingerprint(questions: Sequence[AnsweredQuestion]) -> str:
    """A text that changes when the questions, their answers or their pages' names change."""
    rows = [
        [
            Path(question.reference or "").name,
            question.page,
            question.question,
            list(question.answers),
        ]
        for question in questions
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def gather(
    questions: Sequence[AnsweredQuestion],
    settings: PolicySettings,
    reader: Reward,
    words: PageReader | None,
    *,
    held_out: float,
    seed: int,
    check: Callable[[], None],
) -> Material:
    """Split, leave out what needs no crop, prepare the pages, and look for the answers on them.

    Args:
        questions: all of the user's.
        settings: how the policy sees a page.
        reader: the score of the frozen reader.
        words: reads the pages, to find the answers; None: do without.
        held_out: share of the questions that is kept back, whole documents.
        seed: of the split.
        check: called before each page; may raise to stop.

    Raises:
        DataError: fewer than two pages, or nothing is left to learn from.
        SourceError, ImageError: a page cannot be opened.
        ModelError: Tesseract failed.
    """
    kept_back, learned = stratified_split(questions, held_out, seed)
    material = Material([], [each for page in by_page(kept_back) for each in page], len(learned))
    album, pages = Album(), by_page(learned)
    for start in range(0, len(pages), _TOGETHER):
        check()
        chunk = pages[start : start + _TOGETHER]
        material.pages += _learnable(chunk, album, settings, reader, words, material)
    if not material.pages:
        raise DataError(
            f"expected questions that need a crop, got {len(learned)} that the reader answers from "
            "the whole page"
        )
    return material


def by_page(questions: Sequence[AnsweredQuestion]) -> list[list[AnsweredQuestion]]:
    """The questions about each page, pages in the order of their first question."""
    pages: dict[Hashable, list[AnsweredQuestion]] = {}
    for question in questions:
        pages.setdefault(question.shown, []).append(question)
    return list(pages.values())


def whole_page(question: AnsweredQuestion) -> Rollout:
    """What the reader sees without a crop."""
    proposal = Proposal(reason="no_zoom_needed")
    zoom = Zoom.follow(question, proposal)
    return Rollout(question, "", proposal, repaired=False, zoom=zoom, no_zoom=True)


def _learnable(
    pages: Sequence[list[AnsweredQuestion]],
    album: Album,
    settings: PolicySettings,
    reader: Reward,
    words: PageReader | None,
    material: Material,
) -> Iterator[OwnPage]:
    """Those of ``pages`` of which something is left, with what is left."""
    opened = [album.opened(asked) for asked in pages]
    scores = iter(reader([whole_page(question) for asked in opened for question in asked]))
    left = [
        [question for question in asked if (score := next(scores)) is None or score < ANSWERED]
        for asked in pages
    ]
    material.answered += sum(map(len, pages)) - sum(map(len, left))
    kept = [(asked, page[0].open()) for asked, page in zip(left, opened, strict=True) if asked]
    images = [image for _, image in kept]
    read = [[] for _ in images] if words is None else words.words(images)
    for (asked, image), found in zip(kept, read, strict=True):
        spans = [_spans(question, image.size, found, material) for question in asked]
        prepared = prepare_readable(image, settings.budget, settings.line, settings.most)
        blank = np.broadcast_to(np.float32(0), prepared.shape)
        yield OwnPage(asked, spans, found, replace(prepared, pixels=blank), album)


def _spans(
    question: AnsweredQuestion,
    size: tuple[int, int],
    read: Sequence[ReadWord],
    material: Material,
) -> list[Span]:
    if question.targets:
        material.boxed += 1
        return [box.to_pixels(size) for box in question.targets]
    found = places(read, question.answers)
    if len(found) > MOST:
        material.ambiguous += 1
        return []
    material.located += bool(found)
    return found
