"""The embedded policy as a distribution: actions drawn from it, and their exact log-probabilities.

An action is a cell of the page's grid and a step of the ladder of distances for each of the box's
four sides; given the cell the four are independent. What an action shows is decided by inference:
the box that it would propose were it certain of this cell and these distances.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropvlm_core.cropper import Proposal
from cropvlm_core.embedded.page_input import PageInput
from cropvlm_core.embedded.proposing import propose
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.embedded.side_lengths import STEPS
from cropvlm_core.training.network import PolicyNetwork


@dataclass(frozen=True)
class Look:
    """What the network makes of K questions on each of P pages.

    Attributes:
        cells: log-probabilities (P, K, rows, columns), float32.
        state: what the distances to the sides are read from.
    """

    cells: Tensor
    state: tuple[Tensor, ...]


@dataclass(frozen=True)
class Actions:
    """G actions for each question: flat ``cells`` (P, K, G) and ``steps`` (P, K, G, 4), int64."""

    cells: Tensor
    steps: Tensor


def look_at(network: PolicyNetwork, features: Tensor, grams: Tensor) -> Look:
    """Put questions to encoded pages.

    Args:
        network: the policy.
        features: the page encoder's (P, grid, rows, columns): ``network.page(pixels)[1]``.
        grams: (P, K, WORDS, GRAMS) int64 questions.
    """
    logits, state = network.locate(features, grams)
    shares = logits.float().flatten(2).log_softmax(-1)
    return Look(shares.view_as(logits), state)


@torch.no_grad()
def draw(network: PolicyNetwork, seen: Look, count: int) -> Actions:
    """Draw ``count`` actions for each question from the policy as it is (temperature 1)."""
    shares = seen.cells.detach().flatten(2)
    pages, questions, places = shares.shape
    cells = torch.multinomial(shares.exp().view(-1, places), count, replacement=True)
    cells = cells.view(pages, questions, count)
    sides = _side_shares(network, seen, cells)
    steps = torch.multinomial(sides.exp().view(-1, STEPS), 1).view(*cells.shape, 4)
    return Actions(cells, steps)


def log_probability(network: PolicyNetwork, seen: Look, actions: Actions) -> Tensor:
    """The log-probability (P, K, G) of each action, natural logarithm, differentiable."""
    place = seen.cells.flatten(2).gather(2, actions.cells)
    sides = _side_shares(network, seen, actions.cells)
    return place + sides.gather(-1, actions.steps.unsqueeze(-1)).squeeze(-1).sum(-1)


def proposal_of(
    page: PageInput,
    size: tuple[int, int],
    cells: NDArray[np.float32],
    cell: int,
    steps: NDArray[np.int64],
    settings: PolicySettings,
) -> Proposal:
    """What inference proposes when it is certain of a cell and of the steps to its sides.

    Args:
        page: the prepared page.
        size: (width, height) of the upright page in pixels.
        cells: (rows, columns) log-probabilities of all cells, which place a widened box.
        cell: the flat number of the cell.
        steps: (4,) steps to left, top, right, bottom.
        settings: those of the weight file.
    """
    certain = np.zeros((1, 4, STEPS), dtype=np.float32)
    certain[0, np.arange(4), steps] = 1
    plain = dataclasses.replace(settings, calibration=None)
    return propose(page, size, cells, np.array([cell]), certain, plain, most=1)


def _side_shares(network: PolicyNetwork, seen: Look, cells: Tensor) -> Tensor:
    """Log-probabilities (P, K, G, 4, STEPS) of the distances from cells (P, K, G)."""
    logits = [
        network.side_logits(seen.state, cells[..., number]) for number in range(cells.shape[-1])
    ]
    return torch.stack(logits, 2).float().log_softmax(-1)
