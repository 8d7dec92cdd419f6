"""Watching a GRPO run: pictures of what the policy tries, and alarms when it goes astray.

:class:`SamplePictures` writes pages with the boxes of a group, coloured by advantage;
:class:`HealthAlarms` logs moving figures and warns in plain words. Both are given the trainer::

    trainer.add_callback(SamplePictures(trainer, folder))
    trainer.add_callback(HealthAlarms(trainer))

In a distributed run both look at the rollouts of the main process alone.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from PIL import Image
from transformers import TrainerCallback, TrainerState

from cropvlm_core.errors import DataError
from cropvlm_core.training.group_picture import draw_group
from cropvlm_core.training.health import (
    Health,
    Limits,
    Rewards,
    SamePlace,
    groups_of,
    percent,
    same_box_share,
    written_box,
)
from cropvlm_core.training.rollouts import Rollout

logger = logging.getLogger(__name__)

_ALARMS = {
    "no_signal": "{value} of the groups taught nothing, because all their rollouts earned the "
    "same. Try a likelihood as reward instead of right or wrong, a higher temperature, more "
    "rollouts a question, or questions that the policy neither always nor never gets right.",
    "largest_area": "the crops show {value} of the page on average: the policy drifts to the whole "
    "page, where zooming gains nothing. Try a reward that falls with the area (area_price), a "
    "higher kl, or smaller growth in the zoom rules.",
    "smallest_area": "the crops show {value} of the page on average, perhaps too little to read. "
    "Look at the sample pictures; try larger smallest sides in the zoom rules.",
    "same_box": "{value} of the rollouts are one and the same box, whatever the question: the "
    "policy is collapsing. Try a lower learning rate, a higher kl, a higher temperature, and an "
    "earlier checkpoint.",
    "same_place": "boxes for different questions overlap {value} as much as boxes for the same "
    "one: the policy does not look at the question. Unless all your questions ask for one place, "
    "try a longer warm start, a higher learning rate, or a reward that tells crops apart; where it "
    "did before, an earlier checkpoint.",
    "unreadable": "{value} of the rollouts hold no readable box. Try a longer warm start, a lower "
    "temperature, or a reward for the format (valid_box); see that max_new_tokens leaves room for "
    "a box, and that the notation is the one of the warm start.",
    "no_zoom": "{value} of the rollouts ask for the whole page. If the questions need a closer "
    "look, try a reward that a crop must earn over the whole page, or forbid it (no_zoom: false).",
    "repaired": "{value} of the rollouts write a box that is reversed or partly off the page. Try "
    "a reward for the format (valid_box); see that the notation is the one of the warm start.",
    "missing_rewards": "a reward has no value for {value} of the rollouts. Unless it is meant for "
    "some questions only, see whether its model or server fails.",
}


class Watched(Protocol):
    """What the callbacks need of a trainer; ``CropGRPOTrainer`` has it."""

    @property
    def rollouts(self) -> Sequence[Rollout]:
        """Those of the last rewarded batch; a new list for each batch."""
        ...

    @property
    def advantages(self) -> Sequence[float]:
        """One a rollout."""
        ...

    @property
    def reward_values(self) -> Rewards:
        """Of each reward, one value a rollout."""
        ...

    def note(self, name: str, value: float) -> None:
        """Log a figure of training with the trainer's own."""
        ...


class _Batch(NamedTuple):
    """As :class:`Health` takes it."""

    rollouts: Sequence[Rollout]
    advantages: Sequence[float]
    rewards: Rewards


