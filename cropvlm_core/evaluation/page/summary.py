"""What was measured and what came out, in sentences: the head of the page."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cropvlm_core.evaluation.page import wording
from cropvlm_core.evaluation.page.choice import Choice
from cropvlm_core.evaluation.page.plot import POINTING
from cropvlm_core.evaluation.page.tables import against
from cropvlm_core.evaluation.page.wording import BASELINE, known, name, text

Results = Mapping[str, Any]

_CONTROLS = ("shuffled", "control", "equal_cost")
"""Kinds of views that a cropper must beat for its gain to come from where it points."""

_LABELS = {
    "harmed": "that a cropper harmed (with the page, or by its crop alone)",
    "rescued": "that a cropper rescued",
    "missed": "whose answer a cropper missed",
    "other": "of the others",
}


def title(results: Results) -> str:
    """Return the title of the page, plain text."""
    if results.get("target") is None:
        return f"Where do the croppers look in {results['data']}?"
    return f"Does zooming help {results['target']} on {results['data']}?"


def measured(results: Results) -> str:
    """Return the sentence that says what was measured."""
    asked = wording.plural(results["questions"], "question")
    pages = wording.plural(results["images"], "page")
    where = f"<strong>{asked}</strong> about {pages} of {name(results['data'])}"
    when = f"on {text(results['date'])}"
    if results.get("target") is None:
        return f"Croppers were given {where} {when}; no target was asked."
    size = results.get("target_size")
    most = "" if str(results["target"]).startswith("tesseract@") else "no more than "
    sees = f" (it sees each picture at {most}{size:,} pixels on its longest side)" if size else ""
    metric = str(results["metric"])
    words = wording.metric_words(metric)
    scored = f"{name(metric)} ({words})" if words else name(metric)
    return (
        f"The target <strong>{name(results['target'])}</strong>{sees} was asked {where} {when}, "
        f"once for each view of a page; the score of an answer is {scored}."
    )


def warnings(results: Results) -> Iterator[str]:
    """Yield what a reader must know before the figures: a run cut short, questions that failed."""
    if not results.get("complete", True):
        yield "This run is not complete: the figures are of the questions so far."
    if results.get("failed"):
        failed = wording.plural(results["failed"], "question")
        yield f"{failed} failed at the target and count in no figure."
    if str(results.get("target")).startswith("constant:"):
        yield (
            "The target always says the same, so no view can gain or lose: only hits, areas, "
            "tokens and times mean something here."
        )


def verdicts(results: Results) -> Iterator[str]:
    """Yield one part for each cropper: its gain, and whether it beats each control."""
    for view in results["views"]:
        if view["kind"] == "cropper":
            yield _verdict(results, view)


def blind_spots(results: Results) -> Iterator[str]:
    """Yield, as HTML, what cannot be seen from these figures."""
    if str(results.get("target")).startswith("tesseract@"):
        yield (
            "<strong>Harm by a crop beside the page.</strong> The target is a reader: an answer "
            "counts when it stands anywhere in the text read from the page and its crops "
            "together. A further crop can only add text, so beside the page it rescues questions "
            "but harms none, whatever it shows. Harm shows only where the crop takes the page's "
            f"place: {_crop_alone(results)}."
        )
    if results.get("target") is None:
        yield "<strong>What an answer gains.</strong> No target was asked: hits are not answers."
    yield (
        "<strong>Other documents and other targets.</strong> The intervals say what chance would "
        "change had other documents of the same kind been drawn (documents are drawn again, with "
        "all their questions); they know nothing of another kind of page or another model."
    )
    if any(view["figures"].get("boxed") for view in results["views"]):
        yield (
            "<strong>A hit without its area.</strong> The whole page always hits: read hits only "
            "together with the crops' share of the page, and beside the controls."
        )


def shown(choice: Choice) -> str:
    """Return how many of how many questions are below, and where the others are."""
    number = sum(count for count, _ in choice.shown.values())
    if number == choice.questions:
        return f"All {wording.plural(number, 'question')} of the run are here."
    parts = [
        f"{count:,} of the {of:,} {_LABELS[label]}" for label, (count, of) in choice.shown.items()
    ]
    return (
        f"{number:,} of {wording.plural(choice.questions, 'question')} are here: "
        f"{', '.join(parts)}. They were drawn by a fixed lottery over all sets and fields, changed "
        "questions first, so <strong>counts below are no shares of the run</strong>: those stand "
        "above. Every question is a line of <code>rows.jsonl</code>, beside this file."
    )


def settings(results: Results) -> str:
    """Return the run's settings as JSON to read."""
    kept = {
        key: results.get(key)
        for key in ("cropvlm", "date", "data", "target", "target_size", "token_rule", "metric")
    }
    return text(json.dumps(kept | {"settings": results.get("settings")}, indent=2, default=str))


