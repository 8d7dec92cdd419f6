"""Sheets of paper and windows that pages of HTML are printed on."""

from __future__ import annotations

import random

from cropvlm_core.training.pages.html.render import Paper

_SHEETS = ((816.0, 1056.0), (816.0, 1056.0), (793.7, 1122.5), (793.7, 1122.5), (816.0, 1344.0))


def sheet_of(rng: random.Random, *, landscape: float = 0.12) -> Paper:
    """A letter, A4 or legal sheet, scanned at 95 to 170 dots an inch, some only as far as it is printed."""
    width, height = rng.choice(_SHEETS)
    if rng.random() < landscape:
        width, height = height, width
    margin = f"{rng.uniform(0.25, 0.9):.2f}in {rng.uniform(0.3, 1.0):.2f}in"
    return Paper(width, height, margin, rng.triangular(95, 170, 115), trimmed=rng.random() < 0.35)


def window_of(rng: random.Random) -> tuple[Paper, bool]:
    """A browser's window, cut off under the content, and whether it is a telephone's."""
    phone = rng.random() < 0.25
    width = rng.choice((360, 390, 412)) if phone else rng.choice((900, 1024, 1180, 1280))
    dpi = rng.uniform(110, 170) if phone else rng.uniform(84, 110)
    return Paper(width, width * rng.uniform(1.6, 2.2) if phone else width * rng.uniform(0.6, 1.2),
                 "0", dpi, trimmed=True), phone  # fmt: skip


def slide_of(rng: random.Random) -> Paper:
    """A slide, wide or less wide."""
    width, height = rng.choice(((960.0, 540.0), (960.0, 540.0), (800.0, 600.0)))
    return Paper(width, height, f"{rng.randint(18, 44)}px", rng.uniform(85, 125))
