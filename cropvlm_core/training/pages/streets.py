"""Photograph-like scenes with words: boards at angles, lights, blur; most of the picture is no text."""

from __future__ import annotations

import io
import math
import random
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from cropvlm_core.training.pages.asking import spoken
from cropvlm_core.training.pages.degrade import Affine, grain, moved_word
from cropvlm_core.training.pages.fonts import pick_face
from cropvlm_core.training.pages.press import Press, text_length
from cropvlm_core.training.pages.sheet import Asked, Page, Word, line_height
from cropvlm_core.training.pages.signs import sign_words
from cropvlm_core.training.pages.wordings import is_held_out

_STARTS = (
    "Which word begins with {a}?|Which word starting with {a} is in this picture?|"
    "Read the word beginning with {a}.|What does the word that begins with {a} say?|"
    "Which word starting with {a} can be seen?|What word starts with {a}?|word beginning with {a}|"
    "Find the word that starts with {a}.|Which {a} word is written here?|Read the word with the initial {a}.|"
    "Which word in the photo has {a} as its first letter?|What is the word starting with {a} on the sign?|"
    "the word that begins with {a}|Which written word begins with {a}?"
)
_ENDS = "Which word ends in {a}?|Read the word that ends with {a}.|What word ends with {a}?"
_ONLY = (
    "What does the sign say?|Which word can be read?|What is written here?|Read the text in the picture.|"
    "What word is on the sign?|Which word is in this photo?|What can you read here?|What does it say?|"
    "Which text is shown?|Read the sign."
)
_NUMBER = "Which number is on the sign?|What number can be read?|Read the number in the picture."


def street(rng: random.Random, *, held_out: bool = False) -> Page:
    """Words on boards and walls in a scene of shapes, textures and lights, as a camera sees it."""
    width = rng.choice((900, 1100, 1280))
    height = round(width * rng.choice((0.5625, 0.5625, 0.75, 1.0, 1.33)))
    image = _scene(rng, width // 2, height // 2).resize((width, height), Image.Resampling.BILINEAR)
    words: list[Word] = []
    taken: list[tuple[float, float, float, float]] = []
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8, 12))):
        _board(rng, image, words, taken)
    image = _taken(image, rng)
    page = Page(image, words, [], "street")
    page.asked = list(_asked(rng, words, held_out))
    return page


