"""A sheet of paper to print on that remembers where every word went, and the page it becomes."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Span = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the sheet."""


@dataclass
class Word:
    """One printed word: its text, its rectangle, and the x of every letter's edges (n + 1 values)."""

    text: str
    span: Span
    edges: np.ndarray


@dataclass
class Asked:
    """A question about a page with all places (pixel rectangles) where its answer stands."""

    question: str
    answer: str
    spans: list[Span]
    field: str


@dataclass
class Page:
    """A rendered page: picture (mode L or RGB), its words, and what can be asked about it."""

    image: Image.Image
    words: list[Word]
    asked: list[Asked]
    kind: str


def around(spans: list[Span]) -> Span:
    """The smallest rectangle around all spans."""
    return (
        min(s[0] for s in spans),
        min(s[1] for s in spans),
        max(s[2] for s in spans),
        max(s[3] for s in spans),
    )


@dataclass
class Sheet:
    """A white sheet with printing methods; every printed word is remembered.

    Sizes and positions are pixels. ``text`` returns the rectangle of what it printed, so that a
    question can point at it.
    """

    width: int
    height: int
    rng: random.Random
    paper: int = 255
    words: list[Word] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.image = Image.new("L", (self.width, self.height), self.paper)
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        font: ImageFont.FreeTypeFont,
        *,
        ink: int = 0,
        align: str = "left",
        stretch: tuple[float, float] = (1.0, 1.0),
    ) -> Span:
        """Print one line; ``x`` is its left, middle or right by ``align``; ``y`` its top.

        ``stretch`` > 1 prints double-width / double-height type as thermal printers do.
        """
        length = font.getlength(text) * stretch[0]
        left = x - (length if align == "right" else length / 2 if align == "centre" else 0)
        box = font.getbbox(text)
        top = y + box[1] * stretch[1]
        bottom = y + max(box[3], box[1] + 1) * stretch[1]
        if stretch == (1.0, 1.0):
            self.draw.text((left, y), text, fill=ink, font=font)
        elif length >= 1:
            size = (max(1, round(font.getlength(text))), max(1, round(box[3]) + 2))
            tile = Image.new("L", size, 0)
            ImageDraw.Draw(tile).text((0, 0), text, fill=255, font=font)
            tile = tile.resize(
                (max(1, round(size[0] * stretch[0])), max(1, round(size[1] * stretch[1])))
            )
            self.image.paste(ink, (round(left), round(y)), tile)
        self._remember(text, font, left, top, bottom, stretch[0])
        return (left, top, left + length, bottom)

    def _remember(
        self,
        text: str,
        font: ImageFont.FreeTypeFont,
        left: float,
        top: float,
        bottom: float,
        wide: float,
    ) -> None:
        advance = np.cumsum([0.0] + [_advance(font, letter) for letter in text]) * wide + left
        start: int | None = None
        for index, letter in enumerate(text + " "):
            if letter == " ":
                if start is not None:
                    edges = advance[start : index + 1]
                    self.words.append(
                        Word(text[start:index], (edges[0], top, edges[-1], bottom), edges)
                    )
                start = None
            elif start is None:
                start = index

    def wrap(
        self,
        x: float,
        y: float,
        text: str,
        font: ImageFont.FreeTypeFont,
        width: float,
        *,
        leading: float = 1.25,
        ink: int = 0,
        align: str = "left",
        stretch: tuple[float, float] = (1.0, 1.0),
    ) -> Span:
        """Print a paragraph broken into lines of at most ``width`` pixels; returns its rectangle."""
        lines: list[str] = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and font.getlength(longer) * stretch[0] > width:
                lines.append(word)
            else:
                lines[-1] = longer
        spans = []
        for line in lines:
            spans.append(self.text(x, y, line, font, ink=ink, align=align, stretch=stretch))
            y += line_height(font) * leading * stretch[1]
        return around(spans)

    def ask(self, question: str, answer: str, spans: Span | list[Span], field: str) -> None:
        """Remember a question whose answer stands in the given rectangle(s)."""
        self.asked.append(
            Asked(question, answer, spans if isinstance(spans, list) else [spans], field)
        )

    def rule(self, y: float, left: float, right: float, *, width: int = 1, ink: int = 0) -> None:
        """A horizontal line."""
        self.draw.line([(left, y), (right, y)], fill=ink, width=width)

    def box(self, span: Span, *, width: int = 1, ink: int = 0, fill: int | None = None) -> None:
        """A rectangle, filled when ``fill`` is given."""
        self.draw.rectangle(span, outline=ink, fill=fill, width=width)

    def cut(self, bottom: float) -> None:
        """Cut the sheet off at ``bottom``."""
        self.height = min(self.height, max(32, round(bottom)))
        self.image = self.image.crop((0, 0, self.width, self.height))
        self.draw = ImageDraw.Draw(self.image)

    def page(self, kind: str) -> Page:
        """The finished page; questions about what fell off the sheet are dropped."""
        return Page(self.image, self.words, [a for a in self.asked if self._shows(a)], kind)

    def _shows(self, asked: Asked) -> bool:
        return all(
            s[0] >= 0 and s[1] >= 0 and s[2] <= self.width and s[3] <= self.height
            for s in asked.spans
        )


@functools.lru_cache(maxsize=65536)
def _advance(font: ImageFont.FreeTypeFont, letter: str) -> float:
    return font.getlength(letter)


def line_height(font: ImageFont.FreeTypeFont) -> float:
    """Height of a line of type in pixels (ascent + descent, capped for fonts with wild metrics)."""
    ascent, descent = font.getmetrics()
    return min(float(ascent + descent), 1.35 * font.size)
