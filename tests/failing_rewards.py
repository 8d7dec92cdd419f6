"""A GRPO run whose rewards fail in every way, and what it made of them."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from cropvlm_core.errors import ModelError
from cropvlm_core.training import grpo_run
from cropvlm_core.training.grpo import CropGRPOTrainer
from cropvlm_core.training.rollouts import Rollout
from tests import grpo_runs

ODD = (math.nan, math.inf, -math.inf, 1e300, -1e300)


@dataclass
class Fails:
    """A reward that is lacking for 30 % of the rollouts, and odd for 15 %; 10 % of calls raise.

    ``failed`` and ``odd`` count rollouts.
    """

    dice: random.Random = field(default_factory=lambda: random.Random(0))
    calls: int = 0
    failed: int = 0
    odd: int = 0
    __name__ = "fails"

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        self.calls += 1
        if self.dice.random() < 0.1:
            self.failed += len(rollouts)
            raise ModelError("expected an answer, got HTTP 500")
        return [self._value(rollout) for rollout in rollouts]

    def _value(self, rollout: Rollout) -> float | None:
        chance = self.dice.random()
        if chance < 0.3:
            self.failed += 1
            return None
        if chance < 0.45:
            self.odd += 1
            return self.dice.choice(ODD)
        return 5.0 + len(rollout.text) / 100  # far from 0: what is taken for 0 would stand out


class Ledger(TrainerCallback):  # type: ignore[misc]
    """Looks at every step: what has no value moves nothing, and all weights are finite.

    ``missing``: rollouts without a value. ``taken_for_zero``: those of them that moved something.
    ``wrong``: advantages that are not the value less the mean of the values there are.
    ``endless``: weights that are not finite. ``lone``: groups with fewer than two values, of
    ``groups``.
    """

    def __init__(self) -> None:
        self.trainer: Any = None
        self.missing = self.taken_for_zero = self.wrong = self.endless = self.lone = self.groups = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        (values,) = self.trainer.reward_values.values()
        size = self.trainer.num_generations
        for start in range(0, len(values), size):
            group = slice(start, start + size)
            self._look(values[group], self.trainer.advantages[group])
        for weight in kwargs["model"].parameters():
            self.endless += not bool(weight.isfinite().all())

    def _look(self, values: Sequence[float | None], gains: Sequence[float]) -> None:
        known = [value for value in values if value is not None]
        mean = sum(known) / max(1, len(known))
        self.groups += 1
        self.lone += len(known) < 2
        for value, gain in zip(values, gains, strict=True):
            self.missing += value is None
            self.taken_for_zero += value is None and gain != 0
            self.wrong += abs(gain - (0.0 if value is None else value - mean)) > 1e-3


def failing_run(folder: Path, steps: int) -> tuple[Fails, Ledger, list[Mapping[str, float]]]:
    """A run on :class:`Fails`, and what it logged for each step."""
    reward, ledger = Fails(), Ledger()

    class Kept(CropGRPOTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            ledger.trainer = self

    settings = grpo_runs.told(max_steps=steps, learning_rate=1e-3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpo_run, "CropGRPOTrainer", Kept)
        grpo_run.train_grpo(settings, folder, rewards=[reward], callbacks=[ledger])
    return reward, ledger, grpo_runs.logged(folder)