class _Watch(TrainerCallback):
    """Takes each batch of training once, evaluations never, on the main process."""

    def __init__(self, trainer: Watched) -> None:
        self.trainer = trainer
        self._seen = trainer.rollouts

    def on_substep_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Look: with gradient accumulation there may be several batches a step."""
        rollouts = self.trainer.rollouts
        if state.is_world_process_zero and rollouts and rollouts is not self._seen:
            rewards = dict(self.trainer.reward_values)
            self._take(_Batch(rollouts, self.trainer.advantages, rewards), state)
        self._seen = rollouts

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Look."""
        self.on_substep_end(args, state, control)

    def on_evaluate(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Pass over the rollouts of the evaluation."""
        self._seen = self.trainer.rollouts

    def _take(self, batch: _Batch, state: TrainerState) -> None:
        raise NotImplementedError


class SamplePictures(_Watch):
    """Writes ``samples/step-000120.png`` every so many steps: some groups, see :func:`draw_group`.

    A picture that cannot be written (a full disk) is a warning, not the end of the run.
    """

    def __init__(self, trainer: Watched, folder: Path, *, every: int = 50, groups: int = 3) -> None:
        """Write to ``folder / "samples"`` after every ``every`` steps, ``groups`` side by side.

        Raises:
            DataError: ``every`` or ``groups`` is below 1.
        """
        if every < 1 or groups < 1:
            raise DataError(f"expected every and groups >= 1, got {every} and {groups}")
        super().__init__(trainer)
        self.folder = folder / "samples"
        self.every = every
        self.groups = groups
        self._latest: _Batch | None = None

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Write a picture if it is time."""
        super().on_step_end(args, state, control)
        if self._latest is None or state.global_step % self.every:
            return
        picture = self._picture(self._latest)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            picture.save(self.folder / f"step-{state.global_step:06d}.png")
        except OSError as error:
            logger.warning("step %d: no sample picture: %s", state.global_step, error)

    def _take(self, batch: _Batch, state: TrainerState) -> None:  # noqa: ARG002
        self._latest = batch

    def _picture(self, batch: _Batch) -> Image.Image:
        parts = [
            draw_group(
                [batch.rollouts[index] for index in group],
                [batch.advantages[index] for index in group],
                {name: [of[index] for index in group] for name, of in batch.rewards.items()},
            )
            for group in groups_of(batch.rollouts)[: self.groups]
        ]
        width = sum(part.width + 24 for part in parts) - 24
        picture = Image.new("RGB", (width, max(part.height for part in parts)), "white")
        left = 0
        for part in parts:
            picture.paste(part, (left, 0))
            left += part.width + 24
        return picture


class HealthAlarms(_Watch):
    """Logs moving figures of :class:`Health` as ``health/...``; warns when one leaves its limit.

    A figure is an exponential mean over about ``limits.memory`` batches; ``same_box`` and
    ``same_place`` count over just as many, because one batch may hold one question only. A warning
    comes once a crossing, through :mod:`logging`, with what to try. A line of progress is logged as
    information whenever the trainer logs.
    """

    def __init__(self, trainer: Watched, limits: Limits | None = None) -> None:
        """Watch ``trainer``; ``limits`` None: the defaults."""
        super().__init__(trainer)
        self.limits = limits or Limits()
        self.figures: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self._boxes: deque[list[str | None]] = deque(maxlen=self.limits.memory)
        self._place = SamePlace(self.limits.memory)
        self._raised: set[str] = set()

    def on_log(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Log a line of progress."""
        logs = kwargs.get("logs")
        if state.is_world_process_zero and logs and "reward" in logs:
            logger.info("%s", progress_line(logs, state.global_step, state.max_steps))

    def _take(self, batch: _Batch, state: TrainerState) -> None:
        now = Health.of(*batch)
        self._boxes.append([written_box(rollout) for rollout in batch.rollouts])
        for name, value in dataclasses.asdict(now).items():
            if value is None:
                continue
            self._counts[name] += 1
            before = self.figures.get(name, 0.0)
            rate = max(1 / self._counts[name], 1 / self.limits.memory)
            self.figures[name] = before + (value - before) * rate
        self.figures["same_box"] = same_box_share(text for texts in self._boxes for text in texts)
        if (same_place := self._place.take(batch.rollouts)) is not None:
            self._counts["same_place"] += 1
            self.figures["same_place"] = same_place
        for name, value in self.figures.items():
            self.trainer.note(f"health/{name}", value)
        for alarm in _ALARMS:
            self._judge(alarm, state.global_step)

    def _judge(self, alarm: str, step: int) -> None:
        name = "area" if alarm.endswith("_area") else alarm
        limit: float = getattr(self.limits, alarm)
        if self._counts[name] < self.limits.memory:
            return
        value = self.figures[name]
        if alarm == "smallest_area":
            over, back = value < limit, value > limit / self.limits.release
        else:
            over, back = value > limit, value < limit * self.limits.release
        if over and alarm not in self._raised:
            self._raised.add(alarm)
            logger.warning("step %d: %s", step, _ALARMS[alarm].format(value=percent(value)))
        elif back:
            self._raised.discard(alarm)


def progress_line(logs: Mapping[str, Any], step: int, steps: int = 0) -> str:
    """Return one line of what the trainer logged: ``step 120/800  reward 0.512  hits 41 % ...``.

    Args:
        logs: as a callback's ``on_log`` gets them; what is missing is left out.
        step: optimisation steps done.
        steps: of all, or 0.
    """
    parts = [f"step {step}/{steps}" if steps > 0 else f"step {step}"]
    for name, key, share in (
        ("reward", "reward", False),
        ("hits", "health/hit_rate", True),
        ("area", "health/area", True),
        ("kl", "kl", False),
    ):
        value = logs.get(key)
        if value is not None:
            parts.append(f"{name} {percent(value) if share else format(value, '.3g')}")
    return "  ".join(parts)
