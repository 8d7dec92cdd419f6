"""Show that no text of a model gets more out of the reader of boxes than a box or a reason.

    PYTHONPATH=. python scripts/box_texts.py [--examples 25000]

Reads so many texts that hypothesis makes, in every notation, and a table of odd ones, from the
reply to the crop. Prints how many gave a box, how many a marked fallback, and the most CPU time of
one text; the exit code is 1 where that was more than 10 ms. An exception ends it.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from cropvlm_core.cropper import read_proposal
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.zoom import Zoom
from tests.test_box import NOTATIONS, PIECES, TABLE

MOST = 0.010  # seconds
ODD = [
    *(text for _, text, _ in TABLE),
    f"[{'9' * 5000}, 1, 2, 3]",
    "[1, 2, 3, 4" + "0" * 5000 + "]",
    *(piece * (10**6 // len(piece)) for piece in ("[", "[1,", "9", " ", "No zoo", "<loc0000>x")),
    "x" * 16_370 + "[12, 30, 45, 60]",
    "[1e-4000, 2, 3e0000, 4]",
    "[१२, ३०, ४५, ६०]",
    "[12, 30, 45, 60]" * 60_000,
]
_PAGE = Image.new("RGB", (90, 60), "white")


def main(argv: Sequence[str] | None = None) -> int:
    """Read all, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=25_000)
    examples: int = parser.parse_args(argv).examples
    outcomes: Counter[str] = Counter()
    slowest = 0.0

    def read(text: str) -> None:
        nonlocal slowest
        for notation in NOTATIONS:
            began = time.thread_time()
            proposal, _ = read_proposal(notation, text, _PAGE.size)
            slowest = max(slowest, time.thread_time() - began)
            zoom = Zoom.follow(VisualQuestion(_PAGE, "?"), proposal)
            outcomes["box" if proposal.boxes else str(proposal.reason)] += 1
            if not zoom.crops and zoom.reason is None:
                raise SystemExit(f"neither a crop nor a reason: {text[:200]!r}")

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(text=st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
    def made(text: str) -> None:
        read(text)

    made()
    for text in ODD:
        read(text)
    told = ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
    print(f"{examples} texts made, {len(ODD)} odd ones, each in {len(NOTATIONS)} notations: {told}")
    print(f"0 exceptions; at most {slowest * 1e3:.2f} ms of CPU time for one text")
    return 0 if slowest <= MOST else 1


if __name__ == "__main__":
    raise SystemExit(main())
