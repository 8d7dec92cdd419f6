"""A page being written as HTML: marked pieces of text, and what may be asked once they have places."""

from __future__ import annotations

import html
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.fields import Entry
from cropvlm_core.training.pages.grids import KEYS, NUMBERED, Column, Printed, ask_table, look_up
from cropvlm_core.training.pages.html.look import Look
from cropvlm_core.training.pages.html.render import MARK, Finder, Paper, Print, print_html
from cropvlm_core.training.pages.sheet import Page, Sheet, Span, around


@dataclass(frozen=True)
class Mark:
    """A piece of text that can be found again on the printed page."""

    number: int
    text: str

    def __str__(self) -> str:
        """The piece as HTML; nothing where there is no text."""
        return f'<a href="{MARK}{self.number}">{html.escape(self.text)}</a>' if self.text else ""

    def boxed(self, look: str = "") -> str:
        """The piece as a cell of a table whose rows are of class R."""
        if not self.text:
            return f'<i class="C {look}"></i>'
        return f'<a class="C {look}" href="{MARK}{self.number}">{html.escape(self.text)}</a>'


class Places:
    """Where the marks of a printed page stand."""

    def __init__(self, printed: Print) -> None:
        self._finder, self._marks = Finder(printed.words), printed.marks
        self.lost = 0
        self.found = 0

    def __call__(self, mark: Mark) -> Span | None:
        """The rectangle of a mark; None where it was cut off or does not read as it was written."""
        place = self._finder.place(mark.text, self._marks.get(mark.number, []))
        if place is None:
            self.lost += mark.number in self._marks
        else:
            self.found += 1
        return place

    def all(self, marks: Iterable[Mark]) -> Span | None:
        """The rectangle around several marks; None when one is missing."""
        places = [self(mark) for mark in marks]
        whole = [place for place in places if place is not None]
        return around(whole) if whole and len(whole) == len(places) else None


Offer = Callable[[Asker, Places], None]


@dataclass
class Leaf:
    """Collects what is asked about a page while its HTML is written.

    Attributes:
        rng: source of all chance.
        look: fonts, sizes and borders of the page.
        document: what people call such a page.
        language: of its labels.
        held_out: use the wordings and layouts that are kept out of training.
    """

    rng: random.Random
    look: Look
    document: str = "document"
    language: str = "en"
    held_out: bool = False
    _count: int = 0
    _offers: list[Offer] = field(default_factory=list)

    def mark(self, text: str) -> Mark:
        """``text`` as a piece that can be found again."""
        self._count += 1
        return Mark(self._count, text)

    def later(self, offer: Offer) -> None:
        """Have ``offer`` called with the asker and the places when the page is printed."""
        self._offers.append(offer)

    def offer(self, forms: str, marks: Mark | Sequence[Mark], what: str, **names: str) -> None:
        """Offer a question in one of ``forms`` (joined by bars) that the marks together answer."""
        some = [marks] if isinstance(marks, Mark) else list(marks)

        def ask(asker: Asker, places: Places) -> None:
            place = places.all(some)
            if place is not None:
                asker.add(forms, " ".join(one.text for one in some), place, what, **names)

        self._offers.append(ask)

    def title(self, text: str) -> Mark:
        """The heading of the page, with its question."""
        mark = self.mark(text)

        def ask(asker: Asker, places: Places) -> None:
            place = places(mark)
            if place is not None:
                asker.title(text, place)

        self._offers.append(ask)
        return mark

    def entry(self, entry: Entry) -> tuple[Mark, Mark]:
        """Label and value of an entry; asked about by where they come to stand."""
        label, value = self.mark(self.look.labelled(entry.label)), self.mark(entry.value)

        def ask(asker: Asker, places: Places) -> None:
            at, place = places(label), places(value)
            if at is not None and place is not None:
                asker.entry(entry, place, _side(at, place))

        self._offers.append(ask)
        return label, value

    def table(
        self, columns: list[Column], names: list[str], rows: list[list[str]], count: int,
        keys: tuple[int, ...] | None = None, *, ends: bool = True,
    ) -> list[list[Mark]]:  # fmt: skip
        """Marks for the cells of a table that ``count`` questions may ask for.

        ``keys``: columns that tell the rows apart together, asked by more often.
        """
        marks = [[self.mark(cell) for cell in row] for row in rows]

        def ask(asker: Asker, places: Places) -> None:
            spans = [[places(one) if one.text else None for one in row] for row in marks]
            shown = [
                (row, span) for row, span in zip(rows, spans, strict=True)
                if any(span) and all(place or not cell for cell, place in zip(row, span, strict=True))
            ]  # fmt: skip
            if not shown:
                return
            printed = Printed(0.0, names, [row for row, _ in shown], [s for _, s in shown], [])
            if any(column in KEYS for column in columns):
                ask_table(asker, self.rng, columns, printed, count, ends=ends)
            for _ in range(count if keys else 0):
                _by_keys(asker, self.rng, columns, printed, keys or ())

        self._offers.append(ask)
        return marks

    def page(self, kind: str, body: str, paper: Paper, *, low: int = 8, high: int = 22) -> Page:
        """Print the page and ask ``low`` to ``high`` of the questions offered."""
        printed = print_html(body, self.look.css(), paper)
        sheet = Sheet(printed.image.width, printed.image.height, self.rng)
        sheet.image, sheet.words = printed.image, printed.words
        asker = Asker(sheet, self.rng, self.document, self.language, self.held_out)
        places = Places(printed)
        for offer in self._offers:
            offer(asker, places)
        asker.finish(low, high)
        return sheet.page(kind)


def escape(text: str) -> str:
    """Text as HTML."""
    return html.escape(text)


def _side(label: Span, value: Span) -> str:
    """Where a value stands as seen from its label: right, below or above it."""
    level = min(label[3], value[3]) - max(label[1], value[1])
    if level > 0.4 * min(label[3] - label[1], value[3] - value[1]):
        return "right" if value[0] > label[0] else ""
    return "below" if value[1] > label[1] else "above"


def _by_keys(
    asker: Asker, rng: random.Random, columns: list[Column], printed: Printed, keys: tuple[int, ...]
) -> None:
    """Offer a question for a cell by the two cells that tell its row from all others, or by any."""
    number = rng.randrange(len(printed.cells))
    others = [k for k, column in enumerate(columns) if k not in keys and column is not NUMBERED]
    if others:
        asked = rng.choice(others)
        by = keys if len(keys) == 1 or rng.random() < 0.7 else ()
        look_up(asker, rng, columns, printed, number, asked, printed.names[asked], by)
