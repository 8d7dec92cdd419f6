"""Every example runs, and does what it says."""

from pathlib import Path

import pytest
from PIL import Image

from examples import ask_with_and_without, zoom_overlay
from tests import bad_input
from tests.chat_server import ChatServer, says


def test_every_example_is_run_here() -> None:
    here = Path(__file__).parents[1] / "examples"
    assert {file.stem for file in here.glob("*.py")} == {"zoom_overlay", "ask_with_and_without"}


def test_zoom_overlay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = bad_input.page(tmp_path)
    folder = tmp_path / "pictures" / "new"
    zoom_overlay.main([str(page), "What?", "--cropper", "centre", "--folder", str(folder)])
    assert "holds 25.0% of the page" in capsys.readouterr().out
    with Image.open(folder / "crop.png") as crop, Image.open(folder / "overlay.png") as overlay:
        assert (crop.size, overlay.size) == ((100, 150), (200, 300))


def test_zoom_overlay_without_a_crop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = bad_input.page(tmp_path)
    zoom_overlay.main([str(page), "What?", "--cropper", "whole", "--folder", str(tmp_path)])
    assert "no_zoom_needed" in capsys.readouterr().out
    assert (tmp_path / "overlay.png").exists()
    assert not (tmp_path / "crop.png").exists()


def test_zoom_overlay_on_the_receipt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoom_overlay.main(["--folder", str(tmp_path)])
    assert "of the page" in capsys.readouterr().out
    with Image.open(tmp_path / "crop.png") as crop, Image.open(zoom_overlay.RECEIPT) as page:
        assert crop.width * crop.height < 0.6 * page.width * page.height


def test_ask_with_and_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = bad_input.page(tmp_path)
    with ChatServer(says("19.20"), says("12.90")) as server:
        model = f"openai:m@{server.url}"
        ask_with_and_without.main(
            [str(page), "What is it?", "--model", model, "--cropper", "centre"]
        )
    told = capsys.readouterr().out
    assert told == "page alone:    19.20\npage and crop: 12.90  (crop of 25.0%)\n"
    first, second = (body["messages"][0]["content"] for body in server.requests)
    assert [len(first), len(second)] == [2, 3]


def test_ask_with_and_without_on_the_receipt(capsys: pytest.CaptureFixture[str]) -> None:
    ask_with_and_without.main(["--model", "constant:x"])
    assert capsys.readouterr().out.startswith("page alone:    x\npage and crop: x  (crop of ")
