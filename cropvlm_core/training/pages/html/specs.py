"""Data sheets, from HTML: properties with units, limits in a table."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.fields import Entry, Field, pick_fields
from cropvlm_core.training.pages.grids import Column
from cropvlm_core.training.pages.html.blocks import columns_of, logo, pairs
from cropvlm_core.training.pages.html.leaf import Leaf, escape
from cropvlm_core.training.pages.html.look import look
from cropvlm_core.training.pages.html.sheets import sheet_of
from cropvlm_core.training.pages.html.tables import grid
from cropvlm_core.training.pages.invent import invented_word
from cropvlm_core.training.pages.prose import WORDS, sentence
from cropvlm_core.training.pages.sheet import Page

_UNITS = "mm cm m kg g V A W kW Hz bar °C % l rpm dB lm kWh N Nm s min MPa kB GB px ppm".split()
_PROPERTY = (
    "Rated|Max.|Min.|Nominal|Operating|Storage|Supply|Input|Output|Total|Net|Gross|Peak|Inner|Outer|Standby".split("|"),
    "Voltage|Current|Power|Weight|Length|Width|Height|Depth|Speed|Pressure|Temperature|Capacity|Range|Noise|"
    "Flow|Frequency|Torque|Load|Diameter|Thickness|Accuracy|Resolution|Memory|Humidity|Efficiency".split("|"),
)  # fmt: skip
_SYMBOLS = "V I P m l b h d n p T C r L Q f M F D s a R".split()


def _property(rng: random.Random, unit: bool = True) -> tuple[str, str]:
    name = rng.choice(_PROPERTY[1])
    if rng.random() < 0.6:
        name = f"{rng.choice(_PROPERTY[0])} {name}"
    number = rng.choice((str(rng.randint(1, 999)), f"{rng.uniform(0, 99):.1f}", f"{rng.uniform(0, 9):.3f}",
                         f"{rng.randint(-40, 0)} to {rng.randint(1, 90)}", f"{rng.randint(1, 90)} ± {rng.randint(1, 9)}"))  # fmt: skip
    return name, f"{number} {rng.choice(_UNITS)}" if unit else number


def spec_sheet(rng: random.Random, *, held_out: bool = False) -> Page:
    """A data sheet or label of facts: properties with units, limits in a table, notes."""
    leaf = Leaf(
        rng,
        look(rng, 6.5, 10),
        rng.choice(("data sheet", "sheet", "page", "document")),
        "en",
        held_out,
    )
    title = f"{invented_word(rng)} {rng.choice(('X', 'Pro', 'S', 'T', ''))}{rng.randint(1, 9000)}"
    heading = f"<h1>{leaf.title(title)}</h1><p>{escape(sentence(rng))}</p>"
    picture = logo(rng, rng.uniform(5, 10))
    body = [columns_of([heading, picture], (65, 35)) if rng.random() < 0.6 else heading]
    facts: dict[str, str] = {}
    for _ in range(rng.randint(6, 22)):
        facts.setdefault(*_property(rng))
    entries = [
        Entry(Field("text", (name,), (), "compound"), name, value) for name, value in facts.items()
    ]
    entries += pick_fields(rng, rng.randint(2, 6), ("engineering", "shipping"))
    half = len(entries) // 2
    if rng.random() < 0.5:
        body.append(columns_of([pairs(leaf, entries[:half]), pairs(leaf, entries[half:])]))
    else:
        for name, part in (
            ("General", entries[:half]),
            (rng.choice(WORDS).title(), entries[half:]),
        ):
            body.append(
                f'<h3 class="{rng.choice(("d", "f", "k", ""))}">{name}</h3>{pairs(leaf, part, rng.choice((1, 1, 2)))}'
            )
    if rng.random() < 0.7:
        body.append(_limits(leaf, rng, set(facts)))
    if rng.random() < 0.5:
        points = "".join(
            f"<li>{escape(sentence(rng, 3, 9))}</li>" for _ in range(rng.randint(2, 6))
        )
        body.append(f"<ul>{points}</ul>")
    return leaf.page("spec_sheet", "".join(body), sheet_of(rng), low=8, high=22)


def _limits(leaf: Leaf, rng: random.Random, taken: set[str]) -> str:
    """Parameter, symbol, least, usual, most, unit: figures that only their column tells apart."""
    columns = [
        Column("Parameter|Property|Characteristic|Test", "words"), Column("Symbol|Sym.", "code"),
        Column("Min|Min.|Minimum", "int2", True), Column("Typ|Typ.|Typical", "int2", True),
        Column("Max|Max.|Maximum", "int2", True), Column("Unit|Units", "text"),
    ]  # fmt: skip
    drawn = [_property(rng)[0] for _ in range(rng.randint(4, 14))]
    names, rows = [name for name in dict.fromkeys(drawn) if name not in taken], []
    for name in names:
        base = rng.uniform(0.5, 400)
        figures = [f"{base * k:.1f}" if rng.random() < 0.85 else "-" for k in (0.9, 1.0, 1.1)]
        rows.append([name, rng.choice(_SYMBOLS), *figures, rng.choice(_UNITS)])
    if rng.random() < 0.4:
        columns, rows = [columns[0], *columns[2:]], [[row[0], *row[2:]] for row in rows]
    return grid(leaf, columns, rows, rng.randint(4, 9), keys=(0,), ends=False)
