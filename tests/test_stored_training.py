"""Training beside producers: lessons are stored, drawn, varied, learned from, and gone on with."""

import json
import os
import random
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.programs import require_fonts, require_package

torch = require_package("torch")
require_package("onnx")
require_fonts()

from cropvlm_core.cli import main  # noqa: E402
from cropvlm_core.embedded import EmbeddedCropper  # noqa: E402
from cropvlm_core.errors import DataError, WeightsError  # noqa: E402
from cropvlm_core.training.calibration import export_run  # noqa: E402
from cropvlm_core.training.export import read_network  # noqa: E402
from cropvlm_core.training.network import PolicySize  # noqa: E402
from cropvlm_core.training.page_pool import PagePool  # noqa: E402
from cropvlm_core.training.page_store import (  # noqa: E402
    GREYS,
    Preparation,
    on_device,
    read_lessons,
    write_lessons,
)
from cropvlm_core.training.pages import render_page  # noqa: E402
from cropvlm_core.training.stored_training import StoredPlan, train_stored  # noqa: E402
from cropvlm_core.training.supervised import load_checkpoint, trained_network  # noqa: E402
from cropvlm_core.training.supervision import Lesson, lesson  # noqa: E402

TINY = PolicySize(
    stem=8, middle=8, grid=16, context=16, blocks=1, stages=1, lanes=4, word=16, thought=32,
    layers=1, probes=3, head=8, head_lanes=2,
)  # fmt: skip
SMALL = Preparation(budget=32_768, line=6.0, most=1.5, questions=6, pointers=4)


def small_lesson(seed: int) -> Lesson:
    return lesson(render_page(seed, "receipt"), random.Random(seed), SMALL.budget, questions=6)


def test_stored_lessons_are_read_back(tmp_path: Path) -> None:
    right = small_lesson(3)
    file = tmp_path / "one.lessons"
    write_lessons(file, [right])
    batch = on_device(vars(read_lessons(file)), torch.device("cpu"), 6, vary=False)
    torch.testing.assert_close(batch.pixels[0], right.pixels, atol=0.51 / GREYS, rtol=0)
    for name in ("letters", "word_grams", "word_cells"):
        assert torch.equal(getattr(batch, name)[0], getattr(right, name))
    order = [right.grams.tolist().index(grams) for grams in batch.grams[0].tolist()]
    for name in ("right", "cell", "steps", "weight"):
        assert torch.equal(getattr(batch, name)[0], getattr(right, name)[order])


def test_a_page_used_again_looks_different_and_its_padding_stays_empty(tmp_path: Path) -> None:
    write_lessons(tmp_path / "one.lessons", [small_lesson(3)])
    stored = vars(read_lessons(tmp_path / "one.lessons"))
    torch.manual_seed(0)
    first, again = (on_device(stored, torch.device("cpu"), 3).pixels for _ in range(2))
    assert not torch.equal(first, again)
    assert first[stored["pixels"] == 0].eq(0).all()


def store_lessons(folder: Path, seeds: range) -> list[Path]:
    """A file for each page, the oldest first."""
    files = []
    for age, number in enumerate(seeds):
        files.append(folder / f"{number}.lessons")
        write_lessons(files[-1], [small_lesson(number)])
        os.utime(files[-1], (1000 + age, 1000 + age))
    return files


def held(pool: PagePool, pages: int) -> int:
    """How many pages the pool holds once it has read so many, or after five seconds."""
    until = time.monotonic() + 5
    while pool.pages < pages and time.monotonic() < until:
        pool.draw(1)
        time.sleep(0.02)
    return pool.pages


def test_batches_are_drawn_from_pages_of_one_shape(tmp_path: Path) -> None:
    store_lessons(tmp_path, range(6))
    with closing(PagePool(tmp_path, torch.device("cpu"), 10**9, seed=1)) as pool:
        assert held(pool, 6) == 6
        shown = set()
        for _ in range(40):
            batch = pool.draw(60_000)
            assert 1 <= len(batch["pixels"]) <= 2
            shown |= {page.numpy().tobytes() for page in batch["pixels"]}
    assert len(shown) == 6


def test_old_files_make_room_for_newer_ones(tmp_path: Path) -> None:
    oldest, *_, newest = [file.name for file in store_lessons(tmp_path, range(5))]
    size = max(file.stat().st_size for file in tmp_path.iterdir())
    kept = tmp_path / "held"
    with closing(PagePool(tmp_path, torch.device("cpu"), 2 * size, seed=1)) as pool:
        until = time.monotonic() + 5
        while not (kept / newest).exists() and time.monotonic() < until:
            pool.draw(1)
        time.sleep(0.1)
        pool.draw(1)
        assert 1 <= pool.pages <= 3
    assert {file.name for file in kept.iterdir()} <= {f"{n}.lessons" for n in range(2, 5)}
    assert (kept / newest).exists()
    assert not (kept / oldest).exists()


def test_a_pool_goes_on_with_the_pages_of_the_run_before(tmp_path: Path) -> None:
    store_lessons(tmp_path, range(3))
    for _ in range(2):
        with closing(PagePool(tmp_path, torch.device("cpu"), 10**9, seed=1)) as pool:
            assert held(pool, 3) == 3


def test_a_pool_that_nothing_fills_says_so(tmp_path: Path) -> None:
    with (
        closing(PagePool(tmp_path, torch.device("cpu"), 10**9, 1, alive=lambda: False)) as pool,
        pytest.raises(DataError, match="expected pages to train on, but no process renders any"),
    ):
        pool.draw(1)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "cut.lessons").write_bytes(b"no lessons")
    with (
        closing(PagePool(tmp_path, torch.device("cpu"), 10**9, seed=1)) as pool,
        pytest.raises(ValueError, match="pickle"),
    ):
        pool.draw(1)


def test_a_run_goes_on_and_begins_from_its_own_file(tmp_path: Path) -> None:
    plan = StoredPlan(
        minutes=0.02, reading_minutes=0.0, device="cpu", producers=1, pixels=60_000,
        questions=4, store=20_000_000, half=False, pages=SMALL, size=TINY,
    )  # fmt: skip
    train_stored(plan, tmp_path)
    first = load_checkpoint(tmp_path / "checkpoint.pt")
    assert first is not None
    assert first["step"] > 0
    export_run(tmp_path, area=0.5, pages=2)
    file = tmp_path / "policy.onnx"
    cropper = EmbeddedCropper(file)
    assert cropper.settings.line == SMALL.line
    assert json.loads(cropper.about["trained"])["step"] == first["step"]
    begun = read_network(file)
    for ours, theirs in zip(
        begun.state_dict().values(), trained_network(first).state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    train_stored(plan, tmp_path / "next", start=file)
    second = load_checkpoint(tmp_path / "next" / "checkpoint.pt")
    assert second is not None
    assert second["plan"]["size"] == TINY.to_dict()


def test_a_file_that_holds_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "not.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match="expected a weight file to start from"):
        read_network(tmp_path / "not.onnx")


def test_a_start_needs_a_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "embedded", "--out", str(tmp_path), "--start", "some.onnx"]) != 0
    assert "--device" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["xla:99", "no such", "cuda:77"])
def test_a_device_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    assert main(["train", "embedded", "--out", str(tmp_path), "--device", device]) == 2
    assert "expected a device that torch can train on" in capsys.readouterr().err
