"""Screens and charts: tiles with big figures, lists of settings, bars and lines with their values."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.cells import House, fit, house_style
from cropvlm_core.training.pages.fields import Entry, pick_fields
from cropvlm_core.training.pages.grids import money_maker
from cropvlm_core.training.pages.invent import company, invented_word, person
from cropvlm_core.training.pages.press import Press, text_length
from cropvlm_core.training.pages.prose import WORDS, sentence
from cropvlm_core.training.pages.sheet import Page, Span, line_height

_TRADES = ("utility", "travel", "bank", "staff", "trade", "shipping", "advertising", "engineering")
_MENU = (
    "Home|Settings|Profile|Search|Messages|Calendar|Reports|Help|Sign out|Files|Edit|View|Tools|"
    "Overview|Orders|Billing|Users|Library|Downloads|Favourites|Inbox|Sent|Drafts|Teams|Privacy"
).split("|")
_BUTTONS = (
    "Save|Cancel|OK|Apply|Edit|Delete|Next|Back|Buy now|Send|Add|Close|Details|Sign in".split("|")
)
_OF_BAR = (
    "What is the value of {c}?|What is the value for {c}?|How much is {c}?|Which figure stands at {c}?|"
    "What number is shown for {c}?|Read the value of {c}.|{c}?|What does the chart show for {c}?|"
    "How high is the bar of {c}?|What is written at the bar {c}?"
)
_AXIS = (
    "What is on the vertical axis?|What does the y-axis show?|What is the label of the vertical axis?|"
    "Which unit does the y axis have?"
)
_SERIES = (
    "Alpha Beta Gamma Delta", "2016 2017 2018 2019 2020 2021 2022 2023", "Jan Feb Mar Apr May Jun Jul Aug",
    "North South East West Centre", "Mon Tue Wed Thu Fri Sat Sun", "Q1 Q2 Q3 Q4",
    "Germany France Spain Italy Japan Brazil India Kenya Norway Chile",
    "Bread Milk Rice Coffee Tea Fish Soup Cake", "Under 18|18-29|30-44|45-59|60 and over",
    "Strongly agree|Agree|Neutral|Disagree|No answer", "Men|Women|Children|All",
)  # fmt: skip


def screen(rng: random.Random, *, held_out: bool = False) -> Page:
    """A window of a program or web site: a bar, a menu, tiles with figures, lists of settings."""
    width = rng.choice((420, 640, 900, 1100, 1280))
    height = round(width * (rng.uniform(1.3, 2.1) if width < 600 else rng.uniform(0.55, 0.9)))
    dark = rng.random() < 0.3
    sheet = Press(width, height, rng, paper=rng.choice((20, 35, 50)) if dark else 255)
    house = house_style(rng, rng.randint(12, 18))
    house.ink, house.mark = (235 if dark else rng.choice((0, 40))), rng.choice(("", "", ":"))
    asker = Asker(sheet, rng, rng.choice(("screen", "page", "window", "display")), "en", held_out)
    margin = house.size * rng.uniform(0.8, 2)
    title = rng.choice((company(rng), " ".join(rng.sample(WORDS, 2)).title(), person(rng)))
    bar = house.step() * rng.uniform(1.6, 2.6)
    shade = rng.choice((0, 60, 110, 225)) if not dark else 70
    sheet.box((0, 0, width, bar), ink=shade, fill=shade)
    title = fit(title, house.font(1.2, bold=True), width * 0.5)
    if title:
        span = sheet.text(margin, bar / 2 - house.step(1.2) / 2, title, house.font(1.2, bold=True),
                          ink=255 if shade < 128 else 0)  # fmt: skip
        asker.title(title, span)
    y, left = bar + margin, margin
    if width > 600 and rng.random() < 0.6:  # a menu at the side
        left += _menu(sheet, rng, house, margin, y)
    room = width - left - margin
    entries = pick_fields(rng, rng.randint(5, 22), tuple(rng.sample(_TRADES, 2)))
    while entries and y < height - margin - 6 * house.size:
        cut = rng.randint(2, 8)
        some, entries = entries[:cut], entries[cut:]
        draw = _tiles if rng.random() < 0.5 else _settings
        y = draw(sheet, rng, house, asker, some, left, y, room) + margin
    if y < height - 4 * house.size:
        x = left
        for text in rng.sample(_BUTTONS, rng.randint(1, 3)):
            wide = text_length(house.font(), text) + 2 * house.size
            if x + wide > width - margin:
                break
            fill = rng.choice((70, 120, 225))
            sheet.box((x, y, x + wide, y + house.step() * 1.6), ink=fill, fill=fill)
            sheet.text(x + house.size, y + house.step() * 0.3, text, house.font(),
                       ink=255 if fill < 128 else 0)  # fmt: skip
            x += wide + house.size
    asker.finish()
    return sheet.page("screen")


def _menu(sheet: Press, rng: random.Random, house: House, margin: float, y: float) -> float:
    names = rng.sample(_MENU, rng.randint(4, 10))
    wide = max(text_length(house.font(), name) for name in names) + 2 * margin
    for name in names:
        sheet.text(margin, y, name, house.font(), ink=house.ink)
        y += house.step() * 1.8
    return wide


def _tiles(
    sheet: Press, rng: random.Random, house: House, asker: Asker, entries: list[Entry], x: float,
    y: float, room: float,
) -> float:  # fmt: skip
    """Big values with a small label over or under them."""
    columns = max(1, min(len(entries), int(room / (11 * house.size))))
    wide = room / columns
    big = house.font(rng.choice((1.2, 1.6, 2.2)), bold=rng.random() < 0.6)
    small = house.font(rng.choice((0.75, 0.9, 1.0)))
    over, framed, middle = rng.random() < 0.5, rng.random() < 0.6, rng.random() < 0.4
    tall = line_height(big) + line_height(small) + house.size * 1.6
    for number, entry in enumerate(entries):
        row, column = divmod(number, columns)
        left, top = x + column * wide, y + row * (tall + house.size * 0.6)
        if top + tall > sheet.height:
            return top
        if framed:
            sheet.box((left, top, left + wide - house.size * 0.5, top + tall), ink=150)
        inner = wide - house.size * 1.5
        label, value = fit(entry.label, small, inner), fit(entry.value, big, inner)
        at, align = (left + wide / 2, "centre") if middle else (left + house.size * 0.5, "left")
        low = top + house.size * 0.4
        gap = line_height(small if over else big) + house.size * 0.3
        sheet.text(at, low if over else low + gap, label, small, ink=house.ink, align=align)
        if value and label == entry.label:
            entry.value = value
            span = sheet.text(
                at, low + gap if over else low, value, big, ink=house.ink, align=align
            )
            asker.entry(entry, span, "below" if over else "above")
    rows = -(-len(entries) // columns)
    return y + rows * (tall + house.size * 0.6)


def _settings(
    sheet: Press, rng: random.Random, house: House, asker: Asker, entries: list[Entry], x: float,
    y: float, room: float,
) -> float:  # fmt: skip
    """Rows with the label at the left and the value at the right end."""
    font, step = house.font(), house.step() * rng.uniform(1.3, 2.2)
    room = min(room, house.size * rng.uniform(22, 60))
    ruled = rng.random() < 0.6
    for entry in entries:
        if y + step > sheet.height:
            return y
        label = fit(entry.label + house.mark, font, room * 0.55)
        if label == entry.label + house.mark:
            span = sheet.text(x, y, label, font, ink=house.ink)
            entry.value = fit(entry.value, font, room - (span[2] - x) - house.size)
            if entry.value:
                place = sheet.text(x + room, y, entry.value, font, ink=house.ink, align="right")
                asker.entry(entry, place, "right")
            if ruled:
                sheet.rule(y + step * 0.85, x, x + room, ink=170)
        y += step
    return y


def chart(rng: random.Random, *, held_out: bool = False) -> Page:
    """Bars, lying or standing, or a line, each with its name and its printed value."""
    width, height = rng.randint(560, 1100), rng.randint(420, 800)
    sheet = Press(width, height, rng)
    house = house_style(rng, rng.randint(12, 20))
    asker = Asker(sheet, rng, rng.choice(("chart", "figure", "diagram", "graph")), "en", held_out)
    margin = house.size * 1.5
    title = rng.choice((
        f"{' '.join(rng.sample(WORDS, 2)).title()} by {rng.choice(WORDS)}", sentence(rng, 4, 9),
        f"{company(rng)}: {rng.choice(WORDS)}",
    ))  # fmt: skip
    span = sheet.wrap(margin, margin, title, house.font(1.3, bold=True), width - 2 * margin)
    asker.title(title, span)
    top, bottom = span[3] + house.size * 2.5, height - margin - house.size * 3
    series = rng.choice(_SERIES)
    names = series.split("|") if "|" in series else series.split()
    if rng.random() < 0.3:
        names = [invented_word(rng) for _ in range(rng.randint(3, 8))]
    names = names[: rng.randint(3, 10)]
    values = [rng.uniform(0.1, 1) for _ in names]
    texts = _figures(rng, values)
    if len({text.casefold() for text in names}) < len(names) or bottom - top < 8 * house.size:
        names, values, texts = names[:1], values[:1], texts[:1]
    lying = rng.random() < 0.4
    draw = _lying if lying else _standing
    spans = draw(sheet, rng, house, names, values, texts, (margin, top, width - margin, bottom))
    for name, text, place in zip(names, texts, spans, strict=True):
        if place is not None:
            asker.add(_OF_BAR, text, place, "chart", c=name)
    if rng.random() < 0.5:
        text = rng.choice(("Source: ", "Data: ", "Note: ")) + company(rng)
        sheet.text(margin, height - margin - house.step(0.8), text, house.font(0.8), ink=60)
    if rng.random() < 0.4:
        text = rng.choice(
            ("percent", "million USD", "thousands", "tonnes", "visitors", "share in %")
        )
        place = sheet.text(margin, top - house.size * 1.9, text, house.font(0.85))
        asker.add(_AXIS, text, place, "axis")
    asker.finish()
    return sheet.page("chart")


def _figures(rng: random.Random, values: list[float]) -> list[str]:
    scale = 10 ** rng.randint(1, 5)
    money = money_maker(rng)
    form: Callable[[float], str] = rng.choice((
        lambda v: f"{v * 100:.0f}%", lambda v: f"{v * 100:.1f}%", lambda v: f"{v * scale:,.0f}",
        lambda v: f"{v * 10:.2f}", lambda v: money(round(v * scale * 100)),
    ))  # fmt: skip
    return [form(value) for value in values]


def _standing(
    sheet: Press, rng: random.Random, house: House, names: list[str], values: list[float],
    texts: list[str], area: Span,
) -> list[Span | None]:  # fmt: skip
    left, top, right, bottom = area
    step = (right - left) / len(names)
    font, line = house.font(rng.choice((0.75, 0.85, 1.0))), rng.random() < 0.3
    sheet.rule(bottom, left, right)
    points, spans = [], []
    inside = rng.random() < 0.25
    for number, (name, value, text) in enumerate(zip(names, values, texts, strict=True)):
        x, y = left + (number + 0.5) * step, bottom - (bottom - top) * value
        points.append((x, y))
        shade = rng.choice((60, 110, 160))
        if not line:
            sheet.box((x - step * 0.35, y, x + step * 0.35, bottom), ink=shade, fill=shade)
        fits = text_length(font, text) < step * 1.05
        within = inside and not line and bottom - y > 2 * house.size
        at = y + 3 if within else y - line_height(font) - 3
        spans.append(
            sheet.text(x, at, text, font, align="centre", ink=255 if within and shade < 128 else 0)
            if fits and (not inside or within or line) else None
        )  # fmt: skip
        if text_length(font, name) > step * 1.05:
            spans[-1] = None
        else:
            sheet.text(x, bottom + 4, name, font, align="centre")
    if line:
        sheet.draw.line(points, fill=90, width=rng.choice((2, 3)))
    return spans


def _lying(
    sheet: Press, rng: random.Random, house: House, names: list[str], values: list[float],
    texts: list[str], area: Span,
) -> list[Span | None]:  # fmt: skip
    left, top, right, bottom = area
    font = house.font(rng.choice((0.8, 0.9, 1.0)))
    column = max(text_length(font, name) for name in names) + house.size * 0.6
    longest = right - left - column - max(text_length(font, text) for text in texts) - house.size
    step = (bottom - top) / len(names)
    spans: list[Span | None] = []
    for number, (name, value, text) in enumerate(zip(names, values, texts, strict=True)):
        y = top + (number + 0.5) * step
        low = y - line_height(font) / 2
        thick = min(step * 0.35, house.size * 1.5)
        end = left + column + max(2.0, longest * value)
        sheet.box(
            (left + column, y - thick, end, y + thick), ink=120, fill=rng.choice((90, 120, 150))
        )
        sheet.text(left + column - 5, low, name, font, align="right")
        spans.append(sheet.text(math.ceil(end) + 5, low, text, font))
    return spans
