"""Till receipts and small bills: the shop's head, the articles, the sums, the small print.

A receipt has several rows that look like its total (subtotal, total before rounding, tax summary,
cash, change); the questions name one of them, the others are the distractors.
"""

from __future__ import annotations

import random

from cropvlm_core.training.pages.fonts import pick_face
from cropvlm_core.training.pages.invent import (
    CURRENCIES,
    address_lines,
    amount_text,
    code_text,
    company,
    date_text,
    invented_word,
    person,
    phone_text,
    product,
    time_text,
)
from cropvlm_core.training.pages.press import Press
from cropvlm_core.training.pages.sheet import Page, Span, around, line_height
from cropvlm_core.training.pages.till import (
    CASH,
    CASHIERS,
    CHANGES,
    DATES,
    DISCOUNTS,
    EXTRAS,
    FOOTERS,
    NUMBERS,
    PHONES,
    ROUNDINGS,
    SERVICES,
    SUBTOTALS,
    TAX_IDS,
    TAXES,
    TIMES,
    TITLES,
    TOTALS,
    Till,
)
from cropvlm_core.training.pages.wordings import receipt_question


def receipt(rng: random.Random, *, held_out: bool = False) -> Page:
    """One receipt of about 250 to 800 pixels width and up to about 2,300 pixels height."""
    face = pick_face(rng, rng.choice(("mono", "mono", "mono", "sans", "sans", "serif")))
    size = rng.randint(13, 24)
    letters = rng.randint(28, 56)
    width = (
        int(face.at(size).getlength("x") * letters) if face.role == "mono" else size * letters // 2
    )
    margin = rng.randint(4, 60)
    sheet = Press(max(240, width + 2 * margin), 2600, rng)
    point, separator = rng.choice(((".", ","), (".", ","), (".", ","), (",", "."), (".", "")))
    prefix = rng.choice(("", "", "", rng.choice(CURRENCIES) + rng.choice(("", " "))))
    till = Till(
        sheet, rng, face, size, margin, rng.randint(6, 120),
        lambda cents: prefix + amount_text(cents, separator=separator, point=point),
        rng.uniform(0.95, 1.35), rng.choice((0, 0, 20, 60, 100)),
    )  # fmt: skip
    _head(till)
    if rng.random() < 0.8:
        till.separator()
    late = rng.random() < 0.25
    if not late:
        _meta(till)
        till.separator()
    due = _articles(till)
    till.separator()
    _sums(till, due)
    till.separator()
    if late or rng.random() < 0.12:
        _meta(till)
        till.separator()
    _foot(till)
    sheet.cut(till.y + rng.randint(5, 150))
    _questions(till, held_out)
    return sheet.page("receipt")


def _head(till: Till) -> None:
    rng, sheet = till.rng, till.sheet
    align = rng.choice(("centre", "centre", "centre", "left"))
    x = sheet.width / 2 if align == "centre" else till.margin
    room = till.right - till.margin
    if rng.random() < 0.15:  # a number or a name that somebody added above the head
        note = rng.choice((code_text(rng), person(rng), person(rng).lower()))
        sheet.text(rng.uniform(0, sheet.width * 0.4), till.y, note, till.font(rng.uniform(1, 1.6)))
        till.step(1.4)
        till.gap()
    if rng.random() < 0.18:  # a logo: a mark without words
        side = till.size * rng.uniform(2, 4)
        place = (x - side / 2 if align == "centre" else x, till.y)
        span = (place[0], place[1], place[0] + side, place[1] + side)
        getattr(sheet.draw, rng.choice(("ellipse", "rectangle")))(
            span, fill=rng.choice((0, 90, 160))
        )
        till.y += side
        till.gap()
    name = company(rng)
    scale = rng.choice((1.0, 1.0, 1.15, 1.3, 1.5, 1.9))
    head = pick_face(rng, bold=True) if rng.random() < 0.3 else till.face
    font = head.at(round(till.size * scale))
    stretch = rng.choice(((1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 1.8), (1.5, 1.0)))
    span = sheet.wrap(
        x, till.y, name, font, room, leading=1.1, ink=till.ink, align=align, stretch=stretch
    )
    till.note("company", name, span)
    till.y = span[3] + till.size * rng.uniform(0.1, 0.6)
    lines = [_tax_id, _place, _phone]
    if rng.random() < 0.3:
        rng.shuffle(lines)
    if rng.random() < 0.3:
        lines.insert(0, _number)
    for line in lines:
        line(till, x, align)
    if rng.random() < 0.7:
        till.gap(0, 0.8)
        scale = rng.choice((1.0, 1.0, 1.3, 1.6))
        span = till.put(sheet.width / 2, rng.choice(TITLES), align="centre", scale=scale)
        till.step(scale)


