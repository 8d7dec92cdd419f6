"""What a policy in training does on questions it never trains on: the boxes that inference takes.

Sampled rewards on training questions rise with luck; these figures are of the likeliest box on
held-out questions, through the same cropper that users load. Hits need true boxes and are for
looking only: no reward sees them.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from transformers import TrainerCallback

from cropvlm_core.box import union_area
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.reward_values import values_of
from cropvlm_core.training.rewards import Reward
from cropvlm_core.training.rollouts import Rollout
from cropvlm_core.transformers_vlm import TransformersCropper
from cropvlm_core.zoom import Zoom


def measure(
    cropper: TransformersCropper,
    questions: Sequence[AnsweredQuestion],
    rewards: Sequence[Reward] = (),
    *,
    batch_size: int = 16,
) -> dict[str, float]:
    """Return the figures of greedy boxes: shares 0..1, rewards as their functions give them.

    ``hit_rate`` (where boxes are known): the answer lies at least 90 % inside the crop. ``area``:
    mean share of the page, 1 where the whole page is used. ``whole_rate``: how often that is.
    ``confidence``: mean probability of the box's text. One more figure for each reward.
    """
    return _means(list(_rows(cropper, questions, rewards, batch_size)))


def _rows(
    cropper: TransformersCropper,
    questions: Sequence[AnsweredQuestion],
    rewards: Sequence[Reward],
    batch_size: int,
) -> Iterator[dict[str, float]]:
    """The figures of each question, as far as it has them."""
    for start in range(0, len(questions), batch_size):
        opened = [question.opened() for question in questions[start : start + batch_size]]
        proposals = cropper.propose_batch(opened)
        rollouts = [
            Rollout(
                question,
                proposal.text or "",
                proposal,
                repaired=False,
                zoom=Zoom.follow(question, proposal, rules=cropper.rules),
                no_zoom=cropper.settings.no_zoom,
            )
            for question, proposal in zip(opened, proposals, strict=True)
        ]
        scores = {reward.__name__: values_of(reward, rollouts) for reward in rewards}
        for place, rollout in enumerate(rollouts):
            boxes = [crop.box for crop in rollout.zoom.crops]
            area = union_area(boxes) if boxes else 1.0
            row = {
                "area": area,
                "whole_rate": float(area == 1),
                "hit_rate": rollout.question.hit(boxes),
                "confidence": next(iter(rollout.proposal.confidences), None),
            } | {name: values[place] for name, values in scores.items()}
            yield {name: value for name, value in row.items() if value is not None}


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: statistics.fmean(row[name] for row in rows if name in row) for name in names}


class HeldOut(TrainerCallback):
    """Measures before the first step, every ``every`` steps and at the end.

    The figures go to the trainer's loggers as ``held_out/...``, and, a line each, to ``file``. Of
    several processes, each measures its share of the questions.
    """

    def __init__(
        self,
        trainer: Any,
        questions: Sequence[AnsweredQuestion],
        rewards: Sequence[Reward],
        *,
        every: int,
        file: Path,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Measure the cropper of ``trainer``, a :class:`CropGRPOTrainer`.

        ``stopping`` tells whether the run is being ended early: then there is no time to measure,
        and what is missing is made up for when the run goes on.
        """
        self.trainer = trainer
        self.cropper: TransformersCropper = trainer.cropper
        self.questions = list(questions)
        self.rewards = list(rewards)
        self.every = every
        self.file = file
        self.stopping = stopping

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure what training starts from, unless that was done before a stop."""
        if state.global_step % self.every == 0:
            self._measure(args, state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure every so many steps, and after the last, before it is saved."""
        due = state.global_step % self.every == 0 or state.global_step >= state.max_steps
        if due and not self.stopping():
            self._measure(args, state, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure what came out, where a callback ended the run."""
        if not self.stopping():
            self._measure(args, state, control)

    def _measure(self, args: Any, state: Any, control: Any) -> None:
        if any(step == state.global_step for step, _ in _measured(state)):
            return
        model, mine = self.trainer.model, self.questions[args.process_index :: args.world_size]
        training, logs = model.training, control.should_log
        model.eval()  # also: what the trainer has of its own goes out with lines of training alone
        try:
            with self.trainer.accelerator.autocast():  # as in training
                rows = gather_object(list(_rows(self.cropper, mine, self.rewards, 16)))
            self.trainer.log({f"held_out/{name}": value for name, value in _means(rows).items()})
        finally:
            model.train(training)
        control.should_log = logs  # the trainer takes this line for its own of this step
        if state.is_world_process_zero:
            lines = [
                json.dumps({"step": step} | dict(sorted(figures.items())))
                for step, figures in _measured(state)
            ]
            self.file.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _measured(state: Any) -> Iterator[tuple[int, dict[str, float]]]:
    """The figures so far by step; those after the checkpoint that a run goes on from are gone."""
    for logs in state.log_history:
        figures = {
            name.removeprefix("held_out/"): value
            for name, value in logs.items()
            if name.startswith("held_out/")
        }
        if figures:
            yield logs["step"], figures
