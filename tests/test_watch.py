"""Watching a GRPO run: figures of a batch, alarms that go off once, pictures in time."""

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core.box import BoxNotation
from cropvlm_core.cropper import ZoomRules
from cropvlm_core.errors import DataError
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.health import Health, Limits, Rewards
from cropvlm_core.training.rollouts import Rollout, roll_out
from tests.pages import noise
from tests.programs import require_package
from tests.rollouts import ANSWER, asked, rolled

for package in ("torch", "transformers", "trl", "datasets"):
    require_package(package)

from transformers import TrainerControl, TrainerState  # noqa: E402

from cropvlm_core.training.watch import (  # noqa: E402
    HealthAlarms,
    SamplePictures,
    progress_line,
)

# ---- the figures of a batch


def test_figures_of_a_batch() -> None:
    known, unknown = asked(boxes=[ANSWER]), asked(question="Who signed?")
    rollouts = rolled(
        known, "[0, 0, 50, 40].", "[0, 0, 50, 40]. ", "[60, 90, 40, 50].", "?"
    ) + rolled(unknown, "No zoom needed.", "[0, 0, 100, 100].", "[0, 0, 50, 40].", "[0, 0, 9, 90].")
    rewards: Rewards = {
        "likelihood": [-1.0, None, float("nan"), -2.0, -2.0, -2.0, -2.0, -2.0],
        "format": [1.0] * 7 + [None],
    }
    health = Health.of(rollouts, [0.1, 0.1, -0.2, 0.0, 0.0, 0.0, 0.0, 0.0], rewards)
    assert health.area == pytest.approx((0.2 + 0.2 + 0.08 + 1 + 1 + 1 + 0.2 + 0.081) / 8)
    assert health == Health(
        no_signal=0.5,
        area=health.area,
        same_box=3 / 8,
        unreadable=1 / 8,
        no_zoom=2 / 8,
        repaired=1 / 8,
        missing_rewards=2 / 8,
        hit_rate=3 / 4,  # the unreadable one shows the whole page
    )


def test_what_cannot_be_counted_is_none() -> None:
    alone = Health.of(rolled(asked(), "?"), [0.0])
    assert (alone.no_signal, alone.missing_rewards, alone.hit_rate) == (None, None, None)
    assert (alone.same_box, alone.unreadable, alone.area) == (0.0, 1.0, 1.0)


def test_a_group_is_one_question_about_one_page() -> None:
    page = noise()
    same = [AnsweredQuestion(page, "Total?") for _ in range(2)]
    other = [AnsweredQuestion(page, "Date?"), AnsweredQuestion(noise(), "Total?")]
    boxes = ["[20, 20, 60, 60]."] * 2
    together = roll_out(same, boxes, notation=BoxNotation.percent, rules=ZoomRules())
    assert Health.of(together, [0.0, 0.0]).no_signal == 1.0
    apart = roll_out(other, boxes, notation=BoxNotation.percent, rules=ZoomRules())
    assert Health.of(apart, [0.0, 0.0]).no_signal is None


# ---- callbacks


