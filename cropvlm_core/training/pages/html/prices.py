"""Menus, price lists and catalogues, from HTML."""

from __future__ import annotations

import random
from collections.abc import Callable

from cropvlm_core.training.pages.fields import plain
from cropvlm_core.training.pages.grids import cell_text, money_maker
from cropvlm_core.training.pages.html.blocks import columns_of
from cropvlm_core.training.pages.html.leaf import Leaf, Mark, escape
from cropvlm_core.training.pages.html.look import look
from cropvlm_core.training.pages.html.sheets import sheet_of
from cropvlm_core.training.pages.invent import company, product
from cropvlm_core.training.pages.prose import WORDS, paragraph
from cropvlm_core.training.pages.sheet import Page

_PRICE = (
    "How much is {r}?|What does {r} cost?|What is the price of {r}?|Price of {r}?|{r}?|How much for {r}?|"
    "What is charged for {r}?|Which price stands beside {r}?|How much do I pay for {r}?|Find the price of {r}."
)
_SECTION = (
    "Which section is {r} in?|Under which heading is {r} listed?|What heading stands over {r}?|"
    "To which group does {r} belong?"
)
_MORE = (
    "What is said about {r}?|How is {r} described?|What stands under {r}?|What does {r} come with?"
)


def price_list(rng: random.Random, *, held_out: bool = False) -> Page:
    """A menu, price list or catalogue in sections, in one to three columns."""
    leaf = Leaf(
        rng, look(rng, 7, 12), rng.choice(("menu", "price list", "list", "page")), "en", held_out
    )
    money = money_maker(rng)
    title = rng.choice(
        (
            company(rng),
            "Menu",
            "Price List",
            "Our Prices",
            "Speisekarte",
            "Carte",
            "Tariffs",
            "Fees",
        )
    )
    head = f'<h1 class="{rng.choice(("c", "", "k"))}" style="font-size:{rng.uniform(1.5, 2.8):.1f}em">{leaf.title(title)}</h1>'
    columns = rng.choice((1, 1, 2, 2, 3))
    style = (
        "ruled"
        if held_out and rng.random() < 0.6
        else rng.choice(("leaders", "right", "table", "table", "inline"))
    )
    sections, taken = [], set[str]()
    for _ in range(rng.randint(2, 3 * columns + 1)):
        name = rng.choice((" ".join(rng.choices(WORDS, k=rng.randint(1, 2))).title(), product(rng)))
        section = leaf.mark(name)
        rows = "".join(
            _article(leaf, rng, money, style, section, taken) for _ in range(rng.randint(3, 8))
        )
        if style == "table":
            rows = f'<table class="w {rng.choice(("u", "x", ""))}">{rows}</table>'
        elif style in ("leaders", "right"):
            rows = f'<table class="w">{rows}</table>'
        sections.append(f'<h3 class="k">{section}</h3>{rows}')
    each = -(-len(sections) // columns)
    parts = ["".join(sections[at : at + each]) for at in range(0, len(sections), each)]
    width = columns_of(parts) if len(parts) > 1 else parts[0]
    foot = f'<p class="s">{escape(paragraph(rng, 1, 2))}</p>' if rng.random() < 0.5 else ""
    return leaf.page(
        "price_list", head + width + foot, sheet_of(rng, landscape=0.2), low=10, high=24
    )


def _article(
    leaf: Leaf,
    rng: random.Random,
    money: Callable[[int], str],
    style: str,
    section: Mark,
    taken: set[str],
) -> str:
    name, price = product(rng), leaf.mark(cell_text(rng, "money", money))
    while plain(name) in taken:
        name = f"{name} {product(rng)}"
    taken.add(plain(name))
    if rng.random() < 0.2:
        name = f"{rng.randint(1, 99)}. {name}"
    asked = name.split(". ", 1)[-1]
    leaf.offer(_PRICE, price, "item", r=asked)
    if rng.random() < 0.15:
        leaf.offer(_SECTION, section, "text", r=asked)
    more = ""
    if rng.random() < 0.3:
        text = leaf.mark(" ".join(rng.choices(WORDS, k=rng.randint(2, 6))))
        leaf.offer(_MORE, text, "text", r=asked)
        more = f'<div class="s">{text}</div>'
    shown = escape(name)
    if style == "table":
        return f'<tr><td>{shown}{more}</td><td class="r n">{price}</td></tr>'
    if style == "inline":
        return f'<p>{shown} <span class="b">{price}</span>{more}</p>'
    if style == "ruled":  # kept out of training: the price before the article
        return f'<p style="border-top:1px solid #888"><span class="b">{price}</span> &nbsp; {shown}{more}</p>'
    fill = ' style="width:40%;border-bottom:1px dotted #777"' if style == "leaders" else ""
    return f'<tr><td>{shown}{more}</td><td{fill}></td><td class="n r">{price}</td></tr>'
