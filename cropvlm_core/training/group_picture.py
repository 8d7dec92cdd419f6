"""The picture of a group: a page with the boxes of its rollouts, coloured by advantage."""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from cropvlm_core.box import Box, union_area
from cropvlm_core.errors import shorten
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.health import NOISE, Rewards, check_batch, percent
from cropvlm_core.training.rollouts import Rollout

Colour = tuple[int, int, int]

_LONGEST, _SHORTEST = 900, 480  # pixels: longest side of a drawn page, at most and at least
_MARGIN = 26  # pixels around the page, for outlines and tags at its edge
_NARROWEST = 640  # pixels: width of a picture
_BEST, _EQUAL, _WORST = (0, 84, 200), (120, 120, 120), (214, 84, 0)  # told apart by all eyes
_MOST_LINES = 5  # of a long question


@dataclass(frozen=True)
class _Row:
    """Rollouts of a group that agree in everything: one line of the list, one box."""

    label: str
    rollout: Rollout
    advantage: float
    rewards: tuple[tuple[str, float | None], ...]
    colour: Colour
    best: bool


def draw_group(
    rollouts: Sequence[Rollout], advantages: Sequence[float], rewards: Rewards | None = None
) -> Image.Image:
    """Draw one question's page with the crops of its rollouts, and list what each wrote.

    Blue is better than the group's mean, orange worse, grey the same; the best lies on top with
    the thickest line. A box has the number of its line in the list below the page; rollouts that
    agree in everything share a line and are counted: ``1 x3``. Where the answer stands, if the
    question knows, is dashed in black, for the eye only.

    Args:
        rollouts: of one question, one or more.
        advantages: one a rollout.
        rewards: values to list beside them.

    Returns:
        A picture of at least 640 pixels' width; its page has sides of at most 900.

    Raises:
        DataError: no rollout, or not one advantage and value a rollout.
    """
    check_batch(rollouts, advantages, rewards or {})
    asked = rollouts[0].question
    rows, bound = _rows(rollouts, advantages, rewards or {})
    page = _page(asked, rows)
    width = max(page.width, _NARROWEST)
    parts = [_text(asked.question, width, bold=True)]
    if asked.answers:
        parts.append(_text("answer: " + " | ".join(asked.answers), width, most=2))
    parts += [_legend(bound, asked.targets, width), page]
    parts += [_listed(row, asked, width) for row in rows]
    picture = Image.new("RGB", (width, sum(part.height for part in parts) + 8), "white")
    top = 0
    for part in parts:
        picture.paste(part, (0, top))
        top += part.height
    return picture


def _rows(
    rollouts: Sequence[Rollout], advantages: Sequence[float], rewards: Rewards
) -> tuple[list[_Row], float]:
    """The rows, best first, and the largest advantage of either sign (0: all are the same)."""
    known = [value if math.isfinite(value) else 0.0 for value in advantages]
    bound = max(map(abs, known))
    bound = bound if bound > NOISE else 0.0
    alike: dict[Any, list[int]] = {}
    for index in sorted(range(len(known)), key=lambda index: -known[index]):
        values = tuple((name, of[index]) for name, of in rewards.items())
        pixels = tuple(crop.pixels for crop in rollouts[index].zoom.crops)
        alike.setdefault((known[index], values, pixels, rollouts[index].text), []).append(index)
    rows = []
    for number, ((advantage, values, _, _), indexes) in enumerate(alike.items(), 1):
        label = f"{number} x{len(indexes)}" if len(indexes) > 1 else f"{number}"
        colour = _colour(advantage / bound if bound else 0.0)
        best = bound > 0 and advantage == max(known)
        rows.append(_Row(label, rollouts[indexes[0]], advantage, values, colour, best))
    return rows, bound


