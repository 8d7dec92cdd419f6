"""How likely a model finds given replies, with shared beginnings read once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from cropvlm_core.transformers_vlm import shared
from cropvlm_core.transformers_vlm.inputs import Prompt
from cropvlm_core.vlm import Conversation


def order(conversations: Sequence[Conversation]) -> list[int]:
    """Return the rows so that those which begin with the same image object are neighbours."""
    groups: dict[int | None, list[int]] = {}
    for row, conversation in enumerate(conversations):
        first = id(conversation.images[0]) if conversation.images else None
        groups.setdefault(first, []).append(row)
    return [row for rows in groups.values() for row in rows]


def _beginning(prompt: Prompt) -> Hashable:
    """What prompts must have in common for their beginning to be read once."""
    return prompt.ids[: _length(prompt)], tuple(map(id, prompt.pictures[:1]))


def _length(prompt: Prompt) -> int:
    return prompt.head or 1  # without a picture, a first token to follow


def reply_log_likelihoods(
    model: Any,
    prompts: Sequence[Prompt],
    features: Sequence[Sequence[torch.Tensor]],
    replies: Sequence[Sequence[int]],
) -> list[float]:
    """Sum the log-probabilities of the tokens of each reply (natural log), as one batch.

    Prompts that begin with the same picture share the reading of it, as those of one group of
    rollouts do: the whole page, then each its own crop.

    Args:
        model: of the SmolVLM family.
        prompts: conversations up to the reply.
        features: of the pictures of each prompt, in order, as ``shared.encode`` gives them.
        replies: token ids, one sequence a prompt.
    """
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(_beginning(prompt), len(numbers)) for prompt in prompts]
    first = [index.index(number) for number in range(len(numbers))]
    prefixes = shared.read_prefixes(
        model,
        [prompts[row].ids[: _length(prompts[row])] for row in first],
        [feature for row in first for feature in features[row][:1]],
    )
    rest = [prompt.ids[_length(prompt) :] for prompt in prompts]
    longest = max(len(ids) + len(reply) for ids, reply in zip(rest, replies, strict=True))
    tokens = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask, scored = torch.zeros_like(tokens), torch.zeros_like(tokens)
    for row, (ids, reply) in enumerate(zip(rest, replies, strict=True)):
        end = len(ids) + len(reply)
        tokens[row, :end] = torch.tensor([*ids, *reply])
        mask[row, :end] = 1
        scored[row, len(ids) : end] = 1
    device = model.device
    values, _ = shared.log_probabilities(
        model,
        prefixes,
        torch.tensor(index, device=device),
        tokens.to(device),
        mask.to(device),
        scored=scored.to(device),
        features=[feature for row in features for feature in row[1:]],
    )
    return summed(values)


def summed(values: torch.Tensor) -> list[float]:
    """Add up each row in float64, on the CPU: MPS has no float64."""
    return [float(value) for value in values.cpu().double().sum(-1).tolist()]
