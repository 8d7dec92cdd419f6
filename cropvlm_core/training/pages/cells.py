"""Printing labelled values: in boxes, on lines, in columns, with labels above, left or inside."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFont

from cropvlm_core.training.pages.asking import Asker
from cropvlm_core.training.pages.fields import Entry
from cropvlm_core.training.pages.fonts import Face, Role, installed_faces, pick_face
from cropvlm_core.training.pages.invent import invented_word
from cropvlm_core.training.pages.press import Press, text_length
from cropvlm_core.training.pages.sheet import Span, line_height


@dataclass
class House:
    """The house style of a page: its faces, base size, and how labels and values look."""

    regular: Face
    bold: Face
    size: int
    mark: str
    label_bold: bool
    value_bold: bool
    label_upper: bool
    label_scale: float
    ink: int = 0
    pen: ImageFont.FreeTypeFont | None = None

    def font(self, scale: float = 1.0, *, bold: bool = False) -> ImageFont.FreeTypeFont:
        """The house type at ``scale`` times its base size."""
        return (self.bold if bold else self.regular).at(max(9, round(self.size * scale)))

    def label(self) -> ImageFont.FreeTypeFont:
        """The type of labels."""
        return self.font(self.label_scale, bold=self.label_bold)

    def value(self) -> ImageFont.FreeTypeFont:
        """The type of values: what the page was filled in with, if not the house type."""
        return self.pen or self.font(bold=self.value_bold)

    def step(self, scale: float = 1.0) -> float:
        """Height of a line of type."""
        return line_height(self.font(scale))


@functools.cache
def face_pairs() -> list[list[tuple[Face, Face]]]:
    """Upright faces with their bold sisters, grouped by family."""
    plain: dict[str, list[Face]] = {}
    bold: dict[str, list[Face]] = {}
    for face in installed_faces():
        name = Path(face.path).stem.lower()
        if any(word in name for word in ("italic", "obliq", "black", "light", "_k", "extended")):
            continue
        (bold if face.bold else plain).setdefault(name.split("-")[0].split("_")[0], []).append(face)
    return [[(a, b) for a in plain[k] for b in bold[k]] for k in sorted(plain) if k in bold]


def house_style(rng: random.Random, size: int) -> House:
    """A random house style; mostly one family, sometimes two unrelated faces."""
    if face_pairs() and rng.random() < 0.8:
        regular, bold = rng.choice(rng.choice(face_pairs()))
    else:
        role: Role = rng.choice(("sans", "sans", "serif", "mono"))
        regular, bold = pick_face(rng, role, bold=False), pick_face(rng, bold=True)
    label_bold = rng.random() < 0.4
    return House(
        regular, bold, size,
        mark=rng.choice((":", ":", ":", "", "", " :")),
        label_bold=label_bold,
        value_bold=not label_bold and rng.random() < 0.35,
        label_upper=rng.random() < 0.15,
        label_scale=rng.choice((1.0, 1.0, 1.0, 0.85)),
        ink=rng.choice((0, 0, 0, 0, 25, 60)),
    )  # fmt: skip


def fit(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """``text`` without the last words that do not fit; empty when not even one does."""
    while text and text_length(font, text) > room:
        text = text.rsplit(" ", 1)[0].rstrip(" -–,&") if " " in text else ""
    return text


def print_value(
    sheet: Press, house: House, asker: Asker, entry: Entry, x: float, y: float, room: float,
    *, align: str = "left", side: str = "right",
) -> Span | None:  # fmt: skip
    """Print what fits of an entry's value and offer a question about it; None when empty."""
    font = house.value()
    entry.value = fit(entry.value, font, room)
    if not entry.value:
        return None
    span = sheet.text(x, y, entry.value, font, ink=house.ink, align=align)
    asker.entry(entry, span, side)
    return span


