"""A sheet that prints fast: every glyph is rendered once and kept.

Rendering a letter costs some 50 us because its hints are executed; a dense page has thousands of
letters but only some hundreds of different ones.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ImageFont

from cropvlm_core.training.pages.sheet import Sheet, Span, Word, around, line_height


@dataclass(slots=True)
class _Glyph:
    mask: Any  # the coverage as Pillow's core image; None for blanks
    left: int
    top: int
    width: int
    height: int
    advance: float


@functools.lru_cache(maxsize=2048)
def _case(path: str, size: float) -> dict[str, _Glyph]:
    """The letters of one font rendered so far."""
    del path, size  # the key
    return {}


def _cast(font: ImageFont.FreeTypeFont, letter: str) -> _Glyph:
    mask, (left, top) = font.getmask2(letter, mode="L", anchor="la")
    width, height = mask.size
    return _Glyph(mask if width and height else None, left, top, width, height,
                  font.getlength(letter))  # fmt: skip


def glyphs(font: ImageFont.FreeTypeFont, text: str) -> list[_Glyph]:
    """The rendered letters of ``text``."""
    case = _case(str(font.path), font.size)
    found = []
    for letter in text:
        glyph = case.get(letter)
        if glyph is None:
            glyph = case[letter] = _cast(font, letter)
        found.append(glyph)
    return found


def text_length(font: ImageFont.FreeTypeFont, text: str) -> float:
    """Width of ``text`` in pixels as ``Press`` prints it."""
    return sum(glyph.advance for glyph in glyphs(font, text))


def broken(font: ImageFont.FreeTypeFont, text: str, width: float) -> list[str]:
    """The lines that ``text`` takes when set at most ``width`` pixels wide."""
    rows: list[list[str]] = [[]]
    blank = text_length(font, " ")
    used = 0.0
    for word in text.split():
        length = text_length(font, word)
        if rows[-1] and used + blank + length > width:
            rows.append([])
            used = 0.0
        used += length + (blank if rows[-1] else 0)
        rows[-1].append(word)
    return [" ".join(row) for row in rows]


class Press(Sheet):
    """A ``Sheet`` whose plain type is set from kept glyphs; stretched type as before."""

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
        """Print one line; ``x`` is its left, middle or right by ``align``; ``y`` its top."""
        if stretch != (1.0, 1.0):
            return super().text(x, y, text, font, ink=ink, align=align, stretch=stretch)
        row = glyphs(font, text)
        length = sum(glyph.advance for glyph in row)
        if align != "left":
            x -= length if align == "right" else length / 2
        start_x, base = round(x), round(y)
        top, bottom = 10**6, -(10**6)
        core = self.image.im
        pen = float(start_x)
        edges = [pen]
        for glyph in row:
            if glyph.mask is not None:
                left, high = round(pen) + glyph.left, base + glyph.top
                self._stamp(core, glyph, left, high, ink)
                top = min(top, glyph.top)
                bottom = max(bottom, glyph.top + glyph.height)
            pen += glyph.advance
            edges.append(pen)
        if top > bottom:
            return (start_x, base, pen, base + 1)
        self._note(text, edges, base + top, base + bottom)
        return (start_x, base + top, pen, base + bottom)

    def _stamp(self, core: Any, glyph: _Glyph, left: int, top: int, ink: int) -> None:
        right, bottom = left + glyph.width, top + glyph.height
        if left >= 0 and top >= 0 and right <= self.width and bottom <= self.height:
            core.paste(ink, (left, top, right, bottom), glyph.mask)

    def _note(self, text: str, edges: list[float], top: float, bottom: float) -> None:
        start = 0
        for word in text.split(" "):
            if word:
                line = np.array(edges[start : start + len(word) + 1])
                self.words.append(
                    Word(word, (edges[start], top, edges[start + len(word)], bottom), line)
                )
            start += len(word) + 1

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
        if stretch != (1.0, 1.0):
            return super().wrap(x, y, text, font, width, leading=leading, ink=ink, align=align,
                                stretch=stretch)  # fmt: skip
        spans = []
        for row in broken(font, text, width):
            spans.append(self.text(x, y, row, font, ink=ink, align=align))
            y += line_height(font) * leading
        return around(spans)
