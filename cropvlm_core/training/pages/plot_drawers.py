"""What a chart by matplotlib shows: bars, lines, slices, points, heat maps, titles, legends and axes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cropvlm_core.training.pages.grids import money_maker
from cropvlm_core.training.pages.invent import invented_word
from cropvlm_core.training.pages.prose import WORDS

_VALUE = (
    "What is the value of {c}?|What is the value for {c}?|How much is {c}?|Which figure stands at {c}?|"
    "What number is shown for {c}?|Read the value of {c}.|{c}?|What does the chart show for {c}?|"
    "How high is the bar of {c}?|What is written at the bar {c}?|Which number belongs to {c}?|value of {c}"
)
_VALUE_OF_TWO = (
    "What is the value of {s} for {c}?|What is {s} in {c}?|How much is {s} at {c}?|{s}, {c}?|{c}: {s}?|"
    "Which figure has {s} at {c}?|What number is shown for {s} in {c}?|Read the value of {s} for {c}.|"
    "How high is the bar of {s} at {c}?|What does the chart show for {s} in {c}?"
)
_SHARE = (
    "What is the share of {c}?|How many percent is {c}?|How big is the slice of {c}?|{c}?|"
    "What percentage does {c} have?|Which percentage stands in the slice {c}?|What part is {c}?"
)
_ACROSS = (
    "What is the label of the x-axis?|What is on the horizontal axis?|What does the x axis show?|"
    "Which label has the horizontal axis?|What stands under the horizontal axis?|x-axis label"
)
_UP = (
    "What is the label of the y-axis?|What is on the vertical axis?|What does the y axis show?|"
    "Which unit does the y axis have?|Which label has the vertical axis?|y-axis label"
)
_ENTRY = (
    "What is the {o} entry of the legend?|Which series comes {o} in the legend?|Read the {o} legend entry.|"
    "{o} item of the legend?|Which name stands {o} in the key?"
)
_TICK = {
    "top": "What is the highest number on the vertical axis?|What is the top tick of the y-axis?|Which value is at the upper end of the vertical axis?",
    "low": "What is the lowest number on the vertical axis?|What is the bottom tick of the y-axis?|Where does the vertical axis start?",
    "right": "What is the last label on the horizontal axis?|What is the rightmost tick of the x-axis?|Where does the x axis end?",
    "left": "What is the first label on the horizontal axis?|What is the leftmost tick of the x-axis?|Where does the x axis begin?",
}
_NAMED = "Which point's name begins with {w}?|Which label at a point starts with {w}?|Find the point whose name begins with {w}."
_PANEL = "What is the title of the {o} panel?|What does the {o} chart show?|Title of the {o} plot?"
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_SERIES = (
    "Alpha Beta Gamma Delta", "2016 2017 2018 2019 2020 2021 2022 2023", "Jan Feb Mar Apr May Jun Jul Aug",
    "North South East West Centre", "Mon Tue Wed Thu Fri Sat Sun", "Q1 Q2 Q3 Q4",
    "Germany France Spain Italy Japan Brazil India Kenya Norway Chile",
    "Bread Milk Rice Coffee Tea Fish Soup Cake", "Under 18|18-29|30-44|45-59|60 and over",
    "Strongly agree|Agree|Neutral|Disagree|No answer", "Men|Women|Children|All", "Baseline|Ours|Ours (large)|Prior work",
    "Rail|Road|Air|Sea|Pipeline", "Primary|Secondary|Tertiary|None", "1 week|2 weeks|1 month|3 months|1 year",
)  # fmt: skip
_UNITS = (
    "percent|million USD|thousands|tonnes|visitors|share in %|kWh|days|cases per 1,000|index (2010 = 100)|hours|"
    "accuracy (%)|litres|°C|number of orders|EUR per unit"
).split("|")
_AXES = "year|month|region|age group|product|distance (km)|time (s)|group|quarter|temperature|size|method|week".split(
    "|"
)
_SHADES = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#444444",
    "#888888",
    "#d62728",
    "#9ecae1",
    "#005f73",
    "#e9c46a",
    "#cccccc",
)


@dataclass
class Chart:
    """A figure being drawn: its texts are asked about when all have their places.

    Attributes:
        ink: colour of print outside bars and slices.
        scale: the largest value; ``written`` writes one.
    """

    rng: random.Random
    figure: Any
    fonts: Callable[[float], Any]
    ink: str
    scale: float
    written: Callable[[float], str]
    offers: list[tuple[str, Any, str, dict[str, str]]] = field(default_factory=list)

    def values(self, count: int) -> list[float]:
        """So many values to draw."""
        return [self.scale * self.rng.uniform(0.08, 1.0) for _ in range(count)]

    def shades(self, count: int) -> list[str]:
        """Unlike colours for so many series."""
        return self.rng.sample(_SHADES, count)

    def offer(self, forms: str, text: Any, what: str, **names: str) -> None:
        """Offer a question in one of ``forms`` that the text artist answers."""
        self.offers.append((forms, text, what, names))


Draw = Callable[[Chart, Any], None]
"""Draws something into axes of matplotlib."""


def _names(rng: random.Random, most: int) -> list[str]:
    text = rng.choice(_SERIES)
    if rng.random() < 0.3:
        names = [
            " ".join(rng.sample(WORDS, rng.choice((1, 1, 2)))).capitalize() for _ in range(most)
        ]
    elif rng.random() < 0.2:
        names = [invented_word(rng) for _ in range(most)]
    else:
        names = text.split("|") if "|" in text else text.split()
    return list(dict.fromkeys(names))[: rng.randint(3, max(3, most))]


def numbers_of(rng: random.Random) -> tuple[float, Callable[[float], str]]:
    """How large the values of a chart are, and how they are written."""
    money, big = money_maker(rng), 10.0 ** rng.randint(1, 5)
    return rng.choice((
        (100.0, lambda v: f"{v:.0f}%"), (100.0, lambda v: f"{v:.1f}%"), (100.0, lambda v: f"{v:.1f}"),
        (big, lambda v: f"{v:,.0f}"), (10.0, lambda v: f"{v:.2f}"), (big, lambda v: money(round(v * 100))),
    ))  # fmt: skip


def _on(colour: str) -> str:
    """Black or white, whichever can be read on the colour (#rrggbb)."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 120 else "white"


def _bars(chart: Chart, axes: Any) -> None:
    rng = chart.rng
    names = _names(rng, 9)
    values, shade = chart.values(len(names)), chart.shades(1)[0]
    bars = axes.bar(names, values, width=rng.uniform(0.5, 0.9), color=shade)
    if rng.random() < 0.85:
        inside = rng.random() < 0.2
        texts = axes.bar_label(
            bars, list(map(chart.written, values)), label_type="center" if inside else "edge",
            padding=0 if inside else 2, color=_on(shade) if inside else chart.ink,
            fontproperties=chart.fonts(rng.choice((0.8, 0.9, 1.0))),
        )  # fmt: skip
        for name, text in zip(names, texts, strict=True):
            chart.offer(_VALUE, text, "cell", c=name)
    if rng.random() < 0.3:
        axes.tick_params(axis="x", rotation=rng.choice((30, 45, 90)))


def _lying(chart: Chart, axes: Any) -> None:
    rng = chart.rng
    names = _names(rng, 10)
    values = chart.values(len(names))
    bars = axes.barh(names, values, height=rng.uniform(0.4, 0.85), color=chart.shades(1)[0])
    texts = axes.bar_label(bars, list(map(chart.written, values)), padding=2, color=chart.ink,
                           fontproperties=chart.fonts(rng.choice((0.8, 0.9, 1.0))))  # fmt: skip
    for name, text in zip(names, texts, strict=True):
        chart.offer(_VALUE, text, "cell", c=name)
    axes.margins(x=0.15)


def _groups(chart: Chart, axes: Any) -> None:
    """Bars in groups or on top of each other, the series named in a legend."""
    rng = chart.rng
    names, series = _names(rng, 6), _names(rng, 4)[:4]
    stacked = rng.random() < 0.5
    lows, wide = np.zeros(len(names)), 0.8 / len(series)
    for number, (one, shade) in enumerate(zip(series, chart.shades(len(series)), strict=True)):
        values = chart.values(len(names))
        at = np.arange(len(names)) + (0 if stacked else (number - (len(series) - 1) / 2) * wide)
        bars = axes.bar(at, values, width=0.7 if stacked else wide * 0.95, bottom=lows if stacked else 0, label=one,
                        color=shade)  # fmt: skip
        texts = axes.bar_label(bars, list(map(chart.written, values)), label_type="center" if stacked else "edge",
                               color=_on(shade) if stacked else chart.ink, fontproperties=chart.fonts(0.75))  # fmt: skip
        for name, text in zip(names, texts, strict=True):
            chart.offer(_VALUE_OF_TWO, text, "cell", c=name, s=one)
        lows = lows + values
    axes.set_xticks(range(len(names)), names)
    _legend(chart, axes)


def _lines(chart: Chart, axes: Any) -> None:
    rng = chart.rng
    names, series = _names(rng, 8), _names(rng, 4)[:4]
    for one, shade in zip(series[: rng.randint(1, 4)], chart.shades(4), strict=False):
        values = chart.scale * np.cumsum([rng.uniform(-0.1, 0.3) for _ in names]) + chart.scale
        axes.plot(names, values, label=one, marker=rng.choice(("", "o", "s", "^")), color=shade,
                  linestyle=rng.choice(("-", "-", "--", ":")))  # fmt: skip
        if rng.random() < 0.5:
            for name, value in zip(names, values, strict=True):
                text = axes.annotate(chart.written(value), (name, value), textcoords="offset points", xytext=(0, 5),
                                     ha="center", color=chart.ink, fontproperties=chart.fonts(0.75))  # fmt: skip
                chart.offer(_VALUE_OF_TWO, text, "cell", c=name, s=one)
    _legend(chart, axes)


def _steps(chart: Chart, axes: Any) -> None:
    """Values on stems."""
    rng = chart.rng
    names = _names(rng, 8)
    values, shade = chart.values(len(names)), chart.shades(1)[0]
    axes.vlines(range(len(names)), 0, values, color=shade)
    axes.plot(range(len(names)), values, "o", color=shade)
    for at, value in enumerate(values):
        text = axes.annotate(chart.written(value), (at, value), textcoords="offset points", xytext=(0, 6), ha="center",
                             color=chart.ink, fontproperties=chart.fonts(0.85))  # fmt: skip
        chart.offer(_VALUE, text, "cell", c=names[at])
    axes.set_xticks(range(len(names)), names)
    axes.margins(y=0.2)


def _pie(chart: Chart, axes: Any) -> None:
    rng = chart.rng
    names = _names(rng, 6)
    values = chart.values(len(names))
    total, legend = sum(values), rng.random() < 0.3
    shares = [f"{100 * value / total:.{rng.choice((0, 0, 1))}f}%" for value in values]
    greys = [str(rng.uniform(0.55, 0.95)) for _ in names]
    wedges = axes.pie(values, labels=None if legend else names, colors=greys, startangle=rng.uniform(0, 360),
                      wedgeprops={"width": rng.choice((1, 1, 0.5))}, textprops={"color": chart.ink})[0]  # fmt: skip
    for wedge, share, name in zip(wedges, shares, names, strict=True):
        angle, radius = np.deg2rad((wedge.theta1 + wedge.theta2) / 2), rng.choice((0.6, 0.72))
        text = axes.text(radius * np.cos(angle), radius * np.sin(angle), share, ha="center", va="center",
                         fontproperties=chart.fonts(0.9))  # fmt: skip
        if not legend:
            chart.offer(_SHARE, text, "cell", c=name)
    if legend:
        axes.legend(wedges, names)
        _legend(chart, axes)


def _points(chart: Chart, axes: Any) -> None:
    """Points of which some have names or values beside them."""
    rng = chart.rng
    wide = 10.0 ** rng.randint(0, 3)
    for one, shade in zip(_names(rng, 3)[: rng.randint(1, 3)], chart.shades(3), strict=False):
        x = [rng.uniform(0, wide) for _ in range(rng.randint(5, 30))]
        y = chart.values(len(x))
        axes.scatter(x, y, s=rng.uniform(6, 40), label=one, color=shade, marker=rng.choice("os^x+"))
        for name in _names(rng, 4) if rng.random() < 0.4 else ():
            at = rng.randrange(len(x))
            named = axes.annotate(name, (x[at], y[at]), textcoords="offset points", xytext=(4, 3), color=chart.ink,
                                  fontproperties=chart.fonts(0.8))  # fmt: skip
            chart.offer(_NAMED, named, "text", w=name[:2])
    _legend(chart, axes)


def _heat(chart: Chart, axes: Any) -> None:
    """A table of numbers on shades."""
    rng = chart.rng
    across, down = _names(rng, 6), _names(rng, 6)
    values = np.array([[rng.random() for _ in across] for _ in down])
    axes.imshow(
        values,
        cmap=rng.choice(("Greys", "Blues", "viridis", "YlOrRd")),
        aspect="auto",
        vmin=-0.3,
        vmax=1.4,
    )
    places = rng.choice((0, 1, 2))
    picture = axes.images[0]
    for row, line in enumerate(down):
        for column, name in enumerate(across):
            text = axes.text(column, row, f"{values[row, column] * 100:.{places}f}", ha="center", va="center",
                             color=_on(_hex(picture, values[row, column])), fontproperties=chart.fonts(0.85))  # fmt: skip
            chart.offer(_VALUE_OF_TWO, text, "cell", c=name, s=line)
    axes.set_xticks(range(len(across)), across)
    axes.set_yticks(range(len(down)), down)


def _hex(picture: Any, value: float) -> str:
    """The colour of a value of a heat map as #rrggbb."""
    red, green, blue, _ = picture.cmap(picture.norm(value))
    return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))


