"""Whether a page answers at all: what is asked in vain, and the head that learns it."""

import copy
import itertools
import random

import pytest

pytest.importorskip("torch", reason="the extra finetune is not installed")

import torch

from cropvlm_core.cropper import ZoomRules
from cropvlm_core.embedded.question_input import fold
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.errors import DataError
from cropvlm_core.training import answerability
from cropvlm_core.training.answerability import OtherPages, fit_answerable
from cropvlm_core.training.network import PolicyNetwork, PolicySize
from cropvlm_core.training.pages import render_page
from cropvlm_core.training.pages.sheet import Asked, Page
from cropvlm_core.training.questions import fields_not_printed

TINY = PolicySize(
    stem=4, middle=8, grid=16, context=16, blocks=1, stages=1, lanes=4, word=16, thought=16,
    layers=1, probes=4, head=8, head_lanes=2,
)  # fmt: skip
SETTINGS = PolicySettings(65_536, 0.5, ZoomRules())


@pytest.fixture
def receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three receipts, again and again, take the place of pages of all kinds; fitted fast."""
    pages = itertools.cycle([render_page(seed, "receipt") for seed in range(3)])
    monkeypatch.setattr(answerability, "render_page", lambda *_, **__: next(pages))
    monkeypatch.setattr(answerability, "_EPOCHS", 100)
    monkeypatch.setattr(answerability, "_RATE", 0.03)


def test_nothing_of_a_field_that_is_asked_in_vain_is_printed() -> None:
    for seed in range(4):
        page = render_page(seed, "receipt")
        texts = fields_not_printed(page, random.Random(seed), 3)
        printed = {fold(word.text) for word in page.words}
        assert texts
        for text in texts:
            left = {fold(word) for word in text.split()} - answerability._COMMON
            assert left - printed, text


def test_questions_of_other_pages_are_about_what_this_page_has_not() -> None:
    def page(kind: str, *asked: tuple[str, str]) -> Page:
        rows = [Asked(text, "x", [(0, 0, 1, 1)], field) for text, field in asked]
        return Page(receipt.image, receipt.words, rows, kind)

    receipt = render_page(1, "receipt")
    others, rng = OtherPages(), random.Random(0)
    others.keep(page("receipt", ("What is the passport number?", "passport")), rng)
    others.keep(page("receipt", ("What is the total?", "total")), rng)
    own = page("receipt", ("How much is it?", "total"))
    assert others.draw(own, rng, 3)[0] == "What is the passport number?"
    assert "What is the total?" not in others.draw(own, rng, 3)
    assert others.draw(own, rng, 0) == []
    same = page("receipt", ("Which passport is it?", "passport"))
    assert "What is the passport number?" not in others.draw(same, rng, 3)


@pytest.mark.usefixtures("receipts")
def test_the_head_learns_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    network = PolicyNetwork(TINY)
    before = copy.deepcopy(network.state_dict())
    done: list[int] = []
    fit_answerable(network, SETTINGS, pages=3, seed=3, progress=done.append)
    assert done == [1, 2, 3]
    for name, value in network.state_dict().items():
        changed = not torch.equal(value, before[name])
        assert changed == name.startswith("answerable."), name
    assert not any(weights.requires_grad for weights in network.answerable.parameters())
    seen, answered = answerability._gathered(network, SETTINGS, 3, 3, done.append)
    odds = network.answerable(seen.float())
    assert odds[answered > 0].mean() > odds[answered == 0].mean() + 0.02


@pytest.mark.usefixtures("receipts")
def test_the_same_seed_teaches_the_same() -> None:
    heads = []
    for _ in range(2):
        torch.manual_seed(0)
        network = PolicyNetwork(TINY)
        fit_answerable(network, SETTINGS, pages=3, seed=3)
        heads.append(network.answerable.state_dict())
    for name, value in heads[0].items():
        torch.testing.assert_close(heads[1][name], value, msg=name)


def test_pages_without_questions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = render_page(1, "receipt")
    bare.asked.clear()
    monkeypatch.setattr(answerability, "render_page", lambda *_, **__: bare)
    with pytest.raises(DataError, match="expected pages with questions, got 2 pages without"):
        fit_answerable(PolicyNetwork(TINY), SETTINGS, pages=2)
