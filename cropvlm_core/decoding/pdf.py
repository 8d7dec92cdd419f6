"""Pages of PDF files, drawn by pdfium [extra pdf]. Runs in a worker process only.

pdfium is not thread-safe, and what a page makes it do is not bounded by the page's size.
"""

import math
from collections.abc import Iterator
from typing import Any

from cropvlm_core.decoding.survey import (
    MAX_PIXELS,
    MAX_SIDE,
    UnreadableError,
    check_page,
)

DPI = 200
"""Dots per inch at which a page is drawn, unless that is more than we decode."""

_POINTS = 72  # to the inch


def count_pages(data: bytes) -> int:
    """Count the pages of a PDF.

    Raises:
        UnreadableError: it does not open, or has no page or too many.
    """
    return _opened(data, 1)[1]


def drawn_rows(data: bytes, page: int) -> tuple[tuple[int, int], int, Iterator[bytes]]:
    """Draw a page, from 1: width and height in pixels, the number of pages, RGB rows.

    Annotations and filled forms are drawn, as a viewer shows them.

    Raises:
        UnreadableError: the file does not open, has no such page, or the page does not draw.
    """
    import pypdfium2  # type: ignore[import-untyped]

    document, pages = _opened(data, page)
    try:
        document.init_forms()
        sheet = document[page - 1]
        scale = scale_of(*sheet.get_size())
        bitmap = sheet.render(scale=scale, rev_byteorder=True)
    except (pypdfium2.PdfiumError, ValueError) as error:
        raise UnreadableError(f"page {page} does not draw: {error}") from error
    return (bitmap.width, bitmap.height), pages, _rows(bitmap)


def scale_of(width: float, height: float) -> float:
    """Pixels to the point for a page of so many points: 200 dpi, or as few as our limits ask for.

    Raises:
        UnreadableError: it is no size.
    """
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise UnreadableError(f"its page is {width:.0f} x {height:.0f} points large")
    most = math.sqrt(MAX_PIXELS / (width * height))
    scale = min(DPI / _POINTS, MAX_SIDE / max(width, height), most)
    while math.ceil(width * scale) * math.ceil(height * scale) > MAX_PIXELS:
        scale *= 0.999  # rounding up the sides was too much
    return scale


def _opened(data: bytes, page: int) -> tuple[Any, int]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
        pages = len(document)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower()
        raise UnreadableError(
            "it needs a password" if locked else "it is damaged, or empty"
        ) from error
    if not pages:
        raise UnreadableError("it has no pages")
    check_page(page, pages)
    return document, pages


def _rows(bitmap: Any) -> Iterator[bytes]:
    """Bands of the bitmap's rows, without what pads them."""
    pixels, length = memoryview(bitmap.buffer).cast("B"), 3 * bitmap.width
    for top in range(0, bitmap.height, 64):
        rows = range(top, min(top + 64, bitmap.height))
        yield b"".join(pixels[row * bitmap.stride : row * bitmap.stride + length] for row in rows)
