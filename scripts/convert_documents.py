"""Write a public source of documents as a question set, to repeat figures on.

    python scripts/convert_documents.py sroie ICDAR-2019-SROIE --out sets/sroie
    python scripts/convert_documents.py vrdu_ads vrdu --out sets/vrdu_ads --limit 30
    cropvlm evaluate sets --cropper embedded

Download the source first (``--help`` says from where); its licence is between you and its owners.
``--limit`` draws documents by the seed, so the same command gives the same set everywhere. What is
asked and where boxes come from is told in docs/data-format.md. vrdu_ads needs the extra pdf.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cropvlm_core.benchmarks.chartqa_split import CHARTQA
from cropvlm_core.benchmarks.document_sets import convert
from cropvlm_core.benchmarks.icdar15 import ICDAR15
from cropvlm_core.benchmarks.sroie import SROIE
from cropvlm_core.benchmarks.vrdu import VRDU_ADS
from cropvlm_core.errors import CropVLMError

CONVERTERS = {each.name: each for each in (SROIE, VRDU_ADS, ICDAR15, CHARTQA)}


def main(argv: Sequence[str] | None = None) -> int:
    """Convert one source; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else None,
        epilog="sources: "
        + "; ".join(f"{each.name}: {each.origin}" for each in CONVERTERS.values()),
    )
    parser.add_argument("set", choices=CONVERTERS, help="which kind of source")
    parser.add_argument("source", type=Path, help="the folder it was downloaded to")
    parser.add_argument("--out", type=Path, required=True, help="folder of the question set")
    parser.add_argument("--limit", type=_count, help="the most documents (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of sample and wordings (default: 0)")
    given = parser.parse_args(argv)
    chosen = CONVERTERS[given.set]
    print(f"licence: {chosen.licence}")
    try:
        done = convert(chosen, given.source, given.out, limit=given.limit, seed=given.seed)
    except CropVLMError as error:
        print(f"convert_documents: {error}", file=sys.stderr)
        return 2
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(done.left_out.items()))
    print(
        f"{given.out}: {done.questions} questions on {done.pages} pages of {done.documents} "
        f"documents, left out: {left_out or 'none'}"
    )
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
