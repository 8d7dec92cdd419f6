"""Labelled values: a label as printed, a fitting value, and the names people ask for it by."""

from __future__ import annotations

import datetime
import functools
import random
import re
import string
from collections.abc import Callable
from dataclasses import dataclass

from cropvlm_core.training.pages.invent import (
    CURRENCIES,
    address_lines,
    amount_text,
    code_text,
    company,
    date_text,
    day,
    invented_word,
    person,
    phone_text,
    product,
    time_text,
)
from cropvlm_core.training.pages.prose import WORDS
from cropvlm_core.training.pages.tongues import FOREIGN
from cropvlm_core.training.pages.vocabulary import BUSINESS
from cropvlm_core.training.pages.vocabulary_people import PEOPLE

_COUNTRIES = (
    "Germany|France|Spain|Italy|Malaysia|Singapore|China|Japan|India|Brazil|Mexico|Canada|USA|"
    "United Kingdom|Netherlands|Poland|Turkey|Vietnam|Kenya|Norway|Sweden|Portugal|Chile|Egypt"
).split("|")
_JOBS = (
    "Engineer|Teacher|Nurse|Accountant|Driver|Electrician|Manager|Clerk|Student|Chef|Carpenter|"
    "Sales Manager|Consultant|Technician|Farmer|Architect|Lawyer|Designer|Retired|Self-employed"
).split("|")
_MODIFIERS = (
    "Primary|Original|Second|Home|Alternate|Internal|External|Final|Initial|Main|Local|Regional|"
    "Special|Gross|Net|Total|Daily|Annual|Monthly|Next|Last|Current|Previous|New|Old|Actual|Planned|"
    "Backup|Senior|Master|Base|Export|Return|Field|Central|Public|Private|Temporary|Extra|Adjusted"
).split("|")
_NOUNS = (
    "Account|Asset|Batch|Building|Cargo|Centre|Client|Contract|Crew|Deal|Device|Donor|Entry|Event|"
    "Family|Group|House|Index|Item|Key|Landlord|Lease|Lens|Line|Load|Member|Mission|Network|Offer|"
    "Option|Panel|Parcel|Partner|Plan|Plant|Plot|Product|Program|Pump|Region|Sample|Section|Segment|"
    "Sensor|Series|Site|Source|Station|Store|Survey|Team|Tenant|Test|Tool|Trade|Unit|User|Venue|"
    "Visitor|Warehouse|Well|Yard|Zone|Sponsor|Carrier|Campaign|Invoice|Order|Billing|Sales|Market"
).split("|")
_SUFFIXES = (
    "Code:code|No.:code|#:code|ID:code|Number:code|Ref:code|Date:date|Name:company|Type:text|"
    "Manager:person|Contact:person|Lead:person|Owner:person|Supervisor:person|Phone:phone|Rate:percent|"
    "Share:percent|Cost:amount|Fee:amount|Value:amount|Price:amount|Count:int|Size:size|Weight:weight|"
    "Time:time|Period:period|City:place|Status:text|Class:text|Level:int|Email:email|Address:address"
).split("|")
_SHORT = (
    ("No.", "number"), ("Nos.", "numbers"), ("#", "number"), ("Qty", "quantity"), ("Amt", "amount"),
    ("Dept.", "department"), ("Acct", "account"), ("Acct.", "account"), ("Ref.", "reference"),
    ("Ref", "reference"), ("Tel.", "telephone"), ("Wt.", "weight"), ("Inv.", "invoice"),
    ("Cust.", "customer"), ("Est.", "estimate"), ("Adv.", "advertiser"), ("Rep.", "representative"),
    ("Mfg.", "manufacturing"), ("Exp.", "expiry"), ("Max.", "maximum"), ("Min.", "minimum"),
    ("Temp.", "temperature"), ("ID", "identification"), ("No", "number"), ("Rev.", "revision"),
    ("Number", "no."), ("Number", "no"), ("Reference", "ref"), ("Account", "acct"),
    ("Quantity", "qty"), ("Telephone", "tel"), ("Department", "dept"), ("Code", "code no"),
)  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A kind of value with its printed labels and the wordings that ask for it."""

    value: str
    printed: tuple[str, ...]
    asked: tuple[str, ...]
    trade: str
    language: str = "en"


@dataclass
class Entry:
    """A field as it stands on one page."""

    field: Field
    label: str
    value: str

    @property
    def key(self) -> str:
        """The label without case, marks and plural dots, for telling labels apart."""
        return plain(self.label)


def plain(text: str) -> str:
    """``text`` without case and punctuation."""
    return " ".join(re.sub(r"[^\w#]+", " ", text.casefold()).split())


def _parse(text: str, language: str) -> list[Field]:
    fields, trade = [], ""
    for line in text.strip().splitlines():
        if line.startswith("#"):
            trade = line[1:].strip()
            continue
        value, printed, asked = (part.strip() for part in line.split(" | "))
        fields.append(
            Field(value, tuple(printed.split("; ")), tuple(asked.split("; ")), trade, language)
        )
    return fields


@functools.cache
def all_fields(language: str = "en") -> tuple[Field, ...]:
    """Every field of the vocabulary in one language."""
    return tuple(_parse(BUSINESS + PEOPLE if language == "en" else FOREIGN[language], language))


@functools.cache
def _of_trade(trade: str) -> tuple[Field, ...]:
    return tuple(field for field in all_fields() if field.trade == trade)


def compound(rng: random.Random, noun: str | None = None) -> Field:
    """A field nobody has listed: modifier, noun and suffix put together, or an invented word."""
    suffix, value = rng.choice(_SUFFIXES).split(":")
    word = noun or (invented_word(rng) if rng.random() < 0.12 else rng.choice(_NOUNS))
    if not noun and rng.random() < 0.45:
        word = f"{rng.choice(_MODIFIERS)} {word}"
    return Field(value, (f"{word} {suffix}",), (), "compound")


def siblings(rng: random.Random, field: Field) -> Field | None:
    """A field whose label shares its words with ``field``: the trap beside the answer."""
    base = next((p for p in field.printed if p.isalpha() and len(p) > 3), None)
    return compound(rng, base) if base and field.language == "en" else None


def pick_fields(
    rng: random.Random, count: int, trades: tuple[str, ...], language: str = "en", avoid: str = ""
) -> list[Entry]:
    """Entries whose labels and wordings do not clash; some with siblings, some never heard of.

    ``avoid`` names what the page shows elsewhere (joined by bars), so that no entry doubles it.
    """
    taken = set(avoid.split("|"))
    entries: list[Entry] = []
    tries = 0
    while len(entries) < count and tries < count * 6:
        tries += 1
        draw = rng.random()
        if language != "en":
            field: Field | None = rng.choice(all_fields(language))
        elif entries and draw < 0.16:
            field = siblings(rng, rng.choice(entries).field)
        elif draw < 0.34:
            field = compound(rng)
        elif draw < 0.85:
            field = rng.choice(_of_trade(rng.choice(trades)))
        else:
            field = rng.choice(all_fields())
        if field is None:
            continue
        label = rng.choice(field.printed)
        names = {plain(label), *map(plain, field.asked), *map(plain, spelled_out(label))}
        if taken & names:
            continue
        taken |= names
        entries.append(Entry(field, label, value_text(rng, field.value, language)))
    return entries


def spelled_out(label: str) -> list[str]:
    """The label with one abbreviation written out, or one word shortened, in every listed way."""
    words = re.sub(r"^\d+\. ", "", label).rstrip(":").split()
    found = []
    for short, long in _SHORT:
        if short in words:
            found.append(" ".join(long if word == short else word for word in words))
    if label.endswith("#") and len(words) > 1:
        found.append(f"number of the {' '.join(words[:-1])}")
    if len(words) == 2 and words[1] in ("Date", "Name", "Code", "Number", "Type", "Address"):
        found.append(f"{words[1]} of the {words[0]}")
    return found


def _weight(rng: random.Random) -> str:
    number = rng.choice(
        (str(rng.randint(1, 2400)), f"{rng.uniform(0.1, 900):.1f}", f"{rng.uniform(0.1, 90):.2f}")
    )
    return f"{number}{rng.choice((' ', ' ', ''))}{rng.choice(('kg', 'kg', 'KG', 'g', 'lbs', 'lb', 't', 'Kgs'))}"


def _size(rng: random.Random) -> str:
    mark = rng.choice((" x ", "x", " × "))
    parts = mark.join(str(rng.randint(2, 240)) for _ in range(rng.choice((2, 3, 3))))
    return f"{parts} {rng.choice(('cm', 'mm', 'in', 'm'))}"


def _period(rng: random.Random) -> str:
    first, form = day(rng), rng.random()
    start = date_text(random.Random(form), first)
    end = date_text(random.Random(form), first + datetime.timedelta(days=rng.randint(1, 120)))
    return f"{start}{rng.choice((' - ', ' to ', ' – ', '-'))}{end}"


def money_text(rng: random.Random) -> str:
    """An amount with or without its currency."""
    cents = rng.randrange(10 ** rng.randint(3, 8))
    separator, point = rng.choice(((",", "."), (",", "."), (".", ","), ("", "."), (" ", ",")))
    text = amount_text(cents, separator=separator, point=point)
    draw = rng.random()
    if draw < 0.4:
        return text
    sign = rng.choice(CURRENCIES)
    return f"{text} {sign}" if draw < 0.5 else f"{sign}{text}" if draw < 0.8 else f"{sign} {text}"


def _iban(rng: random.Random) -> str:
    digits = "".join(rng.choices(string.digits, k=rng.choice((18, 20, 22))))
    groups = [digits[i : i + 4] for i in range(2, len(digits), 4)]
    return " ".join([rng.choice(("DE", "FR", "ES", "NL", "IT", "GB", "CH")) + digits[:2], *groups])


def _few_words(rng: random.Random) -> str:
    words = rng.choices(WORDS, k=rng.choice((1, 2, 2, 3, 4)))
    text = " ".join(words)
    style = rng.random()
    return text.upper() if style < 0.2 else text.title() if style < 0.6 else text.capitalize()


def _email(rng: random.Random) -> str:
    left = re.sub(r"[^a-z.]", "", person(rng).lower().replace(" ", ".").replace("ü", "ue")).replace(
        "..", "."
    )
    return (
        f"{left}@{invented_word(rng).lower()}.{rng.choice(('com', 'org', 'net', 'de', 'my', 'eu'))}"
    )


_MAKERS: dict[str, Callable[[random.Random], str]] = {
    "code": code_text,
    "date": date_text,
    "person": person,
    "company": company,
    "phone": phone_text,
    "time": time_text,
    "amount": money_text,
    "weight": _weight,
    "size": _size,
    "period": _period,
    "iban": _iban,
    "email": _email,
    "text": _few_words,
    "product": product,
    "address": lambda rng: ", ".join(line.rstrip(",.") for line in address_lines(rng)[:2]),
    "int": lambda rng: str(rng.randrange(1, 10 ** rng.randint(1, 5))),
    "percent": lambda rng: rng.choice((f"{rng.randint(1, 99)}%", f"{rng.uniform(0, 30):.2f}%",
                                       f"{rng.randint(1, 99)} %", f"{rng.uniform(0, 30):.1f} %")),
    "yesno": lambda rng: rng.choice(("Yes", "No", "YES", "NO", "Y", "N")),
    "url": lambda rng: f"www.{invented_word(rng).lower()}.{rng.choice(('com', 'org', 'de', 'com.my'))}",
    "country": lambda rng: rng.choice(_COUNTRIES),
    "job": lambda rng: rng.choice(_JOBS),
    "place": lambda rng: invented_word(rng) + rng.choice(("", "", " City", f" {invented_word(rng)}")),
    "surname": lambda rng: rng.choice((invented_word(rng), person(rng).split()[-1])),
    "firstname": lambda rng: person(rng).split()[0].rstrip(","),
    "code5": lambda rng: str(rng.randint(1000, 99999)),
    "temp": lambda rng: f"{rng.randint(-25, 90)}{rng.choice((' °C', '°C', '°F', ' C'))}",
    "size1": lambda rng: f"{rng.randint(1, 300)} {rng.choice(('cm', 'mm', 'in'))}",
    "usage": lambda rng: f"{rng.randint(10, 9999)} {rng.choice(('kWh', 'm³', 'units', 'GB', 'gal'))}",
    "voltage": lambda rng: rng.choice(("230 V", "110V", "24 VDC", "400 V", "12V", "100-240V ~")),
    "power": lambda rng: f"{rng.randint(1, 999)}{rng.choice((' W', 'W', ' kW', ' kVA'))}",
    "duration": lambda rng: rng.choice((f"{rng.randint(1, 40)} h", f"{rng.randint(1, 90)} min",
                                        f"{rng.randint(1, 30)} days", f"{rng.randint(0, 9)}:{rng.randint(10, 59)}")),
    "seat": lambda rng: f"{rng.randint(1, 60)}{rng.choice('ABCDEFGHJK')}",
}  # fmt: skip


def value_text(rng: random.Random, kind: str, language: str = "en") -> str:
    """A value of the kind as it may be printed."""
    del language
    if kind.startswith("choice{"):
        return rng.choice(kind[7:-1].split(","))
    return _MAKERS[kind](rng)
