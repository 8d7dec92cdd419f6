"""What the embedded policy sees of a question: its words, each as hashed letter groups.

No vocabulary: a word is the set of its letters, letter pairs and letter triples (with marks for
its beginning and end), each hashed into a table, as in fastText (Bojanowski et al. 2017). A label
never seen in training is thus still comparable with the same label on the page.
"""

from __future__ import annotations

import functools
import re
import unicodedata
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BUCKETS = 8192
WORDS = 28
GRAMS = 28
"""A question is at most 28 words of at most 28 letter groups; bucket 0 means "nothing here"."""

_TOKEN = re.compile(r"[^\s\"'“”‘’„«»()\[\]{}?!,;]+")


def question_words(text: str) -> list[str]:
    """The first words of ``text``, folded to lower case without accents or outer punctuation."""
    words = (fold(token) for token in _TOKEN.findall(text[:2000]))
    return [word for word in words if word][:WORDS]


@functools.lru_cache(maxsize=65536)
def fold(token: str) -> str:
    """Lower case, without accents, without punctuation at either end (a lone sign stays)."""
    plain = unicodedata.normalize("NFKD", token.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return plain.strip(".:;,-_*/\\=~|<>") or plain[:1]


@functools.lru_cache(maxsize=65536)
def word_grams(word: str) -> tuple[int, ...]:
    """The buckets (1 to BUCKETS - 1) of the letter groups of a folded word, at most ``GRAMS``."""
    marked = f"^{word[:40]}$"
    groups = [marked] + [
        marked[start : start + size]
        for size in (2, 3, 1)
        for start in range(len(marked) - size + 1)
        if marked[start : start + size] not in ("^", "$")
    ]
    unique = list(dict.fromkeys(groups))[:GRAMS]
    return tuple(zlib.crc32(group.encode()) % (BUCKETS - 1) + 1 for group in unique)


def gram_table(words: Sequence[str], rows: int) -> NDArray[np.int64]:
    """int64 array (rows, GRAMS) of the words' buckets, zero where there is nothing."""
    table = np.zeros((rows, GRAMS), dtype=np.int64)
    for row, word in enumerate(words[:rows]):
        grams = word_grams(word)
        table[row, : len(grams)] = grams
    return table


def question_input(text: str) -> NDArray[np.int64]:
    """int64 array (WORDS, GRAMS) for a question; a question without words is one empty word."""
    return gram_table(question_words(text) or ["?"], WORDS)
