"""The benchmarks by name, and the grammar ``NAME[:SPLIT][=SOURCE]`` in which they are asked for.

``textvqa``, ``docvqa:test``, ``HR-Bench-4K=downloads/HR-Bench``: a name in any letter case (only
letters and digits count, ``*`` is "star"), a split, and another place of the same files: a folder,
a file, or an id on the Hub. A path that exists is never a name.
"""

import dataclasses
import hashlib
import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from cropvlm_core.benchmarks.layouts import (
    Layout,
    Row,
    read_chartqa,
    read_docvqa,
    read_hrbench,
    read_infographicvqa,
    read_stvqa,
    read_textvqa,
    read_vstar,
    single,
)
from cropvlm_core.benchmarks.opening import open_rows
from cropvlm_core.benchmarks.rows import Rows
from cropvlm_core.errors import DataError, ImageError, QuestionError, SourceError, shorten
from cropvlm_core.questions import AnsweredQuestion

_LOG = logging.getLogger(__name__)
_CHALLENGE = "terms of the Robust Reading Competition (rrc.cvc.uab.es), where one registers; "
_HRBENCH = '"other" on its card, and the file that should say which is empty'

BENCHMARKS: Mapping[str, Layout] = MappingProxyType(
    {
        each.name: each
        for each in (
            Layout(
                "textvqa",
                "TextVQA",
                "lmms-lab/textvqa",
                read_textvqa,
                "vqa_accuracy",
                "questions CC BY 4.0 (textvqa.org); images from Open Images, each with its own "
                "licence",
            ),
            Layout(
                "docvqa",
                "DocVQA",
                "lmms-lab/DocVQA",
                read_docvqa,
                "anls",
                _CHALLENGE + "pages from the UCSF Industry Documents Library",
                config="DocVQA",
            ),
            Layout(
                "infographicvqa",
                "InfographicVQA",
                "lmms-lab/DocVQA",
                read_infographicvqa,
                "anls",
                _CHALLENGE + "images found on the web, owned by those who made them",
                config="InfographicVQA",
            ),
            Layout(
                "stvqa",
                "ST-VQA",
                "danjacobellis/stvqa_task1",
                read_stvqa,
                "anls",
                _CHALLENGE
                + "images from COCO-Text, Visual Genome, VizWiz, ICDAR, ImageNet, IIIT-STR",
                split="train",  # no validation split; the answers of test are kept back
            ),
            Layout(
                "vstar",
                "V*Bench",
                "craigwu/vstar_bench",
                read_vstar,
                "multiple_choice",
                "has no card; images from SA-1B, which has a licence of its own",
                split="test",
                file="test_questions.jsonl",
            ),
            Layout(
                "hrbench4k",
                "HR-Bench 4K",
                "DreamMr/HR-Bench",
                read_hrbench,
                "multiple_choice",
                _HRBENCH,
                split="hrbench_4k",
                file="hr_bench_4k.parquet",
            ),
            Layout(
                "hrbench8k",
                "HR-Bench 8K",
                "DreamMr/HR-Bench",
                read_hrbench,
                "multiple_choice",
                _HRBENCH,
                split="hrbench_8k",
                file="hr_bench_8k.tsv",  # its Parquet file is one block of three gigabytes
            ),
            Layout(
                "chartqa",
                "ChartQA",
                "lmms-lab/ChartQA",
                read_chartqa,
                "relaxed_accuracy",
                "GPL-3.0 (github.com/vis-nlp/ChartQA); charts from Statista, Pew, OWID, OECD",
                split="test",
            ),
        )
    }
)
"""The benchmarks by name, each with the split that is reported and the metric of its paper."""

