"""Teacher forcing in a plain loop: how the demonstration's models get what they start from.

The reader is made by it, and so is a policy that has never seen a page: what a real run begins
with, a pretrained VLM. It is no substitute for the warm start, which begins with a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from cropvlm_core.transformers_vlm.inputs import WholeInputs
from cropvlm_core.vlm import Conversation

IGNORED = -100
"""The label of tokens that are not learned."""

Lesson = Callable[[int, float], tuple[Conversation, str]]
"""From an example's number, and the share 0..1 of the teaching that is done, to the example."""


@dataclass(frozen=True)
class Course:
    """How long and how fast: ``learning_rate`` is the highest, after warm-up, before decay."""

    steps: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    warm_up: int = 100


def teach(
    model: Any,
    processor: Any,
    lesson: Lesson,
    course: Course,
    told: Callable[[int, float], None] | None = None,
) -> None:
    """Train all weights of ``model`` to write the replies of ``lesson``.

    Args:
        model: a ``transformers`` image-text-to-text model; changed in place.
        processor: its processor.
        lesson: makes the examples, each asked for once, in order.
        course: how long and how fast.
        told: called after every step with its number, from 1, and its loss: the mean negative
            log-likelihood of a token of a reply, in nats.
    """
    inputs = WholeInputs(processor, None)
    optimizer = torch.optim.AdamW(
        model.parameters(), course.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    model.train()
    for step in range(course.steps):
        done = step / course.steps
        rate = course.learning_rate * min(1.0, (step + 1) / course.warm_up)
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.525 + 0.475 * math.cos(math.pi * done))
        first = step * course.batch_size
        examples = [lesson(number, done) for number in range(first, first + course.batch_size)]
        loss = model(**_labelled(inputs, examples)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if told is not None:
            told(step + 1, float(loss.detach()))
    model.eval()


def _labelled(inputs: WholeInputs, examples: list[tuple[Conversation, str]]) -> Any:
    """A batch whose labels are the replies' tokens, the one that ends a reply included."""
    conversations = [conversation for conversation, _ in examples]
    replies = [reply for _, reply in examples]
    batch = inputs.batch(conversations, replies)
    labels = torch.full_like(batch["input_ids"], IGNORED)
    tokenizer = inputs.processor.tokenizer
    for row, (conversation, reply) in enumerate(examples):
        said = inputs.text.reply(conversation, reply).rstrip()
        count = len(tokenizer(said, add_special_tokens=False)["input_ids"])
        labels[row, -count:] = batch["input_ids"][row, -count:]
    return {**batch, "labels": labels}
