"""Pages that are little but tables: lists, price lists, timetables, results, schedules."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.cells import House, fit
from cropvlm_core.training.pages.fields import plain
from cropvlm_core.training.pages.grids import (
    KEYS,
    Column,
    ask_table,
    line_columns,
    make_rows,
    money_maker,
    print_table,
)
from cropvlm_core.training.pages.heads import paper
from cropvlm_core.training.pages.invent import company, date_text, invented_word
from cropvlm_core.training.pages.press import Press
from cropvlm_core.training.pages.prose import WORDS, paragraph, sentence
from cropvlm_core.training.pages.sheet import Page, Span

_SERIES = (
    "January February March April May June July August September October November December",
    "Mon Tue Wed Thu Fri Sat Sun",
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "2015 2016 2017 2018 2019 2020 2021 2022 2023 2024",
    "Q1 Q2 Q3 Q4",
    "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    "S M L XL XXL",
    "North South East West",
    "A B C D E F G",
    "Morning Noon Evening Night",
    "1st 2nd 3rd 4th 5th",
    "Men Women Children Total",
    "Plan Actual Difference",
    "Min Max Mean Median",
)
_TOPICS = (
    "Price List|Timetable|Results|Summary of {w}|Table {n}|Schedule|Staff List|Inventory|Attendance|"
    "Overview of {w}|Quarterly {w}|Rates|Statistics|Measurements|Menu|Opening Hours|Comparison|Budget|"
    "Table {n}: {w}|Sales by {w}|{w} Report|Shift Plan|Stock Report|Rankings|List of {w}|Forecast|Log"
).split("|")
_HEADINGS = (
    "What is the title of the table that lists {r}?|In which table does {r} stand?|"
    "Which heading stands above the table with {r}?",
    "What is heading number {k}?|What is the {o} heading?|Which table title comes {o}?|"
    "What is the title of the {o} table?",
)
_ORDINALS = ("first", "second", "third", "fourth")
_SOURCE = (
    "What is the source of the data?|Who provided the data?|Source?|Which source is given?|"
    "Where do the figures come from?|What does the source line name?"
)
_TOTAL = (
    "What is the total of {c}?|What is the sum of {c}?|What total stands under {c}?|{c} in total?"
)


def table(rng: random.Random, *, held_out: bool = False) -> Page:
    """A page with one to three titled tables."""
    sheet, house, margin = paper(rng, landscape=0.3)
    asker = Asker(sheet, rng, "table", "en", held_out)
    margin = max(10.0, margin)
    y = margin
    count = rng.choice((1, 1, 1, 2, 3))
    room = sheet.height - margin
    if rng.random() < 0.4:
        name = company(rng) if rng.random() < 0.5 else _topic(rng)
        x, align = rng.choice(((margin, "left"), (sheet.width / 2, "centre")))
        span = sheet.wrap(x, y, name, house.font(1.6, bold=True), sheet.width - 2 * margin, align=align,
                          ink=house.ink)  # fmt: skip
        asker.add("What is the main heading of the page?|What is printed at the very top?|"
                  "What is the headline of the page?|main heading", name, span, "title")  # fmt: skip
        y = span[3] + house.size
        if rng.random() < 0.4:
            y = (
                sheet.wrap(margin, y, paragraph(rng), house.font(), sheet.width - 2 * margin)[3]
                + house.size
            )
    titles: list[tuple[str, Span]] = []
    taken: set[str] = set()
    for number in range(count):
        bottom = y + (room - y) / (count - number) - 2 * house.size
        if bottom - y < 7 * house.size:
            break
        y = _one(sheet, rng, house, asker, margin, y, bottom, titles, taken, single=count == 1)
    if len(titles) > 1:
        for index, (title, span) in enumerate(titles):
            asker.add(_HEADINGS[1], title, span, "title", k=str(index + 1), o=_ORDINALS[index])
    asker.finish()
    return sheet.page("table")


def _topic(rng: random.Random) -> str:
    word = rng.choice(WORDS).title() if rng.random() < 0.7 else invented_word(rng)
    return rng.choice(_TOPICS).format(w=word, n=rng.randint(1, 12))


def _one(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, y: float, bottom: float,
    titles: list[tuple[str, Span]], taken: set[str], *, single: bool,
) -> float:  # fmt: skip
    """A title, a table and perhaps a note; returns the bottom."""
    room = sheet.width - 2 * margin
    title = _topic(rng)
    if title in [held for held, _ in titles]:
        title += f" {rng.randint(2, 99)}"
    font = house.font(rng.choice((1.0, 1.2, 1.4)), bold=rng.random() < 0.75)
    x, align = rng.choice(((margin, "left"), (margin, "left"), (sheet.width / 2, "centre")))
    span = sheet.text(x, y, fit(title, font, room), font, ink=house.ink, align=align)
    titles.append((fit(title, font, room), span))
    y = span[3] + house.size * rng.uniform(0.4, 1.0)
    columns, names = _matrix(rng) if rng.random() < 0.35 else _listing(rng, sheet.width)
    money = money_maker(rng)
    rows = make_rows(rng, columns, rng.choice((3, 5, 8, 12, 20, 35)), money)
    key = next(k for k, column in enumerate(columns) if column in KEYS)
    rows = [row for row in rows if plain(row[key]) not in taken] or rows[:1]
    width = room if rng.random() < 0.75 else room * rng.uniform(0.6, 0.95)
    totals = rng.random() < 0.25 and key == 0
    if totals:
        last = [
            "" if not column.right else _like(rng, rows[0][k]) for k, column in enumerate(columns)
        ]
        last[0] = rng.choice(("Total", "TOTAL", "Sum", "All", "Average"))
        rows = [*rows[: max(2, int((bottom - y) / (2.2 * house.size)))], last]
    printed = print_table(
        sheet, rng, house, names, [c.right for c in columns], rows, margin, y, width, bottom
    )
    if (
        totals
        and printed.cells
        and printed.cells[-1][0] == rows[-1][0]
        and rows[-1][0].lower() in ("total", "sum")
    ):
        for k, column in enumerate(columns):
            place = printed.spans[-1][k]
            if column.right and place and single:
                asker.add(_TOTAL, printed.cells[-1][k], place, "cell", c=printed.names[k])
    ask_table(asker, rng, columns, printed, 10 if single else 6, ends=single and not totals)
    shown = [row[key] for row in printed.cells if row[key]]
    if shown:
        row = rng.choice(shown)
        if sum(plain(other) == plain(row) for other in shown) == 1:
            asker.add(_HEADINGS[0], titles[-1][0], span, "title", r=row)
        if single:
            asker.add("What is the title of the table?|Which heading does the table have?|What is the table called?|"
                      "What does the table show, by its title?", titles[-1][0], span, "title")  # fmt: skip
    taken.update(map(plain, shown))
    return _note(
        sheet, rng, house, asker, margin, printed.bottom + house.size * 0.5, bottom, single=single
    )


def _like(rng: random.Random, text: str) -> str:
    """The same sort of number with other digits."""
    return (
        "".join(rng.choice("123456789") if letter.isdigit() else letter for letter in text) or "0"
    )


def _matrix(rng: random.Random) -> tuple[list[Column], list[str]]:
    series = rng.choice(_SERIES).split()
    length = rng.randint(2, min(7, len(series)))
    start = rng.randint(0, len(series) - length)
    kind = rng.choice(("int2", "int3", "int3", "percent", "time", "money", "int2"))
    key = rng.choice(KEYS)
    columns = [key] + [
        Column(name, kind, kind != "time") for name in series[start : start + length]
    ]
    return columns, [
        rng.choice(("", key.name(rng), key.name(rng))),
        *series[start : start + length],
    ]


def _listing(rng: random.Random, width: int) -> tuple[list[Column], list[str]]:
    columns = line_columns(rng, rng.randint(2, 8 if width > 850 else 6))
    return columns, [column.name(rng) for column in columns]


def _note(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, y: float, bottom: float,
    *, single: bool,
) -> float:  # fmt: skip
    small = house.font(0.85)
    if y + 3 * house.size > bottom:
        return y + house.size
    draw = rng.random()
    if draw < 0.2:
        source = company(rng) if rng.random() < 0.7 else f"{company(rng)}, {date_text(rng)}"
        word = sheet.text(margin, y, "Source: ", small, ink=house.ink)
        source = fit(source, small, sheet.width - margin - word[2] - 6)
        if source:
            span = sheet.text(word[2] + 3, y, source, small, ink=house.ink)
            if single:
                asker.add(_SOURCE, source, span, "source")
            y = span[3]
    elif draw < 0.4:
        y = sheet.wrap(
            margin, y, f"* {sentence(rng)}", small, sheet.width - 2 * margin, ink=house.ink
        )[3]
    elif draw < 0.6:
        y = sheet.wrap(margin, y, paragraph(rng, 1, 3), house.font(), sheet.width - 2 * margin,
                       ink=house.ink)[3]  # fmt: skip
    return y + house.size * rng.uniform(0.8, 2)
