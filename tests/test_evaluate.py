"""Evaluation from end to end, with figures that can be worked out by hand."""

import json
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.cropper import Cropper, FixedCropper, Proposal, ZoomRules
from cropvlm_core.errors import DataError, ImageError, ModelError, SpecError
from cropvlm_core.evaluation import report
from cropvlm_core.evaluation.evaluate import evaluate, read_results
from cropvlm_core.evaluation.rows import read_rows
from cropvlm_core.evaluation.run import PATIENCE, Progress
from cropvlm_core.evaluation.views import OPTIONAL
from cropvlm_core.questions import AnsweredQuestion, VisualQuestion
from cropvlm_core.vlm import Conversation

TOP = Box(0.0, 0.0, 1.0, 0.25)
LEFT = Box(0.0, 0.0, 0.5, 1.0)
CORNERS = {
    "red": Box(0.0, 0.0, 0.2, 0.2),
    "green": Box(0.8, 0.0, 1.0, 0.2),
    "blue": Box(0.0, 0.8, 0.2, 1.0),
    "gold": Box(0.8, 0.8, 1.0, 1.0),
}


def write_set(folder: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write a question set whose images are 100 x 200 pixels."""
    folder.mkdir(parents=True)
    for name in {str(line["image"]) for line in rows}:
        Image.new("RGB", (100, 200), "white").save(folder / name)
    lines = "".join(json.dumps({"question": "What?", **line}) + "\n" for line in rows)
    (folder / "questions.jsonl").write_text(lines)
    return folder


def corner_set(folder: Path, pages: int = 6) -> Path:
    """Write pages with a coloured square in each corner; two questions a page ask for one."""
    folder.mkdir(parents=True)
    rows = []
    for page in range(pages):
        picture = Image.new("RGB", (200, 200), "white")
        for colour, box in CORNERS.items():
            picture.paste(colour, box.to_pixels(picture.size))
        picture.save(folder / f"{page}.png")
        for n in range(2):
            colour = list(CORNERS)[(page + n) % 4]
            box = CORNERS[colour]
            sides = [100 * side for side in (box.left, box.top, box.right, box.bottom)]
            asked = {"doc": str(page), "image": f"{page}.png", "boxes": [sides]}
            asked |= {"question": f"Is there {colour}?", "answers": [colour], "field": colour}
            rows.append(json.dumps(asked))
    (folder / "questions.jsonl").write_text("\n".join(rows) + "\n")
    return folder


class CornerCropper(Cropper):
    """Reads the colour off the question and knows where it is."""

    name = "corner"
    rules = ZoomRules()

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        return [
            Proposal((CORNERS[question.question.split()[-1].rstrip("?")],), (0.5,))
            for question in questions
        ]


class ColourReader:
    """Names the colour that fills most of a picture, the white of a page left out.

    A page of several colours is too much for it: it sees what fills half of a picture.
    """

    def __init__(self) -> None:
        self.sizes: list[list[tuple[int, int]]] = []

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        self.sizes += [[picture.size for picture in each.images] for each in conversations]
        return [self._see(each) for each in conversations]

    def _see(self, conversation: Conversation) -> str:
        for picture in conversation.images:
            counts = picture.resize((20, 20), Image.Resampling.NEAREST).getcolors() or []
            for colour in CORNERS:
                code = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
                if sum(count for count, seen in counts if seen == code) > 200:
                    return colour
        return "nothing"


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


def cells(folder: Path, view: str) -> list[Any]:
    return [row["views"][view] for row in read_rows(folder)]


def test_gains_and_controls_by_hand(tmp_path: Path) -> None:
    data = corner_set(tmp_path / "corners")
    reader = ColourReader()
    results = evaluate(
        data, {"mine": CornerCropper()}, reader, out=tmp_path / "run", metric="exact_match"
    )
    score = {each.view: each.figures.score for each in results.views}
    means = {view: None if value is None else value.mean for view, value in score.items()}
    assert means == {
        "no crop": 0.0,
        "page twice": 0.0,
        "centre": 0.0,
        "random": pytest.approx(0.0, abs=0.3),
        "mine": 1.0,
        # the crop is of another corner: of another page, or of the same page's other question
        "mine, shuffled": pytest.approx(0.0, abs=0.4),
        "mine, crop alone": 1.0,
        "true box": 1.0,
    }
    duel = results.comparison("mine")
    assert (duel.rescued, duel.harmed, duel.both_right, duel.both_wrong) == (12, 0, 0, 0)
    assert duel.difference.mean == 1.0
    assert duel.p < 0.05
    assert results.comparison("mine", "true box").difference.mean == 0.0
    assert results.figures("mine", set_name="corners", field="red").questions == 3
    assert (results.questions, results.boxed, results.images) == (12, 12, 6)
    assert results.complete
    written = read_results(tmp_path / "run")
    assert written["views"][4]["figures"]["hit_rate"]["mean"] == 1.0
    assert written["metric"] == "exact_match"
    assert json.loads(json.dumps(results.to_dict())) == written


def test_what_the_target_is_shown(tmp_path: Path) -> None:
    data = corner_set(tmp_path / "corners", pages=1)
    reader = ColourReader()
    evaluate(data, {"mine": CornerCropper()}, reader, out=tmp_path / "run", target_size=100)
    shown = {
        view: (cell["page_size"], cell["crop_sizes"])
        for view, cell in next(iter(read_rows(tmp_path / "run")))["views"].items()
    }
    assert shown["no crop"] == ([100, 100], [])
    assert shown["page twice"] == ([100, 100], [[100, 100]])
    assert shown["centre"] == ([100, 100], [[100, 100]])
    assert shown["mine"] == ([100, 100], [[40, 40]])  # scaled down only, never up
    assert shown["mine, crop alone"] == (None, [[40, 40]])
    # 100 x 100 + 40 x 40 pixels are 107.7 x 107.7
    assert shown["mine, equal cost"] == ([107, 107], [])
    # What was asked is what the rows say.
    assert [(100, 100), (40, 40)] in reader.sizes
    assert [(107, 107)] in reader.sizes


def test_equal_views_are_asked_once(tmp_path: Path) -> None:
    data = write_set(tmp_path / "s", [{"image": "a.png"}])
    reader = ColourReader()
    evaluate(
        data, {"whole": FixedCropper(None)}, reader, without=["page twice", "centre", "random"]
    )
    assert reader.sizes == [[(100, 200)]]


def test_hits_areas_and_reasons_are_those_of_the_crops(tmp_path: Path) -> None:
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
    results = evaluate(folder, {"mine": cropper}, max_crops=2, out=tmp_path / "run")
    mine = cells(tmp_path / "run", "mine")
    assert [one["hit"] for one in mine] == [True, False, True, True, None]
    # TOP and LEFT share an eighth of the page: 1/4 + 1/2 - 1/8
    assert [one["area"] for one in mine] == pytest.approx([0.25, 0.25, 0.625, 1.0, 0.25])
    assert [one["reason"] for one in mine] == [None, None, None, "unreadable", None]
    # The middle of TOP is (0.5, 0.125); where there is no proposal or no box, nothing points.
    assert [one["pointing"] for one in mine] == [False, False, False, None, None]
    assert all(one["crop_seconds"] > 0 for one in mine)
    assert all(one["answer"] is None and one["score"] is None for one in mine)
    by_field = results.figures("mine", set_name="bills", field="x")
    assert by_field.hit_rate is not None
    assert (by_field.questions, by_field.hit_rate.mean) == (2, 0.5)
    everything = results.figures("mine")
    assert everything.fallback_rate == pytest.approx(0.2)
    assert everything.score is None
    assert results.comparisons == ()
    assert results.figures("no crop").no_zoom_rate == 0.0


def test_shuffled_boxes_come_from_other_pages(tmp_path: Path) -> None:
    boxes: dict[str, tuple[Box, ...]] = {
        f"{n}": (Box(n / 40, 0.0, (n + 12) / 40, 0.5),) for n in range(27)
    }
    rows = [{"image": f"{n // 3}.png", "question": f"{n}"} for n in range(27)]
    folder = write_set(tmp_path / "s", rows)
    evaluate(folder, {"mine": CountingCropper(boxes)}, out=tmp_path / "run")
    given = []
    for row in read_rows(tmp_path / "run"):
        left = row["views"]["mine, shuffled"]["crops"][0][0]
        given.append(round(left * 40))
        assert given[-1] // 3 != int(row["question"]) // 3
        assert row["views"]["mine, shuffled"]["crop_seconds"] is None
    assert sorted(given) == list(range(27))  # each box is given once


def test_one_question_has_nobody_to_swap_with(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", [{"image": "a.png"}])
    results = evaluate(folder, {"mine": FixedCropper(TOP)})
    assert "mine, shuffled" not in [each.view for each in results.views]


def test_one_warm_up_and_one_decoding_for_neighbours(tmp_path: Path) -> None:
    rows = [{"image": f"{page}.png", "question": f"{page}{n}"} for page in "ab" for n in range(3)]
    folder = write_set(tmp_path / "s", rows)
    cropper = CountingCropper({str(line["question"]): (TOP,) for line in rows})
    evaluate(folder, {"mine": cropper})
    assert cropper.asked == ["a0", "a0", "a1", "a2", "b0", "b1", "b2"]
    assert len(set(cropper.images[:4])) == 1
    assert len(set(cropper.images[4:])) == 1


def test_images_are_let_go(tmp_path: Path) -> None:
    class Watching(CountingCropper):
        def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
            seen.append(weakref.ref(questions[0].open()))
            alive.append(len({id(image) for ref in seen if (image := ref()) is not None}))
            return super().propose_batch(questions)

    seen: list[weakref.ref[Image.Image]] = []
    alive: list[int] = []
    folder = write_set(tmp_path / "s", [{"image": f"{number}.png"} for number in range(6)])
    evaluate(folder, {"mine": Watching({"What?": (TOP,)})})
    assert len(alive) == 7
    assert max(alive) == 1


def test_a_broken_image_is_counted_and_told(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", [{"image": "a.png"}, {"image": "b.png"}, {"image": "c.png"}])
    (folder / "b.png").write_bytes(b"no image")
    results = evaluate(folder, {"mine": FixedCropper(TOP)}, out=tmp_path / "run")
    assert (results.questions, results.failed, results.complete) == (2, 1, False)
    assert "1 questions failed" in report.to_text(results)
    Image.new("RGB", (100, 200)).save(folder / "b.png")
    again = evaluate(folder, {"mine": FixedCropper(TOP)}, out=tmp_path / "run")
    assert (again.questions, again.failed, again.complete) == (3, 0, True)
    assert [row["number"] for row in read_rows(tmp_path / "run")] == [1, 3, 2]


def test_nothing_but_failures_is_an_error(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", [{"image": f"{n}.png"} for n in range(PATIENCE + 2)])
    for file in folder.glob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(ImageError):
        evaluate(folder, {"mine": FixedCropper(TOP)})


class Failing(ColourReader):
    """Down for the first ``failures`` calls."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        if self.failures:
            self.failures -= 1
            raise ModelError("expected an answer, got HTTP 503")
        return super().reply(conversations)


def test_a_target_that_fails_now_and_then_is_asked_again(tmp_path: Path) -> None:
    data = corner_set(tmp_path / "corners")
    target = Failing(PATIENCE - 1)
    first = evaluate(data, {"mine": CornerCropper()}, target, out=tmp_path / "run")
    assert (first.questions, first.failed) == (8, 4)
    again = evaluate(data, {"mine": CornerCropper()}, target, out=tmp_path / "run")
    assert (again.questions, again.failed) == (12, 0)
    assert len(list(read_rows(tmp_path / "run"))) == 12


def test_a_target_that_is_down_ends_it_and_keeps_the_rows(tmp_path: Path) -> None:
    data = corner_set(tmp_path / "corners")
    target = ColourReader()
    evaluate(data, {"mine": CornerCropper()}, target, out=tmp_path / "run", limit=3)
    with pytest.raises(ModelError, match="503"):
        evaluate(data, {"mine": CornerCropper()}, Failing(99), out=tmp_path / "run2")
    # The target's class is its name; another one is another evaluation.
    with pytest.raises(DataError, match="ColourReader"):
        evaluate(data, {"mine": CornerCropper()}, Failing(99), out=tmp_path / "run")
    assert len(list(read_rows(tmp_path / "run"))) == 3


def test_going_on_asks_only_what_is_missing(tmp_path: Path) -> None:
    def until_five(progress: Progress) -> None:
        if progress.done == 5:
            raise KeyboardInterrupt

    data = corner_set(tmp_path / "corners")
    with pytest.raises(KeyboardInterrupt):
        evaluate(
            data, {"mine": CornerCropper()}, ColourReader(), out=tmp_path / "run",
            progress=until_five,
        )  # fmt: skip
    whole = evaluate(data, {"mine": CornerCropper()}, ColourReader(), out=tmp_path / "once")
    reader = ColourReader()
    seen: list[Progress] = []
    on = evaluate(
        data, {"mine": CornerCropper()}, reader, out=tmp_path / "run", progress=seen.append
    )
    assert [each.done for each in seen] == list(range(6, 13))
    assert seen[-1].total == 12
    assert seen[-1].seconds_left == 0
    assert seen[-1].gains == {"mine": 0.0 if on.comparison("mine").difference.mean == 0 else 1.0}
    assert [row["question"] for row in read_rows(tmp_path / "run")] == [
        row["question"] for row in read_rows(tmp_path / "once")
    ]
    for view in ("no crop", "mine", "mine, shuffled", "random"):
        assert cell_facts(tmp_path / "run", view) == cell_facts(tmp_path / "once", view)
    assert on.comparisons == whole.comparisons
    fewer = evaluate(data, {"mine": CornerCropper()}, reader, out=tmp_path / "run", limit=5)
    assert fewer.questions == 5  # the other rows stay, and are not counted


def cell_facts(folder: Path, view: str) -> list[tuple[Any, ...]]:
    return [(one["crops"], one["answer"], one["score"]) for one in cells(folder, view)]


def test_another_metric_needs_no_target(tmp_path: Path) -> None:
    data = corner_set(tmp_path / "corners")
    croppers = {"mine": CornerCropper()}
    evaluate(data, croppers, ColourReader(), out=tmp_path / "run", metric="exact_match")
    reader = ColourReader()
    again = evaluate(data, croppers, reader, out=tmp_path / "run", metric="contains")
    assert reader.sizes == []
    assert again.settings["metric"] == "contains"
    assert again.comparison("mine").rescued == 12


def test_twins_are_two_questions(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", [{"image": "a.png"}] * 3)
    results = evaluate(folder, {"mine": FixedCropper(TOP)}, out=tmp_path / "run")
    assert results.questions == 3
    assert len({row["key"] for row in read_rows(tmp_path / "run")}) == 3


def test_questions_in_memory(tmp_path: Path) -> None:
    picture = Image.new("RGB", (10, 10))
    asked = [
        AnsweredQuestion(picture, f"What {n}?", boxes=(Box(0, 0, 0.1, 0.1),)) for n in range(3)
    ]
    results = evaluate(asked, {"mine": FixedCropper(TOP)}, out=tmp_path / "run")
    assert results.views[0].sets.keys() == {""}
    assert results.questions == 3


def test_views_can_be_left_out(tmp_path: Path) -> None:
    data = corner_set(tmp_path / "corners", pages=2)
    results = evaluate(data, {"mine": CornerCropper()}, ColourReader(), without=OPTIONAL)
    assert [each.view for each in results.views] == ["no crop", "mine"]
    with pytest.raises(DataError, match="expected views of"):
        evaluate(data, {"mine": CornerCropper()}, without=["no crop"])


def test_a_control_asked_for_as_cropper_is_shown_once(tmp_path: Path) -> None:
    data = corner_set(tmp_path / "corners", pages=2)
    results = evaluate(data, ["centre", "random:4"], seed=4)
    names = [each.view for each in results.views if each.kind in ("control", "cropper")]
    assert names == ["page twice", "centre", "random:4"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metric": "nonsense"}, "expected a metric of"),
        ({"token_rule": "nonsense"}, "expected a token rule of"),
    ],
)
def test_names_that_do_not_exist(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=expected):
        evaluate(corner_set(tmp_path / "s"), {"mine": CornerCropper()}, **changes)


def test_unknown_croppers_and_empty_data(tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        evaluate(corner_set(tmp_path / "s"), ["nonsense"])
    with pytest.raises(DataError, match="at least one question"):
        evaluate([], {"mine": FixedCropper(TOP)})


def test_image_tokens_and_points_for_them(tmp_path: Path) -> None:
    data = corner_set(tmp_path / "corners")
    results = evaluate(
        data,
        {"mine": CornerCropper()},
        ColourReader(),
        out=tmp_path / "run",
        token_rule="gpt-4o",
        metric="exact_match",
    )
    # One tile of 512 pixels: 85 + 170 tokens a picture.
    assert results.figures("no crop").tokens == 255
    mine = results.figures("mine")
    assert (mine.tokens, mine.added_tokens) == (510, 255)
    assert mine.points_per_100_tokens == pytest.approx(100 / 2.55)
    assert results.figures("mine, crop alone").points_per_100_tokens is None
    assert "points/100 tokens" in report.to_text(results)


@pytest.mark.slow
def test_kills_lose_no_row_and_double_none(tmp_path: Path) -> None:
    count = 300
    rows = [{"image": f"{n % 10}.png", "question": f"{n}?", "answers": ["1"]} for n in range(count)]
    folder = write_set(tmp_path / "s", rows)
    command = [sys.executable, "-c", "from cropvlm_core.cli import main; raise SystemExit(main())"]
    command += ["evaluate", str(folder)]
    command += ["--target", "constant:1", "--cropper", "centre", "--out", str(tmp_path / "run")]
    file = tmp_path / "run" / "rows.jsonl"
    killed = 0
    for kill in range(1, 4):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                lines = file.read_bytes().count(b"\n") if file.exists() else 0
                if lines >= kill * count // 4:
                    os.kill(process.pid, signal.SIGKILL)
                    killed += 1
                    break
                time.sleep(0.002)
    assert killed == 3
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert f"{count} questions" in done.stdout
    numbers = [row["number"] for row in read_rows(tmp_path / "run")]
    assert numbers == list(range(1, count + 1))