def _page(asked: AnsweredQuestion, rows: Sequence[_Row]) -> Image.Image:
    """The page, a little faded, with outlines around the crops and tags at them."""
    page = asked.open()
    scale = min(_LONGEST, max(_SHORTEST, *page.size)) / max(page.size)
    width, height = (max(1, round(side * scale)) for side in page.size)
    shown = page.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    shown = Image.blend(shown, Image.new("RGB", shown.size, "white"), 0.25)
    picture = Image.new("RGB", (width + 2 * _MARGIN, height + 2 * _MARGIN), "white")
    picture.paste(shown, (_MARGIN, _MARGIN))
    pen = ImageDraw.Draw(picture)
    _outline(pen, (_MARGIN, _MARGIN, _MARGIN + width, _MARGIN + height), 1, (190, 190, 190))

    def placed(box: Box) -> tuple[int, int, int, int]:
        left, top, right, bottom = box.to_pixels((width, height))
        return left + _MARGIN, top + _MARGIN, right + _MARGIN, bottom + _MARGIN

    crops = [(row, placed(crop.box)) for row in rows for crop in row.rollout.zoom.crops]
    # What coincides is drawn around each other, up to a point.
    levels = [
        min(3, sum(other == place for _, other in crops[:index]))
        for index, (_, place) in enumerate(crops)
    ]
    for (row, (left, top, right, bottom)), level in reversed([*zip(crops, levels, strict=True)]):
        out = 7 * level
        frame = (left - out, top - out, right + out, bottom + out)
        _outline(pen, frame, 5 if row.best else 3, row.colour)
    for box in asked.targets:
        _dashed(pen, placed(box))
    taken: list[tuple[int, int, int, int]] = []
    for row, place in crops:
        tag = _tag(row)
        corner = _free_place(place, tag.size, picture.size, taken)
        taken.append((*corner, corner[0] + tag.width, corner[1] + tag.height))
        picture.paste(tag, corner)
    return picture


def _outline(
    pen: ImageDraw.ImageDraw, frame: tuple[int, int, int, int], thick: int, colour: Colour
) -> None:
    """A line around ``frame`` (half-open), not on it, with a white seam against dark pages."""
    left, top, right, bottom = frame
    for out, drawn in ((thick + 1, (255, 255, 255)), (thick, colour)):
        around = (left - out, top - out, right + out - 1, bottom + out - 1)
        pen.rectangle(around, outline=drawn, width=out)


