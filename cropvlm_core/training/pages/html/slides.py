"""Slides, from HTML: a title, points, big figures, a small table."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.fields import pick_fields
from cropvlm_core.training.pages.grids import cell_text, line_columns, make_rows, money_maker
from cropvlm_core.training.pages.html.blocks import columns_of, logo, pairs
from cropvlm_core.training.pages.html.leaf import Leaf
from cropvlm_core.training.pages.html.look import look
from cropvlm_core.training.pages.html.papers import ORDINALS
from cropvlm_core.training.pages.html.sheets import slide_of
from cropvlm_core.training.pages.html.tables import grid
from cropvlm_core.training.pages.invent import company, person
from cropvlm_core.training.pages.prose import WORDS
from cropvlm_core.training.pages.sheet import Page

_NTH_POINT = (
    "What is the {o} point?|What does the {o} bullet say?|Read the {o} bullet point.|{o} point on the slide?|"
    "Which point comes {o}?|What is bullet number {n}?"
)
_SLIDE_NO = (
    "Which slide is this?|What is the slide number?|What number does the slide have?|slide number"
)
_TILE = "What is the figure for {r}?|Which number stands over {r}?|How much is {r}?|{r}?|What is the {r}?|Which figure is shown for {r}?"


def slide(rng: random.Random, *, held_out: bool = False) -> Page:
    """A slide: title, points, big figures, a small table, a foot with the number."""
    leaf = Leaf(rng, look(rng, 13, 21), rng.choice(("slide", "slide", "page")), "en", held_out)
    leaf.look.rules = "li{margin:.25em 0}"
    title = " ".join(rng.choices(WORDS, k=rng.randint(1, 6))).capitalize()
    heading = f'<h1 class="{rng.choice(("k", "", "d", "c"))}" style="font-size:{rng.uniform(1.5, 2.2):.1f}em;padding:.1em .3em">{leaf.title(title)}</h1>'
    blocks = [
        make(leaf, rng)
        for make in rng.sample(
            (_points, _points, _big_figures, _slide_table, _values), rng.choice((1, 2, 2))
        )
    ]
    body = heading + (columns_of(blocks) if len(blocks) > 1 else blocks[0])
    number, who = (
        leaf.mark(str(rng.randint(2, 60))),
        leaf.mark(rng.choice((company(rng), person(rng)))),
    )
    leaf.offer(_SLIDE_NO, number, "page")
    leaf.offer(
        "What is written at the bottom of the slide?|Whose name stands in the foot of the slide?|Who gives this talk?",
        who,
        "text",
    )
    foot = f'<div style="position:absolute;bottom:0;left:0;right:0" class="s">{columns_of([str(who), f"""<div class="r">{number}</div>"""])}</div>'
    if rng.random() < 0.4:
        heading_logo = logo(rng, 1.6)
        body = columns_of([body, heading_logo], (92, 8))
    return leaf.page("slide", body + foot, slide_of(rng), low=5, high=14)


def _points(leaf: Leaf, rng: random.Random) -> str:
    points = [
        leaf.mark(" ".join(rng.choices(WORDS, k=rng.randint(1, 7))).capitalize())
        for _ in range(rng.randint(3, 6))
    ]
    for number, point in enumerate(points):
        leaf.offer(_NTH_POINT, point, "text", o=ORDINALS[number], n=str(number + 1))
    kind = rng.choice(("ul", "ul", "ol"))
    return f"<{kind}>{''.join(f'<li>{point}</li>' for point in points)}</{kind}>"


def _big_figures(leaf: Leaf, rng: random.Random) -> str:
    money, cells, taken = money_maker(rng), [], set[str]()
    for _ in range(rng.randint(2, 4)):
        name = " ".join(rng.sample(WORDS, rng.randint(1, 2)))
        if name in taken:
            continue
        taken.add(name)
        value = leaf.mark(cell_text(rng, rng.choice(("percent", "int3", "money2", "int2")), money))
        leaf.offer(_TILE, value, "text", r=name)
        cells.append(
            f'<div class="c"><div class="b k" style="font-size:1.6em">{value}</div><div class="s">{name}</div></div>'
        )
    return columns_of(cells)


def _slide_table(leaf: Leaf, rng: random.Random) -> str:
    columns = line_columns(rng, rng.randint(2, 4))
    table = grid(leaf, columns, make_rows(rng, columns, rng.randint(2, 6), money_maker(rng)), 6)
    return f'<div style="font-size:.75em">{table}</div>'


def _values(leaf: Leaf, rng: random.Random) -> str:
    entries = pick_fields(rng, rng.randint(3, 6), ("staff", "engineering", "trade"))
    return f'<div style="font-size:.85em">{pairs(leaf, entries)}</div>'
