"""Filled-in forms: numbered fields in boxes or on lines, sections, ticked squares, office use."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.cells import (
    STYLES,
    House,
    block,
    fit,
    house_style,
    logo,
    mosaic,
    on_lines,
)
from cropvlm_core.training.pages.declarations import declaration
from cropvlm_core.training.pages.fields import Entry, pick_fields
from cropvlm_core.training.pages.fonts import pick_face
from cropvlm_core.training.pages.heads import language_of, paper
from cropvlm_core.training.pages.invent import code_text, company
from cropvlm_core.training.pages.marks import stamp, ticks
from cropvlm_core.training.pages.press import Press
from cropvlm_core.training.pages.prose import paragraph, sentence
from cropvlm_core.training.pages.sheet import Page, line_height
from cropvlm_core.training.pages.twins import TWINNED, twins

_SETS = (
    (("medical", "government"), "Patient Registration|Medical History|Referral Form|Lab Request|Admission Form|"
     "Health Questionnaire|Consent Form|Discharge Summary|Vaccination Record"),
    (("school", "government"), "Enrolment Form|Student Record|Report Card|Course Registration|Absence Note|"
     "Scholarship Application|Exam Entry Form|School Trip Consent"),
    (("government", "government", "staff"), "Application Form|Permit Application|Visa Application|"
     "Registration Form|Change of Address|Licence Renewal|Declaration|Certificate of Residence"),
    (("insurance", "government", "bank"), "Claim Form|Accident Report|Policy Schedule|Notice of Loss|"
     "Insurance Certificate|Proposal Form|Claim Notification"),
    (("staff", "government"), "Leave Request|Payslip|Time Sheet|Employee Record|Expense Claim|Job Application|"
     "Personnel Form|Appraisal Form"),
    (("engineering", "trade", "shipping"), "Inspection Report|Test Certificate|Maintenance Log|Work Permit|"
     "Service Report|Data Sheet|Nonconformance Report|Calibration Record|Specification Sheet"),
    (("travel", "government"), "Guest Registration|Booking Confirmation|Boarding Pass|Travel Request|"
     "Itinerary|Reservation Form"),
    (("shipping", "trade"), "Bill of Lading|Consignment Note|Customs Declaration|Delivery Order|Packing Slip|"
     "Goods Received Note|Return Form|Shipping Instructions"),
    (("bank", "trade"), "Account Opening Form|Payment Advice|Transfer Order|Loan Application|Deposit Slip|"
     "Direct Debit Mandate|Credit Application"),
    (("advertising", "trade"), "Media Schedule|Broadcast Agreement|Advertising Request|Disclosure Form|"
     "Order Worksheet|Public File Record|Rate Request"),
)  # fmt: skip
_FOREIGN = {
    "de": "Antrag|Anmeldung|Meldeschein|Formular|Datenblatt", "fr": "Formulaire|Demande|Fiche|Déclaration",
    "es": "Solicitud|Formulario|Ficha", "it": "Modulo|Domanda|Scheda", "nl": "Aanvraag|Formulier",
    "pt": "Formulário|Requerimento|Ficha", "ms": "Borang Permohonan|Borang",
}  # fmt: skip
_SECTIONS = (
    "Personal Details|General Information|Part {n}|Section {c}|Particulars|Contact Details|Declaration|"
    "Office Use Only|For Official Use|Identification|Technical Data|Details|Section {n}: Data|History|"
    "Payment Details|Additional Information|Please complete in block letters"
).split("|")


def form(rng: random.Random, *, held_out: bool = False) -> Page:
    """A filled-in form; a large one on letter paper or a small slip."""
    if rng.random() < 0.3:
        width = rng.randint(420, 780)
        size = rng.randint(11, 17)
        sheet = Press(width, rng.randint(300, 900), rng)
        house, margin = house_style(rng, size), float(rng.randint(8, 36))
    else:
        sheet, house, margin = paper(rng)
    if sheet.width > 700 and rng.random() < 0.3:
        return _declared(sheet, rng, house, margin, held_out)
    language = language_of(rng)
    trades, titles = rng.choice(_SETS)
    asker = Asker(sheet, rng, "form", language, held_out)
    y = _top(sheet, rng, house, asker, margin, _FOREIGN.get(language, titles))
    if rng.random() < 0.3:  # filled in with another machine than the form was printed on
        house.pen = pick_face(rng, rng.choice(("mono", "mono", "sans", "serif"))).at(
            round(house.size * rng.uniform(1.0, 1.25))
        )
    paired = language == "en" and rng.random() < 0.3
    if paired:
        y = twins(sheet, rng, house, asker, margin, y, sheet.height - margin)
    area = (sheet.width - 2 * margin) * (sheet.height - y) / house.size**2
    count = max(3, min(44, round(area / rng.uniform(45, 140))))
    entries = pick_fields(rng, count, trades, language, f"form number|{TWINNED if paired else ''}")
    for entry in entries:
        if rng.random() < 0.12:
            entry.value = ""
        elif rng.random() < 0.12:
            entry.value = entry.value.upper()
    number = 0
    while entries and y < sheet.height - margin - 5 * house.size:
        cut = min(len(entries), rng.randint(3, 14))
        some, entries = entries[:cut], entries[cut:]
        if rng.random() < 0.55:
            y = _section(sheet, rng, house, margin, y)
        if rng.random() < 0.3:
            for entry in some:
                number += 1
                entry.label = f"{number}. {entry.label}"
        y = _fields(sheet, rng, house, asker, some, margin, y)
        if rng.random() < 0.35 and y < sheet.height - margin - 6 * house.size:
            y = ticks(sheet, rng, house, asker, margin, y)
        if rng.random() < 0.25 and y < sheet.height - margin - 8 * house.size:
            y = sheet.wrap(margin, y, paragraph(rng, 1, 3), house.font(0.85), sheet.width - 2 * margin,
                           ink=house.ink, leading=1.1)[3] + house.size  # fmt: skip
    if rng.random() < 0.4:
        y = stamp(sheet, rng, house, margin, y)
    if rng.random() < 0.3:
        sheet.box((margin / 2, margin / 2, sheet.width - margin / 2, sheet.height - margin / 2))
    sheet.cut(min(sheet.height, y + rng.uniform(1, 14) * house.size + margin))
    asker.finish()
    return sheet.page("form")


def _declared(
    sheet: Press, rng: random.Random, house: House, margin: float, held_out: bool
) -> Page:
    """The whole sheet as an official declaration."""
    asker = Asker(sheet, rng, "form", "en", held_out)
    if rng.random() < 0.4:
        pen = pick_face(rng, rng.choice(("mono", "sans", "serif")))
        house.pen = pen.at(round(house.size * rng.uniform(1.0, 1.15)))
    y = declaration(sheet, rng, house, asker, max(margin, sheet.width * 0.06))
    sheet.cut(min(sheet.height, y + rng.uniform(2, 14) * house.size))
    asker.finish()
    return sheet.page("form")


def _top(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, titles: str
) -> float:
    title = rng.choice(titles.split("|"))
    if rng.random() < 0.25:
        title = title.upper()
    y = margin
    room = sheet.width - 2 * margin
    font = house.font(rng.choice((1.2, 1.4, 1.7, 2.1)), bold=rng.random() < 0.8)
    align, x = rng.choice((("centre", sheet.width / 2), ("left", margin)))
    if rng.random() < 0.5:
        name = company(rng)
        if rng.random() < 0.5:
            mark = logo(sheet, rng, margin, y, house.size * 2.2)
            x0 = mark[2] + 8
        else:
            x0 = margin
        span = sheet.wrap(x0, y, name, house.font(bold=True), room - (x0 - margin), ink=house.ink)
        asker.add("Which organisation issued this {d}?|Who issued this {d}?|Which company's {d} is this?|"
                  "What is the name of the organisation?|Whose {d} is it?|organisation at the top",
                  name, span, "company")  # fmt: skip
        y = max(span[3], y + house.size * 2.2) + house.size * 0.8
    if rng.random() < 0.3:
        code = code_text(rng)
        small = house.font(0.8)
        word = rng.choice(("Form", "Form No.", "Doc.", "Ref", "No."))
        span = sheet.text(sheet.width - margin, y - house.size * 0.4 if y > 2 * margin else y - 4, code, small,
                          align="right")  # fmt: skip
        sheet.text(span[0] - 5, span[1] - small.getbbox(code)[1], word, small, align="right")
        asker.add("What is the {l} number of this form?|Which {l} code stands in the top corner?|"
                  "What is the code at the top right?", code, span, "code", l=word.rstrip(".").lower())  # fmt: skip
        y += house.step(0.8)
    span = sheet.wrap(x, y, title, font, room, ink=house.ink, align=align, leading=1.1)
    asker.title(title, span)
    y = span[3] + house.size
    if rng.random() < 0.3:
        span = sheet.wrap(x, y, sentence(rng), house.font(0.9), room, ink=house.ink, align=align)
        y = span[3] + house.size
    return y


def _section(sheet: Press, rng: random.Random, house: House, margin: float, y: float) -> float:
    text = rng.choice(_SECTIONS).format(n=rng.randint(1, 9), c=rng.choice("ABCDEFG"))
    font = house.font(rng.choice((1.0, 1.1)), bold=True)
    bar = rng.choice((None, None, 0, 60, 210, 230))
    if bar is not None:
        sheet.box((margin, y, sheet.width - margin, y + line_height(font) + 4), ink=bar, fill=bar)
    ink = 255 if bar is not None and bar < 128 else house.ink
    sheet.text(margin + 4, y + 2, fit(text, font, sheet.width - 2 * margin), font, ink=ink)
    y += line_height(font) + 4
    if bar is None and rng.random() < 0.5:
        sheet.rule(y, margin, sheet.width - margin)
    return y + house.size * rng.uniform(0.2, 0.8)


def _fields(
    sheet: Press, rng: random.Random, house: House, asker: Asker, entries: list[Entry], margin: float,
    y: float,
) -> float:  # fmt: skip
    room = sheet.width - 2 * margin
    columns = max(1, min(len(entries), rng.choice((1, 2, 2, 3, 4)), int(room / (11 * house.size))))
    fits = int((sheet.height - margin - y) / (3.8 * house.size)) * columns
    if rng.random() < 0.3 and columns > 1:
        return mosaic(sheet, rng, house, asker, entries[:fits], margin, y)
    style = rng.choice((*STYLES, "lined", "lined", "under"))
    if style == "under":
        return on_lines(sheet, rng, house, asker, entries[:fits], margin, y, columns)
    y = block(sheet, rng, house, asker, entries[:fits], margin, y, room, columns, style)
    return y + house.size * rng.uniform(0.3, 1.2)
