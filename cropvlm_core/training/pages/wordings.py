"""How people ask about receipts: templates times synonyms; some are kept out of training.

Held-out wordings are fixed by their letters. Pages for training never use them, pages for validation
may use them alone, so that "knows the wording" can be told from "knows the task".
"""

from __future__ import annotations

import random

_SHOP = "shop|store|company|merchant|seller|business|vendor|retailer|restaurant or shop".split("|")
_BILL = "receipt|bill|invoice|ticket|slip|document|page|till receipt".split("|")
_BUY = "purchase|sale|transaction|payment|order".split("|")

_FORMS: dict[str, list[str]] = {
    "company": [
        "What is the name of the {shop} on this {bill}?",
        "Which {shop} is this {bill} from?",
        "Which {shop} issued this {bill}?",
        "Who issued this {bill}?",
        "Who is the {shop}?",
        "What is the {shop}'s name?",
        "What is the {shop} name?",
        "Name of the {shop}?",
        "What {shop} is named at the top of the {bill}?",
        "Where was this {buy} made? Give the name of the {shop}.",
        "Who sold these items?",
        "Which {shop} printed this?",
        "Who is the {shop} on this {bill}?",
        "From which {shop} does the {bill} come?",
        "Tell me the {shop}.",
        "{shop} name",
        "At which {shop} was the {buy} made?",
        "Name the {shop}.",
        "Read the name of the {shop} that issued the {bill}.",
    ],
    "address": [
        "What is the address of the {shop}?",
        "What is the address of the {shop} on this {bill}?",
        "Where is the {shop} located?",
        "Where do I find the {shop}?",
        "Which address is printed on the {bill}?",
        "What address is given for the {shop}?",
        "What is the {shop}'s address?",
        "Give the {shop} address.",
        "In which street is the {shop}?",
        "At what address was this {buy} made?",
        "{shop} address?",
        "Which address does the {bill} show?",
        "Read the address.",
        "What is the location of the {shop}?",
        "What is the full postal address of the {shop}?",
    ],
    "date": [
        "What is the date on this {bill}?",
        "What is the date of the {buy}?",
        "What is the {buy} date?",
        "When was this {bill} issued?",
        "On which date was this {bill} printed?",
        "On what day was the {buy} made?",
        "On which date did the {buy} take place?",
        "Which date is on the {bill}?",
        "Date?",
        "Give the date of this {bill}.",
        "What date is printed on the {bill}?",
        "When did the {buy} happen?",
        "Find the {bill} date.",
        "Which day is this {bill} from?",
        "When was the {buy} made?",
    ],
    "total": [
        "What is the total?",
        "What is the total amount?",
        "What is the total on this {bill}?",
        "What is the total amount of the {bill}?",
        "What is the grand total?",
        "How much was paid in total for this {buy}?",
        "How much is the {bill} in total?",
        "How much does the {buy} come to?",
        "How much does this {buy} cost altogether?",
        "What is the final amount due?",
        "What is the amount payable?",
        "Total?",
        "Give the {bill} total.",
        "What total does the {bill} show?",
        "What sum has to be paid?",
        "What does everything cost together?",
        "How much must the customer pay?",
        "What is the overall total of the {bill}?",
        "Read the total amount.",
    ],
    "subtotal": [
        "What is the subtotal?",
        "What is the amount before tax?",
        "What is the sub total on this {bill}?",
        "How much is it excluding tax?",
    ],
    "tax": [
        "How much tax was charged?",
        "What is the tax amount?",
        "What is the GST or VAT on this {bill}?",
        "How much tax is in the {bill}?",
    ],
    "cash": [
        "How much cash was given?",
        "How much did the customer hand over?",
        "What amount was tendered?",
        "How much was paid by the customer at the till?",
    ],
    "change": [
        "How much change was given?",
        "What is the change?",
        "How much money did the customer get back?",
    ],
    "discount": ["How much is the discount?", "What discount was given?"],
    "rounding": ["What is the rounding adjustment?", "By how much was the total rounded?"],
    "number": [
        "What is the {bill} number?",
        "Which number does this {bill} have?",
        "{bill} no?",
        "What is the number of the {bill}?",
    ],
    "time": [
        "At what time was the {buy} made?",
        "What time is printed on the {bill}?",
        "What is the time of the {buy}?",
    ],
    "phone": [
        "What is the phone number of the {shop}?",
        "What is the telephone number?",
        "Which number do I call to reach the {shop}?",
    ],
    "cashier": [
        "Who was the cashier?",
        "Who served the customer?",
        "Which cashier or operator is named?",
    ],
    "tax_id": [
        "What is the tax registration number?",
        "What is the GST number of the {shop}?",
        "What is the registration number of the {shop}?",
    ],
    "count": ["How many items were bought?", "What is the item count?"],
    "item": [
        "How much is {name}?",
        "What does {name} cost?",
        "What is the price of {name}?",
        "What is the amount for {name}?",
        "Price of {name}?",
    ],
    "extra": ["What is the {name} number?", "What is written next to {name}?", "{name}?"],
}


def is_held_out(form: str) -> bool:
    """Whether this wording is kept out of training (one in eight, fixed by its letters)."""
    return sum(map(ord, form)) % 8 == 3


def receipt_question(rng: random.Random, what: str, *, held_out: bool = False) -> str | None:
    """A question for one thing printed on a receipt, or None when nobody would ask for it.

    Args:
        rng: source of chance.
        what: ``company``, ``total``, ...; ``item:NAME`` and ``extra:NAME`` carry a printed name.
        held_out: use only wordings that training never sees.
    """
    field, _, name = what.partition(":")
    forms = [form for form in _FORMS.get(field, ()) if is_held_out(form) == held_out]
    if not forms:
        return None
    text = rng.choice(forms).format(
        shop=rng.choice(_SHOP), bill=rng.choice(_BILL), buy=rng.choice(_BUY), name=name
    )
    text = text[:1].upper() + text[1:]
    style = rng.random()
    if style < 0.06:
        text = text.lower()
    elif style < 0.09:
        text = text.upper()
    elif style < 0.14:
        text = text.rstrip("?.")
    return text
