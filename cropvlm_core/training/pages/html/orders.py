"""Orders and bookings of many dated lines, from HTML: heads crammed with values over a schedule."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable

from cropvlm_core.training.pages.fields import Entry, pick_fields
from cropvlm_core.training.pages.grids import (
    NUMBERED,
    Column,
    cell_text,
    money_maker,
)
from cropvlm_core.training.pages.heads import PARTIES, TITLES, language_of
from cropvlm_core.training.pages.html.blocks import columns_of, letterhead, pairs, party
from cropvlm_core.training.pages.html.entries import dates, kin, merged, names_of, parts_of, trades
from cropvlm_core.training.pages.html.leaf import Leaf, escape
from cropvlm_core.training.pages.html.look import look
from cropvlm_core.training.pages.html.sheets import sheet_of
from cropvlm_core.training.pages.html.tables import grid, headings_of, line_table
from cropvlm_core.training.pages.invent import date_text, day
from cropvlm_core.training.pages.prose import WORDS, paragraph
from cropvlm_core.training.pages.sheet import Page

_NOTE = (
    "What does the note under {r} say?|What is noted for {r}?|What stands below {r} in small print?|"
    "Which remark belongs to {r}?|What is the comment on {r}?"
)


def booking(rng: random.Random, *, held_out: bool = False) -> Page:
    """An order for many dated lines: heads crammed with labelled values over a schedule."""
    language = language_of(rng)
    leaf = Leaf(
        rng,
        look(rng, 6, 9),
        rng.choice(("order", "contract", "page", "document")),
        language,
        held_out,
    )
    title = rng.choice(TITLES["order"].get(language, TITLES["order"]["en"]).split("|"))
    body = [letterhead(leaf, title)]
    entries = pick_fields(rng, rng.randint(8, 24), trades(rng), language)
    if rng.random() < 0.6 and language == "en":
        entries = merged(rng, entries, kin(rng, rng.randint(2, 5)))
    if rng.random() < 0.3 and language == "en":
        entries = merged(rng, entries, dates(rng, rng.randint(3, 6)))
    if held_out and rng.random() < 0.5:  # kept out of training: a column of cards at the side
        cards = "".join(f'<div class="f" style="padding:.5em;margin-bottom:.6em">{pairs(leaf, part, 1, "grid")}</div>'
                        for part in parts_of(rng, entries, 3))  # fmt: skip
        body.append(columns_of([cards, _schedule(leaf, rng, 6)], (34, 66)))
        return leaf.page("booking", "".join(body), sheet_of(rng, landscape=0.5), low=10, high=24)
    body += _heads(leaf, rng, entries)
    body.append(_schedule(leaf, rng, 9) if rng.random() < 0.75 else line_table(leaf, rng))
    if rng.random() < 0.4:
        body.append(f'<p class="s">{escape(paragraph(rng, 1, 3))}</p>')
    if rng.random() < 0.35:
        body.append(pairs(leaf, pick_fields(rng, 3, trades(rng), language, names_of(entries)), 3))
    return leaf.page("booking", "".join(body), sheet_of(rng), low=12, high=26)


def _heads(leaf: Leaf, rng: random.Random, entries: list[Entry]) -> list[str]:
    """The labelled values over a schedule: beside each other, below each other, with addresses."""
    parts = parts_of(rng, entries, rng.randint(2, 4))
    blocks = [pairs(leaf, part, rng.choice((1, 1, 2))) for part in parts]
    for which in rng.sample(range(len(PARTIES)), rng.choice((0, 0, 1, 1, 2))):
        blocks.insert(rng.randint(0, len(blocks)), party(leaf, which))
    out: list[str] = []
    while blocks:
        count = rng.choice((1, 2, 2, 3))
        some, blocks = blocks[:count], blocks[count:]
        out.append(
            columns_of(some) if len(some) > 1 else f'<div style="margin:.4em 0">{some[0]}</div>'
        )
        if rng.random() < 0.2:
            out.append("<hr>")
    return out


_WHAT = Column("Program|Programme|Show|Title|Course|Service|Event|Task|Activity|Session", "words")
_SCHEDULE = (
    Column("Length|Duration|Dur.|Len", "duration"),
    Column("Rate|Price|Unit Price|Cost|Fee|Gross Rate", "money", True),
    Column("Room|Hall|Channel|Track|Station|Line|Gate", "code5"),
    Column("Type|Class|Cat.|Kind", "choice{NM,BNS,CM,PP,A,B,C,Std,Std,Flex}"),
    Column("Spots|Units|Qty|Seats|Places", "int2", True),
    Column("Status|State", "choice{Open,Booked,Aired,Held,Free,Late,OK}"),
    Column("Amount|Total|Net|Value", "money2", True),
    Column("Remarks|Note|Copy|Material", "words"),
    Column("Contact|Agent|Host|Teacher|Driver", "person"),
    Column("Ref.|ID|Code|Order No.", "code"),
    Column("Rating|Share|Disc.|Comm.", "percent", True),
)
_DAYS = ("Mon Tue Wed Thu Fri Sat Sun", "M Tu W Th F Sa Su", "Monday Tuesday Wednesday Thursday Friday",
         "MTWTF-- -----SS M-W-F-- -T-T--- MTWTFSS", "M-F Sa Su M-Su Sa-Su")  # fmt: skip


def _schedule(leaf: Leaf, rng: random.Random, most: int) -> str:
    """Lines by day and time, of which each comes back: only both together tell the lines apart."""
    count = rng.randint(6, 26)
    first_day = day(rng)
    form, step = rng.random(), rng.choice((1, 1, 7))
    if rng.random() < 0.6:
        days = [
            date_text(random.Random(form), first_day + datetime.timedelta(days=step * k))
            for k in range(rng.randint(2, 7))
        ]
    else:
        days = rng.choice(_DAYS).split()
    times = _times(rng)
    all_slots = len(days) * len(times)
    slots = sorted(rng.sample(range(all_slots), min(count, all_slots)))
    both = [(days[k // len(times)], times[k % len(times)]) for k in slots]
    money = money_maker(rng)
    columns = [
        Column("Day|Date|Days|Air Date|On", "date"),
        Column("Time|Start|From|Hour|Time Period", "time"),
        _WHAT,
    ]
    columns += rng.sample(_SCHEDULE, rng.randint(2, most - 3))
    few = [cell_text(rng, "words", money) for _ in range(rng.randint(2, 5))]
    rows = [
        [a, b, rng.choice(few), *(cell_text(rng, column.kind, money) for column in columns[3:])]
        for a, b in both
    ]
    if rng.random() < 0.5:
        columns = [NUMBERED, *columns]
        rows = [[str(number + 1), *row] for number, row in enumerate(rows)]
    first = columns.index(_WHAT) - 2
    return grid(leaf, columns, rows, rng.randint(5, 12), keys=(first, first + 1), ends=False,
                names=headings_of(rng, columns), below=_notes(leaf, rng, rows, first))  # fmt: skip


def _notes(
    leaf: Leaf, rng: random.Random, rows: list[list[str]], first: int
) -> Callable[[int], str] | None:
    """What stands in small print under some of the rows, or None."""
    if rng.random() < 0.75:
        return None

    def note(number: int) -> str:
        if rng.random() < 0.6:
            return ""
        text = leaf.mark(" ".join(rng.choices(WORDS, k=rng.randint(2, 6))).capitalize())
        row = rows[number]
        leaf.offer(_NOTE, text, "cell", r=f"{row[first]} {row[first + 1]}")
        return str(text)

    return note


def _times(rng: random.Random) -> list[str]:
    """Some hours of a day in one way of writing, alone or from - to."""
    style, ranged, mark = rng.randrange(3), rng.random() < 0.5, rng.choice((" - ", "-", "–"))
    hours = sorted(rng.sample(range(5, 23), rng.randint(2, 6)))

    def text(hour: int, minute: int) -> str:
        half = "AM" if hour < 12 else "PM"
        return (
            f"{hour:02d}:{minute:02d}",
            f"{hour % 12 or 12}:{minute:02d} {half}",
            f"{hour % 12 or 12}:{minute:02d}{half[0].lower()}",
        )[style]

    found = []
    for hour in hours:
        minute = rng.choice((0, 0, 30, 15))
        end = text(hour + 1, rng.choice((0, 30)))
        found.append(text(hour, minute) + (mark + end if ranged else ""))
    return found
