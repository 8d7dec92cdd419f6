"""How people ask for what stands on a business page: wordings times names times spelling habits.

Wordings in the held-out residue class of ``wordings.is_held_out`` are used only when asked for.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from cropvlm_core.training.pages.fields import Entry, plain, spelled_out
from cropvlm_core.training.pages.sheet import Sheet, Span
from cropvlm_core.training.pages.tongues import FORMS
from cropvlm_core.training.pages.wordings import is_held_out

ANY_FORMS = (
    "What is the {q}?|What is the {q}?|What is the {q}?|What's the {q}?|Which {q} is printed here?|"
    "Which {q} is given?|What does the {q} field say?|{q}?|{q}|Find the {q}.|Give the {q}.|"
    "Give me the {q}|Read the {q}.|Tell me the {q}.|What {q} is shown on this {d}?|"
    "What is the {q} on this {d}?|What value is given for {q}?|What is entered under {q}?|"
    "What is written next to {q}?|What does it say after {q}?|Which {q} does the {d} show?|"
    "Can you read the {q}?|I need the {q}|Look up the {q}.|What is listed as the {q}?|"
    "State the {q}.|Show me the {q}.|What is the {q} of this {d}?|Where is the {q}?|"
    "What does the {d} give as {q}?|Extract the {q}.|Which value has the {q}?|"
    "What is filled in for {q}?|What is the value of the {q}?|The {q} is what?"
)
_BY_KIND = {
    "person": "Who is the {q}?|Who is the {q}?|Who is named as {q}?|What is the name of the {q}?|"
    "Name of the {q}?|Which person is the {q}?|Who is listed as the {q}?|Who is given as {q}?",
    "company": "Who is the {q}?|Which company is the {q}?|What is the {q} called?|"
    "What is the name of the {q}?|Which name is given for the {q}?|Name the {q}.",
    "date": "Which date is given as {q}?|When is the {q}?|On which date is the {q}?|"
    "Which day is the {q}?|What date is printed for the {q}?|On what day is the {q}?",
    "amount": "How much is the {q}?|What amount is given for {q}?|How much is listed as {q}?|"
    "How much money is the {q}?|What sum stands for {q}?",
    "int": "What number is given for {q}?|Which number is the {q}?",
    "phone": "Which number is the {q}?|Under which {q} can one call?",
    "time": "At what time is the {q}?|What time is given for {q}?",
    "percent": "How many percent is the {q}?|What percentage is the {q}?",
    "weight": "How much is the {q}?|How many kilos or pounds is the {q}?",
    "address": "Which address is given as {q}?|What is the full {q}?",
    "period": "Which dates are given as {q}?|From when to when is the {q}?",
}
_BESIDE = {
    "below": "What is written below {q}?|What stands under the words {q}?|What is printed underneath {q}?|"
    "What is directly below {q}?|Read what stands under {q}.|What is beneath the label {q}?",
    "right": "What is to the right of {q}?|What stands right of {q}?|What follows {q}?|"
    "What is printed beside {q}?|Read what comes after {q}.|What stands in the same row as {q}?",
    "above": "What is written above {q}?|What stands on the line over {q}?|What is printed above {q}?|"
    "Read what stands above {q}.|What is directly over {q}?",
}
_TITLE = (
    "What is the title?|What kind of document is this?|What is the heading?|What type of document is it?|"
    "Which heading is at the top?|What is this document called?|Title?|What is the title of this page?|"
    "Which word names the document?|Read the heading.|What is the headline?"
)
_CELL = (
    "In the row of {r}, what is the {c}?|What is the {c} of {r}?|What is the {c} for {r}?|{c} of {r}?|"
    "Which {c} does {r} have?|What {c} is listed for {r}?|Give the {c} for {r}.|Find {c} in the row {r}.|"
    "What stands under {c} in the line of {r}?|{r}: {c}?|What does the table give as {c} of {r}?|"
    "In the line {r}, which {c} is printed?"
)
_LINE = (
    "What is the {c} in line {r}?|What is the {c} of line {r}?|In line {r}, what is the {c}?|"
    "{c} in line {r}?|Which {c} stands in line number {r}?|Line {r}: {c}?|What is the {c} of item {r}?|"
    "Give the {c} of line no. {r}.|What {c} does position {r} have?"
)
_LOOKUP = (
    "What is the {c} where the {k} is {v}?|Which {c} belongs to the {k} {v}?|Which {c} goes with {v}?|"
    "What {c} has the row with {k} {v}?|What is the {c} of the {n} with {k} {v}?|{c} for {v}?|"
    "Which {c} stands in the row of {v}?|In the row of {v}, which {c} is printed?|"
    "What {c} is given for the {n} of {v}?|Which {c} does the {n} {v} have?|What {c} was noted for {v}?|"
    "Find the {c} of {v}.|Which {c} is in the same row as {v}?|What {c} was charged for {v}?"
)
_LOOKUP_BY_TWO = (
    "Which {c} belongs to the {n} of {v} at {w}?|What {c} is listed for {v}, {w}?|"
    "What is the {c} of the {n} on {v} at {w}?|What {c} was charged for the {n} of {v}, {w}?|"
    "Which {c} goes with {v} and {w}?|In the row with {v} and {w}, what is the {c}?|"
    "What is the {c} where the {k} is {v} and the {j} is {w}?|Which {c} was entered on {v} for {w}?|"
    "Which {c} has the {n} that ran on {v} at {w}?|What {c} did the {n} of {v} at {w} have?|"
    "What {c} was paid for the {n} dated {v}, {w}?|{c} of the {n} {v} {w}?"
)
_NOUNS = (
    "line|entry|booking|delivery|flight|call|visit|item|order|trip|show|spot|shift|meeting|sale|"
    "payment|slot|test|record|job"
).split("|")
_EDGE = {
    "first": "What is the first {c} in the table?|Which {c} comes first?|"
    "What is the top entry under {c}?|What is the first entry in the column {c}?",
    "last": "What is the last {c} in the table?|Which {c} comes last?|"
    "What is the last entry in the column {c}?|What is the bottom entry under {c}?",
    "second": "What is the second {c} in the table?|What is the second entry under {c}?",
}
_DOCUMENTS = "page|document|sheet|paper|form|record".split("|")


@dataclass
class Asker:
    """Collects what may be asked about a page and asks some of it."""

    sheet: Sheet
    rng: random.Random
    document: str = "document"
    language: str = "en"
    held_out: bool = False
    labels: set[str] = field(default_factory=set)
    _pool: list[tuple[str, str, list[Span], str]] = field(default_factory=list)

    def wording(self, forms: str, **names: str) -> str | None:
        """One of the allowed forms (joined by bars), filled in; None when all are held out."""
        allowed = [form for form in forms.split("|") if is_held_out(form) == self.held_out]
        if not allowed:
            return None
        document = self.document if self.rng.random() < 0.6 else self.rng.choice(_DOCUMENTS)
        text = self.rng.choice(allowed).format(d=document, **names)
        text = re.sub(r"(?i)\bname of the name\b", "name", text)
        return re.sub(r"\.\.$", ".", text)

    def add(
        self, forms: str, answer: str, spans: Span | list[Span], what: str, **names: str
    ) -> None:
        """Offer a question in one of ``forms``."""
        text = self.wording(forms, **names)
        if text and answer:
            self._pool.append((text, answer, spans if isinstance(spans, list) else [spans], what))

    def entry(self, entry: Entry, spans: Span | list[Span], side: str = "") -> None:
        """Offer a question for a labelled value; ``side`` tells where it stands from its label."""
        kind = entry.field.value.split("{")[0]
        self.labels |= {entry.key, *map(plain, entry.field.asked)}
        for _ in range(2):  # in two wordings, of which both, one or none will be asked
            self._offer(entry, spans, side, kind)

    def _offer(self, entry: Entry, spans: Span | list[Span], side: str, kind: str) -> None:
        if entry.field.language != "en" and self.rng.random() < 0.5:
            name = entry.field.asked[0] if self.rng.random() < 0.5 else entry.label.rstrip(".:")
            self.add(FORMS[entry.field.language], entry.value, spans, kind, q=name)
            return
        if side and self.rng.random() < 0.1:
            self.add(_BESIDE[side], entry.value, spans, kind, q=entry.label.rstrip(":"))
            return
        name = self._name(entry)
        if name.endswith("?"):
            self.add(name, entry.value, spans, kind)
            return
        special = _BY_KIND.get(kind)
        forms = special if special and self.rng.random() < 0.45 else ANY_FORMS
        self.add(forms, entry.value, spans, kind, q=name)

    def _name(self, entry: Entry) -> str:
        asked, draw = list(entry.field.asked), self.rng.random()
        if entry.field.language != "en":
            asked = asked[1:]
        spelled = spelled_out(entry.label)
        if draw < 0.45 or (not asked and (not spelled or draw < 0.6)):
            name = entry.label.rstrip(":")
            if self.rng.random() < 0.8:
                name = re.sub(r"^\d+\. ", "", name)
            if self.rng.random() < 0.5 and not name.isupper():
                name = name.lower()
            return name
        if spelled and (not asked or draw < 0.65):
            return self.rng.choice(spelled).lower()
        return self.rng.choice(asked)

    def title(self, text: str, spans: Span | list[Span]) -> None:
        """Offer a question for the heading of the document."""
        self.add(_TITLE, text, spans, "title")

    def cell(self, row: str, column: str, answer: str, spans: Span | list[Span]) -> None:
        """Offer a question for the cell where a row and a column cross."""
        column = column.lower() if self.rng.random() < 0.6 and not column.isupper() else column
        self.add(_CELL, answer, spans, "cell", r=row, c=column)

    def line(self, number: str, column: str, answer: str, spans: Span | list[Span]) -> None:
        """Offer a question for a cell of a table whose lines are numbered."""
        self.add(_LINE, answer, spans, "cell", r=number, c=column.lower())

    def lookup(
        self, known: list[tuple[str, str]], column: str, answer: str, spans: Span | list[Span]
    ) -> None:
        """Offer a question for a cell of the row in which one or two other cells are known.

        Args:
            known: (column name, cell text) pairs that only one row has.
            column: the name of the asked column.
            answer: what stands there.
            spans: where.
        """
        names = {"c": column.lower() if self.rng.random() < 0.6 else column}
        names |= {"n": self.rng.choice(_NOUNS), "k": known[0][0].lower(), "v": known[0][1]}
        if len(known) == 2:
            names |= {"j": known[1][0].lower(), "w": known[1][1]}
        self.add(_LOOKUP_BY_TWO if len(known) == 2 else _LOOKUP, answer, spans, "cell", **names)

    def edge(self, which: str, column: str, answer: str, spans: Span | list[Span]) -> None:
        """Offer a question for the first, second or last entry of a column."""
        self.add(_EDGE[which], answer, spans, "cell", c=column.lower())

    def finish(self, low: int = 8, high: int = 22) -> None:
        """Ask some of the pool, never the same question twice."""
        self.rng.shuffle(self._pool)
        limit = self.rng.randint(low, high)
        seen: set[str] = set()
        for question, answer, spans, what in self._pool:
            if plain(question) in seen:
                continue
            seen.add(plain(question))
            self.sheet.ask(spoken(self.rng, question), answer, spans, what)
            if len(seen) >= limit:
                break


def spoken(rng: random.Random, text: str) -> str:
    """The question with a habit of typing: lower case, capitals, no question mark."""
    text = text[:1].upper() + text[1:]
    draw = rng.random()
    if draw < 0.1:
        return text.lower()
    if draw < 0.13:
        return text.upper()
    if draw < 0.21:
        return text.rstrip("?. ")
    return text
