"""Business page generators: like seeds give like pages, and answers stand in their spans."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import numpy as np
import pytest

from cropvlm_core.training.pages.asking import ANY_FORMS
from cropvlm_core.training.pages.forms import form
from cropvlm_core.training.pages.invoices import invoice, order, statement
from cropvlm_core.training.pages.labels import label
from cropvlm_core.training.pages.letters import letter
from cropvlm_core.training.pages.prose import lines
from cropvlm_core.training.pages.screens import chart, screen
from cropvlm_core.training.pages.sheet import Page, Span
from cropvlm_core.training.pages.signs import sign
from cropvlm_core.training.pages.tables import table
from cropvlm_core.training.pages.vocabulary import BUSINESS
from cropvlm_core.training.pages.vocabulary_people import PEOPLE
from cropvlm_core.training.pages.wordings import is_held_out
from tests.programs import require_fonts

require_fonts()

Kind = Callable[[random.Random], Page]
KINDS: list[Kind] = [
    invoice, order, statement, form, letter, table, label, screen, chart, sign, lines,
]  # fmt: skip
SEEDS = 12


def pages(kind: Kind) -> list[Page]:
    return [kind(random.Random(seed)) for seed in range(SEEDS)]


def folded(text: str) -> str:
    return re.sub(r"\W+", "", text.casefold())


def words_inside(page: Page, spans: list[Span]) -> str:
    """The words whose middle lies in one of the spans, letter by letter, in printing order."""
    found = []
    for word in page.words:
        middle = (word.span[1] + word.span[3]) / 2
        centres = (word.edges[:-1] + word.edges[1:]) / 2
        for left, top, right, bottom in spans:
            if top <= middle <= bottom:
                found += [
                    letter
                    for letter, x in zip(word.text, centres, strict=True)
                    if left <= x <= right
                ]
    return "".join(found)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_the_same_seed_gives_the_same_page(self, kind: Kind) -> None:
        random.seed(1)
        first = kind(random.Random(3))
        random.seed(2)
        second = kind(random.Random(3))
        assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
        assert first.asked == second.asked
        assert [word.text for word in first.words] == [word.text for word in second.words]

    def test_spans_lie_inside_the_page_and_hold_print(self, kind: Kind) -> None:
        for page in pages(kind):
            pixels = np.asarray(page.image)
            for asked in page.asked:
                for left, top, right, bottom in asked.spans:
                    assert 0 <= left < right <= page.image.width
                    assert 0 <= top < bottom <= page.image.height
                    inside = pixels[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
                    assert inside.max() - inside.min() > 20, asked

    def test_the_words_inside_a_span_spell_the_answer(self, kind: Kind) -> None:
        for page in pages(kind):
            for asked in page.asked:
                assert folded(words_inside(page, asked.spans)) == folded(asked.answer), asked

    def test_questions_are_there_and_unlike_each_other(self, kind: Kind) -> None:
        made = pages(kind)
        questions = [asked.question for page in made for asked in page.asked]
        assert len(questions) >= 3 * SEEDS
        assert len(set(map(str.casefold, questions))) >= 0.6 * len(questions)
        for page in made:
            mine = [asked.question.casefold() for asked in page.asked]
            assert len(set(mine)) == len(mine)
            assert all(asked.answer.strip() and asked.question.strip() for asked in page.asked)

    def test_words_stay_on_the_page(self, kind: Kind) -> None:
        for page in pages(kind):
            off = [
                word
                for word in page.words
                if word.span[0] < 0 or word.span[2] > page.image.width + 1
            ]
            assert not off


@pytest.mark.parametrize("kind", KINDS)
def test_words_do_not_overlap(kind: Kind) -> None:
    for seed in range(SEEDS):
        page = kind(random.Random(seed))
        boxes = np.array([word.span for word in page.words])
        left, top, right, bottom = boxes.T
        wide = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
        tall = np.minimum(bottom[:, None], bottom) - np.maximum(top[:, None], top)
        shared = np.clip(wide, 0, None) * np.clip(tall, 0, None)
        np.fill_diagonal(shared, 0)
        area = (right - left) * (bottom - top)
        worst = np.unravel_index(np.argmax(shared / np.minimum(area[:, None], area)), shared.shape)
        share = shared[worst] / min(area[worst[0]], area[worst[1]])
        assert share < 0.5, (seed, page.words[worst[0]], page.words[worst[1]])


def test_the_vocabulary_is_large() -> None:
    labels = {
        label.casefold()
        for line in (BUSINESS + PEOPLE).strip().splitlines()
        if " | " in line
        for label in line.split(" | ")[1].split("; ")
    }
    assert len(labels) >= 700


def test_held_out_wordings_are_not_used_in_training() -> None:
    forms = ANY_FORMS.split("|")
    held = [form for form in forms if is_held_out(form)]
    assert held
    assert len(held) < len(forms) / 2
    normal = {a.question for s in range(30) for a in order(random.Random(s)).asked}
    kept = {a.question for s in range(30) for a in order(random.Random(s), held_out=True).asked}
    assert kept
    assert len(normal & kept) < 0.1 * len(kept)
