"""Invoices, orders and account statements: a head, blocks of labelled values, a table, sums."""

from __future__ import annotations

import random
from collections.abc import Callable

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.cells import STYLES, House, block, fit
from cropvlm_core.training.pages.fields import Entry, pick_fields
from cropvlm_core.training.pages.grids import (
    NUMBERED,
    Printed,
    ask_table,
    line_columns,
    look_up,
    make_rows,
    money_maker,
    print_table,
)
from cropvlm_core.training.pages.heads import head, language_of, paper, party
from cropvlm_core.training.pages.invent import date_text, person, time_text
from cropvlm_core.training.pages.press import Press
from cropvlm_core.training.pages.prose import paragraph
from cropvlm_core.training.pages.sheet import Page, line_height
from cropvlm_core.training.pages.sums import print_sums
from cropvlm_core.training.pages.twins import TWINNED, twins

_TRADES = {
    "invoice": ("trade", "trade", "trade", "shipping", "engineering", "travel"),
    "order": ("trade", "advertising", "advertising", "shipping", "engineering", "staff"),
    "statement": ("bank", "bank", "utility", "utility", "trade", "insurance"),
}
_ELSEWHERE = (
    "customer|supplier|vendor|client|phone number|discount|contact person|page count|address|deposit|"
    "delivery address|receiver|sender|last payment|total amount|montant total|importe total|importo|"
    "totaalbedrag|jumlah bayaran|gesamtbetrag"
)


def invoice(rng: random.Random, *, held_out: bool = False) -> Page:
    """A bill: parties, dates and numbers, lines of goods, sums."""
    return _page(rng, "invoice", held_out)


def order(rng: random.Random, *, held_out: bool = False) -> Page:
    """A purchase, insertion or work order: a dense grid of labelled values, then its lines."""
    return _page(rng, "order", held_out)


def statement(rng: random.Random, *, held_out: bool = False) -> Page:
    """A bank or utility statement: balances and readings, then what happened."""
    return _page(rng, "statement", held_out)


def _page(rng: random.Random, kind: str, held_out: bool) -> Page:
    sheet, house, margin = paper(rng)
    language = language_of(rng)
    name = {"invoice": "invoice|bill|document", "order": "order|document|contract|form",
            "statement": "statement|document|bill"}[kind]  # fmt: skip
    asker = Asker(sheet, rng, rng.choice(name.split("|")), language, held_out)
    left, right = head(sheet, rng, house, asker, margin, kind, language)
    width, trades = sheet.width, _TRADES[kind]
    count = rng.randint(3, 12) if kind != "order" else rng.randint(6, 28)
    paired = kind == "order" and language == "en" and rng.random() < 0.3
    avoid = f"{_ELSEWHERE}|{TWINNED}" if paired else _ELSEWHERE
    entries = pick_fields(rng, count, trades, language, avoid)
    for entry in entries:
        if rng.random() < 0.1:
            entry.value = ""
    beside = rng.random() < 0.5
    if beside:  # values at the right of the sender, party under the sender
        cut = min(len(entries), rng.randint(2, 10))
        left += house.size
        right = max(right, margin) + house.size
        x = width * rng.uniform(0.52, 0.62)
        right = block(sheet, rng, house, asker, entries[:cut], x, right, width - margin - x,
                      rng.choice((1, 1, 2)) if width - margin - x > 25 * house.size else 1)  # fmt: skip
        entries = entries[cut:]
        if rng.random() < 0.85:
            left = party(sheet, rng, house, asker, 0, margin, left, x - margin - house.size)
        y = max(left, right) + house.size * rng.uniform(0.8, 2)
    else:
        y = max(left, right) + house.size * rng.uniform(0.8, 2)
        others = rng.sample(range(1, 4), rng.choice((0, 1, 1)))
        places = [0, *others] if rng.random() < 0.8 else others
        ends = [y]
        for position, which in enumerate(places[:2]):
            ends.append(
                party(
                    sheet,
                    rng,
                    house,
                    asker,
                    which,
                    margin + position * width * 0.48,
                    y,
                    width * 0.48 - margin,
                )
            )
        y = max(ends) + house.size * rng.uniform(0.8, 2)
    if paired:
        y = twins(sheet, rng, house, asker, margin, y, sheet.height * 0.6) + house.size
    y = _blocks(sheet, rng, house, asker, entries, margin, y)
    if rng.random() < 0.15:
        y = (
            sheet.wrap(margin, y, paragraph(rng), house.font(0.9), width - 2 * margin)[3]
            + house.size
        )
    y = _lines(sheet, rng, house, asker, margin, y, nested=kind == "order" and rng.random() < 0.35)
    _foot(sheet, rng, house, asker, margin, y)
    asker.finish()
    return sheet.page(kind)


