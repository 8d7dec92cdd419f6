"""What a job of Ray reads: a folder or a store of pages, Parquet, or a question set."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from cropvlm_core.bulk.pages import SUFFIXES, AskedPage, Pages, holds_questions, image_files
from cropvlm_core.bulk.ray_engine.batches import COLUMNS
from cropvlm_core.bulk.ray_engine.stage import checked
from cropvlm_core.bulk.storage import file_system, is_in_store, join, local_path
from cropvlm_core.errors import DataError, shorten
from cropvlm_core.fetch.url import shown
from cropvlm_core.sources import is_data_uri

_PARQUET = ".parquet"
_CLOCKS = 2.0  # seconds by which the clocks of two machines, or of a disk, may differ


@dataclass(frozen=True)
class PageFile:
    """A file of a folder or store: its name below it, its place, and when it was last changed."""

    name: str
    place: str
    changed: float


class Inputs:
    """The pages of a job, as they are found before anything is read.

    ``questions`` are put to every page; empty where each row brings its own. ``is_parquet``:
    whether pages are rows of Parquet, which Ray reads. Else ``total`` counts the questions.
    """

    def __init__(
        self, data: str, questions: Sequence[str], *, out: str, limit: int | None = None
    ) -> None:
        """Look at ``data``; see :func:`cropvlm_core.bulk.ray_engine.zoom_pages`.

        Raises:
            DataError: there is nothing to do, or a row of a question set breaks the format.
            QuestionError: a question is blank or endless.
        """
        self.data = data if is_in_store(data) else local_path(data)
        self.questions = checked(questions)
        self.limit = limit
        self._out = out
        self._set: Pages | None = None
        self.parquet = self._parquet_files()
        self.is_parquet = bool(self.parquet)
        self.total = 0
        if self.is_parquet:
            return
        if is_in_store(self.data):
            if not self.questions:
                raise DataError(
                    "expected questions to put to the pages of a store (a question set is a local "
                    f"file), got none with {shown(self.data)}"
                )
            self._files = list(itertools.islice(self._of_store(), limit))
            self.total = len(self._files) * len(self.questions)
            if not self._files:
                raise DataError(
                    f"expected pages ({', '.join(SUFFIXES)}) in {shown(self.data)}, got none"
                )
            return
        pages = Pages(self.data, self.questions, out=Path(local_path(out)), limit=limit)
        self.total = pages.total
        if self.questions:
            self._files = list(itertools.islice(self._of_folder(), limit))
        else:
            self._set = pages

    def tables(self, began: Mapping[bytes, float], pages_a_file: int) -> Iterator[pa.Table]:
        """Yield the pages in tables of so many, but for those that have rows since they changed.

        Args:
            began: when the page of a row was begun, by :func:`identity`.
            pages_a_file: the most pages of a table.
        """
        rows = self._rows_of_set(began) if self._set else self._rows_of_files(began)
        while some := list(itertools.islice(rows, pages_a_file)):
            yield pa.Table.from_pylist(some, schema=_FILES if self.questions else _QUESTIONS)

    def any_table(self) -> pa.Table:
        """Return one page, which tells whether the cropper is that of the rows that are there."""
        return next(self.tables({}, 1))

    def _rows_of_files(self, began: Mapping[bytes, float]) -> Iterator[dict[str, Any]]:
        for file in self._files:
            since = min(
                began.get(identity(file.name, None, question, None), 0.0)
                for question in self.questions
            )
            if file.changed + _CLOCKS > since:
                yield {"name": file.name, "path": file.place}

    def _rows_of_set(self, began: Mapping[bytes, float]) -> Iterator[dict[str, Any]]:
        assert self._set is not None
        seen: set[bytes] = set()
        for page in self._set:
            for asked in page.asked:
                number = page.page if page.several else None
                which = identity(page.name, number, asked.question, asked.id)
                if which in seen or _changed(page) + _CLOCKS <= began.get(which, 0.0):
                    continue
                seen.add(which)
                yield {
                    "name": page.name,
                    "path": _absolute(page.source),
                    "question": asked.question,
                    "id": asked.id,
                    "page": page.page,
                }

    def _of_folder(self) -> Iterator[PageFile]:
        folder = Path(self.data)
        for file in image_files(folder, without=Path(local_path(self._out))):
            name = file.relative_to(folder).as_posix()
            yield PageFile(name, os.path.abspath(file), _changed_file(file))  # noqa: PTH100

    def _of_store(self) -> Iterator[PageFile]:
        for info, name in self._listed:
            if name.lower().endswith(SUFFIXES):
                changed = info.mtime_ns / 1e9 if info.mtime_ns else float("inf")
                yield PageFile(name, join(self.data, name), changed)

    @functools.cached_property
    def _listed(self) -> list[tuple[fs.FileInfo, str]]:
        """The files of a store, sorted, but for hidden ones and those of the rows."""
        system, root = file_system(self.data)
        without = ""
        if is_in_store(self._out):
            without = file_system(self._out)[1].rstrip("/") + "/"
        try:
            infos = system.get_file_info(fs.FileSelector(root, recursive=True))
        except OSError as error:
            raise DataError(
                f"expected a store that can be listed, got {shown(self.data)}: "
                f"{shorten(str(error), 200)}"
            ) from error
        found = []
        for info in infos:
            name = info.path.removeprefix(root).lstrip("/")
            hidden = any(part.startswith(".") for part in name.split("/"))
            outside = not without or not info.path.startswith(without)
            if info.type == fs.FileType.File and not hidden and outside:
                found.append((info, name))
        return sorted(found, key=lambda pair: pair[1])

    def _parquet_files(self) -> list[str]:
        """The Parquet files that ``data`` is or holds; none: it is something else."""
        if self.data.partition("?")[0].endswith(_PARQUET):
            return [self.data if is_in_store(self.data) else os.path.abspath(self.data)]  # noqa: PTH100
        if is_in_store(self.data):
            names = [name for _, name in self._listed]
            found = [join(self.data, name) for name in names if name.endswith(_PARQUET)]
            self._refuse_both(found, any(name.lower().endswith(SUFFIXES) for name in names))
            return found
        if not self.questions and holds_questions(Path(self.data)):
            return []
        folder, out = Path(self.data).absolute(), Path(local_path(self._out)).absolute()
        found = sorted(
            str(file)
            for file in folder.rglob(f"*{_PARQUET}")
            if not file.is_relative_to(out)
            and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        )
        self._refuse_both(found, bool(found) and any(image_files(folder, without=out)))
        return found

    def _refuse_both(self, parquet: Sequence[str], images: bool) -> None:
        if parquet and images:
            raise DataError(
                f"expected image files or Parquet in {shown(self.data)}, got both; name the files "
                "of one kind, or a folder that has no other"
            )


_FILES = pa.schema([("name", pa.string()), ("path", pa.string())])
_QUESTIONS = pa.schema(
    [*_FILES, ("question", pa.string()), ("id", pa.string()), ("page", pa.int32())]
)


def identity(name: str, page: int | None, question: str, id: str | None) -> bytes:  # noqa: A002
    """Return 16 bytes for a question about a page by name; ``page``: of a file with several."""
    asked = json.dumps([name, page, question, id]).encode()
    return hashlib.blake2b(asked, digest_size=16).digest()


def parquet_dataset(inputs: Inputs, ray_data: Any, readers: int) -> tuple[Any, int]:
    """Return the rows of Parquet as a ``ray.data.Dataset``, and how many questions they are.

    Raises:
        DataError: they have no pages, or questions in two places or none.
    """
    system, _ = file_system(inputs.parquet[0])
    paths = [file_system(each)[1] for each in inputs.parquet]
    options: dict[str, Any] = {"filesystem": system, "partitioning": None}
    try:
        names = pq.read_schema(paths[0], filesystem=system).names
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"expected Parquet, got {shown(inputs.parquet[0])}: {shorten(str(error), 120)}"
        ) from error
    columns = [name for name in COLUMNS if name in names]
    if not {"image", "bytes", "path"} & set(columns):
        raise DataError(f"expected a column image, bytes or path in Parquet, got {shorten(names)}")
    if bool(inputs.questions) == ("question" in columns):
        what = "both" if inputs.questions else "neither"
        raise DataError(f"expected --question or a column question in Parquet, got {what}")
    found = ray_data.read_parquet(
        paths,
        columns=columns,
        num_cpus=0,  # workers have the processors; who reads waits for a disk or a store
        concurrency=readers,
        **options,
    )
    if inputs.limit:
        found = found.limit(inputs.limit)
    return found, found.count() * max(1, len(inputs.questions))


def _changed(page: AskedPage) -> float:
    return 0.0 if is_data_uri(page.source) else _changed_file(Path(page.source))


def _changed_file(file: Path) -> float:
    """When a file was changed, or came to be where it is."""
    try:
        facts = file.stat()
    except OSError:
        return float("inf")
    return max(facts.st_mtime, facts.st_ctime)


def _absolute(source: str) -> str:
    return source if is_data_uri(source) else os.path.abspath(source)  # noqa: PTH100
