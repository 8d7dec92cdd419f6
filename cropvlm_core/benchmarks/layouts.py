"""What a row of each public data set holds, once: evaluation and training read the same.

Each reader says where its columns were read. **No reader was run against the Hub**; they are tested
on small files of the same columns. A row's ``image`` is ``{"bytes": ..., "path": ...}``, not
decoded, or the bytes alone.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cropvlm_core.box import Box
from cropvlm_core.errors import DataError, shorten
from cropvlm_core.images import open_image
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.sources import read_base64

Row = Mapping[str, Any]
"""One row of a data set."""

ANNOTATION = "annotation"
"""The key under which a row of V*Bench carries the JSON file beside its picture."""

_LETTERS = "ABCDEFGH"
_LETTER_PLEASE = "Answer with the option's letter from the given choices directly."
_OPTION_LINE = re.compile(r"\(([A-H])\)\s*(.+?)\s*(?=\([A-H]\)|\n|$)")
_QUESTION_KEYS = ("question", "query", "text")
_ANSWER_KEYS = ("answers", "answer", "label")
_CHART_KINDS = {0: "human", 1: "augmented"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """A data set on the Hub.

    ``hub``, ``config``, ``revision``, ``split``: where, and the part with public answers that is
    reported. ``read``: makes a question of a row and its number. ``metric``: its name in
    ``scoring.METRICS``. ``licence``: what is known of it, for people to check. ``file``: the one
    file that is read, where the rest of the repository is not rows of it.
    """

    name: str
    title: str
    hub: str
    read: Callable[[Row, int], AnsweredQuestion]
    metric: str
    licence: str
    config: str | None = None
    split: str = "validation"
    revision: str | None = None
    file: str | None = None


def read_textvqa(row: Row, number: int) -> AnsweredQuestion:
    """One row of ``lmms-lab/textvqa`` or ``facebook/textvqa``: all ten answers, ``image_id``.

    Columns: the cards of both, and lmms-eval's ``tasks/textvqa/utils.py``.
    """
    return _question(row, row.get("question_id", number), doc=row.get("image_id"))


def read_docvqa(row: Row, number: int) -> AnsweredQuestion:
    """One row of ``lmms-lab/DocVQA`` or ``HuggingFaceM4/DocumentVQA``; ``doc`` names the page.

    Columns: the cards of both, and lmms-eval's ``tasks/docvqa``.
    """
    document, page = row.get("ucsf_document_id"), row.get("ucsf_document_page_no")
    return _question(
        row,
        row.get("questionId", number),
        doc=f"{document}_{page}" if document and page is not None else row.get("docId"),
        field=row.get("question_types"),
    )


def read_infographicvqa(row: Row, number: int) -> AnsweredQuestion:
    """One row of ``lmms-lab/DocVQA``, configuration ``InfographicVQA``.

    Columns: its card, and lmms-eval's ``tasks/infovqa``.
    """
    return _question(row, row.get("questionId", number), field=row.get("answer_type"))


def read_stvqa(row: Row, number: int) -> AnsweredQuestion:
    """One row of ``danjacobellis/stvqa_task1``, or a question of ``vikhyatk/st-vqa``.

    Columns: the card of the first; public code that reads the second.
    """
    return _question(row, row.get("question_id", number), doc=row.get("path"))


def read_chartqa(row: Row, number: int) -> AnsweredQuestion:
    """One row of ``lmms-lab/ChartQA`` or ``HuggingFaceM4/ChartQA``; the field says who asked.

    Columns: the cards of both (``type, question, answer`` and ``query, label, human_or_machine``),
    and lmms-eval's ``tasks/chartqa/upload_chartqa.py``, which made the first.
    """
    kind = row.get("type")
    if kind is None:
        kind = _CHART_KINDS.get(row.get("human_or_machine", -1))
    return _question(
        row,
        row.get("question_id", number),
        doc=row.get("imgname"),
        field=kind.removesuffix("_test") if isinstance(kind, str) else None,
    )


def read_vstar(row: Row, number: int) -> AnsweredQuestion:
    """One question of V*Bench, ``craigwu/vstar_bench`` or ``lmms-lab/vstar-bench``.

    Columns ``text`` (the options are in it), ``label``, ``category``, ``question_id``: lmms-eval's
    ``tasks/vstar_bench`` and public code that reads ``test_questions.jsonl``. Boxes: the file
    beside each picture (``bbox``: ``[left, top, width, height]`` in pixels for each of
    ``target_object``), as penghao-wu/vstar reads it in ``visual_search.py``. A question about two
    objects has one box around both: a crop that shows both answers it.
    """
    question = _question(row, row.get("question_id", number), field=row.get("category"))
    letter = question.answers[0].strip(" ().").upper() if question.answers else ""
    texts = dict(_OPTION_LINE.findall(question.question))
    if "Answer with the option" not in question.question:
        question = dataclasses.replace(
            question, question=f"{question.question.rstrip()}\n{_LETTER_PLEASE}"
        )
    annotation = row.get(ANNOTATION) or {}
    return dataclasses.replace(
        question,
        answers=_choice(letter, texts.get(letter)),
        boxes=_around(annotation.get("bbox") or [], question),
        extra={"objects": names} if (names := annotation.get("target_object")) else {},
    )


def read_hrbench(row: Row, number: int) -> AnsweredQuestion:
    """One row of ``DreamMr/HR-Bench``: ``image`` in base64, options in columns ``A`` to ``D``.

    Columns (and ``index, category, cycle_category``) and the wording of the question: lmms-eval's
    ``tasks/hrbench/utils.py`` and DreamMr/HR-Bench's ``hrbench/vlmeval/dataset/image_mcq.py``. Each
    question comes four times with its options turned round; the score is the mean over all.
    """
    options = {
        letter: str(row[letter]).strip()
        for letter in _LETTERS
        if row.get(letter) is not None and str(row[letter]).strip()
    }
    image = row.get("image")
    if isinstance(image, str):
        image = read_base64(image)
    question = _question(
        {**row, "image": image}, row.get("index", number), field=row.get("category")
    )
    letter = question.answers[0].strip(" ().").upper() if question.answers else ""
    lines = [question.question.strip(), *(f"{key}. {text}" for key, text in options.items())]
    cycle = row.get("cycle_category")
    return dataclasses.replace(
        question,
        question="\n".join([*lines, "Answer the option letter directly."]),
        answers=_choice(letter, options.get(letter)),
        extra={} if cycle is None else {"cycle": cycle},
    )


def single(row: Row) -> Iterable[Row]:
    """Rows of one question each, of a row that may hold several as ``qas``."""
    if "qas" not in row:
        return [row]
    image = row.get("image")
    return [{"image": image, **pair} for pair in row["qas"] or []]


def _question(row: Row, identity: Any, *, doc: Any = None, field: Any = None) -> AnsweredQuestion:
    """The question of a row; lists of kinds become one field."""
    asked = next((key for key in _QUESTION_KEYS if key in row), None)
    right = next((key for key in _ANSWER_KEYS if key in row), None)
    if asked is None or right is None or "image" not in row:
        raise DataError(
            f"expected the columns image, question and answers, got {shorten(sorted(row))}"
        )
    answers, image = row[right] or [], row["image"] or b""
    if not isinstance(image, bytes | Mapping):
        raise DataError(f"expected an image column that holds pictures, got {shorten(image)}")
    kinds = [field] if isinstance(field, str) else field or []
    return AnsweredQuestion(
        image=image if isinstance(image, bytes) else image.get("bytes") or b"",
        question=row[asked],
        id=str(identity),
        answers=(answers,) if isinstance(answers, str) else tuple(map(str, answers)),
        doc=None if doc is None else str(doc),
        field=", ".join(sorted(map(str, kinds))) or None,
    )


def _choice(letter: str, text: str | None) -> tuple[str, ...]:
    """The right answers of a multiple choice: its letter, and its text where that is no letter."""
    if not letter:
        return ()
    return (letter, text) if text and len(text.strip(" .()")) > 1 else (letter,)


def _around(boxes: Sequence[Any], question: AnsweredQuestion) -> tuple[Box, ...]:
    """One box around ``[left, top, width, height]`` boxes in pixels of the question's picture."""
    if boxes and not isinstance(boxes[0], Sequence):
        boxes = [boxes]
    if not boxes:
        return ()
    try:
        edges = [(x, y, x + w, y + h) for x, y, w, h in boxes]
    except (TypeError, ValueError):
        raise DataError(
            f"expected boxes as [left, top, width, height] in pixels, got {shorten(boxes)}"
        ) from None
    width, height = open_image(question.image).size
    lefts, tops, rights, bottoms = zip(*edges, strict=True)
    return (
        Box.from_pixels(
            (
                max(min(lefts), 0),
                max(min(tops), 0),
                min(max(rights), width),
                min(max(bottoms), height),
            ),
            (width, height),
        ),
    )
