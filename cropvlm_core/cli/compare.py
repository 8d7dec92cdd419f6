"""``cropvlm compare``: evaluations of the same questions beside each other."""

import argparse
import json

from cropvlm_core.cli import arguments


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "compare",
        help="compare evaluations of the same questions",
        description="Compare evaluations with the first of them, question by question: score, hits "
        "and area with 95 % intervals of the differences, and the questions that only one of two "
        "gets right. DIR is what evaluate --out wrote; questions that only one has are left out.",
    )
    parser.add_argument("folders", metavar="DIR", nargs="+", help="two or more folders")
    parser.add_argument(
        "--view",
        metavar="NAME",
        help='the view to compare, such as "no crop" (default: that of the only cropper)',
    )
    arguments.add_json(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Compare, and print what differs."""
    from cropvlm_core.evaluation.compare import compare
    from cropvlm_core.evaluation.compare_report import to_text

    compared = compare(given.folders, view=given.view)
    print(json.dumps(compared.to_dict()) if given.json else to_text(compared))
    return 0
