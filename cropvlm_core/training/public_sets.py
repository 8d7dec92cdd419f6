"""The paper's four training sets as the Hugging Face Hub stores them, as question sets of ours.

TextVQA, DocVQA, InfographicVQA and ST-VQA (CropVLM, arXiv 2511.19820, section on training data).
A reader makes a question of one row; :func:`prepare` writes them, one image file for each distinct
image, so that a stopped run goes on and ends with the same bytes. The columns are those of the
data sets' cards and of public code that reads them; **nothing here was run against the Hub.**
"""

import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cropvlm_core.errors import DataError, ImageError, MissingExtraError, QuestionError, shorten
from cropvlm_core.images import _sniff, open_image
from cropvlm_core.questions import QUESTIONS_FILE, AnsweredQuestion, to_row

Row = Mapping[str, Any]
"""One row of a data set; its ``image`` is ``{"bytes": ..., "path": ...}``, not decoded."""

PROGRESS_FILE = "progress.json"

_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}
_EVERY = 200  # rows between two marks from which a stopped run goes on


@dataclasses.dataclass(frozen=True)
class PublicSet:
    """A data set on the Hub.

    ``hub``, ``config``, ``revision``: where. ``read``: makes a question of a row and its number.
    ``licence``: what is known of it, for people to check.
    """

    name: str
    hub: str
    read: Callable[[Row, int], AnsweredQuestion]
    licence: str
    config: str | None = None
    revision: str | None = None


@dataclasses.dataclass(frozen=True)
class Preparation:
    """How far :func:`prepare` is: rows read, questions seen and written, and those left out, why.

    ``size``: bytes of the written file. ``complete``: whether the source has no more rows.
    """

    source: str
    rows: int = 0
    seen: int = 0
    written: int = 0
    size: int = 0
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    complete: bool = False


def read_textvqa(row: Row, number: int) -> AnsweredQuestion:
    """One row of ``lmms-lab/textvqa`` or ``facebook/textvqa``: all ten answers, ``image_id``."""
    return _question(row, row.get("question_id", number), doc=row.get("image_id"))


def read_docvqa(row: Row, number: int) -> AnsweredQuestion:
    """One row of ``HuggingFaceM4/DocumentVQA`` or ``lmms-lab/DocVQA``; ``doc`` names the page."""
    document, page = row.get("ucsf_document_id"), row.get("ucsf_document_page_no")
    return _question(
        row,
        row.get("questionId", number),
        doc=f"{document}_{page}" if document and page is not None else row.get("docId"),
        field=row.get("question_types"),
    )


def read_infographicvqa(row: Row, number: int) -> AnsweredQuestion:
    """One row of ``lmms-lab/DocVQA``, configuration ``InfographicVQA``."""
    return _question(row, row.get("questionId", number), field=row.get("answer_type"))


def read_stvqa(row: Row, number: int) -> AnsweredQuestion:
    """One row of ``danjacobellis/stvqa_task1``, or a question of ``vikhyatk/st-vqa``."""
    return _question(row, row.get("question_id", number), doc=row.get("path"))


_CHALLENGE = "terms of the Robust Reading Competition (rrc.cvc.uab.es), where one registers; "

PUBLIC_SETS: Mapping[str, PublicSet] = {
    each.name: each
    for each in (
        PublicSet(
            "textvqa",
            "lmms-lab/textvqa",
            read_textvqa,
            "questions CC BY 4.0 (textvqa.org); images from Open Images, each with its own licence",
        ),
        PublicSet(
            "docvqa",
            "HuggingFaceM4/DocumentVQA",
            read_docvqa,
            _CHALLENGE + "pages from the UCSF Industry Documents Library",
        ),
        PublicSet(
            "infographicvqa",
            "lmms-lab/DocVQA",
            read_infographicvqa,
            _CHALLENGE + "images found on the web, owned by those who made them",
            config="InfographicVQA",
            # Later revisions declare no train split.
            revision="278bbe6243389c4bb08a8ef49a193f8263821715",
        ),
        PublicSet(
            "stvqa",
            "danjacobellis/stvqa_task1",
            read_stvqa,
            _CHALLENGE + "images from COCO-Text, Visual Genome, VizWiz, ICDAR, ImageNet, IIIT-STR",
        ),
    )
}
"""The sets by name, which is also the name of the folder that :func:`prepare` should fill."""


