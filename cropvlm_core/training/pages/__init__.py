"""The page factory: rendered pages of many kinds, with questions whose answers' places are known."""

from __future__ import annotations

import random
from typing import Protocol

from cropvlm_core.training.pages.degrade import degrade, window
from cropvlm_core.training.pages.forms import form
from cropvlm_core.training.pages.html import (
    booking,
    boxed_form,
    ledger,
    paper,
    price_list,
    slide,
    spec_sheet,
    timetable,
    web_page,
)
from cropvlm_core.training.pages.html.render import need_renderer
from cropvlm_core.training.pages.invoices import invoice, order, statement
from cropvlm_core.training.pages.labels import label
from cropvlm_core.training.pages.letters import letter
from cropvlm_core.training.pages.plots import need_plots, plot
from cropvlm_core.training.pages.pointers import point_at_words
from cropvlm_core.training.pages.prose import lines
from cropvlm_core.training.pages.receipts import receipt
from cropvlm_core.training.pages.screens import chart, screen
from cropvlm_core.training.pages.sheet import Page
from cropvlm_core.training.pages.signs import sign
from cropvlm_core.training.pages.streets import street
from cropvlm_core.training.pages.tables import table


class Drawer(Protocol):
    """Draws one clean page of its kind; ``held_out`` asks with wordings kept out of training."""

    def __call__(self, rng: random.Random, *, held_out: bool = False) -> Page:
        """The page, the same for the same state of ``rng``."""


KINDS: dict[str, tuple[Drawer, float]] = {
    "receipt": (receipt, 0.20),
    "invoice": (invoice, 0.082),
    "order": (order, 0.104),
    "statement": (statement, 0.041),
    "form": (form, 0.075),
    "letter": (letter, 0.03),
    "table": (table, 0.041),
    "label": (label, 0.022),
    "screen": (screen, 0.03),
    "chart": (chart, 0.015),
    "sign": (sign, 0.02),
    "street": (street, 0.09),
    "lines": (lines, 0.02),
    "booking": (booking, 0.05),
    "ledger": (ledger, 0.03),
    "boxed_form": (boxed_form, 0.03),
    "timetable": (timetable, 0.02),
    "price_list": (price_list, 0.015),
    "spec_sheet": (spec_sheet, 0.02),
    "paper": (paper, 0.02),
    "web_page": (web_page, 0.01),
    "slide": (slide, 0.01),
    "plot": (plot, 0.025),
}
"""Every kind of page: how it is drawn, and its share of the training pages."""


def need_programs() -> None:
    """Make sure that every kind of page can be drawn.

    Raises:
        MissingExtraError: WeasyPrint (with the system library pango), pypdfium2 or matplotlib is
            not installed.
    """
    need_renderer()
    need_plots()


def render_page(
    seed: int,
    kind: str | None = None,
    *,
    held_out: bool = False,
    cut: bool = False,
    pointers: int = 0,
) -> Page:
    """One damaged page, the same for the same seed on a machine with the same fonts.

    Args:
        seed: any integer.
        kind: a key of ``KINDS``; None draws one by the shares.
        held_out: ask with wordings that are kept out of training.
        cut: for training, cut some pages of kinds other than receipts to a random window, so that
            the network sees their print in other sizes and surroundings.
        pointers: how many questions to add that any page answers (see ``pointers``).

    Raises:
        MissingExtraError: what draws a page of this kind is not installed (see ``need_programs``).
    """
    rng = random.Random(seed)
    if kind is None:
        names = list(KINDS)
        kind = rng.choices(names, [KINDS[name][1] for name in names])[0]
    page = KINDS[kind][0](rng, held_out=held_out)
    if cut and kind not in ("receipt", "lines") and rng.random() < 0.35:
        width, height = page.image.size
        page = window(page, rng, width * height * rng.uniform(0.2, 0.9))
    if pointers:
        page.asked += point_at_words(page, rng, pointers, held_out=held_out)
    return page if kind == "street" else degrade(page, rng)
