"""Squares to tick and rubber stamps."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.cells import House
from cropvlm_core.training.pages.fields import plain
from cropvlm_core.training.pages.fonts import pick_face
from cropvlm_core.training.pages.invent import date_text
from cropvlm_core.training.pages.press import Press, text_length
from cropvlm_core.training.pages.prose import WORDS
from cropvlm_core.training.pages.sheet import line_height

_QUESTIONS = (
    "Are you insured|Do you smoke|First visit|Paid in advance|Fragile|Returned before|Is a copy attached|"
    "Certified|Urgent|Insurance required|Keep dry|Signed by both|Subject to approval|Renewal|Parking needed|"
    "Vegetarian meals|Hazardous|Translation needed|Newsletter|Taxable|Refundable|Rush order|Member"
).split("|")
_TICKED = (
    "{l}: which box is ticked?|Which option is marked for {l}?|What is ticked under {l}?|{l}?|"
    "Which answer is crossed for {l}?|What was chosen for {l}?|Which box next to {l} is checked?"
)


def ticks(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, y: float
) -> float:
    """Questions with squares to tick, one of which is ticked."""
    font = house.font()
    side = house.size * 0.8
    before = rng.random() < 0.7
    for label in rng.sample(_QUESTIONS, rng.randint(1, 5)):
        if plain(label) in asker.labels:
            continue
        asker.labels.add(plain(label))
        if y > sheet.height - margin - 3 * house.size:
            break
        options = rng.choice((("Yes", "No"), ("Yes", "No"), ("Yes", "No", "N/A"),
                              tuple(word.title() for word in rng.sample(WORDS, 3))))  # fmt: skip
        span = sheet.text(margin, y, label + rng.choice(("?", ":", "?")), font, ink=house.ink)
        x = max(span[2] + house.size, margin + sheet.width * 0.36)
        needed = sum(text_length(font, option) + side + 1.8 * house.size for option in options)
        if x + needed > sheet.width - margin:
            y += house.step() * 1.2
            x = margin + house.size
        chosen = rng.randrange(-1, len(options))
        for number, option in enumerate(options):
            if x + text_length(font, option) + side + house.size > sheet.width - 2:
                break
            low = y + house.step() * 0.5 - side / 2
            if not before:
                span = sheet.text(x, y, option, font, ink=house.ink)
                x = span[2] + house.size * 0.4
            frame = (x, low, x + side, low + side)
            sheet.box(frame)
            if number == chosen:
                mark = rng.random()
                if mark < 0.6:
                    sheet.draw.line((x, low, x + side, low + side), fill=0, width=2)
                    sheet.draw.line((x, low + side, x + side, low), fill=0, width=2)
                elif mark < 0.8:
                    sheet.box((x + 2, low + 2, x + side - 2, low + side - 2), fill=0)
                else:
                    points = [
                        (x, low + side / 2),
                        (x + side / 3, low + side),
                        (x + side * 1.3, low - 4),
                    ]
                    sheet.draw.line(points, fill=0, width=2)
            x += side
            if before:
                span = sheet.text(x + house.size * 0.4, y, option, font, ink=house.ink)
                x = span[2]
            if number == chosen:
                asker.add(_TICKED, option, span, "ticked", l=label.lower())
            x += house.size * 1.2
        y += house.step() * rng.uniform(1.2, 1.5)
    return y + house.size * 0.6


def stamp(sheet: Press, rng: random.Random, house: House, margin: float, y: float) -> float:
    """A framed rubber stamp that answers nothing, in the free space at the bottom."""
    font = pick_face(rng, bold=True).at(round(house.size * rng.uniform(1.2, 2)))
    text = rng.choice(
        ("RECEIVED", "COPY", "PAID", "APPROVED", "ORIGINAL", "VOID", "URGENT", "FILED")
    )
    low = y + house.size * 2
    if low + 3 * line_height(font) > sheet.height - margin:
        return y
    wide = text_length(font, text) + 20
    if wide > sheet.width * 0.6:
        return y
    x, ink = rng.uniform(margin, sheet.width - margin - wide), rng.choice((90, 130, 160))
    tall = line_height(font) + 10
    sheet.text(x + 10, low + 5, text, font, ink=ink)
    if rng.random() < 0.5:
        small = house.font()
        when = date_text(rng)
        if text_length(small, when) < wide:
            sheet.text(x + 10, low + tall - 4, when, small, ink=ink)
            tall += line_height(small)
    sheet.draw.rounded_rectangle((x, low, x + wide, low + tall), radius=6, outline=ink, width=3)
    return low + tall + house.size
