"""Where text stands on a page: words grouped into cells, and what stands right of or below one."""

import itertools
import re
import statistics
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cropvlm_core.box import Box
from cropvlm_core.tesseract.engine import TextLine, Word

_GAP = 1.5  # of the letters' height: a wider gap on a line separates two cells
_NEXT_LINE = 2.5  # of a line's height: text further below belongs to something else
_MARGIN = 0.6  # of a line's height: what a box shows around its words
_SIGNS = set("$€£¥₹%#@")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[#%]")


@dataclass(frozen=True, slots=True)
class Cell:
    """Words that stand together on one line; its place in pixels of the picture that was read.

    ``said``: what each word says, by :func:`plain_words`.
    """

    words: TextLine
    said: tuple[tuple[str, ...], ...]
    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def of(cls, words: Iterable[Word]) -> "Cell":
        """Put at least one word together."""
        held = tuple(words)
        return cls(
            held,
            tuple(tuple(plain_words(word.text)) for word in held),
            min(word.left for word in held),
            min(word.top for word in held),
            max(word.right for word in held),
            max(word.bottom for word in held),
        )

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.bottom - self.top

    @property
    def text(self) -> str:
        """The words, joined by spaces."""
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True)
class PageText:
    """All text of a page: its cells in reading order, and the size of the picture in pixels.

    ``line`` is the usual height of a line, in pixels; ``slope`` how many pixels a line sinks for
    one to the right: scans lie askew.
    """

    cells: tuple[Cell, ...]
    size: tuple[int, int]
    line: float
    slope: float = 0.0

    @classmethod
    def of(cls, lines: Iterable[TextLine], size: tuple[int, int]) -> "PageText":
        """Group the lines that were read off a picture of ``size`` into cells."""
        words = [word for line in lines for word in line if _legible(word)]
        slope = _slope(_rows(words, 0.0), size[0])
        cells = [cell for row in _rows(words, slope) for cell in _split(row)]
        cells.sort(key=lambda cell: (cell.top + cell.bottom, cell.left))
        usual = statistics.median(cell.height for cell in cells) if cells else 1.0
        return cls(tuple(cells), size, usual, slope)

    def right_of(self, cell: Cell) -> list[Cell]:
        """The cells to the right on the same line, nearest first."""
        found = [
            other
            for other in self.cells
            if other is not cell
            and other.left >= cell.right - cell.height / 2
            and self._level(cell, other) >= 0.5
        ]
        return sorted(found, key=lambda other: other.left)

    def below(self, cell: Cell, most: int = 1) -> list[Cell]:
        """Up to ``most`` lines of text right below, each close under the one before."""
        found: list[Cell] = []
        above = cell
        while len(found) < most:
            near = _NEXT_LINE * min(max(above.height, self.line), self.line * 1.5)
            under = [
                other
                for other in self.cells
                if other is not above
                and above.bottom - above.height * 0.4 <= other.top <= above.bottom + near
                and (
                    _shared(cell.left, cell.right, other.left, other.right) >= 0.3
                    or abs(cell.left - other.left) <= cell.height
                )
            ]
            if not under:
                break
            above = min(under, key=lambda other: (other.top + other.bottom, other.left))
            found.append(above)
        return found

    def crossing(self, row: Cell, head: Cell) -> list[Word]:
        """The words that stand on the line of ``row`` and under ``head``."""
        return [
            word
            for cell in self.cells
            for word in cell.words
            if self._level(row, word) > 0.5
            and word.right > head.left - self.line
            and word.left < head.right + self.line
            and word not in row.words
        ]

    def _level(self, cell: Cell, other: Cell | Word) -> float:
        """What two places share of their height, the slope of the lines taken off."""
        sunk = round(self.slope * (other.left - cell.left))
        return _shared(cell.top + sunk, cell.bottom + sunk, other.top, other.bottom)

    def head(self, lines: int) -> list[Cell]:
        """The cells of the first ``lines`` lines that hold letters."""
        printed = [cell for cell in self.cells if sum(map(str.isalpha, cell.text)) >= 3]
        first = min((cell.top for cell in printed), default=0)
        return [cell for cell in printed if cell.top <= first + 1.6 * lines * self.line]

    def box(self, places: Sequence[Word | Cell]) -> Box:
        """The box around ``places`` on the upright page, and a little more."""
        width, height = self.size
        more = _MARGIN * min(self.line, max(place.bottom - place.top for place in places))
        return Box(
            max(0.0, min(place.left for place in places) - more) / width,
            max(0.0, min(place.top for place in places) - more) / height,
            min(width, max(place.right for place in places) + more) / width,
            min(height, max(place.bottom for place in places) + more) / height,
        )


