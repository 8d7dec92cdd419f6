"""From a batch of a data set to pages with their questions, as the plain engine knows them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from cropvlm_core.bulk.pages import QUESTIONS_A_CALL, Asked, AskedPage
from cropvlm_core.errors import DataError, shorten
from cropvlm_core.sources import is_data_uri

COLUMNS = ("image", "bytes", "path", "name", "question", "id", "page")
"""The columns that are looked at."""


class Batch:
    """The pages of a batch, in its order; a context for a folder that holds their bytes meanwhile.

    ``total`` counts the questions.
    """

    def __init__(self, batch: Any, questions: Sequence[str], folder: Path) -> None:
        """Look at a batch.

        Args:
            batch: a table (or a mapping of columns, or a data frame) with a column ``image`` or
                ``bytes`` (the bytes of a file, or ``{"bytes": ..., "path": ...}``) or ``path`` (a
                path, a URI, or a data: URI), and optionally ``question``, ``id``, ``page``,
                ``name``.
            questions: what is asked about every row; without them it is in ``question``.
            folder: for the bytes of pages, one file each.

        Raises:
            DataError: no such columns, or questions in both places.
        """
        self._table, self._folder = _table(batch), folder
        columns = self._table.column_names
        if not {"image", "bytes", "path"} & set(columns):
            raise DataError(f"expected a column image, bytes or path, got {shorten(columns)}")
        if bool(questions) == ("question" in columns):
            both = "both" if questions else "neither"
            raise DataError(f"expected questions or a column question, got {both}")
        self._questions = tuple(questions)
        self.total = self._table.num_rows * max(1, len(questions))

    def __iter__(self) -> Iterator[AskedPage]:
        """Yield the pages; rows that ask about one page, one after the other, are one."""
        for number, alike in enumerate(self._alike()):
            first = alike[0]
            asked = [Asked(question, first.id) for question in self._questions]
            asked = asked or [Asked(row.question, row.id) for row in alike]
            source = self._source(first, number)
            for start in range(0, len(asked), QUESTIONS_A_CALL):
                some = tuple(asked[start : start + QUESTIONS_A_CALL])
                yield AskedPage(first.name, source, some, first.page, (first.page or 1) > 1)

    def _alike(self) -> Iterator[list[_Row]]:
        rows = map(_Row, self._rows())
        if self._questions:
            return ([row] for row in rows)
        return (list(group) for _, group in itertools.groupby(rows, key=_Row.page_of))

    def _rows(self) -> Iterator[dict[str, Any]]:
        names = [name for name in COLUMNS if name in self._table.column_names]
        for batch in self._table.select(names).to_batches(max_chunksize=16):  # bytes are copied
            yield from batch.to_pylist()

    def _source(self, row: _Row, number: int) -> str:
        if row.data is None:
            return row.path
        file = self._folder / str(number)
        if not file.exists():
            file.write_bytes(row.data)
        return str(file)


class _Row:
    """One row: a page (``data``, or where it lies) and a question about it."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        image = row.get("image") if row.get("image") is not None else row.get("bytes")
        path = row.get("path")
        if isinstance(image, Mapping):  # as Hugging Face's datasets store it
            path = image.get("path") or path
            image = image.get("bytes")
        if isinstance(image, str):
            path, image = image, None
        if image is not None and not isinstance(image, bytes):
            raise DataError(
                "expected image as the bytes of a file (ray.data.read_binary_files), got "
                f"{type(image).__name__}"
            )
        self.data: bytes | None = image
        self.path = path or ""
        self.id = None if row.get("id") is None else str(row["id"])
        called = f"{self.path[:57]}..." if is_data_uri(self.path) else self.path
        self.name: str = row.get("name") or called or self.id or ""
        page = row.get("page")
        self.page: int | None = int(page) if page else None  # None: all that the file has
        self.question: str = row.get("question") or ""

    def page_of(self) -> tuple[Any, ...]:
        """What rows about one page have in common; a blank question is refused by itself."""
        return self.data, self.path, self.name, self.page, not self.question.strip()


def _table(batch: Any) -> pa.Table:
    if isinstance(batch, pa.Table):
        return batch
    if isinstance(batch, Mapping):
        columns: dict[str, Any] = {}
        for name, values in batch.items():
            if name in COLUMNS:
                try:
                    columns[name] = pa.array(list(values), from_pandas=True)
                except pa.ArrowInvalid as error:
                    raise DataError(
                        f"expected {name} as the bytes of a file or as text, got "
                        f"{type(next(iter(values), None)).__name__}"
                    ) from error
        return pa.table(columns)
    return pa.Table.from_pandas(batch, preserve_index=False)
