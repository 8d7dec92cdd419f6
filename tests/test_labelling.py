"""A teacher's boxes: growth, the right frame, and a file that can be gone on with."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cropvlm_core.box import Box, BoxNotation
from cropvlm_core.cropper import FixedCropper, RandomCropper, VLMCropper
from cropvlm_core.errors import DataError, DeadlineError, ModelError, ProposalError, SourceError
from cropvlm_core.questions import VisualQuestion, read_questions
from cropvlm_core.training.growth import AREA_FACTORS, area_factor, area_quintiles, grown_by_area
from cropvlm_core.training.labelling import LabelProgress, grow_labels, label, label_sheet
from cropvlm_core.vlm import ConstantVLM, Conversation

QUINTILES = (0.001, 0.01, 0.05, 0.2)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    def side() -> tuple[float, float]:
        low = draw(st.floats(0, 1 - 1e-4))
        return low, draw(st.floats(low + 5e-5, 1))

    (left, right), (top, bottom) = side(), side()
    return Box(left, top, right, bottom)


@given(boxes())
def test_growth_keeps_the_box_the_page_and_the_factor(box: Box) -> None:
    factor = area_factor(box, QUINTILES)
    grown = grown_by_area(box, QUINTILES)
    assert grown.left <= box.left < box.right <= grown.right
    assert grown.top <= box.top < box.bottom <= grown.bottom
    for raw, side in ((box.width, grown.width), (box.height, grown.height)):
        assert side == pytest.approx(min(1, raw * factor**0.5))
    if max(grown.width, grown.height) < 0.999:
        assert grown.area == pytest.approx(box.area * factor)
    fits = [
        (grown.left > 0 and grown.right < 1, 0),  # neither edge was touched: same centre
        (grown.top > 0 and grown.bottom < 1, 1),
    ]
    for inside, axis in fits:
        assert not inside or grown.centre[axis] == pytest.approx(box.centre[axis])


def test_growth_shifts_at_the_edge_and_keeps_the_size() -> None:
    grown = grown_by_area(Box(0, 0.48, 0.02, 0.5), QUINTILES)  # area 0.0004: times 45
    side = 0.02 * 45**0.5
    assert (grown.left, grown.right) == pytest.approx((0, side))
    assert (grown.top, grown.bottom) == pytest.approx((0.49 - side / 2, 0.49 + side / 2))
    wide = grown_by_area(Box(0.1, 0.9, 0.9, 0.905), QUINTILES)  # area 0.004: times 10
    assert (wide.left, wide.right) == pytest.approx((0, 1))
    assert wide.height == pytest.approx(0.005 * 10**0.5)


def test_the_fifths_are_those_of_the_data() -> None:
    areas = [0.0001 * number for number in range(1, 11)]
    found = [Box(0, 0, area, 1) for area in reversed(areas)]
    quintiles = area_quintiles(found)
    factors = [area_factor(box, quintiles) for box in found]
    assert factors == [1, 1, 2, 2, 4, 4, 10, 10, 45, 45]
    assert AREA_FACTORS == (45, 10, 4, 2, 1)


def test_few_or_equal_boxes_are_no_reason_to_grow() -> None:
    box = Box(0.1, 0.1, 0.2, 0.2)
    assert area_quintiles([]) == (0, 0, 0, 0)
    assert grown_by_area(box, area_quintiles([box])) == box
    assert grown_by_area(box, area_quintiles([box] * 7)) == box


class Pointer:
    """A VLM that finds the dark rectangle in the picture it is sent, and points in its pixels."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        replies = []
        for conversation in conversations:
            (picture,) = conversation.images
            self.sizes.append(picture.size)
            rows, columns = np.nonzero(np.asarray(picture.convert("L")) < 100)
            corner = (columns.max() + 1, rows.max() + 1)
            replies.append(
                f'{{"bbox_2d": [{columns.min()}, {rows.min()}, {corner[0]}, {corner[1]}]}}'
            )
        return replies


def _marked(size: tuple[int, int], box: Box) -> Image.Image:
    page = Image.new("RGB", size, "white")
    left, top, right, bottom = box.to_pixels(size)
    ImageDraw.Draw(page).rectangle((left, top, right - 1, bottom - 1), fill="black")
    return page


