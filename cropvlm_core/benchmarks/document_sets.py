"""Public sets of documents as question sets of ours: what their converters share.

A converter names the documents of a downloaded source and makes pages with questions of them;
:func:`convert` writes ``questions.jsonl`` and ``images``. Pictures are written as they came.
Wordings and samples are drawn by hashes of the seed and the document's name, so that anyone who
converts the same source gets the same bytes.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cropvlm_core.box import Box
from cropvlm_core.errors import DataError, ImageError, shorten
from cropvlm_core.images import open_image
from cropvlm_core.questions import QUESTIONS_FILE, AnsweredQuestion, write_questions
from cropvlm_core.sources import read_reference

_PICTURES = {".jpg", ".jpeg", ".png"}


@dataclasses.dataclass(frozen=True)
class Asked:
    """A question about a page: its field, words, right answers, and places as fractions."""

    field: str
    question: str
    answers: tuple[str, ...]
    boxes: tuple[Box, ...] = ()
    primary: tuple[int, ...] = ()
    key: str | None = None

    @property
    def name(self) -> str:
        """What tells it from the page's other questions."""
        return self.key or self.field


@dataclasses.dataclass(frozen=True)
class DocumentPage:
    """One picture of a document, encoded, and what is asked about it.

    ``suffix``: of the picture's file, such as ".jpg". ``left_out``: questions that could not be
    made, counted by the reason.
    """

    name: str
    picture: bytes
    suffix: str
    asked: tuple[Asked, ...]
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Converter:
    """A source of documents.

    ``names``: the documents of a source folder, in order. ``pages``: the pages of some of them,
    worded by a seed. ``origin``: where the source is downloaded. ``licence``: what is known of it.
    """

    name: str
    origin: str
    licence: str
    names: Callable[[Path], Sequence[str]]
    pages: Callable[[Path, Sequence[str], int], Iterator[DocumentPage]]


@dataclasses.dataclass(frozen=True)
class Converted:
    """What was written: documents read, pages and questions written, and what was left out."""

    documents: int
    pages: int
    questions: int
    left_out: Mapping[str, int]


def convert(
    converter: Converter, source: Path, out: Path, *, limit: int | None = None, seed: int = 0
) -> Converted:
    """Write a question set of a downloaded source.

    Args:
        converter: which kind of source.
        source: the folder it was downloaded to.
        out: gets ``questions.jsonl`` and ``images``; must not hold a question set yet.
        limit: the most documents, drawn by the seed; None: all.
        seed: of sample and wordings.

    Raises:
        DataError: the source is not laid out as expected, or ``out`` holds a question set.
        MissingExtraError: the source is of PDF files, and their reader is not installed.
    """
    if (out / QUESTIONS_FILE).exists():
        raise DataError(f"expected a folder to write into, got one with {QUESTIONS_FILE}")
    names = list(converter.names(source))
    if not names:
        raise DataError(
            f"expected {converter.origin} in {shorten(str(source))}, got no document of it"
        )
    if limit is not None:
        drawn = sorted(names, key=lambda name: drawn_number(seed, converter.name, name))[:limit]
        names = [name for name in names if name in set(drawn)]
    (out / "images").mkdir(parents=True, exist_ok=True)
    count: Counter[str] = Counter()
    left_out: Counter[str] = Counter()

    def questions() -> Iterator[AnsweredQuestion]:
        for page in converter.pages(source, names, seed):
            left_out.update(page.left_out)
            try:
                width, height = open_image(page.picture).size
            except ImageError:
                left_out["damaged or too large picture"] += len(page.asked)
                continue
            if not page.asked:
                continue
            file = out / "images" / f"{page.name}{page.suffix}"
            file.write_bytes(page.picture)
            count["pages"] += 1
            for asked in page.asked:
                count["questions"] += 1
                yield AnsweredQuestion(
                    image=file,
                    question=asked.question,
                    id=f"{page.name}-{asked.name}",
                    answers=asked.answers,
                    boxes=asked.boxes,
                    primary=asked.primary,
                    field=asked.field,
                    doc=page.name,
                    width=width,
                    height=height,
                )

    unfinished = out / f".{QUESTIONS_FILE}"
    write_questions(unfinished, questions())
    unfinished.replace(out / QUESTIONS_FILE)
    return Converted(len(names), count["pages"], count["questions"], dict(left_out))


def drawn_number(*parts: object) -> int:
    """A number that hangs on nothing but ``parts``."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8])


def worded(wordings: Mapping[str, Sequence[str]], field: str, seed: int, document: str) -> str:
    """One of the wordings of a field, drawn for a document."""
    choices = wordings[field]
    return choices[drawn_number(seed, document, field) % len(choices)]


def read_picture(file: Path) -> tuple[bytes, tuple[int, int]]:
    """The bytes of a picture and its upright size.

    Raises:
        SourceError, ImageError: it cannot be read.
    """
    data = read_reference(file)
    return data, open_image(data).size


def boxed(corners: Sequence[float], size: tuple[int, int]) -> Box | None:
    """The upright box around points ``x1, y1, x2, y2, ...`` in pixels, cut at the page's edge.

    None where that is empty or mostly off the page: such a box is a mistake of the source.
    """
    width, height = size
    across, down = corners[0::2], corners[1::2]
    sides = (min(across), min(down), max(across), max(down))
    inside = (
        max(sides[0], 0),
        max(sides[1], 0),
        min(sides[2], width),
        min(sides[3], height),
    )
    area = (sides[2] - sides[0]) * (sides[3] - sides[1])
    kept = (inside[2] - inside[0]) * (inside[3] - inside[1])
    if area <= 0 or inside[2] <= inside[0] or inside[3] <= inside[1] or kept < area / 2:
        return None
    return Box.from_pixels(inside, size)


def around(boxes: Sequence[Box]) -> Box:
    """The box around all of ``boxes``, of which there is at least one."""
    return Box(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )


def pictures_of(folder: Path) -> dict[str, Path]:
    """The pictures under a folder by the name of their file without its ending, in order."""
    found = (file for file in folder.rglob("*") if file.suffix.lower() in _PICTURES)
    return {file.stem: file for file in sorted(found)}
