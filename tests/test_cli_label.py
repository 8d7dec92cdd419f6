"""``cropvlm label`` against a real server, in this process and in one that is stopped."""

import base64
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.chat_server import ChatServer, Exchange, fails, hangs, says, sends
from tests.cli_calls import one_line_error, run
from tests.programs import require_package

BOXES = ["[40, 50, 41, 51].", "[40, 50, 42, 51].", "[40, 50, 43, 51]."]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    folder.mkdir()
    Image.effect_noise((1000, 600), 40).convert("RGB").save(folder / "page.png")
    rows = [{"id": f"q{n}", "image": "page.png", "question": f"{n}?"} for n in range(6)]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def _questions(server: ChatServer) -> list[str]:
    """The questions that came, in order of their numbers: a batch is sent all at once."""
    return sorted(
        str(body["messages"][0]["content"][-1]["text"]).split("\n")[0] for body in server.requests
    )


def test_label_tells_what_it_did(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, sheet = tmp_path / "out.jsonl", tmp_path / "sheet.png"
    script = [says(text) for text in (*BOXES, "No zoom needed.", "¯\\_(ツ)_/¯", "[[[[ 1, 2")]
    with ChatServer(*script) as server:
        words = ["--teacher", f"openai:big/model@{server.url}", "--batch", 1, "--sheet", sheet]
        assert run("label", data, "--out", out, *words) == 0
        assert len(server.requests) == 6
        prompt = server.requests[0]["messages"][0]["content"][-1]["text"]
    told = capsys.readouterr()
    assert told.err == ""  # no progress where nobody watches
    assert told.out == (
        f"{out}: 3 labelled, 3 refused (2 unreadable, 1 no_zoom_needed); "
        "median area 0.02% of the page, 0.04% after growth\n"
    )
    assert prompt.startswith("0?\nOutline the region")
    rows = _rows(out)
    assert {row["teacher"] for row in rows} == {"openai:big/model"}
    assert [row.get("growth") for row in rows] == [10, 2, 1, None, None, None]
    assert rows[4]["teacher_text"] == "¯\\_(ツ)_/¯"
    with Image.open(sheet) as picture:
        assert picture.size == (2100, 640)


def test_label_without_growth(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    words = ["--teacher", "centre", "--limit", 2, "--no-growth"]
    assert run("label", data, "--out", out, *words) == 0
    assert capsys.readouterr().out == (
        f"{out}: 2 labelled, 0 refused; median area 25.00% of the page\n"
    )
    assert [row["boxes"] for row in _rows(out)] == [[[25, 25, 75, 75]]] * 2


def test_label_reads_pixels_of_the_picture_it_sent(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with ChatServer(says('{"bbox_2d": [50, 28, 100, 56]}')) as server:
        words = ["--teacher", f"openai:m@{server.url}", "--no-growth", "--limit", 1]
        words += ["--notation", "pixels", "--input-size", 500]
        assert run("label", data, "--out", out, *words) == 0
        url = server.requests[0]["messages"][0]["content"][0]["image_url"]["url"]
    with Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) as sent:
        assert sent.size == (476, 308)  # 500 x 300, in multiples of 28 of at most 500
    expected = [100 * 50 / 476, 100 * 28 / 308, 100 * 100 / 476, 100 * 56 / 308]
    assert _rows(out)[0]["boxes"] == [pytest.approx(expected)]


def test_label_takes_garbage_as_rows_and_a_dead_server_as_the_end(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"

    def picky(exchange: Exchange) -> None:
        text = exchange.body["messages"][0]["content"][-1]["text"]
        refuse = fails(400, "content filter") if text.startswith("1?") else says(None)
        (refuse if text[0] in "12" else says(BOXES[0]))(exchange)

    with ChatServer(picky) as server:
        words = ["--teacher", f"openai:m@{server.url}", "--limit", 4]
        assert run("label", data, "--out", out, *words) == 0
    assert "2 labelled, 2 refused (2 failed)" in capsys.readouterr().out
    rows = _rows(out)
    assert [row.get("reason") for row in rows] == [None, "failed", "failed", None]
    assert "content filter" in rows[1]["teacher_error"]

    before = out.read_bytes()
    for act in (fails(401, "wrong key"), sends(b"<html>", 200), says("")):
        with ChatServer(act) as server:
            words = ["--teacher", f"openai:m@{server.url}"]
            assert run("label", data, "--out", out, *words) == 1
        assert "expected" in one_line_error(capsys)
        assert out.read_bytes() == before

    with ChatServer(says(BOXES[1])) as server:
        assert run("label", data, "--out", out, "--teacher", f"openai:m@{server.url}") == 0
        assert _questions(server) == ["4?", "5?"]
    assert "4 labelled, 2 refused (2 failed)" in capsys.readouterr().out


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_label_goes_on_where_it_was_stopped(
    data: Path, tmp_path: Path, stop: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    with ChatServer(*map(says, [BOXES[0]] * 4), hangs()) as server:
        words = ["label", data, "--out", out, "--batch", 2, "--teacher", f"openai:m@{server.url}"]
        code = "import sys; from cropvlm_core.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", code, *map(str, words)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        end = time.monotonic() + 60
        while len(server.requests) < 5 and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(stop)
        process.communicate(timeout=30)
    assert process.returncode == (130 if stop == signal.SIGINT else -stop)
    assert [row["id"] for row in _rows(out)] == ["q0", "q1", "q2", "q3"]
    with out.open("ab") as stream:
        stream.write(b'{"id": "q4", "image": "pa')  # torn
    with ChatServer(says(BOXES[2])) as server:
        assert run("label", data, "--out", out, "--teacher", f"openai:m@{server.url}") == 0
        assert _questions(server) == ["4?", "5?"]
    assert [row["id"] for row in _rows(out)] == [f"q{n}" for n in range(6)]
    assert "6 labelled, 0 refused" in capsys.readouterr().out


def test_label_shows_progress_to_a_terminal(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    words = ["--teacher", "whole", "--batch", 4]
    assert run("label", data, "--out", tmp_path / "out.jsonl", *words) == 0
    shown = terminal.getvalue().split("\r\x1b[K")[1:]
    assert shown[0] == "0 of 6, 0 refused"
    assert shown[1].startswith("4 of 6, 4 refused, ")
    assert shown[2].endswith(" a second, 0:00:00 left")
    assert shown[3:] == [""]


def test_label_refuses_before_it_asks(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / "out.jsonl"
    (tmp_path / "broken.jsonl").write_text('{"image": "a.png"}\n')
    with ChatServer(says(BOXES[0])) as server:
        teacher = f"openai:m@{server.url}"
        for words, what in [
            ((tmp_path / "nowhere", "--out", good), "nowhere"),
            ((tmp_path / "broken.jsonl", "--out", good), "broken.jsonl:1"),
            ((data, "--out", data / "questions.jsonl"), "outside of the question set"),
            ((tmp_path, "--out", data / "questions.jsonl"), "outside of the question set"),
            ((data / "questions.jsonl", "--out", data / "questions.jsonl"), "outside"),
            ((data, "--out", tmp_path / "no" / "out.jsonl"), "a folder to write into"),
            ((data, "--out", good, "--sheet", tmp_path / "a.gif"), "ends in .png"),
            ((data, "--out", good, "--notation", "inches"), "box notation"),
            ((data, "--out", good, "--notation", "pixels", "--input-size", 20), "input_size"),
        ]:
            assert run("label", *words, "--teacher", teacher) == 2
            assert what in one_line_error(capsys)
        assert server.requests == []
    assert run("label", data, "--out", good, "--teacher", "nobody") == 2
    assert "expected a cropper" in one_line_error(capsys)
    assert not good.exists()


def test_label_refuses_to_mix_teachers(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    assert run("label", data, "--out", out, "--teacher", "centre", "--limit", 1) == 0
    capsys.readouterr()
    assert run("label", data, "--out", out, "--teacher", "whole") == 2
    assert "'whole" in one_line_error(capsys)


def test_zoom_and_ask_read_the_same_notations(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that one can look at a teacher's boxes before it labels a whole set."""
    with ChatServer(says("[100, 200, 300, 400]")) as server:
        words = [data / "page.png", "What?", "--cropper", f"openai:m@{server.url}", "--json"]
        words += ["--notation", "per_mille_yx", "--input-size", 100]
        assert run("zoom", *words) == 0
        assert json.loads(capsys.readouterr().out)["pixels"] == [200, 60, 400, 180]
        assert run("ask", *words, "--model", "constant:yes") == 0
        assert json.loads(capsys.readouterr().out)["pixels"] == [200, 60, 400, 180]
    assert run("zoom", data / "page.png", "What?", "--notation", "percent") == 2
    assert "writes boxes" in one_line_error(capsys)


def test_label_with_a_model_on_this_machine(data: Path, tmp_path: Path) -> None:
    for name in ("torch", "transformers"):
        require_package(name)
    from cropvlm_core.training.small_vlm import build_small_vlm

    model, out = build_small_vlm(tmp_path / "model"), tmp_path / "out.jsonl"
    words = ["--teacher", f"hf:{model}", "--limit", 2, "--notation", "per_mille"]
    assert run("label", data, "--out", out, *words) == 0
    for row in _rows(out):
        assert row["teacher_text"].startswith("[")
        assert ("boxes" in row) != ("reason" in row)
