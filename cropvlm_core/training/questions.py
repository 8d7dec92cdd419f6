"""Rendered pages as question sets of the project's format, for validation and for the eye."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw

from cropvlm_core.box import Box
from cropvlm_core.embedded.question_input import fold
from cropvlm_core.questions import AnsweredQuestion, write_questions
from cropvlm_core.training.pages import render_page
from cropvlm_core.training.pages.asking import ANY_FORMS, spoken
from cropvlm_core.training.pages.fields import pick_fields
from cropvlm_core.training.pages.html.entries import TRADES
from cropvlm_core.training.pages.sheet import Page, Span
from cropvlm_core.training.pages.wordings import is_held_out

VALIDATION_SEED = 10**9
"""Seeds from here on are for validation; training never draws them."""

_TILE = (420, 640)
_ACROSS = 5


def validation_questions(
    count: int, kind: str | None = None, *, held_out: bool = False
) -> Iterator[AnsweredQuestion]:
    """The questions of ``count`` rendered pages whose seeds training never draws.

    Pages without a question are left out, and so are those for learning letters ("lines") unless
    asked for by ``kind``. ``held_out``: questions are worded as training never words them.
    """
    seed = VALIDATION_SEED
    while count > 0:
        page = render_page(seed, kind, held_out=held_out)
        questions = list(_as_questions(page, seed))
        if questions and (page.kind != "lines" or kind == "lines"):
            yield from questions
            count -= 1
        seed += 1


def unanswerable_questions(count: int, kind: str | None = None) -> Iterator[AnsweredQuestion]:
    """Questions about ``count`` validation pages that none of their pages answers, without boxes.

    They ask for labelled values of which no word stands on the page, in the wordings of training;
    their ``field`` is ``unanswerable``. For fitting what a policy's confidence means.
    """
    seed = VALIDATION_SEED
    while count > 0:
        page, rng = render_page(seed, kind), random.Random(seed)
        image, doc = page.image.convert("RGB"), f"{page.kind}-{seed}"
        texts = fields_not_printed(page, rng, 4) if page.kind != "lines" else []
        for number, text in enumerate(texts):
            yield AnsweredQuestion(
                image, text, id=f"{doc}-none-{number}", field="unanswerable", doc=doc,
                set_name=page.kind,
            ).opened(image)  # fmt: skip
        count -= bool(texts)
        seed += 1


def fields_not_printed(page: Page, rng: random.Random, count: int) -> list[str]:
    """At most ``count`` questions, in training's wordings, about fields that the page has not.

    No word of any name of the field is printed on it.
    """
    printed = {fold(word.text) for word in page.words}
    forms = [form for form in ANY_FORMS.split("|") if not is_held_out(form)]
    found: list[str] = []
    for entry in pick_fields(rng, 12, TRADES):
        name = entry.field.asked[0] if entry.field.asked else entry.label
        names = (name, entry.label, *entry.field.printed, *entry.field.asked)
        words = {fold(word) for one in names if not one.endswith("?") for word in one.split()}
        if len(found) < count and not printed & words:
            asked = name if name.endswith("?") else rng.choice(forms).format(q=name, d="page")
            found.append(spoken(rng, asked))
    return found


def write_pages(
    folder: Path, count: int, kind: str | None = None, *, held_out: bool = False
) -> int:
    """Write rendered validation pages as a question set, and a contact sheet; count the questions.

    Raises:
        OSError: the folder cannot be written.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows: list[AnsweredQuestion] = []
    shown: dict[str, tuple[Image.Image, list[Box]]] = {}
    for question in validation_questions(count, kind, held_out=held_out):
        image, name = question.open(), str(question.doc)
        file = folder / "images" / f"{name}.png"
        if name not in shown:
            image.save(file)
        shown.setdefault(name, (image, []))[1].extend(question.boxes)
        rows.append(
            dataclasses.replace(question, image=file, width=image.width, height=image.height)
        )
    write_questions(folder / "questions.jsonl", rows)
    contact_sheet(list(shown.values())[:25]).save(folder / "contact.png")
    return len(rows)


def contact_sheet(pages: list[tuple[Image.Image, list[Box]]]) -> Image.Image:
    """Small pictures of pages side by side, with their boxes outlined."""
    rows = (len(pages) + _ACROSS - 1) // _ACROSS
    sheet = Image.new("RGB", (_TILE[0] * _ACROSS, _TILE[1] * max(rows, 1)), "grey")
    for index, (page, boxes) in enumerate(pages):
        picture = page.copy()
        picture.thumbnail((_TILE[0] - 8, _TILE[1] - 8))
        pen = ImageDraw.Draw(picture)
        for box in boxes:
            pen.rectangle(box.to_pixels(picture.size), outline=(220, 30, 60))
        row, column = divmod(index, _ACROSS)
        sheet.paste(picture, (column * _TILE[0] + 4, row * _TILE[1] + 4))
    return sheet


def _as_questions(page: Page, seed: int) -> Iterator[AnsweredQuestion]:
    image = page.image.convert("RGB")
    for number, asked in enumerate(page.asked):
        boxes = [box for span in asked.spans if (box := _as_box(span, image.size)) is not None]
        if boxes:
            yield AnsweredQuestion(
                image,
                asked.question,
                id=f"{page.kind}-{seed}-{number}",
                answers=(asked.answer,),
                boxes=tuple(boxes),
                field=asked.field,
                doc=f"{page.kind}-{seed}",
                set_name=page.kind,
            ).opened(image)


def _as_box(span: Span, size: tuple[int, int]) -> Box | None:
    """The part of a pixel rectangle on the page, as a box; None where less than a pixel is left."""
    width, height = size
    left, right = max(0.0, span[0]), min(float(width), span[2])
    top, bottom = max(0.0, span[1]), min(float(height), span[3])
    if right - left < 1 or bottom - top < 1:
        return None
    return Box(left / width, top / height, right / width, bottom / height)
