"""Packaging and shipping labels."""

from __future__ import annotations

import random

from PIL import Image

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.cells import House, block, house_style, logo
from cropvlm_core.training.pages.fields import pick_fields
from cropvlm_core.training.pages.fonts import pick_face
from cropvlm_core.training.pages.heads import language_of
from cropvlm_core.training.pages.invent import (
    address_lines,
    code_text,
    company,
    person,
    product,
)
from cropvlm_core.training.pages.press import Press, text_length
from cropvlm_core.training.pages.prose import sentence
from cropvlm_core.training.pages.sheet import Page, around, line_height

_WARNINGS = (
    "FRAGILE|HANDLE WITH CARE|THIS SIDE UP|KEEP DRY|KEEP REFRIGERATED|DO NOT STACK|FLAMMABLE|URGENT|"
    "PRIORITY|EXPRESS|PERISHABLE|DO NOT BEND|KEEP FROZEN|GLASS|HEAVY|SAMPLE|NOT FOR SALE|RECYCLABLE"
).split("|")
_NAME = (
    "What is the product?|What is the name of the product?|Which product is in the package?|product name|"
    "What is inside?|What does the label say the product is?|Name the article."
)
_MAKER = "Who made this product?|Which company makes it?|Who is the manufacturer?|What is the brand?|manufacturer?"
_WARNING = (
    "What is the warning?|Which warning is printed?|How should the parcel be handled?|"
    "What handling note is on the label?|What is printed in big letters as a warning?|warning"
)
_TO = "Who is the parcel for?|Who is the recipient?|To whom is it sent?|Who gets the parcel?|recipient name|Who is it going to?"
_TO_PLACE = (
    "What is the delivery address?|Where does the parcel go?|Which address is the parcel sent to?|"
    "What is the recipient's address?|To which address is it delivered?"
)
_FROM = "Who sent the parcel?|Who is the sender?|From whom does it come?|What is the sender's name?|sender"
_FROM_PLACE = (
    "What is the sender's address?|Where does the parcel come from?|Which return address is given?"
)
_ELSEWHERE = (
    "sender|shipper|receiver|consignee|recipient|destination|origin|product|product name|barcode number|"
    "supplier|address|lieferant|fournisseur|proveedor|fornitore|leverancier|fornecedor|company"
)
_BARS = "What is the number under the barcode?|What is written below the barcode?|barcode number|Read the digits under the bars."


def label(rng: random.Random, *, held_out: bool = False) -> Page:
    """A shipping or packaging label."""
    width = rng.randint(400, 800)
    size = max(11, round(width / rng.uniform(26, 44)))
    sheet = Press(
        width, round(width * rng.uniform(0.7, 1.7)), rng, rng.choice((255, 255, 245, 225))
    )
    house = house_style(rng, size)
    margin = float(rng.randint(8, 36))
    language = language_of(rng)
    asker = Asker(sheet, rng, "label", language, held_out)
    shipping = rng.random() < 0.5
    y = (
        _parcel(sheet, rng, house, asker, margin)
        if shipping
        else _pack(sheet, rng, house, asker, margin)
    )
    trades = ("shipping",) if rng.random() < 0.6 else ("shipping", "engineering")
    room = sheet.width - 2 * margin
    columns = max(1, min(rng.choice((1, 2, 2, 3)), int(room / (12 * size))))
    fits = int((sheet.height - margin - y) / (3.6 * size)) * columns
    entries = pick_fields(rng, min(max(fits, 0), rng.randint(2, 10)), trades, language, _ELSEWHERE)
    y = block(sheet, rng, house, asker, entries, margin, y, room, columns) + size * 0.6
    y = _bars(sheet, rng, house, asker, margin, y)
    if rng.random() < 0.5 and y + 3.5 * size < sheet.height:
        big = pick_face(rng, bold=True)
        text = rng.choice(_WARNINGS)
        scale = round(size * rng.uniform(1.2, 2.6))
        scale = min(scale, round(scale * room * 0.95 / text_length(big.at(scale), text)))
        font = big.at(max(11, scale))
        dark = rng.random() < 0.4
        if dark:
            sheet.box((margin, y, sheet.width - margin, y + line_height(font) + 4), fill=0)
        span = sheet.text(
            sheet.width / 2, y + 1, text, font, ink=255 if dark else 0, align="centre"
        )
        asker.add(_WARNING, text, span, "warning")
        y += line_height(font) + size
    sheet.cut(min(sheet.height, y + margin))
    if rng.random() < 0.6:
        sheet.box((3, 3, sheet.width - 4, sheet.height - 4), width=rng.choice((1, 2, 3)))
    asker.finish()
    return sheet.page("label")


