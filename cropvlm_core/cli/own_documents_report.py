"""What a run on a user's own documents came to: a report for programs, and one for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cropvlm_core.evaluation.rows import write_whole
from cropvlm_core.evaluation.statistics import bootstrap, paired_test

if TYPE_CHECKING:
    from cropvlm_core.training.own_documents.measure import Outcome
    from cropvlm_core.training.own_documents.run import Learned

FEW = 10
"""Fewer documents kept back than this tell too little."""

_FORGOTTEN = 0.03
"""A fall of the hits on rendered pages by more than this is told."""

Pair = tuple[Sequence["Outcome"], Sequence["Outcome"]]


def report_of(learned: Learned, *, start: str) -> dict[str, Any]:
    """Everything that a run came to, JSON-able; shares are 0..1, intervals 95 %.

    Args:
        learned: what the run returned.
        start: the cropper that the run began with, as ``--cropper`` takes it.
    """
    held_out: dict[str, Any] = {
        "questions": len(learned.held_out[0]),
        "documents": len({each.document for each in learned.held_out[0]}),
        "score": _compared(learned.held_out, lambda each: each.score),
        "hits": _compared(learned.held_out, lambda each: each.hit),
        "area": _compared(learned.held_out, lambda each: each.area),
    }
    report = {
        "weights": str(learned.weights),
        "start": start,
        "told": learned.told,
        "minutes": round(learned.minutes, 2),
        "steps": learned.steps,
        "material": learned.material.counts(),
        "reader_failures": learned.failures,
        "held_out": held_out,
        "rendered": {"hits": _compared(learned.rendered, lambda each: each.hit)},
        "rendered_receipts": {"hits": _compared(learned.receipts, lambda each: each.hit)},
    }
    verdict = _verdict(held_out["score"])
    report["verdict"] = verdict
    report["use"] = f"embedded:{learned.weights}" if verdict == "better" else start
    return report


def write_report(file: Path, report: dict[str, Any]) -> None:
    """Write the report as JSON."""
    write_whole(file, json.dumps(report, ensure_ascii=False, indent=1) + "\n")


def to_text(report: dict[str, Any]) -> str:
    """The report as a few lines."""
    material, held_out, told = report["material"], report["held_out"], report["told"]
    lines = [
        f"{report['weights']}: {report['minutes']} minutes, {report['steps']} steps, "
        f"{material['pages']} pages; of {material['questions']} questions the reader answers "
        f"{material['answered_by_the_whole_page']} from the whole page (left out); answers found "
        f"on the page: {material['located']}, at too many places: "
        f"{material['at_too_many_places']}, with a box: {material['with_a_box']}",
        f"{held_out['questions']} questions about {held_out['documents']} documents kept back, "
        f"before -> after, difference with its 95 % interval:",
    ]
    rows = [
        (f"  {told['reader']}, {told['metric']}", held_out["score"]),
        ("  hits", held_out["hits"]),
        ("  crop's share of the page", held_out["area"]),
        ("  hits on rendered pages", report["rendered"]["hits"]),
        ("  hits on rendered receipts", report["rendered_receipts"]["hits"]),
    ]
    width = max(len(name) for name, _ in rows)
    lines += [f"{name:{width}}  {_line(pair)}" for name, pair in rows if pair is not None]
    return "\n".join(lines)


def warnings_of(report: dict[str, Any]) -> list[str]:
    """What a user should know before relying on the new file."""
    found = []
    if report["verdict"] != "better":
        how = "got worse" if report["verdict"] == "worse" else "did not clearly get better"
        found.append(
            f"the questions kept back {how}: stay with --cropper {report['start']}, or try more "
            f"questions or minutes"
        )
    if report["held_out"]["documents"] < FEW:
        found.append(
            f"only {report['held_out']['documents']} documents were kept back, too few to judge by"
        )
    for name, what in (("rendered", "pages of all kinds"), ("rendered_receipts", "receipts")):
        hits = report[name]["hits"]
        if hits["difference"]["mean"] < -_FORGOTTEN:
            found.append(
                f"hits on rendered {what} fell from {hits['before']['mean']:.1%} to "
                f"{hits['after']['mean']:.1%}: use the new file for your own documents only"
            )
    return found


def _compared(pair: Pair, value: Callable[[Outcome], float | None]) -> dict[str, Any] | None:
    """Before, after and the paired difference of what both have; None where there is nothing."""
    before, after, documents = [], [], []
    for old, new in zip(*pair, strict=True):
        first, second = value(old), value(new)
        if first is not None and second is not None:
            before.append(float(first))
            after.append(float(second))
            documents.append(old.document)
    if not before:
        return None
    change = [new - old for old, new in zip(before, after, strict=True)]
    return {
        "questions": len(before),
        "before": asdict(bootstrap(before, documents)),
        "after": asdict(bootstrap(after, documents)),
        "difference": asdict(bootstrap(change, documents)),
        "p": paired_test(change, documents),
    }


def _verdict(score: dict[str, Any] | None) -> str:
    if score is None:
        return "unclear"
    change = score["difference"]
    if change["low"] is not None and change["low"] > 0:
        return "better"
    if change["high"] is not None and change["high"] < 0:
        return "worse"
    return "unclear"


def _line(pair: dict[str, Any]) -> str:
    change = pair["difference"]
    span = ""
    if change["low"] is not None:
        span = f" [{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]"
    return (
        f"{pair['before']['mean']:6.1%} -> {pair['after']['mean']:6.1%}  "
        f"{100 * change['mean']:+.1f}{span} points"
    )
