"""HTML to a picture with its words: WeasyPrint lays the page out, pdfium draws it and reads it back.

A piece of text put into ``<a href="http://mark/7">`` can be found again: WeasyPrint tells the
rectangles of every link, one a line of text.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from cropvlm_core.errors import MissingExtraError
from cropvlm_core.training.pages.sheet import Span, Word, around

MARK = "http://mark/"
"""What the address of every link to be found again begins with; a number follows."""

_INCH = 96.0
_POINTS = 72.0


@dataclass(frozen=True)
class Paper:
    """What is printed on.

    Attributes:
        width, height: in CSS pixels (1/96 inch).
        margin: the CSS value of the page's margin.
        dpi: pixels an inch of the picture.
        trimmed: cut the picture off under its last word, as a screenshot of a short page is.
    """

    width: float
    height: float
    margin: str
    dpi: float
    trimmed: bool = False


@dataclass
class Print:
    """A printed page: its picture (mode L), its words and the rectangles of its marks, in pixels."""

    image: Image.Image
    words: list[Word]
    marks: dict[int, list[Span]]


def print_html(body: str, css: str, paper: Paper) -> Print:
    """The first page of a document.

    Args:
        body: what stands in ``<body>``.
        css: style rules; they need not say anything about the page's size.
        paper: what it is printed on.

    Raises:
        MissingExtraError: WeasyPrint or pypdfium2 is not installed.
    """
    weasyprint, pdfium, fonts = _programs()
    size = f"html{{font-variant-ligatures:none}}@page{{size:{paper.width:.1f}px {paper.height:.1f}px;margin:{paper.margin}}}"
    document = weasyprint.HTML(string=f"<style>{size}{css}</style><body>{body}").render(
        font_config=fonts
    )
    first = document.pages[0]
    scale = paper.dpi / _INCH
    marks: dict[int, list[Span]] = defaultdict(list)
    for _, target, rectangle, _ in first.links:
        if target.startswith(MARK):
            left, top, right, bottom = (side * scale for side in rectangle)
            marks[int(target[len(MARK) :])].append((left, top, right, bottom))
    first.links.clear()
    pdf = pdfium.PdfDocument(document.copy([first]).write_pdf(uncompressed_pdf=True))
    try:
        page = pdf[0]
        image = page.render(scale=paper.dpi / _POINTS, grayscale=True).to_pil()
        words = [
            word
            for word in _read_words(pdfium.raw, page, paper.dpi / _POINTS)
            if word.span[0] >= 0 and word.span[2] <= image.width and word.span[3] <= image.height
        ]
    finally:
        pdf.close()
    if paper.trimmed and words:
        low = max(word.span[3] for word in words) + 14 * scale
        image = image.crop((0, 0, image.width, min(image.height, round(low))))
    return Print(image, words, dict(marks))


def need_renderer() -> None:
    """Make sure that pages can be printed.

    Raises:
        MissingExtraError: WeasyPrint or pypdfium2 is not installed.
    """
    _programs()


class Finder:
    """Finds the words of a page by rectangle."""

    def __init__(self, words: list[Word]) -> None:
        self._words = words
        box = np.array([word.span for word in words]).reshape(-1, 4)
        self._x, self._y = (box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2

    def inside(self, spans: list[Span]) -> list[Word]:
        """The words whose middle lies in one of the rectangles, in printing order."""
        found = np.zeros(len(self._words), dtype=bool)
        for left, top, right, bottom in spans:
            found |= (self._x >= left) & (self._x <= right) & (self._y >= top) & (self._y <= bottom)
        return [self._words[index] for index in np.flatnonzero(found)]

    def place(self, text: str, spans: list[Span]) -> Span | None:
        """The rectangle of the words inside ``spans`` if they, and no others in it, spell ``text``."""
        inside = self.inside(spans)
        if not inside or "".join(word.text for word in inside) != "".join(text.split()):
            return None
        place = around([word.span for word in inside])
        return place if len(spans) == 1 or len(self.inside([place])) == len(inside) else None


@functools.cache
def _programs() -> tuple[Any, Any, Any]:
    try:
        import pypdfium2  # type: ignore[import-untyped]

        truncated = ImageFile.LOAD_TRUNCATED_IMAGES
        import weasyprint
        from weasyprint.text.fonts import FontConfiguration

        ImageFile.LOAD_TRUNCATED_IMAGES = (
            truncated  # WeasyPrint has everybody load cut-off pictures
        )
    except (ImportError, OSError) as error:  # OSError: the library pango is not on the machine
        raise MissingExtraError(
            "printing pages from HTML (WeasyPrint on the system library pango, and pypdfium2)",
            "finetune",
        ) from error
    logging.getLogger("weasyprint").setLevel(logging.CRITICAL)
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    return weasyprint, pypdfium2, FontConfiguration()


@dataclass
class _Letter:
    text: str
    left: float
    right: float
    top: float
    bottom: float
    after_blank: bool


def _read_words(raw: Any, page: Any, scale: float) -> list[Word]:
    """The words of the text layer; letters that stand apart or on other lines make other words."""
    text, height = page.get_textpage(), page.get_height()
    words: list[Word] = []
    run: list[_Letter] = []
    for letter in _letters(raw, text.raw, text.count_chars(), height):
        if letter is None:
            _close(run, words, scale)
            continue
        if run:
            last, tall = run[-1], max(letter.bottom - letter.top, 1.0)
            gap = letter.left - last.right
            if (
                gap > (0.1 if letter.after_blank else 0.2) * tall
                or gap < -0.5 * tall
                or abs(letter.bottom - last.bottom) > 0.5 * tall
            ):
                _close(run, words, scale)
        run.append(letter)
    _close(run, words, scale)
    text.close()
    return words


def _letters(raw: Any, text: Any, count: int, height: float) -> list[_Letter | None]:
    """Every letter in points from the top, as wide as its advance and as tall as its font; None = blank."""
    box, found, blank = raw.FS_RECTF(), list[_Letter | None](), False
    for index in range(count):
        code = raw.FPDFText_GetUnicode(text, index)
        if not raw.FPDFText_GetLooseCharBox(text, index, ctypes.byref(box)):
            continue
        if code <= 32 or code == 0xA0:
            blank = True
            if box.right - box.left > 0.01:  # pdfium makes up blanks of no width between letters
                found.append(None)
            continue
        top, bottom = height - box.top, height - box.bottom
        found.append(_Letter(chr(code), box.left, box.right, top, bottom, blank))
        blank = False
    return found


def _close(run: list[_Letter], words: list[Word], scale: float) -> None:
    """Turn the letters read so far into a word."""
    if run:
        edges = np.array([letter.left for letter in run] + [run[-1].right]) * scale
        tall = run[0].bottom - run[0].top
        top = min(letter.top for letter in run) + 0.12 * tall
        bottom = max(letter.bottom for letter in run) - 0.03 * tall
        words.append(
            Word(
                "".join(letter.text for letter in run),
                (float(edges[0]), top * scale, float(edges[-1]), bottom * scale),
                edges,
            )
        )
        run.clear()