def _number(till: Till, x: float, align: str) -> None:
    till.put(x, f"({code_text(till.rng)})", align=align)
    till.step()


def _tax_id(till: Till, x: float, align: str) -> None:
    if till.rng.random() < 0.6:
        label, code = till.rng.choice(TAX_IDS), code_text(till.rng)
        _labelled(till, x, align, label, till.rng.choice((":", " :", "", ".")), code, "tax_id")


def _phone(till: Till, x: float, align: str) -> None:
    if till.rng.random() < 0.7:
        _labelled(till, x, align, till.rng.choice(PHONES), ":", phone_text(till.rng), "phone")
    if till.rng.random() < 0.2:
        till.put(x, f"www.{invented_word(till.rng).lower()}.com", align=align)
        till.step()


def _place(till: Till, x: float, align: str) -> None:
    if till.rng.random() < 0.06:
        return
    room = till.right - till.margin
    lines = address_lines(till.rng)
    spans = []
    for line in lines:
        span = till.sheet.wrap(x, till.y, line, till.font(), room, ink=till.ink, align=align,
                               leading=till.leading)  # fmt: skip
        spans.append(span)
        rows = max(1, round((span[3] - span[1]) / (line_height(till.font()) * till.leading)))
        for _ in range(rows):
            till.step()
    till.note("address", " ".join(lines), around(spans))


def _labelled(
    till: Till, x: float, align: str, label: str, mark: str, value: str, what: str
) -> None:
    text = f"{label}{mark} {value}"
    if till.font().getlength(text) > till.right - till.margin:
        return
    span = till.put(x, text, align=align)
    start = span[2] - till.font().getlength(value)
    till.note(what, value, (start, span[1], span[2], span[3]))
    till.step()


def _meta(till: Till) -> None:
    """Date, time, numbers, cashier: one to a line, or two to a line, or date and time unlabelled."""
    rng = till.rng
    again = "date" in till.shown
    when, clock = till.day or date_text(rng), time_text(rng)
    till.day = when
    rows: list[tuple[str, str, str]] = []
    style = rng.random()
    if style < 0.3:
        rows.append(("date", rng.choice(DATES), when))
        rows.append(("time", rng.choice(TIMES), clock))
    elif style < 0.65:
        rows.append(("date", rng.choice(DATES), f"{when} {clock}"))
    elif style < 0.85:
        rows.append(("date", "", f"{when}{rng.choice((' ', '  ', ', '))}{clock}"))
    else:  # in one line with numbers that nobody asks for
        before, after = rng.choice(
            (("", code_text(rng)), (code_text(rng), ""), (f"#{rng.randint(1, 99)}", "POS 1"))
        )
        rows.append(("date", "", f"{before} {when} {clock} {after}".strip()))
    if rng.random() < 0.85:
        rows.append(("number", rng.choice(NUMBERS), code_text(rng)))
    if rng.random() < 0.6:
        rows.append(("cashier", rng.choice(CASHIERS), rng.choice((person(rng), f"{rng.randint(1, 99):02d}",
                                                                     person(rng).split()[0]))))  # fmt: skip
    rows.extend(
        (f"extra:{label}", label, str(rng.randint(1, 300)))
        for label in rng.sample(EXTRAS, rng.choice((0, 0, 1, 2)))
    )
    rng.shuffle(rows)
    mark = rng.choice((":", " :", ":", "", ".:"))
    column = till.margin + till.size * rng.uniform(4, 7) if rng.random() < 0.4 else None
    paired = rng.random() < 0.3
    half = False
    for what, label, value in rows:
        left = till.margin
        font = till.font()
        text = f"{label}{mark} " if label else ""
        start = left + font.getlength(text)
        if column is not None and label:
            start = max(start, column)
        if paired and half and till.right - font.getlength(text + value) > till.sheet.width * 0.52:
            left = int(till.right - font.getlength(text + value))
            start = left + font.getlength(text)
        elif half:
            till.step()
            half = False
        if start + font.getlength(value) > till.sheet.width - 2:
            continue
        if text:
            till.sheet.text(left, till.y, text, font, ink=till.ink)
        span = till.sheet.text(start, till.y, value, font, ink=till.ink)
        if what == "date":
            _note_date(till, value, when, clock, span, again)
        elif not again:
            till.note(what, value, span)
        half = paired and not half and span[2] < till.sheet.width * 0.5
        if not half:
            till.step()
    if half:
        till.step()


