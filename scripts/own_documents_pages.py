"""Pages of one odd house layout: inspection certificates of a steel mill that does not exist.

    python scripts/own_documents_pages.py --out runs/certificates/train --count 120 --no-boxes
    python scripts/own_documents_pages.py --out runs/certificates/test --count 60 --first 100000

What a value means is printed *under* it, as a code and an abbreviation ("B07 Ch."); the analysis
and the tests are tables whose heads are symbols (C, Rm, Rp0,2); and people ask in plain words
("What is the tensile strength?"). Blocks and columns stand in another order on every page, and some
are missing. No page that the embedded cropper was trained on is laid out or asked about like this.
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.questions import AnsweredQuestion, write_questions
from cropvlm_core.training.pages.degrade import degrade
from cropvlm_core.training.pages.fonts import Face, installed_faces
from cropvlm_core.training.pages.sheet import Page, Sheet
from cropvlm_core.training.questions import contact_sheet

SIZE = (1240, 1754)
"""A4 at 150 dots an inch."""
QUESTIONS = 6
"""Questions a page."""

BLOCKS = {
    "certificate": ("A03 Zgn.-Nr.", "What is the certificate number?",
                    "Which number does this certificate have?"),
    "order": ("A07 Bst.", "What is the purchase order?", "Which order was this made for?"),
    "works": ("A08 W.-Auf.", "What is the works order?", "Give the mill's own job number."),
    "heat": ("B07 Ch.", "What is the heat number?", "Which melt is it from?"),
    "grade": ("B02 Gte.", "Which steel grade is it?", "What is the material?"),
    "product": ("B01 Erz.", "What kind of product is it?", "Which product was delivered?"),
    "size": ("B09 Abm.", "What are the dimensions?", "How large are the pieces?"),
    "pieces": ("B08 Stk.", "How many pieces are there?", "What is the quantity?"),
    "weight": ("B12 Gew.", "What do the goods weigh?", "What is the weight?"),
    "state": ("B04 Lfz.", "In which condition is it delivered?", "What is the heat treatment?"),
    "inspector": ("Z03 Prf.", "Who inspected the goods?", "What is the inspector called?"),
    "day": ("Z02 Dat.", "When was it signed?", "What is the date of the certificate?"),
}  # fmt: skip
"""The mark under a value, and how people ask for it."""

ELEMENTS = {
    "carbon": ("C", 0.05, 0.45), "silicon": ("Si", 0.1, 0.9), "manganese": ("Mn", 0.3, 1.9),
    "phosphorus": ("P", 0.005, 0.04), "sulphur": ("S", 0.001, 0.03), "chromium": ("Cr", 0.02, 2.4),
    "nickel": ("Ni", 0.02, 1.9), "molybdenum": ("Mo", 0.01, 0.9), "copper": ("Cu", 0.02, 0.4),
    "vanadium": ("V", 0.002, 0.12), "nitrogen": ("N", 0.003, 0.014),
}  # fmt: skip
"""Symbol, and between which shares, in percent, the analysis lies."""

TESTS = {
    "yield": ("Rp0,2", 235, 690, "What is the yield strength?", "At which stress does it yield?"),
    "tensile": ("Rm", 360, 940, "What is the tensile strength?", "At which stress does it break?"),
    "elongation": ("A5", 14, 32, "What is the elongation?", "How far does it stretch?"),
    "contraction": ("Z", 38, 76, "What is the reduction of area?", "How much does it narrow?"),
    "impact": ("KV", 27, 210, "What is the impact energy?", "How tough is it?"),
    "hardness": ("HBW", 120, 310, "What is the hardness?", "How hard is it?"),
}
"""Symbol, between which figures the result lies, and how people ask for it."""

_FIRST = "Anna Bodo Carla Dieter Eva Frank Greta Hans Ida Jonas Karin Lutz Mona Nils Olga".split()
_LAST = "Amsel Brandt Cordes Dorn Ebert Falk Gerber Hirsch Ihle Jung Kessel Lorenz Moser".split()


def certificate(seed: int) -> Page:
    """One damaged certificate with its questions, the same for the same seed and fonts."""
    rng = random.Random(f"certificate-{seed}")
    sheet = Sheet(*SIZE, rng)
    plain, bold = _faces()
    sheet.text(90, 70, "KALDOR EDELSTAHL", bold.at(40))
    sheet.text(1150, 80, "EN 10204 / 3.1", plain.at(22), align="right")
    sheet.rule(140, 90, 1150, width=3)
    y = _blocks(sheet, rng, 190)
    y = _table(sheet, y + 40, "C71-C92", list(_analysis(rng)))
    y = _table(sheet, y + 50, "C11-C42", list(_tests(rng)))
    for line in range(rng.randint(2, 9)):
        text = " ".join(
            rng.choices("geprüft gemäß Norm Liefer Auftrag ohne Befund siehe".split(), k=9)
        )
        sheet.text(90, y + 60 + 28 * line, text, plain.at(18), ink=60)
    page = sheet.page("certificate")
    page.asked = rng.sample(page.asked, QUESTIONS)
    return degrade(page, rng)


def questions_of(page: Page, name: str, file: Path, *, boxes: bool) -> Iterator[AnsweredQuestion]:
    """The questions of a page, with or without the boxes of their answers."""
    width, height = page.image.size
    for number, asked in enumerate(page.asked):
        left, top, right, bottom = asked.spans[0]
        box = Box(
            max(0.0, left) / width, max(0.0, top) / height,
            min(width, right) / width, min(height, bottom) / height,
        )  # fmt: skip
        yield AnsweredQuestion(
            file, asked.question, id=f"{name}-{number}", doc=name, field=asked.field,
            answers=(asked.answer,), boxes=(box,) if boxes else (),
        )  # fmt: skip


def write_certificates(folder: Path, seeds: Sequence[int], *, boxes: bool) -> None:
    """Write the certificates of ``seeds`` as a question set, and a contact sheet."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows: list[AnsweredQuestion] = []
    shown: list[tuple[Image.Image, list[Box]]] = []
    for seed in seeds:
        page, name = certificate(seed), f"certificate-{seed}"
        file = folder / "images" / f"{name}.png"
        page.image.save(file)
        rows += questions_of(page, name, file, boxes=boxes)
        if len(shown) < 10:
            found = questions_of(page, name, file, boxes=True)
            shown.append((page.image.convert("RGB"), [box for each in found for box in each.boxes]))
    write_questions(folder / "questions.jsonl", rows)
    contact_sheet(shown).save(folder / "contact.png")