@pytest.mark.parametrize("size", [(1700, 2203), (3000, 411), (640, 480), (301, 97)])
@pytest.mark.parametrize("input_size", [None, 512, 1000])
def test_a_box_in_pixels_is_read_in_the_picture_that_was_sent(
    size: tuple[int, int], input_size: int | None
) -> None:
    true = Box(0.6, 0.4, 0.8, 0.7)
    vlm = Pointer()
    cropper = VLMCropper(vlm, BoxNotation.pixels(), input_size=input_size)
    (proposal,) = cropper.propose_batch([VisualQuestion(_marked(size, true), "Where?")])
    (sent,) = vlm.sizes
    if input_size is None:
        assert sent == size
    else:
        assert max(sent) <= input_size
        assert [side % 28 for side in sent] == [0, 0]
        assert 56 * 56 <= sent[0] * sent[1] <= 3584 * 3584  # Qwen2.5-VL resizes outside of these
    (box,) = proposal.boxes
    for name in ("left", "top", "right", "bottom"):
        slack = 1.5 / sent[name in ("top", "bottom")]
        assert getattr(box, name) == pytest.approx(getattr(true, name), abs=slack)


def test_an_upright_page_is_what_the_teacher_sees(tmp_path: Path) -> None:
    true = Box(0.6, 0.4, 0.8, 0.7)
    lying = _marked((400, 900), true).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to show
    lying.save(tmp_path / "a.png", exif=exif)
    cropper = VLMCropper(Pointer(), BoxNotation.pixels(), input_size=448)
    (proposal,) = cropper.propose_batch([VisualQuestion(tmp_path / "a.png", "Where?")])
    assert proposal.boxes[0].iou(true) > 0.95


def test_input_size_scales_down_and_never_up() -> None:
    def sent(notation: BoxNotation, size: tuple[int, int], input_size: int) -> tuple[int, int]:
        vlm = Pointer()
        page = _marked(size, Box(0, 0, 1, 1))
        VLMCropper(vlm, notation, input_size=input_size).propose_batch([VisualQuestion(page, "?")])
        return vlm.sizes[0]

    assert sent(BoxNotation.percent, (1000, 500), 512) == (512, 256)
    assert sent(BoxNotation.percent, (5000, 3), 512) == (512, 1)
    assert sent(BoxNotation.percent, (300, 200), 512) == (300, 200)
    assert sent(BoxNotation.pixels(), (280, 196), 512) == (280, 196)
    assert sent(BoxNotation.pixels(), (20, 10), 512) == (56, 56)
    assert sent(BoxNotation.pixels(), (2001, 2001), 1000) == (980, 980)


def test_input_size_is_checked_and_in_the_version() -> None:
    vlm = ConstantVLM("[1, 2, 3, 4]")
    versions = {VLMCropper(vlm, input_size=size).version for size in (None, 512, 1024)}
    assert len(versions) == 3
    for notation, size in ((BoxNotation.percent, 0), (BoxNotation.pixels(), 55)):
        with pytest.raises(ProposalError, match="input_size"):
            VLMCropper(vlm, notation, input_size=size)


class Scripted:
    """A VLM whose reply depends on the question; an error is raised."""

    def __init__(self, reply: Callable[[str], str | ModelError]) -> None:
        self.answer = reply
        self.calls: list[list[str]] = []

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        asked = [conversation.text.split("\n")[0] for conversation in conversations]
        self.calls.append(asked)
        replies = []
        for question in asked:
            said = self.answer(question)
            if isinstance(said, ModelError):
                raise said
            replies.append(said)
        return replies


