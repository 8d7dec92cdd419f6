"""Signs: a few big words on plain, shaded or striped grounds."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
from PIL import Image, ImageDraw

from cropvlm_core.training.pages.asking import spoken
from cropvlm_core.training.pages.fonts import pick_face
from cropvlm_core.training.pages.invent import company, invented_word, product
from cropvlm_core.training.pages.press import Press, text_length
from cropvlm_core.training.pages.prose import WORDS
from cropvlm_core.training.pages.sheet import Page, Word, line_height
from cropvlm_core.training.pages.wordings import is_held_out

_SIGN_FORMS = (
    "the word beginning with {a}|Which word begins with {a}?|What word starts with {a}?|"
    "Which word starts with {a}?|Read the word beginning with {a}.|the word that starts with {a}|"
    "What does the word that begins with {a} say?|word starting with {a}",
    "Which word ends in {z}?|the word ending in {z}|What is the word that ends with {z}?|word ending with {z}",
    "What is the longest word?|Which is the longest word on the sign?|Read the longest word.",
    "What is written here?|What does it say?|Read the text.|What does the sign say?|Which text is on the sign?",
    "Which number is on the sign?|What number is written there?|Read the number.|What is the number?",
    "What is the biggest word?|Which word is printed largest?|Read the word in the largest letters.",
)


def sign(rng: random.Random, *, held_out: bool = False) -> Page:
    """A few big words anywhere on a plain, shaded or striped ground, as on signs and shop fronts."""
    width, height = rng.randint(420, 900), rng.randint(320, 700)
    sheet = Press(width, height, rng)
    base = _ground(sheet, rng)
    sizes: list[tuple[float, Word]] = []
    used: list[tuple[float, float, float, float]] = []
    for _ in range(rng.randint(1, 9)):
        face = pick_face(rng, bold=rng.random() < 0.6)
        size = round(
            min(width, height)
            * rng.choice((0.03, 0.045, 0.06, 0.09, 0.13, 0.2))
            * rng.uniform(0.8, 1.2)
        )
        font = face.at(max(11, size))
        text = sign_words(rng)
        while text and text_length(font, text) > width * 0.9:
            text = text.rsplit(" ", 1)[0] if " " in text else ""
        if not text:
            continue
        wide, tall = text_length(font, text), line_height(font)
        for _ in range(8):
            x, y = rng.uniform(4, width - wide - 4), rng.uniform(4, max(5.0, height - tall - 4))
            place = (x - 6, y - 4, x + wide + 6, y + tall + 4)
            if all(
                place[0] > u[2] or place[2] < u[0] or place[1] > u[3] or place[3] < u[1]
                for u in used
            ):
                break
        else:
            continue
        used.append(place)
        shade = base
        if rng.random() < 0.35:  # a board behind the word
            shade = rng.choice((0, 40, 120, 200, 255))
            sheet.draw.rectangle(place, fill=shade, outline=rng.choice((0, 255, None)))
        contrast = rng.choice((90, 130, 180, 255))
        ink = max(0, shade - contrast) if shade > 127 else min(255, shade + contrast)
        before = len(sheet.words)
        sheet.text(x, y, text, font, ink=ink)
        sizes += [(font.size, word) for word in sheet.words[before:]]
    _ask_sign(sheet, rng, sizes, held_out)
    return sheet.page("sign")


def sign_words(rng: random.Random) -> str:
    """One or two words or a number as signs show them."""
    makers = (
        lambda: rng.choice(WORDS), lambda: rng.choice(WORDS), lambda: invented_word(rng),
        lambda: company(rng).split()[0], lambda: str(rng.randint(1, 9999)), lambda: product(rng).split()[0],
        lambda: f"{rng.randint(1, 99)}%", lambda: f"{rng.choice(WORDS)} {rng.choice(WORDS)}",
    )  # fmt: skip
    text = rng.choice(makers)()
    draw = rng.random()
    return text.upper() if draw < 0.5 else text.title() if draw < 0.75 else text


def _ground(sheet: Press, rng: random.Random) -> int:
    """Paint a ground of low contrast; returns its usual shade."""
    shade = rng.choice((255, 235, 200, 150, 90, 40, 0))
    if rng.random() < 0.35:
        sheet.draw.rectangle((0, 0, sheet.width, sheet.height), fill=shade)
        return shade
    corners = np.array([[shade + rng.uniform(-45, 45) for _ in range(3)] for _ in range(3)])
    small = Image.fromarray(np.clip(corners, 0, 255).astype(np.uint8))
    sheet.image.paste(small.resize((sheet.width, sheet.height), Image.Resampling.BICUBIC))
    draw = ImageDraw.Draw(sheet.image)
    for _ in range(rng.choice((0, 0, 3, 8))):
        x, y = rng.uniform(0, sheet.width), rng.uniform(0, sheet.height)
        side = rng.uniform(10, 160)
        tone = int(min(255, max(0, shade + rng.uniform(-35, 35))))
        if rng.random() < 0.5:
            draw.ellipse((x, y, x + side, y + side * rng.uniform(0.3, 1)), fill=tone)
        else:
            draw.rectangle((x, y, x + side * rng.uniform(0.2, 2), y + side), fill=tone)
    return shade


def _ask_sign(
    sheet: Press, rng: random.Random, sizes: list[tuple[float, Word]], held_out: bool
) -> None:
    words = sheet.words
    folded = Counter(word.text.casefold() for word in words)
    pool: list[tuple[int, str, Word]] = []
    for word in words:
        text = word.text.casefold()
        if folded[text] > 1:
            continue
        for length in (1, 2, 3):
            if (
                length < len(text)
                and sum(o.text.casefold().startswith(text[:length]) for o in words) == 1
            ):
                pool.append((0, word.text[:length], word))
                break
        for length in (2, 3):
            if (
                length < len(text)
                and sum(o.text.casefold().endswith(text[-length:]) for o in words) == 1
            ):
                pool.append((1, word.text[-length:], word))
                break
    longest = sorted(words, key=lambda word: -len(word.text))
    if len(longest) > 1 and len(longest[0].text) > len(longest[1].text):
        pool.append((2, "", longest[0]))
    if len(words) == 1:
        pool.append((3, "", words[0]))
    numbers = [word for word in words if word.text.isdigit()]
    if len(numbers) == 1:
        pool.append((4, "", numbers[0]))
    ranked = sorted(sizes, key=lambda pair: -pair[0])
    if len(ranked) > 1 and ranked[0][0] > ranked[1][0] * 1.25:
        pool.append((5, "", ranked[0][1]))
    for index, part, word in rng.sample(pool, min(len(pool), 8)):
        forms = [form for form in _SIGN_FORMS[index].split("|") if is_held_out(form) == held_out]
        if forms:
            text = rng.choice(forms).format(a=part, z=part)
            sheet.ask(spoken(rng, text), word.text, word.span, "word")
