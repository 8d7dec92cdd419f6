"""GRPO of the embedded policy: a sampled crop earns what a frozen reader makes of it.

Group-relative policy optimisation (Shao et al. 2024, arXiv 2402.03300, section 4.1) as Dr. GRPO has
it (Liu et al. 2025, arXiv 2503.20783, section 3.2): the advantage of an action is its reward less
the mean of its group, not divided by the group's deviation. Every action is used for one update, of
the policy that drew it, so that no ratio of policies has to be clipped; there is no KL term.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cropvlm_core.embedded.page_input import PageInput
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.embedded_policy import (
    Actions,
    Look,
    draw,
    log_probability,
    proposal_of,
)
from cropvlm_core.training.network import PolicyNetwork
from cropvlm_core.training.reward_values import values_of
from cropvlm_core.training.rewards import Reward
from cropvlm_core.training.rollouts import Rollout
from cropvlm_core.zoom import Zoom


@dataclass(frozen=True)
class GroupFigures:
    """What the groups of one page came to.

    ``reward``: mean of all that were valued. ``signal``: share of groups whose rewards differ.
    ``area``: mean share of the page that the crops show.
    """

    reward: float
    signal: float
    area: float


def group_loss(
    network: PolicyNetwork,
    seen: Look,
    page: PageInput,
    questions: Sequence[AnsweredQuestion],
    settings: PolicySettings,
    rewards: Sequence[Reward],
    *,
    group: int = 8,
    shuffle: random.Random | None = None,
) -> tuple[Tensor, GroupFigures]:
    """Draw a group of actions for each question on one page, reward them, return the loss.

    Args:
        network: the policy.
        seen: what it makes of these questions: one page, K questions, with its gradient.
        page: the prepared page.
        questions: K, opened, all about the page.
        settings: how an action becomes a box, and a box a crop: those of inference.
        rewards: their values are added up; an action that one of them has no value for is left out.
        group: actions a question.
        shuffle: the control: deals each group's rewards out among its actions by this chance.
    """
    actions = draw(network, seen, group)
    rollouts = roll_out_actions(seen, actions, page, questions, settings)
    values = summed(rewards, rollouts).view(len(questions), group)
    if shuffle is not None:
        order = [shuffle.sample(range(group), group) for _ in questions]
        values = values.gather(1, torch.tensor(order))
    gains = advantages(values)
    chances = log_probability(network, seen, actions)[0]
    known = values[values.isfinite()]
    figures = GroupFigures(
        reward=float(known.mean()) if len(known) else 0.0,
        signal=float((gains.abs().amax(1) > 1e-6).float().mean()),
        area=sum(each.zoom.box.area if each.zoom.box else 1.0 for each in rollouts) / len(rollouts),
    )
    return -(gains * chances).mean(), figures


def roll_out_actions(
    seen: Look,
    actions: Actions,
    page: PageInput,
    questions: Sequence[AnsweredQuestion],
    settings: PolicySettings,
) -> list[Rollout]:
    """The crops that inference would cut for the actions, group by group."""
    shares = seen.cells.detach()[0].numpy()
    rollouts = []
    for index, question in enumerate(questions):
        size = question.open().size
        for cell, steps in zip(actions.cells[0, index], actions.steps[0, index], strict=True):
            proposal = proposal_of(page, size, shares[index], int(cell), steps.numpy(), settings)
            zoom = Zoom.follow(question, proposal, rules=settings.rules)
            rollouts.append(Rollout(question, "", proposal, repaired=False, zoom=zoom))
    return rollouts


def summed(rewards: Sequence[Reward], rollouts: Sequence[Rollout]) -> Tensor:
    """The sum of all rewards of each rollout, (N,) float32; NaN where one of them has no value."""
    total = torch.zeros(len(rollouts))
    for reward in rewards:
        values = values_of(reward, rollouts)
        total += torch.tensor([float("nan") if value is None else value for value in values])
    return total


def advantages(values: Tensor) -> Tensor:
    """Each reward less the mean of its group: (K, G); 0 where there is no reward (NaN)."""
    known = values.isfinite()
    mean = values.nan_to_num(0).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
    return torch.where(known, values - mean, 0.0)
