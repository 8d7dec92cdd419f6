"""Pages of clean print, and Tesseract, for the tests of the room ``tesseract``."""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from cropvlm_core.box import Box
from cropvlm_core.tesseract.engine import Engine, find_engine
from tests.programs import absent, require_package

SIZE = (1000, 1400)

TABLE = "level\tpage\tblock\tpar\tline\tword\tleft\ttop\twidth\theight\tconf\ttext\n"
"""The first line of what Tesseract writes."""


def require_tesseract() -> None:
    """Go on only where the program is; its Debian package brings the language data too."""
    if shutil.which("tesseract") is None:
        absent("the program tesseract")


def both_engines(timeout: float = 60.0) -> list[Engine]:
    """``tesserocr`` and the program, where both are."""
    require_tesseract()
    require_package("tesserocr")
    return [find_engine("tesserocr", timeout=timeout), find_engine("program", timeout=timeout)]


def printed(
    places: Iterable[tuple[int, int, str]], *, size: tuple[int, int] = SIZE, letters: int = 30
) -> Image.Image:
    """A white page with each text at its place (left, top), ``letters`` pixels high."""
    page = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(page)
    for left, top, text in places:
        pen.text((left, top), text, "black", ImageFont.load_default(letters))
    return page


def where(
    left: int, top: int, text: str, *, size: tuple[int, int] = SIZE, letters: int = 30
) -> Box:
    """The box of a text that :func:`printed` put there."""
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    around = pen.textbbox((left, top), text, ImageFont.load_default(letters))
    return Box.from_pixels(around, size)


def stand_in(folder: Path, reading: str) -> Path:
    """A program ``tesseract`` of our own, which does ``reading`` (Python) for every picture.

    It writes a line into ``calls`` for every picture, and says what it is when asked.
    """
    folder.mkdir(exist_ok=True)
    program = folder / "tesseract"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys, time\n"
        "if sys.argv[1] == '--version': print('tesseract 9.9.9'); sys.exit()\n"
        "if sys.argv[1] == '--list-langs': print('List:\\neng'); sys.exit()\n"
        f"with open({str(folder / 'calls')!r}, 'a') as log: log.write(f'{{os.getpid()}}\\n')\n"
        "picture = sys.stdin.buffer.read()\n"
        f"{reading}\n"
    )
    program.chmod(0o755)
    return program


def calls(folder: Path) -> list[int]:
    """The process ids of the readings of :func:`stand_in`."""
    log = folder / "calls"
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def row(text: str, left: int = 10, top: int = 10, width: int = 50, height: int = 20) -> str:
    """A word as Tesseract's table has it."""
    return f"5\t1\t1\t1\t{top}\t1\t{left}\t{top}\t{width}\t{height}\t90\t{text}\n"
