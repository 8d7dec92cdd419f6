"""The command line on real pages, where the development sets lie beside the checkout."""

import itertools
import json
from pathlib import Path

import pytest

from cropvlm_core.cli import main
from cropvlm_core.questions import AnsweredQuestion, read_questions

DATA = Path(__file__).parents[2] / "shared" / "data"
SETS = sorted(folder.parent.name for folder in DATA.glob("*/questions.jsonl"))
A_FEW = 4

pytestmark = pytest.mark.skipif(not SETS, reason="no development sets beside the checkout")


def documents(name: str) -> list[AnsweredQuestion]:
    """The first question about each of the first few images of a set."""
    groups = itertools.groupby(read_questions(DATA / name), key=lambda asked: asked.image)
    return [next(group) for _, group in itertools.islice(groups, A_FEW)]


@pytest.mark.parametrize("name", SETS)
def test_zoom_works_on_real_pages(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for asked in documents(name):
        assert main(["zoom", str(asked.image), asked.question, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["zoomed"] is (told["reason"] is None)
        for crop in told["crops"]:
            left, top, right, bottom = crop["pixels"]
            assert 0 <= left < right <= (asked.width or 0)
            assert 0 <= top < bottom <= (asked.height or 0)
            assert crop["size"] == [right - left, bottom - top]


@pytest.mark.parametrize("name", SETS)
def test_evaluate_works_on_real_pages(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(DATA / name), "--limit", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["questions"] == 3
    figures = {one["view"]: one["figures"] for one in told["views"]}
    assert {"no crop", "centre", "random", "embedded", "embedded, shuffled"} <= set(figures)
    assert figures["no crop"]["area"] == 1.0
    assert 0 < figures["embedded"]["area"] <= 1.0
    assert figures["embedded"]["area"] == pytest.approx(figures["embedded, shuffled"]["area"], 1)
    assert told["boxed"] == (0 if name == "chartqa" else 3)
