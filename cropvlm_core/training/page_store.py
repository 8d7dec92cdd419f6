"""Lessons on disk between the processes that render pages and the one that trains on them.

A GPU learns from a page some hundred times faster than a core renders one. So producers write
lessons of one input shape into small files, and the process that trains keeps many of them
(``page_pool``) and uses each several times.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cropvlm_core.training.losses import stack
from cropvlm_core.training.pages import render_page
from cropvlm_core.training.questions import VALIDATION_SEED
from cropvlm_core.training.supervision import Lesson, lesson

GREYS = 42.0
"""Steps of a stored pixel (int8) for one unit of the network's input, which ends at 3."""

_FILE_PIXELS = 1_200_000
_STORED = {
    "pixels": np.int8, "letters": np.int8, "word_grams": np.int16, "word_cells": np.int32,
    "grams": np.int16, "right": np.bool_, "cell": np.int32, "steps": np.int8,
    "weight": np.float32, "sides": np.float32,
}  # fmt: skip


@dataclass(frozen=True)
class Preparation:
    """How a page becomes a lesson.

    Attributes:
        budget: input pixels for ordinary print.
        line, most: see ``prepare_readable``; a page's line is drawn between 0.8 and 1.3 times it.
        questions: how many questions are kept with a page.
        pointers: how many of those that any page answers are offered beside the page's own.
    """

    budget: int = 262_144
    line: float = 6.0
    most: float = 3.0
    questions: int = 24
    pointers: int = 8

    def of_seed(self, seed: int) -> Lesson | None:
        """The lesson of a training page; None for a page without questions."""
        page = render_page(seed, cut=True, pointers=self.pointers)
        if not page.asked:
            return None
        rng = random.Random(seed)
        line = self.line * rng.uniform(0.8, 1.3)
        return lesson(
            page, rng, self.budget, line=line, most=self.most, questions=self.questions
        )  # fmt: skip


def produce(folder: Path, how: Preparation, source: str, rest: float = 0.0) -> None:
    """Render pages and store their lessons until the parent process ends.

    Args:
        folder: where the files go; each appears whole or not at all.
        how: how pages become lessons.
        source: seed of all chance, another one for each producer.
        rest: sleep so many times the processor time of each page: cores are wanted elsewhere.
    """
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(5)  # the process that trains goes first
    rng, parent = random.Random(source), os.getppid()
    waiting: dict[tuple[int, ...], list[Lesson]] = {}
    for number in itertools.count():
        if os.getppid() != parent:
            return
        begun = time.process_time()
        one = how.of_seed(rng.randrange(VALIDATION_SEED))
        time.sleep(rest * (time.process_time() - begun))
        if one is None:
            continue
        shape = tuple(one.pixels.shape)
        pool = waiting.setdefault(shape, [])
        pool.append(one)
        if len(pool) * one.pixels.numel() >= _FILE_PIXELS:
            write_lessons(folder / f"{source}-{number}.lessons", waiting.pop(shape))


def write_lessons(file: Path, lessons: list[Lesson]) -> None:
    """Write lessons of one shape, in small number types; the file appears whole."""
    batch = stack(lessons)
    aside = file.with_suffix(".part")
    with aside.open("wb") as stream:
        for name, kind in _STORED.items():
            values = getattr(batch, name).numpy()
            if name == "pixels":
                values = np.rint(values * GREYS)
            np.save(stream, values.astype(kind), allow_pickle=False)
    aside.replace(file)


def read_lessons(file: Path) -> Lesson:
    """A stored batch, in the number types of the file.

    Raises:
        OSError: the file has been removed.
    """
    with file.open("rb") as stream:
        return Lesson(**{
            name: torch.from_numpy(np.load(stream, allow_pickle=False)) for name in _STORED
        })  # fmt: skip


def joined(parts: list[Lesson]) -> Lesson:
    """Batches of one shape as one batch."""
    return Lesson(**{
        one.name: torch.cat([getattr(part, one.name) for part in parts]) for one in fields(Lesson)
    })  # fmt: skip


def on_device(
    batch: Mapping[str, Tensor], device: torch.device, questions: int, *, vary: bool = True
) -> Lesson:
    """A stored batch as the losses take it, with ``questions`` of each page's questions.

    With ``vary`` the contrast changes and noise and blur are added: a page that is used again looks
    a little different.
    """
    sent = {name: values.to(device, non_blocking=True) for name, values in batch.items()}
    pixels: Tensor = sent["pixels"].float() / GREYS
    if vary:
        pages = len(pixels)

        def drawn(low: float, high: float) -> Tensor:
            return torch.rand(pages, 1, 1, 1, device=device) * (high - low) + low

        soft = torch.nn.functional.avg_pool2d(pixels, 3, stride=1, padding=1)
        mixed = drawn(-1.5, 0.8).clamp(min=0)
        shown = (pixels != 0).float()  # padding stays empty
        pixels = pixels + mixed * (soft - pixels)
        pixels = pixels * drawn(0.7, 1.15)
        pixels = (pixels + torch.randn_like(pixels) * drawn(-0.2, 0.3).clamp(min=0)) * shown
    sent["pixels"] = pixels.clamp(-3, 3)
    order = torch.rand(sent["weight"].shape, device=device) + (sent["weight"] > 0)
    kept = order.topk(min(questions, order.shape[1]), dim=1).indices
    for name in ("grams", "right", "cell", "steps", "weight", "sides"):
        value = sent[name]
        index = kept.view(*kept.shape, *[1] * (value.ndim - 2)).expand(-1, -1, *value.shape[2:])
        sent[name] = value.gather(1, index)
    for name in ("letters", "word_grams", "word_cells", "grams", "cell", "steps"):
        sent[name] = sent[name].long()
    return Lesson(**sent)
