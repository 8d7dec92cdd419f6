"""Tesseract in this process and as the program: the same words, and what happens when it fails."""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from cropvlm_core.errors import (
    DeadlineError,
    MissingExtraError,
    ModelError,
    SpecError,
    WeightsError,
)
from cropvlm_core.tesseract.engine import Engine, InProcess, Program, TextLine, Word, find_engine
from tests.pages import noise
from tests.printed import (
    TABLE,
    both_engines,
    calls,
    printed,
    require_tesseract,
    row,
    stand_in,
    where,
)
from tests.programs import require_package

LINES = ("Order number 48213", "Total amount due 1,284.50", "Thank you for your visit")
PAGE = printed([(80, 100 + 90 * at, line) for at, line in enumerate(LINES)])
GREY = PAGE.convert("L")


def texts(lines: list[TextLine]) -> list[str]:
    return [" ".join(word.text for word in line) for line in lines]


def words(lines: list[TextLine]) -> list[Word]:
    return [word for line in lines for word in line]


def test_both_engines_read_the_same_words_at_the_same_places() -> None:
    inside, program = both_engines()
    assert isinstance(inside, InProcess)
    assert isinstance(program, Program)
    for mode in (6, 11):
        one, other = inside.read(GREY, mode), program.read(GREY, mode)
        assert texts(one) == texts(other) == list(LINES)
        for word, twin in zip(words(one), words(other), strict=True):
            places = zip(
                (word.left, word.top, word.right, word.bottom),
                (twin.left, twin.top, twin.right, twin.bottom),
                strict=True,
            )
            assert all(abs(here - there) <= 3 for here, there in places)


def test_words_stand_where_they_were_printed() -> None:
    require_tesseract()
    (number,) = (word for word in words(find_engine().read(GREY, 6)) if word.text == "48213")
    place = where(80, 100, "Order number 48213").to_pixels(PAGE.size)
    assert abs(number.right - place[2]) <= 4
    assert abs(number.top - place[1]) <= 4
    assert abs(number.bottom - place[3]) <= 4
    assert number.left > place[0] + 150


def test_the_version_names_the_release_and_the_way() -> None:
    inside, program = both_engines()
    assert inside.version.startswith("tesseract 5")
    assert "tesserocr" in inside.version
    assert program.version.endswith("(program)")


ODD = [
    Image.new("L", (1, 1)),
    Image.new("L", (1, 4000), 255),
    Image.new("L", (4000, 2)),
    Image.new("L", (3, 3), 128),
    Image.new("L", (4000, 3)),
    Image.new("L", (5, 900), 200),
    Image.new("L", (600, 400), 255),
    Image.new("L", (600, 400), 0),
    noise(300, 200).convert("L"),
    Image.linear_gradient("L").resize((500, 700)),
    GREY.crop((78, 95, 400, 107)),  # half a line
]


@pytest.mark.parametrize("at", [0, 1])
def test_odd_pictures_give_few_words_no_error_and_no_noise(
    at: int, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = both_engines()[at]
    for picture in ODD:
        for mode in (6, 11):
            for word in words(engine.read(picture, mode)):
                assert 0 <= word.left < word.right <= picture.width
                assert 0 <= word.top < word.bottom <= picture.height
    assert engine.read(Image.new("L", (600, 400), 255), 6) == []
    assert capfd.readouterr() == ("", "")


def test_what_was_read_before_changes_nothing() -> None:
    for engine in both_engines():
        first = engine.read(GREY, 6)
        engine.read(noise(300, 200).convert("L"), 11)
        assert engine.read(GREY, 6) == first


def test_threads_read_what_one_reads_after_the_other() -> None:
    pictures = [printed([(20, 20, f"Line {n} of {7 * n}")], size=(400, 90)) for n in range(12)]
    greys = [picture.convert("L") for picture in pictures]
    for engine in both_engines():
        serial = [engine.read(grey, 6) for grey in greys]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda grey: engine.read(grey, 6), greys)) == serial  # noqa: B023


