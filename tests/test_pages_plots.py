"""Charts by matplotlib: like seeds give like charts, and answers stand in their spans."""

from __future__ import annotations

import random
import re
import sys

import numpy as np
import pytest

from tests.programs import require_fonts, require_package

require_fonts()
require_package("matplotlib")

from cropvlm_core.errors import MissingExtraError  # noqa: E402
from cropvlm_core.training.pages import plots, render_page  # noqa: E402
from cropvlm_core.training.pages.html.render import Finder  # noqa: E402

SEEDS = 6


def folded(text: str) -> str:
    return re.sub(r"\W+", "", text.casefold())


def test_the_same_seed_gives_the_same_chart() -> None:
    first, second = (render_page(4, "plot", cut=True, pointers=4) for _ in range(2))
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
    assert first.asked == second.asked


@pytest.mark.parametrize("held_out", [False, True])
def test_every_answer_stands_in_its_span(held_out: bool) -> None:
    asked = 0
    for seed in range(SEEDS):
        page = plots.plot(random.Random(seed), held_out=held_out)
        pixels, finder = np.asarray(page.image), Finder(page.words)
        for one in page.asked:
            asked += 1
            (span,) = one.spans
            inside = finder.inside([span])
            if inside:  # turned text has a place but no upright words
                assert folded("".join(word.text for word in inside)) == folded(one.answer), one
            left, top, right, bottom = map(int, span)
            ink = pixels[top : bottom + 1, left : right + 1]
            assert ink.max() - ink.min() > 40, one
    assert asked >= (1 if held_out else 5 * SEEDS)


def test_words_are_those_that_are_drawn() -> None:
    for seed in range(SEEDS):
        page = plots.plot(random.Random(seed))
        pixels = np.asarray(page.image)
        for word in page.words:
            assert len(word.edges) == len(word.text) + 1
            left, top, right, bottom = map(int, word.span)
            ink = pixels[top : bottom + 1, left : right + 1]
            assert ink.max() - ink.min() > 40, (seed, word)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    plots._figures.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"matplotlib.*cropvlm\[finetune\]"):
        render_page(0, "plot")
    monkeypatch.undo()
    plots._figures.cache_clear()
