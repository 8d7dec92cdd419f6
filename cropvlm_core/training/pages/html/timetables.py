"""Timetables, departures and tables of figures, from HTML: cells named by row and column."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.fields import pick_fields
from cropvlm_core.training.pages.grids import cell_text, money_maker
from cropvlm_core.training.pages.html.blocks import letterhead, pairs
from cropvlm_core.training.pages.html.leaf import Leaf, Mark, escape
from cropvlm_core.training.pages.html.look import look
from cropvlm_core.training.pages.html.sheets import sheet_of
from cropvlm_core.training.pages.html.tables import lattice
from cropvlm_core.training.pages.invent import invented_word, person
from cropvlm_core.training.pages.prose import WORDS, sentence
from cropvlm_core.training.pages.sheet import Page

_SLOT = (
    "What is on {h} at {t}?|What happens on {h} at {t}?|Which entry stands under {h} at {t}?|"
    "What is planned for {h}, {t}?|{h} {t}?|What takes place on {h} at {t}?|Which {w} is on {h} at {t}?|"
    "In the row of {t}, what stands under {h}?|Find the entry for {h} at {t}.|On {h} at {t}, what is on?|"
    "What is scheduled at {t} on {h}?|Who or what is listed for {h} at {t}?"
)
_STOP = (
    "When does {h} stop at {t}?|At what time does {h} leave {t}?|What time is given for {t} in column {h}?|"
    "When does {h} call at {t}?|What is the time of {h} at {t}?|{t}: time of {h}?|Departure of {h} from {t}?|"
    "In the row of {t}, what stands under {h}?|When is {h} in {t}?|Which time does {h} have at {t}?"
)
_FIGURE = (
    "What is the value of {t} for {h}?|What is {t} in {h}?|How high is {t} in {h}?|{t} {h}?|{h}: {t}?|"
    "Which figure stands for {t} under {h}?|In the row of {t}, what stands under {h}?|"
    "What is the figure for {t} in the column {h}?|Give {t} for {h}.|What number does {t} have in {h}?"
)
_DAYS = (
    "Monday Tuesday Wednesday Thursday Friday", "Mon Tue Wed Thu Fri Sat Sun", "MON TUE WED THU FRI SAT",
    "Montag Dienstag Mittwoch Donnerstag Freitag", "lundi mardi mercredi jeudi vendredi",
    "lunes martes miércoles jueves viernes", "Room 1|Room 2|Room 3|Room 4", "Isnin Selasa Rabu Khamis Jumaat",
    "Team A|Team B|Team C", "Week 1|Week 2|Week 3|Week 4", "Stage 1|Stage 2|Main Hall",
)  # fmt: skip
_SUBJECTS = (
    "Maths English History Physics Art Music Sport Biology Chemistry Geography French German Latin Yoga Pilates "
    "Spinning Drama Choir Lunch Break Training Meeting Workshop Lecture Tutorial Lab Swimming Reading"
).split()


def timetable(rng: random.Random, *, held_out: bool = False) -> Page:
    """Lessons by day and hour, departures by stop and train, figures by year."""
    leaf = Leaf(
        rng,
        look(rng, 7, 10.5),
        rng.choice(("timetable", "plan", "page", "schedule")),
        "en",
        held_out,
    )
    make = rng.choice((_week, _week, _departures, _figures))
    title = " ".join(
        [
            invented_word(rng),
            rng.choice(("Timetable", "Schedule", "Plan", "Programme", "Overview", "2024", "")),
        ]
    ).strip()
    body = [letterhead(leaf, title) if rng.random() < 0.4 else f"<h1>{leaf.title(title)}</h1>"]
    if rng.random() < 0.4:
        body.append(
            pairs(
                leaf, pick_fields(rng, rng.randint(2, 5), ("school", "travel")), rng.choice((1, 2))
            )
        )
    body += [make(leaf, rng) for _ in range(rng.choice((1, 1, 2)))]
    if rng.random() < 0.5:
        body.append(f'<p class="s">{escape(sentence(rng))}</p>')
    return leaf.page("timetable", "".join(body), sheet_of(rng, landscape=0.45), low=10, high=24)


def _crossed(leaf: Leaf, rng: random.Random, heads: list[str], sides: list[str], cells: list[list[str]],
             forms: str, corner: str, *, turned: bool = False) -> str:  # fmt: skip
    """A table whose cells are named by their column's head and their row's side."""
    if turned:
        heads, sides = sides, heads
        cells = [list(row) for row in zip(*cells, strict=True)]
    look_of, align = rng.choice(("x", "x", "u", "")), rng.choice(("", "c", "r"))
    marks: list[list[Mark | str]] = []
    for side, row in zip(sides, cells, strict=True):
        line: list[Mark | str] = [side]
        for head, text in zip(heads, row, strict=True):
            mark = leaf.mark(text)
            if len(text) > 1 and rng.random() < 0.3:
                day, time = (side, head) if turned else (head, side)
                leaf.offer(forms, mark, "cell", h=day, t=time, w="subject")
            line.append(mark)
        marks.append(line)
    shades = ["f" if number % 2 and not look_of else "" for number in range(len(marks))]
    sides_of = [rng.choice(("b", "")), *[align] * len(heads)]
    first = rng.uniform(12, 26)
    widths = [first, *[(100 - first) / len(heads)] * len(heads)] if rng.random() < 0.7 else []
    words = [
        word for text in (*heads, *(text for row in cells for text in row)) for word in text.split()
    ]
    if widths and not leaf.look.holds(words, widths[1]):
        widths = []
    return lattice(
        [corner, *heads],
        marks,
        sides_of,
        look_of,
        rng.choice(("f b", "b", "d b", "")),
        shades,
        widths,
    )


def _week(leaf: Leaf, rng: random.Random) -> str:
    names = rng.choice(_DAYS)
    days = names.split("|") if "|" in names else names.split()
    start, long = rng.randint(6, 12), rng.choice((45, 50, 60, 90))
    ranged, count = rng.random() < 0.5, rng.randint(4, 10)
    hours = []
    for number in range(count):
        begin, end = start * 60 + number * long, start * 60 + (number + 1) * long
        text = f"{begin // 60}:{begin % 60:02d}"
        hours.append(f"{text} - {end // 60}:{end % 60:02d}" if ranged else text)
    taught = rng.sample(_SUBJECTS, rng.randint(6, 16))

    def entry() -> str:
        if rng.random() < 0.15:
            return rng.choice(("", "-"))
        extra = rng.choice(
            ("", "", f" ({person(rng)})", f" R{rng.randint(1, 40)}", f" {invented_word(rng)}")
        )
        return rng.choice(taught) + extra

    cells = [[entry() for _ in days] for _ in hours]
    corner = rng.choice(("", "Time", "Hour", "Lesson"))
    return _crossed(leaf, rng, days, hours, cells, _SLOT, corner, turned=rng.random() < 0.2)


def _departures(leaf: Leaf, rng: random.Random) -> str:
    lines = [
        f"{rng.choice(('RE', 'IC', 'S', 'Bus', 'No.', 'T'))} {number}"
        for number in rng.sample(range(1, 900), rng.randint(3, 9))
    ]
    stops = [
        invented_word(rng) + rng.choice(("", "", " Central", " Market", " Road"))
        for _ in range(rng.randint(5, 16))
    ]
    stops = list(dict.fromkeys(stops))
    starts, mark = [rng.randint(300, 1300) for _ in lines], rng.choice((":", ":", "."))
    cells = []
    for number in range(len(stops)):
        row = []
        for start in sorted(starts):
            at = start + number * 7 + rng.randint(0, 4)
            row.append(
                f"{at // 60 % 24:02d}{mark}{at % 60:02d}"
                if rng.random() < 0.92
                else rng.choice(("-", "|"))
            )
        cells.append(row)
    return _crossed(leaf, rng, lines, stops, cells, _STOP, rng.choice(("Stop", "Station", "")))


def _figures(leaf: Leaf, rng: random.Random) -> str:
    first = rng.randint(1995, 2020)
    heads = rng.choice((
        [str(first + k) for k in range(rng.randint(3, 7))],
        [f"Q{k}/{first % 100:02d}" for k in range(1, 5)],
        "Jan Feb Mar Apr May Jun".split(), ["Budget", "Actual", "Change"], ["Male", "Female", "Total"],
    ))  # fmt: skip
    money = money_maker(rng)
    names = [
        " ".join(rng.choices(WORDS, k=rng.randint(1, 3))).capitalize()
        for _ in range(rng.randint(5, 18))
    ]
    names = list(dict.fromkeys(names))
    kind = rng.choice(("int3", "percent", "money", "int2"))
    cells = [[cell_text(rng, kind, money) for _ in heads] for _ in names]
    return _crossed(
        leaf, rng, heads, names, cells, _FIGURE, rng.choice(("", "in thousands", "Item", "%"))
    )
