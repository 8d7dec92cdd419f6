"""How a page of HTML looks: its faces, sizes, labels, borders and shades, drawn once a page."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageFont

from cropvlm_core.training.pages.cells import face_pairs
from cropvlm_core.training.pages.fonts import Role

_SHADES = ("#eee", "#ddd", "#e8eef7", "#f3efe3", "#d9e6dd", "#ccc")
_DARK = ("#000", "#222", "#1f3a5f", "#7a1f2b", "#245c3a", "#444", "#0b5fa5", "#5b3a8a")


@functools.cache
def families() -> dict[str, list[str]]:
    """Names of the installed font families by role; only those with a regular and a bold face."""
    found: dict[str, list[str]] = {"sans": [], "serif": [], "mono": []}
    for group in face_pairs():
        for regular, _ in group:
            name = ImageFont.truetype(regular.path, 16).getname()[0]
            if name and name not in found[regular.role]:
                found[regular.role].append(name)
    return {role: names for role, names in found.items() if names}


def family(rng: random.Random, role: Role | None = None) -> str:
    """An installed family, mostly without serifs, as pages of programs and offices are."""
    found = families()
    wanted: str = role or rng.choice(("sans", "sans", "sans", "serif", "serif", "mono"))
    return rng.choice(found.get(wanted) or next(iter(found.values())))


@dataclass
class Look:
    """The style of a page.

    Attributes:
        size: of body type in points.
        mark: what stands after a label.
        upper: labels are printed in capitals.
        room: about how wide the page's content is, in CSS pixels.
        rules: more style rules, for one layout.
    """

    body: str
    head: str
    size: float
    leading: float
    ink: str
    accent: str
    shade: str
    line: str
    mark: str
    upper: bool
    label: str
    value: str
    pad: float
    room: float = 620.0
    rules: str = ""

    def holds(self, words: Sequence[str], share: float) -> bool:
        """Whether each of the words fits into a column of so many percent of the content's width."""
        em = self.size * 4 / 3
        inner = self.room * share / 100 - 2 * em * (self.pad * 1.7 + 0.15)
        return max(map(len, words), default=0) * 0.62 * em < inner

    def labelled(self, label: str) -> str:
        """A label as printed."""
        return (label.upper() if self.upper else label) + self.mark

    def css(self) -> str:
        """The style rules of the page."""
        return (
            f"body{{font:{self.size:.2f}pt '{self.body}';line-height:{self.leading:.2f};color:{self.ink};margin:0}}"
            "a{color:inherit;text-decoration:none}p{margin:.4em 0}"
            f"h1,h2,h3,h4{{font-family:'{self.head}';margin:.3em 0;line-height:1.15}}"
            "table,.T{border-collapse:collapse;border-spacing:0}.T{display:table}"
            ".F{table-layout:fixed}.R{display:table-row}.C{display:table-cell;font-style:normal}"
            "td,th,.C{text-align:left;vertical-align:top;font-weight:inherit;"
            f"padding:{self.pad:.2f}em {self.pad * 1.7 + 0.15:.2f}em}}"
            ".w{width:100%}.r,td.r,th.r{text-align:right}.c{text-align:center}.b{font-weight:bold}"
            f".l{{{self.label}}}.v{{{self.value}}}.s{{font-size:.82em}}.n{{white-space:nowrap}}"
            f".x td,.x th,.x .C,td.x{{border:{self.line}}}.u td,.u .C{{border-bottom:{self.line}}}"
            f".y td,.y th,.y .C{{border-left:{self.line};border-right:{self.line}}}"
            f".f{{background:{self.shade}}}.d{{background:{self.accent};color:#fff}}.k{{color:{self.accent}}}"
            ".o>tbody>tr>td,.o>tr>td{padding:0 .6em 0 0}" + self.rules
        )


def look(rng: random.Random, low: float = 6.5, high: float = 10.5) -> Look:
    """A random style with body type of ``low`` to ``high`` points."""
    body = family(rng)
    bold = rng.random() < 0.4
    label = rng.choice((
        "", "", "", "font-size:.85em", "font-size:.8em;color:#555", "color:#555", "font-style:italic",
        "letter-spacing:.04em;font-size:.85em",
    ))  # fmt: skip
    value = "font-weight:bold" if not bold and rng.random() < 0.3 else ""
    if rng.random() < 0.12:  # filled in with another type
        value += f";font-family:'{family(rng, 'mono')}'"
    return Look(
        body=body,
        head=body if rng.random() < 0.7 else family(rng),
        size=rng.uniform(low, high),
        leading=rng.uniform(1.05, 1.4),
        ink=rng.choice(("#000", "#000", "#000", "#111", "#333")),
        accent=rng.choice(_DARK),
        shade=rng.choice(_SHADES),
        line=f"{rng.choice(('1px', '1px', '.6px', '1.5px'))} {rng.choice(('solid', 'solid', 'solid', 'dotted', 'dashed'))} "
        f"{rng.choice(('#000', '#000', '#444', '#888', '#bbb'))}",
        mark=rng.choice((":", ":", ":", "", "", "")),
        upper=rng.random() < 0.2,
        label=label + (";font-weight:bold" if bold else ""),
        value=value,
        pad=rng.choice((0.05, 0.12, 0.2, 0.3, 0.45)),
    )  # fmt: skip
