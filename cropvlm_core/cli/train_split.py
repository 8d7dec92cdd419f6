"""``cropvlm train split``: one half of a question set for the warm start, the other for GRPO."""

import argparse
from collections import Counter
from pathlib import Path


def add_parser(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the sub-command and its arguments."""
    parser = kinds.add_parser(
        "split",
        help="split question sets for the warm start and GRPO",
        description="Shuffle question sets and write DIR/sft.jsonl and DIR/grpo.jsonl, which hold "
        "every set and every field in the same share; all questions about a page are in one.",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a JSONL file, a folder with questions.jsonl, or a folder of such folders",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--share", type=float, default=0.5, help="of sft.jsonl, between 0 and 1 (default: 0.5)"
    )
    parser.add_argument("--seed", type=int, default=0, help="source of all chance (default: 0)")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Split, write, and count."""
    from cropvlm_core.questions import read_questions, write_questions
    from cropvlm_core.training.split import set_of, stratified_split, with_set

    halves = stratified_split(read_questions(given.data), given.share, given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    files = [given.out / "sft.jsonl", given.out / "grpo.jsonl"]
    for file, half in zip(files, halves, strict=True):
        write_questions(file, map(with_set, half))
    sets = [Counter(set_of(question) or "-" for question in half) for half in halves]
    names = sorted(sets[0] | sets[1])
    width = max(map(len, [*names, "all"]))
    print(f"{'':{width}}{'sft':>9}{'grpo':>9}")
    for name in names:
        print(f"{name:{width}}{sets[0][name]:9}{sets[1][name]:9}")
    print(f"{'all':{width}}{len(halves[0]):9}{len(halves[1]):9}")
    print(f"wrote {files[0]} and {files[1]}")
    return 0
