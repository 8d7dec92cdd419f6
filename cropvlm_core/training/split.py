"""Two halves of a question set, one for the warm start (SFT) and one for GRPO.

Halves that are cut without shuffling hold different data sets, and one page in both would let a
policy be rewarded for what it was shown. Here both halves hold every set and every field in the
same share, and all questions about a page are on one side.
"""

import hashlib
import os
import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from cropvlm_core.errors import DataError, shorten
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.sources import is_data_uri

SET_KEY = "from_set"
"""Key of a written row that tells which set it came from."""


def stratified_split(
    questions: Iterable[AnsweredQuestion], share: float = 0.5, seed: int = 0
) -> tuple[list[AnsweredQuestion], list[AnsweredQuestion]]:
    """Shuffle questions and part them in two, stratified by set and field.

    Questions that share an image, or a ``doc`` of one set, stay together. The same questions in
    the same order, share and seed give the same halves, each in random order.

    Args:
        questions: of one or several sets.
        share: of the first half, between 0 and 1.
        seed: of the order, and of what a tie decides.

    Raises:
        DataError: ``share`` is not between 0 and 1, or a half would be empty.
    """
    if not 0 < share < 1:
        raise DataError(f"expected a share between 0 and 1, got {shorten(share)}")
    rng = random.Random(seed)
    pages = _pages(list(questions))
    rng.shuffle(pages)
    pages.sort(key=len, reverse=True)  # the small ones, last, even out what the large ones left
    halves: tuple[list[AnsweredQuestion], list[AnsweredQuestion]] = ([], [])
    ahead: defaultdict[Hashable, float] = defaultdict(float)  # by how much the first half leads
    for page in pages:
        strata = Counter(stratum for question in page for stratum in _strata(question))
        first = sum((ahead[key] + (1 - share) * count) ** 2 for key, count in strata.items())
        second = sum((ahead[key] - share * count) ** 2 for key, count in strata.items())
        chosen = first < second if abs(first - second) > 1e-9 else rng.random() < share
        halves[0 if chosen else 1].extend(page)
        for key, count in strata.items():
            ahead[key] += (1 - share) * count if chosen else -share * count
    if not all(halves):
        raise DataError(f"expected questions about at least two pages to split, got {len(pages)}")
    for half in halves:
        rng.shuffle(half)
    return halves


def set_of(question: AnsweredQuestion) -> str | None:
    """The set that a question came from, also after it was written as part of a half."""
    told = question.extra.get(SET_KEY)
    return told if isinstance(told, str) else question.set_name


def with_set(question: AnsweredQuestion) -> AnsweredQuestion:
    """A question that, once in a file with others, still tells which set it came from."""
    name = set_of(question)
    return replace(question, extra={**question.extra, SET_KEY: name}) if name else question


def _strata(question: AnsweredQuestion) -> Sequence[Hashable]:
    """What both halves shall hold in the same share."""
    name = set_of(question)
    return ["all", ("set", name), ("field", name, question.field)]


def _pages(questions: Sequence[AnsweredQuestion]) -> list[list[AnsweredQuestion]]:
    """Questions by page: those that share an image or a document, also through a third."""
    group: dict[Hashable, int] = {}
    parent = list(range(len(questions)))

    def first(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for index, question in enumerate(questions):
        for key in _keys(question):
            known = first(group.setdefault(key, index))
            mine = first(index)
            parent[max(known, mine)] = min(known, mine)
    pages: dict[int, list[AnsweredQuestion]] = {}
    for index, question in enumerate(questions):
        pages.setdefault(first(index), []).append(question)
    return list(pages.values())


def _keys(question: AnsweredQuestion) -> list[Hashable]:
    """What two questions about the same page have in common, any one of them."""
    keys: list[Hashable] = [_image_key(question)]
    if question.doc is not None:
        keys.append(("doc", set_of(question), question.doc))
    return keys


def _image_key(question: AnsweredQuestion) -> Hashable:
    image = question.image
    if isinstance(image, Image.Image):
        return "object", id(image)
    if isinstance(image, bytes):
        return "bytes", hashlib.sha256(image).digest()
    text = os.fspath(image)
    if is_data_uri(text):
        return "bytes", hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return "path", str(Path(os.path.abspath(text)))  # noqa: PTH100  links are not followed
