"""VisualQuestion, AnsweredQuestion, and the JSONL format of question sets.

A question set is a folder with ``questions.jsonl``, one object a line. Keys: ``image`` (a path
relative to the file, or a data URI) and ``question``; optional ``page`` (from 1, of a PDF or other
file of several pages), ``id, doc, answers`` (any one is right), ``boxes`` (every place where the
answer stands, ``[left, top, right, bottom]`` in percent of the upright page), ``primary`` (indexes
of the boxes that answer as asked), ``context`` (one box: label plus value), ``field, width,
height``. Other keys are kept in ``extra`` and written again.
"""

import copy
import dataclasses
import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.errors import BoxError, CropVLMError, DataError, QuestionError, shorten
from cropvlm_core.images import ImageSource, check_page_number, open_image, to_data_uri
from cropvlm_core.sources import is_data_uri

MAX_QUESTION = 10_000
"""The most characters of a question."""

HIT_SHARE = 0.9
"""A target box is hit when at least this share of it lies inside one crop."""

QUESTIONS_FILE = "questions.jsonl"

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class VisualQuestion:
    """A question about an image: a PIL image, path, bytes or data URI.

    ``page``: which page or frame of a file with several, from 1.

    Raises:
        QuestionError: the question is no text, blank, or longer than 10,000 characters.
        ImageError: ``page`` is no number of a page.
    """

    image: ImageSource
    question: str
    id: str | None = None
    page: int = dataclasses.field(default=1, kw_only=True)
    _upright: Image.Image | None = dataclasses.field(
        default=None, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Check the question; the image is not touched before it is opened."""
        if not isinstance(self.question, str):
            raise QuestionError(f"expected a question as text, got {shorten(self.question)}")
        if not self.question.strip():
            raise QuestionError(f"expected a question, got blank text {shorten(self.question)}")
        if len(self.question) > MAX_QUESTION:
            raise QuestionError(
                f"expected a question of at most {MAX_QUESTION} characters, "
                f"got {len(self.question)}: {shorten(self.question)}"
            )
        check_page_number(self.page)

    def open(self, *, isolate: bool = False) -> Image.Image:
        """Return the upright RGB image; see :func:`cropvlm_core.images.open_page`.

        ``isolate``: decode in a worker process, with limits on time and memory.
        """
        if self._upright is not None:
            return self._upright
        return open_image(self.image, page=self.page, isolate=isolate)

    def opened(self, image: Image.Image | None = None, *, isolate: bool = False) -> Self:
        """Return this question holding its upright image, so that nobody decodes it again.

        ``image`` is the already opened page, where the caller has it; ``isolate`` as in
        :meth:`open`.
        """
        if self._upright is not None and image is None:
            return self
        twin = copy.copy(self)
        upright = self.open(isolate=isolate) if image is None else image
        object.__setattr__(twin, "_upright", upright)
        return twin

    @property
    def shown(self) -> object:
        """What tells the shown page apart from those of other questions: a key of dictionaries.

        Equal for the same path or bytes and page; a PIL image or an open file is told by identity.
        """
        known = isinstance(self.image, str | bytes | os.PathLike)
        return (self.image if known else id(self.image)), self.page

    @property
    def reference(self) -> str | None:
        """The path as given, a shortened data URI, or None for an image in memory."""
        if isinstance(self.image, Image.Image | bytes):
            return None
        text = os.fspath(self.image)
        return text if not is_data_uri(text) or len(text) <= 60 else f"{text[:57]}..."


@dataclasses.dataclass(frozen=True)
class AnsweredQuestion(VisualQuestion):
    """A question with its right answers, and the boxes where they stand.

    ``answers``: any one is right. ``boxes``: every place of the answer. ``primary``: indexes of
    the boxes that answer as asked (empty: all do). ``set_name``: the folder it came from.
    """

    answers: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    primary: tuple[int, ...] = ()
    context: Box | None = None
    field: str | None = None
    doc: str | None = None
    width: int | None = None
    height: int | None = None
    set_name: str | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check the question and the indexes of ``primary``."""
        super().__post_init__()
        for index in self.primary:
            if not 0 <= index < len(self.boxes):
                raise DataError(
                    f"expected primary indexes below {len(self.boxes)}, got {shorten(index)}"
                )

    @property
    def targets(self) -> tuple[Box, ...]:
        """The boxes that answer as asked: the primary ones, or all."""
        return tuple(self.boxes[index] for index in self.primary) or self.boxes

    def hit(self, crops: Iterable[Box]) -> bool | None:
        """Whether a target lies at least 90 % inside one of ``crops``.

        No crop means the whole page, which is a hit. None where the question has no box.
        """
        if not self.targets:
            return None
        views = tuple(crops)
        return not views or any(
            target.covered_by(view) >= HIT_SHARE - 1e-9 for target in self.targets for view in views
        )


def read_questions(
    path: str | os.PathLike[str], limit: int | None = None
) -> Iterator[AnsweredQuestion]:
    """Read a question set lazily, row by row.

    Args:
        path: a JSONL file, a folder with ``questions.jsonl``, or a folder of such folders.
        limit: the most rows taken from each set.

    Raises:
        DataError: there is no question set, or a row breaks the format (file and line are named).
    """
    for file in _set_files(Path(path)):
        yield from itertools.islice(_read_file(file), limit)


def write_questions(path: str | os.PathLike[str], questions: Iterable[AnsweredQuestion]) -> None:
    """Write ``questions`` as JSONL; image paths become relative to the file where they can.

    Images in memory are written as PNG data URIs.
    """
    file = Path(path)
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        for question in questions:
            row = to_row(question, file.absolute().parent)
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _set_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / QUESTIONS_FILE).is_file():
        return [path / QUESTIONS_FILE]
    if path.is_dir() and (files := sorted(path.glob(f"*/{QUESTIONS_FILE}"))):
        return files
    raise DataError(
        f"expected a JSONL file or a folder that holds {QUESTIONS_FILE}, got {shorten(str(path))}"
    )


