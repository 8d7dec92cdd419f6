"""Scores of an answer, 0..1, as their papers define them; a metric and a reward share this code."""

import re
import statistics
import string
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

Metric = Callable[[str, Sequence[str]], float]
"""Scores a reply, 0..1, against the answers of which any one is right."""

CONTAINED = 0.8
"""From this share of an answer's characters on, :func:`contains` counts it as read."""

_ANLS_THRESHOLD = 0.5
# How a reply names an option's letter. Upper case tells the option A from the article "a"; "A" and
# "I" before a word are the article and the pronoun, and "A or B" names neither.
_BEFORE = r"""(?:[\s:=*_`'"“‘$(\[{]|\\boxed|\\text){0,8}(?<!\w)"""
_ALSO = r"\s*(?:\bor\b|\band\b|[/,&])\s*(?:option\s)?[(\[*]*[A-HJ-Z]\b"
_LETTER = (
    r"([B-HJ-Z](?!\w|['’-]\w)"
    r"|[AI](?!\w|['’-]\w)(?!\s+(?!(?:is|because|since)\b)[a-z])"
    r"|[a-z](?=\s*(?:$|[).:,;\]}*])))"
    rf"(?![)\].*]*{_ALSO})"
)
_ANSWER_IS = re.compile(
    r"\b(?i:answer(?:\s+(?:is|would be|should be|must be))?"
    r"(?:\s*:?\s+(?:the\s+)?(?:option|choice))?)"
    rf"{_BEFORE}{_LETTER}"
)
_AT_THE_START = re.compile(f"^{_BEFORE}{_LETTER}")
_SEVERAL = re.compile(rf"\b[A-HJ-Z]\b{_ALSO}")
_BRACKETED = re.compile(r"(?:\(|\[|\*\*|\{)([A-Z])(?=\)|\]|\*\*|\})")
_OPTION = re.compile(
    rf"\b(?i:option|choice)(?: is)?{_BEFORE}{_LETTER}(?!\W+is (?:not|wrong|incorrect))"
)
_CHOSEN = re.compile(rf"\b(?i:it['’]?s|it is|go with|choose|pick|select){_BEFORE}{_LETTER}\W*$")

# The normalisation of the official VQA evaluation (vqaEval.py of GT-Vision-Lab/VQA).
_ARTICLES = {"a", "an", "the"}
_NUMBER_WORDS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_CONTRACTIONS_TEXT = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's i'd've i'm i've isn't it'd it'd've it'll let's
    ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't shan't
    she'd've should've shouldn't shouldn't've somebody'd somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's
    there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't
    we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd
    who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all
    y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_CONTRACTED = _CONTRACTIONS_TEXT.split()
_CONTRACTIONS = {word.replace("'", ""): word for word in _CONTRACTED}
_CONTRACTIONS |= {
    typed: word
    for word in _CONTRACTED
    if word.count("'") == 2
    for typed in (word.replace("'", "", 1), "".join(word.rsplit("'", 1)))
}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_PERIOD = re.compile(r"\.(?!\d)")  # what the official pattern does, its lookbehind being a typo
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_COMMA_IN_NUMBER = re.compile(r"(\d),(\d)")


def exact_match(reply: str, answers: Sequence[str]) -> float:
    """Return 1.0 if ``reply`` is one of ``answers``, else 0.0.

    Letter case, Unicode spelling (NFKC), outer whitespace, runs of whitespace and a final full
    stop do not count.
    """
    return float(_plain(reply) in {_plain(answer) for answer in answers})


def anls(reply: str, answers: Sequence[str], threshold: float = _ANLS_THRESHOLD) -> float:
    """Average normalised Levenshtein similarity of one reply (Biten et al., ICCV 2019, eq. 1).

    The best of 1 - distance / longer length over ``answers``, and 0 where that distance share is
    ``threshold`` or more. Letter case and outer whitespace do not count.
    """
    best = 0.0
    said = " ".join(reply.lower().split())
    for answer in answers:
        right = " ".join(answer.lower().split())
        longest = max(len(said), len(right))
        share = _levenshtein(said, right) / longest if longest else 0.0
        if share < threshold:
            best = max(best, 1 - share)
    return best


