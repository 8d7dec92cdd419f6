"""SROIE receipts (ICDAR 2019 challenge) as stored in github zzzDavid/ICDAR-2019-SROIE.

``data/img/000.jpg``; ``data/box/000.csv``: a line of text a row, eight corner coordinates in pixels
and the text, which may hold commas; ``data/key/000.json``: company, date, address, total. Read in
that repository: its README and several files of ``data/box`` and ``data/key``.

An answer's box is the human box around its line or lines. Lines and keys were typed by different
people, so names and addresses are matched by letters and digits with a fifth of them wrong at most;
dates and totals must stand there exactly. A total that stands on the page several times is asked
for where its row says "total".
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cropvlm_core.benchmarks.document_sets import (
    Asked,
    Converter,
    DocumentPage,
    around,
    boxed,
    read_picture,
    worded,
)
from cropvlm_core.box import Box
from cropvlm_core.errors import DataError, ImageError, SourceError, shorten
from cropvlm_core.scoring import CONTAINED, fuzzy_contains

WORDINGS = {
    "company": (
        "Which company issued this receipt?",
        "What is the name of the shop?",
        "Who sold this?",
        "Which business is this receipt from?",
    ),
    "date": (
        "On what day was this bought?",
        "What date is printed on the receipt?",
        "When was this receipt issued?",
        "What is the date of the purchase?",
    ),
    "address": (
        "Where is the shop? Give the address.",
        "What address does the receipt give?",
        "What is the seller's address?",
        "At which address is the business?",
    ),
    "total": (
        "How much was paid in total?",
        "What is the total amount?",
        "What does this receipt come to?",
        "What is the sum to pay?",
    ),
}

_LINES_OF = {"company": 3, "address": 8}  # the most lines of one answer
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_SUBTOTAL = re.compile(r"sub[\s-]*total")


@dataclass(frozen=True)
class Line:
    """A line of text on a receipt and the box around it."""

    text: str
    box: Box

    @property
    def letters(self) -> str:
        """Its letters and digits, in lower case."""
        return _letters(self.text)


def names(source: Path) -> list[str]:
    """The receipts that have a picture, lines and a key."""
    data = _data(source)
    found = (file.stem for file in sorted((data / "img").glob("*.jpg")))
    return [
        name
        for name in found
        if (data / "box" / f"{name}.csv").is_file() and (data / "key" / f"{name}.json").is_file()
    ]


def pages(source: Path, chosen: Sequence[str], seed: int) -> Iterator[DocumentPage]:
    """The receipts, each with up to four questions."""
    data = _data(source)
    for name in chosen:
        file = data / "img" / f"{name}.jpg"
        try:
            picture, size = read_picture(file)
        except (ImageError, SourceError):
            yield DocumentPage(name, b"", ".jpg", (), {"damaged or too large picture": 1})
            continue
        lines = _lines(data / "box" / f"{name}.csv", size)
        key = _key(data / "key" / f"{name}.json")
        asked: list[Asked] = []
        left_out: Counter[str] = Counter()
        for field in WORDINGS:
            answer = " ".join(key.get(field, "").split())
            if not answer:
                left_out[f"no {field}"] += 1
                continue
            boxes, primary = _places(field, answer, lines)
            if not boxes:
                left_out[f"{field} not found on the page"] += 1
                continue
            asked.append(
                Asked(
                    field,
                    worded(WORDINGS, field, seed, name),
                    _answers(field, answer),
                    boxes,
                    primary,
                )
            )
        yield DocumentPage(f"sroie-{name}", picture, ".jpg", tuple(asked), left_out)


def _data(source: Path) -> Path:
    return source / "data" if (source / "data" / "img").is_dir() else source


def _lines(file: Path, size: tuple[int, int]) -> list[Line]:
    lines = []
    for row in file.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        *corners, text = row.split(",", 8)
        if len(corners) != 8:
            continue  # a blank row
        try:
            box = boxed([float(number) for number in corners], size)
        except ValueError:
            raise DataError(f"expected eight numbers and a text, got {shorten(row)}") from None
        if box is not None:
            lines.append(Line(text, box))
    return lines


def _key(file: Path) -> dict[str, str]:
    try:
        key = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"expected a JSON object in {file.name}, got other text") from error
    return {name: str(value) for name, value in key.items()}


def _answers(field: str, answer: str) -> tuple[str, ...]:
    """The answer, and of an amount with its currency also the bare number."""
    number = _NUMBER.search(answer)
    if field != "total" or number is None or number[0] == answer:
        return (answer,)
    return (answer, number[0])


def _places(
    field: str, answer: str, lines: Sequence[Line]
) -> tuple[tuple[Box, ...], tuple[int, ...]]:
    """Where an answer stands, and which of these places answer as asked."""
    if field in _LINES_OF:
        return tuple(_runs(answer, _in_reading_order(lines), _LINES_OF[field])), ()
    if field == "date":
        return tuple(line.box for line in lines if fuzzy_contains(answer, line.text) == 1.0), ()
    number = _NUMBER.search(answer)
    if number is None:
        return (), ()
    alone = re.compile(rf"(?<![\d.,]){re.escape(number[0])}(?![.,]?\d)")
    found = [line for line in lines if alone.search(line.text)]
    called_total = [index for index, line in enumerate(found) if _says_total(line, lines)]
    primary = tuple(called_total) if len(called_total) < len(found) else ()
    return tuple(line.box for line in found), primary


def _says_total(line: Line, lines: Sequence[Line]) -> bool:
    """Whether the row of ``line`` is called a total, and not one of a part."""
    row = " ".join(other.text.lower() for other in lines if _same_row(line.box, other.box))
    return "total" in _SUBTOTAL.sub("", row)


def _same_row(one: Box, other: Box) -> bool:
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    return shared >= min(one.height, other.height) / 2


def _in_reading_order(lines: Sequence[Line]) -> list[Line]:
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda each: each.box.centre[1]):
        if rows and _same_row(rows[-1][0].box, line.box):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda each: each.box.left)]


def _runs(answer: str, lines: Sequence[Line], longest: int) -> list[Box]:
    """Boxes around the runs of lines that read as ``answer``, best first.

    The best run, and every other that is as good and shares no line with one found before.
    """
    wanted = _letters(answer)
    runs: list[tuple[float, int, int]] = []
    for start in range(len(lines)):
        read = ""
        for end in range(start, min(start + longest, len(lines))):
            read += lines[end].letters
            if len(read) < CONTAINED * len(wanted):
                continue
            score = fuzzy_contains(wanted, read)
            if score >= CONTAINED:
                runs.append((-score, end - start, start))
    boxes: list[Box] = []
    used: set[int] = set()
    best = min(runs, default=(0.0, 0, 0))[0]
    for score, more, start in sorted(runs):
        members = range(start, start + more + 1)
        if score == best and used.isdisjoint(members):
            used.update(members)
            boxes.append(around([lines[index].box for index in members]))
    return boxes


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


SROIE = Converter(
    "sroie",
    "github.com/zzzDavid/ICDAR-2019-SROIE",
    "MIT, as its repository says; receipts of the ICDAR 2019 challenge",
    names,
    pages,
)