def _read_file(file: Path) -> Iterator[AnsweredQuestion]:
    try:
        stream = file.open("rb")
    except OSError as error:
        raise DataError(
            f"expected a readable question set, got {shorten(file.name)}: {error.strerror}"
        ) from error
    with stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                question = _from_row(json.loads(line), file)
            except (CropVLMError, ValueError, RecursionError) as error:
                where = f"{Path(file.parent.name, file.name)}:{number}"
                what = str(error) if isinstance(error, CropVLMError) else "expected a JSON object"
                got = "" if isinstance(error, CropVLMError) else f", got {shorten(line)}"
                raise DataError(f"{where}: {what}{got}") from error
            yield question


def _from_row(row: Any, file: Path) -> AnsweredQuestion:
    if not isinstance(row, dict):
        raise DataError(f"expected a JSON object, got {shorten(row)}")
    rest = dict(row)
    image = _take(rest, "image", str)
    question = _take(rest, "question", str)
    if image is None or question is None:
        raise DataError(f"expected the keys image and question, got {shorten(sorted(row))}")
    boxes = tuple(from_percent(numbers) for numbers in _take(rest, "boxes", list) or ())
    context = _take(rest, "context", list)
    page = _take(rest, "page", int)
    return AnsweredQuestion(
        image=image if is_data_uri(image) else file.parent / image,
        question=question,
        id=_take(rest, "id", str),
        page=1 if page is None else page,
        answers=_items(_take(rest, "answers", list), "answers", str),
        boxes=boxes,
        primary=_items(_take(rest, "primary", list), "primary", int),
        context=None if context is None else from_percent(context),
        field=_take(rest, "field", str),
        doc=_take(rest, "doc", str),
        width=_take(rest, "width", int),
        height=_take(rest, "height", int),
        set_name=file.absolute().parent.name,
        extra=rest,
    )


def _take(row: dict[str, Any], key: str, kind: type[_T]) -> _T | None:
    value = row.pop(key, None)
    if value is None:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"expected {key} as {kind.__name__}, got {shorten(value)}")
    return value


def _items(values: list[Any] | None, key: str, kind: type[_T]) -> tuple[_T, ...]:
    for value in values or ():
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DataError(f"expected {key} as a list of {kind.__name__}, got {shorten(value)}")
    return tuple(values or ())


def from_percent(numbers: Any) -> Box:
    """Read a box as question sets write it, ``[left, top, right, bottom]`` in percent.

    Raises:
        DataError: it is something else.
    """
    expected = "expected a box as [left, top, right, bottom] in percent"
    if not isinstance(numbers, list) or len(numbers) != 4:
        raise DataError(f"{expected}, got {shorten(numbers)}")
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        raise DataError(f"{expected}, got {shorten(numbers)}")
    try:
        return Box(*(round(n / 100, 11) if math.isfinite(n) else math.nan for n in numbers))
    except (BoxError, OverflowError):
        raise DataError(f"{expected}, got {shorten(numbers)}") from None


def to_percent(box: Box) -> list[float]:
    """Write a box as question sets do."""
    return [round(side * 100, 9) for side in (box.left, box.top, box.right, box.bottom)]


def to_row(question: AnsweredQuestion, folder: Path) -> dict[str, Any]:
    """Return the JSON object of one line; the image's path becomes relative to ``folder``."""
    row: dict[str, Any] = {
        "id": question.id,
        "doc": question.doc,
        "image": _image_text(question, folder),
        "page": None if question.page == 1 or question.reference is None else question.page,
        "question": question.question,
        "answers": list(question.answers) or None,
        "boxes": [to_percent(box) for box in question.boxes] or None,
        "primary": list(question.primary) or None,
        "field": question.field,
        "context": None if question.context is None else to_percent(question.context),
        "width": question.width,
        "height": question.height,
    }
    return dict(question.extra) | {key: value for key, value in row.items() if value is not None}


def _image_text(question: VisualQuestion, folder: Path) -> str:
    if question.reference is None:
        return to_data_uri(question.open())
    text = os.fspath(question.image)  # type: ignore[arg-type]
    if is_data_uri(text):
        return text
    return Path(os.path.relpath(text, folder)).as_posix()
