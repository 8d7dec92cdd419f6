"""The rows of an evaluation on disk: one JSON object a question, each written once and for good.

How they are written is told in :mod:`cropvlm_core.journal`.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cropvlm_core import journal
from cropvlm_core.journal import ROWS_FILE, SETTINGS_FILE, Journal, write_whole
from cropvlm_core.scoring import METRICS

__all__ = [
    "ROWS_FILE",
    "SETTINGS_FILE",
    "RowStore",
    "read_rows",
    "read_settings",
    "rescore",
    "write_whole",
]

_WHAT = "evaluation"


def read_rows(folder: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Read the rows of an evaluation one by one, in the order in which they were written.

    Raises:
        DataError: there is no such file, or a line is no row. A last line without its end is left
            out: somebody is writing it, or was killed.
    """
    return journal.read_rows(Path(folder), _WHAT)


def read_settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what the evaluation in ``folder`` was told.

    Raises:
        DataError: there is no such file, or it is no JSON object.
    """
    return journal.read_settings(Path(folder), _WHAT)


class RowStore(Journal):
    """A folder that takes rows; a context manager.

    ``done``: keys of the rows that are there. One process at a time writes to a folder.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Make the folder, or go on in one that was begun with the same settings.

        Raises:
            DataError: the folder was begun with other settings, is written to by another process,
                or holds rows without settings.
        """
        super().__init__(folder, settings, what=_WHAT)
        try:
            self.done = {row["key"] for row in self.rows()}
        except BaseException:
            self.close()
            raise

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row; its ``key`` is not there yet.

        Raises:
            OSError: the disk is full or the like; no part of the row stays behind.
        """
        super().add(row)
        self.done.add(row["key"])


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

    file = journal.open_locked(folder, _WHAT)
    try:
        tell(None)
        aside = folder / f"{ROWS_FILE}.part"
        with aside.open("wb") as stream:
            for row in read_rows(folder):
                for cell in row["views"].values():
                    if cell["answer"] is not None:
                        cell["score"] = score(cell["answer"], row["answers"])
                stream.write(journal.to_line(row))
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(folder / ROWS_FILE)
        tell(metric)
    finally:
        os.close(file)
