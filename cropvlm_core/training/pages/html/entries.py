"""Which labelled values a page shows: fields of some trades, families of like labels, parts of them."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.fields import Entry, Field, all_fields, compound, plain, value_text
from cropvlm_core.training.pages.invent import date_text, day

TRADES = (
    "trade", "advertising", "shipping", "travel", "bank", "staff", "utility", "engineering", "school",
    "medical", "insurance", "government",
)  # fmt: skip
_KIN = (
    "Advertiser:company|Agency:company|Customer:company|Product:product|Order:code|Invoice:code|"
    "Contract:code|Client:company|Vendor:company|Project:text|Account:code|Buyer:person|Station:code|"
    "Sponsor:company|Campaign:text|Patient:person|Member:person|Policy:code|Vehicle:text|Property:text|"
    "Employee:person|Student:person|Tenant:person|Carrier:company|Shipment:code|Event:text|Course:text|"
    "Billing:text|Contact:person|Supplier:company|Estimate:code|Market:place|Region:place|Item:product"
).split("|")


def trades(rng: random.Random) -> tuple[str, ...]:
    """One to three trades whose fields a page shows."""
    return tuple(rng.sample(TRADES, 3)[: rng.randint(1, 3)])


def names_of(entries: list[Entry]) -> str:
    """What the entries are called, for ``pick_fields`` to avoid."""
    return "|".join(entry.key for entry in entries)


def _called(entry: Entry) -> set[str]:
    """Every name the entry may be printed or asked by."""
    return {entry.key, *map(plain, entry.field.printed), *map(plain, entry.field.asked)}


def merged(rng: random.Random, entries: list[Entry], family: list[Entry]) -> list[Entry]:
    """The family put among the entries, in a row or scattered; entries of like labels give way."""
    taken = set[str]().union(*map(_called, family))
    rest = [entry for entry in entries if not _called(entry) & taken]
    at = rng.randint(0, len(rest))
    joined = rest[:at] + family + rest[at:]
    if rng.random() < 0.3:
        rng.shuffle(joined)
    return joined


def parts_of(rng: random.Random, entries: list[Entry], count: int) -> list[list[Entry]]:
    """The entries in up to ``count`` parts, none of them empty."""
    cuts = sorted(rng.sample(range(1, len(entries)), min(count - 1, len(entries) - 1)))
    return [entries[a:b] for a, b in zip([0, *cuts], [*cuts, len(entries)], strict=True)]


def dates(rng: random.Random, count: int) -> list[Entry]:
    """Entries that are all dates, most of them written alike: only their labels tell them apart."""
    form, entries = rng.random(), list[Entry]()
    for field in rng.sample(all_fields(), len(all_fields())):
        label = rng.choice(field.printed)
        written = date_text(random.Random(form) if rng.random() < 0.8 else rng, day(rng))
        one = Entry(field, label, written)
        if field.value == "date" and not any(_called(one) & _called(other) for other in entries):
            entries.append(one)
        if len(entries) == count:
            break
    return entries


def kin(rng: random.Random, count: int) -> list[Entry]:
    """Entries that share their first word: Advertiser, Advertiser Code, Advertiser Contact."""
    noun = rng.choice(_KIN).split(":")
    entries = [Entry(Field(noun[1], (noun[0],), (), "compound"), noun[0], value_text(rng, noun[1]))]
    for _ in range(4 * count):
        field = compound(rng, noun[0])
        if len(entries) < count and all(field.printed[0] != one.label for one in entries):
            entries.append(Entry(field, field.printed[0], value_text(rng, field.value)))
    return entries
