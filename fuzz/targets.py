"""What is fuzzed: functions that take any bytes, and raise where something escapes.

Each reads its bytes as one kind of hostile input, through the code that users run. The errors that
this project promises are swallowed; whatever else comes out is an escape.
"""

import atexit
import contextlib
import io
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from PIL import Image

from cropvlm_core.box import BoxNotation
from cropvlm_core.cropper import read_proposal
from cropvlm_core.errors import CropVLMError, DataError, ImageError, ModelError, SourceError
from cropvlm_core.fetch.url import Url
from cropvlm_core.images import MAX_PIXELS, MAX_SIDE, open_page, page_count
from cropvlm_core.journal import Journal, read_rows, read_settings
from cropvlm_core.openai_vlm.vlm import _retry_after, _text_of
from cropvlm_core.questions import VisualQuestion, read_questions, to_row
from cropvlm_core.sources import read_data_uri, read_reference
from cropvlm_core.zoom import Zoom

NOTATIONS = (
    BoxNotation.percent,
    BoxNotation.per_mille,
    BoxNotation.per_mille_yx,
    BoxNotation.loc_tokens,
    BoxNotation.pixels(640, 480),
)
INSIDE, OUTSIDE = b"inside", b"outside"

_PAGE = Image.new("RGB", (90, 60), "white")


def box_text(data: bytes) -> None:
    """A reply of a cropper: it is a box, or a marked fallback, and the crop follows."""
    notation = NOTATIONS[data[0] % len(NOTATIONS)] if data else NOTATIONS[0]
    text = data[1:].decode("utf-8", errors="surrogateescape")
    reading = notation.read(text)
    assert (reading.box is None) == (reading.reason in ("unreadable", "no_zoom_needed"))
    if reading.box is not None:
        sides = reading.box.to_dict().values()
        assert all(math.isfinite(side) and 0 <= side <= 1 for side in sides)
    proposal, _ = read_proposal(notation, text, _PAGE.size)
    zoom = Zoom.follow(VisualQuestion(_PAGE, "What is the total?"), proposal)
    json.dumps(zoom.to_dict(), allow_nan=False)
    for crop in zoom.crops:
        left, top, right, bottom = crop.pixels
        assert 0 <= left < right <= _PAGE.width
        assert 0 <= top < bottom <= _PAGE.height


def reference(data: bytes) -> None:
    """A reference that a model wrote: nothing outside of the roots is read, and no URL."""
    text = data.decode("utf-8", errors="surrogateescape")
    for read in (lambda: read_data_uri(text), lambda: Url.read(text, "a URL")):
        with contextlib.suppress(SourceError):
            read()
    with contextlib.suppress(SourceError):
        found = read_reference(text, roots=[_scratch() / "root"])
        assert found == INSIDE or text[:5].lower() == "data:"


def picture(data: bytes) -> None:
    """The bytes of an image: a picture within the limits, or an ImageError."""
    if len(data) < 2 or data[1:].startswith(b"%PDF"):  # drawn by a process of its own
        return
    page, rest = 1 + data[0] % 3, data[1:]
    with contextlib.suppress(ImageError):
        assert page_count(rest) >= 1
    with contextlib.suppress(ImageError):
        opened = open_page(rest, page=page)
        assert opened.image.mode == "RGB"
        assert opened.number == page <= opened.count
        assert max(opened.image.size) <= MAX_SIDE
        assert opened.image.width * opened.image.height <= MAX_PIXELS


def question_rows(data: bytes) -> None:
    """A question set: rows that can be written again, or a DataError."""
    file = _scratch() / "questions.jsonl"
    file.write_bytes(data)
    with contextlib.suppress(DataError):
        for question in read_questions(file):
            json.dumps(to_row(question, file.parent))


def server_reply(data: bytes) -> None:
    """What a model server sends: a text, or a ModelError."""
    pause = _retry_after({"retry-after": data.decode("latin-1")})
    assert pause is None or pause >= 0
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return
    with contextlib.suppress(ModelError):
        assert _text_of(told).strip()


def journal_rows(data: bytes) -> None:
    """A file of rows that something tore: rows, or a DataError; opening it mends its end."""
    folder = _scratch() / "journal"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    settings, _, rows = data.partition(b"\0")
    (folder / "settings.json").write_bytes(settings)
    (folder / "rows.jsonl").write_bytes(rows)
    with contextlib.suppress(CropVLMError):
        before = list(read_rows(folder, "job"))
        with Journal(folder, read_settings(folder, "job"), what="job") as journal:
            assert list(journal.rows()) == before
            journal.add({"key": "last"})
            assert len(list(journal.rows())) == len(before) + 1


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (box_text, reference, picture, question_rows, server_reply, journal_rows)
}


def seeds(name: str) -> list[bytes]:
    """What a target starts from: the files in ``fuzz/corpus``, and small pictures made here."""
    kept = sorted((Path(__file__).parent / "corpus" / name).glob("*"))
    made = [b"\0" + data for data in _pictures()] if name == "picture" else []
    return [file.read_bytes() for file in kept] + made


def _pictures() -> list[bytes]:
    """One small file of each format, and of those with several pages one of two."""
    one, other = Image.effect_mandelbrot((9, 7), (-2, -1, 1, 1), 9), Image.new("L", (9, 7), 90)
    made = []
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        for pages in ((), (other,)) if kind in ("GIF", "TIFF", "WEBP", "PNG") else ((),):
            stream = io.BytesIO()
            more = {"save_all": True, "append_images": list(pages)} if pages else {}
            one.convert("RGB").save(stream, kind, **more)
            made.append(stream.getvalue())
    return made


@cache
def _scratch() -> Path:
    """A folder in memory: a root with a file, and all that must not be reached from it."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="cropvlm-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "root" / "a").mkdir(parents=True)
    (place / "root" / "a" / "b.png").write_bytes(INSIDE)
    (place / "secret").write_bytes(OUTSIDE)
    (place / "root" / "link").symlink_to(place / "secret")
    (place / "root" / "up").symlink_to(place)
    (place / "root" / "hard").hardlink_to(place / "secret")
    return place