def _blocks(
    sheet: Press,
    rng: random.Random,
    house: House,
    asker: Asker,
    entries: list[Entry],
    margin: float,
    y: float,
) -> float:
    """The remaining entries in one or two blocks over the full width."""
    style = rng.choice(STYLES)
    while entries:
        cut = len(entries) if rng.random() < 0.6 else rng.randint(1, len(entries))
        some, entries = entries[:cut], entries[cut:]
        if rng.random() < 0.2:
            bar = rng.choice((0, 70, 215))
            text = rng.choice(("Details", "Order Details", "Billing", "Reference Data", "Information",
                               "Account", "Header", "General", "Terms and Dates", "Summary"))  # fmt: skip
            sheet.box((margin, y, sheet.width - margin, y + house.step() + 4), ink=bar, fill=bar)
            sheet.text(margin + 4, y + 2, text, house.font(bold=True), ink=255 if bar < 128 else 0)
            y += house.step() + 6
        room = sheet.width - 2 * margin
        columns = max(
            1, min(len(some), rng.choice((1, 2, 2, 2, 3, 3, 4)), int(room / (12 * house.size)))
        )
        wide = room if columns > 1 or rng.random() < 0.3 else room * rng.uniform(0.5, 0.8)
        y = block(sheet, rng, house, asker, some, margin, y, wide, columns, style)
        y += house.size * rng.uniform(0.6, 1.8)
    return y


def _lines(
    sheet: Press,
    rng: random.Random,
    house: House,
    asker: Asker,
    margin: float,
    y: float,
    *,
    nested: bool,
) -> float:
    """The table of lines, the sums under it, sometimes a second small table."""
    money = money_maker(rng)
    columns = line_columns(rng, rng.randint(3, 8 if sheet.width > 850 else 6))
    if rng.random() < 0.35:
        columns.insert(0, NUMBERED)
    bottom = sheet.height - margin - house.size * rng.uniform(6, 14)
    rows = make_rows(rng, columns, rng.choice((1, 2, 3, 4, 6, 9, 14, 25, 40)), money)
    names = [column.name(rng) for column in columns]
    if y > bottom - 3 * house.step():
        return y
    width = sheet.width - 2 * margin
    if rng.random() < 0.15:
        text = rng.choice(
            ("Order Lines", "Items", "Details", "Transactions", "Positions", "Services")
        )
        y = (
            sheet.text(margin, y, text, house.font(1.1, bold=True), ink=house.ink)[3]
            + house.size * 0.4
        )
    under = _SubRows(rng, money, house) if nested else None
    printed = print_table(sheet, rng, house, names, [c.right for c in columns], rows, margin, y, width,
                          bottom, under.print if under else None)  # fmt: skip
    if under:
        under.ask(asker)
    ask_table(asker, rng, columns, printed, rng.randint(5, 12))
    y = printed.bottom + house.size * rng.uniform(0.3, 1.5)
    y = print_sums(sheet, rng, house, asker, margin, y, money)
    if rng.random() < 0.2 and y + 9 * house.size < sheet.height - margin:
        others = line_columns(rng, rng.randint(2, 4))
        rows = make_rows(rng, others, rng.randint(1, 4), money)
        printed = print_table(sheet, rng, house, [c.name(rng) for c in others], [c.right for c in others],
                              rows, margin, y + house.size, width * rng.uniform(0.5, 1.0),
                              sheet.height - margin)  # fmt: skip
        y = printed.bottom
    return y