def open_rows(
    chosen: PublicSet, source: str | None = None, *, split: str = "train", stream: bool = True
) -> Any:
    """Return the rows of a set as ``datasets`` gives them, with images not decoded.

    Args:
        chosen: which set.
        source: another id on the Hub with the same columns, or a folder or file of Parquet; None:
            the set's own.
        split: of the set; a folder's files count as one.
        stream: read as it arrives; otherwise everything is downloaded first, and kept.

    Raises:
        MissingExtraError: ``datasets`` is not installed.
        DataError: there is no such set, or it has no images.
    """
    try:
        from datasets import Image, load_dataset
    except ImportError:
        raise MissingExtraError("reading data sets of the Hub", "train") from None
    try:
        if source is not None and Path(source).exists():
            files = [source] if Path(source).is_file() else sorted(map(str, _parquet(source)))
            rows = load_dataset("parquet", data_files=files, split="train", streaming=stream)
        elif source is not None:
            rows = load_dataset(source, split=split, streaming=stream)
        else:
            rows = load_dataset(
                chosen.hub,
                chosen.config,
                revision=chosen.revision,
                split=split,
                streaming=stream,
            )
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise DataError(
            f"expected a data set with a split {split}, got {shorten(source or chosen.hub)}: "
            f"{shorten(said, 160)}"
        ) from error
    columns = rows.column_names or []
    if "image" not in columns:
        raise DataError(f"expected a column image, got {shorten(columns)}")
    return rows.cast_column("image", Image(decode=False))


def prepare(
    chosen: PublicSet,
    rows: Any,
    folder: Path,
    *,
    source: str,
    limit: int | None = None,
    progress: Callable[[Preparation], None] | None = None,
) -> Preparation:
    """Write ``folder/questions.jsonl`` and ``folder/images``; go on where a stopped run was.

    A question is left out, and counted, where its image is damaged or larger than we decode, where
    it is blank, and where it has no answer. Images are written as they came, named by content.

    Args:
        chosen: which set.
        rows: as :func:`open_rows` gives them: iterable, with ``skip(count)``.
        folder: made if missing.
        source: what ``rows`` are; another one than that of a stopped run is refused.
        limit: end once so many questions are written; the questions of one row stay together.
        progress: called now and then.

    Raises:
        DataError: the folder holds something else, or a row has other columns.
    """
    state = _earlier(folder, source)
    images = _Images(folder / "images")
    if state.complete or (limit is not None and state.written >= limit):
        return state
    with (folder / QUESTIONS_FILE).open("r+b") as stream:
        stream.truncate(state.size)
        stream.seek(state.size)
        complete = True
        for row in rows.skip(state.rows) if state.rows else rows:
            state = _add(chosen, row, state, images, stream.write)
            if limit is not None and state.written >= limit:
                complete = False
                break
            if state.rows % _EVERY == 0:
                _mark(folder, stream, state)
                if progress is not None:
                    progress(state)
        state = dataclasses.replace(state, complete=complete)
        _mark(folder, stream, state)
    return state


def _add(
    chosen: PublicSet,
    row: Row,
    state: Preparation,
    images: "_Images",
    write: Callable[[bytes], Any],
) -> Preparation:
    """Write the questions of one row and return how far we are then."""
    skipped = Counter(state.skipped)
    seen, written, size = state.seen, state.written, state.size
    for each in _single(row):
        number = seen
        seen += 1
        try:
            question = chosen.read(each, number)
            if not any(answer.strip() for answer in question.answers):
                skipped["no answer"] += 1
                continue
            question = images.kept(question)
        except (ImageError, QuestionError) as error:
            skipped["image" if isinstance(error, ImageError) else "question"] += 1
            continue
        row_text = json.dumps(to_row(question, images.folder.parent), ensure_ascii=False)
        size += write(f"{row_text}\n".encode())
        written += 1
    return dataclasses.replace(
        state, rows=state.rows + 1, seen=seen, written=written, size=size, skipped=dict(skipped)
    )


