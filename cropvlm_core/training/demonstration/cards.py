"""Pages of coloured cards with a number on each: the task of the learning demonstration.

A page shows cards of different colours, and the question asks for the number on one of them: four
where the reader learns, one where the policy does. At the 64 pixels a side that both models see,
colour and place of every card are plain, and the digits are five pixels high: a person can still
guess them, the small reader cannot (its likelihood of the answer is that of chance). In a crop it
reads them. So the likelihood of the answer tells a good crop from a bad one without any box label.

What this does not show: that anything is learned about documents, real print or real questions.

The digits are drawn with the font inside Pillow: pages need no fonts of the machine, and a seed
gives the same page everywhere.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from cropvlm_core.box import Box, Pixels

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