class _SubRows:
    """What is printed under each line of a nested order: small rows with headings of their own."""

    def __init__(self, rng: random.Random, money: Callable[[int], str], house: House) -> None:
        self.rng, self.house = rng, house
        self.columns = line_columns(rng, rng.randint(3, 5))[1:]
        self.names = [column.name(rng) for column in self.columns]
        self.rows = make_rows(rng, self.columns, 60, money)
        self.font = house.font(rng.choice((0.85, 0.9, 1.0)))
        self.head = house.font(0.9, bold=rng.random() < 0.3)
        self.every = rng.random() < 0.7
        self.given = 0
        self.printed = Printed(0.0, self.names, [], [], [])

    def ask(self, asker: Asker) -> None:
        """Offer questions about cells whose row is named by other cells."""
        for _ in range(8 if self.printed.cells else 0):
            number = self.rng.randrange(len(self.printed.cells))
            k = self.rng.randrange(len(self.columns))
            if self.printed.cells[number][k] not in ("", "-", "n/a"):
                look_up(asker, self.rng, self.columns, self.printed, number, k, self.names[k])

    def print(self, sheet: Press, left: float, top: float, right: float) -> float:
        """Print the rows of one line; returns their bottom."""
        left += (right - left) * 0.08
        wide = (right - left) * 0.85 / len(self.columns)
        step = line_height(self.font)
        if self.every or not self.given:
            for k, name in enumerate(self.names):
                sheet.text(left + k * wide, top, fit(name, self.head, wide - 6) or "-", self.head,
                           ink=self.house.ink)  # fmt: skip
            sheet.rule(top + line_height(self.head), left, left + wide * len(self.columns))
            top += line_height(self.head) + 2
        for _ in range(self.rng.randint(1, 4)):
            row = self.rows[self.given % len(self.rows)]
            self.given += 1
            cells = [fit(text, self.font, wide - 6) for text in row]
            self.printed.cells.append(cells)
            self.printed.spans.append([
                sheet.text(left + k * wide, top, shown, self.font, ink=self.house.ink)
                if shown else None
                for k, shown in enumerate(cells)
            ])  # fmt: skip
            top += step
        return top + step * 0.3


def _foot(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, y: float
) -> None:
    """Signatures, small print, print date: at the bottom if there is room."""
    bottom = sheet.height - margin * 0.8 - 2 * house.size
    y += house.size * 2
    if y + 6 * house.size < bottom and rng.random() < 0.4:
        x = margin
        for role in rng.sample(("Authorised Signature", "Date", "Received by", "Signature", "Approved",
                                "For the Buyer", "Stamp"), 2):  # fmt: skip
            sheet.rule(y + 2 * house.size, x, x + sheet.width * 0.3)
            sheet.text(x, y + 2.2 * house.size, role, house.font(0.85), ink=house.ink)
            if rng.random() < 0.4 and role.casefold() not in asker.labels:
                signed = date_text(rng) if role == "Date" else person(rng)
                span = sheet.text(x + 4, y + 0.8 * house.size, signed, house.font(), ink=house.ink)
                asker.add("What is written above {l}?|What is entered at {l}?|What stands on the line {l}?",
                          signed, span, "signature", l=role)  # fmt: skip
            x += sheet.width * 0.42
        y += 5 * house.size
    small = house.font(0.8)
    while y + 6 * house.size < bottom and rng.random() < 0.6:
        span = sheet.wrap(margin, y, paragraph(rng, 1, 3), small, sheet.width - 2 * margin, leading=1.05,
                          ink=house.ink)  # fmt: skip
        y = span[3] + house.size
    if y < bottom - house.step() and rng.random() < 0.4:
        when = date_text(rng)
        label = rng.choice(("Printed on", "Generated:", "Print Date", "Printed:", "Run Date"))
        x = rng.choice((margin, sheet.width * 0.6))
        start = sheet.text(x, bottom, label + " ", small)
        span = sheet.text(start[2], bottom, when, small)
        if "print date" not in asker.labels and "printed" not in asker.labels:
            asker.add("When was this printed?|What is the print date?|On which date was it printed or generated?",
                      when, span, "date")  # fmt: skip
        if rng.random() < 0.5:
            sheet.text(span[2] + house.size, bottom, time_text(rng), small)
