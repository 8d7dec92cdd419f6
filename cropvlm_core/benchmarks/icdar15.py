"""ICDAR 2015 photographs with small words (challenge 4 of rrc.cvc.uab.es, also on GitHub).

``img_1.jpg`` and ``gt_img_1.txt`` in the same or other folders: a word a row, eight corner
coordinates in pixels and the text; ``###`` stands for a word that nobody could read. Read: public
loaders of ``ch4_training_localization_transcription_gt.zip``, and the README of
zzzDavid/ICDAR-2019-SROIE, which tells the format.

Asked is the word with a given first letter, where the photograph has only one word with that
letter (it may stand there several times), at most two words a photograph. Photographs with
unreadable words are asked about too: those may begin with the letter, so read a wrong answer with
care.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cropvlm_core.benchmarks.document_sets import (
    Asked,
    Converter,
    DocumentPage,
    boxed,
    drawn_number,
    pictures_of,
    read_picture,
    worded,
)
from cropvlm_core.box import Box
from cropvlm_core.errors import DataError, ImageError, SourceError, shorten

WORDINGS = {
    "word_by_initial": (
        "Which word begins with '{}'?",
        "What is the word that starts with the letter '{}'?",
        "Read the word beginning with '{}'.",
    )
}

UNREADABLE = "###"
_AT_MOST = 2  # words of one photograph
_SHORTEST = 3  # letters of a word that is worth asking for


def names(source: Path) -> list[str]:
    """The photographs that have a table of words."""
    tables = _tables(source)
    return [name for name in pictures_of(source) if name in tables]


def pages(source: Path, chosen: Sequence[str], seed: int) -> Iterator[DocumentPage]:
    """The photographs, each with up to two questions."""
    pictures, tables = pictures_of(source), _tables(source)
    for name in chosen:
        file = pictures[name]
        try:
            picture, size = read_picture(file)
        except (ImageError, SourceError):
            yield DocumentPage(name, b"", file.suffix, (), {"damaged or too large picture": 1})
            continue
        places: dict[str, list[Box]] = {}
        for text, box in _words(tables[name], size):
            places.setdefault(text, []).append(box)
        initials: dict[str, set[str]] = {}
        for text in places:
            initials.setdefault(text[0].upper(), set()).add(text)
        # "Exit" and "EXIT" are two texts of one word
        single = {
            letter: texts
            for letter, texts in initials.items()
            if letter.isalpha() and len({text.casefold() for text in texts}) == 1
        }
        chosen_letters = sorted(
            (letter for letter, texts in single.items() if len(min(texts)) >= _SHORTEST),
            key=lambda letter: drawn_number(seed, name, letter),
        )[:_AT_MOST]
        asked = tuple(
            Asked(
                "word_by_initial",
                worded(WORDINGS, "word_by_initial", seed, f"{name}/{letter}").format(letter),
                tuple(sorted(single[letter])),
                tuple(box for text in sorted(single[letter]) for box in places[text]),
                key=letter.lower(),
            )
            for letter in sorted(chosen_letters)
        )
        left_out = {} if asked else {"no word with a first letter of its own": 1}
        yield DocumentPage(
            f"icdar15-{name.removeprefix('img_')}", picture, file.suffix.lower(), asked, left_out
        )


def _tables(source: Path) -> dict[str, Path]:
    return {file.stem.removeprefix("gt_"): file for file in sorted(source.rglob("gt_*.txt"))}


def _words(file: Path, size: tuple[int, int]) -> Iterator[tuple[str, Box]]:
    for row in file.read_text(encoding="utf-8-sig").splitlines():
        *corners, text = row.split(",", 8)
        text = text.strip()
        if len(corners) != 8 or not text or text == UNREADABLE:
            continue
        try:
            box = boxed([float(number) for number in corners], size)
        except ValueError:
            raise DataError(f"expected eight numbers and a word, got {shorten(row)}") from None
        if box is not None:
            yield text, box


ICDAR15 = Converter(
    "icdar15",
    "ICDAR 2015, challenge 4 (rrc.cvc.uab.es/?ch=4)",
    "terms of the Robust Reading Competition, where one registers",
    names,
    pages,
)