def _faces() -> tuple[Face, Face]:
    """The house's type: a sans serif and its bold, whatever the machine has of it."""
    found = {Path(face.path).name: face for face in installed_faces()}
    for family in ("LiberationSans", "DejaVuSans", "NotoSans"):
        bold = found.get(f"{family}-Bold.ttf")
        plain = found.get(f"{family}-Regular.ttf") or found.get(f"{family}.ttf")
        if plain and bold:
            return plain, bold
    sans = [face for face in installed_faces() if face.role == "sans"] or installed_faces()
    return sans[0], sans[-1]


def _blocks(sheet: Sheet, rng: random.Random, top: float) -> float:
    """Values with their marks below, three a row, in any order; some are missing."""
    plain, bold = _faces()
    names = rng.sample(sorted(BLOCKS), rng.randint(9, len(BLOCKS)))
    for index, name in enumerate(names):
        mark, *wordings = BLOCKS[name]
        x, y, value = 90 + 360 * (index % 3), top + 92 * (index // 3), _value(name, rng)
        span = sheet.text(x, y, value, bold.at(23))
        sheet.text(x, y + 34, mark, plain.at(16), ink=50)
        sheet.rule(y + 62, x, x + 320)
        sheet.ask(rng.choice(wordings), value, span, name)
    return top + 92 * -(-len(names) // 3)


_Column = tuple[str, str, str, str]
"""Head, value, question, field."""


def _table(sheet: Sheet, top: float, title: str, columns: Sequence[_Column]) -> float:
    """One row of values under their heads, and a row of limits that are no answers between."""
    plain, bold = _faces()
    sheet.text(90, top, title, plain.at(18), ink=50)
    step = 1060 / len(columns)
    for index, (head, value, question, field) in enumerate(columns):
        x = 90 + step * (index + 0.5)
        sheet.text(x, top + 36, head, bold.at(20), align="centre")
        limit = f"≤{float(value.replace(',', '.')) * sheet.rng.uniform(1.1, 1.6):.3g}"
        sheet.text(x, top + 68, limit.replace(".", ","), plain.at(17), align="centre", ink=70)
        span = sheet.text(x, top + 104, value, plain.at(21), align="centre")
        sheet.ask(question, value, span, field)
    for y in (30, 98, 136):
        sheet.rule(top + y, 90, 1150)
    return top + 136


def _analysis(rng: random.Random) -> Iterator[_Column]:
    for name in rng.sample(sorted(ELEMENTS), rng.randint(7, len(ELEMENTS))):
        symbol, low, high = ELEMENTS[name]
        value = f"{rng.uniform(low, high):.4f}".replace(".", ",")
        wordings = (f"What is the {name} content?", f"How much {name} is in the steel?")
        yield symbol, value, rng.choice(wordings), name


def _tests(rng: random.Random) -> Iterator[_Column]:
    for name in rng.sample(sorted(TESTS), rng.randint(4, len(TESTS))):
        symbol, low, high, *wordings = TESTS[name]
        value = f"{rng.uniform(low, high):.1f}".replace(".", ",")
        yield symbol, value, rng.choice(wordings), name


def _value(name: str, rng: random.Random) -> str:
    """What stands in a block."""
    letters = "ABCDEFGHKLMNPRSTUVWXYZ"
    number = rng.randint(100_000, 999_999)
    values = {
        "certificate": f"{rng.choice(letters)}{rng.choice(letters)}-{number}",
        "order": f"45{number}{rng.randint(10, 99)}",
        "works": f"{rng.randint(10, 99)}/{number}",
        "heat": f"{rng.choice(letters)}{number}",
        "grade": rng.choice((f"S{rng.choice((235, 275, 355, 460))}J2+N", "42CrMo4+QT", "16MnCr5",
                             "X5CrNi18-10", "34CrNiMo6", "C45E", "P265GH", "11SMn30")),
        "product": rng.choice(("Rundstahl", "Flachstahl", "Grobblech", "Rohr nahtlos",
                               "Schmiedestück", "Walzdraht", "Vierkantstahl", "Hohlprofil")),
        "size": f"{rng.randint(10, 320)} x {rng.randint(1000, 12000)} mm",
        "pieces": f"{rng.randint(11, 480)} Stk",
        "weight": f"{rng.randint(1, 48)}.{rng.randint(100, 999)} kg",
        "state": rng.choice(("normalgeglüht", "vergütet", "weichgeglüht", "warmgewalzt",
                             "lösungsgeglüht", "blankgezogen")),
        "inspector": f"{rng.choice(_FIRST)} {rng.choice(_LAST)}",
        "day": f"{rng.randint(1, 28):02}.{rng.randint(1, 12):02}.{rng.randint(2015, 2025)}",
    }  # fmt: skip
    return values[name]


def main() -> None:
    """Write a question set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--first", type=int, default=0, help="seed of the first page")
    parser.add_argument("--no-boxes", action="store_true", help="questions and answers only")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.count)
    write_certificates(given.out, seeds, boxes=not given.no_boxes)


if __name__ == "__main__":
    main()
