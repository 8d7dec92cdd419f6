"""Questions that any printed page answers: what stands beside, under or after which words.

They need nothing but the words and where they stand, so every kind of page can be asked about with
words that no list of labels holds.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from cropvlm_core.embedded.question_input import fold
from cropvlm_core.training.pages.asking import spoken
from cropvlm_core.training.pages.sheet import Asked, Page, Span, Word, around
from cropvlm_core.training.pages.wordings import is_held_out

_RIGHT = (
    "What is to the right of {q}?|What stands right of {q}?|What comes after {q}?|What is next to {q}?|"
    "What is written beside {q}?|What follows {q}?|Read what stands next to {q}.|right of {q}|"
    "What is printed after {q}?|Which entry follows {q}?|What is to the right of the words {q}?"
)
_UNDER = (
    "What is under {q}?|What stands below {q}?|What is written below {q}?|What is printed under {q}?|"
    "Read what is under {q}.|below {q}|What stands under the words {q}?|What comes below {q}?|"
    "What is directly under {q}?|Which entry stands below {q}?"
)
_OVER = (
    "What is above {q}?|What stands over {q}?|What is written above {q}?|Read what is above {q}.|"
    "above {q}|What is printed over the words {q}?|What is directly above {q}?"
)
_LEFT = (
    "What is to the left of {q}?|What stands left of {q}?|What comes before {q}?|"
    "What is written in front of {q}?|What precedes {q}?|left of {q}"
)
_VALUE = (
    "What is the {q}?|What is the {q}?|{q}?|{q}|Which {q} is printed here?|Which {q} is given?|"
    "What does the {q} field say?|Find the {q}.|Read the {q}.|What is given as {q}?|"
    "What is entered for {q}?|Which {q} is shown on this page?|Tell me the {q}.|"
    "What does the field {q} contain?|What value has {q}?|Which {q} does the page show?|"
    "Which {q} is named here?|What is listed as {q}?"
)
_WORD = (
    "Where is {q}?|Where does it say {q}?|Find {q}.|Find the words {q}.|Where is {q} mentioned?|"
    "Where can I read {q}?|Show me {q}.|Which line says {q}?|Where is {q} printed?"
)
_STARTS = (
    "Which word begins with {q}?|Read the word that begins with {q}.|the word starting with {q}|"
    "Which word starts with {q}?|What word begins with {q}?|Find the word beginning with {q}.|"
    "What does the word starting with {q} say?|Read the word starting with {q}."
)
_ENDS = (
    "Which word ends in {q}?|Read the word that ends with {q}.|the word ending in {q}|"
    "What word ends with {q}?|Find the word ending with {q}."
)


@dataclass
class _Phrase:
    """Neighbouring words of one line, as a reader would name them."""

    text: str
    span: Span
    words: list[Word]

    @property
    def height(self) -> float:
        return self.span[3] - self.span[1]


def point_at_words(
    page: Page, rng: random.Random, count: int, *, held_out: bool = False
) -> list[Asked]:
    """Up to ``count`` questions about where words of the page stand.

    Args:
        page: a page before skew, its words upright.
        rng: source of all chance.
        count: the most questions.
        held_out: ask with wordings kept out of training.
    """
    if len(page.words) < 3:
        return []
    phrases = _phrases(page.words)
    seen = Counter(_plain(phrase.text) for phrase in phrases)
    once = [p for p in phrases if seen[_plain(p.text)] == 1 and any(map(str.isalnum, p.text))]
    found: list[Asked] = []
    for _ in range(3 * count):
        if len(found) == count or not once:
            break
        one = _word(page, rng, held_out) if rng.random() < 0.3 else None
        if one is None:
            one = _beside(rng.choice(once), phrases, once, rng, held_out)
        if one is not None and all(one.question != other.question for other in found):
            found.append(one)
    return found


def _beside(
    anchor: _Phrase, phrases: list[_Phrase], once: list[_Phrase], rng: random.Random, held_out: bool
) -> Asked | None:
    name = anchor.text
    if len(anchor.words) > 5:  # nobody names a long line in full
        start = rng.randrange(len(anchor.words) - 3)
        name = " ".join(word.text for word in anchor.words[start : start + rng.randint(2, 4)])
        if sum(_plain(name) in _plain(other.text) for other in once) != 1:
            return None
        return _asked(_WORD, name, [anchor], rng, held_out)
    labelled = anchor.text.endswith(":") and any(map(str.isalpha, anchor.text))
    side = rng.choices((_RIGHT, _UNDER, _OVER, _LEFT, _WORD), (5, 4, 1.5, 1, 1.5))[0]
    if side is _WORD:
        return _asked(side, name, [anchor], rng, held_out)
    answer = _nearest(anchor, phrases, side)
    if answer is None:
        return None
    if labelled and side is _RIGHT and rng.random() < 0.7:
        side = _VALUE
    return _asked(side, name, [answer], rng, held_out)


def _word(page: Page, rng: random.Random, held_out: bool) -> Asked | None:
    word = rng.choice(page.words)
    text = fold(word.text)
    length = rng.choice((1, 1, 2, 2, 3, 4))
    if length >= len(text) or not text.isalnum():
        return None
    forms, part = (_STARTS, text[:length]) if rng.random() < 0.7 else (_ENDS, text[-length:])

    def same(other: str) -> bool:
        return other.startswith(part) if forms is _STARTS else other.endswith(part)

    like = [other for other in page.words if same(fold(other.text))]
    if len(like) > 3:
        return None
    spots = [_Phrase(one.text, one.span, [one]) for one in like]
    return _asked(forms, part.upper() if rng.random() < 0.5 else part, spots, rng, held_out)


def _asked(
    forms: str, name: str, answers: list[_Phrase], rng: random.Random, held_out: bool
) -> Asked | None:
    allowed = [form for form in forms.split("|") if is_held_out(form) == held_out]
    name = name.strip().rstrip(":").strip()
    if not allowed or not name:
        return None
    draw = rng.random()
    if draw < 0.3:
        name = name.lower()
    mark = rng.choice(('"{}"', "'{}'", "{}", "{}"))
    text = spoken(rng, rng.choice(allowed).format(q=mark.format(name)))
    return Asked(text, answers[0].text, [answer.span for answer in answers], "beside")


def _plain(text: str) -> str:
    return " ".join(fold(word) for word in text.split())


def _phrases(words: list[Word]) -> list[_Phrase]:
    """Words joined along their line while the gap between them is a blank and no more."""
    lines: list[list[Word]] = []
    for word in words:  # in printing order: the words of a line follow each other
        last = lines[-1][-1] if lines else None
        if last is not None:
            height = min(word.span[3] - word.span[1], last.span[3] - last.span[1])
            letter = max((w.span[2] - w.span[0]) / len(w.text) for w in (word, last))
            gap = word.span[0] - last.span[2]
            level = min(word.span[3], last.span[3]) - max(word.span[1], last.span[1])
            near = -letter < gap < 1.3 * letter + 1 and level > 0.3 * height
            if near and not last.text.endswith(":"):
                lines[-1].append(word)
                continue
        lines.append([word])
    return [
        _Phrase(" ".join(w.text for w in line), around([w.span for w in line]), line)
        for line in lines
    ]


def _nearest(anchor: _Phrase, phrases: list[_Phrase], side: str) -> _Phrase | None:
    """The next phrase on that side, if it is clear which one is meant."""
    left, top, right, bottom = anchor.span
    tall = max(anchor.height, 6.0)
    across = side in (_RIGHT, _LEFT)
    best: tuple[float, _Phrase] | None = None
    for other in phrases:
        x0, y0, x1, y1 = other.span
        if other is anchor:
            continue
        if across:
            level = min(bottom, y1) - max(top, y0)
            gap = x0 - right if side is _RIGHT else left - x1
            fit = level > 0.5 * min(tall, y1 - y0) and gap > -0.3 * tall
        else:
            level = min(right, x1) - max(left, x0)
            gap = y0 - bottom if side is _UNDER else top - y1
            fit = level > 0.3 * min(right - left, x1 - x0) and -0.4 * tall < gap < 2.5 * tall
        if fit and (best is None or gap < best[0]):
            best = (gap, other)
    return best[1] if best else None
