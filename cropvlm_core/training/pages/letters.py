"""Letters, memos and notices: a letterhead, who writes to whom, about what, and when."""

from __future__ import annotations

import random

from cropvlm_core.training.pages import letter_words as words
from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.cells import House, logo, print_label, print_value
from cropvlm_core.training.pages.fields import money_text, pick_fields
from cropvlm_core.training.pages.heads import language_of, paper
from cropvlm_core.training.pages.invent import (
    address_lines,
    code_text,
    company,
    date_text,
    person,
    phone_text,
    time_text,
)
from cropvlm_core.training.pages.press import Press, broken, text_length
from cropvlm_core.training.pages.prose import WORDS, paragraph, sentence
from cropvlm_core.training.pages.sheet import Page, Span, around, line_height


def letter(rng: random.Random, *, held_out: bool = False) -> Page:
    """A business letter, memo or notice of one page."""
    sheet, house, margin = paper(rng, landscape=0.02)
    margin = max(margin, sheet.width * rng.uniform(0.06, 0.13))
    language = language_of(rng)
    asker = Asker(sheet, rng, "letter", language, held_out)
    if rng.random() < 0.18:
        y = _memo_head(sheet, rng, house, asker, margin, language)
        _body(sheet, rng, house, asker, margin, y, "")
    else:
        y, name = _letter_head(sheet, rng, house, asker, margin)
        y = _body(sheet, rng, house, asker, margin, y, name)
        _end(sheet, rng, house, asker, margin, y)
    asker.finish()
    return sheet.page("letter")


def _memo_head(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, language: str
) -> float:
    asker.document = "memo"
    title = rng.choice(
        ("MEMORANDUM", "Memo", "NOTICE", "Internal Memo", "MINUTES", "Circular", "Fax", "E-mail")
    )
    span = sheet.text(margin, margin, title, house.font(1.8, bold=True), ink=house.ink)
    asker.title(title, span)
    y = span[3] + 2 * house.size
    rows = [
        (
            "From",
            person(rng),
            "Who is this {d} from?|Who sent the {d}?|From whom is it?|Who wrote it?|sender",
        ),
        (
            "To",
            person(rng),
            "To whom is this {d} sent?|Who is it addressed to?|Who receives the {d}?|recipient",
        ),
        ("Date", date_text(rng), words.DATE),
        (rng.choice(("Subject", "Re", "About")), _matter(rng), words.SUBJECT),
        ("CC", person(rng), words.COPY),
    ]
    if rng.random() < 0.5:
        rows.pop()
    if rng.random() < 0.4:
        rng.shuffle(rows)
    column = margin + house.size * rng.uniform(5.5, 8)
    step = house.step() * rng.uniform(1.1, 1.6)
    for label, value, forms in rows:
        sheet.text(margin, y, label + ":", house.label(), ink=house.ink)
        asker.add(forms, value, sheet.text(column, y, value, house.value(), ink=house.ink), "memo")
        y += step
    for entry in pick_fields(rng, rng.randint(0, 3), ("trade", "staff"), language, words.ELSEWHERE):
        if entry.field.value in ("person", "date", "text"):
            continue
        print_label(sheet, house, entry, margin, y, column - margin - 4)
        print_value(sheet, house, asker, entry, column, y, sheet.width - margin - column)
        y += step
    sheet.rule(y + 4, margin, sheet.width - margin, width=rng.choice((1, 2)))
    return y + 2 * house.size


def _matter(rng: random.Random) -> str:
    text = " ".join(rng.choices(WORDS, k=rng.randint(2, 5)))
    text = text.title() if rng.random() < 0.4 else text.capitalize()
    return f"{text} {code_text(rng)}" if rng.random() < 0.3 else text


