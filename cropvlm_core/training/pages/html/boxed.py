"""Forms in sections of boxes with small labels inside them, from HTML, some boxes ticked."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.fields import Entry, pick_fields
from cropvlm_core.training.pages.heads import language_of
from cropvlm_core.training.pages.html.blocks import columns_of, logo, pairs
from cropvlm_core.training.pages.html.entries import dates, kin, merged, parts_of, trades
from cropvlm_core.training.pages.html.leaf import Leaf, escape
from cropvlm_core.training.pages.html.look import look
from cropvlm_core.training.pages.html.sheets import sheet_of
from cropvlm_core.training.pages.prose import WORDS
from cropvlm_core.training.pages.sheet import Page

_TICKED = (
    "Which box is ticked for {l}?|What is ticked under {l}?|Which option is marked for {l}?|"
    "What is the answer to {l}?|Which of the boxes is crossed for {l}?|What is checked at {l}?"
)


def boxed_form(rng: random.Random, *, held_out: bool = False) -> Page:
    """A form in sections of boxes with small labels inside them, some ticked."""
    language = language_of(rng)
    leaf = Leaf(
        rng,
        look(rng, 6.5, 9.5),
        rng.choice(("form", "form", "application", "sheet")),
        language,
        held_out,
    )
    leaf.look.mark = rng.choice(("", "", ":"))
    title = " ".join(rng.choices(WORDS, k=rng.randint(1, 3))).title() + rng.choice(
        (" Form", " Application", "", " Report")
    )
    heading = f'<h1 class="{rng.choice(("c", "", "b"))}">{leaf.title(title)}</h1>'
    body = [columns_of([logo(rng), heading], (15, 85)) if rng.random() < 0.5 else heading]
    entries = pick_fields(rng, rng.randint(10, 34), trades(rng), language)
    if language == "en" and rng.random() < 0.5:
        family = (
            kin(rng, rng.randint(2, 4)) if rng.random() < 0.6 else dates(rng, rng.randint(3, 6))
        )
        entries = merged(rng, entries, family)
    for number, part in enumerate(parts_of(rng, entries, rng.randint(2, 5))):
        head = f"{number + 1}. " if rng.random() < 0.5 else ""
        name = head + " ".join(rng.choices(WORDS, k=rng.randint(1, 3))).capitalize()
        body.append(
            f'<h3 class="{rng.choice(("d", "f", "", ""))}" style="padding:.15em .3em">{escape(name)}</h3>'
        )
        body.append(_boxes(leaf, rng, part))
        if rng.random() < 0.35:
            body.append(_ticks(leaf, rng))
    return leaf.page("boxed_form", "".join(body), sheet_of(rng, landscape=0.05), low=10, high=24)


def _boxes(leaf: Leaf, rng: random.Random, entries: list[Entry]) -> str:
    """Rows of boxes of unequal widths with the label small at their top, or labels beside lines."""
    if rng.random() < 0.3:
        return pairs(
            leaf, entries, rng.choice((1, 2, 2)), rng.choice(("rows", "strip", "leaders", "grid"))
        )
    out, at = [], 0
    size, tall = rng.choice((0.7, 0.8, 0.9)), rng.uniform(0, 0.5)
    while at < len(entries):
        some = entries[at : at + rng.randint(1, 4)]
        at += len(some)
        shares = [rng.uniform(0.6, 1.6) for _ in some]
        cells = []
        for entry, share in zip(some, shares, strict=True):
            label, value = leaf.entry(entry)
            cells.append(
                f'<td class="x" style="width:{100 * share / sum(shares):.0f}%;padding-bottom:{tall:.2f}em">'
                f'<div class="l" style="font-size:{size}em">{label}</div><div class="v">{value}</div></td>'
            )
        out.append(f'<table class="w" style="margin-top:-1px"><tr>{"".join(cells)}</tr></table>')
    return "".join(out)


def _ticks(leaf: Leaf, rng: random.Random) -> str:
    """A line of boxes of which one is ticked."""
    label = " ".join(rng.choices(WORDS, k=rng.randint(1, 3))).capitalize()
    options = rng.choice((("Yes", "No"), ("Male", "Female", "Other"), ("New", "Renewal"), ("Single", "Married", "Widowed"),
                          ("Low", "Medium", "High"), ("Cash", "Card", "Cheque", "Transfer"), ("Owner", "Tenant")))  # fmt: skip
    chosen = rng.randrange(len(options))
    tick = rng.choice(("&#10005;", "X", "&#10003;", "x"))
    shown = []
    for number, option in enumerate(options):
        text = leaf.mark(option)
        if number == chosen:
            leaf.offer(_TICKED, text, "text", l=label.lower())
        box = (f'<span style="display:inline-block;width:1em;height:1em;line-height:1em;border:1px solid #000;'
               f'text-align:center">{tick if number == chosen else "&nbsp;"}</span>')  # fmt: skip
        shown.append(f"{box} {text}")
    return f'<p><span class="l">{escape(leaf.look.labelled(label))}</span> {" &nbsp; ".join(shown)}</p>'
