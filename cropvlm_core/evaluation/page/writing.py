"""Puts the page together and writes it, question by question, so that memory stays flat."""

import base64
import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from cropvlm_core.evaluation.page import diagram, plot, summary, tables
from cropvlm_core.evaluation.page.choice import Choice, Row, choose
from cropvlm_core.evaluation.page.drawing import draw
from cropvlm_core.evaluation.page.exhibits import Exhibits
from cropvlm_core.evaluation.page.wording import BASELINE, REASONS, text
from cropvlm_core.questions import VisualQuestion

Find = Callable[[Collection[str]], Iterable[tuple[Row, VisualQuestion]]]
"""Given the keys of some rows: those rows with their questions. Others are passed over."""

_ASSETS = resources.files("cropvlm_core.evaluation.page") / "assets"
_LEGEND = {
    "gain": "Every view at its mean cost, with the 95 % interval of its gain. Filled circles: a "
    "page with the crops of a cropper; crosses: with crops of another question; triangles: crops "
    "without the page; diamonds: a larger page at the same cost; squares: controls; star: the "
    "right crop. Points at one cost are drawn a little apart.",
    "hits": "How often the answer lies in the crops, at their share of the page, with 95 % "
    "intervals. Filled circles: a cropper; crosses: its crops for another question; squares: "
    "controls; star: the right crop. Points at one area are drawn a little apart.",
}
_WIDTHS = {"wide": 760.0, "narrow": 350.0}  # of the plot, in pixels; the stylesheet picks one


def write_page(
    path: str | os.PathLike[str],
    results: Mapping[str, Any],
    rows: Iterable[Row],
    find: Find,
    *,
    limit: int = 200,
) -> int:
    """Write the page of an evaluation: one HTML file that fetches nothing.

    The file appears under ``path`` when it is whole. Pages are opened one at a time, and only
    those of the questions that are shown; neighbours about one file share its decoding.

    Args:
        path: where the page goes, such as ``DIR/report.html``.
        results: what ``results.json`` holds.
        rows: what ``rows.jsonl`` holds, read once and not kept.
        find: called once with the keys of the rows to show.
        limit: the most questions shown with their pictures. Harmed and rescued ones come first.

    Returns:
        The number of questions shown.

    Raises:
        OSError: the file cannot be written.
    """
    choice = choose(results, rows, limit)
    file = Path(path)
    handle, draft = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="\n") as stream:
            shown = 0
            for part, is_question in _parts(results, choice, find):
                stream.write(part)
                shown += is_question
        Path(draft).chmod(0o644)
        Path(draft).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise
    return shown


def _parts(results: Mapping[str, Any], choice: Choice, find: Find) -> Iterator[tuple[str, bool]]:
    """The page in order, each part with whether it is a question."""
    style, script = _asset("report.css"), _asset("report.js")
    head, tail = _asset("report.html").split("<!-- questions -->\n")
    drawn = plot.plotted(results, choice.added_pixels)
    values = {
        "policy": _policy(style, script),
        "style": style,
        "title": text(summary.title(results)),
        "measured": summary.measured(results),
        "warnings": "".join(f'<p class="warning">{line}</p>' for line in summary.warnings(results)),
        "verdicts": "".join(summary.verdicts(results)),
        "blind_spots": "".join(f"<li>{line}</li>" for line in summary.blind_spots(results)),
        "overall": tables.overall(results),
        "plot": "".join(
            f'<div class="{kind}">{draw(drawn, width, kind)}</div>'
            for kind, width in _WIDTHS.items()
        )
        if drawn
        else "<p>Nothing to draw: fewer than two views have both a figure and a cost.</p>",
        "cost_title": "Cost and gain" if drawn is None or drawn.gain else "Area and hits",
        "cost_words": _LEGEND["gain" if drawn is None or drawn.gain else "hits"],
        "confidence": _confidence(results),
        "changes": tables.changes(results) or "<p>No answers were scored.</p>",
        "by_set": "".join(tables.by_set(results)),
        "shown": summary.shown(choice),
        "views": _view_options(results),
        "settings": summary.settings(results),
        "version": text(results.get("cropvlm", "")),
    }
    yield Template(head).substitute(values), False
    yield _block("report", "report", _about(results)), False
    croppers = [view["view"] for view in results["views"] if view["kind"] == "cropper"]
    exhibits = Exhibits(croppers)
    for row, asked in find(choice.keys) if choice.keys else ():
        if row["key"] in choice.keys:
            for kind, block, content in exhibits.records(row, asked):
                yield _block(kind, block, content), kind == "question"
    yield Template(tail).substitute(values | {"script": script}), False


def _confidence(results: Mapping[str, Any]) -> str:
    """The section on confidences; empty where none could be compared with hits."""
    drawn = diagram.diagrams(results)
    if not drawn:
        return ""
    return (
        '<section id="confidence" aria-labelledby="confidence-title">'
        '<h2 id="confidence-title">How sure, how right</h2>'
        "<p>First crops in parts of equal size by the cropper's confidence. On the diagonal a "
        "confidence is the share of crops that hold the answer; the expected calibration error is "
        f"the mean distance from it.</p>{drawn}</section>\n"
    )


def _asset(file: str) -> str:
    return (_ASSETS / file).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """The Content-Security-Policy: nothing is fetched, and only our own style and script count."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(source.encode()).digest()).decode("ascii")
        for source in (style, script)
    )
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; "
        f"script-src 'sha256-{script_hash}'; base-uri 'none'; form-action 'none'"
    )


def _block(kind: str, name: str, content: object) -> str:
    """A block of data that no browser runs, whatever stands in it."""
    # JSON in ASCII leaves `<` as the only way out of the block; NaN is no JSON and must not come.
    written = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" class="{kind}" id="{name}">{written}</script>\n'


def _about(results: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "baseline": BASELINE,
        "scored": any(view["figures"].get("score") for view in results["views"]),
        "views": [
            {"view": view["view"], "kind": tables.KINDS.get(view["kind"], view["kind"])}
            for view in results["views"]
        ],
        "reasons": REASONS,
    }


def _view_options(results: Mapping[str, Any]) -> str:
    """The views to look at, the croppers first; values are numbers, as names may be anything."""
    croppers = {view["view"] for view in results["views"] if view["kind"] == "cropper"}
    groups: dict[str, list[str]] = {"Croppers": [], "Their controls": [], "Other views": []}
    for number, view in enumerate(results["views"]):
        if view["kind"] == "baseline":
            continue
        own = "Their controls" if view["cropper"] in croppers else "Other views"
        group = "Croppers" if view["kind"] == "cropper" else own
        groups[group].append(f'<option value="{number}">{text(view["view"])}</option>')
    return "".join(
        f'<optgroup label="{label}">{"".join(options)}</optgroup>'
        for label, options in groups.items()
        if options
    )
