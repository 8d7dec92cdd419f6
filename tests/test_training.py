"""The embedded policy is trained, resumed and exported through the code that users run."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from cropvlm_core.box import Box
from cropvlm_core.questions import read_questions
from tests.programs import require_fonts, require_package

torch = require_package("torch")
require_package("onnx")
require_fonts()

from cropvlm_core.cli import main  # noqa: E402
from cropvlm_core.cropper import ZoomRules  # noqa: E402
from cropvlm_core.embedded import EmbeddedCropper  # noqa: E402
from cropvlm_core.embedded.page_input import CELL_HEIGHT, CELL_WIDTH  # noqa: E402
from cropvlm_core.embedded.settings import PolicySettings  # noqa: E402
from cropvlm_core.embedded.side_lengths import LADDER  # noqa: E402
from cropvlm_core.errors import DataError  # noqa: E402
from cropvlm_core.training.calibration import (  # noqa: E402
    LEAST,
    PRICES,
    choose_settings,
    export_run,
    look_at,
)
from cropvlm_core.training.export import export_policy  # noqa: E402
from cropvlm_core.training.losses import lesson_losses, stack  # noqa: E402
from cropvlm_core.training.network import LETTERS, PolicyNetwork, PolicySize  # noqa: E402
from cropvlm_core.training.pages import render_page  # noqa: E402
from cropvlm_core.training.questions import VALIDATION_SEED, validation_questions  # noqa: E402
from cropvlm_core.training.supervised import (  # noqa: E402
    TrainingPlan,
    load_checkpoint,
    train_supervised,
)
from cropvlm_core.training.supervision import IGNORED, lesson  # noqa: E402
from cropvlm_core.zoom import ZoomPipeline  # noqa: E402

TINY = PolicySize(stem=8, middle=8, grid=16, context=16, blocks=1, word=16, probes=3, head=8)
BUDGET = 65_536


def tiny_network() -> PolicyNetwork:
    torch.manual_seed(0)
    network = PolicyNetwork(TINY)
    for parameter in network.parameters():  # blocks start as the identity; here they shall matter
        parameter.data += 0.02 * torch.randn_like(parameter)
    return network.eval()


def test_a_lesson_says_where_the_answer_stands() -> None:
    page = render_page(3, "receipt")
    taught = lesson(page, random.Random(0), BUDGET)
    columns = taught.right.shape[2]
    for index in range(len(taught.weight)):
        if not taught.weight[index]:
            continue
        row, column = divmod(int(taught.cell[index]), columns)
        assert taught.right[index, row, column]
        x, y = (column + 0.5) * CELL_WIDTH, (row + 0.5) * CELL_HEIGHT
        left, top, right, bottom = taught.sides[index].tolist()
        for distance, step in zip(
            (x - left, y - top, right - x, bottom - y), taught.steps[index].tolist(), strict=True
        ):
            if distance > LADDER[0]:
                assert abs(np.log(LADDER[step] / distance)) < 0.2


def test_letters_taught_are_the_letters_printed() -> None:
    page = render_page(3, "receipt")
    taught = lesson(page, random.Random(0), 1_000_000).letters.numpy()
    assert set(np.unique(taught)) <= {IGNORED, *range(len(LETTERS) + 2)}
    printed = {letter.lower() for word in page.words for letter in word.text}
    shown = {LETTERS[value - 1] for value in np.unique(taught) if 0 < value <= len(LETTERS)}
    assert shown <= printed | set("abcdefghijklmnopqrstuvwxyz")
    assert len(shown) > 20


def test_a_few_steps_lower_the_loss_on_one_page() -> None:
    torch.manual_seed(0)
    network = PolicyNetwork(TINY)
    batch = stack([lesson(render_page(8, "receipt"), random.Random(0), BUDGET)])
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss, figures = lesson_losses(network, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(figures["pointing"])
    assert losses[-1] < 0.7 * losses[0]


def test_questions_of_one_page_do_not_touch_each_other() -> None:
    network = tiny_network()
    batch = stack([lesson(render_page(8, "receipt"), random.Random(0), BUDGET)])
    with torch.no_grad():
        together = network(batch.pixels, batch.grams)
        alone = network(batch.pixels, batch.grams[:, 1:2])
    torch.testing.assert_close(together[0][:, 1:2], alone[0], atol=1e-4, rtol=1e-4)


def test_the_exported_file_is_a_cropper(tmp_path: Path) -> None:
    file = tmp_path / "policy.onnx"
    rules = ZoomRules(grow=(1.5, 2.0), min_width=0.2)
    export_policy(tiny_network(), file, PolicySettings(BUDGET, 0.7, rules), {"trained": "{}"})
    cropper = EmbeddedCropper(file)
    assert cropper.rules == rules
    assert cropper.settings.budget == BUDGET
    questions = list(validation_questions(2, "receipt"))
    proposals = cropper.propose_batch(questions)
    assert len(proposals) == len(questions)
    assert all(isinstance(box, Box) for proposal in proposals for box in proposal.boxes)
    looked = list(look_at(cropper, questions))
    best = choose_settings(looked, cropper.settings, area=0.3)
    assert best.mean_area <= 0.3
    assert best.settings.least == LEAST
    cropper.settings = best.settings
    cropper.rules = best.settings.rules
    zooms = ZoomPipeline(cropper).zoom_batch(questions)
    pairs = list(zip(questions, zooms, strict=True))
    hits = [bool(question.hit(crop.box for crop in zoom.crops)) for question, zoom in pairs]
    assert np.mean(hits) == pytest.approx(best.hit_rate, abs=1 / len(hits))  # whole pixels
    areas = [zoom.crops[0].box.area if zoom.crops else 1.0 for zoom in zooms]
    assert np.mean(areas) == pytest.approx(best.mean_area, abs=0.005)
    smaller, larger = (choose_settings(looked, cropper.settings, area=one) for one in (0.15, 0.9))
    prices = [one.settings.price or 0.0 for one in (smaller, best, larger)]
    assert prices == sorted(prices, reverse=True)
    assert smaller.mean_area <= 0.15 < larger.mean_area
    assert larger.hit_rate >= smaller.hit_rate
    none_fits = choose_settings(looked, cropper.settings, area=1e-9)
    assert none_fits.settings.price == PRICES[-1]
    with pytest.raises(DataError, match="with answers"):
        choose_settings([], cropper.settings, area=0.3)


def test_a_run_is_trained_resumed_and_exported(tmp_path: Path) -> None:
    short = {"reading_minutes": 0.02, "processes": 2, "budget": 32_768, "pages": 1, "size": TINY}
    train_supervised(TrainingPlan(minutes=0.04, **short), tmp_path)  # type: ignore[arg-type]
    first = load_checkpoint(tmp_path / "checkpoint.pt")
    assert first is not None
    assert first["step"] > 0
    train_supervised(TrainingPlan(minutes=0.08, **short), tmp_path)  # type: ignore[arg-type]
    second = load_checkpoint(tmp_path / "checkpoint.pt")
    assert second is not None
    assert second["step"] > first["step"]
    assert second["minutes"] > first["minutes"]
    assert not list(tmp_path.glob("meeting*"))
    export_run(tmp_path, area=0.5, pages=2)
    exported = EmbeddedCropper(tmp_path / "policy.onnx")
    assert json.loads(exported.about["trained"])["step"] == second["step"]
    assert exported.settings.calibration is not None
    told = json.loads(exported.about["confidence"])
    assert exported.settings.threshold == exported.min_confidence == told["threshold"] <= 0.1
    assert told["questions"] > 0


def test_a_run_without_checkpoint_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a checkpoint"):
        export_run(tmp_path, area=0.1)


def test_training_never_draws_validation_pages() -> None:
    rng = random.Random(0)
    assert all(rng.randrange(VALIDATION_SEED) < VALIDATION_SEED for _ in range(1000))
    assert all(
        int(str(asked.doc).rsplit("-", 1)[1]) >= VALIDATION_SEED
        for asked in validation_questions(3)
    )


def test_rendered_pages_become_a_question_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["train", "pages", "--out", str(tmp_path), "--count", "3", "--kind", "receipt"]) == 0
    )
    rows = list(read_questions(tmp_path))
    assert f"3 pages, {len(rows)} questions" in capsys.readouterr().out
    assert len({row.doc for row in rows}) == 3
    assert all(row.open().size == (row.width, row.height) for row in rows[:5])
    assert (tmp_path / "contact.png").stat().st_size > 10_000
    assert main(["train", "pages", "--out", str(tmp_path), "--kind", "cheque"]) == 2
    assert "cheque" in capsys.readouterr().err