def _clouds(rng: random.Random, width: int, height: int) -> NDArray[np.float32]:
    """Noise of many scales, zero mean, about unit deviation: stone, leaves, reflections."""
    source = np.random.default_rng(rng.randrange(2**32))
    sums = np.zeros((height, width), dtype=np.float32)
    for cells in rng.sample((3, 6, 12, 24, 48, 96), 4):
        small = source.normal(0, 1, (max(2, cells * height // width), cells)).astype(np.float32)
        big = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        sums += np.asarray(big) * rng.uniform(0.2, 1.0)
    return sums / (sums.std() + 1e-3)


def _scene(rng: random.Random, width: int, height: int) -> Image.Image:
    """Planes in different light, repeated structures, blobs and lamps."""
    shade = rng.randint(20, 210)
    image = Image.new("L", (width, height), shade)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(3, 14)):  # planes seen at an angle
        x, y = rng.uniform(-0.2, 1) * width, rng.uniform(-0.2, 1) * height
        wide, tall = rng.uniform(0.05, 0.7) * width, rng.uniform(0.05, 0.9) * height
        lean = rng.uniform(-0.35, 0.35)
        corners = [
            (x, y),
            (x + wide, y + wide * lean),
            (x + wide, y + tall - wide * lean * 0.5),
            (x, y + tall),
        ]
        draw.polygon(corners, fill=rng.randint(0, 255))
    for _ in range(rng.randint(1, 6)):  # windows, tiles, rails, shelves
        x, y = rng.uniform(0, 1) * width, rng.uniform(0, 1) * height
        dx, dy = rng.uniform(3, 35), rng.uniform(3, 35)
        tone, kind, lean = rng.randint(0, 255), rng.random(), rng.uniform(-0.3, 0.3)
        for i in range(rng.randint(2, 12)):
            for j in range(rng.randint(1, 6)):
                a, b = x + i * dx, y + j * dy + i * dx * lean
                if kind < 0.4:
                    draw.rectangle((a, b, a + dx * 0.7, b + dy * 0.7), fill=tone)
                elif kind < 0.7:
                    draw.line((a, b, a + dx * 0.1, b + dy * 4), fill=tone, width=rng.randint(1, 5))
                else:
                    draw.ellipse((a, b, a + dx * 0.5, b + dx * 0.5), outline=tone, width=2)
    for _ in range(rng.randint(0, 10)):  # people, plants, lamps
        x, y = rng.uniform(0, 1) * width, rng.uniform(0, 1) * height
        side = rng.uniform(2, 60)
        draw.ellipse(
            (x, y, x + side * rng.uniform(0.4, 1.2), y + side),
            fill=rng.choice((255, 240, rng.randint(0, 255))),
        )
    for _ in range(rng.choice((20, 60, 150))):  # lamps, reflections, leaves, goods on shelves
        x, y, side = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(1, 6)
        draw.rectangle(
            (x, y, x + side * rng.uniform(0.5, 2), y + side), fill=rng.choice((0, 90, 255))
        )
    if rng.random() < 0.8:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.6)))
    pixels = np.asarray(image, dtype=np.float32) + _clouds(rng, width, height) * rng.uniform(2, 24)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _grained(image: Image.Image, rng: random.Random) -> Image.Image:
    """Fine grain on every pixel: without it a scene is smoother than any photograph."""
    width, height = image.size
    tile = np.roll(grain(), (rng.randrange(512), rng.randrange(512)), (0, 1))
    tile = np.tile(tile, (height // 512 + 1, width // 512 + 1))[:height, :width]
    pixels = np.asarray(image, dtype=np.float32) + tile * rng.uniform(0.5, 9)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _taken(image: Image.Image, rng: random.Random) -> Image.Image:
    """What a camera adds: blur, noise of the dark, compression."""
    if rng.random() < 0.6:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.6)))
    if rng.random() < 0.5:
        gain, dark = rng.uniform(0.4, 1.2), rng.randint(0, 25)
        image = image.point([min(255, round(dark + gain * value)) for value in range(256)])
    image = _grained(image, rng)
    if rng.random() < 0.6:
        held = io.BytesIO()
        image.save(held, "JPEG", quality=rng.randint(30, 90))
        image = Image.open(held).convert("L")
    return image


