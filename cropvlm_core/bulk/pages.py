"""What a bulk job reads: the pages of a folder or of a question set, each with its questions."""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from cropvlm_core.errors import DataError, shorten
from cropvlm_core.questions import QUESTIONS_FILE, AnsweredQuestion, VisualQuestion, read_questions
from cropvlm_core.sources import is_data_uri

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pdf")
"""A file of a folder is a page if its name ends so, in small or capital letters."""

QUESTIONS_A_CALL = 32
"""The most questions about one page that are put in one call: their crops are in memory at once."""

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Asked:
    """A question about a page, and its ``id`` where a question set gives one."""

    question: str
    id: str | None = None


@dataclasses.dataclass(frozen=True)
class AskedPage:
    """A page and what is asked about it.

    ``name``: what rows call it, the same wherever the data lies: the path below the folder, or as
    the question set has it. ``source``: the path to open, or a data URI. ``page``: which page of
    the file, from 1; None: all that it turns out to have. ``several``: whether it has several.
    """

    name: str
    source: str
    asked: tuple[Asked, ...]
    page: int | None = None
    several: bool = False


class Pages:
    """Pages that can be gone through several times; ``total`` counts the questions.

    Of a file in a folder, only opening it tells how many pages it has: it counts as one here.
    """

    def __init__(
        self,
        data: str | os.PathLike[str],
        questions: Sequence[str],
        *,
        out: Path,
        limit: int | None = None,
    ) -> None:
        """Look at ``data``; see :func:`cropvlm_core.bulk.zoom_pages`.

        Raises:
            DataError: there is nothing to do, or a row of a question set breaks the format.
            QuestionError: a question is blank or endless.
        """
        self._data, self._out, self._limit = Path(data), out, limit
        self._questions = tuple(dict.fromkeys(questions))
        for question in self._questions:
            VisualQuestion(b"", question)  # it checks the text
        is_folder = self._data.is_dir()
        self._is_set = not self._questions
        if self._is_set and is_folder and not holds_questions(self._data):
            raise DataError(
                f"expected questions to put to the pages of a folder, or a folder with "
                f"{QUESTIONS_FILE}, got neither with {shorten(str(data))}"
            )
        if self._questions and not is_folder:
            raise DataError(
                "expected a folder of pages to put the questions to (a question set brings its "
                f"own), got {shorten(str(data))}"
            )
        if is_folder and out.exists() and out.samefile(self._data):
            raise DataError(
                f"expected a folder for rows other than that of the pages, got {shorten(str(out))}"
            )
        self.total = sum(len(page.asked) for page in self)
        if not self.total:
            wanted = "questions" if self._is_set else f"pages ({', '.join(SUFFIXES)})"
            raise DataError(f"expected {wanted} in {shorten(str(data))}, got none")

    def __iter__(self) -> Iterator[AskedPage]:
        """Yield the pages in an order that is the same in every run."""
        return self._of_set() if self._is_set else self._of_folder()

    def _of_folder(self) -> Iterator[AskedPage]:
        asked = [Asked(question) for question in self._questions]
        files = image_files(self._data, without=self._out)
        for file in itertools.islice(files, self._limit):
            name = file.relative_to(self._data).as_posix()
            for chunk in _chunks(asked):
                yield AskedPage(name, str(file), chunk)

    def _of_set(self) -> Iterator[AskedPage]:
        root = self._data if self._data.is_dir() else self._data.parent
        groups = itertools.groupby(
            read_questions(self._data), key=lambda asked: (_source(asked), asked.page)
        )
        for (source, page), group in itertools.islice(groups, self._limit):
            for chunk in _chunks(group):
                name = chunk[0].reference if is_data_uri(source) else _below(root, Path(source))
                asked = tuple(Asked(each.question, each.id) for each in chunk)
                yield AskedPage(name or "", source, asked, page, several=page > 1)


def image_files(folder: Path, *, without: Path) -> Iterator[Path]:
    """Yield every image file below ``folder``, sorted by name, folder by folder.

    A file counts if its name ends as an image's does (:data:`SUFFIXES`). Names that begin with a
    dot are left out, and so is the folder ``without``. Links to files are followed, links to
    folders are not.

    Raises:
        DataError: a folder cannot be listed.
    """
    waiting = [(folder, True)]  # a stack, as folders may lie deeper than Python calls may
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            yield path
        elif not (without.exists() and without.samefile(path)):
            waiting += reversed([(path / name, inner) for name, inner in _listed(path)])


def _listed(folder: Path) -> list[tuple[str, bool]]:
    """The names in a folder that count, sorted, and which of them are folders."""
    listed = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                is_page = entry.name.lower().endswith(SUFFIXES) and not entry.is_dir()
                if (is_folder or is_page) and not entry.name.startswith("."):
                    listed.append((entry.name, is_folder))
    except OSError as error:
        raise DataError(
            f"expected a readable folder, got {shorten(str(folder))}: {error.strerror}"
        ) from error
    return sorted(listed)


def holds_questions(folder: Path) -> bool:
    """Whether a folder is a question set, or holds such folders."""
    return (folder / QUESTIONS_FILE).is_file() or any(folder.glob(f"*/{QUESTIONS_FILE}"))


def _source(asked: AnsweredQuestion) -> str:
    return os.fspath(asked.image)  # type: ignore[arg-type]  # a path or data URI


def _below(root: Path, path: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _chunks(questions: Iterable[_T]) -> Iterator[tuple[_T, ...]]:
    rest = iter(questions)
    while chunk := tuple(itertools.islice(rest, QUESTIONS_A_CALL)):
        yield chunk
