"""From a rendered page to what the network is trained on: inputs and their right answers."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cropvlm_core.embedded.page_input import CELL_HEIGHT, CELL_WIDTH, PageInput, prepare_readable
from cropvlm_core.embedded.question_input import fold, gram_table, question_input
from cropvlm_core.embedded.side_lengths import nearest_step
from cropvlm_core.training.network import BLANK, LETTERS, OTHER, SLOTS
from cropvlm_core.training.pages.sheet import Asked, Page, Word

IGNORED = -100
_LETTER_CLASS = {letter: index + 1 for index, letter in enumerate(LETTERS)}
_LIKELY = {"company": 3.0, "address": 3.0, "date": 4.0, "total": 3.0, "item": 0.6, "beside": 1.0}
"""How likely a question of a field is drawn; 1.5 for all others."""


@dataclass
class Lesson:
    """One page with its questions, as arrays; several of one shape make a batch.

    Attributes:
        pixels: (1, H, W) float32.
        letters: (SLOTS, rows, columns) int64 classes, ``IGNORED`` where nothing is taught.
        word_grams: (M, GRAMS) int64 and word_cells: (M,) flat cells where these words stand.
        grams: (K, WORDS, GRAMS) int64 questions, right: (K, rows, columns) bool right cells.
        cell: (K,) a right cell each, steps: (K, 4) side distances from it, weight: (K,) 0 = none.
        sides: (K, 4) the box in input pixels that ``cell`` belongs to.
    """

    pixels: Tensor
    letters: Tensor
    word_grams: Tensor
    word_cells: Tensor
    grams: Tensor
    right: Tensor
    cell: Tensor
    steps: Tensor
    weight: Tensor
    sides: Tensor


def lesson(
    page: Page,
    rng: random.Random,
    budget: int,
    *,
    line: float = 0.0,
    most: float = 1.0,
    questions: int = 6,
    words: int = 64,
) -> Lesson:
    """Prepare a page as inference does, and write down what is right about it.

    Args:
        page: a rendered page.
        rng: source of all chance: which questions, which right cells, which words.
        budget: pixels of the network's input for ordinary print.
        line: see ``prepare_readable``; 0 gives every page ``budget``.
        most: see ``prepare_readable``.
        questions: how many questions at most.
        words: how many words at most are to be spotted.
    """
    prepared = prepare_readable(page.image, budget, line, most)
    rows, columns = prepared.shape[0] // CELL_HEIGHT, prepared.shape[1] // CELL_WIDTH
    placed = [(word, _placed(word.span, prepared)) for word in page.words]
    grams = np.zeros((questions, *question_input("?").shape), dtype=np.int64)
    right = np.zeros((questions, rows, columns), dtype=bool)
    cell = np.zeros(questions, dtype=np.int64)
    sides = np.zeros((questions, 4))
    steps = np.zeros((questions, 4), dtype=np.int64)
    weight = np.zeros(questions, dtype=np.float32)
    for index, asked in enumerate(_chosen(page.asked, rng, questions)):
        grams[index] = question_input(asked.question)
        spans = [_placed(span, prepared) for span in asked.spans]
        for span in spans:
            right[index] |= _cells_inside(span, rows, columns)
        own = rng.choice(spans)
        inside = np.flatnonzero(_cells_inside(own, rows, columns))
        cell[index] = rng.choice(list(inside))
        row, column = divmod(int(cell[index]), columns)
        x, y = (column + 0.5) * CELL_WIDTH, (row + 0.5) * CELL_HEIGHT
        sides[index] = own
        steps[index] = nearest_step(np.array([x - own[0], y - own[1], own[2] - x, own[3] - y]))
        weight[index] = 1
    spotted = _spotted(placed, rng, rows, columns, words)
    return Lesson(
        pixels=torch.from_numpy(prepared.pixels).unsqueeze(0),
        letters=torch.from_numpy(_letters(placed, prepared, rows, columns)),
        word_grams=torch.from_numpy(gram_table([word for word, _ in spotted], words)),
        word_cells=torch.tensor(
            [place for _, place in spotted] + [0] * (words - len(spotted)), dtype=torch.int64
        ),
        grams=torch.from_numpy(grams),
        right=torch.from_numpy(right),
        cell=torch.from_numpy(cell),
        steps=torch.from_numpy(steps),
        weight=torch.from_numpy(weight),
        sides=torch.from_numpy(sides),
    )


Rectangle = tuple[float, float, float, float]


def _placed(span: Rectangle, prepared: PageInput) -> Rectangle:
    """A page rectangle in input pixels."""
    left, top = prepared.left, prepared.top
    x0, x1 = (span[0] - left) * prepared.scale, (span[2] - left) * prepared.scale
    y0, y1 = (span[1] - top) * prepared.scale, (span[3] - top) * prepared.scale
    return (x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))


def _chosen(asked: list[Asked], rng: random.Random, count: int) -> list[Asked]:
    """A draw without repetition; what people ask most is likelier to be drawn."""
    keyed = [
        (rng.random() ** (1 / _LIKELY.get(item.field, 1.5)), i) for i, item in enumerate(asked)
    ]
    return [asked[i] for _, i in sorted(keyed, reverse=True)[:count]]


def _cells_inside(span: Rectangle, rows: int, columns: int) -> np.ndarray:
    """Cells whose centre lies in the rectangle, and in any case the one nearest to its middle."""
    mask = np.zeros((rows, columns), dtype=bool)
    first_row, last_row = np.ceil((span[1] / CELL_HEIGHT - 0.5, span[3] / CELL_HEIGHT - 0.5))
    first, last = np.ceil((span[0] / CELL_WIDTH - 0.5, span[2] / CELL_WIDTH - 0.5))
    mask[max(0, int(first_row)) : max(0, int(last_row)), max(0, int(first)) : max(0, int(last))] = (
        True
    )
    row = int(np.clip((span[1] + span[3]) / 2 // CELL_HEIGHT, 0, rows - 1))
    column = int(np.clip((span[0] + span[2]) / 2 // CELL_WIDTH, 0, columns - 1))
    mask[row, column] = True
    return mask


def _readable(span: Rectangle) -> bool:
    return 5 <= span[3] - span[1] <= 70


def _letters(
    placed: list[tuple[Word, Rectangle]], prepared: PageInput, rows: int, columns: int
) -> np.ndarray:
    """Letter classes a cell; the row through a word's middle is taught, its other rows are not."""
    found = np.full((SLOTS, rows, columns), BLANK, dtype=np.int64)
    for _, span in placed:
        r0, r1 = int(max(0, span[1] // CELL_HEIGHT)), int(max(0, span[3] // CELL_HEIGHT)) + 1
        c0, c1 = int(max(0, span[0] // CELL_WIDTH)), int(max(0, span[2] // CELL_WIDTH)) + 1
        found[:, r0:r1, c0:c1] = IGNORED
    slot_width = CELL_WIDTH / SLOTS
    for word, span in placed:
        row = int((span[1] + span[3]) / 2 // CELL_HEIGHT)
        if not 0 <= row < rows or not _readable(span):
            continue
        c0, c1 = int(max(0, span[0] // CELL_WIDTH)), int(max(0, span[2] // CELL_WIDTH)) + 1
        line = found[:, row, c0:c1]
        line[line == IGNORED] = BLANK
        edges = (word.edges - prepared.left) * prepared.scale
        slots = ((edges[1:] + edges[:-1]) / 2 // slot_width).astype(int)
        for letter, slot in zip(word.text, slots, strict=True):
            if 0 <= slot < columns * SLOTS:
                plain = fold(letter) if letter not in _LETTER_CLASS else letter
                found[slot % SLOTS, row, slot // SLOTS] = _LETTER_CLASS.get(plain, OTHER)
    return found


def _spotted(
    placed: list[tuple[Word, Rectangle]], rng: random.Random, rows: int, columns: int, count: int
) -> list[tuple[str, int]]:
    """Some words (folded), each with one of the cells it stands in."""
    fit = [
        (word, span)
        for word, span in placed
        if _readable(span)
        and 0 <= (span[1] + span[3]) / 2 < rows * CELL_HEIGHT
        and 0 <= (span[0] + span[2]) / 2 < columns * CELL_WIDTH
        and sum(map(str.isalnum, word.text)) >= 2
    ]
    chosen = rng.sample(fit, min(count, len(fit)))
    out = []
    for word, span in chosen:
        row = int((span[1] + span[3]) / 2 // CELL_HEIGHT)
        inset = min(4.0, (span[2] - span[0]) / 4)
        x = rng.uniform(span[0] + inset, span[2] - inset)
        column = int(np.clip(x // CELL_WIDTH, 0, columns - 1))
        out.append((fold(word.text), row * columns + column))
    return out
