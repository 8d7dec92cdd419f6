"""A comparison of evaluations as tables for a terminal."""

from collections.abc import Sequence

from cropvlm_core.errors import shorten
from cropvlm_core.evaluation.compare import Against, Compared, Flip, Paired, Side
from cropvlm_core.evaluation.text_table import aligned, chance, difference, name

_MOST_FLIPS = 20
_LONGEST_CELL = 40
_FIGURES = {"score": "score", "hit": "hits", "area": "area"}


def to_text(compared: Compared) -> str:
    """Return a section for each evaluation that is compared with the base."""
    parts = [_section(compared.base, other) for other in compared.others]
    parts.append(
        "score and hits in %, area in % of the page; differences in points with 95 % intervals "
        "(bootstrap over\ndocuments). p: paired permutation test over documents. "
        "rescued, harmed: wrong in the base and right here, and the reverse."
    )
    return "\n\n".join(parts)


def _section(base: Side, other: Against) -> str:
    lines = [
        f"base  {_told(base)}",
        f"here  {_told(other.side)}",
        f"{other.shared} questions in both, {other.only_base} only in the base, "
        f"{other.only_here} only here",
        *other.remarks,
    ]
    return "\n\n".join(["\n".join(lines), _figures(other.figures), *_flips(other)])


def _told(side: Side) -> str:
    told = f"{side.folder}: {side.view}, {side.questions} questions"
    if side.target is None:
        return told
    size = "" if side.target_size is None else f" at {side.target_size} pixels"
    return f"{told}, target {side.target}{size}, {side.metric}"


def _figures(figures: Sequence[Paired]) -> str:
    head = ("figure", "set", "questions", "base", "here", "difference", "p")
    lines = [
        (
            _FIGURES[each.figure],
            "all" if each.set is None else name(each.set),
            str(each.questions),
            f"{each.base:.1%}",
            f"{each.here:.1%}",
            difference(each.difference),
            chance(each.p),
        )
        for each in figures
    ]
    return aligned((head, *lines), left=2)


def _flips(other: Against) -> list[str]:
    if other.flipped_by is None:
        return []
    by = "a score of at least 0.5" if other.flipped_by == "score" else "a hit"
    counts = other.counts
    summary = (
        f"rescued {counts.rescued}, harmed {counts.harmed}, both right {counts.both_right}, "
        f"both wrong {counts.both_wrong} (right: {by})"
    )
    if not other.flips:
        return [summary]
    head = ("flipped", "set", "id", "question", "base", "here")
    shown = _first(other.flips)
    table = aligned((head, *map(_flip, shown)), left=len(head))
    more = len(other.flips) - len(shown)
    return [summary, table + (f"\n... and {more} more (--json has all)" if more else "")]


def _first(flips: Sequence[Flip]) -> list[Flip]:
    """Half of the lines for the harmed, half for the rescued, or more where the other has less."""
    harmed = [flip for flip in flips if flip.kind == "harmed"]
    rescued = [flip for flip in flips if flip.kind == "rescued"]
    harmed = harmed[: max(_MOST_FLIPS // 2, _MOST_FLIPS - len(rescued))]
    return harmed + rescued[: _MOST_FLIPS - len(harmed)]


def _flip(flip: Flip) -> tuple[str, ...]:
    texts = (flip.question, flip.before, flip.after)
    cells = ("-" if text is None else shorten(text, _LONGEST_CELL) for text in texts)
    return (flip.kind, name(flip.set), name(flip.id or flip.key), *cells)
