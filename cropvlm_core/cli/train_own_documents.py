"""``cropvlm train embedded --data``: the embedded cropper on a user's own documents."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cropvlm_core.cli import arguments

if TYPE_CHECKING:
    from cropvlm_core.training.own_documents.run import Learned

OPTIONS = (
    "reward", "metric", "held_out", "locate", "rehearsal", "area_price", "shuffle_rewards",
)  # fmt: skip
"""Options that only go with ``--data``."""


def add_arguments(group: "argparse._ArgumentGroup") -> None:
    """Add ``--data`` and what goes with it; all are None where they are not given."""
    group.add_argument(
        "--data",
        metavar="DATA",
        help="your questions with answers: a JSONL file, a folder with questions.jsonl, or a "
        "folder of such folders; boxes are not needed",
    )
    group.add_argument(
        "--reward",
        metavar="SPEC",
        help="the frozen reader that judges the crops: tesseract@N | openai:MODEL[@URL] | "
        "hf:FOLDER_OR_ID",
    )
    group.add_argument(
        "--metric",
        metavar="NAME",
        help="how its replies are scored (default: contains for tesseract@N, else mixed_accuracy)",
    )
    group.add_argument(
        "--held-out",
        metavar="SHARE",
        type=_share,
        help="of the questions, whole documents, kept back to measure on (default 0.25)",
    )
    group.add_argument(
        "--locate",
        action=argparse.BooleanOptionalAction,
        help="look for the answers on the pages with Tesseract and learn from these places first "
        "(default: where Tesseract is installed)",
    )
    group.add_argument(
        "--rehearsal",
        metavar="SHARE",
        type=_share_or_none,
        help="of the pages learned from, rendered ones, so that nothing is forgotten (default 0.3)",
    )
    group.add_argument(
        "--area-price",
        metavar="P",
        type=_price,
        help="taken off the reward of a crop of the whole page, in proportion for smaller ones "
        "(default 0.3)",
    )
    group.add_argument(
        "--shuffle-rewards",
        action="store_const",
        const=True,
        help="the control: deal rewards and places out at random; nothing should be learned",
    )


def run(given: argparse.Namespace) -> int:
    """Learn, measure, and tell what came of it."""
    from cropvlm_core.cli.own_documents_report import report_of, to_text, warnings_of, write_report
    from cropvlm_core.training.signals import Stopped

    try:
        learned, start = _learn(given)
    except Stopped as stop:
        print("cropvlm: stopped; the same command goes on where it was", file=sys.stderr)
        return 128 + stop.number  # as shells count
    report = report_of(learned, start="embedded" if given.start is None else f"embedded:{start}")
    write_report(given.out / "report.json", report)
    print(to_text(report))
    for warning in warnings_of(report):
        print(f"cropvlm: warning: {warning}", file=sys.stderr)
    print(f"use it: cropvlm zoom IMAGE QUESTION --cropper {report['use']}")
    return 0


def _learn(given: argparse.Namespace) -> "tuple[Learned, Path]":
    from cropvlm_core.embedded.weights import shipped_weights
    from cropvlm_core.errors import DataError, shorten
    from cropvlm_core.loading import load_target, metric_for
    from cropvlm_core.scoring import METRICS
    from cropvlm_core.training.own_documents.material import read_own
    from cropvlm_core.training.own_documents.plan import OwnPlan
    from cropvlm_core.training.own_documents.run import learn

    metric = given.metric or metric_for(given.reward)
    if metric not in METRICS:
        raise DataError(f"expected a metric of {sorted(METRICS)}, got {shorten(metric)}")
    reader = load_target(given.reward)
    questions = read_own(given.data)
    start = given.start or shipped_weights()
    chosen = {
        name: getattr(given, name)
        for name in ("minutes", "held_out", "rehearsal", "area_price", "shuffle_rewards", "rate")
        if getattr(given, name) is not None
    }
    plan = OwnPlan(
        reader=given.reward,
        metric=metric,
        seed=given.seed,
        locate=_can_read() if given.locate is None else given.locate,
        **chosen,
    )
    return learn(plan, questions, reader, start, given.out, _tell), start


def _can_read() -> bool:
    """Whether Tesseract is installed in either form."""
    from cropvlm_core.errors import MissingExtraError
    from cropvlm_core.tesseract.engine import find_engine

    try:
        find_engine()
    except MissingExtraError:
        return False
    return True


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _share(text: str) -> float:
    value = _share_or_none(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"expected a share above 0, got {text!r}")
    return value


def _share_or_none(text: str) -> float:
    value = _price(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"expected a share below 1, got {text!r}")
    return value


def _price(text: str) -> float:
    return arguments.number(text, "a number of 0 or more", lambda value: 0 <= value < math.inf)
