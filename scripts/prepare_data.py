"""Write the paper's training sets (TextVQA, DocVQA, InfographicVQA, ST-VQA) as question sets.

    python scripts/prepare_data.py --out runs/data
    python scripts/prepare_data.py --out runs/data --sets textvqa,docvqa --limit 1000
    python scripts/prepare_data.py --out runs/data --sets stvqa --source stvqa=vikhyatk/st-vqa

Each set becomes ``runs/data/NAME/questions.jsonl`` with an ``images`` folder beside it. The same
command again goes on where a stopped run was. A source is an id on the Hugging Face Hub, or a
folder of Parquet files that you downloaded. Needs the extra train. Not run against the Hub; see
docs/training.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cropvlm_core.benchmarks.opening import open_rows
from cropvlm_core.errors import CropVLMError
from cropvlm_core.training.public_sets import PUBLIC_SETS, Preparation, prepare


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare each set; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder of question sets to write")
    parser.add_argument(
        "--sets", default=",".join(PUBLIC_SETS), help=f"of {', '.join(PUBLIC_SETS)} (default: all)"
    )
    parser.add_argument("--limit", type=_count, help="about so many questions of each set")
    parser.add_argument("--split", default="train", help="split of the set (default: train)")
    parser.add_argument(
        "--source",
        metavar="SET=ID_OR_FOLDER",
        action="append",
        default=[],
        help="another place with the same columns; may be given several times",
    )
    parser.add_argument(
        "--download", action="store_true", help="fetch and keep whole files instead of streaming"
    )
    given = parser.parse_args(argv)
    names = given.sets.split(",")
    sources = dict(pair.partition("=")[::2] for pair in given.source)
    if unknown := sorted({*names, *sources} - set(PUBLIC_SETS)):
        parser.error(f"expected sets of {', '.join(PUBLIC_SETS)}, got {', '.join(unknown)}")
    print("Each set has its own licence; its card on the Hub may not tell the whole of it:")
    for name in names:
        print(f"  {name}: {PUBLIC_SETS[name].licence}")
    try:
        for name in names:
            chosen = PUBLIC_SETS[name]
            source = sources.get(name)
            rows = open_rows(chosen, source, split=given.split, stream=not given.download)
            done = prepare(
                chosen,
                rows,
                given.out / name,
                source=f"{source or chosen.hub} {given.split}",
                limit=given.limit,
                progress=_show,
            )
            print(f"{given.out / name}: {_told(done)}")
    except CropVLMError as error:
        print(f"prepare_data: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a line that breaks, a full disk
        print(f"prepare_data: {error}; the same command goes on", file=sys.stderr)
        return 1
    print(f"next: cropvlm train split {given.out} --out {given.out.parent / 'halves'}")
    return 0


def _show(done: Preparation) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{_told(done)}", end="\r", file=sys.stderr, flush=True)


def _told(done: Preparation) -> str:
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(done.skipped.items()))
    more = "" if done.complete else "; there are more"
    return f"{done.written} questions, left out: {left_out or 'none'}{more}"


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
