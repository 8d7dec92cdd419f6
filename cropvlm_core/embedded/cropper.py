"""EmbeddedCropper: prepared pages and hashed questions in, proposals out, through ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropvlm_core.cropper import Cropper, Proposal, ZoomRules
from cropvlm_core.embedded.decoding import decode_proposal
from cropvlm_core.embedded.page_input import PageInput, prepare_readable
from cropvlm_core.embedded.question_input import question_input
from cropvlm_core.errors import WeightsError, shorten
from cropvlm_core.questions import VisualQuestion

if TYPE_CHECKING:
    import onnxruntime

FORMAT = "cropvlm-embedded-1"
"""What the metadata key ``format`` of a weight file must say."""

WEIGHTS = "policy.onnx"
MAX_WEIGHTS = 64 * 1024 * 1024
"""The largest weight file that is read, bytes."""

PIXELS_A_RUN = 1_100_000
QUESTIONS_A_RUN = 16
"""The most input pixels, and page-question pairs, that go through the network at once: memory."""

_INPUTS = {"pixels": ("tensor(float)", 4), "grams": ("tensor(int64)", 4)}
_OUTPUTS = {
    "cells": ("tensor(float)", 4),
    "peaks": ("tensor(int64)", 3),
    "sides": ("tensor(float)", 5),
}


@dataclass(frozen=True)
class PolicySettings:
    """What a weight file says about itself.

    Attributes:
        budget: input pixels of a prepared page with ordinary print.
        line, most: how large print should come out, and how many times the budget a page may
            take for it; see ``prepare_readable``.
        quantile: quantile of the side distances that is taken.
        least: smallest width and height of a box in input pixels.
        rules: how its boxes become crops.
    """

    budget: int
    quantile: float
    rules: ZoomRules
    line: float = 0.0
    most: float = 1.0
    least: tuple[float, float] = (0.0, 0.0)

    def to_metadata(self) -> dict[str, str]:
        """The ONNX metadata that :meth:`from_metadata` reads."""
        return {
            "format": FORMAT,
            "settings": json.dumps(asdict(self) | {"rules": self.rules.to_dict()}),
        }

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> PolicySettings:
        """Read ONNX metadata.

        Raises:
            WeightsError: the file is of another format, or its settings cannot be.
        """
        if metadata.get("format") != FORMAT:
            raise WeightsError(
                f"expected weights of format {FORMAT}, got {shorten(metadata.get('format'))}"
            )
        try:
            values: dict[str, Any] = {"least": (0, 0)} | json.loads(metadata["settings"])
            read = cls(
                budget=int(values["budget"]),
                quantile=float(values["quantile"]),
                rules=ZoomRules.from_dict(values["rules"]),
                line=float(values["line"]),
                most=float(values["most"]),
                least=(float(values["least"][0]), float(values["least"][1])),
            )
        except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise WeightsError(f"expected settings in the weight file, got {error!r}") from error
        possible = (
            16_384 <= read.budget <= 1_048_576
            and 0 < read.quantile < 1
            and 0 <= read.line <= 64
            and 1 <= read.most <= 4
            and all(0 <= side <= 4096 for side in read.least)
        )
        if not possible:
            raise WeightsError(f"expected settings in their ranges, got {shorten(values)}")
        return read


@dataclass(frozen=True)
class Seen:
    """What the network makes of one question: see ``decode_proposal`` for the arrays."""

    page: PageInput
    size: tuple[int, int]
    cells: NDArray[np.float32]
    peaks: NDArray[np.int64]
    sides: NDArray[np.float32]


class EmbeddedCropper(Cropper):
    """The default cropper: offline, without torch, some fifty milliseconds a receipt on one core.

    Pages of small print are looked at in a larger input and take up to four times as long. Safe to
    share between threads. The weights are read at construction. ``about`` is what the weight file
    says of itself: format, settings, how it was trained.

    Args:
        path: a weight file of this project's format; None is the one in the wheel.
        threads: ONNX Runtime's threads for one run; None lets it choose.

    Raises:
        WeightsError: the file is missing, too large, damaged, or of another format.
    """

    def __init__(self, path: str | Path | None = None, *, threads: int | None = None) -> None:
        """Load the weights."""
        self.name = "embedded" if path is None else f"embedded:{Path(path).name}"
        weights = _read_weights(path)
        self._digest = hashlib.sha256(weights).hexdigest()[:16]
        self._session = _open_session(weights, threads)
        self.about = dict(self._session.get_modelmeta().custom_metadata_map)
        self.settings = PolicySettings.from_metadata(self.about)
        self.rules = self.settings.rules
        for values, expected in (
            (self._session.get_inputs(), _INPUTS),
            (self._session.get_outputs(), _OUTPUTS),
        ):
            found = {value.name: (value.type, len(value.shape)) for value in values}
            if found != expected:
                raise WeightsError(f"expected a graph with {expected}, got {shorten(found)}")

    @property
    def version(self) -> str:
        """Name, rules and a hash of the weights."""
        return f"{super().version} {self._digest}"

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        """Propose boxes; questions about one image share its pass through the page encoder."""
        return [self.decode(seen) for seen in self.look(questions)]

    def look(self, questions: Sequence[VisualQuestion]) -> list[Seen]:
        """What the network makes of each question, before any box is read from it."""
        pages: dict[int, PageInput] = {}
        asked: dict[int, list[int]] = {}
        held = [question.open() for question in questions]  # keeps the ids below unique
        for index, image in enumerate(held):
            if id(image) not in pages:
                pages[id(image)] = prepare_readable(
                    image, self.settings.budget, self.settings.line, self.settings.most
                )
            asked.setdefault(id(image), []).append(index)
        found: dict[int, Seen] = {}
        for group in _runs(pages, asked):
            for index, key, outputs in self._run(group, pages, questions):
                found[index] = Seen(pages[key], held[index].size, *outputs)
        return [found[index] for index in range(len(questions))]

    def decode(self, seen: Seen) -> Proposal:
        """Read boxes from what the network made of a question, by the settings."""
        return decode_proposal(
            seen.page, seen.size, seen.cells, seen.peaks, seen.sides,
            self.settings.quantile, self.settings.least,
        )  # fmt: skip

    def _run(
        self,
        group: list[tuple[int, list[int]]],
        pages: dict[int, PageInput],
        questions: Sequence[VisualQuestion],
    ) -> Iterator[tuple[int, int, list[NDArray[Any]]]]:
        most = max(len(indexes) for _, indexes in group)
        empty = question_input("")
        pixels = np.stack([pages[key].pixels[None] for key, _ in group])
        grams = np.stack(
            [
                np.stack([question_input(questions[i].question) for i in indexes]
                         + [empty] * (most - len(indexes)))
                for _, indexes in group
            ]
        )  # fmt: skip
        outputs: list[NDArray[Any]] = self._session.run(
            ["cells", "peaks", "sides"], {"pixels": pixels, "grams": grams}
        )
        for page, (key, indexes) in enumerate(group):
            for place, index in enumerate(indexes):
                yield index, key, [output[page, place] for output in outputs]


def _runs(
    pages: dict[int, PageInput], asked: dict[int, list[int]]
) -> list[list[tuple[int, list[int]]]]:
    """Pages of one input shape together, bounded in pixels and in questions."""
    pieces = [
        (key, indexes[start : start + QUESTIONS_A_RUN])
        for key, indexes in asked.items()
        for start in range(0, len(indexes), QUESTIONS_A_RUN)
    ]
    runs: list[list[tuple[int, list[int]]]] = []
    open_runs: dict[tuple[int, int], list[tuple[int, list[int]]]] = {}
    for key, indexes in pieces:
        shape = pages[key].shape
        run = open_runs.get(shape)
        most = max(len(indexes), *(len(other) for _, other in run)) if run else 0
        full = (len(run) + 1) * shape[0] * shape[1] > PIXELS_A_RUN if run else True
        if run is None or full or most * (len(run) + 1) > QUESTIONS_A_RUN:
            run = open_runs[shape] = []
            runs.append(run)
        run.append((key, indexes))
    return runs


def _open_session(weights: bytes, threads: int | None) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    if b"location" in weights:  # the key by which a tensor names another file to be read
        raise WeightsError("expected weights in one file, got a file that reads from others")
    try:
        return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        raise WeightsError(f"expected an ONNX model, got {shorten(str(error))}") from error


def _read_weights(path: str | Path | None) -> bytes:
    file = Path(__file__).with_name(WEIGHTS) if path is None else Path(path)
    try:
        if not file.is_file():
            raise WeightsError(f"expected a weight file, got {shorten(file.name)}: no such file")
        if file.stat().st_size > MAX_WEIGHTS:
            raise WeightsError(
                f"expected a weight file of at most {MAX_WEIGHTS} bytes, got {shorten(file.name)}"
            )
        return file.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"expected a weight file, got {shorten(file.name)}: {error.strerror}"
        ) from error
