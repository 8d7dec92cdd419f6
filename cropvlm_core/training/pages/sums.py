"""The sums under the lines of a bill, any of which could be taken for the total."""

from __future__ import annotations

import random
from collections.abc import Callable

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.cells import House
from cropvlm_core.training.pages.press import Press, text_length

SUMS = {
    "subtotal": ("Subtotal|Sub-total|Net Total|Net Amount|Gross Total|Total excl. VAT|Goods Total|Gross",
                 "What is the {l}?|How much is the {l}?|{l}?|Give the {l}."),
    "discount": ("Discount|Less Discount|Rebate|Agency Commission|Less Commission",
                 "How much is the {l}?|What is the {l}?|What amount is deducted as {l}?"),
    "shipping": ("Shipping|Freight|Shipping & Handling|Delivery|Carriage",
                 "How much is the {l}?|What does {l} cost?|What is charged for {l}?"),
    "tax": ("VAT 19%|Sales Tax|Tax|GST 6%|VAT (20%)|Tax 8.25%|Sales Tax 7%|MwSt. 19 %|TVA 20 %|IVA 21%",
            "How much tax is there?|What is the tax amount?|How much is the {l}?|What is the {l}?|Tax?"),
    "total": ("Total|TOTAL|Grand Total|Total Due|Invoice Total|Amount Due|Balance Due|Total Amount|"
              "Net Amount Due|Total Payable|Please pay|Total incl. VAT|Gesamtbetrag|Total TTC",
              "What is the total?|What is the total amount?|How much has to be paid?|{l}?|What is the {l}?|"
              "How much is the {l}?|What does it come to in total?|What is the final sum?|grand total|"
              "How much is due altogether?|What is the amount payable?|Give the total."),
    "paid": ("Amount Paid|Payments|Less Deposit|Paid|Payment received", "How much was paid?|What is the {l}?|{l}?"),
}  # fmt: skip


def print_sums(
    sheet: Press, rng: random.Random, house: House, asker: Asker, margin: float, y: float,
    money: Callable[[int], str],
) -> float:  # fmt: skip
    """Print the total and some of the sums that stand beside it; returns their bottom."""
    kinds = [kind for kind in SUMS if kind == "total" or rng.random() < 0.5]
    due = rng.randrange(10 ** rng.randint(3, 8))
    share = {
        "tax": 0.19,
        "discount": -0.1,
        "shipping": 0.03,
        "subtotal": 0.9,
        "total": 1.0,
        "paid": 0.4,
    }
    rows = [
        (kind, rng.choice(SUMS[kind][0].split("|")), money(round(due * share[kind])))
        for kind in kinds
    ]
    loud = house.font(rng.choice((1.0, 1.0, 1.15)), bold=rng.random() < 0.6)
    fonts = (loud, house.font())
    amounts = max(text_length(f, value) for _, _, value in rows for f in fonts) + house.size
    labels = max(text_length(f, row[1] + house.mark) for row in rows for f in fonts) + house.size
    wide = max(amounts + labels, rng.uniform(16, 24) * house.size)
    right = sheet.width - margin * rng.choice((1.0, 1.0, 1.5))
    left = right - wide
    if rng.random() < 0.15:
        left, right = margin, margin + wide
    flush, boxed = rng.random() < 0.3, rng.random() < 0.25
    step = house.step() * rng.uniform(1.05, 1.5)
    first = y
    for kind, label, value in rows:
        if y + step > sheet.height - house.size:
            break
        font = loud if kind == "total" else house.font()
        if kind == "total" and rng.random() < 0.3:
            sheet.rule(y - 1, left, right)
        x = right - amounts if flush else left
        sheet.text(
            x, y, label + house.mark, font, ink=house.ink, align="right" if flush else "left"
        )
        span = sheet.text(right - 3, y, value, font, ink=house.ink, align="right")
        asker.add(
            SUMS[kind][1], value, span, kind, l=label.lower() if rng.random() < 0.6 else label
        )
        if boxed:
            sheet.box((left - 4, y - 2, right, y + step - 2))
        y += step
    if rng.random() < 0.1 and not boxed:
        sheet.box((left - 8, first - 5, right + 5, y + 2), ink=80)
    return y
