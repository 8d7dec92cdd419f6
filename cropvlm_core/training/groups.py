"""The groups of GRPO: in which order questions come, and which rollouts can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from trl.trainer.utils import RepeatSampler


class GroupSampler(RepeatSampler):
    """TRL's sampler, which names each question once for every rollout, with an order an epoch.

    TRL draws orders one after the other, so that a run which is gone on with in its second epoch
    would get that of the first again.
    """

    def __init__(self, *args: Any, epoch: Callable[[], int]) -> None:
        """Take what TRL's takes; ``epoch`` tells which one begins, from 0."""
        super().__init__(*args)
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Draw the order of this epoch from it and the seed."""
        if self.shuffle:
            self.generator.manual_seed(self.seed + self.epoch())
        yield from super().__iter__()


def comparable(scores: torch.Tensor, group: int) -> torch.Tensor:
    """Leave out rollouts that lack a value which others of their group have.

    TRL would count it as 0, for or against a box whose reward model merely failed.

    Args:
        scores: (rows, rewards), NaN where there is none; groups lie together.
        group: rows of one.
    """
    lacking = scores.view(-1, group, scores.shape[-1]).isnan()
    lacking = (lacking & ~lacking.all(1, keepdim=True)).any(-1).view(-1, 1)
    return scores.masked_fill(lacking, torch.nan)


def shuffled(batch: dict[str, Any], group: int) -> dict[str, Any]:
    """Change the order of the groups; their rows stay together, so that work can be shared."""
    rows = len(batch["rows"])
    order = torch.arange(rows)
    if rows % group == 0:
        order = order.view(-1, group)[torch.randperm(rows // group)].flatten()
    return {
        name: value[order.to(value.device)]
        if isinstance(value, torch.Tensor) and value.dim() > 0
        else value
        for name, value in batch.items()
    }