def _note_date(till: Till, value: str, when: str, clock: str, span: Span, again: bool) -> None:
    """A date printed together with its time is one value; the time alone can be asked for too."""
    timed = clock in value
    first = value.index(when)
    last = value.index(clock) + len(clock) if timed else first + len(when)

    def part(start: int, end: int) -> Span:
        lengths = [till.font().getlength(value[:index]) for index in (start, end)]
        return (span[0] + lengths[0], span[1], span[0] + lengths[1], span[3])

    till.note("date", when, part(first, last))
    if timed and not again:
        till.note("time", clock, part(last - len(clock), last))


def _articles(till: Till) -> int:
    """Print the articles; returns their sum in cents."""
    rng = till.rng
    if rng.random() < 0.6:
        heads = rng.choice((("Item", "Amount"), ("Description", "Price"), ("Qty Item", "Total"),
                            ("Artikel", "Preis"), ("DESC", "AMT"), ("Desc & Code", "Amount(RM)")))  # fmt: skip
        till.put(till.margin, heads[0])
        if rng.random() < 0.5:
            till.put(
                till.right * 0.62, rng.choice(("Qty", "Price", "U.Price", "Disc")), align="right"
            )
        till.put(till.right, heads[1], align="right")
        till.step()
        till.separator()
    style = rng.choice(("one", "one", "two", "two", "code"))
    tail = rng.choice(("", "", "", " SR", " Z", " T", " A", "*"))
    cheap = rng.random() < 0.7
    due = 0
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 14, 18))):
        unit = rng.randint(10, 3000) if cheap else rng.randint(500, 250000)
        unit = unit // 10 * 10 if rng.random() < 0.6 else unit
        count = rng.choice((1, 1, 1, 1, 2, 3, 4, 10))
        price = till.money(unit * count) + tail
        due += unit * count
        name = product(rng)
        room = till.right - till.margin - till.font().getlength(price + "    ")
        while till.font().getlength(name) > room and " " in name:
            name = name.rsplit(" ", 1)[0]
        if style == "one":
            if rng.random() < 0.5:
                name = f"{count} {name}"
            till.put(till.margin, name)
        else:
            if style == "code":
                till.put(till.margin, str(rng.randint(10**6, 10**12)))
                till.step()
            till.put(till.margin, name)
            till.step()
            till.put(till.margin + till.size * 2, f"{count} {rng.choice('xX@')} {till.money(unit)}")
        span = till.put(till.right, price, align="right")
        till.note(f"item:{name}", till.money(unit * count), span)
        till.step()
    return due


