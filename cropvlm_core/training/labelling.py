"""Boxes proposed by a teacher: the warm start of the paper (CropVLM, arXiv 2511.19820).

A teacher, any :class:`Cropper` but mostly a large VLM that can point, names a box for each question
of a set. :func:`label` writes what it says row by row, so that a stopped run can go on. Teachers
draw tightly, so :func:`grow_labels` then grows the boxes, the smallest the most. That is a step of
its own because how much a box grows depends on all the others. Nothing here needs torch.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image, ImageDraw

from cropvlm_core.box import Box
from cropvlm_core.cropper import Cropper, Proposal
from cropvlm_core.errors import DataError, DeadlineError, ModelError, shorten
from cropvlm_core.questions import (
    AnsweredQuestion,
    VisualQuestion,
    from_percent,
    read_questions,
    to_percent,
    to_row,
)
from cropvlm_core.training.growth import area_factor, area_quintiles, grown_by_area
from cropvlm_core.training.questions import contact_sheet

_TRUE = ("boxes", "primary", "context")  # what a row says that no teacher has labelled
_OURS = ("teacher_box", "teacher_text", "teacher_error", "reason", "growth")
_FAILURES = ("failed", "timed_out")
_GREEN = (20, 140, 60)


@dataclasses.dataclass(frozen=True)
class LabelProgress:
    """How far :func:`label` is.

    ``done``: rows in the file. ``refused``: those among them without a box. ``asked``: rows
    written by this run.
    """

    done: int
    refused: int
    asked: int


@dataclasses.dataclass(frozen=True)
class LabelReport:
    """What a labelled file holds.

    ``refused``: rows without a box, by reason. ``area_before`` and ``area_after``: median area of
    the teacher's boxes before and after growth, shares 0..1 of the page; None without any.
    """

    labelled: int
    refused: Mapping[str, int]
    area_before: float | None
    area_after: float | None


def label(
    questions: Iterable[AnsweredQuestion],
    teacher: Cropper,
    file: Path,
    *,
    batch: int = 8,
    progress: Callable[[LabelProgress], None] | None = None,
) -> None:
    """Ask ``teacher`` about each question and append one row for each to ``file``.

    Rows that are there are not asked again; a torn last line is dropped and done again. Rows are
    on the disk after each batch. A row keeps what the question's row said, with ``boxes``,
    ``primary`` and ``context`` under the names ``true_boxes``, ``true_primary`` and
    ``true_context``. It gets ``teacher``, ``teacher_version``, ``teacher_text``, and
    ``teacher_box`` (percent) or a ``reason``. Where the teacher fails on one question but answers
    another, the reason is ``failed`` or ``timed_out`` and ``teacher_error`` says more.
    :func:`grow_labels` then makes ``boxes``.

    Args:
        questions: a question set.
        teacher: who proposes; the first box counts.
        file: JSONL, in a folder that exists.
        batch: questions a call of the teacher.
        progress: called at the start and after each batch.

    Raises:
        DataError: ``file`` holds rows that this teacher, set up like this, did not write.
        ModelError: the teacher is down; what it said before is in ``file``.
        SourceError, ImageError: an image cannot be opened.
    """
    signature = _signature(teacher)
    earlier = _earlier(file, signature)
    asking = _Asking(teacher)
    asked, refused = 0, sum(reason is not None for _, reason in earlier)
    missing = _missing(questions, file.absolute().parent, earlier, asking)
    with file.open("ab") as stream:
        if progress is not None:
            progress(LabelProgress(len(earlier), refused, asked))
        while waiting := list(itertools.islice(missing, batch)):
            outcomes = asking.ask([question for question, _ in waiting])
            rows = [
                row | signature | _said(outcome)
                for (_, row), outcome in zip(waiting, outcomes, strict=True)
            ]
            stream.write(b"".join(map(_line, rows)))
            stream.flush()
            os.fsync(stream.fileno())
            asked += len(rows)
            refused += sum("reason" in row for row in rows)
            if progress is not None:
                progress(LabelProgress(len(earlier) + asked, refused, asked))


def grow_labels(file: Path, *, growth: bool = True) -> LabelReport:
    """Make the ``boxes`` of a labelled file from the teacher's, and count.

    Boxes grow as :mod:`cropvlm_core.training.growth` says, by the quintiles of this file's boxes,
    and the row's ``growth`` is the factor of the area. Without ``growth`` they are the teacher's
    own. One that is the whole page, before growth or after, is no crop: its row has the reason
    ``no_zoom_needed`` instead. The file is replaced in one step; doing it again changes nothing.

    Raises:
        DataError: a row was not written by :func:`label`.
    """
    file = file.resolve()
    raw = [box for row in _rows(file) if (box := _teacher_box(row)) is not None]
    quintiles = area_quintiles(box for box in raw if not box.is_whole)
    grown = []
    reasons: Counter[str] = Counter()
    new = file.with_name(f".{file.name}.new")
    try:
        with new.open("wb") as stream:
            for row in _rows(file):
                if (box := _teacher_box(row)) is not None:
                    factor = area_factor(box, quintiles) if growth else 1.0
                    grown.append(grown_by_area(box, quintiles) if growth else box)
                    _set_box(row, grown[-1], factor)
                if "reason" in row:
                    reasons[row["reason"]] += 1
                stream.write(_line(row))
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
    return LabelReport(
        labelled=sum(not box.is_whole for box in grown),
        refused=dict(reasons.most_common()),
        area_before=median(box.area for box in raw) if raw else None,
        area_after=median(box.area for box in grown) if grown else None,
    )


def label_sheet(file: Path, count: int = 25) -> Image.Image:
    """Small pictures of the first pages of a labelled file, one question each.

    The teacher's box is green, the grown one red.

    Raises:
        DataError: the file is no question set.
        SourceError, ImageError: an image cannot be opened.
    """
    pages: dict[str, tuple[Image.Image, list[Box]]] = {}
    for question in read_questions(file):
        box = _teacher_box(question.extra)
        if box is None or str(question.image) in pages:
            continue
        page = question.open()
        ImageDraw.Draw(page).rectangle(
            box.to_pixels(page.size), outline=_GREEN, width=1 + max(page.size) // 300
        )
        pages[str(question.image)] = page, list(question.boxes)
        if len(pages) == count:
            break
    return contact_sheet(list(pages.values()))


class _Asking:
    """Asks the teacher, and tells a question it cannot answer from a teacher that is down."""

    def __init__(self, teacher: Cropper) -> None:
        self.teacher = teacher
        self.witness: VisualQuestion | None = None  # a question that the teacher has answered

    def ask(self, batch: Sequence[VisualQuestion]) -> list[Proposal | ModelError]:
        """Return what the teacher says to each question; where the call fails, one by one."""
        try:
            proposals: list[Proposal | ModelError] = [*self._propose(batch)]
        except ModelError:
            return self._one_by_one(batch)
        self.witness = batch[-1]
        return proposals

    def _one_by_one(self, batch: Sequence[VisualQuestion]) -> list[Proposal | ModelError]:
        outcomes: list[Proposal | ModelError] = []
        for question in batch:
            try:
                outcomes += self._propose([question])
                self.witness = question
            except ModelError as error:
                if self.witness is not None:
                    self._propose([self.witness])  # fails where the teacher is down
                elif isinstance(error, DeadlineError) or question is batch[-1]:
                    raise
                outcomes.append(error)
        return outcomes

    def _propose(self, batch: Sequence[VisualQuestion]) -> list[Proposal]:
        proposals = self.teacher.propose_batch(batch)
        if len(proposals) != len(batch):
            raise ModelError(f"expected {len(batch)} proposals, got {len(proposals)}")
        return proposals


def _signature(teacher: Cropper) -> dict[str, str]:
    """What names the teacher in each row; the address of a server stays out of data sets."""
    name = re.sub(r"^(openai:.+?)@https?://.*", r"\1", teacher.name, flags=re.DOTALL)
    version = name + teacher.version.removeprefix(teacher.name)
    return {"teacher": name, "teacher_version": version}


def _earlier(file: Path, signature: Mapping[str, str]) -> list[tuple[bytes, str | None]]:
    """Key and reason of each row in the file; a torn last line is cut off."""
    if not file.exists():
        return []
    found: list[tuple[bytes, str | None]] = []
    length = 0
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            is_last = not line.endswith(b"\n")
            try:
                row = _row(line, file, number)
            except DataError:
                if is_last and b'{"'.startswith(line[:2]):
                    break
                raise
            for key in ("teacher", "teacher_version"):
                if row.get(key) != signature[key]:
                    raise DataError(
                        f"expected a file by {shorten(signature[key], 200)} to go on with, got "
                        f"{shorten(file.name)} by {shorten(row.get(key), 200)}"
                    )
            if is_last:
                break
            found.append((_key(row), row.get("reason")))
            length += len(line)
    os.truncate(file, length)
    return found


def _missing(
    questions: Iterable[AnsweredQuestion],
    folder: Path,
    earlier: Sequence[tuple[bytes, str | None]],
    asking: _Asking,
) -> Iterator[tuple[AnsweredQuestion, dict[str, Any]]]:
    """The questions that are not in the file, each with the beginning of its row."""
    present = Counter(key for key, _ in earlier)
    failed = {key for key, reason in earlier if reason in _FAILURES}
    for question in questions:
        row = to_row(question, folder)
        key = _key(row)
        if present[key]:
            present[key] -= 1
            if key not in failed:
                asking.witness = question
            continue
        is_labelled = "teacher_version" in row  # by a teacher before: its boxes are not true
        for name in _OURS:
            row.pop(name, None)
        for name in _TRUE:
            value = row.pop(name, None)
            if value is not None and not is_labelled:
                row[f"true_{name}"] = value
        yield question, row


def _said(outcome: Proposal | ModelError) -> dict[str, Any]:
    if isinstance(outcome, ModelError):
        reason = "timed_out" if isinstance(outcome, DeadlineError) else "failed"
        return {"reason": reason, "teacher_error": str(outcome)}
    text = {} if outcome.text is None else {"teacher_text": outcome.text}
    if outcome.boxes:
        return {"teacher_box": to_percent(outcome.boxes[0])} | text
    return {"reason": outcome.reason} | text


def _set_box(row: dict[str, Any], box: Box, factor: float) -> None:
    for key in ("boxes", "growth", "reason"):
        row.pop(key, None)
    if box.is_whole:
        row["reason"] = "no_zoom_needed"
    else:
        row |= {"boxes": [to_percent(box)], "growth": factor}


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            row = _row(line, file, number)
            if "teacher_version" not in row:
                raise DataError(f"expected a labelled row, got {shorten(line)}")
            yield row


def _row(line: bytes, file: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise DataError(f"{file.name}:{number}: expected a JSON object, got {shorten(line)}")
    return row


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half a surrogate pair, as a teacher may write
        return (json.dumps(row) + "\n").encode()


def _key(row: Mapping[str, Any]) -> bytes:
    """A short name of the question; an id alone is unique in one set only."""
    text = json.dumps([row.get("id"), row.get("image"), row.get("question")])
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _teacher_box(row: Mapping[str, Any]) -> Box | None:
    numbers = row.get("teacher_box")
    return None if numbers is None else from_percent(numbers)
