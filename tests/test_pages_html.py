"""Pages printed from HTML: like seeds give like pages, and answers stand in their spans."""

from __future__ import annotations

import random
import re
import sys

import numpy as np
import pytest

from tests.programs import require_fonts, require_package

require_fonts()
require_package("weasyprint")
require_package("pypdfium2")

from cropvlm_core.errors import MissingExtraError  # noqa: E402
from cropvlm_core.training.pages import KINDS, html, render_page  # noqa: E402
from cropvlm_core.training.pages.degrade import _black_and_white  # noqa: E402
from cropvlm_core.training.pages.fields import plain  # noqa: E402
from cropvlm_core.training.pages.html import render  # noqa: E402
from cropvlm_core.training.pages.html.entries import dates  # noqa: E402
from cropvlm_core.training.pages.html.leaf import Leaf  # noqa: E402
from cropvlm_core.training.pages.html.look import look  # noqa: E402
from cropvlm_core.training.pages.html.render import Finder, Paper, print_html  # noqa: E402
from cropvlm_core.training.pages.sheet import Page, Span  # noqa: E402
from cropvlm_core.training.questions import unanswerable_questions  # noqa: E402

NAMES = sorted(html.__all__)
SEEDS = 3
LETTER = Paper(816, 1056, "40px", 120)
every_kind = pytest.mark.parametrize("name", NAMES)


def clean(name: str, seed: int, *, held_out: bool = False) -> Page:
    return KINDS[name][0](random.Random(seed), held_out=held_out)


def folded(text: str) -> str:
    return re.sub(r"\W+", "", text.casefold())


def words_in(page: Page, spans: list[Span]) -> str:
    return "".join(word.text for word in Finder(page.words).inside(spans))


@every_kind
def test_the_same_seed_gives_the_same_page(name: str) -> None:
    random.seed(1)
    first = render_page(3, name, cut=True, pointers=4)
    random.seed(2)
    second = render_page(3, name, cut=True, pointers=4)
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
    assert first.asked == second.asked
    assert [word.text for word in first.words] == [word.text for word in second.words]


@every_kind
@pytest.mark.parametrize("held_out", [False, True])
def test_every_answer_stands_in_its_span(name: str, held_out: bool) -> None:
    asked = 0
    for seed in range(SEEDS):
        page = clean(name, seed, held_out=held_out)
        pixels = np.asarray(page.image)
        assert page.kind == name
        for one in page.asked:
            asked += 1
            assert folded(words_in(page, one.spans)) == folded(one.answer), one
            for left, top, right, bottom in one.spans:
                assert 0 <= left < right <= page.image.width
                assert 0 <= top < bottom <= page.image.height
                inside = pixels[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
                assert inside.max() - inside.min() > 30, one
    assert asked >= (1 if held_out else 3 * SEEDS)


@every_kind
def test_words_do_not_lie_on_each_other(name: str) -> None:
    page = clean(name, 1)
    box = np.array([word.span for word in page.words])
    left, top, right, bottom = box.T
    wide = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
    tall = np.minimum(bottom[:, None], bottom) - np.maximum(top[:, None], top)
    shared = np.clip(wide, 0, None) * np.clip(tall, 0, None)
    np.fill_diagonal(shared, 0)
    area = (right - left) * (bottom - top)
    assert (shared / np.minimum(area[:, None], area)).max() < 0.5


def test_every_letter_has_its_edges() -> None:
    printed = print_html("<p>Ampère 12.50 fi</p>", "p{font:20pt sans-serif}", LETTER)
    assert [word.text for word in printed.words] == ["Ampère", "12.50", "fi"]
    for word in printed.words:
        assert len(word.edges) == len(word.text) + 1
        assert (np.diff(word.edges) > 0).all()
        assert word.span[0] == word.edges[0]
        left, top, right, bottom = map(round, word.span)
        ink = np.asarray(printed.image)[top:bottom, left:right]
        assert ink.min() < 60
        assert np.asarray(printed.image)[top:bottom, right + 1 : right + 3].min() > 200


def test_a_mark_over_two_lines_has_one_place() -> None:
    leaf = Leaf(random.Random(0), look(random.Random(0)))
    mark = leaf.mark("nine short words that must be broken into lines")
    leaf.offer("Which words?|What words?|The words?|Words?|Read the words.", mark, "text")
    page = leaf.page("paper", f'<div style="width:9em;float:right">{mark}</div>', LETTER)
    (span,) = page.asked[0].spans
    assert span[3] - span[1] > 2.5 * (page.words[0].span[3] - page.words[0].span[1])
    assert words_in(page, [span]) == mark.text.replace(" ", "")


def test_a_mark_that_other_words_share_the_place_of_is_not_asked_for() -> None:
    leaf = Leaf(random.Random(0), look(random.Random(0)))
    mark = leaf.mark("these five words go on")
    leaf.offer("Which words?|What words?|The words?|Words?|Read the words.", mark, "text")
    body = f'<div style="width:12em">before and then {mark} and after</div>'
    page = leaf.page("paper", body, LETTER)
    assert not page.asked


def test_text_beyond_the_first_page_is_not_asked_for() -> None:
    leaf = Leaf(random.Random(0), look(random.Random(0)))
    mark = leaf.mark("far")
    leaf.offer("Which words?|What words?|The words?|Words?|Read the words.", mark, "text")
    page = leaf.page("paper", f'<div style="height:1200px">near</div><p>{mark}</p>', LETTER)
    assert [word.text for word in page.words] == ["near"]
    assert not page.asked


def test_without_the_programs_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    render._programs.cache_clear()
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(MissingExtraError, match=r"WeasyPrint.*cropvlm\[finetune\]"):
        render_page(0, "ledger")
    monkeypatch.undo()
    render._programs.cache_clear()
    assert render_page(0, "slide").words


def test_few_answers_are_lost() -> None:
    kept = sum(len(clean(name, seed).asked) for name in NAMES for seed in (7,))
    assert kept >= 10 * len(NAMES)


def test_dates_among_dates_have_names_of_their_own() -> None:
    for seed in range(20):
        entries = dates(random.Random(seed), 5)
        names = [
            {plain(name) for name in (*one.field.printed, *one.field.asked)} for one in entries
        ]
        assert len(entries) == 5
        assert sum(map(len, names)) == len(set[str]().union(*names))


def test_what_is_unanswerable_is_not_on_the_page() -> None:
    found = list(unanswerable_questions(4, "ledger"))
    assert len({question.doc for question in found}) == 4
    for question in found:
        assert question.field == "unanswerable"
        assert not question.boxes
        assert not question.answers


def test_black_and_white_keeps_faint_print() -> None:
    page = clean("ledger", 2)
    faint = page.image.point([150 + value * 90 // 255 for value in range(256)])
    sharp = np.asarray(_black_and_white(faint, random.Random(1)))
    for word in page.words[:40]:
        left, top, right, bottom = map(int, word.span)
        assert sharp[top:bottom, left:right].min() == 0, word
    assert 0.02 < (sharp == 0).mean() < 0.3
