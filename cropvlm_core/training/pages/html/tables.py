"""Tables of HTML whose cells can be asked for by row, column and contents."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from cropvlm_core.training.pages.grids import (
    NUMBERED,
    Column,
    line_columns,
    make_rows,
    money_maker,
)
from cropvlm_core.training.pages.html.leaf import Leaf, Mark, escape
from cropvlm_core.training.pages.sums import SUMS

_BOTTOM = (
    "What is the total at the bottom of the table?|What is the last figure under {c}?|"
    "What is the sum of the column {c}?|What does {c} add up to?|What is the total of {c}?|"
    "Which total stands under the {c} column?|total {c}|Total {c}?"
)


def grid(
    leaf: Leaf, columns: list[Column], rows: list[list[str]], count: int = 8,
    keys: tuple[int, ...] | None = None, names: list[str] | None = None, *,
    ends: bool = True, below: Callable[[int], str] | None = None,
) -> str:  # fmt: skip
    """A table with a head; ``below`` gives what stands under a row over its whole width."""
    rng = leaf.rng
    names = names or [column.name(rng) for column in columns]
    marks = leaf.table(columns, names, rows, count, keys, ends=ends)
    lines = rng.choice(("x", "x", "u", "u", "", "columns"))
    zebra = rng.random() < 0.25
    upper = leaf.look.upper or rng.random() < 0.2
    head = rng.choice(("f b", "f b", "d b", "b", "b", "", "f"))
    side = ["r" if column.right else "" for column in columns]
    if rng.random() < 0.12:
        side = ["c"] * len(columns)
    look_of = "y" if lines == "columns" else lines
    fixed = rng.random() < 0.85
    if below is None:
        widths = _widths(leaf, names, rows) if fixed else []
        shown = [name.upper() if upper else name for name in names]
        shades = ["f" if zebra and number % 2 else "" for number in range(len(marks))]
        return lattice(shown, marks, side, look_of, head, shades, widths)
    out = [f'<table class="w {look_of}"><tr class="{head}">']
    for name, align in zip(names, side, strict=True):
        out.append(f'<th class="{align}">{escape(name.upper() if upper else name)}</th>')
    out.append("</tr>")
    for number, row in enumerate(marks):
        cells = (f'<td class="{align}">{mark}</td>' for mark, align in zip(row, side, strict=True))
        out.append(f"<tr>{''.join(cells)}</tr>")
        extra = below(number)
        if extra:
            out.append(f'<tr><td colspan="{len(columns)}" class="s">{extra}</td></tr>')
    return "".join(out) + "</table>"


def lattice(
    heads: list[str], cells: Sequence[Sequence[Mark | str]], side: list[str], look_of: str, head: str,
    shades: list[str], widths: list[float],
) -> str:  # fmt: skip
    """A table of which every cell is one element: half as dear as one with a link in each cell.

    Args:
        heads: the head of each column.
        cells: rows of marks, or of text that nobody asks for.
        side: the alignment of each column, as a class.
        look_of: class of the table.
        head: class of its head.
        shades: class of each row.
        widths: shares of the columns; empty to have them found by what they hold.
    """
    style = "w T F" if widths else "T"
    columns = "".join(
        f'<i style="display:table-column;width:{width:.1f}%"></i>' for width in widths
    )
    out = [f'<div class="{style} {look_of}">{columns}<div class="R {head}">']
    out += [
        f'<i class="C {align}">{escape(name)}</i>' for name, align in zip(heads, side, strict=True)
    ]
    out.append("</div>")
    for row, shade in zip(cells, shades, strict=True):
        out.append(f'<div class="R {shade}">')
        for cell, align in zip(row, side, strict=True):
            out.append(
                cell.boxed(align)
                if isinstance(cell, Mark)
                else f'<i class="C {align}">{escape(cell)}</i>'
            )
        out.append("</div>")
    return "".join(out) + "</div>"


def _widths(leaf: Leaf, names: list[str], rows: list[list[str]]) -> list[float]:
    """Shares of the columns by the length of what stands in them, so that no layout must be searched.

    Empty where a word would not fit into its column.
    """
    texts = [[name, *(row[k] for row in rows)] for k, name in enumerate(names)]
    least = [max(len(word) for text in column for word in text.split() or [""]) for column in texts]
    longest = [max(map(len, column)) for column in texts]
    shares = [2.5 + word + 0.5 * (line - word) for word, line in zip(least, longest, strict=True)]
    found = [100 * share / sum(shares) for share in shares]
    fitting = all(
        leaf.look.holds([word for text in column for word in text.split()], share)
        for column, share in zip(texts, found, strict=True)
    )
    return found if fitting else []


def headings_of(rng: random.Random, columns: list[Column]) -> list[str]:
    """One name for each column, no name twice."""
    names: list[str] = []
    for column in columns:
        free = [name for name in column.names.split("|") if name not in names]
        names.append(rng.choice(free or [column.names.split("|")[0]]))
    return names


def line_table(leaf: Leaf, rng: random.Random, low: int = 4, high: int = 16) -> str:
    """Lines of any sort with, sometimes, a total under a column that no label names."""
    money = money_maker(rng)
    columns = line_columns(rng, rng.randint(3, 8))
    if rng.random() < 0.4:
        columns = [NUMBERED, *columns]
    rows = make_rows(rng, columns, rng.randint(low, high), money)
    names = headings_of(rng, columns)
    table = grid(leaf, columns, rows, rng.randint(6, 12), names=names, ends=rng.random() < 0.5)
    totals = [k for k, column in enumerate(columns) if column.kind.startswith("money")]
    if totals and rng.random() < 0.6:
        k = rng.choice(totals)
        total = leaf.mark(money(rng.randrange(10 ** rng.randint(4, 8))))
        leaf.offer(_BOTTOM, total, "total", c=names[k].lower())
        cells = "".join(
            total.boxed("r b") if at == k else '<i class="C"></i>' for at in range(len(columns))
        )
        table = table.removesuffix("</div>") + f'<div class="R">{cells}</div></div>'
    elif rng.random() < 0.5:
        table += sums(leaf, money)
    return table


def sums(leaf: Leaf, money: Callable[[int], str]) -> str:
    """The sums under a bill, with the total among them; sometimes it has no label of its own."""
    rng = leaf.rng
    due = rng.randrange(10 ** rng.randint(3, 8))
    share = {
        "subtotal": 0.9, "discount": -0.1, "shipping": 0.03, "tax": 0.19, "total": 1.0, "paid": 0.4,
    }  # fmt: skip
    rows = []
    for kind, (labels, forms) in SUMS.items():
        if kind != "total" and rng.random() < 0.5:
            continue
        label, value = rng.choice(labels.split("|")), leaf.mark(money(round(due * share[kind])))
        name = label.lower() if rng.random() < 0.6 else label
        leaf.offer(forms, value, kind, l=name)
        look = " b" if kind == "total" else ""
        rows.append(
            f'<tr class="{look}"><td class="l">{escape(leaf.look.labelled(label))}</td>'
            f'<td class="r n">{value}</td></tr>'
        )
    place = rng.choice(("margin-left:auto", "margin-left:auto", "margin-left:auto", ""))
    return (
        f'<table class="{rng.choice(("x", "u", "", ""))}" style="{place}">{"".join(rows)}</table>'
    )
