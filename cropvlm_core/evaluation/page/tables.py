"""The figures of every view as HTML tables: over everything, by set, by set and field."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cropvlm_core.evaluation.page import wording
from cropvlm_core.evaluation.page.wording import BASELINE, NOTHING, known, name, text

Figures = Mapping[str, Any]
Comparison = Mapping[str, Any]
Cell = Callable[[Figures, Comparison | None], str]

KINDS = {
    "baseline": "the page alone",
    "control": "control",
    "cropper": "page and crop",
    "shuffled": "control: another question's crop",
    "crop_alone": "the crop without the page",
    "equal_cost": "control: larger page, same cost",
    "ceiling": "ceiling: the right crop",
}
"""Every kind of view in plain words."""


def against(
    results: Mapping[str, Any], set_name: str | None, other: str = BASELINE
) -> dict[str, Comparison]:
    """Return the comparisons of each view with ``other``, over one set or over everything."""
    return {
        told["view"]: told
        for told in results.get("comparisons") or ()
        if told["against"] == other and told["set"] == set_name
    }


def overall(results: Mapping[str, Any]) -> str:
    """Return the table over everything."""
    rows = [(view, view["figures"]) for view in results["views"]]
    caption = f"All views over {wording.plural(results['questions'], 'question')}"
    return _table(caption, rows, against(results, None))


def changes(results: Mapping[str, Any]) -> str:
    """Return the table of rescued and harmed questions, a bar for each; empty without scores."""
    compared = against(results, None)
    kinds = ("cropper", "crop_alone", "shuffled", "equal_cost", "control")
    croppers = [view["cropper"] for view in results["views"] if view["kind"] == "cropper"]
    views = sorted(
        (view for view in results["views"] if view["view"] in compared and view["kind"] in kinds),
        key=lambda view: (
            [*croppers, view["cropper"]].index(view["cropper"]),
            kinds.index(view["kind"]),
        ),
    )
    if not views:
        return ""
    longest = max(1, *(compared[v["view"]][side] for v in views for side in ("rescued", "harmed")))
    lines = []
    for view in views:
        told = compared[view["view"]]
        strong = ' class="own"' if view["kind"] == "cropper" else ""
        lines.append(
            f'<tr{strong}><th scope="row">{name(view["view"])}</th>'
            f'<td class="loss">{_number_bar(told["harmed"], longest, "harmed")}</td>'
            f'<td class="win">{_number_bar(told["rescued"], longest, "rescued")}</td>'
            f"<td>{wording.count(told['both_right'])}</td>"
            f"<td>{wording.count(told['both_wrong'])}</td></tr>"
        )
    head = "".join(
        f'<th scope="col"{kind}>{label}</th>'
        for label, kind in (
            ("View", ""),
            ("Harmed", ' class="loss"'),
            ("Rescued", ' class="win"'),
            ("Both right", ""),
            ("Both wrong", ""),
        )
    )
    caption = "Questions that each view changes, against no crop"
    return _scrolling(
        caption,
        f'<table class="changes"><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>",
    )


def by_set(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield a part that opens for each set: its table, and one that opens for each field."""
    sets: dict[str, dict[str, None]] = {}
    for view in results["views"]:
        for set_name, told in view["sets"].items():
            sets.setdefault(set_name, {}).update(dict.fromkeys(told["fields"]))
    for set_name, fields in sets.items():
        here = [
            (view, view["sets"][set_name]) for view in results["views"] if set_name in view["sets"]
        ]
        asked = max(told["figures"]["questions"] for _, told in here)
        yield (
            f"<details><summary>{name(set_name or 'no set')} "
            f"<small>{wording.plural(asked, 'question')}</small></summary>"
        )
        rows = [(view, told["figures"]) for view, told in here]
        compared = against(results, set_name) or (against(results, None) if len(sets) == 1 else {})
        yield _table(f"Set {set_name}", rows, compared)
        for field in fields if len(fields) > 1 else ():
            rows = [(view, told["fields"][field]) for view, told in here if field in told["fields"]]
            asked = max(figures["questions"] for _, figures in rows)
            yield (
                f"<details><summary>field {name(field or 'none')} "
                f"<small>{wording.plural(asked, 'question')}</small></summary>"
            )
            yield _table(f"Set {set_name}, field {field}", rows, {}) + "</details>"
        yield "</details>"


