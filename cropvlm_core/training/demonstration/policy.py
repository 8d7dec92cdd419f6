"""The policy of the demonstration: where it starts from, and what it is first taught.

Pages here show one card, so that finding it needs no words: what is shown is that a policy learns
*where* from rewards alone. A careless teacher shows it how boxes are written: its boxes are too
large and slip to the lower right, so that they cut the card they mean. Nobody ever gives it better
ones.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

import torch

from cropvlm_core.box import Box
from cropvlm_core.prompts import cropper_prompt
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.demonstration.cards import COLOURS, SIDE, draw_cards
from cropvlm_core.training.demonstration.reader import READER
from cropvlm_core.training.small_vlm import build_small_vlm
from cropvlm_core.transformers_vlm.weights import load_model

POLICY = dataclasses.replace(READER, spread=0.02)
"""1.05 million parameters; 64 pixels a side, 16 tokens an image."""

_LOUDER, _PLACES_LOUDER = 3, 10


def build_policy(folder: Path, seed: int = 0) -> Path:
    """Write a policy with random weights.

    They are larger than usual, those of the places of patches above all: a small model that has to
    learn to see in minutes otherwise spends most of them on telling one place from another.
    """
    texts = [cropper_prompt(f"What number is on the {colour} card?") for colour in COLOURS] * 2
    build_small_vlm(folder, POLICY, seed=seed, texts=texts)
    model = load_model(folder, device=torch.device("cpu"), dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight *= _LOUDER
        model.model.vision_model.embeddings.position_embedding.weight *= _PLACES_LOUDER
    model.save_pretrained(folder)
    return folder


def lone_card_questions(count: int, first_seed: int = 0) -> Iterator[AnsweredQuestion]:
    """One question about each of ``count`` pages with one card, its answer and its true box.

    The box is there to measure with. What learns from rewards is given
    ``dataclasses.replace(question, boxes=())``.
    """
    for seed in range(first_seed, first_seed + count):
        page = draw_cards(seed, 1)
        card = page.cards[0]
        yield AnsweredQuestion(
            page.image,
            card.question,
            id=f"card-{seed}",
            answers=(card.number,),
            boxes=(card.box,),
            field=card.colour,
            width=SIDE,
            height=SIDE,
        )


def careless_questions(count: int, first_seed: int = 0) -> Iterator[AnsweredQuestion]:
    """The same questions with the boxes of a careless teacher.

    A box is 1.5 times as wide and as high as the card, and lies 0.45 of its sides too far to the
    right and too low, each give or take a tenth: about a third of the card is outside.
    """
    for seed, question in enumerate(lone_card_questions(count, first_seed), first_seed):
        dice = random.Random(f"teacher {seed}")
        (box,) = question.boxes
        width, height = box.width * dice.uniform(1.4, 1.6), box.height * dice.uniform(1.4, 1.6)
        x = box.centre[0] + dice.uniform(0.35, 0.55) * box.width
        y = box.centre[1] + dice.uniform(0.35, 0.55) * box.height
        slipped = Box(
            max(x - width / 2, 0.0),
            max(y - height / 2, 0.0),
            min(x + width / 2, 1.0),
            min(y + height / 2, 1.0),
        )
        yield dataclasses.replace(question, boxes=(slipped,))
