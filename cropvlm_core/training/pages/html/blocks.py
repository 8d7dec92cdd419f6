"""Blocks that pages of HTML are built of: labelled values, addresses, heads, marks of shapes."""

from __future__ import annotations

import random
from collections.abc import Sequence

from cropvlm_core.training.pages.fields import Entry
from cropvlm_core.training.pages.heads import ISSUER, ISSUER_ADDRESS, PAGE_NO, PARTIES, PARTY_FORMS
from cropvlm_core.training.pages.html.leaf import Leaf, escape
from cropvlm_core.training.pages.invent import (
    address_lines,
    company,
    invented_word,
    person,
    phone_text,
)

PAIR_STYLES = (
    "rows", "rows", "rows", "grid", "grid", "inline", "strip", "strip", "right", "leaders", "shaded",
)  # fmt: skip
"""Looks of a block of labelled values, for ``pairs``."""


def pairs(leaf: Leaf, entries: list[Entry], columns: int = 1, style: str | None = None) -> str:
    """Labelled values in ``columns``: beside, under or over their labels, boxed or bare."""
    rng = leaf.rng
    style = style or rng.choice(PAIR_STYLES)
    shown = [leaf.entry(entry) for entry in entries]
    box = rng.choice(("x", "x", "u", "", "", ""))
    if style == "strip":  # a row of labels with a row of values below
        head = rng.choice(("f", "f", "d", ""))
        return "".join(
            f'<div class="T w {box or "x"}"><div class="R">'
            + "".join(label.boxed(f"l {head}") for label, _ in shown[at : at + 5])
            + '</div><div class="R">'
            + "".join(value.boxed("v") for _, value in shown[at : at + 5])
            + "</div></div>"
            for at in range(0, len(shown), 5)
        )
    if style == "inline":
        gap = rng.choice(("1.2em", "2em", "3em"))
        return "<p>" + " ".join(
            f'<span style="display:inline-block;margin-right:{gap}"><span class="l">{label}</span> '
            f'<span class="v">{value}</span></span>' for label, value in shown
        ) + "</p>"  # fmt: skip
    if style == "leaders":
        dots = '<td style="width:25%;border-bottom:1px dotted #777"></td>'
        return '<table class="w">' + "".join(
            f'<tr><td class="l">{label}</td>{dots}<td class="v">{value}</td></tr>' for label, value in shown
        ) + "</table>"  # fmt: skip
    if style in ("grid", "shaded"):
        over = rng.random() < 0.85
        shade = ' class="f"' if style == "shaded" else ""
        cells = [
            f'<td style="width:{100 / columns:.1f}%">'
            + (f'<div class="l s"{shade}>{label}</div><div class="v">{value}</div>' if over else
               f'<div class="v">{value}</div><div class="l s">{label}</div>') + "</td>"
            for label, value in shown
        ]  # fmt: skip
        return f'<table class="w {box}">{_rows(cells, columns)}</table>'
    flush = "l r" if style == "right" else rng.choice(("l", "l", "l f"))
    apart = rng.choice((0, rng.randint(28, 50) // columns))
    full = "w " if rng.random() < 0.7 else ""
    width = (
        f'<i style="display:table-column;width:{apart}%"></i><i style="display:table-column"></i>'
    )
    out = [f'<div class="T {full}{box}">', width * columns if apart else ""]
    for at in range(0, len(shown), columns):
        both = (label.boxed(flush) + value.boxed("v") for label, value in shown[at : at + columns])
        out.append(f'<div class="R">{"".join(both)}</div>')
    return "".join(out) + "</div>"


def _rows(cells: list[str], columns: int) -> str:
    return "".join(
        f"<tr>{''.join(cells[at : at + columns])}</tr>" for at in range(0, len(cells), columns)
    )


def columns_of(blocks: Sequence[str], shares: Sequence[int] | None = None) -> str:
    """Blocks beside each other, in a table without lines."""
    each = shares or [round(100 / len(blocks))] * len(blocks)
    cells = "".join(
        f'<td style="width:{share}%">{block}</td>'
        for block, share in zip(blocks, each, strict=True)
    )
    return f'<table class="w o"><tr>{cells}</tr></table>'


def party(leaf: Leaf, which: int | None = None) -> str:
    """A name with its address under a caption."""
    rng = leaf.rng
    names, roles = PARTIES[rng.randrange(len(PARTIES)) if which is None else which]
    label, name = rng.choice(names.split("|")), company(rng)
    who, where = PARTY_FORMS[roles.split("|")[0]]
    mark, lines = leaf.mark(name), [leaf.mark(line) for line in address_lines(rng)]
    leaf.offer(who, mark, "party", l=label.lower(), n=name)
    leaf.offer(where, lines, "address", l=label.lower(), n=name)
    body = [str(mark)]
    if rng.random() < 0.25:
        contact = leaf.mark(person(rng))
        leaf.offer("Who is the contact at {n}?|For whose attention is it?|Who is named under {n}?",
                   contact, "person", n=name)  # fmt: skip
        body.append(f"{rng.choice(('Attn:', 'c/o', 'Attention:', 'Contact:'))} {contact}")
    body += map(str, lines)
    caption = f'<div class="l">{escape(leaf.look.labelled(label))}</div>'
    return caption + "<br>".join(body)


def logo(rng: random.Random, side: float = 3.0) -> str:
    """A mark of plain shapes, in em."""
    wide = side * rng.uniform(0.8, 2.0)
    shade = rng.choice(("#000", "#246", "#933", "#666", "#082", "#bbb"))
    text = invented_word(rng)[: rng.randint(1, 3)].upper() if rng.random() < 0.6 else ""
    shape = rng.choice(("border-radius:50%", "border-radius:.5em", "", "border-radius:0 1em"))
    return (
        f'<div style="width:{wide:.1f}em;height:{side:.1f}em;line-height:{side:.1f}em;{shape};background:{shade};'
        f'color:#fff;text-align:center;font-weight:bold">{text}</div>'
    )


def letterhead(leaf: Leaf, title: str) -> str:
    """Sender and title, in one of several arrangements; sometimes with a page number."""
    rng = leaf.rng
    name = company(rng)
    mark = leaf.mark(name)
    leaf.offer(ISSUER, mark, "company")
    sender = [f'<div class="b" style="font-size:{rng.choice((1, 1.2, 1.5, 1.8))}em">{mark}</div>']
    if rng.random() < 0.8:
        lines = address_lines(rng)
        if rng.random() < 0.35:
            lines = [", ".join(line.rstrip(",.") for line in lines)]
        marks = [leaf.mark(line) for line in lines]
        leaf.offer(ISSUER_ADDRESS, marks, "address", n=name)
        sender.append("<br>".join(map(str, marks)))
        if rng.random() < 0.6:
            number = leaf.mark(phone_text(rng))
            leaf.offer("What is the phone number of {n}?|Which number reaches {n}?|Main phone number of {n}?",
                       number, "phone", n=name)  # fmt: skip
            sender.append(f"<br>{rng.choice(('Tel.', 'Phone:', 'T', 'Main:', 'Fon'))} {number}")
    heading = f'<h1 style="font-size:{rng.choice((1.3, 1.6, 2, 2.5))}em">{leaf.title(title)}</h1>'
    if rng.random() < 0.45:
        leaf_no, of = rng.randint(1, 4), rng.randint(4, 9)
        page = leaf.mark(
            rng.choice((f"Page {leaf_no} of {of}", f"Page {leaf_no}", f"{leaf_no} / {of}"))
        )
        leaf.offer(PAGE_NO, page, "page")
        heading += f'<div class="s">{page}</div>'
    block = "".join(sender)
    if rng.random() < 0.5:
        block = columns_of([logo(rng), block], (14, 86))
    arrangement = rng.random()
    if arrangement < 0.5:
        return columns_of(
            [block, f'<div class="{rng.choice(("r", "r", "", "c"))}">{heading}</div>']
        )
    if arrangement < 0.75:
        return f'<div class="c">{"".join(sender)}{heading}</div>'
    return f"{heading}{block}" if arrangement < 0.88 else f"{block}{heading}"
