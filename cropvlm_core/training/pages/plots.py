"""Charts by matplotlib as pages: reports and papers print such."""

from __future__ import annotations

import functools
import random
from collections import Counter
from typing import Any

import numpy as np
from PIL import Image

from cropvlm_core.errors import MissingExtraError
from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.fonts import pick_face
from cropvlm_core.training.pages.invent import company, person
from cropvlm_core.training.pages.plot_drawers import (
    DRAWERS,
    HELD_OUT_DRAWERS,
    Chart,
    ask_ticks,
    dress,
    numbers_of,
)
from cropvlm_core.training.pages.prose import sentence
from cropvlm_core.training.pages.sheet import Page, Sheet, Span, Word

_SOURCE = "What is the source?|Where do the figures come from?|Which source is named?|What does the note under the chart say?"


@functools.cache
def _figures() -> tuple[Any, Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.font_manager import FontProperties
    except ImportError as error:
        raise MissingExtraError("drawing charts (matplotlib)", "finetune") from error
    return Figure, FigureCanvasAgg, FontProperties


def need_plots() -> None:
    """Make sure that charts can be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    _figures()


def plot(rng: random.Random, *, held_out: bool = False) -> Page:
    """A chart with title, axes, legend and values.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure_type, canvas_type, properties = _figures()
    dpi = rng.uniform(80, 170)
    size = (rng.uniform(4, 8), rng.uniform(2.8, 5.5))
    dark = rng.random() < 0.1
    figure = figure_type(
        figsize=size, dpi=dpi, facecolor="#222" if dark else "white", layout="tight"
    )
    canvas = canvas_type(figure)
    face, base = pick_face(rng, rng.choice(("sans", "sans", "serif", None))), rng.uniform(7, 11)
    chart = Chart(rng, figure, lambda scale: properties(fname=face.path, size=base * scale),
                   "#ddd" if dark else "black", *numbers_of(rng))  # fmt: skip
    kinds = DRAWERS
    if held_out and rng.random() < 0.4:
        kinds = HELD_OUT_DRAWERS
    panels = 2 if size[0] > 6 and rng.random() < 0.2 else 1
    for number in range(panels):
        axes = figure.add_subplot(1, panels, number + 1)
        rng.choice(kinds)(chart, axes)
        dress(chart, axes, number if panels > 1 else None)
    if rng.random() < 0.3:
        note = f"{rng.choice(('Source:', 'Data:', 'Note:'))} {rng.choice((company(rng), person(rng), sentence(rng, 3, 6)))}"
        figure.set_layout_engine("tight", rect=(0, 0.06, 1, 1))
        source = figure.text(
            0.01, 0.01, note, fontproperties=chart.fonts(0.8), va="bottom", color=chart.ink
        )
        chart.offer(_SOURCE, source, "text")
    canvas.draw()
    for axes in figure.axes:
        ask_ticks(chart, axes)
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("L")
    return _page(chart, image, canvas.get_renderer(), held_out=held_out)


def _page(chart: Chart, image: Image.Image, renderer: Any, *, held_out: bool) -> Page:
    """The chart as a page: words where its texts stand; texts that touch another are not asked for."""
    from matplotlib.text import Text

    sheet = Sheet(image.width, image.height, chart.rng)
    sheet.image = image
    places: dict[int, Span] = {}
    texts: dict[int, Any] = {}
    for text in chart.figure.findobj(Text):
        if not text.get_visible() or not text.get_text().strip():
            continue
        box = text.get_window_extent(renderer)
        span = (box.x0, image.height - box.y1, box.x1, image.height - box.y0)
        if span[0] < 0 or span[1] < 0 or span[2] > image.width or span[3] > image.height:
            continue
        places[id(text)] = span
        texts[id(text)] = text
    free = [
        key for key, place in places.items()
        if not any(_touch(place, other) for k, other in places.items() if k != key)
    ]  # fmt: skip
    for key in free:
        if texts[key].get_rotation() == 0:
            sheet.words += _words(texts[key], places[key], renderer)
    asker = Asker(
        sheet, chart.rng, chart.rng.choice(("chart", "figure", "plot", "diagram")), "en", held_out
    )
    alike = Counter((forms, *names.values()) for forms, _, _, names in chart.offers)
    for forms, text, what, names in chart.offers:  # of two panels only what one of them has
        if id(text) in free and alike[(forms, *names.values())] == 1:
            asker.add(forms, text.get_text(), places[id(text)], what, **names)
    asker.finish(6, 18)
    return sheet.page("plot")


def _words(text: Any, span: Span, renderer: Any) -> list[Word]:
    """The words of a line of text; the widths of its beginnings say where the letters stand."""
    line, font = text.get_text(), text.get_fontproperties()
    widths = [0.0] + [
        renderer.get_text_width_height_descent(line[: end + 1], font, ismath=False)[0]
        for end in range(len(line))
    ]
    scale = (span[2] - span[0]) / max(widths[-1], 1e-6)
    edges = span[0] + np.maximum.accumulate(np.array(widths)) * scale
    words, start = [], None
    for index, letter in enumerate(line + " "):
        if letter != " ":
            start = index if start is None else start
        elif start is not None:
            own = edges[start : index + 1]
            words.append(
                Word(line[start:index], (float(own[0]), span[1], float(own[-1]), span[3]), own)
            )
            start = None
    return words


def _touch(one: Span, other: Span) -> bool:
    return (
        min(one[2], other[2]) - max(one[0], other[0]) > 1
        and min(one[3], other[3]) - max(one[1], other[1]) > 1
    )