def _board(
    rng: random.Random, image: Image.Image, words: list[Word],
    taken: list[tuple[float, float, float, float]],
) -> None:  # fmt: skip
    """Print a few words on a sheet, turn and slant the sheet, and paste it onto the scene."""
    width, height = image.size
    size = round(rng.choice((13, 16, 20, 26, 34, 48, 70, 110)) * rng.uniform(0.8, 1.25))
    face = pick_face(rng, bold=rng.random() < 0.6)
    font = face.at(max(10, size))
    lines = [sign_words(rng) for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5)))]
    lines = [text for text in lines if text and text_length(font, text) < 0.75 * width]
    if not lines:
        return
    pad = size * rng.uniform(0.15, 0.9)
    wide = max(text_length(font, text) for text in lines) + 2 * pad
    tall = len(lines) * line_height(font) * 1.1 + 2 * pad
    if tall > 0.8 * height:
        return
    bare = rng.random() < 0.3  # letters on the wall itself
    ground = rng.choice((0, 15, 60, 120, 180, 235, 255))
    contrast = rng.choice((60, 90, 140, 200, 255))
    darker = ground > 127 if rng.random() < 0.85 else rng.random() < 0.5
    ink = max(0, ground - contrast) if darker else min(255, ground + contrast)
    if abs(ink - ground) < 50:
        ink = 0 if ground > 127 else 255
    sheet = Press(math.ceil(wide), math.ceil(tall), rng, paper=ground)
    middle = rng.random() < 0.5
    for number, text in enumerate(lines):
        x = wide / 2 if middle else pad
        sheet.text(x, pad + number * line_height(font) * 1.1, text, font, ink=ink,
                   align="centre" if middle else "left")  # fmt: skip
    angle = math.radians(rng.gauss(0, 7) if rng.random() < 0.8 else rng.gauss(0, 20))
    slant, squeeze = rng.gauss(0, 0.12), rng.uniform(0.55, 1.15)
    a, b = squeeze * math.cos(angle), -math.sin(angle) + slant
    d, e = squeeze * math.sin(angle), math.cos(angle)
    corners = [(a * x + b * y, d * x + e * y) for x in (0, wide) for y in (0, tall)]
    low_x, low_y = min(p[0] for p in corners), min(p[1] for p in corners)
    out = (
        math.ceil(max(p[0] for p in corners) - low_x),
        math.ceil(max(p[1] for p in corners) - low_y),
    )
    if out[0] >= width or out[1] >= height:
        return
    for _ in range(6):
        left, top = rng.randint(0, width - out[0]), rng.randint(0, height - out[1])
        place = (left, top, left + out[0], top + out[1])
        if all(
            place[0] > t[2] or place[2] < t[0] or place[1] > t[3] or place[3] < t[1] for t in taken
        ):
            break
    else:
        return
    taken.append(place)
    inverse = np.linalg.inv(np.array([[a, b, -low_x], [d, e, -low_y], [0, 0, 1]]))
    form = tuple(inverse[:2].ravel())
    turned = sheet.image.transform(
        out, Image.Transform.AFFINE, form, Image.Resampling.BILINEAR, fillcolor=ground
    )
    if bare:  # only the letters, at the strength of their contrast
        plane = np.abs(np.asarray(turned, dtype=np.int32) - ground) * 255 // abs(ink - ground)
        letters = Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8))
        under = np.asarray(image.crop(place)).mean()
        tone = rng.choice((0, 30)) if under > 110 else rng.choice((255, 225))
        if rng.random() < 0.35 and size > 20:  # a rim or a shadow of the other tone
            rim = letters.filter(ImageFilter.MaxFilter(rng.choice((3, 5))))
            shift = rng.choice((0, 0, 2, 4))
            image.paste(255 - tone, (left + shift, top + shift), rim)
        image.paste(tone, place, letters)
    else:
        full = Image.new("L", sheet.image.size, 255)
        mask = full.transform(out, Image.Transform.AFFINE, form, Image.Resampling.BILINEAR)
        if rng.random() < 0.5:  # a board that is not evenly lit
            light = Image.fromarray(
                np.array(
                    [[rng.uniform(0.5, 1) for _ in range(2)] for _ in range(2)], dtype=np.float32
                )
            )
            plane = np.asarray(turned) * np.asarray(light.resize(out, Image.Resampling.BILINEAR))
            turned = Image.fromarray(plane.astype(np.uint8))
        image.paste(turned, place, mask)
    matrix: Affine = (a, b, left - low_x, d, e, top - low_y)
    words += [moved_word(word, matrix) for word in sheet.words]


def _asked(rng: random.Random, words: list[Word], held_out: bool) -> list[Asked]:
    texts = [word.text.casefold() for word in words]
    seen = Counter(texts)
    pool: list[tuple[str, str, Word]] = []
    for word, text in zip(words, texts, strict=True):
        if seen[text] > 1 or not text[0].isalnum():
            continue
        for forms, part, like in (
            (_STARTS, word.text[:1], [o for o in texts if o.startswith(text[:1])]),
            (_STARTS, word.text[:1], [o for o in texts if o.startswith(text[:1])]),
            (_STARTS, word.text[:2], [o for o in texts if o.startswith(text[:2])]),
            (_STARTS, word.text[:3], [o for o in texts if o.startswith(text[:3])]),
            (_ENDS, word.text[-2:], [o for o in texts if o.endswith(text[-2:])]),
        ):
            if len(like) == 1 and len(part) < len(text):
                pool.append((forms, part, word))
    if len(words) == 1:
        pool += [(_ONLY, "", words[0])] * 3
    numbers = [word for word in words if word.text.isdigit()]
    if len(numbers) == 1:
        pool.append((_NUMBER, "", numbers[0]))
    found: dict[str, Asked] = {}
    for forms, part, word in rng.sample(pool, min(len(pool), 20)):
        allowed = [form for form in forms.split("|") if is_held_out(form) == held_out]
        if not allowed:
            continue
        mark = rng.choice(('"{}"', "'{}'", "'{}'", "{}"))
        part = part if rng.random() < 0.7 else part.upper()
        question = spoken(rng, rng.choice(allowed).format(a=mark.format(part)))
        found[question] = Asked(question, word.text, [word.span], "word")
    return list(found.values())