def _set(folder: Path, count: int, **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    Image.effect_noise((200, 300), 40).convert("RGB").save(folder / "page.png")
    rows = [{"id": f"q{n}", "image": "page.png", "question": f"{n}?"} | more for n in range(count)]
    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def _widening(question: str) -> str:
    """Boxes of 1 x 1, 2 x 1, 3 x 1 percent ..., in the middle of the page."""
    return f"[40, 50, {41 + int(question[:-1])}, 51]."


def test_rows_keep_what_they_said_and_get_the_teachers_box(tmp_path: Path) -> None:
    data = _set(
        tmp_path / "data",
        5,
        answers=["é"],
        boxes=[[1, 2, 3, 4], [5, 6, 7, 8]],
        primary=[1],
        context=[0, 2, 3, 4],
        field="total",
        note={"by": "hand"},
    )
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "labelled.jsonl"
    teacher = VLMCropper(Scripted(_widening), name="openai:some/model@http://10.0.0.7:8000/v1")
    label(read_questions(data), teacher, out)
    assert all("boxes" not in row for row in _rows(out))  # nothing half done to train on
    report = grow_labels(out)
    first, *_, last = _rows(out)
    assert {key: first[key] for key in ("id", "question", "answers", "field", "note")} == {
        "id": "q0",
        "question": "0?",
        "answers": ["é"],
        "field": "total",
        "note": {"by": "hand"},
    }
    assert first["image"] == "../data/page.png"
    assert first["true_boxes"] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert (first["true_primary"], first["true_context"]) == ([1], [0, 2, 3, 4])
    assert first["teacher"] == "openai:some/model"
    assert "10.0.0.7" not in out.read_text()
    assert (first["teacher_box"], first["teacher_text"]) == ([40, 50, 41, 51], "[40, 50, 41, 51].")
    assert (first["growth"], last["growth"]) == (45, 1)
    side = 45**0.5
    grown = [40.5 - side / 2, 50.5 - side / 2, 40.5 + side / 2, 50.5 + side / 2]
    assert first["boxes"] == [pytest.approx(grown)]
    assert last["boxes"] == [last["teacher_box"]]
    assert (report.labelled, report.refused) == (5, {})
    assert report.area_before == pytest.approx(0.0003)
    assert report.area_after == pytest.approx(0.0012)
    (again, *_) = read_questions(out)
    assert again.open().size == (200, 300)
    assert again.boxes[0].area == pytest.approx(0.0045)
    assert (again.primary, again.context) == ((), None)


def test_growth_is_made_from_the_raw_boxes_each_time(tmp_path: Path) -> None:
    data, out = _set(tmp_path, 5), tmp_path / "out.jsonl"
    label(read_questions(data), VLMCropper(Scripted(_widening)), out)
    grow_labels(out)
    grown = out.read_bytes()
    plain = grow_labels(out, growth=False)
    assert [row["boxes"] for row in _rows(out)] == [[row["teacher_box"]] for row in _rows(out)]
    assert plain.area_before == plain.area_after
    grow_labels(out)
    assert out.read_bytes() == grown
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "out.jsonl",
        "page.png",
        "questions.jsonl",
    ]


def test_refusals_are_rows(tmp_path: Path) -> None:
    said = ["No zoom needed.", "I cannot.", "[0, 0, 100, 100].", "[10, 10, 12, 12].", "\ud800"]
    data, out = _set(tmp_path, 5), tmp_path / "out.jsonl"
    teacher = VLMCropper(Scripted(lambda question: said[int(question[:-1])]))
    label(read_questions(data), teacher, out, batch=2)
    report = grow_labels(out)
    rows = _rows(out)
    assert [row.get("reason") for row in rows] == [
        "no_zoom_needed",
        "unreadable",
        "no_zoom_needed",
        None,
        "unreadable",
    ]
    assert [row["teacher_text"] for row in rows] == said
    assert [len(question.boxes) for question in read_questions(out)] == [0, 0, 0, 1, 0]
    assert rows[2]["teacher_box"] == [0, 0, 100, 100]
    assert (report.labelled, report.refused) == (1, {"no_zoom_needed": 2, "unreadable": 2})


def test_a_box_that_grows_to_the_whole_page_is_no_crop(tmp_path: Path) -> None:
    data, out = _set(tmp_path, 5), tmp_path / "out.jsonl"
    teacher = VLMCropper(Scripted(lambda question: f"[20, 20, {80 + int(question[:-1])}, 80]."))
    label(read_questions(data), teacher, out)
    report = grow_labels(out)
    assert (report.labelled, report.refused) == (2, {"no_zoom_needed": 3})
    assert [row.get("growth") for row in _rows(out)] == [None, None, None, 2, 1]


