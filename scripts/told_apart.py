"""Ask question sets their own questions, and others that no page of them answers.

    python scripts/told_apart.py DATA [DATA ...] [--cropper embedded]

Each page is also asked four of a dozen questions that receipts, orders, signs and charts do not
answer (about a passport, a patient, a flight ...). Printed for each set: how often the confidence
of a question that is answered is above that of one that is not (area under the ROC curve, with a
95 % interval over pages), and of which questions the recommended limit leaves the crop out.

With several sets, also whether the confidence finds the page: a page of each set is drawn, and each
page's question is put to all of them; how often has its own page the highest confidence?
"""

import argparse
import itertools
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cropvlm_core.cropper import Cropper
from cropvlm_core.loading import load_cropper
from cropvlm_core.questions import AnsweredQuestion, VisualQuestion, read_questions
from cropvlm_core.training.confidence import told_apart

ELSEWHERE = (
    "What is the flight number?", "Who is the patient?", "What is the passport number?",
    "Which platform does the train leave from?", "What is the date of birth?",
    "What is the expiry date of the medicine?", "What is the room number?",
    "What is the student's grade?", "What is the licence plate?", "What is the blood pressure?",
    "What is the latitude?", "Who wrote the book?",
)  # fmt: skip
SAMPLES = 1000
DRAWS = 200

Page = tuple[NDArray[np.float64], NDArray[np.float64]]  # confidences: answered, asked in vain


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--cropper", default="embedded")
    given = parser.parse_args(argv)
    cropper = load_cropper(given.cropper)
    limit = cropper.min_confidence or 0.0
    print(f"{cropper.name} {cropper.version}; recommended limit {limit:.2f}\n")
    print("| set | pages | questions | told apart | crop left out, answered | ... and in vain |")
    print("|---|---|---|---|---|---|")
    for data in given.data:
        print(line(data.name, asked(data, cropper), limit), flush=True)
    if len(given.data) > 1:
        print(f"\nOf {len(given.data)} pages, one of each set, the one that answers is found:")
        for name, share in found_pages(given.data, cropper).items():
            print(f"| {name} | {share:.1%} of {DRAWS} |")


def pages_of(data: Path) -> list[list[AnsweredQuestion]]:
    """The questions with true boxes about each page of a set."""
    asked = [question for question in read_questions(data) if question.targets]
    asked.sort(key=lambda question: str(question.shown))
    return [list(group) for _, group in itertools.groupby(asked, lambda question: question.shown)]


def asked(data: Path, cropper: Cropper) -> list[Page]:
    """The confidences of the first crops about each page."""
    rng, found = random.Random(0), []
    for own in pages_of(data):
        texts = [question.question for question in own] + rng.sample(ELSEWHERE, 4)
        sure = confidences(own[0].open(), texts, cropper)
        found.append((sure[: len(own)], sure[len(own) :]))
    return found


def confidences(page: Image.Image, texts: Sequence[str], cropper: Cropper) -> NDArray[np.float64]:
    """Of the first crop for each question; 0 where there is none."""
    proposals = cropper.propose_batch([VisualQuestion(page, text) for text in texts])
    return np.array([(one.confidences or (0.0,))[0] or 0.0 for one in proposals])


def found_pages(sets: Sequence[Path], cropper: Cropper) -> dict[str, float]:
    """How often, for questions of each set, the page that answers has the highest confidence."""
    rng, pages = random.Random(0), [pages_of(data) for data in sets]
    right = np.zeros((DRAWS, len(sets)), dtype=bool)
    for drawn in right:
        some = [rng.choice(each) for each in pages]
        texts = [rng.choice(own).question for own in some]
        sure = np.array([confidences(own[0].open(), texts, cropper) for own in some])
        drawn[:] = sure.argmax(0) == np.arange(len(sets))
    return {data.name: float(share) for data, share in zip(sets, right.mean(0), strict=True)}


def line(name: str, pages: list[Page], limit: float) -> str:
    """A row of the table."""
    answered, vain = (np.concatenate(part) for part in zip(*pages, strict=True))
    rng, drawn = np.random.default_rng(0), []
    for _ in range(SAMPLES):
        some = [pages[number] for number in rng.integers(0, len(pages), len(pages))]
        drawn.append(told_apart(*(np.concatenate(part) for part in zip(*some, strict=True))))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return (
        f"| {name} | {len(pages)} | {len(answered)} + {len(vain)} | "
        f"{told_apart(answered, vain):.1%} [{low:.1%}, {high:.1%}] | "
        f"{(answered < limit).mean():.1%} | {(vain < limit).mean():.1%} |"
    )


if __name__ == "__main__":
    main()
