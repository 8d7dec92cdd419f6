"""Statements, lists and journals with many rows, from HTML."""

from __future__ import annotations

import datetime
import random

from cropvlm_core.training.pages.fields import pick_fields
from cropvlm_core.training.pages.grids import (
    Column,
    cell_text,
    money_maker,
)
from cropvlm_core.training.pages.heads import TITLES
from cropvlm_core.training.pages.html.blocks import columns_of, letterhead, pairs, party
from cropvlm_core.training.pages.html.entries import trades
from cropvlm_core.training.pages.html.leaf import Leaf, escape
from cropvlm_core.training.pages.html.look import look
from cropvlm_core.training.pages.html.sheets import sheet_of
from cropvlm_core.training.pages.html.tables import grid, headings_of, line_table, sums
from cropvlm_core.training.pages.invent import company, date_text, day, person
from cropvlm_core.training.pages.prose import sentence
from cropvlm_core.training.pages.sheet import Page


def ledger(rng: random.Random, *, held_out: bool = False) -> Page:
    """A statement, list or journal: some labelled values and a table with many rows."""
    leaf = Leaf(
        rng, look(rng, 6, 9), rng.choice(("statement", "page", "list", "report")), "en", held_out
    )
    body = [letterhead(leaf, rng.choice(TITLES["statement"]["en"].split("|")))]
    entries = pick_fields(rng, rng.randint(3, 9), trades(rng))
    block = pairs(leaf, entries, rng.choice((1, 1, 2)))
    body.append(columns_of([party(leaf), block]) if rng.random() < 0.5 else block)
    body.append(_journal(leaf, rng) if rng.random() < 0.5 else line_table(leaf, rng, 14, 40))
    if rng.random() < 0.5:
        body.append(sums(leaf, money_maker(rng)))
    if rng.random() < 0.4:
        body.append(f'<p class="s c">{escape(sentence(rng))}</p>')
    return leaf.page("ledger", "".join(body), sheet_of(rng), low=10, high=24)


def _journal(leaf: Leaf, rng: random.Random) -> str:
    """Bookings of an account: date, what, out, in, balance."""
    money, form = money_maker(rng), rng.random()
    columns = [
        Column("Date|Posted|Booking Date|Value Date", "date"),
        Column("Description|Details|Transaction|Particulars", "words"),
        Column("Withdrawals|Debit|Charges|Paid out", "money", True),
        Column("Deposits|Credit|Payments|Paid in", "money", True),
        Column("Balance|Running Balance|Outstanding", "money2", True),
    ]
    when, rows = day(rng), []
    for _ in range(rng.randint(10, 36)):
        when += datetime.timedelta(days=rng.choice((0, 0, 1, 1, 2, 5)))
        what = rng.choice(
            (
                company(rng),
                cell_text(rng, "words", money),
                f"{cell_text(rng, 'words', money)} {cell_text(rng, 'code', money)}",
                person(rng),
            )
        )
        amount = cell_text(rng, "money", money)
        both = [amount, ""] if rng.random() < 0.6 else ["", amount]
        rows.append(
            [date_text(random.Random(form), when), what, *both, cell_text(rng, "money2", money)]
        )
    return grid(
        leaf, columns, rows, rng.randint(6, 12), keys=(0, 1), names=headings_of(rng, columns)
    )