def plain_words(text: str) -> list[str]:
    """The words of a text in small letters, accents and marks left out."""
    flat = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(sign for sign in flat if not unicodedata.combining(sign))
    return [word.replace("’", "'").removesuffix("'s") for word in _WORD.findall(bare)]


def _legible(word: Word) -> bool:
    """Whether it holds a letter, a digit, or a sign that counts."""
    return any(sign.isalnum() or sign in _SIGNS for sign in word.text)


def _slope(rows: Iterable[Sequence[Word]], width: int) -> float:
    """How much the long rows of a page of ``width`` pixels sink for one pixel to the right."""
    slopes = [
        (last.top + last.bottom - first.top - first.bottom) / 2 / (last.left - first.left)
        for first, *_, last in (row for row in rows if len(row) > 2)
        if last.left - first.left > width / 5
    ]
    return statistics.median(slopes) if slopes else 0.0


def _rows(words: Sequence[Word], slope: float) -> list[list[Word]]:
    """The words of each line across the page, left to right, however Tesseract divided it.

    A word continues the row whose last word stands at its height, so a row may curve.
    """
    if not words:
        return []
    step = max(1, round(statistics.median(word.bottom - word.top for word in words)))
    rows: list[list[Word]] = []
    ends: dict[int, list[int]] = {}  # height on the page -> the rows whose last word crosses it
    for word in sorted(words, key=lambda word: (word.left, word.top)):
        bands = _bands(word, slope, step)
        fits = [
            (fit, number)
            for number in {number for band in bands for number in ends.get(band, ())}
            if (fit := _continues(rows[number][-1], word, slope)) > 0.5
        ]
        if fits:
            number = max(fits)[1]
            for band in _bands(rows[number][-1], slope, step):
                ends[band].remove(number)
            rows[number].append(word)
        else:
            number = len(rows)
            rows.append([word])
        for band in bands:
            ends.setdefault(band, []).append(number)
    return rows


def _bands(word: Word, slope: float, step: int) -> range:
    """Which strips of ``step`` pixels a word crosses, the slope taken off."""
    sunk = round(slope * word.left)
    return range((word.top - sunk) // step, (word.bottom - sunk) // step + 1)


def _continues(last: Word, word: Word, slope: float) -> float:
    """How well ``word`` continues a row that ends with ``last``: 0..1, by place and height."""
    heights = (last.bottom - last.top, word.bottom - word.top)
    if word.left < last.right - min(heights):
        return 0.0
    sunk = round(slope * (word.left - last.left))
    shared = _shared(last.top + sunk, last.bottom + sunk, word.top, word.bottom)
    return shared * (0.5 + 0.5 * min(heights) / max(heights))


def _split(words: Sequence[Word]) -> list[Cell]:
    """The cells of a row."""
    height = statistics.median(word.bottom - word.top for word in words)
    parts: list[list[Word]] = [[words[0]]]
    for before, word in itertools.pairwise(words):
        if word.left - before.right > _GAP * height:
            parts.append([])
        parts[-1].append(word)
    return [Cell.of(part) for part in parts]


def _shared(low: int, high: int, other_low: int, other_high: int) -> float:
    """What two spans share, as a part of the shorter one; below 0 where they are apart."""
    return (min(high, other_high) - max(low, other_low)) / min(high - low, other_high - other_low)
