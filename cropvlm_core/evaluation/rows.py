"""The rows of an evaluation on disk: one JSON object a question, each written once and for good.

A row goes to the file in one write and is there for every reader at once; it is forced to the disk
at most once a second, so that a power cut loses a second, and a killed process nothing. What a
kill tore is cut off when the folder is opened again.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cropvlm_core.errors import DataError, shorten
from cropvlm_core.scoring import METRICS

ROWS_FILE = "rows.jsonl"
SETTINGS_FILE = "settings.json"

_SYNC_SECONDS = 1.0


def read_rows(folder: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Read the rows of an evaluation one by one, in the order in which they were written.

    Raises:
        DataError: there is no such file, or a line is no row. A last line without its end is left
            out: somebody is writing it, or was killed.
    """
    file = Path(folder) / ROWS_FILE
    try:
        stream = file.open("rb")
    except OSError as error:
        raise DataError(
            f"expected a folder of an evaluation that holds {ROWS_FILE}, "
            f"got {shorten(str(folder))}: {error.strerror}"
        ) from error
    with stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict) or not isinstance(row.get("key"), str):
                raise DataError(f"{ROWS_FILE}:{number}: expected a row, got {shorten(line)}")
            yield row


def read_settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what the evaluation in ``folder`` was told.

    Raises:
        DataError: there is no such file, or it is no JSON object.
    """
    file = Path(folder) / SETTINGS_FILE
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"expected a folder of an evaluation that holds {SETTINGS_FILE}, "
            f"got {shorten(str(folder))}"
        ) from error
    if not isinstance(settings, dict):
        raise DataError(f"expected an object in {SETTINGS_FILE}, got {shorten(settings)}")
    return settings


class RowStore:
    """A folder that takes rows; a context manager.

    ``done``: keys of the rows that are there. One process at a time writes to a folder.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Make the folder, or go on in one that was begun with the same settings.

        Raises:
            DataError: the folder was begun with other settings, is written to by another process,
                or holds rows without settings.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        # In one process after the other: the lock goes with the process, however it ends.
        self._file = os.open(folder / ROWS_FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _lock(self._file, folder)
            self._check(dict(settings))
            self.done = self._repair()
        except BaseException:
            os.close(self._file)
            raise
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Force what was written to the disk and close."""
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row; its ``key`` is not there yet.

        Raises:
            OSError: the disk is full or the like; no part of the row stays behind.
        """
        data = _line(row)
        before = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, data)
            while written < len(data):  # a full disk takes a part first
                written += os.write(self._file, data[written:])
        except BaseException:
            os.ftruncate(self._file, before)
            raise
        self.done.add(row["key"])
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._file)
            self._synced = time.monotonic()

    def _check(self, settings: dict[str, Any]) -> None:
        file = self.folder / SETTINGS_FILE
        if file.exists():
            before = read_settings(self.folder)
            other = sorted(
                name
                for name in before.keys() | settings.keys()
                if before.get(name) != settings.get(name)
            )
            if other:
                was = {name: before.get(name) for name in other}
                now = {name: settings.get(name) for name in other}
                raise DataError(
                    f"expected the settings that {shorten(str(self.folder))} was begun with "
                    f"({shorten(was)}), got {shorten(now)}; name another folder"
                )
            return
        if os.fstat(self._file).st_size:
            raise DataError(
                f"expected an evaluation or an empty folder, got {shorten(str(self.folder))}, "
                f"which holds {ROWS_FILE} without {SETTINGS_FILE}"
            )
        write_whole(file, json.dumps(settings, ensure_ascii=False, indent=1) + "\n")

    def _repair(self) -> set[str]:
        """Cut off a torn last line; return the keys of the rows."""
        keys: set[str] = set()
        end = 0
        with (self.folder / ROWS_FILE).open("rb") as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    end += len(line)
        os.ftruncate(self._file, end)
        for row in read_rows(self.folder):
            keys.add(row["key"])
        return keys


def rescore(folder: Path, metric: str) -> None:
    """Score the rows in ``folder`` by another metric, where they were scored by another.

    The target is not asked again: rows hold what it answered. Killed on the way, it is done anew
    at the next call. Without an evaluation in ``folder``, nothing is done.
    """
    if not (folder / SETTINGS_FILE).exists():
        return
    settings = read_settings(folder)
    if settings.get("metric") == metric:
        return
    score = METRICS[metric]

    def tell(now: str | None) -> None:
        text = json.dumps(settings | {"metric": now}, ensure_ascii=False, indent=1)
        write_whole(folder / SETTINGS_FILE, text + "\n")

    file = os.open(folder / ROWS_FILE, os.O_RDWR)
    try:
        _lock(file, folder)
        tell(None)
        aside = folder / f"{ROWS_FILE}.part"
        with aside.open("wb") as stream:
            for row in read_rows(folder):
                for cell in row["views"].values():
                    if cell["answer"] is not None:
                        cell["score"] = score(cell["answer"], row["answers"])
                stream.write(_line(row))
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(folder / ROWS_FILE)
        tell(metric)
    finally:
        os.close(file)


def _line(row: Mapping[str, Any]) -> bytes:
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"
    return text.encode("utf-8", "replace")


def write_whole(file: Path, text: str) -> None:
    """Write ``file`` whole or not at all."""
    aside = file.with_name(file.name + ".part")
    with aside.open("w", encoding="utf-8", newline="\n", errors="replace") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(file)


def _lock(file: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DataError(
            f"expected a folder that nobody writes to, got {shorten(str(folder))}, which another "
            "evaluation is writing to"
        ) from error
