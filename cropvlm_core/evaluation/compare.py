"""Several evaluations over the same questions: what differs, how surely, and which questions flip.

Questions are matched by their key, so that evaluations of overlapping sets can be compared. Rows
are read as a stream; only numbers and keys stay in memory, and the texts of questions that flipped.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cropvlm_core.errors import DataError, shorten
from cropvlm_core.evaluation.columns import FIGURES, Columns, Folder
from cropvlm_core.evaluation.statistics import (
    RIGHT,
    Counts,
    Interval,
    bootstrap,
    paired_test,
    quartets,
)

_Values = NDArray[np.float64]
_Mask = NDArray[np.bool_]

_LONGEST_TEXT = 200
_TOLD = ("target", "target_version", "target_size", "metric", "max_crops")


@dataclass(frozen=True)
class Side:
    """One folder: the view that is compared, in how many of its rows, and what it was told."""

    folder: str
    view: str
    questions: int
    target: str | None
    target_size: int | None
    metric: str | None


@dataclass(frozen=True)
class Paired:
    """One of :data:`FIGURES` over the questions that have it in both folders.

    ``set``: None over all sets. ``base`` and ``here``: means, shares 0..1. ``difference``: here
    minus base, with its 95 % interval over documents. ``p``: two-sided permutation test.
    """

    figure: str
    set: str | None
    questions: int
    base: float
    here: float
    difference: Interval
    p: float


@dataclass(frozen=True)
class Flip:
    """A question that is right in one folder alone; answers and question cut to 200 characters.

    ``rescued``: wrong in the base. Answers are None where no target was asked.
    """

    kind: Literal["rescued", "harmed"]
    key: str
    set: str
    id: str | None
    question: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Against:
    """One folder against the base.

    ``shared`` questions have the view in both; ``only_base`` and ``only_here`` in one.
    ``remarks``: what the two were told differently. ``flipped_by``: the figure that decides what
    is right, ``score`` (0.5 or more), or ``hit`` where no target was asked; None without either.
    ``flips``: the harmed first, in the order of the base.
    """

    side: Side
    shared: int
    only_base: int
    only_here: int
    remarks: tuple[str, ...]
    figures: tuple[Paired, ...]
    flipped_by: str | None
    counts: Counts
    flips: tuple[Flip, ...]


@dataclass(frozen=True)
class Compared:
    """The first folder, and each other one against it."""

    base: Side
    others: tuple[Against, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dictionary with the names of the fields as keys."""
        return asdict(self)


def compare(folders: Sequence[Folder], *, view: str | None = None) -> Compared:
    """Compare evaluations with the first of them, question by question.

    Args:
        folders: at least two, as ``evaluate(..., out=FOLDER)`` fills them.
        view: the view to compare; None: in each folder that of its only cropper.

    Raises:
        DataError: fewer than two folders; a folder without rows, or whose rows are none; there is
            no such view, or no single cropper; two folders share no question.
    """
    if len(folders) < 2:
        raise DataError(f"expected at least two folders to compare, got {len(folders)}")
    base, *others = (Columns.read(folder, view) for folder in folders)
    return Compared(_side(base), tuple(_against(base, other) for other in others))


class _Pair:
    """Base and another folder, with the places of the questions that they share."""

    def __init__(self, base: Columns, here: Columns) -> None:
        self.base, self.here = base, here
        self.shared = [key for key in base.keys if key in here.keys]
        if not self.shared:
            raise DataError(
                f"expected questions in both {shorten(str(base.folder))} and "
                f"{shorten(str(here.folder))}, got none"
            )
        self._before, self._after = (
            np.fromiter((side.keys[key] for key in self.shared), np.int64, len(self.shared))
            for side in (base, here)
        )
        self._sets = np.array([base.sets[place] for place in self._before])
        self._docs = np.frombuffer(base.docs, np.int64)[self._before]

    def numbers(self, figure: str) -> tuple[_Values, _Values, _Mask]:
        """The figure in both folders, and where both have it."""
        before = self.base.at(figure, self._before)
        after = self.here.at(figure, self._after)
        return before, after, ~np.isnan(before) & ~np.isnan(after)

    def figures(self) -> Iterator[Paired]:
        names = dict.fromkeys(self._sets.tolist())
        for figure in FIGURES:
            before, after, known = self.numbers(figure)
            for name in (None, *names) if len(names) > 1 else (None,):
                mask = known if name is None else known & (self._sets == name)
                if mask.any():
                    yield Paired(
                        figure,
                        name,
                        int(mask.sum()),
                        float(before[mask].mean()),
                        float(after[mask].mean()),
                        bootstrap((after - before)[mask], self._docs[mask]),
                        paired_test((after - before)[mask], self._docs[mask]),
                    )

    def flipped_by(self) -> str | None:
        return next((each for each in ("score", "hit") if self.numbers(each)[2].any()), None)

    def flips(self, figure: str) -> Iterator[Flip]:
        before, after, known = self.numbers(figure)
        was, now = before >= RIGHT, after >= RIGHT
        kinds: dict[str, Literal["harmed", "rescued"]] = {}
        for place in np.flatnonzero(known & was & ~now):
            kinds[self.shared[place]] = "harmed"
        for place in np.flatnonzero(known & ~was & now):
            kinds[self.shared[place]] = "rescued"
        here = {
            row["key"]: _text(row["views"][self.here.view].get("answer"))
            for row in self.here.rows(kinds)
        }
        found = {row["key"]: row for row in map(self._slim, self.base.rows(kinds))}
        for key, kind in kinds.items():
            yield Flip(kind, **found[key], after=here[key])

    def _slim(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "key": row["key"],
            "set": str(row.get("set") or ""),
            "id": _text(row.get("id")),
            "question": _text(row.get("question")) or "",
            "before": _text(row["views"][self.base.view].get("answer")),
        }


def _against(base: Columns, here: Columns) -> Against:
    pair = _Pair(base, here)
    figure = pair.flipped_by()
    counts = Counts(0, 0, 0, 0)
    flips: tuple[Flip, ...] = ()
    if figure is not None:
        before, after, known = pair.numbers(figure)
        counts, flips = quartets(before[known], after[known]), tuple(pair.flips(figure))
    return Against(
        side=_side(here),
        shared=len(pair.shared),
        only_base=len(base.keys) - len(pair.shared),
        only_here=len(here.keys) - len(pair.shared),
        remarks=tuple(_remarks(base.told, here.told)),
        figures=tuple(pair.figures()),
        flipped_by=figure,
        counts=counts,
        flips=flips,
    )


def _side(columns: Columns) -> Side:
    told = columns.told
    return Side(
        str(columns.folder),
        columns.view,
        len(columns.keys),
        told.get("target"),
        told.get("target_size"),
        told.get("metric"),
    )


def _remarks(base: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    for name in _TOLD:
        if base.get(name) != here.get(name):
            what = name.replace("_", " ")
            told = shorten(here.get(name)), shorten(base.get(name))
            yield f"another {what}: {told[0]}, in the base {told[1]}"


def _text(value: object) -> str | None:
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."
