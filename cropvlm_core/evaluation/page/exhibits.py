"""One question of the page: its answers and boxes as JSON, its pictures as small JPEGs."""

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.errors import CropVLMError, shorten
from cropvlm_core.evaluation.page.excerpt import excerpt
from cropvlm_core.evaluation.page.wording import known
from cropvlm_core.images import encode_jpeg
from cropvlm_core.questions import VisualQuestion

Record = tuple[str, str, object]
"""A block of the page: its kind (``picture``, ``question``), its id, what it holds as JSON."""

_PAGE_PIXELS = 600_000  # of a page as shown
_PAGE_SIDE = 1600  # its longest side: receipts are long and narrow
_CROP_SIDE = 600  # longest side of a crop as shown
_PAGE_QUALITY, _CROP_QUALITY = 55, 65  # JPEG
_MOST_BOXES = 100  # of one view
_MOST_ANSWERS, _LONGEST_ANSWER = 20, 500  # right answers of a question, characters of one


class Exhibits:
    """Turns rows into the records of the page; a page picture is written once, however often used.

    ``croppers`` are the views whose crops are cut from the full-resolution page. Holds one opened
    page at a time, and the names of those that were written.
    """

    def __init__(self, croppers: Sequence[str]) -> None:
        self._croppers = frozenset(croppers)
        self._written: set[str] = set()
        self._source: object = None
        self._page: Image.Image | None = None
        self._page_id = ""

    def records(self, row: Mapping[str, Any], asked: VisualQuestion) -> Iterator[Record]:
        """Yield the pictures of ``row`` that are new to the page, then the question itself.

        A page that can no longer be opened is no error: the question says so in ``missing``.
        """
        missing = page_id = None
        crops: dict[tuple[float, ...], str] = {}
        size = row["size"]
        try:
            page = self._open(asked)
        except CropVLMError as error:
            missing = shorten(str(error), 200)
        else:
            size = page.size
            if not self._page_id:
                picture = _jpeg(_smaller(page, _PAGE_SIDE, _PAGE_PIXELS), _PAGE_QUALITY)
                self._page_id = _name(picture)
                yield from self._new(self._page_id, picture)
            page_id = self._page_id
            for view, told in row["views"].items():
                for box in told["crops"] if view in self._croppers else ():
                    if tuple(box) in crops:
                        continue
                    cut = page.crop(Box(*box).to_pixels(page.size))
                    picture = _jpeg(_smaller(cut, _CROP_SIDE, _CROP_SIDE**2), _CROP_QUALITY)
                    crops[tuple(box)] = _name(picture)
                    yield from self._new(crops[tuple(box)], picture)
        block = f"question-{int(row['number'])}"
        yield "question", block, _question(row, size, page_id, missing, crops)

    def _open(self, asked: VisualQuestion) -> Image.Image:
        """The upright page; neighbouring questions about one file share its decoding."""
        shared = isinstance(asked.image, str | os.PathLike)
        if self._page is None or not shared or asked.image != self._source:
            self._page, self._source, self._page_id = None, None, ""  # one page in memory, not two
            self._page = asked.open()
            self._source = asked.image
        return self._page

    def _new(self, name: str, picture: bytes) -> Iterator[Record]:
        if name not in self._written:
            self._written.add(name)
            uri = f"data:image/jpeg;base64,{base64.b64encode(picture).decode('ascii')}"
            yield "picture", name, uri


def _name(picture: bytes) -> str:
    """By content, as two questions may name one page differently, or two pages alike."""
    return f"picture-{hashlib.blake2b(picture, digest_size=9).hexdigest()}"


def _smaller(picture: Image.Image, side: int, pixels: int) -> Image.Image:
    width, height = picture.size
    scale = min(1.0, side / max(width, height), (pixels / (width * height)) ** 0.5)
    if scale == 1.0:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    return encode_jpeg(picture, quality)


def _question(
    row: Mapping[str, Any],
    size: Sequence[int],
    page: str | None,
    missing: str | None,
    crops: Mapping[tuple[float, ...], str],
) -> dict[str, Any]:
    answers = [
        str(answer)[:_LONGEST_ANSWER] for answer in (row.get("answers") or ())[:_MOST_ANSWERS]
    ]
    return {
        "number": row["number"],
        "key": row["key"],
        "set": row.get("set"),
        "id": row.get("id"),
        "document": row.get("doc") or (Path(row["image"]).name if row.get("image") else None),
        "field": row.get("field"),
        "question": row["question"],
        "answers": answers,
        "boxes": (row.get("boxes") or [])[:_MOST_BOXES],
        "size": list(size),
        "page": page,
        "missing": missing,
        "views": {name: _view(view, answers, crops) for name, view in row["views"].items()},
    }


def _view(
    view: Mapping[str, Any], answers: Sequence[str], crops: Mapping[tuple[float, ...], str]
) -> dict[str, Any]:
    reply = view.get("answer")
    boxes = view["crops"][:_MOST_BOXES]
    numbers = {
        key: known(view.get(key))
        for key in ("area", "confidence", "crop_seconds", "score", "tokens", "seconds")
    }
    return numbers | {
        "boxes": boxes,
        "pictures": [crops.get(tuple(box)) for box in boxes],
        "hit": view.get("hit"),
        "reason": view.get("reason"),
        "answer": None if reply is None else excerpt(str(reply), answers),
    }
