"""Kills, full disks and failing rewards end no run badly; scripts/training_faults.py does more."""

import logging
import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cropvlm_core.errors import DataError, ModelError, SourceError
from tests.programs import require_package

torch = require_package("torch")
for _package in ("transformers", "trl", "peft", "datasets", "accelerate", "yaml"):
    require_package(_package)

from safetensors.torch import load_file  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

from cropvlm_core.training.reward_values import LARGEST, values_of  # noqa: E402
from cropvlm_core.training.saving import saving  # noqa: E402
from cropvlm_core.training.sft import train_sft  # noqa: E402
from cropvlm_core.training.stopping import checkpoints  # noqa: E402
from cropvlm_core.training.supervised import load_checkpoint, save_checkpoint  # noqa: E402
from tests import killed_runs  # noqa: E402
from tests.failing_rewards import ODD, failing_run  # noqa: E402
from tests.killed_runs import (  # noqa: E402
    KINDS,
    fill_disk,
    gone_through,
    is_whole,
    kill_and_go_on,
    kill_in_file_saves,
    kill_in_saves,
    small_files,
    steps_of,
    weights,
)

pytestmark = pytest.mark.filterwarnings(
    # PEFT asks transformers under a name that transformers is giving up
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    environment, threads = dict(os.environ), torch.get_num_threads()
    killed_runs.prepare()
    yield
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(environment)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_killed_comes_to_the_same_weights(kind: str, tmp_path: Path) -> None:
    seconds = gone_through(kind, tmp_path / "straight", max_steps=3)
    dice = random.Random(0)
    steps = kill_and_go_on(kind, tmp_path / "killed", seconds, 2, dice, max_steps=3)
    assert weights(tmp_path / "killed") == weights(tmp_path / "straight")
    assert len(steps) <= 2


@pytest.mark.slow
def test_a_kill_in_a_save_tears_no_checkpoint(tmp_path: Path) -> None:
    kills = kill_in_saves("sft", tmp_path, 3, random.Random(0))
    assert (kills.inside, kills.torn, kills.lost) == (3, 0, 0)


def test_a_kill_tears_no_file_of_the_embedded_policy(tmp_path: Path) -> None:
    kills = kill_in_file_saves(tmp_path, 3, random.Random(0))
    assert (kills.inside, kills.torn, kills.lost) == (3, 0, 0)
    assert kills.reached > 0


@pytest.mark.parametrize("limit", [0, 20_000, 97_000], ids=["at once", "weights", "optimizer"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_told_and_leaves_the_checkpoint_before(
    kind: str, limit: int, tmp_path: Path
) -> None:
    raised, said = fill_disk(kind, tmp_path, limit, max_steps=3)
    assert raised == "SourceError"
    assert said.startswith("expected a disk that takes checkpoint 2, got ")
    assert "\n" not in said
    assert len(said) < 220
    found = checkpoints(tmp_path / "checkpoints")
    assert steps_of(found) == [1]
    assert is_whole(found[0])


def test_a_full_disk_leaves_the_file_before(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, {"step": 1, "w": torch.ones(1000)})
    for most in (0, 50_000):
        with (
            small_files(most),
            pytest.raises(SourceError, match=r"a disk that takes checkpoint\.pt, got "),
        ):
            save_checkpoint(file, {"step": 2, "w": torch.ones(100_000)})
        held = load_checkpoint(file)
        assert held is not None
        assert held["step"] == 1


def test_only_what_the_disk_refuses_is_told_of_the_disk() -> None:
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyError("w")):
        with pytest.raises(type(error)), saving("a checkpoint"):
            raise error


# ---- rewards and gradients that nobody can learn from


def test_rewards_that_fail_move_nothing(tmp_path: Path) -> None:
    steps = 6
    reward, ledger, lines = failing_run(tmp_path, steps)
    assert len(lines) == steps == reward.calls
    assert ledger.missing == reward.failed + reward.odd > 0
    assert reward.odd > 0
    assert (ledger.taken_for_zero, ledger.wrong, ledger.endless) == (0, 0, 0)
    dropped = sum(line["dropped_groups"] for line in lines) / steps
    assert dropped == pytest.approx(ledger.lone / ledger.groups)
    assert all(math.isfinite(line["loss"]) for line in lines)


def test_values_that_tell_nothing_are_missing(caplog: pytest.LogCaptureFixture) -> None:
    def odd(_: Any) -> list[float | None]:
        return [1.0, *ODD, None, LARGEST, True]

    rollouts: Any = [None] * (len(ODD) + 4)
    assert values_of(odd, rollouts) == [1.0, *[None] * (len(ODD) + 1), LARGEST, 1.0]
    assert f"{len(ODD)} of {len(rollouts)} values of odd are not finite" in caplog.text

    def fails(_: Any) -> list[float | None]:
        raise ModelError("out of order")

    assert values_of(fails, rollouts) == [None] * len(rollouts)
    assert "fails has no value for 9 rollouts: out of order" in caplog.text

    def short(_: Any) -> list[float | None]:
        return [1.0]

    with pytest.raises(DataError, match="expected 9 values of short, got 1"):
        values_of(short, rollouts)


class Spoils(TrainerCallback):  # type: ignore[misc]
    """Makes one value of the gradient of some steps endless."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step + 1 in self.steps:
            learned = next(w for w in kwargs["model"].parameters() if w.grad is not None)
            learned.grad.view(-1)[0] = math.inf


def test_a_gradient_that_is_not_finite_moves_no_weight(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings: Any = killed_runs.told("sft", max_steps=3)
    outcome = train_sft(settings, tmp_path / "spoilt", callbacks=[Spoils(2)])
    assert outcome.steps == 3
    (said,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert said.startswith("step 2: the gradient is not finite, so that this step is left out")
    for file in killed_runs.WEIGHTS:
        values = load_file(tmp_path / "spoilt" / file)
        assert all(bool(value.isfinite().all()) for value in values.values())
    before, after = (
        load_file(next((tmp_path / "spoilt").glob(f"**/checkpoint-{step}/*.safetensors")))
        for step in (2, 3)
    )
    assert any(not torch.equal(before[name], after[name]) for name in before)
