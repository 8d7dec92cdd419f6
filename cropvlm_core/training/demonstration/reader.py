"""The frozen reader of the demonstration: a small VLM that reads the number in a crop.

It stands for the user's VLM: it sees the whole page and the crop, 64 pixels a side each, in the
very conversation of ``Zoom.conversation``, and is trained here from nothing to answer. It learns
from crops of every tightness, from crops that cut the card or show another one, and from pages
without a crop, always with the true answer: where it cannot be seen, what is learned is not to be
sure. So the likelihood of the answer rises as a crop holds the right card, and as its digits get
larger: :func:`landscape` measures it. The policy never learns from this module's boxes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean

import torch

from cropvlm_core.box import Box
from cropvlm_core.cropper import Proposal
from cropvlm_core.prompts import answer_prompt
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.training.demonstration.cards import (
    COLOURS,
    HELD_OUT_SEED,
    CardPage,
    draw_cards,
)
from cropvlm_core.training.demonstration.teaching import Course, teach
from cropvlm_core.training.small_vlm import SmallVLM, build_small_vlm
from cropvlm_core.transformers_vlm import TransformersVLM
from cropvlm_core.vlm import Conversation, ScoringVLM
from cropvlm_core.zoom import Zoom

READER = SmallVLM(
    vision_hidden=128,
    vision_layers=3,
    vision_heads=4,
    vision_intermediate=256,
    hidden=128,
    layers=3,
    heads=4,
    key_value_heads=4,
    intermediate=256,
    spread=0.06,
)
"""1.05 million parameters; 64 pixels a side, 16 tokens an image."""

READER_COURSE = Course(steps=3000)

_TIGHT = 1.4  # card sides: the widest crop while the digits are being learned
_WIDEST = 3.5
_ALONE = 0.3  # share of the course with tight crops only
_GROWN = 0.75  # share of the course after which crops are as wide as they get


def train_reader(
    folder: Path,
    course: Course = READER_COURSE,
    *,
    seed: int = 0,
    told: Callable[[int, float], None] | None = None,
) -> Path:
    """Train a reader and write its checkpoint, weights in bfloat16 (2.1 MB).

    Args:
        folder: where to.
        course: how long and how fast; the default takes about 20 minutes on one CPU core.
        seed: of the first weights; the pages are those of seeds from 0.
        told: called after every step with its number and loss.
    """
    texts = [answer_prompt(f"What number is on the {colour} card?") for colour in COLOURS] * 2
    build_small_vlm(folder, READER, seed=seed, texts=texts)
    vlm = TransformersVLM.from_pretrained(folder, device="cpu", dtype="float32")
    teach(vlm.model, vlm.processor, reading_lesson, course, told)
    vlm.model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def reading_lesson(number: int, done: float) -> tuple[Conversation, str]:
    """Page ``number`` with a crop and the answer; crops get wider and worse as ``done`` rises."""
    page = draw_cards(number)
    dice = random.Random(f"crop {number}")
    if done < _ALONE:
        box: Box | None = _around(page.cards[0].box, dice, _TIGHT)
    else:
        grown = min(1.0, (done - _ALONE) / (_GROWN - _ALONE))
        box = _any_crop(page, dice, _TIGHT * (_WIDEST / _TIGHT) ** grown)
    return _asked(page, box), page.cards[0].number


def _any_crop(page: CardPage, dice: random.Random, widest: float) -> Box | None:
    card, *others = page.cards
    chance = dice.random()
    if chance < 0.06:
        return None
    if chance < 0.2:
        return _around(dice.choice(others).box, dice, widest)
    if chance < 0.35:
        return _around(card.box, dice, widest, astray=0.7)
    return _around(card.box, dice, widest)


def _around(box: Box, dice: random.Random, widest: float, *, astray: float = 0.0) -> Box:
    """A crop 0.9 to ``widest`` times the box, which lies anywhere in it.

    ``astray``: by how many sides of the box it may lie outside.
    """
    size = math.exp(dice.uniform(math.log(0.9), math.log(widest)))
    shape = math.exp(dice.uniform(-0.2, 0.2))
    return _scaled(
        box,
        size * shape,
        size / shape,
        dice.uniform(-1, 1) * (max(0.0, size - 1) / 2 + astray),
        dice.uniform(-1, 1) * (max(0.0, size - 1) / 2 + astray),
    )


def _scaled(box: Box, wide: float, high: float, right: float = 0.0, down: float = 0.0) -> Box:
    """``box`` scaled about its centre and moved by shares of its sides, cut at the page's edge."""
    x, y = box.centre
    x, y = x + right * box.width, y + down * box.height
    half_width, half_height = box.width * wide / 2, box.height * high / 2
    return Box(
        min(max(x - half_width, 0.0), 0.95),
        min(max(y - half_height, 0.0), 0.95),
        max(min(x + half_width, 1.0), 0.05),
        max(min(y + half_height, 1.0), 0.05),
    )


def _asked(page: CardPage, box: Box | None) -> Conversation:
    proposal = Proposal(reason="no_zoom_needed") if box is None else Proposal((box,))
    return Zoom.follow(VisualQuestion(page.image, page.cards[0].question), proposal).conversation()


VIEWS: Mapping[str, Callable[[CardPage], Box | None]] = {
    "the card": lambda page: page.cards[0].box,
    "1.25 times the card": lambda page: _scaled(page.cards[0].box, 1.25, 1.25),
    "1.5 times the card": lambda page: _scaled(page.cards[0].box, 1.5, 1.5),
    "2 times the card": lambda page: _scaled(page.cards[0].box, 2, 2),
    "2.5 times the card": lambda page: _scaled(page.cards[0].box, 2.5, 2.5),
    "3 times the card": lambda page: _scaled(page.cards[0].box, 3, 3),
    "4 times the card": lambda page: _scaled(page.cards[0].box, 4, 4),
    "2 times the card, off its centre": lambda page: _scaled(page.cards[0].box, 2, 2, 0.4, 0.3),
    "the left half of the card": lambda page: _scaled(page.cards[0].box, 0.5, 1, -0.25),
    "another card": lambda page: page.cards[1].box,
    "2 times another card": lambda page: _scaled(page.cards[1].box, 2, 2),
    "no crop": lambda _: None,
}
"""Crops by name, as boxes on a page whose first card is asked for."""


def landscape(reader: ScoringVLM, count: int = 128) -> dict[str, float]:
    """Mean log-likelihood (nats) of the true answer by :data:`VIEWS`, over ``count`` new pages.

    A guess is -4.5, the logarithm of one in 90.
    """
    pages = [draw_cards(seed) for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + count)]
    answers = [page.cards[0].number for page in pages]
    return {
        name: fmean(reader.log_likelihood([_asked(page, view(page)) for page in pages], answers))
        for name, view in VIEWS.items()
    }
