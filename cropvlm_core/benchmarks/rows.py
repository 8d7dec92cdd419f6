"""Rows of files: a few at a time, with images not decoded, in the caller's thread.

The streams of ``datasets`` decode whole blocks of rows, and leaving one before its end aborts the
process when it exits (datasets 5.2 with pyarrow 26), so files are read here.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from cropvlm_core.benchmarks.layouts import ANNOTATION, Row
from cropvlm_core.errors import DataError, shorten

_AT_ONCE = 2  # rows in memory together: pictures may have many megabytes


class Rows(Protocol):
    """Rows to go through, several times if need be."""

    def __iter__(self) -> Iterator[Row]:
        """Begin with the first row that is not skipped."""

    def skip(self, count: int) -> "Rows":
        """The rows behind the first ``count`` of these."""


class _Skipping:
    """Skips by reading; a subclass knows better where it can."""

    skipped = 0

    def __iter__(self) -> Iterator[Row]:
        for number, row in enumerate(self._rows()):
            if number >= self.skipped:
                yield row

    def skip(self, count: int) -> Rows:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, skipped=self.skipped + count)
        return twin

    def _rows(self) -> Iterator[Row]:
        raise NotImplementedError


class ParquetRows(_Skipping):
    """Rows of Parquet files, a few at a time however large their blocks are.

    ``openers`` give each file when its turn comes, as a path or an open stream. Everything is read
    in the caller's thread, so that stopping early leaves nothing running.
    """

    def __init__(self, openers: Sequence[Callable[[], Any]]) -> None:
        self._openers = openers

    def __iter__(self) -> Iterator[Row]:
        import pyarrow.parquet  # comes with datasets

        skipped = self.skipped
        for opener in self._openers:
            with contextlib.ExitStack() as stack:
                source = opener()
                if not isinstance(source, Path):
                    stack.enter_context(source)
                table = stack.enter_context(
                    pyarrow.parquet.ParquetFile(source, buffer_size=2**20, pre_buffer=False)
                )
                if "image" not in table.schema_arrow.names:
                    raise DataError(
                        f"expected a column image, got {shorten(table.schema_arrow.names)}"
                    )
                groups = list(range(table.num_row_groups))
                while groups and skipped >= table.metadata.row_group(groups[0]).num_rows:
                    skipped -= table.metadata.row_group(groups.pop(0)).num_rows
                if not groups:
                    continue
                for batch in table.iter_batches(_AT_ONCE, row_groups=groups, use_threads=False):
                    rows = batch.to_pylist()[skipped:]
                    skipped -= min(skipped, batch.num_rows)
                    yield from rows


class TabRows(_Skipping):
    """Rows of a file with tabs between texts, a few at a time; it is closed when we stop."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def _rows(self) -> Iterator[Row]:
        import pandas  # type: ignore[import-untyped]  # comes with datasets

        with pandas.read_csv(
            self._file,
            sep="\t",
            dtype=str,
            keep_default_na=False,  # "None" and "NA" are answers, and "1.50" is not 1.5
            chunksize=_AT_ONCE,
        ) as chunks:
            for chunk in chunks:
                yield from chunk.to_dict("records")


class PictureRows(_Skipping):
    """Rows whose ``image`` names a file beside the table, with the JSON file beside each picture.

    A name that leads out of the folder is refused: it was written by whoever made the table.
    """

    def __init__(self, file: Path, fetch: Callable[[str], Path]) -> None:
        self._file = file
        self._fetch = fetch

    def _rows(self) -> Iterator[Row]:
        for line in self._file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            name = PurePosixPath(str(row.get("image") or ""))
            if name.is_absolute() or ".." in name.parts or not name.name:
                raise DataError(f"expected an image inside the data set, got {shorten(str(name))}")
            try:
                image = self._fetch(str(name)).read_bytes()
            except FileNotFoundError as error:
                raise DataError(f"expected the image {shorten(str(name))}, got none") from error
            yield {**row, "image": image, ANNOTATION: self._annotation(name)}

    def _annotation(self, image: PurePosixPath) -> Any:
        try:
            return json.loads(self._fetch(str(image.with_suffix(".json"))).read_bytes())
        except FileNotFoundError:  # not every copy has them
            return None
        except ValueError as error:
            raise DataError(f"expected JSON beside {shorten(str(image))}, got text") from error
