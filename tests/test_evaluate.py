"""Evaluation: figures that can be worked out by hand."""

import json
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.cropper import Cropper, FixedCropper, Proposal
from cropvlm_core.errors import DataError, ImageError, SpecError
from cropvlm_core.evaluation import report
from cropvlm_core.evaluation.evaluate import (
    CONTROLS,
    Evaluation,
    Figures,
    Row,
    evaluate,
    with_controls,
)
from cropvlm_core.questions import AnsweredQuestion, VisualQuestion, read_questions

TOP = Box(0.0, 0.0, 1.0, 0.25)
LEFT = Box(0.0, 0.0, 0.5, 1.0)


def row(**changes: object) -> Row:
    values: dict[str, object] = {
        "set_name": "s",
        "field": "f",
        "hit": True,
        "area": 0.1,
        "whole": False,
        "seconds": 0.01,
    }
    return Row(**(values | changes))  # type: ignore[arg-type]


def write_set(folder: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write a question set whose images are 100 x 200 pixels."""
    folder.mkdir(parents=True)
    for name in {str(line["image"]) for line in rows}:
        Image.new("RGB", (100, 200), "white").save(folder / name)
    lines = "".join(json.dumps({"question": "What?", **line}) + "\n" for line in rows)
    (folder / "questions.jsonl").write_text(lines)
    return folder


class CountingCropper(Cropper):
    """Boxes by question text; counts how often it is asked, and which images it saw."""

    def __init__(self, boxes: dict[str, tuple[Box, ...]]) -> None:
        self.boxes = boxes
        self.asked: list[str] = []
        self.images: list[int] = []

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        self.asked += [question.question for question in questions]
        self.images += [id(question.open()) for question in questions]
        return [
            Proposal(boxes) if (boxes := self.boxes[q.question]) else Proposal(reason="unreadable")
            for q in questions
        ]


def test_figures_by_hand() -> None:
    figures = Figures.of(
        [
            row(hit=True, area=0.1, seconds=0.001),
            row(hit=False, area=0.2, seconds=0.002),
            row(hit=None, area=0.3, seconds=0.003),
            row(hit=True, area=1.0, whole=True, seconds=0.1),
        ]
    )
    assert asdict(figures) == pytest.approx(
        {
            "questions": 4,
            "boxed": 3,
            "hit_rate": 2 / 3,
            "mean_area": 0.4,
            "whole_rate": 0.25,
            "median_ms": 2.5,
            "p95_ms": 100.0,
        }
    )


def test_p95_is_the_time_that_nineteen_in_twenty_keep() -> None:
    figures = Figures.of([row(seconds=number / 1000) for number in range(1, 101)])
    assert figures.p95_ms == pytest.approx(95.0)
    assert figures.median_ms == pytest.approx(50.5)
    assert Figures.of([row(seconds=0.007)]).p95_ms == pytest.approx(7.0)


def test_no_boxes_means_no_hit_rate() -> None:
    assert Figures.of([row(hit=None)]).hit_rate is None


def test_hits_areas_and_whole_pages_are_those_of_the_crops(tmp_path: Path) -> None:
    folder = write_set(
        tmp_path / "bills",
        [
            {"image": "a.png", "question": "inside", "boxes": [[10, 5, 20, 10]], "field": "x"},
            {"image": "a.png", "question": "outside", "boxes": [[10, 50, 20, 60]], "field": "x"},
            {"image": "b.png", "question": "two", "boxes": [[10, 90, 20, 95]], "field": "y"},
            {"image": "b.png", "question": "none", "boxes": [[10, 90, 20, 95]], "field": "y"},
            {"image": "b.png", "question": "chart", "field": "z"},
        ],
    )
    cropper = CountingCropper(
        {"inside": (TOP,), "outside": (TOP,), "two": (TOP, LEFT), "none": (), "chart": (TOP,)}
    )
    evaluation = evaluate(read_questions(folder), {"mine": cropper}, max_crops=2)
    rows = evaluation.rows["mine"]
    assert [one.hit for one in rows] == [True, False, True, True, None]
    # TOP and LEFT share an eighth of the page: 1/4 + 1/2 - 1/8
    assert [one.area for one in rows] == pytest.approx([0.25, 0.25, 0.625, 1.0, 0.25])
    assert [one.whole for one in rows] == [False, False, False, True, False]
    assert all(one.seconds > 0 for one in rows)
    assert evaluation.sets() == {"bills": ("x", "y", "z")}
    assert evaluation.images == 2
    by_field = evaluation.figures("mine", set_name="bills", field="x")
    assert (by_field.questions, by_field.hit_rate) == (2, 0.5)


def test_max_crops_is_one_unless_told(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", [{"image": "a.png", "question": "two"}])
    cropper = CountingCropper({"two": (TOP, LEFT)})
    evaluation = evaluate(read_questions(folder), {"mine": cropper})
    assert evaluation.rows["mine"][0].area == pytest.approx(0.25)


def test_one_warm_up_and_one_decoding_for_neighbours(tmp_path: Path) -> None:
    rows = [{"image": f"{page}.png", "question": f"{page}{n}"} for page in "ab" for n in range(3)]
    folder = write_set(tmp_path / "s", rows)
    cropper = CountingCropper({str(line["question"]): (TOP,) for line in rows})
    seen: list[tuple[str, int]] = []
    evaluate(
        read_questions(folder),
        {"mine": cropper},
        progress=lambda asked, number: seen.append((asked.question, number)),
    )
    assert cropper.asked == ["a0", "a0", "a1", "a2", "b0", "b1", "b2"]
    assert len(set(cropper.images[:4])) == 1
    assert len(set(cropper.images[4:])) == 1
    assert seen == [(str(line["question"]), n) for n, line in enumerate(rows, 1)]


def test_images_are_read_lazily(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", [{"image": "a.png"}, {"image": "b.png"}])
    (folder / "b.png").write_bytes(b"no image")
    cropper = CountingCropper({"What?": (TOP,)})
    with pytest.raises(ImageError, match=r"b\.png"):
        evaluate(read_questions(folder), {"mine": cropper})
    assert len(cropper.asked) == 2  # the warm-up and the first question


def test_images_are_let_go(tmp_path: Path) -> None:
    class Watching(CountingCropper):
        def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
            seen.append(weakref.ref(questions[0].open()))
            alive.append(len({id(image) for ref in seen if (image := ref()) is not None}))
            return super().propose_batch(questions)

    seen: list[weakref.ref[Image.Image]] = []
    alive: list[int] = []
    folder = write_set(tmp_path / "s", [{"image": f"{number}.png"} for number in range(6)])
    evaluate(read_questions(folder), {"mine": Watching({"What?": (TOP,)})})
    assert len(alive) == 7
    assert max(alive) == 1


def test_controls_are_always_there_and_once() -> None:
    assert list(with_controls(["centre"])) == ["centre", "whole", "random"]
    assert list(with_controls([])) == list(CONTROLS)
    with pytest.raises(SpecError):
        with_controls(["nonsense"])


def test_the_whole_page_hits_at_area_one(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", [{"image": "a.png", "boxes": [[1, 1, 2, 2]]}])
    figures = evaluate(read_questions(folder), with_controls([])).figures("whole")
    assert (figures.hit_rate, figures.mean_area, figures.whole_rate) == (1.0, 1.0, 1.0)


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one question"):
        evaluate([], {"mine": FixedCropper(TOP)})


def test_question_in_memory_needs_no_set() -> None:
    asked = AnsweredQuestion(Image.new("RGB", (10, 10)), "What?", boxes=(Box(0, 0, 0.1, 0.1),))
    evaluation = evaluate([asked], {"mine": FixedCropper(TOP)})
    assert evaluation.sets() == {"": ("",)}


EVALUATION = Evaluation(
    {
        "embedded": [
            row(set_name="a", field="x", seconds=0.0304),
            row(set_name="a", field="y", hit=False, seconds=0.0304),
            row(set_name="b", field="z", hit=None, area=1.0, whole=True, seconds=0.0304),
        ],
        "whole": [
            row(set_name="a", field="x", area=1.0, whole=True),
            row(set_name="a", field="y", area=1.0, whole=True),
            row(set_name="b", field="z", hit=None, area=1.0, whole=True),
        ],
    },
    images=2,
)


def test_report_as_dictionary() -> None:
    told = report.to_dict(EVALUATION)
    assert json.loads(json.dumps(told)) == told
    assert (told["questions"], told["boxed"], told["images"]) == (3, 2, 2)
    embedded, whole = told["croppers"]
    assert (embedded["cropper"], embedded["control"]) == ("embedded", False)
    assert (whole["cropper"], whole["control"]) == ("whole", True)
    assert embedded["figures"] == {
        "questions": 3,
        "boxed": 2,
        "hit_rate": 0.5,
        "mean_area": pytest.approx(0.4),
        "whole_rate": pytest.approx(1 / 3),
        "median_ms": pytest.approx(30.4),
        "p95_ms": pytest.approx(30.4),
    }
    assert embedded["sets"]["a"]["figures"]["hit_rate"] == 0.5
    assert embedded["sets"]["a"]["fields"]["x"]["hit_rate"] == 1.0
    assert embedded["sets"]["b"]["fields"]["z"]["hit_rate"] is None


def test_report_as_text() -> None:
    text = report.to_text(EVALUATION)
    lines = text.splitlines()
    assert lines[0] == "3 questions (2 with boxes) about 2 images"
    assert lines[2].split() == "cropper questions hits area whole page median ms p95 ms".split()
    assert lines[3].split() == ["embedded", "3", "50.0%", "40.0%", "33.3%", "30.4", "30.4"]
    assert "b    embedded          1       -  100.0%      100.0%       30.4    30.4" in lines
    assert "a    x              1  100.0% at 10.0%" in lines
    assert "Controls: whole." in text
    assert all(line == line.rstrip() for line in lines)


def test_report_of_one_field_has_one_table() -> None:
    one = Evaluation({"centre": [row()]}, images=1)
    assert report.to_text(one).count("cropper  questions") == 1
    assert "by field" not in report.to_text(one)
