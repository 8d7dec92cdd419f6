"""What an evaluation reads: questions that can be gone through again, each with a key."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cropvlm_core.benchmarks.named import Benchmark, is_benchmark, open_benchmark
from cropvlm_core.errors import DataError
from cropvlm_core.questions import AnsweredQuestion, read_questions
from cropvlm_core.sources import is_data_uri

Data = str | os.PathLike[str] | Sequence[AnsweredQuestion]
"""A question set, the name of a benchmark, or questions in memory."""


class Source:
    """Questions that can be gone through several times.

    Iterating gives a key with each: it tells a question apart from all others of the data, and is
    the same in every run. ``name``: of the data. ``metric``: the benchmark's own, else None.
    ``total``: number of questions, None where only reading them all would tell.
    """

    def __init__(self, data: Data, limit: int | None = None) -> None:
        """Look at ``data``; at most ``limit`` questions of each set.

        Raises:
            DataError: there is no question, or a row breaks the format.
            MissingExtraError: a benchmark, without the extra ``train``.
        """
        self.metric: str | None = None
        self._data, self._limit = data, limit
        self.name = "questions in memory"
        self.total: int | None = None
        self._benchmark: Benchmark | None = None
        if isinstance(data, str) and is_benchmark(data):
            self._benchmark = open_benchmark(data, limit)
            self.name, self.metric = data, self._benchmark.metric
        elif isinstance(data, str | os.PathLike):
            self.name = Path(data).resolve().name
            self.total = sum(1 for _ in read_questions(data, limit))
        else:
            self.total = len(data[:limit])
        if self.total == 0:
            raise DataError("expected at least one question to evaluate, got none")

    def __iter__(self) -> Iterator[tuple[str, AnsweredQuestion]]:
        """Yield key and question; the key tells a question apart from all others of the data."""
        seen: Counter[str] = Counter()
        for asked in self._questions():
            key = _key(asked)
            seen[key] += 1
            yield key if seen[key] == 1 else f"{key}-{seen[key]}", asked

    def _questions(self) -> Iterable[AnsweredQuestion]:
        if self._benchmark is not None:
            return self._benchmark.questions
        if isinstance(self._data, str | os.PathLike):
            return read_questions(self._data, self._limit)
        return self._data[: self._limit]

    def beside(
        self, rows: Iterable[Mapping[str, Any]]
    ) -> Iterator[tuple[Mapping[str, Any], AnsweredQuestion]]:
        """Yield each row of an evaluation of this data with its question.

        Rows mostly come in the order of the data; those that do not cost memory, not time.
        """
        waiting: dict[str, AnsweredQuestion] = {}
        questions = iter(self)
        for row in rows:
            while row["key"] not in waiting and (pair := next(questions, None)) is not None:
                waiting[pair[0]] = pair[1]
            asked = waiting.pop(row["key"], None)
            if asked is not None:
                yield row, asked


def image_name(asked: AnsweredQuestion) -> str | None:
    """Tell images of a set apart: a file's name, a digest of encoded bytes, None in memory."""
    image = asked.image
    if isinstance(image, Image.Image):
        return None
    if isinstance(image, bytes) or is_data_uri(os.fspath(image)):
        data = image if isinstance(image, bytes) else os.fspath(image).encode()
        return hashlib.blake2b(data, digest_size=8).hexdigest()
    return Path(image).name


def _key(asked: AnsweredQuestion) -> str:
    image = image_name(asked)
    parts = [asked.set_name, asked.id, asked.doc, image, asked.page, asked.question, asked.answers]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()