def _dashed(pen: ImageDraw.ImageDraw, frame: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = frame
    corners = [(left - 2, top - 2), (right + 1, top - 2), (right + 1, bottom + 1)]
    corners += [(left - 2, bottom + 1), corners[0]]
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        pen.line((x0, y0, x1, y1), fill="white", width=2)
        length = max(abs(x1 - x0), abs(y1 - y0), 1)
        for start in range(0, length, 10):
            near, far = start / length, min(1.0, (start + 6) / length)
            dash = [(x0 + (x1 - x0) * at, y0 + (y1 - y0) * at) for at in (near, far)]
            pen.line(dash, fill="black", width=2)


def _free_place(
    frame: tuple[int, int, int, int],
    size: tuple[int, int],
    room: tuple[int, int],
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int]:
    """Where a tag goes: along the top edge of its box, else the bottom, where none is yet."""
    left, top, _, bottom = frame
    width, height = size
    places = [
        (min(max(x, 0), room[0] - width), min(max(y, 0), room[1] - height))
        for y in (top - height - 4, bottom + 4, top, bottom - height)
        for x in range(left - 4, left + 8 * width, width + 3)
    ]
    for x, y in places:
        if not any(
            x < x1 and x0 < x + width and y < y1 and y0 < y + height for x0, y0, x1, y1 in taken
        ):
            return x, y
    return places[0]


def _legend(bound: float, targets: Sequence[Box], width: int) -> Image.Image:
    picture = Image.new("RGB", (width, 30), "white")
    pen = ImageDraw.Draw(picture)
    font = _font(14)
    x = 8.0
    if bound:
        for text, bar in ((f"advantage {-bound:+.3g}", 120), (f"{bound:+.3g}", 0)):
            pen.text((x, 6), text, fill="black", font=font)
            x += font.getlength(text) + 8
            for step in range(bar):
                colour = _colour(step / (bar - 1) * 2 - 1)
                pen.line((x + step, 8, x + step, 21), fill=colour)
            x += bar + 8 if bar else 16
    else:
        text = "all advantages are equal: this group teaches nothing"
        pen.text((x, 6), text, fill="black", font=font)
        x += font.getlength(text) + 24
    if targets:
        _dashed(pen, (int(x), 9, int(x) + 32, 21))
        pen.text((x + 42, 6), "where the answer stands", fill="black", font=font)
    return picture


def _listed(row: _Row, asked: AnsweredQuestion, width: int) -> Image.Image:
    """A line of the list: tag, advantage, rewards, what is seen, what was written."""
    values = [
        f"{name} {'missing' if value is None else format(value, '.3g')}"
        for name, value in row.rewards
    ]
    boxes = [crop.box for crop in row.rollout.zoom.crops]
    why = (row.rollout.zoom.reason or "").replace("_", " ")
    seen = [f"area {percent(union_area(boxes))}" if boxes else f"whole page, {why}"]
    if boxes and asked.targets:
        seen.append("hit" if asked.hit(boxes) else "miss")
    if row.rollout.repaired:
        seen.append("repaired")
    wrote = shorten(row.rollout.text, 200)
    said = "  ·  ".join((f"{round(row.advantage, 3) + 0.0:+.3f}", *values, ", ".join(seen), wrote))
    tag = _tag(row)
    text = _text(said, width - 64, most=3)
    picture = Image.new("RGB", (width, text.height), "white")
    picture.paste(tag, (8, 4))
    picture.paste(text, (64, 0))
    return picture


def _tag(row: _Row) -> Image.Image:
    font = _font(13, bold=True)
    picture = Image.new("RGB", (int(font.getlength(row.label)) + 8, 19), row.colour)
    ImageDraw.Draw(picture).text((4, 2), row.label, fill="white", font=font)
    return picture


def _text(text: str, width: int, *, bold: bool = False, most: int = _MOST_LINES) -> Image.Image:
    font = _font(16 if bold else 14, bold=bold)
    lines = _wrapped(text, font, width - 16, most)
    picture = Image.new("RGB", (width, 22 * len(lines) + 5), "white")
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        pen.text((8, 4 + 22 * number), line, fill="black", font=font)
    return picture


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@functools.cache
def _font(size: int, *, bold: bool = False) -> Font:
    """DejaVu, which knows most alphabets, where the machine has it; else Pillow's own font."""
    try:
        return ImageFont.truetype("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def _wrapped(text: str, font: Font, width: float, most: int) -> list[str]:
    """Lines of at most ``width`` pixels; what is over after ``most`` lines is only counted."""
    rest = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    lines: list[str] = []
    while rest and len(lines) < most:
        begun = rest
        counts = range(2, min(len(rest), 300) + 1)
        fit = 1 + bisect.bisect_right(counts, width, key=lambda n: font.getlength(begun[:n]))
        if fit < len(rest):
            space = rest.rfind(" ", 0, fit + 1)
            fit = space if space > 0 else fit
        lines.append(rest[:fit])
        rest = rest[fit:].lstrip()
    if rest:
        more, line = f" … ({len(rest):,} more characters)", lines[-1]
        while line and font.getlength(line + more) > width:
            line = line[:-1]
        lines[-1] = line + more
    return lines or [""]


def _colour(share: float) -> Colour:
    """Of an advantage as a share -1..1 of the largest."""
    end = _BEST if share > 0 else _WORST
    red, green, blue = (
        round(middle + (far - middle) * min(1.0, abs(share)))
        for middle, far in zip(_EQUAL, end, strict=True)
    )
    return red, green, blue
