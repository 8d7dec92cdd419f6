"""The results of an evaluation as tables for a terminal."""

from collections.abc import Sequence

from cropvlm_core.evaluation.results import Comparison, Figures, Results, ViewFigures
from cropvlm_core.evaluation.text_table import (
    aligned,
    chance,
    difference,
    name,
    share,
    share_between,
)
from cropvlm_core.evaluation.views import NO_CROP, PAGE_TWICE

NOTES = """\
hits: a true box lies at least 90 % inside one crop (the whole page always hits); points inside: so
does the middle of the best place; area: the crops' share of the page; ms: median and 95th
percentile, decoding the image and loading a model apart.
rescued, harmed: wrong without and right with the view, and the reverse (right: a score of 0.5 or
more). Intervals: 95 %, bootstrap over documents; p: paired permutation test over documents."""
"""What the columns mean."""

READER_NOTE = """\
This target reads text: with a crop its text can only grow, so a crop cannot harm it. What a crop
loses shows in "crop alone" (harmed: lost by the crop alone)."""
"""What an evaluation with ``tesseract@N`` cannot show."""


def to_text(results: Results, *, notes: bool = True) -> str:
    """Return the tables: every view over everything, by set and by field, and what is compared."""
    asked = results.settings.get("target") is not None
    several = len(results.views[0].sets) > 1
    parts = [_head(results), *_tables(results, None, asked)]
    if several:
        for set_name in results.views[0].sets:
            first, *more = _tables(results, set_name, asked)
            parts += [f"Set {name(set_name)}:\n{first}", *more]
    if any(len(one.fields) > 1 for one in results.views[0].sets.values()):
        if asked:
            parts.append("Scores, by field:\n" + _by_field(results, scores=True))
        if results.boxed:
            parts.append("Hits at area, by field:\n" + _by_field(results, scores=False))
    parts += _sureness(results)
    if asked:
        parts.append("Each cropper against everything else (points of score):\n" + _duels(results))
    if notes:
        parts.append(_notes(results))
    return "\n\n".join(parts)


def _head(results: Results) -> str:
    told = results.settings
    line = (
        f"{results.questions} questions ({results.boxed} with boxes) about {results.images} images"
    )
    if told.get("target") is not None:
        size = told.get("target_size")
        seen = "pictures as they are" if size is None else f"each picture at {size} pixels"
        line += f"\ntarget {told['target']}, {seen}; metric {told['metric']}"
        times = results.views[0].figures.target_ms
        if times is not None:
            line += f"; {times.median:.0f} ms a view (median)"
    if results.failed:
        line += f"\n{results.failed} questions failed and are not counted; run it again to retry"
    return line


def _tables(results: Results, set_name: str | None, asked: bool) -> list[str]:
    views = [each for each in results.views if set_name is None or set_name in each.sets]
    return [*([_answers(results, views, set_name)] if asked else ()), _boxes(views, set_name)]


def _answers(results: Results, views: Sequence[ViewFigures], set_name: str | None) -> str:
    """What the target made of each view."""
    counted = any(_of(each, set_name).tokens is not None for each in views)
    head = ["view", "score", "over no crop", "p", "rescued", "harmed", "both right", "wrong"]
    lines = [[*head, *(("tokens", "points/100 tokens") if counted else ())]]
    for view in views:
        one = _of(view, set_name)
        cells = [view.view, share_between(one.score)]
        duel = _found(results, view.view, NO_CROP, set_name if len(view.sets) > 1 else None)
        cells += [""] * 6 if duel is None else _duel(duel)
        if counted:
            points = one.points_per_100_tokens
            cells += ["-" if one.tokens is None else f"{one.tokens:.0f}"]
            cells += ["-" if points is None else f"{points:+.2f}"]
        lines.append(cells)
    return aligned(lines)


def _boxes(views: Sequence[ViewFigures], set_name: str | None) -> str:
    """Where each view that has boxes looks."""
    lines = [["boxes", "hits", "points inside", "area", "no zoom", "fallback", "ms", "p95 ms"]]
    for view in views:
        if view.view in (NO_CROP, PAGE_TWICE) or view.kind in ("crop_alone", "equal_cost"):
            continue
        one = _of(view, set_name)
        shares = [f"{rate:.1%}" for rate in (one.area, one.no_zoom_rate, one.fallback_rate)]
        times = one.crop_ms
        ms = ["-", "-"] if times is None else [f"{times.median:.1f}", f"{times.p95:.1f}"]
        lines.append([view.view, share_between(one.hit_rate), share(one.pointing), *shares, *ms])
    return aligned(lines)


def _of(view: ViewFigures, set_name: str | None) -> Figures:
    return view.figures if set_name is None else view.sets[set_name].figures


def _duel(one: Comparison) -> list[str]:
    counts = (one.rescued, one.harmed, one.both_right, one.both_wrong)
    return [difference(one.difference), chance(one.p), *map(str, counts)]


def _by_field(results: Results, *, scores: bool) -> str:
    """One line a field, one column a view."""
    kinds = ("baseline", "control", "cropper") if scores else ("control", "cropper", "shuffled")
    views = [each for each in results.views if each.kind in kinds and each.view != PAGE_TWICE]
    lines = [["set", "field", "questions", *(each.view for each in views)]]
    for set_name, one in results.views[0].sets.items():
        for field, base in one.fields.items():
            cells = [name(set_name), name(field), str(base.questions)]
            for view in views:
                figures = view.sets[set_name].fields.get(field) if set_name in view.sets else None
                if figures is None:
                    cells.append("-")
                elif scores:
                    cells.append(share(figures.score))
                else:
                    cells.append(f"{share(figures.hit_rate)} at {figures.area:.1%}")
            lines.append(cells)
    return aligned(lines, left=2)


def _sureness(results: Results) -> list[str]:
    """What confidences are worth, a line a cropper that gives any."""
    lines = [
        f"Confidence of {name(view.view)}: expected calibration error "
        f"{share_between(view.reliability.error)} over {view.reliability.questions} crops; hits by "
        "quarter, the least sure first: "
        + " / ".join(f"{100 * part.hits:.0f}" for part in view.reliability.quarters)
        + " %"
        for view in results.views
        if view.reliability is not None
    ]
    return ["\n".join(lines)] if lines else []


def _duels(results: Results) -> str:
    lines = [["cropper", "against", "difference", "p", "rescued", "harmed", "both right", "wrong"]]
    croppers = {each.view for each in results.views if each.kind == "cropper"}
    lines += [
        [each.view, each.against, *_duel(each)]
        for each in results.comparisons
        if each.view in croppers and each.set is None
    ]
    return aligned(lines, left=2)


def _notes(results: Results) -> str:
    notes = [NOTES]
    if str(results.settings.get("target")).startswith("tesseract@"):
        notes.append(READER_NOTE)
    if results.settings.get("token_rule"):
        notes.append(f"tokens: image tokens by the rule {results.settings['token_rule']}.")
    return "\n".join(notes)


def _found(results: Results, view: str, against: str, set_name: str | None) -> Comparison | None:
    try:
        return results.comparison(view, against, set_name=set_name)
    except KeyError:
        return None