def test_going_on_asks_only_what_is_missing(tmp_path: Path) -> None:
    data, out = _set(tmp_path, 7), tmp_path / "out.jsonl"
    seen: list[LabelProgress] = []
    vlm = Scripted(_widening)
    label(read_questions(data, 3), VLMCropper(vlm), out, batch=2)
    grow_labels(out)
    label(read_questions(data), VLMCropper(vlm), out, batch=2, progress=seen.append)
    grow_labels(out)
    assert vlm.calls == [["0?", "1?"], ["2?"], ["3?", "4?"], ["5?", "6?"]]
    assert seen == [LabelProgress(3, 0, 0), LabelProgress(5, 0, 2), LabelProgress(7, 0, 4)]
    at_once = tmp_path / "at_once.jsonl"
    label(read_questions(data), VLMCropper(Scripted(_widening)), at_once)
    grow_labels(at_once)
    assert out.read_bytes() == at_once.read_bytes()
    label(read_questions(data), VLMCropper(vlm), out)
    assert len(vlm.calls) == 4


@pytest.mark.parametrize("left", [1, 30, -1])  # bytes of the last line; -1: all but its newline
@pytest.mark.parametrize("whole", [0, 2])
def test_a_torn_last_line_is_done_again(tmp_path: Path, whole: int, left: int) -> None:
    data, out = _set(tmp_path, 3), tmp_path / "out.jsonl"
    vlm = Scripted(_widening)
    label(read_questions(data), VLMCropper(vlm), out)
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:whole]) + lines[whole][:left])
    label(read_questions(data), VLMCropper(vlm), out)
    assert vlm.calls[1:] == [["0?", "1?", "2?"][whole:]]
    assert out.read_bytes() == b"".join(lines)


def test_equal_rows_and_equal_ids_of_two_sets_are_questions_of_their_own(tmp_path: Path) -> None:
    row = {"id": "1", "image": "page.png", "question": "What?"}
    for name in ("a", "b"):
        file = _set(tmp_path / name, 0)
        file.write_text(f"{json.dumps(row)}\n" * 2)
    out = tmp_path / "out.jsonl"
    for _ in range(2):
        label(read_questions(tmp_path), FixedCropper(Box(0, 0, 0.5, 0.5)), out, batch=1)
        assert [row["image"] for row in _rows(out)] == ["a/page.png"] * 2 + ["b/page.png"] * 2


@pytest.mark.parametrize(
    "other",
    [
        VLMCropper(ConstantVLM("[1, 2, 3, 4]."), name="b"),
        VLMCropper(ConstantVLM("[1, 2, 3, 4]."), BoxNotation.per_mille, name="a"),
        VLMCropper(ConstantVLM("[1, 2, 3, 4]."), input_size=512, name="a"),
        RandomCropper(1),
    ],
)
def test_another_teacher_is_refused(tmp_path: Path, other: VLMCropper | RandomCropper) -> None:
    data, out = _set(tmp_path, 2), tmp_path / "out.jsonl"
    label(read_questions(data, 1), VLMCropper(ConstantVLM("[1, 2, 3, 4]."), name="a"), out)
    before = out.read_bytes()
    with pytest.raises(DataError, match="expected a file by"):
        label(read_questions(data), other, out)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    "alien",
    [
        '{"image": "page.png", "question": "What?"}\n',
        '{"image": "page.png", "question": "What?"}',
        "a letter",
        "\n",
        "[1]\n",
        "[" * 100_000 + "\n",
    ],
)
def test_a_file_that_is_not_ours_stays_as_it_is(tmp_path: Path, alien: str) -> None:
    data, out = _set(tmp_path, 2), tmp_path / "out.jsonl"
    out.write_text(alien)
    with pytest.raises(DataError, match="expected"):
        label(read_questions(data), FixedCropper(None), out)
    with pytest.raises(DataError, match="expected"):
        grow_labels(out)
    assert out.read_text() == alien


