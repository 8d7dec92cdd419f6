"""The paper's four training sets as the Hugging Face Hub stores them, as question sets of ours.

TextVQA, DocVQA, InfographicVQA and ST-VQA (CropVLM, arXiv 2511.19820, section on training data).
The readers of :mod:`cropvlm_core.benchmarks` make questions of rows; :func:`prepare` writes them,
one image file for each distinct image, so that a stopped run goes on and ends with the same bytes.
**Nothing here was run against the Hub.**
"""

import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cropvlm_core.benchmarks.layouts import Layout, Row, single
from cropvlm_core.benchmarks.named import BENCHMARKS
from cropvlm_core.benchmarks.rows import Rows
from cropvlm_core.errors import DataError, ImageError, QuestionError, shorten
from cropvlm_core.images import _sniff, open_image
from cropvlm_core.questions import QUESTIONS_FILE, AnsweredQuestion, to_row

PROGRESS_FILE = "progress.json"

_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}
_EVERY = 200  # rows between two marks from which a stopped run goes on


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


PUBLIC_SETS: Mapping[str, Layout] = {
    "textvqa": BENCHMARKS["textvqa"],
    "docvqa": dataclasses.replace(
        BENCHMARKS["docvqa"], hub="HuggingFaceM4/DocumentVQA", config=None
    ),
    "infographicvqa": dataclasses.replace(
        BENCHMARKS["infographicvqa"],
        # Later revisions declare no train split.
        revision="278bbe6243389c4bb08a8ef49a193f8263821715",
    ),
    "stvqa": BENCHMARKS["stvqa"],
}
"""The sets by name, which is also the name of the folder that :func:`prepare` should fill.

Each where its train split lies; what their rows hold is told in :mod:`cropvlm_core.benchmarks`.
"""


def prepare(
    chosen: Layout,
    rows: Rows,
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
        rows: as ``benchmarks.opening.open_rows`` gives them: iterable, with ``skip(count)``.
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
    chosen: Layout,
    row: Row,
    state: Preparation,
    images: "_Images",
    write: Callable[[bytes], Any],
) -> Preparation:
    """Write the questions of one row and return how far we are then."""
    skipped = Counter(state.skipped)
    seen, written, size = state.seen, state.written, state.size
    for each in single(row):
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
