"""Questions and the JSONL format of question sets."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.errors import DataError, ImageError, QuestionError, SourceError
from cropvlm_core.questions import (
    AnsweredQuestion,
    VisualQuestion,
    read_questions,
    write_questions,
)

PAGE = Image.new("RGB", (40, 30), "white")
ROW: dict[str, Any] = {
    "id": "a-1",
    "doc": "a",
    "image": "images/a.png",
    "question": "What is the total?",
    "answers": ["9.00", "RM 9.00"],
    "boxes": [[88.77, 58.84, 95.68, 60.51], [86.61, 69.4, 95.68, 70.98]],
    "primary": [1],
    "context": [10, 69.4, 95.68, 70.98],
    "field": "total",
    "width": 40,
    "height": 30,
    "teacher": {"name": "some model", "score": 0.5},
}


def _write(folder: Path, *rows: object, name: str = "questions.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.mark.parametrize("question", ["", "  \n\t", "x" * 10_001, None, 7, b"What?"])
def test_odd_questions_are_refused(question: Any) -> None:
    with pytest.raises(QuestionError, match="expected") as caught:
        VisualQuestion(PAGE, question)
    assert len(str(caught.value)) < 200


def test_the_question_stays_as_typed() -> None:
    text = " Is it NASA or Nasa?\n"
    assert VisualQuestion(PAGE, text).question == text
    assert VisualQuestion(PAGE, "x" * 10_000).id is None


def test_opening(tmp_path: Path) -> None:
    file = tmp_path / "page.png"
    PAGE.save(file)
    question = VisualQuestion(file, "Total?", id="q")
    opened = question.opened()
    assert opened.open() is opened.open()
    assert opened.opened() is opened
    assert opened == question
    assert question.open() is not question.open()
    other = replace(opened, image=Image.new("RGB", (5, 5)))
    assert other.open().size == (5, 5)
    assert pickle.loads(pickle.dumps(opened)).open().tobytes() == PAGE.tobytes()


def test_opening_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError):
        VisualQuestion(tmp_path / "text.png", "Total?").open()
    with pytest.raises(SourceError):
        VisualQuestion(tmp_path / "none.png", "Total?").open()


def test_the_reference_for_reports() -> None:
    assert VisualQuestion("a/b.png", "?").reference == "a/b.png"
    assert VisualQuestion(Path("a.png"), "?").reference == "a.png"
    assert VisualQuestion(b"bytes", "?").reference is None
    assert VisualQuestion(PAGE, "?").reference is None
    uri = VisualQuestion("data:image/png;base64," + "A" * 500, "?").reference
    assert uri is not None
    assert len(uri) == 60


@pytest.mark.parametrize("page", [0, -3, 1.5, "2", True, None])
def test_odd_pages_are_refused(page: Any) -> None:
    with pytest.raises(ImageError, match="the number of a page, from 1"):
        VisualQuestion(PAGE, "What?", page=page)


def test_a_question_about_a_page(tmp_path: Path) -> None:
    file = tmp_path / "film.gif"
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(file, save_all=True, append_images=frames[1:])
    first, second = (VisualQuestion(file, "What?", page=page) for page in (1, 2))
    assert first.open().getpixel((0, 0)) == (255, 0, 0)
    assert second.opened().open().getpixel((0, 0)) == (0, 255, 0)
    assert first.shown == VisualQuestion(file, "Who?").shown
    assert first.shown != second.shown
    assert first != second
    data = file.read_bytes()
    assert VisualQuestion(data, "a").shown == VisualQuestion(bytes(bytearray(data)), "b").shown
    assert VisualQuestion(PAGE, "a").shown != VisualQuestion(PAGE.copy(), "a").shown
    with pytest.raises(ImageError, match=r"expected page 1 to 3, got page 4: 'film\.gif'"):
        VisualQuestion(file, "What?", page=4).open()


def test_the_page_stands_in_its_row(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    data = (tmp_path / "film.gif").read_bytes()
    questions = [
        AnsweredQuestion("film.gif", "What?", page=2),
        AnsweredQuestion("film.gif", "What?"),
        AnsweredQuestion(data, "What?", page=2),  # written as the picture that is shown
    ]
    write_questions(tmp_path / "rows.jsonl", questions)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row.get("page") for row in rows] == [2, None, None]
    assert [row.page for row in read_questions(tmp_path / "rows.jsonl")] == [2, 1, 1]
    (held,) = list(read_questions(tmp_path / "rows.jsonl"))[2:]
    assert held.open().getpixel((0, 0)) == (0, 255, 0)


def test_reading_a_row(tmp_path: Path) -> None:
    file = _write(tmp_path / "sets", ROW)
    (question,) = read_questions(file)
    assert question.image == tmp_path / "sets" / "images" / "a.png"
    assert question.question == ROW["question"]
    assert question.id == "a-1"
    assert question.doc == "a"
    assert question.answers == ("9.00", "RM 9.00")
    assert question.boxes[1] == Box(0.8661, 0.694, 0.9568, 0.7098)
    assert question.primary == (1,)
    assert question.targets == (question.boxes[1],)
    assert question.context == Box(0.1, 0.694, 0.9568, 0.7098)
    assert (question.field, question.width, question.height) == ("total", 40, 30)
    assert question.set_name == "sets"
    assert question.extra == {"teacher": ROW["teacher"]}


def test_a_bare_row_and_blank_lines(tmp_path: Path) -> None:
    bare = {"image": "data:image/png;base64,AAAA", "question": "What?", "boxes": None}
    _write(tmp_path, bare, "", "  ", {"image": "b.png", "question": "Who?"})
    first, second = read_questions(tmp_path)
    assert first.image == bare["image"]
    assert (first.boxes, first.targets, first.answers, first.id) == ((), (), (), None)
    assert second.image == tmp_path / "b.png"


def test_round_trip(tmp_path: Path) -> None:
    rows = [
        ROW,
        {"image": "b.png", "question": "Où est le prix ?"},
        {"image": "data:image/png;base64,AAAA", "question": "What?"},
        ROW | {"boxes": [[37.89, 8.75, 41.41, 10.42], [0, 0, 100, 100]]},
    ]
    first = list(read_questions(_write(tmp_path / "one", *rows)))
    write_questions(tmp_path / "one" / "again.jsonl", first)
    lines = (tmp_path / "one" / "again.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert list(read_questions(tmp_path / "one" / "again.jsonl")) == first


def test_writing_elsewhere_still_finds_the_images(tmp_path: Path) -> None:
    PAGE.save(_write(tmp_path / "one", ROW | {"image": "a.png"}).parent / "a.png")
    (question,) = read_questions(tmp_path / "one")
    (tmp_path / "two" / "deep").mkdir(parents=True)
    write_questions(tmp_path / "two" / "deep" / "questions.jsonl", [question])
    (moved,) = read_questions(tmp_path / "two" / "deep")
    assert not Path(
        json.loads((tmp_path / "two/deep/questions.jsonl").read_text())["image"]
    ).is_absolute()
    assert moved.open().size == PAGE.size


def test_an_image_in_memory_is_written_as_data_uri(tmp_path: Path) -> None:
    write_questions(tmp_path / "q.jsonl", [AnsweredQuestion(PAGE, "What?", answers=("a",))])
    (question,) = read_questions(tmp_path / "q.jsonl")
    assert question.open().tobytes() == PAGE.tobytes()


def test_a_folder_of_sets_and_the_limit(tmp_path: Path) -> None:
    _write(tmp_path / "b", ROW, ROW, ROW)
    _write(tmp_path / "a", ROW)
    (tmp_path / "empty").mkdir()
    assert [q.set_name for q in read_questions(tmp_path)] == ["a", "b", "b", "b"]
    assert [q.set_name for q in read_questions(tmp_path, limit=2)] == ["a", "b", "b"]
    assert [q.set_name for q in read_questions(tmp_path / "b", limit=1)] == ["b"]


def test_reading_is_lazy(tmp_path: Path) -> None:
    rows = read_questions(_write(tmp_path, ROW, "broken"))
    assert next(rows).id == "a-1"
    with pytest.raises(DataError):
        next(rows)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{broken", "JSON object"),
        ("[1, 2]", "JSON object"),
        ("[" * 100_000, "JSON object"),
        ('{"image": "a.png", "question": "?", "width": ' + "9" * 5000 + "}", "JSON object"),
        ({"question": "What?"}, "image"),
        ({"image": "a.png"}, "question"),
        ({"image": 5, "question": "What?"}, "image"),
        (ROW | {"question": " "}, "blank"),
        (ROW | {"answers": "9.00"}, "answers"),
        (ROW | {"answers": [9]}, "answers"),
        (ROW | {"boxes": [[1, 2, 3]]}, "box"),
        (ROW | {"boxes": [[30, 2, 10, 4]]}, "box"),
        (ROW | {"boxes": [[1, 2, 3, 140]]}, "box"),
        (ROW | {"boxes": [[1, 2, 3, "4"]]}, "box"),
        (ROW | {"boxes": [[1, 2, 3, True]]}, "box"),
        ('{"image": "a", "question": "?", "boxes": [[0, 0, NaN, 5]]}', "box"),
        ('{"image": "a", "question": "?", "boxes": [[0, 0, 1e999, 5]]}', "box"),
        (ROW | {"primary": [2]}, "primary"),
        (ROW | {"primary": [-1]}, "primary"),
        (ROW | {"primary": [True]}, "primary"),
        (ROW | {"context": 5}, "context"),
        (ROW | {"width": "wide"}, "width"),
        (ROW | {"page": "2"}, "page"),
        (ROW | {"page": 0}, "number of a page, from 1, got 0"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, row: object, words: str) -> None:
    file = _write(tmp_path / "sets", ROW, "", row)
    with pytest.raises(DataError, match=words) as caught:
        list(read_questions(file))
    message = str(caught.value)
    assert message.startswith(f"{Path('sets', 'questions.jsonl')}:3: ")
    assert "expected" in message
    assert str(tmp_path) not in message
    assert len(message) < 300


def test_no_question_set(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.jsonl"):
        with pytest.raises(DataError, match=r"questions\.jsonl"):
            list(read_questions(path))


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_bytes(b'{"image": "\xff\xfe"}\n')
    with pytest.raises(DataError, match=":1: "):
        list(read_questions(tmp_path))


def test_hit() -> None:
    answer, twin = Box(0.2, 0.2, 0.4, 0.3), Box(0.7, 0.7, 0.8, 0.8)
    asked = AnsweredQuestion(PAGE, "?", boxes=(answer, twin), primary=(0,))
    assert asked.hit([Box(0.22, 0.2, 0.4, 0.3)]) is True  # exactly 90 %
    assert asked.hit([Box(0.221, 0.2, 0.4, 0.3)]) is False
    assert asked.hit([twin]) is False
    assert asked.hit([twin, answer]) is True
    assert asked.hit([Box(0.2, 0.2, 0.3, 0.3), Box(0.3, 0.2, 0.4, 0.3)]) is False  # one crop
    assert asked.hit([]) is True  # the whole page
    assert AnsweredQuestion(PAGE, "?", boxes=(answer, twin)).hit([twin]) is True
    assert AnsweredQuestion(PAGE, "?").hit([twin]) is None


def test_an_answered_question_can_be_hashed() -> None:
    question = AnsweredQuestion("a.png", "?", extra={"a": 1})
    assert len({question, replace(question)}) == 1
