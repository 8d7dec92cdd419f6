"""Blocks that repeat the same labels for several parties: whose phone number is it?"""

from __future__ import annotations

import random

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.cells import House, fit
from cropvlm_core.training.pages.fields import plain, value_text
from cropvlm_core.training.pages.press import Press, text_length

_PARTIES = (
    "Sender|Receiver", "Buyer|Seller", "Patient|Doctor", "Father|Mother", "Insured|Driver",
    "Agency|Advertiser", "Landlord|Tenant", "Applicant|Spouse", "Shipper|Consignee", "Employer|Employee",
    "Owner|Agent", "Student|Guardian", "Vehicle A|Vehicle B", "Agency|Advertiser|Station",
    "Contractor|Client", "Supplier|Customer|Carrier", "Pickup|Delivery", "Departure|Arrival", "Lender|Borrower",
    "Witness 1|Witness 2", "Home|Office", "Manufacturer|Importer", "Exporter|Importer|Agent",
    "Claimant|Third Party", "Bill to|Ship to", "Principal|Deputy", "Donor|Recipient", "Old|New",
)  # fmt: skip
_LABELS = (
    "person:Name", "person:Contact", "phone:Phone", "phone:Fax", "email:Email", "code:ID No.", "code:Code",
    "place:City", "country:Country", "address:Address", "date:Date", "code5:ZIP", "code:Account No.",
    "code:Reference", "person:Signed by", "code:Licence No.", "amount:Amount", "time:Time", "code:Number",
    "company:Company", "percent:Share", "code:External ID", "text:Type", "place:Place", "code:Tax ID",
)  # fmt: skip
_FORMS = (
    "What is the {l} of the {p}?|What is the {p}'s {l}?|{p} {l}?|{p} {l}|In the section {p}, what is the {l}?|"
    "Which {l} is given for the {p}?|What {l} does the {p} have?|{l} of the {p}?|Find the {l} of the {p}.|"
    "What stands at {l} under {p}?|Read the {l} of the {p}.|The {l} of the {p}?|For the {p}, what is the {l}?|"
    "Which {l} belongs to the {p}?|What is entered as {l} for the {p}?"
)
TWINNED = (
    "full name|phone number|fax number|email address|city|country|address|date|postal code|"
    "account number|reference number|contact person|identity card number|tax id|employer|licence number|"
    "number of the account|time of day"
)
"""What the blocks show, for ``pick_fields`` to leave out."""


def twins(
    sheet: Press,
    rng: random.Random,
    house: House,
    asker: Asker,
    margin: float,
    y: float,
    bottom: float,
) -> float:
    """Print blocks of like labels, beside or below each other; returns their bottom."""
    parties = rng.choice(_PARTIES).split("|")
    chosen = rng.sample(_LABELS, rng.randint(2, 7))
    room = sheet.width - 2 * margin
    beside = room / len(parties) > 19 * house.size and rng.random() < 0.55
    wide = room / len(parties) - house.size if beside else room
    step = house.step() * rng.uniform(1.1, 1.6)
    named, framed = rng.random() < 0.25, rng.random() < 0.3
    head = house.font(rng.choice((1.0, 1.15)), bold=True)
    in_front = not beside and room > 36 * house.size and rng.random() < 0.5
    column = max(text_length(house.label(), label.split(":")[1] + " : ") for label in chosen)
    column += text_length(house.label(), max(parties, key=len) + " ") if named else 0
    end = y
    for number, party in enumerate(parties):
        x = margin + number * (wide + house.size) if beside else margin
        top = y if beside else end
        if top + (len(chosen) + 2) * step > bottom:
            return end
        low = top + (3 if framed else 0)
        span = sheet.text(
            x + 4, low, party if named is False or in_front else party.upper(), head, ink=house.ink
        )
        left = x + 4
        if in_front:
            left = x + max(8 * house.size, span[2] - x + house.size)
        else:
            low += step
        for label in chosen:
            kind, name = label.split(":")
            shown = f"{party} {name}" if named else name
            sheet.text(left, low, shown + house.mark, house.label(), ink=house.ink)
            value = fit(value_text(rng, kind), house.value(), x + wide - left - column - 6)
            if value and rng.random() > 0.1:
                span = sheet.text(left + column + 4, low, value, house.value(), ink=house.ink)
                low_name = name.lower() if not name.startswith(("ID", "ZIP")) else name
                asker.add(_FORMS, value, span, kind, l=low_name, p=party.lower())
                asker.labels.add(plain(f"{party} {name}"))
            low += step
        if framed:
            sheet.box((x, top, x + wide, low))
        end = max(end, low) if beside else low + house.size * 0.7
    return end + house.size * 0.5