def test_neither_there_names_both_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tesserocr", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in (None, "tesserocr", "program"):
        with pytest.raises(MissingExtraError) as caught:
            find_engine(name)
        assert "pip install 'cropvlm[ocr]'" in str(caught.value)
        assert "apt-get install tesseract-ocr" in str(caught.value)


def test_without_tesserocr_the_program_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    require_tesseract()
    monkeypatch.setitem(sys.modules, "tesserocr", None)
    engine = find_engine()
    assert isinstance(engine, Program)
    assert texts(engine.read(GREY, 6)) == list(LINES)
    with pytest.raises(MissingExtraError):
        find_engine("tesserocr")


def test_missing_language_data_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    both_engines()
    for name in ("tesserocr", "program"):
        with pytest.raises(WeightsError, match=r"tlh\.traineddata.*install tesseract-ocr-tlh"):
            find_engine(name, language="eng+tlh")
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    with pytest.raises(WeightsError, match="TESSDATA_PREFIX") as caught:
        find_engine("tesserocr")
    assert str(tmp_path) in str(caught.value)


def test_damaged_language_data_is_a_model_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require_package("tesserocr")
    (tmp_path / "eng.traineddata").write_bytes(b"no weights")
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    with pytest.raises(ModelError, match="expected Tesseract to start"):
        find_engine("tesserocr").read(GREY, 6)


@pytest.mark.parametrize("language", ["", "eng;ls", "-l", "eng+", "../eng", "a b"])
def test_odd_languages_are_refused(language: str) -> None:
    with pytest.raises(SpecError, match="expected a language"):
        find_engine(language=language)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_odd_timeouts_are_refused(timeout: float) -> None:
    with pytest.raises(SpecError, match="expected a timeout"):
        find_engine(timeout=timeout)


def test_too_long_in_this_process_is_a_deadline_error() -> None:
    require_package("tesserocr")
    require_tesseract()
    hurried = find_engine("tesserocr", timeout=0.001)
    for _ in range(2):
        with pytest.raises(DeadlineError, match=r"within 0\.001 s"):
            hurried.read(GREY, 6)


def test_a_hung_program_is_killed(tmp_path: Path) -> None:
    program = stand_in(tmp_path, "time.sleep(60)")
    engine: Engine = Program(str(program), "eng", 1.0)
    start = time.monotonic()
    with pytest.raises(DeadlineError, match="within 1 s"):
        engine.read(GREY, 6)
    assert time.monotonic() - start < 10
    (process,) = calls(tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_program_that_fails_or_is_gone_is_a_model_error(tmp_path: Path) -> None:
    program = stand_in(tmp_path, "sys.exit('first\\nno memory left')")
    engine = Program(str(program), "eng", 20.0)
    with pytest.raises(ModelError, match="exit code 1: 'no memory left'"):
        engine.read(GREY, 6)
    program.unlink()
    with pytest.raises(ModelError, match="expected the program tesseract to run, got 'No such"):
        engine.read(GREY, 6)


def test_odd_tables_are_read(tmp_path: Path) -> None:
    odd = "\u202emoc\u202c \u0000 ﷽ 💸\u200d\ufe0f e\u0301"
    table = (
        TABLE
        + row("plain")
        + row(odd, 80)
        + row("   ", 20, 40)
        + row("flat", 20, 60, 0, 9)
        + "5\t1\t1\n5\n\n\t\t\t\t\t\t\t\t\t\t\t\n4\t1\t1\t1\t1\t0\t0\t0\t9\t9\t-1\t\n"
    )
    reading = f"sys.stdout.buffer.write({table.encode()!r} + b'5\\xff\\xfe\\n')"
    program = stand_in(tmp_path, reading)
    (line,) = Program(str(program), "eng", 20.0).read(GREY, 6)
    assert [word.text for word in line] == ["plain", odd]
    assert (line[0].left, line[0].top, line[0].right, line[0].bottom) == (10, 10, 60, 30)