def vqa_accuracy(reply: str, answers: Sequence[str]) -> float:
    """VQA accuracy (Antol et al., ICCV 2015; formula of the official evaluation).

    Leave each annotator out in turn; min(1, agreeing others / 3); the mean over annotators.
    Both sides go through the official normalisation: number words, articles, contractions and
    punctuation. With fewer than four answers (the data is not of ten annotators) three agreeing
    others cannot exist, and any answer that matches gives 1.
    """
    said = _vqa_normalised(reply)
    given = [_vqa_normalised(answer) for answer in answers]
    if not given:
        return 0.0
    if len(given) < 4:
        return float(said in given)
    agreeing = given.count(said)
    return statistics.fmean(min(1.0, (agreeing - (answer == said)) / 3) for answer in given)


def mixed_accuracy(reply: str, answers: Sequence[str]) -> float:
    """VQA accuracy where ten annotators answered, else ANLS: the CropVLM paper's accuracy reward.

    (arXiv 2511.19820, section on GRPO.)
    """
    return vqa_accuracy(reply, answers) if len(answers) == 10 else anls(reply, answers)


def relaxed_accuracy(reply: str, answers: Sequence[str], tolerance: float = 0.05) -> float:
    """Relaxed accuracy of ChartQA (Masry et al., Findings of ACL 2022, section 5).

    A number is right within ``tolerance`` of the right number (a share of it); other text must
    match exactly, letter case apart. ``5%`` counts as 0.05 on both sides, as in the official code.
    """
    said = _number(reply)
    for answer in answers:
        right = _number(answer)
        if said is not None and right:
            if abs(said - right) <= abs(right) * tolerance * (1 + 1e-9):
                return 1.0
        elif _plain(reply) == _plain(answer):
            return 1.0
    return 0.0


def fuzzy_contains(answer: str, text: str) -> float:
    """How well ``answer`` is contained in ``text``: 1 - edits / length of the answer, at least 0.

    The edits are the fewest that turn the answer into any substring of ``text`` (Sellers, 1980).
    Letter case, whitespace and Unicode spelling do not count. An answer of up to three characters
    is contained only as a whole word or number: "9" is neither in "1998" nor in "9.50".
    """
    wanted, page = _plain(answer), _plain(text)
    if not wanted or not page:
        return 0.0
    if len(wanted) <= 3:
        found = re.search(rf"(?<!\w)(?<!\d[.,]){re.escape(wanted)}(?!\w|[.,]\d)", page)
        return float(found is not None)
    if wanted in page:
        return 1.0
    return max(0.0, 1 - _substring_distance(wanted, page) / len(wanted))


def contains(reply: str, answers: Sequence[str]) -> float:
    """Return 1.0 where ``reply``, a text read off a picture, holds one of ``answers``, else 0.0.

    At least 80 % of the answer's characters must stand there, as :func:`fuzzy_contains` counts.
    """
    return float(any(fuzzy_contains(answer, reply) >= CONTAINED for answer in answers))


def contains_exactly(reply: str, answers: Sequence[str]) -> float:
    """Return 1.0 where ``reply`` holds one of ``answers`` letter by letter, else 0.0.

    Letter case, whitespace and Unicode spelling do not count; see :func:`fuzzy_contains`.
    """
    return float(any(fuzzy_contains(answer, reply) == 1.0 for answer in answers))


def multiple_choice(reply: str, answers: Sequence[str]) -> float:
    """Return 1.0 where ``reply`` names the right option, else 0.0: accuracy of V*Bench, HR-Bench.

    ``answers`` holds the right option's letter, and may hold its text. A reply names a letter after
    "answer is" (the last time it says so), at its beginning ("B", "(B) red", "b. red"), or, where
    only one letter is, after "option" or in brackets; else it must be the text. Nothing else is
    guessed from: "A red car" and "A or B" name no option.
    """
    right = {_plain(answer) for answer in answers}
    if _plain(reply) in right:
        return 1.0
    return float(_chosen(reply) in right)


