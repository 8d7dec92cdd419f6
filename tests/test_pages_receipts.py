"""Rendered receipts: the same for a seed, boxes where the answers stand, damage that moves both."""

import random
import re

import numpy as np
import pytest
from PIL import Image

from cropvlm_core.training.pages import KINDS, render_page
from cropvlm_core.training.pages.degrade import degrade, moved, moved_word, skewed, window
from cropvlm_core.training.pages.fonts import pick_face
from cropvlm_core.training.pages.receipts import receipt
from cropvlm_core.training.pages.sheet import Page, Sheet, Span, Word
from tests.programs import require_fonts, require_package

require_fonts()


def letters(text: str) -> str:
    return re.sub(r"\W", "", text).lower()


def words_inside(page: Page, span: Span) -> str:
    left, top, right, bottom = span
    return "".join(
        word.text
        for word in page.words
        if left - 2 <= word.span[0] and word.span[2] <= right + 2
        and top - 3 <= (word.span[1] + word.span[3]) / 2 <= bottom + 3
    )  # fmt: skip


def test_shares_of_the_kinds_add_up_to_one() -> None:
    assert sum(share for _, share in KINDS.values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", [None, "receipt", "lines"])
def test_the_same_seed_gives_the_same_page(kind: str | None) -> None:
    if kind is None:
        require_package("weasyprint")
    one, two, other = render_page(5, kind), render_page(5, kind), render_page(6, kind)
    assert one.image.tobytes() == two.image.tobytes()
    assert [(a.question, a.spans) for a in one.asked] == [(a.question, a.spans) for a in two.asked]
    assert one.image.tobytes() != other.image.tobytes()


def test_the_words_inside_an_answers_box_spell_the_answer() -> None:
    checked = 0
    for seed in range(12):
        page = receipt(random.Random(seed))
        for asked in page.asked:
            for span in asked.spans:
                assert 0 <= span[0] < span[2] <= page.image.width
                assert 0 <= span[1] < span[3] <= page.image.height
                inside = letters(words_inside(page, span))
                assert letters(asked.answer) in inside or inside in letters(asked.answer), (
                    seed, asked, inside
                )  # fmt: skip
                checked += 1
    assert checked > 100


def test_receipts_differ_in_words_and_wordings() -> None:
    pages = [receipt(random.Random(seed)) for seed in range(30)]
    assert len({asked.question for page in pages for asked in page.asked}) > 150
    assert len({asked.field for page in pages for asked in page.asked}) >= 14


def test_held_out_wordings_never_meet_training_wordings() -> None:
    def fields(held_out: bool) -> set[str]:
        return {
            asked.question.lower().rstrip("?.")
            for seed in range(60)
            for asked in receipt(random.Random(seed), held_out=held_out).asked
            if asked.field == "date"
        }

    seen, kept = fields(False), fields(True)
    assert seen
    assert kept
    assert not seen & kept


def marked_page() -> Page:
    rng = random.Random(3)
    sheet = Sheet(600, 400, rng)
    span = sheet.text(250, 180, "ANSWER", pick_face(rng, "sans", bold=True).at(40))
    sheet.ask("?", "ANSWER", span, "word")
    return sheet.page("test")


def ink_box(image: Image.Image) -> tuple[int, int, int, int]:
    dark = np.asarray(image.convert("L")) < 100
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def test_a_printed_words_rectangle_is_its_ink() -> None:
    page = marked_page()
    ink, span = ink_box(page.image), page.asked[0].spans[0]
    assert np.abs(np.array(ink) - np.array(span)).max() <= 4
    assert np.all(np.diff(page.words[0].edges) > 0)


def test_skewed_pages_keep_their_boxes_on_the_ink() -> None:
    for seed in range(8):
        page = marked_page()
        image, matrix = skewed(page.image, random.Random(seed))
        span = moved(page.asked[0].spans[0], matrix)
        mask = Image.new("L", page.image.size, 255)
        mask.paste(page.image)
        ink_only = np.asarray(image)[
            int(span[1]) : int(span[3]) + 1, int(span[0]) : int(span[2]) + 1
        ]
        assert ink_only.min() < 60  # the word is inside
        word = moved_word(page.words[0], matrix)
        assert abs(word.span[0] - span[0]) < 6
        assert abs(word.span[3] - span[3]) < 6


def test_damage_keeps_every_word_and_question() -> None:
    for seed in range(15):
        page = receipt(random.Random(seed))
        worse = degrade(page, random.Random(seed))
        assert [word.text for word in worse.words] == [word.text for word in page.words]
        assert [asked.answer for asked in worse.asked] == [asked.answer for asked in page.asked]
        assert worse.image.mode == "L"


def test_a_window_keeps_what_is_inside_and_only_that() -> None:
    page = receipt(random.Random(2))
    piece = window(page, random.Random(4), page.image.width * page.image.height / 3)
    width, height = piece.image.size
    assert piece.image.size != page.image.size
    assert 0 < len(piece.words) < len(page.words)
    for word in piece.words:
        assert word.span[0] >= 0
        assert word.span[2] <= width
        assert word.span[1] >= 0
        assert word.span[3] <= height


def test_moving_a_word_moves_its_letters() -> None:
    word = Word("ab", (10.0, 20.0, 30.0, 40.0), np.array([10.0, 18.0, 30.0]))
    shifted = moved_word(word, (2, 0, 5, 0, 1, -7))
    assert shifted.span == (25.0, 13.0, 65.0, 33.0)
    assert shifted.edges.tolist() == [25.0, 41.0, 65.0]
