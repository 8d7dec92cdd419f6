"""Images and questions that must be refused, and words that the refusal must hold."""

import io
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from PIL import Image


class Bad(NamedTuple):
    """An image file and a question; `words` must all be in the message."""

    image: str
    question: str
    words: tuple[str, ...]


def huge_png(width: int, height: int) -> bytes:
    """A small file that claims `width` x `height` pixels, and would really decode to them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def page(folder: Path, name: str = "page.png") -> Path:
    """Write a good page of 200 x 300 pixels."""
    path = folder / name
    Image.effect_noise((200, 300), 40).convert("RGB").save(path)
    return path


def table(folder: Path) -> dict[str, Bad]:
    """Write every bad file into `folder` and return what to do with it."""
    good = str(page(folder))
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("This is a letter, not a picture.\n")
    jpeg = io.BytesIO()
    Image.effect_noise((400, 400), 60).save(jpeg, "JPEG")
    (folder / "cut.jpg").write_bytes(jpeg.getvalue()[: len(jpeg.getvalue()) // 2])
    (folder / "huge.png").write_bytes(huge_png(20_000, 10_000))
    what = "What is the total?"
    return {
        "missing file": Bad(
            str(folder / "nowhere.png"), what, ("expected", "nowhere.png", "No such file")
        ),
        "directory": Bad(str(folder), what, ("expected an image file", "a folder")),
        "empty file": Bad(
            str(folder / "empty.png"), what, ("expected a PNG, JPEG", "empty.png", "is empty")
        ),
        "text": Bad(str(folder / "text.png"), what, ("expected a PNG, JPEG", "text.png", "text")),
        "truncated": Bad(
            str(folder / "cut.jpg"), what, ("expected a whole JPEG", "cut.jpg", "truncated")
        ),
        "200 megapixels": Bad(
            str(folder / "huge.png"), what, ("expected at most 50 megapixels", "20000 x 10000")
        ),
        "URL": Bad("https://example.com/a.png", what, ("expected a path", "https URL")),
        "empty question": Bad(good, "", ("expected a question", "''")),
        "blank question": Bad(good, " \n", ("expected a question", "blank")),
        "endless question": Bad(
            good, "why " * 25_000, ("at most 10000 characters", "got 100000", "why why")
        ),
    }
