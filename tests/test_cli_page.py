"""``--page`` and ``--urls`` of ``cropvlm zoom`` and ``ask``: which page, and how many there are."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli_calls import KEYS, one_line_error, run
from tests.hostile.damaged import honest


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Red, green and blue."""
    file = tmp_path / "film.gif"
    frames = [Image.new("RGB", (40, 60), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(file, save_all=True, append_images=frames[1:])
    return file


def test_the_frame_is_chosen_and_the_count_told(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crop = tmp_path / "crop.png"
    words = ["zoom", film, "What?", "--cropper", "centre", "-o", crop]
    for page, colour in (([], (255, 0, 0)), (["--page", 3], (0, 0, 255))):
        assert run(*words, *page) == 0
        told = capsys.readouterr()
        assert told.out.startswith(f"page {page[-1] if page else 1} of 3\n")
        assert told.err == ""
        with Image.open(crop) as written:
            assert written.getpixel((0, 0)) == colour


def test_json_keeps_its_keys_and_the_count_goes_to_stderr(
    film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("zoom", film, "What?", "--cropper", "centre", "--page", 2, "--json") == 0
    told = capsys.readouterr()
    assert set(json.loads(told.out)) == KEYS
    assert told.err == "cropvlm: page 2 of 3\n"


def test_ask_says_which_page_was_seen(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ask", film, "What?", "--model", "constant:lime", "--cropper", "centre", "--page", 2]
    assert run(*words) == 0
    told = capsys.readouterr()
    assert told.out == "lime\n"
    assert "saw page 2 of 3 and a crop of 35.0% of it" in told.err
    assert run(*words, "--json") == 0
    told = capsys.readouterr()
    assert set(json.loads(told.out)) == KEYS | {"answer", "model"}
    assert told.err == "cropvlm: page 2 of 3\n"


def test_a_picture_of_one_page_says_nothing_of_pages(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("zoom", page, "What?", "--cropper", "centre", "--json") == 0
    assert capsys.readouterr().err == ""
    assert run("zoom", page, "What?", "--cropper", "centre") == 0
    assert "of 1" not in capsys.readouterr().out
    assert run("ask", page, "What?", "--model", "constant:x") == 0
    assert "saw the whole page" in capsys.readouterr().err


def test_a_page_that_is_not_there(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["zoom"], ["ask", "--model", "constant:x"]):
        assert run(*command, film, "What?", "--page", 4) == 2
        assert "expected page 1 to 3, got page 4: 'film.gif'" in one_line_error(capsys)


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_what_is_no_page_number(
    number: str, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run("zoom", film, "What?", f"--page={number}")
    assert caught.value.code == 2
    assert f"expected a whole number above 0, got '{number}'" in capsys.readouterr().err


def test_urls_are_refused_unless_they_are_switched_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in (["zoom"], ["ask", "--model", "constant:x"]):
        assert run(*command, "https://example.com/a.png", "What?") == 2
        assert "URL" in one_line_error(capsys)
        assert run(*command, "http://127.0.0.1/a.png", "What?", "--urls") == 2
        assert "public" in one_line_error(capsys)  # fetched, if it were on the internet


def test_a_damaged_tiff_is_told_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """libtiff writes on the process's own stderr, behind Python's back."""
    file = tmp_path / "cut.tif"
    whole = honest()["lzw.tif"]
    file.write_bytes(whole.replace(whole[8:400], bytes(392), 1))
    assert run("zoom", file, "What?", "--cropper", "centre") == 2
    told = capfd.readouterr()
    assert told.err.count("\n") == 1
    assert told.err.startswith("cropvlm: error: expected a whole TIFF image, got 'cut.tif': ")
