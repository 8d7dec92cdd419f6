"""scripts/told_apart.py: the figures that it prints are those of the confidences it was given."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cropvlm_core.box import Box
from cropvlm_core.cropper import Cropper, Proposal
from cropvlm_core.questions import AnsweredQuestion, VisualQuestion, write_questions
from tests.pages import noise

pytest.importorskip("torch", reason="the extra finetune is not installed")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    return importlib.import_module("told_apart")


class OfWidth(Cropper):
    """Sure of questions that name the page's width; of all others a little, or not at all."""

    def propose_batch(self, questions: Any) -> list[Proposal]:
        return [self.of(question) for question in questions]

    def of(self, question: VisualQuestion) -> Proposal:
        if str(question.open().width) in question.question:
            return Proposal((Box(0, 0, 0.5, 0.5),), (0.9,))
        if "patient" in question.question:
            return Proposal(reason="unreadable")
        return Proposal((Box(0, 0, 0.5, 0.5),), (0.05,))


@pytest.fixture
def sets(tmp_path: Path) -> list[Path]:
    for width in (60, 80):
        folder = tmp_path / str(width)
        (folder / "images").mkdir(parents=True)
        noise(width, 40).save(folder / "images" / "page.png")
        asked = AnsweredQuestion(
            folder / "images" / "page.png", f"What is {width}?", answers=("x",),
            boxes=(Box(0, 0, 0.5, 0.5),), id="1",
        )  # fmt: skip
        write_questions(folder / "questions.jsonl", [asked])
    return [tmp_path / "60", tmp_path / "80"]


def test_confidences_that_tell_apart(script: Any, sets: list[Path]) -> None:
    pages = script.asked(sets[0], OfWidth())
    ((answered, vain),) = pages
    assert answered == pytest.approx([0.9])
    assert sorted(set(vain)) in ([0.05], [0.0, 0.05])
    row = script.line("60", pages, 0.1)
    assert row == "| 60 | 1 | 1 + 4 | 100.0% [100.0%, 100.0%] | 0.0% | 100.0% |"
    same = [(np.array([0.5]), np.array([0.5, 0.9])), (np.array([0.5]), np.array([0.1]))]
    assert "| 2 + 3 | 50.0% [" in script.line("x", same, 0.3)


def test_the_page_with_the_highest_confidence_is_found(script: Any, sets: list[Path]) -> None:
    assert script.found_pages(sets, OfWidth()) == {"60": 1.0, "80": 1.0}
