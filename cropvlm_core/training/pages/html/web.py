"""Pages of sites in a browser, from HTML: menu, cards, an article, details."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.fields import pick_fields
from cropvlm_core.training.pages.grids import cell_text, line_columns, make_rows, money_maker
from cropvlm_core.training.pages.html.blocks import columns_of, pairs
from cropvlm_core.training.pages.html.leaf import Leaf, escape
from cropvlm_core.training.pages.html.look import look
from cropvlm_core.training.pages.html.papers import ORDINALS
from cropvlm_core.training.pages.html.sheets import window_of
from cropvlm_core.training.pages.html.tables import grid
from cropvlm_core.training.pages.invent import company, date_text, invented_word, person, product
from cropvlm_core.training.pages.prose import WORDS, paragraph
from cropvlm_core.training.pages.sheet import Page

_MENU = (
    "Home|Products|Services|About us|Contact|News|Blog|Shop|Cart|Sign in|Account|Support|Careers|Events|"
    "Downloads|Prices|Gallery|Team|FAQ|Search|Orders|Settings|Help|Press|Partners|Docs|Community"
).split("|")
_NTH_ENTRY = (
    "What is the {o} entry of the menu?|Which menu entry comes {o}?|What is the {o} link in the bar at the top?|"
    "Read the {o} item of the menu.|{o} entry in the navigation?"
)
_CARD = (
    "How much is {r}?|What does {r} cost?|What is the price of {r}?|{r} price?|Which price is shown for {r}?|"
    "For how much is {r} offered?"
)
_RATING = "How is {r} rated?|What rating does {r} have?|How many stars has {r}?|rating of {r}?"
_STOCK = "Is {r} available?|What is the availability of {r}?|When is {r} delivered?|Which delivery note stands at {r}?"
_BYLINE = "Who wrote this article?|Who is the author?|By whom is this post?|author?"
_POSTED = "When was this posted?|When was the article published?|What is the date of the article?|date of the post?"
_FOOTER = "What does the footer say?|What is written at the bottom of the page?|Read the copyright line.|Who holds the copyright?"
_BUTTON = "What is on the button?|What does the button say?|Which word is on the big button?|Read the button."


def web_page(rng: random.Random, *, held_out: bool = False) -> Page:
    """A site in a browser: menu, offers in cards, an article, details, a foot."""
    leaf = Leaf(
        rng, look(rng, 9, 12.5), rng.choice(("page", "web page", "site", "screen")), "en", held_out
    )
    window, phone = window_of(rng)
    leaf.look.room = window.width * (0.9 if phone else 0.7)
    dark = rng.random() < 0.15
    leaf.look.rules = ".g td{padding:.5em}" + (
        "body{background:#1b1b1f;color:#e6e6e6}.l,.k{color:#bbb!important}.f{background:#333}"
        if dark
        else ""
    )
    name = company(rng).title()
    bar = _menu_bar(leaf, rng, name, phone)
    makers = rng.sample((_cards, _article_text, _details, _site_table), rng.randint(2, 3))
    parts = [make(leaf, rng, phone) for make in makers]
    if rng.random() < 0.5:
        button = leaf.mark(
            rng.choice(
                (
                    "Buy now",
                    "Sign up",
                    "Read more",
                    "Add to cart",
                    "Book now",
                    "Get started",
                    "Subscribe",
                )
            )
        )
        leaf.offer(_BUTTON, button, "text")
        parts.insert(
            rng.randint(0, len(parts)),
            f'<p><span class="d" style="padding:.5em 1.2em;border-radius:.4em">{button}</span></p>',
        )
    body = "".join(parts)
    if not phone and rng.random() < 0.4:
        links = "".join(
            f"<p>{escape(' '.join(rng.choices(WORDS, k=rng.randint(1, 3))).capitalize())}</p>"
            for _ in range(rng.randint(4, 10))
        )
        sides = ([f'<div class="f" style="padding:.6em">{links}</div>', body], (22, 78))
        body = (
            columns_of(sides[0], sides[1])
            if rng.random() < 0.6
            else columns_of(sides[0][::-1], (76, 24))
        )
    foot = leaf.mark(f"© {rng.randint(2005, 2026)} {name}")
    leaf.offer(_FOOTER, foot, "text")
    pad = rng.choice(("1em", "1.5em", "1em 6%")) if not phone else ".8em"
    full = f'{bar}<div style="padding:{pad}">{body}</div><div class="f s" style="padding:.8em;{"color:#000" if not dark else ""}">{foot}</div>'
    return leaf.page("web_page", full, window, low=8, high=20)


def _menu_bar(leaf: Leaf, rng: random.Random, name: str, phone: bool) -> str:
    shade = rng.choice(("d", "d", "f", ""))
    brand = f'<b style="font-size:1.3em">{leaf.title(name)}</b>'
    if phone and rng.random() < 0.7:
        return f'<div class="{shade}" style="padding:.7em">&#9776; &nbsp; {brand}</div>'
    entries = [leaf.mark(text) for text in rng.sample(_MENU, rng.randint(3, 4 if phone else 8))]
    for number, entry in enumerate(entries):
        if rng.random() < 0.4:
            leaf.offer(_NTH_ENTRY, entry, "text", o=ORDINALS[number])
    gap = rng.choice(("1em", "1.6em", "2.4em"))
    menu = "".join(
        f'<span style="margin-left:{gap};display:inline-block">{entry}</span>' for entry in entries
    )
    return f'<div class="{shade}" style="padding:.8em 1.2em">{brand} {menu}</div>'


def _cards(leaf: Leaf, rng: random.Random, phone: bool) -> str:
    across = rng.choice((1, 2)) if phone else rng.choice((2, 3, 4))
    money, cells, taken = money_maker(rng), [], set[str]()
    for _ in range(across * rng.randint(1, 3)):
        name = product(rng)
        if name.casefold() in taken:
            name += f" {invented_word(rng)}"
        taken.add(name.casefold())
        price = leaf.mark(cell_text(rng, "money", money))
        leaf.offer(_CARD, price, "item", r=name)
        more = ""
        if rng.random() < 0.5:
            stars = leaf.mark(f"{rng.uniform(1, 5):.1f} / 5")
            leaf.offer(_RATING, stars, "text", r=name)
            more += f"<div>{stars}</div>"
        if rng.random() < 0.3:
            stock = leaf.mark(
                rng.choice(
                    ("In stock", "Sold out", "2-3 days", "Only 3 left", "Ships Monday", "Pre-order")
                )
            )
            leaf.offer(_STOCK, stock, "text", r=name)
            more += f'<div class="s">{stock}</div>'
        picture = (
            f'<div style="height:{rng.choice((3, 5, 7))}em;background:{rng.choice(("#ccc", "#aab", "#dcc", "#777"))}"></div>'
            if rng.random() < 0.7
            else ""
        )
        cells.append(
            f'<td style="width:{100 / across:.0f}%"><div>{picture}<b>{escape(name)}</b><div class="k b">{price}</div>{more}</div></td>'
        )
    rows = "".join(
        f"<tr>{''.join(cells[at : at + across])}</tr>" for at in range(0, len(cells), across)
    )
    return f'<table class="w g {rng.choice(("x", "", ""))}">{rows}</table>'


def _article_text(leaf: Leaf, rng: random.Random, phone: bool) -> str:
    del phone
    writer, when = leaf.mark(person(rng)), leaf.mark(date_text(rng))
    leaf.offer(_BYLINE, writer, "person")
    leaf.offer(_POSTED, when, "date")
    headline = leaf.mark(" ".join(rng.choices(WORDS, k=rng.randint(3, 8))).capitalize())
    leaf.offer(
        "What is the headline of the article?|Which headline has the article?|Read the headline.|headline?",
        headline,
        "title",
    )
    text = "".join(f"<p>{escape(paragraph(rng, 2, 4))}</p>" for _ in range(rng.randint(1, 3)))
    by = rng.choice(("by {w} on {t}", "{t} · {w}", "{w}, {t}", "Posted by {w} · {t}")).format(
        w=writer, t=when
    )
    return f'<h2>{headline}</h2><div class="s">{by}</div>{text}'


def _details(leaf: Leaf, rng: random.Random, phone: bool) -> str:
    trades = tuple(
        rng.sample(("utility", "travel", "bank", "staff", "trade", "shipping", "engineering"), 2)
    )
    entries = pick_fields(rng, rng.randint(4, 12), trades)
    head = f"<h3>{rng.choice(('Details', 'Your order', 'Overview', 'Account', 'Booking', 'Summary'))}</h3>"
    return head + pairs(leaf, entries, 1 if phone else rng.choice((1, 2, 3)))


def _site_table(leaf: Leaf, rng: random.Random, phone: bool) -> str:
    columns = line_columns(rng, rng.randint(2, 3) if phone else rng.randint(3, 6))
    return grid(leaf, columns, make_rows(rng, columns, rng.randint(3, 10), money_maker(rng)), 8)
