"""The rows of a job as Parquet files in a folder or an object store, each written whole.

::

    OUT/settings.json       which cropper, by name, rules and weights, the rows are of
    OUT/rows/NAME.parquet   the rows of a batch of pages; NAME is a digest of their keys
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from cropvlm_core.bulk.ray_engine.rows import SCHEMA, to_table
from cropvlm_core.bulk.storage import bare, file_system, is_in_store, join, local_path
from cropvlm_core.errors import DataError, shorten
from cropvlm_core.fetch.url import shown
from cropvlm_core.journal import ROWS_FILE, SETTINGS_FILE, check_settings, lock

ROWS = "rows"

_WHAT = "bulk job"
_SUFFIX = ".parquet"
_BEGAN = b"cropvlm.began"  # when the pages of a file were begun, in seconds since 1970
_TOLD = ("key", "image", "id", "page", "question", "status", "reason", "zoomed")
_READERS = 32  # files that are read at once: an object store answers each after a while


@dataclass
class Part:
    """What a file of rows tells without its pictures; ``unwanted``: keys to be taken out."""

    name: str
    began: float
    rows: list[dict[str, Any]]
    unwanted: list[str] = field(default_factory=list)


class RowStore:
    """Where the rows of a job lie; can be sent to other processes."""

    def __init__(self, out: str) -> None:
        """Look at nothing yet; ``out`` is a path or the URI of an object store."""
        self.out = out if is_in_store(out) else os.path.abspath(local_path(out))  # noqa: PTH100
        self._rows = join(self.out, ROWS)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Make the place, or check that it was begun with the same settings.

        Raises:
            DataError: it was not, or holds something else.
        """
        system, path = file_system(join(self.out, SETTINGS_FILE))
        if system.get_file_info(path).type == fs.FileType.File:
            try:
                with system.open_input_stream(path) as stream:
                    before = json.loads(stream.read())
            except (OSError, ValueError) as error:
                raise DataError(
                    f"expected {SETTINGS_FILE} of a bulk job in {shown(self.out)}, got another"
                ) from error
            check_settings(before, settings, bare(self.out))
            return
        system, folder = file_system(self._rows)
        other = file_system(join(self.out, ROWS_FILE))[1]
        if self._listed() or system.get_file_info(other).type == fs.FileType.File:
            raise DataError(
                f"expected a bulk job of this engine or an empty folder, got {shown(self.out)}, "
                f"which holds rows without {SETTINGS_FILE}"
            )
        system.create_dir(folder, recursive=True)
        self._write(path, (json.dumps(dict(settings), indent=1) + "\n").encode())

    def scan(self, unwanted: Callable[[Mapping[str, Any]], bool]) -> list[Part]:
        """Read what is there, without pictures.

        Raises:
            DataError: a file is not of such a job.
        """

        def read(name: str) -> Part:
            table = self._read(name, _TOLD)
            rows = table.to_pylist()
            gone = [row["key"] for row in rows if unwanted(row)]
            kept = [row for row in rows if not unwanted(row)]
            return Part(name, float((table.schema.metadata or {})[_BEGAN]), kept, gone)

        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(read, self._listed()))

    def take_out(self, name: str, keys: Sequence[str]) -> None:
        """Take rows out of a file, and the file away where none is left; again does no harm."""
        system, path = file_system(join(self._rows, name))
        if system.get_file_info(path).type != fs.FileType.File:
            return
        table = self._read(name)
        kept = table.filter(pc.invert(pc.is_in(table["key"], pa.array(keys, pa.string()))))
        if kept.num_rows:
            self._write_table(path, kept)
        else:
            system.delete_file(path)

    def write(self, rows: Sequence[Mapping[str, Any]], began: float) -> None:
        """Write rows to a file of their own; the same keys again take its place."""
        keys = "".join(str(row["key"]) for row in rows).encode()
        name = hashlib.blake2b(keys, digest_size=16).hexdigest() + _SUFFIX
        metadata = {_BEGAN: repr(began).encode()}
        table = to_table(rows).replace_schema_metadata(metadata)
        self._write_table(file_system(join(self._rows, name))[1], table)

    def rows(self, *, pictures: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the rows, file by file."""
        leaves = [
            f"crops.list.element.{each.name}"
            for each in SCHEMA.field("crops").type.value_type
            if each.name != "bytes"
        ]
        others = [name for name in SCHEMA.names if name not in ("crops", "overlay")]
        for name in self._listed():
            yield from self._read(name, None if pictures else [*others, *leaves]).to_pylist()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other jobs out of a folder of this machine, until the end of the context.

        Raises:
            DataError: another one is writing there.
        """
        if is_in_store(self.out):  # stores have no locks
            yield
            return
        folder = Path(self.out)
        folder.mkdir(parents=True, exist_ok=True)
        name = folder / ".lock"
        file = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            lock(file, folder, _WHAT)
            yield
            name.unlink(missing_ok=True)
        finally:
            os.close(file)
            with contextlib.suppress(OSError):  # a job that was refused leaves nothing
                if not any(each != name for each in folder.iterdir()):
                    name.unlink(missing_ok=True)
                    folder.rmdir()

    def _listed(self) -> list[str]:
        system, folder = file_system(self._rows)
        found = system.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        names = [info.base_name for info in found if info.type == fs.FileType.File]
        return sorted(name for name in names if name.endswith(_SUFFIX) and name[0] != ".")

    def _read(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        system, path = file_system(join(self._rows, name))
        try:
            with system.open_input_file(path) as file:
                table = pq.ParquetFile(file).read(columns=columns and list(columns))
            if _BEGAN not in (table.schema.metadata or {}) or "key" not in table.column_names:
                raise pa.ArrowInvalid("no rows of a bulk job")
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(
                f"expected rows of a bulk job in Parquet, got {ROWS}/{name}: {shorten(str(error))}"
            ) from error
        return table

    def _write_table(self, path: str, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self._write(path, sink.getvalue())

    def _write(self, path: str, data: Any) -> None:
        """Write a file whole or not at all; an object store has no halves."""
        system, _ = file_system(self.out)
        if not isinstance(system, fs.LocalFileSystem):
            with system.open_output_stream(path) as stream:
                stream.write(data)
            return
        file = Path(path)
        aside = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
        try:
            with aside.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(file)
        finally:
            aside.unlink(missing_ok=True)
