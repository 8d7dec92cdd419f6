"""Invented people, companies, places, dates and amounts for rendered pages."""

from __future__ import annotations

import datetime
import random
import string

_SYLLABLES = (
    "ba be bo bra ca ce chi co da de di do dra el en er fa fen fi ga gen gi gra ha hel hi in ja ka "
    "ken ki kra la le lin lo lu ma mar me mi mo na ne ni no nor o pa per pi po ra re ri ro sa sel "
    "sha si so sta su ta tan te ter ti to tra tu u va ven vi wa wen wi ya yen yo za zen zi"
).split()
FIRST_NAMES = (
    "Anna Ben Carla David Elena Farid Grace Hans Irene Jamal Karin Liam Maria Nadia Omar Paula "
    "Quentin Rosa Siti Tom Uma Viktor Wei Xavier Yasmin Zoe Ahmad Mei Kumar Lucia Pierre Ingrid "
    "Nicole Raj Aisha Bruno Chloe Dieter Emma Felix Jenny Kevin Lisa Marco Nurul Peter"
).split()
_LAST_NAMES = (
    "Smith Garcia Müller Rossi Dubois Tan Lee Wong Kumar Silva Jansen Novak Kowalski Andersen Khan "
    "Brown Lopez Weber Moretti Laurent Lim Chen Ali Singh Costa Visser Horvat Nowak Larsen Hussain "
    "Miller Fischer Ricci Moreau Ng Chong Rahman Patel Pereira Bakker Baker Cooper Walker Young"
).split()
_TRADES = (
    "Trading Hardware Bakery Restaurant Pharmacy Stationery Electronics Motors Books Cafe Market "
    "Supermarket Mart Foods Furniture Kitchen Garden Sports Optical Clinic Logistics Printing "
    "Marketing Enterprise Services Supplies Store House Seafood Noodles Pet Toys Music Fashion "
    "Textile Machinery Parking Petrol Station Hotel Laundry Grocer Deli Grill Bistro Coffee Tea "
    "Bar Pizza Burger Sushi Curry Express Gifts Flowers Jewellery Photo Mobile Computers Tools "
    "Paint Glass Timber Media Broadcasting Insurance Bank Energy Water Telecom Travel Design"
).split()
_FORMS = (
    "Sdn Bhd|SDN. BHD.|Ltd|Ltd.|Limited|LLC|Inc.|Inc|GmbH|S.A.|S.r.l.|B.V.|Pte Ltd|Co.|& Co|& Sons|"
    "Enterprise|Group|Corp.|Corporation|(M) Sdn Bhd|AG|plc|Pty Ltd|S.L.|Brothers|International"
).split("|")
_STREET_FORMS = (
    "{n} {w} Street|{n} {w} Road|{n} {w} Avenue|No. {n}, Jalan {w}|No {n} & {m}, Jalan {w} {k}/{j}|"
    "Lot {n}, Jalan {w} {k}|{n}, Lorong {w}|{w}straße {n}|{n} rue {w}|Calle {w} {n}|Via {w} {n}|"
    "{n} {w} Lane|Unit {k}-{j}, {w} Plaza|{n}-G, Jalan {w} {j}|Blk {n} {w} Ave {k} #0{j}-{m}|"
    "Level {k}, {w} Tower|{n} {w} Blvd|{n} {w} Dr, Suite {m}|PO Box {n}{m}|{n}, {w} Close"
).split("|")
_AREAS = (
    "Taman {w}|Bandar {w}|{w} Park|{w} Heights|Kampung {w}|{w} Industrial Park|Seksyen {k}|"
    "{w} Business Centre|{w} Village|Pusat {w}|{w} Garden|Section {k}|{w} Mall"
).split("|")
_PRODUCTS = (
    "Bread Milk Rice Sugar Coffee Tea Juice Water Cola Cake Roll Pie Burger Fries Chicken Fish Soup "
    "Noodle Salad Egg Butter Cheese Yogurt Apple Banana Orange Onion Potato Tomato Soap Shampoo "
    "Tissue Brush Battery Cable Bulb Lamp Pen Paper Folder Stapler Tape Glue Marker Notebook Ink "
    "Screw Nail Bolt Drill Hammer Paint Roller Pipe Valve Hose Tray Bowl Cup Plate Spoon Knife Bag "
    "Box Shirt Socks Shoes Hat Towel Pillow Candle Toy Ball Racket Cushion Mirror Hook Chain Lock "
    "Key Filter Oil Fuel Parking Ticket Service Delivery Set Combo Large Small Nasi Ayam Teh Mee"
).split()
_QUALITIES = (
    "red blue black white large small fresh spicy sweet hot iced mini jumbo classic premium plain "
    "organic 500ml 1kg 250g 12pcs A4 10cm XL fried grilled assorted twin value special mixed"
).split()
_MONTHS = (
    "January February March April May June July August September October November December".split()
)
CURRENCIES = "RM|$|€|£|USD|EUR|MYR|SGD|S$|CHF|kr|Rp|₱|R|".split("|")


