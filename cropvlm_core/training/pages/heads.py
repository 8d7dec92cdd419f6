"""What stands at the top of business pages: sender, title, page number, and the parties addressed."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.cells import House, house_style, logo
from cropvlm_core.training.pages.invent import address_lines, company, person, phone_text
from cropvlm_core.training.pages.press import Press, text_length
from cropvlm_core.training.pages.sheet import around

LANGUAGES = ("de", "fr", "es", "it", "nl", "pt", "ms")

TITLES = {
    "invoice": {
        "en": "INVOICE|Invoice|Tax Invoice|TAX INVOICE|Commercial Invoice|Proforma Invoice|Bill|"
        "CREDIT NOTE|Credit Memo|Sales Invoice|Debit Note|Final Invoice|Interim Invoice",
        "de": "Rechnung|RECHNUNG|Gutschrift", "fr": "FACTURE|Facture|Avoir", "es": "FACTURA|Factura",
        "it": "FATTURA|Fattura", "nl": "FACTUUR|Factuur", "pt": "FATURA|Nota Fiscal", "ms": "INVOIS",
    },
    "order": {
        "en": "PURCHASE ORDER|Purchase Order|ORDER|Order|CONTRACT|Contract|Insertion Order|Work Order|"
        "Sales Order|Order Confirmation|Delivery Note|Packing List|Booking Form|Quotation|QUOTE|"
        "Service Order|Job Sheet|Requisition|Advertising Contract|Broadcast Order|Estimate|Schedule",
        "de": "Bestellung|Auftragsbestätigung|Lieferschein|Angebot", "fr": "Bon de commande|Devis",
        "es": "Pedido|Albarán|Presupuesto", "it": "Ordine|Preventivo|Bolla", "nl": "Bestelling|Offerte",
        "pt": "Pedido|Orçamento", "ms": "Pesanan Belian|Sebut Harga",
    },
    "statement": {
        "en": "Statement|Account Statement|STATEMENT OF ACCOUNT|Bank Statement|Utility Bill|"
        "Electricity Bill|Water Bill|Monthly Statement|Credit Card Statement|Gas Bill|Phone Bill",
        "de": "Kontoauszug|Stromrechnung", "fr": "Relevé de compte", "es": "Extracto de cuenta",
        "it": "Estratto conto", "nl": "Rekeningafschrift", "pt": "Extrato", "ms": "Penyata Akaun",
    },
}  # fmt: skip
PARTIES = (
    ("Bill To|Billed to|Billing Address|Invoice to|Sold To|Customer|Client|Rechnungsempfänger",
     "billed|customer|client|invoiced"),
    ("Ship To|Deliver to|Delivery Address|Shipping Address|Consignee|Site Address", "shipped|delivered"),
    ("Remit To|Remit Address|Pay to|Remittance Address|Payable to", "remit|payee"),
    ("Vendor|Supplier|From|Seller|Sold by", "supplier|vendor|seller"),
)  # fmt: skip
PARTY_FORMS = {
    "billed": (
        "Who is this {d} billed to?|Who is the {l} company?|Which company is named under {l}?|"
        "Who has to pay this {d}?|What is the name under {l}?|Name of the {l} party?|Who is billed?",
        "What is the address under {l}?|Which address is this billed to?|What is the billing address?|"
        "To which address was it invoiced?|Which address stands below {l}?|Address of {n}?",
    ),
    "shipped": (
        "Who is it delivered to?|Which company receives the goods?|What name stands under {l}?|"
        "Who is named below {l}?|To whom is it shipped?",
        "Where is it delivered?|What is the delivery address?|Where are the goods shipped to?|"
        "What is the shipping address?|Which address stands below {l}?|What is the address of {n}?",
    ),
    "remit": (
        "To whom is the payment sent?|What name stands under {l}?|Who receives the payment?",
        "Where should the payment be sent?|What is the remittance address?|"
        "Which address stands below {l}?|To which address does the payment go?",
    ),
    "supplier": (
        "Who is the {l}?|What name stands under {l}?|Which company is the seller?|Who supplies this?",
        "What is the address of the supplier?|Which address stands below {l}?|Where is {n}?",
    ),
}
ISSUER = (
    "Which company issued this {d}?|Who issued this {d}?|What company is at the top of the {d}?|"
    "Whose letterhead is it?|Which company is this {d} from?|Name of the issuing company?|Who sent this {d}?|"
    "Which company name is printed at the top?|company name at the top|What is the name of the sender?"
)
ISSUER_ADDRESS = (
    "What is the address of {n}?|Where is {n} located?|Which address does {n} have?|"
    "What is the address of the company that issued this {d}?|address of {n}|Address of the sender?"
)
PAGE_NO = (
    "Which page is this?|What is the page number?|page number|Which page number is printed?|Page?"
)


def paper(rng: random.Random, *, landscape: float = 0.1) -> tuple[Press, House, float]:
    """An empty letter-like sheet, its house style and its margin."""
    width = rng.randint(750, 1000)
    height = round(width * rng.choice((1.294, 1.294, 1.414, 1.414, 1.2)))
    size = max(10, round(width / rng.uniform(50, 78)))
    if rng.random() < landscape:
        width, height = min(1150, height), width
    return Press(width, height, rng), house_style(rng, size), width * rng.uniform(0.03, 0.09)


def language_of(rng: random.Random) -> str:
    """English mostly; another language on one page in eight."""
    return rng.choice(LANGUAGES) if rng.random() < 0.13 else "en"


def party(
    sheet: Press, rng: random.Random, house: House, asker: Asker, which: int, x: float, y: float,
    room: float,
) -> float:  # fmt: skip
    """An address block under its caption; returns its bottom."""
    names, roles = PARTIES[which]
    label = rng.choice(names.split("|"))
    if rng.random() < 0.9:
        span = sheet.text(
            x, y, label + house.mark, house.font(bold=rng.random() < 0.6), ink=house.ink
        )
        beside = rng.random() < 0.2
        if beside and room > 26 * house.size:
            room -= span[2] + house.size - x
            x = span[2] + house.size
        else:
            y += house.step() * 1.1
    name, lines = company(rng), address_lines(rng)
    who, where = PARTY_FORMS[roles.split("|")[0]]
    step = house.step() * rng.uniform(0.95, 1.15)
    bold = house.font(bold=rng.random() < 0.4)
    span = sheet.wrap(x, y, name, bold, room, ink=house.ink)
    asker.add(who, name, span, "party", l=label.lower(), n=name)
    y = span[3] + step * 0.3
    if rng.random() < 0.2:
        attention = person(rng)
        start = sheet.text(
            x, y, rng.choice(("Attn: ", "Attn. ", "c/o ", "Attention: ")), house.font()
        )
        place = sheet.text(start[2], y, attention, house.font(), ink=house.ink)
        asker.add("Who is the contact at {n}?|For whose attention is it?|Who is named under {n}?",
                  attention, place, "person", n=name)  # fmt: skip
        y += step
    places = []
    for line in lines:
        places.append(sheet.wrap(x, y, line, house.font(), room, ink=house.ink))
        y = places[-1][3] + step * 0.25
    asker.add(where, " ".join(lines), around(places), "address", l=label.lower(), n=name)
    return y


def head(
    sheet: Press,
    rng: random.Random,
    house: House,
    asker: Asker,
    margin: float,
    kind: str,
    language: str,
) -> tuple[float, float]:
    """Letterhead and title; returns the bottom of the left side and of the right side."""
    titles = TITLES[kind].get(language) or TITLES[kind]["en"]
    title = rng.choice(titles.split("|"))
    width, top = sheet.width, margin * rng.uniform(0.5, 1.2)
    left = top
    x, low = margin, 0.0
    if rng.random() < 0.6:
        mark = logo(sheet, rng, margin, top, house.size * rng.uniform(2.5, 5))
        x, left = (mark[2] + house.size, top) if rng.random() < 0.6 else (margin, mark[3] + 6)
        low = mark[3] + 4
    name = company(rng)
    font = house.font(rng.choice((1.0, 1.2, 1.5, 1.8)), bold=rng.random() < 0.7)
    span = sheet.wrap(x, left, name, font, width * 0.5 - x, ink=house.ink, leading=1.1)
    asker.add(ISSUER, name, span, "company")
    left = span[3] + house.size * 0.4
    if rng.random() < 0.8:
        lines = address_lines(rng)
        if rng.random() < 0.6:
            lines = (
                [", ".join(line.rstrip(",.") for line in lines)] if rng.random() < 0.3 else lines
            )
        small = house.font(rng.choice((1.0, 0.9, 0.85)))
        spans = []
        for line in lines:
            spans.append(sheet.wrap(x, left, line, small, width * 0.5 - x, ink=house.ink))
            left = spans[-1][3] + house.size * 0.25
        asker.add(ISSUER_ADDRESS, " ".join(lines), around(spans), "address", n=name)
        if rng.random() < 0.6:
            number = phone_text(rng)
            word = sheet.text(
                x, left, rng.choice(("Tel. ", "Phone: ", "T ", "Main: ", "Fon ")), small
            )
            place = sheet.text(word[2] + 4, left, number, small, ink=house.ink)
            asker.add("What is the phone number of {n}?|Which number reaches {n}?|Main phone number of {n}?",
                      number, place, "phone", n=name)  # fmt: skip
            left += house.step()
    big = house.font(rng.choice((1.3, 1.6, 2.0, 2.6)), bold=rng.random() < 0.8)
    long = text_length(big, title)
    spot, align = (width - margin, "right")
    if long < width * 0.24 and rng.random() < 0.3:
        spot, align = (width * 0.64, "centre")
    if long > width * 0.42:
        big = house.font(1.2, bold=True)
    span = sheet.text(spot, top, title, big, ink=house.ink, align=align)
    asker.title(title, span)
    right = span[3] + house.size * 0.6
    if rng.random() < 0.5:
        leaf, count = rng.randint(1, 4), rng.randint(4, 9)
        text = rng.choice(
            (f"Page {leaf} of {count}", f"Page {leaf}", f"{leaf}/{count}", f"Page: {leaf}")
        )
        small = house.font(0.85)
        if rng.random() < 0.6:
            span = sheet.text(width - margin, right, text, small, align="right")
            right = span[3] + house.size * 0.4
        else:
            span = sheet.text(width / 2, sheet.height - 2 * house.size, text, small, align="centre")
        asker.add(PAGE_NO, text, span, "page")
    return max(left, low), right