def calibration_error(confidences: ArrayLike, outcomes: ArrayLike, parts: int = 10) -> float:
    """Return how far confidences are from what came of them, 0..1: 0 where they are to be trusted.

    The expected calibration error: the mean over parts of equal size, by confidence, of the
    distance between mean confidence and share of successes (Naeini, Cooper and Hauskrecht 2015,
    Obtaining Well Calibrated Probabilities Using Bayesian Binning; equal sizes as in Nguyen and
    O'Connor 2015, Posterior Calibration and Exploratory Analysis for NLP Models, section 3).

    Args:
        confidences: (N,) 0..1, in any order, N > 0.
        outcomes: (N,) 1 for a success, 0 for a failure.
        parts: how many.
    """
    sure = np.asarray(confidences, dtype=np.float64)
    gaps = (sure - np.asarray(outcomes, dtype=np.float64))[np.argsort(sure, kind="stable")]
    return sum(abs(float(gaps[part].sum())) for part in equal_parts(len(gaps), parts)) / len(gaps)


def equal_parts(count: int, parts: int) -> list[slice]:
    """Return ``count`` things in a row in at most ``parts`` parts of equal size, none empty."""
    parts = min(parts, count)
    return [slice(count * n // parts, count * (n + 1) // parts) for n in range(parts)]


def _chosen(reply: str) -> str | None:
    """The letter of the option that a reply names, in lower case."""
    said = " ".join(unicodedata.normalize("NFKC", reply).split())
    if found := _ANSWER_IS.findall(said):
        return str(found[-1]).lower()
    bracketed = set(_BRACKETED.findall(said))
    if len(bracketed) > 1:
        return None
    if start := _AT_THE_START.match(said):
        return start[1].lower()
    if _SEVERAL.search(said):
        return None
    for letters in (set(_OPTION.findall(said)), bracketed, set(_CHOSEN.findall(said))):
        if letters:
            return str(letters.pop()).lower() if len(letters) == 1 else None
    return None


def _plain(text: str) -> str:
    """Fold case and Unicode spelling, join whitespace, drop a final full stop."""
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return words[:-1].rstrip() if words.endswith(".") and len(words) > 1 else words


def _vqa_normalised(text: str) -> str:
    flat = text.replace("\n", " ").replace("\t", " ").strip().lower()
    comma_number = _COMMA_IN_NUMBER.search(flat) is not None
    cleaned = flat
    for mark in _PUNCTUATION:
        stuck = f"{mark} " in flat or f" {mark}" in flat or comma_number
        cleaned = cleaned.replace(mark, "" if stuck else " ")
    cleaned = _PERIOD.sub("", cleaned)
    words = (_NUMBER_WORDS.get(word, word) for word in cleaned.split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _number(text: str) -> float | None:
    plain = _THOUSANDS.sub("", text.strip().rstrip(".")).lstrip("$€£").strip()
    if not plain or set(plain.lower()) - set(string.digits + "+-.e%"):
        return None
    try:
        return float(plain[:-1]) / 100 if plain.endswith("%") else float(plain)
    except ValueError:
        return None


def _levenshtein(first: str, second: str) -> int:
    if first == second or not first or not second:
        return 0 if first == second else max(len(first), len(second))
    return int(_last_row(first, second, free_start=False)[-1])


def _substring_distance(wanted: str, page: str) -> int:
    return int(_last_row(wanted, page, free_start=True).min())


def _last_row(first: str, second: str, *, free_start: bool) -> NDArray[np.int64]:
    """Edit distances of ``first`` to each prefix of ``second`` (to each substring ending there).

    Row by row over ``first``, whole rows of ``second`` in NumPy: an insertion carries along the
    row, which is a running minimum of (cost - column).
    """
    codes = np.frombuffer(second.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    columns = np.arange(len(second) + 1, dtype=np.int64)
    row = np.zeros_like(columns) if free_start else columns.copy()
    for count, letter in enumerate(first, 1):
        replaced = row[:-1] + (codes != ord(letter))
        costs = np.concatenate(([count], np.minimum(replaced, row[1:] + 1)))
        row = np.minimum.accumulate(costs - columns) + columns
    return row


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.__name__: metric
        for metric in (
            exact_match,
            anls,
            vqa_accuracy,
            mixed_accuracy,
            relaxed_accuracy,
            contains,
            contains_exactly,
            multiple_choice,
        )
    }
)
"""The metrics by name: what evaluations report, and what rewards are made of."""
