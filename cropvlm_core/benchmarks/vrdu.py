"""Ad-buy forms of VRDU (arXiv 2211.15421) as stored in github google-research-datasets/vrdu.

``ad-buy-form/main/dataset.jsonl.gz`` (or unpacked): an object a line with ``filename`` and
``annotations``, a list of ``[field, [[text, [page, left, top, right, bottom], spans], ...]]`` with
coordinates as fractions of the page; ``ad-buy-form/main/pdfs``. Read: the repository's README and
``meta.json``, and ``vrdu/benchmark_utils.py`` of google-research, which reads the file. Its table
rows (a list of names in place of a field) are not asked about.

Pages are drawn at 200 dpi; a field is asked on the first page where people marked it.
"""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cropvlm_core.benchmarks.document_sets import (
    Asked,
    Converter,
    DocumentPage,
    worded,
)
from cropvlm_core.box import Box
from cropvlm_core.errors import BoxError, DataError, MissingExtraError, shorten
from cropvlm_core.images import encode_png

DPI = 200
"""Dots per inch at which pages are drawn."""

WORDINGS = {
    "advertiser": ("Who is the advertiser?", "Which advertiser is named?"),
    "agency": ("Which agency is named?", "Who is the agency?"),
    "contract_num": (
        "What is the number of the contract or order?",
        "Which contract or order number is printed?",
    ),
    "flight_from": (
        "On which date does the flight begin?",
        "From which date does the advertising run?",
    ),
    "flight_to": (
        "On which date does the flight end?",
        "Until which date does the advertising run?",
    ),
    "gross_amount": (
        "What is the gross amount in total?",
        "How much does it come to, gross?",
    ),
    "product": ("What is given as the product?", "Which product is advertised?"),
    "property": ("Which station or property is named?", "What is the property?"),
    "tv_address": (
        "What is the address of the station?",
        "Where is the broadcaster? Give the address.",
    ),
}


def names(source: Path) -> list[str]:
    """The PDF files."""
    return [file.name for file in sorted((_main(source) / "pdfs").glob("*.pdf"))]


def pages(source: Path, chosen: Sequence[str], seed: int) -> Iterator[DocumentPage]:
    """The pages on which something is asked."""
    wanted = set(chosen)
    for row in _rows(_main(source)):
        name = row.get("filename")
        if name not in wanted:
            continue
        file = _main(source) / "pdfs" / name
        by_page: dict[int, list[Asked]] = {}
        left_out: dict[str, int] = {}
        for field, marked in _marked(row).items():
            page = min(number for number, _, _ in marked)
            here = [(text, box) for number, text, box in marked if number == page]
            texts = tuple(dict.fromkeys(text for text, _ in here))
            boxes = tuple(dict.fromkeys(box for _, box in here if box is not None))
            if not boxes:
                left_out[f"{field} without a box"] = 1
                continue
            by_page.setdefault(page, []).append(
                Asked(
                    field,
                    worded(WORDINGS, field, seed, name),
                    _answers(field, texts),
                    boxes,
                )
            )
        for page, asked in sorted(by_page.items()):
            name_of_page = f"ads-{Path(name).stem[:8]}-{page + 1}"
            yield DocumentPage(name_of_page, _drawn(file, page), ".png", tuple(asked), left_out)
            left_out = {}


def _main(source: Path) -> Path:
    for folder in (source / "ad-buy-form" / "main", source / "main", source):
        if (folder / "pdfs").is_dir():
            return folder
    return source


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    packed, plain = folder / "dataset.jsonl.gz", folder / "dataset.jsonl"
    if not packed.is_file() and not plain.is_file():
        raise DataError(f"expected dataset.jsonl.gz in {shorten(str(folder))}, got none")
    with (
        gzip.open(packed, "rt", encoding="utf-8")
        if packed.is_file()
        else plain.open(encoding="utf-8")
    ) as stream:
        for line in stream:
            if line.strip():
                yield json.loads(line)


def _marked(row: dict[str, Any]) -> dict[str, list[tuple[int, str, Box | None]]]:
    """What people marked, by field: page number, text, and box where it is one."""
    found: dict[str, list[tuple[int, str, Box | None]]] = {}
    for field, places in row.get("annotations") or ():
        if not isinstance(field, str) or field not in WORDINGS:
            continue
        for text, (page, *sides), *_ in places:
            value = " ".join(str(text).split())
            if not value:
                continue
            try:
                box = Box(*(min(max(float(side), 0.0), 1.0) for side in sides))
            except (BoxError, TypeError, ValueError):
                box = None
            found.setdefault(field, []).append((int(page), value, box))
    return found


def _answers(field: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    """The texts, and of amounts with a currency also the bare numbers."""
    if field != "gross_amount":
        return texts
    return tuple(dict.fromkeys((*texts, *(text.lstrip("$ ") for text in texts))))


def _drawn(file: Path, page: int) -> bytes:
    """A page of a PDF file as PNG."""
    try:
        import pypdfium2  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError("reading PDF files", "pdf") from None
    try:
        with pypdfium2.PdfDocument(file) as pdf:
            picture = pdf[page].render(scale=DPI / 72).to_pil()
    except (pypdfium2.PdfiumError, IndexError, FileNotFoundError) as error:
        raise DataError(
            f"expected page {page + 1} of {file.name}, got none: {shorten(str(error))}"
        ) from error
    return encode_png(picture.convert("RGB"))


VRDU_ADS = Converter(
    "vrdu_ads",
    "github.com/google-research-datasets/vrdu",
    "no licence file in its repository; public filings of the FCC",
    names,
    pages,
)