def _letter_head(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float
) -> tuple[float, str]:
    name, lines = company(rng), address_lines(rng)
    align, x = rng.choice(
        (("left", margin), ("centre", sheet.width / 2), ("right", sheet.width - margin))
    )
    y, low = margin * rng.uniform(0.4, 1.0), 0.0
    if rng.random() < 0.5:
        side = house.size * rng.uniform(2.5, 4.5)
        place = margin if align != "left" else sheet.width - margin - 2 * side
        low = logo(sheet, rng, place, y, side)[3] + 6
        if align == "centre":
            y = low
    room = sheet.width * 0.6
    span = sheet.wrap(x, y, name, house.font(rng.choice((1.2, 1.5, 2.0)), bold=rng.random() < 0.7), room,
                      align=align, ink=house.ink)  # fmt: skip
    asker.add(words.SENDER, name, span, "company")
    y = span[3] + house.size * 0.5
    small = house.font(rng.choice((0.8, 0.9, 1.0)))
    rows = [" · ".join(line.rstrip(",.") for line in lines)] if rng.random() < 0.3 else lines
    spans = []
    for row in rows:
        spans.append(sheet.wrap(x, y, row, small, room, align=align, ink=house.ink))
        y = spans[-1][3] + house.size * 0.25
    asker.add(words.SENDER_PLACE, " ".join(rows), around(spans), "address", n=name)
    if rng.random() < 0.7:
        number = phone_text(rng)
        word = rng.choice(("Tel. ", "Phone ", "T: ", "Telephone: "))
        span = sheet.text(x, y, word + number, small, align=align, ink=house.ink)
        asker.add("What is the phone number on the letterhead?|What is the sender's phone number?|phone number",
                  number, (span[2] - text_length(small, number), *span[1:]), "phone")  # fmt: skip
        y = span[3] + house.size
    if rng.random() < 0.3:
        sheet.rule(y, margin, sheet.width - margin, width=rng.choice((1, 2)))
    y = max(y, low) + house.size * rng.uniform(1, 2.5)
    return _addressee(sheet, rng, house, asker, margin, y)


def _addressee(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, y: float
) -> tuple[float, str]:
    rows = [
        entry
        for entry in pick_fields(
            rng,
            rng.randint(0, 4),
            ("trade", "insurance", "government", "bank"),
            "en",
            words.ELSEWHERE,
        )
        if entry.field.value in ("code", "person", "email", "phone")
    ]
    when, place = (
        date_text(rng),
        (address_lines(rng)[-1].split(",")[0] if rng.random() < 0.2 else ""),
    )
    side = rng.random() < 0.5
    x, top = (sheet.width * 0.6 if side else margin), y
    if x + text_length(house.font(), f"{place}, {when}") > sheet.width - 8:
        place = ""
    start = sheet.text(x, y, place + ", ", house.font())[2] if place else x
    if not place and rng.random() < 0.3:
        start = sheet.text(x, y, "Date: ", house.font())[2] + 4
    asker.add(words.DATE, when, sheet.text(start, y, when, house.font(), ink=house.ink), "date")
    y += house.step() * 1.3
    for entry in rows:
        span = print_label(sheet, house, entry, x, y, house.size * 10)
        print_value(
            sheet, house, asker, entry, span[2] + 6, y, sheet.width - margin * 0.7 - span[2] - 6
        )
        y += house.step() * 1.2
    low = y
    y = top if side else y + house.size
    name, lines = person(rng), address_lines(rng)
    title = rng.choice(("", "", "Mr. ", "Ms. ", "Dr. ", "Prof. "))
    if rng.random() < 0.5:
        sheet.text(
            margin, y, fit_company(rng, house, sheet.width * 0.4), house.font(), ink=house.ink
        )
        y += house.step() * 1.1
    span = sheet.text(margin, y, title + name, house.font(), ink=house.ink)
    asker.add(words.ADDRESSEE, title + name, span, "person")
    y += house.step() * 1.1
    spans: list[Span] = []
    for line in lines:
        spans.append(sheet.wrap(margin, y, line, house.font(), sheet.width * 0.42, ink=house.ink))
        y = spans[-1][3] + house.size * 0.3
    asker.add(words.ADDRESSEE_PLACE, " ".join(lines), around(spans), "address", n=name)
    return max(y, low) + house.size * rng.uniform(1, 3), name


def fit_company(rng: random.Random, house: House, room: float) -> str:
    """A company name that fits into ``room``."""
    name = company(rng)
    while text_length(house.font(), name) > room and " " in name:
        name = name.rsplit(" ", 1)[0]
    return name


