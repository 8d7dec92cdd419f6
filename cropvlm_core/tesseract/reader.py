"""TesseractReader, the target ``tesseract@N``: reads what stands on pictures of N pixels.

A frozen reader of limited resolution that runs anywhere, for evaluations and rewards: it answers a
conversation with all text that it reads off the pictures, whatever the question, and the metric
``contains`` tells whether the right answer is among it. Its text can only grow with a further
picture, so by itself it cannot show that a crop does harm.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from cropvlm_core.errors import SpecError, shorten
from cropvlm_core.images import MAX_PIXELS, open_image
from cropvlm_core.tesseract.engine import Engine, EngineName, find_engine
from cropvlm_core.tesseract.kept import Kept
from cropvlm_core.vlm import Conversation

SMALLEST, LARGEST = 32, 20_000
"""The sizes N that are possible, in pixels."""

_MODE = 6
"""One uniform block of text (``--psm``). Of the modes 3, 4, 6, 11 and 12 it reads most where the
crop shows the answer: 82 % of 711 questions on rendered pages at 512 pixels, sparse text (11) 79 %.
"""

_Texts = Kept[tuple[str, tuple[int, int], int], str]


class TesseractReader:
    """A VLM whose reply is the text on the pictures; safe to share between threads.

    Each picture is scaled, up or down (Lanczos), to ``size`` pixels on its longest edge, but to no
    more than 50 megapixels; it is read once, and its text is kept. The texts are joined by newlines
    in the order of the pictures. Texts of a conversation are not looked at. Conversations are read
    side by side, on as many threads as there are cores.

    Attributes:
        size: N, pixels.
        scales_up: small pictures are enlarged to N, too.
        name: ``tesseract@N``.
        version: the release of Tesseract that reads, for the settings of an evaluation.

    Args:
        size: 32..20000.
        engine: ``tesserocr`` or ``program``; None: the first that is there.
        language: Tesseract's language data, such as ``eng`` or ``eng+deu``.
        timeout: the most seconds for one picture.
        remembered: how many texts are kept.

    Raises:
        SpecError: a size out of range, or no such language name.
        MissingExtraError: neither ``tesserocr`` nor the program is installed.
        WeightsError: the language data is missing.
    """

    scales_up = True

    def __init__(
        self,
        size: int,
        *,
        engine: EngineName | None = None,
        language: str = "eng",
        timeout: float = 60.0,
        remembered: int = 4096,
    ) -> None:
        """Find Tesseract; nothing is read yet."""
        self.size = _checked(size)
        self._engine: Engine = find_engine(engine, language=language, timeout=timeout)
        self._texts: _Texts = Kept(remembered)

    @property
    def name(self) -> str:
        """What names this target: ``tesseract@N``."""
        return f"tesseract@{self.size}"

    @property
    def version(self) -> str:
        """The release of Tesseract that reads."""
        return self._engine.version

    def at(self, size: int) -> "TesseractReader":
        """Return a reader of another ``size`` that shares engine and kept texts.

        Raises:
            SpecError: a size out of range.
        """
        twin = object.__new__(type(self))
        twin.size = _checked(size)
        twin._engine, twin._texts = self._engine, self._texts
        return twin

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        """Read the pictures of each conversation.

        Raises:
            ModelError: Tesseract failed.
            DeadlineError: ... or took longer than the timeout.
            ImageError: a picture that :func:`cropvlm_core.images.open_image` refuses.
        """
        pictures = {id(image): image for asked in conversations for image in asked.images}
        workers = min(os.cpu_count() or 1, len(pictures))
        if workers > 1:
            with ThreadPoolExecutor(workers, thread_name_prefix="cropvlm-tesseract") as pool:
                texts = dict(zip(pictures, pool.map(self._text, pictures.values()), strict=True))
        else:
            texts = {key: self._text(image) for key, image in pictures.items()}
        return ["\n".join(texts[id(image)] for image in asked.images) for asked in conversations]

    def _text(self, image: Image.Image) -> str:
        grey = open_image(image).convert("L")
        digest = hashlib.blake2b(grey.tobytes(), digest_size=16).hexdigest()
        return self._texts.get((digest, grey.size, self.size), lambda: self._read(grey))

    def _read(self, grey: Image.Image) -> str:
        lines = self._engine.read(_scaled(grey, self.size), _MODE)
        return "\n".join(" ".join(word.text for word in line) for line in lines)


def _scaled(image: Image.Image, size: int) -> Image.Image:
    """``image`` with ``size`` pixels on its longest edge, or fewer where that were too many."""
    width, height = image.size
    scale = min(size / max(width, height), (MAX_PIXELS / (width * height)) ** 0.5)
    seen = max(1, round(width * scale)), max(1, round(height * scale))
    return image if seen == image.size else image.resize(seen, Image.Resampling.LANCZOS)


def _checked(size: int) -> int:
    known = isinstance(size, int)  # what types say, users may not
    if not known or not SMALLEST <= size <= LARGEST:
        raise SpecError(
            f"expected a size of {SMALLEST} to {LARGEST} pixels for tesseract@N, "
            f"got {shorten(size)}"
        )
    return size