def _parcel(sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float) -> float:
    y = margin
    room = sheet.width - 2 * margin
    sides = [
        ("From", _FROM, _FROM_PLACE, 0.85),
        ("To", _TO, _TO_PLACE, rng.choice((1.0, 1.3, 1.5))),
    ]
    if rng.random() < 0.2:
        sides.reverse()
    for word, who, where, scale in sides:
        caption = rng.choice({"From": ("From:", "FROM", "Sender:", "Ship from:", "Return to:"),
                              "To": ("To:", "SHIP TO:", "TO", "Deliver to:", "Recipient:")}[word])  # fmt: skip
        small = house.font(0.8, bold=True)
        sheet.text(margin, y, caption, small)
        x = margin + (rng.choice((0.0, 1.0)) * (text_length(small, caption) + house.size * 0.8))
        y += 0 if x > margin else line_height(small)
        name = person(rng) if rng.random() < 0.5 else company(rng)
        font = house.font(scale, bold=word == "To" and rng.random() < 0.5)
        span = sheet.wrap(x, y, name, font, sheet.width - margin - x, leading=1.1)
        asker.add(who, name, span, "party")
        y = span[3] + house.size * 0.3
        spans = []
        lines = address_lines(rng)
        for line in lines:
            spans.append(sheet.wrap(x, y, line, font, sheet.width - margin - x, leading=1.1))
            y = spans[-1][3] + house.size * 0.25
        asker.add(where, " ".join(lines), around(spans), "address")
        y += house.size * 0.5
        sheet.rule(y, margin, margin + room, width=rng.choice((1, 2, 3)))
        y += house.size * 0.5
    return y


def _pack(sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float) -> float:
    y = margin
    maker = company(rng)
    room = sheet.width - 2 * margin
    if rng.random() < 0.4:
        mark = logo(sheet, rng, margin, y, house.size * 2)
        sheet_x = mark[2] + 8
    else:
        sheet_x = margin
    span = sheet.wrap(
        sheet_x, y, maker, house.font(rng.choice((0.9, 1.2))), sheet.width - margin - sheet_x
    )
    asker.add(_MAKER, maker, span, "company")
    y = max(span[3], y + house.size * 2) + house.size * 0.6
    name = product(rng)
    font = house.font(rng.choice((1.5, 2.0, 2.6)), bold=True)
    x, align = rng.choice(((margin, "left"), (sheet.width / 2, "centre")))
    span = sheet.wrap(x, y, name, font, room, align=align, leading=1.1)
    asker.add(_NAME, name, span, "product")
    y = span[3] + house.size * 0.7
    if rng.random() < 0.4:
        y = sheet.wrap(margin, y, sentence(rng), house.font(0.85), room)[3] + house.size * 0.6
    return y


def _bars(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, y: float
) -> float:
    tall = house.size * rng.uniform(2, 5)
    if rng.random() < 0.25 or y + tall + 3 * house.size > sheet.height:
        return y
    if rng.random() < 0.25:  # a square code
        side = round(tall)
        dots = Image.frombytes("L", (20, 20), bytes(rng.choice((0, 255)) for _ in range(400)))
        sheet.image.paste(
            dots.resize((side, side), Image.Resampling.NEAREST), (round(margin), round(y))
        )
        return y + side + house.size * 0.5
    wide = (sheet.width - 2 * margin) * rng.uniform(0.5, 1.0)
    x = margin
    while x < margin + wide:
        pen = rng.choice((1, 1, 2, 3, 4))
        sheet.draw.rectangle((x, y, x + pen - 1, y + tall), fill=0)
        x += pen + rng.choice((1, 2, 3, 4))
    y += tall + 3
    if rng.random() < 0.85:
        number = code_text(rng) if rng.random() < 0.5 else str(rng.randrange(10**8, 10**13))
        if rng.random() < 0.3 and number.isdigit():
            number = " ".join(number[i : i + 4] for i in range(0, len(number), 4))
        span = sheet.text(margin + wide / 2, y, number, house.font(0.9), align="centre")
        asker.add(_BARS, number, span, "barcode")
        y += house.step()
    return y + house.size * 0.5
