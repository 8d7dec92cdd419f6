"""How tables are printed, which columns they have, and what may be asked about their cells."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import ImageFont

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.cells import House, fit
from cropvlm_core.training.pages.fields import plain, value_text
from cropvlm_core.training.pages.invent import (
    amount_text,
    date_text,
    day,
)
from cropvlm_core.training.pages.press import Press, text_length
from cropvlm_core.training.pages.prose import WORDS
from cropvlm_core.training.pages.sheet import Span, line_height


@dataclass(frozen=True)
class Column:
    """A column of a table: its names (one is printed, all are asked), maker and alignment."""

    names: str
    kind: str
    right: bool = False

    def name(self, rng: random.Random) -> str:
        """One of its names."""
        return rng.choice(self.names.split("|"))


KEYS = (
    Column("Description|Item|Article|Product|Particulars", "product"),
    Column("Name|Employee|Member|Participant|Player", "person"),
    Column("Customer|Company|Supplier|Account|Store", "company"),
    Column("City|Location|Branch|Place|Station", "place"),
    Column("Part No.|Code|SKU|Item Code|Ref.", "code"),
    Column("Program|Service|Task|Activity|Topic|Project|Title", "words"),
    Column("Country|Market|Region", "country"),
)
_OTHERS = (
    Column("Qty|Quantity|Count|Units|Pieces|Spots", "int2", True),
    Column("Unit Price|Price|Rate|Unit Cost|Each", "money", True),
    Column("Amount|Total|Value|Line Total|Cost|Net", "money2", True),
    Column("Date|Day|Start Date|Delivery|Posted", "date"),
    Column("End Date|Due|Until|Expires", "date"),
    Column("Tax|VAT %|Tax Rate|Disc.|Discount %", "percent", True),
    Column("Time|Start|Start Time|Departs|From", "time"),
    Column("End|Finish|Arrives|To|Close", "time"),
    Column("Weight|Wt.|Gross Weight", "weight", True),
    Column("Status|State|Result", "choice{Open,Done,OK,Late,Paid,Due,New,Hold,Yes,No}"),
    Column("Unit|UOM|U/M", "choice{pcs,kg,box,m,set,pack,hr,ea,ctn}"),
    Column("Order No.|Ref|Number|ID|Batch|Serial", "code"),
    Column("Size|Dimensions", "size"),
    Column("Contact|Manager|Agent|Teacher|Responsible", "person"),
    Column("Phone|Tel.", "phone"),
    Column("Score|Points|Marks|Rating", "int2", True),
    Column("Jan|Feb|Mar|2019|2020|Q1|Monday", "int3", True),
    Column("Apr|May|Jun|2021|2022|Q2|Tuesday", "int3", True),
    Column("Jul|Aug|Sep|2023|2024|Q3|Friday", "int3", True),
    Column("Age|Level|Year|Grade|Room|Seat", "int2", True),
    Column("Change|Growth|Share|Rate %", "percent", True),
    Column("Length|Duration|Hours", "duration"),
)

NUMBERED = Column("Line|No.|#|Pos.|Item|Ln", "number")
"""A column that counts the rows."""


def money_maker(rng: random.Random) -> Callable[[int], str]:
    """How one page writes its amounts (cents to text)."""
    point, separator = rng.choice(
        ((".", ","), (".", ","), (".", ","), (",", "."), (".", ""), (",", " "))
    )
    before = rng.choice(("", "", "", "$", "€", "RM", "RM ", "£", "$ ", "USD "))
    after = rng.choice(("", "", "", "", " €", " kr")) if not before else ""
    return lambda cents: before + amount_text(cents, separator=separator, point=point) + after


def cell_text(rng: random.Random, kind: str, money: Callable[[int], str]) -> str:
    """What stands in one cell of a column of the kind."""
    if kind == "number":
        return ""
    if kind.startswith("money"):
        return money(rng.randrange(10 ** rng.randint(3, 6 if kind == "money" else 7)))
    if kind == "int2":
        return str(rng.randint(1, 10 ** rng.randint(1, 3)))
    if kind == "int3":
        return f"{rng.randint(0, 10 ** rng.randint(2, 5)):,}"
    if kind == "words":
        return " ".join(rng.choices(WORDS, k=rng.randint(1, 3))).title()
    return value_text(rng, kind)


def line_columns(rng: random.Random, count: int, key: Column | None = None) -> list[Column]:
    """A key column and up to ``count`` - 1 others in no two of which the same names occur."""
    first = key or rng.choice(KEYS)
    columns = [first]
    for column in rng.sample(_OTHERS, len(_OTHERS)):
        if len(columns) == count:
            break
        names = {plain(name) for held in columns for name in held.names.split("|")}
        if not names & {plain(name) for name in column.names.split("|")}:
            columns.append(column)
    if rng.random() < 0.4:  # amounts stand last on bills
        columns.sort(
            key=lambda column: (column is not first, column.right, column.kind == "money2")
        )
    if rng.random() < 0.3 and count > 2:
        columns.insert(1, columns.pop(0))
    return columns


@dataclass
class Printed:
    """Where a table was printed: its names, cells and their rectangles."""

    bottom: float
    names: list[str]
    cells: list[list[str]]
    spans: list[list[Span | None]]
    edges: list[float]


def print_table(
    sheet: Press, rng: random.Random, house: House, names: list[str], rights: list[bool],
    rows: list[list[str]], x: float, y: float, width: float, bottom: float,
    below: Callable[[Press, float, float, float], float] | None = None,
) -> Printed:  # fmt: skip
    """Print a table from (x, y) over ``width``, as many rows as stand above ``bottom``.

    ``below`` prints what follows each row (sheet, left, top, right) and returns its bottom.
    """
    head, body = house.font(bold=rng.random() < 0.7), house.font(rng.choice((1.0, 1.0, 0.9)))
    pad = house.size * rng.uniform(0.3, 0.6)
    widths = [
        max(text_length(head, name), *(text_length(body, row[k]) for row in rows), 12.0) + 2 * pad
        for k, name in enumerate(names)
    ]
    widths = _squeezed(widths, [text_length(head, name) + 2 * pad for name in names], width)
    if rng.random() < 0.8:  # spread over the full width
        spare = (width - sum(widths)) / len(widths)
        widths = [w + spare for w in widths]
    edges = [x]
    for w in widths:
        edges.append(edges[-1] + w)
    look = rng.choice(("grid", "grid", "rows", "head", "bare", "zebra", "columns"))
    ink = rng.choice((0, 0, 100))
    top = y
    tall = line_height(head) * rng.uniform(1.1, 1.6)
    fill = rng.choice((None, None, None, 0, 60, 200, 225))
    if fill is not None:
        sheet.box((x, y, edges[-1], y + tall), ink=fill, fill=fill)
    for k, name in enumerate(names):
        _cell(sheet, fit(name, head, widths[k] - pad), head, edges[k] + pad, edges[k + 1] - pad,
              y + (tall - line_height(head)) / 2, rights[k],
              255 if fill is not None and fill < 128 else house.ink)  # fmt: skip
    y += tall
    if look != "bare" or fill is None:
        sheet.rule(y, x, edges[-1], ink=ink, width=rng.choice((1, 1, 2)))
    height = line_height(body) * rng.uniform(1.0, 1.7)
    cells, spans = [], []
    for number, row in enumerate(rows):
        if y + height * (5 if below else 1) > bottom:
            break
        if look == "zebra" and number % 2:
            sheet.box((x, y, edges[-1], y + height), ink=232, fill=232)
        shown = [fit(text, body, widths[k] - 2 * pad + 1) for k, text in enumerate(row)]
        spans.append([
            _cell(sheet, text, body, edges[k] + pad, edges[k + 1] - pad,
                  y + (height - line_height(body)) / 2, rights[k], house.ink)
            for k, text in enumerate(shown)
        ])  # fmt: skip
        cells.append(shown)
        y += height
        if below:
            y = below(sheet, x, y, edges[-1])
        if look in ("grid", "rows"):
            sheet.rule(y, x, edges[-1], ink=ink)
    if look in ("grid", "columns") and not below:
        for edge in edges:
            sheet.draw.line((edge, top, edge, y), fill=ink)
        sheet.rule(top, x, edges[-1], ink=ink)
        sheet.rule(y, x, edges[-1], ink=ink)
    return Printed(y, names, cells, spans, edges)


def _squeezed(widths: list[float], least: list[float], room: float) -> list[float]:
    """Column widths whose sum fits: the widest columns give way first."""
    widths = list(widths)
    for _ in range(200):
        over = sum(widths) - room
        if over <= 0:
            return widths
        k = max(range(len(widths)), key=lambda i: widths[i] / max(1.0, least[i]) * widths[i])
        widths[k] -= min(over, max(4.0, widths[k] * 0.15))
    return widths


def _cell(
    sheet: Press, text: str, font: ImageFont.FreeTypeFont, left: float, right: float, y: float,
    flush_right: bool, ink: int,
) -> Span | None:  # fmt: skip
    if not text:
        return None
    x, align = (right, "right") if flush_right else (left, "left")
    return sheet.text(x, y, text, font, ink=ink, align=align)


def ask_table(
    asker: Asker, rng: random.Random, columns: list[Column], printed: Printed, count: int = 6,
    *, ends: bool = True,
) -> None:  # fmt: skip
    """Offer questions about cells by row and column and, with ``ends``, about the ends of columns."""
    if not printed.cells:
        return
    key = next(k for k, column in enumerate(columns) if column in KEYS)
    names = Counter(plain(row[key]) for row in printed.cells)
    heads = Counter(plain(name) for name in printed.names)
    for _ in range(count):
        k = rng.randrange(len(columns))
        if columns[k] is NUMBERED:
            continue
        name = printed.names[k]
        if heads[plain(name)] > 1:
            continue
        asked = name if rng.random() < 0.75 else rng.choice(columns[k].names.split("|"))
        if columns[k].kind.startswith("int3"):
            asked = name
        if ends and rng.random() < 0.25:
            which = rng.choice(("first", "last", "second"))
            number = {"first": 0, "last": -1, "second": 1}[which]
            if which == "second" and len(printed.cells) < 3:
                continue
        else:
            which = ""
            number = rng.randrange(len(printed.cells))
        row, span = printed.cells[number], printed.spans[number][k]
        if span is None or row[k] in ("-", "n/a"):
            continue
        if which:
            asker.edge(which, name, row[k], span)
        elif rng.random() < 0.45:
            look_up(asker, rng, columns, printed, number, k, asked)
        elif columns[0] is NUMBERED and k and rng.random() < 0.4:
            asker.line(row[0], asked, row[k], span)
        elif k != key and columns[k] is not NUMBERED and row[key] and names[plain(row[key])] == 1:
            asker.cell(row[key], asked, row[k], span)


def look_up(
    asker: Asker, rng: random.Random, columns: list[Column], printed: Printed, number: int, asked: int,
    name: str, by: Sequence[int] = (),
) -> None:  # fmt: skip
    """Offer a question for one cell by what stands in one or two other cells of its row.

    ``by`` names the columns of these cells; without it they are drawn.
    """
    row = printed.cells[number]
    others = [
        k for k, column in enumerate(columns)
        if k != asked and column is not NUMBERED and len(row[k]) > 1 and row[k] != "n/a"
    ]  # fmt: skip
    known = list(by) or rng.sample(others, min(len(others), rng.choice((1, 2, 2))))
    same = [one for one in printed.cells if all(one[k] == row[k] for k in known)]
    if known and len(same) == 1:
        span = printed.spans[number][asked]
        if span is not None:
            pairs = [(printed.names[k], row[k]) for k in sorted(known)]
            asker.lookup(pairs, name, row[asked], span)


def make_rows(
    rng: random.Random, columns: list[Column], count: int, money: Callable[[int], str]
) -> list[list[str]]:
    """Random contents for a table; a date column keeps to one way of writing dates."""
    rows = [[cell_text(rng, column.kind, money) for column in columns] for _ in range(count)]
    for k, column in enumerate(columns):
        if column is NUMBERED:
            step = rng.choice((1, 1, 1, 10))
            for number, row in enumerate(rows):
                row[k] = str((number + 1) * step)
            continue
        if column.kind == "date":
            seed, days = rng.random(), [day(rng) for _ in rows]
            if rng.random() < 0.4:  # few days with many lines each
                days = sorted(rng.choices(days[: max(1, len(days) // 4)], k=len(days)))
            for row, one in zip(rows, days, strict=True):
                row[k] = date_text(random.Random(seed), one)
        if rng.random() < 0.08:
            for row in rng.sample(rows, len(rows) // 3):
                row[k] = rng.choice(("", "-", "n/a")) if k else row[k]
    return rows
