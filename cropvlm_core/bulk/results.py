"""What a bulk job tells: its progress, its rows, its report."""

import dataclasses
from typing import Any, Literal

from cropvlm_core.bulk.pages import Asked, AskedPage

Status = Literal["ok", "failed", "quarantined"]
"""``failed``: refused with a typed error. ``quarantined``: it killed or hung its worker twice."""


@dataclasses.dataclass(frozen=True)
class BulkProgress:
    """Where a bulk job stands.

    ``done`` of ``total`` questions about pages have a row, ``fresh`` of them since ``seconds`` ago;
    ``failed`` and ``quarantined`` count such rows, earlier runs included.
    """

    done: int
    total: int
    failed: int
    quarantined: int
    fresh: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the seconds to go; None before the first row."""
        if not self.fresh:
            return None
        return (self.total - self.done) * self.seconds / self.fresh


@dataclasses.dataclass(frozen=True)
class BulkReport:
    """What a folder of a bulk job holds, and what this run did.

    Attributes:
        rows: rows in the file, of this and earlier runs.
        ok: those among them that were answered, with a crop or without.
        zoomed: those with a crop.
        failed: those whose page was refused with a typed error.
        quarantined: those whose page killed or hung its worker twice.
        fresh: rows that this run wrote.
        missing: questions of the data that have no row, as the run was stopped.
        seconds: what this run took, loading included.
    """

    rows: int
    ok: int
    zoomed: int
    failed: int
    quarantined: int
    fresh: int
    missing: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able object of ``cropvlm batch --json``."""
        return dataclasses.asdict(self) | {"seconds": round(self.seconds, 3)}


def row(
    key: str,
    status: Status,
    attempts: int,
    told: dict[str, Any],
    page: AskedPage,
    asked: Asked,
) -> dict[str, Any]:
    """One row: the keys of ``cropvlm zoom --json``, and what the job knows beside them.

    ``id`` is there where the question has one, ``page`` where the file has several.
    """
    known: dict[str, Any] = {"key": key, "status": status, "attempts": attempts}
    if asked.id is not None:
        known["id"] = asked.id
    if page.several:
        known["page"] = page.page
    return known | told | {"image": page.name}


def nothing(question: str, cropper: str, reason: str, error: str) -> dict[str, Any]:
    """What stands in a row in place of a zoom that did not come about."""
    return {
        "image": None,
        "question": question,
        "zoomed": False,
        "reason": reason,
        "crops": [],
        "box": None,
        "pixels": None,
        "confidence": None,
        "cropper": cropper,
        "seconds": None,
        "error": error,
    }