def _body(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, y: float, name: str
) -> float:
    room = sheet.width - 2 * margin
    if rng.random() < 0.75 and name:
        matter = _matter(rng)
        start = margin
        if rng.random() < 0.5:
            start = sheet.text(margin, y, rng.choice(("Subject: ", "Re: ", "RE: ", "Regarding: ")),
                               house.font(bold=True))[2] + 4  # fmt: skip
        span = sheet.text(start, y, matter, house.font(bold=rng.random() < 0.8), ink=house.ink)
        asker.add(words.SUBJECT, matter, span, "subject")
        y = span[3] + house.size
    if rng.random() < 0.85 and name:
        greeting = rng.choice(("Dear Sir or Madam,", "To whom it may concern", "Dear colleagues,", "Hello,",
                               "Dear Ms. {p},", "Dear Mr. {p},", "Dear customer,", "Dear {p},")).format(p=name)  # fmt: skip
        span = sheet.text(margin, y, greeting, house.font(), ink=house.ink)
        asker.add(words.GREETING, greeting, span, "greeting")
        y = span[3] + house.size
    leading = rng.uniform(1.0, 1.5)
    told = rng.sample(sorted(words.INLINE), rng.randint(0, 3))
    for position in range(rng.randint(1, 6)):
        if y > sheet.height - margin - 14 * house.size:
            break
        text, value, kind = paragraph(rng, 2, 6), "", ""
        if position < len(told):
            kind = told[position]
            value = _told(rng, kind)
            says = rng.choice(words.INLINE[kind][0].split("|")).format(v=value)
            text = f"{sentence(rng)} {rng.choice(('The ', 'Please note: ', ''))}{says}. {sentence(rng)}"
        y = _paragraph(sheet, house, asker, margin, y, text, room, leading, value, kind)
        y += house.step() * rng.uniform(0.3, 0.9)
    return y


def _told(rng: random.Random, kind: str) -> str:
    makers = {
        "amount": money_text,
        "number": code_text,
        "phone": phone_text,
        "clock": time_text,
        "colleague": person,
    }
    return makers.get(kind, date_text)(rng)


def _paragraph(
    sheet: Press, house: House, asker: Asker, x: float, y: float, text: str, room: float, leading: float,
    value: str, kind: str,
) -> float:  # fmt: skip
    """Print a paragraph; when ``value`` stands whole in one line, offer a question about it."""
    font = house.font()
    for row in broken(font, text, room):
        if y > sheet.height - 3 * house.size:
            break
        span = sheet.text(x, y, row, font, ink=house.ink)
        if value and value in row:
            left = span[0] + text_length(font, row[: row.index(value)])
            place = (left, span[1], left + text_length(font, value), span[3])
            asker.add(words.INLINE[kind][1], value, place, f"told {kind}")
        y += line_height(font) * leading
    return y


def _end(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, y: float
) -> None:
    if y > sheet.height - margin - 7 * house.size:
        return
    x = rng.choice((margin, margin, sheet.width * 0.55))
    closing = rng.choice(words.CLOSINGS)
    span = sheet.text(x, y, closing, house.font(), ink=house.ink)
    asker.add(words.CLOSING, closing, span, "closing")
    y = span[3] + house.size * rng.uniform(1.5, 3)
    if rng.random() < 0.6:
        points = [
            (x + k * 7, y - rng.uniform(0, 1.6) * house.size) for k in range(rng.randint(6, 16))
        ]
        sheet.draw.line(points, fill=rng.choice((0, 80)), width=2, joint="curve")
        y += house.size * 0.4
    name, role = person(rng), rng.choice(words.ROLES)
    span = sheet.text(x, y, name, house.font(bold=rng.random() < 0.3), ink=house.ink)
    asker.add(words.SIGNER, name, span, "person")
    y = span[3] + house.size * 0.4
    if rng.random() < 0.7:
        span = sheet.text(x, y, role, house.font(), ink=house.ink)
        asker.add(words.ROLE, role, span, "role", n=name)
        y = span[3] + house.size
    if rng.random() < 0.3 and y < sheet.height - margin - 3 * house.size:
        word = sheet.text(
            margin, y + house.size, rng.choice(("cc: ", "Copy: ", "c.c. ")), house.font()
        )
        other = person(rng)
        asker.add(
            words.COPY,
            other,
            sheet.text(word[2] + 4, y + house.size, other, house.font()),
            "person",
        )
