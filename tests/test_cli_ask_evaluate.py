"""``cropvlm ask`` and ``cropvlm evaluate`` in this process."""

import io
import json
import sys
from pathlib import Path

import pytest

from tests import bad_input
from tests.chat_server import ChatServer, says
from tests.cli_calls import KEYS, one_line_error, run


def test_ask_prints_the_answer_alone(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", page, "What?", "--model", "constant:12.90", "--cropper", "centre") == 0
    told = capsys.readouterr()
    assert told.out == "12.90\n"
    assert "the whole page and a crop of 25.0% of it" in told.err


def test_ask_sends_page_crop_and_question(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer(says("12.90")) as server:
        model = f"openai:my/model@{server.url}"
        words = ["--model", model, "--cropper", "centre", "--json"]
        assert run("ask", page, "What is the total?", *words) == 0
        told = json.loads(capsys.readouterr().out)
        assert run("ask", page, "What is the total?", *words, "--no-zoom") == 0
        alone = json.loads(capsys.readouterr().out)
    assert set(told) == KEYS | {"answer", "model"}
    assert (told["answer"], told["model"], told["cropper"]) == ("12.90", model, "centre")
    assert (alone["zoomed"], alone["cropper"], alone["answer"]) == (False, "whole", "12.90")
    with_crop, without = (body["messages"][0]["content"] for body in server.requests)
    assert [part["type"] for part in with_crop] == ["image_url", "image_url", "text"]
    assert [part["type"] for part in without] == ["image_url", "text"]
    assert with_crop[-1]["text"] == "What is the total?\nGive a very brief answer."
    assert server.requests[0]["model"] == "my/model"


@pytest.fixture
def question_set(tmp_path: Path) -> Path:
    folder = tmp_path / "bills"
    folder.mkdir()
    bad_input.page(folder)
    rows = [
        {"image": "page.png", "question": "One?", "boxes": [[30, 30, 40, 40]], "field": "in"},
        {"image": "page.png", "question": "Two?", "boxes": [[0, 0, 9, 9]], "field": "out"},
        {"image": "page.png", "question": "Three?", "field": "out"},
    ]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_evaluate_adds_the_controls(question_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", question_set, "--cropper", "centre, random:3", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["questions"], told["boxed"], told["images"]) == (3, 2, 1)
    assert (told["limit"], told["max_crops"]) == (None, 1)
    names = [(one["cropper"], one["control"]) for one in told["croppers"]]
    assert names == [("centre", True), ("random:3", False), ("whole", True), ("random", True)]
    centre = told["croppers"][0]
    assert centre["figures"]["hit_rate"] == 0.5
    assert centre["figures"]["mean_area"] == pytest.approx(0.25)
    assert centre["sets"]["bills"]["fields"]["out"]["hit_rate"] == 0.0


def test_evaluate_prints_a_table(question_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", question_set / "questions.jsonl", "--cropper", "centre") == 0
    told = capsys.readouterr()
    assert told.err == ""  # no progress where nobody watches
    assert "3 questions (2 with boxes) about 1 images" in told.out
    assert "median ms" in told.out
    assert run("evaluate", question_set, "--cropper", "centre", "--limit", 1) == 0
    assert "1 questions (1 with boxes)" in capsys.readouterr().out


def test_evaluate_shows_progress_to_a_terminal(
    question_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run("evaluate", question_set, "--cropper", "centre") == 0
    assert "question 3 (bills)" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize("what", ["nowhere", "empty", "broken"])
def test_evaluate_refuses_what_is_no_set(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / what
    if what == "empty":
        data.write_text("\n")
    if what == "broken":
        data.write_text('{"image": "a.png"}\n')
    assert run("evaluate", data, "--cropper", "centre") == 2
    assert "expected" in one_line_error(capsys)