def print_label(
    sheet: Press, house: House, entry: Entry, x: float, y: float, room: float,
    *, mark: str | None = None, align: str = "left", ink: int | None = None,
) -> Span:  # fmt: skip
    """Print an entry's label, shorter or smaller when it must be; an unfit one silences the entry."""
    mark = house.mark if mark is None else mark
    font = house.label()
    spellings = [entry.label, *(p for p in entry.field.printed if p not in entry.field.asked)]
    for spelling in spellings if spellings[0] in entry.field.printed else spellings[:1]:
        text = (spelling.upper() if house.label_upper else spelling) + mark
        if text_length(font, text) <= room:
            entry.label = spelling
            break
    else:
        text = (entry.label.upper() if house.label_upper else entry.label) + mark
        smaller = house.label_scale * max(0.75, 0.98 * room / text_length(font, text))
        font = house.font(smaller, bold=house.label_bold)
        if text_length(font, text) > room:
            text = fit(text, font, room) or text[:3]
            entry.value = ""
    return sheet.text(x, y, text, font, ink=house.ink if ink is None else ink, align=align)


Style = str
STYLES: tuple[Style, ...] = ("boxed", "boxed", "split", "lined", "aligned", "aligned", "right",
                             "ragged", "above", "filled")  # fmt: skip
"""Looks of a block of labelled values, for ``block``."""