def _legend(chart: Chart, axes: Any) -> None:
    legend = axes.get_legend()
    handles, labels = axes.get_legend_handles_labels()
    if legend is None and (len(labels) < 2 or not handles):
        return
    legend = legend or axes.legend(loc=chart.rng.choice(("best", "upper right", "upper left", "lower right")),
                                   frameon=chart.rng.random() < 0.6)  # fmt: skip
    for number, text in enumerate(legend.get_texts()):
        text.set_fontproperties(chart.fonts(0.85))
        chart.offer(_ENTRY, text, "text", o=_ORDINALS[min(number, 5)])


def dress(chart: Chart, axes: Any, panel: int | None) -> None:
    """Title, labels and grid of one chart."""
    rng, ink = chart.rng, chart.ink
    axes.set_facecolor("#333" if ink != "black" else "white")
    title = " ".join(rng.choices(WORDS, k=rng.randint(2, 6 if panel is None else 3))).capitalize()
    text = axes.set_title(title, fontproperties=chart.fonts(rng.choice((1.1, 1.3, 1.5))), color=ink)
    if panel is None:
        chart.offer("What is the title of the {d}?|What is the title?|Which heading has the {d}?|Read the title.|"
                    "What is this {d} about?|What does the {d} show?|Title?", text, "title")  # fmt: skip
    else:
        chart.offer(_PANEL, text, "title", o=_ORDINALS[panel])
    if axes.axison and len(axes.get_xticks()):  # no pie
        if rng.random() < 0.6:
            across = axes.set_xlabel(rng.choice(_AXES), fontproperties=chart.fonts(1), color=ink)
            chart.offer(_ACROSS, across, "axis")
        if rng.random() < 0.6:
            up = axes.set_ylabel(rng.choice(_UNITS), fontproperties=chart.fonts(1), color=ink)
            chart.offer(_UP, up, "axis")
    if rng.random() < 0.4:
        axes.grid(visible=True, alpha=0.4, axis=rng.choice(("both", "y", "x")))
    if rng.random() < 0.4:
        axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=ink)
    for shown in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        shown.set_fontproperties(chart.fonts(0.85))


def ask_ticks(chart: Chart, axes: Any) -> None:
    """Offer questions about the ends of the axes."""
    for labels, limits, index, ends in (
        (axes.get_xticklabels(), axes.get_xlim(), 0, ("left", "right")),
        (axes.get_yticklabels(), sorted(axes.get_ylim()), 1, ("low", "top")),
    ):
        inside = [
            one
            for one in labels
            if one.get_text() and limits[0] <= one.get_position()[index] <= limits[1]
        ]
        for one in labels:
            one.set_visible(one in inside)  # matplotlib keeps, undrawn, ticks beyond the ends
        if len(inside) > 1 and not axes.images and chart.rng.random() < 0.7:
            for one, end in ((inside[0], ends[0]), (inside[-1], ends[1])):
                chart.offer(_TICK[end], one, "axis")


DRAWERS: tuple[Draw, ...] = (_bars, _bars, _lying, _groups, _groups, _lines, _pie, _points, _heat)
"""What is drawn for training, the usual sorts more often."""
HELD_OUT_DRAWERS: tuple[Draw, ...] = (_steps,)
"""What is kept out of training."""
