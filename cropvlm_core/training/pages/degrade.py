"""What printing, paper, cameras and scanners do to a page, applied to picture and words alike."""

from __future__ import annotations

import functools
import io
import math
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from cropvlm_core.training.pages.sheet import Asked, Page, Span, Word

Affine = tuple[float, float, float, float, float, float]
"""x' = a x + b y + c, y' = d x + e y + f."""


def degrade(page: Page, rng: random.Random) -> Page:
    """The page after a random chain of damage: fading, pen marks, skew, blur, noise, JPEG."""
    image = page.image.convert("L")
    if rng.random() < 0.3:
        image = _fade(image, rng)
    if rng.random() < 0.25:
        _scribble(image, rng)
    words, asked = page.words, page.asked
    if rng.random() < 0.5:
        image, matrix = skewed(image, rng)
        words = [moved_word(word, matrix) for word in words]
        asked = [
            Asked(a.question, a.answer, [moved(s, matrix) for s in a.spans], a.field) for a in asked
        ]
    if rng.random() < 0.35:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.1)))
    if rng.random() < 0.15:
        thicker = rng.choice((ImageFilter.MinFilter(3), ImageFilter.SHARPEN))
        image = image.filter(thicker if _print_height(words) > 14 else ImageFilter.SHARPEN)
    if rng.random() < 0.35:
        image = _light(image, rng)
    if rng.random() < 0.4:
        image = _noise(image, rng)
    if rng.random() < 0.12:
        image = _black_and_white(image, rng)
    if rng.random() < 0.4:
        held = io.BytesIO()
        image.save(held, "JPEG", quality=rng.randint(25, 85))
        image = Image.open(held).convert("L")
    if rng.random() < 0.04:
        image = image.point([255 - value for value in range(256)])
    return Page(image, words, asked, page.kind)


def window(page: Page, rng: random.Random, area: float) -> Page:
    """A random piece of a page of about ``area`` pixels.

    Words and answers that the cut divides are dropped, and questions whose label, left of or above
    the answer, may have been cut off.
    """
    width, height = page.image.size
    side = math.sqrt(min(area, width * height))
    wide = min(width, round(side * rng.uniform(0.75, 1.35)))
    tall = min(height, round(side * side / wide))
    left, top = rng.randint(0, width - wide), rng.randint(0, height - tall)

    def inside(span: Span) -> bool:
        return (
            left <= span[0] and span[2] <= left + wide and top <= span[1] and span[3] <= top + tall
        )

    shift: Affine = (1, 0, -left, 0, 1, -top)
    words = [moved_word(word, shift) for word in page.words if inside(word.span)]
    asked = [
        Asked(a.question, a.answer, [moved(span, shift) for span in a.spans], a.field)
        for a in page.asked
        if all(inside((max(0, s[0] - 0.3 * wide), max(0, s[1] - 60), s[2], s[3])) for s in a.spans)
    ]
    return Page(page.image.crop((left, top, left + wide, top + tall)), words, asked, page.kind)


def moved(span: Span, matrix: Affine) -> Span:
    """The upright rectangle around ``span`` after the affine map."""
    a, b, c, d, e, f = matrix
    corners = [(x, y) for x in (span[0], span[2]) for y in (span[1], span[3])]
    xs = [a * x + b * y + c for x, y in corners]
    ys = [d * x + e * y + f for x, y in corners]
    return (min(xs), min(ys), max(xs), max(ys))


def moved_word(word: Word, matrix: Affine) -> Word:
    """The word after the affine map; letter edges are followed along its middle line."""
    a, b, c, d, e, f = matrix
    left, top, right, bottom = word.span
    middle = (top + bottom) / 2
    edges = a * word.edges + b * middle + c
    centre = d * (left + right) / 2 + e * middle + f
    half = abs(e) * (bottom - top) / 2
    slope = abs(d) * (right - left) / 2
    return Word(
        word.text, (edges[0], centre - half - slope, edges[-1], centre + half + slope), edges
    )


