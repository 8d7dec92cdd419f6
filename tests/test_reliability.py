"""Are confidences worth their face value? The figures, the diagram, the script."""

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.cropper import Cropper, Proposal
from cropvlm_core.errors import DataError
from cropvlm_core.evaluation.evaluate import evaluate
from cropvlm_core.evaluation.page.diagram import draw
from cropvlm_core.evaluation.reliability import reliability
from cropvlm_core.evaluation.report import to_text
from cropvlm_core.questions import AnsweredQuestion, VisualQuestion, write_questions
from scripts.reliability import limits, main

TRUE, WRONG = Box(0.1, 0.1, 0.3, 0.2), Box(0.6, 0.6, 0.9, 0.8)
PAGES = 40


class Graded(Cropper):
    """Right on the pages whose number ends in 3 and above, as sure as the number says."""

    name = "graded"

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        return [self._propose(int(question.question.split()[-1])) for question in questions]

    def _propose(self, number: int) -> Proposal:
        order = (TRUE, WRONG) if number % 10 >= 3 else (WRONG, TRUE)
        return Proposal(order, (0.5 + number % 10 / 20, 0.01))


def question_set(folder: Path) -> Path:
    folder.mkdir()
    Image.new("RGB", (200, 200), "white").save(folder / "page.png")
    rows = [
        AnsweredQuestion(
            folder / "page.png", f"What is number {number}", boxes=(TRUE,), doc=f"d{number}"
        )
        for number in range(PAGES)
    ]
    write_questions(folder / "questions.jsonl", rows)
    return folder


def test_confidences_that_keep_their_word_have_no_error_but_chance() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(size=4000)
    hits = rng.uniform(size=4000) < sure
    found = reliability(sure, hits, np.arange(4000) // 4)
    assert found.error.mean < 0.03
    assert found.error.low is not None
    assert found.error.low < 0.01
    assert [part.questions for part in found.bins] == [400] * 10
    assert [round(part.hits, 1) for part in found.quarters] == pytest.approx([0.1, 0.4, 0.6, 0.9])
    for part in found.bins:
        assert part.hits == pytest.approx(part.confidence, abs=0.08)


def test_confidences_that_do_not_have_it_by_hand() -> None:
    found = reliability([0.9] * 20, [1] * 12 + [0] * 8, list(range(20)))
    assert found.error.mean == pytest.approx(10 * 2 * 0.4 / 20, abs=0.1)
    always = reliability([0.9] * 20, [0] * 20, list(range(20)))
    assert (always.error.mean, always.error.low, always.error.high) == pytest.approx((0.9,) * 3)
    alone = reliability([0.9, 0.8], [1, 1], ["a", "a"])
    assert (alone.error.low, alone.error.high) == (None, None)
    with pytest.raises(DataError, match="expected a hit"):
        reliability([], [], [])


def test_the_interval_is_wider_where_questions_fail_together() -> None:
    rng = np.random.default_rng(0)
    right = np.repeat(rng.uniform(size=50) < 0.5, 20)
    sure = np.full(1000, 0.9)
    together = reliability(sure, right, np.repeat(np.arange(50), 20)).error
    apart = reliability(sure, right, np.arange(1000)).error
    assert None not in (together.low, together.high, apart.low, apart.high)
    assert together.high - together.low > 2 * (apart.high - apart.low)  # type: ignore[operator]


def test_an_evaluation_tells_it_of_first_crops(tmp_path: Path) -> None:
    folder = question_set(tmp_path / "set")
    out = tmp_path / "run"
    results = evaluate(str(folder), {"graded": Graded()}, out=out, max_crops=2, pictures=1)
    told = next(view for view in results.views if view.view == "graded")
    assert told.figures.hit_rate is not None
    assert told.figures.hit_rate.mean == 1.0  # one of the two crops always holds it
    assert told.reliability is not None
    assert told.reliability.questions == PAGES
    assert [part.hits for part in told.reliability.bins] == [0.0] * 3 + [1.0] * 7
    sure = [0.5 + number / 20 for number in range(10)]
    gaps = [abs(one - (number >= 3)) for number, one in enumerate(sure)]
    assert told.reliability.error.mean == pytest.approx(np.mean(gaps))
    assert all(view.reliability is None for view in results.views if view.kind != "cropper")
    text = to_text(results)
    assert "Confidence of graded: expected calibration error 30.5%" in text
    assert "hits by quarter, the least sure first: 0 / 80 / 100 / 100 %" in text
    kept = json.loads((out / "results.json").read_text())
    view = next(view for view in kept["views"] if view["view"] == "graded")
    assert view["reliability"]["questions"] == PAGES
    page = (out / "report.html").read_text()
    assert "How sure, how right" in page
    assert page.count('class="plot square"') == 1


def test_without_confidences_nothing_is_told_of_them(tmp_path: Path) -> None:
    folder = question_set(tmp_path / "set")
    results = evaluate(str(folder), ["centre"], out=tmp_path / "run", pictures=1)
    assert all(view.reliability is None for view in results.views)
    assert "Confidence of" not in to_text(results)
    assert "How sure" not in (tmp_path / "run" / "report.html").read_text()


def test_a_limit_leaves_unsure_crops_out_of_an_evaluation(tmp_path: Path) -> None:
    folder = question_set(tmp_path / "set")
    results = evaluate(str(folder), {"graded": Graded()}, min_confidence=0.65)
    assert results.figures("graded").fallback_rate == pytest.approx(0.3)
    assert results.settings["min_confidence"] == 0.65
    everything = evaluate(str(folder), {"graded": Graded()}, min_confidence=0)
    assert everything.figures("graded").fallback_rate == 0


def test_the_diagram_puts_each_part_where_it_belongs() -> None:
    bins = [{"confidence": 0.0, "hits": 1.0}, {"confidence": 1.0, "hits": 0.5}]
    tree = ElementTree.fromstring(draw(bins))
    spots = [node for node in tree.iter() if node.tag.endswith("circle")]
    places = [(float(spot.attrib["cx"]), float(spot.attrib["cy"])) for spot in spots]
    assert places == [(56, 12), (316, 142)]


def test_the_script_writes_a_diagram_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [question_set(tmp_path / name) for name in ("one", "two")]
    main([*map(str, sets), "--out", str(tmp_path / "out"), "--cropper", "embedded", "--limit", "6"])
    told = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert told["sets"].keys() == {"one", "two", "pooled"}
    assert told["sets"]["pooled"]["questions"] == 12
    ElementTree.parse(tmp_path / "out" / "reliability.svg")
    printed = capsys.readouterr().out
    assert "pooled: calibration error" in printed
    assert "limit 0.10: keeps" in printed


def test_what_limits_leave_out() -> None:
    crops = [(0.02, False, "a"), (0.12, True, "b"), (0.9, True, "c"), (0.9, False, "d")]
    told = {one["limit"]: one for one in limits(crops)}
    assert (told[0.1]["kept"], told[0.1]["hits lost"], told[0.1]["misses saved"]) == (0.75, 0, 1)
    assert (told[0.8]["kept"], told[0.8]["hits lost"], told[0.8]["misses saved"]) == (0.5, 1, 1)
