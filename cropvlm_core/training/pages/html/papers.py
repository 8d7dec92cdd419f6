"""Papers and reports in columns with headings, figures and references, from HTML."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.grids import line_columns, make_rows, money_maker
from cropvlm_core.training.pages.html.blocks import columns_of
from cropvlm_core.training.pages.html.leaf import Leaf, Mark, escape
from cropvlm_core.training.pages.html.look import look
from cropvlm_core.training.pages.html.sheets import sheet_of
from cropvlm_core.training.pages.html.tables import grid
from cropvlm_core.training.pages.invent import date_text, invented_word, person
from cropvlm_core.training.pages.prose import WORDS, paragraph, sentence
from cropvlm_core.training.pages.sheet import Page

_NTH_HEADING = (
    "What is heading number {n}?|What is the {o} heading?|Read the {o} heading.|Which heading comes {o}?|"
    "What is the title of section {n}?|What is section {n} called?|heading {n}|Heading number {n}?|"
    "What is the heading of section {n}?|How is section {n} titled?|the {o} heading|Name of section {n}?"
)
_NEXT_HEADING = (
    "Which heading comes after {h}?|What is the next heading after {h}?|Which section follows {h}?|"
    "What is the section after {h} called?"
)
_LAST_HEADING = (
    "What is the last heading?|Which heading comes last?|Read the last heading on the page."
)
_UNDER_HEADING = (
    "How does the section {h} begin?|What is the first sentence under {h}?|How does the text under {h} start?|"
    "Read the first sentence of {h}."
)
_AUTHORS = "Who wrote this paper?|Who are the authors?|Who is the author?|By whom is this article?|authors?|Whose names stand under the title?"
_PLACE_OF = "Where do the authors work?|Which institution is named under the authors?|What is the affiliation?|Which university is given?"
_CAPTION = "What does {h} show?|What is the caption of {h}?|Read the caption of {h}.|What is written under {h}?|caption of {h}|What is {h} about?"
_RECEIVED = "When was the paper received?|On which date was it received?|What is the date of receipt?|Date received?"
_JOURNAL = "In which journal did this appear?|What is the name of the journal?|Which journal is it?|journal?"
_REFERENCE = "What is reference [{n}]?|Which work is number {n} in the references?|Read reference {n}.|Which source has the number {n}?"
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()
_PLACES = (
    "University of {w}",
    "{w} Institute of Technology",
    "{w} Research Centre",
    "Department of {w}, {w} College",
)
_SECTIONS = (
    "Introduction|Related Work|Background|Methods|Materials and Methods|Results|Discussion|Conclusion|"
    "Experiments|Data|Evaluation|Limitations|Future Work|Analysis|Theory|Findings|Summary|Approach"
).split("|")


def paper(rng: random.Random, *, held_out: bool = False) -> Page:
    """An article, report or contract in one or two columns with numbered headings."""
    leaf = Leaf(
        rng, look(rng, 7.5, 11), rng.choice(("paper", "article", "report", "page")), "en", held_out
    )
    leaf.look.rules = f"p{{text-align:{rng.choice(('justify', 'left'))};margin:.35em 0}}" + (
        "p{text-indent:1.2em}" if rng.random() < 0.3 else ""
    )
    sheet = sheet_of(rng, landscape=0.03)
    columns = 3 if held_out and rng.random() < 0.5 else rng.choice((1, 2, 2, 2))  # three: held out
    head = _paper_head(leaf, rng)
    sections = _sections(leaf, rng, columns, leaf.look.size)
    each = -(-len(sections) // columns)
    parts = ["".join(sections[at : at + each]) for at in range(0, len(sections), each)]
    body = head + (columns_of(parts) if len(parts) > 1 else parts[0])
    return leaf.page("paper", body, sheet, low=8, high=18)


def _paper_head(leaf: Leaf, rng: random.Random) -> str:
    title = " ".join(rng.choices(WORDS, k=rng.randint(3, 10))).capitalize()
    out = [f'<h1 style="font-size:{rng.uniform(1.4, 2.1):.2f}em">{leaf.title(title)}</h1>']
    if rng.random() < 0.5:
        journal = leaf.mark(
            f"{rng.choice(('Journal', 'Annals', 'Review', 'Proceedings'))} of {invented_word(rng)} {rng.choice(WORDS).title()}"
        )
        leaf.offer(_JOURNAL, journal, "text")
        out.insert(
            0,
            f'<div class="s">{journal} {rng.randint(1, 60)} ({rng.randint(1990, 2026)}) {rng.randint(1, 900)}</div>',
        )
    if rng.random() < 0.85:
        names = leaf.mark(", ".join(person(rng) for _ in range(rng.randint(1, 4))))
        leaf.offer(_AUTHORS, names, "person")
        where = leaf.mark(rng.choice(_PLACES).format(w=invented_word(rng)))
        leaf.offer(_PLACE_OF, where, "company")
        out.append(f"<div>{names}</div><div><i>{where}</i></div>")
    if rng.random() < 0.3:
        when = leaf.mark(date_text(rng))
        leaf.offer(_RECEIVED, when, "date")
        out.append(f'<div class="s">Received {when}; accepted {date_text(rng)}</div>')
    align = rng.choice(("c", "c", ""))
    abstract = f'<p style="margin:.8em 3em"><b>Abstract</b> {escape(paragraph(rng, 2, 5))}</p>'
    return f'<div class="{align}">{"".join(out)}</div>' + (abstract if rng.random() < 0.6 else "")


def _sections(leaf: Leaf, rng: random.Random, columns: int, size: float) -> list[str]:
    """Sections with headings, some with a table or a figure."""
    count = rng.randint(3, 6) * (2 if columns > 1 and size < 9 else 1)
    names = rng.sample(_SECTIONS, min(count, len(_SECTIONS))) if rng.random() < 0.5 else [
        " ".join(rng.choices(WORDS, k=rng.randint(1, 4))).capitalize() for _ in range(count)
    ]  # fmt: skip
    names = list(dict.fromkeys(names))
    style, upper = (
        rng.choice(("{n}. {h}", "{n} {h}", "{h}", "{h}", "§ {n} {h}")),
        rng.random() < 0.2,
    )
    headings = [leaf.mark(name.upper() if upper else name) for name in names]
    out, things = [], 0
    for number, heading in enumerate(headings):
        _ask_heading(leaf, rng, headings, number)
        shown = style.format(n=number + 1, h=heading)
        first = leaf.mark(sentence(rng, 5, 10))
        if rng.random() < 0.4:
            leaf.offer(_UNDER_HEADING, first, "text", h=heading.text)
        text = f"<h3>{shown}</h3><p>{first} {escape(paragraph(rng, 2, 6))}</p>"
        for _ in range(rng.randint(0, 2)):
            text += f"<p>{escape(paragraph(rng, 2, 6))}</p>"
        if rng.random() < 0.3:
            things += 1
            text += _figure(leaf, rng, things)
        out.append(text)
    if rng.random() < 0.4:
        out.append(_references(leaf, rng))
    return out


def _ask_heading(leaf: Leaf, rng: random.Random, headings: list[Mark], number: int) -> None:
    names = {"n": str(number + 1), "o": ORDINALS[min(number, 9)]}
    leaf.offer(_NTH_HEADING, headings[number], "heading", **names)
    if number and rng.random() < 0.4:
        leaf.offer(_NEXT_HEADING, headings[number], "heading", h=headings[number - 1].text)
    if number == len(headings) - 1 and rng.random() < 0.3:
        leaf.offer(_LAST_HEADING, headings[number], "heading")


def _figure(leaf: Leaf, rng: random.Random, number: int) -> str:
    """A grey picture or a small table with its caption."""
    table = rng.random() < 0.5
    name = f"{'Table' if table else rng.choice(('Figure', 'Fig.'))} {number}"
    caption = leaf.mark(sentence(rng, 4, 10))
    leaf.offer(_CAPTION, caption, "text", h=name)
    below = f'<div class="s"><b>{name}{rng.choice((":", "."))}</b> {caption}</div>'
    if not table:
        shape = f'<div style="height:{rng.randint(5, 11)}em;background:{rng.choice(("#ccc", "#eee", "#999"))};margin:.5em 1em"></div>'
        return shape + below
    columns = line_columns(rng, rng.randint(2, 3))
    rows = make_rows(rng, columns, rng.randint(2, 6), money_maker(rng))
    inner = grid(leaf, columns, rows, 4)
    return below + inner if rng.random() < 0.6 else inner + below


def _references(leaf: Leaf, rng: random.Random) -> str:
    out = ["<h3>References</h3>"]
    for number in range(rng.randint(3, 9)):
        text = leaf.mark(f"{person(rng)}. {sentence(rng, 4, 8)} {rng.randint(1970, 2025)}.")
        if rng.random() < 0.4:
            leaf.offer(_REFERENCE, text, "text", n=str(number + 1))
        out.append(f'<p class="s" style="text-indent:0">[{number + 1}] {text}</p>')
    return "".join(out)