def test_labelling_what_a_teacher_labelled_keeps_the_true_boxes(tmp_path: Path) -> None:
    data, one, two = _set(tmp_path, 2, boxes=[[1, 2, 3, 4]]), tmp_path / "1", tmp_path / "2"
    label(read_questions(data), FixedCropper(Box(0.2, 0.2, 0.4, 0.4)), one)
    grow_labels(one)
    label(read_questions(one), FixedCropper(None), two)
    grow_labels(two)
    for row in _rows(two):
        assert row["true_boxes"] == [[1, 2, 3, 4]]
        assert (row["teacher"], row["reason"]) == ("whole", "no_zoom_needed")
        assert not {"boxes", "teacher_box", "growth"} & set(row)


def test_a_question_that_fails_alone_is_a_row(tmp_path: Path) -> None:
    errors = {"1?": ModelError("refused by a filter"), "4?": DeadlineError("too slow")}
    data, out = _set(tmp_path, 5), tmp_path / "out.jsonl"
    vlm = Scripted(lambda question: errors.get(question) or _widening(question))
    label(read_questions(data), VLMCropper(vlm), out, batch=2)
    rows = _rows(out)
    assert [row.get("reason") for row in rows] == [None, "failed", None, None, "timed_out"]
    assert rows[1]["teacher_error"] == "refused by a filter"
    assert grow_labels(out).refused == {"failed": 1, "timed_out": 1}


def test_the_last_question_fails_alone_after_going_on(tmp_path: Path) -> None:
    data, out = _set(tmp_path, 3), tmp_path / "out.jsonl"
    vlm = Scripted(lambda question: ModelError("no") if question == "2?" else _widening(question))
    label(read_questions(data, 2), VLMCropper(vlm), out)
    label(read_questions(data), VLMCropper(vlm), out)
    assert _rows(out)[2]["reason"] == "failed"


def test_a_teacher_that_is_down_stops_the_run(tmp_path: Path) -> None:
    data, out = _set(tmp_path, 9), tmp_path / "out.jsonl"
    up = True

    def reply(question: str) -> str | ModelError:
        nonlocal up
        up = up and question != "5?"
        return _widening(question) if up else ModelError("no connection")

    with pytest.raises(ModelError, match="no connection"):
        label(read_questions(data), VLMCropper(Scripted(reply)), out, batch=2)
    assert [row["id"] for row in _rows(out)] == ["q0", "q1", "q2", "q3"]
    up = True
    label(read_questions(data, 5), VLMCropper(Scripted(reply)), out, batch=2)
    assert len(_rows(out)) == 5


@pytest.mark.parametrize(("error", "calls"), [(ModelError("no"), 5), (DeadlineError("no"), 2)])
def test_a_teacher_that_was_never_up(tmp_path: Path, error: ModelError, calls: int) -> None:
    data, out = _set(tmp_path, 9), tmp_path / "out.jsonl"
    vlm = Scripted(lambda _: error)
    with pytest.raises(ModelError, match="no"):
        label(read_questions(data), VLMCropper(vlm), out, batch=4)
    assert len(vlm.calls) == calls
    assert out.read_bytes() == b""


def test_a_missing_image_stops_the_run(tmp_path: Path) -> None:
    data, out = _set(tmp_path, 2), tmp_path / "out.jsonl"
    (tmp_path / "page.png").unlink()
    with pytest.raises(SourceError, match=r"page\.png"):
        label(read_questions(data), VLMCropper(ConstantVLM("[1, 2, 3, 4].")), out)


def test_the_sheet_shows_both_boxes(tmp_path: Path) -> None:
    data, out = _set(tmp_path, 5), tmp_path / "out.jsonl"
    label(read_questions(data), VLMCropper(Scripted(_widening)), out)
    grow_labels(out)
    colours = np.unique(np.asarray(label_sheet(out)).reshape(-1, 3).astype(int), axis=0)
    assert [220, 30, 60] in colours.tolist()  # the grown box
    red, green, blue = colours.T
    assert ((green > red + 60) & (green > blue + 60)).any()  # the teacher's
    assert len(np.unique(np.asarray(label_sheet(_set(tmp_path, 1))))) == 1  # nothing labelled


def test_labelling_needs_no_torch() -> None:
    code = (
        "import sys, cropvlm_core.training.labelling\n"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'openai'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
