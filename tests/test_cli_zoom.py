"""``cropvlm zoom`` in this process."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.cropper import Cropper, Proposal
from cropvlm_core.images import open_image
from cropvlm_core.questions import VisualQuestion
from tests import bad_input
from tests.cli_calls import KEYS, one_line_error, run


def test_zoom_tells_a_person(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(page.parent.iterdir())
    assert run("zoom", page, "What?", "--cropper", "centre") == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert "25.0% of the page" in told.out
    assert "50 75 150 225 (100 x 150)" in told.out
    assert "s with the cropper centre" in told.out
    assert sorted(page.parent.iterdir()) == before


def test_zoom_json_has_the_fixed_keys(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("zoom", page, "What?", "--cropper", "centre", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == KEYS
    (crop,) = told["crops"]
    assert crop == {
        "box": {"left": 0.25, "top": 0.25, "right": 0.75, "bottom": 0.75},
        "pixels": [50, 75, 150, 225],
        "confidence": None,
        "size": [100, 150],
        "file": None,
    }
    assert told["image"] == str(page)
    assert told["question"] == "What?"
    assert told["zoomed"] is True
    assert told["reason"] is None
    assert (told["box"], told["pixels"]) == (crop["box"], crop["pixels"])
    assert told["cropper"] == "centre"
    assert told["seconds"] > 0


def test_zoom_writes_the_crop_and_the_overlay(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crop, overlay = tmp_path / "crop.png", tmp_path / "overlay.jpg"
    words = ["--cropper", "centre", "-o", crop, "--overlay", overlay, "--json"]
    assert run("zoom", page, "What?", *words) == 0
    assert json.loads(capsys.readouterr().out)["crops"][0]["file"] == str(crop)
    upright = open_image(page)
    with Image.open(crop) as written:
        assert written.convert("RGB").tobytes() == upright.crop((50, 75, 150, 225)).tobytes()
    with Image.open(overlay) as written:
        assert (written.format, written.size) == ("JPEG", (200, 300))
    assert run("zoom", page, "What?", *words[:-1]) == 0
    told = capsys.readouterr().out
    assert f"file    {crop}" in told
    assert f"overlay: {overlay} (crop outlined)" in told


class TwoCorners(Cropper):
    """Two boxes far apart: what no cropper named by a spec always gives."""

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        corners = (Box(0.0, 0.0, 0.25, 0.25), Box(0.75, 0.75, 1.0, 1.0))
        return [Proposal(corners, (0.9, 0.4)) for _ in questions]


def test_further_crops_get_numbers(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("cropvlm_core.loading.load_cropper", lambda *_, **__: TwoCorners())
    words = ["zoom", page, "What?", "--max-crops", 3, "-o", tmp_path / "crop.png"]
    assert run(*words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    files = [tmp_path / "crop.png", tmp_path / "crop-2.png"]
    assert [one["file"] for one in told["crops"]] == [str(file) for file in files]
    assert [one["confidence"] for one in told["crops"]] == [0.9, 0.4]
    for file in files:
        with Image.open(file) as written:
            assert written.size == (50, 75)
    assert not (tmp_path / "crop-3.png").exists()
    assert run(*words) == 0
    told = capsys.readouterr().out
    assert "crop 1: 6.2% of the page, confidence 0.90" in told
    assert "crop 2: 6.2% of the page, confidence 0.40" in told
    assert f"file    {files[1]}" in told


def test_an_unsure_crop_is_left_out_and_can_be_forced(
    page: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Unsure(TwoCorners):
        min_confidence = 0.95

    monkeypatch.setattr("cropvlm_core.loading.load_cropper", lambda *_, **__: Unsure())
    assert run("zoom", page, "What?") == 0
    told = capsys.readouterr().out
    assert "too unsure (low_confidence); use the whole page" in told
    assert "confidence of the best box: 0.90; --min-confidence 0 crops it anyway" in told
    assert run("zoom", page, "What?", "--min-confidence", 0, "--json") == 0
    assert json.loads(capsys.readouterr().out)["confidence"] == 0.9
    assert run("zoom", page, "What?", "--min-confidence", 0.5, "--max-crops", 2, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["crops"]) == 1
    assert run("ask", page, "What?", "--model", "constant:7", "--json") == 0
    assert json.loads(capsys.readouterr().out)["reason"] == "low_confidence"


@pytest.mark.parametrize("limit", ["1.5", "-0.1", "nan", "sure"])
def test_a_confidence_that_cannot_be_is_refused(
    limit: str, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("zoom", page, "What?", "--min-confidence", limit)
    assert f"expected a number from 0 to 1, got {limit!r}" in capsys.readouterr().err


def test_too_many_crops_are_refused(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("zoom", page, "What?", "--max-crops", 101)
    assert "at most 100 crops, got '101'" in capsys.readouterr().err


def test_no_zoom_writes_no_crop_and_says_so(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crop, overlay = tmp_path / "crop.png", tmp_path / "overlay.png"
    words = ["--cropper", "whole", "-o", crop, "--overlay", overlay]
    assert run("zoom", page, "What?", *words) == 0
    told = capsys.readouterr().out
    assert "no_zoom_needed" in told
    assert f"nothing written to {crop}" in told
    assert "nothing outlined" in told
    assert not crop.exists()
    assert overlay.exists()
    assert run("zoom", page, "What?", *words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["zoomed"], told["reason"], told["crops"]) == (False, "no_zoom_needed", [])
    assert (told["box"], told["pixels"], told["confidence"]) == (None, None, None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-o", "page.png"], "other than the image itself"),
        (["--overlay", "page.png"], "other than the image itself"),
        (["-o", "./sub/../page.png"], "other than the image itself"),
        (["-o", "link.png"], "other than the image itself"),
        (["-o", "a.png", "--overlay", "a.png"], "the overlay in a file of its own"),
        (["-o", "a.gif"], "ends in .png, .jpg, .jpeg, got 'a.gif'"),
        (["-o", "a"], "ends in .png"),
        (["-o", "nowhere/a.png"], "a folder to write into, got 'nowhere'"),
        (["-o", "folder.png"], "can be written, got 'folder.png'"),
        (["--cropper", "nonsense"], "expected a cropper of embedded"),
        (["--cropper", "ocr:eng"], "expected a cropper of embedded"),
        (["--cropper", "embedded:nowhere.onnx"], "nowhere.onnx"),
    ],
)
def test_bad_settings_are_one_line_and_code_2(
    words: list[str],
    expected: str,
    page: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(page.parent)
    Path("sub").mkdir()
    Path("folder.png").mkdir()
    Path("link.png").symlink_to("page.png")
    original = page.read_bytes()
    assert run("zoom", "page.png", "What?", "--cropper", "centre", *words) == 2
    assert expected in one_line_error(capsys)
    assert page.read_bytes() == original


def test_a_numbered_crop_never_overwrites_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = bad_input.page(tmp_path, "crop-2.png")
    words = ["--cropper", "centre", "-o", tmp_path / "crop.png", "--max-crops", 2]
    assert run("zoom", page, "What?", *words) == 2
    assert "other than the image itself" in one_line_error(capsys)


def test_the_default_cropper_finds_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line of the README, on the page that the project ships."""
    receipt = Path(__file__).parents[1] / "examples" / "receipt.png"
    overlay = tmp_path / "overlay.png"
    words = ["--overlay", overlay, "--json"]
    assert run("zoom", receipt, "What is the total?", *words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cropper"] == "embedded"
    assert told["zoomed"] is True
    (crop,) = told["crops"]
    assert 0 <= crop["confidence"] <= 1
    left, top, right, bottom = crop["pixels"]
    with Image.open(overlay) as written:
        assert 0 <= left < right <= written.width
        assert 0 <= top < bottom <= written.height
        assert (right - left) * (bottom - top) < 0.6 * written.width * written.height
