"""Where a known answer stands on a page, as Tesseract reads it: right boxes that nobody drew."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cropvlm_core.scoring import anls
from cropvlm_core.tesseract import OCRCropper
from cropvlm_core.training.pages.sheet import Span, Word, around
from cropvlm_core.training.reply_cache import ReplyCache

CLOSE = 0.8
"""How much like the answer the words must be: 1 - edits / length."""

EXACT = 3
"""Answers of so many characters or fewer must stand there letter by letter."""

MOST = 4
"""An answer that stands at more places than this tells too little about where to look."""

_EDGES = ".,:;()[]|'\"“”‘’"


@dataclass(frozen=True)
class ReadWord:
    """A word as read, its place in pixels of the upright page, and the line piece it stands in."""

    text: str
    span: Span
    line: int

    @property
    def printed(self) -> Word:
        """The same as a printed word; its letters are taken to be equally wide."""
        return Word(
            self.text, self.span, np.linspace(self.span[0], self.span[2], len(self.text) + 1)
        )


class PageReader:
    """Reads each page once, and keeps its words in a file, for a run that goes on."""

    def __init__(self, kept: ReplyCache) -> None:
        """Find Tesseract; words are kept in ``kept``.

        Raises:
            MissingExtraError: it is not there.
        """
        self._ocr = OCRCropper()
        self._kept = kept

    def words(self, pages: Sequence[Image.Image]) -> list[list[ReadWord]]:
        """The words of upright pages, read side by side, on as many threads as there are cores.

        Raises:
            ModelError: Tesseract failed.
        """
        names = [self._name(page) for page in pages]
        new = {
            name: page
            for name, page in zip(names, pages, strict=True)
            if self._kept.get(name) is None
        }
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="cropvlm-words") as pool:
            for name, found in zip(new, pool.map(self._read, new.values()), strict=True):
                self._kept.add(name, json.dumps(found))
        return [
            [
                ReadWord(text, (left, top, right, bottom), line)
                for text, line, left, top, right, bottom in json.loads(self._kept.get(name) or "[]")
            ]
            for name in names
        ]

    def _name(self, page: Image.Image) -> str:
        """What the words of a page are kept under: they change with the release that reads."""
        digest = hashlib.blake2b(page.tobytes(), digest_size=16).hexdigest()
        return f"{self._ocr.version} {digest} {page.size}"

    def _read(self, page: Image.Image) -> list[tuple[Any, ...]]:
        text = self._ocr.text(page)
        across, down = page.width / text.size[0], page.height / text.size[1]
        return [
            (
                word.text, line,
                word.left * across, word.top * down, word.right * across, word.bottom * down,
            )
            for line, cell in enumerate(text.cells)
            for word in cell.words
        ]  # fmt: skip


def places(words: Sequence[ReadWord], answers: Sequence[str]) -> list[Span]:
    """The rectangles (page pixels) of the words that say one of ``answers``, best first.

    Words of one line piece, read nearly as the answer is written; of several places those that are
    read about as well as the best. An answer over several lines is not found.
    """
    found: list[tuple[float, Span]] = []
    for _, line in itertools.groupby(words, key=lambda word: word.line):
        piece = list(line)
        for answer in answers:
            found += _in_line(piece, " ".join(answer.split()))
    found.sort(key=lambda pair: -pair[0])
    kept: list[Span] = []
    for score, span in found:
        if score >= found[0][0] - 0.1 and not any(_overlap(span, other) for other in kept):
            kept.append(span)
    return kept


def _in_line(words: Sequence[ReadWord], answer: str) -> Iterator[tuple[float, Span]]:
    """Runs of words that say ``answer``, each with how well (0..1)."""
    count = len(answer.split())
    for length in range(max(1, count - 1), min(len(words), count + 1) + 1):
        for start in range(len(words) - length + 1):
            run = words[start : start + length]
            said = " ".join(word.text for word in run).strip(_EDGES)
            score = _alike(said, answer)
            if score >= CLOSE:
                yield score, around([word.span for word in run])


def _alike(said: str, answer: str) -> float:
    if abs(len(said) - len(answer)) > (1 - CLOSE) * max(len(said), len(answer)):
        return 0.0
    score = anls(said, [answer.strip(_EDGES), answer])
    return score if len(answer) > EXACT or score == 1.0 else 0.0


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