def invented_word(rng: random.Random, low: int = 2, high: int = 3) -> str:
    """A pronounceable word that stands in no dictionary, capitalised."""
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(low, high))).capitalize()


def person(rng: random.Random) -> str:
    """First and last name in one of the usual orders."""
    first, last = rng.choice(FIRST_NAMES), rng.choice(_LAST_NAMES)
    if rng.random() < 0.25:
        last = invented_word(rng)
    style = rng.random()
    if style < 0.1:
        return f"{last}, {first}"
    if style < 0.2:
        return f"{first[0]}. {last}"
    return f"{first} {last}"


def company(rng: random.Random) -> str:
    """A trade name, with or without legal form."""
    core = rng.choice(
        (
            invented_word(rng),
            f"{invented_word(rng)} {invented_word(rng)}",
            rng.choice(_LAST_NAMES),
            f"{rng.choice(FIRST_NAMES)}'s",
            f"{rng.choice(_LAST_NAMES)} & {rng.choice(_LAST_NAMES)}",
            "".join(rng.choices(string.ascii_uppercase, k=rng.randint(2, 4))),
            f"{rng.choice(('Golden', 'Happy', 'Royal', 'New', 'Grand', 'Super', 'Old', 'Lucky', 'Sun'))}"
            f" {rng.choice(_PRODUCTS + _LAST_NAMES)}",
        )
    )
    parts = [core]
    if rng.random() < 0.8:
        parts.append(rng.choice(_TRADES))
    if rng.random() < 0.25:
        parts.append(rng.choice(_TRADES))
    if rng.random() < 0.65:
        parts.append(rng.choice(_FORMS))
    name = " ".join(parts)
    return name.upper() if rng.random() < 0.5 else name


def address_lines(rng: random.Random) -> list[str]:
    """A postal address broken into one to four printed lines."""
    numbers = {
        "n": rng.randint(1, 399),
        "m": rng.randint(1, 99),
        "k": rng.randint(1, 22),
        "j": rng.randint(1, 9),
        "w": " ".join(invented_word(rng) for _ in range(rng.choice((1, 1, 2)))),
    }
    street = rng.choice(_STREET_FORMS).format(**numbers)
    area = rng.choice(_AREAS).format(w=invented_word(rng), k=rng.randint(1, 30))
    town = invented_word(rng) + rng.choice(("", "", f" {invented_word(rng)}", " City", " Bahru"))
    code = "".join(rng.choices(string.digits, k=rng.choice((4, 5, 5, 5, 6))))
    state = rng.choice((invented_word(rng), "".join(rng.choices(string.ascii_uppercase, k=2))))
    city = rng.choice((f"{code} {town}", f"{town} {code}", f"{town}, {state} {code}"))
    parts = [street]
    if rng.random() < 0.6:
        parts.append(area)
    parts.append(city)
    if rng.random() < 0.4:
        parts.append(state)
    upper = rng.random() < 0.5
    end = rng.choice(("", ",", ","))
    lines: list[str] = []
    for part in parts:
        if lines and rng.random() < 0.35:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    lines = [line + end for line in lines[:-1]] + [lines[-1] + rng.choice(("", "", "."))]
    return [line.upper() for line in lines] if upper else lines


def day(rng: random.Random) -> datetime.date:
    """A day of the years 1995 to 2030, recent ones likelier."""
    year = rng.randint(1995, 2030) if rng.random() < 0.3 else rng.randint(2012, 2027)
    return datetime.date(year, 1, 1) + datetime.timedelta(days=rng.randint(0, 364))


