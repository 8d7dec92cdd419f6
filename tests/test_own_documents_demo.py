"""The demonstration on own documents: pages of an odd layout, and the commands that show it."""

import importlib
import json
from pathlib import Path

import pytest

from cropvlm_core.questions import read_questions
from tests.printed import require_tesseract
from tests.programs import require_fonts, require_package

require_fonts()

from scripts.own_documents_pages import (  # noqa: E402
    BLOCKS,
    ELEMENTS,
    QUESTIONS,
    TESTS,
    certificate,
    write_certificates,
)

ROOT = Path(__file__).parent.parent


def test_certificates_are_drawn_by_their_seed_and_ask_for_what_stands_there() -> None:
    page, again, other = certificate(1), certificate(1), certificate(2)
    assert page.image.tobytes() == again.image.tobytes()
    assert page.asked == again.asked != other.asked
    assert len(page.asked) == QUESTIONS
    fields = BLOCKS.keys() | ELEMENTS.keys() | TESTS.keys()
    for asked in page.asked:
        assert asked.field in fields
        words = [
            word.text
            for word in page.words
            for left, top, right, bottom in asked.spans
            if left <= (word.span[0] + word.span[2]) / 2 <= right
            and top <= (word.span[1] + word.span[3]) / 2 <= bottom
        ]
        assert words == asked.answer.split()


def test_pages_to_learn_from_hold_no_box_and_those_to_measure_on_do(tmp_path: Path) -> None:
    write_certificates(tmp_path / "learn", [1], boxes=False)
    write_certificates(tmp_path / "test", [1], boxes=True)
    learn, test = list(read_questions(tmp_path / "learn")), list(read_questions(tmp_path / "test"))
    assert [one.question for one in learn] == [one.question for one in test]
    assert all(one.answers and not one.boxes for one in learn)
    assert "boxes" not in (tmp_path / "learn" / "questions.jsonl").read_text()
    assert all(0 < one.boxes[0].area < 0.02 for one in test)


@pytest.mark.slow
def test_the_demonstration_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_tesseract()
    require_package("torch")
    require_package("onnx")
    from cropvlm_core.training.own_documents import run

    monkeypatch.setattr(run, "RENDERED_PAGES", 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(ROOT / "scripts")
    demo = importlib.import_module("own_documents_demo")
    few = ["--pages", "4", "--test-pages", "2", "--minutes", "0.01", "--threads", "1"]
    demo.main(["--out", str(tmp_path), "--ways", "3", *few])
    assert "| rewards only | 1 |" in capsys.readouterr().out
    start, row = json.loads((tmp_path / "figures.json").read_text())
    assert 0 <= start["hits"]["mean"] <= 1
    assert row["area"] < 0.2
    assert (tmp_path / "curve.png").is_file()
