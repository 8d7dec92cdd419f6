"""``tesseract@N``: what it reads at which size, that it reads a page once, and as a reward."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core.box import BoxNotation
from cropvlm_core.errors import DeadlineError, ModelError, SpecError
from cropvlm_core.loading import load_target
from cropvlm_core.scoring import contains
from cropvlm_core.tesseract import TesseractReader
from cropvlm_core.tesseract.kept import Kept
from cropvlm_core.tesseract.reader import _scaled
from cropvlm_core.vlm import VLM, Conversation
from tests.printed import TABLE, calls, printed, require_tesseract, row, stand_in, where

SMALL_PRINT = (1150, 1400, "Balance due 7,318.42")
LARGE = (2000, 2800)
PAGE = printed([(100, 100, "Northwind Traders"), SMALL_PRINT], size=LARGE, letters=34)
CROP = PAGE.crop((1120, 1380, 1540, 1460))


def about(*pictures: Image.Image) -> Conversation:
    return Conversation((*pictures, "What is the balance?\nGive a very brief answer."))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program ``tesseract`` that always reads the same; ``calls`` in its folder counts."""
    stand_in(tmp_path / "bin", f"time.sleep(0.1); print({TABLE + row('said')!r}, end='')")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def test_small_print_is_read_in_the_crop_alone() -> None:
    require_tesseract()
    reader = load_target("tesseract@512")
    assert isinstance(reader, TesseractReader)
    assert isinstance(reader, VLM)
    assert (reader.size, reader.name) == (512, "tesseract@512")
    without, beside, alone, nothing = reader.reply(
        [about(PAGE), about(PAGE, CROP), about(CROP), Conversation(("no picture",))]
    )
    assert not contains(without, ["7,318.42"])
    assert contains(beside, ["7,318.42"])
    assert alone == "Balance due 7,318.42"
    assert beside == f"{without}\n{alone}"
    assert nothing == ""


def test_a_larger_size_reads_the_page() -> None:
    require_tesseract()
    reader = TesseractReader(400)
    large = reader.at(2400)
    assert (large.size, large.name, large.version) == (2400, "tesseract@2400", reader.version)
    assert reader.size == 400
    assert not contains(reader.reply([about(PAGE)])[0], ["7,318.42"])
    assert contains(large.reply([about(PAGE)])[0], ["7,318.42"])


def test_other_modes_of_pictures_are_read_alike() -> None:
    require_tesseract()
    reader = TesseractReader(512)
    pictures = [CROP, CROP.convert("L"), CROP.convert("RGBA"), CROP.convert("1")]
    read = reader.reply([about(picture) for picture in pictures])
    assert set(read) == {"Balance due 7,318.42"}


@pytest.mark.parametrize(
    ("size", "n", "seen"),
    [
        ((1000, 500), 512, (512, 256)),
        ((10, 20), 512, (256, 512)),
        ((512, 3), 512, (512, 3)),
        ((9000, 1), 512, (512, 1)),
        ((1, 1), 32, (32, 32)),
        ((300, 300), 20_000, (7071, 7071)),  # 50 megapixels
    ],
)
def test_pictures_are_scaled_to_the_longest_edge(
    size: tuple[int, int], n: int, seen: tuple[int, int]
) -> None:
    assert _scaled(Image.new("L", size), n).size == seen


@pytest.mark.parametrize("size", [31, 20_001, 0, -512, 512.0, "512", None])
def test_sizes_out_of_range_are_refused(size: Any) -> None:
    with pytest.raises(SpecError, match="expected a size of 32 to 20000 pixels"):
        TesseractReader(size)


@pytest.mark.parametrize("spec", ["tesseract@31", "tesseract@20001", "tesseract@999999999"])
def test_specs_out_of_range_are_refused(spec: str) -> None:
    with pytest.raises(SpecError, match="expected a size of 32 to 20000 pixels"):
        load_target(spec)


@pytest.mark.parametrize(
    "spec", ["tesseract", "tesseract@", "tesseract@1e3", "tesseract@٥١٢", "tesseract@512 ", "@512"]
)
def test_odd_specs_are_no_targets(spec: str) -> None:
    with pytest.raises(SpecError, match="expected a target of"):
        load_target(spec)


def test_a_page_is_read_once_at_each_size(folder: Path) -> None:
    reader = TesseractReader(512, engine="program")
    twin = PAGE.copy()
    views = [about(PAGE), about(PAGE, PAGE), about(twin, CROP), about(CROP)]
    assert reader.reply(views) == ["said", "said\nsaid", "said\nsaid", "said"]
    assert len(calls(folder)) == 2
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: reader.reply([about(PAGE)])[0], range(8))) == {"said"}
    reader.at(512).reply([about(PAGE)])
    assert len(calls(folder)) == 2
    reader.at(700).reply([about(PAGE)])
    assert len(calls(folder)) == 3
    rotated = Image.frombytes("RGB", (PAGE.height, PAGE.width), PAGE.tobytes())
    reader.reply([about(rotated)])  # the same bytes are another picture
    assert len(calls(folder)) == 4


def test_the_latest_texts_are_kept(folder: Path) -> None:
    reader = TesseractReader(64, engine="program", remembered=2)
    pages = [Image.new("L", (64, 40 + at), 9) for at in range(3)]
    for page in (pages[0], pages[1], pages[0], pages[2], pages[0], pages[1]):
        reader.reply([about(page)])
    assert len(calls(folder)) == 4


def test_failures_are_model_errors_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    first_fails = f"open({str(tmp_path / 'again')!r}, 'x'); sys.exit('broken')"
    stand_in(folder, f"try: {first_fails}\nexcept FileExistsError: print({row('well')!r})")
    monkeypatch.setenv("PATH", str(folder))
    reader = TesseractReader(512, engine="program")
    with pytest.raises(ModelError, match="broken"):
        reader.reply([about(PAGE)])
    assert reader.reply([about(PAGE)]) == ["well"]


def test_a_hung_program_ends_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path / "bin", "time.sleep(60)")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    reader = TesseractReader(512, engine="program", timeout=1.0)
    with pytest.raises(DeadlineError):
        reader.reply([about(PAGE), about(CROP)])


def test_what_is_kept_is_made_once_and_errors_are_shared() -> None:
    kept: Kept[int, int] = Kept(10)
    made: list[int] = []
    ready = threading.Barrier(6)

    def make() -> int:
        made.append(1)
        threading.Event().wait(0.2)
        if len(made) == 1:
            raise ModelError("expected a value, got none")
        return 7

    def ask(_: int) -> object:
        ready.wait()
        try:
            return kept.get(1, make)
        except ModelError as error:
            return str(error)

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(ask, range(6))) == {"expected a value, got none"}
    assert (len(made), len(kept)) == (1, 0)
    assert [kept.get(1, make), kept.get(1, make)] == [7, 7]
    assert (len(made), len(kept)) == (2, 1)


def rewards(texts: Sequence[str]) -> list[float | None]:
    from cropvlm_core.training.rewards import AnswerScore
    from tests.rollouts import asked, rolled

    question = asked(PAGE, "What is the balance due?", answers=["7,318.42"])
    return AnswerScore(load_target("tesseract@512"), "contains")(rolled(question, *texts))


def test_the_score_reward_pays_for_the_crop_that_shows_the_answer() -> None:
    require_tesseract()
    answer = where(*SMALL_PRINT, size=LARGE, letters=34)
    crop = BoxNotation.percent.write(answer)
    assert rewards([crop, "No zoom needed.", "[1, 90, 20, 95]", "nonsense"]) == [1.0, 0.0, 0.0, -1]
