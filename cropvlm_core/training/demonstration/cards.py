"""Pages of coloured cards with a number on each: the task of the learning demonstration.

A page shows four cards of different colours, and the question asks for the number on one of them.
At the 64 pixels a side that both models see, colour and place of every card are plain, and the
digits are five pixels high: a person can still guess them, the small reader cannot (its likelihood
of the answer is that of chance). In a crop it reads them. So the likelihood of the answer tells a
good crop from a bad one without any box label.

What this does not show: that anything is learned about documents, real print or real questions.

The digits are drawn with the font inside Pillow: pages need no fonts of the machine, and a seed
gives the same page everywhere.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from cropvlm_core.box import Box, Pixels
from cropvlm_core.questions import AnsweredQuestion

COLOURS = {
    "red": (205, 35, 45),
    "blue": (40, 80, 215),
    "green": (25, 140, 60),
    "purple": (140, 50, 170),
    "orange": (235, 125, 10),
    "black": (35, 35, 35),
}
SIDE = 448
"""Pixels of a page, both sides."""

CARDS = 4
HELD_OUT_SEED = 10**9
"""Seeds from here on are for measuring; training never draws them."""

_APART = 8  # pixels between two cards, at least
_MARGIN = 4
_DIGITS = 46  # font size: digits of 33 pixels


@dataclass(frozen=True)
class Card:
    """A card: its colour's name, the number printed on it (10..99), and where it lies."""

    colour: str
    number: str
    pixels: Pixels

    @property
    def question(self) -> str:
        """What is asked about it."""
        return f"What number is on the {self.colour} card?"

    @property
    def box(self) -> Box:
        """Its place in fractions of the page."""
        return Box.from_pixels(self.pixels, (SIDE, SIDE))


@dataclass(frozen=True)
class CardPage:
    """A page and its cards, in random order."""

    image: Image.Image
    cards: tuple[Card, ...]


def draw_cards(seed: int, cards: int = CARDS) -> CardPage:
    """Draw the page of ``seed``: ``SIDE`` x ``SIDE`` pixels, RGB, with that many cards."""
    dice = random.Random(seed)
    page = Image.new("RGB", (SIDE, SIDE), tuple(dice.randint(225, 255) for _ in range(3)))
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=_DIGITS)
    drawn: list[Card] = []
    for colour in dice.sample(sorted(COLOURS), cards):
        left, top, right, bottom = pixels = _free_place(dice, drawn)
        card = Card(colour, str(dice.randint(10, 99)), pixels)
        pen.rectangle((left, top, right - 1, bottom - 1), fill=COLOURS[colour])
        middle = ((left + right) / 2, (top + bottom) / 2)
        pen.text(middle, card.number, "white", font, anchor="mm", stroke_width=1)
        drawn.append(card)
    return CardPage(page, tuple(drawn))


def _free_place(dice: random.Random, cards: list[Card]) -> Pixels:
    while True:
        width, height = dice.randint(62, 76), dice.randint(54, 66)
        left = dice.randint(_MARGIN, SIDE - width - _MARGIN)
        top = dice.randint(_MARGIN, SIDE - height - _MARGIN)
        place = (left, top, left + width, top + height)
        if not any(_touch(place, card.pixels) for card in cards):
            return place


def _touch(one: Pixels, other: Pixels) -> bool:
    return (
        one[0] < other[2] + _APART
        and other[0] < one[2] + _APART
        and one[1] < other[3] + _APART
        and other[1] < one[3] + _APART
    )


def card_questions(count: int, first_seed: int = 0) -> Iterator[AnsweredQuestion]:
    """One question about each of ``count`` pages, with its answer and its true box.

    The box is there to measure with. What learns from rewards is given
    ``dataclasses.replace(question, boxes=())``.
    """
    for seed in range(first_seed, first_seed + count):
        page = draw_cards(seed)
        card = page.cards[0]
        yield AnsweredQuestion(
            page.image,
            card.question,
            id=f"cards-{seed}",
            answers=(card.number,),
            boxes=(card.box,),
            field=card.colour,
            width=SIDE,
            height=SIDE,
        )


def teacher_questions(
    count: int, first_seed: int = 0, *, right: float = 0.6
) -> Iterator[AnsweredQuestion]:
    """The questions of :func:`card_questions` with the boxes of a deliberately poor teacher.

    With probability ``right`` the box is around the right card, otherwise around another one. It
    is 1.1 to 2.8 times as wide and as high as the card and off its centre by up to a fifth.
    """
    for seed, question in enumerate(card_questions(count, first_seed), first_seed):
        dice = random.Random(f"teacher {seed}")
        cards = draw_cards(seed).cards
        card = cards[0] if dice.random() < right else dice.choice(cards[1:])
        yield dataclasses.replace(question, boxes=(_carelessly_around(card.box, dice),))


def _carelessly_around(box: Box, dice: random.Random) -> Box:
    width, height = box.width * dice.uniform(1.1, 2.8), box.height * dice.uniform(1.1, 2.8)
    x, y = box.centre
    x += dice.uniform(-0.2, 0.2) * width
    y += dice.uniform(-0.2, 0.2) * height
    return Box(
        max(x - width / 2, 0.0),
        max(y - height / 2, 0.0),
        min(x + width / 2, 1.0),
        min(y + height / 2, 1.0),
    )