def _sums(till: Till, due: int) -> None:
    """The rows between the articles and the footer, any of which could be taken for the total."""
    rng = till.rng
    rows: list[tuple[str, str, str]] = []
    tax = due * rng.choice((6, 7, 10, 19, 20)) // 100
    if rng.random() < 0.3:
        rows.append(
            (
                "count",
                rng.choice(("Item Count", "Total Qty", "Qty", "Items")),
                str(rng.randint(1, 19)),
            )
        )
    if rng.random() < 0.6:
        rows.append(("subtotal", rng.choice(SUBTOTALS), till.money(due)))
    if rng.random() < 0.25:
        rows.append(
            ("discount", rng.choice(DISCOUNTS), till.money(-(due // rng.choice((5, 10, 20)))))
        )
    if rng.random() < 0.15:
        rows.append(("service", rng.choice(SERVICES), till.money(due // 10)))
    if rng.random() < 0.6:
        rows.append(("tax", rng.choice(TAXES), till.money(tax)))
        due += tax
    rounding = rng.random() < 0.35
    rounded = round(due / 5) * 5
    label = rng.choice(TOTALS)
    if rounding:
        before = rng.random() < 0.5
        if before:
            rows.append(("before", rng.choice(("Total Sales", "Total Before Rounding", "Total Incl. Tax",
                                               "Total Sales Inclusive GST", "Net Amount")), till.money(due)))  # fmt: skip
        rows.append(("rounding", rng.choice(ROUNDINGS), till.money(rounded - due)))
        due = rounded
        if before:
            label = rng.choice(("Total", "TOTAL", "Rounded Total", "Grand Total", "Total After Rounding",
                                "Total Payable", "Total Amount Payable", "Nett Total"))  # fmt: skip
    rows.append(("total", label, till.money(due)))
    if rng.random() < 0.75:
        paid = due if rng.random() < 0.4 else (due // 1000 + 1) * 1000
        rows.append(("cash", rng.choice(CASH), till.money(paid)))
        if paid != due or rng.random() < 0.5:
            rows.append(("change", rng.choice(CHANGES), till.money(paid - due)))
    loud = rng.choice((1.0, 1.0, 1.15, 1.4, 1.8))
    mark = rng.choice((":", "", "", " :", ""))
    inner = rng.random() < 0.25
    for what, text, value in rows:
        scale = loud if what == "total" else 1.0
        font = till.font(scale)
        if font.getlength(f"{text}{mark}  {value}") > till.right - till.margin:
            scale, font = 1.0, till.font()
            text = text.split("(")[0].strip() if what != "total" else text.split()[0]
        if what == "total" and rng.random() < 0.2:
            till.separator()
        if inner:
            split = max(
                till.margin + till.sheet.width * 0.55, till.margin + font.getlength(text + mark)
            )
            till.put(split, text + mark, align="right", scale=scale)
        else:
            till.put(till.margin, text + mark, scale=scale)
        span = till.put(till.right, value, align="right", scale=scale)
        till.note(what, value, span)
        till.step(scale)
    if rng.random() < 0.3:  # the tax summary: the same words again, with other sums
        till.separator()
        third = (till.right - till.margin) / 3
        cells = (
            ("GST Summary", "Amount", "Tax"),
            ("SR @ 6%", till.money(due - tax), till.money(tax)),
        )
        for row in cells:
            for index, text in enumerate(row):
                if till.font().getlength(text) < third * 0.95:
                    till.put(till.margin + third * (index + (index > 0)), text,
                             align="right" if index else "left")  # fmt: skip
            till.step()


def _foot(till: Till) -> None:
    rng = till.rng
    for line in rng.sample(FOOTERS, rng.randint(0, 4)):
        text = line.format(w=invented_word(rng).lower(), n=rng.randint(10, 9999))
        span = till.sheet.wrap(till.sheet.width / 2, till.y, text, till.font(),
                               till.right - till.margin, ink=till.ink, align="centre")  # fmt: skip
        till.y = span[3] + till.size * 0.5


def _questions(till: Till, held_out: bool) -> None:
    for what, places in till.shown.items():
        answer = places[0][0]
        spans = [span for text, span in places if text == answer]
        kind = what.split(":")[0]
        wordings = {
            receipt_question(till.rng, what, held_out=held_out): None
            for _ in range(1 if kind == "item" else 2)
        }
        for question in wordings:
            if question:
                till.sheet.ask(question, answer, spans, kind)
