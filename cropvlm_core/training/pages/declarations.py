"""Official declarations: numbered items with long labels, legal prose, and a signature block."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.cells import House, fit
from cropvlm_core.training.pages.fields import value_text
from cropvlm_core.training.pages.invent import (
    code_text,
    company,
    date_text,
    invented_word,
    person,
    time_text,
)
from cropvlm_core.training.pages.press import Press, text_length
from cropvlm_core.training.pages.prose import paragraph, sentence
from cropvlm_core.training.pages.sheet import line_height

_PARTIES = (
    "registrant|applicant|owner|employer|claimant|candidate|licensee|contractor|organisation|sponsor|"
    "committee|lessee|donor|producer|operator|manufacturer|agent|foreign partner|subcontractor|seller|"
    "purchaser|petitioner|respondent|taxpayer|client|trustee|permit holder|campaign|borrower|author"
).split("|")
_THINGS = (
    "agreement|application|contract|certificate|company|property|vehicle|building|licence|loan|report|"
    "statement|amendment|petition|inspection|complaint|policy|account|partnership|decision|exhibit"
).split("|")
_DEEDS = (
    "signed|filed|approved|issued|registered|amended|terminated|received|completed|renewed".split(
        "|"
    )
)
_ITEMS = (
    ("company", "Name of {p}|Full legal name of the {p}|Name of the {p}|Legal name of {p}|{P} name",
     "What is the name of the {p}?|Who is the {p}?|What is the {p}'s name?|What is the {p} called?|{p} name|"
     "Which name is given for the {p}?|Name the {p}.|Find the name of the {p}."),
    ("address", "Address of the {p}|Principal address of the {p}|Mailing address of {p}|Business address of {p}|"
     "Primary address of {p} (street, city, state)",
     "What is the address of the {p}?|Where is the {p} located?|Which address does the {p} have?|{p} address|"
     "In what place is the {p} found?|Give the address of the {p}."),
    ("code", "Registration number of the {p}|{P} identification no.|File number of {p}|Licence number of the {p}",
     "What is the number of the {p}?|Which identification or registration number has the {p}?|{p} number|"
     "Under which number is the {p} registered?"),
    ("date", "Date on which the {t} was {v}|Date the {t} was {v}|When was the {t} {v}|Date {t} {v}",
     "When was the {t} {v}?|On which date was the {t} {v}?|What day was the {t} {v}?|date the {t} was {v}|"
     "Which date is given for when the {t} was {v}?"),
    ("job", "Title or position of the {p}|Occupation of {p}|Position held by the {p}|Official title of the {p}",
     "What is the position of the {p}?|Which title does the {p} hold?|What is the {p}'s occupation?|"
     "In which capacity does the {p} act?"),
    ("amount", "Total amount paid for the {t}|Value of the {t}|Amount received for the {t}|Cost of the {t}",
     "How much was the {t}?|What is the amount for the {t}?|How much money is given for the {t}?|"
     "What is the value or cost of the {t}?"),
    ("country", "Country in which the {p} is organised|Nationality of the {p}|Country of the {p}",
     "Which country is the {p} from?|What is the country of the {p}?|{p} country|In which country is the {p}?"),
    ("phone", "Telephone number of the {p}|Phone of {p} (daytime)|Contact number of the {p}",
     "What is the phone number of the {p}?|How can the {p} be called?|{p} phone|{p} telephone number?"),
    ("person", "Person who acts for the {p}|Name of the officer of the {p}|Legal representative of the {p}|"
     "Contact person of the {p}",
     "Who acts for the {p}?|Who represents the {p}?|Which person stands for the {p}?|representative of the {p}"),
    ("text", "Nature of the business of the {p}|Activities of the {p}|Describe the purpose of the {p}",
     "What does the {p} do?|What is the business of the {p}?|Which activity is given for the {p}?"),
    ("yesno", "Has the {t} been {v} before?|Was the {t} {v} in writing?|Will the {t} be {v} again?",
     "What is answered on whether the {t} was {v}?|Is the {t} {v}, by the answer?|The {t}: {v} or not?"),
    ("email", "E-mail address of the {p}|Email of {p}", "What is the email of the {p}?|{p} e-mail|"
     "At which e-mail address is the {p} reached?"),
)  # fmt: skip
_FILED = (
    "When was this {w}?|On which date was the document {w}?|{w} on which day?|What is the date it was {w}?|"
    "Which date is stamped as {w}?|date {w}"
)
_SIGNED = "Who signed this {d}?|What is the name of the signer?|Whose name stands in the signature block?|signer name"
_SIGNED_ON = "When was this {d} signed?|On which date was it signed?|What is the date in the signature block?|signing date"
_CAPACITY = "What is the title of the signer?|In which capacity was it signed?|What is the position of {n}?|signer title"


def official_head(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float
) -> float:
    """Office, form number, title, a filing line and a legal paragraph; returns their bottom."""
    y, middle = margin * 0.5, sheet.width / 2
    small = house.font(0.85)
    if rng.random() < 0.6:
        word = rng.choice(("Filed", "Received", "Registered", "Recorded"))
        when = date_text(rng)
        text = rng.choice((f"{word} by the Office", f"{word}:", word.upper(), f"{word} on"))
        start = sheet.text(margin, y, text, small, ink=house.ink)
        span = sheet.text(start[2] + 5, y, when, small, ink=house.ink)
        if rng.random() < 0.5:
            sheet.text(span[2] + 6, y, time_text(rng), small, ink=house.ink)
        asker.add(_FILED, when, span, "date", w=word.lower())
        y += house.step() * 1.5
    office = rng.choice(("Department of {w}", "{w} Registry", "Office of {w} Affairs", "State of {w}",
                         "{w} Commission", "Ministry of {w}")).format(w=invented_word(rng))  # fmt: skip
    span = sheet.text(middle, y, office, house.font(bold=True), align="centre", ink=house.ink)
    asker.add("Which office issues this form?|Which authority is named at the top?|To which office does the form belong?|"
              "Name of the authority?", office, span, "office")  # fmt: skip
    y = span[3] + house.size * 0.5
    title = rng.choice(("Registration Statement", "Declaration", "Exhibit {c}", "Affidavit", "Disclosure Statement",
                        "Supplemental Statement", "Notice of Filing", "Amendment No. {n}", "Annual Report",
                        "Certificate of Registration", "Petition", "Agreement"))  # fmt: skip
    title = title.format(c=rng.choice("ABCDE"), n=rng.randint(1, 9))
    title = title.upper() if rng.random() < 0.4 else title
    font = house.font(rng.choice((1.2, 1.4, 1.7)), bold=True)
    span = sheet.text(middle, y, title, font, align="centre", ink=house.ink)
    asker.title(title, span)
    y = span[3] + house.size
    text = f"Pursuant to Section {rng.randint(2, 99)} of the {invented_word(rng)} Act. {paragraph(rng, 1, 4)}"
    span = sheet.wrap(margin, y, text, small, sheet.width - 2 * margin, ink=house.ink)
    return span[3] + house.size * 1.4


def declaration(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float
) -> float:
    """Print a whole declaration on the sheet; returns its bottom."""
    y = official_head(sheet, rng, house, asker, margin)
    parties, things = rng.sample(_PARTIES, 3), rng.sample(_THINGS, 4)
    asked: set[tuple[str, str]] = set()
    look, number, tries = rng.choice(("below", "after", "rule", "box")), 0, 0
    bottom = sheet.height - margin - 9 * house.size
    while y < bottom and number < 26 and tries < 20:
        kind, labels, forms = rng.choice(_ITEMS)
        party, thing = rng.choice(parties), rng.choice(things)
        label = rng.choice(labels.split("|"))
        subject = thing if "{t}" in label else party
        if (kind, subject) in asked:
            tries += 1
            continue
        asked.add((kind, subject))
        number += 1
        deed = rng.choice(_DEEDS)
        words = {"p": party, "t": thing, "v": deed}
        text = f"{number}. {label.format(**words, P=party.capitalize())}"
        value = value_text(rng, kind)
        if kind == "company" and rng.random() < 0.4:
            value = person(rng)
        if rng.random() < 0.08:
            value = ""
        y = _item(sheet, rng, house, asker, margin, y, text, value, look, (forms, kind, words))
        if rng.random() < 0.15:
            y = sheet.wrap(margin + 2 * house.size, y, sentence(rng, 10, 30), house.font(),
                           sheet.width - 2 * margin - 2 * house.size, ink=house.ink)[3] + house.size  # fmt: skip
    return _signed(sheet, rng, house, asker, margin, y)


def _item(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, y: float, text: str,
    value: str, look: str, question: tuple[str, str, dict[str, str]],
) -> float:  # fmt: skip
    room = sheet.width - 2 * margin
    forms, kind, words = question
    span = sheet.wrap(margin, y, text, house.label(), room, ink=house.ink)
    font = house.value()
    tall = line_height(font)
    x, low = margin + rng.choice((0.0, 1.6)) * house.size, span[3] + house.size * 0.35
    one_line = span[3] - span[1] < 1.6 * house.size
    if look == "after" and one_line and span[2] + text_length(font, value) + 20 < margin + room:
        x, low = span[2] + house.size * 0.8, y
    value = fit(value, font, margin + room - x - 6)
    if look == "box":
        sheet.box((x, low, margin + room, low + tall * 1.25))
        low += tall * 0.1
    if value:
        place = sheet.text(x + 3, low, value, font, ink=house.ink)
        asker.add(forms, value, place, kind, **words)
    if look == "rule":
        sheet.rule(low + tall * 1.05, x, margin + room)
    return low + tall * 1.2 + house.size * rng.uniform(0.3, 1.0)


def _signed(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, y: float
) -> float:
    y += house.size
    if y > sheet.height - margin - 6 * house.size:
        return y
    name, role, when = person(rng), value_text(rng, "job"), date_text(rng)
    cells = [("Date", when, _SIGNED_ON), ("Name", name, _SIGNED), ("Title", role, _CAPACITY)]
    cells = rng.sample(cells, rng.choice((2, 3, 3)))
    wide = (sheet.width - 2 * margin) / (len(cells) + 1)
    head = house.font(0.9, bold=rng.random() < 0.5)
    for number, (label, value, forms) in enumerate(cells):
        x = margin + number * wide
        sheet.text(x, y, label, head, ink=house.ink)
        shown = fit(value, house.value(), wide - 8)
        if shown:
            span = sheet.text(x, y + house.step() * 1.4, shown, house.value(), ink=house.ink)
            asker.add(forms, shown, span, "signature", n=name)
    x = margin + len(cells) * wide
    sheet.text(x, y, "Signature", head, ink=house.ink)
    if rng.random() < 0.6:
        mark = rng.choice(("/s/ " + name, "eSigned", "X", code_text(rng), company(rng).split()[0]))
        shown = fit(mark, house.value(), sheet.width - margin - x)
        if shown:
            sheet.text(x, y + house.step() * 1.4, shown, house.value(), ink=house.ink)
    sheet.rule(y + house.step() * 2.7, margin, sheet.width - margin)
    return y + house.step() * 3
