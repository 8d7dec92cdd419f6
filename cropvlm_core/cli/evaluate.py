"""``cropvlm evaluate``: box figures of croppers over a question set, beside the controls."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from cropvlm_core.cli import arguments

if TYPE_CHECKING:
    from cropvlm_core.questions import AnsweredQuestion


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "evaluate",
        help="measure croppers on a question set",
        description="Hit rate, mean area, whole-page rate and milliseconds of croppers on a "
        "question set, with the controls whole, centre and random.",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a JSONL file, a folder with questions.jsonl, or a folder of such folders",
    )
    parser.add_argument(
        "--cropper",
        metavar="SPEC[,SPEC]",
        default="embedded",
        help="the croppers to measure (default: embedded); the controls are always added",
    )
    arguments.add_max_crops(parser)
    arguments.add_limit(parser)
    arguments.add_json(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Evaluate, and print the figures."""
    from cropvlm_core.evaluation import report
    from cropvlm_core.evaluation.evaluate import evaluate, with_controls
    from cropvlm_core.questions import read_questions

    questions = read_questions(given.data, given.limit)
    croppers = with_controls([spec.strip() for spec in given.cropper.split(",")])
    watched = sys.stderr.isatty()
    try:
        evaluation = evaluate(
            questions,
            croppers,
            max_crops=given.max_crops,
            progress=_show if watched else None,
        )
    finally:
        if watched:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if given.json:
        settings = {"data": given.data, "limit": given.limit, "max_crops": given.max_crops}
        print(json.dumps(settings | report.to_dict(evaluation)))
    else:
        print(report.to_text(evaluation))
    return 0


def _show(asked: "AnsweredQuestion", number: int) -> None:
    place = f" ({asked.set_name})" if asked.set_name else ""
    print(f"\r\x1b[Kquestion {number}{place}", end="", file=sys.stderr, flush=True)