def _verdict(results: Results, view: Mapping[str, Any]) -> str:
    spec = view["view"]
    told = against(results, None).get(spec)
    figures = view["figures"]
    difference = (told or {}).get("difference")
    rivals = _rivals(results, spec)
    if told is None or not difference:
        rows = "".join(
            _hits(results, spec, rival, meaning)
            for rival, kind, meaning in rivals
            if kind in POINTING and rival != "page twice"
        )
        return (
            f'<article class="verdict"><h3>{name(spec)}</h3><p>{_looks(figures)} '
            "No answers were scored: this says where it looks, not what is gained.</p>"
            f"{_small_table('Hits of other views, and their area', rows)}</article>"
        )
    kind, badge, beside = _against_controls(results, spec, difference, rivals)
    p = f", p {wording.chance(told['p'])}" if known(told.get("p")) is not None else ""
    mean = wording.points(difference["mean"])
    before = next(v for v in results["views"] if v["view"] == BASELINE)["figures"]["score"]
    rows = "".join(_rival(results, spec, rival, meaning) for rival, _, meaning in rivals)
    return (
        f'<article class="verdict {kind}"><h3>{name(spec)} '
        f'<span class="badge">{badge}</span></h3>'
        f'<p class="gain"><strong>{mean}</strong> points over no crop '
        f'<small class="interval">{wording.bounds(difference)}{p}</small></p>'
        f"<p><strong>{beside}</strong></p>"
        f"<p>Score {wording.share(before['mean'])} without, "
        f"{wording.share(figures['score']['mean'])} with its crops: "
        f"{told['rescued']:,} rescued, {told['harmed']:,} harmed, "
        f"{told['both_right']:,} right both times, {told['both_wrong']:,} wrong both times. "
        f"{_looks(figures)}</p>"
        f"{_small_table('Its score against other views, in points', rows)}</article>"
    )


def _against_controls(
    results: Results,
    spec: str,
    difference: Mapping[str, float],
    rivals: Sequence[tuple[str, str, str]],
) -> tuple[str, str, str]:
    """The kind of a verdict, its badge, and a sentence on the controls."""
    kind, badge = _badge(difference)
    controls = {
        view: against(results, None, view)[spec]
        for view, kind, _ in rivals
        if kind in _CONTROLS and spec in against(results, None, view)
    }
    if not controls:
        return kind, badge, "No control was run beside it: any second picture might do as much."
    unbeaten = [view for view, told in controls.items() if _badge(told["difference"])[0] != "helps"]
    if not unbeaten:
        return kind, badge, "It beats every control."
    if kind == "helps":
        kind, badge = "unclear", "≈ not beyond every control"
    names = ", ".join(name(_own(view, spec)) for view in unbeaten)
    return kind, badge, f"Not shown to beat: {names}."


def _small_table(caption: str, rows: str) -> str:
    if not rows:
        return ""
    return f'<table class="rivals"><caption>{caption}</caption><tbody>{rows}</tbody></table>'


def _own(view: str, spec: str) -> str:
    """The name of a view of a cropper, without the cropper's."""
    return view.removeprefix(f"{spec}, ")


def _badge(difference: Mapping[str, float]) -> tuple[str, str]:
    low, high = known(difference.get("low")), known(difference.get("high"))
    if low is not None and low > 0:
        return "helps", "▲ helps"
    if high is not None and high < 0:
        return "hurts", "▼ hurts"
    return "unclear", "≈ no difference shown"


def _looks(figures: Mapping[str, Any]) -> str:
    area = f"{wording.share(figures['area'])} of the page"
    hits = figures.get("hit_rate")
    if not hits:
        return f"Its crops are {area} in the mean."
    return (
        f"The answer lies in its crops for {wording.share(hits['mean'])} of "
        f"{wording.plural(figures['boxed'], 'question')} with boxes, at {area}."
    )


def _rivals(results: Results, spec: str) -> list[tuple[str, str, str]]:
    """The views that a cropper is held against: name, kind and what it is, controls first."""
    words = {
        "shuffled": "its crops, given to other questions",
        "control": "",
        "equal_cost": "the page alone, larger, at the same cost",
        "crop_alone": "its crops without the page",
        "ceiling": "the true box: the ceiling",
        "cropper": "another cropper",
    }
    named = {
        "page twice": "the page, shown twice",
        "centre": "the middle of the page",
        "random": "a crop anywhere",
    }
    return [
        (view["view"], kind, meaning or named.get(view["view"].split(":")[0], ""))
        for kind, meaning in words.items()
        for view in results["views"]
        if view["kind"] == kind
        and view["view"] != spec
        and (view["cropper"] == spec or kind in ("control", "ceiling", "cropper"))
    ]


def _rival(results: Results, spec: str, view: str, meaning: str) -> str:
    told = against(results, None, view).get(spec)
    if told is None or not told["difference"]:
        return ""
    kind, _ = _badge(told["difference"])
    verdict = {"helps": "✓ beats", "hurts": "✗ is below", "unclear": "≈ not told apart from"}[kind]
    return (
        f'<tr class="{kind}"><th scope="row"><span class="against">{verdict}</span> '
        f"{name(_own(view, spec))}"
        f"<small>{text(meaning)}</small></th>"
        f"<td>{wording.interval(told['difference'], difference=True)}</td></tr>"
    )


def _hits(results: Results, spec: str, view: str, meaning: str) -> str:
    figures = next(one for one in results["views"] if one["view"] == view)["figures"]
    if not figures.get("hit_rate"):
        return ""
    return (
        f'<tr><th scope="row">{name(_own(view, spec))}<small>{text(meaning)}</small></th>'
        f"<td>{wording.interval(figures['hit_rate'])}</td>"
        f"<td>at {wording.share(figures['area'])}</td></tr>"
    )


def _crop_alone(results: Results) -> str:
    compared = against(results, None)
    parts = []
    for view in results["views"]:
        told = compared.get(view["view"])
        if view["kind"] != "crop_alone" or told is None:
            continue
        right = told["harmed"] + told["both_right"]
        score = (view["figures"].get("score") or {}).get("mean")
        parts.append(
            f"<strong>{name(view['view'])}</strong> scores {wording.share(score)}, and "
            f"<strong>{told['harmed']:,} of the {right:,}</strong> questions that the page alone "
            "answers are lost by the crop alone"
        )
    return "; ".join(parts) or "no view of this run shows the crop alone"