def skewed(image: Image.Image, rng: random.Random) -> tuple[Image.Image, Affine]:
    """Rotate by a little, perhaps on a larger or darker ground; returns the forward map."""
    angle = math.radians(rng.gauss(0, 1.2))
    scale = rng.uniform(0.85, 1.1)
    width, height = image.size
    border = [rng.randint(0, width // 8) if rng.random() < 0.4 else 0 for _ in range(4)]
    size = (width + border[0] + border[2], height + border[1] + border[3])
    a, b = scale * math.cos(angle), -scale * math.sin(angle)
    d, e = scale * math.sin(angle), scale * math.cos(angle) * rng.uniform(0.93, 1.07)
    centre = (width / 2, height / 2)
    c = size[0] / 2 - a * centre[0] - b * centre[1]
    f = size[1] / 2 - d * centre[0] - e * centre[1]
    inverse = np.linalg.inv(np.array([[a, b, c], [d, e, f], [0, 0, 1]]))
    ground = rng.choice((255, 255, 255, 230, rng.randint(0, 255)))
    turned = image.transform(
        size, Image.Transform.AFFINE, tuple(inverse[:2].ravel()), Image.Resampling.BILINEAR,
        fillcolor=ground,
    )  # fmt: skip
    return turned, (a, b, c, d, e, f)


def _fade(image: Image.Image, rng: random.Random) -> Image.Image:
    """Ink that is not black on paper that is not white; a thermal print that has faded."""
    low, high = rng.randint(0, 130), rng.randint(190, 255)
    return image.point([round(low + (high - low) * value / 255) for value in range(256)])


def _print_height(words: list[Word]) -> float:
    """Height of the usual word in pixels; thickened, print of few pixels would run together."""
    return float(np.median([word.span[3] - word.span[1] for word in words])) if words else 0.0


def _black_and_white(image: Image.Image, rng: random.Random) -> Image.Image:
    """Black or white at a threshold between ink and paper, wherever these have come to lie."""
    share = np.cumsum(image.histogram()) / (image.width * image.height)
    paper = int(np.searchsorted(share, 0.5))
    ink = int(np.searchsorted(share, 0.01 if paper > 110 else 0.99))
    threshold = ink + (paper - ink) * rng.uniform(0.45, 0.75)
    return image.point([0 if value < threshold else 255 for value in range(256)])


def _scribble(image: Image.Image, rng: random.Random) -> None:
    """Pen strokes, circles and stamps over the print."""
    draw = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(rng.randint(1, 3)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        reach = rng.uniform(0.03, 0.15) * width
        ink, pen = rng.randint(0, 150), rng.randint(1, 4)
        shape = rng.random()
        if shape < 0.35:
            draw.arc((x - reach, y - reach / 2, x + reach, y + reach / 2), rng.randint(0, 90), 360,
                     fill=ink, width=pen)  # fmt: skip
        elif shape < 0.5:
            draw.ellipse((x, y, x + reach / 3, y + reach / 3), fill=rng.choice((0, 0, 120)))
        else:
            points = [
                (x + rng.uniform(-reach, reach), y + rng.uniform(-reach, reach) / 2)
                for _ in range(rng.randint(2, 7))
            ]
            draw.line(points, fill=ink, width=pen, joint="curve")


def _light(image: Image.Image, rng: random.Random) -> Image.Image:
    """Uneven light: a smooth gradient, a fold, or a shadow along an edge."""
    small = np.full((4, 4), 1.0) - np.array(
        [[rng.uniform(0, 0.45) for _ in range(4)] for _ in range(4)]
    ) * rng.uniform(0.2, 1.0)
    shade = Image.fromarray((small * 255).astype(np.uint8)).resize(
        image.size, Image.Resampling.BICUBIC
    )
    if rng.random() < 0.3:
        edge = rng.randint(2, max(3, image.size[0] // 20))
        side = 0 if rng.random() < 0.5 else image.size[0] - edge
        shade.paste(rng.randint(0, 120), (side, 0, side + edge, image.size[1]))
    mixed = np.asarray(image, dtype=np.uint16) * np.asarray(shade, dtype=np.uint16)
    return Image.fromarray((mixed >> 8).astype(np.uint8))


@functools.cache
def grain() -> NDArray[np.float32]:
    """A fixed tile (512, 512) of unit noise."""
    return np.random.default_rng(7).normal(0, 1, (512, 512)).astype(np.float32)


def _noise(image: Image.Image, rng: random.Random) -> Image.Image:
    """Sensor noise from a fixed tile laid at a random place, sometimes with specks."""
    height, width = image.size[1], image.size[0]
    strength, specks = rng.uniform(2, 22), rng.random() < 0.25
    tile = np.roll(grain(), (rng.randrange(512), rng.randrange(512)), (0, 1))
    tile = np.tile(tile, (height // 512 + 1, width // 512 + 1))[:height, :width]
    pixels = np.asarray(image, dtype=np.float32) + tile * strength
    if specks:
        pixels[tile > rng.uniform(2.6, 3.6)] = rng.choice((0, 255))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