_ALIASES = {"vstarbench": "vstar", "infovqa": "infographicvqa"}


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A benchmark that was opened.

    ``split``, ``source``: what is read and from where (an id on the Hub, a folder or a file).
    ``limit``: the most questions, None: all. ``rows``: what :func:`open_rows` gave.
    """

    layout: Layout = dataclasses.field(repr=False)
    split: str
    source: str
    limit: int | None
    rows: Rows = dataclasses.field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """Such as "docvqa"; also the ``set_name`` of its questions."""
        return self.layout.name

    @property
    def metric(self) -> str:
        """The name of the benchmark's own score in ``scoring.METRICS``."""
        return self.layout.metric

    @property
    def questions(self) -> Iterator[AnsweredQuestion]:
        """The questions, read as they are asked for; each call begins anew.

        Files of the Hub are fetched when their turn comes, and kept in its cache. Images are
        encoded bytes, equal ones for neighbours about the same page. Where the set names no
        document, ``doc`` is made of the image, so that the questions about one image go together.
        Questions that are blank, have no answer, or whose image must be read here and cannot be (in
        base64, or to place boxes on it) are left out, and a warning counts them at the end.

        Raises:
            DataError: the rows have other columns, the answers of this split are kept back, or a
                file cannot be fetched.
        """
        return itertools.islice(self._all(), self.limit)

    def _all(self) -> Iterator[AnsweredQuestion]:
        number = 0
        left_out: Counter[str] = Counter()
        for row in self._rows():
            for each in single(row):
                try:
                    question = self.layout.read(each, number)
                except QuestionError:
                    left_out["without a question"] += 1
                except (ImageError, SourceError):
                    left_out["with a damaged or too large image"] += 1
                else:
                    if any(answer.strip() for answer in question.answers):
                        yield self._named(question)
                    elif not number:
                        raise DataError(
                            f"expected a split whose answers are public, got {self.name}:"
                            f"{self.split}, which has none; {self.layout.split} has"
                        )
                    else:
                        left_out["without an answer"] += 1
                number += 1
        for reason, count in left_out.items():
            _LOG.warning("%s: left out %d questions %s", self.name, count, reason)

    def _rows(self) -> Iterator[Row]:
        try:
            yield from self.rows
        except OSError as error:
            said = " ".join(str(error).split())
            raise DataError(
                f"expected the files of {self.name} from {shorten(self.source)}, "
                f"got {shorten(said, 160)}"
            ) from error

    def _named(self, question: AnsweredQuestion) -> AnsweredQuestion:
        doc = question.doc
        if doc is None and isinstance(question.image, bytes):
            doc = hashlib.blake2b(question.image, digest_size=8).hexdigest()
        return dataclasses.replace(question, doc=doc, set_name=self.name)


def is_benchmark(data: str) -> bool:
    """Whether ``data`` names a benchmark; a path that exists is never one."""
    return not Path(data).exists() and _parsed(data) is not None


def open_benchmark(data: str, limit: int | None = None) -> Benchmark:
    """Open a benchmark.

    Args:
        data: ``NAME[:SPLIT][=SOURCE]``; ``SOURCE`` is a folder or file of the set, or an id on the
            Hub with the same columns.
        limit: the most questions; None: all.

    Raises:
        MissingExtraError: ``datasets`` is not installed.
        DataError: there is no such benchmark, split or source.
    """
    parsed = _parsed(data)
    if parsed is None:
        raise DataError(
            f"expected NAME[:SPLIT][=SOURCE] with a name of {', '.join(BENCHMARKS)}, "
            f"got {shorten(data)}"
        )
    layout, split, source = parsed
    rows = open_rows(layout, source, split=split, stream=False)
    return Benchmark(layout, split or layout.split, source or layout.hub, limit, rows)


def _parsed(data: str) -> tuple[Layout, str | None, str | None] | None:
    head, _, source = data.partition("=")
    name, _, split = head.partition(":")
    plain = "".join(filter(str.isalnum, name.casefold().replace("*", "star")))
    layout = BENCHMARKS.get(_ALIASES.get(plain, plain))
    return None if layout is None else (layout, split or None, source or None)