def _gain(_: Figures, told: Comparison | None) -> str:
    if told is None or not told["difference"]:
        return NOTHING
    return wording.interval(told["difference"], difference=True)


def _chance(_: Figures, told: Comparison | None) -> str:
    return NOTHING if told is None else wording.chance(told.get("p"))


_COLUMNS: tuple[tuple[str, str, Cell], ...] = (
    ("Score", "mean of the metric, with its 95 % interval",
     lambda f, _: wording.interval(f.get("score"))),
    ("Gain", "score minus that of no crop on the same questions, in points, with its 95 % interval",
     _gain),
    ("p", "how often chance alone would give such a gain: paired permutation test", _chance),
    ("Hits", "the answer's box lies at least 90 % inside one crop",
     lambda f, _: wording.interval(f.get("hit_rate"))),
    ("Area", "the crops' mean share of the page", lambda f, _: wording.share(f.get("area"))),
    ("Points at it", "the middle of the best box lies in the answer's box",
     lambda f, _: wording.interval(f.get("pointing"))),
    ("No zoom", "the cropper said that no zoom is needed",
     lambda f, _: wording.share(f.get("no_zoom_rate"))),
    ("Fallback", "the whole page, as the reply was unreadable, late or unsure",
     lambda f, _: wording.share(f.get("fallback_rate"))),
    ("Tokens", "image tokens of a question, mean, and how many more than no crop",
     lambda f, _: wording.amount(f.get("tokens")) + _added(f.get("added_tokens"))),
    ("Points per 100 tokens", "points of score gained for 100 added image tokens",
     lambda f, _: _plain(f.get("points_per_100_tokens"))),
    ("Cropping", "time to the crops, median", lambda f, _: wording.times(f.get("crop_ms"))),
    ("Answering", "time of the target, median", lambda f, _: wording.times(f.get("target_ms"))),
)  # fmt: skip


def _table(
    caption: str,
    rows: Sequence[tuple[Mapping[str, Any], Figures]],
    compared: Mapping[str, Comparison],
) -> str:
    """A row a view, a column a figure; columns that say nothing are left out."""
    columns = [
        (label, meaning, [cell(figures, compared.get(view["view"])) for view, figures in rows])
        for label, meaning, cell in _COLUMNS
    ]
    columns = [one for one in columns if any(cell != NOTHING for cell in one[2])]
    head = "".join(
        f'<th scope="col"><abbr title="{text(meaning)}">{label}</abbr></th>'
        for label, meaning, _ in columns
    )
    lines = []
    for number, (view, _) in enumerate(rows):
        cells = "".join(f"<td>{cells[number]}</td>" for _, _, cells in columns)
        strong = ' class="own"' if view["kind"] == "cropper" else ""
        kind = KINDS.get(view["kind"], view["kind"])
        lines.append(
            f'<tr{strong}><th scope="row">{name(view["view"])}<small>{text(kind)}</small></th>'
            f"{cells}</tr>"
        )
    return _scrolling(
        caption,
        f"<table><caption>{name(caption)}</caption><thead><tr>"
        f'<th scope="col">View</th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>',
    )


def _scrolling(label: str, table: str) -> str:
    """A wide table scrolls in a part of its own, which the keyboard can reach."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(label)}">{table}</div>'
    )


def _number_bar(number: int, longest: int, kind: str) -> str:
    width = 100 * number / longest
    start = 100 - width if kind == "harmed" else 0
    bar = (
        f'<svg class="bar {kind}" viewBox="0 0 100 10" preserveAspectRatio="none" '
        f'aria-hidden="true"><rect x="{start:.2f}" width="{width:.2f}" height="10"/></svg>'
    )
    told = f'<span class="number">{wording.count(number)}</span>'
    return told + bar if kind == "harmed" else bar + told


def _added(value: object) -> str:
    if not known(value):
        return ""
    return f' <small class="interval">{wording.amount(value, plus=True)}</small>'


def _plain(value: object) -> str:
    number = known(value)
    if number is None:
        return NOTHING
    return f"{'−' if number < 0 else ''}{abs(number):.1f}"