def date_text(rng: random.Random, when: datetime.date | None = None) -> str:
    """A date in one of some twenty written forms."""
    d = when or day(rng)
    month = _MONTHS[d.month - 1]
    forms = (
        f"{d.day:02d}/{d.month:02d}/{d.year}",
        f"{d.day:02d}/{d.month:02d}/{d.year}",
        f"{d.month:02d}/{d.day:02d}/{d.year}",
        f"{d.month:02d}/{d.day:02d}/{d.year % 100:02d}",
        f"{d.day:02d}-{d.month:02d}-{d.year}",
        f"{d.day:02d}-{d.month:02d}-{d.year % 100:02d}",
        f"{d.day:02d}.{d.month:02d}.{d.year}",
        f"{d.day}.{d.month}.{d.year % 100:02d}",
        f"{d.year}-{d.month:02d}-{d.day:02d}",
        f"{d.year}/{d.month:02d}/{d.day:02d}",
        f"{d.day}/{d.month}/{d.year}",
        f"{d.day}/{d.month}/{d.year % 100:02d}",
        f"{d.day:02d} {month[:3]} {d.year}",
        f"{d.day:02d}-{month[:3]}-{d.year}",
        f"{d.day:02d}-{month[:3].upper()}-{d.year % 100:02d}",
        f"{d.day:02d} {month[:3].upper()} {d.year % 100:02d}",
        f"{month} {d.day}, {d.year}",
        f"{month[:3]} {d.day}, {d.year}",
        f"{d.day} {month} {d.year}",
        f"{d.day:02d}{month[:3].upper()}{d.year}",
    )
    return rng.choice(forms)


def time_text(rng: random.Random) -> str:
    """A time of day in one of the usual forms."""
    hour, minute, second = rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59)
    half = "AM" if hour < 12 else "PM"
    return rng.choice(
        (
            f"{hour:02d}:{minute:02d}",
            f"{hour:02d}:{minute:02d}:{second:02d}",
            f"{hour % 12 or 12:02d}:{minute:02d} {half}",
            f"{hour % 12 or 12}:{minute:02d}:{second:02d} {half}",
            f"{hour % 12 or 12}:{minute:02d}{half.lower()}",
        )
    )


def amount_text(cents: int, *, separator: str = ",", point: str = ".", places: int = 2) -> str:
    """``cents`` as a decimal number with thousands separators."""
    whole, rest = divmod(abs(cents), 100)
    text = f"{whole:,}".replace(",", separator)
    return ("-" if cents < 0 else "") + (f"{text}{point}{rest:02d}" if places else text)


def code_text(rng: random.Random) -> str:
    """A number or code as printed for invoices, batches, accounts."""
    digits = "".join(rng.choices(string.digits, k=rng.randint(3, 10)))
    letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 4)))
    return rng.choice(
        (
            digits,
            digits,
            f"{letters}{digits}",
            f"{letters}-{digits}",
            f"{digits[:3]}-{digits[3:] or '01'}",
            f"{letters}/{digits}",
            f"{digits}-{letters[0]}",
            f"#{digits}",
            f"{rng.randint(2010, 2027)}-{digits[:5]}",
        )
    )


def phone_text(rng: random.Random) -> str:
    """A telephone number in one of the usual forms."""
    d = "".join(rng.choices(string.digits, k=12))
    return rng.choice(
        (
            f"0{d[0]}-{d[1:5]} {d[5:9]}",
            f"0{d[0]}-{d[1:9]}",
            f"({d[:3]}) {d[3:6]}-{d[6:10]}",
            f"+{d[:2]} {d[2:5]} {d[5:8]} {d[8:12]}",
            f"{d[:3]}-{d[3:6]}-{d[6:10]}",
            f"0{d[:9]}",
        )
    )


def product(rng: random.Random) -> str:
    """The name of an article on a bill."""
    words = [rng.choice(_PRODUCTS) for _ in range(rng.choice((1, 1, 2)))]
    if rng.random() < 0.5:
        words.insert(rng.choice((0, len(words))), rng.choice(_QUALITIES))
    if rng.random() < 0.15:
        words.append(invented_word(rng))
    name = " ".join(words)
    return name.upper() if rng.random() < 0.5 else name
