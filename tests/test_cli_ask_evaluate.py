"""``cropvlm ask`` and ``cropvlm evaluate`` in this process."""

import io
import json
import sys
from pathlib import Path

import pytest

from cropvlm_core.evaluation.run import Progress
from tests import bad_input, printed
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
    assert (told["data"], told["target"], told["max_crops"]) == ("bills", None, 1)
    names = [(one["view"], one["kind"]) for one in told["views"]]
    assert names[:5] == [
        ("no crop", "baseline"),
        ("page twice", "control"),
        ("random", "control"),
        ("centre", "cropper"),
        ("centre, shuffled", "shuffled"),
    ]
    centre = told["views"][3]
    assert centre["figures"]["hit_rate"]["mean"] == 0.5
    assert centre["figures"]["area"] == pytest.approx(0.25)
    assert centre["sets"]["bills"]["fields"]["out"]["hit_rate"]["mean"] == 0.0


def test_evaluate_prints_a_table(question_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", question_set / "questions.jsonl", "--cropper", "centre") == 0
    told = capsys.readouterr()
    assert told.err == ""  # no progress where nobody watches
    assert "3 questions (2 with boxes) about 1 images" in told.out
    assert "points inside" in told.out
    assert "rescued  harmed" not in told.out
    assert run("evaluate", question_set, "--cropper", "centre", "--limit", 1) == 0
    assert "1 questions (1 with boxes)" in capsys.readouterr().out


def test_evaluate_with_a_target_on_a_server(
    question_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with ChatServer(says("12.90")) as server:
        words = ["--target", f"openai:gpt-4o@{server.url}", "--cropper", "centre", "--out", out]
        words += ["--without", "random, crop alone", "--target-size", 64, "--seed", 3]
        assert run("evaluate", question_set, *words) == 0
        told = capsys.readouterr().out
        asked = len(server.requests)
        assert run("evaluate", question_set, *words) == 0
        assert len(server.requests) == asked  # everything is there already
        assert capsys.readouterr().out == told
    # no crop, page twice, centre, its shuffle (all the same box: once), equal cost, true box
    assert asked == 3 * 4 + 2
    assert f"target openai:gpt-4o@{server.url}, each picture at 64 pixels" in told
    assert "tokens: image tokens by the rule gpt-4o." in told
    assert {file.name for file in out.iterdir()} == {
        "settings.json", "rows.jsonl", "results.json", "report.html",
    }  # fmt: skip
    assert "report.html" in told


def test_evaluate_of_a_reader_says_what_it_cannot_show(
    question_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed.require_tesseract()
    words = ["--target", "tesseract@256", "--cropper", "centre", "--limit", 2]
    assert run("evaluate", question_set, *words) == 0
    told = capsys.readouterr().out
    assert "a crop cannot harm it" in told
    assert "metric contains" in told


def test_evaluate_shows_progress_to_a_terminal(
    question_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("cropvlm_core.cli.evaluate._LIVING_SECONDS", 0.0)
    assert run("evaluate", question_set, "--cropper", "centre", "--target", "constant:x") == 0
    assert "3/3 questions, " in terminal.getvalue()
    assert "0:00 to go, centre +0.0" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_an_interrupted_evaluation_says_how_to_go_on(
    question_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def press(watch: object, progress: Progress) -> None:
        vars(watch)["done"] = progress.done
        if progress.done == 2:
            raise KeyboardInterrupt

    words = ["evaluate", question_set, "--cropper", "centre", "--out", tmp_path / "run"]
    with monkeypatch.context() as patch:
        patch.setattr("cropvlm_core.cli.evaluate._Watch.__call__", press)
        assert run(*words) == 130
    assert "2 questions are kept in" in capsys.readouterr().err
    assert run(*words) == 0
    assert "3 questions (2 with boxes)" in capsys.readouterr().out


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
