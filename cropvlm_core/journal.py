"""Rows on disk: one JSON object a line, each written once and for good.

A row goes to the file in one write and is there for every reader at once; it is forced to the disk
at most once a second, so that a power cut loses a second, and a killed process nothing. What a
kill tore is cut off when the folder is opened again.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cropvlm_core.errors import DataError, shorten

ROWS_FILE = "rows.jsonl"
SETTINGS_FILE = "settings.json"

_SYNC_SECONDS = 1.0


class Journal:
    """A folder that takes rows, under settings that stay the same; a context manager.

    One process at a time writes to a folder.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, what: str) -> None:
        """Make the folder, or go on in one that was begun with the same settings.

        Args:
            folder: gets ``rows.jsonl`` and ``settings.json``.
            settings: JSON-able; what must be the same for old and new rows to fit together.
            what: who writes here, such as ``"evaluation"``, for messages.

        Raises:
            DataError: the folder was begun with other settings, is written to by another process,
                or holds rows without settings, or something that is no row.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.what = folder, what
        self._file = open_locked(folder, what)
        try:
            self._check(dict(settings))
            self._repair()
        except BaseException:
            os.close(self._file)
            raise
        self._synced = time.monotonic()
        self._pending = False

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Force what was written to the disk, and let others write."""
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row; its ``key`` is not there yet.

        Raises:
            OSError: the disk is full or the like; no part of the row stays behind.
        """
        data = to_line(row)
        before = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, data)
            while written < len(data):  # a full disk takes a part first
                written += os.write(self._file, data[written:])
        except BaseException:
            os.ftruncate(self._file, before)
            raise
        self._pending = True
        self.sync()

    def sync(self) -> None:
        """Force the rows to the disk, unless that was done within the last second.

        :meth:`add` does so too; who waits long between two rows calls this in between.
        """
        if self._pending and time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._file)
            self._synced = time.monotonic()
            self._pending = False

    def rows(self) -> Generator[dict[str, Any]]:
        """Read the rows one by one, in the order in which they were written."""
        return read_rows(self.folder, self.what)

    def drop(self, unwanted: Callable[[Mapping[str, Any]], bool]) -> int:
        """Take rows out, in one step for whoever reads the file; return how many."""
        with contextlib.closing(self.rows()) as rows:
            if not any(map(unwanted, rows)):
                return 0
        aside = self.folder / f"{ROWS_FILE}.part"
        kept = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o644)
        dropped = 0
        try:
            lock(kept, self.folder, self.what)  # whoever opens the new file finds it taken
            with os.fdopen(os.dup(kept), "wb") as stream, contextlib.closing(self.rows()) as rows:
                for row in rows:
                    if unwanted(row):
                        dropped += 1
                    else:
                        stream.write(to_line(row))
            os.fsync(kept)
            aside.replace(self.folder / ROWS_FILE)
            _sync_folder(self.folder)
            kept, self._file = self._file, kept
        finally:
            os.close(kept)
            aside.unlink(missing_ok=True)
        return dropped

    def _check(self, settings: dict[str, Any]) -> None:
        file = self.folder / SETTINGS_FILE
        if file.exists():
            check_settings(read_settings(self.folder, self.what), settings, str(self.folder))
            return
        if os.fstat(self._file).st_size:
            raise DataError(
                f"expected {_a(self.what)} or an empty folder, got {shorten(str(self.folder))}, "
                f"which holds {ROWS_FILE} without {SETTINGS_FILE}"
            )
        write_whole(file, json.dumps(settings, ensure_ascii=False, indent=1) + "\n")

    def _repair(self) -> None:
        """Cut off a torn last line."""
        end = 0
        with (self.folder / ROWS_FILE).open("rb") as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    end += len(line)
        os.ftruncate(self._file, end)


def read_rows(folder: Path, what: str) -> Generator[dict[str, Any]]:
    """Read the rows in ``folder`` one by one, in the order in which they were written.

    Raises:
        DataError: there is no such file, or a line is no row. A last line without its end is left
            out: somebody is writing it, or was killed.
    """
    try:
        stream = (folder / ROWS_FILE).open("rb")
    except OSError as error:
        raise DataError(
            f"expected a folder of {_a(what)} that holds {ROWS_FILE}, "
            f"got {shorten(str(folder))}: {error.strerror}"
        ) from error
    with stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict) or not isinstance(row.get("key"), str):
                raise DataError(f"{ROWS_FILE}:{number}: expected a row, got {shorten(line)}")
            yield row


def read_settings(folder: Path, what: str) -> dict[str, Any]:
    """Return what the job in ``folder`` was told.

    Raises:
        DataError: there is no such file, or it is no JSON object.
    """
    try:
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"expected a folder of {_a(what)} that holds {SETTINGS_FILE}, "
            f"got {shorten(str(folder))}"
        ) from error
    if not isinstance(settings, dict):
        raise DataError(f"expected an object in {SETTINGS_FILE}, got {shorten(settings)}")
    return settings


def check_settings(before: Mapping[str, Any], now: Mapping[str, Any], folder: str) -> None:
    """Check that what a folder was begun with is what goes on there.

    Raises:
        DataError: it is not.
    """
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if names:
        was, got = ({name: each.get(name) for name in names} for each in (before, now))
        raise DataError(
            f"expected the settings that {shorten(folder)} was begun with ({shorten(was)}), got "
            f"{shorten(got)}; name another folder"
        )


def to_line(row: Mapping[str, Any]) -> bytes:
    """One line of a file of rows; half a surrogate pair, as file names may hold, is escaped."""
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:
        return (json.dumps(row, separators=(",", ":")) + "\n").encode()


def write_whole(file: Path, text: str) -> None:
    """Write ``file`` whole or not at all."""
    aside = file.with_name(file.name + ".part")
    with aside.open("w", encoding="utf-8", newline="\n", errors="replace") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(file)
    _sync_folder(file.parent)


def open_locked(folder: Path, what: str) -> int:
    """Open the file of rows for appending, for this process alone, and return its descriptor.

    The lock goes with the process, however it ends.

    Raises:
        DataError: another process writes to it.
    """
    name = folder / ROWS_FILE
    while True:
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            lock(file, folder, what)
            if name.exists() and os.path.samestat(os.fstat(file), name.stat()):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # it was replaced between opening and locking


def lock(file: int, folder: Path, what: str) -> None:
    """Lock an open file for this process.

    Raises:
        DataError: another process has it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DataError(
            f"expected a folder that nobody writes to, got {shorten(str(folder))}, which another "
            f"{what} is writing to"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Force a new name to the disk, where a system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _a(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
