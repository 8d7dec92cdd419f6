"""EmbeddedCropper: prepared pages and hashed questions in, proposals out, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cropvlm_core.cropper import Cropper, Proposal
from cropvlm_core.embedded.decoding import MOST_BOXES
from cropvlm_core.embedded.page_input import (
    CELL_HEIGHT,
    CELL_WIDTH,
    PageInput,
    prepare_readable,
    to_grey,
)
from cropvlm_core.embedded.proposing import propose
from cropvlm_core.embedded.question_input import question_input
from cropvlm_core.embedded.remembered import EncodedPage, RememberedPages
from cropvlm_core.embedded.session import PolicySession
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.embedded.weights import read_weights
from cropvlm_core.questions import VisualQuestion

PIXELS_A_RUN = 1_100_000
CELLS_A_RUN = 32_768
"""The most pixels of new pages, and cells of grids times questions, of one run: memory."""

REMEMBERED = 64 * 1024 * 1024
"""Bytes of features of pages encoded lately that are kept: some 30 receipts or 12 dense pages."""


@dataclass(frozen=True)
class Seen:
    """What the network makes of one question: see ``propose`` for the arguments.

    The ``page`` is without its pixels.
    """

    page: PageInput
    size: tuple[int, int]
    cells: NDArray[np.float32]
    peaks: NDArray[np.int64]
    sides: NDArray[np.float32]
    answerable: float = 0.0

    def propose(self, settings: PolicySettings, *, most: int = MOST_BOXES) -> Proposal:
        """Read at most so many boxes by the settings."""
        return propose(
            self.page, self.size, self.cells, self.peaks, self.sides, settings,
            answerable=self.answerable, most=most,
        )  # fmt: skip


class EmbeddedCropper(Cropper):
    """The default cropper: offline, without torch, some fifty milliseconds a receipt on one core.

    Pages of small print are looked at in a larger input and take up to three times as long. A
    further question about a page costs a tenth of the first, in one batch or in a later call, while
    the page is remembered. Safe to share between threads. The weights are read at construction.

    Attributes:
        about: what the weight file says of itself: ``format``, ``settings``, how it was
            ``trained``, and a released one its ``name``, ``version`` and ``licence``.
        digest: SHA-256 of the weight file, hexadecimal.

    Args:
        path: a weight file of this project's format; None is the one in the wheel, whose SHA-256
            is checked.
        threads: ONNX Runtime's threads for one run; None: one a core, at most 4.
        sha256: what the SHA-256 of the file must be; None: a file of your own is not checked.
        remembered: bytes of pages' features that are kept for further questions; 0: none.

    Raises:
        WeightsError: the file is missing, too large, damaged, another one, or of another format.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        threads: int | None = None,
        sha256: str | None = None,
        remembered: int = REMEMBERED,
    ) -> None:
        """Load the weights."""
        self.name = "embedded" if path is None else f"embedded:{Path(path).name}"
        weights, self.digest = read_weights(path, sha256)
        self._session = PolicySession(weights, threads)
        self._remembered = RememberedPages(remembered if self._session.shares else 0)
        self.about = self._session.about
        self.settings = self._session.settings
        self.rules = self.settings.rules
        self.min_confidence = self.settings.threshold

    @property
    def version(self) -> str:
        """Name, rules, and version and digest of the weights."""
        weights = f"{self.about.get('version', 'unversioned')} {self.digest[:16]}"
        return f"{super().version} {weights}"

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        """Propose boxes; questions about one image share its pass through the page encoder."""
        return [self.decode(seen) for seen in self.look(questions)]

    def look(self, questions: Sequence[VisualQuestion]) -> list[Seen]:
        """What the network makes of each question, before any box is read from it."""
        held = [question.open() for question in questions]  # keeps the ids below unique
        asked: dict[int, list[int]] = {}
        for index, image in enumerate(held):
            asked.setdefault(id(image), []).append(index)
        found: dict[int, Seen] = {}
        runs: dict[tuple[int, int], _Run] = {}
        for indexes in asked.values():
            image = held[indexes[0]]
            page = self._page(image)
            shape = page.prepared.shape
            for index in indexes:
                if shape in runs and runs[shape].is_full(page):
                    found |= self._finish(runs.pop(shape))
                run = runs.setdefault(shape, _Run(shape))
                run.add(page, index, question_input(questions[index].question), image.size)
        for run in runs.values():
            found |= self._finish(run)
        return [found[index] for index in range(len(questions))]

    def decode(self, seen: Seen) -> Proposal:
        """Read boxes from what the network made of a question, by the settings."""
        return seen.propose(self.settings)

    def _page(self, image: Image.Image) -> EncodedPage:
        """The page, encoded already where it is remembered."""
        grey, settings = to_grey(image), self.settings
        key = self._remembered.key(grey)
        return self._remembered.find(key) or EncodedPage(
            key, prepare_readable(grey, settings.budget, settings.line, settings.most)
        )

    def _finish(self, run: _Run) -> dict[int, Seen]:
        """Put a run through the network; pages that are new in it are encoded and remembered."""
        new = [index for index, page in enumerate(run.pages) if page.features is None]
        features = [page.features for page in run.pages if page.features is not None]
        order = [*new, *(index for index in range(len(run.pages)) if index not in new)]
        looked = self._session.look(
            run.shape,
            [run.pages[index].prepared.pixels for index in new],
            features,
            np.stack([one.grams for one in run.asked]),
            [order.index(one.page) for one in run.asked],
        )
        if looked.encoded is not None:
            for index, encoded in zip(new, looked.encoded, strict=True):
                page = run.pages[index]
                page.features = encoded.copy()  # else ONNX Runtime's memory grows by what is kept
                self._remembered.keep(EncodedPage(page.key, page.prepared.lean(), page.features))
        return {
            one.index: Seen(
                run.pages[one.page].prepared.lean(),
                one.size,
                looked.cells[number],
                looked.peaks[number],
                looked.sides[number],
                float(looked.answerable[number]),
            )
            for number, one in enumerate(run.asked)
        }


@dataclass
class _Asked:
    """A question of a run: its place in the batch, its page's in the run, the page's size."""

    index: int
    page: int
    grams: NDArray[np.int64]
    size: tuple[int, int]


@dataclass
class _Run:
    """Pages of one input shape and questions about them, to go through the network together."""

    shape: tuple[int, int]
    pages: list[EncodedPage] = field(default_factory=list)
    asked: list[_Asked] = field(default_factory=list)

    def is_full(self, page: EncodedPage) -> bool:
        """Whether one more question, about ``page``, is too much."""
        pixels = self.shape[0] * self.shape[1]
        new = sum(one.features is None for one in self.pages)
        if not any(page is one for one in self.pages):
            new += page.features is None
        cells = pixels // (CELL_HEIGHT * CELL_WIDTH) * (len(self.asked) + 1)
        return (new > 1 and new * pixels > PIXELS_A_RUN) or cells > CELLS_A_RUN

    def add(
        self,
        page: EncodedPage,
        index: int,
        grams: NDArray[np.int64],
        size: tuple[int, int],
    ) -> None:
        """One more question; those about a page come one after another."""
        if not self.pages or self.pages[-1] is not page:
            self.pages.append(page)
        self.asked.append(_Asked(index, len(self.pages) - 1, grams, size))