@dataclasses.dataclass
class Run:
    """What the callbacks see of a trainer, batch by batch."""

    rollouts: list[Rollout] = dataclasses.field(default_factory=list)
    advantages: list[float] = dataclasses.field(default_factory=list)
    reward_values: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)
    noted: dict[str, list[float]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    state: TrainerState = dataclasses.field(default_factory=TrainerState)

    def __post_init__(self) -> None:
        self.state.is_world_process_zero = True
        self.state.max_steps = 800

    def note(self, name: str, value: float) -> None:
        self.noted[name].append(value)

    def rewarded(self, rollouts: list[Rollout], advantages: list[float] | None = None) -> None:
        self.rollouts = rollouts
        self.advantages = advantages or [float(place) for place in range(len(rollouts))]

    def step(self, callback: Any) -> None:
        self.state.global_step += 1
        callback.on_step_end(None, self.state, TrainerControl())

    def steps(self, callback: Any, count: int, *texts: str) -> None:
        for _ in range(count):
            self.rewarded(rolled(asked(), *texts))
            self.step(callback)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    caplog.clear()
    return found


GOOD, WHOLE = "[20, 20, 60, 60].", "[0, 0, 100, 100]."


def test_an_alarm_goes_off_once_a_crossing(caplog: pytest.LogCaptureFixture) -> None:
    run = Run()
    alarms = HealthAlarms(
        run, Limits(memory=5, unreadable=0.4, no_zoom=1, largest_area=1, same_place=1)
    )
    run.steps(alarms, 4, "?", "?")
    assert warnings_in(caplog) == []  # too early to tell
    run.steps(alarms, 20, "?", "?")
    (said,) = warnings_in(caplog)
    assert said.startswith("step 5: 100 % of the rollouts hold no readable box. Try ")
    while alarms.figures["unreadable"] > 0.35:  # back under the limit, but not by enough
        run.steps(alarms, 1, GOOD, GOOD.replace("2", "1"))
    run.steps(alarms, 3, "?", "?")
    assert alarms.figures["unreadable"] > 0.4
    assert warnings_in(caplog) == []
    run.steps(alarms, 10, GOOD, GOOD.replace("2", "1"))
    run.steps(alarms, 10, "?", "?")
    assert len(warnings_in(caplog)) == 1


def test_every_alarm_goes_off_and_says_what_to_try(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(reward_values={"likelihood": [None, *[1.0] * 7]})
    limits = dataclasses.asdict(Limits(smallest_area=2.0, memory=1)) | dict.fromkeys(
        [
            "no_signal",
            "largest_area",
            "same_box",
            "same_place",
            "unreadable",
            "no_zoom",
            "repaired",
        ],
        0.0,
    )
    alarms = HealthAlarms(run, Limits(**limits))
    for _ in range(3):
        texts = ("?", GOOD, WHOLE, "[60, 60, 20, 20].")
        run.rewarded(rolled(asked(), *texts) + rolled(asked(), *texts), [0.0] * 8)
        run.step(alarms)
    said = warnings_in(caplog)
    assert len(said) == len(set(said)) == len(dataclasses.fields(Limits)) - 2
    assert all(" % " in each and each.startswith("step 1: ") for each in said)


def test_a_healthy_run_is_left_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(reward_values={"likelihood": [-1.0, -2.0, -3.0]})
    alarms = HealthAlarms(run)
    for place in range(60):
        left, top = 37 * place % 60, 23 * place % 60  # each question's own place
        texts = (f"[{left}, {top}, {left + 20}, {top + 20}].", f"[{left}, {top}, {left + 24}, 90].")
        run.steps(alarms, 1, *texts, WHOLE)
    assert warnings_in(caplog) == []


def test_small_crops_are_an_alarm_too(caplog: pytest.LogCaptureFixture) -> None:
    run = Run()
    alarms = HealthAlarms(run, Limits(memory=3, same_box=1, same_place=1))
    run.steps(alarms, 6, "[20, 20, 21, 21].", GOOD)
    assert warnings_in(caplog) == []
    run.steps(alarms, 30, "[20, 20, 21, 21].", "[20, 20, 22, 21].")
    (said,) = warnings_in(caplog)
    assert "the crops show 0.48 % of the page" in said


def test_one_box_for_one_question_is_no_collapse(caplog: pytest.LogCaptureFixture) -> None:
    run = Run()
    alarms = HealthAlarms(run, Limits(memory=5, same_place=1))
    for place in range(20):
        run.steps(alarms, 1, *[f"[{place}, 20, 60, 60]."] * 4)
    assert alarms.figures["same_box"] == pytest.approx(1 / 5)
    assert warnings_in(caplog) == []
    run.steps(alarms, 10, *[GOOD] * 4)
    (said,) = warnings_in(caplog)
    assert "one and the same box" in said


def test_a_moving_figure_is_the_mean_at_first_then_forgets() -> None:
    run = Run()
    alarms = HealthAlarms(run, Limits(memory=4))
    run.steps(alarms, 1, "?")
    run.steps(alarms, 1, GOOD)
    assert alarms.figures["unreadable"] == pytest.approx(1 / 2)
    run.steps(alarms, 1, GOOD)
    assert alarms.figures["unreadable"] == pytest.approx(1 / 3)
    run.steps(alarms, 40, GOOD)
    assert alarms.figures["unreadable"] < 1e-4
    assert run.noted["health/unreadable"][:3] == pytest.approx([1, 1 / 2, 1 / 3])
    assert "health/hit_rate" not in run.noted  # no question knows its box


def test_each_training_batch_counts_once_and_evaluations_never() -> None:
    run = Run()
    alarms = HealthAlarms(run)
    control = TrainerControl()
    run.rewarded(rolled(asked(), GOOD))
    alarms.on_substep_end(None, run.state, control)
    run.step(alarms)
    run.step(alarms)  # several steps on one batch
    assert len(run.noted["health/area"]) == 1
    run.rewarded(rolled(asked(), "?"))
    alarms.on_evaluate(None, run.state, control)
    run.step(alarms)
    assert len(run.noted["health/area"]) == 1
    run.state.is_world_process_zero = False
    run.steps(alarms, 1, GOOD)
    assert len(run.noted["health/area"]) == 1


def test_limits_that_mean_nothing_are_refused() -> None:
    for memory, release in ((0, 0.8), (20, 0.0), (20, 1.5)):
        with pytest.raises(DataError, match="expected memory >= 1"):
            Limits(memory=memory, release=release)


def test_pictures_are_written_every_so_many_steps(tmp_path: Path) -> None:
    run = Run(reward_values={"likelihood": [-1.0, None, -3.0, -4.0]})
    pictures = SamplePictures(run, tmp_path, every=2, groups=2)
    run.step(pictures)
    run.step(pictures)
    assert not (tmp_path / "samples").exists()  # nothing rewarded yet
    for _ in range(3):
        run.rewarded(rolled(asked(), "?", "?") + rolled(asked(question="Who?"), GOOD, "?"))
        run.step(pictures)
    (written,) = (tmp_path / "samples").iterdir()
    assert written.name == "step-000004.png"
    with Image.open(written) as picture:
        assert picture.width == 2 * 640 + 24
    run.rewarded(rolled(asked(), "?"))
    pictures.on_evaluate(None, run.state, TrainerControl())
    run.step(pictures)  # the last training batch, not the evaluation's
    with Image.open(tmp_path / "samples" / "step-000006.png") as picture:
        assert picture.width == 2 * 640 + 24


def test_other_processes_write_no_picture(tmp_path: Path) -> None:
    run = Run()
    run.state.is_world_process_zero = False
    run.steps(SamplePictures(run, tmp_path, every=1), 2, GOOD)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "samples").write_text("in the way")
    run = Run()
    run.steps(SamplePictures(run, tmp_path, every=1), 1, GOOD)
    (said,) = warnings_in(caplog)
    assert said.startswith("step 1: no sample picture: ")


def test_pictures_need_a_step_and_a_group(tmp_path: Path) -> None:
    for every, groups in ((0, 1), (1, 0)):
        with pytest.raises(DataError, match="every and groups >= 1"):
            SamplePictures(Run(), tmp_path, every=every, groups=groups)


def test_the_line_of_progress(caplog: pytest.LogCaptureFixture) -> None:
    logs = {"reward": 0.5123, "health/hit_rate": 0.414, "health/area": 0.2349, "kl": 0.00314}
    line = "step 120/800  reward 0.512  hits 41 %  area 23 %  kl 0.00314"
    assert progress_line(logs, 120, 800) == line
    assert progress_line({"reward": None, "health/area": 1.0}, 7) == "step 7  area 100 %"
    run = Run()
    run.state.global_step = 120
    with caplog.at_level(logging.INFO):
        HealthAlarms(run).on_log(None, run.state, TrainerControl(), logs=logs)
        HealthAlarms(run).on_log(None, run.state, TrainerControl(), logs={"train_runtime": 1.0})
    assert [each.getMessage() for each in caplog.records] == [line]


# TRL reads a name that transformers is leaving; the new one is unknown to the lowest versions.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*deprecated:FutureWarning")
def test_both_in_a_real_run(tmp_path: Path) -> None:
    from trl import GRPOConfig

    from cropvlm_core.training.grpo import CropGRPOTrainer
    from cropvlm_core.training.small_vlm import build_small_vlm
    from cropvlm_core.transformers_vlm import TransformersCropper

    cropper = TransformersCropper.from_pretrained(build_small_vlm(tmp_path / "policy"))

    def short(rollouts: Sequence[Rollout]) -> list[float | None]:
        return [1.0 / len(rollout.text) if rollout.text else None for rollout in rollouts]

    trainer = CropGRPOTrainer(
        cropper,
        [asked(noise(), question, [ANSWER]) for question in ("Total?", "Date?", "Name?", "Who?")],
        [short],
        GRPOConfig(
            output_dir=str(tmp_path / "run"),
            num_generations=2,
            per_device_train_batch_size=4,
            max_completion_length=8,
            max_steps=2,
            logging_steps=1,
            save_strategy="no",
            beta=0.0,
            use_cpu=True,
            bf16=False,
            report_to=[],
            disable_tqdm=True,
            gradient_checkpointing=False,
        ),
    )
    trainer.add_callback(SamplePictures(trainer, tmp_path, every=1))
    trainer.add_callback(HealthAlarms(trainer))
    trainer.train()
    names = sorted(each.name for each in (tmp_path / "samples").iterdir())
    assert names == ["step-000001.png", "step-000002.png"]
    steps = [logs for logs in trainer.state.log_history if "reward" in logs]
    assert len(steps) == 2
    for name in ("area", "unreadable", "same_box", "no_signal", "hit_rate", "missing_rewards"):
        assert all(0 <= logs[f"health/{name}"] <= 1 for logs in steps)