def block(
    sheet: Press, rng: random.Random, house: House, asker: Asker, entries: list[Entry],
    x: float, y: float, width: float, columns: int = 1, style: Style | None = None,
) -> float:  # fmt: skip
    """Print entries in a grid of ``columns`` from (x, y); returns the bottom of the block."""
    style = style or rng.choice(STYLES)
    gutter = 0 if style in ("boxed", "split", "filled") else house.size
    cell = (width - gutter * (columns - 1)) / columns
    label_step, step = house.step(house.label_scale), max(house.step(), line_height(house.value()))
    stacked = style in ("boxed", "above", "filled")
    pad = max(2.0, house.size * rng.uniform(0.15, 0.5))
    height = step * rng.uniform(1.0, 1.5) + (label_step + pad if stacked else pad)
    column_by_column = rng.random() < 0.5
    rows = -(-len(entries) // columns)
    share = rng.uniform(0.38, 0.55)
    centred = style == "boxed" and rng.random() < 0.12
    ink, shade = rng.choice((0, 0, 90)), rng.choice((205, 225, 240))
    for index, entry in enumerate(entries):
        row, column = (index % rows, index // rows) if column_by_column else divmod(index, columns)
        left, top = x + column * (cell + gutter), y + row * height
        right = left + cell
        if style in ("boxed", "split"):
            sheet.box((left, top, right, top + height), ink=ink)
        if stacked:
            if style == "filled":
                sheet.box((left + 1, top, right - 1, top + label_step + 1), ink=shade, fill=shade)
            print_label(sheet, house, entry, left + pad, top + 1, cell - 2 * pad)
            base = top + label_step + pad * 0.5
            print_value(sheet, house, asker, entry, (left + right) / 2 if centred else left + pad,
                        base, cell - 2 * pad, align="centre" if centred else "left", side="below")  # fmt: skip
            continue
        base = top + (height - step) / 2
        split = left + cell * share
        if style == "split":
            sheet.draw.line((split, top, split, top + height), fill=ink)
            print_label(sheet, house, entry, left + 3, base, cell * share - 6)
            split += 4
        elif style == "right":
            print_label(sheet, house, entry, split - 4, base, cell * share, align="right")
            split += 4
        else:
            span = print_label(sheet, house, entry, left, base, cell * share)
            if style == "ragged" or (style == "lined" and rng.random() < 0.3):
                split = span[2] + house.size * 0.5
        print_value(sheet, house, asker, entry, split, base, right - split - 3)
        if style == "lined":
            sheet.rule(base + step * 1.05, split - 2, right, ink=ink)
    return y + rows * height


def mosaic(
    sheet: Press, rng: random.Random, house: House, asker: Asker, entries: list[Entry], margin: float,
    y: float,
) -> float:  # fmt: skip
    """Boxes of unequal widths, the label small in the upper left corner of each."""
    small = house.font(rng.choice((0.75, 0.8, 0.9)), bold=house.label_bold)
    step = line_height(house.value())
    height = line_height(small) + step * rng.uniform(1.15, 1.6)
    room = sheet.width - 2 * margin
    position = 0
    inset = rng.choice((3, 4, 6))
    while position < len(entries):
        count = min(
            len(entries) - position, rng.randint(1, max(1, min(4, int(room / (13 * house.size)))))
        )
        shares = [rng.uniform(0.6, 1.6) for _ in range(count)]
        x = margin
        for entry, share in zip(entries[position : position + count], shares, strict=True):
            wide = room * share / sum(shares)
            sheet.box((x, y, x + wide, y + height))
            label = fit(entry.label + house.mark, small, wide - 2 * inset)
            sheet.text(x + inset, y + 2, label, small, ink=house.ink)
            entry.value = fit(entry.value, house.value(), wide - 2 * inset) if label else ""
            if entry.value and label.startswith(entry.label):
                span = sheet.text(
                    x + inset, y + height - step * 1.1, entry.value, house.value(), ink=house.ink
                )
                asker.entry(entry, span, "below")
            x += wide
        y += height
        position += count
    return y + house.size * rng.uniform(0.4, 1.2)


def on_lines(
    sheet: Press, rng: random.Random, house: House, asker: Asker, entries: list[Entry], margin: float,
    y: float, columns: int,
) -> float:  # fmt: skip
    """Values on ruled lines with the label in small type below the line."""
    gap = house.size * 1.5
    wide = (sheet.width - 2 * margin - gap * (columns - 1)) / columns
    small = house.font(rng.choice((0.75, 0.85)))
    step = line_height(house.value())
    for start in range(0, len(entries), columns):
        for column, entry in enumerate(entries[start : start + columns]):
            x = margin + column * (wide + gap)
            sheet.rule(y + step + 2, x, x + wide)
            entry.value = fit(entry.value, house.value(), wide - 6)
            label = f"({entry.label})" if rng.random() < 0.3 else entry.label
            if fit(label, small, wide) != label:
                continue
            sheet.text(x, y + step + 4, label, small, ink=house.ink)
            if entry.value:
                span = sheet.text(x + 3, y, entry.value, house.value(), ink=house.ink)
                asker.entry(entry, span, "above")
        y += step + line_height(small) + house.size * rng.uniform(0.6, 1.2)
    return y + house.size * 0.5


def logo(sheet: Press, rng: random.Random, x: float, y: float, side: float) -> Span:
    """A mark of shapes, sometimes with a few letters on it; returns its rectangle."""
    wide = side * rng.uniform(0.8, 2.0)
    span = (x, y, x + wide, y + side)
    shade = rng.choice((0, 30, 80, 130, 170))
    shape = rng.random()
    if shape < 0.3:
        sheet.draw.ellipse(span, fill=shade)
    elif shape < 0.6:
        sheet.draw.rectangle(span, fill=shade)
    elif shape < 0.75:
        sheet.draw.rounded_rectangle(span, radius=side / 4, outline=shade, width=3)
        shade = 255
    elif shape < 0.9:
        sheet.draw.polygon([(x + rng.uniform(0, wide), y + rng.uniform(0, side)) for _ in range(5)],
                           fill=shade)  # fmt: skip
        return span
    else:
        for k in range(4):
            sheet.draw.arc(
                (x + k * 4, y + k * 4, x + wide, y + side), 20 * k, 300, fill=shade, width=3
            )
        return span
    if rng.random() < 0.6:
        text = invented_word(rng)[: rng.randint(1, 4)].upper()
        face = pick_face(rng, bold=True)
        size = round(side * 0.6)
        while size > 10 and text_length(face.at(size), text) > wide * 0.8:
            size = round(size * 0.8)
        font = face.at(size)
        sheet.text(x + wide / 2, y + (side - line_height(font)) / 2, text, font,
                   ink=255 if shade < 200 else 0, align="centre")  # fmt: skip
    return span