class _Images:
    """The folder of image files: each distinct image once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, tuple[Path, tuple[int, int]] | ImageError] = {}

    def kept(self, question: AnsweredQuestion) -> AnsweredQuestion:
        """The question with its image in a file.

        Raises:
            ImageError: it is damaged or larger than we decode.
        """
        data = question.image
        assert isinstance(data, bytes)
        name = hashlib.sha256(data).hexdigest()[:32]
        if name not in self._known:
            try:
                self._known[name] = self._write(data, name)
            except ImageError as error:
                self._known[name] = error
        known = self._known[name]
        if isinstance(known, ImageError):
            raise known
        file, (width, height) = known
        return dataclasses.replace(question, image=file, width=width, height=height)

    def _write(self, data: bytes, name: str) -> tuple[Path, tuple[int, int]]:
        size = open_image(data).size
        kind, _ = _sniff(data, name)
        file = self.folder / f"{name}{_SUFFIXES.get(kind, f'.{kind.lower()}')}"
        if not file.exists():
            aside = file.with_suffix(".part")
            aside.write_bytes(data)
            aside.replace(file)
        return file, size


def _question(row: Row, identity: Any, *, doc: Any = None, field: Any = None) -> AnsweredQuestion:
    """The question of a row; lists of kinds become one field."""
    key = "answers" if "answers" in row else "answer"
    if not {"image", "question", key} <= set(row):
        raise DataError(
            f"expected the columns image, question and answers, got {shorten(sorted(row))}"
        )
    answers, image = row[key] or [], row["image"] or {}
    kinds = [field] if isinstance(field, str) else field or []
    return AnsweredQuestion(
        image=image.get("bytes") or b"",
        question=row["question"],
        id=str(identity),
        answers=(answers,) if isinstance(answers, str) else tuple(map(str, answers)),
        doc=None if doc is None else str(doc),
        field=", ".join(sorted(map(str, kinds))) or None,
    )


def _single(row: Row) -> Iterable[Row]:
    """Rows of one question each, of a row that may hold several as ``qas``."""
    if "qas" not in row:
        return [row]
    image = row.get("image")
    return [{"image": image, **pair} for pair in row["qas"] or []]


def _parquet(folder: str) -> Iterator[Path]:
    found = list(Path(folder).rglob("*.parquet"))
    if not found:
        raise DataError(f"expected Parquet files, got none in {shorten(folder)}")
    yield from found


def _earlier(folder: Path, source: str) -> Preparation:
    """How far an earlier run in this folder was; a new folder is set up."""
    file, marks = folder / QUESTIONS_FILE, folder / PROGRESS_FILE
    if not marks.exists():
        if file.exists() and file.stat().st_size:
            raise DataError(f"expected a folder to write into, got one with {QUESTIONS_FILE}")
        folder.mkdir(parents=True, exist_ok=True)
        file.touch()
        return Preparation(source)
    try:
        state = Preparation(**json.loads(marks.read_bytes()))
    except (ValueError, TypeError) as error:
        raise DataError(f"expected {PROGRESS_FILE} of an earlier run, got another file") from error
    if state.source != source:
        raise DataError(
            f"expected a folder of {shorten(source)} to go on with, got {shorten(state.source)}"
        )
    if not file.exists() or file.stat().st_size < state.size:
        raise DataError(f"expected {state.size} bytes of {QUESTIONS_FILE} or more, got less")
    return state


def _mark(folder: Path, stream: Any, state: Preparation) -> None:
    """Put on the disk what is written, and then how far that is."""
    stream.flush()
    os.fsync(stream.fileno())
    aside = folder / f".{PROGRESS_FILE}"
    aside.write_text(json.dumps(dataclasses.asdict(state)) + "\n", encoding="utf-8")
    aside.replace(folder / PROGRESS_FILE)
