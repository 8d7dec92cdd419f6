"""Questions any page answers, and scenes like photographs: answers stand where it is said."""

import random

import numpy as np

from cropvlm_core.embedded.page_input import photographic, prepare_page
from cropvlm_core.embedded.question_input import fold
from cropvlm_core.training.pages import render_page
from cropvlm_core.training.pages.fonts import pick_face
from cropvlm_core.training.pages.pointers import point_at_words
from cropvlm_core.training.pages.press import Press
from cropvlm_core.training.pages.sheet import Page
from cropvlm_core.training.pages.streets import street
from tests.programs import require_fonts

require_fonts()


def form_page() -> Page:
    sheet = Press(900, 400, random.Random(0))
    font = pick_face(random.Random(2), "sans", bold=False).at(18)
    for row, (label, value) in enumerate((("Zebra code:", "X-17"), ("Quartz day:", "4 May"))):
        sheet.text(30, 40 + 60 * row, label, font)
        sheet.text(400, 40 + 60 * row, value, font)
    return sheet.page("form")


def test_neighbours_are_named_rightly() -> None:
    page = form_page()
    found = [asked for seed in range(60) for asked in point_at_words(page, random.Random(seed), 6)]
    assert len(found) > 100
    beside = {"zebra code": "X-17", "quartz day": "4 May"}
    checked = 0
    for asked in found:
        text = asked.question.casefold()
        for label, value in beside.items():
            if label in text and any(word in text for word in ("right of", "next to", "beside")):
                assert asked.answer == value
                assert asked.spans[0][0] >= 399
                checked += 1
    assert checked > 5


def test_words_asked_for_by_their_letters_have_these_letters() -> None:
    page = render_page(5, "letter")
    checked = 0
    for seed in range(40):
        for asked in point_at_words(page, random.Random(seed), 8):
            text = asked.question.casefold().rstrip("?. ").replace("'", "").replace('"', "")
            if "begin" in text and "word" in text:
                parts = [word for word in text.split() if fold(asked.answer).startswith(word)]
                assert parts, asked
                checked += 1
    assert checked > 5


def test_the_same_seed_gives_the_same_questions() -> None:
    page = render_page(5, "table")
    first, again = (point_at_words(page, random.Random(3), 8) for _ in range(2))
    assert first == again


def test_a_page_of_two_words_is_not_asked_about() -> None:
    page = form_page()
    page.words = page.words[:2]
    assert point_at_words(page, random.Random(0), 4) == []


def test_scenes_look_like_photographs_and_their_words_can_be_seen() -> None:
    scenes = [street(random.Random(seed)) for seed in range(12)]
    assert sum(photographic(prepare_page(page.image, 262_144)) for page in scenes) >= 7
    contrasts = []
    for page in scenes:
        assert all(asked.field == "word" for asked in page.asked)
        pixels = np.asarray(page.image, dtype=float)
        for word in page.words:
            left, top, right, bottom = (round(value) for value in word.span)
            part = pixels[max(0, top) : bottom, max(0, left) : right]
            if part.size:
                contrasts.append(np.percentile(part, 95) - np.percentile(part, 5))
    assert len(contrasts) > 20
    assert np.mean([contrast > 25 for contrast in contrasts]) > 0.8


def test_a_scene_asks_by_the_first_letters_of_one_word() -> None:
    for seed in range(12):
        page = street(random.Random(seed))
        for asked in page.asked:
            assert len(asked.spans) == 1
            assert any(word.text == asked.answer for word in page.words)
